"""What the metadata of a Zarr array say, format 2 (``.zarray``) and 3 (``zarr.json``), checked to be what is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from refloss.errors import InputError, did_you_mean
from refloss.files.bounded import LIMITS
from refloss.files.stored import require_plain
from refloss.files.zarr_codecs import COMPRESSIONS, Pipeline, Shards


@dataclass(frozen=True)
class Layout:
    """An array's shape, its chunks, and how these are stored.

    Attributes
    ----------
    shape, chunks : tuple of int
        Of the array and of one chunk.
    pipeline : Pipeline
        How a chunk is decoded.
    prefix, separator : str
        A chunk's path is the prefix and the indices, with the separator between all of them.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    pipeline: Pipeline
    prefix: str
    separator: str

    def indices(self, path: str) -> tuple[int, ...] | None:
        """Return the indices of the chunk of a path below the array's, or None where it is none."""
        parts = path.split(self.separator)
        if self.prefix:
            if parts.pop(0) != self.prefix:
                return None
        elif not self.shape:
            return () if path == "0" else None
        if len(parts) != len(self.shape) or not all(map(_INDEX.fullmatch, parts)):
            return None
        return tuple(map(int, parts))


def parse(where: str, metadata: Mapping[str, Any]) -> Layout:
    """Return the layout of an array.

    Raises
    ------
    InputError
        It is of another format or type, or asks for what is not read: other codecs, or extensions.
    """
    found = metadata.get("zarr_format")
    if found == 2:
        return _parse_2(where, metadata)
    if found == 3:
        return _parse_3(where, metadata)
    raise InputError(f"{where}: found zarr_format {found!r}, expected 2 or 3")


_INDEX: Final = re.compile("0|[1-9][0-9]{0,17}")

_TYPES: Final = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32")
_TYPES_3: Final = {name: np.dtype(name) for name in (*_TYPES, "float64")}
_TYPE_2: Final = re.compile(r"[<>|][biuf][1248]")


def _parse_2(where: str, metadata: Mapping[str, Any]) -> Layout:
    name = metadata.get("dtype")
    if not isinstance(name, str) or not _TYPE_2.fullmatch(name):
        raise InputError(f"{where}: found dtype {_shown(name)}, expected booleans or real numbers")
    try:
        dtype = np.dtype(name)
    except TypeError as error:  # f1 and b8
        raise InputError(f"{where}: found dtype {name!r}, expected booleans or real numbers") from error
    require_plain(where, dtype)
    shape = _integers(where, "shape", metadata.get("shape"), 0)
    chunks = _chunks(where, metadata.get("chunks"), shape)
    order = _one_of(where, "order", metadata.get("order", "C"), ("C", "F"))
    axes = tuple(range(len(shape)))
    separator = _one_of(where, "dimension_separator", metadata.get("dimension_separator", "."), (".", "/"))
    fill = _fill(where, metadata.get("fill_value"), dtype)
    pipeline = Pipeline(dtype, axes if order == "C" else axes[::-1], fill)
    for codec in _list(where, "filters", metadata.get("filters") or []):
        settings = _object(where, "a filter", codec)
        _one_of(where, "filters", settings.get("id"), ("shuffle",))
        size = settings.get("elementsize", 4)
        if pipeline.shuffled or size != dtype.itemsize:
            raise InputError(f"{where}: found elements shuffled as of {size!r} bytes, expected once {dtype.itemsize}")
        pipeline = replace(pipeline, shuffled=dtype.itemsize)
    if metadata.get("compressor") is not None:
        codec = _object(where, "compressor", metadata["compressor"])
        name = _one_of(where, "compressor", codec.get("id"), tuple(COMPRESSIONS))
        if name == "lzma" and (codec.get("filters") or codec.get("format", 1) not in (1, 2)):
            raise InputError(f"{where}: found a raw lzma stream, expected one of xz or lzma")
        pipeline = replace(pipeline, compression=COMPRESSIONS[name])
    return Layout(shape, chunks, pipeline, "", separator)


def _parse_3(where: str, metadata: Mapping[str, Any]) -> Layout:
    for key, value in metadata.items():
        if key in _KEYS_3 or (isinstance(value, dict) and value.get("must_understand") is False):
            continue
        raise InputError(f"{where}: found {key!r}, expected {', '.join(sorted(_KEYS_3))}{did_you_mean(key, _KEYS_3)}")
    _one_of(where, "node_type", metadata.get("node_type"), ("array",))
    if metadata.get("storage_transformers"):
        raise InputError(f"{where}: found storage_transformers, expected none")
    dtype = _TYPES_3[_one_of(where, "data_type", metadata.get("data_type"), tuple(_TYPES_3))]
    shape = _integers(where, "shape", metadata.get("shape"), 0)
    _, grid = _named(where, "chunk_grid", metadata.get("chunk_grid"), ("regular",))
    chunks = _chunks(where, grid.get("chunk_shape"), shape)
    encoding, settings = _named(where, "chunk_key_encoding", metadata.get("chunk_key_encoding"), ("default", "v2"))
    separator = settings.get("separator", "/" if encoding == "default" else ".")
    _one_of(where, "separator", separator, (".", "/"))
    fill = _fill(where, metadata.get("fill_value"), dtype)
    pipeline = _pipeline(where, metadata.get("codecs"), dtype, chunks, fill)
    return Layout(shape, chunks, pipeline, "c" if encoding == "default" else "", separator)


_KEYS_3: Final = (
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"),
    *("attributes", "dimension_names", "storage_transformers"),
)

_CODECS_3: Final = ("transpose", "bytes", "sharding_indexed", "gzip", "zstd", "blosc", "crc32c")


def _pipeline(
    where: str, codecs: Any, dtype: np.dtype[Any], shape: Sequence[int], fill: Any, *, inner: bool = False
) -> Pipeline:
    """Return the pipeline of a list of codecs: transposes, one to bytes, one compression at most, checksums."""
    order = tuple(range(len(shape)))
    made: Pipeline | None = None
    for codec in _list(where, "codecs", codecs):
        name, settings = _named(where, "codecs", codec, _CODECS_3)
        if made is None and name == "transpose":
            order = tuple(order[axis] for axis in _axes(where, settings.get("order"), len(order)))
        elif made is None and name == "bytes":
            made = Pipeline(_with_byte_order(where, settings, dtype), order, fill)
        elif made is None and name == "sharding_indexed" and not inner:
            turned = [shape[axis] for axis in order]
            made = Pipeline(dtype, order, fill, shards=_shards(where, settings, dtype, turned, fill))
        elif made is not None and name == "crc32c":
            made = replace(made, checksums=made.checksums + 1)
        elif made is not None and name in COMPRESSIONS and made == Pipeline(made.dtype, order, fill):
            made = replace(made, compression=COMPRESSIONS[name])
        else:
            raise InputError(
                f"{where}: found the codec {name!r} where it is not read, expected transpose, then bytes and one "
                "compression or sharding_indexed, then crc32c"
            )
    if made is None:
        raise InputError(f"{where}: found no codec to bytes, expected bytes or sharding_indexed")
    return made


def _shards(where: str, settings: Mapping[str, Any], dtype: np.dtype[Any], shape: Sequence[int], fill: Any) -> Shards:
    chunks = _chunks(where, settings.get("chunk_shape"), shape)
    if any(n % chunk for n, chunk in zip(shape, chunks, strict=True)):
        raise InputError(
            f"{where}: found chunks {list(chunks)} in shards {list(shape)}, expected a divisor on each axis"
        )
    pipeline = _pipeline(where, settings.get("codecs"), dtype, chunks, fill, inner=True)
    index = [
        _named(where, "index_codecs", codec, ("bytes", "crc32c"))
        for codec in _list(where, "index_codecs", settings.get("index_codecs"))
    ]
    names = [name for name, _ in index]
    if names not in (["bytes"], ["bytes", "crc32c"]) or index[0][1].get("endian") != "little":
        raise InputError(
            f"{where}: found index_codecs {names}, expected bytes, little endian, and then crc32c or nothing"
        )
    location = _one_of(where, "index_location", settings.get("index_location", "end"), ("start", "end"))
    return Shards(chunks, pipeline, len(names) == 2, location == "end")


def _with_byte_order(where: str, settings: Mapping[str, Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.itemsize == 1:
        return dtype
    endian = _one_of(where, "endian", settings.get("endian"), ("little", "big"))
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _fill(where: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the value of what is not stored; in JSON a float can be a name, or its bits."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return dtype.type(0)
    if dtype.kind == "b" and (isinstance(value, bool) or value in (0, 1)):
        return np.bool_(value)
    if dtype.kind in "iu" and number and value == int(value) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return dtype.type(int(value))
    if dtype.kind == "f":
        if isinstance(value, str) and value in _FLOATS:
            return dtype.type(value)
        if isinstance(value, str) and re.fullmatch(f"0x[0-9a-fA-F]{{{2 * dtype.itemsize}}}", value):
            return np.frombuffer(bytes.fromhex(value[2:]), dtype.newbyteorder(">")).astype(dtype.newbyteorder("="))[0]
        if number and abs(value) <= float(np.finfo(dtype).max):
            return dtype.type(value)
    raise InputError(f"{where}: found fill_value {_shown(value)}, expected a value of {dtype}")


_FLOATS: Final = ("NaN", "Infinity", "-Infinity")


def _integers(where: str, key: str, value: Any, smallest: int) -> tuple[int, ...]:
    integers = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    if not integers or len(value) > LIMITS.dimensions or not all(smallest <= n < 2**59 for n in value):
        raise InputError(f"{where}: found {key} {_shown(value)}, expected integers ≥ {smallest} that an array can have")
    return tuple(value)


def _chunks(where: str, value: Any, shape: Sequence[int]) -> tuple[int, ...]:
    chunks = _integers(where, "chunks", value, 1)
    if len(chunks) != len(shape):
        raise InputError(f"{where}: found chunks {_shown(value)}, expected as many as {list(shape)} has axes")
    return chunks


def _axes(where: str, value: Any, count: int) -> tuple[int, ...]:
    axes = _integers(where, "order", value, 0)
    if sorted(axes) != list(range(count)):
        raise InputError(f"{where}: found the order {_shown(value)}, expected each of {count} axes once")
    return axes


def _named(where: str, key: str, value: Any, known: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the configuration of an extension point; a name alone is one without a configuration."""
    item = _object(where, key, {"name": value} if isinstance(value, str) else value)
    name = _one_of(where, key, item.get("name"), known)
    return name, _object(where, f"the configuration of {name}", item.get("configuration", {}))


def _one_of(where: str, key: str, value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        raise InputError(f"{where}: found {key} {_shown(value)}, expected {', '.join(known)}{hint}")
    return value


def _object(where: str, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {key} {_shown(value)}, expected an object")
    return value


def _list(where: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: found {key} {_shown(value)}, expected a list")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
