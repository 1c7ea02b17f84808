"""`plot_gradient`: what training pushes a prediction to, point by point, and which term pushes.

Energies in eV, densities of states in states/eV; the gradient is that of the value by the prediction, in states (a
sum without energy step: states/eV).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from refloss.engine import at_shift
from refloss.errors import InputError
from refloss.plotting import style
from refloss.plotting.common import caption_of, energies, energy_limits, runs, structure_number, support, within
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class GradientData:
    """What `plot_gradient` draws of one structure.

    Attributes
    ----------
    structure : int
    caption : str
    loss : float
        This structure's share, `per_structure`.
    shift : int
        In points.
    energy : (N,)
        Of the target's points, eV.
    prediction_energy : (P,)
        Of the prediction's points where the alignment puts them, eV.
    energy_label : str
    target : (N,)
    prediction : (P,)
        States/eV.
    push : (P,)
        −d value / d prediction, as the result has it: where a step of training moves the prediction.
    parts : mapping of str to (P,)
        The same of each weighted term alone, at the same shift; they add up to `push` but for roundings of the largest.
    unit : str
        Of `push`.
    mask : (N,) bool
    masked_out : (R, 2)
        As in `AlignmentData`.
    support : (low, high)
        The energies worth looking at.
    """

    structure: int
    caption: str
    loss: float
    shift: int
    energy: Floats
    prediction_energy: Floats
    energy_label: str
    target: Floats
    prediction: Floats
    push: Floats
    parts: dict[str, Floats]
    unit: str
    mask: Booleans
    masked_out: Floats
    support: tuple[float, float]


def gradient_data(result: AlignedResult, b: int = 0) -> GradientData:
    """Return what `plot_gradient` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1; the result has no gradient.
    """
    b = structure_number(b, result.shift.size)
    if result.grad is None:
        raise InputError("result: found no gradient, expected a result that was computed with grad=True")
    energy, label = energies(result, 0, 0)
    first = result.padding - int(result.shift[b])  # where the alignment puts the prediction's first point
    points, width = result.targets.shape[1], result.predictions.shape[1]
    before, behind = max(-first, 0), max(first + width - points, 0)
    start = before + first
    target, mask = result.targets[b], result.mask[b]
    return GradientData(
        structure=b,
        caption=caption_of(result),
        loss=float(result.per_structure[b]),
        shift=int(result.shift[b]),
        energy=energy,
        prediction_energy=energies(result, before, behind)[0][start : start + width],
        energy_label=label,
        target=target,
        prediction=result.predictions[b],
        push=0.0 - result.grad[b],
        parts=_parts(result, b),
        unit="states/eV" if result.padding else "states",
        mask=mask,
        masked_out=runs(~mask, energy, result.energy_step),
        support=support(energy, target if target.any() else result.aligned[b]),
    )


def _parts(result: AlignedResult, b: int) -> dict[str, Floats]:
    """Return each weighted term's part of `push`: the gradient is linear in the weights once the shift is fixed."""

    def push(grad_weight: float, int_weight: float) -> Floats:
        weighted = at_shift(replace(result, grad_weight=grad_weight, int_weight=int_weight), result.shift)
        assert weighted.grad is not None  # as the result has one
        pushed: Floats = 0.0 - weighted.grad[b]
        return pushed

    # Weights that are not 0: what nothing pushes at all takes exact arithmetic, point by point.
    weight = result.grad_weight or 1.0
    together = push(weight, 0.0)
    smooth = 2.0 * (together - push(weight / 2.0, 0.0))
    return {
        "D + F: density, front tail" if result.convention.front_tail else "D: density": together - smooth,
        f"{result.grad_weight:g} · G: gradient": smooth if result.grad_weight else np.zeros_like(smooth),
        f"{result.int_weight:g} · C: cumulated": push(weight, result.int_weight) - together,
    }


def plot_gradient(
    result: AlignedResult,
    b: int = 0,
    *,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw where a step of training moves the prediction of structure `b`, under its density of states.

    Over energy, the prediction lying where it was aligned to: target and prediction; the negative gradient of the
    value, filled upwards where training raises the prediction and downwards where it lowers it; and the same of each
    weighted term alone, the shift held fixed. Shift and mask are constants of the gradient.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned, with ``grad=True``.
    b : int
        Which structure, from 0.
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
        `b` is not an integer from 0 to B − 1; the result has no gradient; `energy_range` is not two increasing finite
        numbers.

    References
    ----------
    docs/specification.md, sections 1, 3 and 4.
    """
    data = gradient_data(result, b)
    low, high = data.support if energy_range is None else energy_limits(energy_range)
    with style.figure(fig, (8.4, 5.6)) as canvas:
        density, push, parts = canvas.subplots(3, 1, sharex=True, height_ratios=(1.5, 1, 1))
        parts.sharey(push)
        density.set_xlim(low, high)
        shown, moved = within(data.energy, low, high), within(data.prediction_energy, low, high)
        style.shade(density, data.masked_out, label="does not count (masked out)")
        density.plot(data.energy[shown], data.target[shown], color=style.BLUE, lw=2.0, label="target")
        where = data.prediction_energy[moved]
        density.plot(where, data.prediction[moved], color=style.VERMILLION, lw=1.1, label="prediction, aligned")
        density.set_ylabel("DOS (states/eV)")
        _push(push, data, moved)
        _parts_panel(parts, data, moved)
        for ax in (push, parts):
            style.shade(ax, data.masked_out)
        for ax in (density, push, parts):
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
        parts.set_xlabel(data.energy_label)
        canvas.align_ylabels([density, push, parts])
        canvas.suptitle(_title(data), ha="left", x=0.01)
        if not data.push.any():
            style.say(push, "the gradient is 0 everywhere")
        if not data.mask.any():
            style.say(density, "no valid data: the mask of this structure is empty")
        elif not (shown.any() or moved.any()):
            style.say(density, f"no point lies from {low:g} to {high:g} eV")
        return style.root(canvas)


_LOOKS: Final = {
    "D": (style.BLUE, "-", 2.0),
    "G": (style.VERMILLION, "--", 1.1),
    "C": (style.PURPLE, "-.", 1.4),
}
"""Colour, dashes and width by the term's first letter."""


def _title(data: GradientData) -> str:
    strongest = int(np.abs(data.push).argmax())
    return (
        f"structure {data.structure}: loss {data.loss:.5g}, shift {data.shift} points   ·   {data.caption}\n"
        f"the strongest push: {_signed(data.push[strongest])} {data.unit} at {data.prediction_energy[strongest]:.6g} eV"
    )


def _signed(number: float) -> str:
    return f"{number:+.3g}".replace("-", "−")


def _push(ax: Axes, data: GradientData, shown: Booleans) -> None:
    energy, push = data.prediction_energy[shown], data.push[shown]
    up, down = np.maximum(push, 0.0), np.minimum(push, 0.0)
    ax.fill_between(energy, up, color=style.SKY, lw=0, label="training raises the prediction")
    ax.fill_between(energy, down, color=style.ORANGE, lw=0, label="training lowers it")
    ax.plot(energy, push, color=style.INK, lw=0.8)
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.set_ylabel(f"−d value / d pred.\n({data.unit})")


def _parts_panel(ax: Axes, data: GradientData, shown: Booleans) -> None:
    ax.axhline(0, color=style.INK, lw=0.6)
    for label, part in data.parts.items():
        colour, dashes, width = _LOOKS[label.partition(":")[0].partition(" · ")[2][:1] or label[0]]
        ax.plot(data.prediction_energy[shown], part[shown], color=colour, ls=dashes, lw=width, label=label)
    ax.set_ylabel(f"of each term\n({data.unit})")
