"""The data of a section: entries and blocks found, checked and joined, masks, figures per atom.

docs/specification.md, section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from refloss import arrays
from refloss.errors import InputError, did_you_mean
from refloss.gradients import Whole
from refloss.interop.metatensor import TensorMapData
from refloss.results import Floats

Pieces = dict[Any, Any]
"""Block key to its checked array, in key order; or `Whole` to what was given, which the entry point will check."""


def require_names(argument: str, names: Collection[str], known: Collection[str]) -> None:
    """Raise where `names` holds what is not known."""
    # A string is a collection of strings, too: its letters.
    if isinstance(names, str):
        raise InputError(f"{argument}: found the string {names!r}, expected a collection of names")
    for name in names:
        if name not in known:
            raise InputError(
                f"{argument}: found {name!r}, expected names of targets: {_listed(known)}"
                f"{did_you_mean(str(name), map(str, known))}"
            )


def keys_of(where: str, data: Any) -> set[str]:
    """Return "values" and the gradients that the data hold; blocks must all hold the same."""
    blocks = _blocks(where, data)
    if blocks is None:
        return set(data) if isinstance(data, Mapping) else {"values"}
    held = [(key, set(block) if isinstance(block, Mapping) else {"values"}) for key, block in blocks.items()]
    for key, keys in held:
        if keys != held[0][1]:
            raise InputError(
                f"{where}: found {_listed(keys)} in block {key!r} and {_listed(held[0][1])} in block {held[0][0]!r}, "
                "expected the same in every block"
            )
    return held[0][1] if held else set()


def pieces_of(which: str, data: Any, key: str) -> Pieces:
    """Return the arrays of `key`, "values" or a gradient; blocks checked, in the order of their keys."""
    blocks = _blocks(which, data)
    if blocks is None:
        return {Whole: _entry(data, key)}
    return {block: _checked(_label(which, block), which, _entry(nested, key)) for block, nested in blocks.items()}


def require_same_blocks(which: str, pieces: Pieces, other: str, expected: Pieces) -> None:
    """Raise where the argument `which` is not in the same blocks as the argument `other`."""
    if list(pieces) != list(expected):
        found, wanted = (
            "no blocks" if Whole in keys else f"blocks {', '.join(map(repr, keys))}" for keys in (pieces, expected)
        )
        raise InputError(f"{which}: found {found}, expected {wanted} as in {other}")


def joined(data: Mapping[str, Pieces]) -> dict[str, Any]:
    """Return the arguments of the entry point: what is in blocks comes flattened and joined."""
    expected = data["predictions"]
    for which, pieces in data.items():
        require_same_blocks(which, pieces, "predictions", expected)
        for block, array in pieces.items():
            if block is not Whole:
                arrays.require_same_shape(_label(which, block), array.shape, "predictions", expected[block].shape)
    return {
        which: pieces[Whole] if Whole in pieces else np.concatenate([np.ravel(a) for a in pieces.values()])
        for which, pieces in data.items()
    }


def mask_of(extra_data: Mapping[str, Any], name: str, key: str, loss_type: str) -> Any:
    """Return the mask entry of target `name`, which holds the mask of `key`."""
    wanted = f"{name}_mask"
    if wanted not in extra_data:
        found = ", ".join(map(str, extra_data)) or "nothing"
        raise InputError(
            f"extra_data: found {found}, expected {wanted!r}, the mask that {loss_type} of target {name!r} needs"
            f"{did_you_mean(wanted, map(str, extra_data))}"
        )
    if key not in keys_of(f"extra_data[{wanted!r}]", extra_data[wanted]):
        raise InputError(
            f"extra_data[{wanted!r}]: found no {key!r}, expected the mask that {loss_type} of {name}/{key} needs"
        )
    return extra_data[wanted]


def atom_counts(num_atoms: Any, names: Iterable[str]) -> dict[str, Floats]:
    """Return the (B,) numbers of atoms of the structures of each target, which must be whole and ≥ 1.

    `num_atoms` is a mapping of targets to these, or the same for all `names`.
    """
    if not isinstance(num_atoms, Mapping):
        return dict.fromkeys(names, _atom_counts("num_atoms", num_atoms))
    lacking = [name for name in names if name not in num_atoms]
    if lacking:
        raise InputError(f"num_atoms: found {_listed(num_atoms)}, expected {lacking[0]!r} too")
    return {name: _atom_counts(f"num_atoms[{name!r}]", counts) for name, counts in num_atoms.items()}


def per_atom(which: str, given: Any, key: str, pieces: Pieces, atoms: Floats) -> tuple[Pieces, dict[Any, Floats]]:
    """Divide what has a row a structure by its number of atoms; return the pieces, and by what each was divided."""
    # The samples of a TensorMap say what its rows are; of bare arrays their number must tell.
    per_structure = given.per_structure(key) if isinstance(given, TensorMapData) else None
    if per_structure is False or (per_structure is None and key not in ("values", "strain")):
        return pieces, {}
    divided, divisors = {}, {}
    for block, value in pieces.items():
        label = _label(which, block)
        array = arrays.real_array(label, value, finite=False, empty=True)
        rows = array.shape[0] if array.ndim else 0
        if rows == atoms.size:
            divisors[block] = atoms.reshape((-1,) + (1,) * (array.ndim - 1))
            array = array / divisors[block]
        elif per_structure or rows != atoms.sum():
            atomwise = "" if per_structure else " or a row an atom"
            raise InputError(
                f"{label} and num_atoms: found {rows} rows and {atoms.size} structures of {atoms.sum():.0f} atoms, "
                f"expected a row a structure{atomwise} (what is neither may be in per_structure_targets)"
            )
        divided[block] = array
    return divided, divisors


def _blocks(where: str, data: Any) -> dict[Any, Any] | None:
    """Return the blocks in key order, or None where the data are not in blocks."""
    if not (isinstance(data, Mapping) and "blocks" in data):
        return None
    blocks = data["blocks"]
    if len(data) > 1:
        raise InputError(f"{where}: found {_listed(data)}, expected blocks alone, or values and gradients")
    if not isinstance(blocks, Mapping):
        raise InputError(f"{where}: found blocks of type {type(blocks).__name__}, expected a mapping of key to block")
    try:
        return {key: blocks[key] for key in sorted(blocks)}
    except TypeError as error:
        raise InputError(f"{where}: found block keys {list(blocks)}, expected keys that have an order") from error


def _atom_counts(argument: str, num_atoms: Any) -> Floats:
    counts = arrays.real_array(argument, num_atoms, ndim=1)
    wrong = (counts < 1) | (counts != np.floor(counts))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"{argument}: found {float(counts[first])!r} at index {first}, expected integers ≥ 1")
    return counts


def _entry(data: Any, key: str) -> Any:
    return data[key] if isinstance(data, Mapping) else data


def _checked(label: str, which: str, value: Any) -> Any:
    """Pass one block through the gate: joined with the others, its type would no longer be its own."""
    if which == "mask":
        return arrays.mask_array(label, value)
    return arrays.real_array(label, value, finite=which == "predictions", empty=True)


def _label(which: str, block: Any) -> str:
    return which if block is Whole else f"{which} of block {block!r}"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"
