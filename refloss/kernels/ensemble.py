"""The ensemble losses, element by element, as double-doubles, and the sums of them.

Differences, quotients and roots are double-doubles, so that what is left are the errors of log, exp, erf and erfc: one
rounding or so each, of the mathematical library. What comes near overflow or underflow becomes NaN, and what is NaN is
computed in fractions elsewhere. A NaN target is not selected: its element and its derivatives are 0.
"""

from __future__ import annotations

import math

import numpy as np

from refloss.kernels.eft import EPS, TINY, dd_add, dd_div, dd_mul, dd_scale, fast_two_sum, fma, two_sum
from refloss.kernels.jit import Float, Int, helper, kernel, read, write

NLL, CRPS = 0, 1

CHUNK = 1 << 10

LOST = 2.0**-900
"""A nonzero figure below this may have lost digits to underflow."""

CANCELLED = 2.0**-40
"""A difference that is smaller, beside the sum of what it is of, may have lost more digits than a double-double has."""

TWO_OVER_ROOT_PI = 1.1283791670955126
ONE_OVER_ROOT_PI = (0.5641895835477563, 7.66772980658294e-18)
ROOT_HALF = (0.7071067811865476, -4.833646656726457e-17)
ROOT_TWO_OVER_PI = (0.7978845608028654, -4.98465440455546e-17)


@helper
def quotient(ah, al, bh, bl):
    """Divide double-doubles; b is not 0."""
    q = ah / bh
    return fast_two_sum(q, (fma(-q, bh, ah) + (al - q * bl)) / bh)


@helper
def root(h, l):
    """Return the square root of a double-double > 0."""
    s = math.sqrt(h)
    return fast_two_sum(s, (fma(-s, s, h) + l) / (2.0 * s))


@helper
def error_function(h, l):
    """Return erf of a double-double ≥ 0: near 1 from its complement, whose error is a small part of it."""
    correction = TWO_OVER_ROOT_PI * math.exp(-h * h) * l
    if h < 0.5:
        return fast_two_sum(math.erf(h), correction)
    return fast_two_sum(1.0, correction - math.erfc(h))


@helper
def negative_log_likelihood(dh, dl, vh, vl):
    """Return (ln v + d²/v)/2, and its derivatives by −d and by v: six floats, three double-doubles."""
    qh, ql = quotient(dh, dl, vh, vl)
    eh, el = dd_mul(dh, dl, qh, ql)
    h, l = dd_add(math.log(vh), vl / vh, eh, el)
    sh, sl = dd_add(0.5, 0.0, -0.5 * eh, -0.5 * el)
    sh, sl = quotient(sh, sl, vh, vl)
    return 0.5 * h, 0.5 * l, -qh, -ql, sh, sl


@helper
def ranked_probability_score(dh, dl, vh, vl):
    """Return |d| erf(|z|/√2) + σ (2 φ(z) − 1/√π), z = d/σ, and its derivatives by −d and by v."""
    sign = -1.0 if dh < 0.0 else 1.0
    ah, al = sign * dh, sign * dl
    sh, sl = root(vh, vl)
    zh, zl = quotient(ah, al, sh, sl)
    xh, xl = dd_mul(zh, zl, ROOT_HALF[0], ROOT_HALF[1])
    fh, fl = error_function(xh, xl)
    xh, xl = dd_mul(xh, xl, xh, xl)
    g = math.exp(-xh)
    gh, gl = dd_mul(ROOT_TWO_OVER_PI[0], ROOT_TWO_OVER_PI[1], g, -g * xl)
    gh, gl = dd_add(gh, gl, -ONE_OVER_ROOT_PI[0], -ONE_OVER_ROOT_PI[1])
    ah, al = dd_mul(ah, al, fh, fl)
    h, l = dd_mul(sh, sl, gh, gl)
    h, l = dd_add(ah, al, h, l)
    gh, gl = quotient(0.5 * gh, 0.5 * gl, sh, sl)
    return h, l, -sign * fh, -sign * fl, gh, gl


@helper
def gaussian(kind, dh, dl, vh, vl):
    """Return the element and its derivatives by mean and variance, NaN where digits may be lost.

    Of an infinity nothing but NaN comes out: the error of its quotient or root is ∞ − ∞.
    """
    figures = negative_log_likelihood(dh, dl, vh, vl) if kind == NLL else ranked_probability_score(dh, dl, vh, vl)
    if dh != 0.0 and abs(figures[0]) < LOST:
        return np.nan, np.nan, figures[2], figures[3], figures[4], figures[5]
    return figures


@kernel(
    Int, Float, read(Float, 1), read(Float, 1), read(Float, 1), Float, Int, Int,
    write(Float, 1), write(Float, 1), write(Float, 1), write(Float, 1),
)  # fmt: skip
def fill_gaussian(kind, floor, mean, targets, variance, divisor, start, stop, high, low, grad, grad_variance):
    """Fill high and low with the elements, and the gradients, if they have a size, with derivatives / divisor."""
    for i in range(start * CHUNK, min(stop * CHUNK, targets.size)):
        high[i] = low[i] = 0.0
        if grad.size > 0:
            grad[i] = grad_variance[i] = 0.0
        if targets[i] != targets[i]:
            continue
        dh, dl = two_sum(targets[i], -mean[i])
        floored = variance[i] < floor
        high[i], low[i], mh, ml, vh, vl = gaussian(kind, dh, dl, floor if floored else variance[i], 0.0)
        if grad.size == 0:
            continue
        grad[i], _ = dd_div(mh, ml, divisor)
        if not floored:
            grad_variance[i], _ = dd_div(vh, vl, divisor)


@helper
def moments(members, target):
    """Return target − mean and the unbiased variance of the members, and their mean over the first one.

    All of it is relative to a member, so that an offset, of them or of the target, takes no digits.
    """
    first = members[0]
    mh = ml = vh = vl = apart = 0.0
    for y in members:
        h, l = two_sum(y, -first)
        mh, ml = dd_add(mh, ml, h, l)
        apart += abs(h)
    lost = 0.0 < abs(mh) < LOST
    mh, ml = dd_div(mh, ml, float(members.size))
    for y in members:
        h, l = two_sum(y, -first)
        h, l = dd_add(h, l, -mh, -ml)
        h, l = dd_mul(h, l, h, l)
        vh, vl = dd_add(vh, vl, h, l)
    vh, vl = dd_div(vh, vl, members.size - 1.0)
    h, l = two_sum(target, -first)
    apart += abs(h)
    h, l = dd_add(h, l, -mh, -ml)
    if lost or 0.0 < abs(h) < LOST or abs(h) < CANCELLED * apart:
        h = np.nan
    return h, l, vh, vl, mh, ml


@kernel(
    Int, Float, read(Float, 2), read(Float, 1), Float, Int, Int, write(Float, 1), write(Float, 1), write(Float, 2),
)  # fmt: skip
def fill_gaussian_members(kind, floor, ensemble, targets, divisor, start, stop, high, low, grad):
    """As fill_gaussian, of each row's mean and unbiased variance; grad is by the members, or has no rows."""
    count = float(ensemble.shape[1])
    for i in range(start * CHUNK, min(stop * CHUNK, targets.size)):
        high[i] = low[i] = 0.0
        if grad.size > 0:
            grad[i] = 0.0
        if targets[i] != targets[i]:
            continue
        dh, dl, vh, vl, mh, ml = moments(ensemble[i], targets[i])
        floored = vh < floor or (vh == floor and vl < 0.0)
        if floored:
            vh, vl = floor, 0.0
        high[i], low[i], ah, al, bh, bl = gaussian(kind, dh, dl, vh, vl)
        if grad.size == 0:
            continue
        ah, al = dd_div(ah, al, count)
        if floored:
            bh = bl = 0.0
        elif abs(bh) < LOST:
            bh = np.nan
        bh, bl = dd_div(2.0 * bh, 2.0 * bl, count - 1.0)
        for k in range(ensemble.shape[1]):
            h, l = two_sum(ensemble[i, k], -ensemble[i, 0])
            h, l = dd_add(h, l, -mh, -ml)
            h, l = dd_mul(h, l, bh, bl)
            h, l = dd_add(h, l, ah, al)
            grad[i, k], _ = dd_div(h, l, divisor)


@kernel(
    read(Float, 2), read(Float, 1), Float, Int, Int, write(Float, 1), write(Float, 1), write(Float, 2),
)  # fmt: skip
def fill_empirical(ensemble, targets, divisor, start, stop, high, low, grad):
    """Fill high and low with the elements, grad (or nothing, where it has no rows) with the derivatives / divisor.

    With y in ascending order, Σ_{i,j} |y_i − y_j| / 2 = Σ_i (2i − M + 1) (y_i − t). So M² times the element is
    Σ_i |y_i − t| (2i + 1) of those below t and (2(M − i) − 1) above it: nothing cancels.
    """
    members = ensemble.shape[1]
    square = float(members) * float(members)
    for b in range(start * CHUNK, min(stop * CHUNK, targets.size)):
        high[b] = low[b] = 0.0
        if grad.size > 0:
            grad[b] = 0.0
        t = targets[b]
        if t != t:
            continue
        y = ensemble[b]
        order = np.argsort(y)
        h = l = 0.0
        for i in range(members):
            dh, dl = two_sum(y[order[i]], -t)
            weight = 2.0 * (members - i) - 1.0 if dh > 0.0 else -(2.0 * i + 1.0)
            dh, dl = dd_scale(dh, dl, weight)
            h, l = dd_add(h, l, dh, dl)
        h, l = dd_div(h, l, square)
        if 0.0 < h < LOST:
            h = l = np.nan
        high[b], low[b] = h, l
        if grad.size == 0:
            continue
        i = 0
        while i < members:
            j = i + 1
            while j < members and y[order[j]] == y[order[i]]:
                j += 1
            side = 1.0 if y[order[i]] > t else -1.0 if y[order[i]] < t else 0.0
            # i members are smaller, M − j larger.
            slope, _ = dd_div(side * members - (i + j - members), 0.0, square)
            for k in range(i, j):
                grad[b, order[k]] = slope / divisor
            i = j


@kernel(read(Float, 1), read(Float, 1), Int, Int, Int, write(Float, 2))
def add_up(high, low, terms, start, stop, parts):
    """Fill parts (chunks, 3) with each chunk's sum as high, low, error; each element is itself a sum of `terms`."""
    for chunk in range(start, stop):
        h = l = size = 0.0
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, high.size)):
            h, l = dd_add(h, l, high[i], low[i])
            size += abs(high[i])
        parts[chunk, 0], parts[chunk, 1] = h, l
        parts[chunk, 2] = 2.0 * (CHUNK + terms) * EPS * size + TINY if size > 0.0 else 0.0
