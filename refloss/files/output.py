"""Files and folders that are written whole or not at all: write beside, then rename."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from refloss.errors import InputError


def check_output(name: str, path: Path, *, inputs: Collection[Path] = ()) -> None:
    """Raise where `path` cannot become a file: before the work, not after it.

    Parameters
    ----------
    name : str
        What the message calls it, ``--json`` say.
    path : Path
        The file to be written; one that exists will be replaced.
    inputs : iterable of Path
        Files that are read, which must not be replaced, and folders, in which nothing must appear.

    Raises
    ------
    InputError
        The folder is missing or not writable, the path is not a regular file, or it is one of `inputs` or in it.
    """
    with _answered(name, path, "written"):
        _require_folder(name, path)
        if path.exists() and not path.is_file():
            what = "folder" if path.is_dir() else "device"
            raise InputError(f"{name}: {path} is a {what}, expected the name of a file")
    for other in inputs:
        if _same_file(path, other):
            raise InputError(f"{name}: {path} is one of the inputs, expected another file")
    _require_outside(name, path, inputs)


def check_folder(name: str, path: Path) -> None:
    """Raise where `path` is not a folder and cannot become one (its parent must be there)."""
    with _answered(name, path, "written"):
        if path.is_dir():
            _require_writable(name, path)
        elif path.exists():
            raise InputError(f"{name}: {path} is a file, expected a folder")
        else:
            _require_folder(name, path)


def make_folder(name: str, path: Path) -> None:
    """Make the folder `path` where it is missing; its parent must be there."""
    with _answered(name, path, "made"):
        path.mkdir(exist_ok=True)


@contextlib.contextmanager
def replacing(name: str, path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and rename it to `path` when the block ends well.

    Whatever ends the block otherwise, Ctrl-C included, `path` is as it was and the file beside it is gone.

    Raises
    ------
    InputError
        The file cannot be written: the disk is full, say.
    """
    final = path.resolve()  # through a link, so that the link stays one
    beside = final.with_name(f".{final.stem}-{secrets.token_hex(4)}.part{final.suffix}")
    try:
        yield beside
        beside.replace(final)
    except OSError as error:
        # An error about another file is somebody else's: only those of this output can be answered here.
        if error.filename is not None and os.fspath(error.filename) not in (str(beside), str(final)):
            raise
        raise InputError(f"{name}: {path} cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def check_new_folder(name: str, path: Path, *, inputs: Collection[Path] = ()) -> None:
    """Raise where `path` cannot become a folder of its own: nothing that is in a folder is ever replaced.

    Raises
    ------
    InputError
        It is a file, or a folder that is not empty; it cannot be made; it lies within one of `inputs`.
    """
    check_folder(name, path)
    _require_outside(name, path, inputs)
    with _answered(name, path, "written"):
        _require_empty(name, path)


@contextlib.contextmanager
def replacing_folder(name: str, path: Path) -> Iterator[Path]:
    """Give a folder beside `path` to write into, and rename it to `path` when the block ends well.

    Whatever ends the block otherwise, Ctrl-C included, `path` is as it was and the folder beside it is gone.

    Raises
    ------
    InputError
        The folder cannot be written, or there is one that is not empty: it may hold anything, and stays.
    """
    final = path.resolve()
    beside = final.with_name(f".{final.stem}-{secrets.token_hex(4)}.part{final.suffix}")
    try:
        _require_empty(name, path)
        beside.mkdir()
        yield beside
        _require_empty(name, path)
        if final.exists():
            final.rmdir()
        beside.rename(final)
    except OSError as error:
        named = None if error.filename is None else Path(os.fspath(error.filename))
        if not (named is None or named == final or named.is_relative_to(beside)):
            raise
        raise InputError(f"{name}: {path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _require_outside(name: str, path: Path, inputs: Collection[Path]) -> None:
    for other in inputs:
        if other.is_dir() and path.resolve().is_relative_to(other.resolve()):
            raise InputError(f"{name}: {path} is in the input {other}, expected another place")


def _require_empty(name: str, path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{name}: the folder {path} is not empty, expected a new one: nothing in it is replaced")


@contextlib.contextmanager
def _answered(name: str, path: Path, what: str) -> Iterator[None]:
    """Turn what the system says of `path` into a message: it may lie where one must not even look."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{name}: {path} cannot be {what}: {error.strerror or error}") from error


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.resolve().samefile(
            other
        )  # as it is written: of missing/../file the system says that it is not there
    except OSError:  # one of the two is not there, or not to be seen: what is wrong with it is said elsewhere
        return False


def _require_folder(name: str, path: Path) -> None:
    parent = path.resolve().parent
    if not parent.is_dir():
        raise InputError(f"{name}: {path} cannot be written: there is no folder {parent}, make it first")
    _require_writable(name, parent)


def _require_writable(name: str, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{name}: the folder {folder} is not writable")
