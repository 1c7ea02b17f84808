"""What the pictures show, as arrays: pure functions from a result to frozen data, without matplotlib.

B structures, N target points, P prediction points, S shifts. Energies in eV, densities of states in states/eV.

Where a prediction lies. For `masked_dos` it has E points more than its target, and its layout begins E points lower,
so that both end at the same energy: point j has the energy ``energy[0] + (j − E) · step`` (docs/specification.md,
section 7). That is the *unaligned* prediction, shift E. At shift s the target's point i meets point s + i, so that
aligning moves the prediction up in energy by E − s points, never down. For `shift_agnostic_mse` both begin at the same
energy; that is shift P (section 4), and aligning moves the prediction by P − s points, up or down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.arrays import finite_number, whole_number
from refloss.errors import InputError
from refloss.results import AlignedResult, Booleans, Floats, Integers

ABSOLUTE: Final = "absolute energy (eV, zero as in energy_grid)"
RELATIVE: Final = "energy (eV, zero at the target's first point)"

_FLOOR: Final = 1e-3
"""What is below this part of the largest density is not worth a place on the default energy axis."""

_GAP: Final = 8.0
"""States further apart than this many eV, such as a shell of the core and the valence bands, are not shown at once."""


@dataclass(frozen=True, eq=False)
class AlignmentData:
    """What `plot_alignment` draws of one structure.

    Attributes
    ----------
    structure, structures : int
        Which one of how many; counted from 0.
    convention, caption : str
        The convention's name; convention, value and reduction in words.
    loss : float
        This structure's share, `per_structure`.
    energy : (N,)
        Of the target's points, eV.
    energy_label : str
        The axis label, with its zero.
    step : float
        The energy step, eV.
    target, aligned, residual : (N,)
        States/eV; residual = aligned − target, also where the mask is false.
    prediction_energy, prediction : (P,)
        The unaligned prediction, at the energies of its layout (see the module).
    mask : (N,) bool
        Where the target counts.
    masked_out : (R, 2)
        The first and last energy of each run of points that do not count, half a step beyond the points.
    cumulative_target, cumulative_aligned : (N,)
        Trapezoid integral from the first point, 0 there: of the density (states, that is electrons) or, where
        the convention cumulates squares, of its square.
    cumulative_label : str
    shifts : (S,) int
    objective : (S,)
        At every shift; inf where it overflows.
    objective_label : str
    shift, runner_up, rival : int
        In points; −1 where there is none.
    rest : int
        The shift of the unaligned prediction: E, or P.
    padding : int
        Zeros on both sides of the prediction.
    in_padding : bool
        Whether the target meets these zeros alone.
    margin : float
        objective(runner_up) − objective(shift); inf where there is no runner-up.
    tied : bool
    moved : int
        rest − shift: how many points the alignment moves the prediction up.
    support : (low, high)
        The energies worth looking at: the stretch that holds most of the target's states.
    """

    structure: int
    structures: int
    convention: str
    caption: str
    loss: float
    energy: Floats
    energy_label: str
    step: float
    target: Floats
    aligned: Floats
    residual: Floats
    prediction_energy: Floats
    prediction: Floats
    mask: Booleans
    masked_out: Floats
    cumulative_target: Floats
    cumulative_aligned: Floats
    cumulative_label: str
    shifts: Integers
    objective: Floats
    objective_label: str
    shift: int
    runner_up: int
    rival: int
    rest: int
    padding: int
    in_padding: bool
    margin: float
    tied: bool
    moved: int
    support: tuple[float, float]

    def left_out(self, low: float, high: float) -> float:
        """Return which part of the target's states, 0 to 1, lies outside `low` to `high`; 0 if it has none."""
        weight = np.abs(self.target)
        total = float(weight.sum())
        outside = (self.energy < low) | (self.energy > high)
        return float(weight[outside].sum()) / total if total else 0.0


@dataclass(frozen=True, eq=False)
class MasksData:
    """What `plot_masks` draws.

    Attributes
    ----------
    kind : (B, N + 2 · extra) uint8
        `NOTHING` (no prediction there), `OUTSIDE` (predicted, but outside the aligned window), `MASKED_OUT` or
        `COUNTS`.
    energy : (N + 2 · extra,)
        Of the columns, eV; the target's own are columns extra to extra + N − 1.
    energy_label : str
    step : float
        eV.
    mask : (B, N) bool
    windows : (B, 2)
        The first and last energy of each prediction once it is aligned, eV.
    shift : (B,) int
    tied : (B,) bool
    extra : int
        How far predictions can reach beyond the target, points; E for `masked_dos`.
    shifts : int
        S.
    caption : str
    """

    kind: NDArray[np.uint8]
    energy: Floats
    energy_label: str
    step: float
    mask: Booleans
    windows: Floats
    shift: Integers
    tied: Booleans
    extra: int
    shifts: int
    caption: str


NOTHING, OUTSIDE, MASKED_OUT, COUNTS = range(4)
"""The kinds of `MasksData`."""


@dataclass(frozen=True, eq=False)
class TermsData:
    """What `plot_terms` draws of T terms; structures are sorted, the worst first.

    Attributes
    ----------
    order : (B,) int
        The structures' numbers.
    labels : tuple of str, T
    contributions : (T, B)
        Weighted; they add up to `total`. In `unit`, the weights carrying what their terms differ by.
    bottoms : (T, B)
        Where each bar begins: what adds to the loss is stacked upwards from 0, what takes from it downwards.
    total : (B,)
    unit, caption : str
    """

    order: Integers
    labels: tuple[str, ...]
    contributions: Floats
    bottoms: Floats
    total: Floats
    unit: str
    caption: str


@dataclass(frozen=True, eq=False)
class PointwiseData:
    """What `plot_pointwise` draws: each of mse, mae and huber, and its derivative, over `residual`; all (M,)."""

    delta: float
    residual: Floats
    loss: dict[str, Floats]
    derivative: dict[str, Floats]


def alignment_data(result: AlignedResult, b: int = 0) -> AlignmentData:
    """Return what `plot_alignment` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1.
    """
    structures, points = result.targets.shape
    b = _structure(b, structures)
    # The shift at which a prediction lies where its layout has it, and how far it begins below the target then.
    rest, shift, width = result.padding or result.shifts - 1, int(result.shift[b]), result.predictions.shape[1]
    before = rest - result.padding
    energy, label = _energies(result, 0, 0)
    target, aligned, mask = result.targets[b], result.aligned[b], result.mask[b]
    squares = result.convention.cumulated == "squares"
    cumulated = [_cumulated(f**2 if squares else f, result.energy_step) for f in (target, aligned)]
    return AlignmentData(
        structure=b,
        structures=structures,
        convention=result.convention.name,
        caption=_caption(result),
        loss=float(result.per_structure[b]),
        energy=energy,
        energy_label=label,
        step=result.energy_step,
        target=target,
        aligned=aligned,
        residual=aligned - target,
        prediction_energy=_energies(result, before, max(width - before - points, 0))[0][:width],
        prediction=result.predictions[b],
        mask=mask,
        masked_out=_runs(~mask, energy, result.energy_step),
        cumulative_target=cumulated[0],
        cumulative_aligned=cumulated[1],
        cumulative_label="cumulated DOS²\n(states²/eV)" if squares else "cumulated DOS\n(electrons)",
        shifts=np.arange(result.shifts, dtype=np.int64),
        objective=result.landscape()[b],
        objective_label=f"{_OBJECTIVES[result.convention.objective]} ({_unit(result)})",
        shift=shift,
        runner_up=int(result.runner_up[b]),
        rival=int(result.rival().shift[b]),
        rest=rest,
        padding=result.padding,
        in_padding=bool(result.in_padding[b]),
        margin=float(result.margin[b]),
        tied=bool(result.tied[b]),
        moved=rest - shift,
        support=_support(energy, target if target.any() else aligned),
    )


def masks_data(result: AlignedResult) -> MasksData:
    """Return what `plot_masks` draws."""
    points = result.targets.shape[1]
    extra = max(result.shifts - 1 - result.padding, 0)
    energy, label = _energies(result, extra, extra)
    column = np.arange(points + 2 * extra) - extra  # the target's point at each column
    first = result.padding - result.shift
    last = first + result.predictions.shape[1] - 1
    inside = (column >= first[:, None]) & (column <= last[:, None])
    kind = np.where(inside, np.uint8(OUTSIDE), np.uint8(NOTHING))
    kind[:, extra : extra + points] = np.where(result.mask, np.uint8(COUNTS), np.uint8(MASKED_OUT))
    return MasksData(
        kind=kind,
        energy=energy,
        energy_label=label,
        step=result.energy_step,
        mask=result.mask,
        windows=np.stack([energy[extra + first], energy[extra + last]], axis=1),
        shift=result.shift,
        tied=result.tied,
        extra=extra,
        shifts=result.shifts,
        caption=_caption(result),
    )


def terms_data(result: AlignedResult) -> TermsData:
    """Return what `plot_terms` draws."""
    terms, total = result.terms, result.per_structure
    bars = {"D: density": terms.dos}
    if result.convention.front_tail:
        bars["F: front tail"] = terms.front_tail
    bars[f"{result.grad_weight:g} · G: gradient"] = result.grad_weight * terms.unmasked_gradient
    bars[f"{result.int_weight:g} · C: cumulated"] = result.int_weight * terms.cumulative
    order = np.argsort(-total, kind="stable")
    contributions = np.stack(list(bars.values()))[:, order]
    up, down = np.maximum(contributions, 0.0), np.minimum(contributions, 0.0)
    below = np.where(contributions < 0, np.cumsum(down, axis=0) - down, np.cumsum(up, axis=0) - up)
    return TermsData(order, tuple(bars), contributions, below, total[order], _unit(result), _caption(result))


def pointwise_data(delta: float = 1.0) -> PointwiseData:
    """Return what `plot_pointwise` draws: residuals from −2.5 δ to 2.5 δ, with −δ, 0 and δ among them.

    Raises
    ------
    InputError
        `delta` is not a finite number > 0.
    """
    import refloss

    delta = finite_number("delta", delta, positive=True)
    residual = delta * (np.arange(-250, 251) / 100)
    results = {
        name: getattr(refloss, name)(residual, np.zeros_like(residual), reduction="none", grad=True, **options)
        for name, options in {"mse": {}, "mae": {}, "huber": {"delta": delta}}.items()
    }
    return PointwiseData(
        delta,
        residual,
        {name: result.value for name, result in results.items()},
        {name: result.grad for name, result in results.items()},
    )


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


_OBJECTIVES: Final = {
    "dos": "objective D",
    "dos+front_tail": "objective D + F",
    "total": "objective: the whole loss",
}


def _structure(b: Any, structures: int) -> int:
    if isinstance(b, bool | np.bool_) or not isinstance(b, int | np.integer) or not 0 <= b < structures:
        raise InputError(f"b: found {b!r}, expected an integer from 0 to {structures - 1}, the structure to draw")
    return whole_number("b", b)


def _caption(result: AlignedResult) -> str:
    structures = f"{result.shift.size} structure{'s' * (result.shift.size > 1)}"
    if isinstance(result.value, float):
        return f"{structures}: {result.reduction} {result.value:.5g} (convention {result.convention.name})"
    return f"{structures}, not reduced (convention {result.convention.name})"


def _unit(result: AlignedResult) -> str:
    """Return the unit of D: an integral, or, where predictions stand between zeros, a sum without energy step."""
    return "states²/eV²" if result.padding else "states²/eV"


def _energies(result: AlignedResult, before: int, behind: int) -> tuple[Floats, str]:
    """Return the energies of the target's points, of some more before and behind them, and the axis label."""
    points, grid = result.targets.shape[1], result.energy_grid
    if grid is None:
        return result.energy_step * np.arange(-before, points + behind, dtype=np.float64), RELATIVE
    step = (grid[-1] - grid[0]) / (points - 1)
    lower, higher = step * np.arange(before, 0, -1), step * np.arange(1, behind + 1)
    return np.concatenate([grid[0] - lower, grid, grid[-1] + higher]), ABSOLUTE


def _runs(chosen: Booleans, energy: Floats, step: float) -> Floats:
    """Return (R, 2), the ends of each run of chosen points, half a step beyond the points themselves."""
    change = np.diff(chosen.astype(np.int8), prepend=0, append=0)
    first, last = np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1
    return np.stack([energy[first] - step / 2, energy[last] + step / 2], axis=1)


def _cumulated(f: Floats, step: float) -> Floats:
    return np.concatenate([[0.0], step / 2 * np.cumsum(f[:-1] + f[1:])])


def _support(energy: Floats, density: Floats) -> tuple[float, float]:
    """Return the ends of the stretch that holds most of the density, with a margin; all energies if there is none."""
    there = np.flatnonzero(np.abs(density) > _FLOOR * np.abs(density).max())
    if there.size == 0:
        return float(energy[0]), float(energy[-1])
    stretches = np.split(there, np.flatnonzero(np.diff(energy[there]) > _GAP) + 1)
    most = max(stretches, key=lambda stretch: float(np.abs(density[stretch]).sum()))
    low, high = float(energy[most[0]]), float(energy[most[-1]])
    margin = max(0.05 * (high - low), 1.0)
    return max(low - margin, float(energy[0])), min(high + margin, float(energy[-1]))
