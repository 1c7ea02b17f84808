"""Golden figures of a case, at shifts of choice too, against the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import oracle_agnostic
import pytest
import strategies
from crosscheck_inputs import aligned, case
from numpy.typing import NDArray

import refloss
from refloss import InputError
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC
from refloss.crosscheck.bounds import tolerance
from refloss.crosscheck.formats import FORMATS
from refloss.crosscheck.reference import TERMS, Golden, at_shift, equivalent_shifts, reference

FIGURE_ULPS = 0.501
"""As docs/specification.md, section 9, has it: at a given shift, too."""

OPTIONS = {"energy_step": 0.05, "grad_weight": 0.013, "int_weight": 1.7}
"""Weights at which every term has a say."""


def assert_golden(golden: Golden, exact: oracle.Aligned) -> None:
    """Compare the figures with those of the oracle at the same shifts."""
    assert golden.value is not None
    assert golden.per_structure is not None
    assert not isinstance(exact.value, list)
    assert golden.shift is not None
    assert golden.shift.tolist() == [structure.shift for structure in exact.structures]
    assert oracle.ulps(golden.value, exact.value) <= FIGURE_ULPS
    for b, structure in enumerate(exact.structures):
        assert oracle.ulps(float(golden.per_structure[b]), structure.total) <= FIGURE_ULPS
        for name in TERMS:
            assert oracle.ulps(float(golden.terms[name][b]), getattr(structure, name)) <= FIGURE_ULPS, (b, name)
        for k, (found, grad, leaf) in enumerate(zip(golden.grad[b], exact.grad[b], exact.leaves[b], strict=True)):
            near = oracle.ulps(float(found), grad) <= 1
            assert near or abs(oracle.Fraction(float(found)) - grad) <= leaf * oracle.FRACTION_OF_LEAVES, (b, k)


def shifts_of(rng: np.random.Generator, shifts: int, count: int) -> NDArray[np.int64]:
    """Return both edges, and shifts between."""
    between = rng.integers(0, shifts, count)
    between[:2] = 0, shifts - 1
    return between


@pytest.mark.parametrize("convention", MASKED_DOS)
@pytest.mark.parametrize("kind", ["generic", "trained", "large", "subnormal", "cancelling"])
def test_masked_dos_at_given_shifts_is_the_oracles(convention: str, kind: str) -> None:
    if kind == "large" and convention == "metatrain-2025.12":
        kind = "cancelling"  # fourth powers of 1e150 overflow, which the loss refuses
    rng = np.random.default_rng(3)
    made = strategies.HARD[kind](rng, 4, 9, 5)
    golden = reference(aligned("masked_dos", made, **OPTIONS), convention)
    shift = shifts_of(rng, 6, 4)
    exact = oracle.masked_dos(*made.lists(), oracle.CONVENTIONS[convention], **OPTIONS, shifts=shift.tolist())
    assert_golden(at_shift(golden, shift), exact)


@pytest.mark.parametrize("convention", SHIFT_AGNOSTIC)
def test_shift_agnostic_at_given_shifts_is_the_oracles(convention: str) -> None:
    rng = np.random.default_rng(4)
    made = strategies.generic(rng, 3, 7, 2)
    inputs = aligned("shift_agnostic_mse", made, **OPTIONS)
    shift = shifts_of(rng, 3 * 9 - 7 + 1, 3)
    zeros = [0.0] * 9
    padded = [[*zeros, *row, *zeros] for row in made.predictions.tolist()]
    numbers = tuple(OPTIONS.values())
    parts = oracle.parts_of(
        oracle_agnostic.Sums,
        padded,
        inputs.targets.tolist(),
        made.mask.tolist(),
        oracle_agnostic.CONVENTIONS[convention],
        *numbers,
    )
    structures = [part.structure(int(s), gradient=True) for part, s in zip(parts, shift, strict=True)]
    exact = oracle.reduced(structures, "mean")
    own = oracle.Aligned(
        exact.value,
        exact.structures,
        [row[9:18] for row in exact.grad],
        [row[9:18] for row in exact.leaves],
    )
    assert_golden(reference(inputs, convention, shift=shift), own)


@pytest.mark.parametrize("loss", ["masked_dos", "shift_agnostic_mse"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_at_its_own_shift_nothing_changes(loss: str, reduction: str) -> None:
    made = strategies.trained(np.random.default_rng(5), 5, 20, 4)
    golden = reference(aligned(loss, made, reduction=reduction, **OPTIONS), "intended")
    assert golden.shift is not None
    again = at_shift(golden, golden.shift.tolist())
    assert list(again.figures) == list(golden.figures)
    for name, figure in golden.figures.items():
        assert again.figures[name].tobytes() == figure.tobytes(), name
    assert np.array_equal(again.landscape, golden.landscape)


def test_without_a_convention_it_is_the_losses_own() -> None:
    made = strategies.generic(np.random.default_rng(6), 3, 20, 4)
    golden = reference(aligned("masked_dos", made, **OPTIONS))
    found = refloss.masked_dos(made.predictions, made.targets, made.mask, **OPTIONS, grad=True)
    assert golden.value == found.value
    assert found.grad is not None
    assert np.array_equal(golden.grad, found.grad)
    assert np.array_equal(golden.landscape, found.landscape())


@pytest.mark.parametrize("name", ["mse", "masked_mse", "mae", "masked_mae", "huber", "masked_huber"])
def test_pointwise_losses(name: str) -> None:
    rng = np.random.default_rng(7)
    p, t, mask = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), rng.random((4, 5)) < 0.6
    t[1, 2] = np.nan
    params = {"delta": 0.4} if "huber" in name else {}
    given = mask if name.startswith("masked") else None
    golden = reference(case(name, p, t, given, reduction="none", **params))
    entry = getattr(refloss, name.removeprefix("masked_"))
    found = entry(p, t, mask=given, reduction="none", grad=True, **params)
    assert golden.value is None
    assert np.array_equal(golden.figures["elements"], found.value)
    assert np.array_equal(golden.figures["grad"], found.grad)
    assert list(golden.figures) == ["elements", "grad"]
    assert reference(case(name, p, t, given, **params)).value == entry(p, t, mask=given, **params).value


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        ([0, 5, 1], r"shift: found \[0, 5, 1\], expected numbers from 0 to 4"),
        ([0, -1, 1], r"shift: found \[0, -1, 1\], expected numbers from 0 to 4"),
        ([0, 1], r"shift: found int64 \(2,\), expected integers \(3,\)"),
        ([0.0, 1.0, 2.0], r"shift: found float64 \(3,\), expected integers \(3,\)"),
    ],
)
def test_shifts_that_there_are_not(shift: list[int], message: str) -> None:
    made = strategies.generic(np.random.default_rng(8), 3, 20, 4)
    with pytest.raises(InputError, match=message):
        reference(aligned("masked_dos", made), shift=shift)


def test_what_a_pointwise_loss_has_not() -> None:
    inputs = case("mse", [1.0], [2.0])
    golden = reference(inputs)
    with pytest.raises(InputError, match="convention: found 'intended', expected None: mse has none"):
        reference(inputs, "intended")
    with pytest.raises(InputError, match=r"shift: found \[0\], expected None: mse has none"):
        reference(inputs, shift=[0])
    bounds = tolerance(inputs, golden, None, FORMATS["float32"], FORMATS["float32"])
    with pytest.raises(InputError, match="case: found the loss 'mse', expected one of masked_dos"):
        equivalent_shifts(inputs, golden, bounds)
    with pytest.raises(InputError, match=r"loss: found 'mes', expected one of .* \(did you mean 'mse'\?\)"):
        reference(case("mes", [1.0], [2.0]))
