"""The lines of an extended XYZ file: data of structures and atoms as keys and columns, every digit kept.

ASE reads the files to the same numbers; its own writer rounds columns to eight decimals. Names of gradients are
metatrain's: ``forces`` and ``virial`` of ``energy``, ``forces[NAME]`` and ``virial[NAME]`` of other targets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Structures
from refloss.files.labelling import real_values
from refloss.files.xyz_frames import ARRAYS, SYMBOLS
from refloss.files.xyz_pairs import COLUMN_MAJOR, LARGEST, pairs

Keys = dict[str, NDArray[Any]]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:+-]*")
_RESERVED: Final = frozenset({"Lattice", "Properties", "pbc", "uid", "move_mask", *ARRAYS, *ARRAYS.values()})
"""What ASE takes for something else than data."""


def frames_of(where: str, data: Mapping[str, Mapping[str, Any]], structures: Structures | None) -> Iterator[str]:
    """Yield the lines of a file; all that is wrong is said before the first of them.

    Parameters
    ----------
    where : str
        What messages begin with.
    data : mapping
        ``{target: {"values": array, "<gradient>": array, …}}``, a row a structure or a row an atom.
    structures : Structures
        With species and positions.

    Raises
    ------
    InputError
        See `refloss.files.extxyz.write`.
    """
    if structures is None or structures.types is None or structures.positions is None:
        raise InputError(
            f"{where}: found no species and positions of the structures, expected them: every frame has them"
        )
    if not (structures.types.min() >= 0 and structures.types.max() < len(SYMBOLS)):
        raise InputError(f"{where}: found atomic numbers beyond {len(SYMBOLS) - 1}, expected chemical elements")
    return _lines(structures, *_as_keys(where, data, structures))


def _as_keys(where: str, data: Mapping[str, Mapping[str, Any]], structures: Structures) -> tuple[Keys, Keys]:
    """Return what becomes keys of the second lines, and what becomes columns."""
    info: Keys = {}
    columns: Keys = {}
    for target, entry in data.items():
        suffix = "" if target == "energy" else f"[{target}]"
        names = {"values": target, "positions": f"forces{suffix}", "strain": f"virial{suffix}"}
        for key, value in entry.items():
            place = f"{where}: {target!r}" if key == "values" else f"{where}: {target!r}, {key}"
            if key not in names:
                raise InputError(f"{place}: found a gradient by {key}, expected those by positions and strain alone")
            array = _writable(place, value)
            per_atom = _per_atom(place, key, array, structures)
            if names[key] in info or names[key] in columns:
                raise InputError(f"{place}: found the name {names[key]!r} twice, expected it once")
            if key != "values":
                array = array.reshape((-1, 3, 3) if key == "strain" else (-1, 3))
                array = array if array.dtype == np.bool_ else -array.astype(np.float64)
            (columns if per_atom else info)[names[key]] = array
    _require_names(where, info, columns)
    return info, columns


def _writable(where: str, value: Any) -> NDArray[Any]:
    """Return the numbers of an array that a text can hold and a reader takes."""
    array = real_values(where, value)
    if array.size == 0:
        raise InputError(f"{where}: found shape {array.shape}, expected some numbers")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise InputError(f"{where}: found infinite numbers, expected finite ones or NaN")
    if array.dtype.kind in "iu" and (int(array.max()) > LARGEST or int(array.min()) < -LARGEST):
        raise InputError(f"{where}: found integers beyond 2^53, expected smaller ones: readers round them")
    return array


def _require_names(where: str, info: Keys, columns: Keys) -> None:
    """Raise where a name would not be read as it is written."""
    for name in (*info, *columns):
        if (
            not name.isprintable()
            or name in _RESERVED
            or (name in info and pairs("", f"{_quoted(name)}=1")[0] != {name: "1"})
        ):
            raise InputError(f"{where}: found the name {name!r}, expected one that a frame does not use otherwise")
        if name in COLUMN_MAJOR and name in info and info[name][0].size != 9:
            raise InputError(
                f"{where}: {name!r}: found {info[name][0].size} numbers, expected nine: ASE reads no others"
            )
    for name in columns:
        line = f"Properties={name}:R:1"
        if re.search(r"[\s\"'{}\\]", name) or pairs("", line)[2] != line[11:] or re.search(":[RISL]:[0-9]", name + ":"):
            raise InputError(f"{where}: found the name {name!r}, expected one that can be that of a column")


def _per_atom(where: str, key: str, array: NDArray[Any], structures: Structures) -> bool:
    """Return whether rows are atoms; where there are as many as structures, values are of structures."""
    rows, atoms = len(array) if array.ndim else 0, int(structures.num_atoms.sum())
    row = {"positions": 3, "strain": 9}.get(key)
    if row is not None and array.size != rows * row:
        raise InputError(f"{where}: found shape {array.shape}, expected {row} numbers a row")
    if rows == structures.num_atoms.size and key != "positions":
        return False
    if rows == atoms and key != "strain":
        return True
    raise InputError(f"{where}: found {rows} rows, expected {structures.num_atoms.size} structures or {atoms} atoms")


def _lines(structures: Structures, info: Keys, columns: Keys) -> Iterator[str]:
    assert structures.types is not None
    assert structures.positions is not None
    flat = {name: array.reshape(len(array), -1) for name, array in columns.items()}
    properties = "species:S:1:pos:R:3" + "".join(f":{name}:{_kind(a)}:{a.shape[1]}" for name, a in flat.items())
    end = 0
    for number, atoms in enumerate(structures.num_atoms.tolist()):
        start, end = end, end + atoms
        written = [_lattice(structures, number), f"Properties={properties}"]
        written += [f"{_quoted(name)}={_text(name, array[number])}" for name, array in info.items()]
        yield f"{atoms}\n{' '.join(written)}\n"
        symbols = [SYMBOLS[kind] for kind in structures.types[start:end].tolist()]
        parts = [structures.positions[start:end], *(array[start:end] for array in flat.values())]
        rows = [[" ".join(map(_number, row)) for row in part.tolist()] for part in parts]
        for row in zip(symbols, *rows, strict=True):
            yield " ".join(row) + "\n"


def _lattice(structures: Structures, number: int) -> str:
    if structures.cells is None or not structures.cells[number].any():
        return 'pbc="F F F"'
    cell = np.asarray(structures.cells[number], dtype=np.float64)
    periodic = " ".join("T" if vector.any() else "F" for vector in cell)
    return f'Lattice="{" ".join(map(repr, cell.ravel().tolist()))}" pbc="{periodic}"'


def _kind(array: NDArray[Any]) -> str:
    return {"b": "L", "i": "I", "u": "I"}.get(array.dtype.kind, "R")


def _text(name: str, value: NDArray[Any]) -> str:
    """Return what stands behind a key: one number, numbers in a row, or JSON where there are more axes."""
    if name in ("virial", "stress") and value.size == 9:
        value = value.reshape(3, 3).transpose().ravel()
    if value.size == 1 and value.ndim <= 1:
        return _number(value.item())
    if value.ndim == 1:
        return '"' + " ".join(map(_number, value.tolist())) + '"'
    return f'"_JSON {json.dumps(value.tolist())}"'


def _number(value: float) -> str:
    return ("F", "T")[value] if isinstance(value, bool) else repr(value)


def _quoted(name: str) -> str:
    if _PLAIN_KEY.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
