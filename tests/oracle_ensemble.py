"""The ensemble losses from docs/specification.md, section 5: in fractions, and in mpmath where they need log or erf.

It imports nothing from the package under test and no NumPy. Differences, means and variances are exact; what is
transcendental has 300 bits. Each figure comes with the sum of the absolute values of its summands, which its error is
measured in (section 9).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mpmath import mp, mpf

BITS = 300
FLOORS = {"nll": 1e-6, "crps": 1e-12}


@dataclass(frozen=True)
class Figure:
    """An exact figure and the sum of its absolute summands."""

    value: mpf
    size: mpf

    def __add__(self, other: Figure) -> Figure:
        return Figure(self.value + other.value, self.size + other.size)

    def times(self, factor: Fraction) -> Figure:
        return Figure(self.value * number(factor), self.size * number(abs(factor)))


NOTHING = Figure(mpf(0), mpf(0))


def number(value: Fraction) -> mpf:
    with mp.workprec(BITS):
        return mpf(value.numerator) / value.denominator


def total(figures: Sequence[Figure], divisor: int) -> Figure:
    """Return Σ figures / divisor."""
    with mp.workprec(BITS):
        added = NOTHING
        for figure in figures:
            added = added + figure
        return added.times(Fraction(1, divisor))


@dataclass(frozen=True)
class Gaussian:
    """A loss of d = target − mean and the variance v, and its derivatives by mean and variance."""

    element: Figure
    by_mean: Figure
    by_variance: Figure


def gaussian(kind: str, mean: float | Fraction, target: float | Fraction, variance: float | Fraction) -> Gaussian:
    d, floor = Fraction(target) - Fraction(mean), Fraction(FLOORS[kind])
    v = max(Fraction(variance), floor)
    with mp.workprec(BITS):
        formulas = _negative_log_likelihood if kind == "nll" else _ranked_probability_score
        found = formulas(number(d), number(v))
        return found if Fraction(variance) >= floor else Gaussian(found.element, found.by_mean, NOTHING)


def _negative_log_likelihood(d: mpf, v: mpf) -> Gaussian:
    log, square = mp.log(v), d * d / v
    return Gaussian(
        Figure((log + square) / 2, (abs(log) + square) / 2),
        Figure(-d / v, abs(d) / v),
        Figure((1 - square) / v / 2, (1 + square) / v / 2),
    )


def _ranked_probability_score(d: mpf, v: mpf) -> Gaussian:
    sigma = mp.sqrt(v)
    z = d / sigma
    both_sides = mp.erf(z / mp.sqrt(2))  # 2 Φ(z) − 1
    density, constant = mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi), 1 / mp.sqrt(mp.pi)
    return Gaussian(
        Figure(sigma * (z * both_sides + 2 * density - constant), sigma * (z * both_sides + 2 * density + constant)),
        Figure(-both_sides, abs(both_sides)),
        Figure((2 * density - constant) / sigma / 2, (2 * density + constant) / sigma / 2),
    )


@dataclass(frozen=True)
class Members:
    """A loss of an ensemble, its derivatives by the members, and how large numbers the mean is the difference of."""

    element: Figure
    by_member: list[Figure]


def of_members(kind: str, members: Sequence[float], target: float) -> Members:
    """Return the Gaussian loss of the mean and the unbiased variance."""
    count, y = len(members), [Fraction(member) for member in members]
    mean = sum(y, Fraction()) / count
    variance = sum(((x - mean) ** 2 for x in y), Fraction()) / (count - 1)
    found = gaussian(kind, mean, target, variance)
    with mp.workprec(BITS):
        slopes = [
            found.by_mean.times(Fraction(1, count)) + found.by_variance.times(2 * (x - mean) / (count - 1)) for x in y
        ]
    return Members(found.element, slopes)


def empirical(members: Sequence[float], target: float) -> tuple[Fraction, list[Fraction]]:
    """Return the empirical CRPS and its derivatives by the members, pair by pair."""
    count, t, y = len(members), Fraction(target), [Fraction(member) for member in members]
    pairs = sum((abs(a - b) for a in y for b in y), Fraction())
    value = sum((abs(a - t) for a in y), Fraction()) / count - pairs / (2 * count**2)
    slopes = [Fraction(_sign(a - t), count) - Fraction(sum(_sign(a - b) for b in y), count**2) for a in y]
    return value, slopes


def _sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


def error(found: float, exact: Figure) -> float:
    """Return |found − exact| in ulps of the sum of the absolute summands."""
    with mp.workprec(BITS):
        return float(abs(mpf(found) - exact.value) / mpf(math.ulp(float(exact.size))))
