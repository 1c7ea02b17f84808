"""Extended XYZ: what metatrain's eval writes is read, and everything is read as metatrain's own readers read it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from maps import ATOMS, ROWS, block, tensormap
from metatomic.torch import ModelCapabilities, ModelOutput, System
from metatrain.utils.data.readers import read_systems
from metatrain.utils.data.readers.ase import read_energy, read_generic
from metatrain.utils.data.writers.ase import ASEWriter
from omegaconf import OmegaConf

from refloss.files import Contents, GradientSource, Quantity, Structures, extxyz

RNG = np.random.default_rng(17)
CELL = 6.0 * np.eye(3) + 0.4 * RNG.normal(size=(3, 3))
CELLS = (CELL, np.zeros((3, 3)), CELL[[1, 0, 2]], CELL + 0.1)
"""The second structure repeats nowhere; the third one's vectors are left-handed."""
TYPES = [1, 8, 6, 79, 14, 14, 1, 92, 118, 3, 1]
LEFT = 2


def systems() -> list[System]:
    made, start = [], 0
    for atoms, cell in zip(ATOMS, CELLS, strict=True):
        made.append(
            System(
                types=torch.tensor(TYPES[start : start + atoms]),
                positions=torch.tensor(RNG.normal(size=(atoms, 3))),
                cell=torch.tensor(cell),
                pbc=torch.full((3,), bool(cell.any())),
            )
        )
        start += atoms
    return made


def of(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def energies() -> dict[str, np.ndarray]:
    return {"values": of(4, 1), "positions": of(11, 3, 1), "strain": of(4, 3, 3, 1)}


@pytest.fixture
def predictions() -> dict[str, dict[str, np.ndarray]]:
    return {
        "energy": energies(),
        "mtt::other": energies(),
        "mtt::dos": {"values": of(4, 7)},
        "mtt::tensor": {"values": of(4, 3, 2)},
        "mtt::charges": {"values": of(11, 1)},
        "mtt::vectors": {"values": of(11, 3, 2)},
    }


def part(data: dict[str, np.ndarray], which: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the rows of some structures."""
    atoms = [row for row, (i, _) in enumerate(ROWS) if i in which]
    return {key: array[atoms if len(array) == 11 else list(which)] for key, array in data.items()}


def as_map(name: str, data: dict[str, np.ndarray], which: Sequence[int]) -> Any:
    """Return what a model gives for a batch of these structures."""
    rows = [(which.index(i), a) for i, a in ROWS if i in which]
    library = "metatensor.torch"
    gradients = {
        key: block(library, data[key], samples=samples, components=components, properties="energy")
        for key, samples, components in (
            ("positions", (["sample", "atom"], rows), ["xyz"]),
            ("strain", (["sample"], range(len(which))), ["xyz_1", "xyz_2"]),
        )
        if key in data
    }
    per_atom = len(data["values"]) == len(rows) and name in ("mtt::charges", "mtt::vectors")
    samples = (["system", "atom"], rows) if per_atom else (["system"], range(len(which)))
    properties = "energy" if gradients else "property"
    made = block(library, data["values"], samples=samples, properties=properties, gradients=gradients)
    return tensormap(library, {0: made})


def written(path: Path, predictions: dict[str, dict[str, np.ndarray]], structures: list[System]) -> None:
    """Write the file as ``mtt eval`` does, in two batches."""
    outputs = {
        name: ModelOutput(quantity="energy" if "positions" in data else "", unit="")
        for name, data in predictions.items()
    }
    writer = ASEWriter(path, ModelCapabilities(outputs=outputs))
    for which in ([0, 1], [2, 3]):
        batch = {name: as_map(name, part(data, which), which) for name, data in predictions.items()}
        writer.write([structures[i] for i in which], batch)
    writer.finish()


def test_what_eval_writes(tmp_path: Path, predictions: dict[str, dict[str, np.ndarray]]) -> None:
    """Keys have all their digits, columns eight decimals; ASE itself does not read columns like ``mtt::charges``."""
    structures = systems()
    written(tmp_path / "output.xyz", predictions, structures)
    with pytest.raises(ValueError, match=r"Unknown property type|invalid literal"):
        ase.io.read(tmp_path / "output.xyz", ":")
    found = extxyz.read("predictions", tmp_path / "output.xyz")
    assert set(found.data) == {*predictions, "stress", "stress[mtt::other]"}
    for name, data in predictions.items():
        assert list(found.data[name]) == list(data)
        for key, array in data.items():
            again = found.data[name][key]
            if key == "strain":
                np.testing.assert_array_equal(np.delete(again, 1, 0), np.delete(array, 1, 0), strict=True)
                assert np.isnan(again[1]).all()  # without a cell there is none
            elif len(array) == 11:
                # Rows of components lie flat in columns; half a unit of the eighth decimal, and its own rounding.
                np.testing.assert_allclose(again.reshape(array.shape), array, rtol=0, atol=5.1e-9)
            else:
                np.testing.assert_array_equal(again, array, strict=True)
    assert found.structures is not None
    assert found.structures.num_atoms.tolist() == list(ATOMS)
    assert found.structures.types is not None
    assert found.structures.types.tolist() == TYPES
    positions = torch.cat([system.positions for system in structures]).numpy()
    np.testing.assert_allclose(found.structures.positions, positions, rtol=0, atol=5.1e-9)
    np.testing.assert_array_equal(found.structures.cells, np.array(CELLS))


def test_stresses_that_eval_writes(tmp_path: Path, predictions: dict[str, dict[str, np.ndarray]]) -> None:
    """They are divided by the cell's determinant, whose sign is that of its hand: a virial is the safer source."""
    data = {"mtt::other": predictions["mtt::other"]}
    written(tmp_path / "output.xyz", data, systems())
    source = GradientSource("stress", "stress[mtt::other]")
    asked = Quantity("e", "mtt::other", gradients={"strain": source})
    strain = extxyz.read("predictions", tmp_path / "output.xyz", [asked]).data["e"]["strain"]
    for i, sign in ((0, 1), (LEFT, -1), (3, 1)):
        # A determinant in torch, a division and a product: some ulp.
        np.testing.assert_allclose(sign * strain[i], data["mtt::other"]["strain"][i], rtol=1e-13)
    assert np.isnan(strain[1]).all()


# --- metatrain's readers


def data_file(path: Path) -> None:
    """Write what a training set has, through ASE: some in a calculator, some in info and arrays."""
    frames, start = [], 0
    for i, (atoms, cell) in enumerate(zip(ATOMS, CELLS, strict=True)):
        there = cell if cell.any() else CELL + 1.0  # a stress needs one
        frame = ase.Atoms(TYPES[start : start + atoms], RNG.normal(size=(atoms, 3)), cell=there, pbc=True)
        symmetric = of(3, 3)
        frame.info = {
            "energy": float(RNG.normal()),
            "stress": symmetric + symmetric.T,
            "virial": of(3, 3),
            "my stress": of(9),
            "my_virial": of(3, 3),
            "whole": i - 2,
            "dos": of(6),
            "dos_mask": RNG.random(6) < 0.5,
            "tensor": of(3, 2),
        }
        frame.arrays["forces"] = of(atoms, 3)
        frame.arrays["f"] = of(atoms, 3)
        frame.arrays["q"] = of(atoms)
        frame.arrays["t"] = of(atoms, 6)
        frame.arrays["n"] = RNG.integers(-5, 5, atoms)
        frames.append(frame)
        start += atoms
    ase.io.write(path, frames)


def joined(maps: list[Any]) -> dict[str, np.ndarray]:
    """Return the values and gradients of the maps of single structures, one after another."""
    blocks = [item.block() for item in maps]
    names = blocks[0].gradients_list()
    parts = {"values": blocks} | {name: [block.gradient(name) for block in blocks] for name in names}
    return {name: torch.cat([block.values for block in held]).numpy() for name, held in parts.items()}


@pytest.mark.parametrize("key", ["energy", "whole"])
@pytest.mark.parametrize("forces", ["forces", "f"])
@pytest.mark.parametrize(
    ("kind", "strain"), [("stress", "stress"), ("stress", "my stress"), ("virial", "virial"), ("virial", "my_virial")]
)
def test_energies(tmp_path: Path, key: str, forces: str, kind: str, strain: str) -> None:
    path = tmp_path / "data.xyz"
    data_file(path)
    off = {"stress": False, "virial": False}
    config = {
        "quantity": "energy", "read_from": str(path), "key": key, "unit": "eV", "type": "scalar", "num_subtargets": 1,
        "sample_kind": "system", "forces": {"read_from": str(path), "key": forces},
    } | off | {kind: {"read_from": str(path), "key": strain}}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nine numbers are taken row after row
        maps, _ = read_energy("energy", OmegaConf.create(config))
    expected = joined(maps)
    sources = {"positions": GradientSource("forces", forces), "strain": GradientSource(kind, strain)}
    asked = Quantity("energy", key, per_atom=False, row=(1,), gradients=sources)
    found = extxyz.read("targets", path, [asked]).data["energy"]
    assert list(found) == list(expected) == ["values", "positions", "strain"]
    for name, array in expected.items():
        if name == "strain" and kind == "stress":
            # The volume is rounded once here, and comes from an elimination there.
            np.testing.assert_allclose(found[name], array, rtol=2e-15)
            assert found[name].shape == array.shape
        else:
            np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize(
    ("key", "per_atom", "kind", "subtargets", "row"),
    [
        ("dos", False, "scalar", 6, (6,)),
        ("dos_mask", False, "scalar", 6, (6,)),
        ("energy", False, "scalar", 1, (1,)),
        ("tensor", False, {"cartesian": {"rank": 1}}, 2, (3, 2)),
        ("my stress", False, {"cartesian": {"rank": 2}}, 1, (3, 3, 1)),
        ("virial", False, {"cartesian": {"rank": 2}}, 1, (3, 3, 1)),
        ("stress", False, {"cartesian": {"rank": 2}}, 1, (3, 3, 1)),
        ("my stress", False, {"spherical": {"irreps": [{"o3_lambda": 1, "o3_sigma": 1}]}}, 3, (3, 3)),
        ("q", True, "scalar", 1, (1,)),
        ("n", True, "scalar", 1, (1,)),
        ("forces", True, {"cartesian": {"rank": 1}}, 1, (3, 1)),
        ("t", True, {"cartesian": {"rank": 1}}, 2, (3, 2)),
        ("t", True, "scalar", 6, (6,)),
    ],
)
def test_other_targets_and_masks(
    tmp_path: Path, key: str, per_atom: bool, kind: Any, subtargets: int, row: tuple[int, ...]
) -> None:
    path = tmp_path / "data.xyz"
    data_file(path)
    config = {
        "quantity": "", "read_from": str(path), "key": key, "unit": "", "type": kind, "num_subtargets": subtargets,
        "per_atom": per_atom, "sample_kind": "atom" if per_atom else "system", "description": "",
    }  # fmt: skip
    maps, _ = read_generic("mtt::x", OmegaConf.create(config))
    found = extxyz.read("targets", path, [Quantity("x", key, per_atom=per_atom, row=row)]).data["x"]["values"]
    np.testing.assert_array_equal(found.astype(np.float64), joined(maps)["values"], strict=True)
    assert found.dtype == (np.bool_ if key == "dos_mask" else np.float64)


def test_systems(tmp_path: Path) -> None:
    """Vectors along which nothing repeats are zero."""
    frames = [
        ase.Atoms("OH2", of(3, 3), cell=CELL, pbc=True),
        ase.Atoms("H", of(1, 3)),
        ase.Atoms("Au2", of(2, 3), cell=CELL, pbc=[True, False, True]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a vector is not zero
        ase.io.write(tmp_path / "data.xyz", frames)
        expected = read_systems(str(tmp_path / "data.xyz"))
    found = extxyz.read("systems", tmp_path / "data.xyz").structures
    assert found is not None
    assert found.num_atoms.tolist() == [len(system) for system in expected]
    for name in ("types", "positions"):
        np.testing.assert_array_equal(
            getattr(found, name), torch.cat([getattr(system, name) for system in expected]).numpy()
        )
    np.testing.assert_array_equal(found.cells, torch.stack([system.cell for system in expected]).numpy())


def test_metatrain_reads_what_is_written(tmp_path: Path) -> None:
    """Every digit: forces, virial, a vector and a mask come back as they were."""
    cells = np.array([CELL, CELL.T, CELL + 1, CELL])
    structures = Structures(np.array(ATOMS), np.array(TYPES), of(11, 3), cells)
    data = {
        "energy": energies(),
        "dos": {"values": of(4, 5)},
        "dos_mask": {"values": RNG.random((4, 5)) < 0.5},
        "t": {"values": of(11, 3, 2)},
    }
    path = tmp_path / "ours.xyz"
    extxyz.write("--out", path, Contents(data, structures))
    sources = {name: {"read_from": str(path), "key": name} for name in ("forces", "virial")}
    common = {"read_from": str(path), "unit": "", "description": ""}
    config = common | sources | {"quantity": "energy", "key": "energy", "stress": False, "type": "scalar"}
    config |= {"num_subtargets": 1, "sample_kind": "system"}
    maps, _ = read_energy("energy", OmegaConf.create(config))
    for name, array in joined(maps).items():
        np.testing.assert_array_equal(array, data["energy"][name], strict=True)
    for key, kind, count, samples in (
        ("dos", "scalar", 5, "system"),
        ("dos_mask", "scalar", 5, "system"),
        ("t", {"cartesian": {"rank": 1}}, 2, "atom"),
    ):
        its = {"quantity": "", "key": key, "type": kind, "num_subtargets": count, "sample_kind": samples}
        maps, _ = read_generic("mtt::x", OmegaConf.create(common | its | {"per_atom": samples == "atom"}))
        np.testing.assert_array_equal(joined(maps)["values"], data[key]["values"])
    systems_read = read_systems(str(path))
    np.testing.assert_array_equal(
        torch.cat([system.positions for system in systems_read]).numpy(), structures.positions
    )
    np.testing.assert_array_equal(torch.stack([system.cell for system in systems_read]).numpy(), cells)
