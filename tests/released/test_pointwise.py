"""The pointwise losses are the releases' own, masked or not, over several blocks, value and gradient.

NaN targets are dropped by 2026.3 and later; before, one of them makes the loss NaN.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from maps import block, tensormap
from metatrain.utils import loss as installed

import refloss

LOSSES = {"mse": {}, "mae": {}, "huber": {"delta": 0.7}}
KEYS = [(0, 1), (1, 1), (2, -1)]
"""Blocks of a TensorMap, as a spherical target has them."""

# Some 150 elements, which torch adds up in several lanes: a few roundings of 1.1e-16 each in a sum of like signs.
TOLERANCE = 1e-15


@pytest.fixture(params=["2025.12", "2026.2", "2026.4.1"])
def release(request: pytest.FixtureRequest, release_2025_12: ModuleType, release_2026_2: ModuleType) -> ModuleType:
    return {"2025.12": release_2025_12, "2026.2": release_2026_2, "2026.4.1": installed}[request.param]


def generic(seed: int, *, nan: bool) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return predictions, targets and masks of each block; errors on both sides of delta, some of them none."""
    rng = np.random.default_rng(seed)
    shapes = [(7, 2 * abs(key[0]) + 1, 3) for key in KEYS]
    targets = [rng.normal(3.0, 2.0, shape) for shape in shapes]
    predictions = [t + rng.choice([0.0, 0.3, 2.0], t.shape) * rng.normal(size=t.shape) for t in targets]
    masks = [rng.random(shape) < 0.6 for shape in shapes]
    if nan:
        for t in targets:
            t[rng.random(t.shape) < 0.3] = np.nan
    return predictions, targets, masks


def as_map(arrays: list[Any]) -> Any:
    blocks = {key: block("metatensor.torch", values) for key, values in zip(KEYS, arrays, strict=True)}
    return tensormap("metatensor.torch", blocks, ("o3_lambda", "o3_sigma"))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(release: ModuleType, name: str, reduction: str, masked: bool) -> None:
    kind = f"masked_{name}" if masked else name
    for seed, nan in enumerate([False, False, release is installed]):
        data = generic(seed, nan=nan)
        tensors = [torch.tensor(p, requires_grad=True) for p in data[0]]
        target, mask = as_map(data[1]), {"x_mask": as_map(data[2])}
        loss = release.create_loss(kind, name="x", gradient=None, weight=1.0, reduction=reduction, **LOSSES[name])
        value = loss.compute({"x": as_map(tensors)}, {"x": target}, mask if masked else None)
        value.sum().backward()  # one element's gradient is by its own prediction

        joined = [np.concatenate([np.ravel(array) for array in arrays]) for arrays in data]
        extra = {"mask": joined[2]} if masked else {}
        found = getattr(refloss, name)(*joined[:2], reduction=reduction, grad=True, **LOSSES[name], **extra)
        assert found.value == pytest.approx(value.detach().numpy(), rel=TOLERANCE, abs=0.0)
        gradient = np.concatenate([np.ravel(tensor.grad.numpy()) for tensor in tensors])
        assert found.grad == pytest.approx(gradient, rel=TOLERANCE, abs=0.0)
        assert 10 < found.count < joined[0].size + (not masked and not nan)

        options = {"type": kind, "reduction": reduction, "weight": 0.25, **LOSSES[name]}
        result = refloss.load_options({"loss": {"x": options}}).evaluate({"x": as_map(tensors)}, {"x": target}, mask)
        if reduction != "none":
            assert result.total == pytest.approx(0.25 * value.item(), rel=TOLERANCE, abs=0.0)


@pytest.mark.parametrize("kind", ["mse", "masked_huber"])
def test_one_nan_target_is_enough_before_2026_3(kind: str, release_2026_2: ModuleType) -> None:
    p, t, m = generic(0, nan=False)
    t[1].flat[np.flatnonzero(m[1])[0]] = np.nan
    more = LOSSES["huber"] if kind == "masked_huber" else {}
    values = []
    for module in (release_2026_2, installed):
        loss = module.create_loss(kind, name="x", gradient=None, weight=1.0, reduction="mean", **more)
        values.append(loss.compute({"x": as_map(p)}, {"x": as_map(t)}, {"x_mask": as_map(m)}).item())
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
def test_nothing_selected_is_zero(release: ModuleType, name: str, masked: bool) -> None:
    release = release if masked else installed  # the others do not drop NaN targets
    p, t, m = generic(0, nan=False)
    t, m = ([np.full_like(x, np.nan) for x in t], m) if not masked else (t, [np.zeros_like(x) for x in m])
    kind = f"masked_{name}" if masked else name
    loss = release.create_loss(kind, name="x", gradient=None, weight=1.0, reduction="mean", **LOSSES[name])
    value = loss.compute({"x": as_map([torch.tensor(x) for x in p])}, {"x": as_map(t)}, {"x_mask": as_map(m)})
    found = getattr(refloss, name)(p[1], t[1], **({"mask": m[1]} if masked else {}))
    assert found.value == value.item() == 0.0
