"""`plot_terms`: where the loss of each structure comes from, the worst structure first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.arrays import whole_number
from refloss.errors import InputError
from refloss.plotting import style
from refloss.plotting.common import caption_of, unit_of
from refloss.results import AlignedResult, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def terms_data(result: AlignedResult) -> TermsData:
    """Return what `plot_terms` draws."""
    total = result.per_structure
    bars = weighted(result)
    order = np.argsort(-total, kind="stable")
    contributions = np.stack(list(bars.values()))[:, order]
    bottoms = stacked(contributions)
    return TermsData(order, tuple(bars), contributions, bottoms, total[order], unit_of(result), caption_of(result))


def weighted(result: AlignedResult) -> dict[str, Floats]:
    """Return the weighted terms, (B,) each, by their labels; they add up to `per_structure`."""
    terms = result.terms
    bars = {"D: density": terms.dos}
    if result.convention.front_tail:
        bars["F: front tail"] = terms.front_tail
    bars[f"{result.grad_weight:g} · G: gradient"] = result.grad_weight * terms.unmasked_gradient
    bars[f"{result.int_weight:g} · C: cumulated"] = result.int_weight * terms.cumulative
    return bars


def stacked(contributions: Floats) -> Floats:
    """Return where each of the bars (T, B) begins: what is positive upwards from 0, what is negative downwards."""
    up, down = np.maximum(contributions, 0.0), np.minimum(contributions, 0.0)
    below: Floats = np.where(contributions < 0, np.cumsum(down, axis=0) - down, np.cumsum(up, axis=0) - up)
    return below


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


LOOKS: Final = {
    "D": (style.BLUE, ""),
    "F": (style.SKY, "...."),
    "G": (style.VERMILLION, "////"),
    "C": (style.PURPLE, "\\\\\\\\"),
}
"""Colour and hatch by the term's letter."""


def letter(label: str) -> str:
    """Return the letter of the term with this label."""
    return label.partition(":")[0][-1]


def _bars(ax: Axes, data: TermsData, drawn: int) -> None:
    place = np.arange(drawn)
    handles: list[Any] = []
    for label, heights, bottoms in zip(data.labels, data.contributions, data.bottoms, strict=True):
        colour, hatch = LOOKS[letter(label)]
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
