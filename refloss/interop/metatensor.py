"""metatensor TensorMaps as the data of a section, and gradients as TensorMaps.

A TensorMap is known by what it has, so that those of metatensor-core and the TorchScript ones of metatensor-torch are
read alike, and neither library is imported to read one. Its blocks become the mappings of docs/specification.md,
section 6; its labels stay with them, to be compared. Shapes and units: those of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss import arrays
from refloss.errors import InputError

PER_ATOM: Final = frozenset({"atom", "first_atom"})
"""Samples with one of these dimensions are atoms or pairs of them: metatrain's trainers leave such rows undivided."""


class BlockKey(tuple[tuple[str, int], ...]):
    """The key of a block, ((name, value), …): it has an order, and shows itself as metatensor writes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"({', '.join(f'{name}={value}' for name, value in self)})"


class TensorMapData(dict[str, Any]):
    """The arrays of a TensorMap, ``{"values": array, …}`` or ``{"blocks": {key: {"values": array, …}}}``.

    Attributes
    ----------
    tensor_blocks : dict of BlockKey to TensorBlock
        The blocks that the arrays came from, in the order of their keys.
    """

    def __init__(self, tensormap: Any) -> None:
        names, keys = _table("keys", tensormap.keys)
        blocks = {
            BlockKey(zip(names, key, strict=True)): block
            for key, block in zip(keys.tolist(), tensormap.blocks(), strict=True)
        }
        self.tensor_blocks = {key: blocks[key] for key in sorted(blocks)}
        held = {
            key: {"values": block.values} | {name: block.gradient(name).values for name in block.gradients_list()}
            for key, block in self.tensor_blocks.items()
        }
        super().__init__(*held.values() if len(held) == 1 else ({"blocks": held},))

    def blocks_of(self, key: str) -> Iterator[tuple[BlockKey, Any]]:
        """Yield each block's key, and the block itself for "values", else its block of the gradient `key`."""
        for name, block in self.tensor_blocks.items():
            yield name, block if key == "values" else block.gradient(key)

    def per_structure(self, key: str) -> bool:
        """Whether the rows of `key` are structures, not atoms or pairs of them."""
        return all(PER_ATOM.isdisjoint(block.samples.names) for _, block in self.blocks_of(key))


def opened(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with a `TensorMapData` in the place of each TensorMap."""
    return {name: TensorMapData(item) if is_tensormap(item) else item for name, item in data.items()}


def is_tensormap(item: Any) -> bool:
    """Whether `item` is a TensorMap, of whichever of metatensor's libraries."""
    return not isinstance(item, Mapping) and all(hasattr(item, name) for name in ("keys", "blocks", "block"))


def require_same_labels(key: str, data: Mapping[str, Any], *, properties: bool = True) -> None:
    """Raise where the labels of TensorMaps that one term compares differ.

    metatrain compares row by row and looks at the blocks' keys alone. Here the keys of the blocks, their components,
    properties and samples must be the same and, but for the keys, in the same order. Three differences are none, since
    metatrain's own batches have them: structures are numbered in the order in which they appear, because "system" is
    the place in the batch for one map and in the data set for another; only one of the maps may name them; and the
    properties of a mask are named after the mask. Properties of different number are left to the loss, which knows
    whether it may be so.

    Parameters
    ----------
    key : str
        "values", or the gradient that is compared.
    data : mapping
        "predictions", "targets", "mask" to the data of the target; what is no `TensorMapData` is passed over.
    properties : bool
        Whether the properties are compared: those of an ensemble are members too, and named otherwise.

    Raises
    ------
    InputError
        Names the arguments, the block, and the first labels that differ.
    """
    maps = [(which, item) for which, item in data.items() if isinstance(item, TensorMapData)]
    for (other, expected), (which, found) in zip(maps[:1] * len(maps), maps[1:], strict=False):
        if list(found.tensor_blocks) != list(expected.tensor_blocks):
            blocks, wanted = (", ".join(map(repr, d.tensor_blocks)) or "none" for d in (found, expected))
            raise InputError(f"{which}: found blocks {blocks}, expected {wanted}, as in {other}")
        for (name, block), (_, model) in zip(found.blocks_of(key), expected.blocks_of(key), strict=True):
            where = which if len(found.tensor_blocks) == 1 else f"{which} of block {name!r}"
            _require_same_block(where, block, other, model, properties, named=which != "mask")


def gradient_as_tensormap(gradient: Mapping[str, Any], predictions: Any) -> Any:
    """Return the gradient of a section's total as a TensorMap with the labels of the predictions.

    Parameters
    ----------
    gradient : mapping
        What ``SectionResult.gradient()`` holds of one target.
    predictions : TensorMap
        The predictions of that target. Neither it nor its values are changed.

    Returns
    -------
    TensorMap
        Of the predictions' kind, in float64, on the CPU. Zero where the total does not depend on the predictions.

    Raises
    ------
    InputError
        The predictions are no TensorMap, or one with other blocks than the gradient.
    """
    if not is_tensormap(predictions):
        raise InputError(f"predictions: found {type(predictions).__name__}, expected a TensorMap")
    scripted = type(predictions).__name__ == "ScriptObject"
    whole = TensorMapData(predictions)
    blocks = gradient["blocks"] if "blocks" in gradient else dict.fromkeys(list(whole.tensor_blocks)[:1], gradient)
    if set(blocks) != set(whole.tensor_blocks):
        found, wanted = (", ".join(map(repr, keys)) for keys in (blocks, whole.tensor_blocks))
        raise InputError(f"gradient: found blocks {found}, expected those of predictions: {wanted}")
    for name, block in whole.tensor_blocks.items():
        known = ["values", *block.gradients_list()]
        if not set(blocks[name]) <= set(known):
            raise InputError(
                f"gradient: found {', '.join(blocks[name])}, expected some of {', '.join(known)} (one target's)"
            )

    def rebuilt(block: Any, values: Any) -> Any:
        array = np.zeros(tuple(block.values.shape)) if values is None else values
        labels = (block.samples, list(block.components), block.properties)
        if scripted:
            array = import_module("torch").from_numpy(array.copy())
            labels = (labels[0].to("cpu"), [item.to("cpu") for item in labels[1]], labels[2].to("cpu"))
        made = import_module("metatensor.torch").TensorBlock if scripted else type(block)
        return made(array, *labels)

    rebuilt_blocks = []
    for entry, block in zip(_table("keys", predictions.keys)[1].tolist(), predictions.blocks(), strict=True):
        arrays_of_block = blocks[BlockKey(zip(predictions.keys.names, entry, strict=True))]
        new = rebuilt(block, arrays_of_block.get("values"))
        for name in block.gradients_list():
            new.add_gradient(name, rebuilt(block.gradient(name), arrays_of_block.get(name)))
        rebuilt_blocks.append(new)
    if scripted:
        return import_module("metatensor.torch").TensorMap(predictions.keys.to("cpu"), rebuilt_blocks)
    return type(predictions)(predictions.keys, rebuilt_blocks)


def _require_same_block(where: str, block: Any, other: str, model: Any, properties: bool, *, named: bool) -> None:
    found, expected = _samples(where, block.samples), _samples(other, model.samples)
    if found.keys() - {"system"} != expected.keys() - {"system"}:
        _differ(where, "samples", f"named {', '.join(found)}", f"named {', '.join(expected)}", other)
    common = [name for name in expected if name in found]
    rows, wanted = (np.stack([columns[name] for name in common], axis=1) for columns in (found, expected))
    _require_same_rows(where, "samples", common, rows, wanted, other)
    axes = [("components", a, b) for a, b in zip(block.components, model.components, strict=False)]
    if properties and len(block.properties) == len(model.properties):
        axes.append(("properties", block.properties, model.properties))
    for axis, labels, model_labels in axes:
        (names, entries), (expected_names, expected_entries) = _table(where, labels), _table(other, model_labels)
        if names != expected_names and (named or axis != "properties" or len(names) != len(expected_names)):
            _differ(where, axis, f"named {', '.join(names)}", f"named {', '.join(expected_names)}", other)
        _require_same_rows(where, axis, names, entries, expected_entries, other)


def _require_same_rows(
    where: str, axis: str, names: list[str], found: NDArray[Any], expected: NDArray[Any], other: str
) -> None:
    if len(found) != len(expected):
        _differ(where, axis, f"of number {len(found)}", f"{len(expected)}", other)
    wrong = (found != expected).any(axis=1)
    if wrong.any():
        first = int(np.argmax(wrong))
        a, b = (BlockKey(zip(names, rows[first].tolist(), strict=True)) for rows in (found, expected))
        reordered = sorted(found.tolist()) == sorted(expected.tolist())
        note = " (the same in another order)" if reordered else ""
        systems = ", structures being numbered as they appear" if "system" in names else ""
        _differ(where, axis, f"{a} at index {first}{note}", f"{b}{systems}", other)


def _differ(where: str, axis: str, found: str, expected: str, other: str) -> None:
    raise InputError(f"{where}: found {axis} {found}, expected {expected}, as in {other}")


def _samples(where: str, labels: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of the samples; the structures numbered from 0 in the order in which they appear."""
    names, values = _table(where, labels)
    columns = dict(zip(names, values.T, strict=True))
    if "system" in columns:
        _, first, inverse = np.unique(columns["system"], return_index=True, return_inverse=True)
        columns["system"] = np.argsort(np.argsort(first))[inverse]
    return columns


def _table(where: str, labels: Any) -> tuple[list[str], NDArray[Any]]:
    return list(labels.names), arrays.on_host(where, labels.values)
