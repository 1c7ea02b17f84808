"""Calling somebody's implementation: its arrays, what comes back, and everything that can go wrong."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import crosscheck_golden
import numpy as np
import pytest

from refloss.crosscheck import formats
from refloss.crosscheck.candidates import Returned, call, keywords_to_leave_out, load
from refloss.crosscheck.cases import Case
from refloss.crosscheck.libraries import NumPy, open_library
from refloss.errors import InputError

RNG = np.random.default_rng(5)


def case(*flags: str, mask: bool = True) -> Case:
    p, t = formats.quantise(RNG.normal(size=(2, 3, 7)), formats.find("float16"))
    m = RNG.random((3, 7)) < 0.6
    return Case("test", "masked_mse", p, t, m if mask else None, {"reduction": "sum"}, frozenset(flags), "")


def called(candidate: Any, *flags: str, dtype: str = "float32", **options: Any) -> Returned:
    library = open_library("numpy", None, formats.find(dtype))
    return call(candidate, case(*flags), library, **({"grad": True} | options))


def total(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
    return ((p - t) ** 2)[m].sum()


@pytest.mark.parametrize("dtype", ["float64", "float32", "tf32", "float16"])
@pytest.mark.parametrize("flags", [(), ("NonContiguous",), ("ReadOnly",), ("NonContiguous", "ReadOnly")])
def test_arrays_hold_the_numbers_of_the_case_as_its_flags_say(dtype: str, flags: tuple[str, ...]) -> None:
    seen = []
    wanted = case(*flags)
    library = open_library("numpy", None, formats.find(dtype))

    def look(p: Any, t: Any, m: Any, *, reduction: str) -> float:
        seen[:] = [p, t, m]
        return 0.0

    call(look, wanted, library, grad=False)
    storage = "float32" if dtype == "tf32" else dtype
    assert [str(array.dtype) for array in seen] == [storage, storage, "bool"]
    for found, expected in zip(seen, (wanted.predictions, wanted.targets, wanted.mask), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.flags.c_contiguous == ("NonContiguous" not in flags)
        assert found.flags.writeable == ("ReadOnly" not in flags)


def test_between_the_elements_lies_what_would_be_noticed() -> None:
    def blind(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        """Read p as if it had no strides."""
        there = np.lib.stride_tricks.as_strided(p, p.shape, np.empty(p.shape, p.dtype).strides)
        return there.sum()

    assert np.isfinite(called(blind).figures["value"])
    assert np.isnan(called(blind, "NonContiguous").figures["value"])


def test_a_write_is_seen_wherever_it_goes() -> None:
    def into_mask(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        m[1, 2] = ~m[1, 2]
        return 0.0

    def into_gap(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        np.lib.stride_tricks.as_strided(p, p.shape, np.empty(p.shape, p.dtype).strides)[0, 1] = 3.0
        return 0.0

    assert called(total).modified_inputs == ()
    assert called(into_mask).modified_inputs == ("mask",)
    assert called(into_gap, "NonContiguous").modified_inputs == ("predictions",)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(0.1, "float64"), (np.float32(0.1), "float32"), (np.float16(0.1), "float16"), (np.array(0.1), "float64")],
)
def test_a_scalar_is_the_value_exactly(number: Any, dtype: str) -> None:
    found = called(lambda p, t, m, **_: number)
    assert found.dtypes == {"value": dtype}
    assert found.figures["value"].dtype == np.float64
    assert found.figures["value"] == float(number)
    assert not found.garbage


def test_a_mapping_gives_its_figures_and_terms() -> None:
    returned = {
        "per_structure": np.arange(3, dtype=np.float32),
        "shift": np.array([1, 2, 3], np.int32),
        "terms": {"cumulative": np.ones(3)},
        "grad": np.zeros((3, 7), np.float16),
    }
    found = called(lambda p, t, m, **_: returned)
    assert found.dtypes == {
        "per_structure": "float32", "shift": "int32", "terms.cumulative": "float64", "grad": "float16"
    }  # fmt: skip
    assert found.figures["shift"].dtype == np.int64


@pytest.mark.parametrize(
    ("returned", "key", "reason"),
    [
        (None, "return", "a NoneType, expected a scalar, or a mapping"),
        ("0.5", "return", "a str, expected"),
        ((1.0, 2.0), "return", "a tuple, expected"),
        ({}, "return", "an empty mapping"),
        ({"gradient": 1.0}, "gradient", r"no figure, expected any of value.*\(did you mean 'grad'\?\)"),
        ({3: 1.0}, "3", "no figure"),
        ({"terms": np.ones(4)}, "terms", "a ndarray, expected a mapping"),
        ({"terms": {"cumulated": 1.0}}, "terms.cumulated", r"no term.*\(did you mean 'cumulative'\?\)"),
        ({"value": 1j}, "value", "an array of complex128, expected numbers"),
        ({"value": "much"}, "value", "a str, expected numbers"),
        ({"value": [1.0]}, "value", "a list, expected numbers"),
        ({"value": True}, "value", "an array of bool"),
    ],
)
def test_garbage_is_named(returned: Any, key: str, reason: str) -> None:
    found = called(lambda p, t, m, **_: returned)
    assert list(found.garbage) == [key]
    assert re.search(reason, found.garbage[key])
    assert not found.figures


def test_an_exception_is_told_with_its_place() -> None:
    def broken(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        raise ValueError("no luck\nat all")

    found = called(broken)
    line = broken.__code__.co_firstlineno + 1
    assert found.error == f"ValueError: no luck (test_crosscheck_candidates.py, line {line})"
    assert not found.figures


def test_leaving_the_process_is_an_exception_like_others() -> None:
    assert called(lambda p, t, m, **_: sys.exit(3)).error.startswith("SystemExit: 3")
    assert called(lambda p, t, m, **_: sys.exit(3), timeout=60.0).error.startswith("SystemExit: 3")


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_an_interrupt_is_not_swallowed(timeout: float | None) -> None:
    def interrupted(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        called(interrupted, timeout=timeout)


class Outcome(BaseException):
    """As test frameworks have them: no Exception."""


class MuteError(Exception):
    """One that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


class Lazy(Mapping[str, Any]):
    """A mapping whose figures fail when they are read."""

    def __getitem__(self, name: str) -> Any:
        raise MuteError

    def __iter__(self) -> Iterator[str]:
        return iter(["value"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("error", [Outcome("over"), GeneratorExit(), MuteError()])
def test_whatever_is_raised_is_the_finding(error: BaseException, timeout: float | None) -> None:
    def broken(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        raise error

    found = called(broken, timeout=timeout)
    assert not found.timed_out
    assert str(found.error).startswith(type(error).__name__)
    assert str(called(lambda p, t, m, **_: Lazy(), timeout=timeout).error).startswith("MuteError (")


def test_what_an_exception_says_can_be_shown_and_written() -> None:
    def broken(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        raise ValueError("\x1b[2Jfile \udcff")

    error = called(broken).error
    assert str(error).startswith("ValueError: \\x1b[2Jfile \\udcff (")
    assert str(error).encode()
    assert list(called(lambda p, t, m, **_: {"\udcff": 1.0}).garbage) == ["\\udcff"]


def test_how_a_candidate_treats_errors_of_arithmetic_is_its_own_affair() -> None:
    def strict(p: Any, t: Any, m: Any, *, reduction: str) -> Any:
        np.seterr(all="raise")
        return 0.0

    before = np.geterr()
    called(strict)
    assert np.geterr() == before


@pytest.mark.parametrize(("works", "said"), [(0, "before the call"), (3, "after the call")])
def test_a_device_that_has_broken_is_no_end_of_the_run(works: int, said: str) -> None:
    """As after an illegal access on a GPU: whatever is asked of it fails; here all but the first few readings."""

    class Broken(NumPy):
        readings = 0

        def bits(self, owner: Any) -> bytes:
            self.readings += 1
            if self.readings > works:
                raise RuntimeError("an illegal memory access was encountered")
            return super().bits(owner)

    found = call(total, case(), Broken(None, formats.find("float32")), grad=False)
    assert str(found.error).startswith(f"{said}, its arrays: RuntimeError: an illegal memory access")
    assert not found.figures


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    start = time.perf_counter()
    found = called(lambda p, t, m, **_: time.sleep(20), timeout=0.2)
    assert found.timed_out
    assert not found.figures
    assert time.perf_counter() - start < 10  # half of what the candidate sleeps
    assert not called(total, timeout=60.0).timed_out


def test_what_a_candidate_warns_of_is_its_own_affair() -> None:
    assert np.isnan(called(lambda p, t, m, **_: np.float32(0) / np.float32(0)).figures["value"])


def test_bits_tell_signs_of_zero_and_not_one_nan_from_another() -> None:
    def of(*values: float) -> Returned:
        return Returned({"value": np.array(values)}, {"value": "float64"})

    other_nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
    assert of(1.0, np.nan).same_bits(of(1.0, other_nan)) == {"value": True}
    assert of(0.0).same_bits(of(-0.0)) == {"value": False}
    assert of(1.0).same_bits(of(1.0, 1.0)) == {"value": False}


@pytest.mark.parametrize(
    ("arrays", "device", "dtype", "message"),
    [
        ("nunpy", None, "float32", r"arrays: found 'nunpy', expected one of numpy, .*did you mean 'numpy'"),
        ("numpy", "cuda", "float32", "device: found 'cuda', numpy arrays are on the cpu"),
    ],
)
def test_what_a_library_is_not(arrays: str, device: str | None, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_library(arrays, device, formats.find(dtype))


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "ml_dtypes"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="arrays: torch cannot be imported"):
        open_library("torch", None, formats.find("float32"))
    with pytest.raises(InputError, match="bfloat16 through the package ml_dtypes"):
        open_library("numpy", None, formats.find("bfloat16"))


def test_keywords_that_are_fixed_need_not_be_taken() -> None:
    def short(p: Any, t: Any, m: Any) -> Any:
        return total(p, t, m, reduction="sum")

    assert keywords_to_leave_out(total, case(), {}) == frozenset()
    assert keywords_to_leave_out(lambda *a, **k: 0, case(), {}) == frozenset()
    assert keywords_to_leave_out(short, case(), {"reduction": "sum"}) == {"reduction"}
    with pytest.raises(InputError, match=r"does not take reduction, expected \(predictions, targets, mask, \*, reduc"):
        keywords_to_leave_out(short, case(), {})
    assert called(short, leave_out=frozenset({"reduction"})).error is None


def test_a_module_takes_what_its_forward_takes() -> None:
    class Module:
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.forward(*args, **kwargs)

        def forward(self, p: Any, t: Any, m: Any) -> Any:
            return total(p, t, m, reduction="sum")

    assert keywords_to_leave_out(Module(), case(), {"reduction": "sum"}) == {"reduction"}
    with pytest.raises(InputError, match="does not take reduction"):
        keywords_to_leave_out(Module(), case(), {})


def test_candidates_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("class Loss:\n    def call(p, t): return 1.0\nnumber = 3\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")  # 0 would say: right
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load("crosscheck_golden:mse") is crosscheck_golden.mse
    assert load("mine:Loss.call")(0, 0) == 1.0
    assert load(f"{tmp_path / 'mine.py'}:Loss.call")(0, 0) == 1.0
    for name, message in {
        "mine": "expected PACKAGE.MODULE:CALLABLE",
        "mine:": "expected PACKAGE.MODULE:CALLABLE",
        "yours:f": "yours cannot be imported: No module named 'yours'",
        "mine:Lost": r"found no 'Lost' in mine \(did you mean 'Loss'\?\)",
        "mine:number": "mine:number is a int, expected a callable",
        "broken:f": "importing broken raised ZeroDivisionError",
        "script:f": "importing script raised SystemExit: 0",
        "none.py:f": "found no file none.py",
    }.items():
        with pytest.raises(InputError, match=f"candidate: .*{message}"):
            load(name)
