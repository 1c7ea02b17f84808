"""The thread pool: every item once, the same bits on any number of threads, and nothing that hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refloss
from refloss import InputError, parallel
from refloss.kernels.pointwise import CHUNK

THREADS = ("1", "2", "3", "8")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three threads, whatever the machine has."""
    monkeypatch.setenv("REFLOSS_NUM_THREADS", "3")


def covered(count: int, grain: int = 1) -> tuple[list[int], list[tuple[int, int]]]:
    """Return how often each item was worked on, and the parts in order."""
    times, parts, lock = [0] * count, [], threading.Lock()

    def work(start: int, stop: int) -> None:
        with lock:
            parts.append((start, stop))
            for item in range(start, stop):
                times[item] += 1

    parallel.for_range(work, count, grain=grain)
    return times, sorted(parts)


# ---- the range ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 9))
def test_every_item_is_worked_on_once(count: int, grain: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFLOSS_NUM_THREADS", str(threads))
        times, parts = covered(count, grain)
    assert times == [1] * count
    assert len(parts) <= threads
    if len(parts) > 1:
        assert min(stop - start for start, stop in parts) >= grain


def test_the_parts_run_at_the_same_time(three: None) -> None:
    """A barrier that only three threads can pass, of which the caller is one."""
    barrier, who = threading.Barrier(3), set()

    def work(start: int, stop: int) -> None:
        barrier.wait(timeout=30)
        who.add(threading.get_ident())

    parallel.for_range(work, 3)
    assert len(who) == 3
    assert threading.get_ident() in who


def test_small_work_stays_with_the_caller(three: None) -> None:
    who = []
    parallel.for_range(lambda start, stop: who.append((threading.get_ident(), start, stop)), 5, grain=3)
    assert who == [(threading.get_ident(), 0, 5)]


@pytest.mark.parametrize("part", range(3))
def test_an_exception_of_any_part_reaches_the_caller_after_the_others_are_done(three: None, part: int) -> None:
    done = []

    def work(start: int, stop: int) -> None:
        if start == part:
            raise KeyError(f"part {part}")
        time.sleep(0.05)  # so that the failing part is the first to end
        done.append(start)

    with pytest.raises(KeyError, match=f"part {part}"):
        parallel.for_range(work, 3)
    assert sorted(done) == [start for start in range(3) if start != part]
    assert covered(7)[0] == [1] * 7  # and the pool lives on


def nested_work_is_done_once() -> bool:
    times, lock = np.zeros((6, 6, 6), int), threading.Lock()

    def outer(first: int, last: int) -> None:
        for i in range(first, last):

            def middle(start: int, stop: int, i: int = i) -> None:
                for j in range(start, stop):

                    def inner(begin: int, end: int, j: int = j) -> None:
                        with lock:
                            times[i, j, begin:end] += 1

                    parallel.for_range(inner, 6)

            parallel.for_range(middle, 6)

    parallel.for_range(outer, 6)
    return bool((times == 1).all())


def test_work_within_work(three: None) -> None:
    """Threads of the pool that wait for the pool wait for ever: in a fork, so that the test does not."""
    if hasattr(os, "fork"):
        assert in_a_fork(nested_work_is_done_once) == 0
    else:
        assert nested_work_is_done_once()


# ---- how many threads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", " ", "1e3", "²"])
def test_a_bad_number_of_threads(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REFLOSS_NUM_THREADS", value)
    for call in (parallel.thread_count, lambda: refloss.mse([1.0, 2.0], [1.0, 3.0])):
        with pytest.raises(InputError) as caught:
            call()
        for part in ("REFLOSS_NUM_THREADS", repr(value), "expected an integer ≥ 1"):
            assert part in str(caught.value)


def test_the_number_of_threads_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOSS_NUM_THREADS", "17")
    assert parallel.thread_count() == 17


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("max 100000\n", 6), ("150000 100000\n", 2), ("50000 100000\n", 1), ("900000 100000\n", 6), (None, 6)],
)
def test_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, quota: str | None, threads: int) -> None:
    """Six CPUs by affinity; a quota of one and a half is two threads, half a one is one, and none is none."""
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.delenv("REFLOSS_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setattr(parallel, "Path", lambda path: file)
    assert parallel.thread_count() == threads


def test_without_affinity_the_machine_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("REFLOSS_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(parallel, "Path", lambda path: tmp_path / "cpu.max")
    for count, expected in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert parallel.thread_count() == expected


# ---- the same bits -----------------------------------------------------------------------------------------------


def bits(result: Any) -> list[bytes]:
    """Return all that a result holds, to the bit."""
    figures = [result.value, result.grad]
    if isinstance(result, refloss.AlignedResult):
        terms = vars(result.terms).values()
        rival = result.rival()
        figures += [result.per_structure, result.shift, result.runner_up, result.margin, result.tied, *terms]
        figures += [result.landscape(), rival.shift, rival.margin]
    return [np.asarray(figure).tobytes() for figure in figures]


def assert_same_bits(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> None:
    found = []
    for threads in THREADS:
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        found.append(bits(call()))
    assert all(other == found[0] for other in found)


LENGTHS = (CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 9 * CHUNK + 5)


@pytest.mark.parametrize("size", [1, 7, *(pytest.param(size, marks=pytest.mark.large) for size in LENGTHS)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_pointwise_losses(monkeypatch: pytest.MonkeyPatch, size: int, reduction: str) -> None:
    rng = np.random.default_rng(size)
    # Magnitudes apart by 1e12: plain sums of these differ with their order.
    p = rng.normal(size=size) * 10.0 ** rng.uniform(-6, 6, size)
    t = np.where(rng.random(size) < 0.1, np.nan, rng.normal(size=size))
    mask = rng.random(size) < 0.8
    for loss in (refloss.mse, refloss.mae, refloss.huber):
        assert_same_bits(monkeypatch, lambda loss=loss: loss(p, t, mask=mask, reduction=reduction, grad=True))


@pytest.mark.parametrize("batch", range(1, 6))
@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", "total"])
def test_aligned_losses(monkeypatch: pytest.MonkeyPatch, batch: int, convention: str) -> None:
    rng = np.random.default_rng(batch)
    p = rng.normal(size=(batch, 45)) * 10.0 ** rng.uniform(-3, 3, (batch, 45))
    t, mask = rng.normal(size=(batch, 37)), rng.random((batch, 37)) < rng.uniform(0.3, 0.9, (batch, 1))
    total = refloss.Convention("total", "total", True, "prediction", "exact", "structure", "dos")
    chosen = total if convention == "total" else convention
    assert_same_bits(monkeypatch, lambda: refloss.masked_dos(p, t, mask, convention=chosen, grad=True))


# ---- many callers, and forks -------------------------------------------------------------------------------------


def work_to_share() -> tuple[Callable[[], list[bytes]], list[bytes]]:
    """Return an evaluation that uses the pool, and what it gives."""
    rng = np.random.default_rng(5)
    p, t = rng.normal(size=(5, 60)), rng.normal(size=(5, 50))
    mask = rng.random((5, 50)) < 0.7
    flat = rng.normal(size=5 * CHUNK)

    def call() -> list[bytes]:
        return bits(refloss.masked_dos(p, t, mask, grad=True)) + bits(refloss.mse(flat, flat[::-1], grad=True))

    return call, call()


@pytest.mark.large
def test_eight_callers_at_once(three: None) -> None:
    call, expected = work_to_share()
    start = threading.Barrier(8)

    def caller() -> list[list[bytes]]:
        start.wait(timeout=30)
        return [call() for _ in range(5)]

    with ThreadPoolExecutor(8) as callers:
        futures = [callers.submit(caller) for _ in range(8)]
        for future in futures:
            assert all(found == expected for found in future.result(timeout=120))


def in_a_fork(call: Callable[[], bool]) -> int:
    """Return the exit status of a forked child: 0 where `call` is true there, 124 where it hangs."""
    with warnings.catch_warnings():
        # Since Python 3.12 a fork beside running threads warns, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if call() else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


@pytest.mark.large
@needs_fork
def test_a_forked_child_has_a_pool_of_its_own(three: None) -> None:
    call, expected = work_to_share()
    assert in_a_fork(lambda: call() == expected) == 0
    assert call() == expected  # and the parent keeps its own


@pytest.mark.large
@needs_fork
def test_a_child_that_is_forked_while_the_pool_is_at_work(three: None) -> None:
    call, expected = work_to_share()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            call()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        statuses = [in_a_fork(lambda: call() == expected) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert statuses == [0, 0, 0]


@pytest.mark.large
@needs_fork
def test_a_fork_from_within_the_work(three: None) -> None:
    call, expected = work_to_share()
    statuses = []

    def work(start: int, stop: int) -> None:
        if start > 0:  # on a thread of the pool
            statuses.append(in_a_fork(lambda: call() == expected))

    parallel.for_range(work, 2)
    assert statuses == [0]
