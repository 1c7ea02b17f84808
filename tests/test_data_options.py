"""The data that options name: shorthands, defaults, which set is meant, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from refloss import ConfigError
from refloss.data_options import DataSection, DataSet, data_section, per_structure_targets
from refloss.files import GradientSource, Quantity
from refloss.options_source import Place, Problems, place_of


def section(options: Any, which: str | None = None) -> DataSection:
    """Return a section of options that have nothing wrong with them."""
    problems = Problems()
    found = data_section(Place(options), problems, which)
    problems.raise_any()
    assert found is not None
    return found


def one(options: Any) -> DataSet:
    """Return the one training set of options."""
    (found,) = section({"training_set": options}).sets
    return found


def wrong(options: Any, which: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        section(options, which)
    return str(caught.value)


def names(data: DataSet) -> dict[str, str]:
    """Return the file of each target and extra data."""
    return {name: source.file.place.value for name, source in {**data.targets, **data.extra_data}.items()}


FORCES, STRESS = GradientSource("forces", "forces"), GradientSource("stress", "stress")


def test_a_file_alone_is_an_energy_with_forces_and_stress() -> None:
    found = one("dataset.xyz")
    assert found.systems.place.value == "dataset.xyz"
    (energy,) = found.targets.values()
    assert energy.quantity == Quantity("energy", "energy", False, (1,), {"positions": FORCES, "strain": STRESS})
    assert names(found) == {"energy": "dataset.xyz"}
    assert found.extra_data == {}
    assert found.indices is None


def test_what_is_not_said_is_the_file_of_the_structures_and_the_name_of_the_target() -> None:
    found = one(
        {
            "systems": {"read_from": "a.xyz", "reader": "ase", "length_unit": None},
            "targets": {"energy": {"unit": "eV"}, "mtt::x": "x.mts", "mtt::y": {"read_from": None, "key": None}},
            "extra_data": {"mtt::x_mask": {"read_from": "m.mts", "reader": None}, "mtt::y_mask": {"key": "mask"}},
        }
    )
    assert names(found) == {
        "energy": "a.xyz",
        "mtt::x": "x.mts",
        "mtt::y": "a.xyz",
        "mtt::x_mask": "m.mts",
        "mtt::y_mask": "a.xyz",
    }
    quantities = {name: source.quantity for name, source in {**found.targets, **found.extra_data}.items()}
    assert [quantity.key for quantity in quantities.values()] == ["energy", "mtt::x", "mtt::y", "mtt::x_mask", "mask"]
    assert [bool(quantity.gradients) for quantity in quantities.values()] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        ({}, {"positions": FORCES, "strain": STRESS}),
        ({"forces": True, "stress": True}, {"positions": FORCES, "strain": STRESS}),
        ({"forces": False}, {"strain": STRESS}),
        ({"stress": False, "virial": False}, {"positions": FORCES}),
        ({"virial": True}, {"positions": FORCES, "strain": GradientSource("virial", "virial")}),
        ({"virial": {"key": "w"}, "stress": False}, {"positions": FORCES, "strain": GradientSource("virial", "w")}),
        (
            {"forces": {"key": "f"}, "stress": {"key": None}},
            {"positions": GradientSource("forces", "f"), "strain": STRESS},
        ),
        ({"forces": {"read_from": "a.xyz"}}, {"positions": FORCES, "strain": STRESS}),
        ({"sample_kind": "atom"}, {}),
        ({"num_subtargets": 2}, {}),
        ({"type": {"cartesian": {"rank": 1}}}, {}),
    ],
)
def test_gradients(energy: dict[str, Any], expected: dict[str, GradientSource]) -> None:
    for name, extra in (("energy", {}), ("mtt::etot", {"quantity": "energy"})):
        found = one({"systems": "a.xyz", "targets": {name: energy | extra}})
        assert found.targets[name].quantity.gradients == expected
        assert found.targets[name].elsewhere == {}


def test_gradients_in_files_of_their_own() -> None:
    energy = {"read_from": "e.xyz", "forces": "f.xyz", "stress": {"read_from": "s.xyz", "key": "sigma"}}
    source = one({"systems": "a.xyz", "targets": {"energy": energy}}).targets["energy"]
    assert source.quantity.gradients == {}
    found = {name: (described, file.place.value) for name, (described, file) in source.elsewhere.items()}
    assert found == {"positions": (FORCES, "f.xyz"), "strain": (GradientSource("stress", "sigma"), "s.xyz")}


@pytest.mark.parametrize(
    ("target", "per_atom", "row"),
    [
        ({"num_subtargets": 7}, False, (7,)),
        ({"type": "scalar", "per_atom": True}, True, (1,)),
        ({"per_atom": False, "sample_kind": "system"}, False, (1,)),
        ({"sample_kind": "atom_pair", "num_subtargets": 2}, None, (2,)),
        ({"type": {"cartesian": {"rank": 1}}, "num_subtargets": 10, "sample_kind": "atom"}, True, (3, 10)),
        ({"type": {"Cartesian": {"rank": 2}}}, False, (3, 3, 1)),
        ({"type": {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}}, "num_subtargets": 4}, False, (5, 4)),
        ({"type": {"spherical": {"irreps": [{"o3_lambda": 1, "o3_sigma": -1, "num": 3}]}}}, False, (3, 3)),
        ({"type": {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}] * 2}}}, False, None),
        ({"type": {"spherical": {"irreps": {1: [{"o3_lambda": 0, "o3_sigma": 1}]}}}}, False, None),
        ({"type": {"spherical": {"irreps": [{"o3_lambda": 1, "o3_sigma": 1}], "product": "coupled"}}}, False, None),
    ],
)
def test_rows(target: dict[str, Any], per_atom: bool | None, row: tuple[int, ...] | None) -> None:
    for part in ("targets", "extra_data"):
        data = {"systems": "a.xyz", "targets": {"energy": {}}} | {part: {"mtt::t": target}}
        quantity = getattr(one(data), part)["mtt::t"].quantity
        assert (quantity.per_atom, quantity.row) == (per_atom, row)


A, B = {"systems": "a.xyz", "targets": {"energy": {}}}, {"systems": "b.xyz", "targets": {"energy": {}}}


@pytest.mark.parametrize(
    ("test_set", "which", "name", "file"),
    [
        (B, None, "test_set", "b.xyz"),
        ("b.xyz", None, "test_set", "b.xyz"),
        ([B, B], None, "test_set", "b.xyz"),
        ({"indices": [1]}, None, "test_set", "a.xyz"),
        (0.1, None, "training_set", "a.xyz"),
        (0, None, "training_set", "a.xyz"),
        (None, None, "training_set", "a.xyz"),
        (B, "training_set", "training_set", "a.xyz"),
        (0.25, "test_set", "test_set", "a.xyz"),
    ],
)
def test_which_set_is_meant(test_set: Any, which: str | None, name: str, file: str) -> None:
    found = section({"training_set": A, "test_set": test_set, "validation_set": 0.5}, which)
    assert found.name == name
    assert {one.systems.place.value for one in found.sets} == {file}
    assert len(found.sets) == (2 if isinstance(test_set, list) and which is None else 1)
    assert found.drawn == (test_set if which == "test_set" else None)


def test_indices() -> None:
    (found,) = section({"training_set": A | {"indices": [3, 1]}}).sets
    assert found.indices is not None
    assert found.indices.value == [3, 1]
    options = {"training_set": A | {"indices": "train.txt"}, "test_set": {"indices": "test.txt"}}
    for which, file in (("training_set", "train.txt"), ("test_set", "test.txt")):
        (found,) = section(options, which).sets
        assert found.indices is not None
        assert found.indices.value == file
    # A part of the training set is told by other indices than its own.
    assert section(options | {"test_set": 0.1}, "test_set").drawn == 0.1


def test_the_options_of_an_evaluation() -> None:
    assert section(A).name == "options"
    assert [one.systems.place.value for one in section([A, B]).sets] == ["a.xyz", "b.xyz"]
    assert wrong(A, "test_set").startswith("test_set: found options of an evaluation")


def test_targets_that_are_not_divided() -> None:
    training = {"per_structure_targets": ["mtt::dos"]}
    problems = Problems()
    assert per_structure_targets(Place({"architecture": {"training": training}}), problems) == ("mtt::dos",)
    for options in ({}, {"architecture": "pet"}, {"architecture": {"training": None}}):
        assert per_structure_targets(Place(options), problems) == ()
    problems.raise_any()
    for value in ("mtt::dos", [1], {"a": 1}):
        problems = Problems()
        per_structure_targets(Place({"architecture": {"training": {"per_structure_targets": value}}}), problems)
        with pytest.raises(ConfigError, match=r"architecture\.training\.per_structure_targets: found"):
            problems.raise_any()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"targets": {"energy": {}}}, "training_set: found no 'systems', expected the file"),
        ({"systems": {"length_unit": "A"}, "targets": {"energy": {}}}, "systems: found no 'read_from', expected"),
        ({"systems": 3, "targets": {"energy": {}}}, "training_set.systems: found 3, expected a file name or a mapping"),
        ({"systems": "", "targets": {"energy": {}}}, "training_set.systems: found '' (a string), expected the name"),
        ({"systems": "${a.b}", "targets": {"energy": {}}}, "'${a.b}' (a string), an interpolation of OmegaConf"),
        ({"systems": {"read_from": "a", "reader": "asee"}, "targets": {"energy": {}}}, "reader: found 'asee'"),
        ({"system": "a.xyz", "targets": {"energy": {}}}, "unknown key 'system' (did you mean 'systems'?)"),
        ({"systems": "a.xyz"}, "training_set: found no targets"),
        (
            {"systems": "a.xyz", "targets": ["energy"]},
            "training_set.targets: found a list, expected a mapping of targets",
        ),
        ({"systems": "a.xyz", "targets": {"energy": 3}}, "training_set.targets.energy: found 3, expected a file name"),
        ({"systems": "a.xyz", "targets": {"e": {"key": 3}}}, "targets.e.key: found 3, expected a string"),
        ({"systems": "a.xyz", "targets": {"e": {"num_subtargets": 0}}}, "num_subtargets: found 0, expected an integer"),
        ({"systems": "a.xyz", "targets": {"e": {"sample_kind": "atoms"}}}, "sample_kind: found 'atoms' (a string)"),
        ({"systems": "a.xyz", "targets": {"e": {"per_atom": 1}}}, "per_atom: found 1, expected true or false"),
        (
            {"systems": "a.xyz", "targets": {"e": {"per_atom": True, "sample_kind": "system"}}},
            "per_atom: found true (a boolean), but sample_kind is system",
        ),
        (
            {"systems": "a.xyz", "targets": {"e": {"type": "vector"}}},
            "type: found 'vector' (a string), expected scalar",
        ),
        ({"systems": "a.xyz", "targets": {"e": {"type": {"cartesian": {}}}}}, "type: found a mapping, expected scalar"),
        ({"systems": "a.xyz", "targets": {"energy": {"stress": True, "virial": True}}}, "both stress and virial"),
        ({"systems": "a.xyz", "targets": {"e": {}}, "extra_data": {"e": {}}}, "'e' as a target and as extra data"),
        (
            {"systems": "a.xyz", "targets": {"e": {}}, "indices": [1, -1]},
            "training_set.indices: found a list, expected",
        ),
        ({"systems": "a.xyz", "targets": {"e": {}}, "indices": 3}, "training_set.indices: found 3, expected integers"),
        ([], "training_set: found an empty list"),
        (3, "training_set: found 3, expected a file name or a mapping"),
    ],
)
def test_what_is_wrong_is_said(data: Any, message: str) -> None:
    assert message in wrong({"training_set": data})


@pytest.mark.parametrize(
    ("options", "which", "message"),
    [
        ({"training_set": A}, "test_set", "test_set: the options have no test_set, they have training_set"),
        ({"loss": "mse"}, None, "training_set: the options have no training_set, they have no data at all"),
        ({"test_set": 0.1}, "test_set", "test_set: found 0.1, a part of the training_set, and there is none"),
        ({"training_set": [A, B], "test_set": {"indices": [0]}}, None, "test_set: found indices alone, expected data"),
        ({"training_set": A, "test_set": True}, "test_set", "test_set: found true (a boolean), expected data sets"),
        ({"training_set": A, "test_st": B}, None, "unknown key 'test_st' (did you mean 'test_set'?)"),
    ],
)
def test_sets_that_are_not_there(options: Any, which: str | None, message: str) -> None:
    assert message in wrong(options, which)


def test_all_that_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(
        "training_set:\n  systems: a.xyz\n  targets:\n    energy: {unit: eV, key: 3}\n    mtt::x: {per_atom: maybe}\n"
    )
    root, problems = place_of(path)
    data_section(root, problems)
    with pytest.raises(ConfigError) as caught:
        problems.raise_any()
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}:4:29: training_set.targets.energy.key: found 3")
    assert second.startswith(f"{path}:5:24: training_set.targets.mtt::x.per_atom: found 'maybe'")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 4), st.floats(), st.sampled_from(["", "a.xyz", "ase", "atom"])
)
WORDS = """systems targets extra_data indices read_from reader key quantity energy mtt::x forces stress virial type
per_atom sample_kind num_subtargets cartesian spherical rank irreps o3_lambda num product"""
KEYS = st.sampled_from(WORDS.split())
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(0, 1), inner, max_size=5)
)


@given(training=ANYTHING, test=ANYTHING, which=st.sampled_from([None, "training_set", "test_set", "validation_set"]))
@settings(max_examples=300)
def test_whatever_stands_there_is_read_or_refused(training: Any, test: Any, which: str | None) -> None:
    problems = Problems()
    found = data_section(Place({"training_set": training, "test_set": test}), problems, which)
    try:
        problems.raise_any()
    except ConfigError:
        return
    assert found is not None
    for data in found.sets:
        for source in (*data.targets.values(), *data.extra_data.values()):
            assert isinstance(source.file.place.value, str)
            assert source.quantity.row is None or all(n > 0 for n in source.quantity.row)


def test_nothing_of_yaml_is_lost_on_the_way() -> None:
    """The older form of the documentation: null for what is not said."""
    text = """
    training_set:
      systems: {read_from: all.xyz, reader: ase, length_unit: null}
      targets:
        mtt::dos: {quantity: null, read_from: D.mts, reader: metatensor, key: dos, unit: null, per_atom: False}
      extra_data:
        mtt::dos_mask: {quantity: null, read_from: all.xyz, reader: ase, key: m, per_atom: no, num_subtargets: 40}
    """
    found = one(yaml.safe_load(text)["training_set"])
    assert found.targets["mtt::dos"].file.reader == "metatensor"
    assert found.extra_data["mtt::dos_mask"].quantity == Quantity("mtt::dos_mask", "m", False, (40,))
