"""What a user would pick instead: the loss classes of metatrain, and what one would write in torch.

Each function returns a callable without arguments that does the timed work on tensors made beforehand, so that no
contestant pays for conversions. What is not installed is named by `absent`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import zipimport
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from inputs import Inputs

Work = Callable[[], Any]

STEP = 0.05


def setup(threads: int) -> None:
    """Have torch use this many threads, where it is installed."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    return importlib.metadata.version(package) if importlib.util.find_spec(package) else None


def masked_dos_module(wheel: Path | None) -> Any:
    """Return the loss module of an older metatrain out of its wheel; None where there is no wheel, or no metatrain.

    The wheel is read where it lies; the few things that its loss module needs come from the installed metatrain.
    """
    if wheel is None or version("metatrain") is None:
        return None
    spec = zipimport.zipimporter(str(wheel / "metatrain" / "utils")).find_spec("loss")
    if spec is None or spec.loader is None:
        raise SystemExit(f"--old-metatrain: {wheel.name} holds no metatrain/utils/loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "MaskedDOSLoss"):
        raise SystemExit(f"--old-metatrain: {wheel.name} has no MaskedDOSLoss; 2026.2 is the last series that has it")
    return module


def metatrain_masked_dos(module: Any, inputs: Inputs, dtype: str) -> Work:
    """Forward and backward of MaskedDOSLoss, on TensorMaps, as its trainers call it."""
    import torch

    kind = getattr(torch, dtype)
    extra = inputs.predictions.shape[1] - inputs.targets.shape[1]
    padded = ((0, 0), (extra, 0))
    predictions = torch.tensor(inputs.predictions, dtype=kind, requires_grad=True)
    targets = {"dos": _tensor_map(torch.tensor(np.pad(inputs.targets, padded), dtype=kind))}
    mask = {"dos_mask": _tensor_map(torch.tensor(np.pad(inputs.mask, padded), dtype=kind))}
    loss = module.MaskedDOSLoss("dos", None, 1.0, 1e-4, 2.0, extra, "mean")
    return _forward_and_backward(predictions, lambda maps: loss.compute(maps, targets, mask))


def metatrain_shift_agnostic(inputs: Inputs) -> Work:
    """Forward and backward of the installed metatrain's ShiftAgnosticMSE, in float32, as it computes."""
    import torch
    from metatrain.utils.loss import ShiftAgnosticMSE

    predictions = torch.tensor(inputs.predictions, dtype=torch.float32, requires_grad=True)
    targets = {"dos": _tensor_map(torch.tensor(inputs.with_nan, dtype=torch.float32))}
    loss = ShiftAgnosticMSE("dos", None, 1.0, 2.0, 1e-4, "mean")
    return _forward_and_backward(predictions, lambda maps: loss.compute(maps, targets))


def convolved(inputs: Inputs) -> Work:
    """Σ m p² − 2 Σ m p t + Σ m t² at every shift by grouped convolutions, and the smallest; forward only."""
    import torch

    p, t, w = _weighted(inputs)
    squares, again = (w * t * t).sum(1, keepdim=True), w * t

    def work() -> Any:
        convolve = torch.nn.functional.conv1d
        with torch.no_grad():
            first = convolve((p * p)[None], w[:, None], groups=len(p))[0]
            second = convolve(p[None], again[:, None], groups=len(p))[0]
            return torch.min(STEP * (first - 2 * second + squares), dim=1)

    return work


def unfolded(inputs: Inputs) -> Work:
    """Σ m (p − t)² over all windows at once, and the smallest; forward only."""
    import torch

    p, t, w = _weighted(inputs)

    def work() -> Any:
        with torch.no_grad():
            difference = p.unfold(1, t.shape[1], 1) - t[:, None]
            return torch.min(STEP * (w[:, None] * difference * difference).sum(2), dim=1)

    return work


def pointwise(name: str, predictions: Any, targets: Any) -> Work:
    """Forward and backward of torch's own mse_loss, l1_loss or huber_loss."""
    import torch

    p, t = torch.from_numpy(predictions).requires_grad_(), torch.from_numpy(targets)
    loss = getattr(torch.nn.functional, {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}[name])

    def work() -> float:
        p.grad = None
        value = loss(p, t)
        value.backward()
        return float(value.detach())

    return work


def _weighted(inputs: Inputs) -> tuple[Any, Any, Any]:
    """Return predictions, targets, and the mask times the trapezoid weights, as float64 tensors."""
    import torch

    weights = inputs.mask.astype(np.float64)
    weights[:, [0, -1]] *= 0.5
    return torch.from_numpy(inputs.predictions), torch.from_numpy(inputs.targets), torch.from_numpy(weights)


def _forward_and_backward(predictions: Any, loss: Callable[[Any], Any]) -> Work:
    maps = {"dos": _tensor_map(predictions)}

    def work() -> float:
        predictions.grad = None
        value = loss(maps)
        value.backward()
        return float(value.detach())

    return work


def _tensor_map(values: Any) -> Any:
    import torch
    from metatensor.torch import Labels, TensorBlock, TensorMap

    def counted(name: str, count: int) -> Any:
        return Labels([name], torch.arange(count).reshape(-1, 1))

    block = TensorBlock(values, counted("system", values.shape[0]), [], counted("energy", values.shape[1]))
    return TensorMap(counted("_", 1), [block])
