"""Zarr stores made by zarr: both formats, folders and zip files, every codec that is read, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory import taking_at_most

from refloss import InputError
from refloss.files import Contents, Quantity, Structures, formats

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

RNG = np.random.default_rng(12)
ENERGY = RNG.normal(size=(3, 1))
FORCES = RNG.normal(size=(7, 3, 1))
DOS = RNG.normal(size=(20, 31))
MASK = RNG.random((20, 31)) < 0.5
MEMORY = 32 << 20
"""Bytes that refusing a store may take, with buffers of 16 MiB; the smallest array here declares 7 GB."""


def store(path: Path, arrays: dict[str, Any], zarr_format: int = 3, **options: Any) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    for name, array in arrays.items():
        group.create_array(name, data=np.asarray(array), **options)
    return path


def read(path: Path, *quantities: Quantity) -> Contents:
    return formats.read("targets", path, quantities)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


ALL = {"energy/values": ENERGY, "energy/positions": FORCES, "mtt::dos": DOS, "mtt::dos_mask": MASK}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", ["folder", "zip", "zip by zarr"])
def test_groups_are_targets_and_arrays_alone_too(tmp_path: Path, zarr_format: int, kind: str) -> None:
    path = store(tmp_path / "a.zarr", ALL, zarr_format)
    if kind == "zip":
        path = zipped(path, tmp_path / "a.zarr.zip")
    elif kind == "zip by zarr":
        path = tmp_path / "b.zip"
        with zarr.storage.ZipStore(path, mode="w") as archive:
            group = zarr.open_group(archive, mode="w", zarr_format=zarr_format)
            for name, array in ALL.items():
                group.create_array(name, data=array)
    found = read(path)
    assert {name: set(entry) for name, entry in found.data.items()} == {
        "energy": {"values", "positions"},
        "mtt::dos": {"values"},
        "mtt::dos_mask": {"values"},
    }
    for place, array in ALL.items():
        name, _, key = place.partition("/")
        back = found.data[name][key or "values"]
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["f2", ">f4", "<f8", ">f8", "?", "i1", ">i4", "u2", ">u8"])
@pytest.mark.filterwarnings("ignore:.*byteorder")
def test_every_type_of_number_in_both_byte_orders(tmp_path: Path, zarr_format: int, dtype: str) -> None:
    array = (100 * RNG.random((3, 4)) * (RNG.random((3, 4)) < 0.7)).astype(dtype)
    options: dict[str, Any] = {"chunks": (2, 3)}
    if zarr_format == 3 and dtype.startswith(">"):
        options["serializer"] = zarr.codecs.BytesCodec(endian="big")
        array_in = array.astype(array.dtype.newbyteorder("="))
    else:
        array_in = array
    found = read(store(tmp_path / "a.zarr", {"a": array_in}, zarr_format, **options)).data["a"]["values"]
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, array)


CODECS_2 = {
    "none": None,
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    "zstd": numcodecs.Zstd(checksum=True),
    "lz4": numcodecs.LZ4(),
    "blosc lz4": numcodecs.Blosc("lz4", shuffle=numcodecs.Blosc.SHUFFLE),
    "blosc zstd": numcodecs.Blosc("zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
}


@pytest.mark.parametrize("codec", CODECS_2)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("separator", [".", "/"])
def test_codecs_of_format_2(tmp_path: Path, codec: str, order: str, separator: str) -> None:
    path = store(
        tmp_path / "a.zarr",
        {"dos": DOS},
        2,
        chunks=(7, 9),
        compressors=CODECS_2[codec],
        order=order,
        filters=[numcodecs.Shuffle(8)] if codec in ("zlib", "none") else None,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    np.testing.assert_array_equal(read(path).data["dos"]["values"], DOS)


CODECS_3 = {
    "none": (),
    "gzip": (zarr.codecs.GzipCodec(),),
    "zstd": (zarr.codecs.ZstdCodec(checksum=True),),
    "blosc": (zarr.codecs.BloscCodec(cname="zlib"),),
    "checksum": (zarr.codecs.Crc32cCodec(),),
    "zstd and checksum": (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()),
}


@pytest.mark.parametrize("codec", CODECS_3)
@pytest.mark.parametrize("key", [("default", "/"), ("default", "."), ("v2", "."), ("v2", "/")])
@pytest.mark.parametrize("layout", ["plain", "transposed", "sharded"])
def test_codecs_of_format_3(tmp_path: Path, codec: str, key: tuple[str, str], layout: str) -> None:
    array = RNG.normal(size=(5, 8, 9))
    options: dict[str, Any] = {"chunks": (2, 4, 3)}
    if layout == "transposed":
        options["filters"] = [zarr.codecs.TransposeCodec(order=(2, 0, 1))]
    elif layout == "sharded":
        options["shards"] = (4, 8, 9)
    name, separator = key
    options |= {"chunk_key_encoding": {"name": name, "separator": separator}, "compressors": CODECS_3[codec]}
    path = store(tmp_path / "a.zarr", {"a": array}, **options)
    np.testing.assert_array_equal(read(path).data["a"]["values"], array)


def test_shards_with_the_table_in_front_and_chunks_that_are_missing(tmp_path: Path) -> None:
    array = np.zeros((16, 4))
    array[5:7] = RNG.normal(size=(2, 4))
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    made = group.create_array(
        "a",
        shape=array.shape,
        dtype="f8",
        chunks=(16, 4),
        serializer=zarr.codecs.ShardingCodec(chunk_shape=(2, 2), index_location="start"),
        compressors=None,
    )
    made[...] = array
    assert (tmp_path / "a.zarr/a/c/0/0").stat().st_size < array.nbytes  # chunks that are missing, as is meant
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").data["a"]["values"], array)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("f8", 7.0), ("f4", np.nan), ("f2", -np.inf), ("i4", -3), ("u1", 255), ("?", True), ("f8", 0.1)],
)
def test_what_is_not_stored_has_the_fill_value(tmp_path: Path, zarr_format: int, dtype: str, fill: Any) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    made = group.create_array("a", shape=(6, 2), dtype=dtype, chunks=(2, 2), fill_value=fill)
    made[2:4] = 1
    found = read(tmp_path / "a.zarr").data["a"]["values"]
    np.testing.assert_array_equal(found, made[...])
    np.testing.assert_array_equal(found[0], np.array([fill, fill], dtype))


def test_a_fill_value_in_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.open_group(path, mode="w").create_array("a", shape=(2,), dtype="f4")
    edit(path / "a/zarr.json", lambda metadata: metadata.update(fill_value="0xc0200000"))
    assert read(path).data["a"]["values"].tolist() == [-2.5, -2.5]


def test_a_number_and_an_empty_array(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        path = store(tmp_path / f"{zarr_format}.zarr", {"number": 3.5, "none": np.empty((0, 4))}, zarr_format)
        found = read(path).data
        assert found["number"]["values"].shape == ()
        assert found["number"]["values"][()] == 3.5
        assert found["none"]["values"].shape == (0, 4)


def test_an_array_in_parts_is_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a part, of a chunk and of the array that have no common divisor."""
    monkeypatch.setattr("refloss.files.stored.PART", 31 * 8 * 5)
    entry = read(store(tmp_path / "a.zarr", {"dos": DOS}, chunks=(3, 8))).data["dos"]
    assert [len(part) for part in entry.stored("values").parts()] == [3, 3, 3, 3, 3, 3, 2]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(entry["values"], DOS)


@pytest.mark.parametrize("part", [1, 31 * 8 * 7, 1 << 20])
def test_write_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    """With chunks of one row, of seven, and of all."""
    monkeypatch.setattr("refloss.files.stored.PART", part)
    structures = Structures(np.array([2, 5]), np.arange(1, 8), RNG.normal(size=(7, 3)), RNG.normal(size=(2, 3, 3)))
    data = {
        "energy": {"values": ENERGY[:2], "positions": FORCES},
        "mtt::dos": {"values": np.asfortranarray(DOS)},
        "swapped": {"values": DOS.astype(">f4")},
        "mask": {"values": MASK},
        "number": {"values": np.float64(3.5)},
        "none": {"values": np.empty((0, 4))},
        "counts": {"values": np.arange(5, dtype=np.uint8)},
    }
    formats.write("out", tmp_path / "a.zarr", Contents(data, structures))
    group, found = zarr.open_group(tmp_path / "a.zarr", mode="r"), read(tmp_path / "a.zarr")
    for name, entry in data.items():
        for key, array in entry.items():
            for back in (group[name][key][...], found.data[name][key]):
                assert back.dtype == np.asarray(array).dtype.newbyteorder("=")
                np.testing.assert_array_equal(back, array)
    assert found.structures is not None
    for name in ("num_atoms", "types", "positions", "cells"):
        np.testing.assert_array_equal(getattr(found.structures, name), getattr(structures, name))
    formats.write("out", tmp_path / "b.zarr", Contents(data, structures))
    files = [path.relative_to(tmp_path / "a.zarr") for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()]
    assert all((tmp_path / "a.zarr" / file).read_bytes() == (tmp_path / "b.zarr" / file).read_bytes() for file in files)


REFUSED_2: dict[str, tuple[dict[str, Any], str]] = {
    "objects": ({"dtype": "|O"}, r"found dtype '\|O', expected booleans or real numbers"),
    "pickles": ({"filters": [{"id": "pickle", "protocol": 5}]}, "found filters 'pickle', expected shuffle"),
    "a number of filters": ({"filters": 1}, "found filters 1, expected a list"),
    "a codec that loses digits": ({"compressor": {"id": "quantize"}}, "found compressor 'quantize', expected gzip"),
    "a misspelt codec": ({"compressor": {"id": "bloscc"}}, r"found compressor 'bloscc'.*\(did you mean 'blosc'\?\)"),
    "text": ({"dtype": "<U8"}, "found dtype '<U8'"),
    "records": ({"dtype": [["a", "<f8"]]}, r"found dtype \[\['a', '<f8'\]\]"),
    "a float of one byte": ({"dtype": "<f1"}, "found dtype '<f1'"),
    "a negative shape": ({"shape": [20, -31]}, r"found shape \[20, -31\]"),
    "a shape of booleans": ({"shape": [True, 31]}, r"found shape \[True, 31\]"),
    "chunks of nothing": ({"chunks": [0, 9]}, r"found chunks \[0, 9\], expected integers ≥ 1"),
    "chunks of another rank": ({"chunks": [7]}, "expected as many as"),
    "another order": ({"order": "A"}, "found order 'A', expected C, F"),
    "a path for a separator": ({"dimension_separator": "/../"}, "found dimension_separator '/../'"),
    "a fill value of another type": ({"fill_value": "zero"}, "found fill_value 'zero'"),
    "a fill value beyond the type": ({"dtype": "<f4", "fill_value": 1e300}, r"found fill_value 1e\+300"),
    "a version": ({"zarr_format": 4}, "found zarr_format 4, expected 2 or 3"),
    "shuffled otherwise": ({"filters": [{"id": "shuffle", "elementsize": 3}]}, "shuffled as of 3 bytes"),
}


@pytest.mark.parametrize("case", REFUSED_2)
def test_what_is_refused_of_format_2(tmp_path: Path, case: str) -> None:
    changed, message = REFUSED_2[case]
    path = store(tmp_path / "a.zarr", {"dos": DOS, "good": ENERGY}, 2, chunks=(7, 9))
    edit(path / "dos/.zarray", lambda metadata: metadata.update(changed))
    found = read(path)
    np.testing.assert_array_equal(found.data["good"]["values"], ENERGY)  # what nobody asks for is not in the way
    with pytest.raises(InputError, match=message) as caught:
        found.data["dos"]["values"]
    assert str(caught.value).startswith(f"targets: {path}: 'dos/.zarray': ")


def shards(**changed: Any) -> dict[str, Any]:
    inner = {"name": "bytes", "configuration": {"endian": "little"}}
    settings = {"chunk_shape": [7, 9], "codecs": [inner], "index_codecs": [inner]} | changed
    return {"codecs": [{"name": "sharding_indexed", "configuration": settings}]}


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
REFUSED_3: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"data_type": "string"}, "found data_type 'string', expected bool"),
    "an extension type": ({"data_type": {"name": "numpy.datetime64"}}, "found data_type {'name'"),
    "a codec of a package": (
        {"codecs": [BYTES, {"name": "numcodecs.pickle"}]},
        "found codecs 'numcodecs.pickle', expected transpose, bytes",
    ),
    "one compression on another": ({"codecs": [BYTES, GZIP, GZIP]}, "found the codec 'gzip' where it is not read"),
    "none to bytes": ({"codecs": [GZIP]}, "found the codec 'gzip' where it is not read"),
    "none": ({"codecs": []}, "found no codec to bytes"),
    "a number of them": ({"codecs": 2**70}, "found codecs 1180591620717411303424, expected a list"),
    "a table by no list": (shards(index_codecs=True), "found index_codecs True, expected a list"),
    "no byte order": ({"codecs": [{"name": "bytes"}]}, "found endian None, expected little, big"),
    "shards in shards": (shards(codecs=shards()["codecs"]), "found the codec 'sharding_indexed' where it is not read"),
    "shards that do not divide": (shards(chunk_shape=[5, 9]), r"found chunks \[5, 9\] in shards \[7, 9\]"),
    "a table that is compressed": (shards(index_codecs=[BYTES, GZIP]), "found index_codecs 'gzip', expected bytes"),
    "axes twice": (
        {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}, BYTES]},
        r"found the order \[0, 0\]",
    ),
    "an extension": ({"recompute": {"name": "from the web"}}, "found 'recompute', expected"),
    "transformers": ({"storage_transformers": [{"name": "x"}]}, "found storage_transformers"),
    "chunks of many sizes": ({"chunk_grid": {"name": "rectangular"}}, "found chunk_grid 'rectangular'"),
    "a path for a separator": (
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "../"}}},
        r"found separator '\.\./'",
    ),
}


@pytest.mark.parametrize("case", REFUSED_3)
def test_what_is_refused_of_format_3(tmp_path: Path, case: str) -> None:
    changed, message = REFUSED_3[case]
    path = store(tmp_path / "a.zarr", {"dos": DOS}, chunks=(7, 9))
    edit(path / "dos/zarr.json", lambda metadata: metadata.update(changed))
    with pytest.raises(InputError, match=message) as caught:
        read(path).data["dos"]["values"]
    assert str(caught.value).startswith(f"targets: {path}: 'dos/zarr.json': ")


def test_extensions_that_need_not_be_understood(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", {"dos": DOS})
    edit(path / "dos/zarr.json", lambda metadata: metadata.update(x={"name": "y", "must_understand": False}))
    np.testing.assert_array_equal(read(path).data["dos"]["values"], DOS)


@pytest.mark.parametrize("codec", CODECS_2)
@pytest.mark.parametrize("damage", ["cut", "longer", "shorter", "noise", "empty"])
def test_damaged_chunks(tmp_path: Path, codec: str, damage: str) -> None:
    """More, fewer or other bytes than the chunk has; uncompressed noise alone is numbers like any other."""
    path = store(tmp_path / "a.zarr", {"dos": DOS}, 2, chunks=(7, 9), compressors=CODECS_2[codec])
    chunk = path / "dos/1.2"
    whole = chunk.read_bytes()
    encode = CODECS_2[codec].encode if CODECS_2[codec] else bytes
    chunk.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "longer": encode(bytes(7 * 9 * 8 + 1)),
            "shorter": encode(bytes(7 * 9 * 8 - 1)),
            "noise": RNG.bytes(len(whole) + (codec == "none")),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(InputError, match=r"'dos/1\.2': found "):
        read(path).data["dos"]["values"]


def test_checksums_are_compared(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", {"dos": DOS}, compressors=(zarr.codecs.Crc32cCodec(),))
    chunk = path / "dos/c/0/0"
    content = bytearray(chunk.read_bytes())
    content[100] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(InputError, match="'dos/c/0/0': found another checksum"):
        read(path).data["dos"]["values"]


def test_tables_of_shards_that_lead_elsewhere(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", {"dos": DOS}, chunks=(5, 31), shards=(20, 31), compressors=None)
    edit(path / "dos/zarr.json", lambda metadata: metadata["codecs"][0]["configuration"]["index_codecs"].pop())
    chunk = path / "dos/c/0/0"
    content = bytearray(chunk.read_bytes()[:-4])
    chunk.write_bytes(content)
    np.testing.assert_array_equal(read(path).data["dos"]["values"], DOS)
    content[-16:-8] = (2**63).to_bytes(8, "little")
    chunk.write_bytes(content)
    with pytest.raises(InputError, match=r"'dos/c/0/0': found chunk \(3, 0\) up to byte"):
        read(path).data["dos"]["values"]
    chunk.write_bytes(content[-20:])
    with pytest.raises(InputError, match="found 20 bytes, expected 64 of the table of 4 chunks"):
        read(path).data["dos"]["values"]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("shape", "chunks", "written"),
    [((10**6, 10**6), (10, 10), 10), ((10**5, 1), (1, 10**6), 1), ((2, 2), (30_000, 30_000), 0)],
    ids=["chunked", "chunks beyond the edge", "one chunk"],
)
def test_shapes_that_are_not_covered(
    tmp_path: Path, zarr_format: int, kind: str, shape: tuple[int, ...], chunks: tuple[int, ...], written: int
) -> None:
    """A store of some kilobytes must not be able to ask for gigabytes, nor for a look at each of 10^10 chunks."""
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    made = group.create_array("a", shape=shape, dtype="f8", chunks=chunks, fill_value=1.0)
    if written:
        made[:written, :written] = 2
    if kind == "zip":
        path = zipped(path, tmp_path / "a.zip")
    entry = read(path).data["a"]
    with (
        taking_at_most(MEMORY),
        pytest.raises(InputError, match=r"'a': found an array of \d+ bytes, of which \d+ are stored"),
    ):
        entry["values"]


@pytest.mark.parametrize("codec", [name for name in CODECS_2 if name != "none"])
def test_chunks_that_declare_more_than_they_are(tmp_path: Path, codec: str) -> None:
    """Headers of Blosc, LZ4 and Zstandard name a size, which is allocated; deflate would go on without end."""
    path = store(tmp_path / "a.zarr", {"a": DOS}, 2, chunks=(20, 31), compressors=CODECS_2[codec])
    (path / "a/0.0").write_bytes(CODECS_2[codec].encode(bytes(200 << 20)))  # type: ignore[union-attr]
    entry = read(path).data["a"]
    # A two-hundredth of what it declares is what LZ4 stores, and the decoder of xz has a dictionary of 8 MiB.
    with taking_at_most(MEMORY), pytest.raises(InputError, match=r"'a/0\.0': found "):
        entry["values"]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
@pytest.mark.parametrize("linked", ["g", "g/values", "g/values/zarr.json", "g/values/c/0/0", "g/values/c"])
def test_links_are_not_followed(tmp_path: Path, linked: str) -> None:
    """A link can lead to any file of the user's, or back to its own folder."""
    path = store(tmp_path / "a.zarr", {"g/values": DOS, "good": ENERGY}, chunks=(20, 31))
    place = path / linked
    shutil.move(place, tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"found a link|found 'g/values/zarr.json' but no"):
        everything(read(path))


def everything(contents: Contents) -> None:
    for entry in contents.data.values():
        for key in entry:
            entry[key]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
def test_a_link_in_a_circle(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", {"good": ENERGY})
    (path / "again").symlink_to(path)
    np.testing.assert_array_equal(read(path).data["good"]["values"], ENERGY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: (path / "zarr.json").write_text("{"), "'zarr.json': found no JSON"),
        (lambda path: (path / "zarr.json").write_text("[" * 100_000), "'zarr.json': found no JSON"),
        (lambda path: (path / "zarr.json").write_text("[]"), "'zarr.json': found list, expected an object"),
        (lambda path: (path / "zarr.json").write_bytes(bytes(2 << 20)), "'zarr.json': found 2097152 bytes, expected"),
        (lambda path: (path / "zarr.json").unlink(), "found no zarr.json, .zgroup or .zarray|expected a Zarr store"),
        (lambda path: shutil.copy(path / "dos/zarr.json", path / "zarr.json"), "found one array without a name"),
    ],
    ids=["cut", "deep", "list", "long", "missing", "array"],
)
def test_stores_that_are_none(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = store(tmp_path / "a.zarr", {"dos": DOS})
    make(path)
    with pytest.raises(InputError, match=message):
        read(path)


def test_groups_without_values_and_deep_groups(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", {"energy/positions": FORCES, "dos": DOS})
    with pytest.raises(InputError, match="found 'energy/positions' but no 'energy/values'"):
        read(path)
    assert set(read(path, Quantity("mtt::dos", "dos")).data) == {"mtt::dos"}
    path = store(tmp_path / "b.zarr", {"a/b/c/d/e/f/g/h/i/j/values": DOS})
    with pytest.raises(InputError, match="found groups in groups, expected at most 8 levels"):
        read(path)


def test_a_zip_whose_members_are_compressed_is_told_so(tmp_path: Path) -> None:
    folder = store(tmp_path / "a.zarr", {"dos": DOS})
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    with pytest.raises(InputError, match="found compression by deflate, expected none"):
        read(tmp_path / "a.zip")


def test_a_folder_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"out: the folder .*a\.zarr is not empty"):
        formats.write("out", tmp_path / "a.zarr", Contents({"dos": {"values": DOS}}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert (tmp_path / "a.zarr" / "thesis.tex").read_text() == "years"
