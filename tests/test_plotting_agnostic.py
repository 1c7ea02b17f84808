"""The pictures of shift_agnostic_mse: where the prediction lies, which shift moves nothing, what the units are."""

from __future__ import annotations

import re

import numpy as np
import pytest

import refloss
from refloss.plotting import alignment_data, masks_data, plot_alignment, plot_masks, plot_terms, terms_data
from refloss.plotting.masks import COUNTS, MASKED_OUT, NOTHING, OUTSIDE
from refloss.results import AlignedResult

STEP = 0.07


def pictured(width: int, points: int, **options: object) -> AlignedResult:
    """Return a result on random numbers: moved up and down, not moved, and off the target."""
    rng = np.random.default_rng([width, points])
    predictions = rng.uniform(0.5, 2.0, (4, width))
    # A target of more than 2 P points never begins where the prediction does.
    shifts = [width - 2, width, width + 1, 0] if points <= 2 * width - 1 else [1, 2, 3, 0]
    predictions[2, 0] = 0.0  # no front tail
    padded = np.pad(predictions, ((0, 0), (width, width)))
    targets = np.stack([row[s : s + points] for row, s in zip(padded, shifts, strict=True)])
    predictions[3] += 9.0
    targets[:3] += rng.normal(scale=0.01, size=(3, points))
    targets[[0, 2], [1, 0]] = np.nan
    result = refloss.shift_agnostic_mse(predictions, targets, energy_step=STEP, **options)
    assert result.shift[:3].tolist() == shifts[:3]
    return result


def words(figure: object) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


SIZES = [(9, 7), (7, 9), (6, 6), (5, 12)]


@pytest.mark.parametrize(("width", "points"), SIZES)
def test_the_unaligned_prediction_begins_where_the_target_does(width: int, points: int) -> None:
    result = pictured(width, points)
    if points <= 2 * width - 1:
        assert (width - result.shift[:3]).tolist() == [2, 0, -1]
    for b, moved in enumerate((width - result.shift[:3]).tolist()):
        data = alignment_data(result, b)
        assert (data.rest, data.padding, data.moved, data.in_padding) == (width, width, moved, False)
        # Multiples of the step, rounded once or twice.
        np.testing.assert_allclose(data.prediction_energy, [STEP * j for j in range(width)], rtol=1e-14, atol=0)
        np.testing.assert_allclose(data.energy, [STEP * i for i in range(points)], rtol=1e-14, atol=0)
        assert np.array_equal(data.prediction, result.predictions[b])
        # Moved up by as many points as the data say, it is the aligned one; beyond its ends there is nothing.
        there = {
            round(energy / STEP) + moved: height
            for energy, height in zip(data.prediction_energy, data.prediction, strict=True)
        }
        assert data.aligned.tolist() == [there.get(i, 0.0) for i in range(points)]


def test_a_grid_reaches_as_far_as_the_prediction() -> None:
    grid = -12.3 + STEP * np.arange(5)
    rng = np.random.default_rng(1)
    result = refloss.shift_agnostic_mse(rng.normal(size=(1, 8)), rng.normal(size=(1, 5)), energy_grid=grid)
    energy = alignment_data(result).prediction_energy
    assert energy[:5].tolist() == grid.tolist()
    # The step of the grid is off by roundings of its ends, 12.3 · 1e-16.
    np.testing.assert_allclose(energy, [-12.3 + STEP * j for j in range(8)], rtol=1e-14, atol=0)


@pytest.mark.parametrize(("width", "points"), SIZES)
def test_masks_show_where_each_prediction_lies(width: int, points: int) -> None:
    result = pictured(width, points)
    data = masks_data(result)
    assert data.shifts == 3 * width - points + 1
    column = np.arange(data.kind.shape[1]) - data.extra
    np.testing.assert_allclose(data.energy, STEP * column, rtol=1e-13, atol=0)
    for b, shift in enumerate(result.shift.tolist()):
        for i, kind in zip(column.tolist(), data.kind[b].tolist(), strict=True):
            predicted = width <= shift + i < 2 * width  # what the target's point i would meet
            if 0 <= i < points:
                assert kind == (COUNTS if result.mask[b, i] else MASKED_OUT)
            else:
                assert kind == (OUTSIDE if predicted else NOTHING)
        first, last = np.round(data.windows[b] / STEP).astype(int).tolist()
        assert (first + shift, last + shift) == (width, 2 * width - 1)


def test_every_point_of_a_prediction_at_either_end_is_in_the_picture() -> None:
    for width, points in SIZES:
        predictions = np.ones((1, width))
        for shift in (0, 3 * width - points):
            result = refloss.shift_agnostic_mse(predictions, np.ones((1, points)))
            object.__setattr__(result, "shift", np.array([shift]))
            data = masks_data(result)
            column = np.arange(data.kind.shape[1]) - data.extra
            assert {width - shift, 2 * width - 1 - shift} <= set(column.tolist())


def test_the_titles_and_labels_say_which_way_and_from_where() -> None:
    result = pictured(9, 7)
    for b, phrase in enumerate(
        (
            "moves the prediction up by 2 points (0.14 eV)",
            "leaves the prediction where it lies",
            "moves the prediction down by 1 point (0.07 eV)",
            "off the target",
        )
    ):
        text = words(plot_alignment(result, b))
        assert phrase in text
        assert ("off the target" in text) == (b == 3)
        assert f"shift {result.shift[b]} points" in text
        assert "prediction, unaligned (shift 9)" in text
        assert "shift (points; 9 moves nothing)" in text
        assert "objective D + F (states²/eV²)" in text
    assert result.in_padding.tolist() == [False, False, False, True]


def test_units_have_no_energy_step_in_them() -> None:
    result = pictured(9, 7)
    assert terms_data(result).unit == "states²/eV²"
    assert "(states²/eV²)" in plot_terms(result).axes[0].get_ylabel()
    rng = np.random.default_rng(2)
    integral = refloss.masked_dos(rng.normal(size=(1, 9)), rng.normal(size=(1, 7)), np.ones((1, 7), bool))
    assert terms_data(integral).unit == "states²/eV"
    assert "(states²/eV)" in alignment_data(integral).objective_label
    assert "moves nothing" not in words(plot_alignment(integral))


@pytest.mark.parametrize("convention", ["intended", "metatrain-2026.3"])
def test_nothing_to_see_is_drawn_too(convention: str) -> None:
    rng = np.random.default_rng(3)
    for predictions, targets in [
        (rng.normal(size=(3, 5)), np.full((3, 6), np.nan)),
        (np.zeros((1, 5)), rng.normal(size=(1, 6))),
        (np.zeros((2, 4)), np.zeros((2, 3))),
        (rng.normal(size=(1, 3)), rng.normal(size=(1, 9))),
    ]:
        result = refloss.shift_agnostic_mse(predictions, targets, convention=convention)
        for draw in (plot_alignment, plot_masks, plot_terms):
            assert re.search(convention, words(draw(result)))


def test_the_panel_of_the_shifts_reaches_them_all() -> None:
    result = pictured(9, 7)
    low, high = plot_masks(result).axes[1].get_xlim()
    assert low < 0
    assert high > result.shifts - 1
