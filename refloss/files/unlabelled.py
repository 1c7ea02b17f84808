"""Data without labels: what formats of bare arrays hold of TensorMaps, and that nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refloss.errors import InputError
from refloss.files import Contents
from refloss.files.labelling import as_tensormap
from refloss.files.tensormap import Labels
from refloss.interop.metatensor import is_tensormap


def unlabelled(argument: str, path: Path, contents: Contents) -> dict[str, Mapping[str, Any]]:
    """Return ``{target: {"values": array, "<gradient>": array, …}}``.

    The labels of a TensorMap are left out where `refloss.files.labelling.as_tensormap` would give its arrays the same.

    Parameters
    ----------
    argument : str
        What messages begin with.
    path : Path
        The output, whose format holds arrays alone.
    contents : Contents
        What is to be written.

    Raises
    ------
    InputError
        There are other labels, or several blocks.
    """
    atoms = None if contents.structures is None else contents.structures.num_atoms
    data = {}
    for name, item in contents.data.items():
        where = f"{argument}: {path}: {name!r}"
        if not is_tensormap(item):
            entry = item if isinstance(item, Mapping) else {"values": item}
            if "blocks" in entry:
                raise InputError(
                    f"{where}: found {len(entry['blocks'])} blocks, expected one: the format holds no others"
                )
            data[name] = entry
            continue
        entry = without_labels(where, item)
        try:
            again = as_tensormap(where, name, entry, atoms)
        except InputError:  # shapes that have no labels of their own
            again = None
        if again is None or _labels(again) != _labels(as_tensormap(where, name, item, atoms)):
            raise InputError(
                f"{where}: found labels other than those that count structures, atoms and properties, expected a "
                "format that holds labels (or refloss convert --drop labels)"
            )
        data[name] = entry
    return data


def without_labels(where: str, item: Any) -> dict[str, Any]:
    """Return the arrays of a TensorMap of one block."""
    if len(item.blocks()) != 1:
        raise InputError(f"{where}: found {len(item.blocks())} blocks, expected one: the format holds no others")
    (block,) = item.blocks()
    nested = [name for name in block.gradients_list() if block.gradient(name).gradients_list()]
    if nested:
        raise InputError(f"{where}: found gradients of the gradient {nested[0]!r}, expected none")
    return {"values": block.values} | {name: block.gradient(name).values for name in block.gradients_list()}


def _labels(tensormap: Any) -> list[Any]:
    """Return all labels of a TensorMap of one block, and what else it says, to be compared."""
    (block,) = tensormap.blocks()
    gradients = {name: block.gradient(name) for name in sorted(block.gradients_list())}
    return [
        tensormap.keys,
        tensormap.info(),
        *_axes(block),
        *((name, *_axes(held)) for name, held in gradients.items()),
    ]


def _axes(block: Any) -> list[Any]:
    properties = block.properties
    if len(properties.names) == 1:  # named after the target, which may have been called otherwise
        properties = Labels(["property"], properties.values)
    return [block.samples, *block.components, properties]
