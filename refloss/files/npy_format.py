"""The npy format: arrays of plain numbers and labels, read from streams or memory-mapped, and nothing else.

Headers are read by a grammar of what NumPy writes of such arrays: no pickle, no Python expression. An array is
allocated when its header was found to declare exactly the bytes that are there. (docs/files.md)

References
----------
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refloss.errors import InputError
from refloss.files.bounded import LIMITS, Stream, answered, open_file, shown, size_of


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
        raise InputError(f"{where}: found {shown(start[:6])}, expected an npy array")
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


def read_runs(where: str, stream: Stream, size: int, rows: int) -> Iterator[NDArray[Any]]:
    """Yield an array in C order, of one dimension or more, in runs of so many rows, the last of fewer.

    Parameters and errors are those of `read_array`.
    """
    header = read_header(where, stream, size)
    for start in range(0, header.shape[0], rows):
        run = replace(header, shape=(min(rows, header.shape[0] - start), *header.shape[1:]))
        yield _finished(where, _elements(where, stream, run), run)


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
        header = read_header(where, file, size_of(file))
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
        if size_of(file) != header.nbytes:
            what = f"expected {header.nbytes}: shape {shape} of {header.dtype}"
            raise InputError(f"{where}: found {size_of(file)} bytes, {what}")
        return _finished(where, _mapped(file, header.dtype, math.prod(shape), 0), header)


PART: Final = 16 << 20
"""Bytes that are read at a time: enough that the number of steps costs nothing, little beside the array."""


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
        raise InputError(f"{where}: found the npy header {shown(body)}, expected a dictionary")
    body, at, found = body[1:-1].rstrip(), 0, {}
    while at < len(body):
        item = _ITEM.match(body, at)
        if item is None or item["key"] in found:
            raise InputError(f"{where}: found {shown(body[at:])} in the npy header, expected descr, order and shape")
        found[item["key"]] = item
        at = item.end()
    if len(found) != 3 or not found["fortran_order"]["order"] or found["shape"]["shape"] is None:
        raise InputError(f"{where}: found the npy header {shown(text.strip())}, expected descr, order and shape")
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
        raise InputError(f"{where}: found the shape ({shown(text)}), expected whole numbers")
    shape = tuple(map(int, parts))
    # NumPy counts the bytes of an empty array as if its zeros were ones.
    if len(shape) > LIMITS.dimensions or math.prod(filter(None, shape)) >= 2**59:
        raise InputError(f"{where}: found the shape ({shown(text)}), expected one that an array can have")
    return shape


def _parse_fields(where: str, text: str | None) -> np.dtype[Any]:
    fields: dict[str, str] = {}
    at = 0
    while text is not None and at < len(text):
        field = _FIELD.match(text, at)
        order = field[2].replace("=", "<") if field is not None else ""
        if field is None or field[1][1:-1] in fields or order not in (*fields.values(), order)[:1]:
            raise InputError(
                f"{where}: found the fields [{shown(text[at:])}], expected int32 fields of different names, in one "
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
            part = stream.read(min(len(view) - done, PART))
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


def _exactly(where: str, stream: Stream, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise InputError(f"{where}: found the end of the file in the npy header, expected a whole array")
    return content
