"""One TensorMap for each structure, and one for all of them.

A data set that keeps each structure by itself has their TensorMaps in as many files. Joined, the sample dimension
``system`` counts the structures, whatever each file called its own; the samples of gradients are the rows of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files.tensormap import Labels, TensorBlock, TensorMap
from refloss.results import Integers


class Joined:
    """TensorMaps that are added in the order of their structures, and become one."""

    def __init__(self) -> None:
        self._first: TensorMap | None = None
        self._stacks: dict[tuple[int, ...], _Stack] = {}

    def add(self, where: str, structure: int, tensormap: TensorMap) -> None:
        """Add the TensorMap of a structure; `where` begins the messages of what is wrong with it.

        Raises
        ------
        InputError
            Its blocks do not fit those that were added: other names, components, properties, gradients or numbers.
        """
        if self._first is None:
            self._first = tensormap
        names = self._first.keys.names
        if tensormap.keys.names != names:
            raise InputError(f"{where}: found keys named {_listed(tensormap.keys.names)}, expected {_listed(names)}")
        for key, block in zip(map(tuple, tensormap.keys.values.tolist()), tensormap.blocks(), strict=True):
            if key not in self._stacks:
                self._stacks[key] = _Stack(where, block)
            self._stacks[key].add(where, structure, block)

    def tensormap(self) -> TensorMap:
        """Return all that was added, its blocks in the order of their keys; nothing can be added then."""
        assert self._first is not None
        keys = sorted(self._stacks)
        blocks = [self._stacks.pop(key).block() for key in keys]
        table = np.array(keys, np.int32).reshape(len(keys), len(self._first.keys.names))
        return TensorMap(Labels(self._first.keys.names, table), blocks, self._first.info())


class _Stack:
    """The blocks of one key, or the gradients of these by one parameter."""

    def __init__(self, where: str, model: TensorBlock) -> None:
        self._where, self._model = where, model
        self._numbered = "system" in model.samples.names
        self._structures: list[int] = []
        self._tables: list[NDArray[np.int32]] = []
        self._values: list[NDArray[Any] | None] = []
        self._gradients = {name: _Stack(where, model.gradient(name)) for name in model.gradients_list()}

    def add(self, where: str, structure: int, block: TensorBlock) -> None:
        self._require_alike(where, block)
        table = block.samples.values
        if self._numbered and len(table) > 1:
            column = table[:, block.samples.names.index("system")]
            if (column != column[0]).any():
                raise InputError(
                    f"{where}: found the systems {column[0]} and {column[column != column[0]][0]}, expected one"
                )
        self._structures.append(structure)
        self._tables.append(table)
        self._values.append(block.values)
        for name, stack in self._gradients.items():
            stack.add(f"{where}: gradient {name!r}", structure, block.gradient(name))

    def block(self, starts: Integers | None = None) -> TensorBlock:
        """Return the block of all; `starts` are the rows at which the differentiated blocks begin there."""
        names, model = self._model.samples.names, self._model
        counts = np.array([len(table) for table in self._tables])
        table = np.concatenate(self._tables)
        if self._numbered:
            table[:, names.index("system")] = np.repeat(self._structures, counts)
        if starts is not None:
            table[:, 0] += np.repeat(starts, counts).astype(np.int32)
        values = np.empty((len(table), *model.values.shape[1:]), model.values.dtype)
        ends = np.cumsum(counts)
        for i, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
            values[start:end] = self._values[i]
            self._values[i] = None  # so that there are never two of everything
        made = TensorBlock(values, Labels(names, table), model.components, model.properties)
        for name, stack in self._gradients.items():
            made.add_gradient(name, stack.block(ends - counts))
        return made

    def _require_alike(self, where: str, block: TensorBlock) -> None:
        model = self._model
        for what, found, expected in (
            ("samples named", block.samples.names, model.samples.names),
            ("components", block.components, model.components),
            ("properties", block.properties, model.properties),
            ("gradients", sorted(block.gradients_list()), sorted(model.gradients_list())),
            ("numbers of type", block.values.dtype, model.values.dtype),
        ):
            if found is not expected and found != expected:
                raise InputError(
                    f"{where}: found {what} {_listed(found)}, expected {_listed(expected)} as in {self._where}"
                )


def split(where: str, tensormap: TensorMap, count: int) -> Iterator[TensorMap]:
    """Yield the TensorMap of each of `count` structures, whose ``system`` is then its place.

    Where the numbers of the structures are not their places, the k-th smallest is that of the k-th structure, as
    metatrain reads them.

    Raises
    ------
    InputError
        Samples do not name their structure; there are more structures, or fewer whose places are not told.
    """
    columns: list[NDArray[Any]] = []
    for block in tensormap.blocks():
        if "system" not in block.samples.names:
            raise InputError(f"{where}: found samples named {_listed(block.samples.names)}, expected system among them")
        columns.append(block.samples.values[:, block.samples.names.index("system")])
    numbers = np.unique(np.concatenate(columns)) if columns else np.empty(0, np.int32)
    if numbers.size and not 0 <= numbers[0] <= numbers[-1] < count:
        if numbers.size != count:
            raise InputError(
                f"{where}: found {numbers.size} structures numbered {numbers[0]} to {numbers[-1]}, expected 0 to "
                f"{count - 1}, or {count} of them"
            )
        columns = [np.searchsorted(numbers, column) for column in columns]
    splits = [_Split(block, column, count) for block, column in zip(tensormap.blocks(), columns, strict=True)]
    for i in range(count):
        yield TensorMap(tensormap.keys, [parts.block(i) for parts in splits], tensormap.info())


class _Split:
    """A block, and which of its rows each structure has."""

    def __init__(self, block: TensorBlock, structure: NDArray[Any], count: int) -> None:
        self._block = block
        self._rows = np.argsort(structure, kind="stable")
        self._ends = np.searchsorted(structure[self._rows], np.arange(count + 1))
        self._place = np.empty_like(self._rows)
        self._place[self._rows] = np.arange(len(self._rows)) - self._ends[structure[self._rows]]
        self._gradients = {}
        for name in block.gradients_list():
            gradient = block.gradient(name)
            self._gradients[name] = _Split(gradient, structure[gradient.samples.values[:, 0]], count)

    def block(self, i: int, place: NDArray[Any] | None = None) -> TensorBlock:
        """Return the rows of structure `i`; `place` is that of each row which a gradient's samples name."""
        block, rows = self._block, self._rows[self._ends[i] : self._ends[i + 1]]
        table = block.samples.values[rows]
        if "system" in block.samples.names:
            table[:, block.samples.names.index("system")] = i
        if place is not None:
            table[:, 0] = place[table[:, 0]]
        made = TensorBlock(block.values[rows], Labels(block.samples.names, table), block.components, block.properties)
        for name, parts in self._gradients.items():
            made.add_gradient(name, parts.block(i, self._place))
        return made


def _listed(found: Any) -> str:
    return ", ".join(map(str, found)) or "nothing" if isinstance(found, Sequence) else str(found)
