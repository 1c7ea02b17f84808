"""The examples that are candidates for the cross-check, as far as they run on a CPU."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import refloss
from refloss.crosscheck.candidates import load

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def float64_in_jax() -> Iterator[None]:
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch(dtype: str) -> None:
    candidate = load(f"{FOLDER / 'masked_dos_torch.py'}:masked_dos")
    report = refloss.crosscheck(candidate, "masked_dos", dtype=dtype, arrays="torch", convention="intended")
    report.raise_for_failures()
    assert all("grad" in figures for figures in report.verdicts.values())  # autograd was asked, and gave it


def test_torch_in_bfloat16_with_inputs_widened() -> None:
    """Widened to float32, narrow inputs are numbers like any others."""
    narrow = load(f"{FOLDER / 'masked_dos_torch.py'}:masked_dos")

    def widened(predictions, targets, mask, **params):  # type: ignore[no-untyped-def]
        return narrow(predictions.float(), targets.float(), mask, **params)

    report = refloss.crosscheck(
        widened, "masked_dos", dtype="bfloat16", accumulate="float32", arrays="torch", convention="intended"
    )
    report.raise_for_failures()


@pytest.mark.usefixtures("float64_in_jax")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_jax(dtype: str) -> None:
    candidate = load(f"{FOLDER / 'masked_dos_jax.py'}:masked_dos")
    report = refloss.crosscheck(candidate, "masked_dos", dtype=dtype, arrays="jax", convention="intended")
    report.raise_for_failures()


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_in_its_interpreter() -> None:
    """The interpreter is chosen when the kernels are made: in a process of its own."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    path = FOLDER / "masked_dos_triton.py"
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("right under intended") == 2


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_says_that_it_needs_a_gpu() -> None:
    import torch

    candidate = runpy.run_path(str(FOLDER / "masked_dos_triton.py"))["masked_dos"]
    arrays = torch.ones(2, 8), torch.ones(2, 5), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(RuntimeError, match="expected a GPU"):
        candidate(*arrays, energy_step=0.1, grad_weight=1.0, int_weight=1.0, reduction="mean")
