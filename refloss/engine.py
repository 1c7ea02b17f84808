"""From checked arrays to an aligned result: the kernels, their certificates, and what is left to exact arithmetic.

Every figure leaves the kernels as a double-double with a bound on its error, a row (high, low, error). Where the bound
does not prove the figure within 0.501 ulp, or the order of two shifts, `refloss.exact` settles it.
(docs/specification.md, section 9.)
"""

from __future__ import annotations

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
    def scaled(self) -> tuple[Floats, Floats, int] | None:
        """Predictions and targets over 2^k, and k, at which no sum overflows; None where there is no such k."""
        formula = self.formula
        for number in (formula.energy_step, abs(formula.grad_weight), abs(formula.int_weight)):
            if number != 0.0 and not 1 / MODERATE <= number <= MODERATE:
                return None
        largest = max(float(x) for a in (self.predictions, self.targets) for x in (a.max(), -a.min()))
        if largest == 0.0 or 1 / MODERATE <= largest <= MODERATE:
            return self.predictions, self.targets, 0
        k = int(np.frexp(largest)[1])
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
    shift, runner_up, margin = _align(batch)
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
        tied=margin == 0.0,
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
    heights = _landscape(_batch_of(result))
    shift = np.array([_other_minimum(row, s) for row, s in zip(heights[..., 0], result.shift, strict=True)], np.int64)
    rows = np.arange(shift.size)
    margin = minus(heights[rows, shift], heights[rows, result.shift])
    sure = certified(margin)
    batch = _batch_of(result)
    for b in np.flatnonzero(~sure & (shift >= 0)).tolist():
        gap = _gap(batch, batch.structure(b), int(result.shift[b]), int(shift[b]))
        margin[b, 0] = nearest(gap, f"rival().margin[{b}]")
    return Rival(shift, np.where(shift < 0, np.inf, margin[:, 0]))


def _batch_of(result: AlignedResult) -> Batch:
    formula = Formula(
        result.convention, result.energy_step, result.grad_weight, result.int_weight, result.targets.shape[1]
    )
    return Batch(result.predictions, result.targets, result.mask, formula)


def _align(batch: Batch) -> tuple[Integers, Integers, Floats]:
    """Return shift, runner-up and margin of every structure."""
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
            run = partial(alignment.search, p, t, batch.mask, tail, batch.step)
            for_range(lambda start, stop: run(start, stop, *chosen, alive, margins), count)
            margins = times_power(margins, 2 * k)
    settled = proven & certified(margins) | (runner_up < 0) & proven
    for b in np.flatnonzero(~settled).tolist():
        structure = batch.structure(b)
        if not proven[b]:
            shift[b], runner_up[b] = structure.best_two(np.flatnonzero(alive[b]).tolist())
        gap = _gap(batch, structure, int(shift[b]), int(runner_up[b])) if runner_up[b] >= 0 else None
        margins[b, 0] = np.inf if gap is None else nearest(gap, f"margin[{b}]")
    return shift, runner_up, np.ascontiguousarray(margins[:, 0])


def _gap(batch: Batch, structure: Structure, best: int, other: int) -> Fraction:
    return (structure.objective(other) - structure.objective(best)) * Fraction(batch.step)


def _profile(batch: Batch, shift: Integers, divisor: int | None) -> tuple[Floats, Floats | None]:
    """Return the sums (B, 4, 3) at `shift`, NaN where the kernels cannot go, and the gradient where asked for."""
    count, width = batch.predictions.shape
    grad = np.empty((count if divisor is not None else 0, width))
    sums, lost = np.full((count, 4, 3), np.nan), np.ones(count, np.bool_)
    if batch.scaled is not None:
        p, t, k = batch.scaled
        formula = batch.formula
        coefficients = _doubles(c / (divisor or 1) for c in formula.coefficients)
        inputs = (p, t, batch.mask, batch.members, formula.whole, formula.squares, batch.stencil, shift)

        def run(start: int, stop: int) -> None:
            profile.evaluate(*inputs, start, stop, sums, coefficients, batch.share, grad, lost)

        for_range(run, count)
        if k != 0:
            grad = times_power(grad, k)
            small = (np.abs(grad) < 2.0**-1000) & (grad != 0.0)
            lost = lost | (small | ~np.isfinite(grad)).any(axis=1) if divisor is not None else lost
    if divisor is None:
        return sums, None
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


def _other_minimum(heights: Floats, shift: int) -> int:
    """Return the lowest local minimum that does not hold `shift`, −1 where there is none."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(heights)) + 1])
    level = heights[starts]
    padded = np.concatenate([[np.inf], level, [np.inf]])
    minimum = (level < padded[:-2]) & (level < padded[2:])
    minimum[np.searchsorted(starts, shift, side="right") - 1] = False
    if not minimum.any():
        return -1
    return int(starts[minimum][np.argmin(level[minimum])])


def _doubles(fractions: Any) -> Floats:
    return np.array([double_double(fraction) for fraction in fractions])
