"""The exact mechanism behind every figure, for what double-double cannot certify.

A float is an integer times a power of two, so every sum of products of floats is an integer in a suitable unit. Sums of
squared differences run in a compiled superaccumulator; what is not a sum of products (the squares of differences and of
running sums) and the gradient, in Python's integers. It is asked only about what the kernels could not settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import lcm
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.conventions import Convention
from refloss.errors import InputError
from refloss.results import Booleans, Floats, Integers

Exact = NDArray[Any]
"""An object array of Python integers."""

STENCILS: Final = {
    "exact": (3.0, -16.0, 36.0, -48.0, 25.0),
    "float32": (5.0, -26.666667938232422, 60.0, -80.0, 41.666664123535156),
}
"""The coefficients of p_{j−4} … p_j: over 12 dx for the exact ones, at dx = 0.05 eV for the release's."""


@dataclass(frozen=True)
class Formula:
    """A convention with its numbers: what multiplies each of the four sums, as exact fractions.

    `padding` zeros stand on both sides of a prediction. With `trapezoid`, D and F are integrals; without, plain sums.
    """

    convention: Convention
    energy_step: float
    grad_weight: float
    int_weight: float
    points: int
    padding: int = 0
    trapezoid: bool = True

    @cached_property
    def factors(self) -> tuple[Fraction, ...]:
        """What turns the sums (dos, front tail, gradient, cumulative) into the terms."""
        dx = Fraction(self.energy_step)
        gradient = 1 / (144 * dx) if self.convention.stencil == "exact" else dx
        cumulative = dx**3 / 4
        if self.convention.cumulative == "batch":
            cumulative /= self.points - 1
        density = dx if self.trapezoid else Fraction(1)
        return density, density, gradient, cumulative

    @cached_property
    def coefficients(self) -> tuple[Fraction, ...]:
        """What turns the sums into the summands of the per-structure loss."""
        weights = (1.0, float(self.convention.front_tail), self.grad_weight, self.int_weight)
        return tuple(Fraction(weight) * factor for weight, factor in zip(weights, self.factors, strict=True))

    @property
    def whole(self) -> bool:
        """Whether the unmasked gradient is taken on the whole prediction."""
        return self.convention.gradient_points == "prediction"

    @property
    def squares(self) -> bool:
        """Whether a² − t² is accumulated, not a − t."""
        return self.convention.cumulated == "squares"

    @property
    def stencil(self) -> tuple[float, ...]:
        """The five coefficients of the backward difference."""
        return STENCILS[self.convention.stencil]


class Structure:
    """One structure in exact arithmetic.

    Parameters
    ----------
    formula : Formula
    predictions : (P,), targets, mask : (N,)
    members : (N,) or None
        The masks of the batch added up, where the cumulative term is the batch's.
    share : float
        A further factor of the cumulative term: its trapezoid weight over the batch.
    """

    def __init__(
        self,
        formula: Formula,
        predictions: Floats,
        targets: Floats,
        mask: Booleans,
        members: Floats | None = None,
        share: float = 1.0,
    ) -> None:
        self._floats: Floats = np.pad(predictions, formula.padding)
        self._targets, self._mask = targets, mask
        self._known: dict[bytes, Fraction] = {}
        self._formula, self._share = formula, Fraction(share)
        stencil, exponent = to_integers(np.array(formula.stencil))
        self._stencil, self._stencil_scale = stencil.tolist(), Fraction(2) ** exponent
        inner = mask[1:].astype(object) * _twice_trapezoid(mask.size - 1)
        self._cumulative_weight = inner if members is None else 2 * members[1:].astype(np.int64).astype(object)

    def figure(self, index: int, shift: int) -> Fraction:
        """Return one of the four unweighted terms, or, for the index behind them, the per-structure loss."""
        if index < len(self._formula.factors):
            return self._formula.factors[index] * self._sum(index, shift)
        coefficients = self._formula.coefficients
        return sum((c * self._sum(k, shift) for k, c in enumerate(coefficients) if c != 0), Fraction())

    def objective(self, shift: int) -> Fraction:
        """Return what the alignment minimises; without its factor dx, unless it is the whole loss."""
        if self._formula.convention.objective == "total":
            return self.figure(len(self._formula.factors), shift)
        value = self._dos_once(shift)
        return value + self._sum(1, shift) if self._formula.convention.objective == "dos+front_tail" else value

    def best_two(self, shifts: Iterable[int]) -> tuple[int, int]:
        """Return the best of `shifts` and its runner-up, −1 where there is only one; ties to the smallest."""
        ranked = sorted((self.objective(shift), shift) for shift in shifts)
        return ranked[0][1], ranked[1][1] if len(ranked) > 1 else -1

    def grad(self, shift: int) -> list[Fraction]:
        """Return d total / d predictions, the shift a constant in it; of the padded ones' own points."""
        n = self._t.size
        parts: list[Exact] = []
        for (x, weight), first in ((self._dos(shift), shift), (self._front_tail(shift), 0)):
            part = _zeros(self._p.size)
            part[first : first + x.size] = weight * x
            parts.append(part)
        h, weight = self._backward_difference(shift)
        first, part = self._gradient_range(shift)[0], _zeros(self._p.size)
        for r, coefficient in enumerate(self._stencil):
            part[first - 4 + r : first - 4 + r + h.size] += coefficient * weight * h
        parts.append(part)
        y, weight = self._cumulative(shift)
        tail = np.concatenate([np.add.accumulate((weight * y)[::-1])[::-1], _zeros(1)])
        part = _zeros(self._p.size)
        part[shift] = tail[0]
        part[shift + 1 : shift + n] = tail[:-1] + tail[1:]
        if self._formula.squares:
            part[shift : shift + n] *= 2 * self._p[shift : shift + n]
        parts.append(part)
        # Each sum is unit · Σ (w/2) x² with x in units of `scale`; a prediction is in units of `scale`, too.
        factors = [c * u / self._scale for c, u in zip(self._formula.coefficients, self._units(), strict=True)]
        common = lcm(*(factor.denominator for factor in factors))
        numerator: Exact = np.sum([int(f * common) * part for f, part in zip(factors, parts, strict=True)], axis=0)
        own = slice(self._formula.padding, self._p.size - self._formula.padding)
        return [Fraction(item, common) for item in numerator[own]]

    def grad_outside(self, k: int, shift: int) -> Fraction:
        """Return one element of `grad`, of a prediction outside the window: only its neighbours enter."""
        k += self._formula.padding
        _, front_tail, gradient, _ = self._formula.coefficients
        value = Fraction()
        if k <= shift:
            weight = Fraction(int(self._front_weight(shift)[k]))
            value += front_tail * weight * Fraction(float(self._floats[k]))
        first, last = self._gradient_range(shift)
        stencil = [Fraction(c) for c in self._formula.stencil]
        for j in range(max(k, first), min(k + 5, last)):
            inside = shift <= j < shift + self._targets.size
            if j >= shift and not (inside and self._mask[j - shift]):
                points = [Fraction(float(p)) for p in self._floats[j - 4 : j + 1]]
                twice = 1 if j in (first, last - 1) else 2
                h = sum((c * p for c, p in zip(stencil, points, strict=True)), Fraction())
                value += gradient * (twice if last - first > 1 else 0) * h * stencil[k - j + 4]
        return value

    @cached_property
    def _integers(self) -> tuple[Exact, int]:
        return to_integers(np.concatenate([self._floats, self._targets]))

    @property
    def _p(self) -> Exact:
        return self._integers[0][: self._floats.size]

    @property
    def _t(self) -> Exact:
        return self._integers[0][self._floats.size :]

    @property
    def _scale(self) -> Fraction:
        return Fraction(2) ** self._integers[1]

    def _sum(self, index: int, shift: int) -> Fraction:
        """Return one of the four sums, without its factor."""
        if index == 0:
            return self._dos_once(shift)
        if index == 1:
            front = self._floats[: shift + 1]
            return squared_distance(front, np.zeros(shift + 1), self._front_weight(shift).astype(np.int64))
        x, weight = self._backward_difference(shift) if index == 2 else self._cumulative(shift)
        return Fraction(int((weight * x**2).sum()), 2) * self._units()[index]

    def _units(self) -> tuple[Fraction, ...]:
        """Return what the unit of each sum's squares is worth."""
        square = self._scale**2
        cumulated = square**2 if self._formula.squares else square
        return square, square, square * self._stencil_scale**2, cumulated * self._share

    def _dos(self, shift: int) -> tuple[Exact, Exact]:
        n = self._t.size
        weight = _twice_trapezoid(n) if self._formula.trapezoid else np.full(n, 2, object)
        return self._p[shift : shift + n] - self._t, weight * self._mask.astype(object)

    def _front_tail(self, shift: int) -> tuple[Exact, Exact]:
        return self._p[: shift + 1], self._front_weight(shift)

    def _front_weight(self, shift: int) -> Exact:
        if self._formula.trapezoid:
            return _twice_trapezoid(shift + 1)
        return np.array([2] * shift + [0], object)

    def _gradient_range(self, shift: int) -> tuple[int, int]:
        first, last = (4, self._p.size) if self._formula.whole else (max(4, shift), shift + self._t.size)
        return first, max(first, last)

    def _backward_difference(self, shift: int) -> tuple[Exact, Exact]:
        first, last = self._gradient_range(shift)
        h = _zeros(last - first)
        for r, coefficient in enumerate(self._stencil):
            h = h + coefficient * self._p[first - 4 + r : first - 4 + r + h.size]
        unmasked = np.ones(self._p.size, np.bool_)
        unmasked[:shift] = False
        unmasked[shift : shift + self._t.size] = ~self._mask
        return h, _twice_trapezoid(h.size) * unmasked[first:last].astype(object)

    def _cumulative(self, shift: int) -> tuple[Exact, Exact]:
        a, t = self._p[shift : shift + self._t.size], self._t
        x = a**2 - t**2 if self._formula.squares else a - t
        return np.add.accumulate(x[:-1] + x[1:]), self._cumulative_weight

    def _dos_once(self, shift: int) -> Fraction:
        """Return the sum D; on a plateau many windows are alike: each kind is evaluated once."""
        window = self._floats[shift : shift + self._targets.size]
        key = window[self._mask].tobytes()
        if key not in self._known:
            twice = _twice_trapezoid(window.size) if self._formula.trapezoid else np.full(window.size, 2, object)
            self._known[key] = squared_distance(window, self._targets, twice.astype(np.int64) * self._mask)
        return self._known[key]


def squared_distance(p: Floats, t: Floats, twice: Integers) -> Fraction:
    """Return Σ (twice / 2) (p − t)²; the weights are 0, 1/2 and 1."""
    from refloss.kernels import superaccumulator as kernels

    limbs = np.zeros(kernels.LIMBS, np.int64)
    kernels.add_squared_distance(p, t, twice, limbs)
    return half_of_limbs(limbs)


def half_of_limbs(limbs: Integers) -> Fraction:
    """Return half of what a superaccumulator holds."""
    from refloss.kernels.superaccumulator import ORIGIN

    total = sum(limb << (32 * k) for k, limb in enumerate(limbs.tolist()))
    return Fraction(total, 2 ** (ORIGIN + 1))


def to_integers(values: Floats) -> tuple[Exact, int]:
    """Return integers and the exponent with values = integers · 2^exponent, exactly."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    exponent = exponent.astype(np.int64) - 53
    lowest = int(exponent[whole != 0].min()) if whole.any() else 0
    raised = np.where(whole != 0, exponent - lowest, 0)
    return whole.astype(object) << raised.astype(object), lowest


def nearest(value: Fraction, name: str) -> float:
    """Round to the nearest float; beyond the largest, the figure `name` is an `InputError`."""
    try:
        # True division of integers rounds correctly, subnormal results included.
        return value.numerator / value.denominator
    except OverflowError as error:
        digits = len(str(abs(value.numerator) // value.denominator)) - 1
        raise InputError(
            f"{name}: found about 1e{digits}, beyond the largest float64; expected smaller inputs"
        ) from error


def double_double(value: Fraction) -> tuple[float, float]:
    """Round to the nearest double-double."""
    high = float(value)
    return high, float(value - Fraction(high))


@lru_cache(maxsize=8)
def _twice_trapezoid(points: int) -> Exact:
    """Twice the trapezoid weights: integers, no halves."""
    weight = np.full(points, 2, object)
    weight[[0, -1][:points]] = 1
    return weight * int(points != 1)


def _zeros(count: int) -> Exact:
    return np.zeros(count, np.int64).astype(object)
