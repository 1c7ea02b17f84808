"""Zip archives whose directory is checked when they are opened, and whose members are then read, never extracted.

Checked are number, names, kinds and overlaps of the members, and their sizes against the file's: what one archive can
make a reader allocate is at most `LIMITS.ratio` times its own size. (docs/files.md)

References
----------
APPNOTE.TXT 6.3.10 of PKWARE; deflate's largest ratio, https://zlib.net/zlib_tech.html ("Maximum Compression Factor").
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files.bounded import LIMITS, Stream, answered, one_line, open_file, shown, size_of
from refloss.files.npy_format import PART, Header, read_array, read_header, read_labels, read_runs


class Archive:
    """A zip file whose directory was checked when it was opened; members are read whole, and nothing is extracted.

    Parameters
    ----------
    where : str
        What messages begin with.
    source : Path or IO
        The file, or what is open (an archive within an archive).
    compressed : bool
        Whether members may be compressed. Formats that never compress say no: archives in one another would multiply
        the ratio otherwise.
    replaced : collection of str
        Members that may be there several times: the last counts. What is added to an archive cannot be put in the
        place of what is there.

    Attributes
    ----------
    names : tuple of str
        The members in the order of the directory, folders left out.

    Raises
    ------
    InputError
        The file is no zip; it has too many members, or two of one name; a member is encrypted, compressed otherwise
        than by deflate, a link, or overlaps another; its name is absolute or has ``..``, a backslash, a drive or
        NUL; it declares more than the file's bytes can hold.
    """

    def __init__(
        self, where: str, source: Path | Stream, *, compressed: bool = True, replaced: Collection[str] = ()
    ) -> None:
        self.where = where
        self._opened = open_file(where, source) if isinstance(source, Path) else _as_it_is(source)
        file = self._opened.__enter__()
        try:
            with answered(where):
                self._zip = _open_zip(where, file)
                self._members = _checked_members(where, self._zip, size_of(file), compressed, replaced)
        except BaseException:
            self._opened.__exit__(None, None, None)
            raise
        self.names = tuple(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._zip.close()
        self._opened.__exit__(None, None, None)  # an error of the block is about something else: not to be answered

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def array(self, member: str) -> NDArray[Any]:
        """Return the npy array that a member holds, as `read_array` reads it."""
        with self._member(member) as (where, stream, size):
            array = read_array(where, stream, size)
            stream.read(1)  # what makes zipfile compare the checksum where the array is empty
            return array

    def header(self, member: str) -> Header:
        """Return what the header of the npy array that a member holds says."""
        with self._member(member) as (where, stream, size):
            return read_header(where, stream, size)

    def parts(self, member: str, rows: int) -> Iterator[NDArray[Any]]:
        """Yield the npy array that a member holds, of one axis or more and in C order, in runs of so many rows."""
        with self._member(member) as (where, stream, size):
            yield from read_runs(where, stream, size, rows)
            stream.read(1)

    def labels(self, member: str) -> tuple[list[str], NDArray[np.int32]]:
        """Return the names and the values of the labels that a member holds, as `read_labels` reads them."""
        with self._member(member) as (where, stream, size):
            labels = read_labels(where, stream, size)
            stream.read(1)
            return labels

    def bytes(self, member: str, limit: int) -> bytes:
        """Return what a member holds, at most `limit` bytes."""
        with self._member(member) as (where, stream, size):
            if size > limit:
                raise InputError(f"{where}: found {size} bytes, expected at most {limit}")
            content = stream.read(size)
            if len(content) != size or stream.read(1):
                raise InputError(f"{where}: found {len(content)} bytes, expected {size}")
            return content

    def size(self, member: str) -> int:
        """Return the number of bytes that a member holds."""
        return self._info(member).file_size

    def _info(self, member: str) -> zipfile.ZipInfo:
        if member not in self._members:
            hint = did_you_mean(member, self.names[:1000])
            raise InputError(f"{self.where}: found no member {member!r}, expected it{hint}")
        return self._members[member]

    @contextmanager
    def _member(self, member: str) -> Iterator[tuple[str, Stream, int]]:
        info, where = self._info(member), f"{self.where}: {member!r}"
        with answered(where), self._zip.open(info) as stream:
            yield where, stream, info.file_size


_FIRST_LETTER: Final = re.compile(r"[A-Za-z]:(?!:)")
"""A drive of Windows; ``a::dos`` is a target's name."""


def _open_zip(where: str, file: Stream) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(_Directory(file))
    except zipfile.BadZipFile as error:
        raise InputError(f"{where}: found no zip archive ({one_line(error)}), expected one") from error


def _checked_members(
    where: str, archive: zipfile.ZipFile, size: int, compressed: bool, replaced: Collection[str]
) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after every check that needs no member read."""
    infos = archive.infolist()
    if len(infos) > LIMITS.members:
        raise InputError(f"{where}: found {len(infos)} members, expected at most {LIMITS.members}")
    found: dict[str, zipfile.ZipInfo] = {}
    expanded = 0
    for info in infos:
        name = info.orig_filename
        wrong = _wrong_name(name) or _wrong_kind(info, compressed)
        if wrong:
            raise InputError(f"{where}: {shown(name)}: found {wrong}")
        if name in found and name not in replaced:
            raise InputError(f"{where}: {name!r}: found this member twice, expected it once")
        if info.compress_type != zipfile.ZIP_STORED:
            expanded += info.file_size
        found[name] = info
    if expanded > max(LIMITS.expanded, LIMITS.expanded_ratio * size):
        raise InputError(
            f"{where}: found compressed members of {expanded} bytes in {size}, expected at most "
            f"{LIMITS.expanded >> 30} GiB or {LIMITS.expanded_ratio} times the file: store them uncompressed"
        )
    end, last = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise InputError(f"{where}: {info.orig_filename!r}: found it over {last!r}, expected members side by side")
        end, last = info.header_offset + _LOCAL_HEADER + info.compress_size, info.orig_filename
    if end > size:
        raise InputError(f"{where}: {last!r}: found its end at byte {end}, expected it within the {size} of the file")
    return {name: info for name, info in found.items() if not name.endswith("/")}


_LOCAL_HEADER: Final = 30
"""Bytes before a member's data, its name not counted."""


def _wrong_name(name: str) -> str:
    """Say what is wrong with a member's name, which is no path out of the archive even though nothing is extracted."""
    parts = name.split("/")
    if "\0" in name or "\\" in name or name.startswith("/") or ".." in parts or _FIRST_LETTER.match(name):
        return "a name that leads out of the archive, expected a relative one with forward slashes"
    if not name or len(name) > LIMITS.name:
        return f"a name of {len(name)} characters, expected 1 to {LIMITS.name}"
    return ""


def _wrong_kind(info: zipfile.ZipInfo, compressed: bool) -> str:
    if info.flag_bits & 0x1:
        return "an encrypted member, expected one that needs no password"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a symbolic link, expected a file"
    if info.compress_type == zipfile.ZIP_STORED:
        if info.file_size != info.compress_size:
            return f"{info.file_size} bytes stored in {info.compress_size}, expected as many"
    elif info.compress_type != zipfile.ZIP_DEFLATED or not compressed:
        method = {8: "deflate", 12: "bzip2", 14: "lzma", 93: "zstandard"}.get(info.compress_type)
        expected = "none or deflate" if compressed else "none"
        return f"compression by {method or f'method {info.compress_type}'}, expected {expected}"
    elif info.file_size > LIMITS.ratio * info.compress_size:
        return f"{info.file_size} bytes compressed to {info.compress_size}, expected at most {LIMITS.ratio} times fewer"
    return ""


class _Directory:
    """What zipfile reads from, which asks for a directory of whatever size the file declares."""

    def __init__(self, file: Stream) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size > LIMITS.directory:
            raise zipfile.BadZipFile(f"a table of contents of {size} bytes")
        return self._file.read(size if size >= 0 else PART)  # without a size, for the end of the file: 64 KiB

    def seekable(self) -> bool:
        return True


@contextmanager
def _as_it_is(stream: Stream) -> Iterator[Stream]:
    yield stream
