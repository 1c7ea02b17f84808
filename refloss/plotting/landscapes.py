"""`plot_landscapes`: the objective at every shift for all structures at once, and which shift each was aligned at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.plotting import style
from refloss.plotting.common import OBJECTIVES, caption_of, shifts_in_view, unit_of
from refloss.results import AlignedResult, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage


@dataclass(frozen=True, eq=False)
class LandscapesData:
    """What `plot_landscapes` draws; structures are sorted by their shift.

    Attributes
    ----------
    order : (B,) int
        The structures' numbers.
    shift : (B,) int
        In points.
    best : (B,)
        The objective at the shift.
    relative : (B, S)
        The objective over the best of its structure, or over a millionth of the largest of its structure where that
        is more. inf where the objective overflows; NaN where the best is negative, as it can be with a negative
        weight.
    highest : float
        Where the scale of `relative` ends: at what the median structure reaches in view, and at 10 at least. What is
        above is no further told apart.
    view : (first, last)
        The shifts to show, in points: all, or of thousands the stretch around the chosen ones.
    objective_label, unit : str
    step : float
        eV.
    rest : int
        The shift that moves nothing.
    caption : str
    """

    order: Integers
    shift: Integers
    best: Floats
    relative: Floats
    highest: float
    view: tuple[int, int]
    objective_label: str
    unit: str
    step: float
    rest: int
    caption: str


_LEAST: Final = 1e-6
"""A best objective counts as at least this part of its structure's largest: an exact fit has a scale, too."""


_NAMED: Final = 30
"""At most so many structures have their number beside them."""


def landscapes_data(result: AlignedResult) -> LandscapesData:
    """Return what `plot_landscapes` draws."""
    order = np.argsort(result.shift, kind="stable")
    shift, objective = result.shift[order], result.landscape()[order]
    finite = np.isfinite(objective)
    best = objective[np.arange(order.size), shift]
    largest = np.max(objective, axis=1, initial=0.0, where=finite)
    scale = np.maximum(best, _LEAST * largest)
    scale[largest == 0.0] = 1.0
    relative = np.where(best[:, None] < 0, np.nan, objective / scale[:, None])
    relative[(objective == 0.0).all(axis=1)] = 1.0
    first, last = shifts_in_view(result)
    shown = np.where(np.isfinite(relative), relative, 1.0)[:, first : last + 1]
    return LandscapesData(
        order=order,
        shift=shift,
        best=best,
        relative=relative,
        highest=max(float(np.median(shown.max(axis=1))), 10.0),
        view=(first, last),
        objective_label=OBJECTIVES[result.convention.objective],
        unit=unit_of(result),
        step=result.energy_step,
        rest=result.padding or result.shifts - 1,
        caption=caption_of(result),
    )


def plot_landscapes(result: AlignedResult, *, fig: Figure | SubFigure | None = None) -> Figure:
    """Draw structures × shift: the objective relative to the best of its structure, and the chosen shift as a line.

    Structures are sorted by their shift, so that the line rises; whatever is as dark as the line and away from it is
    a rival of the alignment. The panel at the right shows what the best of each structure is. A best that is less
    than a millionth of the largest objective of its structure, that of an exact fit, counts as that millionth.

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
    data = landscapes_data(result)
    with style.figure(fig, (8.4, 4.6)) as canvas:
        heat, best = canvas.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        image = _heat(heat, data)
        _line(heat, data)
        _best(best, data)
        bar = canvas.colorbar(image, ax=heat, location="right", extend="max", pad=0.01, aspect=30)
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.set_label(f"{data.objective_label} ÷ the best of its structure\n(pure number, logarithmic)")
        unscaled = int(np.isnan(data.relative).all(axis=1).sum())
        note = f"\nno scale where the best is negative: {unscaled} structures are left grey" if unscaled else ""
        canvas.suptitle(f"{data.caption}{note}", ha="left", x=0.01)
        handles = [*heat.get_legend_handles_labels()[0], *best.get_legend_handles_labels()[0]]
        canvas.legend(handles=handles, loc="outside lower left", ncols=2)
        if not result.mask.any():
            style.say(heat, "no valid data: every mask is empty")
        return style.root(canvas)


def _heat(ax: Axes, data: LandscapesData) -> AxesImage:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    first, last = data.view
    structures = data.order.size
    ax.set_facecolor(style.SHADE)
    image = ax.imshow(
        np.minimum(data.relative[:, first : last + 1], data.highest),
        cmap="cividis",
        norm=LogNorm(1.0, data.highest),
        extent=(first - 0.5, last + 0.5, structures - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
    )
    ax.set_xlabel(f"shift (points; {data.rest} moves nothing)")
    ax.set_ylabel("structure, sorted by shift")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ev = ax.secondary_xaxis("top", functions=(lambda s: np.multiply(s, data.step), lambda e: np.divide(e, data.step)))
    ev.set_xlabel("shift (eV)")
    ev.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    named = np.arange(0, structures, -(-structures // _NAMED))
    ax.set_yticks(named, [str(number) for number in data.order[named]])
    return image


def _line(ax: Axes, data: LandscapesData) -> None:
    from matplotlib.patheffects import withStroke

    rows = np.arange(data.order.size)
    x = np.repeat(data.shift, 2)
    y = np.stack([rows - 0.5, rows + 0.5], axis=1).ravel()
    width = 1.1 if rows.size <= 200 else 0.7
    line = ax.plot(x, y, color=style.VERMILLION, lw=width, label="aligned at this shift")
    line[0].set_path_effects([withStroke(linewidth=2.2 * width, foreground="white")])


def _best(ax: Axes, data: LandscapesData) -> None:
    rows, best = np.arange(data.order.size), data.best
    positive = best[best > 0]
    logarithmic = positive.size > 0 and best.min() >= 0 and positive.max() > 30 * positive.min()
    beside = (best == 0) & logarithmic  # what a logarithmic axis has no place for stands before the least
    look: dict[str, Any] = {
        "ls": "none",
        "marker": "o",
        "ms": float(np.clip(150 / rows.size, 1.5, 5)),
        "color": style.INK,
        "rasterized": rows.size > 500,
    }
    ax.plot(best[~beside], rows[~beside], **look)
    if logarithmic:
        ax.set_xscale("log")
    if beside.any():
        ax.plot(np.full(beside.sum(), positive.min() / 3), rows[beside], mfc="white", label="best is 0", **look)
    ax.tick_params(labelleft=False)
    ax.set_xlabel(f"best {data.objective_label}\n({data.unit})")
