"""The terms of an aligned loss at a shift, their sum, and its gradient.

Sums leave here as double-doubles without the factors that hold dx and the weights; those come in as double-doubles
(rows of `coefficients`: dos, front tail, gradient, cumulative). Errors are bounds, carried beside every sum.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.alignment import front_tail_squares, load, mask_weights, put
from refloss.kernels.eft import EPS, TINY, dd_add, dd_mul, fast_two_sum, fma, two_prod, two_sum
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.sums import BACKWARDS, FORWARDS, largest, pair_sums, squared_distance, squares

DOS, FRONT_TAIL, GRADIENT, CUMULATIVE, TOTAL = range(5)
ROWS = 8
Y_HIGH, Y_LOW, H_HIGH, H_LOW, H_WEIGHT, FIRST, SECOND, THIRD = range(ROWS)
"""Rows of the working space: y, h and the weights of h stay for the gradient, three rows are scratch."""

NEGLIGIBLE = 2.0**-900
"""Below this a gradient element may have lost digits to underflow, and is left to exact arithmetic."""


@helper
def unmasked_range(mask, s, width, padding, whole):
    """Return the first and last point + 1 of the gradient term, and of those of its points that can contribute.

    These are unmasked, and within reach of a prediction that `padding` zeros surround.
    """
    points = mask.size
    first, last = (4, width) if whole else (max(4, s), max(4, s + points))
    low, high = max(first, s, padding), min(last, width - padding + 4)
    while low < min(high, s + points) and mask[low - s]:
        low += 1
    while low < high <= s + points and mask[high - 1 - s]:
        high -= 1
    return first, last, low, high


@helper
def unmasked_weights(mask, s, first, last, low, high, weight):
    """Fill `weight` with ω_j (1 − m_j) for j in low..high − 1, from index 0 on; s ≤ low."""
    behind = max(min(high, s + mask.size), low)
    own = mask[low - s : behind - s]
    for k in range(own.size):
        weight[k] = 0.0 if own[k] else 1.0
    weight[behind - low : high - low] = 1.0
    if last - first == 1:
        weight[0] = 0.0
    elif low < high:
        if low == first:
            weight[0] *= 0.5
        if high == last:
            weight[high - 1 - low] *= 0.5


@helper
def fold(stencil, folded):
    """Rewrite Σ_r stencil_r x_r as Σ_r folded_r (x_r − x_{r−1}) + folded_0 x_0: exact for a constant x."""
    folded[4] = stencil[4]
    for r in range(3, -1, -1):
        folded[r] = folded[r + 1] + stencil[r]


@helper
def backward_differences(p, low, high, folded, work):
    """Leave h_j = Σ_r stencil_r p_{j−4+r} for j in low..high − 1 in `work`, and Σ |summands| in its row THIRD."""
    n = high - low
    dh, dl, xh, xl, reach = work[FIRST], work[SECOND], work[H_HIGH], work[H_LOW], work[THIRD]
    here, before = p[low - 3 : high], p[low - 4 : high - 1]
    for j in range(n + 3):
        dh[j], dl[j] = two_sum(here[j], -before[j])
    for k in range(n):
        xh[k], xl[k] = two_prod(folded[0], before[k])
        reach[k] = abs(xh[k])
    for r in range(1, 5):
        c, step, rest = folded[r], dh[r - 1 : r - 1 + n], dl[r - 1 : r - 1 + n]
        for k in range(n):
            q, e = two_prod(c, step[k])
            s, f = two_sum(xh[k], q)
            xh[k] = s
            xl[k] += f + fma(c, rest[k], e)
        for k in range(n):
            reach[k] += abs(c * step[k])
    for k in range(n):
        xh[k], xl[k] = fast_two_sum(xh[k], xl[k])


@helper
def gradient_squares(p, padding, mask, s, whole, folded, work):
    """Return the range low..high of the h_j that it leaves in `work`, and Σ ω (1 − m) h² with its error."""
    first, last, low, high = unmasked_range(mask, s, p.size, padding, whole)
    if low >= high:
        return low, low, (0.0, 0.0, 0.0)
    xh, xl, weight, reach = work[H_HIGH], work[H_LOW], work[H_WEIGHT], work[THIRD]
    unmasked_weights(mask, s, first, last, low, high, weight)
    backward_differences(p, low, high, folded, work)
    for k in range(high - low):
        reach[k] = reach[k] if weight[k] != 0.0 else 0.0
    slack = 4 * EPS * largest(reach[: high - low])
    return low, high, squares(xh, xl, weight, high - low, slack)


@helper
def cumulate(p, t, squared, work):
    """Leave y_i = Σ_{1≤j≤i} (x_{j−1} + x_j), x = p − t or p² − t², in `work`, and return their largest error."""
    n = t.size
    yh, yl = work[Y_HIGH], work[Y_LOW]
    if squared:
        for i in range(n):
            ph, pl = two_prod(p[i], p[i])
            th, tl = two_prod(t[i], t[i])
            yh[i], yl[i] = dd_add(ph, pl, -th, -tl)
    else:
        for i in range(n):
            yh[i], yl[i] = two_sum(p[i], -t[i])
    most = largest(yh[:n])
    if most == 0.0:
        yh[:n] = 0.0
        yl[:n] = 0.0
        return 0.0
    slack = pair_sums(yh[:n], yl[:n], most, FORWARDS)
    if squared:
        slack += 2.0 * n * EPS * (largest(p) ** 2 + largest(t) ** 2)
    return slack


@helper
def cumulative_weights(mask, members, weight):
    """Fill `weight` for i ≥ 1: the trapezoid over energy with the structure's mask, or `members`, the batch's."""
    n = mask.size
    if members.size > 0:
        for i in range(n):
            weight[i] = members[i]
    else:
        for i in range(n):
            weight[i] = 1.0 if mask[i] and n > 2 else 0.0
        weight[1] *= 0.5
        if n > 2:
            weight[n - 1] *= 0.5
    weight[0] = 0.0


@helper
def add_product_grad(high, low, ch, cl, xh, xl):
    """Add c · x, pairs all, to a part of the gradient."""
    for k in range(high.size):
        q, e = two_prod(ch, xh[k])
        e = fma(ch, xl[k], fma(cl, xh[k], e))
        s, r = two_sum(high[k], q)
        high[k] = s
        low[k] += r + e


@helper
def add_residual_grad(coefficient, p, t, weight, s, work, gh, gl):
    """Add coefficient · d/dp of Σ weight (p − t)²."""
    xh, xl, n = work[FIRST], work[SECOND], t.size
    window = p[s : s + n]
    for i in range(n):
        h, l = two_sum(window[i], -t[i])
        xh[i] = 2.0 * weight[i] * h
        xl[i] = 2.0 * weight[i] * l
    add_product_grad(gh[s : s + n], gl[s : s + n], coefficient[0], coefficient[1], xh, xl)


@helper
def add_front_tail_grad(coefficient, p, trapezoid, s, zero, work, gh, gl):
    """Add coefficient · d/dp of the front tail."""
    if s > 0 and coefficient[0] != 0.0:
        xh = work[FIRST]
        count = s + 1 if trapezoid else s
        for j in range(count):
            xh[j] = 2.0 * p[j]
        if trapezoid:
            xh[0], xh[s] = p[0], p[s]
        add_product_grad(gh[:count], gl[:count], coefficient[0], coefficient[1], xh, zero)


@helper
def add_gradient_grad(coefficient, stencil, low, high, work, gh, gl):
    """Add coefficient · d/dp of Σ weight h²."""
    xh, xl, weight = work[FIRST], work[SECOND], work[H_WEIGHT]
    for k in range(high - low):
        xh[k] = 2.0 * weight[k] * work[H_HIGH, k]
        xl[k] = 2.0 * weight[k] * work[H_LOW, k]
    for k in range(high - low):
        q, e = two_prod(coefficient[0], xh[k])
        xh[k], xl[k] = fast_two_sum(q, fma(coefficient[0], xl[k], fma(coefficient[1], xh[k], e)))
    for r in range(5):
        # Slices, not offsets: an index that might be negative keeps LLVM from vectorising.
        first, last = low - 4 + r, high - 4 + r
        add_product_grad(gh[first:last], gl[first:last], stencil[r], 0.0, xh, xl)


@helper
def add_cumulative_grad(coefficient, weight, slack, share, p, s, squared, work, gh, gl):
    """Add coefficient · d/dp of Σ weight y², each y within `slack`; return the error that this brings.

    By x_k it is 2 (Q_k + Q_{k+1}) with Q_k = Σ_{i≥k} weight_i y_i, and 2 Q_1 for k = 0.
    """
    n = weight.size
    yh, yl = work[Y_HIGH, :n], work[Y_LOW, :n]
    if share * coefficient[0] == 0.0:
        yh[:] = 0.0
        return 0.0
    for i in range(n):
        q, e = two_prod(weight[i], yh[i])
        yh[i], yl[i] = fast_two_sum(q, fma(weight[i], yl[i], e))
    most = largest(yh)
    if most == 0.0:
        return 0.0
    rounding = pair_sums(yh, yl, most, BACKWARDS)
    # weight_0 is 0, so that Q_0 = Q_1.
    yh[0], yl[0] = 0.5 * yh[0], 0.5 * yl[0]
    error = 4.0 * (rounding + n * largest(weight) * slack) * share * abs(coefficient[0])
    if squared:
        window = p[s : s + n]
        for k in range(n):
            q, e = two_prod(2.0 * window[k], yh[k])
            yh[k], yl[k] = fast_two_sum(q, fma(2.0 * window[k], yl[k], e))
        error *= 2.0 * largest(window)
    add_product_grad(gh[s : s + n], gl[s : s + n], 2.0 * share * coefficient[0], 2.0 * share * coefficient[1], yh, yl)
    return error


@helper
def put_grad(p, padding, t, omega, s, front, squared, reach, error, first, last, work, gh, gl, grad):
    """Round the gradient's own points into `grad`, and return whether any is lost: too small to be sure of.

    These become NaN; an element into which nothing enters is 0 for sure. The front tail reaches to point `front`, the
    cumulative term's `error` to point `reach`: it is that of the whole term, and may be much for a small element.
    """
    h, weight, yh, n = work[H_HIGH], work[H_WEIGHT], work[Y_HIGH], t.size
    high, low = gh[padding : p.size - padding], gl[padding : p.size - padding]
    small, lost = 0, False
    for k in range(high.size):
        grad[k] = high[k] + low[k]
        small += abs(high[k]) < NEGLIGIBLE
    limit = error * 2.0**54
    for k in range(max(s, padding), min(reach, p.size - padding)):
        if abs(gh[k]) < limit:
            grad[k - padding] = np.nan
            lost = True
    if small == 0:
        return lost
    for k in range(padding, p.size - padding):
        if abs(gh[k]) < NEGLIGIBLE:
            entered = p[k] != 0.0 and k <= front
            if s <= k < s + n:
                entered = entered or yh[k - s] != 0.0 or (omega[k - s] != 0.0 and p[k] != t[k - s])
                entered = entered or (squared and p[k] != 0.0)
            for j in range(max(k, first), min(k + 5, last)):
                entered = entered or (h[j - first] != 0.0 and weight[j - first] != 0.0)
            if entered:
                grad[k - padding] = np.nan
                lost = True
    return lost


@helper
def measure(
    p, padding, t, mask, members, trapezoid, whole, squared, folded, s, omega, weight, zero, work, sums
):  # fmt: skip
    """Fill sums (4, 3) at shift s; return the range of h_j, and the error of y; both stay in `work`."""
    window = p[s : s + t.size]
    mask_weights(mask, trapezoid, omega)
    put(sums[DOS], squared_distance(window, t, omega))
    put(sums[FRONT_TAIL], front_tail_squares(p, trapezoid, s, zero, work[FIRST]))
    first, last, figure = gradient_squares(p, padding, mask, s, whole, folded, work)
    put(sums[GRADIENT], figure)
    cumulative_weights(mask, members, weight)
    slack = cumulate(window, t, squared, work)
    put(sums[CUMULATIVE], squares(work[Y_HIGH], work[Y_LOW], weight, t.size, slack))
    return first, last, slack


@helper
def product_error(factor, figure, product):
    """Return the error of a product; what underflow takes from it, or from its error, is less than TINY."""
    if factor == 0.0 or (figure[0] == 0.0 and figure[2] == 0.0):
        return 0.0
    return abs(factor) * figure[2] * (1.0 + 2.0**-40) + 4 * EPS * abs(product) + TINY


@helper
def total_of(sums, coefficients, share):
    """Return Σ coefficient · sum over the four terms as a double-double, and its error."""
    high = low = error = 0.0
    for term in range(4):
        factor = share if term == CUMULATIVE else 1.0
        ch, cl = coefficients[term, 0] * factor, coefficients[term, 1] * factor
        h, l = dd_mul(sums[term, 0], sums[term, 1], ch, cl)
        high, low = dd_add(high, low, h, l)
        if ch != 0.0:
            error += product_error(ch, sums[term], h) + 4 * EPS * abs(high)
    return high, low, error


@kernel(
    read(Float, 2), Int, read(Float, 2), read(Bool, 2), read(Float, 1), Bool, Bool, Bool, read(Float, 1),
    read(Float, 3), read(Float, 1), write(Float, 3), write(Float, 2), write(Bool, 1), read(Int, 1), Int, Int,
)  # fmt: skip
def evaluate(
    predictions, padding, targets, mask, members, trapezoid, whole, squared, stencil, coefficients, share,
    figures, grad, lost, shift, start, stop,
):  # fmt: skip
    """Fill figures (B, 5, 3), the four terms and their total as high, low and error, and grad (B, P) where it has rows.

    `coefficients` (3, 4, 2) of the terms' sums: in the terms, in their total, and in the gradient, where the reduction
    counts. `share` (B,) is a further factor 0, 1/2 or 1 of each structure's cumulative term. `lost` (B,) marks
    structures whose gradient has NaN, for exact arithmetic to fill.
    """
    points, width = targets.shape[1], predictions.shape[1] + 2 * padding
    omega, weight, zero, work = np.empty(points), np.empty(points), np.zeros(width), np.empty((ROWS, width))
    p, gh, gl = np.empty(width), np.empty(width), np.empty(width)
    folded, sums = np.empty(5), np.empty((4, 3))
    wanted = grad.shape[0] > 0
    fold(stencil, folded)
    for b in range(start, stop):
        s, t = shift[b], targets[b]
        load(predictions[b], padding, p)
        first, last, slack = measure(
            p, padding, t, mask[b], members, trapezoid, whole, squared, folded, s, omega, weight, zero, work, sums
        )
        for term in range(4):
            factor = share[b] if term == CUMULATIVE else 1.0
            ch, cl = coefficients[0, term, 0] * factor, coefficients[0, term, 1] * factor
            h, l = dd_mul(sums[term, 0], sums[term, 1], ch, cl)
            put(figures[b, term], (h, l, product_error(ch, sums[term], h)))
        put(figures[b, TOTAL], total_of(sums, coefficients[1], share[b]))
        if wanted:
            slopes = coefficients[2]
            if slopes[GRADIENT, 0] == 0.0:  # nothing enters by a term that does not count
                last = first
            gh[:] = 0.0
            gl[:] = 0.0
            add_residual_grad(slopes[DOS], p, t, omega, s, work, gh, gl)
            add_front_tail_grad(slopes[FRONT_TAIL], p, trapezoid, s, zero, work, gh, gl)
            add_gradient_grad(slopes[GRADIENT], stencil, first, last, work, gh, gl)
            error = add_cumulative_grad(slopes[CUMULATIVE], weight, slack, share[b], p, s, squared, work, gh, gl)
            reach = s + points
            while reach > s and weight[reach - 1 - s] == 0.0:
                reach -= 1
            front = s if slopes[FRONT_TAIL, 0] != 0.0 and s > 0 else -1
            products = squared and slopes[CUMULATIVE, 0] * share[b] != 0.0
            lost[b] = put_grad(
                p, padding, t, omega, s, front, products, reach, error, first, last, work, gh, gl, grad[b]
            )  # fmt: skip
