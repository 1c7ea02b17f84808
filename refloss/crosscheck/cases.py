"""The inputs that an implementation is tried on: generic, physical, and such as a plausible mistake cannot pass.

A case holds predictions, targets and a mask, float64 arrays whose numbers the format holds exactly, and the loss's
parameters. Shapes are those of docs/specification.md, sections 2 to 4; energies in eV, densities in states/eV. Every
case has an id of its own, from which, with the seed, its numbers follow: adding a case changes no other. Parameters
follow from the id alone, so that another seed tries the same combinations.

No figure of a case overflows in its format. Figures underflow only where the case has the flag `Subnormal`; and in
float16, whose range is narrower than the terms of an aligned loss lie apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from refloss.arrays import choice, finite_number, whole_number
from refloss.crosscheck import adversarial, elementwise, physical
from refloss.crosscheck.adversarial import Sizes
from refloss.crosscheck.draws import Draws
from refloss.crosscheck.formats import Format
from refloss.crosscheck.ranges import in_range, largest_aligned, largest_pointwise
from refloss.crosscheck.suites import (
    DEFAULT_WEIGHTS,
    GRADIENT_WEIGHT,
    LOSSES,
    POINTWISE,
    REDUCTIONS,
    SUITES,
    aligned_params,
    pointwise_params,
    specs,
)
from refloss.errors import InputError, did_you_mean
from refloss.results import Booleans, Floats


@dataclass(frozen=True, eq=False)
class Case:
    """One batch to evaluate a loss on.

    Attributes
    ----------
    id : str
        Unique among the cases of all losses, and stable.
    loss : str
        One of `LOSSES`.
    predictions, targets : ndarray of float64
        Numbers that the format holds; targets may be NaN where they do not count.
    mask : ndarray of bool, or None
        None for losses that take none.
    params : mapping
        Keyword arguments of the loss.
    flags : frozenset of str
        Names of `FLAGS`.
    note : str
        What the inputs are.
    """

    id: str
    loss: str
    predictions: Floats
    targets: Floats
    mask: Booleans | None
    params: Mapping[str, Any]
    flags: frozenset[str]
    note: str


FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AllMasked": "A structure, or the whole array, of which nothing counts: a division by a count of 0, a NaN.",
        "SinglePoint": "One point counts: half weights at the ends of the trapezoid, off-by-one windows.",
        "BatchOne": "One structure: axes that are squeezed, and sums over the batch axis that vanish.",
        "UnequalMasks": "Structures with different masks, holes or isolated points: masks mixed across the batch, "
        "inverted, or shifted against the window.",
        "ExactTie": "Shifts that are equally good in exact arithmetic: a tie that rounding breaks, or the last of "
        "equals instead of the first.",
        "NearTie": "Shifts that differ by a rounding: indices must not be compared blindly.",
        "EdgeShift": "The first shift or the last is the best: a range of shifts that is one too short.",
        "Plateau": "Many shifts are alike: an order of evaluation that shows.",
        "Cancellation": "Small differences of large numbers: expanded squares, differences taken after sums.",
        "HugeRange": "Numbers near the ends of the format's range, or of many magnitudes: an overflow or underflow "
        "inside that the result does not have.",
        "Subnormal": "Subnormal numbers, which may be flushed to zero: a division by them, a NaN.",
        "HuberKnee": "Differences at delta and a rounding beside it: a jump between the two branches.",
        "NaNTarget": "NaN where a target does not count: a product with 0 instead of a selection.",
        "IntegerExact": "Numbers on which correct arithmetic hardly rounds: any constant factor that is wrong shows.",
        "PerfectFit": "Predictions equal to the target: a gradient of 0, and a root or quotient that is not finite.",
        "NonContiguous": "Arrays with strides: memory read as if it were contiguous.",
        "ReadOnly": "Arrays that cannot be written to: inputs changed in place.",
        "LargeBatch": "Many structures: block boundaries of a kernel, a reduction in several stages.",
        "Physical": "Densities of states of crystals, as a good and a bad model predict them: the everyday case.",
        "Random": "Numbers without any structure: a wrong term, factor, index or axis.",
        "Weights": "Weights other than the defaults, at which each term in turn decides: with the defaults a wrong "
        "term hides behind the others.",
    }
)
"""Each flag, and what kind of bug it catches."""


def cases(
    loss: str,
    *,
    format: Format,  # noqa: A002
    suite: str = "core",
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
) -> Iterator[Case]:
    """Return an iterator over the cases of a loss.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    format : Format
        What holds the numbers.
    suite : {"core", "full"}
        "full" is "core" and larger arrays, up to N = 4606.
    seed : int
        Another one gives other numbers with the same ids, sizes and parameters.
    params : mapping, optional
        Parameters that all cases are to have; the others vary.

    Raises
    ------
    InputError
        Unknown loss or suite, a parameter that the loss does not have, or a value that it does not take.
    """
    choice("loss", loss, LOSSES)
    choice("suite", suite, SUITES)
    whole_number("seed", seed)
    fixed = _checked(loss, {} if params is None else params)
    make = _pointwise if loss in POINTWISE else _aligned
    return make(loss, format, suite, seed, fixed)


def parameters(loss: str) -> tuple[str, ...]:
    """Return the names of the parameters that a loss takes beside its arrays."""
    if loss in POINTWISE:
        return ("delta", "reduction") if loss.endswith("huber") else ("reduction",)
    return ("energy_step", GRADIENT_WEIGHT[loss], "int_weight", "reduction")


def _aligned(loss: str, form: Format, suite: str, seed: int, fixed: dict[str, Any]) -> Iterator[Case]:
    kinds = adversarial.KINDS | physical.KINDS
    agnostic = loss == "shift_agnostic_mse"
    for spec, copy in specs(loss, suite):
        kind, sizes = kinds[spec.kind], Sizes(*spec.sizes)
        name = f"{loss}/{spec.kind}/{sizes}/{copy}"
        params = aligned_params(loss, name, spec, copy) | fixed
        rows = kind.build(Draws(seed, name), sizes, form)
        width = rows.predictions.shape[1] * (3 if agnostic else 1)
        step, gradient, cumulative, reduction = (params[key] for key in parameters(loss))
        largest = partial(
            largest_aligned, shape=(*rows.targets.shape, width), step=step, weights=(gradient, cumulative),
            reduction=reduction, trapezoid=not agnostic,
        )  # fmt: skip
        rows = in_range(rows, form, kind.range, largest)
        targets = np.where(rows.mask, rows.targets, np.nan) if agnostic or kind.masked_as_nan else rows.targets
        flags = kind.flags | _flags(rows.mask, targets)
        if (gradient, cumulative) != DEFAULT_WEIGHTS:
            flags |= {"Weights"}
        mask = None if agnostic else rows.mask
        yield Case(name, loss, rows.predictions, targets, mask, MappingProxyType(params), flags, kind.note)


def _pointwise(loss: str, form: Format, suite: str, seed: int, fixed: dict[str, Any]) -> Iterator[Case]:
    masked = loss.startswith("masked_")
    for spec, copy in specs(loss, suite):
        kind, shape = elementwise.KINDS[spec.kind], spec.sizes
        name = f"{loss}/{spec.kind}/{'x'.join(map(str, shape))}/{copy}"
        params = pointwise_params(loss, name, copy) | fixed
        delta = params.get("delta", 1.0)
        rows = kind.build(Draws(seed, name), shape, form, delta)
        rows = in_range(rows, form, kind.range, partial(largest_pointwise, count=rows.mask.size, delta=delta))
        as_nan = kind.masked_as_nan or (kind.about_selection and not masked)
        targets = np.where(rows.mask, rows.targets, np.nan) if as_nan else rows.targets
        inside = kind.nan_inside & (np.arange(rows.mask.size) % 2 == 0).reshape(shape)
        mask = rows.mask | inside if masked else None
        selected = ~np.isnan(targets) if mask is None else mask & ~np.isnan(targets)
        flags = kind.flags | _flags(selected[None], targets)
        yield Case(name, loss, rows.predictions, targets, mask, MappingProxyType(params), flags, kind.note)


_MANY: Final = 32
"""From how many structures on a batch is a large one."""


def _flags(selected: Booleans, targets: Floats) -> frozenset[str]:
    """Return the flags that follow from what counts: `selected` is (structures, …)."""
    counts = selected.reshape(len(selected), -1).sum(axis=1)
    found = {
        "AllMasked": bool((counts == 0).any()),
        "SinglePoint": bool((counts == 1).any()),
        "UnequalMasks": bool((selected != selected[:1]).any()),
        "BatchOne": targets.ndim > 1 and len(targets) == 1,
        "LargeBatch": targets.ndim > 1 and len(targets) >= _MANY,
        "NaNTarget": bool(np.isnan(targets).any()),
    }
    return frozenset(name for name, true in found.items() if true)


def _checked(loss: str, params: Mapping[str, Any]) -> dict[str, Any]:
    known = parameters(loss)
    for name in params:
        if name not in known:
            raise InputError(
                f"params: found {name!r}, expected some of {', '.join(known)} for {loss}{did_you_mean(name, known)}"
            )
    return {
        name: choice("reduction", value, REDUCTIONS)
        if name == "reduction"
        else finite_number(name, value, positive=name in ("energy_step", "delta"))
        for name, value in params.items()
    }
