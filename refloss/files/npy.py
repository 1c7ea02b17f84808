"""Folders of npy files: ``<target>.npy`` holds a target's values, ``<target>/<gradient>.npy`` one of its gradients.

Names are those of npz files (`refloss.files.npz`), with the characters that some file system refuses in a file's name
as ``%`` and two hexadecimal digits: ``mtt%3A%3Ados.npy``, where reading takes ``mtt::dos.npy`` too. Arrays are
memory-mapped, so a folder may hold more than the memory; what they hold must not change meanwhile. (docs/files.md)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.bounded import LIMITS, system_answered
from refloss.files.npy_format import map_array
from refloss.files.npz import arranged, keyed, write_npy
from refloss.files.output import replacing_folder
from refloss.files.stored import Held, contents_at


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read a folder of npy files; see `refloss.files.formats.read`, and `refloss.files.npz.read` for `quantities`.

    Raises
    ------
    InputError
        The folder is missing, or holds a gradient without its values, or a link out of itself; for one array, when it
        is read, that it is damaged or not plain numbers. The message names the file.
    """
    where = f"{argument}: {path}"
    files = arranged(where, _files(where, path), [quantity.key for quantity in quantities])
    if not files:
        raise InputError(f"{where}: found no .npy file in the folder, expected <target>.npy")
    return contents_at(
        where, files, quantities, lambda place: Held(map_array(f"{argument}: {files[place]}", files[place]))
    )


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write a folder that `read` reads back, whole or not at all.

    Raises
    ------
    InputError
        The contents have labels, or other than plain numbers; a name has no place in a folder; it cannot be written.
    """
    with replacing_folder(argument, path) as beside:
        for key, array in keyed(argument, path, contents):
            file = beside / f"{'/'.join(map(encoded, key.split('/')))}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as stream:  # x: names that differ in their case alone can be one file
                write_npy(stream, array)


def encoded(name: str) -> str:
    """Return the file's name, its ending left out, that stands for one part of a key."""
    return _REFUSED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)


_REFUSED: Final = re.compile(
    r"""[<>:"\\|?*%\x00-\x1f\x7f] | ^\. | [. ]$ | ^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?=$|\.)""",
    re.VERBOSE | re.IGNORECASE,
)
"""What Windows has no files of; a dot in front, which hides a file; and the percent sign itself."""


def _files(where: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the keys and the paths of the npy files; hidden ones are an operating system's."""
    home = os.path.realpath(folder)  # unlike Path.resolve, this takes links in a circle
    waiting, seen = [("", folder, 0)], 0
    while waiting:
        prefix, place, depth = waiting.pop()
        if depth > LIMITS.nesting:
            raise InputError(f"{where}: found folders {depth} deep in {prefix!r}, expected at most {LIMITS.nesting}")
        with system_answered(where):
            entries = [(entry, entry.is_dir(), Path(os.path.realpath(entry))) for entry in sorted(place.iterdir())]
        for entry, is_folder, meant in entries:
            seen += 1
            if seen > LIMITS.members:
                raise InputError(f"{where}: found more than {LIMITS.members} files, expected fewer")
            if entry.name.startswith(".") or not (is_folder or entry.suffix == ".npy"):
                continue
            if not meant.is_relative_to(home):
                raise InputError(f"{where}: {prefix + entry.name!r}: found a link out of the folder, expected a file")
            name = _decoded(where, prefix, entry.name if is_folder else entry.stem)
            if is_folder:
                waiting.append((f"{prefix}{name}/", entry, depth + 1))
            else:
                yield f"{prefix}{name}", entry


def _decoded(where: str, prefix: str, name: str) -> str:
    try:
        decoded = unquote(name, errors="strict")
    except UnicodeDecodeError:
        decoded = ""
    if not decoded or not decoded.isprintable() or "/" in decoded:
        raise InputError(f"{where}: {prefix + name!r}: found a name that stands for none, expected a target's")
    return decoded
