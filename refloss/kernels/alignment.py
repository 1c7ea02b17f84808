"""The shift search: a fast pass over every shift, then double-double on those that it could not exclude.

Shapes: predictions (B, P), targets and mask (B, N), S = P − N + 1 shifts. The objective is that of the specification
without its factor dx: Σ ω m (p − t)², plus the front tail where the convention counts it.
"""

from __future__ import annotations

import math

import numpy as np

from refloss.kernels.eft import EPS, TINY, dd_add, dd_scale, fma
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.sums import squared_distance, squares

UNIT = 2.0**-53

BLOCK = 16
"""Grid points whose sum bounds the squares of a block from below: Σ d² ≥ (Σ d)² / BLOCK."""

ENOUGH = 24
"""With more shifts than this left by the bounds, a plain pass over all of them is cheaper."""


@helper
def trapezoid_mask(mask, weight):
    """Fill `weight` with ω_i m_i."""
    n = mask.size
    for i in range(n):
        weight[i] = 1.0 if mask[i] else 0.0
    weight[0] *= 0.5
    weight[n - 1] *= 0.5


@helper
def front_tail_squares(p, s, zero, weight):
    """Return the trapezoid sum of p² over points 0..s, and its error; zero and weight hold P points, zero zeros."""
    if s == 0:
        return 0.0, 0.0, 0.0
    weight[: s + 1] = 1.0
    weight[0] = weight[s] = 0.5
    return squares(p, zero, weight, s + 1, 0.0)


@helper
def objective(p, t, weight, front_tail, s, zero, scratch):
    """Return the objective at one shift as a double-double, and its error."""
    high, low, error = squared_distance(p[s : s + t.size], t, weight)
    if front_tail:
        fh, fl, fe = front_tail_squares(p, s, zero, scratch)
        high, low = dd_add(high, low, fh, fl)
        error += fe + EPS * high
    return high, low, error


@helper
def add_front_tail(p, cost):
    """Add the front tail in plain float64 to the cost of every shift."""
    inner = 0.5 * (p[0] * p[0])
    for s in range(1, cost.size):
        square = p[s] * p[s]
        cost[s] += inner + 0.5 * square
        inner += square


@helper
def add_squares(x, y, chosen, count, cost):
    """Add Σ (x_{i+s} − y_i)² over the first `count` chosen i to the cost of every shift s, in plain float64.

    Four points at a time: the costs are then read and written a quarter as often.
    """
    shifts = cost.size
    for k in range(0, count - 3, 4):
        i0, i1, i2, i3 = chosen[k], chosen[k + 1], chosen[k + 2], chosen[k + 3]
        y0, y1, y2, y3 = y[i0], y[i1], y[i2], y[i3]
        x0, x1, x2, x3 = x[i0 : i0 + shifts], x[i1 : i1 + shifts], x[i2 : i2 + shifts], x[i3 : i3 + shifts]
        for s in range(shifts):
            d0, d1, d2, d3 = x0[s] - y0, x1[s] - y1, x2[s] - y2, x3[s] - y3
            cost[s] = fma(d3, d3, fma(d2, d2, fma(d1, d1, fma(d0, d0, cost[s]))))
    for k in range(count - count % 4, count):
        i = chosen[k]
        window = x[i : i + shifts]
        for s in range(shifts):
            d = window[s] - y[i]
            cost[s] = fma(d, d, cost[s])


@helper
def scan(p, t, weight, front_tail, cost, chosen):
    """Fill `cost` with the objective at every shift in plain float64, within (N + S + 8) · UNIT relatively."""
    shifts, n, count = cost.size, t.size, 0
    for s in range(shifts):
        first, last = p[s] - t[0], p[s + n - 1] - t[n - 1]
        cost[s] = weight[0] * (first * first) + weight[n - 1] * (last * last)
    for i in range(1, n - 1):
        chosen[count] = i
        count += weight[i] != 0.0
    add_squares(p, t, chosen, count, cost)
    if front_tail:
        add_front_tail(p, cost)


@helper
def block_sums(x, sums, scratch):
    """Fill sums_j with x_j + … + x_{j+BLOCK−1}, for as many j as there are, within BLOCK · UNIT · Σ |x|."""
    n = x.size
    for j in range(n - 1):
        scratch[j] = x[j] + x[j + 1]
    for j in range(n - 3):
        sums[j] = scratch[j] + scratch[j + 2]
    for j in range(n - 7):
        scratch[j] = sums[j] + sums[j + 4]
    for j in range(n - 15):
        sums[j] = scratch[j] + scratch[j + 8]


@helper
def bound(p, t, mask, front_tail, most, cost, p_sums, t_sums, scratch, chosen):
    """Fill `cost` with lower bounds of the objective at every shift, from the sums of blocks that count in full.

    With |error| ≤ e of every block's Σ d, (Σ d)² is at least the computed square less 2 e |Σ d|, and Σ |Σ d| over n
    blocks at most √(n Σ (Σ d)²). No input is larger than `most`.
    """
    shifts, blocks = cost.size, 0
    cost[:] = 0.0
    if t.size >= BLOCK + 2:
        block_sums(p, p_sums, scratch)
        block_sums(t, t_sums, scratch)
        # The first and the last point have half weight: no block holds them.
        for first in range(1, t.size - BLOCK, BLOCK):
            counting = 0
            for m in mask[first : first + BLOCK]:
                counting += m
            chosen[blocks] = first
            blocks += counting == BLOCK
        add_squares(p_sums, t_sums, chosen, blocks, cost)
    error = 4.0 * BLOCK * BLOCK * UNIT * most
    for s in range(shifts):
        safe = cost[s] * (1.0 - (blocks + 8) * UNIT) - 2.0 * error * math.sqrt(blocks * cost[s])
        cost[s] = max(safe, 0.0) * (1.0 / BLOCK)
    if front_tail:
        add_front_tail(p, cost)
    for s in range(shifts):
        cost[s] = cost[s] * (1.0 - (shifts + 16) * UNIT) - TINY


@helper
def keep_contenders(cost, gamma, alive):
    """Mark the shifts that the error bound leaves in the race for the best two."""
    limit = second_smallest(cost) * (1.0 + gamma) + TINY
    for s in range(cost.size):
        alive[s] = cost[s] * (1.0 - gamma) - TINY <= limit


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
def second_smallest(cost):
    """Return the second smallest, inf of one."""
    _, second = two_smallest(cost)
    return np.inf if second < 0 else cost[second]


@helper
def below(high, low, j, best):
    """Whether the objective at j is the smaller one; anything is below -1."""
    return best < 0 or high[j] < high[best] or (high[j] == high[best] and low[j] < low[best])


@helper
def apart(high, low, error, j, best):
    """Whether the objective at j is proven to be above that at best, or exactly equal to it."""
    gap, _ = dd_add(high[j], low[j], -high[best], -low[best])
    slack = error[j] + error[best]
    return gap > slack * (1.0 + 2.0**-40) or (slack == 0.0 and gap == 0.0)


@helper
def decide(high, low, error, alive):
    """Return the best shift, the runner-up (−1: none) and whether the order of both is proven."""
    best = runner_up = -1
    for s in range(alive.size):
        if alive[s]:
            if below(high, low, s, best):
                best, runner_up = s, best
            elif below(high, low, s, runner_up):
                runner_up = s
    proven = True
    for s in range(alive.size):
        if alive[s] and s != best:
            proven = proven and apart(high, low, error, s, best)
            proven = proven and (s == runner_up or apart(high, low, error, s, runner_up))
    return best, runner_up, proven


@helper
def put(row, figure):
    """Store a figure: high, low, error."""
    row[0], row[1], row[2] = figure


@helper
def times(step, high, low, error):
    """Multiply a double-double and its error by dx."""
    if high == 0.0 and error == 0.0:
        return 0.0, 0.0, 0.0
    h, l = dd_scale(high, low, step)  # noqa: E741
    # What underflow takes from the product, or from its error, is less than TINY.
    return h, l, step * error * (1.0 + 2.0**-40) + 2 * EPS * abs(h) + TINY


@helper
def margin(high, low, error, best, runner_up, step):
    """Return step · (objective(runner_up) − objective(best)) as a double-double, and its error."""
    if runner_up < 0:
        return np.inf, 0.0, 0.0
    gh, gl = dd_add(high[runner_up], low[runner_up], -high[best], -low[best])
    return times(step, gh, gl, error[best] + error[runner_up] + EPS * abs(gh))


@kernel(
    read(Float, 2), read(Float, 2), read(Bool, 2), Bool, Float, Float, Int, Int,
    write(Int, 1), write(Int, 1), write(Bool, 1), write(Bool, 2), write(Float, 2),
)  # fmt: skip
def search(predictions, targets, mask, front_tail, step, most, start, stop, shift, runner_up, proven, alive, margins):
    """Align structures start..stop: shift, runner_up, proven (B,), alive (B, S), margins (B, 3).

    No input is larger than `most` in absolute value.
    """
    points, width = targets.shape[1], predictions.shape[1]
    shifts = width - points + 1
    weight, zero, scratch = np.empty(points), np.zeros(width), np.empty(width)
    p_sums, t_sums = np.empty(width), np.empty(points)
    cost, high, low, error = np.empty(shifts), np.empty(shifts), np.empty(shifts), np.empty(shifts)
    chosen = np.empty(points, np.int64)
    gamma = (points + shifts + 8) * UNIT * 1.01
    for b in range(start, stop):
        p, t, survivors = predictions[b], targets[b], alive[b]
        trapezoid_mask(mask[b], weight)
        bound(p, t, mask[b], front_tail, most, cost, p_sums, t_sums, scratch, chosen)
        survivors[:] = False
        limit = np.inf
        best, second = two_smallest(cost)
        for s in (best, second):
            if s >= 0:
                high[s], low[s], error[s] = objective(p, t, weight, front_tail, s, zero, scratch)
                survivors[s] = True
                # The second of the two ends as the larger one: nothing above it can be among the best two.
                limit = high[s] + error[s] if s == best else max(limit, high[s] + error[s])
        limit = limit * (1.0 + 4 * UNIT)
        left = 0
        for s in range(shifts):
            if cost[s] <= limit and not survivors[s]:
                left += 1
        if left > ENOUGH:
            scan(p, t, weight, front_tail, cost, chosen)
            keep_contenders(cost, gamma, survivors)
        else:
            for s in range(shifts):
                survivors[s] = cost[s] <= limit or survivors[s]
        for s in range(shifts):
            if survivors[s] and (left > ENOUGH or (s != best and s != second)):
                high[s], low[s], error[s] = objective(p, t, weight, front_tail, s, zero, scratch)
        best, second, sure = decide(high, low, error, survivors)
        shift[b], runner_up[b], proven[b] = best, second, sure
        put(margins[b], margin(high, low, error, best, second, step))


@kernel(read(Float, 2), read(Float, 2), read(Bool, 2), Bool, Float, Int, Int, write(Float, 3))
def landscape(predictions, targets, mask, front_tail, step, start, stop, heights):
    """Fill `heights` (B, S, 3) with the objective at every shift as high, low and error."""
    points, width = targets.shape[1], predictions.shape[1]
    weight, zero, scratch = np.empty(points), np.zeros(width), np.empty(width)
    for b in range(start, stop):
        trapezoid_mask(mask[b], weight)
        for s in range(width - points + 1):
            high, low, error = objective(predictions[b], targets[b], weight, front_tail, s, zero, scratch)
            put(heights[b, s], times(step, high, low, error))
