"""The pictures of single terms: where the unmasked gradient and the cumulative term act, and what they add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from pictured import generic, spectra

import refloss
from refloss import InputError
from refloss.plotting import cumulative_data, penalty_data, plot_cumulative, plot_penalty
from refloss.plotting.common import part_outside
from refloss.results import AlignedResult

DIGITS = {"rtol": 1e-11, "atol": 1e-13}
"""Sums of some 50 numbers in another order, of differences that lose two digits: 1e4 roundings of 1e-16 at most."""

MASKED_DOS = ("documented", "intended", "metatrain-2026.2", "metatrain-2025.12")
AGNOSTIC = ("intended", "metatrain-2026.3")


def agnostic(convention: str) -> AlignedResult:
    """Return a result whose predictions are moved up and down, and have zeros around them."""
    rng = np.random.default_rng(7)
    predictions = rng.normal(1.0, 1.0, (3, 21))
    targets = np.stack([np.roll(row, move)[:18] for row, move in zip(predictions, (3, 0, -2), strict=True)])
    targets += rng.normal(0.0, 0.1, targets.shape)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    return refloss.shift_agnostic_mse(predictions, targets, convention=convention, grad_penalty_weight=0.3)


def results() -> Iterator[AlignedResult]:
    """Yield results under every convention of both losses, with weights that tell the terms apart."""
    for convention in MASKED_DOS:
        yield generic(structures=12, convention=convention, grad_weight=0.3, int_weight=-1.7)
    for convention in AGNOSTIC:
        yield agnostic(convention)


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_the_contributions_of_the_points_add_up_to_the_term() -> None:
    for result in results():
        for b in range(result.shift.size):
            gradient, cumulative = penalty_data(result, b), cumulative_data(result, b)
            added = result.grad_weight * result.terms.unmasked_gradient[b]
            np.testing.assert_allclose(gradient.step * gradient.contribution.sum(), added, **DIGITS)
            assert (gradient.term, gradient.added) == (result.terms.unmasked_gradient[b], added)
            added = result.int_weight * result.terms.cumulative[b]
            np.testing.assert_allclose(cumulative.step * cumulative.contribution.sum(), added, **DIGITS)
            assert (cumulative.term, cumulative.added) == (result.terms.cumulative[b], added)


def test_the_gradient_acts_where_the_convention_says_and_nowhere_else() -> None:
    for result in results():
        whole = result.convention.gradient_points == "prediction"
        points = result.targets.shape[1]
        for b in range(result.shift.size):
            data, shift = penalty_data(result, b), int(result.shift[b])
            for j, acts in enumerate(data.acts.tolist()):
                i = j - shift  # the target's point that meets it
                inside = 0 <= i < points
                expected = j >= 4 and ((inside and not result.mask[b, i]) or (whole and i >= points))
                assert acts == expected, (result.convention.name, b, j)
                shaded = any(low < data.energy[j] < high for low, high in data.regions)
                assert shaded == expected
                if not acts:
                    assert data.contribution[j] == 0.0
            assert ("behind the window" in data.where) == whole


def test_the_derivative_is_the_backward_difference_of_what_is_drawn() -> None:
    for result in results():
        step = result.energy_step
        over = [c / (12 * step) for c in (3, -16, 36, -48, 25)]
        if result.convention.stencil == "float32":
            # The release's numbers are those of a step of 0.05 eV to seven digits, and act on differences of order 1.
            assert step == 0.05
            over = [float(np.float32(c)) for c in over]
        for b in range(result.shift.size):
            data = penalty_data(result, b)
            padded = [0.0] * result.padding + result.predictions[b].tolist() + [0.0] * result.padding
            assert data.prediction.tolist() == padded
            assert np.isnan(data.derivative[:4]).all()
            for j in range(4, len(padded)):
                slope = sum(c * padded[j - 4 + r] for r, c in enumerate(over))
                tolerance = 1e-5 if result.convention.stencil == "float32" else 1e-11
                assert data.derivative[j] == pytest.approx(slope, rel=tolerance, abs=200 * tolerance)


def test_the_prediction_lies_where_it_was_aligned() -> None:
    for result in (generic(energy_step=0.07), agnostic("intended")):
        for b in range(result.shift.size):
            data, shift = penalty_data(result, b), int(result.shift[b])
            points = result.targets.shape[1]
            window = slice(shift, shift + points)
            np.testing.assert_array_equal(data.prediction[window], result.aligned[b])
            np.testing.assert_allclose(data.energy[window], data.target_energy, rtol=1e-12, atol=1e-12)
            mask = result.mask[b]
            assert data.target[mask].tolist() == result.targets[b][mask].tolist()
            assert np.isnan(data.target[~mask]).all()


@pytest.mark.parametrize(("points", "extra"), [(2, 0), (3, 1), (4, 0), (4, 1), (5, 0), (2, 4)])
@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_few_points_have_a_picture_too(points: int, extra: int, convention: str) -> None:
    rng = np.random.default_rng([points, extra])
    predictions = rng.normal(size=(2, points + extra))
    mask = np.array([[True] * points, [False] * points])
    result = refloss.masked_dos(predictions, rng.normal(size=(2, points)), mask, convention=convention)
    for b in range(2):
        gradient, cumulative = penalty_data(result, b), cumulative_data(result, b)
        np.testing.assert_allclose(gradient.step * gradient.contribution.sum(), gradient.added, **DIGITS)
        np.testing.assert_allclose(cumulative.step * cumulative.contribution.sum(), cumulative.added, **DIGITS)
        for figure in (plot_penalty(result, b), plot_cumulative(result, b)):
            figure.draw_without_rendering()


def test_cumulated_densities_and_their_difference() -> None:
    for result in results():
        power = 2 if result.convention.cumulated == "squares" else 1
        for b in range(result.shift.size):
            data = cumulative_data(result, b)
            t, a = result.targets[b] ** power, result.aligned[b] ** power
            for curve, density in ((data.target, t), (data.aligned, a), (data.difference, a - t)):
                expected = [np.trapezoid(density[: i + 1], dx=result.energy_step) for i in range(t.size)]
                np.testing.assert_allclose(curve, expected, **DIGITS)
            assert data.cumulated_unit == {1: "electrons", 2: "states²/eV"}[power]


def test_the_difference_is_taken_before_the_integral() -> None:
    rng = np.random.default_rng(8)
    targets = np.full((1, 40), 1e9)
    targets[0] += rng.integers(0, 9, 40)
    predictions = targets + rng.integers(0, 2, (1, 40))  # exact; integrals of 1e9 round to 1e-7
    data = cumulative_data(refloss.masked_dos(predictions, targets, np.ones((1, 40), bool), energy_step=0.07))
    expected = [np.trapezoid((predictions - targets)[0, : i + 1], dx=0.07) for i in range(40)]
    np.testing.assert_allclose(data.difference, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("convention", MASKED_DOS)
def test_what_counts_is_the_mask_or_that_of_the_whole_batch(convention: str) -> None:
    result = generic(convention=convention, points=15)
    of_batch = convention.startswith("metatrain")
    for b in range(4):
        data = cumulative_data(result, b)
        expected = result.mask.sum(axis=0) if of_batch else result.mask[b]
        assert data.counts.tolist() == expected.tolist()
        assert data.of_batch == of_batch
        shaded = [any(low < energy < high for low, high in data.ignored) for energy in data.energy]
        assert shaded == (expected == 0).tolist()
        assert (data.contribution[expected == 0] == 0.0).all()
        assert data.contribution[0] == 0.0  # nothing lies before the first point
        text = words(plot_cumulative(result, b))
        if (expected == 0).any():
            assert ("counts in no structure of the batch" in text) == of_batch
            assert ("does not count (masked out)" in text) == (not of_batch)


def test_alone_in_a_batch_the_cumulative_term_of_the_batch_is_nothing() -> None:
    data = cumulative_data(generic(structures=1, convention="metatrain-2026.2"))
    assert data.added == 0.0
    assert not data.contribution.any()
    assert data.difference.any()


def test_a_penalty_has_its_curves_where_the_data_say() -> None:
    result = generic(convention="intended", grad_weight=0.3)
    data = penalty_data(result, 2)
    figure = plot_penalty(result, 2, energy_range=(-100, 100))
    density, derivative, contribution = figure.axes
    drawn = {str(line.get_label()): line for line in (*density.lines, *derivative.lines)}
    np.testing.assert_array_equal(drawn["target, where it counts"].get_ydata(), data.target)
    np.testing.assert_array_equal(drawn["target, where it counts"].get_xdata(), data.target_energy)
    np.testing.assert_array_equal(drawn["prediction, aligned"].get_ydata(), data.prediction)
    np.testing.assert_array_equal(drawn["prediction, aligned"].get_xdata(), data.energy)
    strong = np.asarray(drawn["derivative where it acts"].get_ydata())
    np.testing.assert_array_equal(strong, np.where(data.acts, data.derivative, np.nan))
    # Points that stand alone, which a line leaves out, have a mark.
    alone = [j for j in np.flatnonzero(data.acts) if not data.acts[max(j - 1, 0) : j + 2].sum() > 1]
    assert alone
    assert np.asarray(derivative.lines[-1].get_xdata()).tolist() == data.energy[alone].tolist()
    area(contribution, data.energy, data.contribution, data.step)
    assert f"G = {data.term:.5g} states²/eV³; 0.3 · G adds {data.added:.5g} to the loss" in words(figure)
    for ax in figure.axes:
        shading(ax, data.regions)


def test_a_cumulative_picture_has_its_curves_where_the_data_say() -> None:
    result = generic(int_weight=1.7)
    data = cumulative_data(result, 2)
    figure = plot_cumulative(result, 2, energy_range=(-100, 100))
    curves, difference, contribution = figure.axes
    drawn = {str(line.get_label()): line for line in curves.lines}
    assert np.asarray(drawn["target"].get_ydata()).tolist() == data.target.tolist()
    assert np.asarray(drawn["prediction, aligned"].get_ydata()).tolist() == data.aligned.tolist()
    assert np.asarray(difference.lines[1].get_ydata()).tolist() == data.difference.tolist()
    area(contribution, data.energy, data.contribution, data.step)
    at = max(np.flatnonzero(result.mask[2]), key=lambda i: abs(data.difference[i]))
    mark = difference.lines[-1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (data.energy[at], data.difference[at])
    assert f"{data.difference[at]:+.4g} at {data.energy[at]:.6g} eV".replace("-", "−") in words(figure)
    low, high = difference.get_ylim()
    assert low == -high
    assert abs(data.difference[at]) < high < 1.5 * abs(data.difference[at])
    assert f"1.7 · C adds {data.added:.5g} to the loss" in words(figure)
    for ax in figure.axes:
        shading(ax, data.ignored)


def area(ax: Any, energy: np.ndarray, height: np.ndarray, step: float) -> None:
    """Assert that a bar of the step's breadth stands at each energy."""
    (bars,) = ax.patches
    values, edges, baseline = bars.get_data()
    assert values.tolist() == height.tolist()
    np.testing.assert_allclose((edges[1:] + edges[:-1]) / 2, energy, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.diff(edges), step, rtol=1e-9)  # differences of numbers that are off by 1e-15
    assert baseline == 0.0


def shading(ax: Any, runs: np.ndarray) -> None:
    """Assert that these stretches are shaded and hatched."""
    (shade,) = ax.collections
    drawn = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shade.get_paths()]
    np.testing.assert_allclose(drawn, runs, rtol=1e-12)
    assert shade.get_hatch()


def test_the_mark_is_the_largest_in_view() -> None:
    result = generic()
    data = cumulative_data(result, 2)
    low, high = data.energy[5] - 0.01, data.energy[20] + 0.01
    difference = plot_cumulative(result, 2, energy_range=(low, high)).axes[1]
    inside = [i for i in range(5, 21) if result.mask[2, i]]
    at = max(inside, key=lambda i: abs(data.difference[i]))
    assert difference.lines[-1].get_xdata()[0] == data.energy[at]


def test_a_view_that_leaves_a_part_of_the_contribution_out_says_how_much() -> None:
    result = generic()
    for plot, data in ((plot_penalty, penalty_data(result, 1)), (plot_cumulative, cumulative_data(result, 1))):
        missing = data.left_out(0.3, 0.9)
        inside = (data.energy >= 0.3) & (data.energy <= 0.9)
        assert missing == pytest.approx(1 - data.contribution[inside].sum() / data.contribution.sum())
        assert f"{missing:.0%} of the contribution lies outside" in words(plot(result, 1, energy_range=(0.3, 0.9)))
        assert "lies outside" not in words(plot(result, 1, energy_range=(-100, 100)))
    assert part_outside(np.zeros(3), np.arange(3.0), 5.0, 6.0) == 0.0


@pytest.mark.parametrize("away", [-30.0, 30.0])
def test_the_penalty_is_in_view_where_it_acts_far_from_the_states(away: float) -> None:
    grid = 0.05 * np.arange(-1000, 1000)
    target = np.exp(-((grid / 2) ** 2))
    bump = np.exp(-(((grid - away) / 0.5) ** 2))
    mask = np.abs(grid) < 10
    data = penalty_data(refloss.masked_dos((target + bump)[None], target[None], mask[None], energy_grid=grid))
    ends = sorted(np.abs(data.view))
    # The states end where the Gaussian of 2 eV is a thousandth, at 5.3 eV, with 1 eV of margin; the squared slope of
    # the bump some 1.1 eV from its middle, with as much.
    assert 6.0 < ends[0] < 7.0
    assert 31.9 < ends[1] < 32.9
    assert data.left_out(*data.view) < 0.01


@pytest.mark.parametrize("plot", [plot_penalty, plot_cumulative])
def test_what_is_not_there_is_said(plot: Callable[..., Figure]) -> None:
    rng = np.random.default_rng(9)
    density = rng.random((2, 30))
    nothing = refloss.masked_dos(density, density[:, :25], np.arange(2)[:, None] != np.ones(25))
    empty, full = words(plot(nothing, 1)), words(plot(nothing, 0))
    if plot is plot_cumulative:
        assert "no valid data: the mask of this structure is empty" in empty
        assert "no valid data" not in full
    else:
        assert "the term acts nowhere: every point counts" in full
        assert "acts nowhere" not in empty
    outside = words(plot(spectra(), energy_range=(50, 60)))
    assert " lies from 50 to 60 eV" in outside
    for b in (-1, 2, True, 1.0, "1"):
        with pytest.raises(InputError, match=r"^b: found .*, expected an integer from 0 to 1"):
            plot(nothing, b)
    with pytest.raises(InputError, match=r"^energy_range: found"):
        plot(nothing, 0, energy_range=(2, 1))


@pytest.mark.parametrize("plot", [plot_penalty, plot_cumulative])
def test_a_weight_of_nothing_adds_nothing(plot: Callable[..., Figure]) -> None:
    figure = plot(generic(grad_weight=0.0, int_weight=0.0), 1)
    assert "adds 0 to the loss" in words(figure)
    figure.draw_without_rendering()


@pytest.mark.parametrize("plot", [plot_penalty, plot_cumulative])
@pytest.mark.parametrize("targets", [np.nan, 0.0])
def test_a_target_without_states_is_drawn(plot: Callable[..., Figure], targets: float) -> None:
    predictions = np.random.default_rng(10).normal(size=(1, 9))
    result = refloss.shift_agnostic_mse(predictions, np.full((1, 12), targets))
    figure = plot(result)
    figure.draw_without_rendering()
    assert "structure 0: loss" in words(figure)


def test_units_follow_the_loss() -> None:
    assert penalty_data(generic()).unit == cumulative_data(generic()).unit == "states²/eV"
    assert penalty_data(agnostic("intended")).unit == cumulative_data(agnostic("intended")).unit == "states²/eV²"
    squares = cumulative_data(generic(convention="metatrain-2025.12"))
    assert squares.term_unit == "states⁴/eV"
    assert "cumulated DOS²\n(states²/eV)" in words(plot_cumulative(generic(convention="metatrain-2025.12")))
