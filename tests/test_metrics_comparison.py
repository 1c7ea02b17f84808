"""The metrics of a result: those of its windows, the masks, the zeros beside a prediction; and what the files tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

import refloss
from refloss import metrics
from refloss.crystals import data_set
from refloss.errors import InputError
from refloss.spectra import gaussian_dos

STEP = 0.04
NAMES = ("integrated_absolute_error", "integrated_rmse", "wasserstein_distance", "spectral_angle", "r_squared")


def masked_dos(structures=37):  # more than are compared at a time, and not a multiple
    rng = np.random.default_rng(structures)
    p, t = rng.uniform(0.0, 1.0, (structures, 50)), rng.uniform(0.0, 1.0, (structures, 41))
    return refloss.masked_dos(p, t, rng.random((structures, 41)) < 0.6, energy_step=STEP)


def shift_agnostic():
    """Windows that begin before the prediction, end behind it, and lie in it."""
    rng = np.random.default_rng(8)
    p, t = rng.uniform(0.1, 1.0, (20, 12)), np.zeros((20, 20))
    for b, start in enumerate(rng.integers(-8, 5, 20)):
        whole = np.zeros(60)
        whole[20 : 20 + 12] = p[b]
        t[b] = whole[20 + start : 40 + start] + rng.normal(0.0, 0.02, 20)
    t[rng.random(t.shape) < 0.1] = np.nan
    return refloss.shift_agnostic_mse(p, t, energy_step=STEP)


@pytest.mark.parametrize("result", [masked_dos(), masked_dos(16), shift_agnostic()], ids=["37", "16", "padding"])
def test_they_are_those_of_the_windows(result):
    errors = metrics.compare(result)
    for name in NAMES:
        more = {"energy_step": STEP} if name in NAMES[:3] else {}
        expected = getattr(metrics, name)(result.aligned, result.targets, mask=result.mask, **more)
        assert getattr(errors, name) == pytest.approx(expected, rel=1e-14)  # sums of the same numbers
    assert errors.rmse == pytest.approx(math.sqrt(np.mean(errors.integrated_rmse**2)), rel=1e-13)
    for name in ("percent_rmse_integrated", "percent_rmse_pointwise"):
        expected = getattr(metrics, name)(result.aligned, result.targets, mask=result.mask)
        assert getattr(errors, name) == pytest.approx(expected, rel=1e-13)  # added up in another order


def test_threads_do_not_change_a_bit(monkeypatch):
    result = masked_dos(70)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("REFLOSS_NUM_THREADS", threads)
        found.append(metrics.compare(result))
    assert vars(found[0]).keys() == vars(found[1]).keys()
    for one, other in zip(vars(found[0]).values(), vars(found[1]).values(), strict=True):
        assert np.array_equal(one, other)


def test_the_squared_error_of_a_set_is_the_loss_of_its_first_term():
    result = masked_dos()
    assert metrics.compare(result).rmse ** 2 == pytest.approx(result.terms.dos.mean(), rel=1e-13)


def test_one_structure_has_no_spread():
    errors = metrics.compare(masked_dos(1))
    assert math.isnan(errors.percent_rmse_integrated)
    assert math.isnan(errors.percent_rmse_pointwise)
    assert errors.rmse == pytest.approx(errors.integrated_rmse[0])


def test_extreme_scales_do_not_overflow():
    rng = np.random.default_rng(4)
    p, t = rng.uniform(0.5, 1.0, (3, 9)), rng.uniform(0.5, 1.0, (3, 7))
    mask = np.ones((3, 7), bool)
    weightless = {"grad_weight": 0.0, "int_weight": 0.0, "energy_step": STEP}
    plain, large = (metrics.compare(refloss.masked_dos(s * p, s * t, mask, **weightless)) for s in (1.0, 2.0**480))
    for name in (*NAMES[2:], "percent_rmse_integrated", "percent_rmse_pointwise"):
        assert getattr(large, name) == pytest.approx(getattr(plain, name), rel=1e-13)
    assert large.rmse == pytest.approx(2.0**480 * plain.rmse, rel=1e-13)


def test_the_scale_is_that_of_what_counts():
    rng = np.random.default_rng(6)
    t = rng.uniform(0.5, 1.0, (3, 8))
    p = t + rng.uniform(1e-9, 2e-9, (3, 8))  # whose squares, over those of 1e151, would have no digits left
    mask = np.ones((3, 8), bool)
    mask[:, 5] = False
    wild = np.where(mask, p, 1e151)
    weightless = {"grad_weight": 0.0, "int_weight": 0.0, "energy_step": STEP}
    plain, other = (metrics.compare(refloss.masked_dos(x, t, mask, **weightless)) for x in (p, wild))
    for name in (*NAMES, "rmse", "percent_rmse_integrated", "percent_rmse_pointwise"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-13)


def test_an_error_that_dwarfs_its_target():
    """No warning, and a figure or infinity, whatever the ratio: one that is refused where it is asked for alone."""
    t = np.array([[0.0, 1e-150, 2e-150, 1e-150], [0.0, 1e-150, 3e-150, 0.0]])
    p = np.array([[1e150, -1e150, 1.0, 2e-150], [3.0, 1e150, -1e150, 0.0]])
    result = refloss.masked_dos(p, t, np.ones(t.shape, bool), grad_weight=0.0, int_weight=0.0, energy_step=STEP)
    errors = metrics.compare(result)
    assert np.isneginf(errors.r_squared).all()
    assert errors.integrated_absolute_error == pytest.approx([STEP * 1.5e150, STEP * 2e150], rel=1e-14)
    with pytest.raises(InputError, match="beyond the largest float64"):
        metrics.r_squared(p, t)


@pytest.fixture(scope="module")
def crystals():
    """Four crystals as targets; the prediction moved by 12 points, a little wider, and to be aligned."""
    energies = np.arange(-60.0, 60.0, STEP)
    spectra = [crystal.spectrum((4, 4, 4 if crystal.periodic[2] else 1)) for crystal in data_set(4)]
    t = np.array([gaussian_dos(*spectrum, energies, 0.3) for spectrum in spectra])
    p = np.array([gaussian_dos(bands + 12 * STEP, weights, energies, 0.33) for bands, weights in spectra])
    p = np.hstack([np.zeros((4, 20)), p, np.zeros((4, 20))])
    result = refloss.masked_dos(p, t, np.ones(t.shape, bool), energy_step=STEP)
    assert result.shift.tolist() == [32] * 4
    return result, spectra


def test_crystals_predicted_a_little_too_broad(crystals):
    result, spectra = crystals
    errors = metrics.compare(result)
    assert (errors.r_squared > 0.97).all()
    assert (errors.spectral_angle < 0.1).all()
    # A broadening moves no state further than (0.33 − 0.3) √(2/π) on average.
    assert (errors.wasserstein_distance < 0.03 * math.sqrt(2 / math.pi) + 1e-3).all()
    states = np.array([weights.sum() * bands.shape[1] for bands, weights in spectra])
    assert (errors.integrated_absolute_error < 0.1 * states).all()


def test_electrons_of_crystals(crystals):
    result, spectra = crystals
    counts = np.array([bands.shape[1] / 2.0 for bands, _ in spectra])
    errors = metrics.compare_electrons(result, counts, temperature=1000.0, threshold=0.05)
    grid = 3.0 + STEP * np.arange(result.targets.shape[1])  # another origin
    axis = {"energy_grid": grid}
    for b in range(4):
        both = result.aligned[b], result.targets[b]
        level = [metrics.fermi_level(density, counts[b], **axis, temperature=1000.0) for density in both]
        gap = [metrics.band_gap(density, counts[b], **axis, threshold=0.05) for density in both]
        heat = [metrics.heat_capacity(density, counts[b], **axis, temperature=1000.0) for density in both]
        assert errors.fermi_level[b] == pytest.approx(level[0] - level[1], abs=1e-11)  # energies of 100 eV
        assert errors.band_gap[b] == pytest.approx(gap[0] - gap[1], abs=1e-11, nan_ok=True)
        assert errors.heat_capacity[b] == pytest.approx(heat[0] - heat[1], abs=1e-9 * max(heat))
    assert np.abs(errors.fermi_level).max() < 0.1


def test_electrons_where_the_mask_counts(crystals):
    result, spectra = crystals
    mask = np.ones(result.mask.shape, bool)
    mask[:, 2200:] = False  # above all bands
    mask[2, :900] = False  # below them
    wild = result.predictions.copy()
    wild[:, 2232:] = 5.0  # above, as predictions are where no target taught them
    masked = refloss.masked_dos(wild, result.targets, mask, energy_step=STEP)
    assert masked.shift.tolist() == [32] * 4
    counts = np.array([bands.shape[1] for bands, _ in spectra])
    plain, found = (metrics.compare_electrons(of, counts, threshold=0.05) for of in (result, masked))
    for name in ("fermi_level", "band_gap", "heat_capacity"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name), rel=1e-6, abs=1e-9, nan_ok=True)


def test_electrons_that_are_not_there(crystals):
    result, _ = crystals
    errors = metrics.compare_electrons(result, [2.0, 1e3, 2.0, 2.0], threshold=0.05)
    assert np.isnan(errors.fermi_level).tolist() == [False, True, False, False]
    assert np.isnan(errors.heat_capacity).tolist() == [False, True, False, False]
    for electrons, found in (([1.0, 2.0], r"\(2,\)"), (0.0, "0.0"), ([1.0, -2.0, 1.0, 1.0], "-2.0")):
        with pytest.raises(InputError, match=f"^electrons: .*{found}"):
            metrics.compare_electrons(result, electrons, threshold=0.05)
