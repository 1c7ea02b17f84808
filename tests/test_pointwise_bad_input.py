"""docs/specification.md, section 8, for mse, mae and huber: what each message says."""

from __future__ import annotations

import numpy as np
import pytest

import refloss
from refloss import InputError

ONES = np.ones((2, 3))


def changed(index, value):
    array = np.ones((2, 3))
    array[index] = value
    return array


CASES = {
    "targets of another shape": ({"targets": np.ones((3, 2))}, ["targets", "(3, 2)", "(2, 3)", "predictions"]),
    "targets that would broadcast": ({"targets": np.ones(3)}, ["targets", "(3,)", "(2, 3)", "predictions"]),
    "a mask of another shape": ({"mask": np.ones((2, 4), bool)}, ["mask", "(2, 4)", "(2, 3)", "predictions"]),
    "a mask that would broadcast": ({"mask": np.ones((2, 1), bool)}, ["mask", "(2, 1)", "(2, 3)", "predictions"]),
    "no elements": ({"predictions": np.ones((0, 3)), "targets": np.ones((0, 3))}, ["predictions", "size 0", "(0, 3)"]),
    "NaN predictions": (
        {"predictions": changed(([0, 1], [2, 0]), np.nan)},
        ["predictions", "2 ", "(0, 2)", "nan", "finite"],
    ),
    "infinite predictions, not selected": (
        {"predictions": changed((1, 0), -np.inf), "mask": np.zeros((2, 3), bool)},
        ["predictions", "1 ", "(1, 0)", "-inf", "finite"],
    ),
    "NaN predictions where there is no target": (
        {"predictions": changed((0, 2), np.nan), "targets": changed((0, 2), np.nan)},
        ["predictions", "(0, 2)", "nan", "finite"],
    ),
    "infinite targets": ({"targets": changed((1, 1), np.inf)}, ["targets", "1 ", "(1, 1)", "inf", "finite"]),
    "infinite targets, not selected": (
        {"targets": changed((1, 1), np.inf), "mask": np.zeros((2, 3), bool)},
        ["targets", "(1, 1)", "inf", "finite"],
    ),
    "a mask of other numbers": ({"mask": changed((1, 2), 0.5)}, ["mask", "1 ", "(1, 2)", "0.5", "boolean", "0 and 1"]),
    "a mask with NaN": ({"mask": changed((0, 1), np.nan)}, ["mask", "(0, 1)", "nan", "0 and 1"]),
    "a mask of strings": ({"mask": np.full((2, 3), "yes")}, ["mask", "<U3", "expected"]),
    "complex predictions": ({"predictions": ONES + 0j}, ["predictions", "complex128", "real"]),
    "complex targets": ({"targets": ONES + 0j}, ["targets", "complex128", "real"]),
    "objects": ({"targets": np.full((2, 3), None)}, ["targets", "object", "real"]),
    "strings": ({"predictions": np.full((2, 3), "1.0")}, ["predictions", "<U3", "real"]),
    "boolean targets": ({"targets": np.ones((2, 3), bool)}, ["targets", "bool", "real"]),
    "boolean predictions": ({"predictions": np.ones((2, 3), bool)}, ["predictions", "bool", "real"]),
    "dates": ({"targets": np.ones((2, 3), "M8[s]")}, ["targets", "datetime64", "real"]),
    "integers beyond 2^53": (
        {"targets": np.array([[1, 2, 3], [4, 2**53 + 1, -(2**53) - 1]])},
        ["targets", "2 ", "(1, 1)", "9007199254740993", "float64"],
    ),
    "unsigned integers beyond 2^53": (
        {"predictions": np.full((2, 3), 2**64 - 1, np.uint64)},
        ["predictions", "6 ", "(0, 0)", "18446744073709551615", "float64"],
    ),
    "ragged lists": ({"predictions": [[1.0, 2.0, 3.0], [1.0]]}, ["predictions", "list", "expected"]),
    "a masked array": ({"targets": np.ma.ones((2, 3))}, ["targets", "MaskedArray", "expected"]),
    "a misspelt reduction": ({"reduction": "avg"}, ["reduction", "'avg'", "mean", "sum", "none"]),
    "a nearly right reduction": ({"reduction": "means"}, ["reduction", "'means'", "did you mean 'mean'"]),
    "no reduction": ({"reduction": None}, ["reduction", "None", "mean", "sum", "none"]),
}


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("name", list(CASES))
def test_message(name, loss):
    options, fragments = CASES[name]
    assert_message(fragments, loss, **options)


def test_longdouble():
    if np.longdouble is np.float64 or np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("longdouble is float64 here")
    kind = np.dtype(np.longdouble).name
    assert_message(["predictions", kind, "float64"], "mse", predictions=ONES.astype(np.longdouble))
    assert_message(["targets", kind, "float64"], "huber", targets=ONES.astype(np.longdouble))


@pytest.mark.parametrize("delta", [0, -1.0, np.nan, np.inf, True, "1", None, [1.0]])
def test_delta(delta):
    assert_message(["delta", str(delta).strip("[]"), "finite", "> 0"], "huber", delta=delta)


def test_large_integers_that_float64_holds_are_taken():
    found = refloss.mae(np.array([2**60, 2**53 + 2]), np.array([2**60, 2**53]))
    assert found.value == 1.0


@pytest.mark.parametrize(
    ("loss", "top", "options"),
    [("mse", 1e200, {}), ("mae", 1.5e308, {"reduction": "sum"}), ("huber", 1e200, {"delta": 1e200})],
)
@pytest.mark.parametrize("grad", [False, True])
def test_a_value_that_overflows_is_an_error(loss, top, options, grad):
    with pytest.raises(InputError, match=r"value.*beyond the largest float64"):
        getattr(refloss, loss)(np.full(3, top), np.zeros(3), grad=grad, **options)


def test_an_element_that_overflows_is_an_error():
    with pytest.raises(InputError, match=r"value.*beyond the largest float64"):
        refloss.mse(np.array([1.0, 1e200]), np.zeros(2), reduction="none")


def assert_message(fragments, loss, **options):
    arguments = {"predictions": ONES, "targets": 2 * ONES} | options
    with pytest.raises(InputError) as caught:
        getattr(refloss, loss)(arguments.pop("predictions"), arguments.pop("targets"), **arguments)
    message = str(caught.value)
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"
