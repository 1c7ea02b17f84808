"""Zarr stores of format 2 and 3, folders and zip files: ``<target>/values`` and ``<target>/<gradient>`` in groups.

Metadata and chunks are read here, not by the package zarr: what metadata name is looked up in the lists of this module
and its codecs' alone, links are not followed, and a chunk is decompressed into the bytes that it must fill. Attributes
and consolidated metadata are not read. What is written is format 3, uncompressed. (docs/files.md)

References
----------
Format 2, https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html; format 3,
https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html; the codecs: `refloss.files.zarr_codecs`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.archive import Archive
from refloss.files.bounded import LIMITS, answered, read_bytes
from refloss.files.output import replacing_folder
from refloss.files.stored import (
    Held,
    Stored,
    contents_at,
    padded,
    paths_of,
    require_covered,
    runs,
    slices,
    stored,
    structures_of,
)
from refloss.files.unlabelled import unlabelled
from refloss.files.zarr_metadata import Layout, parse


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a Zarr store; see `refloss.files.formats.read`. An array is read when it is asked for."""
    where = f"{argument}: {path}"
    with _opened(where, path) as store:
        return contents_at(where, _paths(store), quantities, lambda name: _Array(where, path, name))


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a Zarr store that `read` reads back: a folder, whole or not at all; arrays pass through in parts.

    Raises
    ------
    InputError
        There are labels or several blocks, which groups of arrays do not hold; names that groups cannot have; a
        folder that is there and not empty.
    """
    data = unlabelled(argument, path, contents)
    paths = paths_of(argument, data)
    with replacing_folder(argument, path) as beside:
        _write_json(beside, {"zarr_format": 3, "node_type": "group", "attributes": {}})
        for place, (name, key) in paths.items():
            _write_array(beside, place, stored(f"{argument}: {place!r}", data[name], key))
        for place, held in structures_of(contents.structures).items():
            _write_array(beside, place, Held(held))


_METADATA: Final = 1 << 20
"""Bytes of the metadata of one array, attributes and all: a thousand times what they need."""


@dataclass(frozen=True)
class _Listing:
    """What a folder of a store holds: its folders, its files with their sizes, and what is neither (links)."""

    folders: list[str]
    files: dict[str, int]
    others: list[str]


class _Store(ABC):
    """The files of a store, by their paths in it; a folder's path is "" or ends in a slash."""

    def __init__(self, where: str) -> None:
        self.where = where

    @abstractmethod
    def listing(self, folder: str) -> _Listing:
        """Return what is in a folder, nothing where there is no such folder."""

    @abstractmethod
    def content(self, path: str, limit: int) -> bytes:
        """Return a file of at most `limit` bytes."""


class _FolderStore(_Store):
    def __init__(self, where: str, root: Path) -> None:
        super().__init__(where)
        self._root = root

    def listing(self, folder: str) -> _Listing:
        found = _Listing([], {}, [])
        if not (self._root / folder).is_dir():
            return found
        with answered(f"{self.where}: {folder!r}"), os.scandir(self._root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    found.files[entry.name] = entry.stat(follow_symlinks=False).st_size
                else:
                    found.others.append(entry.name)
        return found

    def content(self, path: str, limit: int) -> bytes:
        return read_bytes(f"{self.where}: {path!r}", self._root / path, limit)


class _ZipStore(_Store):
    def __init__(self, where: str, archive: Archive) -> None:
        super().__init__(where)
        self._archive = archive
        self._folders = {"": _Listing([], {}, [])}
        for name in archive.names:
            folder, _, file = name.rpartition("/")
            self._made(f"{folder}/" if folder else "").files[file] = archive.size(name)

    def listing(self, folder: str) -> _Listing:
        return self._folders.get(folder) or _Listing([], {}, [])

    def content(self, path: str, limit: int) -> bytes:
        return self._archive.bytes(path, limit)

    def _made(self, folder: str) -> _Listing:
        """Return the listing of a folder, which its own folder then lists too."""
        if folder not in self._folders:
            parent, _, name = folder[:-1].rpartition("/")
            self._folders[folder] = _Listing([], {}, [])
            self._made(f"{parent}/" if parent else "").folders.append(name)
        return self._folders[folder]


@contextmanager
def _opened(where: str, path: Path) -> Iterator[_Store]:
    if path.is_dir():
        yield _FolderStore(where, path)
        return
    # Chunks are compressed where they are: archives in one another would multiply the ratio.
    with Archive(where, path, compressed=False) as archive:
        yield _ZipStore(where, archive)


def _paths(store: _Store) -> list[str]:
    """Return the paths of all arrays, and of what will be refused when it is read."""
    found: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        if folder.count("/") > LIMITS.nesting:
            raise InputError(
                f"{store.where}: {folder!r}: found groups in groups, expected at most {LIMITS.nesting} levels"
            )
        listing = store.listing(folder)
        found += [f"{folder}{name}" for name in listing.others]
        if "zarr.json" in listing.files:
            group = _metadata(store, f"{folder}zarr.json").get("node_type") == "group"
        elif ".zarray" in listing.files:
            group = False
        elif ".zgroup" in listing.files:
            group = True
        elif folder:
            continue  # no node: nothing of Zarr's
        else:
            raise InputError(f"{store.where}: found no zarr.json, .zgroup or .zarray, expected a Zarr store")
        if group:
            folders += [f"{folder}{name}/" for name in listing.folders]
        elif folder:
            found.append(folder[:-1])
        else:
            raise InputError(f"{store.where}: found one array without a name, expected a group of arrays")
        if len(found) + len(folders) > LIMITS.members:
            raise InputError(f"{store.where}: found more than {LIMITS.members} arrays, expected fewer")
    return sorted(found)


def _metadata(store: _Store, path: str) -> dict[str, Any]:
    where = f"{store.where}: {path!r}"
    try:
        found = json.loads(store.content(path, _METADATA))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: found no JSON ({error}), expected an object") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: found {type(found).__name__}, expected an object")
    return found


_Chunks = dict[int, list[tuple[tuple[int, ...], str, int]]]
"""The chunks that are there, by their first index: indices, path and size of each."""


class _Array(Stored):
    """An array of a store, which is opened for as long as it is read."""

    def __init__(self, where: str, path: Path, name: str) -> None:
        self._where, self._path, self._name = where, path, name
        with _opened(where, path) as store:
            self._layout = self._parsed(store)
        self.shape, self.dtype = self._layout.shape, self._layout.pipeline.dtype.newbyteorder("=")

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield runs of whole chunks."""
        layout, where = self._layout, f"{self._where}: {self._name!r}"
        with _opened(self._where, self._path) as store:
            chunks = self._chunks(store)
            present = sum(size for band in chunks.values() for _, _, size in band)
            grid = padded(self.shape, layout.chunks)
            require_covered(where, grid, self.dtype.itemsize, present, layout.pipeline.ratio)
            height = layout.chunks[0] if layout.chunks else 1
            for rows in slices(self.shape, self.dtype.itemsize, height):
                yield self._part(store, chunks, rows)

    def _part(self, store: _Store, chunks: _Chunks, rows: tuple[slice, ...]) -> NDArray[Any]:
        layout = self._layout
        first, end = (rows[0].start, rows[0].stop) if rows else (0, 0)
        shape = (end - first, *self.shape[1:]) if rows else self.shape
        out: NDArray[Any] = np.full(shape, layout.pipeline.fill, self.dtype)
        bands = range(first // layout.chunks[0], -(-end // layout.chunks[0])) if rows else (0,)
        for place, path, size in itertools.chain.from_iterable(chunks.get(band, ()) for band in bands):
            where = f"{self._where}: {path!r}"
            with answered(where):
                chunk = layout.pipeline.decode(where, store.content(path, size), layout.chunks)
            corner = [i * n for i, n in zip(place, layout.chunks, strict=True)]
            if rows:
                corner[0] -= first
            window = tuple(slice(at, at + n) for at, n in zip(corner, layout.chunks, strict=True))
            region = out[window] if window else out  # a view: of no axis, out[()] would be a number
            region[...] = chunk[tuple(slice(n) for n in region.shape)]
        return out

    def _chunks(self, store: _Store) -> _Chunks:
        """Return the chunks that are there: their number is bounded by the store's, that of the grid by nothing."""
        found: _Chunks = {}
        grid = [-(-n // chunk) for n, chunk in zip(self.shape, self._layout.chunks, strict=True)]
        folder = f"{self._name}/"
        folders = [(folder, 0)]
        while folders:
            at, depth = folders.pop()
            listing = store.listing(at)
            for name in listing.others:
                raise InputError(f"{store.where}: {at + name!r}: found a link, expected a file")
            for name, size in listing.files.items():
                place = self._layout.indices((at + name)[len(folder) :])
                if place is not None and all(i < n for i, n in zip(place, grid, strict=True)):
                    found.setdefault(place[0] if place else 0, []).append((place, at + name, size))
            if depth <= len(grid):
                folders += [(f"{at}{name}/", depth + 1) for name in listing.folders]
        return found

    def _parsed(self, store: _Store) -> Layout:
        """Return what the metadata say, after having seen that no folder on the way is a link."""
        folder = ""
        for name in self._name.split("/"):
            listing = store.listing(folder)
            if name in listing.others:
                raise InputError(f"{store.where}: {folder + name!r}: found a link, expected an array")
            folder = f"{folder}{name}/"
        files = store.listing(folder).files
        path = f"{folder}{'zarr.json' if 'zarr.json' in files else '.zarray'}"
        return parse(f"{store.where}: {path!r}", _metadata(store, path))


def _write_array(root: Path, path: str, array: Stored) -> None:
    """Write an array in chunks of whole rows, with the groups that it is in."""
    folder = root / path
    folder.mkdir(parents=True)
    for group in list(folder.relative_to(root).parents)[:-1]:
        _write_json(root / group, {"zarr_format": 3, "node_type": "group", "attributes": {}})
    rows = next(slices(array.shape, array.dtype.itemsize))
    chunks = [rows[0].stop, *array.shape[1:]] if rows else [max(n, 1) for n in array.shape]
    dtype = array.dtype
    _write_json(
        folder,
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(array.shape),
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if dtype == np.bool_ else 0,
            "codecs": [{"name": "bytes"} | ({"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {})],
            "attributes": {},
        },
    )
    if 0 in array.shape:
        return
    for i, part in enumerate(runs(array, chunks[0]) if chunks else array.parts()):
        place = [i, *(0 for _ in chunks[1:])] if chunks else []
        file = folder.joinpath("c", *map(str, place))
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.write(np.ascontiguousarray(part, dtype.newbyteorder("<")).data)
            if chunks:  # a chunk is whole, over the array's edge too
                out.write(bytes((chunks[0] - len(part)) * math.prod(chunks[1:]) * dtype.itemsize))


def _write_json(folder: Path, content: dict[str, Any]) -> None:
    (folder / "zarr.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
