"""masked_dos against the oracle: every convention, reduction, size and argument, and what a result holds.

Accuracy and what is exact: `checks`. Inputs: `strategies`. Hard numbers: `test_aligned_hard`.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from fractions import Fraction

import numpy as np
import oracle
import pytest
from checks import OPTIONS, assert_aligned, check
from strategies import TOTAL, Case, by_name, conventions, fitted, generic, nudged, palindromic

import refloss
from refloss.conventions import MASKED_DOS

# ---- every switch, reduction and size --------------------------------------------------------------------------


@pytest.mark.parametrize("convention", list(conventions()), ids=by_name)
def test_every_convention(convention):
    rng = np.random.default_rng(1)
    for batch, points, extra in [(1, 9, 6), (3, 11, 4), (4, 6, 1), (2, 7, 0)]:
        check(generic(rng, batch, points, extra), convention)


@pytest.mark.parametrize("name", list(oracle.CONVENTIONS))
def test_named_conventions_are_those_of_the_specification(name):
    check(generic(np.random.default_rng(2), 5, 12, 5), name)


def test_defaults_are_those_of_the_specification():
    case = generic(np.random.default_rng(3), 3, 12, 5)
    found = refloss.masked_dos(case.predictions, case.targets, case.mask)
    exact = oracle.masked_dos(*case.lists(), oracle.CONVENTIONS["documented"], 0.05, 1e-4, 2.0, "mean", gradient=False)
    assert_aligned(found, exact, grad=False)
    assert (found.energy_step, found.grad_weight, found.int_weight) == (0.05, 1e-4, 2.0)
    assert (found.convention, found.reduction, found.energy_grid) == (MASKED_DOS["documented"], "mean", None)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_reductions(batch, reduction, grad):
    case = generic(np.random.default_rng([batch, 4]), batch, 10, 7)
    for convention in ("documented", "intended", TOTAL):
        check(case, convention, reduction=reduction, grad=grad)


@pytest.mark.parametrize(
    "convention", ["documented", "intended", "metatrain-2026.2", "metatrain-2025.12", TOTAL], ids=by_name
)
@pytest.mark.parametrize("extra", [0, 1, 2, 9])
@pytest.mark.parametrize("points", [2, 3, 4, 5, 6])
def test_short_grids(points, extra, convention):
    check(generic(np.random.default_rng([points, extra, 5]), 3, points, extra), convention)


@pytest.mark.parametrize("points", [31, 64, 65, 127, 130])
@pytest.mark.parametrize("extra", [7, 33])
def test_grids_around_the_lengths_that_blocks_and_lanes_have(points, extra):
    rng = np.random.default_rng([points, extra, 6])
    shifts = [0, 3, extra]
    for convention in ("documented", "intended"):
        check(fitted(rng, points, extra, shifts, 0.1), convention)


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", TOTAL], ids=by_name)
def test_every_shift_is_found(convention):
    shifts = list(range(8))
    # G outside the window would decide the total if its weight were not small.
    found = check(fitted(np.random.default_rng(7), 12, 7, shifts, 0.01), convention, grad_weight=1e-9)
    assert found.shift.tolist() == shifts


@pytest.mark.parametrize("step", [2.0**-1000, 1e-100, 0.1, 1 / 3, 7.0, 1e100])
@pytest.mark.parametrize("convention", ["documented", "intended", TOTAL], ids=by_name)
def test_any_energy_step(step, convention):
    # G holds 1/dx and C dx³: at either end of the range one of them leaves the other terms nothing to say.
    check(generic(np.random.default_rng(8), 3, 8, 4), convention, energy_step=step)


@pytest.mark.parametrize(
    ("grad_weight", "int_weight"),
    [(0.0, 0.0), (0.0, 2.0), (1e-4, 0.0), (-0.3, 0.7), (0.1, -1 / 3), (1e12, 1e-12), (3, 2)],
)
@pytest.mark.parametrize("convention", ["documented", "intended", TOTAL], ids=by_name)
def test_any_weights(convention, grad_weight, int_weight):
    # Terms are reported unweighted, also where their weight is 0.
    case = generic(np.random.default_rng(9), 3, 9, 4)
    found = check(case, convention, grad_weight=grad_weight, int_weight=int_weight)
    assert found.terms.unmasked_gradient.all()
    assert found.terms.cumulative.all()


# ---- what the arguments mean -----------------------------------------------------------------------------------


def test_padded_layouts_drop_the_first_columns_unseen():
    case = generic(np.random.default_rng(20), 3, 9, 4)
    plain = refloss.masked_dos(case.predictions, case.targets, case.mask, grad=True)
    garbage = np.array([[np.nan, np.inf, -np.inf, 1e300]] * 3)
    targets = np.concatenate([garbage, case.targets], axis=1)
    mask = np.concatenate([garbage, case.mask], axis=1)
    for t in (case.targets, targets):
        for m in (case.mask, mask):
            found = refloss.masked_dos(case.predictions, t, m, extra_targets=4, grad=True)
            assert found.per_structure.tobytes() == plain.per_structure.tobytes()
            assert found.grad.tobytes() == plain.grad.tobytes()
            assert np.array_equal(found.targets, case.targets)
            assert np.array_equal(found.mask, case.mask)
            assert found.value == plain.value


def test_no_extra_targets_given_as_zero():
    case = generic(np.random.default_rng(21), 2, 9, 0)
    found = refloss.masked_dos(case.predictions, case.targets, case.mask, extra_targets=0)
    assert found.value == refloss.masked_dos(case.predictions, case.targets, case.mask).value


def test_a_missing_target_under_a_false_mask_reads_zero():
    case = generic(np.random.default_rng(22), 3, 9, 4)
    rng = np.random.default_rng(23)
    missing = ~case.mask & (rng.random(case.mask.shape) < 0.7)
    assert missing.any()
    case.targets[missing] = np.nan
    for convention in ("documented", "intended", "metatrain-2026.2", "metatrain-2025.12"):
        check(case, convention)
    found = refloss.masked_dos(case.predictions, case.targets, case.mask)
    zeros = refloss.masked_dos(case.predictions, np.where(missing, 0.0, case.targets), case.mask)
    assert found.per_structure.tobytes() == zeros.per_structure.tobytes()


def test_a_grid_in_the_place_of_a_step():
    case = generic(np.random.default_rng(24), 3, 9, 4)
    grid = -149.6456 + 0.1 * np.arange(9)
    found = refloss.masked_dos(case.predictions, case.targets, case.mask, energy_grid=grid, grad=True)
    exact_step = (Fraction(grid[-1]) - Fraction(grid[0])) / 8
    assert oracle.ulps(found.energy_step, exact_step) <= 1  # a rounded difference, divided
    stepped = refloss.masked_dos(case.predictions, case.targets, case.mask, energy_step=found.energy_step, grad=True)
    assert found.value == stepped.value
    assert found.grad.tobytes() == stepped.grad.tobytes()
    assert np.array_equal(found.energy_grid, grid)
    assert stepped.energy_grid is None


def test_a_released_convention_takes_the_grid_of_its_release():
    # Energies of such a grid are rounded, so its step is 0.05 to a few ulp only; the release knows 0.05 itself.
    case = generic(np.random.default_rng(25), 2, 100, 5)
    grid = -149.6456 + 0.05 * np.arange(100)
    assert (grid[-1] - grid[0]) / 99 != 0.05
    arrays = case.predictions, case.targets, case.mask
    found = refloss.masked_dos(*arrays, energy_grid=grid, convention="metatrain-2026.2")
    stepped = refloss.masked_dos(*arrays, convention="metatrain-2026.2")
    assert (found.value, found.energy_step) == (stepped.value, 0.05)
    assert np.array_equal(found.energy_grid, grid)


def test_kinds_of_input_are_taken_exactly():
    rng = np.random.default_rng(26)
    predictions, targets = rng.integers(-9, 9, (3, 12)), rng.integers(-9, 9, (3, 8))
    mask = rng.random((3, 8)) < 0.6
    wanted = refloss.masked_dos(predictions.astype(float), targets.astype(float), mask, grad=True)
    for dtype in (np.int8, np.int64, np.float16, np.float32, ">f8"):
        found = refloss.masked_dos(predictions.astype(dtype), targets.astype(dtype), mask.astype(dtype), grad=True)
        assert found.value == wanted.value
        assert found.grad.tobytes() == wanted.grad.tobytes()
    single = generic(rng, 2, 8, 3)
    p, t = single.predictions.astype(np.float32), single.targets.astype(np.float16)
    widened = Case(p.astype(float), t.astype(float), single.mask)
    assert (
        refloss.masked_dos(p, t, single.mask).value
        == check(widened, "documented", grad_weight=1e-4, int_weight=2.0).value
    )
    lists = refloss.masked_dos(predictions.tolist(), targets.tolist(), mask.tolist())
    assert lists.value == wanted.value


def test_layouts_and_read_only_arrays():
    case = generic(np.random.default_rng(27), 4, 9, 4)
    wanted = refloss.masked_dos(case.predictions, case.targets, case.mask, grad=True)
    wide = np.zeros((8, 39))
    wide[::2, ::-3] = case.predictions
    views = wide[::2, ::-3], np.asfortranarray(case.targets), np.asfortranarray(case.mask)
    for view in views:
        view.flags.writeable = False
    found = refloss.masked_dos(*views, grad=True)
    assert found.per_structure.tobytes() == wanted.per_structure.tobytes()
    assert found.grad.tobytes() == wanted.grad.tobytes()


def test_the_smallest_shift_wins_whatever_the_threads(monkeypatch):
    # More structures than one chunk holds, of which every other one is a tie.
    rng = np.random.default_rng(28)
    case = palindromic(rng, 300, 17, 7)
    predictions = case.predictions.copy()
    predictions[::2] = rng.normal(size=predictions[::2].shape)
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        result = refloss.masked_dos(predictions, case.targets, case.mask, grad=True, convention="intended")
        figures = (result.per_structure, result.margin, result.shift, result.grad, *vars(result.terms).values())
        found.append([result.value, *(figure.tobytes() for figure in figures)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("convention", ["documented", "intended", TOTAL], ids=by_name)
def test_a_structure_does_not_know_its_batch(convention):
    rng = np.random.default_rng(29)
    parts = [fitted(rng, 14, 5, [b % 6], 0.1) for b in range(9)] + [nudged(rng, 3, 14, 5)]
    whole = Case(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(Case)))
    order = rng.permutation(whole.mask.shape[0])
    options = {"convention": convention, "reduction": "none", "grad": True}
    one = refloss.masked_dos(whole.predictions, whole.targets, whole.mask, **options)
    other = refloss.masked_dos(whole.predictions[order], whole.targets[order], whole.mask[order], **options)
    for name in ("per_structure", "shift", "runner_up", "margin", "tied", "grad"):
        assert getattr(one, name)[order].tobytes() == getattr(other, name).tobytes(), name
    for name in ("dos", "front_tail", "unmasked_gradient", "cumulative"):
        assert getattr(one.terms, name)[order].tobytes() == getattr(other.terms, name).tobytes(), name
    assert one.landscape()[order].tobytes() == other.landscape().tobytes()
    assert one.rival().shift[order].tolist() == other.rival().shift.tolist()


def test_the_released_cumulative_knows_its_batch():
    case = generic(np.random.default_rng(30), 4, 9, 3)
    whole = check(case, "metatrain-2026.2")
    alone = check(Case(case.predictions[:1], case.targets[:1], case.mask[:1]), "metatrain-2026.2")
    assert alone.terms.cumulative[0] == 0.0
    assert whole.terms.cumulative.all()
    order = np.array([1, 0, 3, 2])
    turned = check(Case(case.predictions[order], case.targets[order], case.mask[order]), "metatrain-2026.2")
    assert (turned.terms.cumulative != whole.terms.cumulative[order]).all()


def test_what_the_mask_leaves_out_does_not_decide_the_alignment():
    case = fitted(np.random.default_rng(31), 12, 5, [2, 4], 0.01)
    one = check(case, "documented")
    other = check(Case(case.predictions, np.where(case.mask, case.targets, 1e9), case.mask), "documented")
    assert one.shift.tolist() == other.shift.tolist() == [2, 4]
    assert one.terms.dos.tobytes() == other.terms.dos.tobytes()
    assert (one.terms.cumulative != other.terms.cumulative).all()  # which runs over the masked points too


# ---- the result ------------------------------------------------------------------------------------------------


def test_a_result_is_frozen_short_and_portable():
    case = generic(np.random.default_rng(32), 3, 9, 4)
    for reduction in ("mean", "none"):
        found = refloss.masked_dos(case.predictions, case.targets, case.mask, reduction=reduction, grad=True)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.value = 0.0
        assert len(repr(found)) < 160
        assert "documented" in repr(found)
        again = pickle.loads(pickle.dumps(found))
        for name in ("value", "per_structure", "shift", "margin", "grad", "aligned"):
            assert np.array_equal(getattr(again, name), getattr(found, name)), name
        assert np.array_equal(again.landscape(), found.landscape())
        assert np.array_equal(again.rival().shift, found.rival().shift)
        assert again.convention == found.convention
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read["convention"] == "documented"
        assert read["shift"] == found.shift.tolist()
        assert read["per_structure"] == found.per_structure.tolist()
        assert read["terms"]["front_tail"] == found.terms.front_tail.tolist()


def test_a_result_holds_what_a_picture_needs():
    case = fitted(np.random.default_rng(33), 9, 4, [0, 2, 4], 0.05)
    found = refloss.masked_dos(case.predictions, case.targets, case.mask, **OPTIONS)
    assert found.grad is None
    assert found.shifts == 5
    for b, shift in enumerate([0, 2, 4]):
        assert np.array_equal(found.aligned[b], case.predictions[b, shift : shift + 9])
    assert np.array_equal(found.predictions, case.predictions)
    assert np.array_equal(found.targets, case.targets)
    assert np.array_equal(found.mask, case.mask)
    assert (found.energy_step, found.grad_weight, found.int_weight) == (0.05, 0.013, 1.7)
    rows = np.arange(3)
    # Landscape and margin are two roundings of the same exact objective.
    assert np.allclose(
        found.landscape()[rows, found.runner_up] - found.landscape()[rows, found.shift], found.margin, rtol=1e-9, atol=0
    )
    assert np.array_equal(found.landscape().argmin(axis=1), found.shift)
