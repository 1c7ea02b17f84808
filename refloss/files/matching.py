"""The structures of two files compared, as far as both files tell.

Numbers of atoms, atomic numbers, positions and cells (Å) are to be the same in the same order, the latter to what the
least precise format keeps.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from refloss.files import Structures
from refloss.results import Booleans, Integers

ABSOLUTE: Final = 1e-6
"""What positions may differ by, in Å: extended XYZ has eight decimals."""

RELATIVE: Final = 2.0**-22
"""And relative to their size: models, and memmap folders, have them in float32."""


def differing(found: Structures, expected: Structures) -> str | None:
    """Return what is wrong with `found` where `expected` is right, for a message; None where they are the same."""
    if found.num_atoms.size != expected.num_atoms.size:
        return f"found {found.num_atoms.size} structures, expected {expected.num_atoms.size}"
    what, wrong, atom = _wrong(found, expected)
    if not wrong.any():
        return None
    places = np.flatnonzero(wrong)
    listed = ", ".join(map(str, places[:8].tolist())) + (", …" if places.size > 8 else "")
    first = int(places[0])
    order = " (the same structures in another order)" if _same_but_reordered(found, expected) else ""
    return (
        f"found other {what} in {places.size} of {wrong.size} structures{order}, numbers {listed}: number {first} is "
        f"{_described(found, first, atom)}, expected {_described(expected, first, atom)}"
    )


def _described(structures: Structures, index: int, atom: int) -> str:
    """Return what a message says of one structure, and where its atom number `atom` is."""
    start, atoms = int(structures.num_atoms[:index].sum()), int(structures.num_atoms[index])
    text = f"{atoms} atom{'s' * (atoms != 1)}"
    if structures.types is not None:
        kinds = Counter(structures.types[start : start + atoms].tolist())
        text += f" ({', '.join(f'{number} of element {kind}' for kind, number in sorted(kinds.items()))})"
    if structures.positions is not None:
        place = ", ".join(f"{x:.6f}" for x in structures.positions[start + min(atom, atoms - 1)].tolist())
        text += f", atom {min(atom, atoms - 1)} at ({place})"
    return text


def _same_but_reordered(found: Structures, expected: Structures) -> bool:
    """Say whether the same structures are there in another order, to a tenth of an Å; a hint, not a proof."""

    def named(structures: Structures) -> list[bytes]:
        ends = np.cumsum(structures.num_atoms)[:-1]
        parts = [part for part in (structures.types, structures.positions) if part is not None]
        split = [np.split(np.round(np.asarray(part, dtype=np.float64), 1) + 0.0, ends) for part in parts]
        return [b"|".join(piece.tobytes() for piece in pieces) for pieces in zip(*split, strict=True)]

    if found.positions is None or expected.positions is None:
        return False
    ours, theirs = named(found), named(expected)
    return ours != theirs and sorted(ours) == sorted(theirs)


def _any_atom(rows: Booleans, num_atoms: Integers) -> Booleans:
    """Return of each structure whether any of its atoms is true."""
    counted = np.bincount(np.repeat(np.arange(num_atoms.size), num_atoms)[rows], minlength=num_atoms.size)
    return np.asarray(counted > 0)


def _wrong(found: Structures, expected: Structures) -> tuple[str, Booleans, int]:
    """Return the first thing in which structures differ, which do, and the first atom of the first that does."""
    counts: Booleans = found.num_atoms != expected.num_atoms
    if counts.any():
        return "numbers of atoms", counts, 0
    for what in ("types", "positions", "cells"):
        one, other = getattr(found, what), getattr(expected, what)
        if one is not None and other is not None:
            rows = ~np.isclose(one, other, rtol=RELATIVE, atol=ABSOLUTE).reshape(len(one), -1).all(axis=1)
            wrong = rows if what == "cells" else _any_atom(rows, expected.num_atoms)
            if wrong.any():
                start = int(expected.num_atoms[: int(np.argmax(wrong))].sum())
                return what, wrong, 0 if what == "cells" else int(np.argmax(rows)) - start
    return "", counts, 0
