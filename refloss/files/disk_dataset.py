"""metatrain's DiskDataset: a zip with a folder for each structure.

::

    <i>/system.mta              the structure: a zip of types.npy, positions.npy (Å), cell.npy, pbc.npy and more
    <i>/<target>.mts            its TensorMap (`refloss.files.mts`), in an npy array of bytes
    metadata/atom_counts.npy    the number of atoms of each

The TensorMaps of a target are read when it is asked for, and joined: ``system`` is then the structure's number,
whatever its file says. Nothing is compressed; what belongs to no folder is passed over, as metatrain does.
(docs/metatensor_files.md)

References
----------
`DiskDataset` and `DiskDatasetWriter` of metatrain 2026.4.1; `save` of metatomic-torch 0.1.19.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Contents, Quantity, Structures, by_name
from refloss.files.archive import Archive
from refloss.files.joining import Joined, split
from refloss.files.labelling import as_tensormap, require_finite_cells, whole_structures
from refloss.files.mts import read_tensormap, write_tensormap
from refloss.files.output import replacing
from refloss.files.tensormap import Labels, TensorMap

ATOM_COUNTS: Final = "metadata/atom_counts.npy"
"""What metatrain adds once more, and does not replace, when it appends structures."""


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a DiskDataset: its structures now, each target when it is asked for.

    Parameters
    ----------
    argument : str
        What messages call the file.
    path : Path
        The zip.
    quantities : sequence of Quantity
        What its targets are called: they take the names of these in the place of their keys.

    Raises
    ------
    InputError
        The file is damaged, or no DiskDataset: structures are missing, or not numbered from 0. For a target, when it
        is asked for: a structure lacks it, or the TensorMaps do not fit together.
    """
    where = f"{argument}: {path}"
    with _opened(where, path) as archive:
        count, targets = _listed(where, archive)
        structures = _structures(archive, count)
    return Contents(_Targets(where, path, count, by_name(targets, quantities)), structures)


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a DiskDataset that metatrain reads, whole or not at all; the same contents give the same bytes.

    Raises
    ------
    InputError
        The contents have no structures with types and positions; a target does not tell their rows.
    """
    where = f"{argument}: {path}"
    structures, types, positions = whole_structures(where, contents.structures)
    count, ends = len(structures.num_atoms), np.cumsum(structures.num_atoms)
    cells = np.zeros((count, 3, 3)) if structures.cells is None else structures.cells
    for name in contents.data:
        if not _FIELD.fullmatch(f"0/{name}.mts"):
            raise InputError(f"{where}: found the target {name!r}, expected a name that a file can have")
    maps = {}
    for name, item in contents.data.items():
        tensormap = as_tensormap(f"{where}: {name!r}", name, item, structures.num_atoms)
        maps[name] = split(f"{where}: {name!r}", tensormap, count)
    with replacing(argument, path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for i, (start, end) in enumerate(zip(ends - structures.num_atoms, ends, strict=True)):
            system = _system(types[start:end], positions[start:end], cells[i])
            with archive.open(zipfile.ZipInfo(f"{i}/system.mta"), "w") as file:
                file.write(system)
            for name, parts in maps.items():
                buffer = io.BytesIO()
                write_tensormap(buffer, next(parts))
                _write_npy(archive, f"{i}/{name}.mts", np.frombuffer(buffer.getbuffer(), np.uint8))
        _write_npy(archive, ATOM_COUNTS, structures.num_atoms)


class _Targets(Mapping[str, TensorMap]):
    """The targets of a DiskDataset, each read and joined whenever it is asked for."""

    def __init__(self, where: str, path: Path, count: int, keys: Mapping[str, str]) -> None:
        self._where, self._path, self._count, self._keys = where, path, count, keys

    def __getitem__(self, name: str) -> TensorMap:
        members = [f"{i}/{self._keys[name]}.mts" for i in range(self._count)]
        joined, known = Joined(), dict[bytes, Labels]()
        with _opened(self._where, self._path) as archive:
            missing = [member for member in members if member not in archive]
            if missing:
                raise InputError(
                    f"{self._where}: found no {missing[0]!r} ({len(missing)} of {self._count} structures lack it), "
                    "expected it of every structure"
                )
            for i, member in enumerate(members):
                where = f"{self._where}: {member!r}"
                joined.add(where, i, read_tensormap(where, _buffer(where, archive.array(member)), known))
        return joined.tensormap()

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


_FIELD: Final = re.compile(r"(0|[1-9][0-9]{0,9})/(?:(system)\.mta|([^/\\\0]+)\.mts)")
"""The members that belong to a structure: "00/" would be another name of the first."""


def _opened(where: str, path: Path) -> Archive:
    return Archive(where, path, compressed=False, replaced=(ATOM_COUNTS,))


def _listed(where: str, archive: Archive) -> tuple[int, list[str]]:
    """Return how many structures there are, and the targets that any of them has."""
    found: dict[str, list[int]] = {}
    for member in archive.names:
        field = _FIELD.fullmatch(member)
        if field is not None:
            found.setdefault(field[2] or f"{field[3]}.mts", []).append(int(field[1]))
    systems = sorted(found.pop("system", ()))
    if not systems:
        first = archive.names[0] if archive.names else "nothing"
        hint = ", at the top of the archive" if any(map(_NESTED.search, archive.names[:1000])) else ""
        raise InputError(f"{where}: found {first!r} and no system.mta, expected 0/system.mta, 1/system.mta, …{hint}")
    gap = next((i for i, number in enumerate(systems) if i != number), None)
    if gap is not None:
        raise InputError(
            f"{where}: found {len(systems)} structures, '{systems[-1]}/system.mta' among them, and no "
            f"'{gap}/system.mta', expected numbers from 0 without a gap"
        )
    for name, numbers in found.items():
        if max(numbers) >= len(systems):
            raise InputError(
                f"{where}: found '{max(numbers)}/{name}' and no '{max(numbers)}/system.mta', expected both"
            )
    return len(systems), [name.removesuffix(".mts") for name in found]


_NESTED: Final = re.compile(r"/(0|[1-9][0-9]*)/system\.mta$")


def _structures(archive: Archive, count: int) -> Structures:
    types, positions, cells = [], [], np.empty((count, 3, 3))
    for i in range(count):
        member = f"{i}/system.mta"
        where = f"{archive.where}: {member!r}"
        stream = io.BytesIO(archive.bytes(member, archive.size(member)))
        with Archive(where, stream, compressed=False) as system:
            types.append(_array(system, "types.npy", "iu", (-1,)))
            if not len(types[-1]):
                raise InputError(f"{where}: found no atoms, expected at least one")
            positions.append(_array(system, "positions.npy", "f", (len(types[-1]), 3)))
            cells[i] = _array(system, "cell.npy", "f", (3, 3))
    require_finite_cells(archive.where, cells)
    return Structures(
        np.array([len(item) for item in types], np.int64),
        np.concatenate(types).astype(np.int64, copy=False),
        np.concatenate(positions).astype(np.float64, copy=False),
        cells,
    )


def _array(archive: Archive, member: str, kinds: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = archive.array(member)
    expected = tuple(found if wanted < 0 else wanted for found, wanted in zip(array.shape, shape, strict=False))
    if array.dtype.kind not in kinds or array.ndim != len(shape) or array.shape != expected:
        what = "integers" if "i" in kinds else "floats"
        raise InputError(
            f"{archive.where}: {member!r}: found shape {array.shape} of {array.dtype}, expected {what} of shape "
            f"{tuple('atoms' if n < 0 else n for n in shape)}"
        )
    return array


def _buffer(where: str, array: NDArray[Any]) -> io.BytesIO:
    if array.dtype != np.uint8 or array.ndim != 1:
        raise InputError(f"{where}: found shape {array.shape} of {array.dtype}, expected the bytes of an .mts file")
    return io.BytesIO(array.data)


def _system(types: NDArray[Any], positions: NDArray[Any], cell: NDArray[Any]) -> bytes:
    """Return a structure as metatomic saves it; it is periodic along the vectors of its cell that are not zero."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write_npy(archive, "positions.npy", np.asarray(positions, np.float64))
        _write_npy(archive, "cell.npy", np.asarray(cell, np.float64))
        _write_npy(archive, "types.npy", types)
        _write_npy(archive, "pbc.npy", (cell != 0).any(axis=1))
    return buffer.getvalue()


def _write_npy(archive: zipfile.ZipFile, member: str, array: NDArray[Any]) -> None:
    # As NumPy has it: metatomic takes booleans of the byte order "|" alone, and metatensor all others (`files.mts`).
    with archive.open(zipfile.ZipInfo(member), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
