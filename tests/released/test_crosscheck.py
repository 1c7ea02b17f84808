"""The cross-check with torch: metatrain's own losses as candidates, autograd, and arrays of torch's number types."""

from __future__ import annotations

import runpy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import refloss
from refloss.crosscheck import formats
from refloss.crosscheck.candidates import call
from refloss.crosscheck.cases import Case
from refloss.crosscheck.judgements import Verdict
from refloss.crosscheck.libraries import open_library
from refloss.errors import InputError

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "metatrain_losses.py"))
"""MaskedDOSLoss and ShiftAgnosticMSE as candidates."""


def masked_dos(module: ModuleType) -> Any:
    return partial(EXAMPLE["masked_dos"], module=module)


FIXED = {"energy_step": 0.05, "reduction": "mean"}
"""What the releases have hard-coded."""


def check(candidate: Any, loss: str, **options: Any) -> Any:
    return refloss.crosscheck(candidate, loss, arrays="torch", **({"params": FIXED} | options))


def test_masked_dos_of_a_release_is_recognised(release_2026_2: ModuleType) -> None:
    report = check(masked_dos(release_2026_2), "masked_dos", dtype="float64")
    report.raise_for_failures()
    assert report.convention == "metatrain-2026.2"
    assert report.also_fits == ()
    # The release convolves with five coefficients, and raises where a prediction has fewer points.
    assert {case.predictions[1] < 5 for case in report.cases if not case.applies} == {True}
    assert {"value", "grad"} <= {figure for found in report.verdicts.values() for figure in found}


def test_masked_dos_of_a_release_is_not_the_documented_one(release_2026_2: ModuleType) -> None:
    report = check(masked_dos(release_2026_2), "masked_dos", dtype="float64", convention="documented")
    assert not report.ok
    assert {j.convention for j in report.failures if j.verdict is Verdict.other_convention} == {"metatrain-2026.2"}
    others = [j for j in report.failures if j.verdict is not Verdict.other_convention]
    assert all(j.verdict is Verdict.raised and "Kernel size" in j.message for j in others)
    assert len(others) < len(report.failures) / 10
    assert "right under metatrain-2026.2" in report.summary()


def test_the_older_release_is_told_from_the_newer(release_2025_12: ModuleType) -> None:
    assert check(masked_dos(release_2025_12), "masked_dos", dtype="float64").convention == "metatrain-2025.12"


def test_shift_agnostic_mse_of_the_release_expands_squares() -> None:
    report = check(EXAMPLE["shift_agnostic_mse"], "shift_agnostic_mse", dtype="float32")
    report.raise_for_failures()
    assert report.convention == "metatrain-2026.3"
    expanded = [j for j in report.judgements if j.verdict is Verdict.expanded_form]
    assert expanded
    # A difference of numbers that agree to n digits has n digits fewer, and there are cases that agree to four.
    assert report.digits_lost > 3
    lines = report.summary().splitlines()[1:3]
    assert lines == ["right under metatrain-2026.3 in 120 cases", "not right under intended"]
    documented = (Path(__file__).parents[2] / "docs" / "crosscheck.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in documented
    assert "right only as an expanded square" in report.summary()
    assert all(j.digits_lost is not None or "shifts that an expanded square" in j.message for j in expanded)


# ---- torch as a library of arrays


def mse(p: Any, t: Any, *, reduction: str) -> Any:
    known = ~torch.isnan(t)
    elements = (p - torch.where(known, t, p)).square()
    if reduction == "none":
        return elements[known]
    return elements.sum() if reduction == "sum" else elements.sum() / known.sum().clamp(min=1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "tf32", "float16", "bfloat16"])
def test_a_scalar_is_enough_for_gradients(dtype: str) -> None:
    report = refloss.crosscheck(mse, "mse", arrays="torch", dtype=dtype)
    report.raise_for_failures()
    assert all(found["grad"] in (Verdict.exact, Verdict.expected) for found in report.verdicts.values())
    assert report.versions["torch"] == torch.__version__
    assert report.device == "cpu"


def test_a_gradient_that_is_cut_off_in_places_is_missed() -> None:
    def cut(p: Any, t: Any, *, reduction: str) -> Any:
        found = mse(p, t, reduction=reduction)
        return found.detach() if torch.isnan(t).any() else found

    report = refloss.crosscheck(cut, "mse", arrays="torch")
    assert {(j.figure, j.verdict) for j in report.failures} == {("grad", Verdict.not_given)}
    never = refloss.crosscheck(lambda p, t, **params: mse(p, t, **params).detach(), "mse", arrays="torch")
    assert never.ok
    assert "not returned, so not judged: grad" in never.summary()


def test_a_backward_that_fails_is_the_gradient_s_failure() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: Any) -> Any:
            raise NotImplementedError("no kernel")

    report = refloss.crosscheck(lambda p, t, **params: mse(Broken.apply(p), t, **params), "mse", arrays="torch")
    assert {(j.figure, j.verdict) for j in report.failures} == {("grad", Verdict.raised)}
    assert "NotImplementedError: no kernel" in report.failures[0].message


@pytest.mark.parametrize("flags", [frozenset(), frozenset({"NonContiguous"})])
def test_arrays_and_writes_to_them(flags: frozenset[str]) -> None:
    rng = np.random.default_rng(2)
    bfloat16 = formats.find("bfloat16")
    p, t = formats.quantise(rng.normal(size=(2, 3, 5)), bfloat16)
    case = Case("case", "masked_mse", p, t, rng.random((3, 5)) < 0.5, {"reduction": "sum"}, flags, "")
    seen: list[Any] = []

    def look(*arrays: Any, reduction: str) -> Any:
        seen[:] = arrays
        arrays[1][0, 0] = 9.0
        return arrays[0].sum()

    found = call(look, case, open_library("torch", "cpu", bfloat16), grad=True)
    assert found.modified_inputs == ("targets",)
    assert found.dtypes == {"value": "bfloat16", "grad": "bfloat16"}
    assert (found.figures["grad"] == 1).all()
    assert seen[0].requires_grad
    assert seen[0].is_leaf
    for tensor, values in ((seen[0], case.predictions), (seen[2], case.mask)):
        assert tensor.is_contiguous() == (not flags)
        np.testing.assert_array_equal(tensor.detach().double().numpy(), values)
    assert [tensor.dtype for tensor in seen] == [torch.bfloat16, torch.bfloat16, torch.bool]


def test_the_switches_of_tf32_are_on_during_the_call_alone() -> None:
    def switches() -> list[bool]:
        return [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]

    before, seen = switches(), []

    def look(p: Any, t: Any, *, reduction: str) -> Any:
        seen.append(switches())
        return mse(p, t, reduction=reduction)

    refloss.crosscheck(look, "mse", arrays="torch", dtype="tf32")
    assert all(found == [True, True] for found in seen)
    refloss.crosscheck(look, "mse", arrays="torch", dtype="float32")
    assert seen[-1] == before
    assert switches() == before


def test_a_device_that_is_not_there() -> None:
    for device in ("cuda:99", "warp"):
        with pytest.raises(InputError, match=f"device: torch has no float32 on '{device}'"):
            open_library("torch", device, formats.find("float32"))


# ---- JAX, where it is installed


def test_jax_differentiates_a_scalar() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def candidate(p: Any, t: Any, *, reduction: str) -> Any:
        known = ~jnp.isnan(t)
        elements = jnp.where(known, p - jnp.where(known, t, 0.0), 0.0) ** 2
        if reduction == "none":
            return elements[known]
        return elements.sum() if reduction == "sum" else elements.sum() / jnp.maximum(known.sum(), 1)

    report = refloss.crosscheck(candidate, "mse", arrays="jax", dtype="bfloat16")
    report.raise_for_failures()
    assert all(found["grad"] in (Verdict.exact, Verdict.expected) for found in report.verdicts.values())
    assert report.versions["jax"] == jax.__version__
    halved = refloss.crosscheck(lambda p, t, **params: candidate(p, t, **params) / 2, "mse", arrays="jax")
    assert {j.figure for j in halved.failures} == {"value", "grad"}
    if not jax.config.jax_enable_x64:
        with pytest.raises(InputError, match=r"dtype: JAX has float64 switched off; set .* JAX_ENABLE_X64=1"):
            open_library("jax", None, formats.find("float64"))
    with pytest.raises(InputError, match="device: JAX has no 'warp'"):
        open_library("jax", "warp", formats.find("float32"))
