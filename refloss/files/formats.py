"""The formats of data sets, and which of them a file is in.

What a file holds decides: the first bytes, the members of a zip, the files of a folder. The ending decides what that
leaves open, and what is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Final

from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.archive import Archive
from refloss.files.bounded import open_file
from refloss.files.disk_dataset import ATOM_COUNTS


@dataclass(frozen=True)
class Format:
    """A format: the module of `refloss.files` that reads it, its endings, and whether it is a folder."""

    name: str
    module: str
    endings: tuple[str, ...]
    folder: bool = False

    def load(self) -> ModuleType:
        """Import the module that reads and writes the format."""
        return import_module(f"refloss.files.{self.module}")


FORMATS: Final = (
    Format("npz", "npz", (".npz",)),
    Format("mts", "mts", (".mts",)),
    Format("disk dataset", "disk_dataset", (".zip",)),
    Format("extxyz", "extxyz", (".xyz", ".extxyz")),
    Format("HDF5", "hdf5", (".h5", ".hdf5")),
    Format("Zarr", "zarr", (".zarr",), folder=True),
    Format("memmap", "memmap", (".memmap",), folder=True),
    Format("npy folder", "npy", ("",), folder=True),
)


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a file, or a folder, of whichever format it is.

    Parameters
    ----------
    argument : str
        What the messages call it: ``predictions``, ``--targets``.
    path : Path
        The file or the folder.
    quantities : sequence of Quantity
        What is wanted of it, as options describe it; without any, all that it holds, by the names that it has there.

    Raises
    ------
    InputError
        It is missing, of no known format, damaged, or does not hold what is wanted.
    """
    contents: Contents = detect(argument, path).load().read(argument, path, tuple(quantities))
    return contents


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a file, or a folder, in the format of its ending, whole or not at all.

    Raises
    ------
    InputError
        No format has the ending, or the format cannot hold the contents.
    """
    by_ending(argument, path).load().write(argument, path, contents)


def detect(argument: str, path: Path) -> Format:
    """Return the format that a file or a folder is in.

    Raises
    ------
    InputError
        It is missing or neither file nor folder, or of no known format.
    """
    where = f"{argument}: {path}"
    name = _of_folder(where, path) if path.is_dir() else _of_file(where, path)
    return _NAMED[name]


def by_ending(argument: str, path: Path) -> Format:
    """Return the format that a name stands for: what `write` writes to it."""
    for known in FORMATS:
        if path.suffix.lower() in known.endings:
            return known
    endings = ", ".join(ending for known in FORMATS for ending in known.endings if ending)
    raise InputError(f"{argument}: {path}: found the ending {path.suffix!r}, expected {endings}, or none for a folder")


_NAMED: Final = {known.name: known for known in FORMATS}

_ZARR: Final = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_OF_STRUCTURE: Final = re.compile(r"[0-9]+/.+\.(mts|mta)$")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def _of_folder(where: str, path: Path) -> str:
    try:
        files = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error
    if files.intersection(_ZARR):
        return "Zarr"
    if {"ns.npy", "na.npy"} <= files:
        return "memmap"
    if any(name.endswith(".npy") for name in files):
        return "npy folder"
    if path.suffix in (".zarr", ".memmap"):
        return "Zarr" if path.suffix == ".zarr" else "memmap"
    raise InputError(f"{where}: found a folder without data, expected a Zarr store, ns.npy and na.npy, or .npy files")


def _of_file(where: str, path: Path) -> str:
    with open_file(where, path) as file:
        start = file.read(4096)
        if start.startswith(_STARTS):
            return _of_archive(where, path)
        if start.startswith(b"\x93NUMPY"):
            raise InputError(f"{where}: found one npy array, expected an npz file or a folder of <target>.npy")
        if _is_hdf5(file):
            return "HDF5"
    if not start.strip():
        raise InputError(f"{where}: found an empty file, expected data")
    if re.fullmatch(rb"\s*[0-9]+\s*", start.split(b"\n", 1)[0]):
        return "extxyz"
    named = next((known.name for known in FORMATS if path.suffix.lower() in known.endings and path.suffix), None)
    expected = f"{named or 'npz, mts, extxyz, HDF5 or Zarr'}, or another format of data sets"
    raise InputError(f"{where}: found neither a zip archive nor any format known by its content, expected {expected}")


def _is_hdf5(file: IO[bytes]) -> bool:
    """Whether HDF5's signature stands at the beginning, or behind a user block of 512 bytes, 1 KiB, 2 KiB, ...."""
    size, at = file.seek(0, io.SEEK_END), 0
    while at + len(_HDF5) <= size:
        file.seek(at)
        if file.read(len(_HDF5)) == _HDF5:
            return True
        at = max(512, 2 * at)
    return False


def _of_archive(where: str, path: Path) -> str:
    with Archive(where, path, replaced=(ATOM_COUNTS,)) as archive:
        names = archive.names
    if any(name.rpartition("/")[2] in _ZARR for name in names):
        return "Zarr"
    if "keys.npy" in names and (path.suffix == ".mts" or any(name.startswith("blocks/0/") for name in names)):
        return "mts"
    if any(map(_OF_STRUCTURE.match, names)):
        return "disk dataset"
    if path.suffix in (".mts", ".zip") and not any(name.endswith(".npy") for name in names):
        return "mts" if path.suffix == ".mts" else "disk dataset"
    return "npz"
