r"""How far a predicted density of states is from its target, both on one grid: nothing is aligned here.

p and t are predictions and targets, (B, N) or (N,), in states/eV; m is the mask, 1 where a point counts; dx is the
energy step in eV. Integrals are trapezoid sums over the whole grid from which points that do not count are left out,

.. math:: \int f \, dE = dx \sum_i \omega_i m_i f_i, \qquad \omega_0 = \omega_{N-1} = 1/2, \text{ else } 1,

as in `refloss.masked_dos` (docs/specification.md, section 3). A NaN target does not count, as in the pointwise losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.errors import InputError
from refloss.results import Booleans, Floats

_LARGE: Final = 2.0**400
"""Squares of numbers up to this, and their sums, do not overflow; those of its inverse do not underflow."""


@standard_arithmetic
def integrated_absolute_error(
    predictions: Any, targets: Any, *, mask: Any = None, energy_step: float = 0.05
) -> float | Floats:
    r"""Integrated absolute error :math:`\int |p - t| \, dE`, in states.

    Parameters
    ----------
    predictions, targets : (B, N) or (N,) array
        Densities in states/eV.
    mask : array of the same shape, optional
        Booleans, or 0 and 1: the points that count. Without it all do.
    energy_step : float
        dx in eV.

    Returns
    -------
    float or (B,) array
        0 where nothing counts.

    Raises
    ------
    InputError
        Shapes that differ, fewer than two points, predictions that are not finite, targets that are infinite, a mask
        that is none, a step that is not > 0; a figure beyond the largest float64.
    """
    return _each(absolute_error, predictions, targets, mask, energy_step)


@standard_arithmetic
def integrated_rmse(predictions: Any, targets: Any, *, mask: Any = None, energy_step: float = 0.05) -> float | Floats:
    r"""Root of the integrated squared error :math:`\sqrt{\int (p - t)^2 \, dE}`, in states/√eV.

    Its square is `masked_dos`'s unweighted term D at the shift of its window. That of a data set is the root of the
    mean square over its structures, ``numpy.sqrt(numpy.mean(integrated_rmse(...) ** 2))``.

    Parameters, Returns, Raises
    ---------------------------
    As `integrated_absolute_error`.

    References
    ----------
    ``t_get_rmse`` of github.com/HowWeiBin/dostools, src/dostools/loss/loss.py; W. B. How et al., arXiv:2407.01068.
    """
    return _each(root_square_error, predictions, targets, mask, energy_step)


@standard_arithmetic
def wasserstein_distance(
    predictions: Any, targets: Any, *, mask: Any = None, energy_step: float = 0.05
) -> float | Floats:
    r"""Wasserstein-1 (earth mover's) distance of the normalised densities, in eV.

    How far, on average, states have to be moved to make the target of the prediction: a shift of all states by Δ costs
    \|Δ\|, however sharp they are, where a squared error saturates as soon as peaks no longer overlap.

    .. math:: W = \int |P(E) - T(E)| \, dE, \quad P(E) = \int^E p \Big/ \int p, \quad T(E) = \int^E t \Big/ \int t

    States are taken to sit at the grid's points, ω m p of them at each, so that P and T are steps. A prediction may
    be negative in places: W is then the same formula, the Kantorovich-Rubinstein norm of the difference.

    Parameters, Raises
    ------------------
    As `integrated_absolute_error`.

    Returns
    -------
    float or (B,) array
        NaN where a density has no states to normalise by: nothing counts, or its integral is not > 0.

    References
    ----------
    S. S. Vallender, Theory Probab. Appl. 18, 784 (1974): the distance by cumulative distributions.
    """
    return _each(earth_movers, predictions, targets, mask, energy_step)


@standard_arithmetic
def spectral_angle(predictions: Any, targets: Any, *, mask: Any = None) -> float | Floats:
    r"""Angle between the two densities as vectors of the points that count, in radians.

    .. math:: \theta = \arccos \frac{\sum_i m_i p_i t_i}{\sqrt{\sum_i m_i p_i^2} \sqrt{\sum_i m_i t_i^2}}

    0 for densities of one shape whatever their scale, π/2 for those that do not overlap, more only with negative ones.
    Computed as 2 atan2(\|u − v\|, \|u + v\|) of the unit vectors: the arc cosine of a number near 1 loses half of the
    digits of a small angle.

    Parameters, Raises
    ------------------
    As `integrated_absolute_error`.

    Returns
    -------
    float or (B,) array
        NaN where a density is zero at every point that counts.

    References
    ----------
    F. A. Kruse et al., Remote Sens. Environ. 44, 145 (1993).
    """
    return _each(angle, predictions, targets, mask, 1.0)


@standard_arithmetic
def r_squared(predictions: Any, targets: Any, *, mask: Any = None) -> float | Floats:
    r"""Coefficient of determination of each structure, a pure number ≤ 1.

    .. math:: R^2 = 1 - \frac{\sum_i m_i (p_i - t_i)^2}{\sum_i m_i (t_i - \bar t)^2}, \quad
        \bar t = \sum_i m_i t_i \Big/ \sum_i m_i

    0 for a prediction as good as the mean of the target over energy, negative for a worse one.

    Parameters, Raises
    ------------------
    As `integrated_absolute_error`.

    Returns
    -------
    float or (B,) array
        NaN where the target is the same at every point that counts, or nothing counts.
    """
    return _each(determination, predictions, targets, mask, 1.0)


@standard_arithmetic
def percent_rmse_integrated(predictions: Any, targets: Any, *, mask: Any = None) -> float:
    r"""Percent RMSE of a data set, integrated: error over the spread of the targets, each integrated before the ratio.

    .. math:: 100 \sqrt{\frac{\sum_b \int (p_b - t_b)^2 \, dE}{\sum_b \int (t_b - \bar t)^2 \, dE}}, \quad
        \bar t(E) = \sum_b m_b t_b \Big/ \sum_b m_b

    100 is what the mean density of the data set, predicted for every structure, would get. The energy step cancels.

    Parameters
    ----------
    predictions, targets, mask : (B, N) array
        As `integrated_absolute_error`; two structures at least.

    Returns
    -------
    float
        NaN where all targets are equal.

    Raises
    ------
    InputError
        As `integrated_absolute_error`; fewer than two structures.

    References
    ----------
    ``t_get_rmse`` with an energy axis and ``perc=True`` in github.com/HowWeiBin/dostools, src/dostools/loss/loss.py
    (without masks). C. Ben Mahmoud et al., Phys. Rev. B 102, 235130 (2020): models of the density of states.
    """
    return _spread_of(predictions, targets, mask).percent_integrated()


@standard_arithmetic
def percent_rmse_pointwise(predictions: Any, targets: Any, *, mask: Any = None) -> float:
    r"""Percent RMSE of a data set, pointwise: the mean over energies of error over spread at each energy.

    .. math:: \frac{100}{N'} \sum_j \sqrt{\frac{\sum_b m_{bj} (p_{bj} - t_{bj})^2 / n_j}
        {\sum_b m_{bj} (t_{bj} - \bar t_j)^2 / (n_j - 1)}}, \quad n_j = \sum_b m_{bj}

    over the N' energies j at which two structures at least count and not all targets are equal. Every energy weighs the
    same here: at one where the targets barely differ, in a Gaussian's tail say, a small error is a large percentage,
    and it can exceed all others. `percent_rmse_integrated` is the other figure of this name, and the steadier one.

    Parameters, Raises
    ------------------
    As `percent_rmse_integrated`.

    Returns
    -------
    float
        NaN where there is no such energy.

    References
    ----------
    ``t_get_rmse`` without an energy axis and with ``perc=True``, ibid. (without masks; energies at which all targets
    are equal are NaN or infinite there).
    """
    return _spread_of(predictions, targets, mask).percent_pointwise()


@dataclass(frozen=True, eq=False)
class Pair:
    """Predictions and targets (B, N) over 2^k, 0 where the mask does not count; the mask; the step; k."""

    predictions: Floats
    targets: Floats
    mask: Booleans
    energy_step: float = 1.0
    exponent: int = 0

    @property
    def weights(self) -> Floats:
        """(N,) The trapezoid weights."""
        weights = np.ones(self.mask.shape[1])
        weights[[0, -1]] = 0.5
        return weights


def pair(predictions: Floats, targets: Floats, mask: Booleans, energy_step: float, exponent: int) -> Pair:
    """Return the pair of arrays (B, N): what does not count is 0, and the rest is scaled."""
    p, t = (np.where(mask, np.ldexp(array, -exponent) if exponent else array, 0.0) for array in (predictions, targets))
    return Pair(p, t, mask, energy_step, exponent)


def scale_of(largest: float) -> int:
    """Return k for which numbers up to `largest`, over 2^k, can be squared and added up; 0 where they can be as is."""
    return 0 if largest == 0.0 or 1.0 / _LARGE <= largest <= _LARGE else int(np.frexp(largest)[1])


def absolute_error(of: Pair) -> Floats:
    """Return the integrated absolute error of each row, (B,)."""
    return _unscaled(of.energy_step * (of.weights * np.abs(of.predictions - of.targets)).sum(axis=1), of)


def root_square_error(of: Pair) -> Floats:
    """Return the root of the integrated squared error of each row, (B,)."""
    return _unscaled(np.sqrt(of.energy_step) * _norm(of.predictions - of.targets, of.weights), of)


def earth_movers(of: Pair) -> Floats:
    """Return the Wasserstein distance of each row, (B,)."""
    p, t = of.weights * of.predictions, of.weights * of.targets
    totals = [array.sum(axis=1, keepdims=True) for array in (p, t)]
    defined = (totals[0] > 0.0) & (totals[1] > 0.0)
    p_total, t_total = (np.where(defined, total, 1.0) for total in totals)
    with np.errstate(over="ignore", invalid="ignore"):  # of a total that all but cancels
        moved = np.abs(np.cumsum(p / p_total - t / t_total, axis=1)).sum(axis=1)
    return np.where(defined[:, 0], of.energy_step * moved, np.nan)


def angle(of: Pair) -> Floats:
    """Return the spectral angle of each row, (B,)."""
    norms = [_norm(array) for array in (of.predictions, of.targets)]
    defined = (norms[0] > 0.0) & (norms[1] > 0.0)
    u, v = (
        array / np.where(defined, norm, 1.0)[:, np.newaxis]
        for array, norm in zip((of.predictions, of.targets), norms, strict=True)
    )
    return np.where(defined, 2.0 * np.arctan2(_norm(u - v), _norm(u + v)), np.nan)


def determination(of: Pair) -> Floats:
    """Return R² of each row, (B,)."""
    count = np.maximum(of.mask.sum(axis=1, keepdims=True), 1)
    lowest = np.min(of.targets, axis=1, where=of.mask, initial=np.inf)
    highest = np.max(of.targets, axis=1, where=of.mask, initial=-np.inf)
    defined = highest > lowest  # the rounded mean of equal targets may differ from them
    mean = of.targets.sum(axis=1, keepdims=True) / count
    spread = np.where(defined, _norm(np.where(of.mask, of.targets - mean, 0.0)), 1.0)
    with np.errstate(over="ignore"):
        return np.where(defined, 1.0 - (_norm(of.predictions - of.targets) / spread) ** 2, np.nan)


@dataclass(frozen=True, eq=False)
class Spread:
    """Of each energy (N,): how many structures count, their squared errors and squared deviations, summed."""

    count: Floats
    error: Floats
    spread: Floats

    def percent_integrated(self) -> float:
        """Return the ratio of the integrals, in percent."""
        weights = np.ones(self.count.size)
        weights[[0, -1]] = 0.5
        error, spread = float((weights * self.error).sum()), float((weights * self.spread).sum())
        return 100.0 * float(np.sqrt(error) / np.sqrt(spread)) if spread > 0.0 else float("nan")

    def percent_pointwise(self) -> float:
        """Return the mean of the ratios, in percent."""
        there = self.spread > 0.0  # where there are two structures at least
        if not there.any():
            return float("nan")
        error, spread, count = self.error[there], self.spread[there], self.count[there]
        return 100.0 * float(np.mean(np.sqrt(error / count) / np.sqrt(spread / (count - 1.0))))


def spread_over(blocks: Callable[[], Iterable[Pair]]) -> Spread:
    """Return the sums over all structures; `blocks` gives them, a few at a time, as often as it is called."""
    count: Floats = np.sum([block.mask.sum(axis=0) for block in blocks()], axis=0, dtype=np.float64)
    total: Floats = np.sum([block.targets.sum(axis=0) for block in blocks()], axis=0)
    mean = total / np.maximum(count, 1.0)
    lowest, highest = np.full(mean.shape, np.inf), np.full(mean.shape, -np.inf)
    error, spread = np.zeros(mean.shape), np.zeros(mean.shape)
    for block in blocks():
        error += ((block.predictions - block.targets) ** 2).sum(axis=0)
        spread += (np.where(block.mask, block.targets - mean, 0.0) ** 2).sum(axis=0)
        lowest = np.minimum(lowest, np.min(block.targets, axis=0, where=block.mask, initial=np.inf))
        highest = np.maximum(highest, np.max(block.targets, axis=0, where=block.mask, initial=-np.inf))
    return Spread(count, error, np.where(highest > lowest, spread, 0.0))  # the rounded mean of equal numbers may differ


def checked(predictions: Any, targets: Any, mask: Any, energy_step: float) -> Pair:
    """Return the pair of what the caller gave, one density as a batch of one."""
    p = arrays.real_array("predictions", predictions)
    if p.ndim not in (1, 2):
        raise InputError(f"predictions: found {p.ndim} dimensions, shape {p.shape}, expected (B, N) or (N,)")
    t = arrays.real_array("targets", targets, finite=False)
    arrays.require_same_shape("targets", t.shape, "predictions", p.shape)
    if p.shape[-1] < 2:
        raise InputError(f"predictions: found {p.shape[-1]} point, expected at least 2")
    arrays.require_finite("targets", t, allow_nan=True)
    there = ~np.isnan(t)
    if mask is not None:
        m = arrays.mask_array("mask", mask)
        arrays.require_same_shape("mask", m.shape, "targets", t.shape)
        there &= m
    step = arrays.finite_number("energy_step", energy_step, positive=True)
    p, t, there = np.atleast_2d(p), np.atleast_2d(t), np.atleast_2d(there)
    largest = max(arrays.largest(np.where(there, array, 0.0)) for array in (p, t))
    return pair(p, t, there, step, scale_of(largest))


def _each(
    of_rows: Callable[[Pair], Floats], predictions: Any, targets: Any, mask: Any, energy_step: float
) -> float | Floats:
    """Return the figure of each structure, or a float of the one density that was given."""
    figures = of_rows(checked(predictions, targets, mask, energy_step))
    if np.isinf(figures).any():
        first = int(np.argmax(np.isinf(figures)))
        raise InputError(f"predictions and targets: found a figure beyond the largest float64, of structure {first}")
    return float(figures[0]) if np.ndim(targets) == 1 else figures


def _spread_of(predictions: Any, targets: Any, mask: Any) -> Spread:
    both = checked(predictions, targets, mask, 1.0)
    if np.ndim(targets) == 1 or len(both.mask) < 2:
        raise InputError(f"targets: found shape {np.shape(targets)}, expected (B, N) of at least 2 structures")
    return spread_over(lambda: [both])


def _norm(rows: Floats, weights: Floats | float = 1.0) -> Floats:
    """Return √Σ ω x² of each row, whatever its scale."""
    largest = np.abs(rows).max(axis=1)
    scale = np.exp2(np.frexp(np.where(largest > 0.0, largest, 1.0))[1].astype(np.float64))
    norms: Floats = scale * np.sqrt((weights * (rows / scale[:, np.newaxis]) ** 2).sum(axis=1))
    return norms


def _unscaled(figures: Floats, of: Pair) -> Floats:
    """Return what is in the unit of the densities; infinite where that is beyond float64."""
    with np.errstate(over="ignore"):
        return np.ldexp(figures, of.exponent) if of.exponent else figures
