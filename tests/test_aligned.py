"""masked_dos against the oracle: every convention, reduction and gradient, to the last bit.

Accuracy and what is exact: `checks`. Inputs: `strategies`.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from fractions import Fraction

import numpy as np
import oracle
import pytest
from checks import assert_aligned
from hypothesis import given
from hypothesis import strategies as st
from strategies import HARD, Case, cases, conventions, fitted, generic, nudged, palindromic

import refloss
from refloss.conventions import MASKED_DOS, Convention

EVERY_CONVENTION = list(conventions())
OPTIONS = {"energy_step": 0.05, "grad_weight": 0.013, "int_weight": 1.7}
TOTAL = Convention("total", "total", True, "prediction", "exact", "structure", "dos")


def by_name(convention):
    return getattr(convention, "name", convention)


def check(case: Case, convention, *, grad=True, landscape=True, **options):
    """Evaluate, compare with the oracle, and see that the inputs are what they were."""
    options = OPTIONS | options
    arrays = (case.predictions, case.targets, case.mask)
    before = [a.tobytes() for a in arrays]
    found = refloss.masked_dos(*arrays, convention=convention, grad=grad, **options)
    assert [a.tobytes() for a in arrays] == before
    switches = oracle.CONVENTIONS[convention] if isinstance(convention, str) else convention
    exact = oracle.masked_dos(*case.lists(), switches, gradient=grad, **options)
    assert_aligned(found, exact, grad=grad, landscape=landscape)
    return found


# ---- every switch, reduction and size --------------------------------------------------------------------------


@pytest.mark.parametrize("convention", EVERY_CONVENTION, ids=by_name)
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


# ---- hard numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", TOTAL], ids=by_name)
@pytest.mark.parametrize("name", list(HARD))
def test_hard_numbers(name, convention):
    rng = np.random.default_rng([len(name), 10])
    for batch, points, extra in [(3, 12, 7), (2, 5, 1), (2, 40, 11)]:
        check(HARD[name](rng, batch, points, extra), convention)


@pytest.mark.parametrize("name", [name for name in HARD if name != "large"])  # there the squares' squares overflow
def test_hard_numbers_in_accumulated_squares(name):
    rng = np.random.default_rng([len(name), 11])
    choice = Convention("squares", "total", False, "window", "exact", "structure", "squares")
    check(HARD[name](rng, 3, 12, 7), choice)
    check(HARD[name](rng, 3, 12, 7), "metatrain-2025.12")


@pytest.mark.parametrize("seed", range(6))
def test_exact_ties_that_rounded_sums_break(seed):
    rng = np.random.default_rng([seed, 12])
    extra = 7
    case = palindromic(rng, 4, 9 + seed, extra)
    found = check(case, "documented")
    assert found.tied.all()
    assert np.array_equal(found.runner_up, extra - found.shift)
    assert (found.shift < found.runner_up).all()
    assert not found.margin.any()


@pytest.mark.parametrize("seed", range(6))
def test_a_tie_broken_by_one_ulp_of_one_element(seed):
    # Palindromic blocks, the first and the last nearly the target: the two edges of the range tie for the best.
    # Then the last element, which the last window alone holds, moves by an ulp.
    rng = np.random.default_rng([seed, 13])

    def block(width):
        half = rng.normal(size=width // 2)
        return np.concatenate([half, rng.normal(size=width % 2), half[::-1]])

    points, between = 9 + seed, 7
    target = block(points)
    near = target + 0.01 * block(points)
    predictions = np.concatenate([near, block(between), near])[None]
    mask = (block(points) < 0.8)[None]
    mask[0, [0, -1]] = True
    last = points + between
    tie = check(Case(predictions, target[None], mask), "documented")
    assert (tie.shift[0], tie.runner_up[0], tie.tied[0], tie.margin[0]) == (0, last, True, 0.0)
    shifts = set()
    for direction in (-np.inf, np.inf):
        broken = predictions.copy()
        broken[0, -1] = np.nextafter(broken[0, -1], direction)
        found = check(Case(broken, target[None], mask), "documented")
        assert not found.tied[0]
        assert 0 < found.margin[0] < 1e-16
        shifts.add(int(found.shift[0]))
    assert shifts == {0, last}  # one way is better, the other worse


@pytest.mark.parametrize("seed", range(3))
def test_random_palindromes_an_ulp_off(seed):
    rng = np.random.default_rng([seed, 14])
    for points in (8, 33):
        check(nudged(rng, 4, points, 7), "documented")


def test_a_tie_is_decided_where_every_figure_underflows():
    # D is about 1e-640 at every shift: each reported figure is 0, and still one shift is the best, untied.
    rng = np.random.default_rng(14)
    case = HARD["generic"](rng, 3, 8, 5)
    tiny = Case(1e-312 * case.predictions, 1e-312 * case.targets, case.mask)
    found = check(tiny, "documented")
    assert not found.per_structure.any()
    assert not found.margin.any()
    assert not found.tied.any()


def test_shifts_beyond_the_range_do_not_hide_the_others():
    # D(0) = 1/2 dx is a local minimum, D(5) = D(6) = D(7) = 0 the best one, and from s = 8 on D overflows.
    predictions = np.zeros((1, 14))
    predictions[0, 3:5] = 1.0
    predictions[0, 11:] = 1e155
    found = check(Case(predictions, np.zeros((1, 4)), np.ones((1, 4), bool)), "documented")
    assert np.isinf(found.landscape()[0, 8:]).all()
    assert (found.shift[0], found.runner_up[0], found.rival().shift[0]) == (5, 6, 0)


def test_an_empty_mask_ties_every_shift_at_the_first():
    case = generic(np.random.default_rng(15), 3, 8, 5)
    case.mask[1] = False
    found = check(case, "documented")
    assert (found.shift[1], found.runner_up[1], found.tied[1], found.margin[1]) == (0, 1, True, 0.0)
    assert found.rival().shift[1] == -1
    assert found.rival().margin[1] == np.inf


def test_one_shift_has_no_other():
    found = check(generic(np.random.default_rng(16), 2, 8, 0), "documented")
    assert found.runner_up.tolist() == [-1, -1]
    assert found.margin.tolist() == [np.inf, np.inf]
    assert found.tied.tolist() == [False, False]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["margin"] == [None, None]


@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_terms_that_cancel_by_a_negative_weight(convention):
    # The weight is minus the quotient of two exact terms, rounded: what is left of the loss is 1e-16 of its terms.
    case = generic(np.random.default_rng(17), 1, 9, 4)
    structure = oracle.masked_dos(*case.lists(), oracle.CONVENTIONS[convention], gradient=False).structures[0]
    rest = structure.dos + (structure.front_tail if convention == "intended" else 0)
    weight = oracle.nearest(-rest / structure.cumulative)
    found = check(case, convention, grad_weight=0.0, int_weight=weight)
    assert 0 < abs(found.value) < 1e-14 * found.terms.dos[0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_structures_that_cancel_in_the_reduction(convention, reduction):
    # The first and the last loss are 1e40 each, of opposite signs by the choice of the weight; the middle one is 1.
    case = generic(np.random.default_rng(18), 3, 9, 4)
    factors = np.array([[1e20], [1.0], [1e20]])
    case = Case(factors * case.predictions, factors * case.targets, case.mask)
    first, _, last = oracle.masked_dos(*case.lists(), oracle.CONVENTIONS[convention], gradient=False).structures
    rest = first.dos + last.dos + (first.front_tail + last.front_tail if convention == "intended" else 0)
    weight = oracle.nearest(-rest / (first.cumulative + last.cumulative))
    found = check(case, convention, grad_weight=0.0, int_weight=weight, reduction=reduction)
    assert abs(found.value) < 1e-14 * np.abs(found.per_structure).max()


def density_of_states(rng):
    """Return levels of width 0.3 eV over 240 eV, 4806 points, and the 4606 of them from point 137 as the target."""
    energies = 0.05 * np.arange(4806)
    levels = zip(rng.random(90), rng.uniform(9, 230, 90), strict=True)
    smooth = sum(height * np.exp(-((energies - level) ** 2) / 0.18) for height, level in levels)
    return Case(smooth[None], smooth[None, 137 : 137 + 4606].copy(), (np.arange(4606) < 4100)[None])


@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_the_size_of_a_real_density_of_states(convention):
    rng = np.random.default_rng(19)
    case = density_of_states(rng)
    noisy = case.replace_predictions(case.predictions * (1 + 1e-3 * rng.normal(size=case.predictions.shape)))
    grad = convention == "documented"
    assert check(noisy, convention, landscape=False, grad=grad).shift[0] == 137


def test_a_real_density_of_states_but_for_one_ulp():
    case = density_of_states(np.random.default_rng(20))
    near = case.replace_predictions(np.nextafter(case.predictions, np.inf))
    found = check(near, "documented", landscape=False, grad=False)
    assert found.shift[0] == 137
    assert 0 < found.terms.dos[0] < 1e-28


@given(cases(), st.sampled_from(EVERY_CONVENTION), st.sampled_from([(0.0, 2.0), (1e-4, 2.0), (-0.5, 0.25)]))
def test_any_numbers(case, convention, weights):
    # 1e100 to the fourth power, where squares are accumulated, is beyond the range.
    if convention.cumulated == "squares" and np.abs(case.predictions).max() > 1e70:
        case = case.replace_predictions(np.where(np.abs(case.predictions) > 1e70, 1e8, case.predictions))
    if convention.cumulated == "squares" and np.abs(case.targets).max() > 1e70:
        case = Case(case.predictions, np.where(np.abs(case.targets) > 1e70, 1e8, case.targets), case.mask)
    check(case, convention, grad_weight=weights[0], int_weight=weights[1])


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
