"""Rows (high, low, error): a double-double figure with a bound on its error, and what the bound proves.

The last axis of every array here is such a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from refloss.exact import nearest
from refloss.kernels.eft import EPS, TINY
from refloss.kernels.totals import add_up as _add_up
from refloss.results import Booleans, Floats


def certified(rows: Floats) -> Booleans:
    """Whether rounding each row to `high` is proven to be within 0.501 ulp of the exact figure."""
    high, error = np.abs(rows[..., 0]), rows[..., 2]
    # An ulp is at least 2⁻⁵³ of the number: the rest of 0.501 is more than 2⁻⁶⁴ of it, away from both ends.
    inside = (error <= high * 2.0**-64) & (high > 2.0**-1000) & (high < 2.0**1020)
    proven: Booleans = inside | ((high == 0.0) & (error == 0.0))
    return proven


@dataclass(frozen=True, eq=False)
class Unrounded:
    """A figure before its rounding: a row (3,), and what gives the exact figure where the row cannot certify."""

    row: Floats
    exact: Callable[[], Fraction]


def add_up(rows: Floats, divisor: int) -> Floats:
    """Return Σ rows / divisor, a row."""
    out = np.empty(3)
    _add_up(rows, float(divisor), out)
    return out


def weighted_sum(summands: Sequence[tuple[float, Unrounded]], name: str) -> float:
    """Return Σ weight · figure, rounded once."""
    if all(np.isfinite(figure.row).all() for _, figure in summands):
        value = slack = Fraction()
        for weight, figure in summands:
            high, low, error = map(Fraction, figure.row.tolist())
            value += Fraction(weight) * (high + low)
            slack += abs(Fraction(weight)) * error
        if slack * 2**64 <= abs(value):
            return nearest(value, name)
    return nearest(sum((Fraction(weight) * figure.exact() for weight, figure in summands), Fraction()), name)


def times_power(rows: Floats, exponent: int) -> Floats:
    """Multiply by 2^exponent; what overflows or comes near underflow, before or after, is no longer certified."""
    if exponent == 0:
        return rows
    with np.errstate(over="ignore"):
        scaled: Floats = np.ldexp(rows, exponent)
    something = (rows[..., 0] != 0.0) | (rows[..., 2] != 0.0)
    smallest = np.minimum(np.abs(rows[..., 0]), np.abs(scaled[..., 0]))
    scaled[something & (smallest < 2.0**-900), 2] = np.inf
    return scaled


def minus(a: Floats, b: Floats) -> Floats:
    """Return a − b."""
    with np.errstate(invalid="ignore"):
        s = a[..., 0] - b[..., 0]
        v = s - a[..., 0]
        rest = (a[..., 0] - (s - v)) - (b[..., 0] + v) + (a[..., 1] - b[..., 1])
        high = s + rest
        lows = np.abs(a[..., 1]) + np.abs(b[..., 1]) + np.abs(rest)
        error = a[..., 2] + b[..., 2] + 4 * EPS * np.abs(high) + 2.0**-51 * lows
        # Where something entered, no bound is 0: it may have underflowed.
        error += np.where((high == 0.0) & (lows == 0.0) & (error == 0.0), 0.0, TINY)
        return np.stack([high, (s - high) + rest, error], axis=-1)
