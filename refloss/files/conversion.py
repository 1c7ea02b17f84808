"""Data sets from one format to another: what the new one cannot hold is an error until it is given up by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.data_options import Source, data_section
from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, Data, Quantity, Structures, formats
from refloss.files.output import check_new_folder, check_output
from refloss.files.stored import Entry, Stored, stored
from refloss.files.unlabelled import unlabelled, without_labels
from refloss.interop.metatensor import is_tensormap
from refloss.options_source import place_of

DROPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "labels": "the labels of TensorMaps",
        "structures": "the structures",
        "gradients": "all gradients",
        "digits": "what float32 does not hold",
    }
)
"""What can be given up, and what that is."""


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes
    ----------
    arrays : tuple of str
        A line a target: its arrays, their shapes and types.
    left_out : tuple of str
        What the input has beside that, and nobody asked for; and gradients that the options look for in other files.
    """

    arrays: tuple[str, ...]
    left_out: tuple[str, ...]


def convert(
    source: Path,
    output: Path,
    *,
    options: Path | None = None,
    targets: Sequence[str] = (),
    drop: Collection[str] = (),
    step: Callable[[str], None] = lambda _: None,
) -> Converted:
    """Read a data set in any format, and write it in that of the output's ending, whole or not at all.

    npz and npy files, HDF5 and Zarr are read and written in parts of 16 MiB, so that an array may be larger than the
    memory; an npz member in Fortran order, a TensorMap and what XYZ files hold are read whole, a target at a time.

    Parameters
    ----------
    source, output : Path
        Any formats of `refloss.files.formats`.
    options : Path, optional
        metatrain options, whose training set says what the data are called in the file, and their shapes.
    targets : sequence of str, optional
        The targets and masks that are wanted. By default all that the options name, or that the file holds.
    drop : collection of str
        What may be lost: names of `DROPS`.
    step : callable
        Is told what is being done.

    Raises
    ------
    InputError
        The input cannot be read, or has no such target; the output cannot hold what it holds, or is the input.
    ConfigError
        The options are not valid.
    """
    form = formats.by_ending("OUT", output)
    inputs = [path for path in (source, options) if path is not None]
    (check_new_folder if form.folder else check_output)("OUT", output, inputs=inputs)
    for kind in drop:
        if kind not in DROPS:
            raise InputError(f"--drop: found {kind!r}, expected {', '.join(DROPS)}{did_you_mean(kind, DROPS)}")
    step(f"reading {source}")
    described = {} if options is None else _by_options(options, source)
    names = list(targets or described)
    quantities = [described[name].quantity for name in names if name in described]
    if not quantities and formats.detect("IN", source).name == "mts":  # which does not say what it holds
        quantities = [Quantity(name, name) for name in names]
    given = formats.read("IN", source, quantities)
    wanted = _wanted(source, given.data, names, strict=bool(targets))
    contents = _dropped(source, Contents(wanted, given.structures), drop)
    if form.name == "mts" and given.structures is not None:
        if "structures" not in drop:
            raise InputError(
                f"OUT: {output}: found structures, which an mts file does not hold{_way_out('structures')}"
            )
        # Not to be written, but what tells the rows of atoms from those of structures.
        contents = replace(contents, structures=Structures(given.structures.num_atoms))
    if form.name == "memmap" and "digits" not in drop:
        _require_float32(output, contents)
    lines = tuple(_described(name, item) for name, item in contents.data.items())
    watched = {
        name: item if is_tensormap(item) else _watched(source, name, item, step) for name, item in contents.data.items()
    }
    formats.write("OUT", output, replace(contents, data=watched))
    left_out = [name for name in given.data if name not in wanted]
    for name in wanted.keys() & described.keys():
        left_out += [
            f"{name}/{gradient}, which is in {file.place.value}"
            for gradient, (_, file) in described[name].elsewhere.items()
        ]
    return Converted(lines, tuple(left_out))


class _Changed(Stored):
    """An array of which every part passes through a function."""

    def __init__(self, array: Stored, dtype: np.dtype[Any], change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._array, self._change = array, change
        self.shape, self.dtype = array.shape, dtype

    def parts(self) -> Iterator[NDArray[Any]]:
        return map(self._change, self._array.parts())

    def whole(self) -> NDArray[Any]:
        return self._change(self._array.whole())


def _by_options(options: Path, source: Path) -> dict[str, Source]:
    """Return what the options say of the input, by the names that they give it."""
    root, problems = place_of(options)
    section = data_section(root, problems, "training_set")
    problems.raise_any()
    assert section is not None  # or there would be a problem
    named = [entry for one in section.sets for entry in {**one.targets, **one.extra_data}.values()]
    # What another file holds may have the same key there: energy in two data sets, say.
    here = [entry for entry in named if Path(entry.file.place.value).name == source.name]
    described: dict[str, Source] = {}
    for entry in here or named:
        described.setdefault(entry.quantity.name, entry)
    return described


def _wanted(source: Path, data: Data, names: Sequence[str], *, strict: bool) -> dict[str, Any]:
    """Return the data of these names, or all without any; each must be there where the user has named it."""
    if not names:
        return dict(data)
    missing = [name for name in names if name not in data]
    if (strict and missing) or len(missing) == len(names):
        there = ", ".join(map(repr, data)) or "nothing"
        raise InputError(f"IN: {source}: found {there}, expected {missing[0]!r}{did_you_mean(missing[0], data)}")
    return {name: data[name] for name in names if name in data}


def _dropped(source: Path, contents: Contents, drop: Collection[str]) -> Contents:
    """Return the contents without what is given up."""
    data = dict(contents.data)
    if "labels" in drop:
        data = {
            name: without_labels(f"IN: {source}: {name!r}", item) if is_tensormap(item) else item
            for name, item in data.items()
        }
    if {"gradients", "digits"}.intersection(drop):  # of arrays: labels that count come back where the format has labels
        data = dict(unlabelled("IN", source, replace(contents, data=data)))
    if "gradients" in drop:
        data = {name: _entry(source, name, entry, ["values"]) for name, entry in data.items()}
    if "digits" in drop:
        data = {name: _entry(source, name, entry, entry, change=_rounded) for name, entry in data.items()}
    return Contents(data, None if "structures" in drop else contents.structures)


def _entry(
    source: Path, name: str, entry: Any, keys: Iterable[str], change: Callable[[Stored], Stored] | None = None
) -> Entry:
    def opened(key: str) -> Stored:
        array = stored(f"IN: {source}: '{name}/{key}'", entry, key)
        return array if change is None else change(array)

    return Entry({key: partial(opened, key) for key in keys})


def _rounded(array: Stored) -> Stored:
    if array.dtype.kind != "f" or array.dtype.itemsize <= 4:
        return array
    return _Changed(array, np.dtype(np.float32), lambda part: part.astype(np.float32))


def _watched(source: Path, name: str, entry: Any, step: Callable[[str], None]) -> Entry:
    """Return the data of a target that tell how much of them has been written."""

    def opened(key: str) -> Stored:
        array = stored(f"IN: {source}: '{name}/{key}'", entry, key)
        total, done = math.prod(array.shape), 0

        def passed(part: NDArray[Any]) -> NDArray[Any]:
            nonlocal done
            step(f"writing {name}/{key}: {100 * done // max(total, 1)} %")
            done += part.size
            return part

        return _Changed(array, array.dtype, passed)

    return Entry({key: partial(opened, key) for key in entry})


def _require_float32(output: Path, contents: Contents) -> None:
    """Raise where memmap would round: it holds float32."""
    for name, entry in unlabelled("OUT", output, contents).items():
        for key in entry:
            array = stored(f"OUT: {name}/{key}", entry, key)
            for part in array.parts():
                with np.errstate(over="ignore"):
                    again = part.astype(np.float32).astype(array.dtype)
                wrong = (again != part) & (part == part)
                if wrong.any():
                    raise InputError(
                        f"OUT: {output}: {name}/{key}: found {part[wrong].flat[0]!s}, and the format holds "
                        f"float32{_way_out('digits')}"
                    )


def _way_out(kind: str) -> str:
    return f", expected another format, or --drop {kind}"


def _described(name: str, item: Any) -> str:
    if is_tensormap(item):
        count = len(item.blocks())
        return f"{name}: a TensorMap of {count} block{'s' * (count != 1)}"
    arrays = []
    for key in item:
        array = stored(name, item, key)
        arrays.append(f"{key} {array.shape} {array.dtype}")
    return f"{name}: {', '.join(arrays)}"
