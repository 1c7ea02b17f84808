"""The data that metatrain options name: the files of structures, targets and masks, and what they are called there.

`data_section` reads `training_set`, `validation_set` or `test_set`, or the options of an evaluation, whose data stand
at the top, and writes out their shorthands and defaults. No file of data is opened here. Names of files stay what the
options say; `refloss.files.load` finds them. Which gradients a target has is the rule that the loss section goes by
too: `asked_gradients`.

References
----------
docs/specification.md, section 6; docs/evaluate.md. Whose options these are: https://docs.metatensor.org/metatrain/,
"Training YAML Reference".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeGuard

from refloss.files import GradientSource, Quantity
from refloss.options_schema import SHORTHANDS
from refloss.options_source import Place, Problems, found

SETS: Final = ("training_set", "validation_set", "test_set")

READERS: Final = ("ase", "metatensor")
"""What metatrain's `reader` may be."""


@dataclass(frozen=True)
class File:
    """A file that the options name.

    Attributes
    ----------
    place : Place
        Where the options name it; its value is the name.
    reader : str or None
        One of `READERS`, where the options say so.
    """

    place: Place
    reader: str | None = None


@dataclass(frozen=True)
class Source:
    """A target or extra data: what it is, and the file that holds it.

    Attributes
    ----------
    quantity : Quantity
        Its name, key and shape, and those of its gradients that are in the same file.
    file : File
    elsewhere : mapping
        The gradients that have a file of their own, to what they are and that file.
    """

    quantity: Quantity
    file: File
    elsewhere: Mapping[str, tuple[GradientSource, File]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """One data set of the options.

    Attributes
    ----------
    systems : File
        The file of the structures.
    targets, extra_data : mapping
        Name to source.
    indices : Place or None
        The structures that count: a list of integers, or the name of a file with one a line.
    """

    systems: File
    targets: Mapping[str, Source]
    extra_data: Mapping[str, Source]
    indices: Place | None = None


@dataclass(frozen=True)
class DataSection:
    """The data sets of one section.

    Attributes
    ----------
    name : str
        ``"training_set"``, …, or ``"options"`` where the data stand at the top.
    sets : tuple of DataSet
        More than one where the section is a list.
    drawn : float or None
        Where the section is a fraction of the training set: that number. The sets are the training set's then.
    """

    name: str
    sets: tuple[DataSet, ...]
    drawn: float | None = None


def data_section(root: Place, problems: Problems, which: str | None = None) -> DataSection | None:
    """Return the data sets of a section, all shorthands and defaults written out; valid if there are no problems.

    Parameters
    ----------
    root : Place
        The whole options; or those of an evaluation, which are a data set or a list of them.
    problems : Problems
        What is wrong is noted here.
    which : str, optional
        One of `SETS`. By default the test set where it has data of its own, and otherwise the training set.

    Returns
    -------
    DataSection or None
        None after noting a problem.
    """
    if root.is_list() or (isinstance(root.value, Mapping) and "systems" in root.value):
        if which is not None:
            problems.add(root.mark, f"{which}: found options of an evaluation, which have one data set and no {which}")
            return None
        return DataSection("options", _data_sets(root, problems))
    places = root.mapping("a mapping of metatrain options", problems, any_keys=True)
    sections = {name: root.child(name, problems) for name in SETS} if places else {}
    test_set = sections.get("test_set")
    if which is None:
        which = "test_set" if test_set is not None and _has_data(test_set) else "training_set"
    place, training = sections.get(which), sections.get("training_set")
    if place is None or place.value is None:
        there = ", ".join(name for name, other in sections.items() if other is not None) or "no data at all"
        problems.add(None, f"{which}: the options have no {which}, they have {there}")
        return None
    if which == "training_set" or _has_sources(place):
        return DataSection(which, _data_sets(place, problems))
    if training is None:
        problems.add(place.mark, f"{which}: {found(place.value)}, a part of the training_set, and there is none")
        return None
    sets = _data_sets(training, problems)
    if isinstance(place.value, Mapping):  # indices of the training set's structures, and nothing else
        if len(sets) > 1:
            problems.add(place.mark, f"{which}: found indices alone, expected data sets, as training_set is a list")
            return None
        return DataSection(which, tuple(replace(one, indices=_indices(place, problems)) for one in sets))
    if isinstance(place.value, bool) or not isinstance(place.value, int | float):
        problems.add(place.mark, f"{which}: {found(place.value)}, expected data sets, a file name or a fraction")
        return None
    return DataSection(which, sets, drawn=float(place.value))


def per_structure_targets(root: Place, problems: Problems) -> tuple[str, ...]:
    """Return the targets that ``architecture.training`` keeps from the division by the number of atoms."""
    place: Place | None = root
    for key in ("architecture", "training", "per_structure_targets"):
        if place is None or not isinstance(place.value, Mapping):
            return ()
        place = place.child(key, problems)
    if place is None or place.value is None:
        return ()
    if not place.is_list() or not all(isinstance(name, str) for name in place.value):
        problems.add(place.mark, f"{place.path}: {found(place.value)}, expected a list of targets")
        return ()
    return tuple(place.value)


def asked_gradients(name: str, target: Place, problems: Problems) -> tuple[bool, dict[str, str]]:
    """Return whether a target is energy-like, and its gradients, each to the key that asks for it in the options."""
    quantity, asked = None, dict.fromkeys(SHORTHANDS, None)
    if not isinstance(target.value, str) and target.mapping("a file name or a mapping", problems, any_keys=True):
        quantity = target.child("quantity", problems)
        asked = {key: _asks(target.child(key, problems), problems) for key in SHORTHANDS}
    if quantity is not None and not isinstance(quantity.value, str | None):
        problems.add(quantity.mark, f"{quantity.path}: {found(quantity.value)}, expected a string")
    if asked["stress"] and asked["virial"]:
        place = target.entries()["virial"]
        problems.add(place.key_mark, f"{target.path}: asks for both stress and virial, switch one of them off")
    if name != "energy" and (quantity is None or quantity.value != "energy"):
        return False, {}
    keys = ["forces"] if asked["forces"] is not False else []
    if asked["virial"]:
        keys.append("virial")
    elif asked["stress"] is not False:
        keys.append("stress")
    return True, {SHORTHANDS[key]: key for key in keys}


def _asks(place: Place | None, problems: Problems) -> bool | None:
    """Return whether the training set asks for a gradient; None where it does not say."""
    if place is None or isinstance(place.value, bool):
        return None if place is None else place.value
    if not isinstance(place.value, str | Mapping):
        expected = "true, false, a file name or a mapping"
        problems.add(place.mark, f"{place.path}: {found(place.value)}, expected {expected}")
    return True


def _has_data(place: Place) -> bool:
    return isinstance(place.value, str | Mapping) or place.is_list()


def _has_sources(place: Place) -> bool:
    return _has_data(place) and not (
        isinstance(place.value, Mapping) and "indices" in place.value and "systems" not in place.value
    )


def _data_sets(place: Place, problems: Problems) -> tuple[DataSet, ...]:
    places = list(place.entries().values()) if place.is_list() else [place]
    if not places:
        problems.add(place.mark, f"{place.name}: found an empty list, expected data sets")
    sets = (_data_set(one, problems) for one in places)
    return tuple(one for one in sets if one is not None)


def _data_set(place: Place, problems: Problems) -> DataSet | None:
    if isinstance(place.value, str):  # one file for everything, and one target
        systems = File(place)
        energy = _source("energy", place, systems, problems)
        return None if energy is None else DataSet(systems, {"energy": energy}, {})
    if not place.mapping("a file name or a mapping", problems, any_keys=True):
        return None
    given = place.child("systems", problems)
    found_systems = None if given is None else _file(given, None, problems)
    if given is None:
        problems.add(place.mark, f"{place.name}: found no 'systems', expected the file of the structures")
    targets, extra_data = (_sources(place, key, found_systems, problems) for key in ("targets", "extra_data"))
    for name in targets.keys() & extra_data.keys():
        problems.add(
            place.mark, f"{place.name}: found {name!r} as a target and as extra data, expected different names"
        )
    if found_systems is None:
        return None
    return DataSet(found_systems, targets, extra_data, _indices(place, problems))


def _sources(place: Place, section: str, systems: File | None, problems: Problems) -> dict[str, Source]:
    within = place.child(section, problems)
    if within is None or within.value is None:
        if section == "targets":
            problems.add(place.mark, f"{place.name}: found no targets, expected a mapping of targets")
        return {}
    entries = within.mapping(f"a mapping of {section.replace('_', ' ')}", problems)
    energies = section == "targets"
    sources = {name: _source(name, entry, systems, problems, energies=energies) for name, entry in entries.items()}
    return {name: source for name, source in sources.items() if source is not None}


def _source(
    name: str, place: Place, systems: File | None, problems: Problems, *, energies: bool = True
) -> Source | None:
    """Return where a target or extra data is: in the file of the structures, unless it has its own.

    `energies` is whether it can be an energy, with gradients; extra data are plain numbers.
    """
    file = _file(place, systems, problems)
    key: str | None = None
    per_atom: bool | None = False
    row: tuple[int, ...] | None = (1,)
    if not isinstance(place.value, str):
        if not isinstance(place.value, Mapping):
            return None
        key, per_atom = _text(place, "key", problems), _per_atom(place, problems)
        row = _row(place, _count(place, problems), problems)
    energy_like, asked = asked_gradients(name, place, problems) if energies else (False, {})
    gradients: dict[str, GradientSource] = {}
    elsewhere: dict[str, tuple[GradientSource, File]] = {}
    # Only one energy a structure has gradients; metatrain reads any other target as plain numbers.
    if energy_like and not per_atom and row == (1,) and file is not None:
        for gradient, kind in asked.items():
            within = place.child(kind, problems) if isinstance(place.value, Mapping) else None
            source, own = _gradient(kind, within, file, problems)
            if own is not None and own.place.value != file.place.value:
                elsewhere[gradient] = source, own
            else:
                gradients[gradient] = source
    if file is None:
        return None
    return Source(Quantity(name, key or name, per_atom, row, gradients), file, elsewhere)


def _gradient(kind: str, place: Place | None, file: File, problems: Problems) -> tuple[GradientSource, File | None]:
    key, own = None, None
    if place is not None and not isinstance(place.value, bool):
        own = _file(place, file, problems)
        key = _text(place, "key", problems) if isinstance(place.value, Mapping) else None
    literal: dict[str, Literal["forces", "stress", "virial"]] = {
        "forces": "forces",
        "stress": "stress",
        "virial": "virial",
    }
    return GradientSource(literal[kind], key or kind), own


def _file(place: Place, default: File | None, problems: Problems) -> File | None:
    """Return the file that a place names: a string, or `read_from` and `reader` of a mapping, or else `default`."""
    if isinstance(place.value, str):
        return File(place) if _is_name(place, problems) else None
    if not isinstance(place.value, Mapping):
        problems.add(place.mark, f"{place.name}: {found(place.value)}, expected a file name or a mapping")
        return None
    name, reader = place.child("read_from", problems), _text(place, "reader", problems)
    if reader is not None and reader not in READERS:
        where = place.entries()["reader"]
        problems.add(where.mark, f"{where.path}: {found(reader)}, expected {', '.join(READERS)} or nothing")
    if name is None or name.value is None:
        if default is None:
            problems.add(place.mark, f"{place.name}: found no 'read_from', expected the name of a file")
            return None
        return File(default.place, reader or default.reader)
    return File(name, reader) if _is_name(name, problems) else None


def _is_name(place: Place, problems: Problems) -> bool:
    if not isinstance(place.value, str) or not place.value:
        problems.add(place.mark, f"{place.path}: {found(place.value)}, expected the name of a file")
    elif "${" in place.value:
        what = "an interpolation of OmegaConf, which is not resolved here: write the name out"
        problems.add(place.mark, f"{place.path}: {found(place.value)}, {what}")
    else:
        return True
    return False


def _text(place: Place, key: str, problems: Problems) -> str | None:
    within = place.child(key, problems)
    if within is None or within.value is None:
        return None
    if not isinstance(within.value, str):
        problems.add(within.mark, f"{within.path}: {found(within.value)}, expected a string")
        return None
    return within.value


def _count(place: Place, problems: Problems) -> int:
    within = place.child("num_subtargets", problems)
    if within is None or within.value is None:
        return 1
    if not isinstance(within.value, int) or isinstance(within.value, bool) or within.value < 1:
        problems.add(within.mark, f"{within.path}: {found(within.value)}, expected an integer ≥ 1")
        return 1
    return within.value


def _per_atom(place: Place, problems: Problems) -> bool | None:
    """Return whether a row is an atom; None for pairs of atoms. `per_atom` is the older name of `sample_kind`."""
    kind, older = _text(place, "sample_kind", problems), place.child("per_atom", problems)
    said = {"system": False, "atom": True, "atom_pair": None}
    if kind is not None and kind not in said:
        within = place.entries()["sample_kind"]
        problems.add(within.mark, f"{within.path}: {found(kind)}, expected {', '.join(said)}")
        kind = None
    if older is None or older.value is None:
        return said[kind or "system"]
    if not isinstance(older.value, bool):
        problems.add(older.mark, f"{older.path}: {found(older.value)}, expected true or false")
    elif kind is not None and said[kind] is not older.value:
        problems.add(older.mark, f"{older.path}: {found(older.value)}, but sample_kind is {kind}: keep sample_kind")
    return older.value is True


def _row(place: Place, count: int, problems: Problems) -> tuple[int, ...] | None:
    """Return the shape of one row, components and properties; None where it has several blocks."""
    kind = place.child("type", problems)
    if kind is None or kind.value in (None, "scalar"):
        return (count,)
    expected = "scalar, {cartesian: {rank: N}} or {spherical: {irreps: [{o3_lambda: L, o3_sigma: S}, …]}}"
    if isinstance(kind.value, Mapping) and len(kind.value) == 1:
        ((name, described),) = kind.value.items()
        if str(name).lower() == "cartesian" and isinstance(described, Mapping):
            rank = described.get("rank")
            if isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank <= 8:
                return (3,) * rank + (count,)
        irreps = described.get("irreps") if name == "spherical" and isinstance(described, Mapping) else None
        if irreps and isinstance(irreps, Mapping | list):
            if isinstance(irreps, Mapping) or len(irreps) > 1 or described.get("product") is not None:
                return None
            irrep = irreps[0] if isinstance(irreps[0], Mapping) else {}
            order, number = irrep.get("o3_lambda"), irrep.get("num", 1)
            if _is_index(order) and _is_index(number) and number > 0:
                return (2 * order + 1, number * count)
    problems.add(kind.mark, f"{kind.path}: {found(kind.value)}, expected {expected}")
    return (count,)


def _indices(place: Place, problems: Problems) -> Place | None:
    within = place.child("indices", problems)
    if within is None or within.value is None or isinstance(within.value, str):
        return None if within is None or within.value is None else within
    if not within.is_list() or not all(_is_index(index) for index in within.value):
        problems.add(within.mark, f"{within.path}: {found(within.value)}, expected integers ≥ 0 or the name of a file")
        return None
    return within


def _is_index(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
