"""DiskDataset zips without metatrain: structures and targets in the order of their numbers, joined and taken apart.

The files are made here by `numpy.save` and `zipfile` alone; tests/released/test_files_metatensor.py has metatrain's.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensormap_files import encoded, saved, table

from refloss import InputError
from refloss.files import Contents, Quantity, Structures, disk_dataset, formats
from refloss.files.tensormap import Labels, TensorBlock, TensorMap

RNG = np.random.default_rng(11)
ATOMS = (2, 1, 3, 1, 1, 2, 1, 4, 1, 1, 2)
"""Eleven structures: in the order of text, the tenth would come before the second."""

FIRST = np.cumsum((0, *ATOMS))
TYPES = RNG.integers(1, 90, FIRST[-1])
TYPES[:2] = 7, 8  # the first file has its blocks in no order
POSITIONS = RNG.normal(size=(FIRST[-1], 3))
CELLS = RNG.normal(size=(len(ATOMS), 3, 3))
CELLS[5, 1:] = 0.0  # a chain along one vector
ENERGY = RNG.normal(size=(len(ATOMS), 1))
FORCES = RNG.normal(size=(FIRST[-1], 3, 1))
CHARGES = RNG.normal(size=(FIRST[-1], 2)).astype(np.float32)


def nested(members: dict[str, Any]) -> bytes:
    return saved(io.BytesIO(), members).getvalue()  # type: ignore[no-any-return]


def system(i: int) -> dict[str, Any]:
    rows = slice(FIRST[i], FIRST[i + 1])
    return {
        "positions.npy": POSITIONS[rows],
        "cell.npy": CELLS[i],
        "types.npy": TYPES[rows].astype(np.int32),
        "pbc.npy": np.ones(3, bool),
        "pairs/0/options.json": b"{}",
        "data/mtt::spin.mts": b"not looked at",
    }


def energy(i: int, number: int = 0) -> dict[str, Any]:
    """Return a TensorMap of one structure that calls it `number`, as older writers call all of them 0."""
    rows = slice(FIRST[i], FIRST[i + 1])
    return {
        "keys.npy": table("_", [0]),
        "blocks/0/values.npy": ENERGY[i : i + 1],
        "blocks/0/samples.npy": table("system", [number]),
        "blocks/0/properties.npy": table("energy", [0]),
        "blocks/0/gradients/positions/values.npy": FORCES[rows],
        "blocks/0/gradients/positions/samples.npy": table(
            "sample system atom", [(0, number, atom) for atom in range(ATOMS[i])]
        ),
        "blocks/0/gradients/positions/components/0.npy": table("xyz", range(3)),
        "info.json": {"unit": "eV"},
    }


def charges(i: int, number: int = 0) -> dict[str, Any]:
    """Return a TensorMap with a block for each parity of the atomic numbers; a structure may have no such atom."""
    rows = np.arange(FIRST[i], FIRST[i + 1])
    members: dict[str, Any] = {}
    keys = []
    for parity in (1, 0):
        of = rows[TYPES[rows] % 2 == parity]
        if of.size:
            block = f"blocks/{len(keys)}"
            keys.append(parity)
            members[f"{block}/values.npy"] = CHARGES[of]
            members[f"{block}/samples.npy"] = table("system atom", [(number, row - FIRST[i]) for row in of])
            members[f"{block}/properties.npy"] = table("charge", range(2))
    return members | {"keys.npy": table("parity", keys)}


def dataset(path: Path, **changes: Any) -> Path:
    """Write the data set, with members changed, or left out where None."""
    members: dict[str, Any] = {}
    for i in reversed(range(len(ATOMS))):  # in no helpful order
        members[f"{i}/energy.mts"] = np.frombuffer(nested(energy(i, number=i % 3)), np.uint8)
        members[f"{i}/mtt::q.mts"] = np.frombuffer(nested(charges(i)), np.uint8)
        members[f"{i}/system.mta"] = nested(system(i))
    members["metadata/atom_counts.npy"] = np.array(ATOMS)
    members["README.txt"] = b"made by hand"
    members.update(changes)
    saved(path, {name: content for name, content in members.items() if content is not None})
    return path


def test_structures_and_targets_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    contents = disk_dataset.read("targets", dataset(tmp_path / "a.zip"))
    structures = contents.structures
    assert structures is not None
    assert structures.num_atoms.tolist() == list(ATOMS)
    np.testing.assert_array_equal(structures.types, TYPES)
    np.testing.assert_array_equal(structures.positions, POSITIONS)
    np.testing.assert_array_equal(structures.cells, CELLS)
    assert sorted(contents.data) == ["energy", "mtt::q"]

    tensormap = contents.data["energy"]
    assert tensormap.info() == {"unit": "eV"}
    (block,) = tensormap.blocks()
    assert block.samples == Labels(["system"], range(len(ATOMS)))
    np.testing.assert_array_equal(block.values, ENERGY)
    forces = block.gradient("positions")
    np.testing.assert_array_equal(forces.values, FORCES)
    assert forces.samples.names == ["sample", "system", "atom"]
    rows = [(i, i, atom) for i, n in enumerate(ATOMS) for atom in range(n)]
    assert forces.samples.values.tolist() == [list(row) for row in rows]


def test_blocks_that_some_structures_lack(tmp_path: Path) -> None:
    tensormap = disk_dataset.read("targets", dataset(tmp_path / "a.zip")).data["mtt::q"]
    assert tensormap.keys == Labels(["parity"], [[0], [1]])
    for parity, block in zip((0, 1), tensormap.blocks(), strict=True):
        np.testing.assert_array_equal(block.values, CHARGES[np.equal(TYPES % 2, parity)])
        assert block.values.dtype == np.float32
        rows = [[i, atom] for i, n in enumerate(ATOMS) for atom in range(n) if TYPES[FIRST[i] + atom] % 2 == parity]
        assert block.samples.values.tolist() == rows


def test_keys_become_the_names_of_the_quantities(tmp_path: Path) -> None:
    data = disk_dataset.read("targets", dataset(tmp_path / "a.zip"), [Quantity("mtt::charges", "mtt::q")]).data
    assert sorted(data) == ["energy", "mtt::charges"]
    assert len(data["mtt::charges"].blocks()) == 2


def test_the_last_of_the_atom_counts_counts(tmp_path: Path) -> None:
    """metatrain appends structures, and then the counts of all once more."""
    path = dataset(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("metadata/atom_counts.npy", encoded(np.array(ATOMS)))
    contents = disk_dataset.read("targets", path)
    assert contents.structures is not None
    assert contents.structures.num_atoms.tolist() == list(ATOMS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("3/energy.mts", b"")
    with pytest.raises(InputError, match=r"'3/energy\.mts': found this member twice"):
        disk_dataset.read("targets", path)


def test_written_and_read_again(tmp_path: Path) -> None:
    contents = disk_dataset.read("targets", dataset(tmp_path / "a.zip"))
    disk_dataset.write("out", tmp_path / "b.zip", contents)
    disk_dataset.write("out", tmp_path / "c.zip", contents)
    assert (tmp_path / "b.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()
    again = disk_dataset.read("targets", tmp_path / "b.zip")
    for name in ("num_atoms", "types", "positions", "cells"):
        np.testing.assert_array_equal(getattr(again.structures, name), getattr(contents.structures, name))
    for name in ("energy", "mtt::q"):
        found, wanted = again.data[name], contents.data[name]
        assert (found.keys, found.info()) == (wanted.keys, wanted.info())
        for a, b in zip(found.blocks(), wanted.blocks(), strict=True):
            assert a.samples == b.samples
            np.testing.assert_array_equal(a.values, b.values)
            assert a.gradients_list() == b.gradients_list()
            for parameter in a.gradients_list():
                assert a.gradient(parameter).samples == b.gradient(parameter).samples
                np.testing.assert_array_equal(a.gradient(parameter).values, b.gradient(parameter).values)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert np.load(io.BytesIO(archive.read("metadata/atom_counts.npy"))).tolist() == list(ATOMS)
        one = zipfile.ZipFile(io.BytesIO(np.load(io.BytesIO(archive.read("5/energy.mts"))).tobytes()))
        samples = np.load(io.BytesIO(one.read("blocks/0/gradients/positions/samples.npy")))
        assert samples.tolist() == [(0, 5, 0), (0, 5, 1)]  # its own rows, the data set's structure
        pbc = np.load(io.BytesIO(zipfile.ZipFile(io.BytesIO(archive.read("5/system.mta"))).read("pbc.npy")))
        assert pbc.tolist() == [True, False, False]


def rows(numbers: list[int], values: Any) -> TensorMap:
    block = TensorBlock(np.array(values, float)[:, None], Labels(["system"], numbers), [], Labels(["a"], [0]))
    second = TensorBlock(  # second derivatives, rows in no order
        np.arange(4.0)[:, None], Labels(["sample"], [3, 0, 2, 1]), [], block.properties
    )
    first = TensorBlock(
        np.arange(4.0)[:, None], Labels(["sample", "of"], [(2, 0), (0, 0), (2, 1), (1, 0)]), [], block.properties
    )
    first.add_gradient("of", second)
    block.add_gradient("by", first)
    return TensorMap(Labels(["_"], [0]), [block])


@pytest.mark.parametrize("numbers", [[2, 0, 1], [90, 7, 30]])
def test_rows_go_to_the_structures_that_their_numbers_name(tmp_path: Path, numbers: list[int]) -> None:
    structures = Structures(np.array([1, 2, 1]), np.arange(1, 5), np.zeros((4, 3)))
    disk_dataset.write("out", tmp_path / "a.zip", Contents({"a": rows(numbers, [20.0, 0.0, 10.0])}, structures))
    back = disk_dataset.read("targets", tmp_path / "a.zip")
    assert back.structures is not None
    assert back.structures.cells is not None
    assert not back.structures.cells.any()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for i in range(3):
            one = zipfile.ZipFile(io.BytesIO(np.load(io.BytesIO(archive.read(f"{i}/a.mts"))).tobytes()))
            assert np.load(io.BytesIO(one.read("blocks/0/samples.npy"))).tolist() == [(i,)]
    (block,) = back.data["a"].blocks()
    assert block.values.ravel().tolist() == [0.0, 10.0, 20.0]  # the k-th smallest number is the k-th structure's
    first = block.gradient("by")
    assert first.samples.values.tolist() == [[0, 0], [1, 0], [1, 1], [2, 0]]
    assert first.values.ravel().tolist() == [3.0, 0.0, 2.0, 1.0]
    second = first.gradient("of")
    # Row r of the first derivatives is differentiated in the row of the second that names it, wherever both went.
    assert {(first.values[s, 0], v) for (s,), v in zip(second.samples.values, second.values[:, 0], strict=True)} == {
        (3.0, 0.0),
        (0.0, 1.0),
        (2.0, 2.0),
        (1.0, 3.0),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"4/system.mta": None}, r"found 10 structures, '10/system\.mta' among them, and no '4/system\.mta'"),
        ({"10/system.mta": None}, r"found '10/energy\.mts' and no '10/system\.mta', expected both"),
        ({"4/system.mta": b"PK"}, r"'4/system\.mta': found no zip archive"),
        ({"4/system.mta": nested({"types.npy": TYPES[:1]})}, r"'4/system\.mta': found no member 'positions\.npy'"),
        (
            {"4/system.mta": nested(system(4) | {"types.npy": TYPES[:0], "positions.npy": np.zeros((0, 3))})},
            r"'4/system\.mta': found no atoms, expected at least one",
        ),
        ({"4/system.mta": nested(system(4) | {"types.npy": TYPES[:2]})}, r"'positions\.npy': found shape \(1, 3\) .*2"),
        ({"4/system.mta": nested(system(4) | {"types.npy": CELLS[0]})}, r"'types\.npy': found shape .* integers of"),
        ({"4/system.mta": nested(system(4) | {"cell.npy": CELLS[0] * np.inf})}, r"of structure 4 that is not finite"),
        (
            {"4/system.mta": nested(system(4) | {"cell.npy": CELLS[0, 0]})},
            r"'cell\.npy': found shape \(3,\) of float64",
        ),
    ],
)
def test_structures_that_are_not_whole(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        disk_dataset.read("targets", dataset(tmp_path / "a.zip", **changes))
    assert str(caught.value).startswith(f"targets: {tmp_path / 'a.zip'}: ")


def stored(members: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(nested(members), np.uint8)


def without(members: dict[str, Any], start: str) -> dict[str, Any]:
    return {name: content for name, content in members.items() if not name.startswith(start)}


BLOCK = "blocks/0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"found no '4/energy\.mts' \(1 of 11 structures lack it\), expected it of every structure"),
        (b"PK", r"'4/energy\.mts': found b'PK', expected an npy array"),
        (ENERGY, r"'4/energy\.mts': found shape \(11, 1\) of float64, expected the bytes of an \.mts file"),
        (np.frombuffer(b"PK", np.uint8), r"'4/energy\.mts': found no zip archive"),
        (stored(energy(4) | {"keys.npy": table("key", [0])}), r"'4/energy\.mts': found keys named key, expected _"),
        (
            stored(energy(4) | {f"{BLOCK}/samples.npy": table("structure", [0])}),
            r"found samples named structure, expected system as in .*'0/energy\.mts'",
        ),
        (
            stored(energy(4) | {f"{BLOCK}/properties.npy": table("e", [0])}),
            r"found properties Labels\(e; 1\), expected Labels\(energy; 1\)",
        ),
        (
            stored(energy(4) | {f"{BLOCK}/values.npy": ENERGY[:1].astype(np.float32)}),
            r"found numbers of type float32, expected float64",
        ),
        (stored(without(energy(4), f"{BLOCK}/gradients")), r"found gradients nothing, expected positions"),
        (
            stored(
                without(energy(4), f"{BLOCK}/gradients")
                | {f"{BLOCK}/samples.npy": table("system", [0, 4]), f"{BLOCK}/values.npy": ENERGY[:2]}
            ),
            r"found gradients nothing",
        ),
    ],
)
def test_targets_that_do_not_fit_together(tmp_path: Path, content: Any, message: str) -> None:
    """They are found when the target is asked for, and are no reason to refuse the others."""
    contents = disk_dataset.read("targets", dataset(tmp_path / "a.zip", **{"4/energy.mts": content}))
    with pytest.raises(InputError, match=message):
        contents.data["energy"]
    assert len(contents.data["mtt::q"].blocks()) == 2


def test_a_structure_beside_another_ones_target(tmp_path: Path) -> None:
    both = charges(2)
    both["blocks/0/samples.npy"]["system"][-1] += 1
    path = dataset(tmp_path / "a.zip", **{"2/mtt::q.mts": stored(both)})
    with pytest.raises(InputError, match=r"'2/mtt::q\.mts': found the systems 0 and 1, expected one"):
        disk_dataset.read("targets", path).data["mtt::q"]


def test_what_is_no_dataset(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.zip", {"data/0/system.mta": b"", "data/0/energy.mts": b""})
    with pytest.raises(InputError, match=r"no system\.mta, expected 0/system\.mta, .*, at the top of the archive"):
        disk_dataset.read("targets", path)
    path = saved(tmp_path / "b.zip", {"00/system.mta": b"", "0/x/energy.mts": b""})
    with pytest.raises(InputError, match=r"found '00/system\.mta' and no system\.mta, expected 0/system\.mta, 1/"):
        disk_dataset.read("targets", path)
    path = saved(tmp_path / "c.zip", {"0/system.mta": nested(system(0))}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="found compression by deflate, expected none"):
        disk_dataset.read("targets", path)


@pytest.mark.parametrize(
    ("structures", "data", "message"),
    [
        (None, {"a": ENERGY}, r"found no structures, expected them"),
        (Structures(np.array([1, 1])), {"a": ENERGY[:2]}, r"found no types and positions of the structures"),
        ("two", {"a": ENERGY}, r"'a': found 11 rows, expected a row for each of 2 structures or of their 3 atoms"),
        ("two", {"a/b": ENERGY[:2]}, r"found the target 'a/b', expected a name that a file can have"),
        ("two", {"a": rows([0, 1, 2], [0.0, 1.0, 2.0])}, r"found 3 structures numbered 0 to 2, expected 0 to 1, or 2"),
    ],
)
def test_what_no_dataset_can_hold(tmp_path: Path, structures: Any, data: Any, message: str) -> None:
    if structures == "two":
        structures = Structures(np.array([1, 2]), np.array([1, 2, 3]), np.zeros((3, 3)))
    with pytest.raises(InputError, match=message):
        disk_dataset.write("out", tmp_path / "a.zip", Contents(data, structures))
    assert not list(tmp_path.iterdir())


def test_found_by_its_content_after_structures_were_appended(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("metadata/atom_counts.npy", encoded(np.array(ATOMS)))
    assert formats.detect("targets", path).name == "disk dataset"
