"""Files of metatensor-core, metatensor-torch, metatomic and metatrain, read without them, and ours by them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from maps import ATOMS, LIBRARIES, ROWS, block, energy, labels, tensormap
from metatensor.torch import load as load_torch
from metatomic.torch import NeighborListOptions, System, load_system
from metatomic.torch import save as save_system
from metatrain.utils.data.dataset import DiskDataset, MemmapDataset
from metatrain.utils.data.writers.diskdataset import DiskDatasetWriter
from metatrain.utils.data.writers.memmap import MemmapWriter
from metatrain.utils.data.writers.metatensor import MetatensorWriter
from sections import energies, normal, reseed, section

from refloss import InputError
from refloss.files import Contents, GradientSource, Quantity, Structures, disk_dataset, formats, memmap, mts
from refloss.files.tensormap import TensorMap
from refloss.interop.metatensor import gradient_as_tensormap
from refloss.interop.torch import section as golden


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


def same(found: Any, wanted: Any) -> None:
    """Assert that two TensorMaps, of whichever libraries, say the same in the same order."""

    def table(item: Any) -> tuple[list[str], list[Any]]:
        return list(item.names), np.asarray(item.values).tolist()

    def compare(a: Any, b: Any) -> None:
        assert table(a.samples) == table(b.samples)
        assert [table(item) for item in a.components] == [table(item) for item in b.components]
        assert table(a.properties) == table(b.properties)
        left, right = np.asarray(a.values), np.asarray(b.values)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
        assert sorted(a.gradients_list()) == sorted(b.gradients_list())
        for parameter in a.gradients_list():
            compare(a.gradient(parameter), b.gradient(parameter))

    assert table(found.keys) == table(wanted.keys)
    assert dict(found.info()) == dict(wanted.info())
    for a, b in zip(found.blocks(), wanted.blocks(), strict=True):
        compare(a, b)


def first_and_second(library: str) -> Any:
    """Return an energy with positions gradients that have strain gradients."""
    second = block(
        library, normal(3, 3, 3, 3, 1), samples=(["sample"], [7, 0, 4]), components=["xyz_1", "xyz_2", "xyz"]
    )
    first = block(
        library, normal(11, 3, 1), samples=(["sample", "atom"], ROWS), components=["xyz"], gradients={"strain": second}
    )
    return tensormap(library, {0: block(library, normal(4, 1), gradients={"positions": first})})


def spherical(library: str) -> Any:
    """Return blocks of several keys, one without rows, with properties of two dimensions."""
    blocks = {}
    for key, rows in (((2, 1), 3), ((0, -1), 0), ((1, 1), 2)):
        values = normal(rows, 2 * key[0] + 1, 4)
        made = block(library, values, samples=(["system", "atom"], ROWS[:rows]), components=["o3_mu"])
        properties = labels(library, ["n", "neighbor_type"], [(n, z) for n in range(2) for z in (1, 8)])
        blocks[key] = import_module(library).TensorBlock(made.values, made.samples, made.components, properties)
    return tensormap(library, blocks, ["o3_lambda", "o3_sigma"])


def described(library: str) -> Any:
    made = tensormap(library, {0: block(library, normal(4, 2))})
    made.set_info("description", "what it is, “quoted”")
    made.set_info("unit", "eV")
    return made


def without_blocks(library: str) -> Any:
    return tensormap(library, {}, ["o3_lambda", "o3_sigma"])


MAPS = {
    "an energy": lambda library: energy(library, energies(), systems=(7, 3, 0, 5)),
    "second derivatives": first_and_second,
    "spherical": spherical,
    "described": described,
    "without blocks": without_blocks,
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("which", MAPS)
def test_their_files_are_read_and_ours_by_them(tmp_path: Path, library: str, which: str) -> None:
    wanted = MAPS[which](library)
    theirs, ours = tmp_path / "theirs.mts", tmp_path / "ours.mts"
    import_module(library).save(str(theirs), wanted)
    assert formats.detect("targets", theirs).name == "mts"
    found = mts.read("targets", theirs).data["theirs"]
    same(found, wanted)
    mts.write("out", ours, Contents({"a": found}))
    for reader in LIBRARIES:
        same(import_module(reader).load(str(ours)), wanted)
    # Neither library is needed to write their own maps.
    mts.write("out", ours, Contents({"a": wanted}))
    same(mts.read("targets", ours).data["ours"], wanted)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64"])
def test_numbers_of_every_kind(tmp_path: Path, library: str, dtype: str) -> None:
    values = (normal(4, 3) * 3).astype(dtype)
    wanted = tensormap(library, {0: block(library, values)})
    import_module(library).save(str(tmp_path / "a.mts"), wanted)
    found = mts.read("targets", tmp_path / "a.mts").data["a"]
    same(found, wanted)
    mts.write("out", tmp_path / "b.mts", Contents({"a": found}))
    for reader in LIBRARIES:
        same(import_module(reader).load(str(tmp_path / "b.mts")), wanted)


@pytest.mark.parametrize("library", LIBRARIES)
def test_complex_numbers_are_refused(tmp_path: Path, library: str) -> None:
    wanted = tensormap(library, {0: block(library, normal(4, 3) + 1j)})
    import_module(library).save(str(tmp_path / "a.mts"), wanted)
    with pytest.raises(InputError, match=r"'blocks/0/values\.npy': found the type '<c16', expected booleans or real"):
        mts.read("targets", tmp_path / "a.mts")
    with pytest.raises(InputError, match="found dtype complex128"):
        mts.write("out", tmp_path / "b.mts", Contents({"a": wanted}))


def test_a_block_alone_and_labels_alone(tmp_path: Path) -> None:
    import_module("metatensor").save(str(tmp_path / "block.mts"), block("metatensor", normal(4, 1)))
    with pytest.raises(InputError, match="found a TensorBlock, expected a TensorMap"):
        mts.read("targets", tmp_path / "block.mts")
    import_module("metatensor").save(str(tmp_path / "labels.mts"), labels("metatensor", ["system"], range(3)))
    with pytest.raises(InputError, match="found no zip archive"):
        mts.read("targets", tmp_path / "labels.mts")


@pytest.mark.parametrize("library", LIBRARIES)
def test_evaluation_of_files_is_that_of_the_maps(tmp_path: Path, library: str) -> None:
    p, t = energies(), energies()
    maps = {"p": energy(library, p), "t": energy(library, t, systems=(7, 3, 0, 5))}
    read = {}
    for name, item in maps.items():
        import_module(library).save(str(tmp_path / f"{name}.mts"), item)
        read[name] = mts.read("x", tmp_path / f"{name}.mts", [Quantity("energy", "energy")]).data
    chosen = section({"energy": {"type": "mse", "forces": "huber"}})
    wanted = chosen.evaluate({"energy": maps["p"]}, {"energy": maps["t"]}, num_atoms=ATOMS, grad=True)
    found = chosen.evaluate(read["p"], read["t"], num_atoms=ATOMS, grad=True)
    assert found.to_dict() == wanted.to_dict()
    gradient = found.gradient()["energy"]
    made = gradient_as_tensormap(gradient, read["p"]["energy"])
    assert isinstance(made, TensorMap)
    same(made, gradient_as_tensormap(wanted.gradient()["energy"], maps["p"]))


def test_torch_losses_of_maps_that_were_read(tmp_path: Path) -> None:
    """Maps of files are targets of the golden torch loss; as predictions they have nothing to differentiate."""
    p, t = energies(), energies()
    import_module("metatensor").save(str(tmp_path / "t.mts"), energy("metatensor", t))
    targets = mts.read("targets", tmp_path / "t.mts", [Quantity("energy", "energy")]).data
    loss = golden({"loss": {"energy": {"type": "mse", "forces": "mae"}}})
    predictions = energy("metatensor.torch", p)
    leaf = predictions.block().values.requires_grad_()
    value = loss({"energy": predictions}, targets, num_atoms=ATOMS)
    (gradient,) = torch.autograd.grad(value, leaf)
    wanted = section({"energy": {"type": "mse", "forces": "mae"}}).evaluate(
        {"energy": p}, {"energy": t}, num_atoms=ATOMS, grad=True
    )
    assert value.item() == wanted.total
    assert np.array_equal(gradient.numpy(), wanted.gradient()["energy"]["values"])
    with pytest.raises(InputError, match="predictions: found no torch tensor, expected tensors, or TensorMaps"):
        loss(targets, targets, num_atoms=ATOMS)


def systems(counts: Sequence[int] = ATOMS) -> list[System]:
    """Return structures, the second without a cell, the third periodic in one direction, as metatomic has them."""
    made = []
    for i, n in enumerate(counts):
        cell = torch.from_numpy(normal(3, 3)) * torch.tensor([[1], [i % 4 != 2], [i % 4 != 2]]) * (i % 4 != 1)
        made.append(
            System(
                types=torch.from_numpy(np.random.default_rng(i).integers(1, 90, n).astype(np.int32)),
                positions=torch.from_numpy(normal(n, 3)),
                cell=cell,
                pbc=(cell != 0).any(dim=1),
            )
        )
    return made


def require_structures(found: Structures | None, wanted: Sequence[System], dtype: torch.dtype = torch.float64) -> None:
    assert found is not None
    assert found.num_atoms.tolist() == [len(system) for system in wanted]
    np.testing.assert_array_equal(found.types, torch.cat([system.types for system in wanted]))
    np.testing.assert_array_equal(found.positions, torch.cat([system.positions for system in wanted]).to(dtype))
    np.testing.assert_array_equal(found.cells, torch.stack([system.cell for system in wanted]).to(dtype))


def require_systems(found: Sequence[System], wanted: Sequence[System], dtype: torch.dtype = torch.float64) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a.types, b.types)
        assert torch.equal(a.pbc, b.pbc)
        assert torch.equal(a.positions, b.positions.to(dtype).double())
        assert torch.equal(a.cell, b.cell.to(dtype).double())


def batch(counts: Sequence[int]) -> dict[str, Any]:
    """Return predictions of a batch, labelled as models label them, with the forces and the strain of an energy."""
    rows = [(i, atom) for i, n in enumerate(counts) for atom in range(n)]
    gradients = {
        "positions": block(
            "metatensor.torch",
            normal(len(rows), 3, 1),
            samples=(["sample", "atom"], rows),
            components=["xyz"],
            properties="energy",
        ),
        "strain": block(
            "metatensor.torch",
            normal(len(counts), 3, 3, 1),
            samples=(["sample"], range(len(counts))),
            components=["xyz_1", "xyz_2"],
            properties="energy",
        ),
    }
    energies = block("metatensor.torch", normal(len(counts), 1), properties="energy", gradients=gradients)
    charges = block("metatensor.torch", normal(len(rows), 2), samples=(["system", "atom"], rows), properties="q")
    return {
        "energy": tensormap("metatensor.torch", {0: energies}),
        "mtt::q": tensormap("metatensor.torch", {0: charges}),
        "mtt::dos": tensormap("metatensor.torch", {0: block("metatensor.torch", normal(len(counts), 7))}),
    }


def gathered(batches: Sequence[dict[str, Any]], name: str, parameter: str | None = None) -> np.ndarray:
    """Return the values, or a gradient, of one target of all batches."""
    blocks = [predictions[name].block() for predictions in batches]
    return np.concatenate([(b if parameter is None else b.gradient(parameter)).values.numpy() for b in blocks])


def test_predictions_as_eval_writes_them_to_mts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    batches = [batch(ATOMS), batch(ATOMS[:2])]
    writer = MetatensorWriter("predictions.mts")
    for counts, predictions in zip((ATOMS, ATOMS[:2]), batches, strict=True):
        writer.write(systems(counts), predictions)
    writer.finish()
    for name in ("energy", "mtt::q", "mtt::dos"):
        (found,) = mts.read("predictions", tmp_path / f"predictions_{name}.mts").data.values()
        same(found, load_torch(f"predictions_{name}.mts"))
        np.testing.assert_array_equal(found.block().values, gathered(batches, name))
    forces = mts.read("predictions", tmp_path / "predictions_energy.mts", [Quantity("e", "e")]).data["e"].block()
    np.testing.assert_array_equal(forces.gradient("positions").values, gathered(batches, "energy", "positions"))
    assert forces.samples.values.ravel().tolist() == list(range(6))


def written(path: Path, *, append_singly: bool = False) -> tuple[list[System], list[dict[str, Any]]]:
    """Write a DiskDataset by metatrain: a batch, and another that is appended later."""
    all_systems, batches = [], []
    for counts in (ATOMS, ATOMS[1:]):
        writer = DiskDatasetWriter(path, append=path.exists())
        for part in [[n] for n in counts] if append_singly and all_systems else [counts]:
            batches.append(batch(part))
            made = systems(part)
            writer.write(made, batches[-1])
            all_systems += made
        writer.finish()
    return all_systems, batches


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("append_singly", [False, True])
def test_disk_datasets_of_metatrain(tmp_path: Path, append_singly: bool) -> None:
    path = tmp_path / "a.zip"
    structures, batches = written(path, append_singly=append_singly)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist().count("metadata/atom_counts.npy") == 2
    assert formats.detect("targets", path).name == "disk dataset"
    contents = formats.read("targets", path)
    require_structures(contents.structures, structures)
    assert sorted(contents.data) == ["energy", "mtt::dos", "mtt::q"]
    for name in contents.data:
        found = contents.data[name].block()
        np.testing.assert_array_equal(found.values, gathered(batches, name))
        for parameter in found.gradients_list():
            np.testing.assert_array_equal(found.gradient(parameter).values, gathered(batches, name, parameter))
    counts = [*ATOMS, *ATOMS[1:]]
    rows = [[i, atom] for i, n in enumerate(counts) for atom in range(n)]
    assert contents.data["mtt::q"].block().samples.values.tolist() == rows
    assert contents.data["energy"].block().gradient("positions").samples.values.tolist() == rows
    assert contents.data["energy"].block().gradient("strain").samples.values.ravel().tolist() == list(range(7))

    ours = tmp_path / "b.zip"
    disk_dataset.write("out", ours, contents)
    theirs, again = DiskDataset(path), DiskDataset(ours)
    assert again.get_all_atom_counts().tolist() == counts
    require_systems([again[i].system for i in range(7)], structures)
    for i in range(7):
        for name in contents.data:
            same(again[i]._asdict()[name], theirs[i]._asdict()[name])


def test_a_joined_target_is_what_metatensor_joins(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    writer = DiskDatasetWriter(path)
    writer.write(systems(), batch(ATOMS))
    writer.finish()
    dataset = DiskDataset(path)
    contents = disk_dataset.read("targets", path)
    for name in contents.data:
        maps = [dataset[i]._asdict()[name] for i in range(len(ATOMS))]
        joined = import_module("metatensor.torch").join(maps, axis="samples")
        same(contents.data[name], joined)


def test_systems_of_metatomic(tmp_path: Path) -> None:
    """Neighbours, and data that somebody attached, are no part of a structure here."""
    (system,) = systems([3])
    neighbours = block(
        "metatensor.torch",
        normal(1, 3, 1),
        samples=(["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"], [(0, 1, 0, 0, 0)]),
        components=["xyz"],
        properties="distance",
    )
    system.add_neighbor_list(NeighborListOptions(4.0, True, True), neighbours)
    system.add_data("mtt::spin", tensormap("metatensor.torch", {0: block("metatensor.torch", normal(1, 1))}))
    buffer = io.BytesIO()
    save_system(buffer, system)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("0/system.mta", buffer.getvalue())
    contents = disk_dataset.read("systems", tmp_path / "a.zip")
    require_structures(contents.structures, [system])
    disk_dataset.write("out", tmp_path / "b.zip", contents)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        require_systems([load_system(io.BytesIO(archive.read("0/system.mta")))], [system])


def crystals(counts: Sequence[int] = ATOMS) -> list[System]:
    """Return structures that all have a volume: a stress is the strain over it."""
    made = systems(counts)
    cells = [torch.from_numpy(normal(3, 3)) for _ in made]
    return [
        System(types=s.types, positions=s.positions, cell=cell, pbc=torch.tensor([True] * 3))
        for s, cell in zip(made, cells, strict=True)
    ]


TARGETS: dict[str, Any] = {
    "energy": {
        "key": "energy",
        "sample_kind": "system",
        "num_subtargets": 1,
        "type": "scalar",
        "quantity": "energy",
        "forces": {"key": "energy_forces"},
        "stress": {"key": "energy_stress"},
        "virial": False,
    },
    "mtt::q": {"key": "mtt::q", "sample_kind": "atom", "num_subtargets": 2, "type": "scalar", "quantity": ""},
    "mtt::dos": {"key": "mtt::dos", "sample_kind": "system", "num_subtargets": 7, "type": "scalar", "quantity": ""},
}
QUANTITIES = [
    Quantity(
        "energy",
        "energy",
        per_atom=False,
        row=(1,),
        gradients={
            "positions": GradientSource("forces", "energy_forces"),
            "strain": GradientSource("stress", "energy_stress"),
        },
    ),
    Quantity("mtt::q", "mtt::q", per_atom=True, row=(2,)),
    Quantity("mtt::dos", "mtt::dos", per_atom=False, row=(7,)),
]


def require_samples(dataset: MemmapDataset, contents: Contents) -> None:
    """Assert that metatrain reads sample by sample what `contents` hold of all."""
    samples = [dataset[i]._asdict() for i in range(len(dataset))]
    for name, entry in contents.data.items():
        for key in entry:
            blocks = [sample[name].block() for sample in samples]
            wanted = torch.cat([(b if key == "values" else b.gradient(key)).values for b in blocks]).numpy()
            # The strain is a product with a volume, which two libraries round each in their way: 3 × 3 determinants
            # of normal numbers, some of them close to 0, within a few hundred ulp of their terms.
            tolerance = 1e-13 if key == "strain" else 0
            np.testing.assert_allclose(entry[key], wanted, rtol=tolerance, atol=0)
            assert entry[key].shape == wanted.shape


@pytest.mark.parametrize("quantities", [QUANTITIES, []], ids=["told", "by size"])
def test_memory_mapped_folders_of_metatrain(tmp_path: Path, quantities: list[Quantity]) -> None:
    path = tmp_path / "a"
    writer = MemmapWriter(path)
    structures, batches = [], []
    for counts in (ATOMS, ATOMS[:1]):
        structures += crystals(counts)
        batches.append(batch(counts))
        writer.write(structures[-len(counts) :], batches[-1])
    writer.finish()
    assert formats.detect("targets", path).name == "memmap"
    contents = formats.read("targets", path, quantities)
    require_structures(contents.structures, structures, torch.float32)
    assert sorted(contents.data) == ["energy", "mtt::dos", "mtt::q"]
    for name, entry in contents.data.items():
        np.testing.assert_array_equal(entry["values"], gathered(batches, name).astype(np.float32))
    positions = gathered(batches, "energy", "positions").astype(np.float32)
    np.testing.assert_array_equal(contents.data["energy"]["positions"], positions)
    require_samples(MemmapDataset(path, TARGETS), contents)

    memmap.write("out", tmp_path / "b", contents)
    for file in path.iterdir():
        ours = tmp_path / "b" / file.name
        if file.suffix == ".npy":
            np.testing.assert_array_equal(np.load(ours), np.load(file))
        elif file.name != "energy_stress.bin":
            assert ours.read_bytes() == file.read_bytes()
        else:  # divided by a volume in float32 by metatrain, multiplied by it in float64, and divided in float64 here
            np.testing.assert_allclose(np.fromfile(ours, np.float32), np.fromfile(file, np.float32), rtol=2**-23)
    dataset = MemmapDataset(tmp_path / "b", TARGETS)
    require_samples(dataset, contents)
    require_systems([dataset[i].system for i in range(5)], structures, torch.float32)
