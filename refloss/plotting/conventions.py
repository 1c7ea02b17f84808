"""`plot_conventions`: one structure under each convention of its loss: where the terms act, and what they add up to.

Energies in eV, densities of states in states/eV.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.aligned import under
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC, Convention
from refloss.errors import InputError
from refloss.plotting import style
from refloss.plotting.common import (
    OBJECTIVES,
    energies,
    energy_limits,
    runs,
    structure_number,
    support,
    unit_of,
    within,
)
from refloss.plotting.terms import LOOKS, letter, stacked, weighted
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class ConventionRow:
    """One structure under one convention.

    Attributes
    ----------
    name : str
    reason : str or None
        Why the convention does not apply; the other attributes are empty then.
    summary : str
        What the alignment minimises, and what of the loss is not the structure's own.
    loss : float
    shift : int
        In points.
    prediction_energy, prediction : (P,)
        The prediction where it was aligned to, eV and states/eV.
    acts : mapping of str to (R, 2)
        D, F, G and C to the stretches of energy in which the term looks at the prediction, half a step beyond the
        points; none where the term is not part of the value.
    contributions : mapping of str to float
        The weighted terms by their labels.
    """

    name: str
    reason: str | None
    summary: str
    loss: float
    shift: int
    prediction_energy: Floats
    prediction: Floats
    acts: dict[str, Floats]
    contributions: dict[str, float]


@dataclass(frozen=True, eq=False)
class ConventionsData:
    """What `plot_conventions` draws of one structure.

    Attributes
    ----------
    structure, structures : int
    rows : tuple of ConventionRow
        The result's own convention first.
    energy, target, mask : (N,)
    masked_out : (R, 2)
        As in `AlignmentData`.
    energy_label, unit : str
        `unit` is that of the loss.
    support : (low, high)
        The energies worth looking at.
    """

    structure: int
    structures: int
    rows: tuple[ConventionRow, ...]
    energy: Floats
    target: Floats
    mask: Booleans
    masked_out: Floats
    energy_label: str
    unit: str
    support: tuple[float, float]


def conventions_data(
    result: AlignedResult, b: int = 0, conventions: Sequence[str | Convention] | None = None
) -> ConventionsData:
    """Return what `plot_conventions` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1; the loss has no such convention.
    """
    b = structure_number(b, result.shift.size)
    if conventions is None:
        conventions = tuple(SHIFT_AGNOSTIC if result.padding else MASKED_DOS)
    others = [c for c in conventions if c not in (result.convention, result.convention.name)]
    energy, label = energies(result, 0, 0)
    target, mask = result.targets[b], result.mask[b]
    return ConventionsData(
        structure=b,
        structures=result.shift.size,
        rows=(_row(result, b), *(_row_under(result, b, convention) for convention in others)),
        energy=energy,
        target=target,
        mask=mask,
        masked_out=runs(~mask, energy, result.energy_step),
        energy_label=label,
        unit=unit_of(result),
        support=support(energy, target if target.any() else result.aligned[b]),
    )


def _row_under(result: AlignedResult, b: int, convention: str | Convention) -> ConventionRow:
    # Of inputs that another convention took, this one may refuse the step or the reduction, or overflow.
    try:
        other = under(result, convention)
    except InputError as error:
        if str(error).startswith("convention:"):
            raise
        name, none = convention if isinstance(convention, str) else convention.name, np.empty(0)
        return ConventionRow(name, str(error), "", np.nan, -1, none, none, {}, {})
    return _row(other, b)


def _row(result: AlignedResult, b: int) -> ConventionRow:
    convention, shift, batch = result.convention, int(result.shift[b]), result.shift.size
    first = result.padding - shift
    points, width = result.targets.shape[1], result.predictions.shape[1]
    before, behind = max(-first, 0), max(first + width - points, 0)
    summary = f"aligned by {OBJECTIVES[convention.objective].removeprefix('objective').lstrip(': ')}"
    squares = "of squares, " * (convention.cumulated == "squares")
    if convention.cumulative == "batch":
        summary += f"; C {squares}" + (f"mixed over the {batch} structures" if batch > 1 else "0 for one structure")
    elif squares:
        summary += f"; C {squares[:-2]}"
    return ConventionRow(
        name=convention.name,
        reason=None,
        summary=summary,
        loss=float(result.per_structure[b]),
        shift=shift,
        prediction_energy=energies(result, before, behind)[0][before + first : before + first + width],
        prediction=result.predictions[b],
        acts={name: _stretches(result, shift, chosen) for name, chosen in _acting(result, b).items()},
        contributions={label: float(values[b]) for label, values in weighted(result).items()},
    )


def _acting(result: AlignedResult, b: int) -> dict[str, Booleans]:
    """Return the points (Q,) of the padded prediction that each term of the value looks at."""
    convention, shift, mask = result.convention, int(result.shift[b]), result.mask[b]
    points = mask.size
    point = np.arange(result.predictions.shape[1] + 2 * result.padding)

    def placed(chosen: Booleans) -> Booleans:
        there = np.zeros(point.shape, dtype=np.bool_)
        there[shift : shift + points] = chosen
        return there

    acts = {"D": placed(mask)}
    if convention.front_tail:
        # Without padding it is a trapezoid, which ends at the window's first point, and is nothing at shift 0.
        acts["F"] = point < shift if result.padding else (point <= shift) & (shift > 0)
    # In front of the window nothing is asked to be smooth, behind it everything is, or nothing either.
    behind = (point >= shift + points) & (convention.gradient_points == "prediction")
    acts["G"] = (placed(~mask) | behind) & (point >= _STENCIL)
    counted = mask
    if convention.cumulative == "batch":  # a trapezoid over the batch, which is nothing for one structure
        counted = result.mask.any(axis=0) & (len(result.mask) > 1)
    acts["C"] = placed(counted & (np.arange(points) >= 1))
    return acts


_STENCIL: Final = 4
"""So many points below its own a slope is made of."""


def _stretches(result: AlignedResult, shift: int, chosen: Booleans) -> Floats:
    """Return the ends of the runs of chosen points (Q,), where the alignment puts them."""
    points = result.targets.shape[1]
    energy = energies(result, shift, max(chosen.size - shift - points, 0))[0][: chosen.size]
    return runs(chosen, energy, result.energy_step)


def plot_conventions(
    result: AlignedResult,
    b: int = 0,
    *,
    conventions: Sequence[str | Convention] | None = None,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw structure `b` under each convention of its loss, aligned and evaluated anew under each.

    A row a convention. Left, over energy: target and prediction where this convention aligns it to, and above them,
    as strips, the energies at which each term looks at the prediction. Right: the weighted terms and their sum, all
    rows on one scale. Of a convention that does not take the inputs, the row says why.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    b : int
        Which structure, from 0.
    conventions : sequence of str or Convention, optional
        Beside the result's own; otherwise all named ones of the loss.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise the stretch that holds most of the target's
        states.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1; the loss has no such convention; `energy_range` is not two increasing
        finite numbers.

    References
    ----------
    docs/specification.md, sections 3 and 4, "Conventions".
    """
    data = conventions_data(result, b, conventions)
    low, high = data.support if energy_range is None else energy_limits(energy_range)
    count = len(data.rows)
    with style.figure(fig, (8.4, 1.4 + 1.35 * count)) as canvas:
        panels = canvas.subplots(count, 2, sharex="col", squeeze=False, width_ratios=(2.3, 1))
        handles: dict[str, Any] = {}
        for (left, right), row in zip(panels, data.rows, strict=True):
            left.set_xlim(low, high)
            if row.reason is None:
                _density(left, data, row, low, high)
                _bars(right, row)
            else:
                style.shade(left, data.masked_out)
                style.say(left, textwrap.fill(row.reason, 60)).set_fontsize("small")
                left.set_yticks([])
                right.set_yticks([])
            for ax in (left, right):
                handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
            left.set_title(_title(row), loc="left", fontsize="small", pad=3)
        bottom, totals = panels[-1]
        bottom.set_xlabel(data.energy_label)
        totals.set_xlabel(f"weighted terms ({data.unit})")
        totals.set_xlim(*_reach(data))
        canvas.align_ylabels(list(panels[:, 0]))
        ordered = sorted(handles, key=lambda label: [*LOOKS].index(letter(label)) if ":" in label else -1)
        canvas.legend([handles[label] for label in ordered], ordered, loc="outside lower left", ncols=4)
        canvas.suptitle(_headline(data), ha="left", x=0.01)
        return style.root(canvas)


def _title(row: ConventionRow) -> str:
    if row.reason is not None:
        return f"{row.name}: does not apply"
    return f"{row.name}: {row.loss:.5g}, shift {row.shift} points, {row.summary}"


def _headline(data: ConventionsData) -> str:
    applied = [row for row in data.rows if row.reason is None]
    losses, shifts = [row.loss for row in applied], {row.shift for row in applied}
    spread = f"{min(losses):.5g} to {max(losses):.5g}" if min(losses) < max(losses) else f"{losses[0]:.5g}"
    places = f"{len(shifts)} different shifts" if len(shifts) > 1 else "all at the same shift"
    conventions = f"{len(applied)} convention{'s' * (len(applied) > 1)}"
    return f"structure {data.structure} (of {data.structures}) under {conventions}: loss {spread}, {places}"


def _density(ax: Axes, data: ConventionsData, row: ConventionRow, low: float, high: float) -> None:
    from matplotlib.ticker import MaxNLocator

    style.shade(ax, data.masked_out, label="does not count (masked out)")
    shown, moved = within(data.energy, low, high), within(row.prediction_energy, low, high)
    ax.plot(data.energy[shown], data.target[shown], color=style.BLUE, lw=1.8, label="target")
    ax.plot(
        row.prediction_energy[moved], row.prediction[moved], color=style.VERMILLION, lw=1.0, label="prediction, aligned"
    )
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top + 0.55 * (top - bottom))  # room for the strips
    for name, stretches in row.acts.items():
        colour, hatch = LOOKS[name]
        height = 0.98 - _STRIP * (list(LOOKS).index(name) + 1)
        ax.broken_barh(
            [(left, right - left) for left, right in stretches],
            (height, 0.8 * _STRIP),
            transform=ax.get_xaxis_transform(),
            facecolor=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0,
        )
        ax.annotate(name, (1.01, height + 0.4 * _STRIP), xycoords="axes fraction", va="center", fontsize="x-small")
    ax.set_ylabel("DOS\n(states/eV)")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    if not data.mask.any():
        style.say(ax, "no valid data: the mask of this structure is empty").set_fontsize("small")
    elif not (shown.any() or moved.any()):
        style.say(ax, f"no point lies from {low:g} to {high:g} eV")


_STRIP: Final = 0.085
"""The height of a strip, in heights of the panel."""


def _reach(data: ConventionsData) -> tuple[float, float]:
    """Return the ends of the axis of the terms: room for the bars of every row, and for the sums beside them."""
    rows = [np.array(list(row.contributions.values())) for row in data.rows if row.reason is None]
    low = min(float(row[row < 0].sum()) for row in rows)
    high = max(float(row[row > 0].sum()) for row in rows)
    length = (high - low) or 1.0
    return low - 0.02 * length, high + 0.35 * length


def _bars(ax: Axes, row: ConventionRow) -> None:
    contributions = np.array(list(row.contributions.values()))[:, None]
    starts = stacked(contributions)
    for label, length, start in zip(row.contributions, contributions[:, 0], starts[:, 0], strict=True):
        colour, hatch = LOOKS[letter(label)]
        ax.barh(0, length, 0.5, start, color=colour, hatch=hatch, edgecolor="white", lw=0, label=label)
    ends = (starts + contributions)[:, 0]
    ax.annotate(f" {row.loss:.4g}", (float(ends.max(initial=0.0)), 0), va="center", fontsize="small")
    ax.set_ylim(-0.6, 0.6)
    ax.set_yticks([])
    ax.axvline(0, color=style.INK, lw=0.6)
    ax.spines["left"].set_visible(False)
