"""Extended XYZ files, as ASE and metatrain write and read them; neither is needed here.

A frame is a structure. What it has a row a structure of is a key of its second line (ASE's ``info``), what it has a row
an atom of are columns (ASE's ``arrays``). Energies, forces and stresses are found by these names whether or not ASE
would keep them in a calculator. Forces become the gradient by positions with the other sign, (atoms, 3, 1); a stress
times the cell's volume, or a virial with the other sign, becomes that by strain, (structures, 3, 3, 1): the shapes of
metatrain. Nine numbers of a stress or virial come row after row, but those of the keys ``stress`` and ``virial``
themselves column after column, as in ASE.

Without quantities to look for, the names are those of metatrain's predictions: ``forces`` and ``virial`` (or
``stress``, where there is no virial) hold the gradients of ``energy``, ``forces[NAME]`` and ``virial[NAME]`` those of
``NAME``, and ``NAME_positions_gradients`` and ``NAME_strain_gradients`` those of either. Lengths are in Å, all else is
in the file's units. (docs/extxyz.md)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files import Contents, GradientSource, Quantity, Structures
from refloss.files.cells import volume
from refloss.files.output import replacing
from refloss.files.unlabelled import unlabelled
from refloss.files.xyz_frames import Frame, frames
from refloss.files.xyz_lines import frames_of
from refloss.files.xyz_pairs import Value, shown
from refloss.results import Booleans, Floats, Integers


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a file.

    Parameters
    ----------
    argument : str
        What messages call it.
    path : Path
        The file.
    quantities : sequence of Quantity
        What is wanted; without any, all numbers and booleans that the file holds. What a part of the frames lacks, or
        has in different shapes, is then an error when it is asked for.

    Raises
    ------
    InputError
        The file is damaged, or does not hold what is wanted; with the frame, the line and the key.
    """
    where = f"{argument}: {path}"
    keys = {q.key for q in quantities} | {source.key for q in quantities for source in q.gradients.values()}
    held = _Held(where)
    for frame in frames(where, path, keys if quantities else None):
        held.add(frame, keys if quantities else frame.info.keys())
    found = {q.name: _wanted(held, q) for q in quantities} if quantities else _everything(held)
    return Contents(found, held.structures())


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a file that ASE reads, every number in as many digits as it needs to be the same again.

    What has a row an atom becomes columns; forces and virials get the names that metatrain gives them.

    Raises
    ------
    InputError
        There are no species and positions; data have several blocks, labels of their own, gradients other than by
        positions and strain, infinite numbers, or names that a frame cannot hold.
    """
    lines = frames_of(f"{argument}: {path}", unlabelled(argument, path, contents), contents.structures)
    with replacing(argument, path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


@dataclass
class _Series:
    """What one key, or one column, holds frame by frame."""

    frames: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    text: str | None = None
    """What stands in the first frame in which it is no number."""


class _Held:
    """The frames of a file, read so far."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.frames: list[str] = []
        self.series: dict[tuple[bool, str], _Series] = {}
        """By whether it is a column, and by name."""
        self.lattices: list[Floats] = []
        self._periodic: list[Booleans] = []
        self._types: list[Integers] = []
        self._positions: list[Floats] = []
        self._names: tuple[str, ...] = ()

    def add(self, frame: Frame, keys: Set[str]) -> None:
        """Hold a frame: its structure, the values of those keys that it has, and the columns that were read of it."""
        self.frames.append(frame.where)
        self._types.append(frame.types)
        self._positions.append(frame.positions)
        self.lattices.append(frame.cell)
        self._periodic.append(frame.periodic)
        self._names = self._names or (*frame.info, *frame.columns)
        for key in (key for key in frame.info if key in keys):
            self._add(False, key, frame.value(key), frame.info[key])
        for key, array in frame.arrays.items():
            self._add(True, key, array, None)

    def _add(self, per_atom: bool, key: str, value: Value, text: str | None) -> None:
        series = self.series.setdefault((per_atom, key), _Series())
        series.frames.append(len(self.frames) - 1)
        series.values.append(value)
        if value is None and series.text is None:
            series.text = text

    def structures(self) -> Structures:
        # As metatrain's systems: a vector along which nothing repeats is none.
        cells = np.array(self.lattices) * np.array(self._periodic)[:, :, np.newaxis]
        num_atoms = np.array([types.size for types in self._types], dtype=np.int64)
        return Structures(num_atoms, np.concatenate(self._types), np.concatenate(self._positions), cells)

    def place(self, key: str, per_atom: bool | None, what: str) -> bool:
        """Return whether `key` is a column; where there is none of the name, or a key and a column, say so."""
        places = [column for column in (False, True) if (column, key) in self.series]
        if len(places) == 1 and per_atom in (None, places[0]):
            return places[0]
        if per_atom in places:
            return bool(per_atom)
        kinds = "a key of the second lines and a column"
        if not places:
            hint = did_you_mean(key, self._names)
            raise InputError(f"{self.where}: found no {shown(key)}, expected {what}{hint}")
        if len(places) == 1:
            found, expected = ("a column", "a key") if places[0] else ("a key", "a column")
            raise InputError(f"{self.where}: found {shown(key)} as {found}, expected it as {expected}: {what}")
        raise InputError(f"{self.where}: found {shown(key)} as {kinds}, expected one of them: {what}")

    def rows(
        self, per_atom: bool, key: str, row: tuple[int, ...] | None = None, *, of_atoms: bool | None = None
    ) -> NDArray[Any]:
        """Return what all frames have of `key`, a row a structure or a row an atom."""
        return np.concatenate([values for _, values in self.each(per_atom, key, row, of_atoms=of_atoms)])

    def each(
        self, per_atom: bool, key: str, row: tuple[int, ...] | None = None, *, of_atoms: bool | None = None
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield where each frame is, and its rows of `key`; all of one shape and of one kind.

        Columns have a row an atom, and so have keys where `of_atoms` says it.
        """
        atoms = per_atom if of_atoms is None else of_atoms
        series = self.series[per_atom, key]
        missing = sorted(set(range(len(self.frames))).difference(series.frames))
        if missing:
            count = f" (nor in {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"{self.frames[missing[0]]}: found no {shown(key)}{count}, expected it in every frame")
        first: NDArray[Any] | None = None
        for number, value in enumerate(series.values):
            where = f"{self.frames[number]}: {shown(key)}"
            values = self._shaped(where, value, series.text, self._types[number].size if atoms else None, row)
            first = values if first is None else first
            kinds = [("numbers", "T and F")[int(array.dtype == np.bool_)] for array in (values, first)]
            if kinds[0] != kinds[1] or values.shape[1:] != first.shape[1:]:
                found, expected = (
                    f"{kind} of shape {array.shape[1:]}" for kind, array in zip(kinds, (values, first), strict=True)
                )
                first_frame = self.frames[0].removeprefix(f"{self.where}: ")
                raise InputError(f"{where}: found {found}, expected {expected}, as in {first_frame}")
            yield where, values

    @staticmethod
    def _shaped(
        where: str, value: Value, text: str | None, atoms: int | None, row: tuple[int, ...] | None
    ) -> NDArray[Any]:
        """Return what one frame has, with an axis over structures (one) or atoms before the rows."""
        if value is None:
            raise InputError(f"{where}: found {shown(text or '')}, expected numbers")
        if isinstance(value, list):
            raise InputError(f"{where}: found lists of different lengths, expected an array")
        lead = atoms or 1
        if row is None:
            return value.reshape(lead, -1) if atoms or value.ndim == 0 else value[np.newaxis]
        if value.size != lead * math.prod(row):
            found = value.shape[1:] if atoms else value.shape
            raise InputError(f"{where}: found shape {found}, expected {row} of {'an atom' if atoms else 'a structure'}")
        return value.reshape(lead, *row)


class _Entry(Mapping[str, NDArray[Any]]):
    """The values and gradients of one target, each put together when it is asked for."""

    def __init__(self, held: _Held, key: str, per_atom: bool, gradients: Mapping[str, GradientSource]) -> None:
        self._held, self._key, self._per_atom, self._gradients = held, key, per_atom, gradients

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key == "values":
            return self._held.rows(self._per_atom, self._key)
        return _gradient(self._held, key, self._gradients[key], self._key)

    def __iter__(self) -> Iterator[str]:
        return iter(("values", *self._gradients))

    def __len__(self) -> int:
        return 1 + len(self._gradients)


def _wanted(held: _Held, quantity: Quantity) -> dict[str, NDArray[Any]]:
    place = held.place(quantity.key, quantity.per_atom, f"the values of {quantity.name}")
    entry = {"values": held.rows(place, quantity.key, quantity.row)}
    for name, source in quantity.gradients.items():
        # By default a data set is asked for forces and stresses that it need not have; a part of them is an error.
        if {(False, source.key), (True, source.key)} & held.series.keys():
            entry[name] = _gradient(held, name, source, quantity.name)
    return entry


_Kind = Literal["forces", "stress", "virial", "gradient"]


def _sources(name: str) -> Iterator[tuple[str, bool, GradientSource]]:
    """Yield each gradient of `name` as metatrain's predictions have it: in a column, or in a key, and as what.

    Its ``eval`` writes forces, virials and stresses of what it knows for an energy, and gradients as they are of all
    else, those by positions too in the second line.
    """
    suffix = "" if name == "energy" else f"[{name}]"
    kinds: tuple[tuple[str, bool, _Kind, str], ...] = (
        ("positions", True, "forces", f"forces{suffix}"),
        ("positions", False, "gradient", f"{name}_positions_gradients"),
        ("strain", False, "virial", f"virial{suffix}"),
        ("strain", False, "stress", f"stress{suffix}"),
        ("strain", False, "gradient", f"{name}_strain_gradients"),
    )
    for gradient, column, kind, key in kinds:
        yield gradient, column, GradientSource(kind, key)


def _everything(held: _Held) -> dict[str, _Entry]:
    """Return all numbers by their names, those that are gradients of others with these."""
    numeric = {place: series for place, series in held.series.items() if series.text is None}
    gradients: dict[str, dict[str, GradientSource]] = {}
    sources = set()
    for per_atom, name in numeric:
        known = gradients.setdefault(name, {})
        for gradient, column, source in _sources(name) if not per_atom else ():
            if (column, source.key) in numeric and gradient not in known:
                known[gradient] = source
                sources.add((column, source.key))
    entries: dict[str, _Entry] = {}
    for per_atom, name in numeric.keys() - sources:
        held.place(name, None, "one target")
        entries[name] = _Entry(held, name, per_atom, gradients.get(name, {}))
    return {name: entries[name] for _, name in numeric if name in entries}


def _gradient(held: _Held, name: str, source: GradientSource, target: str) -> NDArray[Any]:
    """Return the gradient by positions, (atoms, 3, 1), or by strain, (structures, 3, 3, 1)."""
    per_atom = {"positions": True, "strain": False}.get(name) if source.kind != "gradient" else None
    per_atom = held.place(source.key, per_atom, f"the {source.kind} of {target}")
    if source.kind == "gradient":
        row = {"positions": (3, 1), "strain": (3, 3, 1)}.get(name)
        return held.rows(per_atom, source.key, row, of_atoms=per_atom or name == "positions")
    if source.kind == "forces":
        return _minus(held.rows(per_atom, source.key, (3, 1)))
    matrices = []
    for number, (where, rows) in enumerate(held.each(per_atom, source.key)):
        if rows.size != 9:
            raise InputError(f"{where}: found shape {rows.shape[1:]}, expected a matrix of (3, 3) or nine numbers")
        matrix = rows.reshape(3, 3)
        if source.kind == "virial":
            matrices.append(_minus(matrix))
        else:
            matrix = _symmetric(where, matrix) if source.key == "stress" else matrix
            matrices.append(matrix * _volume(where, held.lattices[number], matrix))
    return np.array(matrices)[..., np.newaxis]


def _minus(array: NDArray[Any]) -> NDArray[Any]:
    """Return the other sign; that of a mask is its own."""
    return array if array.dtype == np.bool_ else -array


def _symmetric(where: str, stress: Floats) -> Floats:
    """Return a stress by its upper half, which is all that ASE, and metatrain with it, keeps of the key ``stress``."""
    upper = np.triu(stress)
    symmetric = upper + np.triu(stress, 1).T
    largest = float(np.abs(stress).max(initial=0.0, where=~np.isnan(stress)))
    if not np.allclose(stress, symmetric, rtol=0.0, atol=1e-5 * largest, equal_nan=True):
        raise InputError(
            f"{where}: found a matrix that is not symmetric, expected a symmetric one: of this key, ASE reads "
            "the upper half alone (give the virial, or the stress another key)"
        )
    return symmetric


def _volume(where: str, cell: Floats, stress: Floats) -> float:
    """Return the cell's volume in Å³; raise where there is none and a stress."""
    found = volume(where, cell)
    if found == 0.0 and not np.isnan(stress).all():
        raise InputError(f"{where}: found a stress in a structure without a cell, expected a cell, or a virial")
    return found
