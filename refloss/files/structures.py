"""The rows of data sets by structure: checked, selected, joined.

Arrays have a row a structure, or a row an atom, structure after structure. The samples of a TensorMap name the
structure (``system``): the k-th smallest number that occurs in it is the k-th structure, as metatrain reads it, and the
atoms of a structure (``atom``) are to be in the order of the structure's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss import arrays
from refloss.errors import InputError
from refloss.files import Structures
from refloss.files.joining import Joined, split
from refloss.files.tensormap import TensorBlock, TensorMap
from refloss.files.unlabelled import without_labels
from refloss.interop.metatensor import is_tensormap
from refloss.results import Integers


def chosen(where: str, item: Any, num_atoms: Integers, indices: Integers | None = None) -> Any:
    """Check the rows of one target against the structures, and return those of the structures `indices`, in that order.

    Parameters
    ----------
    where : str
        What messages begin with: the argument, the file, the target.
    item : TensorMap or mapping
        ``{"values": array, "<gradient>": array, …}``.
    num_atoms : (B,) int64
        The number of atoms of each structure that the item is of.
    indices : (b,) int64, optional
        By default all of them; then arrays are returned as they are, and TensorMaps in the order of the structures,
        numbered from 0.

    Raises
    ------
    InputError
        There are other numbers of rows than structures or atoms; a TensorMap lacks structures, or has their atoms in
        another order.
    """
    if is_tensormap(item):
        return _chosen_samples(where, item, num_atoms, indices)
    return {key: _chosen_rows(f"{where}, {key}", key, item[key], num_atoms, indices) for key in item}


def ordered(where: str, item: Any) -> Any:
    """Return a TensorMap with its rows by structure, to be compared with rows that have no labels; arrays as they are.

    Raises
    ------
    InputError
        The TensorMap is not in order, and its blocks do not all name the structures.
    """
    if not is_tensormap(item) or all(map(_in_order, item.blocks())):
        return item
    return _one(where, list(split(where, item, systems(where, item).size)))


def systems(where: str, tensormap: TensorMap) -> Integers:
    """Return the numbers that the structures of a TensorMap have, each once, in ascending order."""
    columns = []
    for block in tensormap.blocks():
        names = block.samples.names
        if "system" not in names:
            raise InputError(f"{where}: found samples named {', '.join(names)}, expected system among them")
        columns.append(block.samples.values[:, names.index("system")].astype(np.int64))
    return np.unique(np.concatenate(columns)) if columns else np.empty(0, np.int64)


def selected(structures: Structures, indices: Integers | None) -> Structures:
    """Return the structures `indices`, in that order."""
    if indices is None:
        return structures
    types, positions, cells = structures.types, structures.positions, structures.cells
    # Numbers of atoms alone may lie: what has as many rows covers them.
    rows = slice(0) if types is None and positions is None else _atom_rows(structures.num_atoms, indices)
    return Structures(
        structures.num_atoms[indices],
        None if types is None else types[rows],
        None if positions is None else positions[rows],
        None if cells is None else cells[indices],
    )


def joined(where: str, parts: Sequence[Any]) -> Any:
    """Return one target of several data sets as one, the structures of the first before those of the second.

    TensorMaps stay one as long as all of `parts` are, and a block that one of them lacks has no rows of it. Otherwise
    all become arrays, which several blocks cannot.

    Raises
    ------
    InputError
        Rows of different shape, gradients that only some have, blocks beside arrays.
    """
    if len(parts) == 1:
        return parts[0]
    if all(map(is_tensormap, parts)):
        return _one(where, [one for part in parts for one in split(where, part, systems(where, part).size)])
    plain = [without_labels(where, part) if is_tensormap(part) else part for part in parts]
    for part in plain[1:]:
        if part.keys() != plain[0].keys():
            found, expected = (", ".join(sorted(keys)) for keys in (part, plain[0]))
            raise InputError(f"{where}: found {found} in one data set and {expected} in another, expected the same")
    return {key: _concatenated(f"{where}, {key}", [part[key] for part in plain]) for key in plain[0]}


def _atom_rows(num_atoms: Integers, indices: Integers) -> Integers:
    """Return the rows of the atoms of the structures `indices`, in their order."""
    starts = np.cumsum(num_atoms) - num_atoms
    counts = num_atoms[indices]
    return np.repeat(starts[indices] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _chosen_rows(where: str, key: str, value: Any, num_atoms: Integers, indices: Integers | None) -> Any:
    array = arrays.on_host(where, value)
    rows = array.shape[0] if array.ndim else 0
    per_structure, per_atom = key != "positions" and rows == num_atoms.size, key != "strain" and rows == num_atoms.sum()
    if not (per_structure or per_atom):
        kinds = [f"{num_atoms.size}, a row a structure"] * (key != "positions")
        kinds += [f"{num_atoms.sum()}, a row an atom"] * (key != "strain")
        raise InputError(f"{where}: found {rows} rows, expected {', or '.join(kinds)}")
    if indices is None:
        return array
    return array[indices if per_structure else _atom_rows(num_atoms, indices)]


def _chosen_samples(where: str, tensormap: TensorMap, num_atoms: Integers, indices: Integers | None) -> TensorMap:
    numbers = systems(where, tensormap)
    if numbers.size != num_atoms.size:
        missing = np.setdiff1d(np.arange(num_atoms.size), numbers)
        lacks = ", ".join(map(str, missing[:8].tolist())) + (", …" if missing.size > 8 else "")
        told = f" (no system {lacks})" if missing.size and numbers.size < num_atoms.size else ""
        raise InputError(f"{where}: found {numbers.size} structures{told}, expected {num_atoms.size}")
    every = np.arange(num_atoms.size)
    if indices is not None or not np.array_equal(numbers, every) or not all(map(_in_order, tensormap.blocks())):
        order = every if indices is None else indices
        each = list(split(where, tensormap, num_atoms.size))
        tensormap, num_atoms = _one(where, [each[i] for i in order]), num_atoms[order]
    if len(tensormap.blocks()) == 1:  # of several, each may hold some of the atoms
        block = tensormap.block(0)
        _require_atoms(where, block, num_atoms)
        # Samples of gradients count rows, which are structures only if the rows are.
        for parameter in () if "atom" in block.samples.names else block.gradients_list():
            _require_atoms(f"{where}, {parameter}", block.gradient(parameter), num_atoms)
    return tensormap


def _in_order(block: TensorBlock) -> bool:
    """Say whether the rows go by structure, and those of the gradients with them; without structures they do."""
    if "system" not in block.samples.names:
        return True
    column = block.samples.values[:, block.samples.names.index("system")]
    samples = [block.gradient(name).samples.values[:, 0] for name in block.gradients_list()]
    return all((rows[1:] >= rows[:-1]).all() for rows in (column, *samples))


def _one(where: str, each: Sequence[TensorMap]) -> TensorMap:
    """Return the TensorMaps of single structures as one, in which these are numbered from 0."""
    joint = Joined()
    for i, tensormap in enumerate(each):
        joint.add(where, i, tensormap)
    return joint.tensormap()


def _require_atoms(where: str, block: TensorBlock, num_atoms: Integers) -> None:
    """Raise where a block with a row an atom has not the structures' atoms, in their order."""
    names, table = block.samples.names, block.samples.values
    if "atom" not in names:
        return
    first = "sample" if "sample" in names else "system"
    counts = np.bincount(table[:, names.index(first)], minlength=num_atoms.size)
    if (counts != num_atoms).any():
        wrong = int(np.argmax(counts != num_atoms))
        raise InputError(
            f"{where}: found {counts[wrong]} atoms of structure {wrong}, expected {num_atoms[wrong]}, as in the file "
            "of the structures"
        )
    expected = np.arange(len(table)) - np.repeat(np.cumsum(num_atoms) - num_atoms, num_atoms)
    wrong_atoms = table[:, names.index("atom")] != expected
    if wrong_atoms.any():
        row = int(np.argmax(wrong_atoms))
        raise InputError(
            f"{where}: found atom {table[row, names.index('atom')]} of structure {table[row, names.index(first)]} in "
            f"the place of its atom {expected[row]}, expected the order of the structures' atoms"
        )


def _concatenated(where: str, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    for part in parts[1:]:
        if part.shape[1:] != parts[0].shape[1:]:
            raise InputError(
                f"{where}: found rows of shape {part.shape[1:]} in one data set and {parts[0].shape[1:]} in another, "
                "expected the same in all"
            )
    return np.concatenate(parts)
