"""NumPy's npz files: ``<target>`` holds a target's values, ``<target>/<gradient>`` one of its gradients.

Predictions, targets and masks each have their file, with the same keys: a mask is called ``<target>_mask`` and
``<target>_mask/<gradient>``. Nothing is unpickled. An array is read when it is asked for, so that a file may hold much
else. (docs/specification.md, section 6.)
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files import Data, Dataset
from refloss.files.output import replacing


def read(predictions: Path, targets: Path, extra_data: Path | None = None, *, names: Iterable[str]) -> Dataset:
    """Read a data set from npz files.

    Parameters
    ----------
    predictions, targets : Path
        Files with the keys ``<target>`` and ``<target>/<gradient>``.
    extra_data : Path, optional
        A file with the keys ``<target>_mask`` and ``<target>_mask/<gradient>``.
    names : iterable of str
        The targets of the loss section. A target's name may itself hold a slash: the longest name that fits is meant.

    Raises
    ------
    InputError
        A file is missing or no npz, or holds a gradient without its values; for one array, when it is read, that it
        is damaged or not plain numbers. The message names the file and the key.
    """
    names = tuple(names)
    masks = tuple(f"{name}_mask" for name in names)
    extra: Data = {} if extra_data is None else _read_file("extra_data", extra_data, masks)
    return Dataset(_read_file("predictions", predictions, names), _read_file("targets", targets, names), extra)


def write(name: str, path: Path, data: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``{target: {"values": array, "<gradient>": array}}`` so that `read` reads it back, whole or not at all."""
    members = {_member(target, key): array for target, entry in data.items() for key, array in entry.items()}
    with replacing(name, path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for member, array in members.items():
            # Not numpy.savez, which takes members as keyword arguments: a target may have the name of one of its own.
            # A ZipInfo has no time of writing: the same data give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{member}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


class _Entry(Mapping[str, NDArray[Any]]):
    """The values and gradients of one target of a file, each read when it is asked for."""

    def __init__(self, where: str, path: Path, members: dict[str, str]) -> None:
        self._where, self._path, self._members = where, path, members

    def __getitem__(self, key: str) -> NDArray[Any]:
        return _read_member(self._where, self._path, self._members[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _read_file(argument: str, path: Path, names: tuple[str, ...]) -> dict[str, _Entry]:
    """Return the targets of a file, those that the section does not name too, without reading their arrays."""
    where = f"{argument}: {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise InputError(f"{where}: found no npz file ({error}), expected what numpy.savez writes") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise InputError(f"{where}: found a damaged file ({error}), expected what numpy.savez writes") from error

    found: dict[str, dict[str, str]] = {}
    for member in members:
        if member.endswith("/"):  # a folder, which some archivers list
            continue
        path_in_file = member.removesuffix(".npy")
        name, key = _split(path_in_file, names)
        if key in _RESERVED:
            raise InputError(f"{where}: found the key {path_in_file!r}, expected {name!r} for the values of a target")
        if key == "":
            key = "values"
        if key in found.setdefault(name, {}):
            raise InputError(f"{where}: found the key {path_in_file!r} twice, expected it once")
        found[name][key] = member
    for name, keys in found.items():
        if "values" not in keys:
            orphan = _member(name, next(iter(keys)))
            hint = did_you_mean(name, (other for other, others in found.items() if "values" in others))
            raise InputError(f"{where}: found {orphan!r} but no {name!r}, expected the values of a target too{hint}")
    return {name: _Entry(where, path, keys) for name, keys in found.items()}


_RESERVED = ("values", "blocks")
"""What the data of a target call what is no gradient."""

_DAMAGE = (ValueError, EOFError, NotImplementedError, RuntimeError, SyntaxError, struct.error, tokenize.TokenError)
"""What zipfile and NumPy raise at bytes that are not an archive, a member or an array's header; RuntimeError is a
member that wants a password, NotImplementedError a compression that this Python lacks."""


def _split(path: str, names: tuple[str, ...]) -> tuple[str, str]:
    """Return the target and the gradient that a key means; the gradient is "" for the values."""
    fits = [name for name in names if path == name or path.startswith(f"{name}/")]
    if fits:
        name = max(fits, key=len)
        return name, path[len(name) + 1 :]
    name, _, key = path.partition("/")
    return name, key


def _member(name: str, key: str) -> str:
    return name if key == "values" else f"{name}/{key}"


def _read_member(where: str, path: Path, member: str) -> NDArray[Any]:
    """Return one array of the file."""
    key = member.removesuffix(".npy")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # also what makes zipfile compare the checksum
                raise ValueError("more data than the array has elements")
            return array
    except (zipfile.BadZipFile, zlib.error, *_DAMAGE) as error:
        raise InputError(f"{where}: {key!r}: found no readable array ({error}), expected plain numbers") from error
    except OSError as error:
        raise InputError(f"{where}: {key!r}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"{where}: {key!r}: does not fit into memory ({error})") from error
