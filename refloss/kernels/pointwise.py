"""Sums and gradients of mse, mae and huber over the selected elements of flat arrays, chunk by chunk.

The element's kind is one number per loss; an element is selected where the mask is true (an empty mask selects all)
and the target is not NaN. Chunks have a fixed length, so their sums do not depend on who computes them.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.eft import EPS, LANES, TINY, dd_add, dd_div, dd_scale, fma, two_prod, two_sum
from refloss.kernels.jit import Bool, Float, Int, helper, kernel, read, write
from refloss.kernels.sums import sum_lanes

MSE, MAE, HUBER = 0, 1, 2

CHUNK = 1 << 14

LOST = 2.0**-900
"""A nonzero square or product below this may have lost digits to underflow."""


@helper
def element(kind, delta, dh, dl):
    """Return the element of the loss at d as a double-double."""
    negative = dh < 0.0
    ah, al = (-dh, -dl) if negative else (dh, dl)
    if kind == MAE:
        return ah, al
    # The comparison is exact: d is, and it is normalised.
    if kind == HUBER and (ah > delta or (ah == delta and al > 0.0)):
        h, l = dd_add(ah, al, -0.5 * delta, 0.0)  # noqa: E741
        return dd_scale(h, l, delta)
    p, e = two_prod(ah, ah)
    e = fma(ah, al + al, e)
    return (0.5 * p, 0.5 * e) if kind == HUBER else (p, e)


@helper
def slope(kind, delta, dh, dl):
    """Return d element / d prediction as a double-double."""
    if kind == MSE:
        return 2.0 * dh, 2.0 * dl
    if kind == MAE:
        return (1.0 if dh > 0.0 else -1.0 if dh < 0.0 else 0.0), 0.0
    if dh > delta or (dh == delta and dl > 0.0):
        return delta, 0.0
    if dh < -delta or (dh == -delta and dl < 0.0):
        return -delta, 0.0
    return dh, dl


@helper
def selected(mask, targets, i):
    """Whether element i counts."""
    return (mask.size == 0 or mask[i]) and targets[i] == targets[i]


@kernel(
    Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), Int, Int, write(Float, 2), write(Int, 1),
)  # fmt: skip
def add_up(kind, delta, predictions, targets, mask, start, stop, parts, counts):
    """Fill parts (chunks, 3) with each chunk's sum as high, low, error, and counts with its selected elements."""
    high, low = np.empty(LANES), np.empty(LANES)
    for chunk in range(start, stop):
        high[:] = 0.0
        low[:] = 0.0
        count, reach = 0, 0.0
        first = chunk * CHUNK
        for i in range(first, min(first + CHUNK, predictions.size)):
            if selected(mask, targets, i):
                dh, dl = two_sum(predictions[i], -targets[i])
                h, l = element(kind, delta, dh, dl)  # noqa: E741
                k = (i - first) % LANES
                high[k], low[k] = dd_add(high[k], low[k], h, l)
                reach = max(reach, abs(dh))
                count += 1
        counts[chunk] = count
        h, l = sum_lanes(high, low)  # noqa: E741
        parts[chunk, 0], parts[chunk, 1] = h, l
        parts[chunk, 2] = (CHUNK + 8) * EPS * h + TINY if reach > 0.0 else 0.0


@kernel(Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), Float, Int, Int, write(Float, 1))
def fill_slopes(kind, delta, predictions, targets, mask, divisor, start, stop, grad):
    """Fill grad with slope / divisor, 0 where not selected, NaN where underflow may have taken digits."""
    for i in range(start * CHUNK, min(stop * CHUNK, predictions.size)):
        grad[i] = 0.0
        if selected(mask, targets, i):
            dh, dl = two_sum(predictions[i], -targets[i])
            h, l = slope(kind, delta, dh, dl)  # noqa: E741
            grad[i] = np.nan if 0.0 < abs(h) < LOST else dd_div(h, l, divisor)[0]


@kernel(Int, Float, read(Float, 1), read(Float, 1), read(Bool, 1), read(Int, 1), Int, Int, write(Float, 1))
def fill_elements(kind, delta, predictions, targets, mask, offsets, start, stop, elements):
    """Write the selected elements of each chunk from its offset on, NaN where underflow may have taken digits."""
    for chunk in range(start, stop):
        first = chunk * CHUNK
        at = offsets[chunk]
        for i in range(first, min(first + CHUNK, predictions.size)):
            if selected(mask, targets, i):
                dh, dl = two_sum(predictions[i], -targets[i])
                h, l = element(kind, delta, dh, dl)  # noqa: E741
                elements[at] = np.nan if dh != 0.0 and abs(h) < LOST else h + l
                at += 1
