"""`plot_conventions`: each row against an evaluation of its own, and the strips against the specification's sums."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from pictured import generic, spectra

import refloss
from refloss import Convention, InputError
from refloss.aligned import under
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC
from refloss.plotting import conventions_data, plot_conventions
from refloss.plotting.conventions import ConventionRow
from refloss.results import AlignedResult

OWN = Convention("own", "total", True, "window", "exact", "structure", "squares")


def agnostic(**options: Any) -> AlignedResult:
    rng = np.random.default_rng(8)
    predictions, targets = rng.normal(1.0, 1.0, (3, 12)), rng.normal(1.0, 1.0, (3, 9))
    targets[0, 2] = np.nan
    return refloss.shift_agnostic_mse(predictions, targets, grad_penalty_weight=0.02, int_weight=1.3, **options)


def words(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("convention", [*MASKED_DOS, OWN])
def test_under_another_convention_all_else_is_equal(convention: Any, grad: bool) -> None:
    inputs: dict[str, Any] = {"grad_weight": 0.02, "int_weight": 1.3, "reduction": "mean"}
    grid = -12.3 + 0.05 * np.arange(40)
    for axis in ({}, {"energy_grid": grid}):
        found = under(generic(grad=grad, **inputs, **axis), convention)
        expected = generic(convention=convention, grad=grad, **inputs, **axis)
        assert found.to_dict() == expected.to_dict()
        assert (found.grad is None) == (not grad)
        if grad:
            np.testing.assert_array_equal(found.grad, expected.grad)
        assert (found.energy_grid is None) == (not axis)


def test_under_another_convention_targets_that_were_nan_are_nan() -> None:
    found, expected = under(agnostic(), "metatrain-2026.3"), agnostic(convention="metatrain-2026.3")
    assert found.to_dict() == expected.to_dict()
    np.testing.assert_array_equal(found.mask, expected.mask)


def test_a_row_is_the_structure_evaluated_under_its_convention() -> None:
    result = generic(grad_weight=0.02)
    for b in range(4):
        data = conventions_data(result, b)
        assert [row.name for row in data.rows] == list(MASKED_DOS)
        for row in data.rows:
            alone = generic(grad_weight=0.02, convention=row.name)
            assert (row.reason, row.loss, row.shift) == (None, alone.per_structure[b], alone.shift[b])
            # Four terms, rounded one by one.
            assert sum(row.contributions.values()) == pytest.approx(row.loss, rel=1e-14)
            letters = [label.partition(":")[0][-1] for label in row.contributions]
            assert letters == list(row.acts) == [*("DFGC" if row.name != "documented" else "DGC")]
            # The prediction's points lie on the target's where it was aligned to.
            there = np.searchsorted(row.prediction_energy, data.energy - 0.025)
            assert there.tolist() == list(range(row.shift, row.shift + 40))


def test_the_result_s_own_convention_comes_first_and_once() -> None:
    result = generic(convention="metatrain-2026.2")
    names = [row.name for row in conventions_data(result).rows]
    assert names == ["metatrain-2026.2", "documented", "intended", "metatrain-2025.12"]
    chosen = conventions_data(result, conventions=["intended", OWN]).rows
    assert [row.name for row in chosen] == ["metatrain-2026.2", "intended", "own"]
    assert [row.name for row in conventions_data(agnostic()).rows] == list(SHIFT_AGNOSTIC)


def looked_at(result: AlignedResult, b: int, row: ConventionRow) -> dict[str, set[int]]:
    """Return the points of the padded prediction inside the strips of each term."""
    width = result.predictions.shape[1] + 2 * result.padding
    energy = [result.energy_step * (point - int(result.shift[b])) for point in range(width)]
    return {
        name: {point for point, e in enumerate(energy) if any(low < e < high for low, high in stretches)}
        for name, stretches in row.acts.items()
    }


CONVENTIONS = [*MASKED_DOS, OWN]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_term_changes_where_its_strip_is_and_only_there(convention: Any) -> None:
    """Against the loss itself: each point of a prediction is changed, and the terms at the same shift are compared."""
    from refloss.engine import at_shift

    result = generic(structures=3, points=14, extra=6, convention=convention)
    for b in range(3):
        strips = looked_at(result, b, conventions_data(result, b).rows[0])
        shift = int(result.shift[b])
        changed: dict[str, set[int]] = {name: set() for name in strips}
        for point in range(20):
            predictions = result.predictions.copy()
            predictions[b, point] += 0.37
            moved = at_shift(dataclasses.replace(result, predictions=predictions), result.shift)
            for name, which in (("D", "dos"), ("F", "front_tail"), ("G", "unmasked_gradient"), ("C", "cumulative")):
                before, after = getattr(result.terms, which)[b], getattr(moved.terms, which)[b]
                if name in strips and before != after:
                    changed[name].add(point)
        assert changed["D"] == strips["D"]
        assert changed.get("F") == strips.get("F")
        # A slope is made of its point and the four below it; what accumulates, of all below it in the window.
        assert changed["G"] == {point - k for point in strips["G"] for k in range(5)}
        assert changed["C"] == set(range(shift, max(strips["C"]) + 1))


def test_the_strips_between_zeros() -> None:
    result = agnostic()
    assert (result.shift > 0).any()
    for b in range(3):
        strips = looked_at(result, b, conventions_data(result, b).rows[0])
        shift = int(result.shift[b])
        window = {shift + i for i in range(9) if result.mask[b, i]}
        assert strips["D"] == window
        assert strips["F"] == set(range(shift))
        assert strips["G"] == {j for j in range(4, 36) if j >= shift and j not in window}
        assert strips["C"] == window - {shift}


def test_a_cumulative_over_the_batch_is_nothing_for_one_structure() -> None:
    result = generic(structures=1, convention="metatrain-2026.2")
    row = conventions_data(result).rows[0]
    assert result.terms.cumulative.tolist() == [0.0]
    assert row.acts["C"].shape == (0, 2)
    assert "C 0 for one structure" in row.summary
    mixed = generic(convention="metatrain-2025.12")
    assert "C of squares, mixed over the 4 structures" in words(plot_conventions(mixed, 2))
    for convention in MASKED_DOS:
        assert convention in words(plot_conventions(result))


def test_what_a_convention_does_not_take_is_told_in_its_row() -> None:
    figure = plot_conventions(generic(energy_step=0.07), 1)
    assert words(figure).count("does not apply") == 2
    assert "under 2 conventions" in words(figure)
    assert "hard-coded" in words(figure).replace("\n", " ")
    summed = conventions_data(generic(reduction="sum"))
    reasons = [row.reason for row in summed.rows]
    assert reasons[:2] == [None, None]
    assert all("ignores any other" in str(reason) for reason in reasons[2:])


def test_a_convention_that_overflows_is_told_in_its_row() -> None:
    rng = np.random.default_rng(9)
    predictions, targets = 1e90 * rng.random((2, 24)), 1e90 * rng.random((2, 20))
    result = refloss.masked_dos(predictions, targets, np.ones(targets.shape, dtype=bool))
    reasons = {row.name: row.reason for row in conventions_data(result).rows}
    assert reasons["intended"] is None
    assert "beyond the largest float64" in str(reasons["metatrain-2025.12"])  # fourth powers: 1e360
    assert "metatrain-2025.12: does not apply" in words(plot_conventions(result))


@pytest.mark.parametrize("b", [-1, 4, True])
def test_what_is_not_there_is_named(b: Any) -> None:
    with pytest.raises(InputError, match=r"^b: found .*, expected an integer from 0 to 3"):
        plot_conventions(generic(), b)
    with pytest.raises(InputError, match=r"^convention: found 'intendet'"):
        plot_conventions(generic(), conventions=["intendet"])
    with pytest.raises(InputError, match=r"^energy_range: found"):
        plot_conventions(generic(), energy_range=(2.0, 1.0))


def test_bars_are_the_terms_and_end_at_the_loss() -> None:
    result = generic(convention="intended", grad_weight=-0.05)
    data, figure = conventions_data(result, 1), plot_conventions(result, 1)
    for row, ax in zip(data.rows, figure.axes[1::2], strict=True):
        drawn = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
        # A bar of negative length is turned about: its length is the difference of its ends.
        assert [width for _, width in drawn] == pytest.approx(list(row.contributions.values()), rel=1e-14)
        ends = [x + width for x, width in drawn]
        # A sum of four, in another order.
        assert max(0.0, *ends) + min(0.0, *ends) == pytest.approx(row.loss, rel=1e-12)
        low, high = ax.get_xlim()
        assert low < min(0.0, *ends)
        assert high > max(0.0, *ends)
        assert f"{row.loss:.4g}" in "".join(text.get_text() for text in ax.texts)


def test_nothing_to_see_is_drawn_too() -> None:
    empty = plot_conventions(spectra(structures=2, masked_out=1), 1)
    assert "no valid data" in words(empty)
    zero = refloss.masked_dos(np.zeros((1, 9)), np.zeros((1, 7)), np.ones((1, 7), bool))
    assert "loss 0, all at the same shift" in words(plot_conventions(zero))
    assert "no point lies from 700 to 800 eV" in words(plot_conventions(generic(), energy_range=(700, 800)))
