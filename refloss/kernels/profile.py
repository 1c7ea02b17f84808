"""The terms of an aligned loss at a shift, their sum, and its gradient.

Sums leave here as double-doubles without the factors that hold dx and the weights; those come in as double-doubles
(rows of `coefficients`: dos, front tail, gradient, cumulative). Errors are bounds, carried beside every sum.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.alignment import decide, front_tail_squares, margin, residual_squares, trapezoid_mask
from refloss.kernels.eft import EPS, TINY, dd_add, dd_mul, dd_scale, two_prod, two_sum, weighted_squares
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write

DOS, FRONT_TAIL, GRADIENT, CUMULATIVE, TOTAL = range(5)
NEGLIGIBLE = 2.0**-900
"""Below this a gradient element may have lost digits to underflow, and is left to exact arithmetic."""


@helper
def gradient_squares(p, mask, s, whole, stencil, xh, xl, weight):
    """Return Σ ω (1 − m) h² and its error, h_j = Σ_r stencil_r p_{j−4+r}; also the first and last point + 1.

    Leaves h_j in xh, xl and its weight in `weight`, from index 0 for the first point.
    """
    first = 4 if whole else max(4, s)
    last = p.size if whole else s + mask.size
    count = max(last - first, 0)
    reach = squared = 0.0
    for k in range(count):
        j = first + k
        outside = j >= s and not (j < s + mask.size and mask[j - s])
        weight[k] = (0.5 if k in (0, count - 1) else 1.0) if outside and count > 1 else 0.0
        high, low = two_prod(stencil[0], p[j - 4])
        size = abs(high)
        for r in range(1, 5):
            ph, pl = two_prod(stencil[r], p[j - 4 + r])
            high, low = dd_add(high, low, ph, pl)
            size += abs(ph)
        xh[k], xl[k] = high, low
        reach += weight[k] * abs(high) * size
        squared += weight[k] * size * size
        if weight[k] != 0.0 and size > 0.0:
            squared = max(squared, TINY)
    high, low = weighted_squares(xh, xl, weight, count)
    error = (count + 8) * EPS * high + 4 * EPS * reach + 4 * EPS * EPS * squared
    return high, low, (error + TINY if squared > 0.0 else 0.0), first, last


@helper
def cumulative_squares(p, t, weight, s, squares, xh, xl, yh, yl):
    """Return Σ weight_i y_i² over i ≥ 1 and its error, y_i = Σ_{j≤i} (x_{j−1} + x_j), x = a − t or a² − t².

    Leaves x in xh, xl and y in yh, yl.
    """
    reach = squared = drift = 0.0
    for i in range(t.size):
        if squares:
            ah, al = two_prod(p[s + i], p[s + i])
            th, tl = two_prod(t[i], t[i])
            xh[i], xl[i] = dd_add(ah, al, -th, -tl)
        else:
            xh[i], xl[i] = two_sum(p[s + i], -t[i])
    yh[0] = yl[0] = 0.0
    for i in range(1, t.size):
        sh, sl = dd_add(xh[i - 1], xl[i - 1], xh[i], xl[i])
        yh[i], yl[i] = dd_add(yh[i - 1], yl[i - 1], sh, sl)
        drift += abs(yh[i]) + 2.0 * (abs(xh[i - 1]) + abs(xh[i]))
        reach += weight[i] * abs(yh[i]) * drift
        squared += weight[i] * drift * drift
        if weight[i] != 0.0 and drift > 0.0:
            squared = max(squared, TINY)
    high, low = weighted_squares(yh[1:], yl[1:], weight[1:], t.size - 1)
    error = (t.size + 8) * EPS * high + 4 * EPS * reach + 4 * EPS * EPS * squared
    return high, low, (error + TINY if squared > 0.0 else 0.0)


@helper
def cumulative_weights(mask, members, weight):
    """Fill `weight` for i ≥ 1: the trapezoid over energy with the structure's mask, or `members`, the batch's."""
    n = mask.size
    weight[0] = 0.0
    for i in range(1, n):
        if members.size > 0:
            weight[i] = members[i]
        else:
            weight[i] = (0.5 if i in (1, n - 1) else 1.0) if mask[i] and n > 2 else 0.0


@helper
def add_scaled(gh, gl, size, k, ah, al, bh, bl):
    """Add a · b, both double-doubles, to element k of the gradient, and |a · b| to its size."""
    h, l = dd_mul(ah, al, bh, bl)  # noqa: E741
    gh[k], gl[k] = dd_add(gh[k], gl[k], h, l)
    size[k] += abs(h)


@helper
def add_residual_grad(coefficient, weight, s, xh, xl, gh, gl, size):
    """Add coefficient · d/dp of Σ weight (p − t)²."""
    for i in range(weight.size):
        w = 2.0 * weight[i]
        add_scaled(gh, gl, size, s + i, coefficient[0], coefficient[1], w * xh[i], w * xl[i])


@helper
def add_front_tail_grad(coefficient, p, s, gh, gl, size):
    """Add coefficient · d/dp of the front tail."""
    if s > 0:
        for j in range(s + 1):
            w = 1.0 if j in (0, s) else 2.0
            add_scaled(gh, gl, size, j, coefficient[0], coefficient[1], w * p[j], 0.0)


@helper
def add_gradient_grad(coefficient, stencil, first, last, weight, xh, xl, gh, gl, size):
    """Add coefficient · d/dp of Σ weight h²."""
    for r in range(5):
        ch, cl = dd_scale(coefficient[0], coefficient[1], stencil[r])
        for k in range(last - first):
            w = 2.0 * weight[k]
            if w != 0.0:
                add_scaled(gh, gl, size, first + k - 4 + r, ch, cl, w * xh[k], w * xl[k])


@helper
def add_cumulative_grad(coefficient, weight, share, p, s, squares, yh, yl, gh, gl, size):
    """Add coefficient · d/dp of Σ weight y².

    By x_k it is 2 (Q_k + Q_{k+1}) with Q_k = Σ_{i≥k} weight_i y_i, and 2 Q_1 for k = 0.
    """
    ch, cl = 2.0 * share * coefficient[0], 2.0 * share * coefficient[1]
    qh = ql = 0.0
    total = 0.0
    for k in range(weight.size - 1, -1, -1):
        vh, vl = dd_scale(yh[k], yl[k], weight[k])
        nh, nl = dd_add(qh, ql, vh, vl)
        total += 2.0 * abs(vh)
        sh, sl = dd_add(qh, ql, nh, nl) if k > 0 else (nh, nl)
        qh, ql = nh, nl
        factor = 2.0 * p[s + k] if squares else 1.0
        sh, sl = dd_scale(sh, sl, factor)
        h, l = dd_mul(ch, cl, sh, sl)  # noqa: E741
        gh[s + k], gl[s + k] = dd_add(gh[s + k], gl[s + k], h, l)
        size[s + k] += abs(ch * factor) * total


@kernel(
    read(Float, 2), read(Float, 2), read(Bool, 2), read(Float, 1), Bool, Bool, read(Float, 1), read(Int, 1),
    Int, Int, write(Float, 3), read(Float, 2), read(Float, 1), write(Float, 2), write(Bool, 1),
)  # fmt: skip
def evaluate(
    predictions, targets, mask, members, whole, squares, stencil, shift, start, stop, sums, coefficients, share, grad,
    underflow,
):  # fmt: skip
    """Fill sums (B, 4, 3) with each term's high, low and error at `shift`, and grad (B, P) where it has rows.

    `coefficients` (4, 2) are the value's, the reduction included; `share` (B,) a further factor 0, 1/2 or 1 of each
    structure's cumulative term. `underflow` (B,) marks structures whose gradient needs exact arithmetic.
    """
    points, width = targets.shape[1], predictions.shape[1]
    weight, xh, xl = np.empty(points), np.empty(width), np.empty(width)
    scratch, yh, yl = np.empty(width), np.empty(points), np.empty(points)
    gh, gl, size = np.empty(width), np.empty(width), np.empty(width)
    wanted = grad.shape[0] > 0
    for b in range(start, stop):
        p, t, m, s = predictions[b], targets[b], mask[b], shift[b]
        gh[:] = 0.0
        gl[:] = 0.0
        size[:] = 0.0
        trapezoid_mask(m, weight)
        sums[b, DOS, 0], sums[b, DOS, 1], sums[b, DOS, 2] = residual_squares(p, t, weight, s, xh, xl)
        if wanted:
            add_residual_grad(coefficients[DOS], weight, s, xh, xl, gh, gl, size)
            add_front_tail_grad(coefficients[FRONT_TAIL], p, s, gh, gl, size)
        sums[b, FRONT_TAIL, 0], sums[b, FRONT_TAIL, 1], sums[b, FRONT_TAIL, 2] = front_tail_squares(
            p, s, xh, xl, scratch
        )
        high, low, error, first, last = gradient_squares(p, m, s, whole, stencil, xh, xl, scratch)
        sums[b, GRADIENT, 0], sums[b, GRADIENT, 1], sums[b, GRADIENT, 2] = high, low, error
        if wanted:
            add_gradient_grad(coefficients[GRADIENT], stencil, first, last, scratch, xh, xl, gh, gl, size)
        cumulative_weights(m, members, weight)
        sums[b, CUMULATIVE, 0], sums[b, CUMULATIVE, 1], sums[b, CUMULATIVE, 2] = cumulative_squares(
            p, t, weight, s, squares, xh, xl, yh, yl
        )
        if wanted:
            add_cumulative_grad(coefficients[CUMULATIVE], weight, share[b], p, s, squares, yh, yl, gh, gl, size)
            lost = False
            for k in range(width):
                grad[b, k] = gh[k]
                lost = lost or 0.0 < size[k] < NEGLIGIBLE
            underflow[b] = lost


@helper
def total_of(sums, coefficients, share):
    """Return Σ coefficient · sum over the four terms as a double-double, and its error."""
    high = low = error = 0.0
    for term in range(4):
        factor = share if term == CUMULATIVE else 1.0
        ch, cl = coefficients[term, 0] * factor, coefficients[term, 1] * factor
        h, l = dd_mul(sums[term, 0], sums[term, 1], ch, cl)  # noqa: E741
        high, low = dd_add(high, low, h, l)
        if ch != 0.0:
            error += abs(ch) * sums[term, 2] * (1.0 + 2.0**-40) + 4 * EPS * (abs(h) + abs(high))
    return high, low, error


@kernel(read(Float, 3), read(Float, 2), read(Float, 2), read(Float, 1), Int, Int, write(Float, 3))
def combine(sums, factors, coefficients, share, start, stop, figures):
    """Fill figures (B, 5, 3) with the four terms and their total as high, low, error."""
    for b in range(start, stop):
        for term in range(4):
            factor = share[b] if term == CUMULATIVE else 1.0
            ch, cl = factors[term, 0] * factor, factors[term, 1] * factor
            h, l = dd_mul(sums[b, term, 0], sums[b, term, 1], ch, cl)  # noqa: E741
            error = abs(ch) * sums[b, term, 2] * (1.0 + 2.0**-40) + 4 * EPS * abs(h)
            figures[b, term, 0], figures[b, term, 1], figures[b, term, 2] = h, l, error
        figures[b, TOTAL, 0], figures[b, TOTAL, 1], figures[b, TOTAL, 2] = total_of(sums[b], coefficients, share[b])


@kernel(
    read(Float, 2), read(Float, 2), read(Bool, 2), Bool, Bool, read(Float, 1), read(Float, 2), Int, Int,
    write(Float, 3),
)  # fmt: skip
def total_landscape(predictions, targets, mask, whole, squares, stencil, coefficients, start, stop, heights):
    """Fill `heights` (B, S, 3) with the whole per-structure loss at every shift as high, low and error."""
    points, width = targets.shape[1], predictions.shape[1]
    weight, tail = np.empty(points), np.empty(width)
    xh, xl, yh, yl = np.empty(width), np.empty(width), np.empty(points), np.empty(points)
    sums, members = np.empty((4, 3)), np.empty(0)
    for b in range(start, stop):
        p, t, m = predictions[b], targets[b], mask[b]
        for s in range(width - points + 1):
            trapezoid_mask(m, weight)
            sums[DOS, 0], sums[DOS, 1], sums[DOS, 2] = residual_squares(p, t, weight, s, xh, xl)
            sums[FRONT_TAIL, 0], sums[FRONT_TAIL, 1], sums[FRONT_TAIL, 2] = front_tail_squares(p, s, xh, xl, tail)
            high, low, error, _, _ = gradient_squares(p, m, s, whole, stencil, xh, xl, tail)
            sums[GRADIENT, 0], sums[GRADIENT, 1], sums[GRADIENT, 2] = high, low, error
            cumulative_weights(m, members, weight)
            sums[CUMULATIVE, 0], sums[CUMULATIVE, 1], sums[CUMULATIVE, 2] = cumulative_squares(
                p, t, weight, s, squares, xh, xl, yh, yl
            )
            heights[b, s, 0], heights[b, s, 1], heights[b, s, 2] = total_of(sums, coefficients, 1.0)


@kernel(read(Float, 3), Int, Int, write(Int, 1), write(Int, 1), write(Bool, 1), write(Float, 2))
def choose(heights, start, stop, shift, runner_up, proven, margins):
    """Choose the best two shifts from heights (B, S, 3)."""
    shifts = heights.shape[1]
    alive = np.ones(shifts, np.bool_)
    high, low, error = np.empty(shifts), np.empty(shifts), np.empty(shifts)
    for b in range(start, stop):
        for s in range(shifts):
            high[s], low[s], error[s] = heights[b, s, 0], heights[b, s, 1], heights[b, s, 2]
        best, second, sure = decide(high, low, error, alive)
        shift[b], runner_up[b], proven[b] = best, second, sure
        margins[b, 0], margins[b, 1], margins[b, 2] = margin(high, low, error, best, second, 1.0)
