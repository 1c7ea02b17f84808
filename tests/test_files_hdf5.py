"""HDF5 files made by h5py: what groups mean, that nothing leads out of the file, that declared sizes are covered."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory import taking_at_most

from refloss import InputError
from refloss.files import Contents, Quantity, Structures, formats

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(11)
ENERGY = RNG.normal(size=(3, 1))
FORCES = RNG.normal(size=(7, 3, 1))
DOS = RNG.normal(size=(20, 31))
MASK = RNG.random((20, 31)) < 0.5
MEMORY = 32 << 20
"""Bytes that refusing a file may take, with buffers of 16 MiB; the smallest array here declares 7 GB."""


def made(path: Path, make: Callable[[Any], object]) -> Path:
    with h5py.File(path, "w") as file:
        make(file)
    return path


def read(path: Path, *quantities: Quantity) -> Contents:
    return formats.read("targets", path, quantities)


def keys(contents: Contents) -> dict[str, set[str]]:
    return {name: set(entry) for name, entry in contents.data.items()}


def test_groups_are_targets_and_arrays_alone_too(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file["energy/values"], file["energy/positions"] = ENERGY, FORCES
        file["mtt::dos"], file["mtt::dos_mask"] = DOS, MASK
        file["energy/pbe/values"] = 2 * ENERGY
        file["energy/pbe/positions"] = 2 * FORCES
        file["energy"].attrs["unit"] = "eV"

    found = read(made(tmp_path / "a.h5", make))
    assert keys(found) == {
        "energy": {"values", "positions"},
        "energy/pbe": {"values", "positions"},
        "mtt::dos": {"values"},
        "mtt::dos_mask": {"values"},
    }
    assert found.structures is None
    np.testing.assert_array_equal(found.data["energy"]["positions"], FORCES)
    np.testing.assert_array_equal(found.data["energy/pbe"]["positions"], 2 * FORCES)
    np.testing.assert_array_equal(found.data["mtt::dos_mask"]["values"], MASK)
    assert found.data["mtt::dos_mask"]["values"].dtype == np.bool_


def test_the_content_decides_and_a_user_block_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["energy"] = ENERGY
    np.testing.assert_array_equal(read(path).data["energy"]["values"], ENERGY)


def test_a_quantity_gives_the_name(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5", lambda file: file.update({"u": ENERGY, "deep/er": DOS}) or None)
    found = read(path, Quantity("energy", "u"), Quantity("mtt::dos", "deep/er"))
    assert keys(found) == {"energy": {"values"}, "mtt::dos": {"values"}}
    np.testing.assert_array_equal(found.data["mtt::dos"]["values"], DOS)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "<f8", ">f8", "?", "i1", ">i4", "u2", ">u8"])
def test_every_type_of_number_in_both_byte_orders(tmp_path: Path, dtype: str) -> None:
    array = (100 * RNG.random((3, 4)) * (RNG.random((3, 4)) < 0.7)).astype(dtype)
    found = read(made(tmp_path / "a.h5", lambda file: file.create_dataset("a", data=array))).data["a"]["values"]
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (7, 11)},
        {"compression": "lzf", "chunks": (3, 31)},
        {"chunks": (7, 40), "maxshape": (None, None)},
    ],
    ids=["deflate", "lzf", "beyond the edge"],
)
def test_chunks_and_the_filters_of_h5py(tmp_path: Path, options: dict[str, Any]) -> None:
    path = made(tmp_path / "a.h5", lambda file: file.create_dataset("dos", data=DOS, **options))
    np.testing.assert_array_equal(read(path).data["dos"]["values"], DOS)


def test_an_array_in_parts_is_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a part, of a chunk and of the array that have no common divisor."""
    monkeypatch.setattr("refloss.files.stored.PART", 31 * 8 * 5)
    path = made(tmp_path / "a.h5", lambda file: file.create_dataset("dos", data=DOS, chunks=(3, 8)))
    entry = read(path).data["dos"]
    assert [len(part) for part in entry.stored("values").parts()] == [3, 3, 3, 3, 3, 3, 2]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(entry["values"], DOS)


def test_a_number_an_empty_array_and_a_missing_chunk(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file["number"], file["none"] = 3.5, np.empty((0, 4))
        file.create_dataset("some", (6, 2), "f8", chunks=(2, 2), fillvalue=7.0)[2:4] = 1

    found = read(made(tmp_path / "a.h5", make)).data
    assert found["number"]["values"].shape == ()
    assert found["number"]["values"][()] == 3.5
    assert found["none"]["values"].shape == (0, 4)
    assert found["some"]["values"].tolist() == [[7, 7], [7, 7], [1, 1], [1, 1], [7, 7], [7, 7]]


def test_write_and_read_again(tmp_path: Path) -> None:
    structures = Structures(np.array([2, 5]), np.arange(1, 8), RNG.normal(size=(7, 3)), RNG.normal(size=(2, 3, 3)))
    data = {"energy": {"values": ENERGY[:2], "positions": FORCES}, "mtt::dos": {"values": DOS.astype(np.float32).T}}
    formats.write("out", tmp_path / "a.h5", Contents(data, structures))
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["mtt::dos/values"], data["mtt::dos"]["values"])
        np.testing.assert_array_equal(file["structures/positions"], structures.positions)
    found = read(tmp_path / "a.h5")
    assert keys(found) == {"energy": {"values", "positions"}, "mtt::dos": {"values"}}
    np.testing.assert_array_equal(found.data["energy"]["positions"], FORCES)
    assert found.structures is not None
    for name in ("num_atoms", "types", "positions", "cells"):
        np.testing.assert_array_equal(getattr(found.structures, name), getattr(structures, name))
    formats.write("out", tmp_path / "b.h5", Contents(data, structures))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "a link out of the file": (
        lambda file: file.update({"a": h5py.ExternalLink("secret.h5", "/a")}),
        r"'a': found a link out of the file, to 'secret\.h5'",
    ),
    "a group that is one": (
        lambda file: file.update({"g/values": ENERGY, "g/positions": h5py.ExternalLink("secret.h5", "/a")}),
        r"'g/positions': found a link out of the file",
    ),
    "a symbolic link": (
        lambda file: file.update({"b": ENERGY, "a": h5py.SoftLink("/b")}),
        "'a': found a symbolic link, to '/b'",
    ),
    "a symbolic link to itself": (
        lambda file: file.update({"a": h5py.SoftLink("/a")}),
        "'a': found a symbolic link",
    ),
    "a group within itself": (
        lambda file: file.create_group("a").update({"b": file["a"]}),
        "found 'a/b' but no 'a/values'",
    ),
    "text": (lambda file: file.update({"a": ["one", "two"]}), "'a': found the type object"),
    "fixed text": (lambda file: file.update({"a": np.array([b"one"])}), r"'a': found the type \|S3"),
    "complex numbers": (lambda file: file.update({"a": ENERGY + 1j}), "'a': found the type complex128"),
    "records": (lambda file: file.update({"a": np.zeros(3, "f8,i4")}), r"'a': found the type \[\('f0'"),
    "rows of any length": (
        lambda file: file.create_dataset("a", (3,), h5py.vlen_dtype("f8")),
        "'a': found the type object",
    ),
    "nothing": (lambda file: file.create_dataset("a", data=h5py.Empty("f8")), "'a': found an empty dataset"),
    "a type": (lambda file: file.update({"a": np.dtype("f8")}), "'a': found a datatype, expected an array"),
    "a gradient alone": (
        lambda file: file.update({"energi/values": ENERGY, "energy/positions": FORCES}),
        r"found 'energy/positions' but no 'energy/values'.*did you mean 'energi'",
    ),
    "groups in groups": (
        lambda file: file.update({"/".join("abcdefghijkl"): ENERGY}),
        "found groups 9 deep, expected at most 8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    made(tmp_path / "secret.h5", lambda file: file.update({"a": ENERGY}))
    with pytest.raises(InputError, match=message) as caught:
        everything(read(made(tmp_path / "a.h5", make)))
    assert str(caught.value).startswith(f"targets: {tmp_path / 'a.h5'}: ")


def everything(contents: Contents) -> None:
    for entry in contents.data.values():
        for key in entry:
            entry[key]


def test_what_nobody_asks_for_is_not_in_the_way(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file["energy"], file["notes"], file["other/thing"] = ENERGY, ["by hand"], DOS
        file["out"] = h5py.ExternalLink("/etc/passwd", "/")

    found = read(made(tmp_path / "a.h5", make), Quantity("energy", "energy"))
    np.testing.assert_array_equal(found.data["energy"]["values"], ENERGY)


def test_a_gradient_whose_values_were_asked_for(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5", lambda file: file.update({"energy/positions": FORCES}))
    with pytest.raises(InputError, match="found 'energy/positions' but no 'energy', expected the values"):
        read(path, Quantity("energy", "energy"))


def test_numbers_in_another_file(tmp_path: Path) -> None:
    """External storage would read any file of the user's as numbers."""
    (tmp_path / "secret").write_bytes(ENERGY.tobytes())
    external = [(str(tmp_path / "secret"), 0, ENERGY.nbytes)]
    path = made(tmp_path / "a.h5", lambda file: file.create_dataset("a", (3, 1), "f8", external=external))
    with pytest.raises(InputError, match=r"'a': found numbers in the file '.*secret', expected them in this one"):
        read(path).data["a"]["values"]


def test_virtual_datasets(tmp_path: Path) -> None:
    made(tmp_path / "secret.h5", lambda file: file.update({"a": ENERGY}))
    layout = h5py.VirtualLayout((3, 1), "f8")
    layout[...] = h5py.VirtualSource(tmp_path / "secret.h5", "a", (3, 1))
    path = made(tmp_path / "a.h5", lambda file: file.create_virtual_dataset("a", layout))
    with pytest.raises(InputError, match="'a': found a virtual dataset"):
        read(path).data["a"]["values"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [([32004], "filter 32004"), ([5], "filter 5"), ([1, 1], "filter 1 twice")],
    ids=["of a plugin", "of another kind", "twice"],
)
def test_filters_that_are_not_read(tmp_path: Path, filters: list[int], message: str) -> None:
    """A plugin's filter would be a library that HDF5 loads; a compression on top of itself multiplies what it hides."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((3, 1))
    for code in filters:
        settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (6,) if code == 1 else ())
    space, kind = h5py.h5s.create_simple((3, 1)), h5py.h5t.IEEE_F64LE
    path = made(tmp_path / "a.h5", lambda file: h5py.h5d.create(file.id, b"a", kind, space, settings))
    with pytest.raises(InputError, match=f"'a': found the {message}.*h5repack"):
        read(path).data["a"]["values"]


@pytest.mark.parametrize(
    ("shape", "options", "written"),
    [
        ((10**6, 10**6), {}, 0),
        ((10**6, 10**6), {"chunks": (10, 10)}, 10),
        ((10**6, 10**6), {"chunks": (10, 10), "compression": "gzip"}, 10),
        ((2, 2), {"chunks": (30_000, 30_000), "maxshape": (None, None)}, 0),
        ((10**5, 1), {"chunks": (1, 10**6), "maxshape": (None, None), "compression": "gzip"}, 1),
    ],
    ids=["contiguous", "chunked", "compressed", "one chunk", "chunks beyond the edge"],
)
def test_shapes_that_are_not_covered(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], written: int
) -> None:
    """A file of some kilobytes must not be able to ask for gigabytes."""

    def make(file: Any) -> None:
        dataset = file.create_dataset("a", shape, "f8", fillvalue=1.0, **options)
        if written:
            dataset[:written, :written] = 2

    path = made(tmp_path / "a.h5", make)
    with (
        taking_at_most(MEMORY),
        pytest.raises(InputError, match=r"'a': found an array of \d+ bytes, of which \d+ are stored"),
    ):
        read(path).data["a"]["values"]


def checksums_of_nothing(path: Path) -> Path:
    """Make a file in which a chunk with a checksum has no bytes: HDF5 2.0.0 then reads four fewer than none.

    A B-tree's node of chunks is ``TREE``, four bytes, two addresses of neighbours, and of each chunk first its size.
    (HDF5 file format specification 3.0, section III.A.1)
    """
    made(path, lambda file: file.create_dataset("a", data=ENERGY, fletcher32=True, chunks=ENERGY.shape))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"TREE") + 24
    assert content[at : at + 4] == (ENERGY.nbytes + 4).to_bytes(4, "little")
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    return path


def test_a_file_that_crashes_the_library_is_refused_and_no_more(tmp_path: Path) -> None:
    found = read(checksums_of_nothing(tmp_path / "a.h5"))
    for _ in range(2):  # what is asked after a crash is asked of a new process
        with pytest.raises(InputError, match=r"^targets: .*a\.h5: 'a': found (content at which the HDF5|no readable)"):
            found.data["a"]["values"]


CRASHING = """
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from refloss.files import hdf5_reader
part = hdf5_reader.Reader.part
def crash(self, name, rows):
    if name == "b":
        os.kill(os.getpid(), signal.SIGSEGV)
    return part(self, name, rows)
hdf5_reader.Reader.part = crash
hdf5_reader.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_crash_is_named_and_what_else_the_file_holds_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refloss.files.hdf5._CHILD", CRASHING)
    found = read(made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY, "b": DOS, "c": MASK}))).data
    np.testing.assert_array_equal(found["a"]["values"], ENERGY)
    with pytest.raises(InputError, match=r"a\.h5: 'b': found content at which the HDF5 library ends .*\(SIGSEGV\)"):
        found["b"]["values"]
    np.testing.assert_array_equal(found["c"]["values"], MASK)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


ENDLESS = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from refloss.files import hdf5_reader
def endless(self, name, rows):
    while True:
        pass
hdf5_reader.SECONDS = 0.1
hdf5_reader.Reader.part = endless
hdf5_reader.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_file_at_which_the_library_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refloss.files.hdf5._CHILD", ENDLESS)
    found = read(made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY}))).data
    with pytest.raises(
        InputError, match=r"'a': found content at which the HDF5 library computes without end \(SIGPROF\)"
    ):
        found["a"]["values"]


def test_a_group_whose_list_is_its_own_neighbour_is_read(tmp_path: Path) -> None:
    """HDF5 2.0.0 goes round in it for ever where it adds up how much room a group takes, which nobody asks for."""
    path = made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY}))
    content = bytearray(path.read_bytes())
    at = content.index(b"TREE")
    content[at + 16 : at + 24] = at.to_bytes(8, "little")  # the address of the right neighbour
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path).data["a"]["values"], ENERGY)


def test_after_ctrl_c_the_next_answer_is_to_the_next_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while the elements come: what is left of them must not be taken for another array's."""
    found = read(made(tmp_path / "a.h5", lambda file: file.update({"a": DOS, "b": -DOS}))).data
    parts = found["a"].stored("values").parts()
    with monkeypatch.context() as patch:
        patch.setattr("refloss.files.hdf5.json.loads", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(parts)
    np.testing.assert_array_equal(found["b"]["values"], -DOS)
    np.testing.assert_array_equal(found["a"]["values"], DOS)


def test_nothing_of_the_working_directory_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data come with scripts beside them: a json.py is to be no part of this program."""
    path = made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY}))
    for name in ("json", "signal", "refloss"):
        (tmp_path / f"{name}.py").write_text("open('here', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])  # as an interactive Python has it
    np.testing.assert_array_equal(read(path).data["a"]["values"], ENERGY)
    assert not (tmp_path / "here").exists()


def test_no_process_is_left_when_nobody_reads_any_more(tmp_path: Path) -> None:
    found = read(made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY})))
    process = found.data["a"].stored("values")._reader._process._popen
    assert process.poll() is None
    del found
    gc.collect()
    assert process.poll() is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # the child does no more than it may
def test_a_forked_process_asks_a_reader_of_its_own(tmp_path: Path) -> None:
    found = read(made(tmp_path / "a.h5", lambda file: file.update({"a": ENERGY})))
    assert (found.data["a"]["values"] == ENERGY).all()
    child = os.fork()
    if child == 0:
        os._exit(0 if (found.data["a"]["values"] == ENERGY).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (found.data["a"]["values"] == ENERGY).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"num_atoms": [2.0, 1.0]}, "structures/num_atoms: found the type float64, expected integers"),
        ({"num_atoms": [2, 0]}, "structures/num_atoms: found"),
        ({"num_atoms": [[2, 1]]}, r"structures/num_atoms: found shape \(1, 2\)"),
        ({"num_atoms": np.zeros((0, 2), int)}, r"structures/num_atoms: found shape \(0, 2\), expected"),
        # The sum in int64 is 3: np.repeat would write beyond its array.
        ({"num_atoms": [2**62, 2**62, 2**62, 2**62 + 3]}, rf"num_atoms: found {2**64 + 3} atoms in all, expected at"),
        ({"num_atoms": [2, 1], "cells": np.full((2, 3, 3), np.nan)}, "found a cell of structure 0 that is not finite"),
        ({"num_atoms": [2, 1], "positions": np.zeros((2, 3))}, r"positions: found shape \(2, 3\), expected \(3, 3\)"),
        ({"num_atoms": [2, 1], "type": [1, 1, 1]}, r"'structures/type'.*did you mean 'structures/types'"),
    ],
)
def test_structures_that_contradict_themselves(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = made(tmp_path / "a.h5", lambda file: file.create_group("structures").update(arrays))
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"a": {"values": ENERGY, "b/values": DOS}},
            "found the gradient 'b/values' of 'a', which in groups could not be told",
        ),
        (
            {"a": {"values": ENERGY, "b/c": DOS}, "a/b": {"values": DOS}},
            "could not be told from 'c' of the target 'a/b'",
        ),
        ({"structures": {"values": ENERGY}}, "found the target 'structures'"),
        ({"a/../b": {"values": ENERGY}}, "found the target 'a/../b'"),
        ({"a": {"blocks": {0: {"values": ENERGY}, 1: {"values": ENERGY}}}}, "found 2 blocks, expected one"),
        ({"a": {"values": np.array(["x"])}}, "'a/values': found the type <U1"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        formats.write("out", tmp_path / "a.h5", Contents(data))
    assert list(tmp_path.iterdir()) == []
