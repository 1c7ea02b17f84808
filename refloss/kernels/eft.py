"""Error-free transformations and double-double arithmetic.

A double-double is a pair (h, l) with h = fl(h + l). With u = 2⁻⁵³ and barring underflow, every operation here is
within 2⁻¹⁰² of its exact result, relatively. Sources: T. J. Dekker, Numer. Math. 18, 224 (1971); M. Joldes,
J.-M. Muller and V. Popescu, ACM Trans. Math. Softw. 44, 15res (2017).
"""

from __future__ import annotations

import math
from typing import Any

from numba import types
from numba.extending import intrinsic

from refloss.kernels.jit import COMPILED, helper

EPS = 2.0**-102
"""The relative error of one double-double operation, at most."""

TINY = 2.0**-1022
"""More than what underflow can take from one sum: 2⁻¹⁰⁷⁴ an operation, and fewer than 2⁴⁰ operations.

The smallest normal number: a smaller one would be 0 where this file is imported while subnormals are flushed to zero.
"""

LANES = 16
"""Independent accumulators of a sum, combined by a fixed tree."""


def exact_fma(a: float, b: float, c: float) -> float:
    """Return a·b + c, rounded once, as the hardware does; it stands in for `fma` where the JIT is off."""
    if not math.isfinite(a) or not math.isfinite(b) or a == 0.0 or b == 0.0:
        return a * b + c  # the product has no error
    if not math.isfinite(c):
        return c
    (p, q), (r, s), (t, u) = (float(x).as_integer_ratio() for x in (a, b, c))
    numerator, denominator = p * r * u + t * q * s, q * s * u
    try:
        return numerator / denominator  # rounds correctly, subnormal results included
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:  # pragma: no cover (only where the JIT is on)
    """Return a·b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


fma = _fma if COMPILED else exact_fma


@helper
def two_sum(a, b):
    """Return fl(a + b) and its error."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@helper
def fast_two_sum(a, b):
    """As two_sum, for |a| ≥ |b|."""
    s = a + b
    return s, b - (s - a)


@helper
def two_prod(a, b):
    """Return fl(a · b) and its error."""
    p = a * b
    return p, fma(a, b, -p)


@helper
def dd_add(ah, al, bh, bl):
    """Add."""
    s, e = two_sum(ah, bh)
    t, f = two_sum(al, bl)
    s, e = fast_two_sum(s, e + t)
    return fast_two_sum(s, e + f)


@helper
def dd_scale(ah, al, b):
    """Multiply by one float."""
    p, e = two_prod(ah, b)
    return fast_two_sum(p, fma(al, b, e))


@helper
def dd_mul(ah, al, bh, bl):
    """Multiply."""
    p, e = two_prod(ah, bh)
    return fast_two_sum(p, fma(ah, bl, fma(al, bh, e)))


@helper
def dd_div(ah, al, b):
    """Divide by one float."""
    q = ah / b
    return fast_two_sum(q, (fma(-q, b, ah) + al) / b)
