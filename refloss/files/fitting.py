"""Predictions, targets and masks made to fit each other: by name, by shape, by structure.

What a section reads of predictions and targets, what it is called in files that say nothing of it, and that its rows
are those of the same structures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from refloss import arrays
from refloss.errors import InputError
from refloss.files import GradientSource, Quantity, Structures
from refloss.files.cells import volumes
from refloss.files.matching import differing
from refloss.files.sources import Found, listed
from refloss.files.structures import chosen, selected, systems
from refloss.interop.metatensor import is_tensormap
from refloss.results import Integers
from refloss.section import LOSS_TYPES, LossSection

KEYED: Final = ("extxyz", "memmap", "disk dataset")
"""The formats in which targets have the options' keys; in all others, their own names."""


def names_of(section: LossSection) -> list[str]:
    """Return the names under which predictions hold what the section reads."""
    sources = ((LOSS_TYPES[loss["type"]].source(name), name) for name, loss in section.losses.items())
    return list(dict.fromkeys(name for pair in sources for name in pair))


def targets_of(section: LossSection, predictions: Found) -> list[str]:
    """Return the targets of the section that are predicted."""
    return [
        name
        for name, loss in section.losses.items()
        if name in predictions.data or LOSS_TYPES[loss["type"]].source(name) in predictions.data
    ]


def masks_of(section: LossSection, names: Sequence[str]) -> list[str]:
    """Return the masks that the section needs for the targets `names`."""
    kinds = {name: [loss, *loss.get("gradients", {}).values()] for name, loss in section.losses.items()}
    return [f"{name}_mask" for name in names if any(LOSS_TYPES[loss["type"]].masked for loss in kinds[name])]


def predicted(section: LossSection, described: Mapping[str, Quantity], kind: str) -> list[Quantity]:
    """Return what a file of predictions is asked for, by the names that metatrain's ``eval`` gives it."""
    if kind == "extxyz":  # by these names it is read where nothing is said
        return []
    names = names_of(section)
    if kind != "memmap":
        return [Quantity(name, name) for name in names]
    shapes = row_shapes(section, described)
    gradients: dict[str, GradientSource]
    quantities = []
    for name in names:
        asked = section.losses.get(name, {}).get("gradients", {})
        gradients = {}
        if "positions" in asked:
            gradients["positions"] = GradientSource("forces", f"{name}_forces")
        if "strain" in asked:
            gradients["strain"] = GradientSource("stress", f"{name}_stress")
        quantity = described.get(name)
        quantities.append(
            Quantity(name, name, None if quantity is None else quantity.per_atom, shapes.get(name), gradients)
        )
    return quantities


def named(described: Mapping[str, Quantity], names: Sequence[str], kind: str) -> list[Quantity]:
    """Return what a file of targets or masks is asked for: by the options' keys where metatrain reads the format."""
    if kind in KEYED and described:
        return [described[name] for name in names if name in described]
    return [] if kind == "extxyz" else [Quantity(name, name) for name in names]


def row_shapes(section: LossSection, described: Mapping[str, Quantity]) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row of each prediction, but of those that need not be as wide as their target."""
    free = {name for name, loss in section.losses.items() if LOSS_TYPES[loss["type"]].conventions}
    return {name: quantity.row for name, quantity in described.items() if quantity.row is not None and name not in free}


def reshape(found: Found, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give bare arrays the shape of their target's rows, as far as they have that many numbers."""
    for name, row in shapes.items():
        if name in found.data and not is_tensormap(found.data[name]):
            values = np.asarray(found.data[name]["values"])
            if values.ndim and values.size == len(values) * int(np.prod(row)):
                found.data[name] = {**found.data[name], "values": values.reshape(len(values), *row)}


def fit(
    argument: str,
    found: Found,
    names: Sequence[str],
    structures: Structures,
    picked: Integers | None,
    described: Mapping[str, Quantity],
) -> None:
    """See to it that what was read is of these structures, or of those picked of them; keep the latter alone."""
    there = [name for name in names if name in found.data]
    where = f"{argument}: {listed(found.files)}"
    of_all = picked is not None and not _of_picked(where, found, there, structures, picked, described)
    own = structures if picked is None or of_all else selected(structures, picked)
    if found.structures is not None:
        what = differing(found.structures, own)
        if what is not None:
            raise InputError(f"{where}: {what}, as in the targets")
    for name in there:
        place = f"{argument}: {found.files[name][0]}: {name!r}"
        found.data[name] = chosen(place, found.data[name], own.num_atoms, picked if of_all else None)
    if picked is not None:
        found.data = {name: found.data[name] for name in there}


def _of_picked(
    where: str,
    found: Found,
    names: Sequence[str],
    structures: Structures,
    picked: Integers,
    described: Mapping[str, Quantity],
) -> bool:
    """Say whether what was read is of the structures picked, and not of all of them."""
    part = selected(structures, picked)
    if np.array_equal(picked, np.arange(structures.num_atoms.size)):
        return True
    if found.structures is not None:
        if part.num_atoms.size != structures.num_atoms.size:
            return found.structures.num_atoms.size == part.num_atoms.size
        return differing(found.structures, part) is None
    for name in names:
        item, per_atom = found.data[name], described[name].per_atom if name in described else None
        if is_tensormap(item):
            rows, (of_part, of_all) = systems(where, item).size, ({s.num_atoms.size} for s in (part, structures))
        else:
            rows, (of_part, of_all) = len(np.asarray(item["values"])), (_rows(s, per_atom) for s in (part, structures))
        if (rows in of_part) != (rows in of_all):
            return rows in of_part
        if rows in of_part:
            raise InputError(
                f"{where}: found {rows} rows of {name!r}, which can be those of all structures in their order, or of "
                "those that the indices pick in theirs: expected a format that has structures"
            )
    return True


def _rows(structures: Structures, per_atom: bool | None) -> set[int]:
    """Return how many rows there may be."""
    rows = {False: structures.num_atoms.size, True: int(structures.num_atoms.sum())}
    return set(rows.values()) if per_atom is None else {rows[per_atom]}


def without_cells(section: LossSection, predictions: Found, targets: Found, structures: Structures | None) -> None:
    """Put zeros in the place of strain gradients that are no number where there is nothing to compare them with.

    metatrain's ``eval`` writes NaN as the stress of a structure without a cell. Its target is NaN too, and counts for
    nothing; but a prediction that is not finite is an error otherwise.
    """
    if structures is None or structures.cells is None:
        return
    for name, loss in section.losses.items():
        entry, target = predictions.data.get(name, {}), targets.data.get(name, {})
        held = not is_tensormap(entry) and not is_tensormap(target) and "strain" in entry and "strain" in target
        if held and "strain" in loss.get("gradients", {}):
            strain = np.asarray(entry["strain"])
            neither = np.isnan(strain) & np.isnan(np.asarray(target["strain"])).reshape(strain.shape)
            if neither.any():  # exact volumes of a million structures take 20 s
                without = volumes(f"targets: {listed(targets.files)}", structures.cells) == 0.0
                neither &= without.reshape(-1, *[1] * (strain.ndim - 1))
                predictions.data[name] = {**entry, "strain": np.where(neither, 0.0, strain)}


def require_finite(section: LossSection, name: str, found: Found) -> None:
    """Raise where predictions that the section reads are not finite, with the file that they are from."""
    item, where = found.data[name], f"predictions: {listed({name: found.files[name]})}: {name!r}"
    keys = ["values", *section.losses.get(name, {}).get("gradients", {})]
    if not is_tensormap(item):
        held = [(key, item[key]) for key in keys if key in item]
    else:
        held = [("values", block.values) for block in item.blocks()]
        for block in item.blocks():
            held += [(key, block.gradient(key).values) for key in keys if key in block.gradients_list()]
    for key, value in held:
        arrays.real_array(where if key == "values" else f"{where}, {key}", value, empty=True)
