"""`masked_dos` under the conventions of the releases is MaskedDOSLoss of these releases, value and gradient.

The released code runs at the dtype of the predictions; only the stencil of its gradient is made in float32, and cast
to that dtype. So it runs in float64 as it stands, with float32 coefficients, which is what the convention's stencil is.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from maps import block, tensormap

import refloss

SIZES = [(40, 7), (97, 20), (23, 31), (5, 3), (2, 3), (30, 0)]
"""Grid points N and extra prediction points E."""

WEIGHTS = [(1e-4, 2.0), (3e-3, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
"""grad_weight and int_weight: all terms at once, as PET-MAD-DOS has them and otherwise, and each by itself."""

# At most N + E + 40 roundings in sums of like signs, 5e-14 for the longest. What cancels are the cumulatives and the
# stencil, of numbers of a few units, to results not much smaller.
TOLERANCE = 1e-13


@pytest.fixture(params=["metatrain-2025.12", "metatrain-2026.2"])
def convention(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def release(convention: str, release_2025_12: ModuleType, release_2026_2: ModuleType) -> ModuleType:
    return {"metatrain-2025.12": release_2025_12, "metatrain-2026.2": release_2026_2}[convention]


def generic(seed: int, structures: int, n: int, extra: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predictions that hold the target at a shift of its own for each structure, and unequal masks."""
    rng = np.random.default_rng([seed, structures, n, extra])
    targets = rng.gamma(2.0, size=(structures, n))
    predictions = 0.05 * rng.normal(size=(structures, n + extra))
    for row, target, shift in zip(predictions, targets, rng.integers(0, extra + 1, structures), strict=True):
        row[shift : shift + n] += target * rng.uniform(0.8, 1.2, n)
    return predictions, targets, rng.random((structures, n)) < rng.uniform(0.3, 0.9, (structures, 1))


def released(
    module: ModuleType, predictions: np.ndarray, targets: np.ndarray, mask: np.ndarray, weights: tuple[float, float]
) -> tuple[float, np.ndarray]:
    """Return value and gradient of a release's MaskedDOSLoss, its targets and masks padded in front with rubbish."""
    extra = predictions.shape[1] - targets.shape[1]
    padding = np.full((len(targets), extra), 1e9)
    tensor = torch.tensor(predictions, requires_grad=True)
    loss = module.MaskedDOSLoss("mtt::dos", None, 1.0, *weights, extra, "mean")
    value = loss.compute(
        {"mtt::dos": of(tensor)},
        {"mtt::dos": of(torch.tensor(np.hstack([padding, targets])))},
        {"mtt::dos_mask": of(torch.tensor(np.hstack([padding, mask])))},
    )
    assert value.dtype == torch.float64
    value.backward()
    return value.item(), tensor.grad.numpy()


def of(values: torch.Tensor) -> Any:
    return tensormap("metatensor.torch", {0: block("metatensor.torch", values)})


@pytest.mark.parametrize("structures", [1, 2, 3, 8])
@pytest.mark.parametrize(("n", "extra"), SIZES)
def test_value_and_gradient(release: ModuleType, convention: str, structures: int, n: int, extra: int) -> None:
    for seed, weights in enumerate(WEIGHTS):
        data = generic(seed, structures, n, extra)
        value, gradient = released(release, *data, weights)
        found = refloss.masked_dos(
            *data, grad_weight=weights[0], int_weight=weights[1], convention=convention, grad=True
        )
        assert found.value == pytest.approx(value, rel=TOLERANCE, abs=0.0)
        scale = np.abs(gradient).max(axis=1, keepdims=True)
        assert np.all(np.abs(found.grad - gradient) <= TOLERANCE * scale)


def test_the_cases_have_terms_that_count_and_shifts_of_their_own(convention: str) -> None:
    data = generic(0, 8, 97, 20)
    found = refloss.masked_dos(*data, convention=convention)
    terms = found.terms
    parts = [terms.dos, terms.front_tail, 1e-4 * terms.unmasked_gradient, 2.0 * terms.cumulative]
    assert all(np.mean(part) > 1e-3 * found.value for part in parts)  # a term that went wrong would be seen
    assert len(set(found.shift.tolist())) > 4
    assert not np.array_equal(data[2][0], data[2][1])


@pytest.mark.parametrize("weight", [1e-4, 1.0])
def test_a_padded_section_of_options(release: ModuleType, convention: str, weight: float) -> None:
    """The same through options, with the padded layout and TensorMaps that metatrain itself has."""
    p, t, m = generic(7, 3, 40, 7)
    padding = np.zeros((3, 7))
    options = {"type": "masked_dos", "grad_weight": weight, "int_weight": 2, "extra_targets": 7}
    section = refloss.load_options({"loss": {"mtt::dos": {**options, "convention": convention, "weight": 0.5}}})
    data = [np.hstack([padding, part]) for part in (t, m)]
    found = section.evaluate(
        {"mtt::dos": of(torch.tensor(p))},
        {"mtt::dos": of(torch.tensor(data[0]))},
        {"mtt::dos_mask": of(torch.tensor(data[1]))},
    )
    value, _ = released(release, p, t, m, (weight, 2.0))
    assert found.total == pytest.approx(0.5 * value, rel=TOLERANCE, abs=0.0)


def test_the_two_conventions_are_not_the_same() -> None:
    data = generic(0, 3, 40, 7)
    older, newer = (
        refloss.masked_dos(*data, convention=name).value for name in ("metatrain-2025.12", "metatrain-2026.2")
    )
    assert older != pytest.approx(newer, rel=1e-3)
