"""The common look, and how a figure comes to be and is saved without pyplot or any lasting setting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from refloss.files.output import replacing
from refloss.results import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text

STYLE: Final = "refloss.plotting.refloss"
"""The packaged style sheet, by the name that `matplotlib.style.use` knows it by."""

# Okabe and Ito, "Color Universal Design" (2008).
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
INK: Final = "#222222"
SHADE: Final = "#BBBBBB"


@contextmanager
def figure(fig: Figure | SubFigure | None, size: tuple[float, float]) -> Iterator[Figure | SubFigure]:
    """Yield `fig`, or a new figure of `size` inches, with the packaged style in force."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(STYLE):
        canvas = Figure(figsize=size, layout="constrained") if fig is None else fig
        before = set(canvas.axes)
        yield canvas
        for ax in set(canvas.axes) - before:
            _pin(ax)


@contextmanager
def axes(ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """Yield `ax`, or the only axes of a new figure of `size` inches, with the packaged style in force."""
    with figure(None if ax is None else ax.figure, size) as parent:
        yield parent.add_subplot() if ax is None else ax


def root(parent: Figure | SubFigure) -> Figure:
    """Return the figure that `parent` is, or is a part of: the one that can be saved."""
    return parent.canvas.figure


def say(ax: Axes, text: str) -> Text:
    """Write across `ax` why there is nothing, or nothing valid, to see."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": VERMILLION}
    return ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", weight="bold", bbox=box, zorder=9)


def shade(ax: Axes, runs: Floats, label: str | None = None) -> None:
    """Shade and hatch the energies that do not count, over the whole height of `ax`."""
    from matplotlib.collections import PolyCollection

    low, high = runs.T
    bottom, top = np.zeros_like(low), np.ones_like(low)
    corners = np.array([[low, bottom], [low, top], [high, top], [high, bottom]])
    shade = PolyCollection(
        corners.transpose(2, 0, 1).tolist(),
        transform=ax.get_xaxis_transform(),
        facecolor=SHADE,
        edgecolor="white",
        hatch="////",
        alpha=0.45,
        lw=0,
        zorder=0,
        label=label if len(runs) else None,
    )
    ax.add_collection(shade, autolim=False)


def contribution(ax: Axes, energy: Floats, height: Floats, step: float, unit: str) -> None:
    """Draw what a term adds at each energy as an area: a bar of the energy step's breadth a point."""
    ax.axhline(0, color=INK, lw=0.6)
    if energy.size:
        ax.stairs(height, np.append(energy - step / 2, energy[-1] + step / 2), color=ORANGE, fill=True)
    ax.set_ylabel(f"contribution\n({unit} per eV)")
    ax.yaxis.set_major_formatter("{x:g}")


def save(fig: Figure, path: str | os.PathLike[str]) -> None:
    """Save `fig` so that the same figure gives the same bytes: no date, no version, no random name in the file.

    Written beside and then renamed, so that `path` is never half a picture.

    Parameters
    ----------
    fig : Figure
    path : path
        Its ending says the format: .png, .svg, .pdf, …

    Raises
    ------
    InputError
        The file cannot be written.
    """
    with replacing("path", Path(path)) as beside:
        write(fig, beside)


def write(fig: Figure, path: Path) -> None:
    """Do what `save` does, straight to `path`."""
    import matplotlib as mpl

    kind = path.suffix.lower().removeprefix(".") or "png"
    with mpl.rc_context({"svg.hashsalt": "refloss"}):
        fig.savefig(path, format=kind, metadata=_ANONYMOUS.get(kind, {}))


def _pin(ax: Axes) -> None:
    """Fix the look of ticks: they are made when they are first drawn, which is after the style's context."""
    import matplotlib as mpl

    rc: Any = mpl.rcParams
    directions: tuple[Literal["x", "y"], ...] = ("x", "y")
    for panel in (ax, *ax.child_axes):
        for axis in directions:
            tick = f"{axis}tick"
            for which in ("major", "minor"):
                panel.tick_params(
                    axis,
                    which=which,
                    length=rc[f"{tick}.{which}.size"],
                    width=rc[f"{tick}.{which}.width"],
                    pad=rc[f"{tick}.{which}.pad"],
                    color=rc[f"{tick}.color"],
                    labelcolor=rc[f"{tick}.color"],
                    labelsize=rc[f"{tick}.labelsize"],
                    direction=rc[f"{tick}.direction"],
                    labelfontfamily=rc["font.family"],
                )


_ANONYMOUS: Final = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
