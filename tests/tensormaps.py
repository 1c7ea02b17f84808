"""Stand-ins that have what a metatensor TensorMap has, so that reading one is tested where metatensor is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Labels:
    def __init__(self, names: Sequence[str], values: Any) -> None:
        self.names, self.values = list(names), np.asarray(values, np.int32).reshape(-1, len(names))

    def __len__(self) -> int:
        return len(self.values)


class TensorBlock:
    def __init__(self, values: Any, samples: Labels, components: Sequence[Labels], properties: Labels) -> None:
        self.values, self.samples, self.components, self.properties = values, samples, list(components), properties
        self._gradients: dict[str, TensorBlock] = {}

    def add_gradient(self, name: str, gradient: TensorBlock) -> None:
        self._gradients[name] = gradient

    def gradients_list(self) -> list[str]:
        return list(self._gradients)

    def gradient(self, name: str) -> TensorBlock:
        return self._gradients[name]


class TensorMap:
    def __init__(self, keys: Labels, blocks: Sequence[TensorBlock]) -> None:
        self.keys, self._blocks = keys, list(blocks)

    def blocks(self) -> list[TensorBlock]:
        return self._blocks

    def block(self, key: Any) -> TensorBlock:
        raise NotImplementedError


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
