"""`plot_cumulative`: what the cumulative term of one structure compares, where, and what it adds.

Energies in eV, densities of states in states/eV, cumulated densities in electrons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refloss.plotting import style
from refloss.plotting.common import (
    energies,
    energy_limits,
    headline,
    integrated,
    part_outside,
    runs,
    structure_number,
    support,
    trapezoid_weights,
    unit_of,
    within,
)
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class CumulativeData:
    """What `plot_cumulative` draws of one structure.

    Attributes
    ----------
    structure : int
    headline : str
    energy : (N,)
        Of the target's points, eV.
    energy_label : str
    step : float
        eV.
    target, aligned : (N,)
        Trapezoid integral from the first point, 0 there: of the density or, where the convention cumulates squares,
        of its square; in `cumulated_unit`.
    difference : (N,)
        The integral of the differences, aligned − target; first the difference, then the integral.
    counts : (N,)
        How often each point counts: 0 or 1, or, where the convention's term is the batch's, in how many structures.
    ignored : (R, 2)
        The first and last energy of each run of points that never count, half a step beyond the points.
    contribution : (N,)
        int_weight · counts · difference² with the trapezoid's weights, in `unit` per eV. The step times its sum is
        `added`.
    term : float
        C.
    weight : float
    added : float
        weight · C.
    unit, cumulated_unit, term_unit : str
    of_batch : bool
        Whether the convention's term is the batch's: it counts by the masks of all structures.
    view : (low, high)
        The energies worth looking at: the stretch that holds most of the target's states.
    """

    structure: int
    headline: str
    energy: Floats
    energy_label: str
    step: float
    target: Floats
    aligned: Floats
    difference: Floats
    counts: Floats
    ignored: Floats
    contribution: Floats
    term: float
    weight: float
    added: float
    unit: str
    cumulated_unit: str
    term_unit: str
    of_batch: bool
    view: tuple[float, float]

    def left_out(self, low: float, high: float) -> float:
        """Return which part of the contribution, 0 to 1, lies outside `low` to `high`; 0 if there is none."""
        return part_outside(self.contribution, self.energy, low, high)


def cumulative_data(result: AlignedResult, b: int = 0) -> CumulativeData:
    """Return what `plot_cumulative` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1.
    """
    structures, points = result.targets.shape
    b = structure_number(b, structures)
    convention, step = result.convention, result.energy_step
    energy, label = energies(result, 0, 0)
    squares, of_batch = convention.cumulated == "squares", convention.cumulative == "batch"
    target, aligned = (f[b] ** 2 if squares else f[b] for f in (result.targets, result.aligned))
    difference = integrated(aligned - target, step)
    counts = (result.mask.sum(axis=0) if of_batch else result.mask[b]).astype(np.float64)
    # The first point has no area before it, and the integral over the others is a trapezoid of N − 1 points.
    share = trapezoid_weights(points, 1, points)
    if of_batch:
        share = np.full(points, trapezoid_weights(structures, 0, structures)[b] / (points - 1))
    term = float(result.terms.cumulative[b])
    return CumulativeData(
        structure=b,
        headline=headline(result, b),
        energy=energy,
        energy_label=label,
        step=step,
        target=integrated(target, step),
        aligned=integrated(aligned, step),
        difference=difference,
        counts=counts,
        ignored=runs(counts == 0, energy, step),
        contribution=result.int_weight * share * counts * difference**2,
        term=term,
        weight=result.int_weight,
        added=result.int_weight * term,
        unit=unit_of(result),
        cumulated_unit="states²/eV" if squares else "electrons",
        term_unit="states⁴/eV" if squares else "electrons²·eV",
        of_batch=of_batch,
        view=support(energy, result.targets[b] if result.targets[b].any() else result.aligned[b]),
    )


def plot_cumulative(
    result: AlignedResult,
    b: int = 0,
    *,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw what the cumulative term of structure `b` compares: how many states lie below each energy.

    Over energy: both cumulated densities; their difference, its axis scaled to the points that count, with the
    largest that counts marked; and what the term adds there to the loss of the structure, an area. What the mask
    leaves out is shaded.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    b : int
        Which structure, from 0.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise the stretch that holds most of the target's
        states, and a note where that leaves a part of the contribution out.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1; `energy_range` is not two increasing finite numbers.

    References
    ----------
    docs/specification.md, section 3: C, the cumulative.
    """
    data = cumulative_data(result, b)
    low, high = data.view if energy_range is None else energy_limits(energy_range)
    with style.figure(fig, (8.4, 5.4)) as canvas:
        curves, difference, contribution = canvas.subplots(3, 1, sharex=True, height_ratios=(1.6, 1.1, 1.1))
        curves.set_xlim(low, high)
        shown = within(data.energy, low, high)
        _curves(curves, data, shown)
        _difference(difference, data, shown)
        style.contribution(contribution, data.energy[shown], data.contribution[shown], data.step, data.unit)
        style.shade(contribution, data.ignored)
        missing = data.left_out(low, high)
        note = f"\n{missing:.0%} of the contribution lies outside these energies" if missing > 0.005 else ""
        contribution.set_xlabel(f"{data.energy_label}{note}")
        canvas.suptitle(f"{data.headline}\n{_verdict(data)}", ha="left", x=0.01)
        handles = [*curves.get_legend_handles_labels()[0], *difference.get_legend_handles_labels()[0]]
        canvas.legend(handles=handles, loc="outside lower left", ncols=4)
        canvas.align_ylabels([curves, difference, contribution])
        if not data.counts.any():
            style.say(curves, "no valid data: the mask of this structure is empty")
        elif not shown.any():
            style.say(curves, f"no point of the target lies from {low:g} to {high:g} eV")
        return style.root(canvas)


def _verdict(data: CumulativeData) -> str:
    return (
        f"cumulative: C = {data.term:.5g} {data.term_unit}; "
        f"{data.weight:g} · C adds {data.added:.5g} to the loss of this structure"
    )


def _curves(ax: Axes, data: CumulativeData, shown: Booleans) -> None:
    out = "counts in no structure of the batch" if data.of_batch else "does not count (masked out)"
    style.shade(ax, data.ignored, label=out)
    ax.plot(data.energy[shown], data.target[shown], color=style.BLUE, lw=2.0, label="target")
    ax.plot(data.energy[shown], data.aligned[shown], color=style.VERMILLION, lw=1.1, label="prediction, aligned")
    ax.set_ylabel(f"cumulated DOS{'²' * (data.cumulated_unit != 'electrons')}\n({data.cumulated_unit})")


def _difference(ax: Axes, data: CumulativeData, shown: Booleans) -> None:
    style.shade(ax, data.ignored)
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.plot(data.energy[shown], data.difference[shown], color=style.INK, lw=1.0)
    ax.set_ylabel(f"aligned − target\n({data.cumulated_unit})")
    low, high = ax.get_xlim()
    counted = (data.counts > 0) & (data.energy >= low) & (data.energy <= high)
    scaled_to = data.difference[counted if counted.any() else shown]
    reach = 1.25 * float(np.abs(scaled_to).max(initial=0.0)) or 1.0
    ax.set_ylim(-reach, reach)
    if counted.any():
        at = np.flatnonzero(counted)[np.abs(data.difference[counted]).argmax()]
        label = f"largest in view that counts: {data.difference[at]:+.4g} at {data.energy[at]:.6g} eV".replace("-", "−")
        mark: dict[str, Any] = {
            "marker": "o",
            "ms": 6,
            "mfc": "none",
            "mew": 1.6,
            "color": style.VERMILLION,
            "ls": "none",
        }
        ax.plot([data.energy[at]], [data.difference[at]], label=label, **mark)
