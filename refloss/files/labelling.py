"""Arrays and metatensor's own TensorMaps as the TensorMaps of `refloss.files.tensormap`, to be written.

What has no labels gets those of metatrain's data sets: samples ``system``, or ``system, atom`` where there is a row an
atom; components ``xyz``, or ``xyz_1``, ``xyz_2``, …; one dimension of properties, ``energy`` where there are forces or
a strain, else the target's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss import arrays
from refloss.errors import InputError
from refloss.files import Structures
from refloss.files.tensormap import Labels, TensorBlock, TensorMap, require_fit, require_labels
from refloss.interop.metatensor import is_tensormap
from refloss.results import Integers


def as_tensormap(where: str, name: str, item: Any, num_atoms: Integers | None) -> TensorMap:
    """Return `item` as a TensorMap of NumPy arrays whose labels fit.

    Parameters
    ----------
    where : str
        What messages begin with.
    name : str
        The target, or ``<target>_mask``.
    item : TensorMap, mapping or array_like
        The data; ``{"values": array, "<gradient>": array, …}``, or the values.
    num_atoms : (B,) array or None
        Atoms of each structure, which tell a row an atom from a row a structure. Without them, rows are structures.

    Raises
    ------
    InputError
        Data in several blocks without labels; shapes that no labels fit; positions gradients without `num_atoms`;
        numbers of a kind that the file has not.
    """
    if is_tensormap(item):
        return _copied(where, item)
    if isinstance(item, Mapping) and "blocks" in item:
        raise InputError(f"{where}: found blocks without labels, expected a TensorMap, or one array of values")
    entry = item if isinstance(item, Mapping) else {"values": item}
    values = real_values(where, entry["values"])
    if values.ndim == 0:
        raise InputError(f"{where}: found a single number, expected a row a structure, or a row an atom")
    values = values.reshape(len(values), *values.shape[1:-1], -1) if values.ndim > 1 else values[:, np.newaxis]
    gradients = {key: real_values(f"{where}, {key}", array) for key, array in entry.items() if key != "values"}
    energy = name == "energy" or not _OWN_AXES.keys().isdisjoint(gradients)
    properties = _range("energy" if energy else _identifier(name), values.shape[-1])
    block = TensorBlock(values, _samples(where, len(values), num_atoms), _components(values.shape[1:-1]), properties)
    for key, array in gradients.items():
        block.add_gradient(key, _gradient(f"{where}, {key}", key, array, block, num_atoms))
    require_fit(where, block)
    return TensorMap(Labels(["_"], [[0]]), [block])


def real_values(where: str, value: Any) -> NDArray[Any]:
    """Return `value` as an array of booleans, integers or floats of at most 64 bits, in the machine's byte order."""
    array = arrays.on_host(where, value)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(f"{where}: found dtype {array.dtype}, expected booleans, integers or floats of up to 64 bits")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def whole_structures(where: str, structures: Structures | None) -> tuple[Structures, NDArray[np.int32], NDArray[Any]]:
    """Return structures, their types and their positions, for formats that hold each target beside its structure."""
    if structures is None or structures.types is None or structures.positions is None:
        lacks = "structures" if structures is None else "types and positions of the structures"
        raise InputError(f"{where}: found no {lacks}, expected them: the format holds targets beside their structures")
    types = structures.types.astype(np.int32)
    if not np.array_equal(types, structures.types):
        raise InputError(f"{where}: found types beyond int32, expected atomic numbers")
    return structures, types, structures.positions


def require_finite_cells(where: str, cells: NDArray[Any]) -> None:
    """Raise where a cell is not finite: nothing has a volume then."""
    finite = np.isfinite(cells).all(axis=(1, 2))
    if not finite.all():
        wrong = int(np.argmin(finite))
        raise InputError(f"{where}: found a cell of structure {wrong} that is not finite, expected three vectors")


_OWN_AXES: Final[Mapping[str, tuple[int, ...]]] = {"positions": (3,), "strain": (3, 3)}
"""The axes that a gradient has before those of the values."""


def _copied(where: str, item: Any) -> TensorMap:
    def labels(place: str, found: Any) -> Labels:
        copied = Labels(found.names, arrays.on_host(place, found.values))
        require_labels(place, copied)
        return copied

    def block(place: str, found: Any) -> TensorBlock:
        copied = TensorBlock(
            real_values(place, found.values),
            labels(place, found.samples),
            [labels(place, component) for component in found.components],
            labels(place, found.properties),
        )
        for parameter in found.gradients_list():
            copied.add_gradient(parameter, block(f"{place}, {parameter}", found.gradient(parameter)))
        require_fit(place, copied)
        return copied

    keys = labels(where, item.keys)
    blocks = [block(f"{where}, block {i}", found) for i, found in enumerate(item.blocks())]
    if len(keys) != len(blocks):
        raise InputError(f"{where}: found {len(blocks)} blocks and {len(keys)} keys, expected as many")
    return TensorMap(keys, blocks, item.info() if hasattr(item, "info") else None)


def _samples(where: str, rows: int, num_atoms: Integers | None) -> Labels:
    if num_atoms is None or rows == len(num_atoms):
        return _range("system", rows)
    if rows != num_atoms.sum():
        raise InputError(
            f"{where}: found {rows} rows, expected a row for each of {len(num_atoms)} structures or of their "
            f"{num_atoms.sum()} atoms"
        )
    return _atoms("system", num_atoms)


def _gradient(where: str, key: str, array: NDArray[Any], block: TensorBlock, num_atoms: Integers | None) -> TensorBlock:
    tail = block.values.shape[1:]
    one = math.prod(tail) == 1  # a gradient of one number a row is often kept without the last axis
    if key in _OWN_AXES:
        own = _OWN_AXES[key]
    elif array.shape[max(1, array.ndim - len(tail)) :] == tail:
        own = array.shape[1 : array.ndim - len(tail)]
    else:
        own = array.shape[1:]
    if array.shape[1:] != own + tail and not (one and array.shape[1:] == own):
        raise InputError(f"{where}: found shape {array.shape}, expected rows of shape {own + tail}")
    samples = _range("sample", len(block.values))
    if key == "positions":
        if num_atoms is None or "atom" in block.samples.names or len(array) != num_atoms.sum():
            expected = "the structures' numbers of atoms" if num_atoms is None else f"{num_atoms.sum()}, a row an atom"
            raise InputError(f"{where}: found {len(array)} rows, expected {expected}")
        samples = _atoms("sample", num_atoms)
    return TensorBlock(
        array.reshape(len(array), *own, *tail), samples, _components(own) + block.components, block.properties
    )


def _components(shape: tuple[int, ...]) -> list[Labels]:
    stem = "xyz" if set(shape) == {3} else "component"
    return [_range(stem if len(shape) == 1 else f"{stem}_{i}", n) for i, n in enumerate(shape, 1)]


def _atoms(first: str, num_atoms: Integers) -> Labels:
    structure = np.repeat(np.arange(len(num_atoms)), num_atoms)
    atom = np.arange(len(structure)) - np.repeat(np.cumsum(num_atoms) - num_atoms, num_atoms)
    return Labels([first, "atom"], np.stack([structure, atom], axis=1))


def _range(name: str, count: int) -> Labels:
    return Labels([name], np.arange(count))


def _identifier(name: str) -> str:
    """Return a name of properties as metatensor allows it; a mask's are those of what it masks."""
    plain = re.sub(r"\W", "_", name.removeprefix("mtt::").removesuffix("_mask"), flags=re.ASCII)
    return plain if plain and not plain[0].isdigit() else f"_{plain}"
