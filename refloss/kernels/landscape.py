"""The objective at every shift, faithfully; and the alignment by the whole loss, which needs all of it.

These are asked for less often than an alignment, and take as long to compile: so they are a file of their own.
"""

from __future__ import annotations

import numpy as np

from refloss.kernels.alignment import decide, load, margin, mask_weights, objective, put, times
from refloss.kernels.jit import Bool, Float, Int, kernel, read, write
from refloss.kernels.profile import ROWS, fold, measure, total_of


@kernel(read(Float, 2), Int, read(Float, 2), read(Bool, 2), Bool, Bool, Float, write(Float, 3), Int, Int)
def landscape(predictions, padding, targets, mask, front_tail, trapezoid, step, heights, start, stop):
    """Fill `heights` (B, S, 3) with the objective at every shift as high, low and error."""
    points, width = targets.shape[1], predictions.shape[1] + 2 * padding
    p, weight, zero, scratch = np.empty(width), np.empty(points), np.zeros(width), np.empty(width)
    for b in range(start, stop):
        t = targets[b]
        load(predictions[b], padding, p)
        mask_weights(mask[b], trapezoid, weight)
        for s in range(width - points + 1):
            high, low, error = objective(p, t, weight, front_tail, trapezoid, s, zero, scratch)
            put(heights[b, s], times(step, high, low, error))


@kernel(
    read(Float, 2), Int, read(Float, 2), read(Bool, 2), Bool, Bool, Bool, read(Float, 1), read(Float, 2),
    write(Float, 3), Int, Int,
)  # fmt: skip
def total_landscape(
    predictions, padding, targets, mask, trapezoid, whole, squared, stencil, coefficients, heights, start, stop
):  # fmt: skip
    """Fill `heights` (B, S, 3) with the whole per-structure loss at every shift as high, low and error."""
    points, width = targets.shape[1], predictions.shape[1] + 2 * padding
    omega, weight, zero, work = np.empty(points), np.empty(points), np.zeros(width), np.empty((ROWS, width))
    p, sums, members, folded = np.empty(width), np.empty((4, 3)), np.empty(0), np.empty(5)
    fold(stencil, folded)
    for b in range(start, stop):
        t = targets[b]
        load(predictions[b], padding, p)
        for s in range(width - points + 1):
            measure(
                p, padding, t, mask[b], members, trapezoid, whole, squared, folded, s, omega, weight, zero,
                work, sums,
            )  # fmt: skip
            put(heights[b, s], total_of(sums, coefficients, 1.0))


@kernel(read(Float, 3), write(Int, 1), write(Int, 1), write(Bool, 1), write(Float, 2), Int, Int)
def choose(heights, shift, runner_up, proven, margins, start, stop):
    """Choose the best two shifts from heights (B, S, 3)."""
    shifts = heights.shape[1]
    alive, level = np.ones(shifts, np.bool_), np.arange(shifts)
    for b in range(start, stop):
        high, low, error = heights[b, :, 0].copy(), heights[b, :, 1].copy(), heights[b, :, 2].copy()
        best, second, sure = decide(high, low, error, level, alive)
        shift[b], runner_up[b], proven[b] = best, second, sure
        put(margins[b], margin(high, low, error, level, best, second, 1.0))
