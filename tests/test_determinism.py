"""The same bits: on any processor, with and without the JIT, however the work is cut, whatever mode the thread is in.

The cases, and what of them is compared, are those of `determinism_case`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import determinism_case
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import caching

import refloss
from refloss import alignment, arithmetic, arrays, ensemble, parallel, pointwise
from refloss.kernels import jit
from refloss.kernels.eft import exact_fma, fma
from refloss.kernels.jit import Float, Int, kernel, read, write

TESTS = Path(__file__).parent
CASES = determinism_case.cases()

compiled = pytest.mark.skipif(not jit.COMPILED, reason="NUMBA_DISABLE_JIT is set")
has_mode = pytest.mark.skipif(arithmetic.control_word().mode == 0, reason="no control word is known here")


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """The bits that this process computes, of its own accord."""
    return determinism_case.digests(CASES)


def digests_elsewhere(*arguments: str, **environment: str) -> dict[str, str]:
    """Return what a fresh process computes."""
    variables = {key: value for key, value in os.environ.items() if key != "NUMBA_DISABLE_JIT"}
    variables |= {"PYTHONPATH": str(TESTS.parent)} | environment
    command = [sys.executable, str(TESTS / "determinism_case.py"), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def different(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in found if found[name] != expected[name]]


# ---- processors --------------------------------------------------------------------------------------------------


@compiled
@pytest.mark.large  # it compiles every kernel, once in all and once in each run
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the names are those of x86-64")
def test_every_processor_gives_the_same_bits(expected: dict[str, str], tmp_path: Path) -> None:
    """Eight numbers at a time or two, fused multiply-add by the processor or by the C library.

    The one without vectors starts from nothing, with subnormals flushed to zero while it compiles its kernels.
    """
    fresh = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "PYTHONPYCACHEPREFIX": str(tmp_path / "python")}
    with ThreadPoolExecutor(2) as both:
        generic = both.submit(digests_elsewhere, "flushed", NUMBA_CPU_NAME="generic", **fresh)
        haswell = both.submit(digests_elsewhere, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="")
    assert different(generic.result(), expected) == []
    assert different(haswell.result(), expected) == []


@compiled
def test_python_gives_the_same_bits(expected: dict[str, str]) -> None:
    """Python rounds every operation by itself, so nothing is fused or put in another order by the compiler."""
    assert different(digests_elsewhere(NUMBA_DISABLE_JIT="1"), expected) == []


# ---- cuts and callers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, expected: dict[str, str], threads: int) -> None:
    monkeypatch.setenv("REFLOSS_NUM_THREADS", str(threads))
    assert different(determinism_case.digests(CASES), expected) == []


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_of_the_work_in_any_order(monkeypatch: pytest.MonkeyPatch, expected: dict[str, str], seed: int) -> None:
    rng = np.random.default_rng(seed)

    def in_pieces(work: Callable[[int, int], None], count: int, *, grain: int = 1) -> None:
        edges = [0, *np.flatnonzero(rng.random(max(count - 1, 0)) < 0.6) + 1, count]
        for part in rng.permutation(len(edges) - 1).tolist():
            work(int(edges[part]), int(edges[part + 1]))

    for module in (alignment, ensemble, parallel, pointwise):
        monkeypatch.setattr(module, "for_range", in_pieces)
    assert arrays.largest(np.arange(-70_000.0, 5.0)) == 70_000.0
    assert different(determinism_case.digests(CASES), expected) == []


def test_eight_callers_at_once_while_another_thread_keeps_the_gil(
    monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    monkeypatch.setenv("REFLOSS_NUM_THREADS", "3")
    names = list(CASES)[::7]
    calls = {name: CASES[name] for name in names}
    start, stop = threading.Barrier(8), threading.Event()

    def hog() -> None:
        while not stop.is_set():
            sum(range(1000))

    def caller() -> dict[str, str]:
        start.wait(timeout=60)
        return determinism_case.digests(calls)

    busy = threading.Thread(target=hog)
    busy.start()
    try:
        with ThreadPoolExecutor(8) as callers:
            found = [future.result(timeout=300) for future in [callers.submit(caller) for _ in range(8)]]
    finally:
        stop.set()
        busy.join()
    assert all(one == {name: expected[name] for name in names} for one in found)


# ---- the processor's mode ----------------------------------------------------------------------------------------


def other_modes() -> dict[str, int]:
    """Return what other libraries may leave in the control word: bits to be set."""
    word = arithmetic.control_word()
    # Rounding is two bits in MXCSR (13, 14) and in FPCR (22, 23); both set round towards zero.
    rounding = {0x1F80: 0x6000, 0: 0xC00000}.get(word.default, 0)
    return {"flush to zero": word.flush, "round towards zero": rounding}


@pytest.fixture(params=list(other_modes()))
def mode(request: pytest.FixtureRequest) -> Iterator[Callable[[], int]]:
    """Set another mode on this thread, on call, and return it; it ends with the test."""
    word = arithmetic.control_word()
    before = word.read()

    def leave() -> int:
        word.write(before | other_modes()[request.param])
        return word.read() & word.mode

    yield leave
    word.write(before)


@has_mode
def test_the_modes_do_what_they_are_here_for(mode: Callable[[], int]) -> None:
    smallest, one, ten = np.array([5e-324]), np.array([1.0]), np.array([10.0])
    mode()
    changed = (smallest == 0.0)[0] or (one / ten < 0.1)[0]  # the float 0.1 is above a tenth
    arithmetic.set_standard()
    assert changed
    assert (one / ten == 0.1)[0]
    assert (smallest > 0.0)[0]


@has_mode
def test_a_thread_in_another_mode_gets_the_same_bits_and_keeps_its_mode(
    mode: Callable[[], int], expected: dict[str, str]
) -> None:
    word = arithmetic.control_word()
    wrong = []
    for name, call in CASES.items():
        left = mode()
        found = determinism_case.digest(call)
        if found != expected[name]:
            wrong.append(name)
        if word.read() & word.mode != left:
            wrong.append(f"{name}: the mode is not what it was")
    assert wrong == []


@has_mode
def test_a_section_in_another_mode(mode: Callable[[], int]) -> None:
    # In units of 2⁻¹⁰⁷⁴ the total is 7/3 · 3/2 of what each element is off.
    section = refloss.LossSection({"energy": {"type": "mae", "weight": 7 / 3, "reduction": "mean"}})
    p, t = np.array([5e-324 * 300, 0.0]), np.zeros(2)
    wanted = section.evaluate({"energy": p}, {"energy": t}).total
    assert wanted == float(Fraction(7 / 3) * Fraction(5e-324) * 150)
    mode()
    found = section.evaluate({"energy": p}, {"energy": t}).total
    arithmetic.set_standard()
    assert found == wanted


@has_mode
def test_the_gradient_of_a_total_in_another_mode(mode: Callable[[], int]) -> None:
    """It is multiplied when it is asked for: here a third of 1, and of what is subnormal."""
    losses = {
        name: {"type": "mae", "weight": weight, "reduction": "mean"} for name, weight in (("a", 1.0), ("b", 1e-310))
    }
    data = {name: np.ones(3) for name in losses}, {name: np.zeros(3) for name in losses}
    wanted, result = (refloss.LossSection(losses).evaluate(*data, num_atoms=[3] * 3, grad=True) for _ in range(2))
    expected = {name: part["values"].tobytes() for name, part in wanted.gradient().items()}
    mode()
    found = result.gradient()
    arithmetic.set_standard()
    assert {name: part["values"].tobytes() for name, part in found.items()} == expected


@has_mode
def test_an_error_leaves_the_mode_as_it_was(mode: Callable[[], int]) -> None:
    word = arithmetic.control_word()
    left = mode()
    with pytest.raises(refloss.InputError):
        refloss.mse([1.0, 2.0], [1.0])
    assert word.read() & word.mode == left


@has_mode
def test_threads_of_the_pool_have_the_default_mode(monkeypatch: pytest.MonkeyPatch, mode: Callable[[], int]) -> None:
    """They are started by a thread in another mode, and may inherit it."""
    monkeypatch.setenv("REFLOSS_NUM_THREADS", "3")
    word, found = arithmetic.control_word(), {}
    barrier = threading.Barrier(3)

    def work(start: int, stop: int) -> None:
        barrier.wait(timeout=30)
        found[threading.get_ident()] = word.read() & word.mode

    parallel._pool.cache_clear()
    mode()
    parallel.for_range(work, 3)
    arithmetic.set_standard()
    del found[threading.get_ident()]
    assert list(found.values()) == [word.default, word.default]


# ---- fused multiply-add without the JIT --------------------------------------------------------------------------


def fused(numbers: Any) -> None:
    """Leave a·b + c in the place of a."""
    numbers[0] = fma(numbers[0], numbers[1], numbers[2])


def same(found: float, wanted: float) -> bool:
    return (math.isnan(found) and math.isnan(wanted)) or np.float64(found).tobytes() == np.float64(wanted).tobytes()


ANY = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan])


@compiled
@given(ANY, ANY, ANY, st.integers(0, 3))
def test_the_stand_in_for_fma_gives_its_bits(a: float, b: float, c: float, near: int) -> None:
    if near and math.isfinite(a * b):
        # Where the sum cancels, is a tie, or is the error of the product itself, the single rounding shows.
        c = {1: -(a * b), 2: math.ulp(a * b) / 2, 3: -math.nextafter(a * b, math.inf)}[near]
    numbers = np.array([a, b, c])
    compiled_once()(numbers)
    assert same(exact_fma(a, b, c), float(numbers[0])), (a, b, c)


@cache
def compiled_once() -> Any:
    return numba.njit(fused)


# ---- where compiled kernels are kept -----------------------------------------------------------------------------


def doubled(x: Any, start: int, out: Any) -> None:
    """Stand for a kernel."""
    out[0] = 2.0 * x[start]


def compile_kernel() -> Any:
    run = kernel(read(Float, 1), Int, write(Float, 1))(doubled)
    out = np.zeros(1)
    run(np.array([3.0, 5.0]), 1, out)
    assert out[0] == 10.0
    return run


@pytest.fixture
def no_warning_yet() -> Iterator[None]:
    """As in a process that has not said so yet."""
    jit._warn_uncached.cache_clear()
    yield
    jit._warn_uncached.cache_clear()


@compiled
@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), OSError(errno.EROFS, "read-only")])
def test_kernels_compile_where_no_folder_can_be_written(
    monkeypatch: pytest.MonkeyPatch, no_warning_yet: None, error: OSError
) -> None:
    """Emulated: a test that runs as root may write everywhere."""

    def refuse(locator: Any) -> None:
        raise error

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    with pytest.warns(RuntimeWarning, match="anew in every process.*set NUMBA_CACHE_DIR"):
        compile_kernel()
    compile_kernel()  # and says so once


@compiled
def test_kernels_compile_where_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, no_warning_yet: None, tmp_path: Path
) -> None:
    def refuse(cache: Any, key: Any, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", refuse)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        compile_kernel()


@compiled
def test_a_cached_kernel_fits_its_sources_and_the_checks_of_bounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def hits() -> int:
        return sum(compile_kernel().stats.cache_hits.values())

    assert (hits(), hits()) == (0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "BOUNDSCHECK", 1 - int(numba.config.BOUNDSCHECK or 0))
        assert (hits(), hits()) == (0, 1)
    assert (hits(), hits()) == (0, 1)
    monkeypatch.setattr(jit, "_SOURCES", "other sources")
    assert (hits(), hits()) == (0, 1)
