"""Sums of certified figures: across chunks, structures and the terms of a section."""

from __future__ import annotations

from refloss.kernels.eft import EPS, dd_add, dd_div
from refloss.kernels.jit import Float, kernel, read, write


@kernel(read(Float, 2), Float, write(Float, 1))
def add_up(parts, divisor, out):
    """Add up parts (n, 3), each high, low, error, in order, and divide: out (3,) alike."""
    high = low = error = 0.0
    for k in range(parts.shape[0]):
        high, low = dd_add(high, low, parts[k, 0], parts[k, 1])
        error += parts[k, 2] + EPS * abs(high)
    out[0], out[1] = dd_div(high, low, divisor)
    # A bound is itself a sum of n rounded numbers.
    out[2] = (error / divisor + 4 * EPS * abs(out[0])) * (1.0 + (parts.shape[0] + 8) * 2.0**-53)
