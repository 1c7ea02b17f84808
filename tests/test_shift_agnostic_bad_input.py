"""docs/specification.md, sections 4 and 8, for shift_agnostic_mse: what each message says."""

from __future__ import annotations

import numpy as np
import pytest

import refloss
from refloss import Convention, InputError

PREDICTIONS = np.random.default_rng(1).normal(size=(2, 5))
TARGETS = np.random.default_rng(2).normal(size=(2, 6))


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


CASES = {
    # shapes
    "another batch of targets": ({"targets": np.ones((3, 6))}, ["targets", "(3, 6)", "2 structures", "predictions"]),
    "predictions of one structure": ({"predictions": PREDICTIONS[0]}, ["predictions", "(5,)", "2"]),
    "targets of one structure": ({"targets": TARGETS[0]}, ["targets", "(6,)", "2"]),
    "targets by three axes": ({"targets": TARGETS[None]}, ["targets", "(1, 2, 6)", "2"]),
    "no structures": (
        {"predictions": PREDICTIONS[:0], "targets": TARGETS[:0]},
        ["predictions", "size 0", "(0, 5)"],
    ),
    "no predictions": ({"predictions": PREDICTIONS[:, :0]}, ["predictions", "size 0", "(2, 0)"]),
    "no points": ({"targets": TARGETS[:, :0]}, ["targets", "size 0", "(2, 0)"]),
    "one point": ({"targets": TARGETS[:, :1]}, ["targets", "1 point", "2 to 15"]),
    "targets wider than the padded predictions": (
        {"targets": np.ones((2, 16))},
        ["targets", "16 points", "2 to 15", "three times", "predictions"],
    ),
    # values
    "NaN predictions": (
        {"predictions": changed(PREDICTIONS, ([0, 1], [4, 0]), np.nan)},
        ["predictions", "2 ", "(0, 4)", "nan", "finite"],
    ),
    "infinite predictions": (
        {"predictions": changed(PREDICTIONS, (1, 3), np.inf)},
        ["predictions", "1 ", "(1, 3)", "inf"],
    ),
    "NaN predictions without any target": (
        {"predictions": changed(PREDICTIONS, (0, 3), np.nan), "targets": np.full((2, 6), np.nan)},
        ["predictions", "(0, 3)", "nan", "finite"],
    ),
    "infinite targets": ({"targets": changed(TARGETS, (1, 1), -np.inf)}, ["targets", "1 ", "(1, 1)", "-inf"]),
    "infinite targets beside NaN": (
        {"targets": changed(changed(TARGETS, (0, 0), np.nan), (1, 2), np.inf)},
        ["targets", "1 ", "(1, 2)", "inf"],
    ),
    "complex predictions": ({"predictions": PREDICTIONS + 0j}, ["predictions", "complex128", "real"]),
    "objects": ({"targets": np.full((2, 6), None)}, ["targets", "object", "real"]),
    "booleans": ({"predictions": np.ones((2, 5), bool)}, ["predictions", "bool", "real"]),
    "integers beyond 2^53": (
        {"targets": changed(np.ones((2, 6), int), (1, 5), 2**53 + 1)},
        ["targets", "1 ", "(1, 5)", "9007199254740993", "float64"],
    ),
    # numbers
    "a step of zero": ({"energy_step": 0.0}, ["energy_step", "0.0", "> 0"]),
    "a step that is no number": ({"energy_step": np.nan}, ["energy_step", "nan", "finite"]),
    "a step in words": ({"energy_step": "0.05"}, ["energy_step", "str", "0.05"]),
    "a weight that is no number": ({"grad_penalty_weight": np.nan}, ["grad_penalty_weight", "nan", "finite"]),
    "an infinite weight": ({"int_weight": -np.inf}, ["int_weight", "-inf", "finite"]),
    "a weight in words": ({"grad_penalty_weight": "2"}, ["grad_penalty_weight", "str", "'2'"]),
    # grids
    "the grid of the predictions": ({"energy_grid": np.arange(5.0)}, ["energy_grid", "5", "targets", "6"]),
    "a grid that is not uniform": (
        {"energy_grid": np.array([0.0, 1.0, 2.0, 3.00001, 4.0, 5.0])},
        ["energy_grid", "index 2", "uniform", "1.0"],
    ),
    "a grid that falls": ({"energy_grid": -np.arange(6.0)}, ["energy_grid", "-1.0", "increase"]),
    "a step and another grid": (
        {"energy_step": 0.5, "energy_grid": np.arange(6.0)},
        ["energy_step", "0.5", "energy_grid", "1.0"],
    ),
    # names
    "a misspelt reduction": ({"reduction": "mena"}, ["reduction", "'mena'", "mean, sum, none", "did you mean 'mean'"]),
    "a release that has masked_dos": (
        {"convention": "metatrain-2026.2"},
        ["convention", "metatrain 2026.2 has no shift_agnostic_mse", "2026.3 to 2026.4.1", "it replaced masked_dos"],
    ),
    "the default of masked_dos": ({"convention": "documented"}, ["'documented'", "intended, metatrain-2026.3"]),
    "a convention that is none": ({"convention": 3}, ["convention", "int", "Convention", "intended"]),
    # the release
    "a release's reduction": (
        {"convention": "metatrain-2026.3", "reduction": "sum"},
        ["reduction", "'sum'", "mean", "metatrain-2026.3", "ignores"],
    ),
    "a release's structures": (
        {"convention": "metatrain-2026.3", "reduction": "none"},
        ["reduction", "'none'", "mean", "metatrain-2026.3", "ignores"],
    ),
    "a release's step": (
        {"convention": "metatrain-2026.3", "energy_step": 0.1},
        ["energy_step", "0.1", "0.05", "metatrain-2026.3"],
    ),
    "a release's step by a grid": (
        {"convention": "metatrain-2026.3", "energy_grid": 0.1 * np.arange(6)},
        ["0.1", "0.05", "metatrain-2026.3"],
    ),
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


def test_switches_that_go_with_a_release_bring_its_limits_along():
    stored = Convention("mine", "dos", False, "window", "float32", "structure", "dos")
    assert_message(["energy_step", "0.3", "0.05", "mine"], convention=stored, energy_step=0.3)
    batch = Convention("mine", "dos", False, "window", "exact", "batch", "dos")
    assert_message(["reduction", "'sum'", "mean", "mine"], convention=batch, reduction="sum")


@pytest.mark.parametrize("argument", ["mask", "grad_weight", "extra_targets"])
def test_what_only_masked_dos_takes(argument):
    with pytest.raises(TypeError, match=argument):
        refloss.shift_agnostic_mse(PREDICTIONS, TARGETS, **{argument: 1})


@pytest.mark.parametrize(
    ("factor", "options", "figure"),
    [
        (1e160, {}, "margin|dos"),
        (1e149, {"energy_step": 1e-12}, "unmasked_gradient"),
        (1e100, {"energy_step": 1e80}, "cumulative|grad"),
        (1e140, {"int_weight": 1e40}, "per_structure"),
    ],
)
@pytest.mark.parametrize("grad", [False, True])
def test_a_figure_that_overflows_is_an_error(factor, options, figure, grad):
    with pytest.raises(InputError, match=rf"({figure}).*beyond the largest float64"):
        refloss.shift_agnostic_mse(factor * PREDICTIONS, factor * TARGETS, grad=grad, **options)


def assert_message(fragments, **options):
    arguments = {"predictions": PREDICTIONS, "targets": TARGETS} | options
    with pytest.raises(InputError) as caught:
        refloss.shift_agnostic_mse(arguments.pop("predictions"), arguments.pop("targets"), **arguments)
    message = str(caught.value)
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"
