"""Contestants timed side by side: in turns, so that whatever else the machine does meets them all alike."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAUSE = 0.25
"""Seconds of rest before a contestant's turn: OpenMP's threads spin for a while after their work is done."""

FEW = 3
"""In how many rounds a contestant takes part whose one call takes more than a second."""

QUIET = 0.1
"""How much of one core other processes may take before a turn has to wait."""


@dataclass(frozen=True)
class Times:
    """The times of one contestant's calls, in seconds, and how many cores each call had on average, where known."""

    seconds: tuple[float, ...]
    cores: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The figure that every ratio is made of."""
        return statistics.median(self.seconds)

    def shared(self, times: int) -> Times:
        """Return what one took of `times` equal works that were done in a call."""
        return Times(tuple(seconds / times for seconds in self.seconds), self.cores)

    @property
    def median_cores(self) -> float | None:
        """Less than the number of threads where the system ran them one after the other; None where not known."""
        return statistics.median(self.cores) if self.cores else None

    def to_dict(self, share: float) -> dict[str, float | None]:
        """Return median, quartiles and extremes, divided by `share`, the number of structures or elements."""
        quartiles = (
            statistics.quantiles(self.seconds, method="inclusive") if len(self.seconds) > 1 else [self.median] * 3
        )
        lower, median, upper = (quartile / share for quartile in quartiles)
        return {
            "median": median,
            "lower_quartile": lower,
            "upper_quartile": upper,
            "fastest": min(self.seconds) / share,
            "calls": len(self.seconds),
            "cores": self.median_cores,
        }


def race(contestants: Mapping[str, Callable[[], Any]], *, rounds: int, turn: float = 0.25) -> dict[str, Times]:
    """Time each contestant in each of the rounds, for about `turn` seconds or 25 calls, but at least once."""
    calls: dict[str, int] = {}
    slow: dict[str, bool] = {}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for name, contestant in contestants.items():
        contestant()  # what compiles, or touches its memory for the first time, does so here
        took, _ = _seconds(contestant)
        slow[name] = took > 1
        calls[name] = 1 if slow[name] else min(max(int(turn / took), 1), 25)
    for turn_number in range(rounds):
        for name, contestant in contestants.items():
            if turn_number >= FEW and slow[name]:
                continue
            wait_for_quiet()
            with apart():
                if calls[name] > 1:
                    contestant()  # brings its inputs back into the caches
                found[name] += [_seconds(contestant) for _ in range(calls[name])]
    return {
        name: Times(tuple(wall for wall, _ in times), tuple(processor / wall for wall, processor in times))
        for name, times in found.items()
    }


@contextmanager
def apart() -> Iterator[None]:
    """Keep this thread and refloss's pool on cores of their own, where the system lets a program say so.

    Schedulers of some virtual machines put threads that sleep between calls onto one core, for seconds; OpenMP's, which
    do not sleep, are spared. Threads that are made meanwhile would inherit the caller's core: there must be none.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    available = os.sched_getaffinity(0)
    first, *rest = sorted(available)
    pool = [thread for thread in threading.enumerate() if thread.name.startswith("refloss")]
    places = {threading.get_native_id(): first}
    places |= {thread.native_id or 0: rest[k % len(rest)] for k, thread in enumerate(pool)}
    try:
        for thread, core in places.items():
            os.sched_setaffinity(thread, {core})
        yield
    finally:
        for thread in places:
            os.sched_setaffinity(thread, available)


class Others:
    """How many cores other processes have kept busy since this was made; None where the system does not tell."""

    def __init__(self) -> None:
        self._began, self._all, self._own = time.perf_counter(), _busy(), _own()

    def cores(self) -> float | None:
        """Return the average since then."""
        if self._all is None:
            return None
        busy = (_busy() or 0.0) - self._all - (_own() - self._own)
        return max(busy, 0.0) / (time.perf_counter() - self._began)


patience = 0.0
"""Seconds that are still left for waiting until other processes are quiet."""


def wait_for_quiet() -> None:
    """Pause, and again until other processes are quiet or there is no patience left."""
    global patience  # noqa: PLW0603
    while True:
        others = Others()
        time.sleep(PAUSE)
        if patience <= 0 or (others.cores() or 0.0) <= QUIET:
            return
        patience -= PAUSE


def _busy() -> float | None:
    """Return the processor seconds that all processes have taken since the machine started."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, interrupts, soft, steal = map(int, path.read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return how long the work took, and how much processor time all threads of this process took meanwhile."""
    start, processor = time.perf_counter(), time.process_time()
    result = work()
    end, processor = time.perf_counter(), time.process_time() - processor
    del result  # after the clock has stopped: what a result costs to throw away is not the contestant's
    return end - start, processor
