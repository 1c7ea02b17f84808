"""metatensor's files: a zip of npy arrays that holds one TensorMap, read and written without metatensor.

::

    keys.npy                                        labels
    blocks/<i>/values.npy                           numbers
    blocks/<i>/samples.npy, properties.npy          labels
    blocks/<i>/components/<j>.npy                   labels
    blocks/<i>/gradients/<parameter>/…              as a block, but without properties, which are the block's
    info.json                                       what else is said of the data: names to strings

Labels are structured arrays of int32, a field a dimension. Numbers were float64 alone until metatensor-core 0.2, which
writes what it is given; booleans, integers and floats are read, complex numbers are not. Both byte orders are read.
(docs/metatensor_files.md)

References
----------
https://docs.metatensor.org, "Serialization" of the C API; metatensor-core/src/io of its sources.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError
from refloss.files import Contents, Quantity
from refloss.files.archive import Archive
from refloss.files.bounded import LIMITS, Stream
from refloss.files.labelling import as_tensormap
from refloss.files.npy_format import read_labels
from refloss.files.output import replacing
from refloss.files.tensormap import Labels, TensorBlock, TensorMap, require_fit, require_labels


def read(argument: str, path: Path, quantities: Sequence[Quantity] = ()) -> Contents:
    """Read the TensorMap of a file.

    Parameters
    ----------
    argument : str
        What messages call the file.
    path : Path
        The file.
    quantities : sequence of Quantity
        What it holds: one. Without, the data get the name of the file.

    Raises
    ------
    InputError
        Two quantities; a file that is damaged, or holds no TensorMap.
    """
    where = f"{argument}: {path}"
    if len(quantities) > 1:
        names = ", ".join(repr(quantity.name) for quantity in quantities)
        raise InputError(f"{where}: found {names} to be read from one file, expected a file for each: it holds one")
    return Contents({quantities[0].name if quantities else path.stem: read_tensormap(where, path)})


def write(argument: str, path: Path, contents: Contents) -> None:
    """Write the one target of `contents`, whole or not at all; arrays get metatrain's labels.

    Raises
    ------
    InputError
        There are several targets; one is labelled or shaped as no TensorMap can be.
    """
    if len(contents.data) != 1:
        names = ", ".join(map(repr, contents.data)) or "nothing"
        raise InputError(f"{argument}: {path}: found {names} to be written, expected one target: the file holds one")
    ((name, item),) = contents.data.items()
    atoms = None if contents.structures is None else contents.structures.num_atoms
    tensormap = as_tensormap(f"{argument}: {name!r}", name, item, atoms)
    with replacing(argument, path) as beside, beside.open("wb") as file:
        write_tensormap(file, tensormap)


def read_tensormap(where: str, source: Path | Stream, known: dict[bytes, Labels] | None = None) -> TensorMap:
    """Read the TensorMap of a file, or of a stream from its beginning.

    Parameters
    ----------
    where : str
        What messages begin with.
    source : Path or IO
        The file, or what holds its bytes.
    known : dict, optional
        Labels that were read before, by their bytes: the files of one data set repeat most of theirs.
    """
    with Archive(where, source) as archive:
        if "keys.npy" not in archive:
            raise InputError(f"{where}: found {_instead(archive)}, expected a TensorMap, with keys.npy")
        reader = _Reader(archive, {} if known is None else known)
        keys = reader.labels("keys.npy")
        return TensorMap(keys, [reader.block(f"blocks/{i}/") for i in range(len(keys))], reader.info())


def write_tensormap(stream: BinaryIO, tensormap: TensorMap) -> None:
    """Write a TensorMap of `refloss.files.tensormap`; the same one gives the same bytes."""
    with zipfile.ZipFile(stream, "w") as archive:
        _write_labels(archive, "keys.npy", tensormap.keys)
        for i, block in enumerate(tensormap.blocks()):
            _write_block(archive, f"blocks/{i}/", block)
        if tensormap.info():
            archive.writestr(zipfile.ZipInfo("info.json"), json.dumps(tensormap.info(), indent=2))


class _Reader:
    """One archive, with the labels that were read before."""

    def __init__(self, archive: Archive, known: dict[bytes, Labels]) -> None:
        self._archive, self._known = archive, known
        self._parameters: dict[str, list[str]] = {}
        for member in archive.names:
            if member.endswith("/samples.npy") and "/gradients/" in member:
                prefix, parameter = member.removesuffix("/samples.npy").rsplit("/gradients/", 1)
                self._parameters.setdefault(f"{prefix}/", []).append(parameter)

    def labels(self, member: str) -> Labels:
        content = self._archive.bytes(member, self._archive.size(member))
        found = self._known.get(content)
        if found is None:
            where = f"{self._archive.where}: {member!r}"
            found = Labels(*read_labels(where, io.BytesIO(content), len(content)))
            require_labels(where, found)
            if len(content) < _SHORT:
                self._known[content] = found
        return found

    def block(self, prefix: str, properties: Labels | None = None, depth: int = 0) -> TensorBlock:
        """Return the block below `prefix`; a gradient is given the properties of its block."""
        where = f"{self._archive.where}: {prefix!r}"
        if depth > LIMITS.nesting:
            raise InputError(f"{where}: found gradients {depth} deep, expected at most {LIMITS.nesting}")
        values = self._archive.array(f"{prefix}values.npy")
        if values.ndim < 2:
            raise InputError(f"{where}: found values of shape {values.shape}, expected samples, components, properties")
        block = TensorBlock(
            values,
            self.labels(f"{prefix}samples.npy"),
            [self.labels(f"{prefix}components/{i}.npy") for i in range(values.ndim - 2)],
            self.labels(f"{prefix}properties.npy") if properties is None else properties,
        )
        for parameter in self._parameters.get(prefix, ()):
            block.add_gradient(parameter, self.block(f"{prefix}gradients/{parameter}/", block.properties, depth + 1))
        require_fit(where, block)
        return block

    def info(self) -> dict[str, str]:
        if "info.json" not in self._archive:
            return {}
        where = f"{self._archive.where}: 'info.json'"
        try:
            info = json.loads(self._archive.bytes("info.json", LIMITS.text))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: found no JSON ({error}), expected names and strings") from error
        if not isinstance(info, dict) or not all(isinstance(value, str) for value in info.values()):
            raise InputError(f"{where}: found other things than strings by names, expected these")
        return info


_SHORT: Final = 4096
"""Bytes of labels that are worth remembering: longer ones are those of samples, which no two files have in common."""


def _instead(archive: Archive) -> str:
    """Say what an archive is that is no TensorMap."""
    if "values.npy" in archive:
        return "a TensorBlock"
    if "positions.npy" in archive:
        return "a system"
    if any(name.endswith("/system.mta") for name in archive.names):
        return "a DiskDataset"
    return f"an archive of {', '.join(map(repr, archive.names[:3]))}, …" if archive.names else "an empty archive"


def _write_block(archive: zipfile.ZipFile, prefix: str, block: TensorBlock, *, properties: bool = True) -> None:
    _write_array(archive, f"{prefix}values.npy", block.values)
    _write_labels(archive, f"{prefix}samples.npy", block.samples)
    for i, component in enumerate(block.components):
        _write_labels(archive, f"{prefix}components/{i}.npy", component)
    if properties:
        _write_labels(archive, f"{prefix}properties.npy", block.properties)
    for parameter in block.gradients_list():
        _write_block(archive, f"{prefix}gradients/{parameter}/", block.gradient(parameter), properties=False)


def _write_labels(archive: zipfile.ZipFile, member: str, labels: Labels) -> None:
    _write(archive, member, [(name, "<i4") for name in labels.names], (len(labels),), labels.values)


def _write_array(archive: zipfile.ZipFile, member: str, array: NDArray[Any]) -> None:
    # NumPy calls the byte order of single bytes "|", which metatensor does not take.
    _write(archive, member, f"<{array.dtype.kind}{array.dtype.itemsize}", array.shape, array)


def _write(archive: zipfile.ZipFile, member: str, descr: Any, shape: tuple[int, ...], array: NDArray[Any]) -> None:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    # A ZipInfo has no time of writing: the same data give the same bytes.
    with archive.open(zipfile.ZipInfo(member), "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        file.write(little.data if little.size else b"")
