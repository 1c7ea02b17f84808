"""NumPy's npz files: ``<target>`` holds a target's values, ``<target>/<gradient>`` one of its gradients.

Predictions, targets and masks each have their file, with the same keys: a mask is called ``<target>_mask`` and
``<target>_mask/<gradient>``. ``structures/num_atoms``, …, hold what `refloss.files.Structures` has. An array is read
when it is asked for, so that a file may hold much else. (docs/specification.md, section 6; docs/files.md)
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, Quantity
from refloss.files.bounded import Archive
from refloss.files.output import replacing
from refloss.files.stored import STRUCTURES, Held, Stored, contents_at, paths_of, require_plain, structures_of
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

    def opened(place: str) -> Stored:
        with Archive(where, path) as archive:
            return Held(archive.array(places[place]))

    return contents_at(where, places, quantities, opened)


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
                np.lib.format.write_array(file, array, allow_pickle=False)


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


def keyed(argument: str, path: Path, contents: Contents) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the keys and the arrays of which a file is to be made, each array read when its turn has come."""
    data = unlabelled(argument, path, contents)
    for place, (name, key) in paths_of(argument, data).items():
        array = np.asarray(data[name][key])
        require_plain(f"{argument}: {place}", array.dtype)
        yield place.removesuffix("/values"), array
    yield from structures_of(contents.structures).items()


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
