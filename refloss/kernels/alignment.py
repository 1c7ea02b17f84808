"""The shift search: bounds exclude most shifts, double-double decides between the rest.

Shapes: predictions (B, P), padded by `padding` zeros on both sides to Q points; targets and mask (B, N); S = Q − N + 1
shifts. The objective is that of the specification without its factor dx: Σ ω m (p − t)², plus the front tail where the
convention counts it. ω are trapezoid weights, or 1.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.bounds import (
    ALL,
    COARSE,
    FINE,
    MANY,
    TILE,
    block_sums,
    bound_by_blocks,
    bound_by_sums,
    front_tails,
    inner_points,
    smallest,
    sum_error,
    sums_of_blocks,
    two_smallest,
    whole_blocks,
)
from refloss.kernels.eft import EPS, TINY, dd_add, dd_scale
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.sums import squared_distance, squares

ENOUGH = 24
"""With more shifts than this left by the blocks, a plain pass over them is cheaper than double-double."""


@helper
def load(row, padding, q):
    """Fill q with a prediction and the zeros on both sides of it."""
    q[:padding] = 0.0
    q[padding + row.size :] = 0.0
    inner = q[padding : padding + row.size]
    for i in range(row.size):
        inner[i] = row[i]


@helper
def mask_weights(mask, trapezoid, weight):
    """Fill `weight` with ω_i m_i."""
    n = mask.size
    for i in range(n):
        weight[i] = 1.0 if mask[i] else 0.0
    if trapezoid:
        weight[0] *= 0.5
        weight[n - 1] *= 0.5


@helper
def front_tail_squares(p, trapezoid, s, zero, weight):
    """Return the front tail at s and its error; zero and weight hold Q points, zero zeros.

    The trapezoid sum of p² over points 0..s, or the plain one over the points before s.
    """
    if s == 0:
        return 0.0, 0.0, 0.0
    if not trapezoid:
        weight[:s] = 1.0
        return squares(p, zero, weight, s, 0.0)
    weight[: s + 1] = 1.0
    weight[0] = weight[s] = 0.5
    return squares(p, zero, weight, s + 1, 0.0)


@helper
def objective(p, t, weight, front_tail, trapezoid, s, zero, scratch):
    """Return the objective at one shift as a double-double, and its error."""
    high, low, error = squared_distance(p[s : s + t.size], t, weight)
    if front_tail:
        fh, fl, fe = front_tail_squares(p, trapezoid, s, zero, scratch)
        high, low = dd_add(high, low, fh, fl)
        error += fe + EPS * high
    return high, low, error


@helper
def plateaus(p, weight, front_tail, same):
    """Mark the shifts whose objective is exactly that of the shift before: the same window, and no more in front.

    With the first and the last point that count, window s is window s − 1 as far as it counts where p_j = p_{j−1} for
    j = s + first..s + last. Of that many points on end one is a multiple of their number: only runs through these are
    looked at.
    """
    first, last = 0, weight.size - 1
    while first < last and weight[first] == 0.0:
        first += 1
    while last >= first and weight[last] == 0.0:
        last -= 1
    same[:] = last < first
    same[0] = False
    span = last - first + 1
    if span > 0:
        for anchor in range(span, p.size, span):
            if p[anchor] == p[anchor - 1]:
                low = high = anchor
                while low > 1 and p[low - 1] == p[low - 2]:
                    low -= 1
                while high < p.size - 1 and p[high + 1] == p[high]:
                    high += 1
                for s in range(max(low - first, 1), min(high - last, same.size - 1) + 1):
                    same[s] = True
    if front_tail:
        for s in range(1, same.size):
            same[s] = same[s] and p[s] == 0.0 and p[s - 1] == 0.0


@helper
def below(high, low, j, best):
    """Whether the objective at j is the smaller one; anything is below -1."""
    return best < 0 or high[j] < high[best] or (high[j] == high[best] and low[j] < low[best])


@helper
def apart(high, low, error, level, j, best):
    """Whether the objective at j is proven to be above that at best, or exactly equal to it."""
    if level[j] == level[best]:
        return True
    gap, _ = dd_add(high[j], low[j], -high[best], -low[best])
    slack = error[j] + error[best]
    return gap > slack * (1.0 + 2.0**-40) or (slack == 0.0 and gap == 0.0)


@helper
def decide(high, low, error, level, alive):
    """Return the best shift, the runner-up (−1: none) and whether the order of both is proven.

    Shifts of one `level` have exactly the same objective.
    """
    best = runner_up = np.int64(-1)
    for s in range(alive.size):
        if alive[s]:
            if below(high, low, s, best):
                best, runner_up = s, best
            elif below(high, low, s, runner_up):
                runner_up = s
    proven = True
    for s in range(alive.size):
        if alive[s] and s != best:
            proven = proven and apart(high, low, error, level, s, best)
            proven = proven and (s == runner_up or apart(high, low, error, level, s, runner_up))
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
    h, l = dd_scale(high, low, step)
    # What underflow takes from the product, or from its error, is less than TINY.
    return h, l, step * error * (1.0 + 2.0**-40) + 2 * EPS * abs(h) + TINY


@helper
def margin(high, low, error, level, best, runner_up, step):
    """Return step · (objective(runner_up) − objective(best)) as a double-double, and its error."""
    if runner_up < 0:
        return np.inf, 0.0, 0.0
    if level[best] == level[runner_up]:
        return 0.0, 0.0, 0.0
    gh, gl = dd_add(high[runner_up], low[runner_up], -high[best], -low[best])
    return times(step, gh, gl, error[best] + error[runner_up] + EPS * abs(gh))


@helper
def refine(p, t, weight, tails, most, limit, cost, chosen, p_sums, t_sums, scratch):
    """Raise the bounds in `cost` to those by fine blocks, in every tile of shifts that has one below the limit."""
    count = whole_blocks(weight, FINE, chosen)
    block_sums(p, FINE, p_sums, scratch)
    sums_of_blocks(t, FINE, chosen, count, t_sums)
    for start in range(0, cost.size, TILE):
        tile = cost[start : start + TILE]
        if smallest(tile) <= limit:
            bound_by_blocks(p_sums, t_sums, FINE, chosen, count, most, tails, start, tile)


@kernel(
    read(Float, 2), Int, read(Float, 2), read(Bool, 2), Bool, Bool, Float, Float, write(Int, 1), write(Int, 1),
    write(Bool, 1), write(Float, 2), write(Int, 1), write(Float, 1), write(Bool, 2), Int, Int,
)  # fmt: skip
def search(
    predictions, padding, targets, mask, front_tail, trapezoid, step, most,
    shift, runner_up, proven, margins, evaluated, excluded, alive, start, stop,
):  # fmt: skip
    """Align structures start..stop: shift, runner_up and proven (B,), margins (B, 3).

    The certificate: `evaluated` (B,) shifts in double-double, and `excluded` (B,), a lower bound of the objective at
    all the others, without its factor `step`. `alive` (B, S) marks the evaluated ones, where it has rows. No input is
    larger than `most`.
    """
    points, width = targets.shape[1], predictions.shape[1] + 2 * padding
    shifts = width - points + 1
    p, weight, zero, scratch = np.empty(width), np.empty(points), np.zeros(width), np.empty(width)
    p_sums, t_sums = np.zeros(width), np.zeros(points)
    cost, tails, high, low = np.empty(shifts), np.zeros(shifts), np.empty(shifts), np.empty(shifts)
    error, level, done = np.empty(shifts), np.empty(shifts, np.int64), np.empty(shifts, np.bool_)
    chosen, same = np.empty(points, np.int64), np.zeros(shifts, np.bool_)
    for k in range(start, stop):
        t = targets[k]
        load(predictions[k], padding, p)
        mask_weights(mask[k], trapezoid, weight)
        if front_tail:
            front_tails(p, trapezoid, shifts, tails)
        plateaus(p, weight, front_tail, same)
        done[:] = False
        length = COARSE if shifts > MANY else FINE
        count = whole_blocks(weight, length, chosen)
        block_sums(p, length, p_sums, scratch)
        sums_of_blocks(t, length, chosen, count, t_sums)
        bound_by_blocks(p_sums, t_sums, length, chosen, count, most, tails, ALL, cost)
        first = second = np.inf
        for attempt in range(2):
            # The two that look best give the limit: nothing that is bounded above both is among the best two.
            for s in two_smallest(cost):
                if s >= 0 and not done[s]:
                    high[s], low[s], error[s] = objective(p, t, weight, front_tail, trapezoid, s, zero, scratch)
                    done[s] = True
                    upper = (high[s] + error[s]) * (1.0 + 2.0**-50)
                    if upper < first:
                        first, second = upper, first
                    elif upper < second:
                        second = upper
            if attempt == 0 and length == COARSE:
                refine(p, t, weight, tails, most, second, cost, chosen, p_sums, t_sums, scratch)
        left = 0
        for s in range(shifts):
            left += cost[s] <= second and not done[s] and not same[s]
        if left > ENOUGH:
            count = inner_points(weight, chosen)
            lowest = next_lowest = np.inf
            for s in range(0, shifts, TILE):
                tile = cost[s : s + TILE]
                if smallest(tile) <= second:
                    bound_by_sums(p, t, weight, chosen, count, tails, s, tile)
                    for bound in tile:
                        if bound < lowest:
                            lowest, next_lowest = bound, lowest
                        elif bound < next_lowest:
                            next_lowest = bound
            second = min(second, (next_lowest + TINY) * (1.0 + sum_error(points, shifts)) + TINY)
        evaluated[k], excluded[k] = 0, np.inf
        for s in range(shifts):
            if not done[s] and cost[s] > second:
                excluded[k] = min(excluded[k], cost[s])
                continue
            evaluated[k] += 1
            if not done[s]:
                if same[s] and done[s - 1]:
                    high[s], low[s], error[s] = high[s - 1], low[s - 1], error[s - 1]
                else:
                    high[s], low[s], error[s] = objective(p, t, weight, front_tail, trapezoid, s, zero, scratch)
                done[s] = True
            level[s] = level[s - 1] if same[s] and done[s - 1] else s
        if alive.shape[0] > 0:
            for s in range(shifts):
                alive[k, s] = done[s]
        best, other, sure = decide(high, low, error, level, done)
        shift[k], runner_up[k], proven[k] = best, other, sure
        put(margins[k], margin(high, low, error, level, best, other, step))
