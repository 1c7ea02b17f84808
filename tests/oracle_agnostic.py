"""shift_agnostic_mse in exact rational arithmetic, from docs/specification.md, section 4: the sequel of `oracle`.

What differs from masked_dos: the prediction stands between as many zeros again on both sides, D and F are plain sums,
without energy step and trapezoid weights, and the mask is where the target is no NaN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import oracle

CONVENTIONS = {
    "intended": oracle.Choice("dos+front_tail", True, "prediction", "exact", "structure", "dos"),
    "metatrain-2026.3": oracle.Choice("dos+front_tail", True, "prediction", "float32", "batch", "dos"),
}


class Sums(oracle.Parts):
    """The terms on the padded prediction."""

    @property
    def measure(self) -> Fraction:
        return Fraction(1)

    def misfit_weights(self) -> list[int]:
        return [2] * self.points

    def tail_weights(self, s: int) -> list[int]:
        return [2] * s + [0]  # j < s


def shift_agnostic_mse(
    predictions: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]],
    convention: oracle.Switches,
    energy_step: float | Fraction = 0.05,
    grad_penalty_weight: float = 1e-4,
    int_weight: float = 2.0,
    reduction: str = "mean",
    gradient: bool = True,
) -> oracle.Aligned:
    """Evaluate the loss of a batch; the gradient is by the predictions' own points."""
    own = len(predictions[0])
    zeros = [0.0] * own
    padded = [[*zeros, *row, *zeros] for row in predictions]
    mask = [[target == target for target in row] for row in targets]
    numbers = (energy_step, grad_penalty_weight, int_weight)
    structures = [
        dataclasses.replace(found, grad=found.grad[own : 2 * own], leaves=found.leaves[own : 2 * own])
        for parts in oracle.parts_of(Sums, padded, targets, mask, convention, *numbers)
        for found in [parts.structure(None, gradient)]
    ]
    return oracle.reduced(structures, reduction)


def in_padding(structure: oracle.Structure, width: int, points: int) -> bool:
    """Whether no point of the window is one of the `width` points of the prediction."""
    window = range(structure.shift, structure.shift + points)
    return not any(width <= j < 2 * width for j in window)
