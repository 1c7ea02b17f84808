"""From checked arrays to an aligned result: the kernels, their certificates, and what is left to exact arithmetic.

Every figure leaves the kernels as a double-double with a bound on its error, a row (high, low, error). Where the bound
does not prove the figure within 0.501 ulp, or the order of two shifts, `refloss.exact` settles it.
(docs/specification.md, section 9.)
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from typing import Final

import numpy as np

from refloss import alignment
from refloss.arithmetic import standard_arithmetic
from refloss.arrays import largest
from refloss.batch import Batch, doubles
from refloss.certificate import Unrounded, add_up, certified, times_power, weighted_sum
from refloss.errors import InputError
from refloss.exact import Formula, double_double, nearest
from refloss.kernels import profile
from refloss.kernels.eft import EPS, TINY
from refloss.results import AlignedResult, Booleans, Floats, Integers, Terms

_FIGURES: Final = (
    "terms.dos",
    "terms.front_tail",
    "terms.unmasked_gradient",
    "terms.cumulative",
    "per_structure",
)


@standard_arithmetic
def at_shift(result: AlignedResult, shift: Integers) -> AlignedResult:
    """Return the figures of the same inputs at these shifts (B,), whatever the objective there.

    Nothing was chosen: there is no runner-up, and the certificate is empty.

    Raises
    ------
    InputError
        A shift is not one of the result's, or there is not one for each structure.
    """
    found = np.asarray(shift)
    structures, highest = result.shift.size, result.shifts - 1
    if found.shape != (structures,) or not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"shift: found {found.dtype} {found.shape}, expected integers ({structures},)")
    if ((found < 0) | (found > highest)).any():
        raise InputError(f"shift: found {found.tolist()}, expected numbers from 0 to {highest}")
    r = result
    weights = (r.energy_step, r.grad_weight, r.int_weight)
    formula = Formula(r.convention, *weights, r.targets.shape[1], r.padding, trapezoid=r.padding == 0)
    size = max(largest(r.predictions), largest(r.targets))
    batch = Batch(r.predictions, r.targets, r.mask, size, formula)
    given = found.astype(np.int64)
    return evaluate(batch, reduction=r.reduction, grad=r.grad is not None, energy_grid=r.energy_grid, shift=given)


def evaluate(
    batch: Batch, *, reduction: str, grad: bool, energy_grid: Floats | None, shift: Integers | None = None
) -> AlignedResult:
    """Return the result of an aligned loss on checked inputs; with `shift`, at these shifts."""
    count, width = batch.predictions.shape
    divisor = count if reduction == "mean" else 1
    figures = np.full((count, 5, 3), np.nan)
    gradient, lost = np.empty((count if grad else 0, width)), np.ones(count, np.bool_)
    follow = _measure(batch, divisor, figures, gradient, lost)
    found = alignment.align(batch, follow) if shift is None else alignment.given(shift, follow)
    shift = found.shift
    if batch.scaled is not None:
        figures = times_power(figures, 2 * batch.scaled[2])
    if grad:
        _complete(batch, shift, divisor, gradient, lost)
    terms, totals = _settle(batch, shift, figures)
    per_structure = terms[:, profile.TOTAL]
    unrounded = None
    if reduction != "none":
        unrounded = Unrounded(add_up(totals, divisor), partial(_exact_value, batch, shift, divisor))
    formula = batch.formula
    return AlignedResult(
        value=per_structure if unrounded is None else weighted_sum([(1.0, unrounded)], "value"),
        per_structure=per_structure,
        shift=shift,
        runner_up=found.runner_up,
        margin=found.margin,
        tied=found.tied,
        certificate=found.certificate,
        terms=Terms(*(terms[:, column] for column in range(profile.TOTAL))),
        grad=gradient if grad else None,
        convention=formula.convention,
        predictions=batch.predictions,
        targets=batch.targets,
        mask=batch.mask,
        energy_step=formula.energy_step,
        energy_grid=energy_grid,
        reduction=reduction,
        grad_weight=formula.grad_weight,
        int_weight=formula.int_weight,
        padding=formula.padding,
        _unrounded=unrounded,
        _landscape=partial(alignment.landscape, batch),
        _rival=partial(alignment.rival, batch, shift),
    )


def _measure(batch: Batch, divisor: int, figures: Floats, grad: Floats, lost: Booleans) -> alignment.Follow:
    """Return what fills figures (B, 5, 3), and grad (B, P) where it has rows, once the shifts are known.

    Where the kernels cannot go the figures stay NaN, and every structure's gradient is lost.
    """
    if batch.scaled is None:
        grad[:] = np.nan
        return lambda shift, start, stop: None
    p, t, _ = batch.scaled
    formula = batch.formula
    switches = (formula.trapezoid, formula.whole, formula.squares)
    inputs = (p, formula.padding, t, batch.mask, batch.members, *switches, batch.stencil)
    return partial(profile.evaluate, *inputs, _coefficients(formula, divisor), batch.share, figures, grad, lost)


@lru_cache(maxsize=64)
def _coefficients(formula: Formula, divisor: int) -> Floats:
    """Return what the sums count (3, 4, 2) in terms, in their total and in the gradient, as double-doubles.

    Kept, since the fractions take as long as two structures, and a training run asks for the same ones all the time.
    """
    slopes = (c / divisor for c in formula.coefficients)
    return np.stack([doubles(rows) for rows in (formula.factors, formula.coefficients, slopes)])


def _complete(batch: Batch, shift: Integers, divisor: int, grad: Floats, lost: Booleans) -> None:
    """Take back the scaling of the gradient, and mend what the kernels lost, or the scaling would lose."""
    if batch.scaled is not None and batch.scaled[2] != 0:
        k = batch.scaled[2]
        beyond = (grad != 0.0) & (np.abs(np.frexp(grad)[1] + k) > 1000)
        grad[:] = np.where(beyond, np.nan, np.ldexp(np.where(beyond, 0.0, grad), k))
        lost |= beyond.any(axis=1)
    for b in np.flatnonzero(lost).tolist():
        _mend(batch, b, int(shift[b]), grad[b], divisor)


def _mend(batch: Batch, b: int, shift: int, grad: Floats, divisor: int) -> None:
    """Replace the NaN in a row of the gradient by exact figures."""
    structure, columns = batch.structure(b), np.flatnonzero(np.isnan(grad))
    start = shift - batch.formula.padding
    if ((columns < start) | (columns >= start + batch.targets.shape[1])).all():
        exact = {column: structure.grad_outside(column, shift) for column in columns.tolist()}
    else:
        whole = structure.grad(shift)
        exact = {column: whole[column] for column in columns.tolist()}
    for column, value in exact.items():
        grad[column] = nearest(value / divisor, f"grad[{b}, {column}]")


def _settle(batch: Batch, shift: Integers, figures: Floats) -> tuple[Floats, Floats]:
    """Round the figures (B, 5), exactly where they are not certified, and return the totals (B, 3) beside them."""
    rounded, totals = figures[..., 0].copy(), figures[:, profile.TOTAL].copy()
    sure = certified(figures)
    for b in np.flatnonzero(~sure.all(axis=1)).tolist():
        structure = batch.structure(b)
        for index in np.flatnonzero(~sure[b]).tolist():
            exact = structure.figure(index, int(shift[b]))
            rounded[b, index] = nearest(exact, f"{_FIGURES[index]}[{b}]")
            if index == profile.TOTAL:
                high, low = double_double(exact)
                totals[b] = high, low, EPS * abs(high) + TINY
    return rounded, totals


def _exact_value(batch: Batch, shift: Integers, divisor: int) -> Fraction:
    exact = (batch.structure(b).figure(profile.TOTAL, int(shift[b])) for b in range(len(batch)))
    return sum(exact, Fraction()) / divisor
