"""metatrain options to the expanded `loss` section (specification, section 6).

The expanded section is ``{target: {type, weight, reduction, …, gradients: {name: {type, weight, reduction, …}}}}``:
every shorthand resolved, every default that the section itself has filled in, weights floats. What types there are and
what keys they take is read from `refloss.section.LOSS_TYPES`, nowhere else.

Everything that is wrong is collected before anything is raised, so one ConfigError tells all of it.

References
----------
docs/specification.md, section 6. Whose options these are: https://docs.metatensor.org/metatrain/, "Loss functions".
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Final

from refloss import conventions
from refloss.data_options import asked_gradients
from refloss.errors import InputError, did_you_mean
from refloss.options_schema import COMMON, SHORTHANDS, schema
from refloss.options_source import Place, Problems, found, place_of, write_yaml
from refloss.section import LOSS_TYPES, REDUCTIONS, KeyKind, LossSection, LossType

__all__ = ["dump", "expand_loss", "load_options", "schema"]

UNBUILDABLE: Final = ("pointwise", "masked_pointwise")
"""Types that metatrain registers, but that no options can build: they wrap a torch function given in Python."""

RENAMED: Final = {"ensemble_nll": "gaussian_nll_ensemble"}
"""Types by the names that they had in metatrain 2025.12 and 2026.1."""


def expand_loss(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Expand the `loss` section of metatrain options.

    Parameters
    ----------
    options : mapping
        The whole options, with `loss` under ``architecture.training``, or at the top beside `training_set`. It is
        not changed. Without a `training_set` the targets are those that the section names.

    Returns
    -------
    dict
        ``{target: {"type", "weight", "reduction", …, "gradients": {name: {"type", "weight", "reduction", …}}}}``.
        `gradients` is always there, weights are floats. Of the keys of a type, those that have a default here
        (`delta`) are filled in; the others keep the entry point's default where they are absent.

    Raises
    ------
    ConfigError
        Something is not valid; the message has every problem, one a line.

    References
    ----------
    docs/specification.md, section 6.
    """
    problems = Problems()
    losses, _ = _expand(Place(options), problems)
    problems.raise_any()
    return losses


def load_options(source: str | os.PathLike[str] | Mapping[str, Any]) -> LossSection:
    """Read metatrain options and return their `loss` section, ready to evaluate.

    Parameters
    ----------
    source : path or mapping
        A YAML file, or options as `expand_loss` takes them.

    Returns
    -------
    LossSection
        It knows which gradients the options name themselves. Those that come from a default (of the training set, or
        of ``loss: T``) may be missing from the data; those that are named may not.

    Raises
    ------
    ConfigError
        The file cannot be read, or something in it is not valid; the message has every problem, one a line, with
        file, line and column.

    References
    ----------
    docs/specification.md, section 6.
    """
    root, problems = place_of(source)
    losses, named = _expand(root, problems)
    problems.raise_any()
    return LossSection(losses, named=named)


def dump(expanded: Mapping[str, Any]) -> str:
    """Return an expanded section as YAML: options of their own, which expand to the same section again.

    The gradients stand in it by name, so none of them may be missing from the data any more.
    """
    return write_yaml({"loss": expanded})


@dataclass
class _Target:
    """What the training set says of a target: may its gradients go by `SHORTHANDS`, and which does it have."""

    energy_like: bool = False
    gradients: dict[str, None] = field(default_factory=dict)


_Keys = dict[str, Place]
"""The keys of one entry of the section (a target or a gradient), to their places."""


def _expand(root: Place, problems: Problems) -> tuple[dict[str, dict[str, Any]], frozenset[str]]:
    """Return the expanded section, and the ``<target>/<gradient>`` that it names; valid if there are no problems."""
    root.mapping("a mapping of metatrain options", problems, any_keys=True)
    if not isinstance(root.value, Mapping):
        return {}, frozenset()
    section = _find_section(root, problems)
    base, entries = _Keys(), _Keys()
    if section is not None and isinstance(section.value, str):
        base = {"type": section}
        _loss_type(base, problems)
    elif section is not None:
        entries = section.mapping("a loss type or a mapping of targets", problems)

    training_set = root.child("training_set", problems)
    if training_set is None:
        targets = _section_targets(section, entries, problems)
    else:
        targets = _training_targets(training_set, problems) or dict.fromkeys(entries, _Target(energy_like=True))
    losses, named = {}, set()
    for name, place in entries.items():
        if name not in targets:
            problems.add(place.key_mark, f"{place.path}: {_no_target(name, targets)}")
    for name, target in targets.items():
        losses[name], gradients = _expand_target(entries.get(name), target, base, problems)
        named |= {f"{name}/{gradient}" for gradient in gradients}
    return losses, frozenset(named)


def _find_section(root: Place, problems: Problems) -> Place | None:
    top, architecture = root.child("loss", problems), root.child("architecture", problems)
    inner = training = None
    if architecture is not None and architecture.mapping("a mapping", problems, any_keys=True):
        training = architecture.child("training", problems)
    if training is not None and training.mapping("a mapping", problems, any_keys=True):
        inner = training.child("loss", problems)
    if top is not None and inner is not None:
        problems.add(top.key_mark, f"loss: given here and as {inner.path}: keep one of the two")
    return inner if inner is not None else top


def _section_targets(section: Place | None, entries: _Keys, problems: Problems) -> dict[str, _Target]:
    """Return the targets that the section names, which are all there are without a training set."""
    if section is None:
        problems.add(None, "options: there is neither a loss section nor a training_set, expected at least one of them")
    elif isinstance(section.value, str) or section.value == {}:
        what = f"{section.path}: {section.value!r}" if section.value else f"{section.path}: an empty mapping"
        problems.add(section.mark, f"{what} has nothing to apply to: it names no target, and there is no training_set")
    for name, place in entries.items():
        if name in (*COMMON, *SHORTHANDS, "gradients"):
            problems.add(place.key_mark, f"{place.path}: {name!r} is a key of a target, expected the name of a target")
    # Energy-like is whatever has a shorthand, so each of them may have one.
    return {name: _Target(energy_like=True) for name in entries}


def _training_targets(training_set: Place, problems: Problems) -> dict[str, _Target]:
    """Return the united targets of the data sets; none where a problem leaves them unknown."""
    united: dict[str, _Target] = {}
    known = True
    for data_set in training_set.entries().values() if training_set.is_list() else (training_set,):
        entries = {"energy": data_set}
        if not isinstance(data_set.value, str):
            targets: Place | None = data_set  # where the targets must stand: in the data set, which must be a mapping
            entries = data_set.mapping("a file name or a mapping", problems, any_keys=True)
            if entries:
                targets = data_set.child("targets", problems)
                entries = targets.mapping("a mapping of targets", problems) if targets is not None else {}
            known &= targets is None or isinstance(targets.value, Mapping)
        for name, place in entries.items():
            target = united.setdefault(name, _Target())
            energy_like, gradients = asked_gradients(name, place, problems)
            target.energy_like |= energy_like
            target.gradients |= dict.fromkeys(gradients)
    if known and not united:
        problems.add(training_set.mark, "training_set: it names no targets, so the loss has nothing to apply to")
    return united if known else {}


def _expand_target(
    place: Place | None, target: _Target, base: _Keys, problems: Problems
) -> tuple[dict[str, Any], list[str]]:
    """Return one target's expanded entry, and the gradients that the section names for it.

    `base` holds what ``loss: T`` says of every entry.
    """
    keys = base | (_type_or_mapping(place, problems) if place is not None else {})
    gradients = {name: dict(base) for name in target.gradients}
    named: dict[str, None] = {}
    shorthands = {key: keys.pop(key) for key in SHORTHANDS if key in keys}
    explicit = keys.pop("gradients", None)
    if "stress" in shorthands and "virial" in shorthands:
        problem = shorthands.pop("virial")
        problems.add(problem.key_mark, f"{problem.path}: stress and virial are both the strain gradient: keep one")
    parts = [(SHORTHANDS[key], part) for key, part in shorthands.items()]
    if explicit is not None:
        parts += explicit.mapping("a mapping of gradients", problems).items()
    for name, part in parts:
        gradients.setdefault(name, {}).update(_type_or_mapping(part, problems))
        named[name] = None
    if not target.energy_like:
        for key, shorthand in shorthands.items():
            expected = "only an energy-like target has it (named 'energy', or with quantity: energy)"
            problems.add(shorthand.key_mark, f"{shorthand.path}: {key!r} is not for this target: {expected}")
    also = ("gradients", *(SHORTHANDS if target.energy_like else ()))
    entry = _entry(keys, problems, also)
    entry["gradients"] = {name: _entry(part, problems) for name, part in gradients.items()}
    return entry, list(named)


def _entry(keys: _Keys, problems: Problems, also: Iterable[str] = ()) -> dict[str, Any]:
    """Check the keys of one target or gradient and fill in its defaults; `also` are keys that it has elsewhere."""
    name = _loss_type(keys, problems)
    loss = LOSS_TYPES.get(name) if name is not None else None
    kinds = (
        dict(loss.keys)
        if loss is not None
        else {key: kind for t in LOSS_TYPES.values() for key, kind in t.keys.items()}
    )
    entry: dict[str, Any] = COMMON | {"type": name} | (dict(loss.defaults) if loss is not None else {})
    for key, place in keys.items():
        if key == "reduction":
            entry[key] = _choice(place, REDUCTIONS, "reduction", problems)
        elif key == "weight" or key in kinds:
            entry[key] = _value(place, kinds.get(key, "number"), loss, problems)
        elif key != "type":
            owners = [owner for owner, other in LOSS_TYPES.items() if key in other.keys]
            known = (*COMMON, *kinds, *also)
            what = f"{name} takes no {key!r}" if loss is not None else f"no loss type takes {key!r}"
            hint = f" ({key} is a key of {', '.join(owners)})" if owners else did_you_mean(key, known)
            problems.add(place.key_mark, f"{place.path}: {what}, its keys are {', '.join(known)}{hint}")
    return entry


def _loss_type(keys: _Keys, problems: Problems) -> str | None:
    """Return the type's name where it is one of the registry's; None after noting a problem."""
    if "type" not in keys:
        return str(COMMON["type"])
    place = keys["type"]
    if isinstance(place.value, str) and place.value in UNBUILDABLE:
        problems.add(
            place.mark,
            f"{place.path}: the type {place.value!r} cannot be built from options: metatrain registers it, but it "
            f"needs a torch function that only Python can give it; expected one of {', '.join(LOSS_TYPES)}",
        )
        return None
    if isinstance(place.value, str) and place.value in RENAMED:
        since = RENAMED[place.value]
        problems.add(
            place.mark, f"{place.path}: {found(place.value)}, expected {since!r}: its name since metatrain 2026.2"
        )
        return None
    return _choice(place, LOSS_TYPES, "loss type", problems)


def _choice(place: Place, choices: Iterable[str], what: str, problems: Problems) -> str | None:
    names = list(choices)
    if isinstance(place.value, str) and place.value in names:
        return str(place.value)
    value, expected = place.value, f"expected one of {', '.join(names)}"
    if isinstance(value, str):
        # metatrain's documentation has mse_masked beside masked_mse, and some write MSE
        turned = "_".join(reversed(value.lower().split("_")))
        hint = did_you_mean(turned if turned in names else value, names)
        problems.add(place.mark, f"{place.path}: unknown {what} {value!r}, {expected}{hint}")
    else:
        hint = " (did you mean the string 'none'?)" if value is None and "none" in names else ""
        problems.add(place.mark, f"{place.path}: {found(value)}, {expected}{hint}")
    return None


def _convention(place: Place, named: tuple[str, ...], problems: Problems) -> str | None:
    """Return the named convention; that of a release stands in the expansion under its own name."""
    try:
        meant = conventions.of_release(place.value, named) if isinstance(place.value, str) else None
    except InputError as error:
        problems.add(place.mark, f"{place.path}: {str(error).removeprefix('convention: ')}")
        return None
    return meant or _choice(place, named, "convention", problems)


def _number(value: Any) -> float | None:
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the floats
        return None
    return number if math.isfinite(number) else None


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _count(value: Any) -> int | None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        return None
    return int(value) if int(value) >= 0 else None


_KINDS: Final[dict[KeyKind, tuple[str, Callable[[Any], float | None]]]] = {
    "number": ("a finite number", _number),
    "positive": ("a finite number > 0", _positive),
    "count": ("an integer >= 0", _count),
}
"""What a key's value must be, in words, and the check that returns it or None."""


def _value(place: Place, kind: KeyKind, loss: LossType | None, problems: Problems) -> Any:
    if kind == "convention":
        return _convention(place, loss.conventions, problems) if loss is not None else None
    expected, check = _KINDS[kind]
    value = check(place.value)
    if value is None:
        hint = "; leave the key out for its default" if place.value is None else ""
        problems.add(place.mark, f"{place.path}: {found(place.value)}, expected {expected}{hint}")
    return value


def _type_or_mapping(place: Place, problems: Problems) -> _Keys:
    if isinstance(place.value, str):
        return {"type": place}
    instead = " (weight: 0.0 keeps a term out of the total)" if place.value is False else ""
    return place.mapping(f"a loss type or a mapping{instead}", problems)


def _no_target(name: str, targets: Iterable[str]) -> str:
    names = list(targets)
    hint = did_you_mean(name, names)
    if f"mtt::{name}" in names:
        hint = f" (did you mean 'mtt::{name}'?)"
    elif name in SHORTHANDS:
        hint = f" ({name} belongs inside an energy-like target)"
    elif name in COMMON:
        hint = f" ({name} belongs inside a target; 'loss: T' sets the type of all)"
    return f"{name!r} is no target of the training_set, which has {', '.join(names)}{hint}"
