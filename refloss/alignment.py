"""The alignment of a batch, how it is known, and the landscape that it was chosen from.

`refloss.kernels.alignment` proves most of it from bounds; what it leaves is decided by `refloss.exact`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from refloss.arithmetic import standard_arithmetic
from refloss.batch import Batch, doubles
from refloss.certificate import certified, minus, times_power
from refloss.exact import double_double, nearest
from refloss.kernels import alignment as kernels
from refloss.kernels.eft import EPS, TINY
from refloss.parallel import for_range
from refloss.results import Booleans, Certificate, Floats, Integers, Rival

Follow = Callable[[Integers, int, int], None]
"""``follow(shift, start, stop)``: what is to be done with structures start..stop, whose shifts are known."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Shift, runner-up, margin and tied of every structure, each (B,), and how they are known."""

    shift: Integers
    runner_up: Integers
    margin: Floats
    tied: Booleans
    certificate: Certificate


def align(batch: Batch, follow: Follow) -> Alignment:
    """Find the best two shifts of every structure, and call ``follow(shift, start, stop)`` once they are found.

    Each part of the batch is followed up where it was aligned, while it is in the caches: a round trip to the pool
    takes as long as some structures. What exact arithmetic then aligns otherwise is followed up again.
    """
    count = len(batch)
    shift, runner_up = np.zeros(count, np.int64), np.full(count, -1)
    proven, margins = np.zeros(count, np.bool_), np.full((count, 3), np.nan)
    evaluated, exact, excluded = np.full(count, batch.shifts), np.zeros(count, np.int64), np.full(count, np.inf)
    outputs = (shift, runner_up, proven, margins)
    choose: Callable[[int, int], None] | None = None
    if batch.scaled is not None:
        if batch.objective != "total":
            nothing = np.empty((0, batch.shifts), np.bool_)
            choose = partial(_search(batch, slice(None)), *outputs, evaluated, excluded, nothing)
        elif batch.scaled[2] == 0:
            from refloss.kernels import landscape as landscapes

            choose = partial(landscapes.choose, _kernel_heights(batch), *outputs)

    def run(start: int, stop: int) -> None:
        if choose is not None:
            choose(start, stop)
        follow(shift, start, stop)

    for_range(run, count)
    if batch.scaled is not None:
        margins = times_power(margins, 2 * batch.scaled[2])
        excluded = _lower_bound(excluded, batch.step, 2 * batch.scaled[2])
    tied = (margins[:, 0] == 0.0) & (margins[:, 2] == 0.0)
    for b in np.flatnonzero(~(proven & (certified(margins) | (runner_up < 0)))).tolist():
        structure = batch.structure(b)
        if not proven[b]:
            contenders = _contenders(batch, b)
            exact[b] = len(contenders)
            before = shift[b]
            shift[b], runner_up[b] = structure.best_two(contenders)
            if shift[b] != before:
                follow(shift, b, b + 1)
        if runner_up[b] < 0:
            margins[b, 0], tied[b] = np.inf, False
        else:
            gap = structure.objective(int(runner_up[b])) - structure.objective(int(shift[b]))
            # A margin may be too small for a float, and still not be 0.
            margins[b, 0], tied[b] = nearest(gap * Fraction(batch.step), f"margin[{b}]"), gap == 0
            exact[b] = max(exact[b], 2)
    certificate = Certificate(evaluated, exact, excluded)
    return Alignment(shift, runner_up, np.ascontiguousarray(margins[:, 0]), tied, certificate)


def given(shift: Integers, follow: Follow) -> Alignment:
    """Follow up these shifts, which nobody compared with others."""
    count = shift.size
    for_range(partial(follow, shift), count)
    certificate = Certificate(np.zeros(count, np.int64), np.zeros(count, np.int64), np.full(count, np.inf))
    alone, infinite = np.full(count, -1), np.full(count, np.inf)
    return Alignment(shift, alone, infinite, np.zeros(count, np.bool_), certificate)


@standard_arithmetic
def landscape(batch: Batch) -> Floats:
    """Return the (B, S) objective at every shift, correctly rounded; inf where it overflows."""
    return _landscape(batch)[..., 0]


@standard_arithmetic
def rival(batch: Batch, shift: Integers) -> Rival:
    """Return the best local minimum of each landscape other than the one that the structure was aligned to."""
    heights = _landscape(batch)
    found = [_rival(batch, b, heights[b], best) for b, best in enumerate(shift.tolist())]
    shifts, margins = zip(*found, strict=True)
    return Rival(np.array(shifts, np.int64), np.array(margins))


def _search(batch: Batch, rows: slice) -> Any:
    """Return the search kernel with its inputs, these rows of them; the range and the outputs are left."""
    assert batch.scaled is not None
    p, t, k = batch.scaled
    formula, tail = batch.formula, batch.objective == "dos+front_tail"
    most = float(np.ldexp(batch.largest, -k))
    return partial(
        kernels.search, p[rows], formula.padding, t[rows], batch.mask[rows], tail, formula.trapezoid, batch.step, most
    )


def _contenders(batch: Batch, b: int) -> list[int]:
    """Return the shifts of structure `b` that no bound excludes."""
    if batch.scaled is None or batch.objective == "total":
        return list(range(batch.shifts))
    alive, count = np.zeros((1, batch.shifts), np.bool_), np.empty(1, np.int64)
    shift, other, proven, margin, bound = (
        count.copy(),
        count.copy(),
        np.empty(1, np.bool_),
        np.empty((1, 3)),
        np.empty(1),
    )
    _search(batch, slice(b, b + 1))(shift, other, proven, margin, count, bound, alive, 0, 1)
    return np.flatnonzero(alive[0]).tolist()


def _lower_bound(bounds: Floats, step: float, exponent: int) -> Floats:
    """Return bounds · step · 2^exponent, rounded down; no objective is below 0."""
    (mantissa, own), (factor, further) = np.frexp(bounds), math.frexp(step)
    # At once: the product may underflow, or overflow, where the whole does not.
    with np.errstate(over="ignore"):
        scaled = np.ldexp(mantissa * factor, own + (further + exponent))
        scaled = np.maximum(np.nextafter(scaled, -np.inf), 0.0)
    return np.where(np.isfinite(bounds), scaled, np.inf)


def _kernel_heights(batch: Batch) -> Floats:
    """Return the objective at every shift as rows (B, S, 3); NaN where the kernels cannot go."""
    from refloss.kernels import landscape as landscapes

    heights = np.full((len(batch), batch.shifts, 3), np.nan)
    if batch.scaled is None:
        return heights
    p, t, k = batch.scaled
    formula = batch.formula
    if batch.objective == "total":
        weights = doubles(formula.coefficients)
        switches = (formula.trapezoid, formula.whole, formula.squares)
        run = partial(landscapes.total_landscape, p, formula.padding, t, batch.mask, *switches, batch.stencil, weights)
    else:
        tail = batch.objective == "dos+front_tail"
        run = partial(landscapes.landscape, p, formula.padding, t, batch.mask, tail, formula.trapezoid, batch.step)
    for_range(partial(run, heights), len(batch))
    return times_power(heights, 2 * k)


def _landscape(batch: Batch) -> Floats:
    """Return rows (B, S, 3) whose high parts are correctly rounded."""
    heights = _kernel_heights(batch)
    sure = certified(heights)
    for b in np.flatnonzero(~sure.all(axis=1)).tolist():
        structure = batch.structure(b)
        for s in np.flatnonzero(~sure[b]).tolist():
            exact = structure.objective(s) * Fraction(batch.step)
            try:
                high, low = double_double(exact)
            except OverflowError:
                # The one figure that may be infinite: a shift that nobody would choose.
                high, low = np.inf, 0.0
            heights[b, s] = high, low, EPS * abs(high) + TINY
    return heights


def _rival(batch: Batch, b: int, rows: Floats, best: int) -> tuple[int, float]:
    """Return the rival of structure `b`, whose landscape is `rows` (S, 3), and its margin."""
    minima = _other_minima([tuple(row) for row in rows[:, :2]], best)
    lowest = min(minima, key=lambda s: tuple(rows[s, :2]), default=best)
    gaps = (minus(rows[1:], rows[:-1]), minus(rows[[s for s in minima if s != lowest]], rows[lowest]))
    if all(_ordered(gap).all() for gap in gaps):
        margin = minus(rows[lowest], rows[best])
        if certified(margin) or not minima:
            return (lowest, float(margin[0])) if minima else (-1, np.inf)
    structure = batch.structure(b)
    exact = [structure.objective(s) for s in range(batch.shifts)]
    minima = _other_minima(exact, best)
    if not minima:
        return -1, np.inf
    lowest = min(minima, key=lambda s: exact[s])
    return lowest, nearest((exact[lowest] - exact[best]) * Fraction(batch.step), f"rival().margin[{b}]")


def _ordered(gaps: Floats) -> Booleans:
    """Whether the sign of each gap is proven."""
    proven: Booleans = (np.abs(gaps[..., 0]) > gaps[..., 2]) | ((gaps[..., 0] == 0.0) & (gaps[..., 2] == 0.0))
    return proven


def _other_minima(heights: Sequence[Any], best: int) -> list[int]:
    """Return where the runs of equal heights begin that have nothing lower beside them and do not hold `best`."""
    starts = [s for s, height in enumerate(heights) if s == 0 or height != heights[s - 1]]
    runs = list(itertools.pairwise([*starts, len(heights)]))
    return [
        start
        for start, stop in runs
        if not start <= best < stop
        and (start == 0 or heights[start - 1] > heights[start])
        and (stop == len(heights) or heights[stop] > heights[start])
    ]
