"""metatrain's memory-mapped data sets: a folder of bare numbers, for millions of structures.

::

    ns.npy, na.npy              the number of structures; that of all atoms before each, and of all (B + 1)
    a.bin, x.bin, c.bin         atomic numbers (int32); positions (Å) and, perhaps, cells (Å), a row a vector (float32)
    <key>.bin                   a target's values (float32): structures or atoms, components…, properties
    <name>_forces.bin           minus its gradient by positions (eV/Å), as metatrain writes it
    <name>_stress.bin           its gradient by strain over the volume (eV/Å³)

A file of numbers does not say what their shape is: the quantities do, or else its size, where that leaves one answer.
Everything is mapped, and read where it is needed; what is mapped must not change meanwhile. Writing rounds to float32,
as metatrain does. (docs/metatensor_files.md)

References
----------
`MemmapDataset` and `MemmapWriter` of metatrain 2026.4.1.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Contents, GradientSource, Quantity, Structures
from refloss.files.bounded import system_answered
from refloss.files.cells import volumes
from refloss.files.labelling import require_finite_cells, whole_structures
from refloss.files.npy_format import map_array, map_raw
from refloss.files.output import replacing_folder
from refloss.files.stored import Entry, Held, Stored, stored
from refloss.files.unlabelled import unlabelled
from refloss.results import Integers


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a folder: its structures' numbers of atoms now, everything else when it is asked for.

    Parameters
    ----------
    argument : str
        What messages call the folder.
    path : Path
        The folder.
    quantities : sequence of Quantity
        What the files hold. Files that none of them names are data by their own names, with the forces and stresses
        that are called after them as gradients.

    Raises
    ------
    InputError
        A file is missing, of another size than its numbers take, or not of this machine's byte order. For one array,
        when it is asked for: its shape is not told.
    """
    folder = _Folder(f"{argument}: {path}", path)
    data = {}
    rest = dict.fromkeys(key for key in folder.sizes if key not in _STRUCTURES)
    for quantity in quantities:
        for key in (quantity.name, quantity.key, *(source.key for source in quantity.gradients.values())):
            rest.pop(key, None)
        if quantity.key in folder.sizes:
            data[quantity.name] = folder.entry(quantity)
    alone = {key: Quantity(key, key, gradients=folder.called_after(key, rest)) for key in rest}
    gradients = {source.key for quantity in alone.values() for source in quantity.gradients.values()}
    data |= {key: folder.entry(quantity) for key, quantity in alone.items() if key not in gradients}
    return Contents(data, folder.structures())


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a folder that metatrain reads, whole or not at all, every number rounded to float32.

    Raises
    ------
    InputError
        The contents have no structures with types and positions; rows that are neither structures nor atoms; labels
        that the folder cannot hold; gradients of other than energies; numbers beyond float32; strains of structures
        without a volume.
    """
    where = f"{argument}: {path}"
    structures, types, positions = whole_structures(where, contents.structures)
    files: dict[str, Stored] = {"x": Held(positions)}
    if structures.cells is not None:
        files["c"] = Held(structures.cells)
    for name, entry in unlabelled(argument, path, contents).items():
        for key, array in _files(f"{where}: {name!r}", name, entry, structures):
            if key in (*files, *_STRUCTURES) or not key or "/" in key or "\0" in key:
                raise InputError(f"{where}: found {key!r} to be written, expected a name that no other file has")
            files[key] = array
    with replacing_folder(argument, path) as beside:
        np.save(beside / "ns.npy", len(structures.num_atoms))
        np.save(beside / "na.npy", np.cumsum([0, *structures.num_atoms], dtype=np.int64))
        types.tofile(beside / "a.bin")
        for key, array in files.items():
            with (beside / f"{key}.bin").open("wb") as file:
                for part in array.parts():
                    file.write(_single(f"{where}: {key!r}", part).data)


_STRUCTURES: Final = ("a", "x", "c", "momenta", "masses")
"""The files that are no targets unless a quantity says so."""

_HEAVIEST: Final = 1 << 16
"""Atomic numbers, and the types of models that are not of atoms, are smaller; in the other byte order they are not."""


_MINUS: Final = np.array(-1, np.float32)


class _Gradient(Stored):
    """A gradient of which the file holds a multiple, multiplied or divided part by part."""

    def __init__(self, array: Stored, operation: np.ufunc, factor: NDArray[Any]) -> None:
        self._array, self._operation, self._factor = array, operation, factor
        self.shape, self.dtype = array.shape, np.result_type(array.dtype, factor)

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield the products, or quotients, of each part."""
        at = 0
        for part in self._array.parts():
            factor = self._factor[at : at + len(part)] if self._factor.ndim else self._factor
            at += len(part)
            with np.errstate(invalid="ignore"):  # stresses of a structure without a volume are not numbers
                yield self._operation(part, factor)


class _Folder:
    """A folder, and what its small files say of the large ones.

    Attributes
    ----------
    sizes : dict of str to int
        The bytes of each ``<key>.bin``.
    """

    def __init__(self, where: str, path: Path) -> None:
        self._where, self._path = where, path
        count, ends = self._index("ns.npy"), self._index("na.npy")
        if count.size != 1 or count.min() < 1 or ends.shape != (count.max() + 1,) or ends[0] != 0:
            raise InputError(
                f"{where}: found ns.npy {count.tolist()} and na.npy of shape {ends.shape} beginning with "
                f"{ends.ravel()[:1].tolist()}, expected the number of structures, and one sum of atoms more, from 0 on"
            )
        wrong = ends[1:] <= ends[:-1]  # a difference of integers may be beyond them, and look right
        if wrong.any():
            first = int(np.argmax(wrong))
            found = int(ends[first + 1]) - int(ends[first])
            raise InputError(f"{where}: na.npy: found {found} atoms in structure {first}, expected ≥ 1")
        self.num_atoms: Integers = np.diff(ends.astype(np.int64)).astype(np.int64)
        self.structures_count, self.atoms_count = int(count.max()), int(ends[-1])
        home = os.path.realpath(path)
        self.sizes: dict[str, int] = {}
        with system_answered(where):
            for file in sorted(path.glob("*.bin")):
                if not Path(os.path.realpath(file)).is_relative_to(home):
                    raise InputError(f"{where}: {file.name!r}: found a link out of the folder, expected a file")
                self.sizes[file.stem] = file.stat().st_size

    def structures(self) -> Structures:
        """Return the structures; types, positions and cells stay in their files, as they are there."""
        types = self._mapped("a", np.int32, (self.atoms_count,))
        if not -_HEAVIEST < types.min() <= types.max() < _HEAVIEST:
            wrong = types[(types <= -_HEAVIEST) | (types >= _HEAVIEST)][0]
            raise InputError(
                f"{self._where}: 'a.bin': found the atomic number {wrong}, expected smaller ones (files of a machine "
                "with the other byte order do not say so)"
            )
        cells = self._cells() if "c" in self.sizes else None
        if cells is not None:
            require_finite_cells(f"{self._where}: 'c.bin'", cells)
        return Structures(self.num_atoms, types, self._mapped("x", np.float32, (self.atoms_count, 3)), cells)

    def entry(self, quantity: Quantity) -> Entry:
        """Return the values and gradients of a quantity, as far as there are files of them."""
        opened: dict[str, Callable[[], Stored]] = {"values": functools.partial(self._values, quantity)}
        for name, source in quantity.gradients.items():
            if source.key in self.sizes:
                opened[name] = functools.partial(self._gradient, name, source)
        return Entry(opened)

    def called_after(self, key: str, others: Collection[str]) -> dict[str, GradientSource]:
        """Return the gradients among `others` that metatrain calls after an energy `key`, if that is what it is."""
        if self.sizes[key] != 4 * self.structures_count:
            return {}
        found = {}
        for name, (kind, ending) in _WRITTEN.items():
            if f"{key}{ending}" in others and self.sizes[f"{key}{ending}"] == 4 * math.prod(self._shape(name)):
                found[name] = GradientSource(kind, f"{key}{ending}")
        return found

    def _index(self, name: str) -> NDArray[Any]:
        where = f"{self._where}: {name!r}"
        array = map_array(where, self._path / name)
        if array.dtype.kind not in "iu":
            raise InputError(f"{where}: found the type {array.dtype}, expected integers")
        return array

    def _mapped(self, key: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        return map_raw(f"{self._where}: '{key}.bin'", self._path / f"{key}.bin", dtype, shape)

    def _cells(self) -> NDArray[Any]:
        return self._mapped("c", np.float32, (self.structures_count, 3, 3))

    def _shape(self, gradient: str) -> tuple[int, ...]:
        return (self.atoms_count, 3, 1) if gradient == "positions" else (self.structures_count, 3, 3, 1)

    def _values(self, quantity: Quantity) -> Stored:
        """Return the values; their shape is what the quantity says, and where it does not, the only one that fits."""
        numbers = self.sizes[quantity.key] // 4
        kinds = (False, True) if quantity.per_atom is None else (quantity.per_atom,)
        shapes: dict[tuple[int, ...], str] = {}
        for per_atom in kinds:
            rows = self.atoms_count if per_atom else self.structures_count
            row = (numbers // rows,) if quantity.row is None else quantity.row
            shapes.setdefault((rows, *row), "atoms" if per_atom else "structures")
        fitting = [shape for shape in shapes if math.prod(shape) == numbers > 0]
        if len(fitting) == 1:
            return Held(self._mapped(quantity.key, np.float32, fitting[0]))
        where = f"{self._where}: '{quantity.key}.bin'"
        if not fitting:
            expected = " or ".join(f"rows for {shape[0]} {rows}, shape {shape}" for shape, rows in shapes.items())
            raise InputError(f"{where}: found {self.sizes[quantity.key]} bytes, expected float32 of {expected}")
        told = " or ".join(f"{math.prod(shape[1:])} for each of {shape[0]} {shapes[shape]}" for shape in fitting)
        raise InputError(
            f"{where}: found {numbers} numbers, which may be {told}, expected options that tell (sample_kind, type, "
            "num_subtargets)"
        )

    def _gradient(self, name: str, source: GradientSource) -> Stored:
        array = Held(self._mapped(source.key, np.float32, self._shape(name)))
        if source.kind == "stress":
            if "c" not in self.sizes:
                raise InputError(f"{self._where}: found {source.key!r}, a stress, and no cells, expected c.bin")
            sizes = volumes(f"{self._where}: 'c.bin'", self._cells())
            return _Gradient(array, np.multiply, sizes.reshape(-1, 1, 1, 1))
        return array if source.kind == "gradient" else _Gradient(array, np.multiply, _MINUS)


_WRITTEN: Final[Mapping[str, tuple[Literal["forces", "stress"], str]]] = {
    "positions": ("forces", "_forces"),
    "strain": ("stress", "_stress"),
}
"""What metatrain writes of a gradient, and what it adds to the energy's name."""


def _files(where: str, name: str, entry: Mapping[str, Any], structures: Structures) -> Iterator[tuple[str, Stored]]:
    """Yield the keys of one target's files, and what is to be in them."""
    count, atoms = len(structures.num_atoms), int(structures.num_atoms.sum())
    for key in entry:
        array = stored(f"{where}, {key}", entry, key)
        rows = array.shape[0] if array.shape else 0
        if key == "values":
            if rows not in (count, atoms):
                raise InputError(
                    f"{where}: found {rows} rows, expected {count}, one a structure, or {atoms}, one an atom"
                )
            yield name, array
            continue
        expected = {"positions": (atoms, 3), "strain": (count, 3, 3)}.get(key)
        if expected is None or array.shape not in (expected, (*expected, 1)) or array.dtype == np.bool_:
            raise InputError(
                f"{where}, {key}: found a gradient of shape {array.shape} of {array.dtype}, expected positions or "
                f"strain of an energy, shape {(atoms, 3)} or {(count, 3, 3)}"
            )
        operation: np.ufunc = np.multiply
        factor: NDArray[Any] = _MINUS
        if key == "strain":
            cells = np.zeros((count, 3, 3)) if structures.cells is None else structures.cells.astype(np.float64)
            sizes = volumes(where, cells)
            if not sizes.all():
                first = int(np.argmin(sizes))
                raise InputError(
                    f"{where}, {key}: found structure {first} without a volume, expected one: stresses are written"
                )
            operation, factor = np.divide, sizes.reshape(-1, *(1,) * (len(array.shape) - 1))
        yield f"{name}{_WRITTEN[key][1]}", _Gradient(array, operation, factor)


def _single(where: str, part: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32, in C order; what is finite and too large for it is an error."""
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(part, np.float32)
    lost = np.isinf(rounded) & np.isfinite(part)
    if lost.any():
        raise InputError(
            f"{where}: found {part[lost][0]}, expected numbers that float32 can hold: the folder has no others"
        )
    return rounded
