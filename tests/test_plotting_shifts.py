"""The pictures of a batch's alignment: the histogram of shifts, and every structure's objective as a heat map."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from pictured import generic, spectra

import refloss
from refloss.plotting import landscapes_data, plot_landscapes, plot_shifts, shifts_data
from refloss.plotting.shifts import AT_AN_END, CLEAR, NOTHING_COUNTS, OFF_TARGET, TIED
from refloss.results import AlignedResult


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def shifted(shift: list[int], shifts: int) -> AlignedResult:
    """Return a result of `shifts` possible shifts, said to have chosen these."""
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(len(shift), 4 + shifts))
    result = refloss.masked_dos(predictions, predictions[:, :5], np.ones((len(shift), 5), bool), energy_step=0.07)
    assert result.shifts == shifts
    return dataclasses.replace(result, shift=np.array(shift), tied=np.zeros(len(shift), bool))


def doubtful() -> AlignedResult:
    """Return one clear shift, one at either end, one tied (at an end, too), and one of an empty mask."""
    rng = np.random.default_rng(1)
    predictions, targets = rng.normal(size=(5, 30)), np.empty((5, 21))
    for b, s in enumerate((3, 0, 9)):
        targets[b] = predictions[b, s : s + 21]
    predictions[3], targets[3] = 1.0, 1.0
    mask = np.ones((5, 21), bool)
    targets[4], mask[4] = predictions[4, :21], False
    return refloss.masked_dos(predictions, targets, mask, energy_step=0.07)


def test_doubtful_shifts_are_told_from_clear_ones() -> None:
    result = doubtful()
    assert result.shift.tolist() == [3, 0, 9, 0, 0]
    data = shifts_data(result)
    assert data.kind.tolist() == [CLEAR, AT_AN_END, AT_AN_END, TIED, NOTHING_COUNTS]
    assert data.counts.sum(axis=1).tolist() == [1, 2, 1, 0, 1]
    assert data.counts[:, 0].tolist() == [0, 1, 1, 0, 1]
    text = words(plot_shifts(result))
    for label in ("inside the range: 1", "at an end of the range: 2", "tied with another: 1", "empty mask: 1"):
        assert label in text
    assert "off the target" not in text


def test_a_target_beside_the_prediction_is_told_too() -> None:
    rng = np.random.default_rng(2)
    predictions, targets = rng.uniform(0.5, 2.0, (2, 9)), np.empty((2, 7))
    targets[0] = predictions[0, 1:8]
    targets[1] = 0.001
    result = refloss.shift_agnostic_mse(predictions, targets)
    assert result.in_padding.tolist() == [False, True]
    assert shifts_data(result).kind.tolist() == [CLEAR, OFF_TARGET]
    assert "off the target: 1" in words(plot_shifts(result))


@given(shifts=st.integers(1, 3000), chosen=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_every_structure_is_in_the_bar_of_its_shift(shifts: int, chosen: list[float]) -> None:
    shift = [round(part * (shifts - 1)) for part in chosen]
    data = shifts_data(shifted(shift, shifts))
    centres = np.array(shift) * 0.07
    expected = np.zeros(data.edges.size - 1, dtype=int)
    for centre in centres:
        (found,) = np.flatnonzero((data.edges[:-1] < centre) & (centre < data.edges[1:]))
        expected[found] += 1
    assert data.counts.sum(axis=0).tolist() == expected.tolist()
    # Bars are a whole number of shifts broad, all the same, and few enough to be seen.
    points = np.diff(data.edges) / 0.07
    width = round(points[0])
    assert width in {1, 2, 5, 10, 20, 50, 100, 200}
    np.testing.assert_allclose(points, width, rtol=1e-9)  # differences of numbers up to 210 that are off by 1e-14
    assert data.edges.size - 1 <= 51
    # They stand at multiples of it, wherever the view begins: pictures of two batches can be compared.
    assert round(data.edges[0] / 0.07 + 0.5) % width == 0
    assert (data.view[0], data.view[1]) == (data.edges[0], data.edges[-1])
    assert data.ends.tolist() == [0.0, (shifts - 1) * 0.07]
    if shifts <= 400:
        assert data.view[0] < 0.0
        assert data.view[1] > (shifts - 1) * 0.07


def test_of_thousands_of_shifts_the_chosen_ones_are_in_view_and_the_rest_is_told() -> None:
    result = shifted([1500, 1510, 1530], 3000)
    data = shifts_data(result)
    assert data.view[1] - data.view[0] < 0.07 * 450
    figure = plot_shifts(result)
    (ax,) = figure.axes
    assert "possible are 0 to 209.93 eV" in words(figure)
    assert "209.93 eV moves nothing" in ax.get_xlabel()
    assert "possible shift" not in words(figure).replace("possible shifts", "")  # neither end is in view
    assert not ax.lines
    # What is far apart is shown whole.
    assert shifts_data(shifted([10, 2900], 3000)).view[0] < 0 < 209.93 < shifts_data(shifted([10, 2900], 3000)).view[1]


def test_bars_and_ends_are_where_the_data_say() -> None:
    result = spectra(structures=25, masked_out=3)
    data = shifts_data(result)
    figure = plot_shifts(result)
    (ax,) = figure.axes
    kinds = [kind for kind in range(5) if data.counts[kind].any()]
    assert kinds == [CLEAR, AT_AN_END, NOTHING_COUNTS]
    below = np.zeros(data.counts.shape[1])
    for kind, bars in zip(kinds, ax.containers, strict=True):
        there = data.counts[kind] > 0
        assert [bar.get_height() for bar in bars] == data.counts[kind][there].tolist()
        assert [bar.get_y() for bar in bars] == below[there].tolist()
        np.testing.assert_allclose([bar.get_x() for bar in bars], data.edges[:-1][there], rtol=1e-12)
        below = below + data.counts[kind]
    assert len({bars[0].get_hatch() for bars in ax.containers}) == 3  # without colours too
    assert [line.get_xdata()[0] for line in ax.lines] == pytest.approx([0.0, 30 * 0.05])
    low, high = ax.get_xlim()
    assert low < 0
    assert high > 30 * 0.05
    (points,) = ax.child_axes
    assert points.get_xlabel() == "shift (points)"
    figure.draw_without_rendering()  # which brings the upper axis up to date
    points_low, points_high = points.get_xlim()
    assert (points_low * 0.05, points_high * 0.05) == pytest.approx((low, high))


def test_the_shift_that_moves_nothing_is_marked_where_it_is_no_end() -> None:
    rng = np.random.default_rng(3)
    result = refloss.shift_agnostic_mse(rng.normal(size=(3, 12)), rng.normal(size=(3, 10)), energy_step=0.07)
    data = shifts_data(result)
    assert data.rest == pytest.approx(12 * 0.07)
    figure = plot_shifts(result)
    assert 12 * 0.07 in [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert "moves nothing" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "moves nothing" not in [text.get_text() for text in plot_shifts(spectra()).legends[0].get_texts()]


@pytest.mark.parametrize("draw", [plot_shifts, plot_landscapes])
def test_nothing_that_counts_is_said(draw: Any) -> None:
    rng = np.random.default_rng(4)
    density = rng.random((3, 30))
    aligned = refloss.masked_dos(density, density[:, :25], np.zeros((3, 25), bool))
    agnostic = refloss.shift_agnostic_mse(density, np.full((3, 25), np.nan))
    for result in (aligned, agnostic):
        figure = draw(result)
        assert "no valid data: every mask is empty" in words(figure)
        figure.draw_without_rendering()
    assert "no valid data" not in words(draw(spectra(masked_out=1)))


@pytest.mark.parametrize("draw", [plot_shifts, plot_landscapes])
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_one_structure_is_drawn(draw: Any, extra: int) -> None:
    result = generic(structures=1, extra=extra)
    figure = draw(result)
    figure.draw_without_rendering()
    assert "1 structure:" in words(figure)
    if draw is plot_shifts:
        assert ("there is only one shift" in words(figure)) == (extra == 0)


def test_a_landscape_is_relative_to_the_best_of_its_structure() -> None:
    result = generic(structures=6, convention="intended")
    data = landscapes_data(result)
    landscape = result.landscape()
    assert sorted(data.order.tolist()) == list(range(6))
    assert data.shift.tolist() == sorted(result.shift.tolist())
    for row, b in enumerate(data.order.tolist()):
        assert data.shift[row] == result.shift[b]
        assert data.best[row] == landscape[b].min() == landscape[b, result.shift[b]]
        np.testing.assert_array_equal(data.relative[row], landscape[b] / landscape[b].min())
    assert (data.relative.min(axis=1) == 1.0).all()
    assert data.view == (0, 7)
    assert data.objective_label == "objective D + F"


def test_equal_shifts_keep_the_order_of_the_batch() -> None:
    two = generic(structures=2)
    assert two.shift[0] < two.shift[1]
    many = refloss.masked_dos(*(np.tile(array, (60, 1)) for array in (two.predictions, two.targets, two.mask)))
    assert landscapes_data(many).order.tolist() == [*range(0, 120, 2), *range(1, 120, 2)]


def test_an_exact_fit_has_a_scale_and_what_is_constant_too() -> None:
    rng = np.random.default_rng(5)
    predictions = rng.normal(size=(3, 30))
    targets, mask = predictions[:, 4:25].copy(), np.ones((3, 21), bool)
    targets[1] += 0.1 * rng.normal(size=21)
    mask[2] = False
    result = refloss.masked_dos(predictions, targets, mask)
    data = landscapes_data(result)
    rows = {int(b): row for row, b in enumerate(data.order)}
    landscape = result.landscape()
    assert landscape[0].min() == 0.0
    exact = data.relative[rows[0]]
    np.testing.assert_allclose(exact, landscape[0] / (1e-6 * landscape[0].max()), rtol=1e-12)  # three roundings
    assert exact.max() == pytest.approx(1e6, rel=1e-12)
    assert data.relative[rows[1]].min() == 1.0
    assert data.relative[rows[2]].tolist() == [1.0] * 10  # every shift is as good: all are the best


def test_a_negative_best_has_no_scale_and_that_is_said() -> None:
    total = dataclasses.replace(refloss.conventions.MASKED_DOS["intended"], name="by the total", objective="total")
    result = generic(structures=4, convention=total, grad_weight=-1.0)
    assert (result.landscape() < 0).all()
    data = landscapes_data(result)
    assert np.isnan(data.relative).all()
    figure = plot_landscapes(result)
    assert "no scale where the best is negative: 4 structures are left grey" in words(figure)
    figure.draw_without_rendering()
    assert "left grey" not in words(plot_landscapes(generic()))


def test_an_objective_that_overflows_is_above_the_scale() -> None:
    result = generic(structures=2)
    landscape = result.landscape()
    landscape[0, (result.shift[0] + 1) % 8] = np.inf
    data = landscapes_data(dataclasses.replace(result, _landscape=lambda: landscape))
    (row,) = np.flatnonzero(data.order == 0)
    assert np.isinf(data.relative[row]).sum() == 1
    assert np.isfinite(data.highest)
    drawn = plot_landscapes(dataclasses.replace(result, _landscape=lambda: landscape)).axes[0].images[0].get_array()
    assert drawn is not None
    assert drawn.max() == data.highest
    assert not np.ma.getmaskarray(drawn).any()


def test_the_heat_map_and_its_line_are_where_the_data_say() -> None:
    result = spectra(structures=9)
    data = landscapes_data(result)
    figure = plot_landscapes(result)
    heat, best, bar = figure.axes
    (image,) = heat.images
    np.testing.assert_array_equal(image.get_array(), np.minimum(data.relative, data.highest))
    assert image.get_extent() == [-0.5, 30.5, 8.5, -0.5]
    assert (image.norm.vmin, image.norm.vmax) == (1.0, data.highest)
    assert data.highest >= 10.0  # a decade at least
    (line,) = heat.lines
    assert np.asarray(line.get_xdata()).reshape(9, 2).tolist() == [[s, s] for s in data.shift]
    assert np.asarray(line.get_ydata()).reshape(9, 2).tolist() == [[row - 0.5, row + 0.5] for row in range(9)]
    assert [label.get_text() for label in heat.get_yticklabels()] == [str(b) for b in data.order]
    (dots,) = best.lines
    assert np.asarray(dots.get_xdata()).tolist() == data.best.tolist()
    assert np.asarray(dots.get_ydata()).tolist() == list(range(9))
    assert "objective D ÷ the best of its structure\n(pure number, logarithmic)" in bar.get_ylabel()
    assert "(states²/eV)" in best.get_xlabel()


def test_a_best_of_nothing_stands_beside_a_logarithmic_axis() -> None:
    rng = np.random.default_rng(11)
    predictions = rng.normal(size=(4, 30))
    targets = predictions[:, 3:24] + np.array([0.0, 0.01, 0.1, 1.0])[:, None] * rng.normal(size=(4, 21))
    result = refloss.masked_dos(predictions, targets, np.ones((4, 21), bool))
    data, figure = landscapes_data(result), plot_landscapes(result)
    best = figure.axes[1]
    assert best.get_xscale() == "log"
    there, beside = best.lines
    assert np.asarray(there.get_xdata()).tolist() == [value for value in data.best if value > 0]
    (row,) = np.flatnonzero(data.best == 0)
    assert np.asarray(beside.get_ydata()).tolist() == [row]
    assert 0 < np.asarray(beside.get_xdata())[0] < np.asarray(there.get_xdata()).min()
    assert "best is 0" in words(figure)
    assert "best is 0" not in words(plot_landscapes(spectra()))


def test_of_many_structures_some_are_named_by_their_number() -> None:
    result = generic(structures=100, points=9)
    heat = plot_landscapes(result).axes[0]
    order = landscapes_data(result).order
    rows = heat.get_yticks()
    assert 10 < len(rows) <= 30
    assert [label.get_text() for label in heat.get_yticklabels()] == [str(order[int(row)]) for row in rows]


def test_thousands_of_shifts_are_drawn_around_the_chosen_ones() -> None:
    rng = np.random.default_rng(6)
    predictions = np.exp(-(((np.arange(600) - 300) / 20) ** 2)) * rng.uniform(0.5, 1, (3, 1))
    result = refloss.shift_agnostic_mse(predictions, np.roll(predictions, 5, axis=1)[:, 50:550])
    data = landscapes_data(result)
    first, last = data.view
    assert result.shifts == 1301
    assert last - first == 400
    assert (first < data.shift).all()
    assert (data.shift < last).all()
    (image,) = plot_landscapes(result).axes[0].images
    assert image.get_array().shape == (3, 401)
    assert image.get_extent()[:2] == [first - 0.5, last + 0.5]
    assert "600 moves nothing" in words(plot_landscapes(result))
