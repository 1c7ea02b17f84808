"""Kinds of inputs of the aligned losses: those at which a mistake shows, and generic ones, which few mistakes can pass.

Each kind has a builder and says what it is. A builder gives predictions (B, N + E), targets (B, N) and a mask (B, N),
in states/eV. The numbers are of magnitude 1 unless the kind says otherwise: `refloss.crosscheck.cases` scales them to
what the format holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refloss.crosscheck.draws import Draws
from refloss.crosscheck.formats import Format, quantise
from refloss.results import Booleans, Floats


class Rows(NamedTuple):
    """What a builder makes."""

    predictions: Floats
    targets: Floats
    mask: Booleans


class Sizes(NamedTuple):
    """B structures, N points of a target, E extra points of a prediction."""

    structures: int
    points: int
    extra: int

    def __str__(self) -> str:
        return f"B{self.structures}-N{self.points}-E{self.extra}"


Range = Literal["ordinary", "large", "small"]


@dataclass(frozen=True)
class Kind:
    """One kind of inputs of an aligned loss."""

    build: Callable[[Draws, Sizes, Format], Rows]
    note: str
    flags: frozenset[str] = frozenset()
    range: Range = "ordinary"
    masked_as_nan: bool = False


def bits(form: Format) -> int:
    """Return how many binary digits the significands of a format have."""
    return round(-math.log2(form.unit))


def spacing(x: Floats, form: Format) -> Floats:
    """Return the distance from |x| to the next number of the format."""
    _, exponent = np.frexp(np.maximum(np.abs(x), form.tiny))
    return _floats(np.ldexp(2.0 * form.unit, exponent - 1))


def some_subnormal(draw: Draws, rows: Floats, form: Format, share: float) -> Floats:
    """Return the numbers, the first and this share of the others replaced by subnormal ones of either sign."""
    smallest = 2.0 * form.unit * form.tiny
    tiny = draw.sign(rows.shape) * draw.whole(rows.shape, 1, 2 ** (bits(form) - 1) - 1) * smallest
    chosen = draw.chance(rows.shape, share)
    chosen.flat[0] = True
    return np.where(chosen, tiny, rows)


def generic(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return unrelated numbers, and masks with holes, each structure's of another density."""
    structures, points, extra = sizes
    targets = draw.normal((structures, points))
    predictions = draw.normal((structures, points + extra))
    return Rows(predictions, targets, draw.chance((structures, points), draw.uniform((structures, 1), 0.3, 0.95)))


def fitted(error: float, shifts: Callable[[Draws, Sizes], Floats] | None = None) -> Callable[..., Rows]:
    """Return a builder of predictions that are the target at some shift but for `error`, next to nothing below it."""

    def build(draw: Draws, sizes: Sizes, form: Format) -> Rows:
        structures, points, extra = sizes
        predictions, targets, mask = generic(draw, sizes, form)
        noise = error * draw.normal(predictions.shape)
        at = draw.whole(structures, 0, extra) if shifts is None else shifts(draw, sizes).astype(np.int64)
        for b, shift in enumerate(at.tolist()):
            predictions[b, :shift] = 0.3 * noise[b, :shift]
            window = slice(shift, shift + points)
            predictions[b, window] = targets[b] + noise[b, window]
        return Rows(predictions, targets, mask)

    return build


def front(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return predictions that fit at the last shift or just before it, over a heavy front tail: D and D + F differ."""
    structures, points, extra = sizes
    rows = generic(draw, sizes, form)
    rows.predictions[:, :extra] *= 1.5
    for b, shift in enumerate(draw.whole(structures, max(extra - 2, 0), extra).tolist()):
        rows.predictions[b, shift : shift + points] = rows.targets[b] + 0.05 * draw.normal(points)
    return rows


def smooth(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return slowly varying curves at a random shift, the mask true up to some point: the shape of real spectra."""
    structures, points, extra = sizes
    x = np.arange(-extra, points) / 6.0
    centre, height = draw.uniform((structures, 4, 1), 0.0, points / 6.0), draw.uniform((structures, 4, 1), 0.5, 2.0)
    moved = draw.whole((structures, 1, 1), 0, extra)
    # Lorentzians: made of divisions alone, which round alike everywhere.
    targets = np.sum(height / (1.0 + (x[extra:] - centre) ** 2), axis=1)
    predictions = np.sum(1.05 * height / (1.1 + (x + (extra - moved) / 6.0 - centre) ** 2), axis=1)
    ends = draw.whole((structures, 1), points // 3, points)
    return Rows(predictions, targets, np.arange(points) < ends)


def trained(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return predictions that are at most two roundings off the target: expanded squares lose every digit."""
    predictions, targets, mask = fitted(0.0)(draw, sizes, form)
    close = quantise(predictions, form)
    off = np.where(close == 0.0, 0.0, draw.whole(close.shape, -2, 2) * spacing(close, form))
    return Rows(close + off, quantise(targets, form), mask)


def pedestal(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return a good fit on a common offset that takes half of the digits."""
    predictions, targets, mask = fitted(0.1)(draw, sizes, form)
    return Rows(predictions + 2.0 ** (bits(form) // 2), targets + 2.0 ** (bits(form) // 2), mask)


def cancelling(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return numbers of three magnitudes, whose running integral cancels from the largest down to the smallest."""
    digits = bits(form)

    def mixed(rows: Floats) -> Floats:
        large = 2.0 ** (digits + 1) * draw.whole(rows.shape, -3, 3)
        large[:, 1::2] = -large[:, : 2 * (rows.shape[1] // 2) : 2]
        middle = 2.0 ** (digits // 2) * draw.whole(rows.shape, -1, 1)
        return np.where(draw.chance(rows.shape, 0.5), large, middle + rows)

    predictions, targets, mask = generic(draw, sizes, form)
    return Rows(mixed(predictions), mixed(targets), mask)


def cancelling_stencil(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return a large straight line with small noise: the backward difference takes away all but the noise."""
    structures, points, extra = sizes
    line = 2.0 ** (bits(form) // 2) + np.arange(-extra, points) / 4.0
    predictions = line + 0.3 * draw.normal((structures, points + extra))
    targets = line[extra:] + 0.3 * draw.normal((structures, points))
    return Rows(predictions, targets, draw.chance(targets.shape, 0.4))


def palindromic(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return rows that read the same backwards: D(s) = D(E − s), summed in another order."""
    predictions, targets, mask = generic(draw, sizes, form)
    return Rows(_mirrored(quantise(predictions, form)), _mirrored(targets), _mirrored(mask.astype(float)) == 1.0)


def nudged(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return palindromic rows whose second half is one rounding off: the ties are broken by next to nothing."""
    rows = palindromic(draw, sizes, form)
    half = rows.predictions[:, (sizes.points + sizes.extra + 1) // 2 :]
    half += spacing(half, form)
    return rows


def close_call(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return rows whose first and last shift only the last third of the format's digits tells apart (E ≥ N).

    Half of the target lies at shift 0; at the last, behind zeros, all of it, so that the misfit of the one is the front
    tail of the other, or in every second structure half of it again, so that the misfits are alike.
    """
    structures, points, extra = sizes
    targets, mask = draw.normal((structures, points)), draw.chance((structures, points), 0.8)
    mask[:, [0, -1]] = False
    found = np.where(mask, targets, 0.0)
    apart = draw.sign((structures, 1)) * 2.0 ** (-2 * bits(form) // 3)
    predictions = np.zeros((structures, points + extra))
    predictions[:, :points] = 0.5 * (1.0 + apart) * found
    predictions[:, extra:] += np.where(np.arange(structures)[:, None] % 2, 0.5, 1.0) * found
    return Rows(predictions, targets, mask)


def tied_ends(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return rows of period E, but for the ends of the mask: the first shift and the last are equally good, and best.

    Both sums have the same numbers in the same order, so that the tie is one in floats too.
    """
    structures, points, extra = sizes
    period = draw.normal((structures, extra))
    error = 0.2 * draw.normal((structures, extra))
    column = np.arange(points + extra) % extra
    return Rows((period + error)[:, column], period[:, column[:points]], _random_mask(draw, structures, points))


def plateau(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return constant predictions: D is the same at every shift."""
    rows = generic(draw, sizes, form)
    rows.predictions[:] = rows.predictions[:, :1]
    return rows


def zeros_in_front(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return zeros up to a step somewhere: windows below it are alike, and their front tails are 0."""
    rows = generic(draw, sizes, form)
    starts = draw.whole((sizes.structures, 1), sizes.points, sizes.points + sizes.extra - 1)
    rows.predictions[np.arange(sizes.points + sizes.extra) < starts] = 0.0
    return rows


def small_integers(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return zeros and ones: ties and plateaus abound."""
    structures, points, extra = sizes
    predictions, targets = draw.whole((structures, points + extra), 0, 1), draw.whole((structures, points), 0, 1)
    return Rows(predictions.astype(float), targets.astype(float), _random_mask(draw, structures, points))


def integers(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return multiples of 3 up to 9: with dx = 1/4 the backward difference is whole, and no operation rounds."""
    structures, points, extra = sizes
    predictions, targets = draw.whole((structures, points + extra), -3, 3), draw.whole((structures, points), -3, 3)
    return Rows(_floats(3.0 * predictions), _floats(3.0 * targets), _random_mask(draw, structures, points))


def empty_masks(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return masks of which the first, and every third after it, counts nothing."""
    rows = fitted(0.3)(draw, sizes, form)
    rows.mask[::3] = False
    return rows


def full_masks(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return masks of which the first, and every second after it, counts everything."""
    rows = fitted(0.3)(draw, sizes, form)
    rows.mask[::2] = True
    return rows


def isolated(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return masks of single points, and in every second structure of all but single points."""
    rows = fitted(0.3)(draw, sizes, form)
    alone = (np.arange(sizes.points) + draw.whole((sizes.structures, 1), 0, 3)) % 4 == 0
    alone[1::2] = ~alone[1::2]
    return rows._replace(mask=alone)


def single(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return masks of exactly one point: the first, the last, then any, of the structures in turn."""
    rows = fitted(0.3)(draw, sizes, form)
    where = draw.whole(sizes.structures, 0, sizes.points - 1)
    where[::3], where[1::3] = 0, sizes.points - 1
    return rows._replace(mask=np.arange(sizes.points) == where[:, None])


def perfect(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return predictions that are the target to the bit at some shift: D is 0 there."""
    return fitted(0.0)(draw, sizes, form)


def exponents(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return numbers of many magnitudes beside each other."""
    predictions, targets, mask = generic(draw, sizes, form)
    reach = min(60, round(-math.log2(form.tiny)) // 4)
    many = np.ldexp(predictions, -draw.whole(predictions.shape, 0, reach))
    return Rows(_floats(many), _floats(np.ldexp(targets, -draw.whole(targets.shape, 0, reach))), mask)


def subnormal(share: float) -> Callable[..., Rows]:
    """Return a builder that replaces this share of the numbers by subnormal ones."""

    def build(draw: Draws, sizes: Sizes, form: Format) -> Rows:
        predictions, targets, mask = fitted(0.3)(draw, sizes, form)
        return Rows(some_subnormal(draw, predictions, form, share), some_subnormal(draw, targets, form, share), mask)

    return build


def wide(draw: Draws, sizes: Sizes, form: Format) -> Rows:
    """Return targets of a third more points than the prediction, which fits in their middle (shift_agnostic_mse)."""
    structures, points, extra = sizes
    predictions, _, _ = generic(draw, sizes, form)
    more = (points + extra) // 3
    beyond = 0.1 * draw.normal((structures, 2, more))
    targets = np.concatenate([beyond[:, 0], predictions + 0.2 * draw.normal(predictions.shape), beyond[:, 1]], axis=1)
    return Rows(predictions, targets, _random_mask(draw, structures, targets.shape[1]))


def _first_or_last(draw: Draws, sizes: Sizes) -> Floats:
    ends = draw.whole(sizes.structures, 0, 1) * sizes.extra
    ends[:1], ends[1:2] = sizes.extra, 0
    return ends.astype(float)


KINDS: Final[dict[str, Kind]] = {
    "generic": Kind(generic, "unrelated numbers, masks with holes", frozenset({"Random"})),
    "fitted": Kind(fitted(0.2), "a fair fit at some shift, masks with holes", frozenset({"Random"})),
    "poor": Kind(fitted(0.7), "a poor fit at some shift, masks with holes", frozenset({"Random"})),
    "front": Kind(front, "a good fit over a heavy front tail: D and D + F prefer other shifts", frozenset({"Random"})),
    "smooth": Kind(smooth, "smooth curves, the mask true up to an energy", frozenset({"Random"})),
    "minimal": Kind(generic, "so few points that sums and stencils have one term, or none", frozenset({"Random"})),
    "trained": Kind(trained, "predictions a rounding or two from the target", frozenset({"Cancellation"})),
    "pedestal": Kind(pedestal, "a good fit on a large common offset", frozenset({"Cancellation"})),
    "cancelling": Kind(cancelling, "three magnitudes, the running integral cancels", frozenset({"Cancellation"})),
    "stencil": Kind(cancelling_stencil, "a steep line: the stencil cancels to its noise", frozenset({"Cancellation"})),
    "palindrome": Kind(palindromic, "rows that read alike backwards: D(s) = D(E − s)", frozenset({"ExactTie"})),
    "nudge": Kind(nudged, "a palindrome with one half a rounding off", frozenset({"NearTie"})),
    "close-call": Kind(close_call, "two shifts alike in two thirds of the digits", frozenset({"NearTie"})),
    "tied-ends": Kind(tied_ends, "the first shift and the last are equally good", frozenset({"ExactTie", "EdgeShift"})),
    "plateau": Kind(plateau, "constant predictions: all shifts are alike", frozenset({"Plateau", "ExactTie"})),
    "zeros": Kind(zeros_in_front, "zeros below some energy: many windows are alike", frozenset({"Plateau"})),
    "bits": Kind(small_integers, "zeros and ones: ties abound", frozenset({"Plateau", "IntegerExact"})),
    "integers": Kind(integers, "integers, dyadic step and weights: no rounding", frozenset({"IntegerExact"})),
    "edges": Kind(fitted(0.1, _first_or_last), "a good fit at the first shift or the last", frozenset({"EdgeShift"})),
    "empty": Kind(empty_masks, "structures of which nothing counts, beside others"),
    "full": Kind(full_masks, "structures of which everything counts, beside others"),
    "isolated": Kind(isolated, "masks of single points, or of all but single ones", frozenset({"UnequalMasks"})),
    "single": Kind(single, "masks of one point: the first, the last, or another"),
    "perfect": Kind(perfect, "predictions that are the target, to the bit, at some shift", frozenset({"PerfectFit"})),
    "nan": Kind(fitted(0.2), "NaN targets where the mask is false", frozenset(), masked_as_nan=True),
    "large": Kind(fitted(0.3), "as large as the format's range allows", frozenset({"HugeRange"}), "large"),
    "small": Kind(fitted(0.3), "as small as the format's range allows", frozenset({"HugeRange"}), "small"),
    "exponents": Kind(exponents, "many magnitudes beside each other", frozenset({"HugeRange"}), "large"),
    "part-subnormal": Kind(subnormal(0.3), "some numbers are subnormal", frozenset({"Subnormal"})),
    "all-subnormal": Kind(subnormal(1.0), "all numbers are subnormal", frozenset({"Subnormal"})),
    "strided": Kind(fitted(0.2), "arrays that are not contiguous", frozenset({"NonContiguous"})),
    "read-only": Kind(fitted(0.2), "arrays that must not be written to", frozenset({"ReadOnly"})),
    "wide": Kind(wide, "targets wider than the prediction", frozenset({"Random"})),
}  # fmt: skip
"""The kinds of inputs of the aligned losses."""


def _random_mask(draw: Draws, structures: int, points: int) -> Booleans:
    return draw.chance((structures, points), draw.uniform((structures, 1), 0.3, 0.95))


def _floats(x: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(x, dtype=np.float64)


def _mirrored(rows: Floats) -> Floats:
    width = rows.shape[1]
    half = rows[:, : (width + 1) // 2]
    return np.concatenate([half, half[:, : width // 2][:, ::-1]], axis=1)
