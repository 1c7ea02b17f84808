"""`plot_alignment`: one structure, its target and its prediction before and after they were aligned, and the objective.

Energies in eV, densities of states in states/eV, cumulated densities in electrons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refloss.plotting import style
from refloss.plotting.common import (
    OBJECTIVES,
    caption_of,
    energies,
    energy_limits,
    headline,
    integrated,
    part_outside,
    runs,
    structure_number,
    support,
    unit_of,
    within,
)
from refloss.results import AlignedResult, Booleans, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class AlignmentData:
    """What `plot_alignment` draws of one structure.

    Attributes
    ----------
    structure, structures : int
        Which one of how many; counted from 0.
    convention, caption, headline : str
        The convention's name; convention, value and reduction in words; the same with the structure's loss.
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
        The unaligned prediction, at the energies of its layout (see `refloss.plotting.common`).
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
    headline: str
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
        return part_outside(np.abs(self.target), self.energy, low, high)


def alignment_data(result: AlignedResult, b: int = 0) -> AlignmentData:
    """Return what `plot_alignment` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1.
    """
    structures, points = result.targets.shape
    b = structure_number(b, structures)
    # The shift at which a prediction lies where its layout has it, and how far it begins below the target then.
    rest, shift, width = result.padding or result.shifts - 1, int(result.shift[b]), result.predictions.shape[1]
    before = rest - result.padding
    energy, label = energies(result, 0, 0)
    target, aligned, mask = result.targets[b], result.aligned[b], result.mask[b]
    squares = result.convention.cumulated == "squares"
    cumulated = [integrated(f**2 if squares else f, result.energy_step) for f in (target, aligned)]
    return AlignmentData(
        structure=b,
        structures=structures,
        convention=result.convention.name,
        caption=caption_of(result),
        headline=headline(result, b),
        loss=float(result.per_structure[b]),
        energy=energy,
        energy_label=label,
        step=result.energy_step,
        target=target,
        aligned=aligned,
        residual=aligned - target,
        prediction_energy=energies(result, before, max(width - before - points, 0))[0][:width],
        prediction=result.predictions[b],
        mask=mask,
        masked_out=runs(~mask, energy, result.energy_step),
        cumulative_target=cumulated[0],
        cumulative_aligned=cumulated[1],
        cumulative_label="cumulated DOS²\n(states²/eV)" if squares else "cumulated DOS\n(electrons)",
        shifts=np.arange(result.shifts, dtype=np.int64),
        objective=result.landscape()[b],
        objective_label=f"{OBJECTIVES[result.convention.objective]} ({unit_of(result)})",
        shift=shift,
        runner_up=int(result.runner_up[b]),
        rival=int(result.rival().shift[b]),
        rest=rest,
        padding=result.padding,
        in_padding=bool(result.in_padding[b]),
        margin=float(result.margin[b]),
        tied=bool(result.tied[b]),
        moved=rest - shift,
        support=support(energy, target if target.any() else aligned),
    )


def plot_alignment(
    result: AlignedResult,
    b: int = 0,
    *,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw how structure `b` was aligned.

    Left, over energy: target and aligned prediction, with the unaligned prediction faint; the residual, its axis
    scaled to the points that count; both cumulated densities, which accumulate over all points. What the mask leaves
    out is shaded. Right: the objective at every shift with the best, the runner-up and, where there is one, the rival
    (the best other local minimum).

    For `masked_dos` a shift of s points pairs the target's point i with the prediction's point s + i. The unaligned
    prediction is the layout's: both end at the same energy, which is shift E; from there the alignment moves the
    prediction up in energy by E − s points. For `shift_agnostic_mse` the unaligned prediction begins where the target
    does, which is shift P, and the alignment moves it up by P − s points, or down; beyond its ends it is zero. The
    title names both.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    b : int
        Which structure, from 0.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise the stretch that holds most of the target's
        states, and a note where that leaves a part of them out.
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
    docs/specification.md, sections 3 and 4.
    """
    data = alignment_data(result, b)
    low, high = data.support if energy_range is None else energy_limits(energy_range)
    with style.figure(fig, (8.4, 5.6)) as canvas:
        grid = canvas.add_gridspec(3, 2, width_ratios=(2.3, 1), height_ratios=(2.3, 1, 1.3))
        density = canvas.add_subplot(grid[0, 0])
        residual = canvas.add_subplot(grid[1, 0], sharex=density)
        cumulated = canvas.add_subplot(grid[2, 0], sharex=density)
        density.set_xlim(low, high)
        shown = within(data.energy, low, high)
        _density(density, data, shown, within(data.prediction_energy, low, high))
        _residual(residual, data, shown)
        _cumulated(cumulated, data, shown)
        for panel in (density, residual):
            panel.tick_params(labelbottom=False)
        missing = data.left_out(low, high)
        note = f"\n{missing:.0%} of the target's states lie outside these energies" if missing > 0.005 else ""
        cumulated.set_xlabel(f"{data.energy_label}{note}")
        objective = canvas.add_subplot(grid[:, 1])
        _objective(objective, data)
        canvas.legend(*objective.get_legend_handles_labels(), loc="outside lower right", ncols=4)
        canvas.suptitle(_title(data), ha="left", x=0.01)
        canvas.align_ylabels([density, residual, cumulated])
        if not data.mask.any():
            style.say(density, "no valid data: the mask of this structure is empty")
        elif not shown.any():
            style.say(density, f"no point of the target lies from {low:g} to {high:g} eV")
        return style.root(canvas)


def _title(data: AlignmentData) -> str:
    if data.moved:
        count, way = abs(data.moved), "up" if data.moved > 0 else "down"
        moves = f"moves the prediction {way} by {count} point{'s' * (count > 1)} ({_ev(count * data.step)})"
    else:
        moves = "leaves the prediction where it lies"
    if data.in_padding:
        moves += ", off the target"
    return f"{data.headline}\nshift {data.shift} points ({_ev(data.shift * data.step)}), which {moves}"


def _ev(energy: float) -> str:
    return f"{energy:.6g} eV"


def _density(ax: Axes, data: AlignmentData, shown: Booleans, predicted: Booleans) -> None:
    ax.plot(data.energy[shown], data.target[shown], color=style.BLUE, lw=2.0, label="target")
    ax.plot(
        data.energy[shown],
        data.aligned[shown],
        color=style.VERMILLION,
        lw=1.1,
        label=f"prediction, aligned (shift {data.shift})",
    )
    unaligned: dict[str, Any] = {"color": style.VERMILLION, "alpha": 0.45, "lw": 0.9, "ls": (0, (3, 1.5))}
    ax.plot(
        data.prediction_energy[predicted],
        data.prediction[predicted],
        label=f"prediction, unaligned (shift {data.rest})",
        zorder=1.5,
        **unaligned,
    )
    style.shade(ax, data.masked_out, label="does not count (masked out)")
    ax.set_ylabel("DOS (states/eV)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)


def _residual(ax: Axes, data: AlignmentData, shown: Booleans) -> None:
    style.shade(ax, data.masked_out)
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.plot(data.energy[shown], data.residual[shown], color=style.INK, lw=1.0)
    scaled_to = shown & data.mask if (shown & data.mask).any() else shown
    reach = 1.15 * float(np.abs(data.residual[scaled_to]).max(initial=0.0)) or 1.0
    ax.set_ylim(-reach, reach)
    ax.set_ylabel("residual\n(states/eV)")


def _cumulated(ax: Axes, data: AlignmentData, shown: Booleans) -> None:
    style.shade(ax, data.masked_out)
    energy = data.energy[shown]
    ax.plot(energy, data.cumulative_target[shown], color=style.BLUE, lw=2.0)
    ax.plot(energy, data.cumulative_aligned[shown], color=style.VERMILLION, lw=1.1)
    ax.set_ylabel(data.cumulative_label)
    counted = np.flatnonzero(data.mask)
    if counted.size:
        last = counted[-1]
        text = (
            f"at the last point that counts, {data.energy[last]:.6g} eV: "
            f"target {data.cumulative_target[last]:.5g}, aligned {data.cumulative_aligned[last]:.5g}"
        )
        ax.set_title(text, loc="left", pad=2, fontsize="small")


def _objective(ax: Axes, data: AlignmentData) -> None:
    from matplotlib.ticker import MaxNLocator

    finite = np.isfinite(data.objective)
    ax.set_xlabel(f"shift (points; {data.rest} moves nothing)" if data.padding else "shift (points)")
    ax.set_ylabel(data.objective_label)
    ev = ax.secondary_xaxis("top", functions=(lambda s: np.multiply(s, data.step), lambda e: np.divide(e, data.step)))
    ev.set_xlabel("shift (eV)")
    ev.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    margin = max(0.04 * (data.shifts.size - 1), 0.5)
    ax.set_xlim(-margin, data.shifts.size - 1 + margin)
    if not finite.any():
        style.say(ax, "no finite objective")
        return
    values = data.objective[finite]
    if values.min() > 0 and values.max() > 30 * values.min():
        ax.set_yscale("log")
    ax.plot(data.shifts[finite], values, color=style.INK, lw=1.0, zorder=2)
    lead = "tied with the best" if data.tied else f"margin {data.margin:.3g}"
    marks: tuple[tuple[str, int, dict[str, Any]], ...] = (
        ("best", data.shift, {"marker": "o", "color": style.VERMILLION, "ms": 6}),
        (f"runner-up ({lead})", data.runner_up, {"marker": "s", "color": style.SKY, "ms": 9}),
        ("rival", data.rival, {"marker": "D", "color": style.PURPLE, "ms": 7}),
    )
    for name, shift, look in marks:
        if shift >= 0 and finite[shift]:
            label = f"{name}: {shift} points, {data.objective[shift]:.5g}"
            hollow: dict[str, Any] = {} if shift == data.shift else {"mfc": "none", "mew": 1.6}
            ax.plot([shift], [data.objective[shift]], ls="none", label=label, zorder=3, **look, **hollow)
    if data.runner_up < 0:
        ax.set_title("there is only one shift", fontsize="small")
