"""How fast this machine reads: the floor below which nobody who looks at the inputs can go.

`read`: every thread takes a part of each array as 64-bit words and combines them by "or", which a compiler may do in
any order, so that it runs on vectors in several independent lanes and nothing but the reading takes time. `write`: the
same for a new array, whose pages the system must clear first. `compute`: arithmetic that touches no memory, to see how
many cores are really there.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from refloss.parallel import for_range

PARTS = 64


def read(*arrays: NDArray[Any]) -> None:
    """Read all of the arrays once (but for the last bytes of one that is not a multiple of 8), on the usual threads."""
    words = tuple(array.reshape(-1).view(np.uint8)[: array.nbytes // 8 * 8].view(np.int64) for array in arrays)
    out = np.empty(PARTS, np.int64)

    def run(start: int, stop: int) -> None:
        for array in words:
            _combine(array, start, stop, out)

    for_range(run, PARTS)


def write(count: int) -> NDArray[np.float64]:
    """Fill a new array of `count` numbers, on the usual threads."""
    array = np.empty(count)

    def run(start: int, stop: int) -> None:
        array[count * start // PARTS : count * stop // PARTS] = 1.0

    for_range(run, PARTS)
    return array


def compute() -> None:
    """Do some milliseconds of arithmetic on the usual threads."""
    out = np.empty(PARTS, np.int64)
    for_range(lambda start, stop: _multiply(start, stop, out), PARTS)


@numba.njit("void(int64[::1], int64, int64, int64[::1])", nogil=True, cache=True)
def _combine(words, start, stop, out):  # type: ignore[no-untyped-def]
    either = 0
    for i in range(words.size * start // PARTS, words.size * stop // PARTS):
        either |= words[i]
    out[start] = either


@numba.njit("void(int64, int64, int64[::1])", nogil=True, cache=True)
def _multiply(start, stop, out):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        product = 1
        for i in range(20_000):
            product = (product ^ (product >> 29)) * 6364136223846793005 + i  # each step waits for the one before
        out[part] = product
