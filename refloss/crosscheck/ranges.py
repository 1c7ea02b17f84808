"""Scaling a case to a format: no figure of it overflows, and large ones come close to where they would.

Scaling is by a power of two, so that ties stay ties and integers stay short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from refloss.crosscheck.adversarial import Range, Rows
from refloss.crosscheck.formats import Format, quantise
from refloss.results import Floats

_ROOM: Final = 16.0
"""What is left between the largest figure and the format's largest number, for partial sums that go beyond the sum."""

_ABOVE_TINY: Final = 24
"""The binary places that small numbers' squares are above the smallest normal number: energy steps and weights."""


def in_range(rows: Rows, form: Format, range: Range, largest: Callable[[float, float], float]) -> Rows:  # noqa: A002
    """Return the rows scaled and rounded to the format.

    Parameters
    ----------
    rows : Rows
    form : Format
    range : {"ordinary", "large", "small"}
        As they are, unless a figure would overflow; as large as they can be; as small as squares can be.
    largest : callable
        From the largest |prediction| and |target|, a bound of all figures.
    """
    p, t = (float(np.abs(x).max()) for x in (rows.predictions, rows.targets))
    highest = round(math.log2(form.largest)) - math.frexp(max(p, t))[1]
    exponent = {"ordinary": 0, "large": highest - 2, "small": _smallest(form)}[range]
    while max(p, t) > form.tiny and _too_large(largest, math.ldexp(p, exponent), math.ldexp(t, exponent), form):
        exponent -= 1
    return rows._replace(
        predictions=_scaled(rows.predictions, exponent, form), targets=_scaled(rows.targets, exponent, form)
    )


def largest_aligned(
    p: float,
    t: float,
    *,
    shape: tuple[int, int, int],
    step: float,
    weights: tuple[float, float],
    reduction: str,
    trapezoid: bool,
) -> float:
    """Bound every figure of an aligned loss: value, terms, gradient; p and t are the largest |prediction| and |target|.

    `shape` is (structures, points, width): N, and how many points a prediction has with its padding.
    """
    structures, points, width = shape
    unit = step if trapezoid else 1.0
    stencil = 128.0 / (12.0 * step)  # 128 = 3 + 16 + 36 + 48 + 25
    slope, running = stencil * p, step * points * (p + t)
    dos, front = unit * points * (p + t) * (p + t), unit * width * p * p
    gradient = step * width * slope * slope
    cumulative = step * (points + structures) * running * running
    by_cumulative = 2.0 * step * (points + structures) * step * running
    if step == 0.05 and reduction == "mean":  # where the convention that accumulates the squares applies
        squares = step * points * (p * p + t * t)
        by_cumulative = max(by_cumulative, 4.0 * step * (points + structures) * step * squares * p)
        cumulative = max(cumulative, step * (points + structures) * squares * squares)
    total = dos + front + abs(weights[0]) * gradient + abs(weights[1]) * cumulative
    slopes = 4.0 * unit * (p + t) + 2.0 * abs(weights[0]) * step * stencil * slope + abs(weights[1]) * by_cumulative
    return max(p, t, total * (structures if reduction == "sum" else 1), gradient, cumulative, slopes)


def largest_pointwise(p: float, t: float, *, count: int, delta: float) -> float:
    """Bound every figure of a pointwise loss, huber or not."""
    d = p + t
    return count * max(d, d * d, delta * d)


def _smallest(form: Format) -> int:
    """Return the exponent of numbers of which the squares are normal."""
    return math.ceil((math.log2(form.tiny) + _ABOVE_TINY) / 2)


def _too_large(largest: Callable[[float, float], float], p: float, t: float, form: Format) -> bool:
    return not largest(p, t) <= form.largest / _ROOM


def _scaled(x: Floats, exponent: int, form: Format) -> Floats:
    # Subnormal numbers are there for being so.
    return quantise(np.where(np.abs(x) < form.tiny, x, np.ldexp(x, exponent)), form)
