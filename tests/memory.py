"""How much memory a test's block took."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def taking_at_most(limit: int) -> Iterator[None]:
    """Assert that Python, NumPy and what allocates through them took at most `limit` bytes at any time."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken <= limit, f"{taken} bytes, {limit} allowed"
