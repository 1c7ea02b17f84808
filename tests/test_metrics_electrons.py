"""Fermi level, gap and heat capacity: densities whose figures are known, SciPy's integrals and roots, and crystals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, special

from refloss import metrics
from refloss.crystals import GALLIUM_ARSENIDE, GRAPHENE, SILICON, SIMPLE_CUBIC
from refloss.errors import InputError
from refloss.metrics import BOLTZMANN
from refloss.spectra import gaussian_dos


def moment(function, density, grid, level, temperature):
    """∫ h(E) g f dE: 16 points of Gauss on each stretch between points of the grid and multiples of kT around μ."""
    thermal = BOLTZMANN * temperature

    def integrand(energy):
        return function(energy) * np.interp(energy, grid, density) * special.expit((level - energy) / thermal)

    edges = np.unique(np.concatenate([grid, np.clip(level + thermal * np.arange(-40.0, 41.0), grid[0], grid[-1])]))
    return math.fsum(integrate.fixed_quad(integrand, a, b, n=16)[0] for a, b in itertools.pairwise(edges.tolist()))


def test_boltzmanns_constant():
    from scipy.constants import physical_constants

    assert pytest.approx(physical_constants["Boltzmann constant in eV/K"][0], rel=1e-9) == BOLTZMANN


@pytest.mark.parametrize("temperature", [0.0, 0.5, 30.0, 300.0, 1e4])
def test_flat_density(temperature):
    """2 states/eV above 1.5 eV: n = 2 kT ln(1 + exp((μ − 1.5)/kT)), solved for μ; nothing of it is at the top."""
    grid = 1.5 + 0.05 * np.arange(801)
    density, electrons = np.full((2, 801), 2.0), np.array([7.3, 0.4])
    thermal = BOLTZMANN * temperature
    expected = 1.5 + electrons / 2
    if thermal:
        expected += thermal * np.log(-np.expm1(-electrons / (2 * thermal)))
    found = metrics.fermi_level(density, electrons, energy_grid=grid, temperature=temperature)
    # A slack of 1e-12 in the electrons, and energies of 40 eV whose last digit is 7e-15.
    assert found == pytest.approx(expected, abs=1e-12)
    back = metrics.number_of_electrons(density, found, energy_grid=grid, temperature=temperature)
    assert back == pytest.approx(electrons, rel=1e-12)


@pytest.mark.parametrize("temperature", [20.0, 300.0, 3000.0])
def test_sommerfeld(temperature):
    """A flat density has exactly π²/3 k²T g(μ) where it begins far below μ, the chemical potential moving or not."""
    grid = np.linspace(-15.0, 15.0, 61)
    found = metrics.heat_capacity(np.full(61, 0.8), 12.4, energy_grid=grid, temperature=temperature)
    # exp(−15 eV/0.26 eV) = 1e-25 is left of the ends
    assert found == pytest.approx(math.pi**2 / 3 * BOLTZMANN**2 * temperature * 0.8, rel=1e-12)


def test_free_electrons():
    """g = √E: μ and C of Sommerfeld's expansion, as far as its terms are seen."""
    grid = np.linspace(0.0, 30.0, 30001)
    fermi, temperature = 7.0, 1500.0
    ratio = (BOLTZMANN * temperature / fermi) ** 2
    # Not 2/3 μ^1.5: near 0 the lines between the points lie below the root.
    electrons = np.trapezoid(np.sqrt(grid[:7001]), grid[:7001])
    level = metrics.fermi_level(np.sqrt(grid), electrons, energy_grid=grid, temperature=temperature)
    # T⁶ is left: ratio³ = 4e-11, times 10.
    assert level == pytest.approx(fermi * (1 - math.pi**2 / 12 * ratio - math.pi**4 / 80 * ratio**2), rel=1e-9)
    assert level < fermi - 1e-3  # the shift itself is seen
    capacity = metrics.heat_capacity(np.sqrt(grid), electrons, energy_grid=grid, temperature=temperature)
    linear = math.pi**2 / 3 * BOLTZMANN**2 * temperature * math.sqrt(fermi)
    series = 1 - 3 * math.pi**2 / 10 * ratio - 247 * math.pi**4 / 1008 * ratio**2
    assert capacity == pytest.approx(linear * series, rel=5e-8)  # ratio³, times 1000
    assert abs(capacity / linear - 1) > 1e-4


@pytest.mark.parametrize("temperature", [40.0, 700.0, 9000.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_any_density_against_quadrature_and_root(seed, temperature):
    rng = np.random.default_rng(seed)
    grid = -4.0 + 0.25 * np.arange(29)
    density = rng.uniform(0.0, 2.0, 29)
    electrons = rng.uniform(0.2, 0.7) * np.trapezoid(density, grid)
    level = optimize.brentq(
        lambda mu: moment(np.ones_like, density, grid, mu, temperature) - electrons,
        grid[0] - 9,
        grid[-1] + 9,
        xtol=1e-13,
    )
    axis = {"energy_grid": grid, "temperature": temperature}
    # Both are integrals of some 200 pieces, of 1e-14 each, over a density of order 1.
    assert metrics.fermi_level(density, electrons, **axis) == pytest.approx(level, abs=1e-11)
    assert metrics.number_of_electrons(density, level, **axis) == pytest.approx(electrons, rel=1e-12)

    def energy(kelvin):
        mu = metrics.fermi_level(density, electrons, energy_grid=grid, temperature=kelvin)
        return moment(lambda e: e - level, density, grid, mu, kelvin)

    step = 0.02 * temperature
    slopes = [(energy(temperature + h) - energy(temperature - h)) / (2 * h) for h in (step, step / 2)]
    slope = (4 * slopes[1] - slopes[0]) / 3
    # Richardson leaves h⁴ of the fifth derivative, (1 %)⁴ times some 100; and kinks of g within kT of μ.
    assert metrics.heat_capacity(density, electrons, **axis) == pytest.approx(slope, rel=1e-4)


def test_zero_temperature_is_the_limit():
    rng = np.random.default_rng(5)
    grid = -4.0 + 0.05 * np.arange(200)
    density = rng.uniform(0.5, 2.0, (3, 200))
    cold = metrics.fermi_level(density, 6.1, energy_grid=grid)
    # μ(T) − μ(0) = −π²/6 (kT)² g'/g, with g' up to 1.5/0.05 /eV and kT = 1e-5 eV
    assert metrics.fermi_level(density, 6.1, energy_grid=grid, temperature=0.1) == pytest.approx(cold, abs=1e-8)
    # at 0 K the electrons are those of the trapezoids up to the level, with the line between two points
    fine = np.linspace(grid[0], cold[1], 200_001)
    assert np.trapezoid(np.interp(fine, grid, density[1]), fine) == pytest.approx(6.1, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 10.0, 300.0, 2000.0])
def test_two_gaussians(temperature):
    """Two equal bands, the lower one full: the level is in the middle by symmetry, and the gap where they are at ϑ."""
    grid = np.arange(-8.0, 8.001, 0.02)
    low, high, width = -1.6, 2.2, 0.3
    density = gaussian_dos([[low, high]], [2.0], grid, width)
    axis = {"energy_grid": grid}
    found = metrics.fermi_level(density, 2.0, **axis, temperature=temperature)
    # The grid is not symmetric about the middle; where the density is 1e-12, its exponential moves the level by 1e-6.
    assert found == pytest.approx(0.3, abs=1e-5)
    threshold = 0.01
    reach = width * math.sqrt(2 * math.log(2.0 / (width * math.sqrt(2 * math.pi)) / threshold))
    # Linear between points: on each side dx²/8 of the curvature over the slope, reach/width², at most.
    found = metrics.band_gap(density, 2.0, **axis, threshold=threshold)
    assert found == pytest.approx(high - low - 2 * reach, abs=0.02**2 / 4 * reach / width**2)
    assert metrics.band_gap(density, 1.0, **axis, threshold=threshold) == 0.0
    assert metrics.band_gap(density, 2.0, **axis, threshold=1e-7) < metrics.band_gap(
        density, 2.0, **axis, threshold=0.1
    )
    assert math.isnan(metrics.band_gap(density, 2.0, **axis, threshold=5.0))


def test_a_wide_gap_has_its_level_in_the_middle():
    # Zero between: nothing but the slack decides.
    grid = np.arange(201) * 0.1
    density = np.where(grid < 5.05, 2.0, np.where(grid < 13.95, 0.0, 2.0))
    below = 0.1 * 2.0 * 50.5  # the trapezoids up to the point at 5.1 eV
    for temperature in (0.0, 50.0):
        level = metrics.fermi_level(density, below, energy_grid=grid, temperature=temperature)
        # from 5.1 to 13.9 eV; the slack reaches √1e-12 into the slopes
        assert level == pytest.approx(9.5, abs=1e-5)
    assert metrics.band_gap(density, below, energy_grid=grid, threshold=1.0) == pytest.approx(8.9, abs=1e-12)
    assert metrics.heat_capacity(density, below, energy_grid=grid, temperature=50.0) == 0.0


@pytest.mark.parametrize(("crystal", "electrons"), [(SILICON, 8), (GALLIUM_ARSENIDE, 8)])
def test_semiconductors(crystal, electrons):
    bands, weights = crystal.spectrum((6, 6, 6))
    valence, conduction = bands[:, electrons // 2 - 1].max(), bands[:, electrons // 2].min()
    assert conduction - valence > 0.5
    grid = np.arange(bands.min() - 2.0, bands.max() + 2.0, 0.01)
    density = gaussian_dos(bands, weights, grid, 0.03)
    level = metrics.fermi_level(density, electrons, energy_grid=grid)
    assert valence < level < conduction
    gap = metrics.band_gap(density, electrons, energy_grid=grid, threshold=1e-3)
    # Bands reach into the gap by up to some four widths on either side, and never out of it by more than one.
    assert conduction - valence - 8 * 0.03 < gap < conduction - valence + 0.03


def test_half_filled_bands():
    bands, weights = SIMPLE_CUBIC.spectrum((8, 8, 8))
    grid = np.arange(bands.min() - 3.0, bands.max() + 3.0, 0.02)
    density = gaussian_dos(bands, weights, grid, 0.2)
    middle = SIMPLE_CUBIC.onsite[SIMPLE_CUBIC.species[0]][0]
    for temperature in (0.0, 1000.0):
        # The bands are symmetric about the orbital's energy; the grid is not, to the trapezoids' 1e-10.
        found = metrics.fermi_level(density, 1.0, energy_grid=grid, temperature=temperature)
        assert found == pytest.approx(middle, abs=1e-6)
    assert metrics.band_gap(density, 1.0, energy_grid=grid, threshold=1e-3) == 0.0


def test_graphene_is_filled_up_to_its_cone():
    bands, weights = GRAPHENE.spectrum((30, 30, 1))
    grid = np.arange(bands.min() - 1.0, bands.max() + 1.0, 0.01)
    density = gaussian_dos(bands, weights, grid, 0.05)
    # The mesh goes through K, where both bands are at 0; a broadening of 0.05 eV and unequal bands move the level.
    assert metrics.fermi_level(density, 2.0, energy_grid=grid) == pytest.approx(0.0, abs=0.05)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.sampled_from([0.0, 1.0, 200.0, 2e4]))
def test_laws(seed, temperature):
    rng = np.random.default_rng(seed)
    grid = -2.0 + 0.125 * np.arange(12)
    density = rng.uniform(0.1, 1.0, (2, 12)) * (rng.random((2, 12)) < 0.8)
    density[:, 0] += 0.2
    few = 0.3 * np.trapezoid(density, grid).min()
    axis = {"temperature": temperature}
    level = metrics.fermi_level(density, [few, 1.5 * few], energy_grid=grid, **axis)
    # exact in binary: the origin moves the level with it
    moved = metrics.fermi_level(density, [few, 1.5 * few], energy_grid=grid + 16.0, **axis)
    assert moved == pytest.approx(level + 16.0, abs=1e-9)
    assert metrics.fermi_level(2 * density, [2 * few, 3 * few], energy_grid=grid, **axis) == pytest.approx(
        level, abs=1e-9
    )
    assert metrics.number_of_electrons(density, level, energy_grid=grid, **axis) == pytest.approx([few, 1.5 * few])
    assert metrics.fermi_level(density[1], 1.5 * few, energy_grid=grid, **axis) == level[1]
    assert metrics.fermi_level(density[0], 1.1 * few, energy_grid=grid, **axis) > level[0]
    if temperature:
        assert (metrics.heat_capacity(density, few, energy_grid=grid, **axis) >= 0.0).all()


def test_a_prediction_that_is_negative_in_its_gap():
    """The level is in the middle of the gap although the number of electrons is right at several places in it."""
    grid = np.arange(0.0, 6.05, 0.1)
    density = np.where(grid < 2.0, 1.5, np.where(grid > 4.0, 1.5, 0.0))
    wiggles = np.where(density == 0.0, 0.02 * np.sin(9.0 * grid), 0.0)
    electrons = float(np.trapezoid(density[grid < 3.0], grid[grid < 3.0]))
    level = metrics.fermi_level(density + wiggles, electrons, energy_grid=grid)
    assert 2.5 < level < 3.5
    assert metrics.number_of_electrons(density + wiggles, level, energy_grid=grid) == pytest.approx(electrons, abs=0.01)


def test_a_level_beside_a_negative_density():
    # Up to the points: 0, 1, 1.35, 2.2, 4.2 electrons; 1.4 are reached behind the point at −0.3, and there alone.
    density, grid = np.array([1.0, 1.0, -0.3, 2.0, 2.0]), np.arange(5.0)
    level = metrics.fermi_level(density, 1.4, energy_grid=grid)
    assert 2.0 < level < 3.0
    x = level - 2.0
    assert 1.35 - 0.3 * x + 2.3 / 2 * x**2 == pytest.approx(1.4, rel=1e-12)


def test_nearly_full_is_nearly_empty_the_other_way_round():
    # Hot enough for both levels to lie outside of the grid.
    axis = {"energy_grid": np.arange(5.0), "temperature": 2e4}
    density = np.array([1.0, 0.4, 0.7, 2.0, 0.3])
    full = metrics.fermi_level(density, np.trapezoid(density) - 0.05, **axis)
    empty = metrics.fermi_level(density[::-1], 0.05, **axis)
    assert full > 4.0
    assert full == pytest.approx(4.0 - empty, abs=1e-10)  # the total is rounded, and 0.05 is 2 % of it


GOOD = {"density": np.ones((2, 5)), "electrons": 1.0, "energy_grid": np.arange(5.0)}


@pytest.mark.parametrize(
    ("function", "more"),
    [
        (metrics.fermi_level, {}),
        (metrics.band_gap, {"threshold": 0.1}),
        (metrics.heat_capacity, {"temperature": 300.0}),
    ],
)
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"density": np.ones((2, 2, 5))}, ["density", "(2, 2, 5)"]),
        ({"density": [[1, 1, 1, 1, np.nan]]}, ["density", "NaN", "(0, 4)"]),
        ({"energy_grid": np.arange(4.0)}, ["energy_grid", "4", "5"]),
        ({"energy_grid": np.arange(5.0)[::-1]}, ["energy_grid", "increase"]),
        ({"energy_grid": [0, 1, 2, 3, 5]}, ["energy_grid", "uniform"]),
        ({"electrons": [1.0]}, ["electrons", "(1,)", "(2,)"]),
        ({"electrons": 4.0}, ["electrons", "4.0", "4 states", "structure 0"]),
        ({"electrons": [1.0, 0.0]}, ["electrons", "0.0", "structure 1"]),
        ({"electrons": math.inf}, ["electrons", "inf"]),
    ],
)
def test_bad_input_names_the_argument(function, more, change, parts):
    with pytest.raises(InputError) as error:
        function(**(GOOD | more | change))
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("temperature", [-1.0, math.nan, "300"])
def test_a_temperature_that_is_none(temperature):
    for function in (metrics.fermi_level, metrics.heat_capacity):
        with pytest.raises(InputError, match=r"^temperature: "):
            function(**GOOD, temperature=temperature)
    with pytest.raises(InputError, match=r"^temperature: .* > 0"):
        metrics.heat_capacity(**GOOD, temperature=0.0)
    with pytest.raises(InputError, match=r"^threshold: "):
        metrics.band_gap(**GOOD, threshold=0.0)
    with pytest.raises(InputError, match=r"^level: "):
        metrics.number_of_electrons(np.ones(5), [1.0], energy_grid=np.arange(5.0))
