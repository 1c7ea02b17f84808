"""What the objective of the alignment is at least, at every shift, in plain float64 with the rounding taken off.

Two kinds of bound: a block of L points gives Σ d² ≥ (Σ d)²/L, and the plain sum itself, less its rounding error. Both
vectorise across shifts: for every block, or point, all shifts' accumulators are updated.
"""

from __future__ import annotations

import math

import numpy as np

from refloss.kernels.eft import TINY, fma
from refloss.kernels.jit import helper

UNIT = 2.0**-53

FINE, COARSE = np.int64(16), np.int64(64)
"""Lengths of blocks. Coarse ones come first where there are many shifts."""

ALL = np.int64(0)
"""Where a tile begins that is all shifts."""

MANY = 1024
"""With more shifts than this, blocks are coarse at first."""

TILE = 512
"""Shifts that are refined, or scanned, together."""


@helper
def add_squares(x, y, chosen, count, start, cost):
    """Add Σ (x_{i+s} − y_i)² over the first `count` chosen i to the cost of the shifts s from `start` on.

    Four points at a time: the costs are then read and written a quarter as often.
    """
    shifts = cost.size
    for k in range(0, count - 3, 4):
        i0, i1, i2, i3 = chosen[k], chosen[k + 1], chosen[k + 2], chosen[k + 3]
        y0, y1, y2, y3 = y[i0], y[i1], y[i2], y[i3]
        x0, x1 = x[i0 + start : i0 + start + shifts], x[i1 + start : i1 + start + shifts]
        x2, x3 = x[i2 + start : i2 + start + shifts], x[i3 + start : i3 + start + shifts]
        for s in range(shifts):
            d0, d1, d2, d3 = x0[s] - y0, x1[s] - y1, x2[s] - y2, x3[s] - y3
            cost[s] = fma(d3, d3, fma(d2, d2, fma(d1, d1, fma(d0, d0, cost[s]))))
    for k in range(count - count % 4, count):
        i = chosen[k]
        window = x[i + start : i + start + shifts]
        for s in range(shifts):
            d = window[s] - y[i]
            cost[s] = fma(d, d, cost[s])


@helper
def front_tails(p, trapezoid, shifts, tails):
    """Fill tails with the front tail of every shift, in plain float64, within (s + 4) · UNIT relatively."""
    inner = 0.0
    tails[0] = 0.0
    if trapezoid:
        inner = 0.5 * (p[0] * p[0])
        for s in range(1, shifts):
            square = p[s] * p[s]
            tails[s] = inner + 0.5 * square
            inner += square
    else:
        for s in range(1, shifts):
            inner += p[s - 1] * p[s - 1]
            tails[s] = inner


@helper
def add_later(x, width, sums):
    """Fill sums with x_j + x_{j+width}."""
    count = x.size - width
    earlier, later = x[:count], x[width:]
    for j in range(count):
        sums[j] = earlier[j] + later[j]


@helper
def block_sums(x, length, sums, scratch):
    """Fill sums with x_j + … + x_{j+length−1} where that is defined; length is a power of 4.

    Each sum is within length · UNIT · Σ |x|.
    """
    if x.size < length:
        return
    between = scratch[: x.size]
    add_later(x, np.int64(1), between)
    add_later(between, np.int64(2), sums)
    width = np.int64(4)
    while width < length:
        add_later(sums, width, between)
        add_later(between, 2 * width, sums)
        width *= 4


@helper
def sums_of_blocks(x, length, chosen, count, sums):
    """Fill sums, where a chosen block begins, with what `block_sums` would; length is a multiple of 4."""
    for k in range(count):
        block = x[chosen[k] : chosen[k] + length]
        a = b = c = d = 0.0
        for i in range(0, length, 4):
            a, b, c, d = a + block[i], b + block[i + 1], c + block[i + 2], d + block[i + 3]
        sums[chosen[k]] = (a + b) + (c + d)


@helper
def whole_blocks(weight, length, chosen):
    """List the first points of the blocks that count in full, and return how many there are."""
    count = 0
    # The first and the last point may have half weight: no block holds them.
    for first in range(1, weight.size - length, length):
        counting = 0.0
        for w in weight[first : first + length]:
            counting += w
        chosen[count] = first
        count += counting == length
    return count


@helper
def bound_by_blocks(p_sums, t_sums, length, chosen, count, most, tails, start, cost):
    """Fill `cost` with lower bounds of the objective at the shifts from `start` on.

    With |error| ≤ e of every block's Σ d, (Σ d)² is at least the computed square less 2 e |Σ d|, and Σ |Σ d| over n
    blocks at most √(n Σ (Σ d)²). No input is larger than `most`.
    """
    cost[:] = 0.0
    add_squares(p_sums, t_sums, chosen, count, start, cost)
    error = 4.0 * length * length * UNIT * most
    shrink = 1.0 - (count + 8) * UNIT
    for s in range(cost.size):
        safe = cost[s] * shrink - 2.0 * error * math.sqrt(count * cost[s])
        cost[s] = max(safe, 0.0) * (1.0 / length) * (1.0 - 4 * UNIT)
    add_tails(tails, start, cost)


@helper
def add_tails(tails, start, cost):
    """Add what the front tail is at least, and take off what underflow may have added."""
    shrink, own = 1.0 - (tails.size + 8) * UNIT, tails[start : start + cost.size]
    for s in range(cost.size):
        cost[s] = (cost[s] + own[s] * shrink) * (1.0 - 4 * UNIT) - TINY


@helper
def bound_by_sums(p, t, weight, chosen, count, tails, start, cost):
    """Fill `cost` with the objective less its rounding error, at the shifts from `start` on.

    `chosen` are the points of weight 1. The objective is at most (1 + `sum_error`) times as much, and TINY.
    """
    n = t.size
    left, right = p[start : start + cost.size], p[start + n - 1 : start + n - 1 + cost.size]
    for s in range(cost.size):
        first, last = left[s] - t[0], right[s] - t[n - 1]
        cost[s] = weight[0] * (first * first) + weight[n - 1] * (last * last)
    add_squares(p, t, chosen, count, start, cost)
    shrink = 1.0 - (n + 8) * UNIT
    for s in range(cost.size):
        cost[s] *= shrink
    add_tails(tails, start, cost)


@helper
def sum_error(points, shifts):
    """Return how far, relatively, a bound by sums may be below the objective."""
    return 2.02 * (points + shifts + 32) * UNIT


@helper
def inner_points(weight, chosen):
    """List the points of weight 1 but for the first and the last, and return how many there are."""
    count = 0
    for i in range(1, weight.size - 1):
        chosen[count] = i
        count += weight[i] != 0.0
    return count


@helper
def two_smallest(cost):
    """Return where the smallest and the second smallest are, −1 for the second of one."""
    first, second = 0, -1
    for s in range(1, cost.size):
        if cost[s] < cost[first]:
            first, second = s, first
        elif second < 0 or cost[s] < cost[second]:
            second = s
    return first, second


@helper
def smallest(cost):
    """Return the smallest value."""
    least = np.inf
    for c in cost:
        least = min(least, c)
    return least
