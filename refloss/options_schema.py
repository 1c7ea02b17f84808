"""What every entry of a `loss` section may hold, and the section's JSON schema, for editors that complete and check.

It is built from the registry of loss types, so it knows what `refloss.options` knows. A schema sees the section alone:
what depends on the training set (which targets there are, which of them are energy-like), and whether a written number
is finite or ``200.0`` an integer, only `refloss.options` can tell. What the schema rejects is always an error there.

References
----------
JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12. docs/specification.md, section 6.
"""

from __future__ import annotations

from typing import Any, Final

from refloss import conventions
from refloss.section import LOSS_TYPES, REDUCTIONS, KeyKind, LossType

SHORTHANDS: Final = {"forces": "positions", "stress": "strain", "virial": "strain"}
"""What an energy-like target may call its gradients, to what they become."""

COMMON: Final[dict[str, Any]] = {"type": "mse", "weight": 1.0, "reduction": "mean"}
"""The keys that every type has, to their defaults."""

Schema = dict[str, Any]

_KINDS: Final[dict[KeyKind, Schema]] = {
    "number": {"type": "number"},
    "positive": {"type": "number", "exclusiveMinimum": 0},
    "count": {"type": "integer", "minimum": 0},
}


def schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of the `loss` section of metatrain options.

    Returns
    -------
    dict
        Plain data, for `json.dumps`.

    References
    ----------
    docs/specification.md, section 6.
    """
    either = {
        "anyOf": [
            {"$ref": "#/$defs/type"},
            {
                "type": "object",
                "description": "Each target's loss; targets of the training set that are left out get the defaults.",
                "additionalProperties": {"$ref": "#/$defs/target"},
            },
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The loss section of metatrain options",
        "description": "One loss type for every target and gradient, or a mapping of targets.",
        **either,
        "$defs": {
            "type": {"enum": list(LOSS_TYPES), "default": COMMON["type"], "description": _describe_types()},
            "target": {"anyOf": [{"$ref": "#/$defs/type"}, _entry(target=True)]},
            "gradient": {"anyOf": [{"$ref": "#/$defs/type"}, _entry(target=False)]},
            "gradient_part": {"anyOf": [{"$ref": "#/$defs/type"}, _part()]},
        },
    }


def _entry(*, target: bool) -> Schema:
    """Return the schema of a target or gradient that stands on its own: exactly the keys of its type."""
    gradients = _gradients("gradient") if target else {}
    branches = []
    for name, loss in LOSS_TYPES.items():
        properties = _common() | {key: _key(key, loss) for key in loss.keys} | dict.fromkeys(gradients, True)
        chosen: Schema = {"properties": {"type": {"const": name}}}
        if name != COMMON["type"]:  # the default is what an entry without a type has
            chosen["required"] = ["type"]
        branches.append({"if": chosen, "then": {"properties": properties, "additionalProperties": False}})
    entry: Schema = {"type": "object", "properties": _part()["properties"], "allOf": branches}
    if not target:
        return entry
    # A shorthand and an entry of `gradients` are merged key by key: neither needs to be valid alone.
    both = {"required": ["gradients"], "anyOf": [{"required": [shorthand]} for shorthand in SHORTHANDS]}
    return entry | {
        "if": both,
        "then": {"properties": _gradients("gradient_part")},
        "else": {"properties": gradients},
        "not": {"required": ["stress", "virial"]},
    }


def _part() -> Schema:
    """Return the schema of an entry whose type may stand elsewhere: any key of any type."""
    properties = _common()
    for key in dict.fromkeys(key for loss in LOSS_TYPES.values() for key in loss.keys):
        forms = [_key(key, loss) for loss in LOSS_TYPES.values() if key in loss.keys]
        told = {"description": forms[0]["description"]}
        properties[key] = forms[0] if forms.count(forms[0]) == len(forms) else {"anyOf": forms} | told
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _common() -> Schema:
    return {
        "type": {"$ref": "#/$defs/type"},
        "weight": {
            "type": "number",
            "default": COMMON["weight"],
            "description": "What the term is multiplied with in the total.",
        },
        "reduction": {
            "enum": list(REDUCTIONS),
            "default": COMMON["reduction"],
            "description": "How the elements (or structures) of a term become one number.",
        },
    }


def _gradients(form: str) -> Schema:
    """Return where an entry's gradients may stand: under `gradients`, and as shorthands."""
    one = {"$ref": f"#/$defs/{form}"}
    explicit = {
        "type": "object",
        "additionalProperties": one,
        "description": "The losses of the target's gradients by name; merged over the shorthands key by key.",
    }
    return {"gradients": explicit} | {
        shorthand: one | {"description": f"Short for gradients.{gradient}, for energy-like targets."}
        for shorthand, gradient in SHORTHANDS.items()
    }


def _key(key: str, loss: LossType) -> Schema:
    kind = loss.keys[key]
    takers = ", ".join(name for name, other in LOSS_TYPES.items() if key in other.keys)
    form: Schema = {"enum": list(conventions.names(loss.conventions))} if kind == "convention" else dict(_KINDS[kind])
    form["description"] = f"Of {takers}."
    if key in loss.defaults:
        form["default"] = loss.defaults[key]
    return form


def _describe_types() -> str:
    """Say of each type what it takes and needs."""
    lines = []
    for name, loss in LOSS_TYPES.items():
        takes = f"takes {', '.join(loss.keys)}" if loss.keys else "takes no further keys"
        needs = "; needs <target>_mask in the extra data" if loss.masked else ""
        if loss.ensemble:
            needs = "; reads energy_ensemble or mtt::aux::<target>_ensemble of the predictions, not for gradients"
        lines.append(f"{name}: {takes}{needs}.")
    return "\n".join(lines)
