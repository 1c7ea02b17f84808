"""Zip archives and npy headers that say whatever a test wants them to."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

STORED, DEFLATED = 0, 8


@dataclass
class Member:
    """A member as it is to be declared; what is None is what it is."""

    name: bytes
    content: bytes
    method: int = STORED
    flags: int = 0x800  # the name is UTF-8
    size: int | None = None
    compressed_size: int | None = None
    offset: int | None = None
    attributes: int = 0
    checksum: int | None = None
    zip64: bool = False  # sizes and offset in an extra field of 64 bits each


def archive(members: list[Member], *, count: int | None = None, directory: int | None = None) -> bytes:
    """Return an archive; `count` and `directory` are declared of members, and of the bytes of their list."""
    out, entries = io.BytesIO(), b""
    for member in members:
        at = out.tell()
        data = member.content
        if member.method == DEFLATED:
            compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = compressor.compress(data) + compressor.flush()
        size = len(member.content) if member.size is None else member.size
        packed = len(data) if member.compressed_size is None else member.compressed_size
        offset = at if member.offset is None else member.offset
        checksum = zlib.crc32(member.content) if member.checksum is None else member.checksum
        extra = struct.pack("<HHQQQ", 1, 24, size, packed, offset) if member.zip64 else b""
        shown = [0xFFFFFFFF] * 3 if member.zip64 else [size, packed, offset]
        common = struct.pack("<HHHHHIII", 45, member.flags, member.method, 0, 0x21, checksum, shown[1], shown[0])
        lengths = struct.pack("<HH", len(member.name), len(extra))
        out.write(b"PK\x03\x04" + common + lengths + member.name + extra + data)
        tail = struct.pack("<HHHII", 0, 0, 0, member.attributes, shown[2])
        entries += b"PK\x01\x02" + struct.pack("<H", 0x031E) + common + lengths + tail + member.name + extra
    start = out.tell()
    number = len(members) if count is None else count
    declared = len(entries) if directory is None else directory
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, number, number, declared, start, 0)
    return out.getvalue() + entries + end


def npy(array: Any) -> bytes:
    """Return what NumPy saves of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_with(
    header: str | bytes, content: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None
) -> bytes:
    """Return an npy file with the given header."""
    text = header.encode() if isinstance(header, str) else header
    declared = len(text) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", declared) + text + content
