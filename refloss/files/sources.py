"""Files found and read: those that options name, and those that are given with the names that they are to hold.

metatrain reads names of files from the working directory. Here a name that is not there is looked for beside the
options file too, and one that is in both places, as two files, is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from refloss.data_options import DataSet, File
from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, GradientSource, Quantity, Structures, formats
from refloss.files.bounded import read_text
from refloss.files.cells import volumes
from refloss.files.matching import differing
from refloss.interop.metatensor import is_tensormap
from refloss.options_source import Place, Problems
from refloss.results import Integers

Describe = Callable[[str], Sequence[Quantity]]
"""The name of a format to the quantities that a file of that format is asked for."""

_READERS: Final = {"ase": "extxyz", "metatensor": "mts"}
"""What metatrain's readers read."""


@dataclass
class Finder:
    """Finds the files that options name.

    Attributes
    ----------
    options : Path or None
        The options file; None where they are a mapping.
    problems : Problems
        What is wrong is noted here.
    """

    options: Path | None
    problems: Problems

    def find(self, place: Place) -> Path:
        """Return the file, or where it would be, after noting that it is not there or that there are two."""
        name = Path(place.value)
        here = {"the working directory": name}
        if self.options is not None and not name.is_absolute():
            here[f"the folder of {self.options.name}"] = self.options.parent / name
        there = [path for path in here.values() if os.path.exists(path)]  # noqa: PTH110 - unlike Path's it cannot raise
        if not there:
            looked = " and ".join(f"{where} ({path.absolute().parent})" for where, path in here.items())
            self.problems.add(place.mark, f"{place.path}: found no file {place.value!r}, looked in {looked}")
        elif len(there) == 2 and not there[0].samefile(there[1]):
            self.problems.add(
                place.mark,
                f"{place.path}: found two files {place.value!r}, {there[0].absolute()} and {there[1].absolute()}, "
                "expected one: start in the folder of the options, or write the whole path",
            )
        return there[0] if there else name


@dataclass
class Found:
    """What was read, and from which files.

    Attributes
    ----------
    data : dict
        Name to ``{"values": array, …}`` or TensorMap.
    structures : Structures or None
        As far as one of the files has them.
    files : dict of str to list of Path
        The files of each name; those of the structures are under ``""``.
    """

    data: dict[str, Any] = field(default_factory=dict)
    structures: Structures | None = None
    files: dict[str, list[Path]] = field(default_factory=dict)


def read_data_set(argument: str, one: DataSet, names: Collection[str], finder: Finder) -> Found:
    """Read the structures of a data set, and those of its targets and extra data that are among `names`.

    Raises
    ------
    ConfigError
        A file is not there.
    InputError
        A file cannot be read, is not of the kind that its reader reads, lacks what it should hold, or has no
        structures where they should be.
    """
    sources = {name: source for name, source in {**one.targets, **one.extra_data}.items() if name in names}
    systems = finder.find(one.systems.place)
    paths = {name: finder.find(source.file.place) for name, source in sources.items()}
    apart = {
        (name, gradient): finder.find(file.place)
        for name, source in sources.items()
        for gradient, (_, file) in source.elsewhere.items()
    }
    finder.problems.raise_any()
    for path, file in [(systems, one.systems), *((paths[name], source.file) for name, source in sources.items())]:
        _require_reader(argument, path, file)
    for name, path in paths.items():
        # metatrain reads all of such a data set from it, whatever else is said: another figure without a word.
        if path != systems and (systems.suffix == ".zip" or systems.is_dir()):
            what = f"expected {systems}, from which metatrain reads everything of such a data set"
            raise InputError(f"{argument}: found {path} for {name!r}, {what}")
    read = _read_together(argument, systems, {name: (paths[name], source.quantity) for name, source in sources.items()})
    if read.structures is None:
        raise InputError(f"{argument}: {systems}: found no structures, expected those of the data set")
    for name, source in sources.items():
        where = f"{argument}: {paths[name]}"
        if name not in read.data:
            hint = did_you_mean(source.quantity.key, read.data)
            raise InputError(f"{where}: found no {source.quantity.key!r}, expected it for {name!r}{hint}")
        for gradient, (described, _) in source.elsewhere.items():
            path = apart[name, gradient]
            part = _gradient_apart(argument, path, f"{source.quantity.name}/{gradient}", described, read)
            if part is not None:
                if is_tensormap(read.data[name]):
                    raise InputError(f"{where}: found a TensorMap, and {gradient!r} in {path}, expected it in one file")
                read.data[name] = {**read.data[name], gradient: part}
                read.files[name].append(path)
    return read


def read_files(argument: str, paths: Sequence[Path], names: Sequence[str], describe: Describe) -> Found:
    """Read files that together hold some of `names`, and perhaps more.

    A file that is not there stands, if its name ends in ``.mts``, for ``<stem>_<name>.mts``, as metatrain writes them;
    such a file holds the one of `names` that it is called by.

    Raises
    ------
    InputError
        A file is missing, or cannot be read; two hold the same name, or other structures.
    """
    found = Found()
    for path in (part for given in paths for part in _parts(argument, given, names)):
        kind = formats.detect(argument, path).name
        if kind == "mts":
            name = _called(argument, path, names)
            contents = formats.read(argument, path, [Quantity(name, name)])
        else:
            contents = formats.read(argument, path, describe(kind))
        for name, item in contents.data.items():
            if name in found.data:
                other = found.files[name][0]
                raise InputError(f"{argument}: found {name!r} in {other} and in {path}, expected it in one file")
            found.data[name] = item
            found.files[name] = [path]
        _add_structures(argument, path, contents, found)
    return found


def read_indices(argument: str, given: Any, structures: int) -> Integers:
    """Return the structures that count: integers, or the name of a text file with one a line.

    Raises
    ------
    InputError
        What is no integer from 0 to the number of structures less one, or is there twice, or nothing at all.
    """
    where = argument
    if isinstance(given, str | os.PathLike):
        where = f"{argument}: {given}"
        lines = [line.partition("#")[0].strip() for line in read_text(where, Path(given)).splitlines()]
        given = [_integer(f"{where}: line {number}", line) for number, line in enumerate(lines, 1) if line]
    array = np.asarray(given)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise InputError(f"{where}: found {array.size} values of {array.dtype}, expected integers, at least one")
    wrong = (array < 0) | (array >= structures)
    if wrong.any():
        raise InputError(f"{where}: found {array[wrong][0]}, expected 0 to {structures - 1}, the number of a structure")
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{where}: found {values[counts > 1][0]} twice, expected each structure once")
    return array.astype(np.int64)


def listed(files: Mapping[str, Sequence[Path]]) -> str:
    """Return the names of files, each once, for a message."""
    return ", ".join(dict.fromkeys(str(path) for paths in files.values() for path in paths)) or "no file"


def _integer(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"{where}: found {text[:40]!r}, expected an integer") from error


def _require_reader(argument: str, path: Path, file: File) -> None:
    if file.reader is None:
        return
    kind = formats.detect(argument, path).name
    if kind in _READERS.values() and kind != _READERS[file.reader]:
        raise InputError(
            f"{argument}: {path}: found a file of the format {kind}, expected {_READERS[file.reader]}: the options say "
            f"reader: {file.reader}"
        )


def _read_together(argument: str, systems: Path, wanted: Mapping[str, tuple[Path, Quantity]]) -> Found:
    """Read each file once, the structures' first; but one with a single TensorMap once for each that is to be it."""
    found = Found(files={"": [systems]})
    by_path: dict[Path, list[Quantity]] = {systems: []}
    for path, quantity in wanted.values():
        by_path.setdefault(path, []).append(quantity)
    for path, quantities in by_path.items():
        single = formats.detect(argument, path).name == "mts"
        for group in [[quantity] for quantity in quantities] if single else [quantities]:
            contents = formats.read(argument, path, group)
            for quantity in group:
                if quantity.name in contents.data:
                    found.data[quantity.name] = contents.data[quantity.name]
                found.files[quantity.name] = [path]
            _add_structures(argument, path, contents, found)
    return found


def _add_structures(argument: str, path: Path, contents: Contents, found: Found) -> None:
    """Keep the structures of the first file that has any; those of the others must be the same."""
    if contents.structures is None:
        return
    if found.structures is None:
        found.structures = contents.structures
        found.files.setdefault("", [path])
        return
    what = differing(contents.structures, found.structures)
    if what is not None:
        raise InputError(f"{argument}: {path}: {what}, as in {found.files[''][0]}")


def _gradient_apart(argument: str, path: Path, name: str, source: GradientSource, read: Found) -> Any:
    """Return the gradient ``<target>/<gradient>`` that has a file of its own; None where that file lacks it."""
    gradient = name.rpartition("/")[2]
    row = (3,) if gradient == "positions" else (3, 3)
    described = Quantity(name, source.key, gradient == "positions", row, {gradient: source})
    contents = formats.read(argument, path, [described])
    if name not in contents.data:
        return None
    _add_structures(argument, path, contents, read)
    assert read.structures is not None  # or the data set would have been refused
    item = contents.data[name]
    if is_tensormap(item):
        raise InputError(f"{argument}: {path}: found a TensorMap, expected {source.key!r} as plain numbers")
    if gradient in item:  # the format knows signs, and volumes of cells along which nothing repeats
        return item[gradient]
    values = np.asarray(item["values"], dtype=np.float64)
    if source.kind == "stress":
        cells = (contents.structures or read.structures).cells
        if cells is None or len(cells) != len(values):
            raise InputError(f"{argument}: {path}: found stresses and no cells, expected the cells of the structures")
        sizes = volumes(f"{argument}: {path}", cells).reshape(-1, 1, 1)
        lost = (sizes == 0.0) & ~np.isnan(values)
        if lost.any():
            number = int(np.argwhere(lost)[0, 0])
            raise InputError(f"{argument}: {path}: found a stress of structure {number}, which has no volume")
        values = values * sizes
    else:
        values = -values
    return values.reshape(-1, *row, 1)


def _parts(argument: str, path: Path, names: Sequence[str]) -> Iterable[Path]:
    if path.suffix != ".mts" or os.path.lexists(path):
        return [path]
    candidates = [path.with_name(f"{path.stem}_{name}.mts") for name in names]
    there = [part for part in candidates if os.path.lexists(part)]
    if not there:
        tried = ", ".join(part.name for part in candidates)
        raise InputError(f"{argument}: {path}: found no such file, nor in its place {tried}")
    return there


def _called(argument: str, path: Path, names: Sequence[str]) -> str:
    """Return the one of `names` that a file is called by, or the only one."""
    fits = [name for name in names if path.stem == name or path.stem.endswith(f"_{name}")]
    if fits:
        return max(fits, key=len)
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"{argument}: {path}: found a TensorMap that is not called by what it holds, expected a name like "
        f"{path.stem}_{names[0] if names else 'energy'}.mts"
    )
