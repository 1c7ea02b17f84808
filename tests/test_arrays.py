"""The gate: what comes in unchanged, and what each refusal says (docs/specification.md, section 8)."""

from __future__ import annotations

import types
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refloss
from refloss import InputError, arrays

LARGEST = 2**53
"""The first integer whose successor float64 does not hold."""


def said(call: Callable[..., Any], *args: Any, **keywords: Any) -> str:
    """Return the message of the InputError that the call raises."""
    with pytest.raises(InputError) as caught:
        call(*args, **keywords)
    return str(caught.value)


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return a copy of the array whose data begin one byte off."""
    raw = np.empty(array.nbytes + 1, np.uint8)
    copy = raw[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


# ---- what is taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_real_type_is_taken_exactly(dtype: str, order: str) -> None:
    extremes = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    # Of 64-bit integers the largest is not a float64: the largest power of two is.
    largest = 2 ** (int(dtype.strip("uint")) - 1 - (dtype[0] == "i")) if "int64" in dtype else extremes.max
    values = np.array([[extremes.min, 3, largest], [0, 1, 2]], dtype).astype(np.dtype(dtype).newbyteorder(order))
    if dtype.startswith("float"):
        values[1] = extremes.smallest_subnormal, -1 / 3, extremes.tiny
    found = arrays.real_array("x", values)
    assert found.dtype == np.float64
    assert found.dtype.isnative
    exact = [[Fraction(item) for item in row] for row in values.tolist()]
    assert [[Fraction(item) for item in row] for row in found.tolist()] == exact


def test_bfloat16_is_taken_through_float32() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which brings bfloat16 to NumPy, is not installed")
    values = np.array([1.0078125, -3.0, 1e30], ml_dtypes.bfloat16)
    found = arrays.real_array("x", values)
    assert found.dtype == np.float64
    assert found.tolist() == [float(item) for item in values]


BASE = np.random.default_rng(1).normal(size=(4, 6))
LAYOUTS = {
    "every second": np.repeat(BASE, 2, axis=1)[:, ::2],
    "backwards": BASE[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran": np.asfortranarray(BASE),
    "transposed": BASE.T.copy().T,
    "byte-swapped": BASE.astype(BASE.dtype.newbyteorder()),
    "unaligned": unaligned(BASE),
    "broadcast": np.broadcast_to(BASE, (1, 4, 6))[0],
    "a field of records": np.rec.fromarrays([np.zeros((4, 6), "i1"), BASE], names="a,b").b,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_become_plain(layout: str) -> None:
    given_array = LAYOUTS[layout]
    before = given_array.tobytes()
    found = arrays.real_array("x", given_array)
    assert found.flags.c_contiguous
    assert found.flags.aligned
    assert found.dtype.isnative
    assert type(found) is np.ndarray
    assert np.array_equal(found, BASE)
    assert given_array.tobytes() == before


def test_a_plain_array_passes_without_a_copy_and_read_only_ones_stay_so() -> None:
    assert np.shares_memory(arrays.real_array("x", BASE), BASE)
    fixed = BASE.copy()
    fixed.flags.writeable = False
    found = arrays.real_array("x", fixed)
    assert np.shares_memory(found, fixed)
    assert not found.flags.writeable
    result = refloss.mse(fixed, np.zeros_like(fixed), mask=fixed > 0, grad=True)
    assert result.grad is not None
    assert not np.shares_memory(result.grad, fixed)


class Labelled(np.ndarray):
    """An ndarray that behaves otherwise."""

    def reshape(self, *shape: Any, **keywords: Any) -> Any:
        raise AssertionError("the gate lets a subclass through")


def test_subclasses_become_plain(tmp_path: Any) -> None:
    on_disk = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=BASE.shape)
    on_disk[:] = BASE
    for subclass in (BASE.view(Labelled), on_disk):
        assert type(arrays.real_array("x", subclass)) is np.ndarray
        assert refloss.mse(subclass, BASE).value == 0.0


@pytest.mark.parametrize(
    "value", [[[1, 2.5], [3, 4]], ((1, 2.5), (3, 4)), [np.array([1, 2.5]), [3, 4]], [[1, np.float32(2.5)], [3, 4]]]
)
def test_nested_sequences(value: Any) -> None:
    assert arrays.real_array("x", value).tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_a_number_is_an_array_without_dimensions() -> None:
    assert arrays.real_array("x", 2.5).shape == ()
    assert refloss.mse(1.5, 2.0).value == 0.25


class OffersArray:
    """An array of some library, behind ``__array__``."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._array if dtype is None else self._array.astype(dtype)


class OffersDLPack:
    """An array of some library, behind DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class ElsewhereDLPack(OffersDLPack):
    """The same on a device that NumPy does not know."""

    def __dlpack__(self, **keywords: Any) -> Any:
        raise BufferError("the data are on a device")

    def __dlpack_device__(self) -> Any:
        return (2, 0)


@pytest.mark.parametrize("wrap", [OffersArray, OffersDLPack])
def test_arrays_of_other_libraries(wrap: Callable[[np.ndarray], Any]) -> None:
    assert np.array_equal(arrays.real_array("x", wrap(BASE)), BASE)
    assert np.array_equal(arrays.real_array("x", wrap(BASE.astype(np.float32))), BASE.astype(np.float32))
    assert np.array_equal(arrays.mask_array("mask", wrap((BASE > 0).astype(np.uint8))), BASE > 0)
    assert "complex128" in said(arrays.real_array, "x", wrap(BASE + 1j))
    assert "(1, 2)" in said(arrays.real_array, "x", wrap(np.array([[0, 0, 0], [0, 0, np.nan]])))


def test_an_array_that_cannot_leave_its_device() -> None:
    message = said(arrays.real_array, "predictions", ElsewhereDLPack(BASE))
    for part in ("predictions", "ElsewhereDLPack", "an array of numbers"):
        assert part in message


class Tensor:
    """What the gate knows of torch: a tensor must be detached, then copied to the CPU, and bfloat16 widened."""

    def __init__(self, array: np.ndarray, dtype: str, *, attached: bool = True, device: str = "cuda") -> None:
        self._array, self.dtype, self._attached, self._device = array, dtype, attached, device

    def detach(self) -> Tensor:
        return Tensor(self._array, self.dtype, attached=False, device=self._device)

    def cpu(self) -> Tensor:
        return Tensor(self._array, self.dtype, attached=self._attached, device="cpu")

    def float(self) -> Tensor:
        return Tensor(self._array, "torch.float32", attached=self._attached, device=self._device)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._attached:
            raise RuntimeError("requires grad")
        if self._device != "cpu":
            raise TypeError("not on the CPU")
        if self.dtype == "torch.bfloat16":
            raise TypeError("unsupported ScalarType BFloat16")
        return self._array


@pytest.mark.parametrize("dtype", ["torch.float64", "torch.bfloat16"])
def test_a_tensor_is_detached_copied_and_widened(dtype: str) -> None:
    assert np.array_equal(arrays.real_array("x", Tensor(BASE, dtype)), BASE)


def test_a_cupy_array_is_fetched() -> None:
    on_device = types.SimpleNamespace(__cuda_array_interface__={}, get=lambda: BASE)
    assert np.array_equal(arrays.real_array("x", on_device), BASE)


def test_whatever_an_array_raises_on_its_way_is_said() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            raise RuntimeError("lost its device")

    message = said(refloss.mse, Broken(), [1.0])
    assert message.startswith("predictions: found Broken")
    assert "lost its device" in message


# ---- integers that float64 does not hold -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "exact"),
    [
        ("int64", [LARGEST, -LARGEST, LARGEST + 2, -(2**63), 2**62 + 2**10]),
        ("uint64", [LARGEST, LARGEST + 2, 2**63, 2**64 - 2**11]),
    ],
)
def test_large_integers_that_are_floats(dtype: str, exact: list[int]) -> None:
    found = arrays.real_array("x", np.array(exact, dtype))
    assert [int(item) for item in found] == exact


@pytest.mark.parametrize(
    ("dtype", "inexact"),
    [
        ("int64", LARGEST + 1),
        ("int64", -LARGEST - 1),
        ("int64", 2**63 - 1),
        ("int64", -(2**63) + 1),
        ("uint64", LARGEST + 1),
        ("uint64", 2**64 - 1),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_large_integers_that_are_none(dtype: str, inexact: int, order: str) -> None:
    values = np.array([[1, 2, LARGEST], [3, inexact, inexact]], np.dtype(dtype).newbyteorder(order))
    message = said(arrays.real_array, "targets", values)
    for part in ("targets", "2 values", "(1, 1)", str(inexact), "not held exactly by float64"):
        assert part in message


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([LARGEST, LARGEST + 1, LARGEST + 2]), min_size=1))
def test_integers_are_exact_or_refused(values: list[int]) -> None:
    exact = all(Fraction(float(value)) == value for value in values)
    for given_values in (np.array(values, np.int64), values, [*values, 0.5]):
        if exact:
            assert [int(item) for item in arrays.real_array("x", given_values)][: len(values)] == values
        else:
            assert "not held exactly" in said(arrays.real_array, "x", given_values)


@pytest.mark.parametrize("value", [[2**64, 1], [10**30], [1.0, 10**400], [2**63 + 1, -1]])
def test_integers_of_any_size(value: list[Any]) -> None:
    """Beyond 64 bits NumPy has objects, and for 2**63 + 1 beside −1 it has a float64 that is rounded."""
    assert "expected" in said(arrays.real_array, "predictions", value)


# ---- what is refused ---------------------------------------------------------------------------------------------

REFUSED = {
    "boolean": (np.ones(3, bool), ["bool"]),
    "boolean list": ([True, False], ["bool"]),
    "booleans among floats": ([1.5, True, False], ["2 values", "boolean", "(1,)"]),
    "complex": (np.ones(3, complex), ["complex128"]),
    "longdouble": (np.ones(3, np.longdouble), [str(np.dtype(np.longdouble))]),
    "string": (np.array(["1.0"]), ["<U3"]),
    "string list": (["1.0", "2.0"], ["<U3"]),
    "bare string": ("1.0", ["<U3"]),
    "bytes": (np.array([b"1.0"]), ["S3"]),
    "object": (np.array([1.0, 2.0], object), ["object"]),
    "None": (None, ["object"]),
    "fractions": ([Fraction(1, 3)], ["object"]),
    "mapping": ({"values": [1.0]}, ["object"]),
    "set": ({1.0, 2.0}, ["object"]),
    "datetime": (np.array(["2026-01-01"], "datetime64[D]"), ["datetime64[D]"]),
    "timedelta": (np.array([1], "timedelta64[s]"), ["timedelta64[s]"]),
    "records": (np.zeros(2, [("a", "f8")]), ["'a'"]),
    "masked array": (np.ma.masked_array([1.0, 2.0], [False, True]), ["MaskedArray", "mask=~x.mask"]),
    "list of masked arrays": ([np.ma.masked_array([1.0, 2.0], [False, True])], ["MaskedArray", "mask=~x.mask"]),
    "ragged list": ([[1.0, 2.0], [3.0]], ["list", "inhomogeneous"]),
    "no elements": (np.empty((2, 0)), ["size 0", "(2, 0)"]),
    "empty list": ([], ["size 0", "(0,)"]),
    "NaN": ([[1.0, 2.0], [np.nan, np.nan]], ["2 values that are", "(1, 0)", "nan", "finite"]),
    "infinity": ([1.0, -np.inf, np.nan], ["2 values that are", "(1,)", "-inf", "finite"]),
    "one NaN": (np.nan, ["1 value that is", "()", "nan"]),
    "float16 infinity": (np.array([1, np.inf], np.float16), ["(1,)", "inf"]),
}
if np.dtype(np.longdouble).itemsize == 8:  # where it is only another name of float64, it is taken
    del REFUSED["longdouble"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_array_of_finite_real_numbers(case: str) -> None:
    value, parts = REFUSED[case]
    message = said(arrays.real_array, "some argument", value)
    assert message.startswith("some argument: found ")
    for part in (*parts, "expected"):
        assert part in message
    with pytest.raises(InputError, match=r"^predictions: found "):
        refloss.mse(value, value)


def test_an_infinity_far_behind_is_found() -> None:
    values = np.zeros((2, 300_000))  # beyond the block in which the gate looks
    values[1, 299_999] = np.inf
    assert "1 value that is NaN or infinite (first at index (1, 299999): inf)" in said(arrays.real_array, "x", values)
    assert "infinite" in said(arrays.require_finite, "x", values, allow_nan=True)
    values[1, 299_999] = np.nan
    arrays.require_finite("x", values, allow_nan=True)


def test_dimensions() -> None:
    assert "found 1 dimensions, shape (3,), expected 2" in said(arrays.real_array, "x", np.ones(3), ndim=2)
    assert "found 3 dimensions" in said(arrays.mask_array, "mask", np.ones((1, 2, 3)), ndim=2)


# ---- masks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        np.array([True, False, True]),
        np.array([1, 0, 1], np.uint8),
        np.array([1.0, -0.0, 1.0], np.float16),
        np.array([9, 1, 9, 0, 9, 1])[1::2],
        [True, 0, 1.0],
    ],
    ids=["bool", "uint8", "float16", "strided", "mixed list"],
)
def test_masks(value: Any) -> None:
    found = arrays.mask_array("mask", value)
    assert found.dtype == np.bool_
    assert found.flags.c_contiguous
    assert found.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ([0, 1, 2, 3], ["2 values", "neither 0 nor 1", "(2,)", "2.0"]),
        ([0.0, 0.5], ["1 value", "(1,)", "0.5"]),
        ([1.0, np.nan], ["(1,)", "nan"]),
        ([-1], ["(0,)", "-1"]),
        (["yes"], ["<U3"]),
        (np.array([1, 0], object), ["object"]),
        (np.array([1, 0], complex), ["complex"]),
        (None, ["object"]),
        (np.ma.masked_array([1, 0], [False, True]), ["MaskedArray"]),
    ],
)
def test_what_is_no_mask(value: Any, parts: list[str]) -> None:
    message = said(arrays.mask_array, "mask", value)
    assert message.startswith("mask: found ")
    for part in parts:
        assert part in message
    if "MaskedArray" not in parts:
        assert "expected booleans, or 0 and 1" in message


# ---- numbers, names and grids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), Fraction(2), np.longdouble(2)])
def test_numbers(value: Any) -> None:
    found = arrays.finite_number("delta", value, positive=True)
    assert type(found) is float
    assert found == 2.0


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, "1", None, True, np.True_, 1j, np.complex128(1), [1.0], 10**400, np.array([1.0])]
)
def test_what_is_no_finite_number(value: Any) -> None:
    assert said(arrays.finite_number, "grad_weight", value).startswith("grad_weight: found ")
    assert "expected a finite number > 0" in said(refloss.huber, [1.0], [2.0], delta=value)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, -1e-300])
def test_numbers_that_must_be_positive(value: float) -> None:
    assert "expected a finite number > 0" in said(arrays.finite_number, "delta", value, positive=True)
    assert arrays.finite_number("grad_weight", value) == value


def test_whole_numbers() -> None:
    assert arrays.whole_number("extra_targets", np.int16(7)) == 7
    for value in (-1, 1.0, True, "1", None):
        assert "expected an integer ≥ 0" in said(arrays.whole_number, "extra_targets", value)


def test_choices_name_the_nearest() -> None:
    assert arrays.choice("reduction", "sum", ["mean", "sum"]) == "sum"
    message = said(arrays.choice, "reduction", "meen", ["mean", "sum"], note=" (a note)")
    for part in ("reduction", "'meen'", "mean, sum", "(a note)", "did you mean 'mean'?"):
        assert part in message
    assert "found 3, expected one of mean, sum" in said(arrays.choice, "reduction", 3, ["mean", "sum"])
    assert "reduction" in said(arrays.choice, "reduction", np.array(["mean"]), ["mean", "sum"])


def test_a_uniform_grid_gives_its_step() -> None:
    grid = np.array([-3.0, -2.5, -2.0 + 0.4e-6, -1.5])
    assert arrays.uniform_step("energy_grid", grid) == 0.5


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ([0.0, 1.0, 2.1, 3.0], ["1.1", "after index 1", "uniform grid of step 1.0"]),
        ([0.0, 0.5, 1.0 + 1.2e-6, 1.5], ["after index 1", "0.5"]),
        ([3.0, 2.0, 1.0], ["-1.0", "increase"]),
        ([1.0, 1.0], ["0.0", "increase"]),
        ([-1.7e308, 1.7e308], ["inf", "increase"]),
        ([0.0, -1.7e308, 1.7e308, 1e308], ["-1.7e+308", "after index 0", "uniform"]),
        ([1.0], ["1 point", "at least 2"]),
    ],
)
def test_grids_that_are_not_uniform(grid: list[float], parts: list[str]) -> None:
    message = said(arrays.uniform_step, "energy_grid", np.array(grid))
    for part in ("energy_grid", *parts):
        assert part in message


# ---- nothing is written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["C", "F"])
def test_inputs_are_never_changed(layout: str) -> None:
    rng = np.random.default_rng(2)
    p, t = np.asarray(rng.normal(size=(3, 9)), order=layout), np.asarray(rng.normal(size=(3, 7)), order=layout)
    m = np.asarray(rng.random((3, 7)) < 0.7, order=layout)
    t[~m] = np.nan  # read as 0 in a copy, if at all
    before = [a.tobytes() for a in (p, t, m)]
    aligned = refloss.masked_dos(p, t, m, grad=True)
    aligned.landscape()
    aligned.rival()
    refloss.huber(p[:, :7], t, mask=m, reduction="none", grad=True)
    assert [a.tobytes() for a in (p, t, m)] == before
