"""`refloss.spectra` against sums in 50 decimal digits, and what a density of states must do."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refloss.errors import InputError
from refloss.spectra import MARGIN, PET_MAD_DOS, WIDTH, EnergyGrid, confidence_mask, gaussian_dos

PI = Decimal("3.14159265358979323846264338327950288419716939937510582")


def exact_dos(eigenvalues, k_weights, energies, width):
    """The formula on the exact values of the floats, in 50 digits, rounded once."""
    with localcontext() as context:
        context.prec = 50
        sigma = Decimal(width)
        density = []
        for energy in np.asarray(energies).tolist():
            total = Decimal(0)
            for weight, row in zip(np.asarray(k_weights).tolist(), np.asarray(eigenvalues).tolist(), strict=True):
                for state in row:
                    z = (Decimal(energy) - Decimal(state)) / sigma
                    total += Decimal(weight) * (-z * z / 2).exp()
            density.append(float(total / (sigma * (2 * PI).sqrt())))
        return np.array(density)


def close(found, expected, tolerance=1e-13):
    """1e-13 of the largest value is the specification's promise (section 7)."""
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("width", [WIDTH, 0.05, 2.5])
@pytest.mark.parametrize("offset", [0.0, -105.7, 3.0e5])
def test_density_is_the_formula_on_the_exact_floats(width, offset):
    rng = np.random.default_rng(7)
    eigenvalues = offset + rng.normal(0.0, 2.0, (5, 4))
    weights = rng.uniform(0.1, 1.0, 5)
    energies = offset + rng.uniform(-5.0, 5.0, 23)  # neither sorted nor uniform
    found = gaussian_dos(eigenvalues, weights, energies, width)
    assert found.shape == (23,)
    assert close(found, exact_dos(eigenvalues, weights, energies, width))


@pytest.mark.parametrize("distance", [8.9, 9.1, 12.0, 15.0])
def test_energies_that_miss_the_states_see_their_tails(distance):
    # A cutoff at 9 widths would return 0 at the last three; there the tail is all there is.
    states = np.array([[0.0, -0.02], [0.01, -1.0]])
    energies = 0.3 * distance + np.array([0.0, 0.03, 0.1])
    weights = np.array([0.7, 1.3])
    found = gaussian_dos(states, weights, energies)
    assert found.min() > 0
    assert close(found, exact_dos(states, weights, energies, 0.3))


def test_heavy_state_out_of_reach_of_a_light_one():
    # What a cutoff at 9 widths leaves out of the heavy state is 1e-18 of its peak, but 1e-8 of the density here.
    states, weights, energies = np.array([[0.0], [9.05 * 0.3]]), np.array([1e-10, 1.0]), np.array([0.0, -0.01])
    assert close(gaussian_dos(states, weights, energies), exact_dos(states, weights, energies, 0.3))


def test_many_states_do_not_lose_digits():
    # 77 000 states, as many as gold's k-mesh has: math.fsum of the terms is exact but for their own rounding.
    rng = np.random.default_rng(3)
    eigenvalues, weights = rng.normal(0.0, 0.4, (1000, 77)), rng.uniform(0.0, 0.002, 1000)
    energies = np.array([-0.31, 0.0, 0.52])
    expected = [
        math.fsum((weights[:, None] * np.exp(-(((e - eigenvalues) / 0.3) ** 2) / 2)).ravel().tolist()) for e in energies
    ]
    assert close(gaussian_dos(eigenvalues, weights, energies), np.array(expected) / (0.3 * math.sqrt(2 * math.pi)))


def test_density_integrates_to_the_number_of_states():
    rng = np.random.default_rng(11)
    eigenvalues, weights = rng.uniform(-20.0, 30.0, (40, 6)), rng.dirichlet(np.ones(40)) * 2
    density = gaussian_dos(eigenvalues, weights, PET_MAD_DOS.targets)
    # The trapezoid rule on a Gaussian errs by exp(−2π²σ²/dx²) < 1e-300; what is left is the grid's own rounding, 1e-14
    # of 150 eV against a step of 0.05 eV.
    assert 0.05 * density.sum() == pytest.approx(2 * 6, rel=1e-11)


def test_height_of_one_state_and_its_standard_deviation():
    found = gaussian_dos([[1.5]], [2.0], [1.5, 1.9, 1.1], width=0.4)
    peak = 2.0 / (0.4 * math.sqrt(2 * math.pi))
    # a handful of roundings of 1.1e-16 each
    assert found == pytest.approx([peak, peak * math.exp(-0.5), peak * math.exp(-0.5)], rel=1e-14)


@given(seed=st.integers(0, 2**32 - 1), shift=st.integers(-64, 64))
def test_order_origin_and_split_weights_do_not_matter(seed, shift):
    rng = np.random.default_rng(seed)
    # multiples of 2^-20: adding a whole number of eV is exact
    eigenvalues = np.round(rng.uniform(-4.0, 4.0, (3, 4)) * 2**20) / 2**20
    energies = np.round(rng.uniform(-5.0, 5.0, 9) * 2**20) / 2**20
    weights = rng.uniform(0.1, 1.0, 3)
    expected = gaussian_dos(eigenvalues, weights, energies)
    k, n = rng.permutation(3), rng.permutation(4)
    assert close(gaussian_dos(eigenvalues[k][:, n], weights[k], energies), expected)
    assert close(gaussian_dos(eigenvalues + shift, weights, energies + shift), expected)
    halves = np.concatenate([weights, weights]) / 2
    assert close(gaussian_dos(np.vstack([eigenvalues, eigenvalues]), halves, energies), expected)
    assert close(gaussian_dos(eigenvalues, -3 * weights, energies), -3 * expected)


def test_mask_ends_below_the_lowest_of_the_highest_bands():
    # bands out of order: the highest of each k-point is 4.5, 2.25 and 7.0 eV, and the last column is none of them
    eigenvalues = np.array([[4.5, -1.0, 3.0], [-2.0, 2.25, 1.0], [0.5, 7.0, 6.0]])
    limit = 2.25 - 0.75
    energies = np.array([9.0, np.nextafter(limit, 9.0), limit, np.nextafter(limit, -9.0), -50.0])
    assert confidence_mask(eigenvalues, energies, margin=0.75).tolist() == [False, False, True, True, True]
    assert confidence_mask(eigenvalues, energies, margin=-10.0).all()


def test_mask_compares_in_float64():
    # 0.3 - 0.1 is an ulp below 0.2 in float64, though not in decimal
    assert confidence_mask([[0.3]], [0.2, 0.3 - 0.1], margin=0.1).tolist() == [False, True]
    # float32 holds 2.3 as 2.29999995: the mask ends below 1.4, by more than float64 rounds and less than float32 does
    assert confidence_mask(np.array([[2.3]], dtype=np.float32), [1.4, 1.3999999]).tolist() == [False, True]


def test_pet_mad_dos_grid():
    targets, predictions = PET_MAD_DOS.targets, PET_MAD_DOS.predictions
    assert (targets.shape, predictions.shape) == ((4606,), (4806,))
    assert targets[0] == -149.6456
    # 10 eV lower, to the rounding of numbers of that size
    assert predictions[0] == pytest.approx(-159.6456, abs=3e-14)
    assert np.array_equal(predictions[200:], targets)
    assert np.diff(predictions) == pytest.approx(0.05, abs=6e-14)
    assert (WIDTH, MARGIN) == (0.3, 0.9)


def test_single_precision_input_is_taken_exactly_and_nothing_is_changed():
    eigenvalues = np.array([[1.1, 2.2], [-0.3, 0.7]], dtype=np.float32)
    weights, energies = np.array([0.5, 1.5], dtype=np.float32), np.linspace(-1, 3, 7)
    before = eigenvalues.copy(), weights.copy(), energies.copy()
    found = gaussian_dos(eigenvalues, weights, energies)
    assert close(found, exact_dos(eigenvalues.astype(np.float64), weights.astype(np.float64), energies, 0.3))
    assert all(np.array_equal(a, b) for a, b in zip(before, (eigenvalues, weights, energies), strict=True))


GOOD = {"eigenvalues": [[0.0, 1.0], [0.5, 1.5]], "k_weights": [1.0, 1.0], "energies": [0.0, 1.0], "width": 0.3}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"eigenvalues": [0.0, 1.0]}, ["eigenvalues", "(2,)", "2"]),
        ({"eigenvalues": np.zeros((0, 3))}, ["eigenvalues", "size 0"]),
        ({"eigenvalues": [[0.0, np.nan], [0.5, 1.5]]}, ["eigenvalues", "1 value", "(0, 1)"]),
        ({"eigenvalues": [[0.0, 1j], [0.5, 1.5]]}, ["eigenvalues", "complex"]),
        ({"k_weights": [1.0, 1.0, 1.0]}, ["k_weights", "3", "eigenvalues", "(2, 2)", "expected 2"]),
        ({"k_weights": [[1.0, 1.0]]}, ["k_weights", "(1, 2)"]),
        ({"k_weights": [np.inf, 1.0]}, ["k_weights", "(0,)"]),
        ({"energies": 1.0}, ["energies", "()"]),
        ({"energies": [[0.0], [1.0]]}, ["energies", "(2, 1)"]),
        ({"width": 0.0}, ["width", "0.0", "> 0"]),
        ({"width": -0.3}, ["width", "-0.3", "> 0"]),
        ({"width": math.nan}, ["width", "nan"]),
        ({"width": "0.3"}, ["width", "'0.3'"]),
        ({"width": 1e-300, "k_weights": [1e300, 1.0]}, ["k_weights", "width", "overflow", "1e+300", "1e-300"]),
    ],
)
def test_bad_input_names_the_argument(change, parts):
    with pytest.raises(InputError) as error:
        gaussian_dos(**(GOOD | change))
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([1.0], [0.0]), "eigenvalues"),
        (([[1.0]], [math.nan]), "energies"),
        (([[1.0]], [[0.0]]), "energies"),
        (([[1.0]], [0.0], math.inf), "margin"),
    ],
)
def test_mask_names_bad_input(arguments, name):
    with pytest.raises(InputError, match=f"^{name}: "):
        confidence_mask(*arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"start": math.nan, "step": 0.05, "points": 4}, "start"),
        ({"start": 0.0, "step": 0.0, "points": 4}, "step"),
        ({"start": 0.0, "step": 0.05, "points": 1}, "points"),
        ({"start": 0.0, "step": 0.05, "points": 4, "extra": -1}, "extra"),
    ],
)
def test_grid_names_bad_input(arguments, name):
    with pytest.raises(InputError, match=f"^{name}: "):
        EnergyGrid(**arguments)
