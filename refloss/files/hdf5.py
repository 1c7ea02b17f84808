"""HDF5 files through h5py: ``<target>/values`` and ``<target>/<gradient>``, or an array ``<target>`` alone.

Nothing is followed out of the file: external and symbolic links, external storage and virtual datasets are refused when
they are asked for, and so are filters other than those that h5py itself has, so that no plugin is ever loaded.
Attributes are not read. (docs/files.md)

References
----------
Links, layouts and filters: https://docs.hdfgroup.org/documentation/hdf5/latest/_u_g.html; h5py's lossless filters,
https://docs.h5py.org/en/stable/high/dataset.html#lossless-compression-filters
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.bounded import LIMITS, open_file
from refloss.files.optional import need
from refloss.files.output import replacing
from refloss.files.stored import (
    Stored,
    contents_at,
    padded,
    paths_of,
    require_booleans,
    require_covered,
    require_plain,
    slices,
    stored,
    structures_of,
)
from refloss.files.unlabelled import unlabelled


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read an HDF5 file; see `refloss.files.formats.read`. An array is read when it is asked for."""
    where = f"{argument}: {path}"
    with _opened(where, path) as file:
        paths = _paths(where, file)
        return contents_at(where, paths, quantities, lambda name: _Dataset(where, path, name))


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write an HDF5 file that `read` reads back, whole or not at all; arrays pass through in parts.

    Raises
    ------
    InputError
        There are labels or several blocks, which groups of arrays do not hold; names that groups cannot have.
    """
    h5py = need(f"{argument}: {path}", "h5py", "hdf5")
    data = unlabelled(argument, path, contents)
    paths = paths_of(argument, data)
    with replacing(argument, path) as beside, _failing(argument, path), h5py.File(beside, "w") as file:
        for place, (name, key) in paths.items():
            array = stored(f"{argument}: {place!r}", data[name], key)
            created = file.create_dataset(place, array.shape, array.dtype)
            at = 0
            for part in array.parts():
                if created.shape == part.shape:
                    created[()] = part
                else:
                    created[at : at + len(part)] = part
                    at += len(part)
        for place, held in structures_of(contents.structures).items():
            file.create_dataset(place, data=held)


_FILTERS: Final = {1: LIMITS.ratio, 2: 1, 3: 1, 32000: 100}
"""The filters that are read, each with its largest ratio: deflate, shuffle, fletcher32, and LZF, which writes 264 bytes
as 3. What others there are (szip, nbit, scaleoffset, plugins) a library may lack, or lose digits by."""

_DAMAGE: Final = (KeyError, RuntimeError, TypeError, ValueError)
"""What h5py raises at bytes that are no HDF5, beside OSError: UnicodeDecodeError is a ValueError."""


class _Dataset(Stored):
    """An array of a file, which is opened for as long as it is read."""

    def __init__(self, where: str, path: Path, name: str) -> None:
        self._where, self._path, self._name = f"{where}: {name!r}", path, name
        with self._dataset() as dataset:
            self.shape, self.dtype = dataset.shape, require_plain(self._where, dataset.dtype)
            _require_here(self._where, dataset)
            chunks = dataset.chunks or ()
            self._rows = chunks[0] if chunks else 1

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield runs of whole chunks."""
        with self._dataset() as dataset:
            for rows in slices(self.shape, self.dtype.itemsize, self._rows):
                part = np.asarray(dataset[rows]) if dataset.dtype.isnative else dataset.astype(self.dtype)[rows]
                require_booleans(self._where, part)
                yield part

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        with _opened(self._where, self._path) as file:
            yield _looked_up(self._where, file, self._name)


@contextmanager
def _opened(where: str, path: Path) -> Iterator[Any]:
    """Open a file to read, and answer for what h5py raises while it is."""
    h5py = need(where, "h5py", "hdf5")
    with open_file(where, path), _answered(where), h5py.File(path, "r", locking="best-effort") as file:
        yield file


@contextmanager
def _answered(where: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{where}: found no readable HDF5 ({text}), expected a whole file") from error


def _paths(where: str, file: Any) -> list[str]:
    """Return the paths of all that is no group: arrays, and what `_looked_up` will refuse."""
    h5py = need(where, "h5py", "hdf5")

    def address(item: Any) -> int:
        return int(h5py.h5o.get_info(item.id).addr)  # by which an object is known whatever its name

    found: list[str] = []
    seen = {address(file)}
    groups = [("", file, 0)]
    while groups:
        prefix, group, depth = groups.pop()
        if depth > LIMITS.nesting:
            raise InputError(f"{where}: {prefix!r}: found groups {depth} deep, expected at most {LIMITS.nesting}")
        for name in group:
            path = f"{prefix}{name}"
            if len(found) + len(seen) > LIMITS.members:
                raise InputError(f"{where}: found more than {LIMITS.members} arrays, expected fewer")
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                found.append(path)
                continue
            item = group[name]
            # A group within itself would have no end, and one in many others may have too many paths.
            if isinstance(item, h5py.Group) and address(item) not in seen:
                seen.add(address(item))
                groups.append((f"{path}/", item, depth + 1))
            else:
                found.append(path)
    return sorted(found)


def _looked_up(where: str, file: Any, path: str) -> Any:
    """Return the dataset of a path, none of whose links leads elsewhere than to what it names."""
    h5py = need(where, "h5py", "hdf5")
    item = file
    for name in path.split("/"):
        link = item.get(name, getlink=True)
        if type(link) is h5py.ExternalLink:
            raise InputError(f"{where}: found a link out of the file, to {link.filename!r}, expected an array")
        if type(link) is not h5py.HardLink:
            raise InputError(f"{where}: found a symbolic link, to {getattr(link, 'path', None)!r}, expected an array")
        item = item[name]
    if not isinstance(item, h5py.Dataset):
        again = " once more, which is elsewhere in the file" if isinstance(item, h5py.Group) else ""
        raise InputError(f"{where}: found a {type(item).__name__.lower()}{again}, expected an array")
    if item.shape is None:
        raise InputError(f"{where}: found an empty dataset, without a shape, expected an array")
    return item


def _require_here(where: str, dataset: Any) -> None:
    """Raise where the elements are not in this file, not readable without plugins, or more than there is."""
    settings = dataset.id.get_create_plist()
    if dataset.is_virtual:
        raise InputError(f"{where}: found a virtual dataset, made of others, expected the numbers themselves")
    if dataset.external:
        raise InputError(f"{where}: found numbers in the file {dataset.external[0][0]!r}, expected them in this one")
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    for code in filters:
        if code not in _FILTERS or filters.count(code) > 1:
            twice = "twice " if filters.count(code) > 1 else ""
            raise InputError(
                f"{where}: found the filter {code} {twice}, expected none, or deflate, shuffle, fletcher32 or LZF: "
                "h5repack -f NONE writes a file without"
            )
    size = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    shape, ratio = dataset.shape, 1
    if dataset.chunks is not None:
        shape = padded(shape, dataset.chunks)
        ratio = max(math.prod(_FILTERS[code] for code in filters), LIMITS.expanded_ratio)
    require_covered(where, shape, dataset.dtype.itemsize, size, ratio)


@contextmanager
def _failing(argument: str, path: Path) -> Iterator[None]:
    """Answer for what h5py raises where a system's error has no number."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"{argument}: {path} cannot be written: {error}") from error
