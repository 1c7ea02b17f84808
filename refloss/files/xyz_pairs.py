"""The second line of an extended XYZ frame: key=value pairs, and the numbers that their values stand for.

The grammar is that of ASE (`ase.io.extxyz`): keys and values in quotation marks or brackets of any kind, or bare up to
the next space; a backslash takes the next character as it is; a key alone is true. A value is one number or several,
T or F, or JSON behind ``_JSON``. Where ASE would lose a key (behind one whose value is empty) it is read.

Every line takes time and memory in proportion to its length: the patterns never go back on what they have read.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files.bounded import LIMITS
from refloss.results import Floats

Value = NDArray[Any] | list[Any] | None
"""Numbers or booleans; lists of them that have no shape; or neither."""


def pairs(where: str, line: str) -> tuple[dict[str, str], set[str], str | None]:
    """Return the text of each value of a line, the keys that are given twice, and what ``Properties`` says.

    Texts have their quotation marks and brackets taken off; a key alone has the text T. A key is given twice where its
    texts differ: a comment in plain English repeats its words.

    Raises
    ------
    InputError
        A quotation or a bracket does not end, ``=`` has no key, or there are more than 10,000 keys.
    """
    info: dict[str, str] = {}
    twice: set[str] = set()
    properties = None
    for count, (name, raw) in enumerate(_tokens(where, line) if "=" in line else ()):
        if count == MOST_KEYS:
            raise InputError(f"{where}: found more than {MOST_KEYS} keys, expected fewer")
        if name == "Properties":
            # As it stands: the name of a column may have brackets in it.
            properties = raw if raw[:1] not in _OPENING else plain(raw)
        elif info.setdefault(name, text := plain(raw)) != text:
            twice.add(name)
    return info, twice, properties


def value(where: str, key: str, text: str) -> Value:
    """Return the numbers or booleans that a value of the second line stands for.

    Returns
    -------
    ndarray, list or None
        float64 or bool; () where there is one, (k,) where there are more, and the shape of the lists where the text is
        JSON. (3, 3) of the keys ``virial`` and ``stress``, whose nine numbers come column after column. A list of
        lists where their lengths differ. None where the text is other text.

    Raises
    ------
    InputError
        Infinite numbers, integers that float64 does not hold, JSON that is none.
    """
    where = f"{where}: {shown(key)}"
    if key.lower() == "uid":  # which ASE leaves as it is: letters and digits, now and then digits alone
        return None
    if text.startswith("_JSON "):
        return _json(where, text[6:])
    numbers = _truths(text) if text[:1] in ("T", "F", "t", "f") else _floats(where, text)
    if numbers is None:
        return None
    if key in COLUMN_MAJOR and numbers.shape == (9,):
        return numbers.reshape(3, 3).transpose()
    return numbers.reshape(()) if numbers.size == 1 else numbers


MOST_KEYS: Final = 10_000
"""Keys or columns of one frame: their names take tens of times the memory that they take of the file."""

_MOST_LISTS: Final = 10_000_000
"""Lists within one JSON value, for the same reason: a k-mesh has some thousands."""

LARGEST: Final = 2**53
"""Up to here float64 holds every integer."""

_PART: Final = 1 << 20
"""How many characters of numbers are split at a time."""

TRUTHS: Final = {"T": True, "F": False} | {
    text: truth for truth in (True, False) for text in (str(truth), str(truth).lower(), str(truth).upper())
}
"""What ASE takes for true and false."""

COLUMN_MAJOR: Final = ("virial", "stress")
"""The keys whose nine numbers ASE takes for a matrix, column after column."""

_OPENING: Final = ('"', "'", "{", "[")
_NUMBER_LETTERS: Final = tuple("0123456789+-.nNiI \t")
_GAP: Final = re.compile(r"[\s,]")
_INTEGER: Final = re.compile(r"(?<![^\s,])[-+]?([0-9]{16,})(?![^\s,])")
"""A number without point and exponent, long enough to be beyond 2^53."""

_QUOTED: Final = r""""[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+'"""
_BRACKETS: Final = r"\{[^}\\]*+(?:\\.[^}\\]*+)*+\}|\[[^\]\\]*+(?:\\.[^\]\\]*+)*+\]"
_SPACE: Final = re.compile(r"\s*+")
_EQUALS: Final = re.compile(r"\s*+=\s*+")
_KEY: Final = re.compile(rf"""(?:[^\s=\\"'{{\[]++|\\.|{_QUOTED}|{_BRACKETS})++""", re.DOTALL)
_VALUE: Final = re.compile(rf"""(?:[^\s\\"'{{\[]++|\\.|{_QUOTED}|{_BRACKETS})++""", re.DOTALL)
_PIECE: Final = re.compile(rf"""[^\s\\"'{{\[]++|\\.|{_QUOTED}|{_BRACKETS}""", re.DOTALL)
"""A key or a value is bare characters, escaped ones, and what stands in quotation marks or brackets. The repetitions
are possessive: nothing is tried twice."""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def _tokens(where: str, line: str) -> Iterator[tuple[str, str]]:
    """Yield each key, plain, and its value as it stands."""
    line = line.rstrip()
    at, end = 0, len(line)
    while (at := _end(_SPACE, line, at)) < end:
        key = _KEY.match(line, at)
        if key is None:
            raise _bad_token(where, line, at, "a key")
        name, raw, at = plain(key[0]), "T", key.end()
        equals = _EQUALS.match(line, at)
        if equals is not None:
            at, raw = equals.end(), ""
            token = _VALUE.match(line, at)
            if token is None and at < end:
                raise _bad_token(where, line, at, f"the value of {shown(name)}")
            if token is not None and (line[at - 1] == "=" or not _is_pair(line, at)):
                raw, at = token[0], token.end()
        yield name, raw


def _is_pair(line: str, at: int) -> bool:
    """Whether another key with its value begins here: what stands before it has an empty one."""
    key = _KEY.match(line, at)
    return key is not None and line.startswith("=", key.end())


def _end(pattern: re.Pattern[str], line: str, at: int) -> int:
    match = pattern.match(line, at)
    return at if match is None else match.end()


def _bad_token(where: str, line: str, at: int, expected: str) -> InputError:
    found = "a quotation or a bracket that does not end" if line[at] in _OPENING else "text"
    return InputError(f"{where}: found {found}, {shown(line[at:])}, expected {expected}")


def plain(token: str) -> str:
    """Take quotation marks, brackets and backslashes off."""
    if not any(mark in token for mark in (*_OPENING, "\\")):
        return token
    if "\\" not in token and (piece := _PIECE.match(token)) and piece[0] == token:
        return token[1:-1]
    return "".join(_plain_piece(piece) for piece in _PIECE.findall(token))


def _plain_piece(piece: str) -> str:
    return _ESCAPED.sub(r"\1", piece[1:-1] if piece[0] in _OPENING else piece)


def _json(where: str, text: str) -> Value:
    """Return the numbers of a JSON text, as lists where they have no shape; None where it is not numbers alone."""
    if text.count("[") > _MOST_LISTS:
        raise InputError(f"{where}: found more than {_MOST_LISTS} lists, expected fewer")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: found no readable JSON ({shown(str(error))}), expected numbers") from error
    leaves, regular = [parsed], True
    shape: list[int] = []
    while leaves and isinstance(leaves[0], list):
        if len(shape) == LIMITS.nesting or not all(isinstance(item, list) for item in leaves):
            return None
        shape.append(len(leaves[0]))
        regular = regular and all(len(item) == shape[-1] for item in leaves)
        leaves = [item for nested in leaves for item in nested]
    kinds = set(map(type, leaves))
    if not leaves or not (kinds <= {int, float} or kinds == {bool}):
        return None
    if int in kinds:
        _require_exact(where, (leaf for leaf in leaves if type(leaf) is int))
    flat = finite(where, np.array(leaves, dtype=np.bool_ if bool in kinds else np.float64))
    return flat.reshape(shape) if regular else list(parsed)


def _truths(text: str) -> NDArray[np.bool_] | None:
    truths = [TRUTHS.get(word) for word in text.replace(",", " ").split()]
    return None if None in truths else np.array(truths, dtype=np.bool_)


def _floats(where: str, text: str) -> Floats | None:
    """Return the numbers of a text, None where it is other text."""
    if text[:1] not in _NUMBER_LETTERS or "_" in text:
        return None
    numbers, at = array("d"), 0
    try:
        while at < len(text):
            cut = _GAP.search(text, at + _PART)
            stop = len(text) if cut is None else cut.end()
            numbers.extend(map(float, text[at:stop].replace(",", " ").split()))
            at = stop
    except ValueError:
        return None
    if not numbers:
        return None
    found = finite(where, np.frombuffer(numbers, dtype=np.float64))
    if float(np.abs(found).max()) >= LARGEST:
        _require_exact(where, (int(digits.lstrip("0")) for digits in _INTEGER.findall(text)))
    return found


def _require_exact(where: str, integers: Iterable[int]) -> None:
    for number in integers:
        if not exact(number):
            raise InputError(
                f"{where}: found an integer of {number.bit_length()} bits that float64 rounds, expected none"
            )


def exact(number: int) -> bool:
    """Whether float64 holds an integer."""
    return abs(number) <= LARGEST or (number.bit_length() <= 1023 and int(float(number)) == number)


def finite(where: str, numbers: NDArray[Any]) -> NDArray[Any]:
    """Refuse infinite numbers; NaN stands for what is missing."""
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        first = float(numbers.flat[infinite[0]])
        raise InputError(f"{where}: found {first} at index {infinite[0]}, expected finite numbers or NaN")
    return numbers


def shown(text: str) -> str:
    """Return the beginning of a text, for a message."""
    short = text.strip()
    return repr(short[:60]) + ("..." if len(short) > 60 else "")
