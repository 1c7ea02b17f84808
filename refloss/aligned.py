"""The aligned losses: a prediction slides along the energy axis until it fits its target, then the terms are taken.

Shapes: B structures, N points of a target, N + E or P of a prediction. Units: energies in eV, densities of states in
states/eV; so D and F are in states²/eV (sums without energy step: states²/eV²), C in states² · eV and G in states²/eV³,
before their weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC, Convention, find
from refloss.errors import InputError
from refloss.results import AlignedResult, Booleans, Floats


@standard_arithmetic
def masked_dos(
    predictions: Any,
    targets: Any,
    mask: Any,
    *,
    energy_step: float | None = None,
    energy_grid: Any = None,
    grad_weight: float = 1e-4,
    int_weight: float = 2.0,
    extra_targets: int | None = None,
    reduction: str = "mean",
    convention: str | Convention = "documented",
    grad: bool = False,
) -> AlignedResult:
    r"""Masked density-of-states loss, after alignment along the energy axis.

    With the window :math:`a_i = p_{s+i}` and the shift :math:`s^*` that minimises the convention's objective (the
    smallest of equals), per structure

    .. math:: D + [F] + w_g \, G + w_c \, C

    where, :math:`\omega` being trapezoid weights and :math:`dx` the energy step,

    .. math::
        D &= dx \sum_i \omega_i m_i (a_i - t_i)^2, \qquad F = dx \sum_{j \le s^*} \omega_j p_j^2, \\
        G &= dx \sum_j \omega_j (1 - m_j) g_j^2, \qquad
        C = dx \sum_{i \ge 1} \omega_i m_i c_i^2, \quad c = \mathrm{cumtrapz}(a - t),

    and g is the fourth-order backward difference of p.

    Parameters
    ----------
    predictions : (B, N + E) array
        Predicted density of states, states/eV.
    targets : (B, N) array, or (B, N + E)
        In the padded layout the first E columns are dropped unseen; it needs `extra_targets`.
    mask : (B, N) array of booleans or 0 and 1, or (B, N + E)
        1 where the target counts. A NaN target under a 0 reads 0.
    energy_step : float, default 0.05
        dx in eV.
    energy_grid : (N,) array, optional
        The target's energies in eV, instead of `energy_step`: uniform to 1e-6 of the step.
    grad_weight, int_weight : float
        Weights of G and C.
    extra_targets : int, optional
        E, where targets or mask come padded. Otherwise E follows from the widths: padded targets and mask, unnamed,
        mean E = 0.
    reduction : {"mean", "sum", "none"}
        Over structures.
    convention : str or Convention
        Which of the ways to read this loss: see `refloss.conventions`.
    grad : bool
        Whether to return d value / d predictions too, shift and mask constant.

    Returns
    -------
    AlignedResult

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists.

    References
    ----------
    docs/specification.md, section 3. The loss: W. B. How, P. Febrer, S. Chong, A. Mazitov, F. Bigi, M. Kellner,
    S. Pozdnyakov and M. Ceriotti, "Universal machine learning for the electronic density of states" (2025).
    """
    from refloss import engine
    from refloss.batch import Batch
    from refloss.exact import Formula

    chosen = find(convention, MASKED_DOS)
    p = arrays.real_array("predictions", predictions, ndim=2, finite=False)
    t, m, largest = _targets_and_mask(p, targets, mask, extra_targets)
    largest = max(largest, arrays.require_finite("predictions", p))
    step, grid = _energy_axis(energy_step, energy_grid, t.shape[1], chosen)
    weights = _weights(grad_weight=grad_weight, int_weight=int_weight)
    batch = Batch(p, t, m, largest, Formula(chosen, step, *weights, t.shape[1]))
    return engine.evaluate(batch, reduction=_reduction(reduction, chosen), grad=grad, energy_grid=grid)


@standard_arithmetic
def shift_agnostic_mse(
    predictions: Any,
    targets: Any,
    *,
    energy_step: float | None = None,
    energy_grid: Any = None,
    grad_penalty_weight: float = 1e-4,
    int_weight: float = 2.0,
    reduction: str = "mean",
    convention: str | Convention = "intended",
    grad: bool = False,
) -> AlignedResult:
    r"""Squared error of a density of states at the best of all shifts, a prediction being zero beyond its ends.

    With q the prediction between as many zeros again on both sides, the window :math:`a_i = q_{s+i}` and the shift
    :math:`s^*` that minimises :math:`D + F`, per structure :math:`D + F + w_g \, G + w_c \, C` where

    .. math:: D = \sum_i m_i (a_i - t_i)^2, \qquad F = \sum_{j < s^*} q_j^2,

    m is 0 where the target is NaN, and G and C are those of `masked_dos` on q. There is no energy step in D and F.

    Parameters
    ----------
    predictions : (B, P) array
        Predicted density of states, states/eV.
    targets : (B, N) array
        At most 3 P points; NaN where there is no target.
    energy_step : float, default 0.05
        dx in eV, of G and C.
    energy_grid : (N,) array, optional
        The target's energies in eV, instead of `energy_step`: uniform to 1e-6 of the step.
    grad_penalty_weight, int_weight : float
        Weights of G and C.
    reduction : {"mean", "sum", "none"}
        Over structures.
    convention : str or Convention
        Which of the ways to read this loss: see `refloss.conventions`.
    grad : bool
        Whether to return d value / d predictions too, shift and mask constant.

    Returns
    -------
    AlignedResult
        `shift` counts from the padded start: P is "not shifted". `in_padding` tells which windows hold no prediction.

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists.

    References
    ----------
    docs/specification.md, section 4.
    """
    from refloss import engine
    from refloss.batch import Batch
    from refloss.exact import Formula

    chosen = find(convention, SHIFT_AGNOSTIC)
    p = arrays.real_array("predictions", predictions, ndim=2, finite=False)
    t = arrays.real_array("targets", targets, ndim=2, finite=False)
    if t.shape[0] != p.shape[0]:
        raise InputError(f"targets: found shape {t.shape}, expected {p.shape[0]} structures as in predictions")
    if not 2 <= t.shape[1] <= 3 * p.shape[1]:
        raise InputError(
            f"targets: found {t.shape[1]} points, expected 2 to {3 * p.shape[1]}, three times those of predictions"
        )
    t, there, largest = _without_nan(t)
    m = np.ones(t.shape, np.bool_) if there is None else there
    largest = max(largest, arrays.require_finite("predictions", p))
    step, grid = _energy_axis(energy_step, energy_grid, t.shape[1], chosen)
    weights = _weights(grad_penalty_weight=grad_penalty_weight, int_weight=int_weight)
    formula = Formula(chosen, step, *weights, t.shape[1], padding=p.shape[1], trapezoid=False)
    batch = Batch(p, t, m, largest, formula)
    return engine.evaluate(batch, reduction=_reduction(reduction, chosen), grad=grad, energy_grid=grid)


def under(result: AlignedResult, convention: str | Convention) -> AlignedResult:
    """Return the result of the same inputs under another convention: aligned anew, with a gradient if this one has it.

    Raises
    ------
    InputError
        The loss has no such convention, or the convention does not take the step or the reduction of these inputs.
    """
    axis = {"energy_step": result.energy_step} if result.energy_grid is None else {"energy_grid": result.energy_grid}
    shared: dict[str, Any] = {
        **axis,
        "int_weight": result.int_weight,
        "reduction": result.reduction,
        "convention": convention,
        "grad": result.grad is not None,
    }
    if result.padding:
        targets = np.where(result.mask, result.targets, np.nan)
        return shift_agnostic_mse(result.predictions, targets, grad_penalty_weight=result.grad_weight, **shared)
    inputs = (result.predictions, result.targets, result.mask)
    return masked_dos(*inputs, grad_weight=result.grad_weight, **shared)


def _weights(**weights: float) -> tuple[float, float]:
    first, second = (arrays.finite_number(name, weight) for name, weight in weights.items())
    return first, second


def _reduction(reduction: str, convention: Convention) -> str:
    only = len(convention.reductions) == 1
    note = f" (convention {convention.name}: the release ignores any other)" if only else ""
    return arrays.choice("reduction", reduction, convention.reductions, note=note)


def _targets_and_mask(p: Floats, targets: Any, mask: Any, extra_targets: int | None) -> tuple[Floats, Booleans, float]:
    """Return targets and mask (B, N), the padding dropped and NaN under a false mask read as 0, and the largest |t|."""
    t = arrays.real_array("targets", targets, ndim=2, finite=False)
    if mask is None:
        raise InputError("mask: found None, expected an array of the shape of targets (all true, if all points count)")
    raw = arrays.on_host("mask", mask)
    structures, width = p.shape
    for name, array in (("targets", t), ("mask", raw)):
        if array.ndim != 2:
            raise InputError(f"{name}: found {array.ndim} dimensions, shape {array.shape}, expected 2")
        if array.shape[0] != structures:
            raise InputError(f"{name}: found shape {array.shape}, expected {structures} structures as in predictions")
    if extra_targets is None:
        if t.shape[1] > width:
            raise InputError(
                f"targets: found {t.shape[1]} points, expected at most the {width} of predictions {p.shape}"
            )
        points = t.shape[1]
    else:
        points = width - arrays.whole_number("extra_targets", extra_targets)
        if points < 2:
            raise InputError(
                f"extra_targets: found {extra_targets}, expected at most {width - 2}, which leaves 2 of the {width} "
                "points of predictions"
            )
        t, raw = (
            _without_padding(name, array, points, width, extra_targets)
            for name, array in (("targets", t), ("mask", raw))
        )
    if points < 2:
        raise InputError(f"targets: found {points} points, expected at least 2 (predictions have {width})")
    if raw.shape != t.shape:
        hint = " (padded? then give extra_targets)" if width in (t.shape[1], raw.shape[1]) else ""
        raise InputError(f"mask: found shape {raw.shape}, expected {t.shape}, the shape of targets{hint}")
    m = arrays.mask_array("mask", raw)
    t, there, largest = _without_nan(np.require(t, requirements=["C", "A"]))
    if there is not None and (wrong := m > there).any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"targets: found {int(wrong.sum())} NaN where the mask is true (first at index {where}), "
            "expected numbers there: mask the point out"
        )
    return t, m, largest


def _without_nan(t: Floats) -> tuple[Floats, Booleans | None, float]:
    """Return the targets with 0 for NaN, where there was none (None: everywhere), and the largest |t|."""
    largest = arrays.require_finite("targets", t, allow_nan=True)
    if not math.isnan(largest):
        return t, None, largest
    there = ~np.isnan(t)
    t = np.where(there, t, 0.0)
    return t, there, arrays.largest(t)


def _without_padding(name: str, array: Any, points: int, width: int, extra: int) -> Any:
    if array.shape[1] not in (points, width):
        raise InputError(
            f"{name}: found {array.shape[1]} points, expected {points} or, padded, {width}: predictions have {width} "
            f"points and extra_targets is {extra}"
        )
    return array[:, array.shape[1] - points :]


def _energy_axis(
    energy_step: float | None, energy_grid: Any, points: int, convention: Convention
) -> tuple[float, Floats | None]:
    """Return dx and the checked grid, from whichever is given."""
    only = convention.energy_step
    step = 0.05 if energy_step is None else arrays.finite_number("energy_step", energy_step, positive=True)
    grid = None
    if energy_grid is not None:
        grid = arrays.real_array("energy_grid", energy_grid, ndim=1)
        if grid.size != points:
            raise InputError(f"energy_grid: found {grid.size} energies, expected {points}, the points of targets")
        found = arrays.uniform_step("energy_grid", grid)
        if energy_step is not None and abs(found - step) > 1e-6 * step:
            raise InputError(f"energy_step and energy_grid: found {step!r} and a grid of step {found!r}, expected one")
        # The release never sees the grid: on one that means its step, its own number is the one it uses.
        step = only if only is not None and abs(found - only) <= 1e-6 * only else found
    if only is not None and step != only:
        raise InputError(
            f"energy_step: found {step!r}, expected {only}: the release behind convention {convention.name} has "
            "it hard-coded"
        )
    return step, grid
