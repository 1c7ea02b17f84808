"""Golden vectors: small cases with their golden figures and bounds as JSON, for implementations in any language.

One file for each loss and format. Arrays are strings of C99 hexadecimal floating-point numbers in C order, a space
between two, so that they are exact and ``strtod`` reads them. docs/vectors.md describes the files.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

import refloss
from refloss.conventions import LOSSES as CONVENTIONS
from refloss.conventions import Convention
from refloss.crosscheck import vectors_schema
from refloss.crosscheck.bounds import tolerance
from refloss.crosscheck.cases import FLAGS, Case, cases, parameters
from refloss.crosscheck.formats import Format, find, quantise
from refloss.crosscheck.reference import equivalent_shifts, reference
from refloss.crosscheck.suites import LOSSES
from refloss.crosscheck.vectors_schema import FIGURES, FORMATS, POINTWISE_KEY, SCHEMA_NAME
from refloss.errors import InputError
from refloss.files.output import make_folder, replacing
from refloss.results import Floats

SCHEMA_FILE: Final = "schema.json"

_SIZE: Final = {True: 100, False: 40}
"""How many numbers a case of an aligned loss, and of a pointwise one, may have at most."""

_ROUNDED_UP: Final = Context(prec=3, rounding=ROUND_CEILING)


@dataclass(frozen=True, eq=False)
class Vectors:
    """The cases of one loss in one format; their ids begin with the format's name."""

    loss: str
    format: Format
    cases: tuple[Case, ...]


def files() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file of the set: the schema, and each loss in each format."""
    yield SCHEMA_FILE, _text(vectors_schema.schema())
    for loss in LOSSES:
        for name in FORMATS:
            yield f"{loss}-{name}.json", _text(_file(loss, find(name)))


def write(folder: Path) -> list[Path]:
    """Write the set into `folder`, which is made where it is missing, and return the paths."""
    make_folder("folder", folder)
    paths = []
    for name, text in files():
        with replacing("folder", folder / name) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
        paths.append(folder / name)
    return paths


def read(folder: Path) -> list[Vectors]:
    """Read a set of vectors.

    Raises
    ------
    InputError
        A file cannot be read or does not fit the schema; the message has the first of what is wrong with it.
    """
    found = []
    for path in _paths(folder):
        data = read_json(path)
        wrong = next(_unfit(data), None)
        if wrong is not None:
            raise InputError(f"{path}: {wrong}")
        found.append(Vectors(data["loss"], find(data["format"]), tuple(_cases(data, path))))
    return found


def current() -> list[Vectors]:
    """Return the cases of the set that this version writes."""
    return [Vectors(loss, form, tuple(_chosen(loss, form))) for loss in LOSSES for form in map(find, FORMATS)]


def lint(folder: Path) -> list[str]:
    """Return what is wrong with a set of vectors, a line each.

    Looked at are: the schema, and each file against it; the number of cases; ids, which must be unique; a note for each
    flag and no others; numbers, of the right count, that come back as the same text and that the format holds; and
    that golden figures and bounds are what refloss has for them now.
    """
    wrong = [f"{SCHEMA_FILE}: {line}" for line in _lint_schema(folder / SCHEMA_FILE)]
    seen: Counter[str] = Counter()
    for path in _paths(folder):
        try:
            data = read_json(path)
        except InputError as error:
            wrong.append(str(error))
            continue
        unfit = list(_unfit(data))
        wrong += [f"{path.name}: {line}" for line in unfit]
        if not unfit:
            seen.update(case["id"] for case in data["cases"])
            wrong += [f"{path.name}: {line}" for line in _lint_file(path, data)]
    return wrong + [f"{name}: {count} cases have this id" for name, count in seen.items() if count > 1]


def read_json(path: Path) -> Any:
    """Read a file of JSON, in which no object has a key twice.

    Raises
    ------
    InputError
        It cannot be read, or is not such a file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error


def encode(numbers: Any) -> str:
    """Return numbers as hexadecimal ones, in C order, a space between two."""
    return " ".join(map(_hex, np.asarray(numbers, dtype=np.float64).ravel().tolist()))


def decode(text: str) -> Floats:
    """Return the numbers of a string: hexadecimal where they begin with 0x, decimal where not.

    Raises
    ------
    ValueError
        A word is no number.
    """
    return np.array([_number(word) for word in text.split()], dtype=np.float64)


def _number(word: str) -> float:
    if "_" in word:  # Python's own way to group digits
        raise ValueError(f"could not convert string to float: {word!r}")
    try:
        return float.fromhex(word) if "x" in word.lower() else float(word)
    except OverflowError as error:
        raise ValueError(f"{word} is beyond what float64 holds") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _hex(number: float) -> str:
    return re.sub(r"\.?0*p", "p", number.hex())


def _bound(number: float) -> str:
    """Return three digits, rounded up: what is computed in another order elsewhere gives the same."""
    if not math.isfinite(number):
        return "inf"
    return f"{_ROUNDED_UP.plus(Decimal(number)):.2e}" if number else "0.00e+0"


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _file(loss: str, form: Format) -> dict[str, Any]:
    chosen = list(_chosen(loss, form))
    used = {flag for case in chosen for flag in case.flags}
    return {
        "schema": SCHEMA_NAME,
        "specification": refloss.SPEC_VERSION,
        "refloss": refloss.__version__,
        "loss": loss,
        "format": form.name,
        "conventions": {name: _switches(convention) for name, convention in CONVENTIONS.get(loss, {}).items()},
        "notes": {flag: note for flag, note in FLAGS.items() if flag in used},
        "numberOfCases": len(chosen),
        "cases": [_entry(case, form) for case in chosen],
    }


def _chosen(loss: str, form: Format) -> Iterator[Case]:
    """Yield the cases that are small enough."""
    aligned = loss in CONVENTIONS
    for case in cases(loss, format=form):
        if case.predictions.size + (case.targets.size if aligned else 0) <= _SIZE[aligned]:
            yield replace(case, id=f"{form.name}/{case.id}")


def _switches(convention: Convention) -> dict[str, Any]:
    return {name: value for name, value in asdict(convention).items() if name != "name"}


def _entry(case: Case, form: Format) -> dict[str, Any]:
    arrays = {"predictions": case.predictions, "targets": case.targets}
    mask = {} if case.mask is None else {"mask": " ".join("1" if true else "0" for true in case.mask.ravel())}
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {
        "id": case.id,
        "note": case.note,
        "flags": sorted(case.flags),
        "params": dict(case.params),
        "shape": shapes if case.mask is None else shapes | {"mask": list(case.mask.shape)},
        **{name: encode(array) for name, array in arrays.items()},
        **mask,
        "golden": {name: _golden(case, convention, form) for name, convention in _applying(case)},
    }


def _applying(case: Case) -> Iterator[tuple[str, Convention | None]]:
    """Yield the named conventions under which a case can be evaluated; for a pointwise loss the one entry without."""
    if case.loss not in CONVENTIONS:
        yield POINTWISE_KEY, None
    for name, convention in CONVENTIONS.get(case.loss, {}).items():
        step = convention.energy_step
        if case.params["reduction"] in convention.reductions and step in (None, case.params["energy_step"]):
            yield name, convention


def _golden(case: Case, convention: Convention | None, form: Format) -> dict[str, Any]:
    golden = reference(case, convention)
    near = tolerance(case, golden, convention, form, form)
    found: dict[str, Any] = {}
    for name in FIGURES:
        if name in golden.figures:
            found[name] = encode(golden.figures[name])
            found[f"{name}.bound"] = " ".join(map(_bound, near.bound[name].ravel().tolist()))
    if golden.shift is not None:
        found["shift"] = " ".join(map(str, golden.shift.tolist()))
        allowed = equivalent_shifts(case, golden, near)
        found["equivalent_shifts"] = [" ".join(map(str, shifts.tolist())) for shifts in allowed]
    return found


def _cases(data: Mapping[str, Any], path: Path) -> Iterator[Case]:
    """Yield the cases of a file that fits the schema, which does not tell one loss from another."""
    loss = data["loss"]
    masked = loss.startswith("masked_")
    for entry in data["cases"]:
        if set(entry["params"]) != set(parameters(loss)):
            told = f"found {', '.join(entry['params'])}, expected {', '.join(parameters(loss))}"
            raise InputError(f"{path}: {entry['id']}: params: {told}")
        if ("mask" in entry) != masked:
            raise InputError(f"{path}: {entry['id']}: mask: {loss} takes {'one' if masked else 'none'}")
        arrays = {}
        for name in ("predictions", "targets", "mask"):
            if (name in entry) != (name in entry["shape"]):
                raise InputError(f"{path}: {entry['id']}: found {name} or its shape alone, expected both")
            if name in entry:
                try:
                    numbers, shape = decode(entry[name]), entry["shape"][name]
                except ValueError as error:
                    raise InputError(f"{path}: {entry['id']}: {name}: {error}") from error
                if numbers.size != math.prod(shape):
                    raise InputError(f"{path}: {entry['id']}: {name}: found {numbers.size} numbers for shape {shape}")
                arrays[name] = numbers.reshape(shape)
        mask = arrays["mask"] == 1.0 if "mask" in arrays else None
        yield Case(
            entry["id"],
            loss,
            arrays["predictions"],
            arrays["targets"],
            mask,
            MappingProxyType(entry["params"]),
            frozenset(entry["flags"]),
            entry["note"],
        )


def _paths(folder: Path) -> Sequence[Path]:
    paths = [path for path in sorted(folder.glob("*.json")) if path.name != SCHEMA_FILE] if folder.is_dir() else []
    if not paths:
        raise InputError(f"vectors: found no JSON files in {folder}, expected what refloss vectors write makes")
    return paths


def _unfit(data: Any) -> Iterator[str]:
    rules = vectors_schema.schema()
    return vectors_schema.problems(data, rules, rules)


def _lint_schema(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield "it is missing"
    elif read_json(path) != vectors_schema.schema():
        yield "it is not the schema of this version of refloss"


def _lint_file(path: Path, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a file that fits the schema."""
    if data["specification"] != refloss.SPEC_VERSION:
        yield f"specification: found {data['specification']}, expected {refloss.SPEC_VERSION}"
    if data["numberOfCases"] != len(data["cases"]):
        yield f"numberOfCases: found {data['numberOfCases']}, and {len(data['cases'])} cases"
    if path.name != f"{data['loss']}-{data['format']}.json":
        yield f"the file's name: expected {data['loss']}-{data['format']}.json"
    named = {name: _switches(convention) for name, convention in CONVENTIONS.get(data["loss"], {}).items()}
    if data["conventions"] != named:
        yield f"conventions: expected those of refloss, {', '.join(named) or 'none'}"
    used = {flag for entry in data["cases"] for flag in entry["flags"]}
    for flag in sorted(used ^ set(data["notes"])):
        yield f"notes: {flag} {'has no note' if flag in used else 'is the flag of no case'}"
    form = find(data["format"])
    try:
        found = list(_cases(data, path))
    except InputError as error:
        yield str(error)
        return
    for entry, case in zip(data["cases"], found, strict=True):
        yield from (f"{case.id}: {line}" for line in _lint_case(entry, case, form))


def _holds(form: Format, array: Floats) -> bool:
    try:
        return np.array_equal(quantise(array, form), array, equal_nan=True)
    except InputError:  # beyond its largest
        return False


def _lint_case(entry: Mapping[str, Any], case: Case, form: Format) -> Iterator[str]:
    for name, array in (("predictions", case.predictions), ("targets", case.targets)):
        if encode(array) != entry[name]:
            yield f"{name}: numbers are not in their shortest form"
        if not _holds(form, array):
            yield f"{name}: numbers that {form.name} does not hold"
    try:
        now = {name: _golden(case, convention, form) for name, convention in _applying(case)}
    except InputError as error:
        yield f"refloss refuses it: {error}"
        return
    if set(now) != set(entry["golden"]):
        yield f"golden: found {', '.join(entry['golden'])}, expected {', '.join(now)}"
        return
    for convention, figures in now.items():
        written = entry["golden"][convention]
        for name in figures | written:
            if written.get(name) != figures.get(name):
                yield f"{convention}: {name}: not what refloss has for it"
