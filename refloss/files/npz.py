"""NumPy's npz files: ``<target>`` holds a target's values, ``<target>/<gradient>`` one of its gradients.

Predictions, targets and masks each have their file, with the same keys: a mask is called ``<target>_mask`` and
``<target>_mask/<gradient>``. ``structures/num_atoms``, …, hold what `refloss.files.Structures` has. An array is read
when it is asked for, so that a file may hold much else. (docs/specification.md, section 6; docs/files.md)
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, Quantity
from refloss.files.archive import Archive
from refloss.files.output import replacing
from refloss.files.stored import STRUCTURES, Held, Stored, contents_at, paths_of, rows_of_part, stored, structures_of
from refloss.files.unlabelled import unlabelled

Source = TypeVar("Source")


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read an npz file; see `refloss.files.formats.read`.

    The keys of `quantities` tell where a name ends that has a slash in it: the longest that fits is meant. What the
    file holds beside them is there too, and what it lacks is not.

    Raises
    ------
    InputError
        The file is missing or no npz, or holds a gradient without its values; for one array, when it is read, that it
        is damaged or not plain numbers. The message names the file and the key.
    """
    where = f"{argument}: {path}"
    with Archive(where, path) as archive:
        members = [(name.removesuffix(".npy"), name) for name in archive.names]
    places = arranged(where, members, [quantity.key for quantity in quantities])

    return contents_at(where, places, quantities, lambda place: _Member(where, path, places[place]))


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write an npz file that `read` reads back, whole or not at all; the same contents give the same bytes.

    Raises
    ------
    InputError
        The contents have labels, or other than plain numbers; a name has no place in the file; it cannot be written.
    """
    with replacing(argument, path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for key, array in keyed(argument, path, contents):
            # Not numpy.savez, which takes members as keyword arguments: a target may have the name of one of its own.
            # A ZipInfo has no time of writing.
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as file:
                write_npy(file, array)


def arranged(where: str, keys: Iterable[tuple[str, Source]], names: Collection[str]) -> dict[str, Source]:
    """Return the sources of ``<target>/values`` and ``<target>/<gradient>``; keys call the values ``<target>`` alone.

    Parameters
    ----------
    where : str
        What messages begin with.
    keys : iterable of (str, source)
        The keys of a file, and where each of them is.
    names : collection of str
        Names that may have a slash in them; any other ends at the first.

    Raises
    ------
    InputError
        A key is there twice, or has a name that no gradient can have; a gradient has no values.
    """
    found: dict[str, dict[str, Source]] = {}
    for path, source in keys:
        name, key = _split(path, names)
        if key in _RESERVED:
            raise InputError(f"{where}: found the key {path!r}, expected {name!r} for the values of a target")
        held = found.setdefault(name, {})
        if (key or "values") in held:
            raise InputError(f"{where}: found the key {path!r} twice, expected it once")
        held[key or "values"] = source
    for name, held in found.items():
        if "values" not in held and not (name == STRUCTURES and "num_atoms" in held):
            orphan = f"{name}/{next(iter(held))}"
            hint = did_you_mean(name, (other for other, others in found.items() if "values" in others))
            raise InputError(f"{where}: found {orphan!r} but no {name!r}, expected the values of a target too{hint}")
    return {f"{name}/{key}": source for name, held in found.items() for key, source in held.items()}


def keyed(argument: str, path: Path, contents: Contents) -> Iterator[tuple[str, Stored]]:
    """Yield the keys and the arrays of which a file is to be made, each array found when its turn has come."""
    data = unlabelled(argument, path, contents)
    for place, (name, key) in paths_of(argument, data).items():
        yield place.removesuffix("/values"), stored(f"{argument}: {place!r}", data[name], key)
    for place, array in structures_of(contents.structures).items():
        yield place, Held(array)


def write_npy(file: IO[bytes], array: Stored) -> None:
    """Write an npy file in C order, a part of the array after the other."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in array.parts():
        file.write(np.ascontiguousarray(part, array.dtype).data)


class _Member(Stored):
    """An array of a file, which is opened for as long as it is read."""

    def __init__(self, where: str, path: Path, member: str) -> None:
        self._where, self._path, self._member = where, path, member
        with Archive(where, path) as archive:
            header = archive.header(member)
        self.shape, self.dtype, self._fortran = header.shape, header.dtype.newbyteorder("="), header.fortran

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield runs of rows; in Fortran order, where the rows lie scattered, views of the whole."""
        if self._fortran or not self.shape or 0 in self.shape:
            yield from Held(self.whole()).parts()
            return
        with Archive(self._where, self._path) as archive:
            yield from archive.parts(self._member, rows_of_part(self.shape, self.dtype.itemsize))

    def whole(self) -> NDArray[Any]:
        """Return all of the array, which no part has to be copied into."""
        with Archive(self._where, self._path) as archive:
            return archive.array(self._member)


_RESERVED = ("values", "blocks")
"""What the data of a target call what is no gradient."""


def _split(path: str, names: Collection[str]) -> tuple[str, str]:
    """Return the target and the gradient that a key means; the gradient is "" for the values."""
    fits = [name for name in names if path == name or path.startswith(f"{name}/")]
    if fits:
        name = max(fits, key=len)
        return name, path[len(name) + 1 :]
    name, _, key = path.partition("/")
    return name, key
