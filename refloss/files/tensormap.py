"""TensorMaps of plain NumPy arrays: labelled blocks of numbers, read and written where metatensor is not installed.

They have what metatensor's own have (keys, blocks, samples, components, properties, gradients), so that whatever takes
a TensorMap takes these, and compares their labels. A block holds `values` of shape (samples, components…, properties);
its gradient by a parameter holds (samples, components…, the block's components…, properties), and its first sample
dimension, ``sample``, is the row of the block that was differentiated. Units are those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError


class Labels:
    """Names of dimensions, and an (entries, names) table of int32."""

    __slots__ = ("names", "values")

    def __init__(self, names: Iterable[str], values: Any) -> None:
        self.names = list(names)
        table = np.asarray(values)
        table = table if table.ndim == 2 else table.reshape(-1, len(self.names))
        self.values: NDArray[np.int32] = table.astype(np.int32, copy=False)
        if table.dtype != np.int32 and not np.array_equal(self.values, table):
            raise InputError(f"labels {', '.join(self.names)}: found values beyond int32, expected integers of 32 bits")

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Labels):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Labels({', '.join(self.names)}; {len(self)})"


class TensorBlock:
    """An array with labels on every axis, and the arrays of its derivatives."""

    __slots__ = ("_gradients", "components", "properties", "samples", "values")

    def __init__(self, values: Any, samples: Labels, components: Sequence[Labels], properties: Labels) -> None:
        self.values, self.samples, self.components, self.properties = values, samples, list(components), properties
        self._gradients: dict[str, TensorBlock] = {}

    def add_gradient(self, parameter: str, gradient: TensorBlock) -> None:
        """Hold `gradient`, the derivative of the values by `parameter`."""
        self._gradients[parameter] = gradient

    def gradients_list(self) -> list[str]:
        """Return the parameters by which there are gradients."""
        return list(self._gradients)

    def gradient(self, parameter: str) -> TensorBlock:
        """Return the gradient by `parameter`."""
        return self._gradients[parameter]

    def __repr__(self) -> str:
        return f"TensorBlock({tuple(np.shape(self.values))}; gradients: {', '.join(self._gradients) or 'none'})"


class TensorMap:
    """Blocks, each with its key.

    Parameters
    ----------
    keys : Labels
        An entry a block.
    blocks : sequence of TensorBlock
        In the order of the keys.
    info : mapping of str to str, optional
        What else the file says of the data: a description, say.
    """

    __slots__ = ("_blocks", "_info", "keys")

    def __init__(self, keys: Labels, blocks: Sequence[TensorBlock], info: Mapping[str, str] | None = None) -> None:
        self.keys, self._blocks, self._info = keys, list(blocks), dict(info or {})

    def blocks(self) -> list[TensorBlock]:
        """Return the blocks, in the order of the keys."""
        return self._blocks

    def block(self, index: int = 0) -> TensorBlock:
        """Return the block of the key number `index`."""
        return self._blocks[index]

    def info(self) -> dict[str, str]:
        """Return what else the file says of the data."""
        return dict(self._info)

    def __repr__(self) -> str:
        return f"TensorMap({self.keys!r}; {self._blocks})"


def require_labels(where: str, labels: Any) -> None:
    """Raise where names are no identifiers or occur twice, or entries occur twice: metatensor would not take them."""
    for name in labels.names:
        if not _IDENTIFIER.fullmatch(name):
            raise InputError(f"{where}: found the dimension {name!r}, expected letters, digits and underscores")
    if len(set(labels.names)) != len(labels.names):
        raise InputError(f"{where}: found the dimensions {', '.join(labels.names)}, expected each once")
    values = np.asarray(labels.values)
    if len(values) < 2 or (values[1:, 0] > values[:-1, 0]).all():
        return
    order = np.lexsort(values.T[::-1])
    same = (values[order[1:]] == values[order[:-1]]).all(axis=1)
    if same.any():
        entry = values[order[int(np.argmax(same))]].tolist()
        shown = ", ".join(f"{name}={value}" for name, value in zip(labels.names, entry, strict=True))
        raise InputError(f"{where}: found ({shown}) twice, expected each entry once")


def require_fit(where: str, block: TensorBlock) -> None:
    """Raise where the labels of `block` do not fit its values, or those of a gradient do not fit the block's."""
    rows = len(block.samples)
    axes = (rows, *map(len, block.components), len(block.properties))
    if block.values.shape != axes:
        raise InputError(f"{where}: found values of shape {block.values.shape}, expected {axes} by the labels")
    for parameter in block.gradients_list():
        gradient, place = block.gradient(parameter), f"{where}: gradient {parameter!r}"
        if gradient.samples.names[:1] != ["sample"]:
            found = ", ".join(gradient.samples.names) or "nothing"
            raise InputError(f"{place}: found samples named {found}, expected sample first")
        of = gradient.samples.values[:, 0]
        if of.size and not 0 <= of.min() <= of.max() < rows:
            wrong = of[(of < 0) | (of >= rows)][0]
            raise InputError(f"{place}: found sample {wrong}, expected one of the {rows} rows of the values")
        if gradient.components[len(gradient.components) - len(block.components) :] != block.components:
            raise InputError(
                f"{place}: found components {gradient.components}, expected them to end with {block.components}, "
                "those of the values"
            )
        if gradient.properties != block.properties:
            raise InputError(
                f"{place}: found properties {gradient.properties}, expected {block.properties}, the values'"
            )


_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
