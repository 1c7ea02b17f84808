"""The data that metatrain options name and a model's predictions of them, as one data set to evaluate.

`load_dataset` reads the files of the options' test or training set and the predictions' files, sees to it that both
are of the same structures, and joins several data sets. Units and signs are those of `refloss.files`. (docs/files.md)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from refloss.data_options import DataSection, data_section, per_structure_targets
from refloss.errors import InputError
from refloss.files import Dataset, Quantity, Structures, formats
from refloss.files.fitting import (
    KEYED,
    fit,
    masks_of,
    named,
    names_of,
    predicted,
    require_finite,
    reshape,
    row_shapes,
    targets_of,
    without_cells,
)
from refloss.files.sources import Finder, Found, listed, read_data_set, read_files, read_indices
from refloss.files.structures import chosen, joined, ordered, selected
from refloss.options import load_options
from refloss.options_source import Place, Problems, place_of
from refloss.results import Integers
from refloss.section import LOSS_TYPES, LossSection

PathLike: TypeAlias = "str | os.PathLike[str]"
Options: TypeAlias = "PathLike | Mapping[str, Any]"
Paths: TypeAlias = "PathLike | Sequence[PathLike]"


def load_dataset(
    options: Options,
    predictions: Paths,
    *,
    targets: Paths | None = None,
    extra_data: Paths | None = None,
    data: Options | None = None,
    which: str | None = None,
    indices: Any = None,
) -> Dataset:
    """Read predictions, and what they are compared with, from the files that metatrain keeps them in.

    Parameters
    ----------
    options : path or mapping
        metatrain options, with the loss section.
    predictions : path or sequence of paths
        What metatrain's ``eval`` writes, or any format of `refloss.files`. A name that is not there stands for the
        names that ``eval`` makes of it: ``output.mts`` for ``output_energy.mts``, …; and for several data sets,
        ``output.xyz`` for ``output_0.xyz``, ``output_1.xyz``, …
    targets, extra_data : path or sequence of paths, optional
        Files in the place of those that the options name. With `targets`, the masks are those of `extra_data` alone.
    data : path or mapping, optional
        The options of an evaluation, whose data are read in the place of the options' own.
    which : str, optional
        ``"training_set"``, ``"validation_set"`` or ``"test_set"`` of the options. By default the test set where it has
        data of its own, and otherwise the training set.
    indices : path, sequence of int, or sequence of one of these for each data set, optional
        The structures that count, in the place of the options' own ``indices``; or those that metatrain drew, of a set
        that is a fraction of the training set. Predictions may be of these structures alone, or of all.

    Returns
    -------
    Dataset
        For ``LossSection.evaluate(**dataset.arguments())``. Where the files tell the structures, their numbers of atoms
        are among the arguments, so that figures are those of a training log.

    Raises
    ------
    ConfigError
        The options are not valid, or a file that they name is not there.
    InputError
        A file cannot be read; predictions are of other structures than the targets, or not finite.

    References
    ----------
    docs/evaluate.md. metatrain, "Training YAML Reference", https://docs.metatensor.org/metatrain/.
    """
    section = load_options(options)
    root, problems = place_of(options)
    exempt = per_structure_targets(root, problems)
    problems.raise_any()
    files = {"predictions": _paths("predictions", predictions)}
    files |= {} if targets is None else {"targets": _paths("targets", targets)}
    files |= {} if extra_data is None else {"extra_data": _paths("extra_data", extra_data)}
    if targets is not None:
        for argument, value in (("which", which), ("data", data), ("indices", indices)):
            if value is not None:
                raise InputError(f"{argument} and targets: found both, expected one: targets are files of their own")
        return _dataset(options, None, section, [_part_of_files(section, root, files)], exempt)
    source = options if data is None else data
    if data is not None:
        root, problems = place_of(data)
    found = data_section(root, problems, which)
    problems.raise_any()
    assert found is not None  # or there would be a problem
    finder = Finder(None if isinstance(source, Mapping) else Path(source), problems)
    return _dataset(options, found.name, section, list(_parts(section, found, files, finder, indices)), exempt)


@dataclass
class _Part:
    """One data set: what there is of it, all of the same structures."""

    predictions: Found
    targets: Found
    extra_data: Found
    structures: Structures | None


def _parts(
    section: LossSection, found: DataSection, files: Mapping[str, Sequence[Path]], finder: Finder, indices: Any
) -> Iterator[_Part]:
    """Yield the data sets that the options name, each with its predictions."""
    if found.drawn is not None and indices is None:
        kind = found.name.removesuffix("_set")
        raise InputError(
            f"{found.name}: found {found.drawn:g}, a part of the training set that metatrain draws at random, expected "
            f"the indices that it drew: outputs/DATE/TIME/indices/{kind}.txt (--indices)"
        )
    count = len(found.sets)
    quantities = [
        {name: source.quantity for name, source in {**one.targets, **one.extra_data}.items()} for one in found.sets
    ]
    read_of = [
        read_files("predictions", paths, names_of(section), partial(predicted, section, described))
        for paths, described in zip(_numbered(files["predictions"], count), quantities, strict=True)
    ]
    names = list(dict.fromkeys(name for predictions in read_of for name in targets_of(section, predictions)))
    masks = [] if "extra_data" in files else masks_of(section, names)
    for number, (one, given) in enumerate(zip(found.sets, _each(indices, count), strict=True)):
        where = found.name if count == 1 else f"{found.name}[{number}]"
        predictions, described = read_of[number], quantities[number]
        read = read_data_set(where, one, [*names, *masks], finder)
        assert read.structures is not None  # or it would have raised
        picked = _picked(where, one.indices if given is None else given, finder, read.structures.num_atoms.size)
        structures = selected(read.structures, picked)
        for name, item in read.data.items():
            read.data[name] = chosen(f"{where}: {name!r}", item, read.structures.num_atoms, picked)
        held = [name for name in masks if name in read.data]
        extra_data = Found({name: read.data.pop(name) for name in held}, None, {n: read.files.pop(n) for n in held})
        if "extra_data" in files:
            wanted = masks_of(section, names)
            extra_data = read_files("extra_data", files["extra_data"], wanted, partial(named, described, wanted))
            fit("extra_data", extra_data, wanted, read.structures, picked, described)
        reshape(predictions, row_shapes(section, described))
        fit("predictions", predictions, names_of(section), read.structures, picked, described)
        yield _Part(predictions, read, extra_data, structures)


def _part_of_files(section: LossSection, root: Place, files: Mapping[str, Sequence[Path]]) -> _Part:
    """Return the data set of files that are given, whose structures may be told by any of them, or by none."""
    described, problems = _described(root)
    kinds = {
        formats.detect(argument, path).name for argument in files for path in files[argument] if os.path.lexists(path)
    }
    if kinds.intersection(KEYED):  # of these alone the options say what they hold
        problems.raise_any()
    names = list(section.losses)
    predictions = read_files(
        "predictions", files["predictions"], names_of(section), partial(predicted, section, described)
    )
    targets = read_files("targets", files["targets"], names, partial(named, described, names))
    masks = masks_of(section, targets_of(section, predictions))
    extra_data = Found()
    if "extra_data" in files:
        extra_data = read_files("extra_data", files["extra_data"], masks, partial(named, described, masks))
    structures = next((f.structures for f in (targets, predictions, extra_data) if f.structures is not None), None)
    if structures is not None:
        reshape(predictions, row_shapes(section, described))
    for argument, found, wanted in (
        ("predictions", predictions, names_of(section)),
        ("targets", targets, names),
        ("extra_data", extra_data, masks),
    ):
        if structures is not None:
            fit(argument, found, wanted, structures, None, described)
        else:
            found.data |= {
                name: ordered(f"{argument}: {name!r}", found.data[name]) for name in wanted if name in found.data
            }
    return _Part(predictions, targets, extra_data, structures)


def _dataset(
    options: Options, which: str | None, section: LossSection, parts: Sequence[_Part], exempt: tuple[str, ...]
) -> Dataset:
    """Return the data sets as one."""
    names = [name for name in names_of(section) if any(name in part.predictions.data for part in parts)]
    for part in parts:
        without_cells(section, part.predictions, part.targets, part.structures)
        for name in names:
            if name in part.predictions.data:
                require_finite(section, name, part.predictions)
    if len(parts) > 1:
        predictions, targets, extra_data, atoms = _joined(section, parts)
    else:
        (part,) = parts
        predictions, targets, extra_data = part.predictions.data, part.targets.data, part.extra_data.data
        atoms = None if part.structures is None else part.structures.num_atoms
    inputs = _inputs(options, which, parts)
    return Dataset(predictions, targets, extra_data, atoms, exempt, inputs, _told(inputs, exempt))


def _joined(
    section: LossSection, parts: Sequence[_Part]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Integers | dict[str, Integers] | None]:
    """Return predictions, targets and masks of several data sets as one, each target of those that have it."""
    predictions: dict[str, Any] = {}
    targets: dict[str, Any] = {}
    extra_data: dict[str, Any] = {}
    atoms: dict[str, Integers] = {}
    for name, loss in section.losses.items():
        having = [part for part in parts if name in part.targets.data]
        if not having:
            continue
        targets[name] = joined(f"targets: {name!r}", [part.targets.data[name] for part in having])
        atoms[name] = np.concatenate([p.structures.num_atoms for p in having if p.structures is not None])
        for source in dict.fromkeys((LOSS_TYPES[loss["type"]].source(name), name)):
            held = [part.predictions.data.get(source) for part in having]
            lacking = [part for part, item in zip(having, held, strict=True) if item is None]
            if len(lacking) < len(held):
                if lacking:
                    file = listed(lacking[0].predictions.files)
                    raise InputError(f"predictions: {file}: found no {source!r}, expected it as in the other data sets")
                predictions[source] = joined(f"predictions: {source!r}", held)
        mask = f"{name}_mask"
        masks = [part.extra_data.data[mask] for part in having if mask in part.extra_data.data]
        if masks and len(masks) < len(having):
            raise InputError(
                f"extra_data: found {mask!r} in {len(masks)} of {len(having)} data sets, expected it in all"
            )
        if masks:
            extra_data[mask] = joined(f"extra_data: {mask!r}", masks)
    everywhere = all(name in part.targets.data for part in parts for name in atoms)
    return predictions, targets, extra_data, next(iter(atoms.values()), None) if everywhere else atoms


def _picked(where: str, given: Any, finder: Finder, structures: int) -> Integers | None:
    """Return the structures that count; None for all. `given` is the options' place, or what the caller gave."""
    if given is None:
        return None
    if isinstance(given, Place):
        named = isinstance(given.value, str)
        indices = finder.find(given) if named else given.value
        finder.problems.raise_any()
        return read_indices(f"{where}, indices", indices, structures)
    return read_indices("indices", given, structures)


def _each(indices: Any, count: int) -> list[Any]:
    """Return the indices of each data set."""
    if indices is None:
        return [None] * count
    listed = isinstance(indices, Iterable) and not isinstance(indices, str)
    if not (listed and any(isinstance(index, Iterable | os.PathLike) for index in indices)):
        indices = [indices]
    if len(indices) != count:
        raise InputError(f"indices: found those of {len(indices)} data sets, expected {count}, one for each")
    return list(indices)


def _numbered(paths: Sequence[Path], count: int) -> list[list[Path]]:
    """Return the files of predictions of each data set; one name stands for those that ``eval`` makes of it."""
    if count == 1:
        return [list(paths)]
    if len(paths) == 1:
        (path,) = paths
        numbered = [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(count)]
        if os.path.lexists(path) and not os.path.lexists(numbered[0]):
            names = ", ".join(other.name for other in numbered)
            raise InputError(f"predictions: found {path} for {count} data sets, expected a file for each: {names}")
        return [[other] for other in numbered]
    if len(paths) != count:
        raise InputError(f"predictions: found {len(paths)} files for {count} data sets, expected one for each")
    return [[path] for path in paths]


def _paths(argument: str, given: Paths) -> list[Path]:
    paths = [given] if isinstance(given, str | os.PathLike) else list(given)
    if not paths or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise InputError(f"{argument}: found {given!r}, expected a path, or several")
    return [Path(path) for path in paths]


def _described(root: Place) -> tuple[dict[str, Quantity], Problems]:
    """Return what the options say of the targets and masks, if they name any data, and what is wrong there."""
    problems, found = Problems(), None
    if isinstance(root.value, Mapping) and isinstance(root.value.get("training_set"), str | Mapping | list):
        found = data_section(root, problems, "training_set")
    quantities: dict[str, Quantity] = {}
    for one in () if found is None else found.sets:
        for name, source in {**one.targets, **one.extra_data}.items():
            quantities.setdefault(name, source.quantity)
    return quantities, problems


def _inputs(options: Options, which: str | None, parts: Sequence[_Part]) -> dict[str, Any]:
    """Return what was read, for a record."""
    files = {
        argument: list(dict.fromkeys(str(path) for part in parts for path in _files(getattr(part, argument))))
        for argument in ("predictions", "targets", "extra_data")
    }
    structures = sum(0 if part.structures is None else part.structures.num_atoms.size for part in parts)
    return {
        "options": None if isinstance(options, Mapping) else os.fspath(options),
        "set": which,
        **files,
        "structures": structures or None,
        "per_atom": structures > 0,
    }


def _told(inputs: Mapping[str, Any], exempt: tuple[str, ...]) -> tuple[str, ...]:
    told = []
    if inputs["set"] is not None:
        files = ", ".join(dict.fromkeys((*inputs["targets"], *inputs["extra_data"])))
        told.append(f"{inputs['set']}: {inputs['structures']} structures of {files}")
    if inputs["per_atom"]:
        but = f", but not {', '.join(exempt)}," if exempt else ""
        told.append(f"what is per structure{but} is divided by its number of atoms, as before metatrain's losses")
    else:
        told.append("nothing is divided by numbers of atoms: the files do not tell the structures")
    return tuple(told)


def _files(found: Found) -> list[Path]:
    return [path for name, paths in found.files.items() if name in found.data or name == "" for path in paths]
