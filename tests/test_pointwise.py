"""mse, mae and huber against the oracle, to the last bit."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import numpy as np
import oracle
import pytest
from checks import FIGURE_ULPS, assert_pointwise
from hypothesis import given
from hypothesis import strategies as st

import refloss

LOSSES = ("mse", "mae", "huber")
REDUCTIONS = ("mean", "sum", "none")


def evaluate(loss, predictions, targets, mask=None, reduction="mean", delta=1.0, grad=True):
    options = {"delta": delta} if loss == "huber" else {}
    return getattr(refloss, loss)(predictions, targets, mask=mask, reduction=reduction, grad=grad, **options)


def check(loss, predictions, targets, mask=None, reduction="mean", delta=1.0, grad=True):
    """Evaluate, compare with the oracle, and see that the inputs are what they were."""
    arrays = [np.asarray(a) for a in (predictions, targets) if a is not None]
    before = [a.tobytes() for a in arrays]
    found = evaluate(loss, predictions, targets, mask, reduction, delta, grad)
    assert [a.tobytes() for a in arrays] == before
    p, t = (np.asarray(a, np.float64).ravel().tolist() for a in (predictions, targets))
    m = None if mask is None else np.asarray(mask, bool).ravel().tolist()
    assert_pointwise(found, oracle.pointwise(loss, p, t, m, reduction, delta), grad=grad)
    return found


def generic(rng, shape):
    predictions, targets = rng.normal(size=(2, *shape))
    targets[rng.random(shape) < 0.1] = np.nan
    return predictions, targets, rng.random(shape) < 0.7


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(1,), (7,), (33, 3), (5, 4, 3)])
@pytest.mark.parametrize("loss", LOSSES)
def test_generic(loss, shape, masked, reduction, grad):
    predictions, targets, mask = generic(np.random.default_rng([*shape, masked]), shape)
    check(loss, predictions, targets, mask if masked else None, reduction, 0.8, grad)


@pytest.mark.parametrize("size", [4095, 4096, 4097, pytest.param(70_001, marks=pytest.mark.large)])
@pytest.mark.parametrize("loss", LOSSES)
def test_many_elements(loss, size):
    predictions, targets, mask = generic(np.random.default_rng(size), (size,))
    check(loss, predictions, targets, mask, "mean", 0.8, grad=size < 5000)


def hard(name, rng):
    predictions, targets = rng.normal(size=(2, 40, 3))
    if name == "a rounding away":
        return targets + rng.integers(-2, 3, targets.shape) * np.spacing(targets), targets
    if name == "common offset":
        return 1e8 + predictions, 1e8 + targets
    if name == "three magnitudes":
        factor = rng.choice([1e-140, 1.0, 1e140], targets.shape)
        return factor * predictions, factor * targets
    factor = {"large": 1e150, "small": 1e-150, "subnormal squares": 1e-160, "subnormal": 1e-310}[name]
    return factor * predictions, factor * targets


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "name",
    ["a rounding away", "common offset", "three magnitudes", "large", "small", "subnormal squares", "subnormal"],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_hard_numbers(loss, name, reduction):
    predictions, targets = hard(name, np.random.default_rng(len(name)))
    check(loss, predictions, targets, None, reduction)


@pytest.mark.parametrize("delta", [5e-324, 1e-200, 1e-8, 0.1, 1e8, 1e200, 1.7e308])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_any_delta(delta, reduction):
    rng = np.random.default_rng(3)
    predictions, targets = rng.normal(size=(2, 30)) * rng.choice([1e-9, 1.0, 1e9], (1, 30))
    check("huber", predictions, targets, None, reduction, delta)


def test_mae_has_no_slope_at_zero():
    found = check("mae", np.array([1.0, -0.0, 2.0]), np.array([1.0, 0.0, 3.0]), None, "sum")
    assert found.grad.tolist() == [0.0, 0.0, -1.0]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_selected(loss, reduction):
    targets = np.array([np.nan, 2.0, np.nan])
    found = check(loss, np.ones(3), targets, np.array([True, False, False]), reduction)
    assert found.count == 0
    assert not found.grad.any()
    assert found.value.shape == (0,) if reduction == "none" else found.value == 0.0


def test_targets_without_a_value_are_left_out_with_and_without_a_mask():
    predictions, targets = np.array([[1.0, 2.0], [4.0, 8.0]]), np.array([[np.nan, 1.0], [1.0, np.nan]])
    assert check("mse", predictions, targets).value == (1 + 9) / 2
    found = check("mse", predictions, targets, [[1, 0], [1, 1]])
    assert (found.value, found.count) == (9.0, 1)
    assert found.selected.tolist() == [[False, False], [True, False]]
    assert found.grad.tolist() == [[0.0, 0.0], [6.0, 0.0]]


def test_none_keeps_the_elements_in_c_order():
    predictions = np.asfortranarray(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    found = check("mse", predictions, np.zeros((2, 3)), [[1, 1, 0], [0, 1, 1]], "none")
    assert found.value.tolist() == [1.0, 4.0, 25.0, 36.0]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_overflows_on_the_way_to_a_representable_mean(loss):
    # Two of the three intermediate sums lie beyond 1.8e308; every mean below is representable.
    top = {"mse": 1.3e154, "mae": 1.7e308, "huber": 1.7e308}[loss]
    check(loss, np.full(5, top), np.zeros(5), grad=False)
    check(loss, np.array([top, 0.0, 0.0, 0.0]), np.array([-top / 2, 0.0, 0.0, 0.0]), grad=False)


def test_a_difference_beyond_the_range_has_a_derivative():
    found = check("mae", np.array([1.7e308, 0.0]), np.array([-1.7e308, 0.0]))
    assert found.grad.tolist() == [0.5, 0.0]


def test_kinds_of_input_are_taken_exactly():
    rng = np.random.default_rng(11)
    predictions, targets = rng.integers(-9, 9, (2, 6, 4))
    mask = rng.random((6, 4)) < 0.6
    wanted = refloss.mse(predictions.astype(float), targets.astype(float), mask=mask, grad=True)
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, ">f8", "<f8"):
        found = refloss.mse(predictions.astype(dtype), targets.astype(dtype), mask=mask, grad=True)
        assert found.value == wanted.value
        assert np.array_equal(found.grad, wanted.grad)
    third = np.float32(1 / 3)
    assert refloss.mae([third], [0]).value == float(third)
    assert refloss.mae([np.float16(1 / 3)], [0]).value == float(np.float16(1 / 3))
    assert refloss.mse(predictions.tolist(), targets.tolist(), mask=mask.tolist(), grad=True).value == wanted.value


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float64, np.float32])
def test_kinds_of_mask(kind):
    predictions, targets, mask = generic(np.random.default_rng(12), (9, 2))
    found = refloss.huber(predictions, targets, mask=mask.astype(kind))
    assert found.value == refloss.huber(predictions, targets, mask=mask).value


def test_layouts_and_read_only_arrays():
    predictions, targets, mask = generic(np.random.default_rng(13), (8, 6))
    wanted = refloss.mse(predictions, targets, mask=mask, grad=True)
    wide = np.zeros((16, 18))
    wide[::2, ::-3] = predictions
    views = wide[::2, ::-3], np.asfortranarray(targets), np.asfortranarray(mask)
    for view in views:
        view.flags.writeable = False
    found = refloss.mse(views[0], views[1], mask=views[2], grad=True)
    assert found.value == wanted.value
    assert np.array_equal(found.grad, wanted.grad)
    assert np.array_equal(found.selected, wanted.selected)


def test_arrays_of_other_libraries_come_in_through_their_protocol():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return np.array(self.array, dtype)

    predictions, targets, _ = generic(np.random.default_rng(14), (5,))
    assert refloss.mse(Foreign(predictions), Foreign(targets)).value == refloss.mse(predictions, targets).value


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_the_elements_does_not_matter(loss, reduction):
    # The exact value does not, and it is rounded once: at most one neighbour off where a tie is close.
    predictions, targets, mask = generic(np.random.default_rng(15), (5000,))
    order = np.random.default_rng(16).permutation(5000)
    one = evaluate(loss, predictions, targets, mask, reduction).value
    other = evaluate(loss, predictions[order], targets[order], mask[order], reduction).value
    assert abs(one - other) <= math.ulp(one)


@pytest.mark.large
def test_the_same_bits_with_any_number_of_threads(monkeypatch):
    predictions, targets, mask = generic(np.random.default_rng(17), (300_007,))
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        result = refloss.huber(predictions, targets, mask=mask, delta=0.5, grad=True)
        found.append((result.value, result.count, result.grad.tobytes(), result.selected.tobytes()))
    assert found[0] == found[1] == found[2]


def test_a_result_is_frozen_short_and_portable():
    predictions, targets, mask = generic(np.random.default_rng(18), (400,))
    for reduction in REDUCTIONS:
        found = refloss.mse(predictions, targets, mask=mask, reduction=reduction, grad=True)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.value = 0.0
        assert len(repr(found)) < 100
        assert "PointwiseResult" in repr(found)
        again = pickle.loads(pickle.dumps(found))
        assert np.array_equal(again.value, found.value)
        assert np.array_equal(again.grad, found.grad)
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read == {"value": np.asarray(found.value).tolist(), "count": found.count}


numbers = st.floats(-1e150, 1e150, allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, 1.0, 1.0 + 2**-52, 1e-160])
elements = st.tuples(numbers, numbers | st.just(math.nan), st.booleans())


@given(st.lists(elements, min_size=1, max_size=12), st.sampled_from(LOSSES), st.sampled_from(REDUCTIONS))
def test_any_numbers(rows, loss, reduction):
    predictions, targets, mask = (np.array(column) for column in zip(*rows, strict=True))
    check(loss, predictions, targets, mask, reduction, delta=0.75)


@given(st.lists(numbers, min_size=1, max_size=12))
def test_scaling_by_a_power_of_two_scales_the_value(values):
    # Exact as long as nothing underflows; 2^-10 · 1e-160 squared does, so such values are left out.
    p = np.array([x for x in values if x == 0 or abs(x) > 1e-130] or [1.0])
    t = np.ones_like(p)
    one, scaled = refloss.mse(p, t), refloss.mse(p / 1024, t / 1024)
    assert scaled.value * 2**20 == one.value
    assert oracle.ulps(one.value, oracle.pointwise("mse", p.tolist(), t.tolist()).value) <= FIGURE_ULPS
