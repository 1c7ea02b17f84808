"""The usual mistakes, computed: right where nothing is slipped, different in each slip, consistent in themselves."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from refloss.conventions import LOSSES
from refloss.crosscheck import misread, misread_pointwise
from refloss.crosscheck.candidates import Returned
from refloss.crosscheck.cases import Case, cases
from refloss.crosscheck.formats import find
from refloss.crosscheck.misread_terms import Reading
from refloss.crosscheck.mistakes import Explainer, explain, mistaken, named
from refloss.crosscheck.reference import reference
from refloss.crosscheck.slips import ALIGNED

POINTWISE_LOSSES = ("mse", "mae", "huber", "masked_mse", "masked_mae", "masked_huber")
FLOAT64 = find("float64")


def generic(loss: str, seed: int = 0, reduction: str = "mean", **params: float) -> Case:
    """A small batch at a generic point: no shift at an edge is favoured, every mask and every weight counts."""
    random = np.random.default_rng(seed)
    batch, points, extra = 3, 12, 5
    if loss not in LOSSES:
        predictions, targets = random.normal(size=(2, batch, points))
        mask = random.random((batch, points)) < 0.6 if loss.startswith("masked") else None
        targets[0, 1] = np.nan if mask is None else targets[0, 1]
        given = {"reduction": reduction} | ({"delta": 0.4} if loss.endswith("huber") else {}) | params
        return Case("generic", loss, predictions, targets, mask, MappingProxyType(given), frozenset(), "")
    predictions = random.normal(size=(batch, points + extra))
    targets = predictions[:, 2 : 2 + points] + 0.3 * random.normal(size=(batch, points))
    mask = random.random((batch, points)) < 0.6
    name = "grad_weight" if loss == "masked_dos" else "grad_penalty_weight"
    given = {"energy_step": 0.3, name: 0.02, "int_weight": 0.7, "reduction": reduction} | params
    if loss == "shift_agnostic_mse":
        targets, mask = np.where(mask, targets, np.nan), None
    return Case("generic", loss, predictions, targets, mask, MappingProxyType(given), frozenset(), "")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_a_slip_an_aligned_loss_is_right(loss: str, reduction: str) -> None:
    for seed in range(5):
        for rule in LOSSES[loss].values():
            if reduction not in rule.reductions:
                continue
            step = rule.energy_step or 0.3
            case = generic(loss, seed, reduction, energy_step=step)
            golden, found = reference(case, rule), misread.aligned(case, rule, Reading())
            assert found is not None
            assert found["shift"].tolist() == golden.shift.tolist()
            for name, figure in golden.figures.items():
                # Float64 sums of some dozens of numbers of magnitude 1, and the stencil's factors of some hundreds.
                np.testing.assert_allclose(found[name], figure, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("loss", POINTWISE_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_a_slip_a_pointwise_loss_is_right(loss: str, reduction: str) -> None:
    case = generic(loss, reduction=reduction)
    golden, found = reference(case), misread_pointwise.pointwise(case, misread_pointwise.Reading())
    assert found is not None
    value = golden.elements if golden.value is None else golden.value
    np.testing.assert_allclose(found["value"], value, rtol=1e-14)
    np.testing.assert_allclose(found["grad"], golden.grad, rtol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_slip_has_a_derivative_that_belongs_to_it(loss: str) -> None:
    """Along a line through the predictions the loss at a fixed shift is a polynomial: its slope is the gradient."""
    case = generic(loss)
    direction = np.random.default_rng(1).normal(size=case.predictions.shape)
    step = 1e-5
    tried = 0
    for name, slip in ALIGNED.items():
        if slip.slope != "right" or slip.misfit == "absolute":
            continue
        for rule in LOSSES[loss].values():
            at = misread.aligned(case, rule, slip)
            if at is None:
                continue
            ends = []
            for sign in (-1, 1):
                moved = Case(
                    case.id, loss, case.predictions + sign * step * direction, case.targets, case.mask, case.params,
                    case.flags, "",
                )  # fmt: skip
                found = misread.aligned(moved, rule, slip)
                assert found is not None
                assert found["shift"].tolist() == at["shift"].tolist(), name
                ends.append(float(found["value"]))
            slope = (ends[1] - ends[0]) / (2 * step)
            # Central differences: rounding of 1e-16 of the value over the step, and the step squared.
            assert slope == pytest.approx(np.sum(at["grad"] * direction), rel=1e-6, abs=1e-9 * abs(ends[0])), name
            tried += 1
    assert tried > 80


def test_every_mistake_can_be_told_from_the_right_loss() -> None:
    """Each name of the list changes a figure of some case of the core suite, under some convention."""
    silent = set(ALIGNED)
    for loss, conventions in LOSSES.items():
        for case in cases(loss, format=FLOAT64):
            for rule in conventions.values():
                right = misread.aligned(case, rule, Reading())
                silent -= {name for name in silent if _differs(mistaken(name, case, rule), right)}
            if not silent:
                return
    assert not silent


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_every_pointwise_mistake_can_be_told_from_the_right_loss(loss: str) -> None:
    silent = set(named(loss))
    for one in (loss, f"masked_{loss}"):
        for case in cases(one, format=FLOAT64):
            right = misread_pointwise.pointwise(case, misread_pointwise.Reading())
            silent -= {name for name in silent if _differs(mistaken(name, case), right)}
    assert not silent


def _differs(found: object, right: object) -> bool:
    if found is None or right is None:
        return False
    assert isinstance(found, dict)
    assert isinstance(right, dict)
    return any(
        found[name].shape != right[name].shape or not np.allclose(found[name], right[name], equal_nan=False)
        for name in right
    )


def found(case: Case, name: str, *figures: str, noise: float = 0.0, convention: str | None = "intended") -> Returned:
    """Return some figures of a case as an implementation with a mistake has them, and with roundings of its own."""
    every = mistaken(name, case, convention if case.loss in LOSSES else None)
    assert every is not None
    random = np.random.default_rng(2)
    given = {
        key: every[key] * (1 + noise * random.uniform(-1, 1, every[key].shape)) if key != "shift" else every[key]
        for key in figures or every
    }
    return Returned(given, dict.fromkeys(given, "float32"))


@pytest.mark.parametrize("loss", [*LOSSES, *POINTWISE_LOSSES])
def test_a_mistake_is_named_from_value_and_gradient(loss: str) -> None:
    """Of the mistakes that change this one case, most are named, and none by the name of another that differs."""
    case, form = generic(loss), find("float32")
    convention = "intended" if loss in LOSSES else None
    rightly = 0
    tried = list(named(loss))[:: 4 if loss in LOSSES else 1]  # each is compared with all: squares add up
    for name in tried:
        figures = mistaken(name, case, convention)
        if not _differs(figures, mistaken_nothing(case)):
            continue
        returned = found(case, name, "value", "grad", noise=2.0**-23, convention=convention)
        fitting = Explainer(convention, form).fitting(case, returned)
        assert not fitting or name in fitting, (name, fitting)
        rightly += name in fitting
    assert rightly >= 12


def mistaken_nothing(case: Case) -> object:
    if case.loss in LOSSES:
        return misread.aligned(case, LOSSES[case.loss]["intended"], Reading())
    return misread_pointwise.pointwise(case, misread_pointwise.Reading())


def test_a_right_result_is_consistent_with_no_mistake() -> None:
    form = find("float32")
    for loss in (*LOSSES, *POINTWISE_LOSSES):
        case = generic(loss)
        right = mistaken_nothing(case)
        assert isinstance(right, dict)
        returned = Returned(right, dict.fromkeys(right, "float32"))
        assert explain(case, returned, "intended" if loss in LOSSES else None, form) == ""


def test_a_mistake_that_the_list_does_not_have_is_not_named() -> None:
    case, form = generic("masked_dos"), find("float32")
    right = mistaken_nothing(case)
    assert isinstance(right, dict)
    for factor in (1.001, 0.3, 1.5):
        returned = Returned({name: factor * right[name] for name in ("value", "grad")}, {})
        assert explain(case, returned, "intended", form) == ""


def test_the_run_is_explained_by_what_accounts_for_most_of_it() -> None:
    form = find("float32")
    explainer = Explainer("intended", form)
    for seed in range(4):
        case = generic("masked_dos", seed)
        said = explainer.explain(case, found(case, "mask inverted", "value", "grad"))
        assert "mask inverted" in said
    case = generic("masked_dos", 9)
    explainer.explain(case, found(case, "weights swapped", "value"))
    assert explainer.best() == ("mask inverted",)
    assert explainer.summary() == "4 of 5 failures that were looked into are consistent with: mask inverted"


def test_a_gradient_that_is_wrong_beside_a_right_value_is_named() -> None:
    case, form = generic("masked_dos"), find("float32")
    name = "gradient of the running sum not reversed"
    assert explain(case, found(case, name), "intended", form) == f"consistent with: {name}"


def test_the_shift_that_was_taken_is_believed() -> None:
    """With its shift given, an implementation that aligns wrongly is told from one that sums wrongly."""
    told = Explainer("intended", find("float32"))
    for seed in range(6):
        case = generic("masked_dos", seed)
        returned = found(case, "no alignment", "value", "shift", "grad")
        if not np.array_equal(returned.figures["shift"], reference(case, "intended").shift):
            told.explain(case, returned)
    assert told.best() == ("no alignment",)
