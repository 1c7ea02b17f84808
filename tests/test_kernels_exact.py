"""What exactness rests on, helper by helper: the fused multiply-add, double-double operations, the superaccumulator.

Compiled or as Python, whichever way the tests are run. Exact results are fractions, made here.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refloss.kernels import eft, superaccumulator
from refloss.kernels.jit import helper
from refloss.kernels.pointwise import CHUNK, HUBER, MAE, MSE

INF, NAN = math.inf, math.nan
LARGEST, SMALLEST = 1.7976931348623157e308, 5e-324


@helper
def kernels_fma(a, b, c):
    """The fused multiply-add that the kernels use: the processor's, or its stand-in."""
    return eft.fma(a, b, c)


FUSED = [pytest.param(eft.exact_fma, id="stand-in"), pytest.param(kernels_fma, id="kernels'")]


@pytest.mark.parametrize("fma", FUSED)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False), st.data())
def test_fma_rounds_once(fma, a, b, data):
    # Any number, or what leaves nothing of the product but its rounding error: where two roundings are wrong.
    c = data.draw(st.sampled_from([-(a * b)]) | st.floats(allow_nan=False, allow_infinity=False))
    if math.isfinite(c):
        assert fma(a, b, c) == oracle.nearest(Fraction(a) * Fraction(b) + Fraction(c))


@pytest.mark.parametrize("fma", FUSED)
@pytest.mark.parametrize(
    ("a", "b", "c", "wanted"),
    [
        (1e300, 1e300, -INF, -INF),  # the exact product is finite: no inf − inf
        (-1e300, 1e300, INF, INF),
        (1e200, 1e200, 1.0, INF),
        (-1e200, 1e200, 1.0, -INF),
        (LARGEST, 2.0, -LARGEST, LARGEST),  # only the product overflows
        (LARGEST, 1.0, 2.0**969, LARGEST),  # less than half a unit beyond the largest
        (LARGEST, 1.0, 2.0**970, INF),  # half of one
        (SMALLEST, 0.5, 0.0, 0.0),  # half of the smallest is a tie, which goes to the even one
        (-SMALLEST, 0.5, 0.0, -0.0),
        (SMALLEST, 0.5, SMALLEST, 2 * SMALLEST),  # and one and a half of it is another
        (SMALLEST, 0.75, 0.0, SMALLEST),
        (0.0, 3.0, -0.0, 0.0),
        (-0.0, 3.0, -0.0, -0.0),
        (2.0, 3.0, -6.0, 0.0),
        (INF, 2.0, 1.0, INF),
        (-2.0, INF, 1.0, -INF),
        (2.0, 3.0, INF, INF),
        (INF, 2.0, -INF, NAN),
        (INF, 0.0, 1.0, NAN),
        (2.0, 3.0, NAN, NAN),
        (NAN, 0.0, 1.0, NAN),
    ],
)
def test_fma_at_the_ends_of_the_range(fma, a, b, c, wanted):
    found = fma(a, b, c)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert math.isnan(wanted) or math.copysign(1.0, found) == math.copysign(1.0, wanted)


def pair(high: float, low: float) -> tuple[float, float]:
    """Return a double-double: the low part does not reach the last place of the high one."""
    h = high + low
    return h, low - (h - high)


MIDDLE = st.floats(2.0**-60, 2.0**60) | st.floats(-(2.0**60), -(2.0**-60))
SMALL = st.floats(2.0**-120, 2.0**-60)
PAIRS = st.builds(lambda high, part: pair(high, high * part), MIDDLE, SMALL)


@given(MIDDLE, MIDDLE)
@example(1.0, 2.0**60)  # |a| < |b|, and all of a is lost in the sum
def test_transformations_without_error(a, b):
    s, e = eft.two_sum(a, b)
    assert (s, Fraction(s) + Fraction(e)) == (a + b, Fraction(a) + Fraction(b))
    p, e = eft.two_prod(a, b)
    assert (p, Fraction(p) + Fraction(e)) == (a * b, Fraction(a) * Fraction(b))


@given(PAIRS, PAIRS)
@example(pair(1.0, 2.0**-70), pair(-1.0, 2.0**-80))  # nothing but the low parts is left
def test_double_double_operations_stay_within_their_error(x, y):
    (a, b), other = (Fraction(high) + Fraction(low) for high, low in (x, y)), y[0]
    for (high, low), exact in (
        (eft.dd_add(*x, *y), a + b),
        (eft.dd_mul(*x, *y), a * b),
        (eft.dd_scale(*x, other), a * Fraction(other)),
        (eft.dd_div(*x, other), a / Fraction(other)),
    ):
        assert high + low == high
        assert abs(Fraction(high) + Fraction(low) - exact) <= Fraction(eft.EPS) * abs(exact)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [MSE, MAE, HUBER])
def test_the_superaccumulator_adds_what_is_selected_and_nothing_else(kind, masked):
    # In two chunks, from the smallest numbers to the largest; what is not selected would be seen in any of them.
    rng = np.random.default_rng([kind, 90])
    n, delta = 40, 0.7
    p = np.ldexp(rng.normal(size=n), rng.integers(-1000, 1000, n))
    t = np.where(rng.random(n) < 0.3, np.nan, p + np.ldexp(rng.normal(size=n), rng.integers(-1000, 1000, n)))
    p[:2], t[:2] = [SMALLEST, LARGEST], [-SMALLEST, -LARGEST]
    predictions, targets = np.zeros(CHUNK + n - 7), np.zeros(CHUNK + n - 7)
    predictions[CHUNK - 7 :], targets[CHUNK - 7 :] = p, t
    mask = rng.random(predictions.size) < 0.6 if masked else np.empty(0, np.bool_)
    limbs = np.zeros((2, superaccumulator.LIMBS), np.int64)
    superaccumulator.add_pointwise(kind, delta, predictions, targets, mask, 0, 2, limbs)

    wanted = [Fraction(0), Fraction(0)]
    for i in range(CHUNK - 7, predictions.size):
        if not math.isnan(targets[i]) and (not masked or mask[i]):
            d, knee = abs(Fraction(predictions[i]) - Fraction(targets[i])), Fraction(delta)
            squared = d * d if kind == MSE else d * d / 2 if d <= knee else knee * (d - knee / 2)
            wanted[i // CHUNK] += d if kind == MAE else squared
    for row, exact in zip(limbs.tolist(), wanted, strict=True):
        held = sum(limb << (32 * k) for k, limb in enumerate(row))
        assert Fraction(held, 2**superaccumulator.ORIGIN) == 2 * exact > 0
