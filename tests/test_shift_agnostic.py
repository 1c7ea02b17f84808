"""shift_agnostic_mse against the oracle: every convention, reduction and size, NaN, padding, ties, wide searches.

Accuracy and what is exact: `checks`, which also sees to the certificate of every result. P points of a prediction,
N of a target, 3 P − N + 1 shifts.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from fractions import Fraction

import numpy as np
import oracle_agnostic
import pytest
from checks import assert_aligned, check_agnostic
from hypothesis import given
from hypothesis import strategies as st
from strategies import HARD, TOTAL, by_name, conventions

import refloss
from refloss.conventions import SHIFT_AGNOSTIC, Convention
from refloss.kernels.bounds import MANY

NAMED = list(oracle_agnostic.CONVENTIONS)


def generic(rng, batch, width, points, missing=0.2):
    """Return random predictions and targets, of which each structure misses another part."""
    targets = rng.normal(size=(batch, points))
    targets[rng.random(targets.shape) < missing * rng.uniform(0.5, 1.5, (batch, 1))] = np.nan
    return rng.normal(size=(batch, width)), targets


def eighths(rng, *shape):
    """Return small multiples of 1/8: the oracle is quick with them, and equal heights abound."""
    return rng.integers(-12, 13, shape) / 8


def moved(rng, predictions, points, shifts, error=0.0):
    """Return targets that are the window of the padded predictions at these shifts, but for `error`."""
    padded = np.pad(predictions, ((0, 0), predictions.shape[1:] * 2))
    rows = np.stack([row[s : s + points] for row, s in zip(padded, shifts, strict=True)])
    return rows + error * rng.normal(size=rows.shape)


# ---- by hand ---------------------------------------------------------------------------------------------------


def test_a_structure_by_hand():
    # q = 0 0 1 2 0 0 and t = 2 1. D: 5 4 2 1 5, F: 0 0 0 1 5, so s = 2 and s = 3 tie. At s = 2 the points 4 and 5 lie
    # behind the window, and their slopes are −60 and 56 over 12 dx; N = 2 has no cumulative term.
    exact = oracle_agnostic.shift_agnostic_mse([[1.0, 2.0]], [[2.0, 1.0]], oracle_agnostic.CONVENTIONS["intended"], 2)
    (structure,) = exact.structures
    assert structure.landscape == [5, 4, 2, 2, 10]
    assert (structure.shift, structure.runner_up, structure.tied) == (2, 3, True)
    slopes = Fraction(60, 24) ** 2 + Fraction(56, 24) ** 2
    assert (structure.dos, structure.front_tail, structure.cumulative) == (2, 0, 0)
    assert structure.unmasked_gradient == slopes  # dx · (1/2 + 1/2), dx = 2
    assert exact.value == 2 + Fraction(1e-4) * slopes
    # dD = 2 (p − t) = −2, 2; dG = 2 · (36, −48; −16, 36)/24 · slope
    falls, rises = Fraction(-60, 24), Fraction(56, 24)
    grad = [36 * falls - 16 * rises, -48 * falls + 36 * rises]
    assert exact.grad[0] == [d + Fraction(1e-4) * 2 * g / 24 for d, g in zip((-2, 2), grad, strict=True)]
    assert_aligned(refloss.shift_agnostic_mse([[1, 2]], [[2, 1]], energy_step=2.0, grad=True), exact, grad=True)


def test_defaults_are_those_of_the_specification():
    predictions, targets = generic(np.random.default_rng(1), 3, 9, 7)
    found = refloss.shift_agnostic_mse(predictions, targets)
    exact = oracle_agnostic.shift_agnostic_mse(
        predictions.tolist(), targets.tolist(), oracle_agnostic.CONVENTIONS["intended"], gradient=False
    )
    assert_aligned(found, exact, grad=False)
    assert (found.energy_step, found.grad_weight, found.int_weight) == (0.05, 1e-4, 2.0)
    assert (found.convention, found.reduction, found.energy_grid) == (SHIFT_AGNOSTIC["intended"], "mean", None)
    assert found.padding == 9


# ---- every switch, reduction and size --------------------------------------------------------------------------


@pytest.mark.parametrize("convention", NAMED)
@pytest.mark.parametrize("width", range(2, 13))
def test_every_width(width, convention):
    for points in sorted({2, 3, width - 1, width, width + 1, 2 * width, 3 * width - 1, 3 * width} - {1}):
        rng = np.random.default_rng([width, points, 2])
        check_agnostic(*generic(rng, 1 + (width + points) % 5, width, points), convention)


@pytest.mark.parametrize("convention", list(conventions()), ids=by_name)
def test_every_switch(convention):
    rng = np.random.default_rng(3)
    for batch, width, points in [(2, 7, 5), (3, 5, 8)]:
        check_agnostic(*generic(rng, batch, width, points), convention)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_reductions(batch, reduction, grad):
    arrays = generic(np.random.default_rng([batch, 4]), batch, 8, 9)
    for convention in ("intended", TOTAL):
        check_agnostic(*arrays, convention, reduction=reduction, grad=grad)
    if reduction == "mean":
        check_agnostic(*arrays, "metatrain-2026.3", grad=grad)


@pytest.mark.parametrize("step", [2.0**-1000, 1e-100, 1 / 3, 7.0, 1e100])
@pytest.mark.parametrize("convention", ["intended", TOTAL], ids=by_name)
def test_any_energy_step_and_no_part_of_it_in_the_objective(step, convention):
    arrays = generic(np.random.default_rng(5), 3, 6, 5)
    found = check_agnostic(*arrays, convention, energy_step=step)
    if convention == "intended":
        usual = check_agnostic(*arrays)
        assert np.array_equal(found.landscape(), usual.landscape())
        assert np.array_equal(found.terms.dos, usual.terms.dos)


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (-0.3, 0.7), (1e12, 1e-12), (3, 2)])
def test_any_weights(first, second):
    arrays = generic(np.random.default_rng(6), 3, 7, 6)
    for convention in ("intended", TOTAL):
        check_agnostic(*arrays, convention, grad_penalty_weight=first, int_weight=second)


def test_the_released_cumulative_mixes_the_masks_of_the_batch():
    predictions, targets = generic(np.random.default_rng(7), 4, 8, 7, missing=0.4)
    whole = check_agnostic(predictions, targets, "metatrain-2026.3")
    assert whole.terms.cumulative.all()
    alone = check_agnostic(predictions[:1], targets[:1], "metatrain-2026.3")
    assert alone.terms.cumulative.tolist() == [0.0]
    order = np.array([1, 0, 3, 2])
    turned = check_agnostic(predictions[order], targets[order], "metatrain-2026.3")
    assert (turned.terms.cumulative != whole.terms.cumulative[order]).all()  # the ends of a batch weigh half
    filled = check_agnostic(predictions, np.where(np.arange(4)[:, None] == 3, np.nan_to_num(targets), targets))
    other = check_agnostic(predictions, np.where(np.arange(4)[:, None] == 3, np.nan, targets), "metatrain-2026.3")
    assert filled.terms.cumulative[0] != 0.0
    assert other.terms.cumulative[1] != whole.terms.cumulative[1]  # whose own target is the same


# ---- NaN, padding, ties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", NAMED)
def test_structures_without_any_target(convention):
    predictions, targets = generic(np.random.default_rng(8), 3, 6, 5)
    targets[1] = np.nan
    found = check_agnostic(predictions, targets, convention)
    assert (found.shift[1], found.runner_up[1], found.tied[1], found.in_padding[1]) == (0, 1, True, True)
    assert not found.terms.dos[1]
    alone = check_agnostic(predictions, np.full((3, 17), np.nan), convention)
    assert alone.shift.tolist() == [0, 0, 0]
    assert alone.tied.all()
    assert not alone.in_padding.any()  # a window of 17 points reaches the prediction, whatever counts of it


def test_what_a_missing_target_reads():
    # D leaves it out; the cumulated difference, which runs over all points, takes it for 0.
    predictions, targets = generic(np.random.default_rng(9), 3, 8, 6, missing=0.4)
    found = check_agnostic(predictions, targets)
    assert np.array_equal(found.mask, ~np.isnan(targets))
    assert np.array_equal(found.targets, np.nan_to_num(targets))
    with_zeros = check_agnostic(predictions, np.nan_to_num(targets))
    assert (with_zeros.terms.dos != found.terms.dos).any()


def test_a_window_in_the_padding_in_front():
    # The prediction is far off at every shift: no states at all fit better.
    rng = np.random.default_rng(10)
    predictions, targets = 5 + rng.random((2, 6)), 0.1 * rng.random((2, 4))
    found = check_agnostic(predictions, targets)
    assert found.shift.tolist() == [0, 0]
    assert found.runner_up.tolist() == [1, 1]  # windows in the padding are all alike: shifts 0 to P − N tie
    assert found.in_padding.all()
    assert found.tied.all()
    assert not found.aligned.any()
    # What gradient there is comes from the points behind the window, where the prediction ought to be smooth.
    assert not check_agnostic(predictions, targets, grad_penalty_weight=0.0).grad.any()


def test_a_window_that_touches_the_prediction_is_not_in_the_padding():
    rng = np.random.default_rng(11)
    predictions = rng.normal(size=(4, 6))
    shifts = [1, 2, 3, 11]  # N = 5: windows 1..5 (in front), 2..6 and 3..7 (touching), 11..15 (the last point)
    targets = moved(rng, predictions, 5, shifts)
    predictions[3, :5] = 0.0  # no front tail, so that the last shift is the best
    targets[3] = [predictions[3, 5], 0, 0, 0, 0]
    targets[0] = 0.0
    found = check_agnostic(predictions, targets)
    assert found.in_padding.tolist() == [True, False, False, False]
    assert found.shift.tolist() == [0, 2, 3, 11]


def test_a_window_in_the_padding_behind():
    # D + F is never lower there than in front. A convention that counts neither F nor what lies before the window,
    # and asks for smoothness behind it, is content to have all of the prediction before it.
    convention = Convention("behind", "total", False, "prediction", "exact", "structure", "dos")
    rng = np.random.default_rng(12)
    predictions, targets = 5 + rng.random((2, 6)), 0.1 * rng.random((2, 4))
    found = check_agnostic(predictions, targets, convention, grad_penalty_weight=10.0)
    assert (found.shift >= 12).all()
    assert found.in_padding.all()


@pytest.mark.parametrize("convention", [*NAMED, TOTAL], ids=by_name)
@pytest.mark.parametrize("points", [3, 6, 9, 18])
@pytest.mark.parametrize("height", [0.0, 0.7, -1.3])
def test_constant_predictions(height, points, convention):
    _, targets = generic(np.random.default_rng([points, 13]), 3, 6, points)
    found = check_agnostic(np.full((3, 6), height), targets, convention)
    if height == 0.0 and points < 18:
        assert (found.shift.tolist(), found.runner_up.tolist(), found.tied.all()) == ([0] * 3, [1] * 3, True)


def test_one_shift_has_no_other():
    found = check_agnostic(*generic(np.random.default_rng(14), 2, 4, 12))
    assert found.runner_up.tolist() == [-1, -1]
    assert found.margin.tolist() == [np.inf, np.inf]
    assert not found.in_padding.any()


@pytest.mark.parametrize("convention", NAMED)
@pytest.mark.parametrize("name", list(HARD))
def test_hard_numbers(name, convention):
    rng = np.random.default_rng([len(name), 15])
    for batch, points, extra in [(3, 8, 5), (2, 3, 1)]:
        case = HARD[name](rng, batch, points, extra)
        check_agnostic(case.predictions, np.where(case.mask, case.targets, np.nan), convention)
        check_agnostic(case.predictions[:, : points // 2 + 1], case.targets, convention)  # N > P


@given(st.data())
def test_numbers_that_collide(data):
    batch, width = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 6))
    points = data.draw(st.integers(2, 3 * width))
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, -1.0, 0.1, 3.0, 1e8, 1e-160, 5e-324, 1e100])
    rows = [
        np.array(data.draw(st.lists(kind, min_size=batch * n, max_size=batch * n))).reshape(batch, n)
        for kind, n in ((numbers, width), (numbers | st.just(np.nan), points))
    ]
    check_agnostic(*rows, data.draw(st.sampled_from(NAMED)))


# ---- wide searches, where coarse blocks come first -------------------------------------------------------------


def wide(name):
    """Return predictions and targets with more than MANY shifts, and at which shift they fit, where that is known."""
    rng = np.random.default_rng([len(name), 16])
    width, points = {"narrow targets": (400, 3), "wide targets": (500, 437), "wider targets": (600, 720)}.get(
        name, (450, 300)
    )
    predictions, targets, shifts = eighths(rng, 2, width), eighths(rng, 2, points), None
    if name == "narrow targets":
        shifts = [402, 402]
        predictions[:, :2] = 0.0  # no front tail
        targets = moved(rng, predictions, points, shifts)
    elif name in ("fits", "fits to a rounding", "fits in part"):
        predictions[:, :150] = 0.0
        shifts = [620, 555]
        targets = moved(rng, predictions, points, shifts)
        if name == "fits to a rounding":
            targets = np.where(rng.random(targets.shape) < 0.3, targets + np.spacing(targets), targets)
        if name == "fits in part":
            targets += eighths(rng, 2, points) * (rng.random(targets.shape) < 0.2)
            targets[rng.random(targets.shape) < 0.5] = np.nan
    elif name == "smooth":
        x = np.arange(width)
        predictions = np.round(512 * np.exp(-(((x - [[150], [260]]) / 40) ** 2))) / 512
        shifts = [width + 20, width - 70]
        targets = np.round(512 * (0.9 * moved(rng, predictions, points, shifts))) / 512
        shifts = None
    elif name == "nothing fits":
        predictions += 8
    elif name == "no targets":
        targets[:] = np.nan
    elif name == "no predictions":
        predictions[:] = 0.0
    elif name == "constant predictions":
        predictions[:] = 0.5
    elif name == "one point counts":
        targets[:, 1:] = np.nan
    elif name == "only the ends count":
        targets[:, 1:-1] = np.nan
    elif name == "isolated points":
        targets[:, np.arange(points) % 17 != 3] = np.nan
    elif name == "zeros and ones":
        predictions, targets = (np.round(np.abs(a) / 1.5) for a in (predictions, targets))
    elif name == "generic mantissas":
        predictions, targets = generic(rng, 1, width, points)
    return predictions, targets, shifts


WIDE = [
    "narrow targets",
    "wide targets",
    "wider targets",
    "fits",
    "fits to a rounding",
    "fits in part",
    "smooth",
    "nothing fits",
    "no targets",
    "no predictions",
    "constant predictions",
    "one point counts",
    "only the ends count",
    "isolated points",
    "zeros and ones",
    "generic mantissas",
]


@pytest.mark.large
@pytest.mark.parametrize("name", WIDE)
def test_wide_searches(name):
    predictions, targets, shifts = wide(name)
    found = check_agnostic(predictions, targets, landscape=False)
    assert found.shifts > MANY
    if shifts is not None:
        assert found.shift.tolist() == shifts
    drawn = found.landscape()
    assert np.array_equal(drawn[np.arange(len(drawn)), found.shift], drawn.min(axis=1))


@pytest.mark.large
def test_a_wide_search_prunes():
    # A bound that excludes nothing would pass every other test.
    predictions, targets, _ = wide("fits")
    found = refloss.shift_agnostic_mse(predictions, targets)
    # The first structure's runner-up is one of the windows that hold zeros alone, 301 equals.
    assert found.certificate.evaluated[0] < 320
    assert found.certificate.evaluated[1] < 20
    assert (found.certificate.exact == 0).all()
    assert np.isfinite(found.certificate.excluded_above).all()


@pytest.mark.large
@pytest.mark.parametrize("nudge", [False, True])
def test_wide_ties(nudge):
    # Without a front tail palindromes tie, D(s) = D(S − 1 − s), until an ulp of one element breaks it.
    rng = np.random.default_rng(17)
    half = rng.normal(size=200)
    predictions = np.concatenate([half, half[::-1]])[None]
    targets = moved(rng, predictions, 21, [407])
    targets = (targets + targets[:, ::-1]) / 2
    if nudge:
        predictions[0, -15] = np.nextafter(predictions[0, -15], np.inf)
    convention = Convention("dos", "dos", False, "window", "exact", "structure", "dos")
    found = check_agnostic(predictions, targets, convention, landscape=False)
    assert found.shifts > MANY
    # The search may be won by a shift whose mirror image does not reach the element.
    assert found.tied[0] or nudge
    assert found.runner_up[0] == found.shifts - 1 - found.shift[0]


@pytest.mark.large
def test_the_same_bits_whatever_the_threads_and_the_batch(monkeypatch):
    names = ["fits", "fits in part", "nothing fits", "one point counts", "zeros and ones"]
    rows = [wide(name)[:2] for name in names]
    predictions, targets = (np.tile(np.concatenate([row[k] for row in rows]), (8, 1)) for k in range(2))
    found = []
    for threads, order in (("1", slice(None)), ("2", slice(None)), ("5", slice(None, None, -1))):
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        result = refloss.shift_agnostic_mse(predictions[order], targets[order], reduction="none", grad=True)
        figures = (result.per_structure, result.shift, result.runner_up, result.margin, result.tied, result.grad)
        certificate = vars(result.certificate).values()
        found.append([figure[order].tobytes() for figure in (*figures, *vars(result.terms).values(), *certificate)])
    assert found[0] == found[1] == found[2]


# ---- the result ------------------------------------------------------------------------------------------------


def test_a_grid_in_the_place_of_a_step():
    predictions, targets = generic(np.random.default_rng(18), 3, 8, 9)
    grid = -149.6456 + 0.1 * np.arange(9)
    found = refloss.shift_agnostic_mse(predictions, targets, energy_grid=grid, grad=True)
    stepped = check_agnostic(
        predictions, targets, energy_step=found.energy_step, grad_penalty_weight=1e-4, int_weight=2.0
    )
    assert found.value == stepped.value
    assert found.grad.tobytes() == stepped.grad.tobytes()
    assert np.array_equal(found.energy_grid, grid)
    released = refloss.shift_agnostic_mse(
        predictions, targets, energy_grid=0.05 * np.arange(9) - 7.3, convention="metatrain-2026.3"
    )
    assert released.energy_step == 0.05


def test_the_window_is_one_of_the_padded_prediction():
    rng = np.random.default_rng(19)
    predictions = eighths(rng, 5, 6)
    shifts = [1, 5, 6, 8, 9]  # over the front, one before, not shifted, two behind, over the end
    predictions[3:, :3] = 0.0
    targets = moved(rng, predictions, 7, shifts)
    found = check_agnostic(predictions, targets)
    assert found.shift.tolist() == shifts
    assert np.array_equal(found.aligned, targets)
    assert np.array_equal(found.aligned[2], [*predictions[2], 0.0])  # s = P: as it lies
    assert not found.terms.dos.any()
    assert (found.shifts, found.padding) == (12, 6)
    assert found.landscape().shape == (5, 12)


def test_a_result_is_frozen_short_and_portable():
    predictions, targets = generic(np.random.default_rng(20), 3, 8, 5)
    for reduction in ("mean", "none"):
        found = refloss.shift_agnostic_mse(predictions, targets, reduction=reduction, grad=True)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.value = 0.0
        assert len(repr(found)) < 160
        again = pickle.loads(pickle.dumps(found))
        for name in ("value", "per_structure", "shift", "margin", "grad", "aligned", "in_padding", "padding"):
            assert np.array_equal(getattr(again, name), getattr(found, name)), name
        assert np.array_equal(again.landscape(), found.landscape())
        assert np.array_equal(again.rival().shift, found.rival().shift)
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read["convention"] == "intended"
        assert read["shift"] == found.shift.tolist()
        assert read["terms"]["dos"] == found.terms.dos.tolist()
        assert read["certificate"]["evaluated"] == found.certificate.evaluated.tolist()


def test_the_gradient_is_a_limit_of_differences():
    # Of the oracle, from its values alone: its gradient, and the slice of it, are formulas of their own.
    predictions, targets = (eighths(np.random.default_rng(21), 2, n) for n in (5, 7))
    targets[0, 3] = np.nan
    options = {"convention": oracle_agnostic.CONVENTIONS["intended"], "energy_step": 0.5, "grad_penalty_weight": 0.5}
    step = 2.0**-30
    exact = oracle_agnostic.shift_agnostic_mse(predictions.tolist(), targets.tolist(), **options)
    for b in range(2):
        for j in range(5):
            values = []
            for sign in (1, -1):
                nudged = predictions.copy()
                nudged[b, j] += sign * step
                values.append(oracle_agnostic.shift_agnostic_mse(nudged.tolist(), targets.tolist(), **options))
            assert [v.structures[b].shift for v in values] == [exact.structures[b].shift] * 2
            # The loss is a quadratic at a fixed shift: the central difference is exact.
            assert (values[0].value - values[1].value) / (2 * Fraction(step)) == exact.grad[b][j]
