"""`plot_alignment`: one structure, its target and its prediction before and after they were aligned, and the objective.

Energies in eV, densities of states in states/eV, cumulated densities in electrons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refloss.plotting import style
from refloss.plotting.data import AlignmentData, alignment_data, energy_limits
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


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
        shown = _within(data.energy, low, high)
        _density(density, data, shown, _within(data.prediction_energy, low, high))
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
    return (
        f"structure {data.structure}: loss {data.loss:.5g}   ·   {data.caption}\n"
        f"shift {data.shift} points ({_ev(data.shift * data.step)}), which {moves}"
    )


def _ev(energy: float) -> str:
    return f"{energy:.6g} eV"


def _within(energy: Floats, low: float, high: float) -> Booleans:
    """Return which points to draw: those inside, and one beyond each end so that lines reach the frame."""
    inside = (energy >= low) & (energy <= high)
    drawn = inside.copy()
    drawn[:-1] |= inside[1:]
    drawn[1:] |= inside[:-1]
    return drawn


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
    _shade(ax, data.masked_out, label="does not count (masked out)")
    ax.set_ylabel("DOS (states/eV)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)


def _residual(ax: Axes, data: AlignmentData, shown: Booleans) -> None:
    _shade(ax, data.masked_out)
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.plot(data.energy[shown], data.residual[shown], color=style.INK, lw=1.0)
    scaled_to = shown & data.mask if (shown & data.mask).any() else shown
    reach = 1.15 * float(np.abs(data.residual[scaled_to]).max(initial=0.0)) or 1.0
    ax.set_ylim(-reach, reach)
    ax.set_ylabel("residual\n(states/eV)")


def _cumulated(ax: Axes, data: AlignmentData, shown: Booleans) -> None:
    _shade(ax, data.masked_out)
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


def _shade(ax: Axes, runs: Floats, label: str | None = None) -> None:
    """Shade and hatch the energies that do not count, over the whole height of `ax`."""
    from matplotlib.collections import PolyCollection

    low, high = runs.T
    bottom, top = np.zeros_like(low), np.ones_like(low)
    corners = np.array([[low, bottom], [low, top], [high, top], [high, bottom]])
    shade = PolyCollection(
        corners.transpose(2, 0, 1).tolist(),
        transform=ax.get_xaxis_transform(),
        facecolor=style.SHADE,
        edgecolor="white",
        hatch="////",
        alpha=0.45,
        lw=0,
        zorder=0,
        label=label if len(runs) else None,
    )
    ax.add_collection(shade, autolim=False)


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
