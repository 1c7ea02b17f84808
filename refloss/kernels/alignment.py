"""The shift search: a fast pass over every shift, then double-double on those that it could not exclude.

Shapes: predictions (B, P), targets and mask (B, N), S = P − N + 1 shifts. The objective is that of the specification
without its factor dx: Σ ω m (p − t)², plus the front tail where the convention counts it.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.eft import EPS, TINY, dd_add, dd_scale, two_sum, weighted_squares
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write

UNIT = 2.0**-53


@helper
def trapezoid_mask(mask, weight):
    """Fill `weight` with ω_i m_i."""
    n = mask.size
    for i in range(n):
        weight[i] = 1.0 if mask[i] else 0.0
    weight[0] *= 0.5
    weight[n - 1] *= 0.5


@helper
def residual_squares(p, t, weight, s, xh, xl):
    """Return Σ weight (p_{s+i} − t_i)² and its error, leaving the differences in xh, xl."""
    n = t.size
    reach = 0.0
    for i in range(n):
        xh[i], xl[i] = two_sum(p[s + i], -t[i])
        if weight[i] != 0.0:
            reach = max(reach, abs(xh[i]))
    high, low = weighted_squares(xh, xl, weight, n)
    return high, low, ((n + 8) * EPS * high + TINY if reach > 0.0 else 0.0)


@helper
def front_tail_squares(p, s, xh, xl, weight):
    """Return the trapezoid sum of p² over points 0..s, and its error; scratch arrays of P points."""
    reach = 0.0
    if s == 0:
        return 0.0, 0.0, 0.0
    for j in range(s + 1):
        xh[j], xl[j], weight[j] = p[j], 0.0, 1.0
        reach = max(reach, abs(p[j]))
    weight[0] = weight[s] = 0.5
    high, low = weighted_squares(xh, xl, weight, s + 1)
    return high, low, ((s + 9) * EPS * high + TINY if reach > 0.0 else 0.0)


@helper
def objective(p, t, weight, front_tail, s, xh, xl, scratch):
    """Return the objective at one shift as a double-double, and its error."""
    high, low, error = residual_squares(p, t, weight, s, xh, xl)
    if front_tail:
        fh, fl, fe = front_tail_squares(p, s, xh, xl, scratch)
        high, low = dd_add(high, low, fh, fl)
        error += fe + EPS * high
    return high, low, error


@helper
def scan(p, t, weight, front_tail, cost):
    """Fill `cost` with the objective at every shift in plain float64, within (N + S + 8) · UNIT relatively."""
    shifts = cost.size
    cost[:] = 0.0
    for i in range(t.size):
        w, target = weight[i], t[i]
        if w != 0.0:
            for s in range(shifts):
                d = p[i + s] - target
                cost[s] += w * (d * d)
    if front_tail:
        inner = 0.5 * (p[0] * p[0])
        for s in range(1, shifts):
            square = p[s] * p[s]
            cost[s] += inner + 0.5 * square
            inner += square


@helper
def keep_contenders(cost, gamma, alive):
    """Mark the shifts that the error bound leaves in the race for the best two."""
    first = second = np.inf
    for s in range(cost.size):
        if cost[s] < first:
            first, second = cost[s], first
        elif cost[s] < second:
            second = cost[s]
    limit = second * (1.0 + gamma) + TINY
    for s in range(cost.size):
        alive[s] = cost[s] * (1.0 - gamma) - TINY <= limit


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
def times(step, high, low, error):
    """Multiply a double-double and its error by dx."""
    h, l = dd_scale(high, low, step)  # noqa: E741
    return h, l, step * error * (1.0 + 2.0**-40) + 2 * EPS * abs(h)


@helper
def margin(high, low, error, best, runner_up, step):
    """Return step · (objective(runner_up) − objective(best)) as a double-double, and its error."""
    if runner_up < 0:
        return np.inf, 0.0, 0.0
    gh, gl = dd_add(high[runner_up], low[runner_up], -high[best], -low[best])
    return times(step, gh, gl, error[best] + error[runner_up] + EPS * abs(gh))


@kernel(
    read(Float, 2), read(Float, 2), read(Bool, 2), Bool, Float, Int, Int,
    write(Int, 1), write(Int, 1), write(Bool, 1), write(Bool, 2), write(Float, 2),
)  # fmt: skip
def search(predictions, targets, mask, front_tail, step, start, stop, shift, runner_up, proven, alive, margins):
    """Align structures start..stop: shift, runner_up, proven (B,), alive (B, S), margins (B, 3)."""
    points = targets.shape[1]
    shifts = predictions.shape[1] - points + 1
    weight, scratch = np.empty(points), np.empty(predictions.shape[1])
    xh, xl = np.empty(predictions.shape[1]), np.empty(predictions.shape[1])
    cost, high, low, error = np.empty(shifts), np.empty(shifts), np.empty(shifts), np.empty(shifts)
    gamma = (points + shifts + 8) * UNIT * 1.01
    for b in range(start, stop):
        p, t = predictions[b], targets[b]
        trapezoid_mask(mask[b], weight)
        scan(p, t, weight, front_tail, cost)
        keep_contenders(cost, gamma, alive[b])
        for s in range(shifts):
            if alive[b, s]:
                high[s], low[s], error[s] = objective(p, t, weight, front_tail, s, xh, xl, scratch)
        best, second, sure = decide(high, low, error, alive[b])
        shift[b], runner_up[b], proven[b] = best, second, sure
        margins[b, 0], margins[b, 1], margins[b, 2] = margin(high, low, error, best, second, step)


@kernel(read(Float, 2), read(Float, 2), read(Bool, 2), Bool, Float, Int, Int, write(Float, 3))
def landscape(predictions, targets, mask, front_tail, step, start, stop, heights):
    """Fill `heights` (B, S, 3) with the objective at every shift as high, low and error."""
    points, width = targets.shape[1], predictions.shape[1]
    weight, scratch, xh, xl = np.empty(points), np.empty(width), np.empty(width), np.empty(width)
    for b in range(start, stop):
        trapezoid_mask(mask[b], weight)
        for s in range(width - points + 1):
            high, low, error = objective(predictions[b], targets[b], weight, front_tail, s, xh, xl, scratch)
            heights[b, s, 0], heights[b, s, 1], heights[b, s, 2] = times(step, high, low, error)
