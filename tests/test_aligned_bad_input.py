"""docs/specification.md, sections 3 and 8, for masked_dos: what each message says."""

from __future__ import annotations

import numpy as np
import pytest

import refloss
from refloss import Convention, InputError

PREDICTIONS = np.random.default_rng(1).normal(size=(2, 8))
TARGETS = np.random.default_rng(2).normal(size=(2, 6))
MASK = np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1]], bool)
RELEASES = ("metatrain-2026.2", "metatrain-2025.12")


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def padded(array):
    return np.concatenate([np.zeros((2, 2), array.dtype), array], axis=1)


CASES = {
    # shapes
    "another batch of targets": ({"targets": np.ones((3, 6))}, ["targets", "(3, 6)", "predictions", "2 structures"]),
    "another batch of masks": ({"mask": np.ones((1, 6), bool)}, ["mask", "(1, 6)", "predictions", "2 structures"]),
    "a wider mask": ({"mask": np.ones((2, 7), bool)}, ["mask", "(2, 7)", "targets", "(2, 6)"]),
    "a padded mask without extra_targets": ({"mask": padded(MASK)}, ["mask", "(2, 8)", "targets", "(2, 6)"]),
    "predictions of one structure": ({"predictions": PREDICTIONS[0]}, ["predictions", "(8,)", "2"]),
    "targets of one structure": ({"targets": TARGETS[0]}, ["targets", "(6,)", "2"]),
    "a mask of one structure": ({"mask": MASK[0]}, ["mask", "(6,)", "2"]),
    "targets by three axes": ({"targets": TARGETS[None]}, ["targets", "(1, 2, 6)", "2"]),
    "no structures": (
        {"predictions": PREDICTIONS[:0], "targets": TARGETS[:0], "mask": MASK[:0]},
        ["predictions", "size 0", "(0, 8)"],
    ),
    "no points": ({"targets": TARGETS[:, :0], "mask": MASK[:, :0]}, ["targets", "size 0", "(2, 0)"]),
    "one point": ({"targets": TARGETS[:, :1], "mask": MASK[:, :1]}, ["targets", "1 point", "at least 2"]),
    "one point in the padded layout": ({"extra_targets": 7}, ["targets", "extra_targets", "7"]),
    "targets wider than predictions": (
        {"targets": np.ones((2, 9)), "mask": np.ones((2, 9), bool)},
        ["targets", "9", "predictions", "8"],
    ),
    "extra_targets that no width fits": (
        {"extra_targets": 3},
        ["targets", "6", "predictions", "8", "extra_targets", "3"],
    ),
    "extra_targets that the mask does not fit": (
        {"extra_targets": 2, "mask": np.ones((2, 7), bool)},
        ["mask", "7", "6", "8", "extra_targets"],
    ),
    "extra_targets 0 with narrower targets": ({"extra_targets": 0}, ["targets", "6", "8", "extra_targets"]),
    "negative extra_targets": ({"extra_targets": -1}, ["extra_targets", "-1", "integer", "0"]),
    "fractional extra_targets": ({"extra_targets": 2.0}, ["extra_targets", "2.0", "integer"]),
    "boolean extra_targets": ({"extra_targets": True}, ["extra_targets", "True", "integer"]),
    # values
    "NaN predictions": (
        {"predictions": changed(PREDICTIONS, ([0, 1], [7, 0]), np.nan)},
        ["predictions", "2 ", "(0, 7)"],
    ),
    "infinite predictions": (
        {"predictions": changed(PREDICTIONS, (1, 3), np.inf)},
        ["predictions", "1 ", "(1, 3)", "inf"],
    ),
    "NaN predictions that nothing counts": (
        {"predictions": changed(PREDICTIONS, (0, 3), np.nan), "mask": np.zeros((2, 6), bool)},
        ["predictions", "(0, 3)", "nan", "finite"],
    ),
    "infinite targets": ({"targets": changed(TARGETS, (1, 1), -np.inf)}, ["targets", "1 ", "(1, 1)", "-inf", "finite"]),
    "infinite targets under a false mask": (
        {"targets": changed(TARGETS, (0, 2), np.inf)},
        ["targets", "1 ", "(0, 2)", "inf", "finite"],
    ),
    "NaN targets under a true mask": (
        {"targets": changed(TARGETS, ([0, 0, 1], [2, 3, 5]), np.nan)},  # (0, 2) is masked out
        ["targets", "2 ", "(0, 3)", "mask"],
    ),
    "a mask of other numbers": (
        {"mask": changed(MASK.astype(float), (1, 4), 2)},
        ["mask", "1 ", "(1, 4)", "2.0", "0 and 1"],
    ),
    "a mask with NaN": ({"mask": changed(MASK.astype(float), (0, 0), np.nan)}, ["mask", "(0, 0)", "nan", "0 and 1"]),
    "a mask of strings": ({"mask": np.full((2, 6), "1")}, ["mask", "<U1", "expected"]),
    "complex predictions": ({"predictions": PREDICTIONS + 0j}, ["predictions", "complex128", "real"]),
    "objects": ({"targets": np.full((2, 6), None)}, ["targets", "object", "real"]),
    "strings": ({"targets": np.full((2, 6), "1.0")}, ["targets", "<U3", "real"]),
    "booleans": ({"predictions": np.ones((2, 8), bool)}, ["predictions", "bool", "real"]),
    "integers beyond 2^53": (
        {"predictions": changed(np.ones((2, 8), int), (1, 7), 2**53 + 1)},
        ["predictions", "1 ", "(1, 7)", "9007199254740993", "float64"],
    ),
    # numbers
    "a step of zero": ({"energy_step": 0.0}, ["energy_step", "0.0", "> 0"]),
    "a negative step": ({"energy_step": -0.05}, ["energy_step", "-0.05", "> 0"]),
    "a step that is no number": ({"energy_step": np.nan}, ["energy_step", "nan", "finite"]),
    "an infinite step": ({"energy_step": np.inf}, ["energy_step", "inf", "finite"]),
    "a step in words": ({"energy_step": "0.05"}, ["energy_step", "str", "0.05"]),
    "a weight that is no number": ({"grad_weight": np.nan}, ["grad_weight", "nan", "finite"]),
    "an infinite weight": ({"int_weight": -np.inf}, ["int_weight", "-inf", "finite"]),
    "a weight in words": ({"int_weight": "2"}, ["int_weight", "str", "'2'"]),
    # grids
    "a short grid": ({"energy_grid": np.arange(5.0)}, ["energy_grid", "5", "targets", "6"]),
    "the grid of the predictions": ({"energy_grid": np.arange(8.0)}, ["energy_grid", "8", "targets", "6"]),
    "a grid of two axes": ({"energy_grid": np.ones((2, 6))}, ["energy_grid", "(2, 6)", "1"]),
    "a grid that is not uniform": (
        {"energy_grid": np.array([0.0, 1.0, 2.0, 3.00001, 4.0, 5.0])},
        ["energy_grid", "index 2", "uniform", "1.0"],
    ),
    "a grid that falls": ({"energy_grid": -np.arange(6.0)}, ["energy_grid", "-1.0", "increase"]),
    "a constant grid": ({"energy_grid": np.ones(6)}, ["energy_grid", "0.0", "increase"]),
    "a grid with NaN": ({"energy_grid": changed(np.arange(6.0), 3, np.nan)}, ["energy_grid", "(3,)", "nan", "finite"]),
    "a step and another grid": (
        {"energy_step": 0.5, "energy_grid": np.arange(6.0)},
        ["energy_step", "0.5", "energy_grid", "1.0"],
    ),
    # names
    "a misspelt reduction": ({"reduction": "mena"}, ["reduction", "'mena'", "mean, sum, none", "did you mean 'mean'"]),
    "a misspelt convention": (
        {"convention": "documentd"},
        ["convention", "'documentd'", "intended", *RELEASES, "did you mean 'documented'"],
    ),
    "a convention that is none": ({"convention": 3}, ["convention", "int", "Convention", "documented"]),
}


@pytest.mark.parametrize("name", list(CASES))
def test_message(name):
    options, fragments = CASES[name]
    assert_message(fragments, **options)


def test_longdouble():
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("longdouble is float64 here")
    kind = np.dtype(np.longdouble).name
    assert_message(["targets", kind, "float64"], targets=TARGETS.astype(np.longdouble))


@pytest.mark.parametrize("convention", RELEASES)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_release_knows_the_mean_alone(convention, reduction):
    assert_message(
        ["reduction", repr(reduction), "mean", convention, "ignores"], convention=convention, reduction=reduction
    )


@pytest.mark.parametrize("convention", RELEASES)
def test_a_release_knows_its_own_step_alone(convention):
    assert_message(["energy_step", "0.1", "0.05", convention], convention=convention, energy_step=0.1)
    assert_message(["0.1", "0.05", convention], convention=convention, energy_grid=0.1 * np.arange(6))


def test_switches_that_go_with_a_release_bring_its_limits_along():
    batch = Convention("mine", "dos", False, "window", "exact", "batch", "dos")
    assert_message(["reduction", "'sum'", "mean", "mine"], convention=batch, reduction="sum")
    assert refloss.masked_dos(PREDICTIONS, TARGETS, MASK, convention=batch, energy_step=0.3).energy_step == 0.3
    stored = Convention("mine", "dos", False, "window", "float32", "structure", "dos")
    assert_message(["energy_step", "0.3", "0.05", "mine"], convention=stored, energy_step=0.3)
    found = refloss.masked_dos(PREDICTIONS, TARGETS, MASK, convention=stored, reduction="sum")
    assert found.value == pytest.approx(found.per_structure.sum(), rel=1e-15)


@pytest.mark.parametrize(
    ("switch", "value", "fragments"),
    [
        ("objective", "dos+front", ["objective", "'dos+front'", "'dos+front_tail'", "did you mean"]),
        ("front_tail", 1, ["front_tail", "1", "True, False"]),
        ("gradient_points", "windows", ["gradient_points", "did you mean 'window'"]),
        ("stencil", None, ["stencil", "None", "'exact'"]),
        ("cumulative", "structures", ["cumulative", "did you mean 'structure'"]),
        ("cumulated", "square", ["cumulated", "did you mean 'squares'"]),
        ("name", "", ["name", "non-empty"]),
    ],
)
def test_a_convention_of_ones_own(switch, value, fragments):
    switches = {
        "name": "mine",
        "objective": "dos",
        "front_tail": True,
        "gradient_points": "window",
        "stencil": "exact",
        "cumulative": "structure",
        "cumulated": "dos",
    }
    with pytest.raises(InputError) as caught:
        Convention(**{**switches, switch: value})
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


def test_a_batch_cumulative_has_no_total_to_align_by():
    with pytest.raises(InputError, match=r"objective 'total' and cumulative 'batch'"):
        Convention("mine", "total", True, "prediction", "exact", "batch", "dos")


@pytest.mark.parametrize(
    ("factor", "options", "figure"),
    [
        (1e160, {"energy_step": 1.0}, "margin|dos"),
        (1e149, {"energy_step": 1e-10}, "unmasked_gradient"),
        (1e100, {"energy_step": 1e80}, "cumulative|grad"),
        (1e140, {"int_weight": 1e40}, "per_structure"),
    ],
)
@pytest.mark.parametrize("grad", [False, True])
def test_a_figure_that_overflows_is_an_error(factor, options, figure, grad):
    with pytest.raises(InputError, match=rf"({figure}).*beyond the largest float64"):
        refloss.masked_dos(factor * PREDICTIONS, factor * TARGETS, MASK, grad=grad, **options)


def test_a_sum_over_structures_that_overflows_is_an_error_and_its_mean_is_not():
    # Each loss is about 1e307: the sum over 2000 of them is beyond the range, their mean is not.
    options = {"energy_step": 1.0, "int_weight": 50.0}
    one = refloss.masked_dos(1e152 * PREDICTIONS, 1e152 * TARGETS, MASK, **options)
    many = [np.tile(rows, (1000, 1)) for rows in (1e152 * PREDICTIONS, 1e152 * TARGETS, MASK)]
    assert 1e306 < refloss.masked_dos(*many, **options).value == one.value
    with pytest.raises(InputError, match=r"value.*beyond the largest float64"):
        refloss.masked_dos(*many, **options, reduction="sum")


def test_a_gradient_that_overflows_is_an_error():
    # d/dp of 1e308 p² / dx at p = 1e-10, dx = 1e-12: 1e310, where the value is 1e300.
    predictions = np.zeros((1, 9))
    predictions[0, 6] = 1e-10
    arrays = predictions, np.zeros((1, 9)), np.zeros((1, 9), bool)
    options = {"energy_step": 1e-12, "grad_weight": 1e308}
    assert np.isfinite(refloss.masked_dos(*arrays, **options).value)
    with pytest.raises(InputError, match=r"grad.*beyond the largest float64"):
        refloss.masked_dos(*arrays, **options, grad=True)


def assert_message(fragments, **options):
    arguments = {"predictions": PREDICTIONS, "targets": TARGETS, "mask": MASK} | options
    with pytest.raises(InputError) as caught:
        refloss.masked_dos(arguments.pop("predictions"), arguments.pop("targets"), arguments.pop("mask"), **arguments)
    message = str(caught.value)
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"
