"""What must follow when the inputs change in a way whose effect is known: bit for bit, and without any oracle.

Scaling by a power of two, mirrors, zeros beside the prediction, structures beside a structure, the order of a batch.
"""

from __future__ import annotations

import numpy as np
import pytest
from strategies import HARD, TOTAL, Case, by_name, generic, palindromic, random_mask

import refloss
from refloss import AlignedResult
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC, Convention

TERMS = ("dos", "front_tail", "unmasked_gradient", "cumulative")
CHOICES = ("shift", "runner_up", "tied")
SIZES = [(3, 12, 7), (2, 40, 9), (1, 2, 3)]
MODERATE = [name for name in HARD if name not in ("large", "small", "subnormal")]
"""Kinds whose figures stay normal numbers when they are scaled."""


def hard(name: str, seed: list[int], batch: int, points: int, extra: int) -> Case:
    """Return a case of this kind; numbers that are nearly subnormal read 0, since they scale to others."""
    case = HARD[name](np.random.default_rng([len(name), *seed]), batch, points, extra)
    predictions, targets = (np.where(np.abs(x) < 1e-290, 0.0, x) for x in (case.predictions, case.targets))
    return Case(predictions, targets, case.mask)


def evaluate(case: Case, convention: str | Convention, **options) -> AlignedResult:
    options = {"grad_weight": 0.013, "int_weight": 1.7, "grad": True, "reduction": "sum"} | options
    return refloss.masked_dos(case.predictions, case.targets, case.mask, convention=convention, **options)


def agnostic(case: Case, convention: str | Convention, **options) -> AlignedResult:
    options = {"grad_penalty_weight": 0.013, "int_weight": 1.7, "grad": True} | options
    targets = np.where(case.mask, case.targets, np.nan)
    return refloss.shift_agnostic_mse(case.predictions, targets, convention=convention, **options)


def same(one, other) -> bool:
    """Whether two arrays hold the same numbers; 0 and −0 are one."""
    return bool(np.array_equal(one, other))


def assert_scaled(one: AlignedResult, other: AlignedResult, figures: dict[str, float], grad: float) -> None:
    """See that `other` is `one` with every figure multiplied, exactly, and the same choices."""
    for name in CHOICES:
        assert same(getattr(one, name), getattr(other, name)), name
    for name in ("value", "per_structure", "margin"):
        assert same(figures["all"] * np.asarray(getattr(one, name)), getattr(other, name)), name
    for name in TERMS:
        assert same(figures.get(name, figures["all"]) * getattr(one.terms, name), getattr(other.terms, name)), name
    assert same(figures["all"] * one.landscape(), other.landscape())
    assert one.rival().shift.tolist() == other.rival().shift.tolist()
    assert same(figures["all"] * one.rival().margin, other.rival().margin)
    assert same(grad * one.grad, other.grad)


# ---- powers of two ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-41, -3, 1, 60])
@pytest.mark.parametrize("name", MODERATE)
def test_inputs_times_a_power_of_two(name, power):
    # The fourth powers of metatrain-2025.12 scale otherwise: there the terms do not scale alike.
    factor = 2.0**power
    for batch, points, extra in SIZES:
        case = hard(name, [batch, 60], batch, points, extra)
        scaled = Case(factor * case.predictions, factor * case.targets, case.mask)
        for convention in ("documented", "intended", "metatrain-2026.2", TOTAL):
            options = {"reduction": "mean"} if convention == "metatrain-2026.2" else {}
            one, other = evaluate(case, convention, **options), evaluate(scaled, convention, **options)
            assert_scaled(one, other, {"all": factor**2}, factor)
        for convention in SHIFT_AGNOSTIC:
            one, other = agnostic(case, convention), agnostic(scaled, convention)
            assert_scaled(one, other, {"all": factor**2}, factor)


@pytest.mark.parametrize("name", MODERATE)
def test_accumulated_squares_scale_with_the_fourth_power(name):
    case = hard(name, [61], 3, 12, 7)
    scaled = Case(8 * case.predictions, 8 * case.targets, case.mask)
    one, other = (evaluate(c, "metatrain-2025.12", reduction="mean") for c in (case, scaled))
    for name in TERMS:
        power = 4 if name == "cumulative" else 2
        assert same(8.0**power * getattr(one.terms, name), getattr(other.terms, name)), name


@pytest.mark.parametrize("power", [-7, 2, 5])
@pytest.mark.parametrize("name", MODERATE)
def test_inputs_and_step_times_powers_of_two(name, power):
    # D and F go with dx, G with 1/dx, C with dx³. With each weight made up for it, all of the loss goes with dx.
    factor, step = 4.0, 2.0**power
    weights = {"grad_weight": 0.013, "int_weight": 1.7}
    made_up = {"grad_weight": 0.013 * step**2, "int_weight": 1.7 / step**2}
    for batch, points, extra in SIZES:
        case = hard(name, [batch, 62], batch, points, extra)
        scaled = Case(factor * case.predictions, factor * case.targets, case.mask)
        for convention in ("documented", "intended", TOTAL):
            one = evaluate(case, convention, energy_step=0.05, **weights)
            other = evaluate(scaled, convention, energy_step=0.05 * step, **made_up)
            figures = {
                "all": step * factor**2,
                "unmasked_gradient": factor**2 / step,
                "cumulative": factor**2 * step**3,
            }
            assert_scaled(one, other, figures, step * factor)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("name", MODERATE)
def test_pointwise_inputs_times_a_power_of_two(name, loss):
    case = hard(name, [63], 3, 30, 0)
    for power in (-41, 1, 60):
        factor = 2.0**power
        squared, slope = (factor, 1.0) if loss == "mae" else (factor**2, factor)
        for reduction in ("mean", "sum", "none"):
            found = [
                getattr(refloss, loss)(
                    scale * case.predictions,
                    scale * case.targets,
                    mask=case.mask,
                    reduction=reduction,
                    grad=True,
                    **({"delta": 0.7 * scale} if loss == "huber" else {}),
                )
                for scale in (1.0, factor)
            ]
            assert same(squared * np.asarray(found[0].value), found[1].value)
            assert same(slope * found[0].grad, found[1].grad)


@pytest.mark.parametrize("name", MODERATE)
def test_opposite_signs(name):
    case = hard(name, [64], 3, 12, 7)
    turned = Case(-case.predictions, -case.targets, case.mask)
    for convention in ("documented", "intended", TOTAL):
        assert_scaled(evaluate(case, convention), evaluate(turned, convention), {"all": 1.0}, -1.0)
    assert_scaled(agnostic(case, "intended"), agnostic(turned, "intended"), {"all": 1.0}, -1.0)


# ---- mirrors ---------------------------------------------------------------------------------------------------


def mirrored(case: Case) -> Case:
    return Case(*(np.ascontiguousarray(rows[:, ::-1]) for rows in (case.predictions, case.targets, case.mask)))


@pytest.mark.parametrize("name", MODERATE)
def test_the_misfit_has_a_mirror_image(name):
    # D(s) of the mirrored inputs is D(E − s): the sums run the other way round, and the exact figure is the same.
    for batch, points, extra in [*SIZES, (1, 65, 40)]:
        case = hard(name, [batch, 65], batch, points, extra)
        one, other = evaluate(case, "documented"), evaluate(mirrored(case), "documented")
        assert np.allclose(one.landscape()[:, ::-1], other.landscape(), rtol=2.0**-52, atol=0)
        assert same(one.tied, other.tied)
        clear = ~one.tied & (one.runner_up >= 0)
        assert same(extra - one.shift[clear], other.shift[clear])
        # Both margins are the exact one, rounded: neighbours at the most.
        assert np.allclose(one.margin, other.margin, rtol=2.0**-52, atol=0)
        assert np.allclose(one.terms.dos, other.terms.dos, rtol=2.0**-52, atol=0)


@pytest.mark.parametrize("points", [9, 16, 33, 70])
def test_both_images_in_a_palindrome_are_as_good(points):
    case = palindromic(np.random.default_rng([points, 66]), 4, points, 7)
    drawn = evaluate(case, "documented").landscape()
    # One exact number, rounded twice from sums in another order: neighbours at the most.
    assert np.allclose(drawn, drawn[:, ::-1], rtol=2.0**-52, atol=0)
    found = evaluate(case, "documented")
    assert found.tied.all()
    assert same(found.shift + found.runner_up, np.full(4, 7))


# ---- zeros beside the prediction, and structures beside a structure ----------------------------------------------


@pytest.mark.parametrize("name", MODERATE)
def test_points_behind_the_last_window_that_fits(name):
    # More prediction behind: more shifts, none of which wins where its window would have to fit 1e60.
    for batch, points, extra in SIZES:
        case = hard(name, [batch, 67], batch, points, extra)
        mask = case.mask.copy()
        mask[:, -1] = True
        case = Case(case.predictions, case.targets, mask)
        longer = case.replace_predictions(np.pad(case.predictions, ((0, 0), (0, 3)), constant_values=1e60))
        one, other = evaluate(case, "documented"), evaluate(longer, "documented")
        for figure in ("value", "per_structure", "shift"):
            assert same(getattr(one, figure), getattr(other, figure)), figure
        for term in TERMS:
            assert same(getattr(one.terms, term), getattr(other.terms, term)), term
        assert same(one.landscape(), other.landscape()[:, : extra + 1])
        assert same(one.grad, other.grad[:, : points + extra])
        assert not other.grad[:, points + extra :].any()


@pytest.mark.parametrize("name", ["generic", "trained", "palindromic", "plateau", "runs", "integers"])
def test_zeros_in_front_of_the_prediction_shift_it(name):
    # Far above 0, a window that has a zero under its first point, which counts, is worse than any that has none.
    for batch, points, extra in [(3, 12, 7), (2, 40, 9)]:
        case = hard(name, [batch, 68], batch, points, extra)
        mask = case.mask.copy()
        mask[:, 0] = True
        case = Case(1e4 + case.predictions, 1e4 + case.targets, mask)
        wider = case.replace_predictions(np.pad(case.predictions, ((0, 0), (5, 0))))
        one, other = evaluate(case, "documented"), evaluate(wider, "documented")
        assert same(one.landscape(), other.landscape()[:, 5:])
        assert same(one.shift + 5, other.shift)
        assert same(one.runner_up + 5, other.runner_up)
        assert same(one.margin, other.margin)
        assert same(one.terms.dos, other.terms.dos)
        assert same(one.terms.cumulative, other.terms.cumulative)


@pytest.mark.parametrize("convention", ["documented", "intended", TOTAL], ids=by_name)
@pytest.mark.parametrize("name", list(HARD))
def test_a_structure_alone_and_among_others(name, convention):
    rng = np.random.default_rng([len(name), 69])
    case, more = HARD[name](rng, 3, 12, 7), generic(rng, 2, 12, 7)
    joined = Case(
        np.concatenate([more.predictions[:1], case.predictions, more.predictions[1:]]),
        np.concatenate([more.targets[:1], case.targets, more.targets[1:]]),
        np.concatenate([more.mask[:1], case.mask, more.mask[1:]]),
    )
    one, other = evaluate(case, convention, reduction="none"), evaluate(joined, convention, reduction="none")
    for figure in ("value", "per_structure", "margin", *CHOICES, "grad"):
        assert same(getattr(one, figure), getattr(other, figure)[1:4]), figure
    for term in TERMS:
        assert same(getattr(one.terms, term), getattr(other.terms, term)[1:4]), term
    assert same(one.landscape(), other.landscape()[1:4])
    if convention == "intended":
        alone, among = agnostic(case, "intended", reduction="none"), agnostic(joined, "intended", reduction="none")
        for figure in ("value", "margin", *CHOICES, "grad"):
            assert same(getattr(alone, figure), getattr(among, figure)[1:4]), figure


@pytest.mark.parametrize("name", list(HARD))
def test_the_order_of_a_batch(name):
    rng = np.random.default_rng([len(name), 70])
    case = HARD[name](rng, 6, 12, 7)
    order = rng.permutation(6)
    turned = Case(case.predictions[order], case.targets[order], case.mask[order])
    for run, convention in ((evaluate, "documented"), (evaluate, "intended"), (agnostic, "intended")):
        one, other = run(case, convention, reduction="sum"), run(turned, convention, reduction="sum")
        for figure in ("per_structure", "margin", *CHOICES, "grad"):
            assert same(getattr(one, figure)[order], getattr(other, figure)), figure
        # The sum over structures is rounded once from the exact one, in any order: neighbours at the most.
        assert abs(one.value - other.value) <= np.spacing(abs(one.value))


@pytest.mark.parametrize("name", MODERATE)
def test_what_no_point_counts_does_not_enter_the_misfit(name):
    rng = np.random.default_rng([len(name), 71])
    case = HARD[name](rng, 3, 12, 7)
    mask = random_mask(rng, 3, 12)
    one = evaluate(Case(case.predictions, case.targets, mask), "documented")
    other = evaluate(Case(case.predictions, np.where(mask, case.targets, 3.25), mask), "documented")
    for name in CHOICES:
        assert same(getattr(one, name), getattr(other, name)), name
    assert same(one.terms.dos, other.terms.dos)
    assert same(one.margin, other.margin)


def test_released_conventions_differ_only_where_their_switches_do():
    case = generic(np.random.default_rng(72), 4, 12, 7)
    new, old = (evaluate(case, name, reduction="mean") for name in ("metatrain-2026.2", "metatrain-2025.12"))
    assert set(MASKED_DOS) == {"documented", "intended", "metatrain-2026.2", "metatrain-2025.12"}
    for term in ("dos", "front_tail", "unmasked_gradient"):
        assert same(getattr(new.terms, term), getattr(old.terms, term)), term
    assert (new.terms.cumulative != old.terms.cumulative).all()
    own = Convention("own", "dos", False, "window", "exact", "structure", "dos")
    assert same(evaluate(case, own).per_structure, evaluate(case, "documented").per_structure)
