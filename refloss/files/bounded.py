"""The trust layer: files are hostile until they are read, and nothing they declare is believed before it is covered.

Every reader of `refloss.files` opens files, archives and arrays through this module, which

- opens regular files alone: a pipe or a device could block for ever;
- reads npy headers by its own grammar (no pickle, no Python expression), and allocates an array only after its
  declared size was found to be the number of bytes that are there;
- checks a zip's directory before any member is read: number, names, kinds, overlaps, sizes against the file's.

So what one file can make a reader allocate is at most `LIMITS.ratio` times its own size. All that is wrong is an
`InputError` with the file, the member, what was found and what was expected. (docs/files.md)

References
----------
npy, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; zip, APPNOTE.TXT 6.3.10 of PKWARE;
deflate's largest ratio, https://zlib.net/zlib_tech.html ("Maximum Compression Factor").
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refloss.errors import InputError, did_you_mean

Stream = IO[bytes]


@dataclass(frozen=True)
class Limits:
    """What a file may ask for.

    Attributes
    ----------
    members : int
        Members of an archive: a data set of a million structures with three targets each.
    directory : int
        Bytes of an archive's table of contents: that many members with names of a hundred characters.
    name : int
        Characters of a member's name: what file systems allow of a path.
    ratio : int
        Decompressed bytes over compressed ones: deflate cannot reach more than 1032.
    expanded, expanded_ratio : int
        What all compressed members of one archive may declare: 8 GiB (the masks of 1.8 million structures of 4606
        points, which compress a thousandfold), or twenty times the file (numbers).
    header : int
        Bytes of an npy header: NumPy's own are 128, and with long field names some thousands.
    dimensions : int
        Of one array: NumPy's older limit, and ten times what a loss has.
    nesting : int
        Levels of groups, folders or lists in one another.
    line : int
        Bytes of one line of text: a spectrum of ten million numbers.
    text : int
        Bytes of a file that is read as one text: a thousand times the longest options.
    """

    members: int = 4_000_000
    directory: int = 512 << 20
    name: int = 4096
    ratio: int = 1100
    expanded: int = 8 << 30
    expanded_ratio: int = 20
    header: int = 64 << 10
    dimensions: int = 32
    nesting: int = 8
    line: int = 1 << 30
    text: int = 64 << 20


LIMITS: Final = Limits()


@contextmanager
def open_file(where: str, path: Path) -> Iterator[Stream]:
    """Open a regular file to read; what is none, or is missing, is an InputError, and so is an error while it is read.

    Parameters
    ----------
    where : str
        What messages begin with: the argument and the path, ``"targets: data/targets.mts"``.
    path : Path
        The file. A pipe, a device or a folder is refused without being opened.
    """
    if "\0" in str(path):
        raise InputError(f"{where}: found a NUL in the name, expected a name that files can have")
    with system_answered(where):
        _require_regular(where, path.stat())
        # What the name means may have changed since: without O_NONBLOCK, opening a pipe would wait for its writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _require_regular(where, status)
            if status.st_size == 0 and file.read(1):  # the system's own files are made as they are read, without end
                raise InputError(f"{where}: found a file that has no size but content, expected one on a disk")
            yield file


@contextmanager
def system_answered(where: str) -> Iterator[None]:
    """Turn what the system says of a file into an InputError."""
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{where}: does not fit into memory") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error


@contextmanager
def answered(where: str) -> Iterator[None]:
    """Turn what the system says of a file, and what zipfile raises at damaged content, into an InputError.

    For the few lines that decode; around others it would call a mistake of ours the file's.
    """
    try:
        with system_answered(where):
            yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{where}: found damaged content ({_one_line(error)}), expected a whole file") from error


def read_bytes(where: str, path: Path, limit: int) -> bytes:
    """Return what a regular file holds, at most `limit` bytes."""
    with open_file(where, path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise InputError(f"{where}: found {size} bytes, expected at most {limit}")
        return file.read(limit)


def read_text(where: str, path: Path, limit: int = LIMITS.text) -> str:
    """Return what a UTF-8 file holds, with the line ends of the file; a byte order mark is no part of it."""
    content = read_bytes(where, path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{where}: found the byte 0x{content[error.start]:02X} in line {line}, expected UTF-8 text"
        ) from error


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
                self._members = _checked_members(where, self._zip, _size(file), compressed, replaced)
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
            header = read_header(where, stream, size)
            for start in range(0, header.shape[0], rows):
                run = replace(header, shape=(min(rows, header.shape[0] - start), *header.shape[1:]))
                yield _finished(where, _elements(where, stream, run), run)
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


@dataclass(frozen=True)
class Header:
    """What an npy header says, and how many bytes it takes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def nbytes(self) -> int:
        """The bytes of the array's elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(where: str, stream: Stream, size: int, *, fields: bool = False) -> Header:
    """Read the npy header of plain numbers, or of int32 fields; its array must take all that remains of `size`."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(b"\x93NUMPY"):
        raise InputError(f"{where}: found {_shown(start[:6])}, expected an npy array")
    version = start[6], start[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise InputError(f"{where}: found npy version {version[0]}.{version[1]}, expected 1.0, 2.0 or 3.0")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(_exactly(where, stream, width), "little")
    if length > LIMITS.header:
        raise InputError(f"{where}: found an npy header of {length} bytes, expected at most {LIMITS.header}")
    text = _exactly(where, stream, length).decode("utf-8" if version == (3, 0) else "latin-1", "replace")
    dtype, shape, fortran = _parse_header(where, text, fields)
    header = Header(dtype, shape, fortran, 8 + width + length)
    if header.nbytes != size - header.length:
        what = f"shape {shape} of {dtype}, {header.nbytes} bytes"
        raise InputError(f"{where}: found {what}, in {size - header.length} bytes, expected as many")
    return header


def read_array(where: str, stream: Stream, size: int) -> NDArray[Any]:
    """Read an npy array of plain numbers, in the machine's byte order.

    Parameters
    ----------
    where : str
        What messages begin with.
    stream : IO
        At the first byte of the npy.
    size : int
        The number of bytes from there to the end. Nothing is allocated unless header and elements fill it exactly.

    Raises
    ------
    InputError
        Not npy; objects, text, complex or extended numbers; a shape that is not covered; too few or too many bytes;
        booleans that are neither 0 nor 1.
    """
    header = read_header(where, stream, size)
    return _finished(where, _elements(where, stream, header), header)


def read_labels(where: str, stream: Stream, size: int) -> tuple[list[str], NDArray[np.int32]]:
    """Read an npy array of int32 fields, and return their names and, a row an element, their values.

    Parameters and errors are those of `read_array`; the array must have one dimension, and labels without names have
    no rows.
    """
    header = read_header(where, stream, size, fields=True)
    names = list(header.dtype.names or ())
    if len(header.shape) != 1 or (not names and header.shape != (0,)):
        raise InputError(f"{where}: found labels of shape {header.shape} named {names}, expected one dimension")
    values = _elements(where, stream, header)
    stored = header.dtype[0] if names else np.dtype(np.int32)
    return names, values.view(stored).astype(np.int32, copy=False).reshape(header.shape[0], len(names))


def map_array(where: str, path: Path) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped, read only.

    While it is mapped, the file must not be cut short: the system ends a process that reads beyond the new end.
    (docs/files.md)
    """
    with open_file(where, path) as file:
        header = read_header(where, file, _size(file))
        array = _mapped(file, header.dtype, math.prod(header.shape), header.length)
        return _finished(where, array, header)


def map_raw(where: str, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a file of bare numbers in C order and in the machine's byte order, memory-mapped as `map_array` does.

    Raises
    ------
    InputError
        The file's size is not that of `shape`.
    """
    header = Header(np.dtype(dtype), shape, fortran=False, length=0)
    with open_file(where, path) as file:
        if _size(file) != header.nbytes:
            what = f"expected {header.nbytes}: shape {shape} of {header.dtype}"
            raise InputError(f"{where}: found {_size(file)} bytes, {what}")
        return _finished(where, _mapped(file, header.dtype, math.prod(shape), 0), header)


_PART: Final = 16 << 20
"""Bytes that are read at a time: enough that the number of steps costs nothing, little beside the array."""

_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile and zlib raise at bytes that are no archive or member; OverflowError and ValueError: an offset that no
file has; RuntimeError: a member that wants a password; NotImplementedError: a kind of zip that Python does not read."""

_FIRST_LETTER: Final = re.compile(r"[A-Za-z]:(?!:)")
"""A drive of Windows; ``a::dos`` is a target's name."""

_DESCR: Final = r"""(?:'[^'"\\]{1,64}'|"[^'"\\]{1,64}")"""
_KINDS: Final = re.compile(r"([<>|=]?)(b1|i1|i2|i4|i8|u1|u2|u4|u8|f2|f4|f8|\?)")
_FIELD: Final = re.compile(rf"\(\s*({_DESCR})\s*,\s*(?:'|\")([<>=])i4(?:'|\")\s*\)\s*,?\s*")
_ITEM: Final = re.compile(
    rf"""\s*['"](?P<key>descr|fortran_order|shape)['"]\s*:\s*
    (?: (?P<kind>{_DESCR}) | \[(?P<fields>[^\[\]]*)\] | (?P<order>True|False) | \((?P<shape>[0-9\s,]*)\) )\s*(?:,|$)""",
    re.VERBOSE,
)
"""One entry of the dictionary that an npy header is: the whole grammar of what NumPy writes of plain arrays."""


def _parse_header(where: str, text: str, fields: bool) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape and order; what the grammar lacks (a Python expression, pickled objects) is refused."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise InputError(f"{where}: found the npy header {_shown(body)}, expected a dictionary")
    body, at, found = body[1:-1].rstrip(), 0, {}
    while at < len(body):
        item = _ITEM.match(body, at)
        if item is None or item["key"] in found:
            raise InputError(f"{where}: found {_shown(body[at:])} in the npy header, expected descr, order and shape")
        found[item["key"]] = item
        at = item.end()
    if len(found) != 3 or not found["fortran_order"]["order"] or found["shape"]["shape"] is None:
        raise InputError(f"{where}: found the npy header {_shown(text.strip())}, expected descr, order and shape")
    shape = _parse_shape(where, found["shape"]["shape"])
    fortran = found["fortran_order"]["order"] == "True"
    if not fields:
        kind = _KINDS.fullmatch((found["descr"]["kind"] or "")[1:-1])
        if kind is None:
            what = found["descr"]["kind"] or "a list of fields"
            hint = ": pickled objects are never read" if what[1:-1].lstrip("|") == "O" else ""
            raise InputError(f"{where}: found the type {what}, expected booleans or real numbers{hint}")
        order = {"=": "<", "|": "<"}.get(kind[1], kind[1]) or "<"
        return np.dtype(kind[2] if kind[2] in ("?", "b1") else order + kind[2]), shape, fortran
    return _parse_fields(where, found["descr"]["fields"]), shape, fortran


def _parse_shape(where: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    if not all(re.fullmatch("[0-9]{1,19}", part) for part in parts) or (len(parts) == 1 and "," not in text):
        raise InputError(f"{where}: found the shape ({_shown(text)}), expected whole numbers")
    shape = tuple(map(int, parts))
    # NumPy counts the bytes of an empty array as if its zeros were ones.
    if len(shape) > LIMITS.dimensions or math.prod(filter(None, shape)) >= 2**59:
        raise InputError(f"{where}: found the shape ({_shown(text)}), expected one that an array can have")
    return shape


def _parse_fields(where: str, text: str | None) -> np.dtype[Any]:
    fields: dict[str, str] = {}
    at = 0
    while text is not None and at < len(text):
        field = _FIELD.match(text, at)
        order = field[2].replace("=", "<") if field is not None else ""
        if field is None or field[1][1:-1] in fields or order not in (*fields.values(), order)[:1]:
            raise InputError(
                f"{where}: found the fields [{_shown(text[at:])}], expected int32 fields of different names, in one "
                "byte order"
            )
        fields[field[1][1:-1]] = order
        at = field.end()
    if text is None:
        raise InputError(f"{where}: found a type without fields, expected int32 fields")
    return np.dtype([(name, f"{order}i4") for name, order in fields.items()])


def _elements(where: str, stream: Stream, header: Header) -> NDArray[Any]:
    """Read the elements, in one dimension and as they are stored."""
    with answered(where):
        array: NDArray[Any] = np.empty(math.prod(header.shape), header.dtype)
        view, done = array.view(np.uint8).data if header.nbytes else memoryview(b""), 0
        while done < len(view):
            part = stream.read(min(len(view) - done, _PART))
            if not part:
                raise InputError(f"{where}: found {done} bytes of elements, expected {len(view)}")
            view[done : done + len(part)] = part
            done += len(part)
        return array


def _finished(where: str, array: NDArray[Any], header: Header) -> NDArray[Any]:
    """Give elements that are there the shape and the byte order that they are to have."""
    if array.dtype == np.bool_:
        # One byte of another value would be true here and neither there.
        raw = array.view(np.uint8)
        if raw.size and int(raw.max()) > 1:
            raise InputError(f"{where}: found the byte {int(raw.max())} among booleans, expected 0 or 1")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))  # exact: the same numbers
    if header.fortran:
        return array.reshape(header.shape[::-1]).transpose()
    return array.reshape(header.shape)


def _mapped(file: Stream, dtype: np.dtype[Any], count: int, offset: int) -> NDArray[Any]:
    if count == 0:  # what has no bytes cannot be mapped
        return np.empty(0, dtype)
    mapped = np.memmap(file, dtype, mode="r", offset=offset, shape=(count,)).view(np.ndarray)
    return np.require(mapped, requirements=["A"])  # a header of odd length leaves elements where kernels cannot look


def _open_zip(where: str, file: Stream) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(_Directory(file))
    except zipfile.BadZipFile as error:
        raise InputError(f"{where}: found no zip archive ({_one_line(error)}), expected one") from error


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
            raise InputError(f"{where}: {_shown(name)}: found {wrong}")
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
        return self._file.read(size if size >= 0 else _PART)  # without a size, for the end of the file: 64 KiB

    def seekable(self) -> bool:
        return True


@contextmanager
def _as_it_is(stream: Stream) -> Iterator[Stream]:
    yield stream


def _size(file: Stream) -> int:
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    with suppress(ValueError):
        file.seek(at)
    return size


def _require_regular(where: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    what = next((name for is_kind, name in kinds if is_kind(status.st_mode)), "a device")
    raise InputError(f"{where}: found {what}, expected a file")


def _exactly(where: str, stream: Stream, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise InputError(f"{where}: found the end of the file in the npy header, expected a whole array")
    return content


def _shown(content: str | bytes) -> str:
    """Show the beginning of what was found, in one line."""
    text = repr(content[:60])
    return f"{text}..." if len(content) > 60 else text


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
