"""From checked arrays to an aligned result: the kernels, their certificates, and what is left to exact arithmetic.

Every figure leaves the kernels as a double-double with a bound on its error, a row (high, low, error). Where the bound
does not prove the figure within 0.501 ulp, or the order of two shifts, `refloss.exact` settles it.
(docs/specification.md, section 9.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Final

import numpy as np

from refloss.certificate import add_up, certified, minus, times_power
from refloss.exact import Formula, Structure, double_double, nearest
from refloss.kernels import alignment, profile
from refloss.kernels.eft import EPS
from refloss.parallel import for_range
from refloss.results import AlignedResult, Booleans, Floats, Integers, Rival, Terms

MODERATE: Final = 2.0**100
"""Inputs, dx and weights within this and its inverse keep every sum clear of overflow; the rest is scaled, or exact."""

_TERMS: Final = ("dos", "front_tail", "unmasked_gradient", "cumulative")


@dataclass(frozen=True, eq=False)
class Batch:
    """Checked inputs: predictions (B, P), targets and mask (B, N), and the formula."""

    predictions: Floats
    targets: Floats
    mask: Booleans
    formula: Formula

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shifts(self) -> int:
        """How many shifts there are."""
        return int(self.predictions.shape[1] - self.targets.shape[1]) + 1

    @property
    def objective(self) -> str:
        """What the alignment minimises."""
        return self.formula.convention.objective

    @property
    def step(self) -> float:
        """What turns the kernels' objective into the specification's: they leave out dx where it is a factor."""
        return 1.0 if self.objective == "total" else self.formula.energy_step

    @cached_property
    def share(self) -> Floats:
        """(B,) The trapezoid weights over the batch where the cumulative term is the batch's, else 1."""
        share = np.ones(len(self))
        if self.formula.convention.cumulative == "batch":
            share[[0, -1]] = 0.5 if len(self) > 1 else 0.0
        return share

    @cached_property
    def members(self) -> Floats:
        """(N,) The masks of the batch added up; empty where each structure has its own."""
        batch = self.formula.convention.cumulative == "batch"
        return self.mask.sum(axis=0, dtype=np.float64) if batch else np.empty(0)

    @cached_property
    def largest(self) -> float:
        """The largest prediction or target in absolute value."""
        return max(float(x) for a in (self.predictions, self.targets) for x in (a.max(), -a.min()))

    @cached_property
    def scaled(self) -> tuple[Floats, Floats, int] | None:
        """Predictions and targets over 2^k, and k, at which no sum overflows; None where there is no such k."""
        formula = self.formula
        for number in (formula.energy_step, abs(formula.grad_weight), abs(formula.int_weight)):
            if number != 0.0 and not 1 / MODERATE <= number <= MODERATE:
                return None
        if self.largest == 0.0 or 1 / MODERATE <= self.largest <= MODERATE:
            return self.predictions, self.targets, 0
        k = int(np.frexp(self.largest)[1])
        p, t = np.ldexp(self.predictions, -k), np.ldexp(self.targets, -k)
        exact = np.array_equal(np.ldexp(p, k), self.predictions) and np.array_equal(np.ldexp(t, k), self.targets)
        # Squares accumulate fourth powers, whose unit is 2^4k: not one scale for the whole loss.
        return (p, t, k) if exact and not formula.squares else None

    @cached_property
    def stencil(self) -> Floats:
        """(5,) The coefficients of the backward difference."""
        return np.array(self.formula.stencil)

    def structure(self, b: int) -> Structure:
        """Return structure `b` in exact arithmetic."""
        members = self.members if self.members.size else None
        return Structure(
            self.formula, self.predictions[b], self.targets[b], self.mask[b], members, float(self.share[b])
        )


def evaluate(batch: Batch, *, reduction: str, grad: bool, energy_grid: Floats | None) -> AlignedResult:
    """Return the result of an aligned loss on checked inputs."""
    shift, runner_up, margin, tied = _align(batch)
    divisor = len(batch) if reduction == "mean" else 1
    sums, gradient = _profile(batch, shift, divisor if grad else None)
    figures = _figures(batch, sums)
    terms, totals = _settle(batch, shift, figures)
    per_structure = terms[:, profile.TOTAL]
    value = per_structure if reduction == "none" else _reduce(batch, shift, totals, divisor)
    formula = batch.formula
    return AlignedResult(
        value=value,
        per_structure=per_structure,
        shift=shift,
        runner_up=runner_up,
        margin=margin,
        tied=tied,
        terms=Terms(*(terms[:, column] for column in range(profile.TOTAL))),
        grad=gradient,
        convention=formula.convention,
        predictions=batch.predictions,
        targets=batch.targets,
        mask=batch.mask,
        energy_step=formula.energy_step,
        energy_grid=energy_grid,
        reduction=reduction,
        grad_weight=formula.grad_weight,
        int_weight=formula.int_weight,
        _landscape=landscape,
        _rival=rival,
    )


def landscape(result: AlignedResult) -> Floats:
    """Return the (B, S) objective at every shift, correctly rounded; inf where it overflows."""
    return _landscape(_batch_of(result))[..., 0]


def rival(result: AlignedResult) -> Rival:
    """Return the best local minimum of each landscape other than the one that the structure was aligned to."""
    batch = _batch_of(result)
    heights = _landscape(batch)
    found = [_rival(batch, b, heights[b], int(best)) for b, best in enumerate(result.shift)]
    shift, margin = zip(*found, strict=True)
    return Rival(np.array(shift, np.int64), np.array(margin))


def _batch_of(result: AlignedResult) -> Batch:
    formula = Formula(
        result.convention, result.energy_step, result.grad_weight, result.int_weight, result.targets.shape[1]
    )
    return Batch(result.predictions, result.targets, result.mask, formula)


def _align(batch: Batch) -> tuple[Integers, Integers, Floats, Booleans]:
    """Return shift, runner-up and margin of every structure, and whether the margin is 0."""
    count = len(batch)
    shift, runner_up = np.zeros(count, np.int64), np.full(count, -1)
    proven, alive = np.zeros(count, np.bool_), np.ones((count, batch.shifts), np.bool_)
    margins = np.full((count, 3), np.nan)
    if batch.scaled is not None:
        p, t, k = batch.scaled
        chosen = (shift, runner_up, proven)
        if batch.objective == "total" and k == 0:
            heights = _kernel_heights(batch)
            for_range(lambda start, stop: profile.choose(heights, start, stop, *chosen, margins), count, grain=64)
        elif batch.objective != "total":
            tail = batch.objective == "dos+front_tail"
            run = partial(alignment.search, p, t, batch.mask, tail, batch.step, float(np.ldexp(batch.largest, -k)))
            for_range(lambda start, stop: run(start, stop, *chosen, alive, margins), count)
            margins = times_power(margins, 2 * k)
    tied = (margins[:, 0] == 0.0) & (margins[:, 2] == 0.0)
    for b in np.flatnonzero(~(proven & (certified(margins) | (runner_up < 0)))).tolist():
        structure = batch.structure(b)
        if not proven[b]:
            shift[b], runner_up[b] = structure.best_two(np.flatnonzero(alive[b]).tolist())
        if runner_up[b] < 0:
            margins[b, 0], tied[b] = np.inf, False
        else:
            gap = structure.objective(int(runner_up[b])) - structure.objective(int(shift[b]))
            # A margin may be too small for a float, and still not be 0.
            margins[b, 0], tied[b] = nearest(gap * Fraction(batch.step), f"margin[{b}]"), gap == 0
    return shift, runner_up, np.ascontiguousarray(margins[:, 0]), tied


def _profile(batch: Batch, shift: Integers, divisor: int | None) -> tuple[Floats, Floats | None]:
    """Return the sums (B, 4, 3) at `shift`, NaN where the kernels cannot go, and the gradient where asked for."""
    count, width = batch.predictions.shape
    grad = np.empty((count if divisor is not None else 0, width))
    sums, lost = np.full((count, 4, 3), np.nan), np.ones(count, np.bool_)
    if batch.scaled is not None:
        p, t, _ = batch.scaled
        formula = batch.formula
        coefficients = _doubles(c / (divisor or 1) for c in formula.coefficients)
        inputs = (p, t, batch.mask, batch.members, formula.whole, formula.squares, batch.stencil, shift)

        def run(start: int, stop: int) -> None:
            profile.evaluate(*inputs, start, stop, sums, coefficients, batch.share, grad, lost)

        for_range(run, count)
    if divisor is None:
        return sums, None
    if batch.scaled is not None and batch.scaled[2] != 0:
        k = batch.scaled[2]
        lost |= ((grad != 0.0) & (np.abs(np.frexp(grad)[1] + k) > 1000)).any(axis=1)
        grad[~lost] = np.ldexp(grad[~lost], k)
    for b in np.flatnonzero(lost).tolist():
        exact = batch.structure(b).grad(int(shift[b]))
        grad[b] = [nearest(item / divisor, f"grad[{b}, {column}]") for column, item in enumerate(exact)]
    return sums, grad


def _figures(batch: Batch, sums: Floats) -> Floats:
    """Return the four terms and the total of each structure as rows (B, 5, 3)."""
    figures = np.full((len(batch), 5, 3), np.nan)
    if batch.scaled is not None:
        factors, coefficients = _doubles(batch.formula.factors), _doubles(batch.formula.coefficients)
        profile.combine(sums, factors, coefficients, batch.share, 0, len(batch), figures)
        figures = times_power(figures, 2 * batch.scaled[2])
    return figures


def _settle(batch: Batch, shift: Integers, figures: Floats) -> tuple[Floats, Floats]:
    """Round the figures (B, 5), exactly where they are not certified, and return the totals (B, 3) beside them."""
    rounded, totals = figures[..., 0].copy(), figures[:, profile.TOTAL].copy()
    sure = certified(figures)
    for b in np.flatnonzero(~sure.all(axis=1)).tolist():
        structure = batch.structure(b)
        terms = structure.terms(int(shift[b]))
        total = structure.total(int(shift[b]))
        names = (*(f"terms.{name}[{b}]" for name in _TERMS), f"per_structure[{b}]")
        rounded[b] = [nearest(exact, name) for exact, name in zip((*terms, total), names, strict=True)]
        high, low = double_double(total)
        totals[b] = high, low, EPS * abs(high) + 2.0**-1074
    return rounded, totals


def _reduce(batch: Batch, shift: Integers, totals: Floats, divisor: int) -> float:
    value = add_up(totals, divisor)
    if value is not None:
        return value
    exact = sum((batch.structure(b).total(int(shift[b])) for b in range(len(batch))), Fraction())
    return nearest(exact / divisor, "value")


def _kernel_heights(batch: Batch) -> Floats:
    """Return the objective at every shift as rows (B, S, 3); NaN where the kernels cannot go."""
    heights = np.full((len(batch), batch.shifts, 3), np.nan)
    if batch.scaled is None:
        return heights
    p, t, k = batch.scaled
    formula = batch.formula
    if batch.objective == "total":
        weights = _doubles(formula.coefficients)
        run = partial(profile.total_landscape, p, t, batch.mask, formula.whole, formula.squares, batch.stencil, weights)
    else:
        run = partial(alignment.landscape, p, t, batch.mask, batch.objective == "dos+front_tail", batch.step)
    for_range(lambda start, stop: run(start, stop, heights), len(batch))
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
            heights[b, s] = high, low, EPS * abs(high) + 2.0**-1074
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


def _doubles(fractions: Any) -> Floats:
    return np.array([double_double(fraction) for fraction in fractions])
