"""The JSON schema of the section: a valid one of its draft, in step with the expansion."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from options_invalid import INVALID, Invalid
from options_valid import VALID, Valid

from refloss import ConfigError, expand_loss
from refloss.options import schema
from refloss.options_source import Problems, read_yaml
from refloss.section import LOSS_TYPES, REDUCTIONS, LossType

VALIDATOR = jsonschema.Draft202012Validator(schema())


def section_of(text: str, tmp_path: Path) -> Any:
    path = tmp_path / "options.yaml"
    path.write_text(text, encoding="utf-8")
    options = read_yaml(path, Problems()).value
    if not isinstance(options, Mapping):
        return {}
    return options.get("loss", options.get("architecture", {}).get("training", {}).get("loss", {}))


def test_it_is_a_schema_and_plain_data() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("example", VALID, ids=lambda example: example.name)
def test_it_takes_every_valid_example_short_and_expanded(example: Valid, tmp_path: Path) -> None:
    VALIDATOR.validate(section_of(example.text, tmp_path))
    VALIDATOR.validate(example.expanded)


def finite(value: Any) -> bool:
    """Say whether JSON could hold it: a schema cannot tell an infinity or NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return all(finite(item) for item in value.values())
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("example", [e for e in INVALID if e.in_schema], ids=lambda example: example.name)
def test_it_rejects_what_it_can_see(example: Invalid, tmp_path: Path) -> None:
    section = section_of(example.clean, tmp_path)
    assert not VALIDATOR.is_valid(section)
    if isinstance(section, Mapping):  # each target is wrong, so each alone is rejected
        for name, entry in section.items():
            assert not finite(entry) or not VALIDATOR.is_valid({name: entry}), name


keys = {
    "type": st.sampled_from([*LOSS_TYPES, "hubber"]),
    "weight": st.sampled_from([2, 0.5, "1.0", True]),
    "reduction": st.sampled_from([*REDUCTIONS, "avg"]),
    "delta": st.sampled_from([0.5, 0, 3]),
    "grad_weight": st.just(1e-4),
    "extra_targets": st.sampled_from([200, -1]),
    "convention": st.sampled_from(["documented", "metatrain-2026.2", "other"]),
}
parts = st.sampled_from([*LOSS_TYPES]) | st.fixed_dictionaries({}, optional=keys)
targets = st.fixed_dictionaries(
    {},
    optional={
        **keys,
        "forces": parts,
        "stress": parts,
        "virial": parts,
        "gradients": st.dictionaries(st.sampled_from(["positions", "strain", "k"]), parts),
    },
)


@given(st.dictionaries(st.sampled_from(["energy", "mtt::dos"]), targets, min_size=1))
def test_what_it_rejects_is_always_an_error(section: dict[str, Any]) -> None:
    try:
        expand_loss({"loss": section})
    except ConfigError:
        # Without halves that are merged, the two agree the other way round too.
        if not any("gradients" in entry for entry in section.values()):
            assert not VALIDATOR.is_valid(section)
    else:
        VALIDATOR.validate(section)


def test_a_type_of_the_registry_needs_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = LossType("toy:toy", keys={"delta": "count", "alpha": "positive"}, defaults={"alpha": 2.5})
    monkeypatch.setitem(LOSS_TYPES, "toy", toy)
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid({"energy": {"type": "toy", "alpha": 1.0, "delta": 0, "forces": "toy"}})
    assert not validator.is_valid({"energy": {"type": "toy", "grad_weight": 1.0}})
    assert not validator.is_valid({"energy": {"type": "toy", "delta": 0.5}})
    assert validator.is_valid({"energy": {"type": "huber", "delta": 0.5}})
    assert not validator.is_valid({"energy": {"type": "huber", "alpha": 0.5}})
    assert not validator.is_valid({"energy": {"alpha": 0.5}})


def test_an_editor_finds_something_to_show() -> None:
    definitions = schema()["$defs"]
    lines = definitions["type"]["description"].split("\n")
    for (name, loss), line in zip(LOSS_TYPES.items(), lines, strict=True):
        assert line.startswith(f"{name}: ")
        assert ("<target>_mask" in line) == loss.masked
    target = next(form for form in definitions["target"]["anyOf"] if "properties" in form)
    for key in {key for loss in LOSS_TYPES.values() for key in loss.keys} | {"weight", "reduction"}:
        assert target["properties"][key]["description"]
    assert target["properties"]["delta"]["default"] == 1.0
