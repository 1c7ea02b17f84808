"""The losses as differentiable torch scalars: exact figures forward, the golden gradient backward.

`mse`, `mae`, `huber`, `masked_dos`, `shift_agnostic_mse`, `gaussian_nll`, `gaussian_crps` and `empirical_crps` take the
arguments of their namesakes in `refloss`, with tensors for what they are differentiated by; `section` makes a torch
loss of a whole `loss` section. A training run can be driven by them for an hour, to see whether the loss is the bug.

Figures are computed in float64 on the CPU, wherever the tensors are: they are copied there, and value and gradient are
copied back. The value has the dtype of the tensors (float32 for float16 and bfloat16, as under autocast; float64 for
integers); their gradient is multiplied in float64 and rounded to their dtype last. What a dtype cannot hold is infinite
there, as torch has it, and as a gradient scaler expects it. Shift, mask and selection are constants in the gradient, so
there is no second derivative, and none by the targets. `torch.compile` leaves these functions as they are: the graph
breaks there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from refloss import aligned, ensemble, pointwise
from refloss.errors import InputError
from refloss.gradients import Whole
from refloss.interop.metatensor import opened
from refloss.options import load_options
from refloss.results import SectionResult
from refloss.section import LossSection

Loss = Callable[..., torch.Tensor]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _uncompiled(function: _Function) -> _Function:
    """Keep torch.compile out: it would trace NumPy too, and have torch compute in its place."""
    kept: _Function = torch.compiler.disable(function)
    return kept


def _differentiable(entry: Callable[..., Any], **gradients: str) -> Loss:
    """Return `entry` as a function of tensors.

    Parameters
    ----------
    entry : callable
        An entry point of refloss.
    gradients : str
        Its arguments that it can be differentiated by, to the result's attribute that holds the derivative.
    """
    signature = inspect.signature(entry)
    signature = signature.replace(parameters=[p for p in signature.parameters.values() if p.name != "grad"])

    @_uncompiled
    def loss(*args: Any, **keywords: Any) -> torch.Tensor:
        bound = signature.bind(*args, **keywords)
        for name, value in bound.arguments.items():
            if name not in gradients:
                _require_constant(name, value)
            elif not isinstance(value, torch.Tensor):
                raise InputError(f"{name}: found {type(value).__name__}, expected a torch tensor")
        inputs = [bound.arguments[name] for name in gradients]
        result = entry(*bound.args, **bound.kwargs, grad=_wants_gradient(inputs))
        derivatives = [getattr(result, name) for name in gradients.values()]
        return _attached(result.value, getattr(result, "selected", None), derivatives, inputs)

    loss.__name__ = loss.__qualname__ = entry.__name__
    loss.__doc__ = f"`refloss.{entry.__name__}` of tensors: the value of its result, with the gradient behind it."
    loss.__signature__ = signature.replace(return_annotation=torch.Tensor)  # type: ignore[attr-defined]
    return loss


mse = _differentiable(pointwise.mse, predictions="grad")
mae = _differentiable(pointwise.mae, predictions="grad")
huber = _differentiable(pointwise.huber, predictions="grad")
masked_dos = _differentiable(aligned.masked_dos, predictions="grad")
shift_agnostic_mse = _differentiable(aligned.shift_agnostic_mse, predictions="grad")
gaussian_nll = _differentiable(ensemble.gaussian_nll, mean="grad", variance="grad_variance")
gaussian_crps = _differentiable(ensemble.gaussian_crps, mean="grad", variance="grad_variance")
empirical_crps = _differentiable(ensemble.empirical_crps, ensemble="grad")


def section(source: Any) -> GoldenSection:
    """Return the torch loss of a `loss` section.

    Parameters
    ----------
    source : path, mapping or LossSection
        metatrain options, as `refloss.load_options` takes them, or what it returns.

    Raises
    ------
    ConfigError
        The options are not valid.
    """
    return GoldenSection(source if isinstance(source, LossSection) else load_options(source))


class GoldenSection(torch.nn.Module):
    """A `loss` section as a torch loss, called as metatrain calls its own.

    Attributes
    ----------
    section : LossSection
    last : SectionResult or None
        What the last call evaluated: every term, its exact value, and what was skipped.
    """

    def __init__(self, section: LossSection) -> None:
        super().__init__()
        self.section = section
        self.last: SectionResult | None = None

    @_uncompiled
    def forward(
        self,
        predictions: Mapping[str, Any],
        targets: Mapping[str, Any],
        extra_data: Mapping[str, Any] | None = None,
        *,
        num_atoms: Any = None,
        per_structure_targets: Collection[str] = (),
    ) -> torch.Tensor:
        """Return the weighted total, differentiable by every tensor of the predictions that it depends on.

        Parameters
        ----------
        predictions, targets, extra_data, num_atoms, per_structure_targets
            As `refloss.LossSection.evaluate` takes them, with tensors, or TensorMaps of tensors, for the predictions.

        Raises
        ------
        InputError
            There is no tensor among the predictions; a target requires a gradient; a term has the reduction "none"; or
            what `evaluate` refuses.
        """
        for which, data in (("targets", targets), ("extra_data", extra_data)):
            for (name, *_), item in _leaves(data):
                _require_constant(f"{which}[{name!r}]", item)
        tensors = {place: item for place, item in _leaves(predictions) if isinstance(item, torch.Tensor)}
        wanted = _wants_gradient(tensors.values())
        self.last = self.section.evaluate(
            predictions,
            targets,
            extra_data,
            num_atoms=num_atoms,
            per_structure_targets=per_structure_targets,
            grad=wanted,
        )
        if self.last.total is None:
            raise InputError(f"section: found {self.last.reason}, expected the reductions mean or sum in every term")
        if not tensors:
            raise InputError("predictions: found no torch tensor, expected tensors, or TensorMaps that hold them")
        derivatives = dict(_leaves(self.last.gradient())) if wanted else {}
        return _attached(self.last.total, None, [derivatives.get(place) for place in tensors], list(tensors.values()))


class _Golden(torch.autograd.Function):
    """A value that was computed elsewhere, with its derivatives by the tensors that it depends on."""

    @staticmethod
    def forward(ctx: Any, value: Any, selected: Any, derivatives: Any, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.selected, ctx.like = selected, [(item.dtype, item.device) for item in inputs]
        ctx.save_for_backward(*(None if item is None else torch.from_numpy(item) for item in derivatives))
        floating = [item.dtype for item in inputs if item.dtype.is_floating_point]
        dtype = functools.reduce(torch.promote_types, floating or [torch.float64], torch.float32)
        return torch.as_tensor(value, dtype=torch.float64).to(dtype).to(inputs[0].device)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:
        # torch's once_differentiable would say nothing here, and leave the loss out of the second derivative.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "refloss.interop.torch: found backward with create_graph=True, expected it without: the golden losses "
                "have a first derivative alone"
            )
        outer = cotangent.cpu().double()
        if outer.ndim and ctx.selected is not None:  # an entry for each selected element
            selected = torch.tensor(ctx.selected)
            outer = torch.zeros(selected.shape, dtype=outer.dtype).masked_scatter(selected, outer)
        products: list[torch.Tensor | None] = []
        for derivative, (dtype, device) in zip(ctx.saved_tensors, ctx.like, strict=True):
            if derivative is None:
                products.append(None)
                continue
            rows = outer.reshape(outer.shape + (1,) * (derivative.ndim - outer.ndim)) if outer.ndim else outer
            products.append((rows * derivative).to(dtype).to(device))  # in this order: not every device has float64
        return None, None, None, *products


def _attached(value: Any, selected: Any, derivatives: list[Any], inputs: list[torch.Tensor]) -> torch.Tensor:
    tensor: torch.Tensor = _Golden.apply(value, selected, derivatives, *inputs)
    return tensor


def _leaves(data: Any) -> Iterator[tuple[tuple[Any, Any, Any], Any]]:
    """Yield (target, block, key) and the array there, of a section's data; what is not such data, it will refuse."""
    for name, item in opened(data).items() if isinstance(data, Mapping) else ():
        blocks = item["blocks"] if isinstance(item, Mapping) and "blocks" in item else {Whole: item}
        for block, held in blocks.items() if isinstance(blocks, Mapping) else ():
            for key, array in held.items() if isinstance(held, Mapping) else [("values", held)]:
                yield (name, block, key), array


def _wants_gradient(tensors: Iterable[torch.Tensor]) -> bool:
    return torch.is_grad_enabled() and any(item.requires_grad for item in tensors)


def _require_constant(name: str, value: Any) -> None:
    if isinstance(value, torch.Tensor) and _wants_gradient([value]):
        raise InputError(
            f"{name}: found a tensor that requires a gradient, expected one that does not: there is none but by the "
            "predictions (pass it detached)"
        )
