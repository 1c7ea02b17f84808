"""Data sets on disk: one module per format, each giving the same `Contents`, and outputs that are whole or absent.

A format's module has ``read(argument, path, quantities) -> Contents`` and, where it can be written,
``write(argument, path, contents)``; `refloss.files.formats` finds the module by what a file holds, and by its ending.
Units are those of the file. Signs and factors of gradients are metatrain's: ``positions`` is minus the forces (eV/Å)
and has a row an atom, ``strain`` is the stress times the volume, or minus the virial (eV). (docs/files.md)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refloss.results import Floats, Integers

Data = Mapping[str, Any]
"""Name to ``{"values": array, "<gradient>": array, …}`` or to a TensorMap (see `refloss.files.tensormap`); a reader may
read an array only when it is asked for."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """What `LossSection.evaluate` takes, as it was read.

    Attributes
    ----------
    predictions, targets : mapping
        ``{target: {"values": array, "<gradient>": array, …}}``, or TensorMaps.
    extra_data : mapping
        ``{"<target>_mask": {"values": mask, "<gradient>": mask, …}}``, or TensorMaps; empty where there is none.
    num_atoms : (B,) int64, mapping of targets to such, or None
        The number of atoms of each structure; None where the files do not tell.
    per_structure_targets : tuple of str
        The targets that are not divided by it.
    inputs : mapping
        What was read, for a record: ``options``, ``set``, and the files of each part.
    told : tuple of str
        What a reader of the figures should know of the data, a sentence each.
    """

    predictions: Data
    targets: Data
    extra_data: Data
    num_atoms: Integers | Mapping[str, Integers] | None = None
    per_structure_targets: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `LossSection.evaluate`: ``section.evaluate(**data.arguments())``."""
        names = ("predictions", "targets", "extra_data", "num_atoms", "per_structure_targets")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Structures:
    """The B structures of a data set, as far as the file tells.

    Attributes
    ----------
    num_atoms : (B,) int64
        The number of atoms of each.
    types : (sum of num_atoms,) int64 or None
        Atomic numbers, structure after structure; int32 where they stay in a file that has them so.
    positions : (sum of num_atoms, 3) float64 or None
        In the file's unit of length (Å); float32 where they stay in a file that has them so, as do the cells.
    cells : (B, 3, 3) float64 or None
        A row a lattice vector; zero where there is none.
    """

    num_atoms: Integers
    types: Integers | None = None
    positions: Floats | None = None
    cells: Floats | None = None


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds: its data by name, and its structures where it has them."""

    data: Data
    structures: Structures | None = None


@dataclass(frozen=True)
class GradientSource:
    """Where a file has the gradient of an energy, and as what.

    Attributes
    ----------
    kind : "forces", "stress", "virial" or "gradient"
        What the numbers are: minus the gradient by positions, the gradient by strain over the volume, minus the
        gradient by strain, or the gradient as it is.
    key : str
        The name that it has in the file.
    """

    kind: Literal["forces", "stress", "virial", "gradient"]
    key: str


@dataclass(frozen=True)
class Quantity:
    """A target, or extra data, as options describe it; formats that describe their data themselves need the name alone.

    Attributes
    ----------
    name : str
        What refloss calls it: the target's name, or ``<target>_mask``.
    key : str
        The name that it has in the file.
    per_atom : bool or None
        A row an atom, or a row a structure; None where the file is to tell.
    row : tuple of int or None
        The shape of one row, components and properties: ``(4606,)`` of a density of states. None where the file is to
        tell.
    gradients : mapping
        ``positions`` and ``strain`` to their sources, for energies.
    """

    name: str
    key: str
    per_atom: bool | None = None
    row: tuple[int, ...] | None = None
    gradients: Mapping[str, GradientSource] = field(default_factory=dict)


def by_name(keys: Iterable[str], quantities: Sequence[Quantity]) -> dict[str, str]:
    """Return the keys of a file by their names: those of the quantities, and of all else the keys themselves.

    What has the name of a quantity, and is not its key, is something else: it is not there.
    """
    keys = list(keys)
    named = {quantity.name: quantity.key for quantity in quantities if quantity.key in keys}
    taken = {name for quantity in quantities for name in (quantity.name, quantity.key)}
    return named | {key: key for key in keys if key not in taken}
