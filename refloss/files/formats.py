"""The formats of data sets, and which of them a file is in.

What a file holds decides: the first bytes, the members of a zip, the files of a folder. The ending decides what that
leaves open, and what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, Quantity


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
