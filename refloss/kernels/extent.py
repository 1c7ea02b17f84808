"""The largest magnitude in an array, and whether it is finite, in one pass."""

from __future__ import annotations

import numpy as np

from refloss.kernels.jit import Float, Int, kernel, read, write

CHUNK = 1 << 15

MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)


@kernel(read(Float, 1), Int, Int, write(Int, 1))
def largest(values, start, stop, out):
    """Fill `out` with the bits of each chunk's largest |value|: larger numbers have larger bits, NaN the largest."""
    bits = values.view(np.int64)
    for chunk in range(start, stop):
        most = np.int64(0)
        for b in bits[chunk * CHUNK : (chunk + 1) * CHUNK]:
            most = max(most, b & MAGNITUDE)
        out[chunk] = most
