"""The ensemble losses of one element in fractions, for numbers whose squares or differences leave float64's range.

Everything is exact but log, exp, erf and erfc, which round once or so. d = t − μ; v is the variance, floored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from refloss.kernels import ensemble as kernels

_FAR = Fraction(64)
"""From here on, in standard deviations, the error function is 1 and the density 0, to all digits."""

_LN_2 = Fraction(0.6931471805599453) + Fraction(2.3190468138462996e-17)
_ONE_OVER_ROOT_PI, _ROOT_HALF, _ROOT_TWO_OVER_PI = (
    Fraction(high) + Fraction(low)
    for high, low in (kernels.ONE_OVER_ROOT_PI, kernels.ROOT_HALF, kernels.ROOT_TWO_OVER_PI)
)


class Figures(NamedTuple):
    """The loss of an element and its derivatives by mean and variance."""

    element: Fraction
    by_mean: Fraction
    by_variance: Fraction


def gaussian(kind: int, d: Fraction, v: Fraction) -> Figures:
    """Return the figures of `kernels.NLL` or `kernels.CRPS`."""
    if kind == kernels.NLL:
        return Figures((_log(v) + d * d / v) / 2, -d / v, (1 - d * d / v) / (2 * v))
    sigma, sign = _sqrt(v), (d > 0) - (d < 0)
    z = min(abs(d) / sigma, _FAR)
    cumulative = _erf(z * _ROOT_HALF)
    density = _ROOT_TWO_OVER_PI * _exp_minus(z * z / 2) - _ONE_OVER_ROOT_PI
    return Figures(abs(d) * cumulative + sigma * density, -sign * cumulative, density / (2 * sigma))


def moments(members: Sequence[float], target: float) -> tuple[Fraction, Fraction, list[Fraction]]:
    """Return target − mean, the unbiased variance, and each member's deviation from the mean."""
    y = [Fraction(member) for member in members]
    mean = sum(y, Fraction()) / len(y)
    deviations = [item - mean for item in y]
    return Fraction(target) - mean, sum((x * x for x in deviations), Fraction()) / (len(y) - 1), deviations


def empirical(members: Sequence[float], target: float) -> Fraction:
    """Return the empirical CRPS: its sums as `kernels.fill_empirical` puts them."""
    count, t = len(members), Fraction(target)
    apart = [Fraction(member) - t for member in sorted(members)]
    total = sum((x * (2 * (count - i) - 1 if x > 0 else -(2 * i + 1)) for i, x in enumerate(apart)), Fraction())
    return total / count**2


def _split(v: Fraction) -> tuple[Fraction, int]:
    """Return m and an even k with v = m · 2^k and m within float64's range; k = 0 where v itself is."""
    k = v.numerator.bit_length() - v.denominator.bit_length()
    k = 0 if -1000 < k < 1000 else k - k % 2
    return v / Fraction(2) ** k, k


def _log(v: Fraction) -> Fraction:
    m, k = _split(v)
    near = float(m)
    return Fraction(math.log(near)) + (m - Fraction(near)) / Fraction(near) + k * _LN_2


def _sqrt(v: Fraction) -> Fraction:
    m, k = _split(v)
    near = Fraction(math.sqrt(m))
    return (near + (m - near * near) / (2 * near)) * Fraction(2) ** (k // 2)


def _exp_minus(a: Fraction) -> Fraction:
    near = float(a)
    return Fraction(math.exp(-near)) * (1 - (a - Fraction(near)))


def _erf(x: Fraction) -> Fraction:
    near = float(x)
    correction = Fraction(kernels.TWO_OVER_ROOT_PI * math.exp(-near * near)) * (x - Fraction(near))
    if near < 0.5:
        return Fraction(math.erf(near)) + correction
    return 1 - Fraction(math.erfc(near)) + correction
