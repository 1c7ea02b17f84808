"""`plot_terms`: where the loss of each structure comes from, the worst structure first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refloss.arrays import whole_number
from refloss.errors import InputError
from refloss.plotting import style
from refloss.plotting.data import TermsData, terms_data
from refloss.results import AlignedResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_terms(result: AlignedResult, *, most: int = 40, ax: Axes | None = None) -> Figure:
    """Draw each structure's weighted terms as stacked bars, the worst structure first.

    Terms with a negative weight are stacked downwards from 0; a mark shows the sum where there are any.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    most : int, default 40
        How many structures to draw at most; the figure says how many it leaves out.
    ax : Axes, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `most` is not an integer ≥ 1.

    References
    ----------
    docs/specification.md, sections 3 and 4.
    """
    if whole_number("most", most) < 1:
        raise InputError(f"most: found {most!r}, expected an integer ≥ 1")
    data = terms_data(result)
    drawn = min(most, data.order.size)
    with style.axes(ax, (8.4, 4.2)) as panel:
        _bars(panel, data, drawn)
        panel.set_xlabel(_which(data, drawn))
        panel.set_ylabel(f"weighted terms of the loss ({data.unit})")
        panel.set_title(data.caption, loc="left", pad=24, fontsize="large")
        if not result.mask.any():
            style.say(panel, "no valid data: every mask is empty")
        elif not data.contributions.any():
            style.say(panel, "every term is 0")
        return style.root(panel.figure)


_LOOKS = {
    "D": (style.BLUE, ""),
    "F": (style.SKY, "...."),
    "G": (style.VERMILLION, "////"),
    "C": (style.PURPLE, "\\\\\\\\"),
}
"""Colour and hatch by the term's letter."""


def _bars(ax: Axes, data: TermsData, drawn: int) -> None:
    place = np.arange(drawn)
    handles: list[Any] = []
    for label, heights, bottoms in zip(data.labels, data.contributions, data.bottoms, strict=True):
        colour, hatch = _LOOKS[label.partition(":")[0][-1]]
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "lw": 0, "label": label}
        handles.append(ax.bar(place, heights[:drawn], 0.8, bottoms[:drawn], **look))
    if (data.contributions[:, :drawn] < 0).any():
        handles += ax.plot(place, data.total[:drawn], ls="none", marker="_", ms=9, mew=2, color=style.INK, label="sum")
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.set_xticks(place, [str(number) for number in data.order[:drawn]], rotation=90 if drawn > 25 else 0)
    ax.spines["bottom"].set_visible(False)  # the line at 0 is the axis
    beside = max(6 - drawn, 0) / 2  # so that a few bars are not as broad as walls
    ax.set_xlim(-0.7 - beside, drawn - 0.3 + beside)
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(handles))


def _which(data: TermsData, drawn: int) -> str:
    rest = data.order.size - drawn
    more = f"; {rest} more, none above {data.total[drawn]:.3g}" if rest else ""
    return f"structure, the worst first{more}"
