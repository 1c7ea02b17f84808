"""TensorMaps of refloss.files, which have what metatensor's have, made in a line, where metatensor is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refloss.files.tensormap import Labels, TensorBlock, TensorMap


def block(
    values: Any,
    *,
    samples: Any = None,
    components: Any = None,
    properties: Any = None,
    gradients: Mapping[str, Any] = {},
) -> TensorBlock:
    """Return a block; labels that are not given count from 0: system, mu_0, mu_1, …, and property."""
    shape = np.shape(values)
    made = TensorBlock(
        values,
        Labels(["system"], range(shape[0])) if samples is None else Labels(*samples),
        [Labels([f"mu_{i}"], range(n)) for i, n in enumerate(shape[1:-1])] if components is None else components,
        Labels(["property"], range(shape[-1])) if properties is None else Labels(*properties),
    )
    for name, gradient in gradients.items():
        made.add_gradient(name, gradient)
    return made


def tensormap(blocks: Mapping[Any, TensorBlock], names: Sequence[str] = ("_",)) -> TensorMap:
    """Return the map of key to block, in the order of insertion."""
    return TensorMap(
        Labels(names, [list(key) if isinstance(key, tuple) else [key] for key in blocks]), [*blocks.values()]
    )


def whole(block: TensorBlock) -> TensorMap:
    return tensormap({0: block})
