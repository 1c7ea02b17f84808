"""The losses as a page of NumPy, to read beside docs/specification.md, sections 1 to 5.

Nothing here is fast, checked or exact to the last bit, and nothing uses it: it is the formulas, for eyes and for
lessons, tested against the same oracle as the real thing. B structures, N points of a target, N + E or P of
a prediction, dx the energy step in eV; arrays are float64, masks boolean. A masked-out point is left out of a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC, Convention, find
from refloss.results import Booleans, Floats, Integers


def mse(predictions: Floats, targets: Floats, mask: Booleans | None = None) -> Floats:
    """(p − t)² of the selected elements; ``.mean()`` and ``.sum()`` of it are the reductions."""
    d = _residual(predictions, targets, mask)
    return d**2


def mae(predictions: Floats, targets: Floats, mask: Booleans | None = None) -> Floats:
    """abs(p − t) of the selected elements."""
    d = _residual(predictions, targets, mask)
    return np.abs(d)


def huber(predictions: Floats, targets: Floats, delta: float = 1.0, mask: Booleans | None = None) -> Floats:
    """d²/2 where abs(d) ≤ δ, else δ (abs(d) − δ/2), d = p − t, of the selected elements."""
    d = _residual(predictions, targets, mask)
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2))


def _residual(predictions: Floats, targets: Floats, mask: Booleans | None) -> Floats:
    selected = ~np.isnan(targets)
    if mask is not None:
        selected &= mask
    return predictions[selected] - targets[selected]


def gaussian_nll(mean: Floats, targets: Floats, variance: Floats) -> Floats:
    """(ln v + (t − μ)²/v)/2 of each element: the negative logarithm of a Gaussian's density at t, less ln(2π)/2."""
    v = np.maximum(variance, 1e-6)
    return (np.log(v) + (targets - mean) ** 2 / v) / 2


def gaussian_crps(mean: Floats, targets: Floats, variance: Floats) -> Floats:
    """σ [z (2 Φ(z) − 1) + 2 φ(z) − 1/√π] of each element, z = (t − μ)/σ: nearly |t − μ| where σ is small."""
    from scipy.special import erf

    sigma = np.sqrt(np.maximum(variance, 1e-12))
    z = (targets - mean) / sigma
    both_sides = erf(z / np.sqrt(2))  # 2 Φ(z) − 1, the probability between −z and z
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    score: Floats = sigma * (z * both_sides + 2 * density - 1 / np.sqrt(np.pi))
    return score


def empirical_crps(ensemble: Floats, targets: Floats) -> Floats:
    """Mean |y − t| less half of the mean distance between two members, of each row of the ensemble (B, M)."""
    misfit = np.abs(ensemble - targets[:, None]).mean(axis=1)
    spread: Floats = np.abs(ensemble[:, :, None] - ensemble[:, None, :]).mean(axis=(1, 2))
    return np.asarray(misfit - spread / 2)


class Aligned(NamedTuple):
    """Each (B,): the per-structure loss, the shift of the alignment, and the four unweighted terms at that shift."""

    per_structure: Floats
    shift: Integers
    dos: Floats
    front_tail: Floats
    unmasked_gradient: Floats
    cumulative: Floats


def masked_dos(
    predictions: Floats,
    targets: Floats,
    mask: Booleans,
    *,
    energy_step: float = 0.05,
    grad_weight: float = 1e-4,
    int_weight: float = 2.0,
    convention: str | Convention = "documented",
) -> Aligned:
    """Align each prediction (B, N + E) with its target (B, N) and compare; the value is ``per_structure.mean()``."""
    targets = np.where(np.isnan(targets), 0.0, targets)  # NaN may stand where the mask is false alone

    def dos(b: int, s: int) -> float:
        """D(s) = trapz of m (a − t)² over the window a of the prediction that starts at s."""
        a, t, m = predictions[b, s : s + targets.shape[1]], targets[b], mask[b]
        return trapezoid(np.where(m, (a - t) ** 2, 0.0), energy_step)

    def front_tail(b: int, s: int) -> float:
        """F(s) = trapz of p² over points 0 to s: the states that the shift leaves below the window."""
        return trapezoid(predictions[b, : s + 1] ** 2, energy_step)

    rule = find(convention, MASKED_DOS)
    return _align(predictions, targets, mask, dos, front_tail, rule, energy_step, grad_weight, int_weight)


def shift_agnostic_mse(
    predictions: Floats,
    targets: Floats,
    *,
    energy_step: float = 0.05,
    grad_penalty_weight: float = 1e-4,
    int_weight: float = 2.0,
    convention: str | Convention = "intended",
) -> Aligned:
    """Do the same over all shifts of a prediction (B, P) that is zero beyond its ends; shift P moves nothing."""
    width = predictions.shape[1]
    q = np.pad(predictions, ((0, 0), (width, width)))
    mask, targets = ~np.isnan(targets), np.where(np.isnan(targets), 0.0, targets)

    def dos(b: int, s: int) -> float:
        """D(s) = Σ m (a − t)², without energy step and trapezoid weights."""
        a, t, m = q[b, s : s + targets.shape[1]], targets[b], mask[b]
        return float(((a - t) ** 2)[m].sum())

    def front_tail(b: int, s: int) -> float:
        """F(s) = Σ q² over the points before s."""
        return float((q[b, :s] ** 2).sum())

    rule = find(convention, SHIFT_AGNOSTIC)
    return _align(q, targets, mask, dos, front_tail, rule, energy_step, grad_penalty_weight, int_weight)


def _align(
    predictions: Floats,
    targets: Floats,
    mask: Booleans,
    dos: Callable[[int, int], float],
    front_tail: Callable[[int, int], float],
    rule: Convention,
    dx: float,
    grad_weight: float,
    int_weight: float,
) -> Aligned:
    """Find the best shift of each structure, and return the terms there; D and F are given, G and C are the same."""
    (batch, points), shifts = targets.shape, predictions.shape[1] - targets.shape[1] + 1

    def unmasked_gradient(b: int, s: int) -> float:
        """G = trapz of (dp/dE)² where the mask is 0, so that the prediction stays smooth where no target tells."""
        if rule.gradient_points == "window":
            j, m = np.arange(s, s + points), mask[b]
        else:
            j = np.arange(predictions.shape[1])
            m = (j < s) | np.concatenate([np.ones(s, bool), mask[b], np.zeros(shifts - 1 - s, bool)])
        g = backward_difference(predictions[b], dx, rule.stencil)
        j, m = j[j >= 4], m[j >= 4]
        return trapezoid(np.where(m, 0.0, g[j] ** 2), dx)

    def cumulative(b: int, s: int) -> float:
        """C, the squared error of the integrated density of states: over energy, or over the batch."""
        a, t = predictions[b, s : s + points], targets[b]
        f = a**2 - t**2 if rule.cumulated == "squares" else a - t
        c = cumulative_trapezoid(f, dx)
        if rule.cumulative == "structure":
            return trapezoid(np.where(mask[b, 1:], c**2, 0.0), dx)
        mixed = mask[:, 1:].sum(axis=0)  # every structure's mask, whichever structure's error
        return float(trapezoid_weights(batch)[b] * dx / (points - 1) * (c**2 @ mixed))

    def loss(b: int, s: int) -> float:
        total = dos(b, s) + grad_weight * unmasked_gradient(b, s) + int_weight * cumulative(b, s)
        return total + front_tail(b, s) if rule.front_tail else total

    def objective(b: int, s: int) -> float:
        if rule.objective == "total":
            return loss(b, s)
        return dos(b, s) + front_tail(b, s) if rule.objective == "dos+front_tail" else dos(b, s)

    shift = np.array([np.argmin([objective(b, s) for s in range(shifts)]) for b in range(batch)])
    at_shift = [
        np.array([term(b, int(s)) for b, s in enumerate(shift)])
        for term in (dos, front_tail, unmasked_gradient, cumulative)
    ]
    return Aligned(np.array([loss(b, int(s)) for b, s in enumerate(shift)]), shift, *at_shift)


def trapezoid_weights(points: int) -> Floats:
    """1/2, 1, …, 1, 1/2; a single point has no width."""
    weights = np.ones(points)
    weights[:1] -= 0.5
    weights[-1:] -= 0.5
    return weights


def trapezoid(f: Floats, dx: float) -> float:
    """∫ f dE by the trapezoid rule."""
    return dx * float(trapezoid_weights(f.size) @ f)


def cumulative_trapezoid(f: Floats, dx: float) -> Floats:
    """∫ f dE from the first point to every later one, by the trapezoid rule."""
    return dx / 2 * np.cumsum(f[:-1] + f[1:])


def backward_difference(p: Floats, dx: float, stencil: str) -> Floats:
    """dp/dE to fourth order from each point and the four before it; 0 at the first four points."""
    if stencil == "float32":  # as the release stores them, for dx = 0.05 eV
        coefficients = np.array([5.0, -26.666667938232422, 60.0, -80.0, 41.666664123535156])
    else:
        coefficients = np.array([3.0, -16.0, 36.0, -48.0, 25.0]) / (12 * dx)
    g = np.zeros_like(p)
    for j in range(4, p.size):
        g[j] = coefficients @ p[j - 4 : j + 1]
    return g
