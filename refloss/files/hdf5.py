"""HDF5 files through h5py: ``<target>/values`` and ``<target>/<gradient>``, or an array ``<target>`` alone.

Nothing is followed out of the file: external and symbolic links, external storage and virtual datasets are refused when
they are asked for, and so are filters other than those that h5py itself has, so that no plugin is ever loaded.
Attributes are not read.

A file is read by a process of its own, for damaged ones crash the HDF5 library: then it is that process that ends, and
what was asked of it is refused. (docs/files.md)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import refloss
from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.bounded import open_file
from refloss.files.optional import need
from refloss.files.output import replacing
from refloss.files.stored import Stored, contents_at, paths_of, slices, stored, structures_of
from refloss.files.unlabelled import unlabelled


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read an HDF5 file; see `refloss.files.formats.read`. An array is read when it is asked for."""
    where = f"{argument}: {path}"
    need(where, "h5py", "hdf5")
    with open_file(where, path):  # what is no file is not even shown to a process
        reader = Isolated(where, path)
    return contents_at(where, reader.paths(), quantities, lambda name: _Dataset(reader, name))


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


class Isolated:
    """`refloss.files.hdf5_reader.Reader` in a process of its own, which starts with the first question."""

    def __init__(self, where: str, path: Path) -> None:
        self._where, self._path = where, path.absolute()
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def paths(self) -> list[str]:
        """Return the paths of all that is no group."""
        found: list[str] = self._ask("paths")[0]
        return found

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Return shape and type of an array, and the rows of a chunk."""
        shape, dtype, rows = self._ask("header", name)[0]
        return tuple(shape), np.dtype(dtype), rows

    def part(self, name: str, rows: tuple[slice, ...]) -> NDArray[Any]:
        """Return rows of an array."""
        return self._ask("part", name, [rows[0].start, rows[0].stop] if rows else None)[1]

    def _ask(self, *request: Any) -> tuple[Any, NDArray[Any]]:
        with self._lock:
            process, self._process = self._process, None
            if process is None or not process.mine():
                process = _Process(self._where, self._path)
            answer = process.ask(request)
            # Only one that has said all it had to say is asked again: after Ctrl-C, the rest would be taken for an
            # answer to the next question; and of a crash, that question, about another array, may well have one.
            if isinstance(answer, int):
                what = signal.Signals(-answer).name if answer < 0 else f"status {answer}"
                does = "computes without end" if what == "SIGPROF" else "ends the process that reads it"
                name = f": {request[1]!r}" if len(request) > 1 else ""
                raise InputError(
                    f"{self._where}{name}: found content at which the HDF5 library {does} ({what}), expected a "
                    "whole file"
                )
            self._process = process
            if isinstance(answer, str):
                raise InputError(answer)
            return answer


class _Process:
    """The process, and what goes to and fro; it ends when nobody refers to this any more."""

    def __init__(self, where: str, path: Path) -> None:
        folders = [*filter(os.path.isabs, sys.path), str(Path(refloss.__file__).parents[1])]
        command = [sys.executable, "-I", "-c", _CHILD, json.dumps(folders), where, str(path)]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pid = os.getpid()
        weakref.finalize(self, _end, self._popen)

    def mine(self) -> bool:
        """Whether this process started that one: after a fork, two would talk at the same time."""
        return self._pid == os.getpid()

    def ask(self, request: Sequence[Any]) -> tuple[Any, NDArray[Any]] | str | int:
        """Return what the process found, with the elements of a part; why it refused; or how the process ended."""
        requests, answers = self._popen.stdin, self._popen.stdout
        assert requests is not None
        assert answers is not None
        elements: NDArray[Any] = np.empty(0)
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            line = answers.readline()
            if line:
                answer = json.loads(line)
                if "refused" in answer:
                    return str(answer["refused"])
                if request[0] == "part":
                    shape, dtype = answer["found"]
                    elements = np.empty(shape, dtype)
                    view = elements.reshape(-1).view(np.uint8).data
                    if elements.nbytes and answers.readinto(view) != len(view):  # type: ignore[attr-defined]
                        return self._popen.wait()
                return answer["found"], elements
        except BrokenPipeError:
            pass  # it has ended already: how, is told below
        return self._popen.wait()


_CHILD: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from refloss.files.hdf5_reader import main; main()"
)
"""What the process runs: refloss from where this process has it; -I, and no entry of the path that means the working
directory, or else it would import what lies there."""


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with suppress(OSError):
            stream.close()
    process.kill()
    process.wait()


class _Dataset(Stored):
    """An array of a file."""

    def __init__(self, reader: Isolated, name: str) -> None:
        self._reader, self._name = reader, name
        self.shape, self.dtype, self._rows = reader.header(name)

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield runs of whole chunks."""
        for rows in slices(self.shape, self.dtype.itemsize, self._rows):
            yield self._reader.part(self._name, rows)


@contextmanager
def _failing(argument: str, path: Path) -> Iterator[None]:
    """Answer for what h5py raises where a system's error has no number."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"{argument}: {path} cannot be written: {error}") from error
