"""Sums and gradients of mse, mae and huber over the selected elements of flat arrays, chunk by chunk.

An element is selected where the mask is true (an empty mask selects all) and the target is not NaN; d is 0 where it is
not, so that it adds nothing. Chunks have a fixed length, so their sums do not depend on who computes them.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.eft import LANES, TINY, dd_div, fma, two_prod, two_sum
from refloss.kernels.extent import largest_bits
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.sums import lane_error, sum_lanes

MSE, MAE, HUBER = 0, 1, 2

CHUNK = 1 << 14

LOST = 2.0**-900
"""A nonzero square or product below this may have lost digits to underflow."""


@helper
def difference(p, t, counts):
    """Return p − t as a double-double, 0 where the element does not count or the target is NaN."""
    h, l = two_sum(p, -t)
    keep = counts & (t == t)
    return (h if keep else 0.0), (l if keep else 0.0)


@helper
def square(h, l):
    """Return d² as a double-double."""
    p, e = two_prod(h, h)
    return p, fma(h, l + l, e)


@helper
def magnitude(h, l):
    """Return |d| as a double-double."""
    return abs(h), (-l if h < 0.0 else l)


@helper
def beyond(h, l, delta):
    """Whether |d| > δ, exactly: h and l are normalised."""
    a, b = magnitude(h, l)
    return a > delta or (a == delta and b > 0.0)


@helper
def huber(h, l, delta):
    """Return d²/2, or δ (|d| − δ/2), as a double-double."""
    p, e = square(h, l)
    a, b = magnitude(h, l)
    s, r = two_sum(a, -0.5 * delta)
    q, f = two_prod(delta, s)
    f = fma(delta, r + b, f)
    far = beyond(h, l, delta)
    return (q if far else 0.5 * p), (f if far else 0.5 * e)


@helper
def element(kind, delta, h, l):
    """Return the element of the loss at d as a double-double."""
    if kind == MSE:
        return square(h, l)
    if kind == MAE:
        return magnitude(h, l)
    return huber(h, l, delta)


@helper
def slope(kind, delta, h, l):
    """Return d element / d prediction as a double-double."""
    if kind == MSE:
        return 2.0 * h, 2.0 * l
    if kind == MAE:
        return (1.0 if h > 0.0 else -1.0 if h < 0.0 else 0.0), 0.0
    far = beyond(h, l, delta)
    knee = delta if h > 0.0 else -delta
    return (knee if far else h), (0.0 if far else l)


@helper
def add_lanes(kind, delta, predictions, targets, mask, high, low):
    """Add the elements, at most LANES times as many as fit, to the accumulators; return how many are selected."""
    count = 0
    n, masked = predictions.size, mask.size > 0
    for i in range(0, n - n % LANES, LANES):
        p, t = predictions[i : i + LANES], targets[i : i + LANES]
        m = mask[i : i + LANES] if masked else mask
        for k in range(LANES):
            counts = m[k] if masked else True
            h, l = difference(p[k], t[k], counts)
            q, e = element(kind, delta, h, l)
            s, r = two_sum(high[k], q)
            high[k] = s
            low[k] += r + e
            count += counts & (t[k] == t[k])
    for i in range(n - n % LANES, n):
        counts = mask[i] if masked else True
        h, l = difference(predictions[i], targets[i], counts)
        q, e = element(kind, delta, h, l)
        k = i % LANES
        high[k], r = two_sum(high[k], q)
        low[k] += r + e
        count += counts & (targets[i] == targets[i])
    return count


@helper
def something_differs(predictions, targets, mask):
    """Whether a selected prediction is not its target."""
    for i in range(predictions.size):
        if (mask.size == 0 or mask[i]) and targets[i] == targets[i] and predictions[i] != targets[i]:
            return True
    return False


@kernel(
    Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), Int, Int, write(Float, 2), write(Int, 2),
)  # fmt: skip
def add_up(kind, delta, predictions, targets, mask, start, stop, parts, found):
    """Fill parts (chunks, 3) with each chunk's sum as high, low, error.

    And found (chunks, 3) with its selected elements, and the bits of its largest |prediction| and |target|.
    """
    high, low = np.empty(LANES), np.empty(LANES)
    for chunk in range(start, stop):
        high[:] = 0.0
        low[:] = 0.0
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, predictions.size)
        p, t, m = predictions[first:last], targets[first:last], mask[first:last]
        if kind == MSE:
            found[chunk, 0] = add_lanes(MSE, delta, p, t, m, high, low)
        elif kind == MAE:
            found[chunk, 0] = add_lanes(MAE, delta, p, t, m, high, low)
        else:
            found[chunk, 0] = add_lanes(HUBER, delta, p, t, m, high, low)
        found[chunk, 1], found[chunk, 2] = largest_bits(p), largest_bits(t)
        h, l = sum_lanes(high, low)
        error = lane_error(CHUNK) * h + TINY
        if h == 0.0 and not something_differs(p, t, m):
            error = 0.0
        parts[chunk, 0], parts[chunk, 1], parts[chunk, 2] = h, l, error


@helper
def put_slopes(kind, delta, predictions, targets, mask, divisor, grad):
    """Fill grad with slope / divisor; NaN where underflow may have taken digits."""
    masked = mask.size > 0
    for i in range(predictions.size):
        h, l = difference(predictions[i], targets[i], mask[i] if masked else True)
        h, l = slope(kind, delta, h, l)
        q, _ = dd_div(h, l, divisor)
        grad[i] = np.nan if 0.0 < abs(h) < LOST else q


@kernel(Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), Float, Int, Int, write(Float, 1))
def fill_slopes(kind, delta, predictions, targets, mask, divisor, start, stop, grad):
    """Fill grad with slope / divisor, 0 where not selected, NaN where underflow may have taken digits."""
    for chunk in range(start, stop):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, predictions.size)
        p, t, m, g = predictions[first:last], targets[first:last], mask[first:last], grad[first:last]
        if kind == MSE:
            put_slopes(MSE, delta, p, t, m, divisor, g)
        elif kind == MAE:
            put_slopes(MAE, delta, p, t, m, divisor, g)
        else:
            put_slopes(HUBER, delta, p, t, m, divisor, g)


@kernel(Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), read(Int, 1), Int, Int, write(Float, 1))
def fill_elements(kind, delta, predictions, targets, mask, offsets, start, stop, elements):
    """Write the selected elements of each chunk from its offset on, NaN where underflow may have taken digits."""
    for chunk in range(start, stop):
        first = chunk * CHUNK
        at = offsets[chunk]
        for i in range(first, min(first + CHUNK, predictions.size)):
            if (mask.size == 0 or mask[i]) and targets[i] == targets[i]:
                dh, dl = two_sum(predictions[i], -targets[i])
                h, l = element(kind, delta, dh, dl)
                elements[at] = np.nan if dh != 0.0 and abs(h) < LOST else h + l
                at += 1
