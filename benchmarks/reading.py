"""How fast this machine reads: the floor below which nobody who looks at the inputs can go.

`read`: every thread takes a part of each array as 64-bit words and combines them by "or", which a compiler may do in
any order: it does so on vectors, in four places of the part at once, and nothing but the reading takes time. What fits
into the caches is read by the caller alone, before another thread has woken. `write`: a new array is filled, whose
pages the system must clear first. `compute`: arithmetic that touches no memory, to see how many cores are really there:
a system may run the two threads of a short call one after the other on one core, and spread only those of a longer one.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from refloss.parallel import for_range

PART = 1 << 16
"""Bytes, of all arrays together, that stay in one thread."""

GRAIN = 1 << 7
"""Parts that are worth a thread: what one thread reads from the caches while another is woken."""

STEPS = 20_000
"""Multiplications that stay in one thread."""


def read(*arrays: NDArray[Any], times: int = 1) -> None:
    """Read all of the arrays, but for the last bytes of one that is not a multiple of 8, `times` times over."""
    words = [array.reshape(-1).view(np.uint8)[: array.nbytes // 8 * 8].view(np.int64) for array in arrays]
    parts = max(sum(array.nbytes for array in words) // PART, 1)

    def run(start: int, stop: int) -> None:
        for array in words * times:
            _combine(array, array.size * start // parts, array.size * stop // parts)

    for_range(run, parts, grain=GRAIN)


def write(count: int) -> NDArray[np.float64]:
    """Fill a new array of `count` numbers, on the usual threads."""
    array = np.empty(count)
    for_range(lambda start, stop: _fill(array, start, stop), count, grain=GRAIN * PART // array.itemsize)
    return array


def compute(parts: int) -> None:
    """Do `parts` · `STEPS` multiplications that wait for each other on the usual threads: some 30 µs each part."""
    out = np.empty(parts, np.int64)
    for_range(lambda start, stop: _multiply(start, stop, out), parts)


# Slices begin at 0. Where an index might be negative for all that the compiler knows, Numba asks for every word whether
# to count it from the end, and the words are gathered one by one: at a sixth of the speed.


@numba.njit("int64(int64[::1], int64, int64)", nogil=True, cache=True)
def _combine(words, start, stop):  # type: ignore[no-untyped-def]
    quarter, either = (stop - start) // 4, 0
    a, b = words[start : start + quarter], words[start + quarter : start + 2 * quarter]
    c, d = words[start + 2 * quarter : start + 3 * quarter], words[start + 3 * quarter : start + 4 * quarter]
    for i in range(quarter):
        either |= a[i] | b[i] | c[i] | d[i]
    rest = words[start + 4 * quarter : stop]
    for i in range(rest.size):
        either |= rest[i]
    return either


@numba.njit("void(float64[::1], int64, int64)", nogil=True, cache=True)
def _fill(array, start, stop):  # type: ignore[no-untyped-def]
    mine = array[start:stop]
    for i in range(mine.size):
        mine[i] = 1.0


@numba.njit("void(int64, int64, int64[::1])", nogil=True, cache=True)
def _multiply(start, stop, out):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        product = 1
        for i in range(STEPS):
            product = (product ^ (product >> 29)) * 6364136223846793005 + i  # each step waits for the one before
        out[part] = product
