"""The trust layer: files are hostile until they are read, and nothing they declare is believed before it is covered.

Every reader of `refloss.files` goes by `LIMITS`, and opens its files here: regular files alone, for a pipe or a device
could block for ever. Arrays are read by `refloss.files.npy_format`, zip archives by `refloss.files.archive`. What one
file can make a reader allocate is at most `LIMITS.ratio` times its own size; all that is wrong is an `InputError` with
the file, the member, what was found and what was expected. (docs/files.md)
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from refloss.errors import InputError

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
        raise InputError(f"{where}: found damaged content ({one_line(error)}), expected a whole file") from error


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


def size_of(file: Stream) -> int:
    """Return the number of bytes of an open file, and leave it where it is."""
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    with suppress(ValueError):
        file.seek(at)
    return size


def shown(content: str | bytes) -> str:
    """Show the beginning of what was found, in one line."""
    text = repr(content[:60])
    return f"{text}..." if len(content) > 60 else text


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


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


def _require_regular(where: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    what = next((name for is_kind, name in kinds if is_kind(status.st_mode)), "a device")
    raise InputError(f"{where}: found {what}, expected a file")
