"""gaussian_nll, gaussian_crps and empirical_crps against the oracle."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from fractions import Fraction

import numpy as np
import oracle
import oracle_ensemble
import pytest
from checks import FIGURE_ULPS, GRAD_ULPS
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

import refloss
from refloss import InputError, ensemble

ULPS = 4.0
"""Of the sum of the absolute summands: what section 9 of the specification allows for log, exp, erf and erfc."""

GAUSSIAN = {"nll": refloss.gaussian_nll, "crps": refloss.gaussian_crps}
OF_MEMBERS = {"nll": ensemble.gaussian_nll_of_members, "crps": ensemble.gaussian_crps_of_members}
KINDS = tuple(GAUSSIAN)
REDUCTIONS = ("mean", "sum", "none")


def divided(count, reduction):
    return max(count, 1) if reduction == "mean" else 1


def assert_values(found, figures, reduction):
    """Compare the value with the exact elements, those of NaN targets left out."""
    assert found.count == len(figures)
    if reduction == "none":
        assert found.value.shape == (found.count,)
        pairs = list(zip(found.value.tolist(), figures, strict=True))
    else:
        assert isinstance(found.value, float)
        pairs = [(found.value, oracle_ensemble.total(figures, divided(len(figures), reduction)))]
    assert all(oracle_ensemble.error(value, figure) <= ULPS for value, figure in pairs)


def assert_slopes(found, figures, divisor):
    for slope, figure in zip(found.ravel().tolist(), figures, strict=True):
        assert oracle_ensemble.error(slope, figure.times(Fraction(1, divisor))) <= ULPS, (slope, figure)


def check_gaussian(kind, mean, targets, variance, reduction="mean"):
    given_arrays = [np.asarray(a) for a in (mean, targets, variance)]
    before = [a.tobytes() for a in given_arrays]
    found = GAUSSIAN[kind](mean, targets, variance, reduction=reduction, grad=True)
    assert [a.tobytes() for a in given_arrays] == before
    mean, targets, variance = (np.asarray(a, np.float64) for a in (mean, targets, variance))
    assert found.selected.tolist() == (~np.isnan(targets)).tolist()
    exact = [
        None if math.isnan(t) else oracle_ensemble.gaussian(kind, m, t, v)
        for m, t, v in zip(mean.ravel().tolist(), targets.ravel().tolist(), variance.ravel().tolist(), strict=True)
    ]
    there = [figures for figures in exact if figures is not None]
    assert_values(found, [figures.element for figures in there], reduction)
    divisor = divided(len(there), reduction)
    for slopes, name in ((found.grad, "by_mean"), (found.grad_variance, "by_variance")):
        assert slopes.shape == mean.shape
        assert_slopes(slopes, [getattr(figures, name, oracle_ensemble.NOTHING) for figures in exact], divisor)
    return found


def check_members(kind, members, targets, reduction="mean"):
    found = OF_MEMBERS[kind](members, targets, reduction=reduction, grad=True)
    rows, flat = members.reshape(targets.size, -1).tolist(), targets.ravel().tolist()
    exact = [
        None if math.isnan(t) else oracle_ensemble.of_members(kind, row, t) for row, t in zip(rows, flat, strict=True)
    ]
    there = [figures for figures in exact if figures is not None]
    assert_values(found, [figures.element for figures in there], reduction)
    nothing = [oracle_ensemble.NOTHING] * len(rows[0])
    slopes = [slope for figures in exact for slope in (nothing if figures is None else figures.by_member)]
    assert found.grad.shape == members.shape
    assert_slopes(found.grad, slopes, divided(len(there), reduction))
    assert found.grad_variance is None
    return found


def check_empirical(members, targets, reduction="mean"):
    """The empirical score is rational: its value is rounded once, its gradient twice at most."""
    members, targets = np.asarray(members, np.float64), np.asarray(targets, np.float64)
    found = refloss.empirical_crps(members, targets, reduction=reduction, grad=True)
    rows, flat = members.reshape(targets.size, -1).tolist(), targets.ravel().tolist()
    exact = [None if math.isnan(t) else oracle_ensemble.empirical(row, t) for row, t in zip(rows, flat, strict=True)]
    values = [figures[0] for figures in exact if figures is not None]
    divisor = divided(len(values), reduction)
    assert found.count == len(values)
    if reduction == "none":
        pairs = list(zip(found.value.tolist(), values, strict=True))
    else:
        pairs = [(found.value, sum(values, Fraction()) / divisor)]
    assert all(oracle.ulps(value, figure) <= FIGURE_ULPS for value, figure in pairs)
    assert found.grad.shape == members.shape
    slopes = [slope for figures in exact for slope in (figures[1] if figures else [Fraction()] * len(rows[0]))]
    for slope, figure in zip(found.grad.ravel().tolist(), slopes, strict=True):
        assert oracle.ulps(slope, figure / divisor) <= GRAD_ULPS
    return found


def generic(rng, shape):
    mean, targets = rng.normal(size=(2, *shape))
    return mean, np.where(rng.random(shape) < 0.1, np.nan, targets), rng.gamma(1.0, size=shape)


# ---- examples ----------------------------------------------------------------------------------------------------


def test_examples_that_are_known():
    assert refloss.gaussian_nll([1.0], [3.0], [1.0]).value == 2.0
    assert refloss.gaussian_nll([1.0], [1.0], [math.e]).value == pytest.approx(0.5, rel=1e-15)
    # At z = 0 the score is σ (√2 − 1)/√π; of one certain member it is the absolute error.
    assert refloss.gaussian_crps([7.0], [7.0], [4.0]).value == pytest.approx(
        2 * (math.sqrt(2) - 1) / math.sqrt(math.pi)
    )
    assert refloss.empirical_crps([[2.5]], [-1.0]).value == 3.5
    # |0 − 1| and |2 − 1| less half of the mean of 0, 2, 2, 0.
    assert refloss.empirical_crps([[0.0, 2.0]], [1.0]).value == 0.5


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 4, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_gaussian(kind, shape, reduction):
    check_gaussian(kind, *generic(np.random.default_rng([*shape, 1]), shape), reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("members", [2, 3, 8, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_of_members(kind, members, reduction):
    rng = np.random.default_rng(members)
    targets = generic(rng, (6, 2))[1]
    check_members(kind, rng.normal(size=(6, 2, members)), targets, reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("members", [1, 2, 3, 4, 9, 40])
def test_empirical(members, reduction):
    rng = np.random.default_rng(members)
    check_empirical(rng.normal(size=(6, 2, members)), generic(rng, (6, 2))[1], reduction)


def test_many_elements():
    rng = np.random.default_rng(1)
    mean, targets, variance = generic(rng, (2 * 1024 + 5,))
    check_gaussian("crps", mean, targets, variance)
    check_empirical(rng.normal(size=(1030, 2)), rng.normal(size=1030))


# ---- hard numbers ------------------------------------------------------------------------------------------------

Z = [
    0.0,
    5e-324,
    1e-200,
    1e-20,
    1e-8,
    0.1,
    0.6,
    0.7071,
    0.75,
    1.0,
    2.0,
    3.0,
    5.0,
    6.5,
    8.0,
    9.0,
    20.0,
    38.0,
    38.6,
    40.0,
]
FAR = [63.9, 64.0, 64.1, 100.0, 1e5, 1e20, 1e150]


@pytest.mark.parametrize("variance", [1e-6, 1e-5, 0.3, 1.0, 1.0 - 2**-53, 1.0 + 2**-52, 17.0, 1e100, 1e300, 1.7e308])
@pytest.mark.parametrize("kind", KINDS)
def test_every_distance_from_the_target(kind, variance):
    z = np.array([*Z, *FAR])
    z = z[z * math.sqrt(variance) < (1e150 if kind == "nll" else 1e300)]
    z = np.concatenate([z, -z])
    check_gaussian(kind, np.zeros(z.size), z * math.sqrt(variance), np.full(z.size, variance), "none")


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_nearly_the_mean_of_large_numbers(kind):
    rng = np.random.default_rng(5)
    targets = 1e8 + rng.normal(size=40)
    check_gaussian(kind, targets + 1e-7 * rng.normal(size=40), targets, 1e-14 * rng.gamma(1.0, size=40) + 1e-6, "none")
    # The rounding of the mean alone would be as large as z itself.
    members = 1e8 + rng.normal(size=(40, 5)) * 1e-5
    check_members(kind, members, members.mean(axis=-1), "none")
    check_empirical(members, members.mean(axis=-1), "none")


@pytest.mark.parametrize("members", [3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_the_rounded_mean(kind, members):
    """What is left of their difference has lost half of a double-double, and it is all that moves the mean."""
    y = 1e-7 * np.random.default_rng(members).normal(size=(60, members))
    targets = np.array([float(sum(map(Fraction, row)) / members) for row in y.tolist()])
    found = check_members(kind, y, targets, "none")
    assert found.grad.any()
    check_members(kind, y * 1e9, targets * 1e9, "none")  # here the variance is above the floor


@pytest.mark.parametrize("target", [-1e8, 1e-12, 1e200])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spread_that_is_small_beside_the_distance(kind, target):
    """A variance about the target, or about 0, would lose the spread."""
    if kind == "nll" and target == 1e200:
        target = 1e150
    check_members(kind, 0.25 + np.random.default_rng(6).normal(size=(3, 4)) * 1e-2, np.full(3, target), "none")


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor_of_the_variance(kind):
    floor = oracle_ensemble.FLOORS[kind]
    variance = np.array(
        [0.0, -0.0, 5e-324, floor / 2, np.nextafter(floor, 0), floor, np.nextafter(floor, 1), 2 * floor]
    )
    targets = np.full(8, 0.3 * math.sqrt(floor))
    found = check_gaussian(kind, np.zeros(8), targets, variance, "none")
    assert (found.grad_variance != 0).tolist() == [False] * 5 + [True] * 3
    assert len(set(found.value[:6])) == 1  # at the floor nothing jumps
    assert found.value[7] != found.value[0]


@pytest.mark.parametrize("kind", KINDS)
def test_members_about_the_floor_of_the_variance(kind):
    half = math.sqrt(oracle_ensemble.FLOORS[kind] / 2)  # ± this have the variance at the floor, to a rounding
    beside = set()
    for factor in (0.0, 0.5, *(1 + k * 2**-52 for k in range(-3, 4)), 2.0):
        for count in range(2, 8):
            members = np.array([[1.0, *[0.0] * (count - 2), -1.0]]) * math.sqrt(count - 1) * half * factor
            found = check_members(kind, members, np.array([half / 3]), "none")
            y, floor = [Fraction(x) for x in members[0].tolist()], Fraction(oracle_ensemble.FLOORS[kind])
            mean = sum(y) / len(y)
            variance = sum((x - mean) ** 2 for x in y) / (len(y) - 1)
            assert (found.grad[0, 0] == found.grad[0, -1]) == (variance < floor)  # below, members move the mean alone
            if float(variance) == float(floor):
                beside.add(variance < floor)
    assert beside == {False, True}  # what a rounded variance could not tell


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("factor", [1e150, 1e-150, 1e-310])
def test_large_and_small_numbers(factor, reduction):
    rng = np.random.default_rng(7)
    members, targets = factor * rng.normal(size=(20, 4)), factor * rng.normal(size=20)
    check_empirical(members, targets, reduction)
    for kind in KINDS:
        check_gaussian(kind, members[:, 0], targets, np.full(20, factor), reduction)
        check_members(kind, members, targets, reduction)


def test_a_likelihood_that_is_all_square_and_underflows():
    # ln 1 is 0, so the squares are all there is: 1e-320 each, of which a rounding would take four digits.
    rng = np.random.default_rng(8)
    check_gaussian("nll", 1e-160 * rng.normal(size=50), np.zeros(50), np.ones(50), "sum")
    check_gaussian("nll", 1e-160 * rng.normal(size=5), np.zeros(5), np.ones(5), "none")
    check_gaussian("nll", np.full(3, 1e-180), np.zeros(3), np.ones(3), "none")


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_what_overflows_on_the_way_to_a_representable_figure(reduction):
    top = 1.7e308
    check_gaussian("crps", [top, 1.0], [-top / 50, 1.0], [1.0, top], reduction)
    check_gaussian("crps", [-top, 0.0, 0.0], [top, 0.0, 1.0], [top, 1.0, 1.0], "mean")  # their difference is beyond
    check_gaussian("nll", [1e200, 1.0], [0.0, 2.0], [1e250, 1e-300], reduction)  # the square is
    check_gaussian("nll", [-top, 0.0], [0.3 * top, 1.0], [top, 1.0], reduction)
    check_empirical([[top, -top, top], [0.0, 1.0, 2.0]], [-top / 2, 0.5], reduction)
    check_empirical([[top] * 3, [0.0] * 3], [-top / 3, 0.0], "mean")  # one element is beyond, their mean is not
    members = np.array([[top, -top, top / 3], [1.0, 2.0, 4.0]])
    for kind in KINDS:
        check_members(kind, members, np.array([-top / 2, 2.5]), reduction)
        check_members(kind, members * 1e-120, np.array([-top * 1e-120, 2.5]), reduction)
    check_members("crps", 1e160 * np.array([[1.0, 2.0, 4.0]]), np.array([1e160]), reduction)


@pytest.mark.parametrize("kind", KINDS)
def test_a_variance_near_the_largest_number(kind):
    """The likelihood's derivative by it is a subnormal number, and the derivatives by the members rest on it."""
    y = np.linspace(8e153, 9.4e153, 300)
    check_members(kind, np.stack([y, -y], axis=1), np.zeros(300), "none")
    check_gaussian(kind, np.zeros(300), y / 4, y * y, "mean")


@pytest.mark.parametrize("kind", KINDS)
def test_summands_that_cancel(kind):
    """Elements of both signs and three magnitudes; the score of a Gaussian has one sign alone."""
    variance = np.array([1e300, 1e-6, 1.0, 1e-6, 1e300] * 30)
    mean = np.where(variance < 1, 1e-2, 1e-9)
    check_gaussian(kind, mean, np.zeros(150), variance, "sum")
    check_gaussian(kind, mean, np.zeros(150), variance, "mean")


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_that_rounds_to_zero(kind):
    """Half of the smallest number there is; the derivatives are that over a variance or its root, so they are not 0."""
    found = check_members(kind, np.array([[0.0, 5e-324]]), np.array([0.0]))
    assert found.grad.all()
    check_members(kind, np.array([[5e-324, 0.0, 0.0]]), np.array([5e-324]))


@pytest.mark.parametrize("target", [0.3, 1e-280])
def test_a_variance_that_is_nearly_one(target):
    """The logarithm is of the variance before it is rounded, in the kernels and, with a tiny distance, in fractions."""
    for k in range(-3, 4):
        y = math.sqrt(0.5) * (1 + k * 2**-52)
        check_members("nll", np.array([[y, -y]]), np.array([target]), "none")


def test_ties():
    y = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 3.0], [0.0, -0.0, 0.0], [1.0, 2.0, 2.0]])
    found = check_empirical(y, np.array([1.0, 2.0, 0.0, 5.0]), "none")
    assert found.value.tolist() == [0.0, 1 / 9, 0.0, 28 / 9]
    assert found.grad[0].tolist() == [0.0, 0.0, 0.0]
    check_empirical(np.round(np.random.default_rng(9).normal(size=(50, 12))), np.zeros(50))


@pytest.mark.parametrize("members", [1, 2, 3])
def test_an_ensemble_an_ulp_wide(members):
    y = 1e8 + np.spacing(1e8) * np.arange(members)
    for target in (1e8, y[-1], np.nextafter(1e8, 0), 0.0, -1e300):
        check_empirical(y[None], np.array([target]))
        if members > 1:
            check_members("crps", y[None], np.array([target]))


# ---- derivatives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivatives_of_the_oracle_are_those_of_its_elements(kind):
    """Central differences with 600 bits: their own error is 2⁻²⁰⁰ or so."""
    step = Fraction(1, 2**100)
    for case in ((0.3, 0.1, 0.7), (0.3, 5.0, 0.7), (1.0, 1.0 + 1e-9, 2e-6)):
        mean, target, variance = map(Fraction, case)
        slopes = oracle_ensemble.gaussian(kind, mean, target, variance)
        for name, change in (("by_mean", (step, 0)), ("by_variance", (0, step * variance))):
            up, down = (
                oracle_ensemble.gaussian(kind, mean + s * change[0], target, variance + s * change[1]).element.value
                for s in (1, -1)
            )
            with mp.workprec(oracle_ensemble.BITS):
                numeric = (up - down) / (2 * oracle_ensemble.number(sum(change)))
                assert abs(numeric - getattr(slopes, name).value) < mpf(2) ** -60 * getattr(slopes, name).size


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivatives_by_the_members_are_those_of_the_loss(kind):
    """Central differences of the reported value: (1e-16/h + h²) relative, 1e-9 at h = 1e-5."""
    rng = np.random.default_rng(10)
    members, targets = rng.normal(size=(4, 5)), rng.normal(size=4)
    found = OF_MEMBERS[kind](members, targets, grad=True)
    for index in np.ndindex(*members.shape):
        change = np.zeros_like(members)
        change[index] = 1e-5
        up, down = (OF_MEMBERS[kind](members + s * change, targets).value for s in (1, -1))
        assert found.grad[index] == pytest.approx((up - down) / 2e-5, abs=1e-8)


def test_the_derivative_of_the_empirical_score_is_that_of_its_value():
    rng = np.random.default_rng(11)
    members, targets = rng.normal(size=(3, 6)), rng.normal(size=3)
    found = refloss.empirical_crps(members, targets, grad=True)
    for index in np.ndindex(*members.shape):
        change = np.zeros_like(members)
        change[index] = 2.0**-30  # it is piecewise linear
        up, down = (refloss.empirical_crps(members + s * change, targets).value for s in (1, -1))
        assert found.grad[index] == pytest.approx((up - down) * 2**29, abs=1e-6)


# ---- metamorphic -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-40, -3, 5, 300])
def test_scaling_by_a_power_of_two_scales_the_scores(power):
    rng = np.random.default_rng(12)
    factor, members, targets = 2.0**power, rng.normal(size=(30, 4)), rng.normal(size=30)
    one, other = (refloss.empirical_crps(f * members, f * targets, grad=True) for f in (1.0, factor))
    assert other.value == factor * one.value
    assert other.grad.tolist() == one.grad.tolist()
    variance = 1e15 * rng.gamma(1.0, size=30)  # above the floor, scaled too
    mean = members[:, 0]
    one, other = (refloss.gaussian_crps(f * mean, f * targets, f * f * variance, grad=True) for f in (1.0, factor))
    assert other.value == factor * one.value
    assert other.grad.tolist() == one.grad.tolist()
    assert other.grad_variance.tolist() == (one.grad_variance / factor).tolist()


def test_shifting_everything_changes_nothing():
    rng = np.random.default_rng(13)
    members, targets, variance = (np.round(1e6 * rng.gamma(1.0, size=s)) / 1024 for s in ((30, 4), 30, 30))
    shift = 2.0**20  # exact on a grid of 1/1024
    for loss in (ensemble.gaussian_nll_of_members, ensemble.gaussian_crps_of_members, refloss.empirical_crps):
        one, other = (loss(members + s, targets + s, grad=True) for s in (0.0, shift))
        assert other.value == one.value
        assert other.grad.tolist() == one.grad.tolist()
    for loss in GAUSSIAN.values():
        assert (
            loss(targets + shift, members[:, 0] + shift, variance).value == loss(targets, members[:, 0], variance).value
        )


def test_swapping_mean_and_target_changes_the_sign_of_the_gradient():
    mean, _, variance = generic(np.random.default_rng(14), (40,))
    targets = np.random.default_rng(15).normal(size=40)
    for loss in GAUSSIAN.values():
        one, other = (loss(*pair, variance, grad=True) for pair in ((mean, targets), (targets, mean)))
        assert one.value == other.value
        assert one.grad.tolist() == (-other.grad).tolist()
        assert one.grad_variance.tolist() == other.grad_variance.tolist()


def test_the_order_of_members_and_structures_does_not_matter():
    rng = np.random.default_rng(16)
    members, targets = np.round(rng.normal(size=(3000, 5)), 1), np.round(rng.normal(size=3000), 1)
    rows, columns = rng.permutation(3000), rng.permutation(5)
    one = refloss.empirical_crps(members, targets, grad=True)
    other = refloss.empirical_crps(members[rows][:, columns], targets[rows], grad=True)
    assert other.value == one.value  # rounded once
    assert other.grad.tolist() == one.grad[rows][:, columns].tolist()
    for loss in OF_MEMBERS.values():
        one = loss(members, targets, grad=True)
        other = loss(members[rows][:, columns], targets[rows], grad=True)
        # Sums of double-doubles: the order changes the last digits of what is rounded once.
        assert abs(other.value - one.value) <= math.ulp(one.value)
        close = np.abs(other.grad - one.grad[rows][:, columns]) <= 2 * np.spacing(np.abs(other.grad)) + 1e-30
        assert close.all()


def test_one_sample_twice_is_no_other_distribution():
    rng = np.random.default_rng(17)
    members, targets = rng.normal(size=(20, 5)), rng.normal(size=20)
    doubled = refloss.empirical_crps(np.repeat(members, 2, axis=1), targets)
    assert doubled.value == refloss.empirical_crps(members, targets).value


# ---- what is not there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_selected(reduction):
    targets, ones = np.full(3, np.nan), np.ones(3)
    results = [loss(ones, targets, ones, reduction=reduction, grad=True) for loss in GAUSSIAN.values()]
    results += [loss(np.ones((3, 2)), targets, reduction=reduction, grad=True) for loss in OF_MEMBERS.values()]
    results.append(refloss.empirical_crps(np.ones((3, 2)), targets, reduction=reduction, grad=True))
    for found in results:
        assert found.count == 0
        assert not found.selected.any()
        assert not found.grad.any()
        assert found.grad_variance is None or not found.grad_variance.any()
        assert found.value.shape == (0,) if reduction == "none" else found.value == 0.0


def test_targets_without_a_value_do_not_count():
    found = refloss.gaussian_nll([1.0, 5.0], [3.0, np.nan], [1.0, 9.0], grad=True)
    assert (found.value, found.count) == (2.0, 1)
    assert found.grad.tolist() == [-2.0, 0.0]
    found = refloss.empirical_crps([[2.0, 4.0], [1.0, 1.0]], [np.nan, 0.0], reduction="none", grad=True)
    assert found.value.tolist() == [1.0]
    assert found.grad.tolist() == [[0.0, 0.0], [0.5, 0.5]]


def test_what_is_not_asked_for_is_not_returned():
    for found in (refloss.gaussian_nll([1.0], [2.0], [1.0]), refloss.empirical_crps([[1.0]], [2.0])):
        assert found.grad is None
        assert found.grad_variance is None
    assert refloss.empirical_crps([[1.0]], [2.0], grad=True).grad_variance is None


def test_a_result_is_frozen_short_and_portable():
    arrays_given = generic(np.random.default_rng(18), (400,))
    for reduction in REDUCTIONS:
        found = refloss.gaussian_crps(*arrays_given, reduction=reduction, grad=True)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.value = 0.0
        assert len(repr(found)) < 100
        assert repr(found).startswith("EnsembleResult(value=")
        again = pickle.loads(pickle.dumps(found))
        assert np.array_equal(again.value, found.value)
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read == {"value": np.asarray(found.value).tolist(), "count": found.count}


def test_kinds_of_input_are_taken_exactly():
    rng = np.random.default_rng(19)
    mean, targets, variance = rng.integers(1, 9, (3, 6, 4))
    wanted = refloss.gaussian_nll(mean.astype(float), targets.astype(float), variance.astype(float), grad=True)
    for dtype in (np.int8, np.int64, np.float16, np.float32, ">f8"):
        found = refloss.gaussian_nll(*(a.astype(dtype) for a in (mean, targets, variance)), grad=True)
        assert found.value == wanted.value
        assert np.array_equal(found.grad_variance, wanted.grad_variance)
    view = np.asfortranarray(mean.astype(float))
    view.flags.writeable = False
    assert refloss.gaussian_nll(view, targets, variance.tolist()).value == wanted.value


# ---- determinism -------------------------------------------------------------------------------------------------


def everything():
    rng = np.random.default_rng(20)
    mean, targets, variance = generic(rng, (5000,))
    members = rng.normal(size=(5000, 4))
    results = [loss(mean, targets, variance, grad=True) for loss in GAUSSIAN.values()]
    results += [loss(members, targets, grad=True) for loss in (*OF_MEMBERS.values(), refloss.empirical_crps)]
    return [
        (r.value, r.grad.tobytes(), None if r.grad_variance is None else r.grad_variance.tobytes()) for r in results
    ]


@pytest.mark.large
def test_the_same_bits_however_the_work_is_cut(monkeypatch):
    expected = everything()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        assert everything() == expected

    def one_by_one(work, count, *, grain=1):
        for chunk in reversed(range(count)):
            work(chunk, chunk + 1)

    monkeypatch.setattr(ensemble, "for_range", one_by_one)
    assert everything() == expected


# ---- any numbers -------------------------------------------------------------------------------------------------

numbers = st.floats(-1e150, 1e150, allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, 1.0, 1.0 + 2**-52, 1e-160])
variances = st.floats(0.0, 1e300, allow_nan=False) | st.floats(1e-13, 1e-5) | st.sampled_from([0.0, 1.0, 1e-6, 1e-12])
near = st.floats(-2.0, 2.0) | st.integers(-2, 2).map(float)


@given(st.lists(st.tuples(numbers, numbers | st.just(math.nan), variances), min_size=1, max_size=8), st.data())
def test_any_gaussian(rows, data):
    mean, targets, variance = (np.array(column) for column in zip(*rows, strict=True))
    kind = data.draw(st.sampled_from(KINDS))
    if kind == "nll":  # its derivative by the variance has the square of (t − μ)/v, and that may be as small as 1e-6
        mean, targets = np.clip(mean, -1e140, 1e140), np.clip(targets, -1e140, 1e140)
    check_gaussian(kind, mean, targets, variance, data.draw(st.sampled_from(REDUCTIONS)))


@given(st.integers(1, 6), st.data())
def test_any_ensemble(count, data):
    each = data.draw(st.sampled_from([numbers, near]))
    rows = data.draw(st.lists(st.lists(each, min_size=count, max_size=count), min_size=1, max_size=4))
    members, targets = np.array(rows), np.array([data.draw(each) for _ in rows])
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    check_empirical(members, targets, reduction)
    if count > 1:
        check_members(data.draw(st.sampled_from(KINDS)), members, targets, reduction)


# ---- bad input ---------------------------------------------------------------------------------------------------

ONES = np.ones((2, 3))


def changed(index, value):
    array = np.ones((2, 3))
    array[index] = value
    return array


BAD = {
    "targets that would broadcast": ({"targets": np.ones(3)}, ["targets", "(3,)", "(2, 3)", "mean"]),
    "variance that would broadcast": ({"variance": np.ones((2, 1))}, ["variance", "(2, 1)", "(2, 3)", "mean"]),
    "one variance": ({"variance": 1.0}, ["variance", "()", "(2, 3)"]),
    "negative variance": (
        {"variance": changed(([0, 1], [2, 0]), -0.5)},
        ["variance", "2 negative", "(0, 2)", "-0.5", "≥ 0"],
    ),
    "NaN variance": ({"variance": changed((1, 2), np.nan)}, ["variance", "(1, 2)", "nan", "finite"]),
    "NaN variance where there is no target": (
        {"variance": changed((1, 2), np.nan), "targets": changed((1, 2), np.nan)},
        ["variance", "(1, 2)", "nan", "finite"],
    ),
    "infinite variance": ({"variance": changed((0, 1), np.inf)}, ["variance", "(0, 1)", "inf", "finite"]),
    "NaN mean": ({"mean": changed((0, 1), np.nan)}, ["mean", "(0, 1)", "nan", "finite"]),
    "infinite targets": ({"targets": changed((0, 1), np.inf)}, ["targets", "(0, 1)", "inf", "finite"]),
    "nothing": (dict.fromkeys(("mean", "targets", "variance"), np.ones((0, 3))), ["mean", "size 0"]),
    "complex variance": ({"variance": ONES + 0j}, ["variance", "complex128"]),
    "boolean targets": ({"targets": ONES > 0}, ["targets", "bool"]),
    "a misspelt reduction": ({"reduction": "means"}, ["reduction", "'means'", "did you mean 'mean'"]),
}


@pytest.mark.parametrize("name", list(BAD))
@pytest.mark.parametrize("kind", KINDS)
def test_message(kind, name):
    options, fragments = BAD[name]
    arguments = {"mean": ONES, "targets": 2 * ONES, "variance": ONES} | options
    assert_message(fragments, lambda: GAUSSIAN[kind](**arguments))


BAD_ENSEMBLES = {
    "members first": ((np.ones((4, 2)), np.ones(2)), ["ensemble and targets", "(4, 2)", "(2,)", "last"]),
    "no members": ((np.ones(2), np.ones(2)), ["ensemble and targets", "(2,)", "last"]),
    "members of none": ((np.ones((2, 0)), np.ones(2)), ["ensemble", "size 0"]),
    "a column of targets": ((np.ones((2, 4)), np.ones((2, 1))), ["ensemble and targets", "(2, 4)", "(2, 1)"]),
    "NaN members": (([[1.0, np.nan]], [1.0]), ["ensemble", "(0, 1)", "nan", "finite"]),
    "infinite targets": (([[1.0, 2.0]], [-np.inf]), ["targets", "(0,)", "-inf", "finite"]),
}


@pytest.mark.parametrize("name", list(BAD_ENSEMBLES))
def test_message_of_an_ensemble(name):
    given_arrays, fragments = BAD_ENSEMBLES[name]
    for loss in (refloss.empirical_crps, *OF_MEMBERS.values()):
        assert_message(fragments, lambda loss=loss: loss(*given_arrays))
    assert_message(["reduction", "'max'"], lambda: refloss.empirical_crps([[1.0]], [1.0], reduction="max"))


def test_one_member_has_no_variance():
    for loss in OF_MEMBERS.values():
        assert_message(["ensemble", "one member", "at least two"], lambda loss=loss: loss([[1.0]], [1.0]))


TOP = 1.7e308


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize(
    ("loss", "given_arrays"),
    [
        (refloss.gaussian_nll, ([1e200], [0.0], [1.0])),
        (refloss.gaussian_crps, ([TOP], [-TOP], [1.0])),
        (refloss.empirical_crps, ([[TOP, TOP]], [-TOP])),
        (ensemble.gaussian_crps_of_members, ([[TOP, TOP]], [-TOP])),
    ],
)
def test_a_figure_that_overflows_is_an_error(loss, given_arrays, reduction, grad):
    with pytest.raises(InputError, match=r"value.*beyond the largest float64"):
        loss(*given_arrays, reduction=reduction, grad=grad)


def test_a_gradient_or_a_sum_that_overflows_is_an_error():
    with pytest.raises(InputError, match=r"grad_variance \(flat index 1\).*beyond the largest float64"):
        refloss.gaussian_nll([0.0, 1e150], [0.0, 0.0], [1.0, 1e-6], reduction="none", grad=True)
    with pytest.raises(InputError, match=r"value.*beyond the largest float64"):
        refloss.empirical_crps([[TOP], [TOP]], [0.0, 0.0], reduction="sum")


def assert_message(fragments, call):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"
