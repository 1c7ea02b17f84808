"""The codecs of Zarr chunks, decoded into no more bytes than the array's metadata say that they hold.

Deflate (gzip, zlib), bzip2 and xz come with Python; Blosc, Zstandard and LZ4 with numcodecs, and CRC32C with
google-crc32c, which the extra ``zarr`` brings. What else there is (pickles, objects, text, codecs that lose digits) is
refused by name.

References
----------
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/index.html; https://numcodecs.readthedocs.io; the headers of
Blosc, https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst,
and of Zstandard, RFC 8878, section 3.1.1.1
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files.bounded import LIMITS
from refloss.files.optional import need
from refloss.files.stored import require_booleans, require_covered

Decompress = Callable[[str, bytes, int], bytes]
"""Takes where the chunk is, what is stored, and how many bytes there must be, and returns these."""


@dataclass(frozen=True)
class Compression:
    """A codec from bytes to bytes.

    Attributes
    ----------
    decompress : callable
        See `Decompress`.
    ratio : int
        Its largest ratio.
    """

    decompress: Decompress
    ratio: int


@dataclass(frozen=True)
class Shards:
    """Chunks within a chunk: a table of offsets and sizes, at the start or at the end, says where each is.

    Attributes
    ----------
    chunks : tuple of int
        The shape of an inner chunk.
    pipeline : Pipeline
        The codecs of an inner chunk.
    checked : bool
        Whether a CRC32C follows the table.
    at_end : bool
    """

    chunks: tuple[int, ...]
    pipeline: Pipeline
    checked: bool
    at_end: bool


@dataclass(frozen=True)
class Pipeline:
    """How the bytes of a chunk become its elements.

    Attributes
    ----------
    dtype : dtype
        As stored, with its byte order.
    order : tuple of int
        The axes of the array in the order in which they are stored, the last running fastest.
    fill : float, int or bool
        The value of elements that are not stored.
    shards : Shards or None
    shuffled : int
        Bytes of the elements whose bytes were shuffled before the compression; 0 where they were not.
    compression : Compression or None
    checksums : int
        How many CRC32C of 4 bytes follow, each over all that is before it.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    fill: Any
    shards: Shards | None = None
    shuffled: int = 0
    compression: Compression | None = None
    checksums: int = 0

    @property
    def ratio(self) -> int:
        """The largest ratio of the whole; at least that of chunks that may be missing."""
        inner = self.shards.pipeline.ratio if self.shards else 1
        return max(self.compression.ratio if self.compression else 1, inner, LIMITS.expanded_ratio)

    def decode(self, where: str, content: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a chunk of the given shape.

        Raises
        ------
        InputError
            What is stored is not as many elements, or damaged.
        """
        require_covered(where, shape, self.dtype.itemsize, len(content), self.ratio)
        for _ in range(self.checksums):
            content = _checked(where, content)
        turned = tuple(shape[axis] for axis in self.order)
        if self.shards is not None:
            array = _unsharded(where, content, turned, self.shards, self.dtype, self.fill)
        else:
            size = math.prod(shape) * self.dtype.itemsize
            if self.compression is not None:
                content = self.compression.decompress(where, content, size)
            if len(content) != size:
                raise InputError(f"{where}: found {len(content)} bytes, expected {size}: shape {shape} of {self.dtype}")
            if self.shuffled > 1:
                content = np.frombuffer(content, np.uint8).reshape(self.shuffled, -1).T.tobytes()
            array = np.frombuffer(content, self.dtype).reshape(turned)
            require_booleans(where, array)
        return array.transpose(np.argsort(self.order))


def _deflate(where: str, content: bytes, size: int) -> bytes:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's header, or zlib's
    try:
        # max_length 0 would mean any, and one byte more tells what is too long.
        return _ended(where, decoder.decompress(content, size + 1), decoder, size)
    except zlib.error as error:
        raise InputError(f"{where}: found damaged content ({error}), expected a deflate stream") from error


def _bzip2(where: str, content: bytes, size: int) -> bytes:
    decoder = bz2.BZ2Decompressor()
    try:
        return _ended(where, decoder.decompress(content, size + 1), decoder, size)
    except OSError as error:
        raise InputError(f"{where}: found damaged content ({error}), expected a bzip2 stream") from error


def _xz(where: str, content: bytes, size: int) -> bytes:
    decoder = lzma.LZMADecompressor(memlimit=_DICTIONARY)
    try:
        return _ended(where, decoder.decompress(content, size + 1), decoder, size)
    except lzma.LZMAError as error:
        raise InputError(f"{where}: found damaged content ({error}), expected an xz or lzma stream") from error


def _ended(where: str, found: bytes, decoder: Any, size: int) -> bytes:
    if len(found) != size or not decoder.eof or decoder.unused_data:
        more = " and more" if len(found) > size else ""
        raise InputError(
            f"{where}: found {min(len(found), size)} bytes{more}, expected {size} and the end of the stream"
        )
    return found


def _blosc(where: str, content: bytes, size: int) -> bytes:
    # Its header says how many bytes there are, and its decoder writes as many.
    declared = int.from_bytes(content[4:8], "little"), int.from_bytes(content[12:16], "little")
    if len(content) < 16 or declared != (size, len(content)):
        raise InputError(f"{where}: found a Blosc header of {declared} bytes, expected {(size, len(content))}")
    return _by_numcodecs(where, "blosc", content, size)


def _zstandard(where: str, content: bytes, size: int) -> bytes:
    # A frame need not say how long it is, and its decoder then checks; one that does may be shorter than what it fills.
    descriptor = content[4] if len(content) > 4 else 0
    dictionary, single, width = (0, 1, 2, 4)[descriptor & 3], descriptor >> 5 & 1, (0, 2, 4, 8)[descriptor >> 6]
    at, width = 6 - single + dictionary, max(width, single)
    declared = int.from_bytes(content[at : at + width], "little") + 256 * (width == 2)
    if width and declared != size:
        raise InputError(f"{where}: found {declared} bytes by Zstandard, expected {size}")
    return _by_numcodecs(where, "zstd", content, size)


def _lz4(where: str, content: bytes, size: int) -> bytes:
    if len(content) < 4 or int.from_bytes(content[:4], "little") != size:
        raise InputError(f"{where}: found {int.from_bytes(content[:4], 'little')} bytes by LZ4, expected {size}")
    return _by_numcodecs(where, "lz4", content, size)


def _by_numcodecs(where: str, name: str, content: bytes, size: int) -> bytes:
    codec = need(where, f"numcodecs.{name}", "zarr")
    out = np.empty(size, np.uint8)
    try:
        codec.decompress(content, out)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{where}: found damaged content ({error}), expected {size} bytes by {name}") from error
    return out.tobytes()


_DICTIONARY: Final = 128 << 20
"""Memory of the xz decoder: its strongest preset takes 65 MiB."""

_MOST: Final = 33_000
"""Zstandard's largest ratio: a block of 128 KiB in 4 bytes. bzip2 has a larger one where bytes repeat for megabytes."""

COMPRESSIONS: Final = {
    "gzip": Compression(_deflate, LIMITS.ratio),
    "zlib": Compression(_deflate, LIMITS.ratio),
    "bz2": Compression(_bzip2, _MOST),
    "lzma": Compression(_xz, _MOST),
    "blosc": Compression(_blosc, _MOST),
    "zstd": Compression(_zstandard, _MOST),
    "lz4": Compression(_lz4, 256),
}
"""The codecs that are read, by the names that both formats have for them."""

_NOWHERE: Final = 2**64 - 1
"""The offset and the size of an inner chunk that is not stored."""


def _checked(where: str, content: bytes) -> bytes:
    """Return what is before the CRC32C at the end, having compared it."""
    crc = need(where, "google_crc32c", "zarr")
    body, found = content[:-4], int.from_bytes(content[-4:], "little")
    if len(content) < 4 or crc.value(body) != found:
        raise InputError(f"{where}: found another checksum than that of the content, expected a whole chunk")
    return body


def _unsharded(
    where: str, content: bytes, shape: tuple[int, ...], shards: Shards, dtype: np.dtype[Any], fill: Any
) -> NDArray[Any]:
    grid = tuple(n // chunk for n, chunk in zip(shape, shards.chunks, strict=True))
    size = 16 * math.prod(grid) + 4 * shards.checked
    if size > len(content):
        raise InputError(
            f"{where}: found {len(content)} bytes, expected {size} of the table of {math.prod(grid)} chunks"
        )
    table = content[len(content) - size :] if shards.at_end else content[:size]
    if shards.checked:
        table = _checked(where, table)
    out = np.full(shape, fill, dtype.newbyteorder("="))
    rows = np.frombuffer(table, "<u8").reshape(-1, 2).tolist()
    for place, (offset, length) in zip(np.ndindex(grid), rows, strict=True):
        if (offset, length) == (_NOWHERE, _NOWHERE):
            continue
        if offset + length > len(content):
            raise InputError(
                f"{where}: found chunk {place} up to byte {offset + length}, expected {len(content)} at most"
            )
        chunk = shards.pipeline.decode(f"{where}, chunk {place}", content[offset : offset + length], shards.chunks)
        out[tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, shards.chunks, strict=True))] = chunk
    return out
