"""masked_dos against the oracle where rounded sums go wrong: cancellation, ties, underflow, overflow, long grids."""

from __future__ import annotations

import json

import numpy as np
import oracle
import pytest
from checks import check
from hypothesis import given
from hypothesis import strategies as st
from strategies import HARD, TOTAL, Case, by_name, cases, conventions, generic, nudged, palindromic

from refloss import engine
from refloss.conventions import Convention

EVERY_CONVENTION = list(conventions())


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


@pytest.mark.parametrize("small", [1e-30, 1e-84, 1e-94, 1e-120, 1e-160])
@pytest.mark.parametrize("step", [1e-29, 3e-9, 0.05, 1e20])
def test_a_small_structure_beside_a_large_one(small, step):
    # In any unit that suits the first structure the second one's squares, times dx or dx³, underflow.
    case = generic(np.random.default_rng(21), 2, 7, 3)
    factors = np.array([[2e59], [small]])
    case = Case(factors * case.predictions, factors * case.targets, case.mask)
    for convention in ("documented", "intended", TOTAL):
        check(case, convention, energy_step=step, reduction="none")


@pytest.mark.parametrize("bump", [5e-324, 6e-321, 1e-160])
def test_rivals_that_an_underflow_sets_apart(bump):
    # The objective is 0 at s = 0, then that of the first point; at s = 2 the bump's square comes on top of it.
    predictions = np.zeros((1, 11))
    predictions[0, 0], predictions[0, 9] = 2.2e-150, bump
    mask = np.arange(8)[None] == 7
    found = check(Case(predictions, np.zeros((1, 8)), mask), "intended")
    assert (found.shift[0], found.runner_up[0], found.rival().shift[0]) == (0, 1, 3)


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


@pytest.mark.parametrize("weights", [(0.0, 1.7), (0.013, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", "metatrain-2025.12"])
def test_a_term_that_does_not_count_leaves_zeros_that_are_sure(convention, weights, monkeypatch):
    """Nothing enters where it alone would: exact arithmetic, a hundred times as slow, is not asked."""

    def mend(*_):
        raise AssertionError("exact arithmetic was asked")

    monkeypatch.setattr(engine, "_mend", mend)
    case = generic(np.random.default_rng(13), 3, 12, 7)
    found = check(case, convention, grad_weight=weights[0], int_weight=weights[1])
    assert (found.grad == 0).any() or weights[0]


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


@pytest.mark.large
@pytest.mark.parametrize("convention", ["documented", "intended"])
def test_the_size_of_a_real_density_of_states(convention):
    rng = np.random.default_rng(19)
    case = density_of_states(rng)
    noisy = case.replace_predictions(case.predictions * (1 + 1e-3 * rng.normal(size=case.predictions.shape)))
    grad = convention == "documented"
    assert check(noisy, convention, landscape=False, grad=grad).shift[0] == 137


@pytest.mark.large
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
