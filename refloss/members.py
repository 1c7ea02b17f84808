"""Ensembles as a `loss` section has them: where a target's ensemble is, and which of its properties are whose.

The ensemble of a target (…, P) is (…, M · P): the members are outermost in the properties, so that P properties of the
first member come first. A target of one dimension has P = 1. (docs/specification.md, section 5.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refloss import arrays
from refloss.errors import InputError
from refloss.gradients import Whole
from refloss.results import EnsembleResult, Floats
from refloss.section_data import Pieces, require_same_blocks


def ensemble_name(target: str) -> str:
    """Return what the predictions call the ensemble of a target."""
    name = target.replace("mtt::", "")
    return "energy_ensemble" if name == "energy" else f"mtt::aux::{name}_ensemble"


def evaluate(entry: Callable[..., EnsembleResult], data: Mapping[str, Pieces], **options: Any) -> Any:
    """Call an entry point that takes ensembles (…, M) on the pieces of a section.

    Parameters
    ----------
    entry : callable
        ``entry(ensemble, targets, **options)``
    data : mapping
        ``predictions`` and ``targets`` to their blocks, or to what was given, under `Whole`.

    Returns
    -------
    EnsembleResult
        Its gradient is by the ensemble as it was given; of blocks, one-dimensional, joined in their order.
    """
    ensembles, targets = data["predictions"], data["targets"]
    require_same_blocks("targets", targets, "the ensemble", ensembles)
    parts = {block: _Part(block, ensembles[block], targets[block]) for block in ensembles}
    if Whole in parts:
        part = parts[Whole]
        result = entry(part.members, part.targets, **options)
        there = result.selected.reshape(part.targets_shape)
        return replace(result, selected=there, grad=None if result.grad is None else part.outermost(result.grad))
    counts = {block: part.members.shape[-1] for block, part in parts.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} in block {block!r}" for block, count in counts.items())
        raise InputError(f"ensemble: found members {found}, expected as many in every block")
    result = entry(
        np.concatenate([part.members.reshape(-1, part.members.shape[-1]) for part in parts.values()]),
        np.concatenate([part.targets.reshape(-1) for part in parts.values()]),
        **options,
    )
    if result.grad is None:
        return result
    ends = np.cumsum([part.targets.size for part in parts.values()])
    rows = np.split(result.grad, ends[:-1])
    by_block = [part.outermost(grad).reshape(-1) for part, grad in zip(parts.values(), rows, strict=True)]
    return replace(result, grad=np.concatenate(by_block))


class _Part:
    """The ensemble (…, P, M) and the targets (…, P) of one block."""

    def __init__(self, block: Any, ensemble: Any, targets: Any) -> None:
        where = "" if block is Whole else f" of block {block!r}"
        y = arrays.real_array(f"ensemble{where}", ensemble, empty=block is not Whole)
        t = arrays.real_array(f"targets{where}", targets, finite=False, empty=block is not Whole)
        self._shape, self.targets_shape = y.shape, t.shape
        t = t if t.ndim > 1 else t[..., None]
        properties = t.shape[-1]
        alike = y.ndim == t.ndim and y.shape[:-1] == t.shape[:-1]
        if not alike or properties == 0 or y.shape[-1] == 0 or y.shape[-1] % properties:
            raise InputError(
                f"ensemble{where} and targets: found shapes {y.shape} and {self.targets_shape}, expected the targets' "
                "shape with the last axis (of one dimension: a new one) as many times as long as there are members"
            )
        self.targets = t
        by_member = y.reshape(*t.shape[:-1], y.shape[-1] // properties, properties)
        self.members: Floats = np.ascontiguousarray(by_member.swapaxes(-1, -2))

    def outermost(self, grad: Floats) -> Floats:
        """Put what is by the members where the ensemble has them."""
        ordered: Floats = np.ascontiguousarray(grad.reshape(self.members.shape).swapaxes(-1, -2)).reshape(self._shape)
        return ordered
