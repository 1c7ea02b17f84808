"""Kinds of inputs of the pointwise losses: those at which a mistake shows, and generic ones.

A builder gives predictions, targets and a mask of one shape. The numbers are of magnitude 1 unless the kind says
otherwise: `refloss.crosscheck.cases` scales them to what the format holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from refloss.crosscheck.adversarial import Range, Rows, bits, some_subnormal, spacing
from refloss.crosscheck.draws import Draws
from refloss.crosscheck.formats import Format, quantise

Build = Callable[[Draws, tuple[int, ...], Format, float], Rows]
"""From a shape, a format and huber's delta."""


@dataclass(frozen=True)
class PointwiseKind:
    """One kind of inputs of a pointwise loss.

    Where it is `about_selection`, targets that do not count are NaN for the losses without a mask; with `masked_as_nan`
    for those with one, too; with `nan_inside` a mask is true at every second of these.
    """

    build: Build
    note: str
    flags: frozenset[str] = frozenset()
    range: Range = "ordinary"
    masked_as_nan: bool = False
    nan_inside: bool = False
    about_selection: bool = False


def _pointwise(error: float, outliers: float = 0.0) -> Build:
    """Return a builder of targets and predictions `error` off them, some of which are ten times further off."""

    def build(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
        targets = draw.normal(shape)
        factor = np.where(draw.chance(shape, outliers), 10.0, 1.0)
        predictions = targets + error * factor * draw.normal(shape)
        keep = draw.chance(shape, 0.6)
        keep.flat[-1], keep.flat[0] = False, True  # never none and, but for a single element, never all
        return Rows(predictions, targets, keep)

    return build


def _near(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _pointwise(0.0)(draw, shape, form, delta)
    close = quantise(rows.targets, form)
    return Rows(close + draw.whole(shape, -2, 2) * spacing(close, form), close, rows.mask)


def _offset(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _pointwise(0.5)(draw, shape, form, delta)
    return Rows(rows.predictions + 2.0 ** (bits(form) // 2), rows.targets + 2.0 ** (bits(form) // 2), rows.mask)


def _knee(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    """Differences of ±delta, and a rounding less and more; of a target of 0 they are exact."""
    rows = _pointwise(0.0)(draw, shape, form, delta)
    knee = quantise(np.full(shape, delta), form)
    sides = knee + draw.whole(shape, -1, 1) * spacing(knee, form)
    targets = np.where(draw.chance(shape, 0.5), 0.0, knee * draw.whole(shape, -1, 1))
    return Rows(targets + draw.sign(shape) * sides, targets, rows.mask)


def _wholes(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _pointwise(0.0)(draw, shape, form, delta)
    return Rows(draw.whole(shape, -4, 4).astype(float), draw.whole(shape, -4, 4).astype(float), rows.mask)


def _magnitudes(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _pointwise(0.5)(draw, shape, form, delta)
    reach = min(60, round(-math.log2(form.tiny)) // 4)
    predictions, targets = (np.ldexp(x, -draw.whole(shape, 0, reach)) for x in (rows.predictions, rows.targets))
    return Rows(predictions, targets, rows.mask)


def _none_selected(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    return _pointwise(0.5)(draw, shape, form, delta)._replace(mask=np.zeros(shape, np.bool_))


def _one_selected(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _none_selected(draw, shape, form, delta)
    rows.mask.flat[int(draw.whole(1, 0, rows.mask.size - 1)[0])] = True
    return rows


def _subnormals(share: float) -> Build:
    def build(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
        predictions, targets, mask = _pointwise(0.5)(draw, shape, form, delta)
        return Rows(some_subnormal(draw, predictions, form, share), some_subnormal(draw, targets, form, share), mask)

    return build


def _one_sign(draw: Draws, shape: tuple[int, ...], form: Format, delta: float) -> Rows:
    rows = _pointwise(0.0)(draw, shape, form, delta)
    return rows._replace(predictions=rows.targets + 0.1 + 0.001 * draw.normal(shape))


KINDS: Final[dict[str, PointwiseKind]] = {
    "generic": PointwiseKind(_pointwise(1.0), "unrelated errors", frozenset({"Random"})),
    "outliers": PointwiseKind(_pointwise(0.3, outliers=0.2), "a few errors ten times the rest", frozenset({"Random"})),
    "bias": PointwiseKind(_one_sign, "errors all alike: a sum whose rounding errors add up", frozenset({"Random"})),
    "trained": PointwiseKind(_near, "predictions a rounding or two from the target", frozenset({"Cancellation"})),
    "pedestal": PointwiseKind(_offset, "a large common offset", frozenset({"Cancellation"})),
    "perfect": PointwiseKind(_pointwise(0.0), "predictions that are the target, to the bit", frozenset({"PerfectFit"})),
    "knee": PointwiseKind(_knee, "differences at ±delta and a rounding beside it", frozenset({"HuberKnee"})),
    "integers": PointwiseKind(_wholes, "integers: nothing rounds but the mean", frozenset({"IntegerExact"})),
    "nan": PointwiseKind(_pointwise(1.0), "NaN targets, which are not selected", frozenset(), masked_as_nan=True),
    "nan-inside": PointwiseKind(
        _pointwise(1.0), "NaN targets, some where the mask is true", frozenset({"Random"}),
        masked_as_nan=True, nan_inside=True,
    ),
    "empty": PointwiseKind(_none_selected, "nothing is selected: the value is 0", about_selection=True),
    "single": PointwiseKind(_one_selected, "one element is selected", about_selection=True),
    "large": PointwiseKind(_pointwise(1.0), "as large as the format's range allows", frozenset({"HugeRange"}), "large"),
    "small": PointwiseKind(_pointwise(1.0), "as small as the format's range allows", frozenset({"HugeRange"}), "small"),
    "exponents": PointwiseKind(_magnitudes, "many magnitudes beside each other", frozenset({"HugeRange"}), "large"),
    "part-subnormal": PointwiseKind(_subnormals(0.3), "some numbers are subnormal", frozenset({"Subnormal"})),
    "all-subnormal": PointwiseKind(_subnormals(1.0), "all numbers are subnormal", frozenset({"Subnormal"})),
    "strided": PointwiseKind(_pointwise(1.0), "arrays that are not contiguous", frozenset({"NonContiguous"})),
    "read-only": PointwiseKind(_pointwise(1.0), "arrays that must not be written to", frozenset({"ReadOnly"})),
}  # fmt: skip
"""The kinds of inputs of the pointwise losses."""
