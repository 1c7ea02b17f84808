"""The JSON schema of a file of golden vectors, and a validator of as much of JSON Schema as it is written in.

References
----------
JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12. docs/vectors.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from refloss.conventions import LOSSES as CONVENTIONS
from refloss.conventions import Convention
from refloss.crosscheck.cases import FLAGS
from refloss.crosscheck.suites import LOSSES, REDUCTIONS
from refloss.errors import did_you_mean

SCHEMA_NAME: Final = "refloss-vectors-v1"

FORMATS: Final = ("float64", "float32")
"""The formats that golden vectors are in."""

POINTWISE_KEY: Final = "pointwise"
"""What stands in the place of a convention's name where the loss has none."""

FIGURES: Final = (
    "value",
    "elements",
    "per_structure",
    "terms.dos",
    "terms.front_tail",
    "terms.unmasked_gradient",
    "terms.cumulative",
    "grad",
)
"""The golden figures that have bounds, in the order in which they are written."""

_NUMBER: Final = r"-?0x[01](\.[0-9a-f]+)?p[+-][0-9]+"
_ANY_NUMBER: Final = rf"({_NUMBER}|nan)"
_BOUND: Final = r"(inf|[0-9]\.[0-9]{2}e[+-][0-9]+)"


def _listed(item: str) -> dict[str, Any]:
    """Return the schema of numbers in one string, a space between two; there may be none."""
    return {"type": "string", "pattern": f"^({item}( {item})*)?$"}


def schema() -> dict[str, Any]:
    """Return the schema as plain data, for `json.dumps`."""
    names = sorted({name for named in CONVENTIONS.values() for name in named})
    switches = [field.name for field in fields(Convention) if field.name != "name"]
    golden: dict[str, Any] = {name: {"$ref": "#/$defs/numbers"} for name in FIGURES}
    golden |= {f"{name}.bound": _listed(_BOUND) for name in FIGURES}
    golden["shift"] = {"$ref": "#/$defs/shifts"}
    golden["equivalent_shifts"] = {"type": "array", "items": {"$ref": "#/$defs/shifts"}, "minItems": 1}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Golden vectors of refloss",
        **_object(
            {
                "schema": {"const": SCHEMA_NAME},
                "specification": {"type": "integer", "minimum": 1},
                "refloss": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
                "loss": {"enum": list(LOSSES)},
                "format": {"enum": list(FORMATS)},
                "conventions": {
                    "type": "object",
                    "propertyNames": {"enum": names},
                    "additionalProperties": _object(
                        {name: {"type": "boolean" if name == "front_tail" else "string"} for name in switches}
                    ),
                },
                "notes": {
                    "type": "object",
                    "propertyNames": {"enum": list(FLAGS)},
                    "additionalProperties": {"type": "string", "minLength": 1},
                },
                "numberOfCases": {"type": "integer", "minimum": 1},
                "cases": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/case"}},
            }
        ),
        "$defs": {
            "case": _object(
                {
                    "id": {"type": "string", "minLength": 1},
                    "note": {"type": "string", "minLength": 1},
                    "flags": {"type": "array", "items": {"enum": list(FLAGS)}, "uniqueItems": True},
                    "params": {"$ref": "#/$defs/params"},
                    "shape": _object(
                        {name: {"$ref": "#/$defs/shape"} for name in ("predictions", "targets", "mask")}, ("mask",)
                    ),
                    "predictions": {"$ref": "#/$defs/numbers"},
                    "targets": _listed(_ANY_NUMBER),
                    "mask": _listed("[01]"),
                    "golden": {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"enum": [POINTWISE_KEY, *names]},
                        "additionalProperties": _object(golden, tuple(golden)),
                    },
                },
                optional=("mask",),
            ),
            "params": _object(
                {
                    "energy_step": {"type": "number", "exclusiveMinimum": 0},
                    "grad_weight": {"type": "number"},
                    "grad_penalty_weight": {"type": "number"},
                    "int_weight": {"type": "number"},
                    "delta": {"type": "number", "exclusiveMinimum": 0},
                    "reduction": {"enum": list(REDUCTIONS)},
                },
                optional=("energy_step", "grad_weight", "grad_penalty_weight", "int_weight", "delta"),
            ),
            "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1}},
            "numbers": _listed(_NUMBER),
            "shifts": _listed("(0|[1-9][0-9]*)"),
        },
    }


def problems(value: Any, rule: Mapping[str, Any], root: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield what of `value` does not fit `rule`, a part of the schema `root`.

    Keywords that this file does not use are not known here: a rule with one is a KeyError.
    """
    if "$ref" in rule:
        name = str(rule["$ref"]).removeprefix("#/$defs/")
        yield from problems(value, root["$defs"][name], root, where)
        return
    if "type" in rule and not _TYPES[rule["type"]](value):
        yield f"{where or 'file'}: found {_short(value)}, expected {rule['type']}"
        return
    for keyword, expected in rule.items():
        if keyword not in ("type", "$schema", "$defs", "title"):
            yield from _KEYWORDS[keyword](value, expected, rule, root, where)


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of an object that has these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}

_Arguments = tuple[Any, Any, Mapping[str, Any], Mapping[str, Any], str]


def _const(*found: Any) -> Iterator[str]:
    value, expected, _, _, where = found
    if value != expected:
        yield f"{where}: found {_short(value)}, expected {expected!r}"


def _enum(*found: Any) -> Iterator[str]:
    value, expected, _, _, where = found
    if value not in expected:
        hint = did_you_mean(value, expected) if isinstance(value, str) else ""
        yield f"{where}: found {_short(value)}, expected one of {', '.join(expected)}{hint}"


def _pattern(*found: Any) -> Iterator[str]:
    value, expected, _, _, where = found
    if not re.search(expected, value):
        yield f"{where}: found {_short(value)}, expected a match of {expected}"


def _at_least(measure: Callable[[Any], float], what: str) -> Callable[..., Iterator[str]]:
    def check(*found: Any) -> Iterator[str]:
        value, expected, _, _, where = found
        if measure(value) < expected:
            yield f"{where or 'file'}: found {_short(value)}, expected at least {expected}{what}"

    return check


def _above(*found: Any) -> Iterator[str]:
    value, expected, _, _, where = found
    if not value > expected:
        yield f"{where}: found {value!r}, expected a number > {expected}"


def _required(*found: Any) -> Iterator[str]:
    value, expected, _, _, where = found
    missing = [name for name in expected if name not in value]
    if missing:
        yield f"{where or 'file'}: found no {', '.join(missing)}"


def _properties(*found: Any) -> Iterator[str]:
    value, expected, _, root, where = found
    for name, rule in expected.items():
        if name in value:
            yield from problems(value[name], rule, root, f"{where}.{name}".lstrip("."))


def _additional(*found: Any) -> Iterator[str]:
    value, expected, rule, root, where = found
    for name in value:
        if name in rule.get("properties", {}):
            continue
        if expected is False:
            hint = did_you_mean(name, rule["properties"])
            yield f"{where or 'file'}: found {name!r}, which is none of its keys{hint}"
        else:
            yield from problems(value[name], expected, root, f"{where}.{name}".lstrip("."))


def _names(*found: Any) -> Iterator[str]:
    value, expected, _, root, where = found
    for name in value:
        yield from problems(name, expected, root, f"{where}: a key")


def _items(*found: Any) -> Iterator[str]:
    value, expected, _, root, where = found
    for place, item in enumerate(value):
        yield from problems(item, expected, root, f"{where}[{place}]")


def _unique(*found: Any) -> Iterator[str]:
    value, _, _, _, where = found
    if len(set(map(repr, value))) < len(value):
        yield f"{where}: found an entry twice in {_short(value)}"


_KEYWORDS: Final[Mapping[str, Callable[..., Iterator[str]]]] = {
    "const": _const,
    "enum": _enum,
    "pattern": _pattern,
    "minimum": _at_least(float, ""),
    "minLength": _at_least(len, " characters"),
    "minItems": _at_least(len, " entries"),
    "minProperties": _at_least(len, " entries"),
    "exclusiveMinimum": _above,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "uniqueItems": _unique,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
