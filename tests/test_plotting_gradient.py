"""`plot_gradient`: the pushes against differences of the loss, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from pictured import generic, spectra

import refloss
from refloss import Convention, InputError
from refloss.plotting import gradient_data, plot_gradient
from refloss.results import AlignedResult

OWN = Convention("own", "total", True, "window", "exact", "structure", "squares")
WEIGHTS: dict[str, Any] = {"grad_weight": 0.01, "int_weight": 1.7, "grad": True}


def agnostic() -> AlignedResult:
    rng = np.random.default_rng(8)
    predictions, targets = rng.normal(1.0, 1.0, (3, 12)), rng.normal(1.0, 1.0, (3, 9))
    return refloss.shift_agnostic_mse(predictions, targets, grad_penalty_weight=0.02, energy_step=0.07, grad=True)


def words(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_push_is_the_negative_gradient_of_the_value(reduction: str) -> None:
    result = generic(reduction=reduction, **WEIGHTS)
    for b in range(4):
        data = gradient_data(result, b)
        assert data.push.tolist() == (-result.grad[b]).tolist()
        assert len(data.prediction_energy) == 47
        # Where the alignment puts the prediction: its point `shift` on the target's first.
        np.testing.assert_allclose(data.prediction_energy[data.shift : data.shift + 40], data.energy, atol=1e-13)


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", "metatrain-2025.12", OWN])
def test_parts_are_the_slopes_of_the_weighted_terms(convention: Any) -> None:
    """By central differences at the same shift, which for polynomials of second degree in one point are exact."""
    import dataclasses

    from refloss.engine import at_shift

    result = generic(structures=3, points=14, extra=6, convention=convention, **WEIGHTS)
    b, step = 1, 0.25
    data = gradient_data(result, b)
    total = np.sum(list(data.parts.values()), axis=0)
    size = float(np.abs(list(data.parts.values())).max())
    np.testing.assert_allclose(total, data.push, rtol=0, atol=1e-14 * size)  # differences, rounded one by one
    for point in range(20):
        values = []
        for sign in (1, -1):
            predictions = result.predictions.copy()
            predictions[b, point] += sign * step
            moved = at_shift(dataclasses.replace(result, predictions=predictions), result.shift)
            terms, front = moved.terms, result.convention.front_tail
            values.append(
                np.array(
                    [
                        np.mean(terms.dos + front * terms.front_tail),
                        0.01 * np.mean(terms.unmasked_gradient),
                        1.7 * np.mean(terms.cumulative),
                    ]
                )
            )
        slopes = (values[0] - values[1]) / (2 * step)
        if result.convention.cumulated == "squares":
            slopes[2] = -list(data.parts.values())[2][point]  # of fourth degree: it is in the sum
        found = [-part[point] for part in data.parts.values()]
        # Terms of order 10, rounded; over the step that is some 1e-14.
        np.testing.assert_allclose(found, slopes, rtol=1e-9, atol=1e-12 * max(size, 1.0))


def test_what_has_no_weight_has_no_part() -> None:
    full, none = (gradient_data(generic(grad=True, grad_weight=0.0, int_weight=weight), 1) for weight in (1.7, 0.0))
    *_, smooth, cumulated = full.parts.values()
    assert not smooth.any()
    assert cumulated.any()
    density, *others = none.parts.values()
    assert not any(part.any() for part in others)
    size = float(np.abs(density).max())
    np.testing.assert_allclose(density, none.push, rtol=0, atol=1e-11 * size)  # G of weight 1 is some 1000 times D


def test_a_step_along_the_push_lowers_the_value() -> None:
    result = spectra(convention="intended", grad=True)
    push = np.stack([gradient_data(result, b).push for b in range(6)])
    predictions = result.predictions + 1e-3 * push
    other = refloss.masked_dos(
        predictions, result.targets, result.mask, energy_grid=result.energy_grid, convention="intended"
    )
    assert other.value < result.value


def test_between_zeros_the_prediction_lies_where_it_was_aligned_to() -> None:
    result = agnostic()
    for b in range(3):
        data = gradient_data(result, b)
        first = 12 - int(result.shift[b])  # the target's point that meets the prediction's first
        expected = [0.07 * (first + j) for j in range(12)]
        np.testing.assert_allclose(data.prediction_energy, expected, rtol=0, atol=1e-14)
        assert data.unit == "states/eV"
        assert plot_gradient(result, b).axes


def test_curves_are_drawn_as_the_data_say() -> None:
    result = spectra(**WEIGHTS)
    data = gradient_data(result, 2)
    figure = plot_gradient(result, 2, energy_range=(-100, 100))
    density, push, parts = figure.axes
    target, prediction = (np.asarray(line.get_ydata()).tolist() for line in density.lines)
    assert (target, prediction) == (data.target.tolist(), data.prediction.tolist())
    drawn = [np.asarray(line.get_ydata()).tolist() for line in (*push.lines, *parts.lines)]
    assert data.push.tolist() in drawn
    for part in data.parts.values():
        assert part.tolist() in drawn
    assert len({line.get_linestyle() for line in parts.lines[1:]}) == 3  # without colours too
    raised, lowered = (c for c in push.collections if str(c.get_label()).startswith("training"))
    assert raised.get_paths()[0].vertices[:, 1].min() == 0 < raised.get_paths()[0].vertices[:, 1].max()
    assert lowered.get_paths()[0].vertices[:, 1].max() == 0 > lowered.get_paths()[0].vertices[:, 1].min()
    assert push.get_ylim() == parts.get_ylim()
    strongest = int(np.abs(data.push).argmax())
    assert f"{data.prediction_energy[strongest]:.6g} eV" in words(figure)
    assert "convention documented" in words(figure)
    assert plot_gradient(result, 2).axes[0].get_xlim() == data.support


def test_a_result_without_a_gradient_is_told_so() -> None:
    with pytest.raises(InputError, match=r"^result: found no gradient, expected .*grad=True"):
        plot_gradient(generic())


@pytest.mark.parametrize("b", [-1, 4, True])
def test_what_is_not_there_is_named(b: Any) -> None:
    with pytest.raises(InputError, match=r"^b: found .*, expected an integer from 0 to 3"):
        plot_gradient(generic(grad=True), b)
    with pytest.raises(InputError, match=r"^energy_range: found"):
        plot_gradient(generic(grad=True), energy_range=(2.0, 1.0))


def test_nothing_to_push_and_nothing_to_see() -> None:
    perfect = np.ones((1, 20))
    result = refloss.masked_dos(perfect, perfect, np.ones((1, 20), bool), grad=True)
    assert "the gradient is 0 everywhere" in words(plot_gradient(result))
    empty = plot_gradient(spectra(structures=2, masked_out=1, grad=True), 1)
    assert "no valid data" in words(empty)
    assert "no point lies from 700 to 800 eV" in words(plot_gradient(result, energy_range=(700, 800)))
