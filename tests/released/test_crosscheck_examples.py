"""The examples that are candidates for the cross-check, as far as they run on a CPU."""

from __future__ import annotations

import os
import platform
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import refloss
from refloss.crosscheck.candidates import load

FOLDER = Path(__file__).parents[2] / "examples"

needs_triton = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="Triton is installed on Linux on x86-64 alone"
)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch(dtype: str) -> None:
    candidate = load(f"{FOLDER / 'masked_dos_torch.py'}:masked_dos")
    report = refloss.crosscheck(candidate, "masked_dos", dtype=dtype, arrays="torch", convention="intended")
    report.raise_for_failures()
    assert all("grad" in figures for figures in report.verdicts.values())  # autograd was asked, and gave it


def test_torch_in_bfloat16_with_inputs_widened() -> None:
    """Widened to float32, narrow inputs are numbers like any others."""
    narrow = load(f"{FOLDER / 'masked_dos_torch.py'}:masked_dos")

    def widened(predictions: Any, targets: Any, mask: Any, **params: Any) -> Any:
        return narrow(predictions.float(), targets.float(), mask, **params)

    report = refloss.crosscheck(
        widened, "masked_dos", dtype="bfloat16", accumulate="float32", arrays="torch", convention="intended"
    )
    report.raise_for_failures()


def test_jax() -> None:
    """float32 alone: each shape is compiled anew, which takes most of a minute, and float64 goes the same way."""
    candidate = load(f"{FOLDER / 'masked_dos_jax.py'}:masked_dos")
    report = refloss.crosscheck(candidate, "masked_dos", dtype="float32", arrays="jax", convention="intended")
    report.raise_for_failures()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's compiler uses what torch itself deprecates
def test_through_torch_compile() -> None:
    """One size: all of them are compiled in six minutes."""
    candidate = load(f"{FOLDER / 'masked_dos_compiled.py'}:masked_dos")
    report = refloss.crosscheck(
        candidate, "masked_dos", only="*/fitted/B3-N14-E6/*", arrays="torch", convention="intended"
    )
    report.raise_for_failures()
    assert len(report.cases) > 4


@needs_triton
def test_triton_in_its_interpreter() -> None:
    """The interpreter is chosen when the kernels are made: in a process of its own."""
    candidate = f"{FOLDER / 'masked_dos_triton.py'}:masked_dos"
    options = ["--loss", "masked_dos", "--dtype", "float32", "--arrays", "torch", "--convention", "intended"]
    done = subprocess.run(
        [sys.executable, "-m", "refloss", "crosscheck", candidate, *options],
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right under intended" in done.stdout


@needs_triton
def test_triton_says_that_it_needs_a_gpu() -> None:
    candidate = runpy.run_path(str(FOLDER / "masked_dos_triton.py"))["masked_dos"]
    arrays = torch.ones(2, 8), torch.ones(2, 5), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(RuntimeError, match="expected a GPU"):
        candidate(*arrays, energy_step=0.1, grad_weight=1.0, int_weight=1.0, reduction="mean")
