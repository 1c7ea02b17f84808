"""Distances between densities: against SciPy, sums written out by hand, and curves whose distance is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import refloss
from refloss import metrics
from refloss.crystals import GALLIUM_ARSENIDE, GRAPHENE, SILICON
from refloss.errors import InputError
from refloss.spectra import gaussian_dos

STEP = 0.07
PER_STRUCTURE = (
    metrics.integrated_absolute_error,
    metrics.integrated_rmse,
    metrics.wasserstein_distance,
    metrics.spectral_angle,
    metrics.r_squared,
)
OF_A_SET = (metrics.percent_rmse_integrated, metrics.percent_rmse_pointwise)


@pytest.fixture(params=[0, 1, 2])
def batch(request):
    """Four structures with masks of their own, with holes and both ends in some; densities are positive."""
    rng = np.random.default_rng(request.param)
    p, t = rng.uniform(0.1, 3.0, (2, 4, 31))
    mask = rng.random((4, 31)) < 0.7
    mask[0, [0, -1]], mask[1, [0, -1]] = True, False
    return p, t, mask


def integral(values, mask):
    """The trapezoid sum in exact arithmetic, of what counts."""
    total = Fraction(0)
    for i, (value, counts) in enumerate(zip(values, mask, strict=True)):
        if counts:
            total += Fraction(value) / (2 if i in (0, len(values) - 1) else 1)
    return Fraction(STEP) * total


def by_structure(function, p, t, mask):
    step = {} if function in PER_STRUCTURE[3:] else {"energy_step": STEP}
    return function(p, t, mask=mask, **step)


def test_integrals_are_trapezoid_sums_of_what_counts(batch):
    p, t, mask = batch
    absolute = [float(integral([abs(Fraction(a) - Fraction(b)) for a, b in zip(x, y, strict=True)], m))
                for x, y, m in zip(p.tolist(), t.tolist(), mask.tolist(), strict=True)]  # fmt: skip
    squares = [float(integral([(Fraction(a) - Fraction(b)) ** 2 for a, b in zip(x, y, strict=True)], m))
               for x, y, m in zip(p.tolist(), t.tolist(), mask.tolist(), strict=True)]  # fmt: skip
    # 31 terms, a few roundings each
    assert by_structure(metrics.integrated_absolute_error, p, t, mask) == pytest.approx(absolute, rel=1e-14)
    assert by_structure(metrics.integrated_rmse, p, t, mask) == pytest.approx(np.sqrt(squares), rel=1e-14)


def test_the_squared_error_is_the_term_of_the_loss(batch):
    p, t, mask = batch
    result = refloss.masked_dos(p, t, mask, energy_step=STEP)
    squares = metrics.integrated_rmse(p, t, mask=mask, energy_step=STEP) ** 2
    assert squares == pytest.approx(result.terms.dos, rel=1e-14)  # as above


def test_wasserstein_is_scipys(batch):
    p, t, mask = batch
    energies = -3.0 + STEP * np.arange(31)
    weights = np.where(mask, 1.0, 0.0) * np.array([0.5, *np.ones(29), 0.5])
    expected = [
        stats.wasserstein_distance(energies, energies, w * a, w * b) for a, b, w in zip(p, t, weights, strict=True)
    ]
    # 31 differences of cumulative sums of order 1
    assert by_structure(metrics.wasserstein_distance, p, t, mask) == pytest.approx(expected, rel=1e-13)


def test_a_shift_costs_itself_whatever_the_mask_leaves_out_beside_it():
    energies = np.arange(-20.0, 20.0, 0.05)
    t = gaussian_dos([[-1.0, 2.0]], [2.0], energies)
    p = 1.7 * gaussian_dos([[-1.0 + 3.35, 2.0 + 3.35]], [2.0], energies)  # scale does not matter
    p[:5] = 9.0  # nor what does not count
    mask = energies > -19.0
    # The tails end at exp(−(15/0.3)²/2): what is left are the roundings of 800 sums.
    assert metrics.wasserstein_distance(p, t, mask=mask) == pytest.approx(3.35, rel=1e-12)


def test_two_gaussians_of_different_width():
    energies = np.arange(-15.0, 15.0, 0.01)
    p, t = (gaussian_dos([[0.3]], [1.0], energies, width) for width in (0.5, 1.25))
    # Quantile functions σ Φ⁻¹(u) differ by (σ₁ − σ₂)Φ⁻¹(u), whose mean absolute value is |σ₁ − σ₂| √(2/π). The steps of
    # the cumulative make an error of order dx² = 1e-4 relative to the width's square.
    expected = 0.75 * math.sqrt(2.0 / math.pi)
    assert metrics.wasserstein_distance(p, t, energy_step=0.01) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("one", "other"), [(SILICON, GALLIUM_ARSENIDE), (GRAPHENE, GRAPHENE.repeated((2, 1, 1)))])
def test_crystals_are_as_far_apart_as_their_states(one, other):
    energies = np.arange(-45.0, 45.0, 0.05)
    strained = other.strained(np.diag([0.02, -0.01, 0.0]))
    spectra = [crystal.spectrum((4, 4, 4) if crystal.periodic[2] else (6, 6, 1)) for crystal in (one, strained)]
    states = [bands.ravel() for bands, _ in spectra]
    weights = [np.repeat(w, bands.shape[1]) for bands, w in spectra]
    densities = [gaussian_dos(*spectrum, energies, 0.12) for spectrum in spectra]
    exact = stats.wasserstein_distance(*states, *weights)
    found = metrics.wasserstein_distance(*densities)
    # One broadening for both can only bring them nearer, by at most the 2 · 0.12 · √(2/π) eV that it moves states by.
    assert exact - 2 * 0.12 * math.sqrt(2 / math.pi) <= found <= exact + 1e-9
    assert found > 0.5 * exact


def test_spectral_angle_is_the_arc_cosine(batch):
    p, t, mask = batch
    expected = [
        math.acos(np.dot(a[m], b[m]) / math.sqrt(np.dot(a[m], a[m]) * np.dot(b[m], b[m])))
        for a, b, m in zip(p, t, mask, strict=True)
    ]
    # angles of order 0.5 here, where the arc cosine loses no digits
    assert metrics.spectral_angle(p, t, mask=mask) == pytest.approx(expected, rel=1e-13)


def test_a_small_angle_keeps_its_digits():
    # Vectors (1, 0, …) and (1, x, 0, …) include atan(x), of which the arc cosine of 1 − x²/2 = 1 would see nothing.
    p, t = np.zeros((2, 5))
    p[:2], t[0] = (3.0, 3.0e-9), 1.0
    assert metrics.spectral_angle(p, t) == pytest.approx(1e-9, rel=1e-14)
    assert metrics.spectral_angle(-t, t) == pytest.approx(math.pi, rel=1e-15)
    assert metrics.spectral_angle(p, [0, 0, 0, 2, 1]) == pytest.approx(math.pi / 2, rel=1e-15)


def test_r_squared_is_by_structure(batch):
    p, t, mask = batch
    near = t + 0.1 * (p - t)
    expected = [
        1.0 - np.sum((a[m] - b[m]) ** 2) / np.sum((b[m] - np.mean(b[m])) ** 2)
        for a, b, m in zip(near, t, mask, strict=True)
    ]
    assert metrics.r_squared(near, t, mask=mask) == pytest.approx(expected, rel=1e-13)  # 31 terms, one subtraction
    # On a straight line through its own least-squares fit R² is the squared correlation.
    line = stats.linregress(p[0], t[0])
    fit = line.intercept + line.slope * p[0]
    assert metrics.r_squared(fit, t[0]) == pytest.approx(line.rvalue**2, rel=1e-10)  # the fit's own roundings


def test_percent_rmse_without_masks_is_what_the_code_that_it_comes_from_computes(batch):
    p, t, _ = batch
    weights = np.array([0.5, *np.ones(29), 0.5])
    error = np.sqrt(np.mean((p - t) ** 2 @ weights))
    spread = np.sqrt(np.mean((t - t.mean(axis=0)) ** 2 @ weights))
    assert metrics.percent_rmse_integrated(p, t) == pytest.approx(100.0 * error / spread, rel=1e-13)  # 124 terms
    ratios = np.sqrt(np.mean((p - t) ** 2, axis=0)) / np.std(t, axis=0, ddof=1)
    assert metrics.percent_rmse_pointwise(p, t) == pytest.approx(100.0 * ratios.mean(), rel=1e-13)


def test_percent_rmse_of_masked_points(batch):
    p, t, mask = batch
    mask[:, 4], mask[1:, 5], mask[:, 6] = False, False, True  # nobody, one structure, all
    mask[0, 5] = True
    t[:, 6] = 0.7  # no spread
    error, spread, ratios = 0.0, 0.0, []
    for j in range(31):
        there = [b for b in range(4) if mask[b, j]]
        if not there:
            continue
        weight = 0.5 if j in (0, 30) else 1.0
        mean = sum(t[b, j] for b in there) / len(there)
        errors, deviations = ([(a[b, j] - c) ** 2 for b, c in zip(there, others, strict=True)]
                              for a, others in ((p, [t[b, j] for b in there]), (t, [mean] * len(there))))  # fmt: skip
        error, spread = error + weight * sum(errors), spread + weight * sum(deviations)
        if len(there) > 1 and j != 6:
            ratios.append(math.sqrt(sum(errors) / len(there)) / math.sqrt(sum(deviations) / (len(there) - 1)))
    assert metrics.percent_rmse_integrated(p, t, mask=mask) == pytest.approx(100 * math.sqrt(error / spread), rel=1e-13)
    assert metrics.percent_rmse_pointwise(p, t, mask=mask) == pytest.approx(100 * np.mean(ratios), rel=1e-13)


@pytest.mark.parametrize("structures", [3, 6, 7, 11])
@pytest.mark.parametrize("value", [0.1, 0.7, 1.1, 1 / 3])
def test_equal_targets_have_no_spread_though_their_mean_is_rounded(structures, value):
    t = np.full((structures, 4), value)
    for function in OF_A_SET:
        assert math.isnan(function(t + 1.0, t))
        t[:, 2] = np.arange(structures)
        assert function(t + 1.0, t) < 100.0 * 4  # of the one energy where they differ
        t[:, 2] = value
    assert math.isnan(metrics.r_squared(np.arange(11.0), np.full(11, value)))


def test_the_mean_density_gets_a_hundred_percent(batch):
    _, t, _ = batch
    mean = np.broadcast_to(t.mean(axis=0), t.shape)
    assert metrics.percent_rmse_integrated(mean, t) == pytest.approx(100.0, rel=1e-13)
    # √((n − 1)/n) of it, since the spread of a sample is over n − 1
    assert metrics.percent_rmse_pointwise(mean, t) == pytest.approx(100.0 * math.sqrt(3 / 4), rel=1e-13)


@pytest.mark.parametrize("function", PER_STRUCTURE + OF_A_SET)
def test_nan_targets_are_masked_and_what_is_masked_is_not_seen(function, batch):
    p, t, mask = batch
    expected = function(p, t, mask=mask)
    hidden, wild = np.where(mask, t, np.nan), np.where(mask, p, 1e30)
    assert function(p, hidden) == pytest.approx(expected, rel=0, abs=0)
    assert function(wild, np.where(mask, t, -3e7), mask=mask.astype(int)) == pytest.approx(expected, rel=0, abs=0)


@pytest.mark.parametrize("function", PER_STRUCTURE)
def test_one_density_is_a_float(function, batch):
    p, t, mask = batch
    found = function(p[2], t[2], mask=mask[2])
    assert isinstance(found, float)
    assert found == function(p, t, mask=mask)[2]
    assert function(p.tolist(), t.astype(np.float32)).shape == (4,)


@pytest.mark.parametrize("function", PER_STRUCTURE + OF_A_SET)
@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e200])
def test_any_scale(function, scale, batch):
    p, t, mask = batch
    linear = scale if function in PER_STRUCTURE[:2] else 1.0
    # The scaled numbers are rounded: a few ulp, which R² magnifies by its own 1 − R².
    assert function(scale * p, scale * t, mask=mask) == pytest.approx(linear * function(p, t, mask=mask), rel=1e-13)


def test_what_is_undefined_is_nan():
    p, t = np.ones((2, 4, 6))
    mask = np.ones((4, 6), bool)
    mask[0] = False
    p[1] = 0.0
    t[2], p[2] = 0.1, 0.3
    t[3] = [1, 2, 0, 3, 1, 1]
    none = [math.nan] * 2
    assert metrics.integrated_absolute_error(p, t, mask=mask)[0] == 0.0
    assert metrics.integrated_rmse(p, t, mask=mask)[0] == 0.0
    found = metrics.wasserstein_distance(p, t, mask=mask)
    assert found[:2] == pytest.approx(none, nan_ok=True)
    assert found[2] == pytest.approx(0.0, abs=1e-15)
    assert metrics.spectral_angle(p, t, mask=mask)[:2] == pytest.approx(none, nan_ok=True)
    assert np.isnan(metrics.r_squared(p, t, mask=mask)).tolist() == [True, True, True, False]
    assert math.isnan(metrics.percent_rmse_integrated(p, np.ones((4, 6))))
    assert math.isnan(metrics.percent_rmse_pointwise(p, np.ones((4, 6))))


@given(seed=st.integers(0, 2**32 - 1), structures=st.integers(1, 4), points=st.integers(2, 9))
def test_laws(seed, structures, points):
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(0.1, 1.0, (3, structures, points))
    for metric in PER_STRUCTURE[:4]:
        ab, ba, bc, ac = metric(a, b), metric(b, a), metric(b, c), metric(a, c)
        assert ab == pytest.approx(ba, rel=1e-12)
        assert (ac <= ab + bc + 1e-12).all()  # each is a distance, of shapes the last two
        assert metric(a, a).tolist() == [0.0] * structures
    order = rng.permutation(structures)
    for metric in PER_STRUCTURE:
        assert metric(a, b)[order].tolist() == metric(a[order], b[order]).tolist()


@pytest.mark.parametrize("function", PER_STRUCTURE + OF_A_SET)
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"targets": np.ones((2, 4))}, ["targets", "(2, 4)", "(2, 5)"]),
        ({"mask": np.ones((1, 5), bool)}, ["mask", "(1, 5)", "(2, 5)"]),
        ({"mask": np.full((2, 5), 0.5)}, ["mask", "0.5"]),
        ({"predictions": np.full((2, 5), np.nan)}, ["predictions", "NaN"]),
        ({"targets": np.full((2, 5), np.inf)}, ["targets", "infinite"]),
        ({"predictions": np.ones((2, 1)), "targets": np.ones((2, 1))}, ["predictions", "1 point", "2"]),
        ({"predictions": np.ones((2, 2, 2)), "targets": np.ones((2, 2, 2))}, ["predictions", "(2, 2, 2)", "(B, N)"]),
        ({"targets": "density"}, ["targets"]),
    ],
)
def test_bad_input_names_the_argument(function, change, parts):
    with pytest.raises(InputError) as error:
        function(**({"predictions": np.ones((2, 5)), "targets": np.ones((2, 5))} | change))
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("function", PER_STRUCTURE[:3])
@pytest.mark.parametrize("step", [0.0, -0.05, math.nan, "0.05"])
def test_a_step_that_is_none(function, step):
    with pytest.raises(InputError, match=r"^energy_step: "):
        function(np.ones(5), np.ones(5), energy_step=step)


@pytest.mark.parametrize("function", OF_A_SET)
@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_a_set_has_two_structures(function, shape):
    with pytest.raises(InputError, match="at least 2 structures"):
        function(np.ones(shape), np.zeros(shape))


def test_a_figure_beyond_the_largest_float_is_an_error():
    p, t = np.ones((2, 2, 4))
    p[1], t[1] = 1.5e308, -1.5e308
    with pytest.raises(InputError, match="structure 1"):
        metrics.integrated_absolute_error(p, t, energy_step=1.0)
    assert metrics.spectral_angle(p, t)[1] == pytest.approx(math.pi)
