"""metatensor's files without metatensor: what they mean, whatever wrote them, and what is refused.

The files are made here by `numpy.save` and `zipfile` alone; tests/released/test_files_metatensor.py has metatensor's.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sections import section
from tensormap_files import saved, table

from refloss import InputError
from refloss.files import Contents, Quantity, Structures, mts
from refloss.files.tensormap import Labels, TensorBlock, TensorMap
from refloss.interop.metatensor import gradient_as_tensormap

RNG = np.random.default_rng(7)
VALUES = RNG.normal(size=(3, 1))
POSITIONS = RNG.normal(size=(4, 3, 1))
SECOND = RNG.normal(size=(2, 2, 3, 1))


def energy(order: str = "<") -> dict[str, Any]:
    """Return the members of a TensorMap with a gradient and a gradient of that."""
    block = "blocks/0"
    first, second = f"{block}/gradients/positions", f"{block}/gradients/positions/gradients/strain"
    return {
        "keys.npy": table("_", [0], order),
        f"{block}/values.npy": VALUES.astype(f"{order}f8"),
        f"{block}/samples.npy": table("system", [7, 3, 5], order),
        f"{block}/properties.npy": table("energy", [0], order),
        f"{first}/values.npy": POSITIONS.astype(f"{order}f8"),
        f"{first}/samples.npy": table("sample atom", [(0, 0), (1, 0), (1, 1), (2, 0)], order),
        f"{first}/components/0.npy": table("xyz", range(3), order),
        f"{second}/values.npy": SECOND.astype(f"{order}f8"),
        f"{second}/samples.npy": table("sample", [3, 1], order),
        f"{second}/components/0.npy": table("axis", range(2), order),
        f"{second}/components/1.npy": table("xyz", range(3), order),
        "info.json": {"description": "an energy", "unit": "eV"},
    }


def read(path: Path) -> TensorMap:
    found: TensorMap = mts.read("targets", path).data[path.stem]
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_all_that_a_file_holds(tmp_path: Path, order: str, compression: int) -> None:
    tensormap = read(saved(tmp_path / "a.mts", energy(order), compression))
    assert tensormap.keys == Labels(["_"], [[0]])
    assert tensormap.info() == {"description": "an energy", "unit": "eV"}
    (block,) = tensormap.blocks()
    assert (block.samples, block.components, block.properties) == (
        Labels(["system"], [[7], [3], [5]]),
        [],
        Labels(["energy"], [[0]]),
    )
    assert block.gradients_list() == ["positions"]
    positions = block.gradient("positions")
    assert positions.samples == Labels(["sample", "atom"], [[0, 0], [1, 0], [1, 1], [2, 0]])
    assert positions.gradients_list() == ["strain"]
    strain = positions.gradient("strain")
    assert strain.samples == Labels(["sample"], [[3], [1]])
    assert strain.components == [Labels(["axis"], range(2)), Labels(["xyz"], range(3))]
    for found, wanted in ((block, VALUES), (positions, POSITIONS), (strain, SECOND)):
        np.testing.assert_array_equal(found.values, wanted)
        assert found.values.dtype == np.float64
        assert found.values.dtype.isnative
        assert found.properties == block.properties


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_numbers_of_every_kind_come_back_as_they_are(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    read_back = read(saved(tmp_path / "a.mts", dos_members(values)))
    assert (read_back.block().values.dtype, read_back.block().values.tolist()) == (values.dtype, values.tolist())
    mts.write("out", tmp_path / "b.mts", Contents({"x": read_back}))
    again = read(tmp_path / "b.mts").block()
    assert (again.values.dtype, again.values.tolist()) == (values.dtype, values.tolist())


def test_written_and_read_again(tmp_path: Path) -> None:
    tensormap = read(saved(tmp_path / "a.mts", energy()))
    mts.write("out", tmp_path / "b.mts", Contents({"energy": tensormap}))
    with zipfile.ZipFile(tmp_path / "b.mts") as archive:
        assert sorted(archive.namelist()) == sorted(energy())
        for name, content in energy().items():
            if isinstance(content, np.ndarray):  # NumPy reads what was written, labels with their names
                found = np.load(io.BytesIO(archive.read(name)))
                assert found.dtype == content.dtype
                np.testing.assert_array_equal(found, content)
    same(read(tmp_path / "b.mts"), tensormap)
    mts.write("out", tmp_path / "c.mts", Contents({"energy": tensormap}))
    assert (tmp_path / "b.mts").read_bytes() == (tmp_path / "c.mts").read_bytes()


def test_blocks_without_rows_and_maps_without_blocks(tmp_path: Path) -> None:
    members = dos_members(np.empty((0, 2)))
    assert read(saved(tmp_path / "a.mts", members)).block().values.shape == (0, 2)
    empty = read(saved(tmp_path / "b.mts", {"keys.npy": table("o3_lambda o3_sigma", [])}))
    assert (empty.keys.names, len(empty.keys), empty.blocks()) == (["o3_lambda", "o3_sigma"], 0, [])
    mts.write("out", tmp_path / "c.mts", Contents({"x": empty}))
    same(read(tmp_path / "c.mts"), empty)


def test_labels_of_several_dimensions_and_blocks(tmp_path: Path) -> None:
    members = {"keys.npy": table("o3_lambda o3_sigma", [(2, 1), (0, -1)])}
    for i, n in enumerate((5, 1)):
        values = RNG.normal(size=(2, n, 3))
        members |= {
            f"blocks/{i}/values.npy": values,
            f"blocks/{i}/samples.npy": table("system atom", [(0, 4), (1, 0)]),
            f"blocks/{i}/components/0.npy": table("o3_mu", range(n)),
            f"blocks/{i}/properties.npy": table("n type", [(0, 1), (0, 8), (1, 8)]),
        }
    found = read(saved(tmp_path / "a.mts", members))
    assert found.keys.values.tolist() == [[2, 1], [0, -1]]
    assert [block.values.shape for block in found.blocks()] == [(2, 5, 3), (2, 1, 3)]
    assert found.block(1).properties == Labels(["n", "type"], [[0, 1], [0, 8], [1, 8]])


def test_one_quantity_names_it_and_a_second_has_no_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mts", energy())
    energies, mask = Quantity("energy", "e"), Quantity("energy_mask", "m")
    assert list(mts.read("targets", path, [energies]).data) == ["energy"]
    with pytest.raises(InputError, match=r"^targets: .*a\.mts: found 'energy', 'energy_mask' to be read from one file"):
        mts.read("targets", path, [energies, mask])


def test_evaluation_compares_the_labels(tmp_path: Path) -> None:
    chosen = section({"energy": {"type": "mse", "forces": "mae"}})
    targets = read(saved(tmp_path / "t.mts", energy()))
    members = energy()
    members["blocks/0/samples.npy"] = table("system", [0, 1, 2])  # the place in a batch for the place in the data set
    members["blocks/0/values.npy"] = VALUES + 0.5
    predictions = read(saved(tmp_path / "p.mts", members))
    result = chosen.evaluate({"energy": predictions}, {"energy": targets}, grad=True)
    assert result.terms["energy"].value == pytest.approx(0.25, rel=1e-15)  # half differences, rounded once
    assert result.terms["energy/positions"].value == 0.0

    made = gradient_as_tensormap(result.gradient()["energy"], predictions)
    assert isinstance(made, TensorMap)
    assert made.block().samples == predictions.block().samples
    assert made.block().gradient("positions").values.shape == POSITIONS.shape
    np.testing.assert_allclose(made.block().values, 1 / 3, rtol=1e-15)  # 2 · 0.5 / 3, differences rounded once

    members["blocks/0/gradients/positions/samples.npy"] = table("sample atom", [(0, 0), (1, 1), (1, 0), (2, 0)])
    with pytest.raises(InputError, match=r"energy/positions.*\(sample=1, atom=0\) at index 1 \(the same in another"):
        chosen.evaluate({"energy": read(saved(tmp_path / "q.mts", members))}, {"energy": targets})


def dos_members(values: np.ndarray) -> dict[str, Any]:
    return {
        "keys.npy": table("_", [0]),
        "blocks/0/values.npy": values,
        "blocks/0/samples.npy": table("system", range(len(values))),
        "blocks/0/properties.npy": table("dos", range(values.shape[1])),
    }


def same(found: TensorMap, wanted: TensorMap) -> None:
    def compare(a: TensorBlock, b: TensorBlock) -> None:
        assert (a.samples, a.components, a.properties) == (b.samples, b.components, b.properties)
        assert a.values.dtype == b.values.dtype
        np.testing.assert_array_equal(a.values, b.values)
        assert a.gradients_list() == b.gradients_list()
        for parameter in a.gradients_list():
            compare(a.gradient(parameter), b.gradient(parameter))

    assert (found.keys, found.info()) == (wanted.keys, wanted.info())
    for a, b in zip(found.blocks(), wanted.blocks(), strict=True):
        compare(a, b)


def change(name: str, content: Any) -> Callable[[dict[str, Any]], None]:
    return lambda members: members.update({name: content}) if content is not None else members.pop(name)


GRADIENT = "blocks/0/gradients/positions"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("keys.npy", None), r"found an archive of 'blocks/0/values\.npy', .*, expected a TensorMap"),
        (change("keys.npy", table("_", [0, 1])), r"found no member 'blocks/1/values\.npy'"),
        (change("keys.npy", table("a b", [])), None),  # blocks that no key names are not read
        (change("blocks/0/samples.npy", None), r"found no member 'blocks/0/samples\.npy'"),
        (change("blocks/0/values.npy", VALUES[:2]), r"'blocks/0/': found values of shape \(2, 1\), expected \(3, 1\)"),
        (change("blocks/0/values.npy", VALUES[:, 0]), r"found values of shape \(3,\), expected samples, components"),
        (change("blocks/0/values.npy", VALUES + 1j), r"'blocks/0/values\.npy': found the type '<c16', expected"),
        (change("blocks/0/values.npy", table("a", [1, 2, 3])), r"found the type a list of fields"),
        (change("blocks/0/values.npy", VALUES.astype(object)), r"pickled objects are never read"),
        (change("blocks/0/samples.npy", np.arange(3)), r"'blocks/0/samples\.npy': found a type without fields"),
        (change("blocks/0/samples.npy", table("system", [3, 7, 3])), r"found \(system=3\) twice"),
        (
            change("blocks/0/samples.npy", table("sys-tem", [1, 2, 3])),
            r"found the dimension 'sys-tem', expected letters",
        ),
        (change("blocks/0/samples.npy", table("system", [1, 2, 3]).reshape(1, 3)), r"labels of shape \(1, 3\)"),
        (change("blocks/0/samples.npy", np.zeros(3, [("system", "<i8")])), r"expected int32 fields"),
        (change("blocks/0/samples.npy", np.zeros(3, [("a", "<i4"), ("b", ">i4")])), r"in one byte order"),
        (change(f"{GRADIENT}/samples.npy", table("sample atom", [(0, 0), (3, 0), (1, 1), (2, 0)])), r"found sample 3"),
        (change(f"{GRADIENT}/samples.npy", table("sample atom", [(0, 0), (-1, 0), (1, 1), (2, 0)])), r"sample -1, exp"),
        (
            change(f"{GRADIENT}/samples.npy", table("atom", range(4))),
            r"found samples named atom, expected sample first",
        ),
        (change(f"{GRADIENT}/values.npy", POSITIONS[..., 0]), r"found values of shape \(4, 3\), expected \(4, 1\)"),
        (
            change(f"{GRADIENT}/gradients/strain/components/1.npy", table("xyz", [2, 1, 0])),
            r"expected them to end with",
        ),
        (change("info.json", b"{"), r"'info\.json': found no JSON"),
        (change("info.json", {"unit": 1}), r"'info\.json': found other things than strings"),
    ],
)
def test_what_contradicts_itself(tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str | None) -> None:
    members = energy()
    damage(members)
    path = saved(tmp_path / "a.mts", members)
    if message is None:
        assert read(path).blocks() == []
        return
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"targets: {path}: ")


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"values.npy": VALUES, "samples.npy": table("system", range(3))}, "a TensorBlock"),
        ({"positions.npy": VALUES, "types.npy": np.arange(3)}, "a system"),
        ({"0/system.mta": b"", "0/energy.mts": b""}, "a DiskDataset"),
        ({}, "an empty archive"),
    ],
)
def test_other_archives_are_called_by_their_names(tmp_path: Path, members: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=f"found {what}, expected a TensorMap"):
        read(saved(tmp_path / "a.mts", members))


def test_gradients_of_gradients_have_an_end(tmp_path: Path) -> None:
    """A file of a few kilobytes must not be able to exhaust the stack."""
    members, prefix = dos_members(VALUES), "blocks/0/"
    for _ in range(2000):
        prefix += "gradients/a/"
        members |= {f"{prefix}values.npy": VALUES, f"{prefix}samples.npy": table("sample", range(3))}
        if len(prefix) > 4000:
            break
    with pytest.raises(InputError, match="found gradients 9 deep, expected at most 8"):
        read(saved(tmp_path / "a.mts", members))


def test_arrays_get_the_labels_of_metatrain(tmp_path: Path) -> None:
    atoms = np.array([2, 1, 3])
    entry = {"values": RNG.normal(size=3), "positions": RNG.normal(size=(6, 3)), "strain": RNG.normal(size=(3, 3, 3))}
    mts.write("out", tmp_path / "a.mts", Contents({"mtt::u": entry}, Structures(atoms)))
    (block,) = read(tmp_path / "a.mts").blocks()
    assert (block.samples, block.properties) == (Labels(["system"], range(3)), Labels(["energy"], [0]))
    positions, strain = block.gradient("positions"), block.gradient("strain")
    assert positions.samples.values.tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [2, 2]]
    assert (positions.samples.names, positions.components) == (["sample", "atom"], [Labels(["xyz"], range(3))])
    assert [labels.names for labels in strain.components] == [["xyz_1"], ["xyz_2"]]
    for found, key in ((block, "values"), (positions, "positions"), (strain, "strain")):
        np.testing.assert_array_equal(found.values[..., 0], entry[key])

    vectors = {"values": RNG.normal(size=(6, 3, 1))}
    mts.write("out", tmp_path / "b.mts", Contents({"mtt::f-1": vectors}, Structures(atoms)))
    (block,) = read(tmp_path / "b.mts").blocks()
    assert block.samples.names == ["system", "atom"]
    assert block.samples.values.tolist() == positions.samples.values.tolist()
    assert (block.components, block.properties.names) == ([Labels(["xyz"], range(3))], ["f_1"])
    mts.write("out", tmp_path / "c.mts", Contents({"mtt::f-1_mask": vectors}, Structures(atoms)))
    assert read(tmp_path / "c.mts").block().properties.names == ["f_1"]  # a mask's are compared with the target's


@pytest.mark.parametrize(
    ("data", "atoms", "message"),
    [
        ({"a": VALUES, "b": VALUES}, None, r"found 'a', 'b' to be written, expected one target"),
        ({}, None, r"found nothing to be written"),
        ({"a": {"blocks": {0: VALUES}}}, None, r"found blocks without labels"),
        ({"a": VALUES + 1j}, None, r"out: .*'a': found dtype complex128"),
        ({"a": 1.0}, None, r"found a single number"),
        ({"a": VALUES}, [1, 1], r"found 3 rows, expected a row for each of 2 structures or of their 2 atoms"),
        ({"a": {"values": VALUES, "positions": POSITIONS}}, None, r"found 4 rows, expected .*numbers of atoms"),
        ({"a": {"values": VALUES, "positions": POSITIONS}}, [1, 1, 1], r"found 4 rows, expected 3, a row an atom"),
        ({"a": {"values": VALUES, "strain": POSITIONS[:3]}}, None, r"expected rows of shape \(3, 3, 1\)"),
    ],
)
def test_what_no_tensormap_can_hold(tmp_path: Path, data: Any, atoms: Any, message: str) -> None:
    structures = None if atoms is None else Structures(np.array(atoms))
    with pytest.raises(InputError, match=message):
        mts.write("out", tmp_path / "a.mts", Contents(data, structures))
    assert not list(tmp_path.iterdir())
