"""Reading YAML: the dialect, the positions, and what makes a file unreadable."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from refloss import ConfigError
from refloss.options import load_options
from refloss.options_source import MAX_BYTES, MAX_DEPTH, Place, Problems, read_yaml, write_yaml


def read(text: str | bytes, tmp_path: Path) -> Place:
    """Read a text without problems."""
    problems = Problems("file")
    place = read_raw(text, tmp_path, problems)
    problems.raise_any()
    return place


def read_raw(text: str | bytes, tmp_path: Path, problems: Problems) -> Place:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, problems)


def problems_of(text: str, tmp_path: Path) -> list[str]:
    """Return the problems of a text that can be read, as line:column: message."""
    problems = Problems("")
    read_raw(text, tmp_path, problems)
    with pytest.raises(ConfigError) as caught:
        problems.raise_any()
    return [line.removeprefix(":") for line in str(caught.value).split("\n")]


def unreadable(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_options(path)
    (line,) = str(caught.value).split("\n")
    assert line.startswith(str(path))
    return line.removeprefix(str(path))


# The dialect


@pytest.mark.parametrize("text", ["true", "True", "on", "On", "yes", "YES"])
def test_true(text: str, tmp_path: Path) -> None:
    assert read(f"a: {text}", tmp_path).value == {"a": True}


@pytest.mark.parametrize("text", ["false", "FALSE", "off", "Off", "no", "No"])
def test_false(text: str, tmp_path: Path) -> None:
    assert read(f"a: {text}", tmp_path).value["a"] is False


FLOATS = [
    "1e-4",
    "1E5",
    ".5e-3",
    "-.5",
    "+.5",
    "-1e-4",
    "+1E+5",
    "1.e3",
    "1.5e3",
    "1.5e+3",
    "1.5E-3",
    ".5",
    "5.",
    "0.5",
]
FLOATS += ["-0.0", "1e0", "00.5", "12e03", "1_000.5", "1_0.5e2", "-.5e1"]


@pytest.mark.parametrize("text", FLOATS)
def test_floats(text: str, tmp_path: Path) -> None:
    value = read(f"a: {text}", tmp_path).value["a"]
    assert type(value) is float
    assert value == float(text)
    assert math.copysign(1, value) == math.copysign(1, float(text))


@pytest.mark.parametrize(("text", "value"), [("200", 200), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("0", 0)])
def test_integers(text: str, value: int, tmp_path: Path) -> None:
    found = read(f"a: {text}", tmp_path).value["a"]
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("text", [".inf", "+.Inf", "-.INF", ".nan", ".NaN"])
def test_what_is_not_finite_is_still_a_float(text: str, tmp_path: Path) -> None:
    value = read(f"a: {text}", tmp_path).value["a"]
    assert type(value) is float
    assert not math.isfinite(value)


STRINGS = ["none", "None", "nan", "inf", "y", "n", "=", "2024-01-01"]
STRINGS += ["e5", "1e", "e", ".", "1e-", "1.2.3", "1e5e5", ".e5", "1_0e1_0", "1e1.5", "1e5 eV"]


@pytest.mark.parametrize("text", STRINGS)
def test_strings(text: str, tmp_path: Path) -> None:
    assert read(f"a: {text}", tmp_path).value == {"a": text}


@pytest.mark.parametrize("text", ["~", "null", "Null", "NULL", ""])
def test_null(text: str, tmp_path: Path) -> None:
    assert read(f"a: {text}", tmp_path).value == {"a": None}


@pytest.mark.parametrize("text", ["'1e5'", '"on"', "!!str 1.5", "'null'"])
def test_what_is_quoted_is_a_string(text: str, tmp_path: Path) -> None:
    assert read(f"a: {text}", tmp_path).value == {"a": text.removeprefix("!!str ").strip("'\"")}


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    place = read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n", tmp_path)
    assert place.value == {"a": 1, "b": {"c": 2}}
    assert place.entries()["b"].entries()["c"].mark == (3, 6)
    assert place.entries()["a"].key_mark == (1, 1)


# Positions, aliases, merges


def test_positions_of_keys_and_values(tmp_path: Path) -> None:
    text = "# first\na:  [1, {bé: on,   c: ~}]\nd:\n    e: &x\n        f: text\ng: *x\n"
    root = read(text, tmp_path).entries()
    items = root["a"].entries()
    inner = items[1].entries()
    assert (root["a"].key_mark, root["a"].mark) == ((2, 1), (2, 5))
    assert [items[i].mark for i in (0, 1)] == [(2, 6), (2, 9)]
    assert (inner["bé"].key_mark, inner["bé"].mark) == ((2, 10), (2, 14))
    assert (inner["c"].key_mark, inner["c"].mark) == ((2, 20), (2, 23))
    assert inner["c"].path == "a[1].c"
    assert root["d"].entries()["e"].entries()["f"].mark == (5, 12)
    assert root["g"].key_mark == (6, 1)
    assert root["g"].entries()["f"].mark == (5, 12)  # what an alias stands for is where it was written
    assert root["g"].entries()["f"].path == "g.f"


def test_merged_keys_keep_their_own_positions(tmp_path: Path) -> None:
    root = read("a: &a {x: 1, y: 2}\nb:\n  y: 3\n  <<: *a\n", tmp_path).entries()
    assert root["b"].value == {"x": 1, "y": 3}
    assert root["b"].entries()["x"].mark == (1, 11)
    assert root["b"].entries()["y"].mark == (3, 6)


def test_merging_is_what_pyyaml_does_with_it(tmp_path: Path) -> None:
    text = """
a: &a {x: 1, y: 2}
b: &b {<<: *a, y: 3, z: 4}
c: {<<: [*b, *a, {w: 5, x: 9}], z: 0}
d: {x: 7, <<: {x: 8, v: 1}}
"<<": quoted
"""
    assert read(text, tmp_path).value == yaml.safe_load(text)


def test_an_alias_is_built_once(tmp_path: Path) -> None:
    """Thirty levels of nine aliases each: written out they would be 9^30 values."""
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 31)]
    value = read("\n".join(lines), tmp_path).value
    assert value["a30"][8] is value["a29"]
    lines = ["a0: &a0 {k: v}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 31)]
    assert read("\n".join(lines), tmp_path).value["a30"] == {"k": "v"}


# Problems of a file that can be read


def test_duplicate_keys_all_of_them(tmp_path: Path) -> None:
    text = "a: 1\nb: {c: 1, c: 2, 'c': 3}\na: 2\n1: x\ntrue: y\n1: z\nd: {<<: {e: 1, e: 2}, <<: {e: 3}}\n"
    assert problems_of(text, tmp_path) == [
        "2:11: duplicate key 'c', first given at 2:5",
        "2:17: duplicate key 'c', first given at 2:5",
        "3:1: duplicate key 'a', first given at 1:1",
        "6:1: duplicate key '1', first given at 4:1",
        "7:16: duplicate key 'e', first given at 7:10",
        "7:23: duplicate key '<<', first given at 7:5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object/apply:os.system [echo]", "1:4: the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: !mine 1", "1:4: the tag '!mine' is not allowed"),
        ("a: !!set {x}", "1:4: the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("a: !!binary aGk=", "1:4: the tag 'tag:yaml.org,2002:binary' is not allowed"),
        ("a: !!int four", "1:4: 'four' cannot be read as int"),
        ("a: !!bool maybe", "1:4: 'maybe' cannot be read as bool"),
        ("a: 0x_", "1:4: '0x_' cannot be read as int"),
        (f"a: {'9' * 5000}", "cannot be read as int"),
        ("a:\n  ? [x, y]\n  : 1", "2:5: a key must be a scalar"),
        ("a: {? {x: y} : 1}", "1:7: a key must be a scalar"),
        ("a: &a [1, *a]", "1:4: a value cannot contain itself"),
        ("a: &a {<<: *a}", "a value cannot contain itself"),
        ("a: {<<: 1}", "1:9: '<<' merges a mapping or a list of mappings"),
        ("a: {<<: [{x: 1}, 2]}", "1:9: '<<' merges a mapping or a list of mappings"),
    ],
)
def test_values_that_are_not_plain_data(text: str, said: str, tmp_path: Path) -> None:
    assert any(said in line for line in problems_of(text, tmp_path))


# Files that cannot be read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1, 2\nb: 3", ":2:2: not valid YAML: expected ',' or ']', but got ':'"),
        (b"loss:\n  energy: mse\n weight: 1", ":3:2: not valid YAML"),
        (b"a: 1\n\tb: 2", ":2:1: not valid YAML: found character '\\t'"),
        (b"a: *nowhere", ":1:4: not valid YAML: found undefined alias"),
        (b"a: 1\n---\nb: 2", ":2:1: not valid YAML"),
        (b"a: 'open", "not valid YAML"),
        (b"a: 1\nb: x\x07y", ":2:5: YAML does not allow the character U+0007"),
        (b"a: 1\nb: \xff\xfe", ":2: is not UTF-8 text (byte 0xFF at offset 8)"),
        ("a: 1".encode("utf-16"), ": is not UTF-8 text"),
        (b"", ": the file is empty"),
        (b"# nothing but a comment\n\n", ": the file is empty"),
        (b"--- ~\n", ":1:5: options: found nothing (null), expected a mapping"),
        (b"just text", ":1:1: options: found 'just text' (a string), expected a mapping"),
    ],
)
def test_unreadable_text(text: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes(text)
    assert said in unreadable(path)


def test_missing_directory_and_impossible_names(tmp_path: Path) -> None:
    assert unreadable(tmp_path / "missing.yaml") == ": there is no such file"
    assert unreadable(tmp_path) == ": is a directory, expected a file of options"
    assert "cannot be read" in unreadable(tmp_path / "null\0byte.yaml")
    (tmp_path / "file").write_text("loss: mse", encoding="utf-8")
    assert unreadable(tmp_path / "file" / "below").startswith((": cannot be read", ": there is no such file"))


def test_length_is_bounded(tmp_path: Path) -> None:
    text = "a: " + "1" * 100 + "\n#"
    path = tmp_path / "options.yaml"
    path.write_text(text + "x" * (MAX_BYTES - len(text)), encoding="utf-8")
    assert read_yaml(path, Problems()).value == {"a": int("1" * 100)}
    path.write_text(text + "x" * (MAX_BYTES - len(text) + 1), encoding="utf-8")
    assert unreadable(path) == ": is larger than 1 MiB, expected options"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device without an end")
def test_a_device_without_an_end() -> None:
    assert unreadable(Path("/dev/zero")) == ": is larger than 1 MiB, expected options"


def test_nesting_is_bounded(tmp_path: Path) -> None:
    depth = MAX_DEPTH - 2  # the scalar and the outer mapping are levels too
    assert read(f"a: {'[' * depth}1{']' * depth}", tmp_path)
    path = tmp_path / "deep.yaml"
    path.write_text(f"a: {'[' * (depth + 1)}1{']' * (depth + 1)}", encoding="utf-8")
    assert unreadable(path) == f":1:{4 + depth + 1}: not valid YAML: nested more than {MAX_DEPTH} levels deep"
    path.write_text("[" * 100_000, encoding="utf-8")
    assert "nested more than" in unreadable(path)


# Round trips and noise


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain_values)
@example({"\x85": "\u2028 \ufeff", "a\nb ": " \t", "<<": "=", "1e5": "0x10", "é": "😀"})
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    found = read(write_yaml(value), tmp_path_factory.getbasetemp()).value
    assert found == value
    assert repr(found) == repr(value)  # 1, 1.0 and true are equal; they are not the same value


@given(st.text(alphabet="ab:{}[],&*<!?|>-#'\"%@\n\t 1.e~", max_size=40) | st.binary(max_size=30))
def test_noise_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str | bytes) -> None:
    """Any other exception than ConfigError fails this test."""
    path = tmp_path_factory.getbasetemp() / "noise.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with contextlib.suppress(ConfigError):
        load_options(path)
