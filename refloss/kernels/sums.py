"""Accurate sums: of weighted squares, and running ones.

Sums of squares run in LANES independent accumulators with compensation (T. Ogita, S. M. Rump and S. Oishi, SIAM J.
Sci. Comput. 26, 1955 (2005)), combined by a fixed tree. Running sums are exact in two bins whose units are far enough
apart that no partial sum rounds, and plain in what is left below both.
"""

from __future__ import annotations

import math

import numpy as np

from refloss.kernels.eft import LANES, TINY, dd_add, fma, two_prod, two_sum
from refloss.kernels.jit import helper


@helper
def sum_lanes(high, low):
    """Add up the LANES accumulators, destroying them, by a fixed tree."""
    width = LANES // 2
    while width > 0:
        for k in range(width):
            high[k], low[k] = dd_add(high[k], low[k], high[k + width], low[k + width])
        width //= 2
    return high[0], low[0]


@helper
def lane_error(n):
    """Return the relative error of a compensated sum of n terms ≥ 0 in lanes, each within 2⁻¹⁰³ itself."""
    return 8.0 * (n / LANES + 9.0) ** 2 * 2.0**-106


@helper
def squared_distance(p, t, weight):
    """Return Σ weight (p − t)² as a double-double and its error; p, t and weight are of one length."""
    n = t.size
    high, low = np.zeros(LANES), np.zeros(LANES)
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        for k in range(LANES):
            h, l = two_sum(p[i + k], -t[i + k])
            q, e = two_prod(h, h)
            w = weight[i + k]
            q *= w
            e = w * fma(h, l + l, e)
            a, r = two_sum(high[k], q)
            high[k] = a
            low[k] += r + e
    for k in range(n - whole):
        h, l = two_sum(p[whole + k], -t[whole + k])
        q, e = two_prod(h, h)
        w = weight[whole + k]
        high[k], r = two_sum(high[k], w * q)
        low[k] += r + w * fma(h, l + l, e)
    h, l = sum_lanes(high, low)
    if h == 0.0:
        for i in range(n):
            if weight[i] != 0.0 and p[i] != t[i]:
                return h, l, TINY
        return h, l, 0.0
    return h, l, lane_error(n) * h + TINY


@helper
def squares(xh, xl, weight, n, slack):
    """Return Σ weight x² over n double-doubles that are each within `slack`, and its error.

    Weights ≥ 0; with W their sum, an error δ of every x changes S by at most 2 δ √(W S) + W δ².
    """
    high, low, total = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        for k in range(LANES):
            h, l, w = xh[i + k], xl[i + k], weight[i + k]
            q, e = two_prod(h, h)
            f, g = two_prod(w, q)
            high[k], r = two_sum(high[k], f)
            low[k] += r + fma(w, fma(h, l + l, e), g)
            total[k] += w
    for k in range(n - whole):
        h, l, w = xh[whole + k], xl[whole + k], weight[whole + k]
        q, e = two_prod(h, h)
        f, g = two_prod(w, q)
        high[k], r = two_sum(high[k], f)
        low[k] += r + fma(w, fma(h, l + l, e), g)
        total[k] += w
    h, l = sum_lanes(high, low)
    weights = total.sum() * (1.0 + 2.0**-40)
    if h == 0.0:
        for i in range(n):
            if weight[i] != 0.0 and xh[i] != 0.0:
                return h, l, weights * slack * slack + TINY
        return h, l, weights * slack * slack
    error = lane_error(n) * h + TINY
    if slack > 0.0:
        error += (2.0 * slack * math.sqrt(weights * h) + weights * slack * slack) * (1.0 + 2.0**-40)
    return h, l, error


@helper
def largest(x, n):
    """Return the largest |x| of the first n elements."""
    most = np.zeros(LANES)
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        for k in range(LANES):
            size = abs(x[i + k])
            most[k] = size if size > most[k] else most[k]
    for k in range(n - whole):
        size = abs(x[whole + k])
        most[k] = size if size > most[k] else most[k]
    return most.max()


@helper
def bins(most, n):
    """Return the constants that round to two bins for running sums of n terms of at most `most`, and their slack.

    Adding and taking away 1.5 · 2^E rounds to a multiple of 2^(E−52). With 2^E ≥ 4 n · most no partial sum of such
    multiples, nor the sum of two less a third, needs more than 53 bits. What is left is at most 2^(E−53), and goes
    the same way with a smaller E; what is left then is summed plainly.
    """
    room = math.frexp(4.0 * n)[1]
    first = math.frexp(most)[1] + room
    second = first - 52 + room
    slack = math.ldexp(4.0 * n * n, second - 105)
    return 1.5 * math.ldexp(1.0, first), 1.5 * math.ldexp(1.0, second), slack


@helper
def split(xh, xl, n, coarse, fine, first, second, rest):
    """Split double-doubles into their two bins and the rest.

    In two loops: with more arrays in one, LLVM gives up proving that they do not overlap, and does not vectorise.
    """
    for i in range(n):
        first[i] = (xh[i] + coarse) - coarse
    for i in range(n):
        r, e = two_sum(xh[i] - first[i], xl[i])
        b = (r + fine) - fine
        second[i] = b
        rest[i] = (r - b) + e
