"""Chunks of a batch over a thread pool.

Kernels are serial and release the GIL; each thread gets one long call over a contiguous range, since a round trip to
the pool can cost milliseconds while another thread keeps the GIL busy. What a kernel writes for one structure or one
chunk does not depend on the range it came in, so the number of threads never changes a bit.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from math import ceil
from pathlib import Path

from refloss.arithmetic import set_standard
from refloss.errors import InputError

_inside = threading.local()


def thread_count() -> int:
    """Return how many threads to use: REFLOSS_NUM_THREADS, or the CPUs that this process may run on.

    CPUs are counted by affinity and by the cgroup's quota, since a container's limit shows in neither alone.
    """
    wanted = os.environ.get("REFLOSS_NUM_THREADS")
    if wanted is not None:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise InputError(f"REFLOSS_NUM_THREADS: found {wanted!r}, expected an integer ≥ 1")
        return int(wanted)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().partition(" ")
        if limit.isdecimal():
            available = min(available, ceil(int(limit) / int(period)))
    return max(available, 1)


def for_range(work: Callable[[int, int], None], count: int, *, grain: int = 1) -> None:
    """Call ``work(start, stop)`` on contiguous parts of ``range(count)`` that cover it once.

    Parts of fewer than `grain` items are not worth a thread: small work runs in the caller, and so does work that is
    already on the pool. The pool computes in IEEE 754's default mode; the caller sees to its own.
    """
    parts = min(thread_count(), count // grain)
    if parts <= 1 or getattr(_inside, "pool", False):
        work(0, count)
        return
    edges = [count * part // parts for part in range(parts + 1)]
    mine, *others = itertools.pairwise(edges)
    futures = [_pool().submit(work, *other) for other in others]
    try:
        work(*mine)
    finally:
        wait(futures)  # also where the caller's own part failed: nobody may still be writing after this returns
    for future in futures:
        future.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="refloss", initializer=_mark)


def _mark() -> None:
    _inside.pool = True
    # A new thread has the mode of the one that started it, on some systems. It is nobody else's: once is enough.
    set_standard()


# The threads of a pool do not survive a fork: the child makes its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
