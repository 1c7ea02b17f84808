"""Accurate sums: of weighted squares, and running ones.

Sums of squares run in LANES independent accumulators with compensation (T. Ogita, S. M. Rump and S. Oishi, SIAM J.
Sci. Comput. 26, 1955 (2005)), combined by a fixed tree. Running sums are exact in two bins whose units are far enough
apart that no partial sum rounds, and plain in what is left below both.
"""

from __future__ import annotations

import math

import numpy as np

from refloss.kernels.eft import EPS, LANES, TINY, dd_add, fast_two_sum, fma, two_prod, two_sum
from refloss.kernels.extent import largest_bits
from refloss.kernels.jit import helper

FORWARDS, BACKWARDS = np.int64(1), np.int64(-1)
"""Directions of running sums."""

TILE = 448
"""Points of running sums that go through all steps together; rows of 4 KiB would get in each other's way."""


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
def largest(x):
    """Return the largest |x|."""
    return np.int64(largest_bits(x)).view(np.float64)


@helper
def bins(most, n):
    """Return the constants that round to two bins for running sums of n terms of at most `most`, and their slack.

    Adding and taking away 1.5 · 2^E rounds to a multiple of 2^(E−52). With 2^E ≥ 4 n · most no partial sum of such
    multiples and half of one, nor the sum of two, needs more than 53 bits. What is left is at most 2^(E−53), and goes
    the same way with a smaller E; what is left then is summed plainly.
    """
    room = math.frexp(4.0 * n)[1]
    first = math.frexp(most)[1] + room
    second = first - 52 + room
    slack = math.ldexp(4.0 * n * n, second - 105)
    return 1.5 * math.ldexp(1.0, first), 1.5 * math.ldexp(1.0, second), slack


@helper
def split(xh, xl, coarse, fine, first, second, rest):
    """Split double-doubles into their two bins and the rest.

    In two loops: with more arrays in one, LLVM gives up proving that they do not overlap, and does not vectorise.
    """
    for i in range(xh.size):
        first[i] = (xh[i] + coarse) - coarse
    for i in range(xh.size):
        r, e = two_sum(xh[i] - first[i], xl[i])
        b = (r + fine) - fine
        second[i] = b
        rest[i] = (r - b) + e


@helper
def accumulate(x, y, z):
    """Replace three arrays by their running sums."""
    a = b = c = 0.0
    for i in range(x.size):
        a += x[i]
        b += y[i]
        c += z[i]
        x[i], y[i], z[i] = a, b, c


@helper
def add_neighbours(x, sums):
    """Fill sums with x_i + x_{i+1}."""
    earlier, later = x[: sums.size], x[1:]
    for i in range(sums.size):
        sums[i] = earlier[i] + later[i]


@helper
def pair_sums(xh, xl, most, direction):
    """Replace double-doubles of at most `most` by Σ_{1≤j≤i} (x_{j−1} + x_j); return the largest error.

    BACKWARDS, by Σ_{j≥i} (x_j + x_{j+1}), the last having no neighbour. With R the running sums from the one
    end these are R_{i−1} + R_i − x_0, so that R starts from −x_0/2, and from the other R_i + R_{i+1}. TILE points at a
    time go through all steps, in the fastest cache.
    """
    n = xh.size
    big, small, slack = bins(most, n)
    running, pairs, largest_sum = np.empty((3, TILE + 1)), np.empty((3, TILE)), 0.0
    a0 = b0 = c0 = 0.0
    for done in range(0, n, TILE):
        count = min(TILE, n - done)
        start = n - done - count if direction == BACKWARDS else done
        high, low = xh[start : start + count], xl[start : start + count]
        a, b, c = running[0, : count + 1], running[1, : count + 1], running[2, : count + 1]
        if direction == BACKWARDS:
            split(high, low, big, small, a[:count], b[:count], c[:count])
            a[count], b[count], c[count] = a0, b0, c0
            accumulate(a[::-1], b[::-1], c[::-1])
            a0, b0, c0 = a[0], b[0], c[0]
        else:
            split(high, low, big, small, a[1:], b[1:], c[1:])
            if done == 0:
                a0, b0, c0 = -0.5 * a[1], -0.5 * b[1], -0.5 * c[1]
            a[0], b[0], c[0] = a0, b0, c0
            accumulate(a, b, c)
            a0, b0, c0 = a[count], b[count], c[count]
        x, y, z = pairs[0, :count], pairs[1, :count], pairs[2, :count]
        add_neighbours(a, x)
        add_neighbours(b, y)
        add_neighbours(c, z)
        for i in range(count):
            h, l = two_sum(x[i], y[i])
            high[i], low[i] = fast_two_sum(h, l + z[i])
        largest_sum = max(largest_sum, largest(high))
    return slack + 4 * EPS * largest_sum
