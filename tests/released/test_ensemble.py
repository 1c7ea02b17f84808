"""The ensemble losses are the releases' own, as functions of mean and variance and as types of a loss section."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from maps import block, tensormap
from metatrain.utils import loss as installed

import refloss

FUNCTIONS = {
    "gaussian_nll": torch.nn.GaussianNLLLoss,
    "gaussian_crps": installed.GaussianCRPSLoss,
    "empirical_crps": installed.EmpiricalCRPSLoss,
}
TARGETS = {"energy": "energy_ensemble", "mtt::q": "mtt::aux::q_ensemble"}

# Some 60 elements, each of a few roundings of 1.1e-16, where 1 − erf and the summands of the likelihood cancel to a
# hundredth of themselves at worst; pairs of up to 7 members.
TOLERANCE = 1e-12


@pytest.fixture(params=["2026.2", "2026.4.1"])
def release(request: pytest.FixtureRequest, release_2026_2: ModuleType) -> ModuleType:
    return {"2026.2": release_2026_2, "2026.4.1": installed}[request.param]


def generic(seed: int, name: str) -> list[np.ndarray]:
    """Return the arguments of an entry point, the targets second; errors of all sizes in units of sigma."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(2.0, 3.0, 60), rng.lognormal(0.0, 1.5, 60)
    targets = mean + np.sqrt(variance) * rng.normal(size=60) * rng.choice([0.1, 1.0, 4.0], 60)
    if name == "empirical_crps":
        return [mean[:, None] + rng.normal(size=(60, 7)), targets]
    return [mean, targets, variance]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_gradients(name: str, reduction: str) -> None:
    for seed in range(3):
        data = generic(seed, name)
        tensors = [torch.tensor(x, requires_grad=i != 1) for i, x in enumerate(data)]
        value = FUNCTIONS[name](reduction=reduction)(*tensors)
        value.sum().backward()
        found = getattr(refloss, name)(*data, reduction=reduction, grad=True)
        close(found.value, value.detach().numpy())
        close(found.grad, tensors[0].grad.numpy())
        if len(data) > 2:
            close(found.grad_variance, tensors[2].grad.numpy())


def close(found: Any, expected: Any) -> None:
    assert np.shape(found) == np.shape(expected)
    assert np.all(np.abs(found - expected) <= TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(("name", "floor"), [("gaussian_nll", 1e-6), ("gaussian_crps", 1e-12)])
def test_a_small_variance_counts_as_the_floor(name: str, floor: float) -> None:
    """The values agree. The gradient by the variance does not for the likelihood, where torch passes over the floor."""
    mean, targets = np.array([1.0, 1.0]), np.array([1.0 + 2 * floor**0.5, 1.0 - floor**0.5])
    variance = np.array([0.3 * floor, 0.0])
    tensors = [torch.tensor(x, requires_grad=True) for x in (mean, targets, variance)]
    value = FUNCTIONS[name]()(*tensors)
    value.backward()
    found = getattr(refloss, name)(mean, targets, variance, grad=True)
    # the floor's sigma is 1e-6 of the numbers whose difference is taken, exactly, on both sides
    assert found.value == pytest.approx(value.item(), rel=TOLERANCE)
    close(found.grad, tensors[0].grad.numpy())
    assert not found.grad_variance.any()
    assert tensors[2].grad.numpy().any() == (name == "gaussian_nll")


@pytest.mark.parametrize("members", [2, 7])
@pytest.mark.parametrize("properties", [1, 3])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_types_of_a_section(
    release: ModuleType, name: str, reduction: str, target: str, properties: int, members: int
) -> None:
    """Value, and gradient by the members, which are outermost in the properties."""
    rng = np.random.default_rng(members)
    targets = rng.normal(size=(9, properties))
    ensemble = np.tile(targets, members) + rng.normal(0.3, 1.0, size=(9, members * properties))
    leaf = torch.tensor(ensemble, requires_grad=True)
    mean = torch.zeros(9, properties, dtype=torch.float64)  # the releases read its shape alone
    maps = [{target: of(mean), TARGETS[target]: of(leaf)}, {target: of(torch.tensor(targets))}]
    kind = f"{name}_ensemble"
    loss = release.create_loss(kind, name=target, gradient=None, weight=1.0, reduction=reduction)
    value = loss.compute(*maps)
    value.backward()
    section = refloss.load_options({"loss": {target: {"type": kind, "reduction": reduction, "weight": 0.5}}})
    found = section.evaluate(*maps, grad=True)
    assert found.total == pytest.approx(0.5 * value.item(), rel=TOLERANCE)
    close(found.terms[target].result.grad, leaf.grad.numpy())


def of(values: torch.Tensor) -> Any:
    return tensormap("metatensor.torch", {0: block("metatensor.torch", values)})


def test_one_nan_target_is_enough_for_the_released_losses() -> None:
    """They select nothing, unlike the pointwise losses of the same release; refloss leaves the element out."""
    for name, function in FUNCTIONS.items():
        data = generic(0, name)
        data[1][3] = np.nan
        assert np.isnan(function()(*map(torch.tensor, data)).item())
        found = getattr(refloss, name)(*data)
        kept = [np.delete(x, 3, axis=0) for x in data]
        assert found.value == pytest.approx(function()(*map(torch.tensor, kept)).item(), rel=TOLERANCE)
