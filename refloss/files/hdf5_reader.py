"""HDF5 files as h5py reads them: what runs where a crash of its library does no harm.

Damaged files crash the HDF5 library, some of them, whatever is checked before: `refloss.files.hdf5` asks a process of
its own for what `Reader` does, and this module is what that process runs. (docs/files.md)

References
----------
Links, layouts and filters: https://docs.hdfgroup.org/documentation/hdf5/latest/_u_g.html; h5py's lossless filters,
https://docs.h5py.org/en/stable/high/dataset.html#lossless-compression-filters
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files.bounded import LIMITS, open_file
from refloss.files.optional import need
from refloss.files.stored import padded, require_booleans, require_covered, require_plain


class Reader:
    """The arrays of a file, which is opened for as long as one of the methods runs.

    Parameters
    ----------
    where : str
        What messages begin with.
    path : Path
        The file.
    allow : callable
        Is told how many bytes are going to be decompressed.
    """

    def __init__(self, where: str, path: Path, allow: Callable[[int], None] = lambda _: None) -> None:
        self._where, self._path, self._allow = where, path, allow

    def paths(self) -> list[str]:
        """Return the paths of all that is no group: arrays, and what the other methods will refuse."""
        with _opened(self._where, self._path) as file:
            return _paths(self._where, file)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Return shape and type of an array, and the rows of a chunk; raise where it cannot be read."""
        where = f"{self._where}: {name!r}"
        with _opened(where, self._path) as file:
            dataset = _looked_up(where, file, name)
            dtype = require_plain(where, dataset.dtype)
            _require_here(where, dataset)
            return dataset.shape, dtype, dataset.chunks[0] if dataset.chunks else 1

    def part(self, name: str, rows: tuple[slice, ...]) -> NDArray[Any]:
        """Return rows of an array, `()` being all of it, in the machine's byte order."""
        where = f"{self._where}: {name!r}"
        with _opened(where, self._path) as file:
            dataset = _looked_up(where, file, name)
            dtype = require_plain(where, dataset.dtype)
            _require_here(where, dataset)
            shape = padded(dataset.shape, dataset.chunks) if dataset.chunks else list(dataset.shape)
            if rows:
                shape[0] = rows[0].stop - rows[0].start
            self._allow(math.prod(shape) * dtype.itemsize)
            part = np.asarray(dataset[rows]) if dataset.dtype.isnative else dataset.astype(dtype)[rows]
            require_booleans(where, part)
            return np.asarray(part, order="C")


SECONDS: Final = 5.0
"""Of computing, after which a request ends the process: some files keep the library in a circle. To these come

- a second for every MB of the file: ten times what the smallest arrays take to be listed;
- a second for every 35 MB that are decompressed: ten times what deflate takes.
"""


def serve(where: str, path: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests, a JSON list ``[method, arguments…]`` a line, until there are no more.

    An answer is a line of JSON: ``{"refused": message}``, or ``{"found": …}``, behind which stand, of a part, the bytes
    of its elements.
    """

    def allow(decompressed: int) -> None:
        if hasattr(signal, "ITIMER_PROF"):  # not on Windows
            signal.setitimer(signal.ITIMER_PROF, SECONDS + size / 1e6 + decompressed / 3.5e7)

    size = Path(path).stat().st_size
    reader = Reader(where, Path(path), allow)
    for line in requests:
        allow(0)
        method, *arguments = json.loads(line)
        elements: NDArray[np.uint8] = np.empty(0, np.uint8)
        found: Any
        try:
            if method == "paths":
                found = reader.paths()
            elif method == "header":
                shape, dtype, rows = reader.header(*arguments)
                found = [list(map(int, shape)), dtype.str, int(rows)]
            else:
                name, bounds = arguments
                part = reader.part(name, () if bounds is None else (slice(*bounds),))
                found, elements = [list(part.shape), part.dtype.str], part.reshape(-1).view(np.uint8)
            answer = {"found": found}
        except InputError as error:
            answer = {"refused": str(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(elements.data)
        answers.flush()


def main() -> None:
    """Serve the process that started this one: ``sys.argv`` holds what its messages begin with, and the path."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other, which ends this one
    where, path = sys.argv[-2:]
    serve(where, path, sys.stdin.buffer, sys.stdout.buffer)


_FILTERS: Final = {1: LIMITS.ratio, 2: 1, 3: 1, 32000: 100}
"""The filters that are read, each with its largest ratio: deflate, shuffle, fletcher32, and LZF, which writes 264 bytes
as 3. What others there are (szip, nbit, scaleoffset, plugins) a library may lack, or lose digits by."""

_DAMAGE: Final = (KeyError, RuntimeError, TypeError, ValueError)
"""What h5py raises at bytes that are no HDF5, beside OSError: UnicodeDecodeError is a ValueError."""


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

    def address(item: Any) -> tuple[int, ...]:
        # By which an object is known whatever its name. h5o.get_info adds sizes up, on some damaged files for ever.
        return tuple(h5py.h5g.get_objinfo(item.id).objno)

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
