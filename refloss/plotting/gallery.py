"""`plot_gallery`: the worst, the median and the best structures of a batch side by side.

Energies in eV, densities of states in states/eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.arrays import whole_number
from refloss.errors import InputError
from refloss.plotting import style
from refloss.plotting.common import caption_of, energies, energy_limits, runs, support, within
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class GalleryPanel:
    """One structure of a gallery.

    Attributes
    ----------
    structure, rank : int
        Its number, and its place among all, 0 the worst.
    loss : float
        Its share, `per_structure`.
    shift : int
        In points.
    target, aligned : (N,)
        States/eV.
    mask : (N,) bool
    masked_out : (R, 2)
        As in `AlignmentData`.
    support : (low, high)
        The energies worth looking at.
    """

    structure: int
    rank: int
    loss: float
    shift: int
    target: Floats
    aligned: Floats
    mask: Booleans
    masked_out: Floats
    support: tuple[float, float]


@dataclass(frozen=True, eq=False)
class GalleryData:
    """What `plot_gallery` draws.

    Attributes
    ----------
    rows : mapping
        ``"worst"``, ``"median"`` and ``"best"`` to their structures, the worse first; no structure stands twice, and a
        row without any is left out.
    structures : int
    energy : (N,)
        Of the targets' points, eV.
    energy_label, caption : str
    """

    rows: dict[str, tuple[GalleryPanel, ...]]
    structures: int
    energy: Floats
    energy_label: str
    caption: str


def gallery_data(result: AlignedResult, k: int = 3) -> GalleryData:
    """Return what `plot_gallery` draws: `k` structures in a row, or fewer where there are not three times as many.

    Raises
    ------
    InputError
        `k` is not an integer ≥ 1.
    """
    if whole_number("k", k) < 1:
        raise InputError(f"k: found {k!r}, expected an integer ≥ 1")
    energy, label = energies(result, 0, 0)
    order = np.argsort(-result.per_structure, kind="stable")
    rows = {
        name: tuple(_panel(result, energy, rank, int(order[rank])) for rank in ranks)
        for name, ranks in _ranks(order.size, k).items()
        if ranks
    }
    return GalleryData(rows, order.size, energy, label, caption_of(result))


def _ranks(structures: int, k: int) -> dict[str, range]:
    """Return the ranks of each row, none of them twice: of few structures the worst are the most worth seeing."""
    worst, best, median = (min(k, (structures + spare) // 3) for spare in (2, 1, 0))
    start = max(worst, min((structures - median) // 2, structures - best - median))
    return {
        "worst": range(worst),
        "median": range(start, start + median),
        "best": range(structures - best, structures),
    }


def _panel(result: AlignedResult, energy: Floats, rank: int, b: int) -> GalleryPanel:
    target, aligned, mask = result.targets[b], result.aligned[b], result.mask[b]
    return GalleryPanel(
        structure=b,
        rank=rank,
        loss=float(result.per_structure[b]),
        shift=int(result.shift[b]),
        target=target,
        aligned=aligned,
        mask=mask,
        masked_out=runs(~mask, energy, result.energy_step),
        support=support(energy, target if target.any() else aligned),
    )


def plot_gallery(
    result: AlignedResult,
    *,
    k: int = 3,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw the `k` worst, the `k` median and the `k` best structures, target and aligned prediction.

    Between the curves the misfit that counts is filled; what the mask leaves out is shaded. Each panel has axes of its
    own: what is to be compared are the shapes, and the losses in the titles.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    k : int, default 3
        How many of each kind; of fewer than 3 k structures each stands once.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise, for each structure, the stretch that holds
        most of the target's states.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `k` is not an integer ≥ 1; `energy_range` is not two increasing finite numbers.

    References
    ----------
    docs/specification.md, sections 3 and 4.
    """
    data = gallery_data(result, k)
    limits = None if energy_range is None else energy_limits(energy_range)
    columns = max(len(panels) for panels in data.rows.values())
    size = (max(2.8 * columns, 4.2), 1.0 + 1.9 * len(data.rows))
    with style.figure(fig, size) as canvas:
        grid = canvas.add_gridspec(len(data.rows), columns)
        handles: dict[str, Any] = {}
        for row, (name, panels) in enumerate(data.rows.items()):
            for column, panel in enumerate(panels):
                ax = canvas.add_subplot(grid[row, column])
                _draw(ax, data, panel, panel.support if limits is None else limits)
                found, labels = ax.get_legend_handles_labels()
                handles |= dict(zip(labels, found, strict=True))
                if column == 0:
                    ax.set_ylabel(f"{name}\nDOS (states/eV)" if data.structures > 1 else "DOS (states/eV)")
                if row == len(data.rows) - 1:
                    ax.set_xlabel("energy (eV)")
        canvas.suptitle(data.caption, ha="left", x=0.01)
        canvas.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower left",
            ncols=2 if columns < 3 else 4,
            title=data.energy_label,
            alignment="left",
        )
        canvas.align_ylabels()
        return style.root(canvas)


_MISFIT: Final = "misfit that counts"


def _draw(ax: Axes, data: GalleryData, panel: GalleryPanel, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = within(data.energy, *limits)
    energy, target, aligned = data.energy[shown], panel.target[shown], panel.aligned[shown]
    style.shade(ax, panel.masked_out, label="does not count (masked out)")
    counts = panel.mask[shown]
    ax.fill_between(energy, target, aligned, counts, color=style.SKY, alpha=0.6, lw=0, label=_MISFIT, zorder=1)
    ax.plot(energy, target, color=style.BLUE, lw=1.6, label="target")
    ax.plot(energy, aligned, color=style.VERMILLION, lw=0.9, label="prediction, aligned")
    ax.set_xlim(*limits)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.set_title(
        f"structure {panel.structure}: {panel.loss:.4g}\n"
        f"number {panel.rank + 1} of {data.structures} from the worst, shift {panel.shift}",
        loc="left",
        fontsize="small",
        pad=3,
    )
    if not panel.mask.any():
        style.say(ax, "no valid data")
    elif not shown.any():
        style.say(ax, "no point of the target here")
