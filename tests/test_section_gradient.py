"""d total / d predictions of a section, in the form of its predictions (docs/specification.md, section 6)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from sections import ATOMS, FULL, B, energies, in_blocks, normal, reseed, said, section
from tensormaps import block, tensormap

import refloss


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


def test_weights_and_numbers_of_atoms_are_in_it() -> None:
    p, t = energies(), energies()
    found = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=ATOMS, grad=True).gradient()
    atoms = ATOMS.reshape(B, 1)
    values = 0.3 * np.clip((p["values"] - t["values"]) / atoms, -0.7, 0.7) / B / atoms
    forces = -2.5 * np.sign(p["positions"] - t["positions"])
    assert set(found) == {"energy"}
    assert set(found["energy"]) == {"values", "positions", "strain"}
    # A few roundings of the formula in float64, on either side.
    np.testing.assert_allclose(found["energy"]["values"], values, rtol=1e-14)
    assert np.array_equal(found["energy"]["positions"], forces)
    assert np.array_equal(found["energy"]["strain"], np.zeros((B, 3, 3, 1)))  # its weight is 0


@pytest.mark.parametrize("num_atoms", [None, ATOMS])
def test_it_is_the_slope_of_the_total(num_atoms: Any) -> None:
    """The mean squared error is a parabola: the difference of two of its values is the slope half way, exactly."""
    p, t = [[normal(B, 3), normal(B, 1, 2), normal(11, 2)] for _ in range(2)]
    chosen = section({"s": {"type": "mse", "weight": 0.7}, "e": {"type": "mse", "weight": 3.0}})
    e, te = normal(B), normal(B)

    def total(arrays: list[np.ndarray], e: np.ndarray, **keywords: Any) -> Any:
        data = {"s": in_blocks(*arrays), "e": e}, {"s": in_blocks(*t), "e": te}
        return chosen.evaluate(*data, num_atoms=num_atoms, **keywords)

    gradient = total(p, e, grad=True).gradient()
    for k, (array, part) in enumerate(zip(p, [gradient["s"]["blocks"][k]["values"] for k in range(3)], strict=True)):
        assert part.shape == array.shape
        index = tuple(n - 1 for n in array.shape)
        ends = [[*p], [*p]]
        for end, step in zip(ends, (1.0, -1.0), strict=True):
            end[k] = array.copy()
            end[k][index] += step
        plus, minus = (Fraction(total(end, e).total) for end in ends)
        # The totals are near 1 and rounded to 2⁻⁵³; so are their quotients by numbers of atoms.
        assert float((plus - minus) / 2) == pytest.approx(part[index], abs=1e-14)
    assert gradient["e"]["values"].shape == (B,)


def test_a_tensormap_s_keys_are_kept() -> None:
    p, t = [[normal(2, 3), normal(2, 1)] for _ in range(2)]
    data = [{"a": tensormap({(2, 1): block(x[0]), (0, 1): block(x[1])}, ("l", "s"))} for x in (p, t)]
    found = section({"a": {"type": "mae", "reduction": "sum"}}).evaluate(*data, grad=True).gradient()
    assert list(map(repr, found["a"]["blocks"])) == ["(l=0, s=1)", "(l=2, s=1)"]
    by_key = {dict(key)["l"]: arrays["values"] for key, arrays in found["a"]["blocks"].items()}
    assert np.array_equal(by_key[2], np.sign(p[0] - t[0]))
    assert np.array_equal(by_key[0], np.sign(p[1] - t[1]))


def test_scalars_and_what_no_term_reads() -> None:
    found = section({"a": "mse"}).evaluate({"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 0.0}, grad=True).gradient()
    assert set(found) == {"a"}
    assert found["a"]["values"].shape == ()
    assert found["a"]["values"] == 4.0


def test_an_array_that_two_terms_read() -> None:
    """The ensemble of one target may be a target itself."""
    p = {"energy": normal(B, 1), "energy_ensemble": normal(B, 5)}
    t = {"energy": normal(B, 1), "energy_ensemble": normal(B, 5)}
    losses = {"energy": {"type": "gaussian_crps_ensemble", "weight": 0.3}, "energy_ensemble": {"type": "mae"}}

    def part(*names: str) -> np.ndarray:
        chosen = section({name: losses[name] for name in names})
        return chosen.evaluate(p, t, grad=True).gradient()["energy_ensemble"]["values"]

    both = part("energy", "energy_ensemble")
    assert np.array_equal(both, part("energy") + part("energy_ensemble"))
    assert part("energy").any()
    assert part("energy_ensemble").any()


def test_what_overflows_on_the_way_and_what_overflows_for_good() -> None:
    """1.6e308 · 2 · 0.6 is beyond the largest number; half of it is not."""
    huge = section({"energy": {"type": "mse", "weight": 1.6e308}})
    found = huge.evaluate({"energy": np.array([1.2])}, {"energy": np.zeros(1)}, num_atoms=[2], grad=True).gradient()
    slope = 2 * Fraction(0.6)  # by the quotient, which is exact
    assert found["energy"]["values"].tolist() == [float(Fraction(1.6e308) * slope / 2)]
    beyond = huge.evaluate({"energy": 0.6}, {"energy": 0.0}, grad=True)
    assert said(beyond.gradient).startswith("energy: gradient (index ()): found about 1e308, beyond the largest")


def test_a_sum_of_two_terms_that_overflows() -> None:
    losses = {"energy": "empirical_crps_ensemble", "energy_ensemble": "mae"}
    chosen = {name: {"type": loss, "weight": 1e308, "reduction": "sum"} for name, loss in losses.items()}
    data = {"energy": 0.5, "energy_ensemble": np.array([0.5])}, {"energy": 0.0, "energy_ensemble": np.array([0.0])}
    found = section(chosen).evaluate(*data, grad=True)
    assert said(found.gradient).startswith("energy_ensemble: gradient (index (0,)): found about 1e308, beyond")


def test_it_is_of_a_total_and_of_gradients() -> None:
    p, t = {"a": normal(3)}, {"a": normal(3)}
    evaluate = section({"a": {"type": "mse", "reduction": "none"}}).evaluate
    assert "gradient: found no total (reduction 'none' in a)" in said(evaluate(p, t, grad=True).gradient)
    message = said(refloss.load_options({"loss": {"a": "mse"}}).evaluate(p, t).gradient)
    assert "grad=True" in message
