"""`plot_penalty`: where the unmasked-gradient term of one structure acts, and what it adds.

Energies in eV, densities of states in states/eV, their derivative in states/eV².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from refloss.exact import STENCILS
from refloss.plotting import style
from refloss.plotting.common import (
    energies,
    energy_limits,
    headline,
    part_outside,
    runs,
    structure_number,
    support,
    trapezoid_weights,
    unit_of,
    within,
)
from refloss.results import AlignedResult, Booleans, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class PenaltyData:
    """What `plot_penalty` draws of one structure, over the Q points of its aligned prediction, zeros around included.

    Attributes
    ----------
    structure : int
    headline : str
    energy : (Q,)
        Of the aligned prediction's points, eV.
    energy_label : str
    step : float
        eV.
    prediction : (Q,)
        States/eV.
    derivative : (Q,)
        The backward difference of the convention, states/eV²; NaN at the first four points, which have none.
    acts : (Q,) bool
        Where the term acts: the convention's points where the mask is 0.
    regions : (R, 2)
        The first and last energy of each run of such points, half a step beyond the points.
    contribution : (Q,)
        grad_weight · derivative² with the trapezoid's weights, in `unit` per eV; 0 where the term does not act. The
        step times its sum is `added`.
    target_energy, target : (N,)
        eV and states/eV; the target NaN where its mask is 0.
    term : float
        G, states²/eV³.
    weight : float
    added : float
        weight · G, in `unit`.
    unit : str
    where : str
        Where the convention has the term act, in words.
    view : (low, high)
        The energies worth looking at: those of most of the target's states and of nearly all of the contribution.
    """

    structure: int
    headline: str
    energy: Floats
    energy_label: str
    step: float
    prediction: Floats
    derivative: Floats
    acts: Booleans
    regions: Floats
    contribution: Floats
    target_energy: Floats
    target: Floats
    term: float
    weight: float
    added: float
    unit: str
    where: str
    view: tuple[float, float]

    def left_out(self, low: float, high: float) -> float:
        """Return which part of the contribution, 0 to 1, lies outside `low` to `high`; 0 if there is none."""
        return part_outside(self.contribution, self.energy, low, high)


def penalty_data(result: AlignedResult, b: int = 0) -> PenaltyData:
    """Return what `plot_penalty` draws of structure `b`.

    Raises
    ------
    InputError
        `b` is not an integer from 0 to B − 1.
    """
    structures, points = result.targets.shape
    b = structure_number(b, structures)
    convention, step, shift, mask = result.convention, result.energy_step, int(result.shift[b]), result.mask[b]
    prediction = np.pad(result.predictions[b], result.padding)
    energy, label = energies(result, shift, prediction.size - points - shift)
    derivative = np.full(prediction.size, np.nan)
    if prediction.size > 4:
        over = 1 / (12 * step) if convention.stencil == "exact" else 1.0
        derivative[4:] = np.lib.stride_tricks.sliding_window_view(prediction, 5) @ STENCILS[convention.stencil] * over
    # The mask along the whole prediction: the convention leaves out what lies before the window.
    whole = convention.gradient_points == "prediction"
    first, last = (4, prediction.size) if whole else (max(shift, 4), shift + points)
    acts = np.zeros(prediction.size, dtype=np.bool_)
    acts[shift : shift + points] = ~mask
    if whole:
        acts[shift + points :] = True
    acts[:first] = False
    squares = np.where(acts, np.square(derivative), 0.0)
    target_energy = energies(result, 0, 0)[0]
    low, high = support(target_energy, result.targets[b])
    much = energy[squares > _FLOOR * squares.max()]
    if much.size:
        low = max(min(low, float(much[0]) - _MARGIN), float(energy[0]))
        high = min(max(high, float(much[-1]) + _MARGIN), float(energy[-1]))
    return PenaltyData(
        structure=b,
        headline=headline(result, b),
        energy=energy,
        energy_label=label,
        step=step,
        prediction=prediction,
        derivative=derivative,
        acts=acts,
        regions=runs(acts, energy, step),
        contribution=result.grad_weight * trapezoid_weights(prediction.size, first, last) * squares,
        target_energy=target_energy,
        target=np.where(mask, result.targets[b], np.nan),
        term=float(result.terms.unmasked_gradient[b]),
        weight=result.grad_weight,
        added=result.grad_weight * float(result.terms.unmasked_gradient[b]),
        unit=unit_of(result),
        where="mask 0, and behind the window" if whole else "mask 0, inside the window",
        view=(low, high),
    )


_FLOOR: Final = 1e-3
"""What is below this part of the largest contribution is not worth a place on the default energy axis."""

_MARGIN: Final = 1.0
"""How far the default energy axis goes on beyond the contribution, eV."""


def plot_penalty(
    result: AlignedResult,
    b: int = 0,
    *,
    energy_range: tuple[float, float] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """Draw where the unmasked-gradient term of structure `b` acts: where no target tells, a prediction is to be smooth.

    Over energy: the aligned prediction and the target where it counts; the prediction's derivative, strong where the
    term acts; and what the term adds there to the loss of the structure, an area. Where the term acts, which is the
    convention's choice, is shaded.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    b : int
        Which structure, from 0.
    energy_range : (low, high), optional
        What to show, in eV, on the axis that the figure uses; otherwise the stretch that holds most of the target's
        states and of the contribution, and a note where that leaves a part of the contribution out.
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
    docs/specification.md, section 3: G, the unmasked gradient.
    """
    data = penalty_data(result, b)
    low, high = data.view if energy_range is None else energy_limits(energy_range)
    with style.figure(fig, (8.4, 5.4)) as canvas:
        density, derivative, contribution = canvas.subplots(3, 1, sharex=True, height_ratios=(1.6, 1.1, 1.1))
        density.set_xlim(low, high)
        shown = within(data.energy, low, high)
        _density(density, data, shown, within(data.target_energy, low, high))
        _derivative(derivative, data, shown)
        style.contribution(contribution, data.energy[shown], data.contribution[shown], data.step, data.unit)
        style.shade(contribution, data.regions)
        missing = data.left_out(low, high)
        note = f"\n{missing:.0%} of the contribution lies outside these energies" if missing > 0.005 else ""
        contribution.set_xlabel(f"{data.energy_label}{note}")
        canvas.suptitle(f"{data.headline}\n{_verdict(data)}", ha="left", x=0.01)
        handles = [*density.get_legend_handles_labels()[0], *derivative.get_legend_handles_labels()[0]]
        canvas.legend(handles=handles, loc="outside lower left", ncols=4)
        canvas.align_ylabels([density, derivative, contribution])
        if not data.acts.any():
            style.say(derivative, "the term acts nowhere: every point counts")
        elif not shown.any():
            style.say(density, f"no point of the prediction lies from {low:g} to {high:g} eV")
        return style.root(canvas)


def _verdict(data: PenaltyData) -> str:
    return (
        f"unmasked gradient: G = {data.term:.5g} states²/eV³; "
        f"{data.weight:g} · G adds {data.added:.5g} to the loss of this structure"
    )


def _density(ax: Axes, data: PenaltyData, shown: Booleans, aimed: Booleans) -> None:
    style.shade(ax, data.regions, label=f"acts here ({data.where})")
    ax.plot(data.target_energy[aimed], data.target[aimed], color=style.BLUE, lw=2.0, label="target, where it counts")
    ax.plot(data.energy[shown], data.prediction[shown], color=style.VERMILLION, lw=1.1, label="prediction, aligned")
    ax.set_ylabel("DOS (states/eV)")


def _derivative(ax: Axes, data: PenaltyData, shown: Booleans) -> None:
    style.shade(ax, data.regions)
    ax.axhline(0, color=style.INK, lw=0.6)
    ax.plot(data.energy[shown], data.derivative[shown], color=style.INK, lw=0.8, alpha=0.4)
    acting = np.where(data.acts, data.derivative, np.nan)
    ax.plot(data.energy[shown], acting[shown], color=style.INK, lw=1.4, label="derivative where it acts")
    apart = data.acts & shown  # a point between two where the term does not act has no line
    apart[1:] &= ~data.acts[:-1]
    apart[:-1] &= ~data.acts[1:]
    ax.plot(data.energy[apart], acting[apart], color=style.INK, ls="none", marker=".", ms=4)
    ax.set_ylabel("derivative\n(states/eV²)")
