"""Exact sums of products of floats: the mechanism behind what double-double cannot certify.

A sum is held in LIMBS signed limbs of 64 bits, limb k in units of 2^(32 k − ORIGIN). A product of two floats, an
integer of 106 bits, adds less than 2³⁶ to each limb that it reaches; carries wait until the limbs become one integer.

Source: U. W. Kulisch and W. L. Miranker, SIAM Review 28, 1 (1986).
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.eft import two_sum
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.pointwise import CHUNK, HUBER, MAE, beyond

LIMBS, ORIGIN = 136, 2176
"""Room for products from 2^−2148 to 2^2048, and for 2²⁶ of them."""

LOW32, LOW26, FRACTION = np.int64(0xFFFFFFFF), np.int64((1 << 26) - 1), np.int64((1 << 52) - 1)


@helper
def decode(bits):
    """Return the integer m ≥ 0 and the exponent e with |x| = m · 2^e."""
    exponent = (bits >> 52) & 0x7FF
    fraction = bits & FRACTION
    if exponent == 0:
        return fraction, np.int64(-1074)
    return fraction | np.int64(1 << 52), exponent - 1075


@helper
def add_integer(limbs, value, exponent, negative):
    """Add ± value · 2^exponent, 0 ≤ value < 2⁵⁸."""
    position = exponent + ORIGIN
    k, shift = position >> 5, position & 31
    low, high = (value & LOW32) << shift, (value >> 32) << shift
    first, second, third = low & LOW32, (low >> 32) + (high & LOW32), high >> 32
    if negative:
        first, second, third = -first, -second, -third
    limbs[k] += first
    limbs[k + 1] += second
    limbs[k + 2] += third


@helper
def add_product(limbs, x, y, factor, negative):
    """Add ± factor · x · y, of the bits of two floats; factor is at most 8."""
    m, e = decode(x)
    n, f = decode(y)
    sign = negative ^ ((x < 0) ^ (y < 0))
    mh, ml, nh, nl = m >> 26, m & LOW26, n >> 26, n & LOW26
    add_integer(limbs, factor * mh * nh, e + f + 52, sign)
    add_integer(limbs, factor * (mh * nl + ml * nh), e + f + 26, sign)
    add_integer(limbs, factor * ml * nl, e + f, sign)


@kernel(read(Float, 1), read(Float, 1), read(Int, 1), write(Int, 1))
def add_squared_distance(p, t, weight, limbs):
    """Add Σ weight (p − t)² to the limbs; weights are 0, 1 or 2."""
    a, b = p.view(np.int64), t.view(np.int64)
    for i in range(p.size):
        if weight[i] != 0:
            add_product(limbs, a[i], a[i], weight[i], False)
            add_product(limbs, a[i], b[i], 2 * weight[i], True)
            add_product(limbs, b[i], b[i], weight[i], False)


@helper
def add_float(limbs, x, negative):
    """Add ± 2 x, of the bits of a float."""
    m, e = decode(x)
    add_integer(limbs, 2 * m, e, negative ^ (x < 0))


@kernel(Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), Int, Int, write(Int, 2))
def add_pointwise(kind, delta, predictions, targets, mask, start, stop, limbs):
    """Add twice the selected elements of each chunk to its row of limbs."""
    a, b = predictions.view(np.int64), targets.view(np.int64)
    knee = np.full(1, delta).view(np.int64)[0]
    for chunk in range(start, stop):
        row = limbs[chunk]
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, predictions.size)):
            if (mask.size > 0 and not mask[i]) or targets[i] != targets[i]:
                continue
            below = predictions[i] < targets[i]
            h, l = two_sum(predictions[i], -targets[i])
            if kind == MAE:
                add_float(row, a[i], below)
                add_float(row, b[i], not below)
            elif kind == HUBER and beyond(h, l, delta):
                add_product(row, knee, a[i], 2, below)
                add_product(row, knee, b[i], 2, not below)
                add_product(row, knee, knee, 1, True)
            else:
                factor = 1 if kind == HUBER else 2
                add_product(row, a[i], a[i], factor, False)
                add_product(row, a[i], b[i], 2 * factor, True)
                add_product(row, b[i], b[i], factor, False)
