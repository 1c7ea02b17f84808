"""`plot_shifts`: how the shifts of a batch are spread, and which of them are doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.plotting import style
from refloss.plotting.common import caption_of, shifts_in_view
from refloss.results import AlignedResult, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class ShiftsData:
    """What `plot_shifts` draws.

    Attributes
    ----------
    shift : (B,) int
        In points.
    kind : (B,) uint8
        `CLEAR`, or what makes a shift doubtful: `AT_AN_END` (the first or the last possible one: a better one may lie
        beyond), `TIED` (another is exactly as good), `OFF_TARGET` (the target meets the zeros around the prediction
        alone) or `NOTHING_COUNTS` (the mask is empty). Of several the last of these.
    edges : (bins + 1,)
        Of the bins, eV; each bin holds the same whole number of shifts, half a step beyond the first and the last.
    counts : (5, bins) int
        How many structures of each kind have their shift in each bin.
    ends : (2,)
        The first and the last possible shift, eV.
    rest : float
        The shift that moves nothing, eV: that of E points, or P.
    view : (low, high)
        What to show, eV: all shifts, or of thousands the stretch around the chosen ones.
    step : float
        eV.
    caption : str
    """

    shift: Integers
    kind: NDArray[np.uint8]
    edges: Floats
    counts: Integers
    ends: Floats
    rest: float
    view: tuple[float, float]
    step: float
    caption: str


CLEAR, AT_AN_END, TIED, OFF_TARGET, NOTHING_COUNTS = range(5)
"""The kinds of `ShiftsData`."""

_BINS: Final = 50
"""At most so many bars."""


def shifts_data(result: AlignedResult) -> ShiftsData:
    """Return what `plot_shifts` draws."""
    shift, last, step = result.shift, result.shifts - 1, result.energy_step
    kind = np.full(shift.shape, CLEAR, dtype=np.uint8)
    kind[(shift == 0) | (shift == last)] = AT_AN_END
    kind[result.tied] = TIED
    kind[result.in_padding] = OFF_TARGET
    kind[~result.mask.any(axis=1)] = NOTHING_COUNTS
    low, high = shifts_in_view(result)
    width = _round_up((high - low + 1) / _BINS)
    first = low - low % width  # bins stay where they are when another batch has another view
    edges = np.arange(first, high + width + 1, width)
    edges = edges[: np.searchsorted(edges, high, side="right") + 1]
    counts = [np.histogram(shift[kind == which], edges)[0] for which in range(5)]
    return ShiftsData(
        shift=shift,
        kind=kind,
        edges=(edges.astype(np.float64) - 0.5) * step,
        counts=np.array(counts, dtype=np.int64),
        ends=np.array([0.0, last * step]),
        rest=(result.padding or last) * step,
        view=((first - 0.5) * step, (edges[-1] - 0.5) * step),
        step=step,
        caption=caption_of(result),
    )


def _round_up(number: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50, … that is not below `number`."""
    power = 10 ** max(int(np.floor(np.log10(number))), 0)
    return int(next(m * power for m in (1, 2, 5, 10) if m * power >= number))


def plot_shifts(result: AlignedResult, *, fig: Figure | SubFigure | None = None) -> Figure:
    """Draw a histogram of the shifts, in eV and in points, with the first and the last possible one marked.

    A shift at an end of the range, one that ties with another, one that leaves the target beside the prediction and
    one of a structure in which nothing counts are told apart from the clear ones: none of them is sure to say where
    the prediction belongs.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    References
    ----------
    docs/specification.md, sections 1, 3 and 4.
    """
    data = shifts_data(result)
    with style.figure(fig, (8.4, 3.6)) as canvas:
        ax = canvas.add_subplot()
        _bars(ax, data)
        _marks(ax, data)
        _axes(ax, data)
        canvas.suptitle(f"{data.caption}\n{_spread(data)}", ha="left", x=0.01)
        canvas.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4)
        if (data.kind == NOTHING_COUNTS).all():
            style.say(ax, "no valid data: every mask is empty")
        return style.root(canvas)


_LOOKS: Final = {
    CLEAR: ("inside the range", style.BLUE, "", "white"),
    AT_AN_END: ("at an end of the range", style.VERMILLION, "////", "white"),
    TIED: ("tied with another", style.SKY, "....", style.INK),
    OFF_TARGET: ("off the target", style.PURPLE, "\\\\\\\\", "white"),
    NOTHING_COUNTS: ("empty mask", "#FFFFFF", "xxxx", style.INK),
}


def _bars(ax: Axes, data: ShiftsData) -> None:
    left, width, bottom = data.edges[:-1], np.diff(data.edges), np.zeros(data.counts.shape[1])
    ax.set_ylim(0, 1.06 * data.counts.sum(axis=0).max())
    for kind, (name, colour, hatch, edge) in _LOOKS.items():
        height = data.counts[kind]
        if (there := height > 0).any():  # a bar of no height would still have an edge
            look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": edge, "lw": 0.5}
            where = left[there], height[there], width[there], bottom[there]
            ax.bar(*where, align="edge", label=f"{name}: {height.sum()}", **look)
            bottom = bottom + height


def _marks(ax: Axes, data: ShiftsData) -> None:
    low, high = data.view
    ends = [end for end in data.ends if low <= end <= high]
    for number, end in enumerate(ends):
        label = None if number else "first and last possible shift" if len(ends) == 2 else "end of the possible shifts"
        ax.axvline(end, color=style.INK, lw=1.2, ls=(0, (4, 2)), label=label)
    if low <= data.rest <= high and data.rest not in data.ends:
        ax.axvline(data.rest, color=style.INK, lw=1.2, ls=":", label="moves nothing")


def _axes(ax: Axes, data: ShiftsData) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = data.view
    width, bars = data.edges[1] - data.edges[0], data.edges.size - 1
    margin = max(0.03 * (high - low), 0.5 * (10 - bars) * width)  # so that a few bars are not as broad as walls
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylabel("structures")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ax.set_xlabel(f"shift (eV; {data.rest:.6g} eV moves nothing; each bar is {width:.4g} eV wide)")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
    points = ax.secondary_xaxis(
        "top", functions=(lambda e: np.divide(e, data.step), lambda s: np.multiply(s, data.step))
    )
    points.set_xlabel("shift (points)")
    points.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def _spread(data: ShiftsData) -> str:
    if data.ends[0] == data.ends[1]:
        return "there is only one shift"
    low, middle, high = (float(np.quantile(data.shift, q)) * data.step for q in (0.0, 0.5, 1.0))
    return f"shifts from {low:.6g} to {high:.6g} eV, median {middle:.6g} eV; possible are 0 to {data.ends[1]:.6g} eV"
