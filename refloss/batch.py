"""Checked inputs of an aligned loss, and what of them every part of its evaluation needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np

from refloss.exact import Formula, Structure, double_double
from refloss.results import Booleans, Floats

MODERATE: Final = 2.0**100
"""Inputs, dx and weights within this and its inverse keep every sum clear of overflow; the rest is scaled, or exact."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Predictions (B, P), targets and mask (B, N), the largest of both in absolute value, and the formula."""

    predictions: Floats
    targets: Floats
    mask: Booleans
    largest: float
    formula: Formula

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shifts(self) -> int:
        """How many shifts there are."""
        return int(self.predictions.shape[1] - self.targets.shape[1]) + 2 * self.formula.padding + 1

    @property
    def objective(self) -> str:
        """What the alignment minimises."""
        return self.formula.convention.objective

    @property
    def step(self) -> float:
        """What turns the kernels' objective into the specification's: they leave out dx where it is a factor."""
        factor = self.objective != "total" and self.formula.trapezoid
        return self.formula.energy_step if factor else 1.0

    @cached_property
    def share(self) -> Floats:
        """(B,) The trapezoid weights over the batch where the cumulative term is the batch's, else 1."""
        share = np.ones(len(self))
        if self.formula.convention.cumulative == "batch":
            share[[0, -1]] = 0.5 if len(self) > 1 else 0.0
        return share

    @cached_property
    def members(self) -> Floats:
        """(N,) The masks of the batch added up; empty where each structure has its own."""
        batch = self.formula.convention.cumulative == "batch"
        return self.mask.sum(axis=0, dtype=np.float64) if batch else np.empty(0)

    @cached_property
    def scaled(self) -> tuple[Floats, Floats, int] | None:
        """Predictions and targets over 2^k, and k, at which no sum overflows; None where there is no such k."""
        formula = self.formula
        for number in (formula.energy_step, abs(formula.grad_weight), abs(formula.int_weight)):
            if number != 0.0 and not 1 / MODERATE <= number <= MODERATE:
                return None
        if self.largest == 0.0 or 1 / MODERATE <= self.largest <= MODERATE:
            return self.predictions, self.targets, 0
        k = int(np.frexp(self.largest)[1])
        p, t = np.ldexp(self.predictions, -k), np.ldexp(self.targets, -k)
        exact = np.array_equal(np.ldexp(p, k), self.predictions) and np.array_equal(np.ldexp(t, k), self.targets)
        # Squares accumulate fourth powers, whose unit is 2^4k: not one scale for the whole loss.
        return (p, t, k) if exact and not formula.squares else None

    @cached_property
    def stencil(self) -> Floats:
        """(5,) The coefficients of the backward difference."""
        return np.array(self.formula.stencil)

    def structure(self, b: int) -> Structure:
        """Return structure `b` in exact arithmetic."""
        members = self.members if self.members.size else None
        return Structure(
            self.formula, self.predictions[b], self.targets[b], self.mask[b], members, float(self.share[b])
        )


def doubles(fractions: Iterable[Fraction]) -> Floats:
    """Return (n, 2) double-doubles."""
    return np.array([double_double(fraction) for fraction in fractions])
