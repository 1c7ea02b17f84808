"""Arrays of torch and JAX at the gate: their exact values, whatever their type, strides and history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import refloss
from refloss import arrays
from refloss.errors import InputError

BASE = np.random.default_rng(0).normal(size=(4, 6))


def views(array: Any) -> Iterator[tuple[str, Any]]:
    """Yield what indexing and transposing make of an array of any library."""
    yield "whole", array
    yield "transposed", array.T
    yield "strided", array[1:, ::2]
    yield "an element", array[2, 3]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("attached", [False, True])
def test_torch(name: str, attached: bool) -> None:
    tensor = torch.from_numpy(BASE).to(getattr(torch, name)).requires_grad_(attached)
    exact = tensor.detach().double().numpy()
    for (kind, found), (_, wanted) in zip(views(tensor), views(exact), strict=True):
        array = arrays.real_array("x", found)
        assert array.dtype == np.float64, kind
        assert np.array_equal(array, wanted), kind
    assert np.array_equal(arrays.real_array("x", (2 * tensor).flip(0)), 2 * exact[::-1])
    assert np.array_equal(arrays.real_array("x", tensor[:1].expand(4, 6)), exact[[0, 0, 0, 0]])
    mask = (tensor > 0).to(getattr(torch, name))
    assert np.array_equal(arrays.mask_array("mask", mask), exact > 0)
    with torch.inference_mode():
        assert np.array_equal(arrays.real_array("x", torch.from_numpy(BASE) + 1), BASE + 1)


def test_torch_tensors_that_are_no_arrays_of_numbers() -> None:
    base = torch.from_numpy(BASE)
    for tensor, part in (
        (base.to("meta"), "no data"),
        (base.to_sparse(), "to_dense"),
        (torch.complex(base, base), "complex128"),
        (base > 0, "bool"),
        (torch.tensor([2**53 + 1]), "not held exactly"),
    ):
        with pytest.raises(InputError, match=f"^predictions: found .*{part}"):
            refloss.mse(tensor, BASE)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_jax(name: str) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    array = jax.numpy.asarray(BASE, name)
    exact = np.asarray(array.astype("float64"))
    for (kind, found), (_, wanted) in zip(views(array), views(exact), strict=True):
        assert np.array_equal(arrays.real_array("x", found), wanted), kind
    assert np.array_equal(arrays.mask_array("mask", array > 0), exact > 0)
    for traced in (jax.jit, jax.grad):
        with pytest.raises(InputError, match=r"^predictions: found .*Tracer"):
            traced(lambda x: refloss.mse(x, exact).value)(array)
