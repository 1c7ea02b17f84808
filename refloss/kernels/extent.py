"""The largest magnitude in an array, and whether it is finite, in one pass."""

from __future__ import annotations

import numpy as np

from refloss.kernels.jit import Float, Int, helper, kernel, read, write

CHUNK = 1 << 15

MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)


@helper
def largest_bits(values):
    """Return the bits of the largest |value|: larger numbers have larger bits, NaN the largest."""
    # By index: a loop over the elements takes their distance from the array, and gathers them one by one.
    bits, most = values.view(np.int64), np.int64(0)
    for i in range(bits.size):
        most = max(most, bits[i] & MAGNITUDE)
    return most


@kernel(read(Float, 1), Int, Int, write(Int, 1))
def largest(values, start, stop, out):
    """Fill `out` with the bits of each chunk's largest |value|."""
    for chunk in range(start, stop):
        out[chunk] = largest_bits(values[chunk * CHUNK : (chunk + 1) * CHUNK])
