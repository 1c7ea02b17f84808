"""Random numbers that are the same on every machine and under every version of NumPy.

NumPy promises this of its bit generators alone: the distributions of `numpy.random.Generator` may change with a
release, and some use the logarithm of the platform. Golden vectors must not. So the numbers here are made from the raw
bits with exact operations and single roundings.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from refloss.results import Booleans, Floats, Integers

T = TypeVar("T")

Shape = int | tuple[int, ...]


class Draws:
    """A stream of random numbers that belongs to a seed and a key.

    Parameters
    ----------
    seed : int
        ≥ 0.
    key : str
        What the numbers are for: two keys have unrelated streams, whatever else is drawn before.
    """

    def __init__(self, seed: int, key: str) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(key.encode())]))

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0) -> Floats:
        """Return numbers between `low` and `high`, of 53 random bits."""
        raw = self._bits.random_raw(math.prod(_tuple(shape)))
        numbers: Floats = low + (high - low) * ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)
        return numbers.reshape(shape)

    def normal(self, shape: Shape) -> Floats:
        """Return numbers of mean 0 and variance 1, nearly normal: the sum of four uniform ones; at most 2√3."""
        first, second, third, fourth = self.uniform((4, *_tuple(shape)), -0.5, 0.5)
        return np.asarray(math.sqrt(3.0) * (((first + second) + third) + fourth))

    def whole(self, shape: Shape, low: int, high: int) -> Integers:
        """Return integers from `low` to `high`, both included."""
        return (low + np.floor(self.uniform(shape) * (high - low + 1))).astype(np.int64)

    def sign(self, shape: Shape) -> Floats:
        """Return −1 or 1."""
        return np.asarray(2.0 * self.whole(shape, 0, 1) - 1.0, dtype=np.float64)

    def chance(self, shape: Shape, probability: float | Floats) -> Booleans:
        """Return true with this probability."""
        return np.asarray(self.uniform(shape) < probability)

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`."""
        return items[int(self.whole(1, 0, len(items) - 1)[0])]


def _tuple(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else shape
