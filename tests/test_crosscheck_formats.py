"""The formats against NumPy's own conversions, and bfloat16 against the bits of float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refloss import InputError
from refloss.crosscheck.formats import FORMATS, Format, find, quantise

BITS = {"float64": 53, "float32": 24, "tf32": 24, "float16": 11, "bfloat16": 8}
"""Significand bits of storage, the hidden one included (IEEE 754; bfloat16: 7 stored)."""

each = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


def test_every_format_is_there() -> None:
    assert list(FORMATS) == ["float64", "float32", "tf32", "float16", "bfloat16"]
    assert [form.storage for form in FORMATS.values()] == ["float64", "float32", "float32", "float16", "bfloat16"]


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_constants_are_those_of_numpy(name: str) -> None:
    form, info = find(name), np.finfo(name)
    assert (form.unit, form.tiny, form.largest) == (float(info.eps) / 2, float(info.tiny), float(info.max))
    assert form.product_unit == form.unit


def test_constants_that_numpy_has_not() -> None:
    tf32, bfloat16, float32 = FORMATS["tf32"], FORMATS["bfloat16"], FORMATS["float32"]
    assert (tf32.unit, tf32.tiny, tf32.largest) == (float32.unit, float32.tiny, float32.largest)
    assert tf32.product_unit == FORMATS["float16"].unit  # 10 stored bits, as float16
    largest = np.array([0x7F7F0000], np.uint32).view(np.float32)[0]  # all bits but the exponent's lowest
    assert (bfloat16.unit, bfloat16.tiny, bfloat16.largest) == (2.0**-8, float32.tiny, float(largest))


@each
def test_a_unit_is_half_the_spacing_at_one(form: Format) -> None:
    above = math.nextafter(1.0 + form.unit, 2.0)
    spacing = 2.0 ** (1 - BITS[form.name])
    expected = [1.0, 1.0 + spacing if form.unit > 2.0**-53 else above, 1.0 + 2 * spacing, 1.0 - form.unit]
    # A tie goes to the even neighbour: below at 1 + u, above at 1 + 3u; below 1 the spacing is halved.
    found = quantise([1.0 + form.unit, above, 1.0 + 3 * form.unit, 1.0 - form.unit], form)
    assert found.tolist() == expected


@each
def test_ends_of_the_range(form: Format) -> None:
    subnormal = form.tiny * 2 * form.unit
    exact = np.array([form.largest, -form.largest, form.tiny, subnormal, -subnormal, 0.0, -0.0, math.nan])
    assert quantise(exact, form).tobytes() == exact.tobytes()
    if form.name != "float64":
        # Half of the smallest subnormal number is a tie with 0; what is beyond half the spacing above the largest
        # overflows.
        assert quantise([subnormal / 2, 0.75 * subnormal], form).tolist() == [0.0, subnormal]
        last = form.largest * (1.0 + form.unit / 2)
        assert quantise(math.nextafter(last, 0.0), form) == form.largest
        with pytest.raises(InputError, match=rf"numbers for {form.name}: found .* at index \(1,\), expected at most"):
            quantise([1.0, form.largest * (1.0 + form.unit)], form)


@each
def test_infinity_is_no_number_of_a_case(form: Format) -> None:
    with pytest.raises(InputError, match=r"found -inf at index \(\)"):
        quantise(-math.inf, form)


@given(st.lists(st.floats(-3.4e38, 3.4e38, allow_nan=False) | st.floats(-1e-36, 1e-36), min_size=1))
def test_float32_rounds_as_numpy(numbers: list[float]) -> None:
    assert np.array_equal(quantise(numbers, FORMATS["float32"]), np.array(numbers).astype(np.float32).astype(float))


@given(st.lists(st.floats(-65504, 65504) | st.floats(-1e-3, 1e-3), min_size=1))
def test_float16_rounds_as_numpy(numbers: list[float]) -> None:
    assert np.array_equal(quantise(numbers, FORMATS["float16"]), np.array(numbers).astype(np.float16).astype(float))


@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32) | st.floats(-(2.0**-120), 2.0**-120, width=32), min_size=1))
def test_bfloat16_rounds_as_the_upper_half_of_float32(numbers: list[float]) -> None:
    bits = np.array(numbers, np.float32).view(np.uint32)
    upper = bits >> np.uint32(16)
    upper += (bits & np.uint32(0xFFFF)) + (upper & np.uint32(1)) > np.uint32(0x8000)
    expected = (upper << np.uint32(16)).view(np.float32).astype(float)
    assert np.array_equal(quantise(numbers, FORMATS["bfloat16"]), expected)


def test_a_misspelt_format() -> None:
    with pytest.raises(InputError, match=r"dtype: found 'bfloat6', expected one of .* \(did you mean 'bfloat16'\?\)"):
        find("bfloat6")
    with pytest.raises(InputError, match="dtype: found 32"):
        find(32)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "meant"), [("fp32", "float32"), ("bf16", "bfloat16"), ("half", "float16"), ("flaot64", "float64")]
)
def test_a_name_from_elsewhere_is_understood(name: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        find(name)
