"""Damage: what happens to good files, by accident or on purpose, drawn from a NumPy generator.

Bytes are flipped, cut, spliced; numbers replaced by those that break arithmetic; npy headers and directories of zips
edited so that they are well formed and lie; members damaged before they are packed again with the right checksum.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from forged import DEFLATED, STORED, Member, archive, npy_with

Rng = np.random.Generator

INTEGERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
NUMBERS = (
    *(b"0", b"1", b"-1", b"2", b"3", b"7", b"100", b"65536", b"2147483648", b"4294967296", b"9223372036854775807"),
    *(b"18446744073709551616", b"9" * 40, b"9" * 5000, b"1e400", b"1e999999999", b"1e-400", b"nan", b"inf", b"-inf"),
    *(b"", b" ", b"0x10", b"1_0", b"1.5", b".", b"null", b"true", b'"1"', b"[]", b"[1]", b"{}", b"\xd9\xa1", b"1j"),
)
TOKENS = (
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n", b"OHDR"),
    *(b"TREE", b"SNOD", b"HEAP", b"FRHP", b"BTHD", b"keys.npy", b"blocks/0/", b"../", b"/", b"\\", b"\0", b"\n", b"\r"),
    *(
        b"'descr': '|O'",
        b"'fortran_order': True",
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"'",
        b":",
        b",",
        b"=",
        b"*",
    ),
    *(b"&a ", b"*a ", b"<<: ", b"!!python/object/apply:os.getcwd []", b"---\n", b"\t", b"#", b"|", b">", b"\xff\xfe"),
    *(b"\xef\xbb\xbf", b"\xc3", b"Lattice=", b"Properties=species:S:1:pos:R:3", b"zarr_format", b"chunks", b"shape"),
)


def pick(rng: Rng, things: tuple[bytes, ...] | list[bytes]) -> bytes:
    return things[int(rng.integers(len(things)))]


# ---- any bytes ---------------------------------------------------------------------------------------------------


def damaged(rng: Rng, content: bytes) -> bytes:
    """Return `content` after one to four accidents."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 4]))):
        content = ACCIDENTS[int(rng.integers(len(ACCIDENTS)))](rng, content)
    return content


def _place(rng: Rng, content: bytes) -> int:
    """Return an index; often near the beginning or the end, where headers are."""
    luck, size = rng.random(), len(content)
    if size == 0:
        return 0
    if luck < 0.3:
        return int(rng.integers(min(size, 128)))
    if luck < 0.5:
        return size - 1 - int(rng.integers(min(size, 256)))
    return int(rng.integers(size))


def _span(rng: Rng, content: bytes) -> tuple[int, int]:
    start = _place(rng, content)
    return start, min(start + int(2 ** rng.uniform(0, 9)), len(content))


def _flip(rng: Rng, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :] if content else b"\0"


def _byte(rng: Rng, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :]


def _integer(rng: Rng, content: bytes) -> bytes:
    at, width = _place(rng, content), int(rng.choice([1, 2, 4, 8]))
    value = INTEGERS[int(rng.integers(len(INTEGERS)))] % 2 ** (8 * width)
    return content[:at] + value.to_bytes(width, "little" if rng.random() < 0.8 else "big") + content[at + width :]


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: _place(rng, content)]


def _delete(rng: Rng, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def _repeat(rng: Rng, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:end] + content[start:end] * int(rng.choice([1, 1, 2, 50])) + content[end:]


def _splice(rng: Rng, content: bytes) -> bytes:
    start, end = _span(rng, content)
    at = _place(rng, content)
    return content[:at] + content[start:end] + content[at + end - start :]


def _zeros(rng: Rng, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + bytes([int(rng.choice([0, 0xFF]))]) * (end - start) + content[end:]


def _insert(rng: Rng, content: bytes) -> bytes:
    at = _place(rng, content)
    more = pick(rng, TOKENS) if rng.random() < 0.7 else rng.bytes(int(2 ** rng.uniform(0, 8)))
    return content[:at] + more + content[at + (len(more) if rng.random() < 0.5 else 0) :]


def _number(rng: Rng, content: bytes) -> bytes:
    """Replace a number that is written out in digits."""
    found = list(re.finditer(rb"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", content[: 1 << 16]))
    if not found:
        return _integer(rng, content)
    one = found[int(rng.integers(len(found)))]
    return content[: one.start()] + pick(rng, NUMBERS) + content[one.end() :]


def _line(rng: Rng, content: bytes) -> bytes:
    """Drop, double or move a line."""
    lines = content.split(b"\n")
    taken = lines.pop(int(rng.integers(len(lines))))
    for _ in range(int(rng.integers(3))):
        lines.insert(int(rng.integers(len(lines) + 1)), taken)
    return b"\n".join(lines)


ACCIDENTS: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(
        _flip,
        _flip,
        _byte,
        _integer,
        _integer,
        _cut,
        _delete,
        _repeat,
        _splice,
        _zeros,
        _insert,
        _number,
        _number,
        _line,
    ),
)


# ---- npy ---------------------------------------------------------------------------------------------------------

DESCRS = (
    *("'|O'", "'<f8'", "'>f8'", "'<f4'", "'<f2'", "'<f16'", "'<c16'", "'|b1'", "'|u1'", "'<i8'", "'<U4'", "'|S8'"),
    *("'|V8'", "'<M8[ns]'", "'<f9'", "'<f0'", "''", "'|O8'", "'<f8,<f8'", "[('a', '<i4')]", "[('a', '|O')]", "[]"),
    *("[('a', '<i4'), ('a', '<i4')]", "('<f8', (2,))", "[('a', [('b', '<i4')])]", "[('x', '>i4'), ('y', '>i4')]"),
    *("__import__('os').getcwd()", "[" * 500 + "]" * 500, "'<f8' 'x'", "None", "8"),
)
SHAPES = (
    *("()", "(0,)", "(1,)", "(3, 4)", "(-1,)", "(-3, -4)", "(2**40,)", f"({2**40},)", f"({2**63},)", f"({2**64}, 0)"),
    *(
        f"(0, {2**62})",
        f"({2**31}, {2**31}, {2**31})",
        "(1.0,)",
        "(True,)",
        "(1L,)",
        "3",
        "[3]",
        "(" + "1, " * 40 + ")",
    ),
    *(
        "(" + "9" * 5000 + ",)",
        "('3',)",
        "(3",
        "(,)",
        "(3,,4)",
        "(None,)",
        "(" * 200 + ")" * 200,
        "(-" + "-" * 900 + "1,)",
    ),
)


def npy_damaged(rng: Rng, content: bytes) -> bytes:
    """Return an npy whose header lies, or that is damaged anywhere."""
    if rng.random() < 0.3 or not content.startswith(b"\x93NUMPY\x01\x00") or len(content) < 10:
        return damaged(rng, content)
    end = 10 + int.from_bytes(content[8:10], "little")
    text, data = content[10:end].decode("latin-1"), content[end:]
    luck = rng.random()
    if luck < 0.3:
        text = re.sub(r"'descr': .*?, 'fortran", f"'descr': {DESCRS[int(rng.integers(len(DESCRS)))]}, 'fortran", text)
    elif luck < 0.6:
        text = re.sub(r"\([0-9, ]*\)", SHAPES[int(rng.integers(len(SHAPES)))], text)
    elif luck < 0.7:
        text = text.replace("False", str(rng.choice(["True", "1", "None", "''"])))
    elif luck < 0.85:
        text = damaged(rng, text.encode("latin-1")).decode("latin-1")
    else:
        data = damaged(rng, data)
    version = ((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9))[int(rng.integers(6))]
    length = None if rng.random() < 0.9 else int(rng.choice([0, 1, 200, 65535]))
    encoded = text.encode("utf-8" if version == (3, 0) else "latin-1", "replace")
    return npy_with(encoded[:65535] if version == (1, 0) else encoded, data, version, length)


# ---- zip ---------------------------------------------------------------------------------------------------------

NAMES = (
    *(
        b"../a.npy",
        b"/a.npy",
        b"a/../../b",
        b"..",
        b"C:\\a",
        b"C:a",
        b"a\\b.npy",
        b"a\0b",
        b"",
        b".",
        b"/",
        b"a//b.npy",
    ),
    *(
        b"\xff\xfe.npy",
        b"a" * 5000,
        b"a/" * 400 + b"b.npy",
        b"keys.npy",
        b"energy.npy",
        b"values.npy",
        b"blocks/0/values.npy",
    ),
    *(b"0/energy.mts", b"00/system.mta", b"-1/x.mts", b"999999999999/system.mta", b"zarr.json", b".zarray", b"a/.npy"),
    *(b"structures/num_atoms.npy", b"metadata/atom_counts.npy", b"blocks/1/values.npy", b"info.json"),
)
BOMB = bytes(4 << 20)
"""Decompressed, of a member that says so: within the ratio, and larger than anything the good files hold."""


def zip_damaged(rng: Rng, content: bytes, depth: int = 0) -> bytes:
    """Return an archive with damaged members or a directory that lies, or one that is damaged anywhere."""
    members = _members(content)
    if members is None or rng.random() < 0.25:
        return damaged(rng, content)
    for _ in range(int(rng.choice([1, 1, 1, 2]))):
        if not members:
            break
        at = int(rng.integers(len(members)))
        luck = rng.random()
        if luck < 0.6:
            members[at].content = _member_damaged(rng, members[at].content, depth)
        elif luck < 0.72:
            _lie(rng, members, at)
        elif luck < 0.80:
            members[at].name = pick(rng, NAMES)
        elif luck < 0.88:
            del members[at]
        elif luck < 0.94:
            other = members[int(rng.integers(len(members)))]
            members.append(Member(pick(rng, [*NAMES, members[at].name]), other.content))
        else:
            members.append(Member(pick(rng, NAMES), BOMB, DEFLATED))
    if rng.random() < 0.1:
        rng.shuffle(members)  # type: ignore[arg-type]
    packed = archive(members)
    return damaged(rng, packed) if rng.random() < 0.05 else packed


def _members(content: bytes) -> list[Member] | None:
    """Return the members of a good archive, None of one that is damaged already."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            return [Member(info.filename.encode(), opened.read(info), info.compress_type) for info in opened.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error, OverflowError):
        return None


def _member_damaged(rng: Rng, content: bytes, depth: int) -> bytes:
    inner = content.find(b"PK\x03\x04", 0, 512)
    if inner >= 0 and depth < 3 and rng.random() < 0.8:  # an archive in the bytes of an npy array, or bare
        packed = zip_damaged(rng, content[inner:], depth + 1)
        if inner == 0:
            return packed
        return npy_with(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(packed)},), }}\n", packed)
    return npy_damaged(rng, content) if content.startswith(b"\x93NUMPY") else damaged(rng, content)


def _lie(rng: Rng, members: list[Member], at: int) -> None:
    """Make the directory say of a member what is not so."""
    member, value = members[at], INTEGERS[int(rng.integers(len(INTEGERS)))]
    which = int(rng.integers(8))
    if which == 0:
        member.size, member.zip64 = value, True
    elif which == 1:
        member.compressed_size, member.zip64 = value, True
    elif which == 2:
        member.size = member.compressed_size = value
        member.zip64 = True
    elif which == 3:
        member.offset, member.zip64 = value, True
    elif which == 4:
        member.method = int(rng.choice([STORED, DEFLATED, 9, 12, 14, 93, 99]))
    elif which == 5:
        member.flags = int(rng.choice([0, 1, 0x20, 0x40, 0x801, 0xFFFF]))
    elif which == 6:
        member.attributes = (stat.S_IFLNK | 0o777) << 16
        member.content = b"/etc/passwd"
    else:
        member.checksum = struct.unpack("<I", rng.bytes(4))[0]
