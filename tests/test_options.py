"""The expansion of the `loss` section: every row of the specification's section 6, valid and not."""

from __future__ import annotations

import copy
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from options_invalid import INVALID, Invalid
from options_valid import VALID, Valid, target, term

import refloss
from refloss import ConfigError, expand_loss, load_options
from refloss.options import dump
from refloss.options_source import Place, Problems, read_yaml
from refloss.section import LOSS_TYPES, REDUCTIONS, LossType

valid = pytest.mark.parametrize("example", VALID, ids=lambda example: example.name)
invalid = pytest.mark.parametrize("example", INVALID, ids=lambda example: example.name)


def read(text: str, tmp_path: Path) -> Any:
    """Read YAML by the package's own reader, as plain dicts and lists without positions."""
    path = tmp_path / "read.yaml"
    path.write_text(text, encoding="utf-8")
    return plain(read_yaml(path, Problems()).value)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def said(call: Any, *args: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(*args)
    return str(caught.value).split("\n")


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types_of(item) for key, item in value.items()}
    return type(value)


# Files and mappings


@valid
def test_valid_file(example: Valid, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(example.text, encoding="utf-8")
    section = load_options(path)
    assert section.losses == example.expanded
    assert types_of(section.losses) == types_of(example.expanded)  # 2 == 2.0, but a weight must be the float
    assert section.named == example.named


@valid
def test_valid_mapping_is_not_changed(example: Valid, tmp_path: Path) -> None:
    options = read(example.text, tmp_path)
    before = copy.deepcopy(options)
    expanded = expand_loss(options)
    assert expanded == example.expanded
    assert list(expanded) == list(example.expanded)  # targets in the order in which the options give them
    assert options == before
    for entry in expanded.values():  # nothing in the result is shared with the input, or within itself
        entry["gradients"]["new"] = entry["weight"] = 0.0
    assert options == before
    assert expand_loss(options) == example.expanded


@invalid
def test_invalid_file(example: Invalid, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(example.clean, encoding="utf-8")
    lines = said(load_options, path)
    assert [line.split(": ")[0] for line in lines] == [f"{path}:{line}:{column}" for line, column in example.marks]
    for line, parts in zip(lines, example.said, strict=True):
        for part in parts:
            assert part in line


@invalid
def test_invalid_mapping_says_the_same_without_places(example: Invalid, tmp_path: Path) -> None:
    options = read(example.clean, tmp_path)
    lines = said(expand_loss, options)
    expected = [parts for parts in example.said if "duplicate key 'weight'" not in parts]
    assert len(lines) == len(expected)
    for parts in expected:
        assert any(all(part in line for part in parts) for line in lines)
    assert not any(re.search(r":\d+:\d+:", line) for line in lines)


def test_load_options_takes_mappings_and_paths_as_strings(tmp_path: Path) -> None:
    options = {"loss": {"energy": {"forces": "mae"}}, "training_set": "a.xyz"}
    expected = {"energy": target(gradients={"positions": term("mae"), "strain": term()})}
    from_mapping = load_options(options)
    (tmp_path / "o.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    from_string = load_options(str(tmp_path / "o.yaml"))
    for section in (from_mapping, from_string):
        assert isinstance(section, refloss.LossSection)
        assert section.losses == expected
        assert section.named == {"energy/positions"}


@pytest.mark.parametrize("source", [None, 3, ["loss"], b"options.yaml"])
def test_a_source_that_is_neither_path_nor_mapping(source: Any) -> None:
    assert "source: found" in said(load_options, source)[0]
    assert "expected a path or a mapping" in said(load_options, source)[0]


@pytest.mark.parametrize("options", [None, "options.yaml", [{"loss": "mse"}], 1.0])
def test_options_that_are_no_mapping(options: Any) -> None:
    assert "options: found" in said(expand_loss, options)[0]


# Values that only Python can give


@pytest.mark.parametrize("weight", [np.float32(0.5), np.float64(0.5), Fraction(1, 2), 0.5])
def test_real_numbers_of_any_kind_become_floats(weight: Any) -> None:
    found = expand_loss({"loss": {"energy": {"weight": weight}}})["energy"]["weight"]
    assert type(found) is float
    assert found == 0.5


def test_numpy_integers_count() -> None:
    found = expand_loss({"loss": {"d": {"type": "masked_dos", "extra_targets": np.int64(3)}}})["d"]["extra_targets"]
    assert type(found) is int
    assert found == 3


OTHER_WEIGHTS = [10**5000, 10**400, np.float64("nan"), np.bool_(True), 1j, np.ones(3), np.array(1.0), b"1", {"a": 1}]


@pytest.mark.parametrize("weight", OTHER_WEIGHTS, ids=range(len(OTHER_WEIGHTS)))  # pytest cannot print the first
def test_other_weights_are_one_line_of_error(weight: Any) -> None:
    (line,) = said(expand_loss, {"loss": {"energy": {"weight": weight}}})
    assert re.match(r"loss\.energy\.weight: found .+, expected a finite number", line)
    assert len(line) < 200


def test_an_array_as_a_type_is_an_error() -> None:
    (line,) = said(expand_loss, {"loss": {"energy": {"type": np.array(["mse", "mae"])}}})
    assert "loss.energy.type: found" in line


def test_keys_that_would_break_the_line_are_quoted() -> None:
    (line,) = said(expand_loss, {"loss": {"a\nb": {"weight": None}, "energy": "mse"}})
    assert line.startswith(r"loss.'a\nb'.weight: found nothing")


def test_tuples_are_lists_of_data_sets() -> None:
    options = {"training_set": ({"targets": {"energy": {"stress": False}}}, "b.xyz")}
    assert expand_loss(options) == {"energy": target(gradients={"positions": term(), "strain": term()})}


# The registry is the only place that knows types


def test_a_type_of_the_registry_needs_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = LossType(
        "toy:toy",
        keys={"alpha": "positive", "beta": "count", "convention": "convention"},
        defaults={"alpha": 2.5},
        conventions=("left", "right"),
    )
    monkeypatch.setitem(LOSS_TYPES, "toy", toy)
    options = {"loss": {"energy": {"type": "toy", "beta": 3, "convention": "left", "forces": "toy"}}}
    expected = term("toy", alpha=2.5, beta=3, convention="left") | {"gradients": {"positions": term("toy", alpha=2.5)}}
    assert expand_loss(options) == {"energy": expected}
    bad = {"type": "toy", "beta": 1.5, "convention": "lefft", "alpha": 0, "delta": 1.0}
    lines = said(expand_loss, {"loss": {"energy": bad}})
    assert "did you mean 'left'?" in "".join(lines)
    assert "toy takes no 'delta', its keys are type, weight, reduction, alpha, beta, convention" in "".join(lines)
    assert len(lines) == 4


# The expanded section is a fixed point


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
VALUES = {"number": finite, "positive": positive, "count": st.integers(0, 10**6)}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(LOSS_TYPES)))
    loss = LOSS_TYPES[name]
    entry = {"type": name, "weight": draw(finite), "reduction": draw(st.sampled_from(REDUCTIONS))}
    for key, kind in loss.keys.items():
        if key in loss.defaults or draw(st.booleans()):
            entry[key] = draw(st.sampled_from(loss.conventions) if kind == "convention" else VALUES[kind])
    return entry


# Names that no shorthand or key of an entry has, so that the section can also stand without a training set.
names = st.text(min_size=1).filter(lambda name: name not in {"type", "weight", "reduction", "gradients"})
names = names.filter(lambda name: name not in {"forces", "stress", "virial"})
sections = st.dictionaries(
    names,
    st.builds(
        lambda entry, gradients: {**entry, "gradients": gradients},
        entries(),
        st.dictionaries(names, entries(), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@given(sections)
def test_an_expanded_section_expands_to_itself(section: dict[str, Any]) -> None:
    assert expand_loss({"loss": section}) == section
    off = {"forces": False, "stress": False}
    assert expand_loss({"loss": section, "training_set": {"targets": dict.fromkeys(section, off)}}) == section


@given(sections)
def test_dump_loads_back_to_the_same_section(tmp_path_factory: pytest.TempPathFactory, section: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump(section), encoding="utf-8", newline="")
    loaded = load_options(path)
    assert loaded.losses == section
    assert types_of(loaded.losses) == types_of(section)
    assert loaded.named == {f"{name}/{gradient}" for name, entry in section.items() for gradient in entry["gradients"]}


@valid
def test_dump_of_the_examples(example: Valid, tmp_path: Path) -> None:
    text = dump(expand_loss(read(example.text, tmp_path)))
    assert read(text, tmp_path) == {"loss": example.expanded}
    assert "&" not in text  # no anchors: every entry is written out
    assert list(read(text, tmp_path)["loss"]) == list(example.expanded)


@pytest.mark.parametrize("name", ["1e5", "on", "null", "1", ".5", "2024-01-01", "<<", "=", "~", "a: b", "#a", "é", ""])
def test_dump_quotes_names_that_yaml_would_read_as_something_else(name: str, tmp_path: Path) -> None:
    section = {name: target(gradients={name: term()})}
    assert read(dump(section), tmp_path) == {"loss": section}


def test_a_place_names_itself() -> None:
    place = Place({"a": [{"b": 1}]}).entries()["a"].entries()[0].entries()["b"]
    assert (place.path, place.value, place.mark) == ("a[0].b", 1, None)
