"""Frames of an extended XYZ file, one after another: lines, key=value pairs and columns, each no longer than it may be.

A frame is a line with the number of atoms, a line of key=value pairs (`refloss.files.xyz_pairs`), and a line an atom,
whose columns ``Properties`` declares. They mean what ASE makes of them (`ase.io.extxyz`), with two differences. A name
in ``Properties`` may hold colons and brackets, as the names of metatrain's targets do. And what ASE reads without a
word, but not the whole of it, is an error: text behind a blank line, more columns than are declared.

Frames are counted from 0, lines from 1. Time and memory grow with the file alone, whatever it declares. Lengths are
in Å.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.files.bounded import LIMITS, open_file
from refloss.files.xyz_pairs import MOST_KEYS, TRUTHS, Value, exact, finite, pairs, shown, value
from refloss.results import Booleans, Floats, Integers

_TABLE: Final = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts "
    "Og"
)
SYMBOLS: Final = tuple(_TABLE.split())
"""Chemical symbols by atomic number; X is none of them."""

ARRAYS: Final = {"pos": "positions", "Z": "numbers", "species": "symbols", "charge": "charges"}
"""What ASE calls columns that have another name in the file."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure and what its frame says of it.

    Attributes
    ----------
    where : str
        The file, the frame and the line that it begins in, for messages.
    types : (n,) int64
        Atomic numbers.
    positions : (n, 3) float64
    cell : (3, 3) float64
        A row a lattice vector; zero where there is none.
    periodic : (3,) bool
        Along which of them the structure repeats.
    info : dict of str to str
        The text of each value of the second line, quotation marks taken off.
    twice : set of str
        The keys that the second line has twice.
    arrays : dict of str to ndarray
        The columns that were asked for, by ASE's names: (n,) or (n, columns), float64 or bool.
    columns : tuple of str
        The names of all.
    """

    where: str
    types: Integers
    positions: Floats
    cell: Floats
    periodic: Booleans
    info: dict[str, str]
    twice: set[str]
    arrays: dict[str, NDArray[Any]]
    columns: tuple[str, ...]

    def value(self, key: str) -> Value:
        """Return what the text of `key` stands for; see `refloss.files.xyz_pairs.value`."""
        return _value(self.where, key, self.info, self.twice)


@dataclass(frozen=True)
class Column:
    """A property: ASE's name of it, its kind, and its place in a line."""

    name: str
    kind: str
    start: int
    stop: int

    @property
    def convert(self) -> Callable[[str], float]:
        """What makes numbers of its words."""
        kinds: dict[str, Callable[[str], float]] = {"R": float, "I": _whole, "L": _truth}
        return kinds[self.kind]


def frames(where: str, path: Path, wanted: Container[str] | None = None) -> Iterator[Frame]:
    """Yield the frames of a file, each read when it is asked for.

    Parameters
    ----------
    where : str
        What messages begin with: the argument and the path.
    path : Path
        The file.
    wanted : container of str, optional
        The columns to read besides species and positions; all that are numbers or booleans where it is not given.

    Raises
    ------
    InputError
        Names the frame, the line, what was found and what was expected.
    """
    with open_file(where, path) as file:
        lines = _Lines(where, file)
        number = 0
        while (count := lines.next()) is not None:
            if not count.strip():
                if not lines.only_blank():
                    raise InputError(f"{lines.here}: found text behind a blank line, expected none between frames")
                break
            lines.where = f"{where}: frame {number} (line {lines.number})"
            yield _frame(lines, count, wanted)
            number += 1
        if number == 0:
            raise InputError(f"{where}: found an empty file, expected extended XYZ")


def columns_of(where: str, properties: str) -> list[Column]:
    """Return the columns that `Properties` declares."""
    columns: dict[str, Column] = {}
    at, start = 0, 0
    while at < len(properties):
        match = _PROPERTY.match(properties, at)
        if match is None:
            found = shown(properties[at:])
            raise InputError(f"{where}: Properties: found {found}, expected NAME:KIND:COLUMNS, of kind R, I, S or L")
        name, stop = ARRAYS.get(match[1], match[1]), start + int(match[3])
        if name in columns:
            raise InputError(f"{where}: Properties: found {shown(match[1])} twice, expected it once")
        if stop == start:
            raise InputError(f"{where}: Properties: found {shown(match[1])} of no columns, expected one or more")
        if len(columns) == MOST_KEYS:
            raise InputError(f"{where}: Properties: found more than {MOST_KEYS} names, expected fewer")
        columns[name] = Column(name, match[2], start, stop)
        at, start = match.end(), stop
    return list(columns.values())


_COUNT: Final = re.compile(r"\s*([0-9]{1,19})\s*")
_NUMBERS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS)}
_PROPERTY: Final = re.compile(r"(.+?):([RISL]):([0-9]{1,7})(?::|$)")
_KINDS: Final = {"R": "numbers", "I": "integers", "L": "T or F"}


class _Lines:
    """The lines of a file."""

    def __init__(self, where: str, file: IO[bytes]) -> None:
        self.where, self.number, self._file = where, 0, file
        self.left = os.fstat(file.fileno()).st_size
        """The bytes behind the last line."""

    def next(self) -> str | None:
        """Return the next line with its end, None at the end of the file."""
        content = self._file.readline(LIMITS.line + 1)
        if not content:
            return None
        self.number += 1
        self.left -= len(content)
        if len(content) > LIMITS.line:
            raise InputError(f"{self.here}: found a line of more than {LIMITS.line} bytes, expected shorter ones")
        try:
            return content.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = content[error.start]
            raise InputError(f"{self.here}: found the byte 0x{byte:02X}, expected UTF-8 text") from error

    @property
    def here(self) -> str:
        return f"{self.where}: line {self.number}"

    def only_blank(self) -> bool:
        """Whether no line that is left says anything."""
        while (line := self.next()) is not None:
            if line.strip():
                return False
        return True


def _frame(lines: _Lines, count: str, wanted: Container[str] | None) -> Frame:
    where, atoms = lines.where, _number_of_atoms(lines, count)
    line = lines.next()
    if line is None:
        raise InputError(f"{where}: found the end of the file, expected key=value pairs and {atoms} atoms")
    info, twice, properties = pairs(lines.here, line)
    columns = columns_of(lines.here, properties or "species:S:1:pos:R:3")
    cell, periodic = _cell(lines.here, info, twice)
    named = {column.name: column for column in columns}
    species = named.get("numbers") or named.get("symbols")
    positions = named.get("positions")
    if species is None or positions is None or positions.kind != "R" or positions.stop - positions.start != 3:
        found = ", ".join(f"{column.name} ({column.stop - column.start})" for column in columns[:6])
        raise InputError(f"{lines.here}: found the columns {found}, expected species or Z, and pos (3)")
    known = ("symbols", "numbers", "positions")
    extra = [c for c in columns if c.kind != "S" and c.name not in known and (wanted is None or c.name in wanted)]
    names, numbers = _atoms(lines, atoms, columns[-1].stop, properties is not None, species, [positions, *extra])
    coordinates = np.frombuffer(numbers[0], dtype=np.float64).reshape(atoms, 3)
    if not np.isfinite(coordinates).all():
        atom = int(np.flatnonzero(~np.isfinite(coordinates).all(axis=1))[0])
        raise InputError(f"{where}: found a position that is not finite at atom {atom}, expected finite ones")
    arrays = {c.name: _array(f"{where}: {c.name!r}", c, held) for c, held in zip(extra, numbers[1:], strict=True)}
    return Frame(where, _types(where, species, names), coordinates, cell, periodic, info, twice, arrays, tuple(named))


def _number_of_atoms(lines: _Lines, text: str) -> int:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise InputError(f"{lines.here}: found {shown(text)}, expected the number of atoms of a frame")
    atoms = int(match[1])
    if atoms < 1:
        raise InputError(f"{lines.here}: found {atoms} atoms, expected at least one")
    if 2 * atoms > lines.left:
        raise InputError(f"{lines.here}: found {atoms} atoms in {lines.left} bytes, expected a line for each")
    return atoms


def _cell(where: str, info: dict[str, str], twice: set[str]) -> tuple[Floats, Booleans]:
    """Return the cell, and along which vectors it repeats: all three where there is a lattice and nothing is said."""
    cell: Value = np.zeros(9)
    periodic: Value = np.full(3, "Lattice" in info)
    if "Lattice" in info:
        cell = _value(where, "Lattice", info, twice)
        if not isinstance(cell, np.ndarray) or cell.shape != (9,) or not np.isfinite(cell).all():
            raise InputError(f"{where}: Lattice: found {shown(info['Lattice'])}, expected nine finite numbers")
    if "pbc" in info:
        periodic = _value(where, "pbc", info, twice)
        if not isinstance(periodic, np.ndarray) or periodic.shape != (3,) or not {0, 1}.issuperset(periodic.tolist()):
            raise InputError(f"{where}: pbc: found {shown(info['pbc'])}, expected three of T and F")
    for key in ("Lattice", "pbc"):
        info.pop(key, None)
    return np.asarray(cell, dtype=np.float64).reshape(3, 3), np.asarray(periodic, dtype=np.bool_)


def _value(where: str, key: str, info: dict[str, str], twice: set[str]) -> Value:
    if key in twice:
        raise InputError(f"{where}: found the key {shown(key)} twice, with different values, expected it once")
    return value(where, key, info[key])


def _atoms(
    lines: _Lines, atoms: int, width: int, declared: bool, species: Column, columns: list[Column]
) -> tuple[list[str], list[array[float]]]:
    """Read the lines of the atoms; return what the column `species` says, and the numbers of each other one."""
    names: list[str] = []
    numbers = [array("d") for _ in columns]
    parts = [(held, c.start, c.stop, c.convert) for held, c in zip(numbers, columns, strict=True)]
    for atom in range(atoms):
        line = lines.next()
        if line is None:
            raise InputError(f"{lines.where}: found the end of the file after {atom} atoms, expected {atoms}")
        row = line.split(None, width)  # what is behind the last column stays in one piece
        if len(row) < width or (declared and len(row) > width):
            found = len(row) if len(row) < width else f"more than {width}"
            raise InputError(f"{lines.here}: found {found} columns, expected {width}: atom {atom} of {atoms}")
        names.append(row[species.start])
        try:
            for held, start, stop, convert in parts:
                held.extend(map(convert, row[start:stop]))
        except ValueError as error:
            raise _bad_column(lines.here, row, columns) from error
    return names, numbers


def _bad_column(where: str, row: list[str], columns: list[Column]) -> InputError:
    """Find the first column of a line that is not what it was declared to be."""
    for column in columns:
        for text in row[column.start : column.stop]:
            try:
                column.convert(text)
            except ValueError:
                return InputError(f"{where}: found {shown(text)} as {column.name}, expected {_KINDS[column.kind]}")
    raise AssertionError(row)


def _whole(text: str) -> float:
    number = int(text)
    if not exact(number):
        raise ValueError(text)
    return number


def _truth(text: str) -> float:
    truth = TRUTHS.get(text)
    if truth is None:
        raise ValueError(text)
    return truth


def _array(where: str, column: Column, numbers: array[float]) -> NDArray[Any]:
    found = finite(where, np.frombuffer(numbers, dtype=np.float64))
    width = column.stop - column.start
    shaped = found if width == 1 else found.reshape(-1, width)
    return shaped.astype(np.bool_) if column.kind == "L" else shaped


def _types(where: str, column: Column, names: list[str]) -> Integers:
    if column.name == "numbers":
        known = {text: int(text) for text in set(names) if re.fullmatch("[0-9]{1,9}", text)}
    else:
        known = {text: _NUMBERS[text.capitalize()] for text in set(names) if text.capitalize() in _NUMBERS}
    unknown = next((text for text in names if text not in known), None)
    if unknown is not None:
        what = "atomic numbers" if column.name == "numbers" else "chemical symbols"
        hint = did_you_mean(unknown[:10], SYMBOLS)
        raise InputError(f"{where}: found {shown(unknown)} as {column.name}, expected {what}{hint}")
    return np.array([known[text] for text in names], dtype=np.int64)
