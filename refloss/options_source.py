"""Options as they were written: plain values, and where in the file each of them stands.

`read_yaml` turns a file into dicts and lists that remember the line and column (both from 1) of every key and value;
`Place` walks through these, or through any mapping a Python caller holds, which has no lines; `Problems` collects what
is wrong at which place, so that all of it can be said at once.

The dialect is YAML 1.1, as metatrain reads it: true/false, on/off and yes/no are booleans, and a number with an
exponent needs neither a dot nor a sign in the exponent (``1e-4``). Only plain data is built: a tag that asks for
anything else is an error, and so is a duplicate key. An aliased value is built once and shared, so the work is bounded
by the length of the file.

References
----------
YAML 1.1, https://yaml.org/spec/1.1/, and its type repository, https://yaml.org/type/ (merge keys: merge.html).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

import yaml

from refloss.errors import ConfigError

Mark = tuple[int, int] | None
"""Line and column, from 1; None where the source is not a file."""

MAX_DEPTH: Final = 64
"""How deep a file may nest: ten times what options need, and well inside Python's recursion limit."""

MAX_BYTES: Final = 1 << 20
"""How long a file may be: a hundred times what options need, and what is read in seconds and less than a GiB."""


class Problems:
    """What is wrong with one source, each problem once."""

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._found: dict[tuple[tuple[int, int], str], None] = {}

    def add(self, mark: Mark, message: str) -> None:
        """Note a problem at a place of the source."""
        self._found[mark or (1, 1), message] = None

    def raise_any(self) -> None:
        """Raise ConfigError with every problem, one a line, in the order of the file."""
        if not self._found:
            return
        if self._file is None:
            raise ConfigError("\n".join(message for _, message in self._found))
        ordered = sorted(self._found, key=lambda problem: problem[0])
        raise ConfigError("\n".join(f"{self._file}:{line}:{column}: {text}" for (line, column), text in ordered))


@dataclass(frozen=True)
class Place:
    """A value of the options.

    Attributes
    ----------
    value : object
        The value itself.
    path : str
        The keys that lead to it, ``"loss.energy.weight"``; empty for the whole options.
    mark, key_mark : (line, column) or None
        Where the value stands, and where its key does.
    """

    value: Any
    path: str = ""
    mark: Mark = None
    key_mark: Mark = None

    @property
    def name(self) -> str:
        """What to call the place in a message."""
        return self.path or "options"

    def entries(self) -> dict[Any, Place]:
        """Return the places of a mapping by key, or of a list by index."""
        if isinstance(self.value, Mapping):
            pairs, step = list(self.value.items()), ".{}"
        else:
            pairs, step = list(enumerate(self.value)), "[{}]"
        marks: Mapping[Any, tuple[Mark, Mark]] = getattr(self.value, "marks", {})
        places = {}
        for key, value in pairs:
            key_mark, mark = marks.get(key, (None, None))
            places[key] = Place(value, (self.path + step.format(_plain(key))).lstrip("."), mark, key_mark)
        return places

    def is_list(self) -> bool:
        """Say whether the value is a list."""
        return isinstance(self.value, Sequence) and not isinstance(self.value, str | bytes)

    def child(self, key: str, problems: Problems) -> Place | None:
        """Return an entry that may be absent, of a mapping most of which is none of the caller's business.

        Where it is absent and something is spelt almost like it, that is a problem: to go on as if nothing had been
        said would quietly compute another loss.
        """
        entries = self.entries()
        if key not in entries:
            for near in difflib.get_close_matches(key, filter(_is_text, entries), n=1, cutoff=0.75):
                place = entries[near]
                problems.add(place.key_mark, f"{place.name}: unknown key {near!r} (did you mean {key!r}?)")
        return entries.get(key)

    def mapping(self, expected: str, problems: Problems, *, any_keys: bool = False) -> dict[str, Place]:
        """Return the entries of what should be a mapping, and note it as a problem if it is none, or of other keys.

        Parameters
        ----------
        expected : str
            What the place may hold, for the message.
        any_keys : bool
            Pass over keys that are not strings, instead of noting them.
        """
        if not isinstance(self.value, Mapping):
            problems.add(self.mark, f"{self.name}: {found(self.value)}, expected {expected}")
            return {}
        entries = self.entries()
        for key, place in entries.items():
            if not (any_keys or _is_text(key)):
                problems.add(place.key_mark, f"{self.name}: {found(key)} as a key, expected a string: quote it")
        return {key: place for key, place in entries.items() if _is_text(key)}


def found(value: Any) -> str:
    """Name what was found in a message: the value and what it is, in one line."""
    if value is None:
        return "found nothing (null)"
    if isinstance(value, bool):
        return f"found {str(value).lower()} (a boolean)"
    if isinstance(value, Mapping):
        return "found a mapping"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"found an integer of {value.bit_length()} bits"  # Python refuses to print the longest
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "found a list"
    text = " ".join(repr(value).splitlines())
    text = text if len(text) <= 60 else f"{text[:57]}..."
    kind = "a string" if isinstance(value, str) else type(value).__name__
    return f"found {text}" if isinstance(value, int | float) else f"found {text} ({kind})"


def place_of(source: Any) -> tuple[Place, Problems]:
    """Return the whole options of a YAML file (a path) or of a mapping, and where problems with them go.

    Raises
    ------
    ConfigError
        It is neither, or the file cannot be read.
    """
    if isinstance(source, Mapping):
        return Place(source), Problems()
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(f"source: {found(source)}, expected a path or a mapping of options")
    path = Path(source)
    problems = Problems(str(path))
    return read_yaml(path, problems), problems


def read_yaml(path: Path, problems: Problems) -> Place:
    """Read a YAML file.

    Duplicate keys, unknown tags and values that cannot be read go to `problems`; what makes the rest of the file
    unreadable is raised at once.

    Raises
    ------
    ConfigError
        The file is missing, a directory, unreadable, not UTF-8, empty, or not YAML.
    """
    text = _read_text(path)
    try:
        root = _Composer(text).get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: int(error.position)]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ConfigError(
            f"{path}:{line}:{column}: YAML does not allow the character U+{ord(text[int(error.position)]):04X}"
        ) from error
    except yaml.MarkedYAMLError as error:
        line, column = _mark(error.problem_mark or error.context_mark) or (1, 1)
        what = " ".join(f"{error.problem or error.context}".split())
        raise ConfigError(f"{path}:{line}:{column}: not valid YAML: {what}") from error
    if root is None:
        raise ConfigError(f"{path}: the file is empty, expected metatrain options")
    return Place(_Builder(problems).build(root), mark=_mark(root.start_mark))


def write_yaml(value: Any) -> str:
    """Return YAML text that `read_yaml` reads back to the same value; the order of keys stays."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return text


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:  # a pipe too: options may come from another program, and are waited for
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: not a name that any file can have (a null byte in it)
        if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it cannot raise; Windows calls this a permission
            raise ConfigError(f"{path}: is a directory, expected a file of options") from error
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES >> 20} MiB, expected options")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = data[: error.start].count(b"\n") + 1, data[error.start]
        raise ConfigError(f"{path}:{line}: is not UTF-8 text (byte 0x{byte:02X} at offset {error.start})") from error


def _is_text(key: Any) -> TypeGuard[str]:
    return isinstance(key, str)


def _plain(key: Any) -> str:
    """Return a key as a step of a path; one that would break the line is quoted."""
    return key if isinstance(key, str) and key.isprintable() and key else repr(key)


def _mark(mark: yaml.Mark | None) -> Mark:
    return None if mark is None else (mark.line + 1, mark.column + 1)


_TAG: Final = "tag:yaml.org,2002:"
_FLOAT: Final = re.compile(
    r"""[-+]?(?: [0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+
             |   \.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)? )$""",
    re.VERBOSE,
)
"""The floats that YAML 1.1 as PyYAML has it reads as strings: 1e-4, 1.5e3, -.5."""


class _Composer(yaml.SafeLoader):
    """PyYAML as far as the graph of nodes; the numbers that it misses, and no dates, which options do not have."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which quotes what `_Composer` would not read as a string, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML leaves some separators (U+0085) to styles that fold them into a line break; quotes escape them.
        return self.represent_scalar(f"{_TAG}str", data, style=None if data.isprintable() else '"')


_Composer.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in _Composer.yaml_implicit_resolvers.items()
}
_Dumper.add_representer(str, _Dumper.represent_str)
for _class in (_Composer, _Dumper):
    _class.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))


class _Dict(dict[Any, Any]):
    """A mapping of a file; `marks` says of each key where it and its value stand."""

    marks: dict[Any, tuple[Mark, Mark]]


class _List(list[Any]):
    """A list of a file, with `marks` by index."""

    marks: dict[Any, tuple[Mark, Mark]]


_SAFE: Final = yaml.constructor.SafeConstructor()
_SCALARS: Final[dict[str, Callable[[yaml.ScalarNode], Any]]] = {
    f"{_TAG}null": lambda node: None,
    f"{_TAG}bool": _SAFE.construct_yaml_bool,
    f"{_TAG}int": _SAFE.construct_yaml_int,
    f"{_TAG}float": _SAFE.construct_yaml_float,
    f"{_TAG}str": lambda node: node.value,
    f"{_TAG}value": lambda node: node.value,
}


class _Builder:
    """Builds values from nodes: each node once, however many aliases lead to it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._built: dict[int, Any] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        if id(node) in self._open:
            self._report(node, "a value cannot contain itself through an alias")
            return None
        if id(node) not in self._built:
            self._open.add(id(node))
            self._built[id(node)] = self._build(node)
            self._open.remove(id(node))
        return self._built[id(node)]

    def _build(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            values = _List(self.build(item) for item in node.value)
            values.marks = {index: (_mark(item.start_mark),) * 2 for index, item in enumerate(node.value)}
            return values
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            self._report(node, f"the tag {node.tag!r} is not allowed: options are plain data")
            return None
        try:
            return _SCALARS[node.tag](node)
        except (ValueError, KeyError):
            self._report(node, f"{node.value[:60]!r} cannot be read as {node.tag.removeprefix(_TAG)}")
            return None

    def _mapping(self, node: yaml.MappingNode) -> _Dict:
        built = _Dict()
        built.marks = {}
        first: dict[tuple[type, Any], Mark] = {}  # 1, 1.0 and true are equal in Python, but different keys
        merged: list[_Dict] = []
        for key_node, value_node in node.value:
            merging = key_node.tag == f"{_TAG}merge"
            key = "<<" if merging else self.build(key_node)
            if not isinstance(key, Hashable):
                self._report(key_node, "a key must be a scalar, not a mapping or a list")
                continue
            identity = (_Builder if merging else type(key), key)
            if identity in first:
                line, column = first[identity] or (0, 0)
                self._report(key_node, f"duplicate key {_plain(key)!r}, first given at {line}:{column}")
                continue
            first[identity] = _mark(key_node.start_mark)
            if merging:
                merged = self._sources(value_node)
            else:
                built[key] = self.build(value_node)
                built.marks[key] = (_mark(key_node.start_mark), _mark(value_node.start_mark))
        for source in merged:  # the mapping's own keys win, then the earlier source
            for key, value in source.items():
                if key not in built:
                    built[key], built.marks[key] = value, source.marks[key]
        return built

    def _sources(self, node: yaml.Node) -> list[_Dict]:
        value = self.build(node)
        sources = list(value) if isinstance(value, _List) else [value]
        if not all(isinstance(source, _Dict) for source in sources):
            self._report(node, "'<<' merges a mapping or a list of mappings")
            return []
        return sources

    def _report(self, node: yaml.Node, message: str) -> None:
        self._problems.add(_mark(node.start_mark), message)
