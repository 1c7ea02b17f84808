"""What several pictures share: the energies of points, stretches of them, and what captions and axes say.

B structures, N target points, P prediction points, S shifts. Energies in eV, densities of states in states/eV.

Where a prediction lies. For `masked_dos` it has E points more than its target, and its layout begins E points lower,
so that both end at the same energy: point j has the energy ``energy[0] + (j − E) · step`` (docs/specification.md,
section 7). That is the *unaligned* prediction, shift E. At shift s the target's point i meets point s + i, so that
aligning moves the prediction up in energy by E − s points, never down. For `shift_agnostic_mse` both begin at the same
energy; that is shift P (section 4), and aligning moves the prediction by P − s points, up or down.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from refloss.arrays import finite_number, whole_number
from refloss.errors import InputError
from refloss.results import AlignedResult, Booleans, Floats

ABSOLUTE: Final = "absolute energy (eV, zero as in energy_grid)"
RELATIVE: Final = "energy (eV, zero at the target's first point)"

OBJECTIVES: Final = {
    "dos": "objective D",
    "dos+front_tail": "objective D + F",
    "total": "objective: the whole loss",
}


def energy_limits(energy_range: Any) -> tuple[float, float]:
    """Return a checked ``(low, high)`` in eV."""
    expected = "(low, high) in eV with low < high"
    try:
        low, high = energy_range
    except (TypeError, ValueError):
        raise InputError(f"energy_range: found {energy_range!r}, expected {expected}") from None
    low, high = finite_number("energy_range", low), finite_number("energy_range", high)
    if not low < high:
        raise InputError(f"energy_range: found {energy_range!r}, expected {expected}")
    return low, high


def structure_number(b: Any, structures: int) -> int:
    """Return a checked number of a structure, from 0."""
    if isinstance(b, bool | np.bool_) or not isinstance(b, int | np.integer) or not 0 <= b < structures:
        raise InputError(f"b: found {b!r}, expected an integer from 0 to {structures - 1}, the structure to draw")
    return whole_number("b", b)


def caption_of(result: AlignedResult) -> str:
    """Return what a figure of the whole result says: value, reduction and convention."""
    structures = f"{result.shift.size} structure{'s' * (result.shift.size > 1)}"
    if isinstance(result.value, float):
        return f"{structures}: {result.reduction} {result.value:.5g} (convention {result.convention.name})"
    return f"{structures}, not reduced (convention {result.convention.name})"


def headline(result: AlignedResult, b: int) -> str:
    """Return what a figure of one structure says: its share of the loss, and that of the whole result."""
    return f"structure {b}: loss {result.per_structure[b]:.5g}   ·   {caption_of(result)}"


def unit_of(result: AlignedResult) -> str:
    """Return the unit of D: an integral, or, where predictions stand between zeros, a sum without energy step."""
    return "states²/eV²" if result.padding else "states²/eV"


def energies(result: AlignedResult, before: int, behind: int) -> tuple[Floats, str]:
    """Return the energies of the target's points, of some more before and behind them, and the axis label."""
    points, grid = result.targets.shape[1], result.energy_grid
    if grid is None:
        return result.energy_step * np.arange(-before, points + behind, dtype=np.float64), RELATIVE
    step = (grid[-1] - grid[0]) / (points - 1)
    lower, higher = step * np.arange(before, 0, -1), step * np.arange(1, behind + 1)
    return np.concatenate([grid[0] - lower, grid, grid[-1] + higher]), ABSOLUTE


def runs(chosen: Booleans, energy: Floats, step: float) -> Floats:
    """Return (R, 2), the ends of each run of chosen points, half a step beyond the points themselves."""
    change = np.diff(chosen.astype(np.int8), prepend=0, append=0)
    first, last = np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1
    return np.stack([energy[first] - step / 2, energy[last] + step / 2], axis=1)


def integrated(f: Floats, step: float) -> Floats:
    """Return the trapezoid integral from the first point up to each one, 0 at the first."""
    return np.concatenate([[0.0], step / 2 * np.cumsum(f[:-1] + f[1:])])


def trapezoid_weights(points: int, first: int, last: int) -> Floats:
    """Return the weights of a trapezoid integral over points first to last − 1 of `points`; a single one has none."""
    weights = np.zeros(points)
    if first < last:
        weights[first:last] = 1.0
        weights[first] -= 0.5
        weights[last - 1] -= 0.5
    return weights


def part_outside(weight: Floats, energy: Floats, low: float, high: float) -> float:
    """Return which part of `weight`, 0 to 1, lies outside `low` to `high`; 0 if there is none."""
    total = float(weight.sum())
    outside = (energy < low) | (energy > high)
    return float(weight[outside].sum()) / total if total else 0.0


def within(energy: Floats, low: float, high: float) -> Booleans:
    """Return which points to draw: those inside, and one beyond each end so that lines reach the frame."""
    inside = (energy >= low) & (energy <= high)
    drawn = inside.copy()
    drawn[:-1] |= inside[1:]
    drawn[1:] |= inside[:-1]
    return drawn


def support(energy: Floats, density: Floats) -> tuple[float, float]:
    """Return the ends of the stretch that holds most of the density, with a margin; all energies if there is none."""
    there = np.flatnonzero(np.abs(density) > _FLOOR * np.abs(density).max())
    if there.size == 0:
        return float(energy[0]), float(energy[-1])
    stretches = np.split(there, np.flatnonzero(np.diff(energy[there]) > _GAP) + 1)
    most = max(stretches, key=lambda stretch: float(np.abs(density[stretch]).sum()))
    low, high = float(energy[most[0]]), float(energy[most[-1]])
    margin = max(0.05 * (high - low), 1.0)
    return max(low - margin, float(energy[0])), min(high + margin, float(energy[-1]))


def shifts_in_view(result: AlignedResult) -> tuple[int, int]:
    """Return the first and the last shift to show: all, or of thousands the stretch that the structures chose from."""
    low, high = int(result.shift.min()), int(result.shift.max())
    length = max(_FEWEST_SHIFTS, 3 * (high - low) // 2)
    first = max(min((low + high - length) // 2, result.shifts - 1 - length), 0)
    return first, min(first + length, result.shifts - 1)


_FLOOR: Final = 1e-3
"""What is below this part of the largest density is not worth a place on the default energy axis."""

_GAP: Final = 8.0
"""States further apart than this many eV, such as a shell of the core and the valence bands, are not shown at once."""

_FEWEST_SHIFTS: Final = 400
"""Up to here all possible shifts are shown."""
