"""`refloss.plotting`: what is to be drawn, against the definitions written out point by point."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pictured import generic, spectra

import refloss
from refloss import InputError
from refloss.plotting import alignment_data, masks_data, pointwise_data, terms_data
from refloss.plotting.common import ABSOLUTE, RELATIVE, energy_limits
from refloss.plotting.masks import COUNTS, MASKED_OUT, NOTHING, OUTSIDE

DIGITS = {"rtol": 1e-12, "atol": 1e-12}
"""Sums of some 50 numbers of order 1, in another order: about 50 roundings of 1e-16."""


def test_energies_begin_at_the_first_target_point_where_only_a_step_is_given() -> None:
    data = alignment_data(generic(points=40, extra=7, energy_step=0.07), 2)
    assert data.energy_label == RELATIVE
    assert "zero at the target's first point" in RELATIVE
    np.testing.assert_allclose(data.energy, [0.07 * i for i in range(40)], **DIGITS)
    np.testing.assert_allclose(data.prediction_energy, [0.07 * (j - 7) for j in range(47)], **DIGITS)


def test_energies_are_the_grid_where_one_is_given() -> None:
    grid = -12.3 + 0.07 * np.arange(40)
    data = alignment_data(generic(points=40, extra=7, energy_grid=grid), 2)
    assert data.energy_label == ABSOLUTE
    assert "eV" in ABSOLUTE
    assert "energy_grid" in ABSOLUTE
    assert data.energy.tolist() == grid.tolist()
    assert data.prediction_energy[7:].tolist() == grid.tolist()
    np.testing.assert_allclose(data.prediction_energy[:7], [-12.3 + 0.07 * (j - 7) for j in range(7)], **DIGITS)


@pytest.mark.parametrize("b", range(4))
def test_the_unaligned_prediction_moved_up_is_the_aligned_one(b: int) -> None:
    data = alignment_data(generic(energy_step=0.07), b)
    assert data.moved == 7 - data.shift
    moved = np.interp(data.energy, data.prediction_energy + data.moved * 0.07, data.prediction)
    np.testing.assert_allclose(
        data.aligned, moved, rtol=1e-9, atol=1e-9
    )  # interpolation at points that are off by 1e-15
    np.testing.assert_array_equal(data.residual, data.aligned - data.target)


def test_an_unshifted_prediction_is_not_moved() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(1, 25))
    result = refloss.masked_dos(predictions, predictions[:, 5:], np.ones((1, 20), bool))
    assert alignment_data(result).moved == 0


@pytest.mark.parametrize(("convention", "power"), [("documented", 1), ("intended", 1), ("metatrain-2025.12", 2)])
def test_cumulated_is_the_integral_up_to_each_point(convention: str, power: int) -> None:
    result = generic(convention=convention)
    data = alignment_data(result, 1)
    for curve, density in (
        (data.cumulative_target, result.targets[1]),
        (data.cumulative_aligned, result.predictions[1, data.shift : data.shift + 40]),
    ):
        expected = [np.trapezoid(density[: i + 1] ** power, dx=0.05) for i in range(40)]
        np.testing.assert_allclose(curve, expected, **DIGITS)
    unit = {1: "electrons", 2: "states²/eV"}[power]
    assert f"({unit})" in data.cumulative_label


@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_the_objective_has_its_best_and_runner_up_where_they_are_marked(convention: str) -> None:
    result = generic(convention=convention)
    for b in range(4):
        data = alignment_data(result, b)
        assert data.shifts.tolist() == list(range(8))
        assert np.argsort(data.objective, kind="stable")[:2].tolist() == [data.shift, data.runner_up]
        assert data.margin == pytest.approx(data.objective[data.runner_up] - data.objective[data.shift], rel=1e-9)
        assert data.rival == result.rival().shift[b]
    assert {"documented": "D (", "intended": "D + F ("}[convention] in data.objective_label


@given(mask=arrays.arrays(bool, st.integers(2, 30)))
def test_shaded_runs_are_the_points_that_do_not_count_and_no_others(mask: np.ndarray) -> None:
    points = mask.size
    grid = 3.0 + 0.25 * np.arange(points)
    density = np.ones((1, points))
    data = alignment_data(refloss.masked_dos(density, density, mask[None], energy_grid=grid))
    shaded = [any(low < energy < high for low, high in data.masked_out) for energy in grid]
    assert shaded == (~mask).tolist()
    runs = data.masked_out
    assert (runs[1:, 0] > runs[:-1, 1]).all()  # sorted and apart: each run is one
    assert np.isclose((runs[:, 1] - runs[:, 0]).sum(), 0.25 * (~mask).sum())


def test_the_default_view_is_the_stretch_with_most_states_and_knows_what_it_leaves_out() -> None:
    grid = 0.05 * np.arange(2000)
    core, valence = (h * np.exp(-(((grid - c) / w) ** 2)) for h, c, w in ((5.0, 10.0, 0.5), (1.0, 60.0, 6.0)))
    target = (core + valence)[None]
    data = alignment_data(refloss.masked_dos(target, target, np.ones((1, 2000), bool), energy_grid=grid))
    low, high = data.support
    assert 30 < low < 48
    assert 72 < high < 90
    # The areas of the Gaussians are to each other as height times width.
    assert data.left_out(low, high) == pytest.approx(2.5 / 8.5, rel=1e-3)
    assert data.left_out(0.0, 100.0) == 0.0


@pytest.mark.parametrize("predicted", [0.0, 1.0])
def test_a_target_without_states_shows_the_prediction_or_everything(predicted: float) -> None:
    predictions = np.zeros((1, 400))
    predictions[0, 150:170] = predicted
    result = refloss.masked_dos(predictions, np.zeros((1, 400)), np.ones((1, 400), bool))
    data = alignment_data(result)
    assert data.left_out(*data.support) == 0.0
    expected = (7.5 - 1.0, 8.45 + 1.0) if predicted else (0.0, 399 * 0.05)
    assert data.support == pytest.approx(expected)


@pytest.mark.parametrize("b", [-1, 4, True, 1.0, "1", None])
def test_a_structure_that_is_not_there_is_named(b: object) -> None:
    with pytest.raises(InputError, match=r"^b: found .*, expected an integer from 0 to 3"):
        alignment_data(generic(), b)  # type: ignore[arg-type]
    assert alignment_data(generic(), np.int32(3)).structure == 3


def test_masks_tell_four_kinds_apart() -> None:
    result = generic(energy_step=0.07)
    data = masks_data(result)
    assert data.kind.shape == (4, 40 + 14)
    for b in range(4):
        for column in range(54):
            i = column - 7  # the target's point, if it has one here
            if 0 <= i < 40:
                expected = COUNTS if result.mask[b, i] else MASKED_OUT
            else:
                expected = OUTSIDE if 0 <= result.shift[b] + i < 47 else NOTHING
            assert data.kind[b, column] == expected, (b, column)
    np.testing.assert_allclose(data.energy, 0.07 * np.arange(-7, 47), **DIGITS)
    np.testing.assert_allclose(data.windows[:, 0], -0.07 * result.shift, **DIGITS)
    np.testing.assert_allclose(data.windows[:, 1], 0.07 * (46 - result.shift), **DIGITS)
    # As many points below the window as the shift: the front tail.
    assert ((data.kind[:, :7] == OUTSIDE).sum(axis=1) == result.shift).all()


def test_one_structure_and_one_shift() -> None:
    result = generic(structures=1, extra=0)
    data = masks_data(result)
    assert data.kind.shape == (1, 40)
    assert set(data.kind.ravel().tolist()) == {COUNTS, MASKED_OUT}
    alone = alignment_data(result)
    assert (alone.shift, alone.runner_up, alone.rival, alone.margin) == (0, -1, -1, np.inf)
    assert terms_data(result).order.tolist() == [0]


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2"])
def test_weighted_terms_add_up_to_the_loss_the_worst_first(convention: str) -> None:
    result = generic(convention=convention, grad_weight=0.01, int_weight=1.7)
    data = terms_data(result)
    assert sorted(data.order.tolist()) == [0, 1, 2, 3]
    assert data.total.tolist() == sorted(result.per_structure.tolist(), reverse=True)
    assert data.total.tolist() == result.per_structure[data.order].tolist()
    np.testing.assert_allclose(data.contributions.sum(axis=0), data.total, **DIGITS)
    assert any("front tail" in label for label in data.labels) == (convention != "documented")
    of = dict(zip((label.partition(":")[0] for label in data.labels), data.contributions, strict=True))
    np.testing.assert_array_equal(of["D"], result.terms.dos[data.order])
    np.testing.assert_array_equal(of["0.01 · G"], 0.01 * result.terms.unmasked_gradient[data.order])
    np.testing.assert_array_equal(of["1.7 · C"], 1.7 * result.terms.cumulative[data.order])


@pytest.mark.parametrize("weights", [(0.01, 1.7), (-0.01, 1.7), (0.01, -1.7), (-0.01, -1.7)])
def test_stacked_bars_do_not_overlap_whatever_the_signs(weights: tuple[float, float]) -> None:
    data = terms_data(generic(convention="intended", grad_weight=weights[0], int_weight=weights[1]))
    tops = data.bottoms + data.contributions
    for b in range(4):
        bars = [sorted(pair) for pair in zip(data.bottoms[:, b], tops[:, b], strict=True)]
        edges = np.array(sorted(bar for bar in bars if bar[0] < bar[1]))  # F is 0 at shift 0
        # They share edges, and together cover everything from what is taken off to what is added.
        np.testing.assert_allclose(edges[1:, 0], edges[:-1, 1], **DIGITS)
        column = data.contributions[:, b]
        assert edges[0, 0] == pytest.approx(column[column < 0].sum(), abs=1e-12)
        assert edges[-1, 1] == pytest.approx(column[column > 0].sum(), abs=1e-12)


@pytest.mark.parametrize("delta", [0.7, 1.0, 13.0])
def test_pointwise_curves_are_the_formulas(delta: float) -> None:
    data = pointwise_data(delta)
    d = data.residual
    assert {-delta, 0.0, delta} <= set(d.tolist())
    assert d.min() < -2 * delta
    assert d.max() > 2 * delta
    inside = np.abs(d) <= delta
    expected = {
        "mse": (d**2, 2 * d),
        "mae": (np.abs(d), np.sign(d)),
        "huber": (np.where(inside, d**2 / 2, delta * (np.abs(d) - delta / 2)), np.clip(d, -delta, delta)),
    }
    assert data.loss.keys() == data.derivative.keys() == expected.keys()
    for name, (loss, derivative) in expected.items():
        np.testing.assert_allclose(data.loss[name], loss, **DIGITS)
        np.testing.assert_allclose(data.derivative[name], derivative, **DIGITS)


@pytest.mark.parametrize("delta", [0.0, -1.0, np.inf, np.nan, "1"])
def test_a_bad_delta_is_named(delta: object) -> None:
    with pytest.raises(InputError, match=r"^delta: found .*, expected a finite number > 0"):
        pointwise_data(delta)  # type: ignore[arg-type]


@pytest.mark.parametrize("found", [(1.0, 1.0), (2.0, 1.0), (0.0, np.nan), (1.0,), 3.0, ("a", "b"), None])
def test_a_bad_energy_range_is_named(found: object) -> None:
    with pytest.raises(InputError, match=r"^energy_range: found .*, expected "):
        energy_limits(found)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_captions_carry_convention_and_value(reduction: str) -> None:
    result = generic(reduction=reduction, convention="intended")
    for data in (alignment_data(result), masks_data(result), terms_data(result)):
        assert "convention intended" in data.caption
        assert "4 structures" in data.caption
        shown = "not reduced" if reduction == "none" else f"{reduction} {result.value:.5g}"
        assert shown in data.caption


def test_data_are_frozen() -> None:
    result = spectra()
    for data, name in (
        (alignment_data(result), "shift"),
        (masks_data(result), "kind"),
        (terms_data(result), "total"),
        (pointwise_data(), "delta"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(data, name, None)
