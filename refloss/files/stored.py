"""Arrays that stay in their file until they are asked for, whole or in parts, and what their paths in it mean.

HDF5 and Zarr keep arrays in groups. A group that holds ``values`` is a target, and its other arrays are the gradients;
an array that is in no such group is the values of a target of its own name. ``structures`` holds what `Structures` has.
(docs/files.md)
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.arrays import on_host
from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, Quantity, Structures, by_name
from refloss.files.bounded import LIMITS
from refloss.files.labelling import require_finite_cells

PART: Final = 16 << 20
"""Bytes of a part: enough that the number of steps costs nothing, little beside an array that needs parts."""

UNSTORED: Final = 64 << 20
"""Bytes that an array may declare with nothing stored: masks of 14,000 structures of 4606 points that are all false."""

STRUCTURES: Final = "structures"
"""The group of the structures."""


class Stored(ABC):
    """An array in a file.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        In the machine's byte order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield the array in runs of rows, the first axis in order; of no axis, or no element, in one part.

        Raises
        ------
        InputError
            It cannot be read; then what was yielded is not to be used either.
        """

    def whole(self) -> NDArray[Any]:
        """Return all of the array."""
        parts = self.parts()
        first = next(parts)
        if first.shape == self.shape:
            for _ in parts:  # to the end, where what was read may yet be found damaged
                raise AssertionError("more parts than the array has rows")
            return first
        out: NDArray[Any] = np.empty(self.shape, self.dtype)
        at = 0
        for part in itertools.chain([first], parts):
            out[at : at + len(part)] = part
            at += len(part)
        return out


class Held(Stored):
    """An array that is in memory, or memory-mapped."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype = self._array.shape, self._array.dtype.newbyteorder("=")

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield views."""
        for rows in slices(self.shape, self.dtype.itemsize):
            yield self._array[rows]

    def whole(self) -> NDArray[Any]:
        """Return the array itself, which stays memory-mapped if it is."""
        return self._array


class Entry(Mapping[str, NDArray[Any]]):
    """The values and gradients of one target of a file, each read when it is asked for.

    Parameters
    ----------
    opened : mapping of str to callable
        ``"values"`` and the gradients to what looks the array up in the file, and may find that it is none.
    """

    def __init__(self, opened: Mapping[str, Callable[[], Stored]]) -> None:
        self._opened = opened

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self.stored(key).whole()

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    def stored(self, key: str) -> Stored:
        """Return the array where it is, nothing of it read."""
        return self._opened[key]()


def stored(where: str, entry: Any, key: str) -> Stored:
    """Return the array `key` of one target's data, where it is, to be written; raise where it is not plain numbers."""
    array = entry.stored(key) if isinstance(entry, Entry) else Held(on_host(where, entry[key]))
    require_plain(where, array.dtype)
    return array


def slices(shape: Sequence[int], itemsize: int, multiple: int = 1) -> Iterator[tuple[slice, ...]]:
    """Yield the rows of each part of an array, a whole number of `multiple` rows each but the last."""
    if not shape or 0 in shape:
        yield ()
        return
    rows = rows_of_part(shape, itemsize, multiple)
    for start in range(0, shape[0], rows):
        yield (slice(start, min(start + rows, shape[0])),)


def rows_of_part(shape: Sequence[int], itemsize: int, multiple: int = 1) -> int:
    """Return how many rows of an array that has elements a part has, a multiple of `multiple`."""
    return max(PART // (math.prod(shape[1:]) * itemsize * multiple), 1) * multiple


def runs(array: Stored, rows: int) -> Iterator[NDArray[Any]]:
    """Yield an array of one axis or more in runs of so many rows, the last of fewer."""
    held: list[NDArray[Any]] = []
    count = 0
    for given in array.parts():
        part = given
        while count + len(part) >= rows:
            head, part = part[: rows - count], part[rows - count :]
            yield np.concatenate([*held, head]) if held else head
            held, count = [], 0
        if len(part):
            held, count = [*held, part], count + len(part)
    if held:
        yield np.concatenate(held) if len(held) > 1 else held[0]


def require_covered(where: str, shape: Sequence[int], itemsize: int, stored: int, ratio: int) -> None:
    """Raise where an array declares more than what is stored of it can hold.

    Parameters
    ----------
    where : str
        What the message begins with.
    shape : sequence of int
        Of all that would be decompressed: whole chunks, beyond the array's edges too (`padded`).
    itemsize, stored : int
        Bytes of an element, and bytes that the file has of the array.
    ratio : int
        The largest of the compression; 1 where there is none, and chunks cannot be missing.
    """
    nbytes = math.prod(shape) * itemsize
    bound = min(ratio * stored, max(LIMITS.expanded, LIMITS.expanded_ratio * stored))
    if nbytes > max(bound, UNSTORED):
        raise InputError(f"{where}: found an array of {nbytes} bytes, of which {stored} are stored, expected fewer")


def padded(shape: Sequence[int], chunks: Sequence[int]) -> list[int]:
    """Return the shape of all chunks of an array together."""
    return [-(-n // chunk) * chunk for n, chunk in zip(shape, chunks, strict=True)]


def require_plain(where: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in the machine's byte order; raise where it is not booleans or real numbers of at most 8 bytes."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise InputError(f"{where}: found the type {dtype}, expected booleans or real numbers")
    return dtype.newbyteorder("=")


def require_booleans(where: str, array: NDArray[Any]) -> None:
    """Raise where a byte among booleans is neither 0 nor 1: it would be true here and neither there."""
    if array.dtype == np.bool_ and array.size:
        largest = int(array.view(np.uint8).max())
        if largest > 1:
            raise InputError(f"{where}: found the byte {largest} among booleans, expected 0 or 1")


def contents_at(
    where: str, paths: Collection[str], quantities: Sequence[Quantity], open_: Callable[[str], Stored]
) -> Contents:
    """Return what a file holds whose arrays have the given `paths`, none of which is read but the structures'.

    Parameters
    ----------
    where : str
        What messages begin with.
    paths : collection of str
        The paths of all arrays, groups before a slash.
    quantities : sequence of Quantity
        What is wanted: the keys tell which part of a path is a name, and names take their places. Without any, no array
        may be left that belongs to no target.
    open_ : callable
        Looks up the array of a path.

    Raises
    ------
    InputError
        A gradient has no values; a target has values twice; the structures are none.
    """
    paths = list(paths)
    ours = [path for path in paths if path.startswith(f"{STRUCTURES}/")]
    structures = None
    if f"{STRUCTURES}/num_atoms" in ours:
        paths = [path for path in paths if path not in set(ours)]
        structures = _structures(where, {path: open_(path) for path in ours})
    found = _targets(where, paths, [quantity.key for quantity in quantities])
    data = {
        name: Entry({gradient: _opener(open_, path) for gradient, path in found[key].items()})
        for name, key in by_name(found, quantities).items()
    }
    return Contents(data, structures)


def paths_of(argument: str, data: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return the path of each target's arrays, and raise where `contents_at` would read something else from them."""
    paths = {f"{name}/{key}": (name, key) for name, entry in data.items() for key in entry}
    for name in data:
        parts = name.split("/")
        if not all(parts) or {".", ".."}.intersection(parts) or "\0" in name or parts[0] == STRUCTURES:
            raise InputError(f"{argument}: found the target {name!r}, expected a name that a group can have")
    found = _targets(argument, list(paths), ())
    back = {path: (name, key) for name, keys in found.items() for key, path in keys.items()}
    for path, meant in paths.items():
        if back[path] != meant:
            name, key = back[path]
            raise InputError(
                f"{argument}: found the gradient {meant[1]!r} of {meant[0]!r}, which in groups could not be told from "
                f"{key!r} of the target {name!r}"
            )
    return paths


def structures_of(structures: Structures | None) -> dict[str, NDArray[Any]]:
    """Return the arrays that `contents_at` reads as structures."""
    if structures is None:
        return {}
    return {
        f"{STRUCTURES}/{field.name}": getattr(structures, field.name)
        for field in fields(structures)
        if getattr(structures, field.name) is not None
    }


def _opener(open_: Callable[[str], Stored], path: str) -> Callable[[], Stored]:
    return lambda: open_(path)


def _targets(where: str, paths: Collection[str], keys: Collection[str]) -> dict[str, dict[str, str]]:
    """Return ``{target: {"values" or gradient: path}}``."""
    groups = {path.removesuffix("/values") for path in paths if path.endswith("/values")}
    found: dict[str, dict[str, str]] = {}
    orphans = []
    for path in paths:
        name = _owner(path, keys) or _owner(path, groups) or (path if "/" not in path else None)
        if name is None:
            orphans.append(path)
            continue
        key = path[len(name) + 1 :] or "values"
        if key in found.setdefault(name, {}):
            raise InputError(f"{where}: found {name!r} and {name + '/values'!r}, expected one of them")
        found[name][key] = path
    if not keys:
        # Nobody has said what is wanted: what belongs to nothing must not be lost without a word.
        for path in orphans:
            name = path.rpartition("/")[0]
            hint = did_you_mean(name, groups)
            raise InputError(
                f"{where}: found {path!r} but no {name + '/values'!r}, expected the values of a target{hint}"
            )
    for name, held in found.items():
        if "values" not in held:
            path = next(iter(held.values()))
            hint = did_you_mean(name, (other for other, others in found.items() if "values" in others))
            raise InputError(f"{where}: found {path!r} but no {name!r}, expected the values of a target too{hint}")
    return found


def _owner(path: str, names: Collection[str]) -> str | None:
    """Return the longest of `names` that is the path, or a group that it is in."""
    at = len(path)
    while at > 0:
        if path[:at] in names:
            return path[:at]
        at = path.rfind("/", 0, at)
    return None


_MOST_ATOMS: Final = 2**53
"""More than any memory holds; numbers of atoms alone take no bytes of the file that would cover them."""


def _structures(where: str, arrays: Mapping[str, Stored]) -> Structures:
    """Return the structures, whose arrays must have each other's shapes."""
    place = f"{where}: {STRUCTURES}"
    known = {f"{STRUCTURES}/{field.name}" for field in fields(Structures)}
    for path in arrays:
        if path not in known:
            raise InputError(f"{where}: found {path!r}, expected {', '.join(sorted(known))}{did_you_mean(path, known)}")
    held = {path.partition("/")[2]: array.whole() for path, array in arrays.items()}
    for name in ("num_atoms", "types"):
        if name in held and held[name].dtype.kind not in "iu":
            raise InputError(f"{place}/{name}: found the type {held[name].dtype}, expected integers")
    counts = held["num_atoms"]
    if counts.ndim != 1 or (counts < 1).any():
        least = f" and {counts.min()}" if counts.size else ""
        raise InputError(f"{place}/num_atoms: found shape {counts.shape}{least}, expected (B,), each ≥ 1")
    total = sum(counts.tolist())
    if total > _MOST_ATOMS:  # sums of int64 would begin again below zero, and rows be counted by them
        raise InputError(f"{place}/num_atoms: found {total} atoms in all, expected at most {_MOST_ATOMS}")
    for name, shape in (("types", (total,)), ("positions", (total, 3)), ("cells", (len(counts), 3, 3))):
        if name in held and held[name].shape != shape:
            raise InputError(f"{place}/{name}: found shape {held[name].shape}, expected {shape}")
    if "cells" in held:
        require_finite_cells(place, held["cells"])
    return Structures(
        num_atoms=counts.astype(np.int64),
        types=held["types"].astype(np.int64) if "types" in held else None,
        positions=held["positions"].astype(np.float64) if "positions" in held else None,
        cells=held["cells"].astype(np.float64) if "cells" in held else None,
    )
