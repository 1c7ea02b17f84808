"""`plot_masks`: what counts and what does not, for every structure of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refloss.plotting import style
from refloss.plotting.common import caption_of, energies, energy_limits
from refloss.results import AlignedResult, Booleans, Floats, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class MasksData:
    """What `plot_masks` draws.

    Attributes
    ----------
    kind : (B, N + 2 · extra) uint8
        `NOTHING` (no prediction there), `OUTSIDE` (predicted, but outside the aligned window), `MASKED_OUT` or
        `COUNTS`.
    energy : (N + 2 · extra,)
        Of the columns, eV; the target's own are columns extra to extra + N − 1.
    energy_label : str
    step : float
        eV.
    mask : (B, N) bool
    windows : (B, 2)
        The first and last energy of each prediction once it is aligned, eV.
    shift : (B,) int
    tied : (B,) bool
    extra : int
        How far predictions can reach beyond the target, points; E for `masked_dos`.
    shifts : int
        S.
    caption : str
    """

    kind: NDArray[np.uint8]
    energy: Floats
    energy_label: str
    step: float
    mask: Booleans
    windows: Floats
    shift: Integers
    tied: Booleans
    extra: int
    shifts: int
    caption: str


NOTHING, OUTSIDE, MASKED_OUT, COUNTS = range(4)
"""The kinds of `MasksData`."""


def masks_data(result: AlignedResult) -> MasksData:
    """Return what `plot_masks` draws."""
    points = result.targets.shape[1]
    extra = max(result.shifts - 1 - result.padding, 0)
    energy, label = energies(result, extra, extra)
    column = np.arange(points + 2 * extra) - extra  # the target's point at each column
    first = result.padding - result.shift
    last = first + result.predictions.shape[1] - 1
    inside = (column >= first[:, None]) & (column <= last[:, None])
    kind = np.where(inside, np.uint8(OUTSIDE), np.uint8(NOTHING))
    kind[:, extra : extra + points] = np.where(result.mask, np.uint8(COUNTS), np.uint8(MASKED_OUT))
    return MasksData(
        kind=kind,
        energy=energy,
        energy_label=label,
        step=result.energy_step,
        mask=result.mask,
        windows=np.stack([energy[extra + first], energy[extra + last]], axis=1),
        shift=result.shift,
        tied=result.tied,
        extra=extra,
        shifts=result.shifts,
        caption=caption_of(result),
    )


def plot_masks(
    result: AlignedResult,
    *,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw structures × energy: what counts, what is masked out, and where each aligned prediction begins and ends.

    The window of a prediction that is compared with the target covers the target's energies; what is predicted below
    it (for `masked_dos` as many points as the shift) and above it is drawn beside. The panel at the right shows the
    shifts.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise all.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `energy_range` is not two increasing finite numbers.

    References
    ----------
    docs/specification.md, sections 3 and 4.
    """
    data = masks_data(result)
    half = data.step / 2
    everything = float(data.energy[0]) - half, float(data.energy[-1]) + half
    limits = everything if energy_range is None else energy_limits(energy_range)
    with style.figure(fig, (8.4, 4.6)) as canvas:
        image, shifts = canvas.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        _image(image, data, everything, limits)
        _shifts(shifts, data)
        empty = int((~data.mask.any(axis=1)).sum())
        note = f"; {empty} with an empty mask" if empty else ""
        canvas.suptitle(f"{data.caption}{note}", ha="left", x=0.01)
        if empty == len(data.mask):
            style.say(image, "no valid data: every mask is empty")
        elif limits[1] < everything[0] or limits[0] > everything[1]:
            style.say(image, f"no point of the grid lies from {limits[0]:g} to {limits[1]:g} eV")
        return style.root(canvas)


_KINDS = {
    NOTHING: ("nothing is predicted", "#FFFFFF"),
    OUTSIDE: ("predicted, outside the aligned window", style.ORANGE),
    MASKED_OUT: ("masked out: does not count", style.SHADE),
    COUNTS: ("counts", style.BLUE),
}


def _image(ax: Axes, data: MasksData, extent: tuple[float, float], limits: tuple[float, float]) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    structures = len(data.kind)
    ax.imshow(
        data.kind,
        cmap=ListedColormap([colour for _, colour in _KINDS.values()]),
        vmin=NOTHING,
        vmax=COUNTS,
        extent=(*extent, structures - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
    )
    ax.set_xlim(*limits)
    ax.set_xlabel(data.energy_label)
    ax.set_ylabel("structure")
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    present = np.unique(data.kind).tolist()
    patches = [
        Patch(facecolor=colour, edgecolor=style.INK, label=name)
        for kind, (name, colour) in reversed(_KINDS.items())
        if kind in present and kind != NOTHING
    ]
    ax.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)


def _shifts(ax: Axes, data: MasksData) -> None:
    from matplotlib.ticker import MaxNLocator

    number = np.arange(len(data.shift))
    look: dict[str, Any] = {
        "ls": "none",
        "rasterized": len(number) > 500,
        "ms": float(np.clip(150 / len(number), 1.5, 5)),
    }
    ax.plot(data.shift[~data.tied], number[~data.tied], marker="o", color=style.INK, **look)
    if data.tied.any():
        ties: dict[str, Any] = {"marker": "D", "color": style.VERMILLION, "mfc": "white", "label": "tied"}
        ax.plot(data.shift[data.tied], number[data.tied], **ties, **look)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0))
    margin = max(0.03 * (data.shifts - 1), 0.5)
    ax.set_xlim(-margin, data.shifts - 1 + margin)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ax.tick_params(labelleft=False)
    ax.set_xlabel(f"shift (points of {data.step:.4g} eV)")
