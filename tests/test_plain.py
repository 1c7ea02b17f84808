"""The page of NumPy against the oracle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import oracle
import oracle_agnostic
import oracle_ensemble
import pytest
from strategies import conventions, generic

from refloss import plain

# Plain sums over at most 12 points of magnitude 1, c accumulated once and squared: some hundred roundings of 1e-16.
TOLERANCE = 1e-13


@pytest.mark.parametrize("convention", list(conventions()), ids=lambda convention: convention.name)
@pytest.mark.parametrize(("batch", "points", "extra"), [(3, 9, 3), (1, 4, 5), (2, 2, 0)])
def test_masked_dos(convention, batch, points, extra):
    rng = np.random.default_rng([batch, points, extra])
    case = generic(rng, batch, points, extra)
    case.targets[~case.mask & (rng.random(case.mask.shape) < 0.5)] = np.nan
    options = {"energy_step": 0.05, "grad_weight": 0.02, "int_weight": 1.5}
    found = plain.masked_dos(case.predictions, case.targets, case.mask, convention=convention, **options)
    exact = oracle.masked_dos(*case.lists(), convention, **options, gradient=False)
    assert found.shift.tolist() == [structure.shift for structure in exact.structures]
    for name in ("dos", "front_tail", "unmasked_gradient", "cumulative"):
        assert_close(getattr(found, name), [getattr(structure, name) for structure in exact.structures])
    assert_close(found.per_structure, [structure.total for structure in exact.structures])
    assert_close([found.per_structure.mean()], [exact.value])


@pytest.mark.parametrize("name", list(oracle.CONVENTIONS))
def test_named_conventions_are_those_of_the_specification(name):
    case = generic(np.random.default_rng(7), 4, 8, 3)
    found = plain.masked_dos(case.predictions, case.targets, case.mask, convention=name)
    exact = oracle.masked_dos(*case.lists(), oracle.CONVENTIONS[name], gradient=False)
    assert_close(found.per_structure, [structure.total for structure in exact.structures])


def test_default_convention_is_documented_with_any_step():
    case = generic(np.random.default_rng(8), 3, 8, 3)
    found = plain.masked_dos(case.predictions, case.targets, case.mask, energy_step=0.31)
    exact = oracle.masked_dos(*case.lists(), oracle.CONVENTIONS["documented"], 0.31, gradient=False)
    assert_close(found.per_structure, [structure.total for structure in exact.structures])


@pytest.mark.parametrize("convention", list(conventions()), ids=lambda convention: convention.name)
@pytest.mark.parametrize(("batch", "width", "points"), [(3, 6, 8), (1, 7, 4), (2, 3, 9)])
def test_shift_agnostic_mse(convention, batch, width, points):
    rng = np.random.default_rng([batch, width, points])
    predictions, targets = rng.normal(size=(batch, width)), rng.normal(size=(batch, points))
    targets[rng.random(targets.shape) < 0.2] = np.nan
    if convention.objective == "dos":
        # Windows in the padding tie, and rounded sums need not: here the prediction fits, so that none of them is best.
        targets[:, : min(points, width)] = 1.1 * predictions[:, : min(points, width)]
    options = {"energy_step": 0.05, "grad_penalty_weight": 0.02, "int_weight": 1.5}
    found = plain.shift_agnostic_mse(predictions, targets, convention=convention, **options)
    exact = oracle_agnostic.shift_agnostic_mse(
        predictions.tolist(), targets.tolist(), convention, **options, gradient=False
    )
    assert found.shift.tolist() == [structure.shift for structure in exact.structures]
    for name in ("dos", "front_tail", "unmasked_gradient", "cumulative"):
        assert_close(getattr(found, name), [getattr(structure, name) for structure in exact.structures])
    assert_close(found.per_structure, [structure.total for structure in exact.structures])


@pytest.mark.parametrize("name", list(oracle_agnostic.CONVENTIONS))
def test_named_conventions_of_shift_agnostic_mse(name):
    rng = np.random.default_rng(11)
    predictions, targets = rng.normal(size=(4, 6)), rng.normal(size=(4, 7))
    found = plain.shift_agnostic_mse(predictions, targets, convention=name)
    exact = oracle_agnostic.shift_agnostic_mse(
        predictions.tolist(), targets.tolist(), oracle_agnostic.CONVENTIONS[name], gradient=False
    )
    assert_close(found.per_structure, [structure.total for structure in exact.structures])
    default = plain.shift_agnostic_mse(predictions, targets)
    assert (name == "intended") == np.array_equal(default.per_structure, found.per_structure)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_pointwise(loss, masked):
    rng = np.random.default_rng(9)
    predictions, targets = rng.normal(size=(2, 4, 5))
    targets[rng.random(targets.shape) < 0.2] = np.nan
    mask = rng.random(targets.shape) < 0.6 if masked else None
    options = {"delta": 0.7} if loss == "huber" else {}
    found = getattr(plain, loss)(predictions, targets, mask=mask, **options)
    flat = None if mask is None else mask.ravel().tolist()
    exact = oracle.pointwise(loss, predictions.ravel().tolist(), targets.ravel().tolist(), flat, "none", **options)
    assert_close(found, exact.value)
    if masked:
        assert 0 < exact.count < np.count_nonzero(~np.isnan(targets))


def test_trapezoid_of_few_points():
    assert [plain.trapezoid(np.ones(n), 0.5) for n in range(5)] == [0.0, 0.0, 0.5, 1.0, 1.5]


def test_the_ensemble_losses():
    rng = np.random.default_rng(31)
    mean, targets, variance = rng.normal(size=(3, 20))
    variance = np.abs(variance)
    variance[:3] = 0.0
    for kind, found in (
        ("nll", plain.gaussian_nll(mean, targets, variance)),
        ("crps", plain.gaussian_crps(mean, targets, variance)),
    ):
        exact = [
            oracle_ensemble.gaussian(kind, *case).element
            for case in zip(mean.tolist(), targets.tolist(), variance.tolist(), strict=True)
        ]
        # A difference of numbers of magnitude 1 over σ = 1e-3 or 1e-6: its square is off by 1e-15 or so, relatively.
        assert found == pytest.approx([float(figure.value) for figure in exact], rel=TOLERANCE)
    ensemble = rng.normal(size=(20, 5))
    exact = [oracle_ensemble.empirical(*case)[0] for case in zip(ensemble.tolist(), targets.tolist(), strict=True)]
    assert_close(plain.empirical_crps(ensemble, targets), exact)


def assert_close(found, exact):
    for value, wanted in zip(found, exact, strict=True):
        assert abs(Fraction(float(value)) - wanted) <= TOLERANCE * abs(wanted)
