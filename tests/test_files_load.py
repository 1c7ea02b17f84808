"""`load_dataset`: options with their files and predictions in every format, and that both are of the same structures.

All numbers are multiples of 2⁻¹⁰ and the cells have a volume of 2⁹ Å³, so that every format, those of float32 too,
holds them exactly: whatever the way through the files, the figures are the same to the last bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import refloss
from refloss import ConfigError, InputError
from refloss.cli.main import main
from refloss.files import Contents, Structures, formats
from refloss.files.labelling import as_tensormap
from refloss.files.structures import chosen
from refloss.files.tensormap import Labels, TensorBlock, TensorMap
from refloss.files.xyz_frames import SYMBOLS

ATOMS = np.array([3, 1, 2, 5])
B, N = ATOMS.size, int(ATOMS.sum())
POINTS, EXTRA = 12, 3

LOSS = {
    "energy": {"type": "mse", "weight": 2.0, "virial": {"type": "mae", "weight": 0.5}},
    "mtt::q": {"type": "huber", "delta": 0.25},
    "mtt::dos": {"type": "masked_dos", "extra_targets": EXTRA},
}


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-2000, 2000, shape) / 1024


def structures(seed: int = 0, atoms: Any = ATOMS) -> Structures:
    rng = np.random.default_rng(seed)
    n = int(np.sum(atoms))
    cells = np.broadcast_to(np.diag([8.0, 8.0, 8.0]), (len(atoms), 3, 3)).copy()
    return Structures(np.asarray(atoms), rng.integers(1, 9, n), numbers(rng, n, 3), cells)


def truth(seed: int = 1, atoms: Any = ATOMS) -> dict[str, dict[str, np.ndarray]]:
    """Return targets and a mask."""
    rng = np.random.default_rng(seed)
    b, n = len(atoms), int(np.sum(atoms))
    strain = numbers(rng, b, 3, 3)
    return {
        "energy": {
            "values": numbers(rng, b, 1),
            "positions": numbers(rng, n, 3, 1),
            "strain": (strain + strain.transpose(0, 2, 1))[..., None],
        },
        "mtt::q": {"values": numbers(rng, n, 2)},
        "mtt::dos": {"values": np.abs(numbers(rng, b, POINTS))},
        "mtt::dos_mask": {"values": (np.arange(POINTS) < rng.integers(5, POINTS, b)[:, None]).astype(float)},
    }


def predicted(data: Mapping[str, Any], seed: int = 2) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = {
        name: {key: array + numbers(rng, *array.shape) / 16 for key, array in entry.items()}
        for name, entry in data.items()
        if not name.endswith("_mask")
    }
    wide = numbers(rng, len(made["mtt::dos"]["values"]), POINTS + EXTRA) / 16
    wide[:, 1 : 1 + POINTS] += made["mtt::dos"]["values"]
    made["mtt::dos"] = {"values": wide}
    return made


def expected(p: Mapping[str, Any], t: Mapping[str, Any], atoms: Any = ATOMS, **keywords: Any) -> refloss.SectionResult:
    """Evaluate the arrays, without files."""
    masks = {name: entry for name, entry in t.items() if name.endswith("_mask")}
    section = refloss.load_options({"loss": LOSS, "training_set": {"targets": DESCRIBED["keyed"]}})
    return section.evaluate(p, t, masks, num_atoms=atoms, **keywords)


DOS = {"num_subtargets": POINTS}
CHARGE = {"sample_kind": "atom", "num_subtargets": 2}
DESCRIBED: dict[str, dict[str, Any]] = {
    "keyed": {"energy": {"virial": True}, "mtt::q": CHARGE, "mtt::dos": DOS},
    "memmap": {
        "energy": {"forces": {"key": "energy_forces"}, "stress": {"key": "energy_stress"}},
        "mtt::q": CHARGE,
        "mtt::dos": DOS,
    },
}

FORMATS = ["d.npz", "d.xyz", "d.zip", "d.h5", "d.zarr", "d.memmap", "d"]


def write(name: str, data: Mapping[str, Any], of: Structures | None = None) -> str:
    """Write data in the format of a name, several TensorMaps as metatrain's eval names them."""
    if name.endswith(".mts"):
        for target, entry in data.items():
            path = Path(name).with_name(f"{Path(name).stem}_{target}.mts")
            formats.write("out", path, Contents({target: entry}, of))
    else:
        formats.write("out", Path(name), Contents(dict(data), of))
    return name


def write_options(data: Mapping[str, Any] | str | list[Any], path: str = "options.yaml", **others: Any) -> str:
    training = {"loss": LOSS} | others.pop("training", {})
    options = {"architecture": {"name": "pet", "training": training}, "training_set": data} | others
    Path(path).write_text(yaml.safe_dump(options), encoding="utf-8")
    return path


def described(read_from: str, form: str = "keyed") -> dict[str, Any]:
    """Return a data set in one file."""
    masks = {"mtt::dos_mask": DOS}
    return {"systems": {"read_from": read_from}, "targets": DESCRIBED[form], "extra_data": masks}


def run(*arguments: str, capsys: pytest.CaptureFixture[str] | None = None) -> dict[str, Any]:
    """Run ``refloss evaluate`` here and return its JSON."""
    status = main(["evaluate", *arguments, "--json", "out.json"])
    assert status == 0, capsys.readouterr().err if capsys is not None else status
    written: dict[str, Any] = json.loads(Path("out.json").read_text(encoding="utf-8"))
    return written


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises((InputError, ConfigError)) as caught:
        refloss.load_dataset(*arguments, **keywords)
    return str(caught.value)


# ---- every format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_data_in_every_format(name: str) -> None:
    t = truth()
    p = predicted(t)
    form = "memmap" if name == "d.memmap" else "keyed"
    options = write_options(described(write(name, t, structures()), form))
    data = refloss.load_dataset(options, write("p.npz", p))
    found = refloss.load_options(options).evaluate(**data.arguments())
    assert found.to_dict()["terms"] == expected(p, t).to_dict()["terms"]
    assert set(found.terms) == {"energy", "energy/positions", "energy/strain", "mtt::q", "mtt::dos"}
    assert data.inputs["set"] == "training_set"
    assert data.inputs["structures"] == B
    assert set(data.inputs["targets"]) | set(data.inputs["extra_data"]) == {name}


@pytest.mark.parametrize("name", [*FORMATS, "d.mts"])
def test_predictions_in_every_format(name: str) -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described(write("t.xyz", t, structures())))
    write(name, p, structures() if name != "d.npz" else None)
    found = run(options, "--predictions", name)
    assert found["total"] == expected(p, t).total
    assert found["skipped"] == {}


def test_each_target_in_a_file_of_its_own() -> None:
    """Structures, energies, forces, stresses, densities and masks in six files of five formats."""
    t, of = truth(), structures()
    p = predicted(t)
    write("systems.xyz", {"nothing": {"values": np.zeros(B)}}, of)
    write("energies.xyz", {"energy": {"values": t["energy"]["values"]}}, of)
    write("forces.npz", {"f": {"values": -t["energy"]["positions"][..., 0]}}, of)
    write("stresses.npz", {"s": {"values": t["energy"]["strain"][..., 0] / 512}}, of)
    write("charges.mts", {"mtt::q": t["mtt::q"]}, of)
    write("dos.h5", {"mtt::dos": t["mtt::dos"]})
    write("my.mts", {"mtt::dos_mask": t["mtt::dos_mask"]})
    energy = {
        "read_from": "energies.xyz",
        "forces": {"read_from": "forces.npz", "key": "f"},
        "stress": {"read_from": "stresses.npz", "key": "s"},
    }
    targets = {
        "energy": energy,
        "mtt::q": CHARGE | {"read_from": "charges_mtt::q.mts", "reader": "metatensor"},
        "mtt::dos": DOS | {"read_from": "dos.h5"},
    }
    masks = {"mtt::dos_mask": {"read_from": "my_mtt::dos_mask.mts"}}
    options = write_options({"systems": "systems.xyz", "targets": targets, "extra_data": masks})
    found = run(options, "--predictions", write("p.npz", p))
    assert found["total"] == expected(p, t).total
    files = ["systems.xyz", "energies.xyz", "forces.npz", "stresses.npz", "charges_mtt::q.mts", "dos.h5"]
    assert sorted(found["inputs"]["targets"]) == sorted(files)
    assert found["inputs"]["extra_data"] == ["my_mtt::dos_mask.mts"]


def test_a_virial_in_a_file_of_its_own() -> None:
    t = truth()
    p = predicted(t)
    write("v.npz", {"virial": {"values": -t["energy"]["strain"][..., 0]}})
    data = described(write("t.xyz", t, structures()))
    data["targets"] = data["targets"] | {"energy": {"virial": "v.npz"}}
    assert run(write_options(data), "--predictions", write("p.npz", p))["total"] == expected(p, t).total


def slab(name: str, stress: np.ndarray) -> str:
    """Write the structures, periodic along two vectors of three, with a stress of each."""
    of = structures()
    assert of.types is not None
    assert of.positions is not None
    with Path(name).open("w", encoding="utf-8") as file:
        ends = np.cumsum(ATOMS)
        for number, (start, end) in enumerate(zip(ends - ATOMS, ends, strict=True)):
            matrix = " ".join(map(repr, stress[number].ravel().tolist()))
            file.write(f'{end - start}\nLattice="8 0 0 0 8 0 0 0 8" pbc="T T F" energy=1.0 my_stress="{matrix}"\n')
            for kind, place in zip(of.types[start:end].tolist(), of.positions[start:end].tolist(), strict=True):
                file.write(f"{SYMBOLS[kind]} {' '.join(map(repr, place))}\n")
    return name


def test_a_stress_in_a_file_of_its_own_has_the_volume_of_the_whole_cell() -> None:
    """Of a slab, too, though nothing repeats along one vector of its cell, as metatrain takes the volume."""
    strain = truth()["energy"]["strain"]
    for stress in ({"key": "my_stress"}, {"key": "my_stress", "read_from": slab("s.xyz", strain[..., 0] / 512)}):
        data = {"systems": slab("t.xyz", strain[..., 0] / 512), "targets": {"energy": {"stress": stress}}}
        p = {"energy": {"values": np.ones((B, 1)), "strain": strain}}
        options = write_options(data, training={"loss": "mse"})
        read = refloss.load_dataset(options, write("p.npz", p))
        np.testing.assert_array_equal(read.targets["energy"]["strain"], strain)
    write("s.npz", {"s": {"values": strain[..., 0]}})  # which has no cells, and those of the systems are cut
    data["targets"] = {"energy": {"stress": {"read_from": "s.npz", "key": "s"}}}
    message = refused(write_options(data, training={"loss": "mse"}), "p.npz")
    assert message == "training_set: s.npz: found a stress of structure 0, which has no volume"


def test_forces_in_a_file_of_their_own_are_of_the_same_structures() -> None:
    t, of = truth(), structures()
    order = [1, 0, 2, 3]
    write("forces.xyz", {"energy": picked(t, order)["energy"]}, structures_of(of, order))
    data = {"systems": write("t.xyz", t, of), "targets": {"energy": {"forces": "forces.xyz", "stress": False}}}
    message = refused(write_options(data, training={"loss": "mse"}), write("p.npz", predicted(t)))
    assert message.startswith("training_set: forces.xyz: found other numbers of atoms in 2 of 4 structures (the same")


def test_what_the_file_lacks_of_forces_and_stresses_is_skipped() -> None:
    """On by default, as metatrain has them, and not there: it goes on without them, and so is the term."""
    t = truth()
    p = predicted(t)
    write("t.xyz", {"energy": {"values": t["energy"]["values"]}}, structures())
    Path("o.yaml").write_text("training_set: t.xyz\nloss: {energy: mae}\n")
    found = run("o.yaml", "--predictions", write("p.npz", {"energy": p["energy"]}))
    per_atom = (p["energy"]["values"] / ATOMS[:, None], t["energy"]["values"] / ATOMS[:, None])
    assert found["total"] == refloss.mae(*per_atom).value
    assert set(found["skipped"]) == {"energy/positions", "energy/strain"}


def test_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    t = truth()
    p = predicted(t)
    training = {"per_structure_targets": ["mtt::dos"]}
    options = write_options(described(write("t.xyz", t, structures())), training=training)
    found = run(options, "--predictions", write("p.npz", p))
    assert found["total"] == expected(p, t, per_structure_targets=["mtt::dos"]).total
    assert found["inputs"] == {
        "options": "options.yaml",
        "set": "training_set",
        "predictions": ["p.npz"],
        "targets": ["t.xyz"],
        "extra_data": ["t.xyz"],
        "structures": B,
        "per_atom": True,
    }
    out = capsys.readouterr().out
    assert "training_set: 4 structures of t.xyz" in out
    assert "what is per structure, but not mtt::dos, is divided by its number of atoms" in out


def test_options_that_are_a_mapping() -> None:
    t = truth()
    p = predicted(t)
    options = {"loss": LOSS, "training_set": described(write("t.xyz", t, structures()))}
    data = refloss.load_dataset(options, Path(write("p.npz", p)))
    assert refloss.load_options(options).evaluate(**data.arguments()).total == expected(p, t).total
    assert data.inputs["options"] is None


def test_the_older_form_of_the_reference() -> None:
    """Every key written out, null for what is not said, `per_atom`, readers, and data in three files."""
    t, of = truth(), structures()
    p = predicted(t)
    for entry in (t, p):
        entry["non_conservative_forces"] = {"values": entry["energy"]["positions"] + 0.5}
    energy = {**t["energy"]}
    write("dataset.xyz", {"energy": energy, "mtt::dos_mask": t["mtt::dos_mask"]}, of)
    write("nc.mts", {"non_conservative_forces": t["non_conservative_forces"]}, of)
    write("DOS.mts", {"mtt::dos": t["mtt::dos"]}, of)
    Path("options.yaml").write_text(
        """
loss:
  mtt::dos: {type: masked_dos, extra_targets: 3, grad_weight: 1e-3}
training_set:
    systems: {read_from: dataset.xyz, reader: ase, length_unit: null}
    targets:
        energy:
            quantity: energy
            read_from: dataset.xyz
            reader: ase
            key: energy
            unit: null
            per_atom: False
            type: scalar
            num_subtargets: 1
            forces: {read_from: dataset.xyz, reader: ase, key: forces}
            stress: off
            virial: {read_from: dataset.xyz, reader: ase, key: virial}
        non_conservative_forces:
            quantity: null
            read_from: nc_non_conservative_forces.mts
            reader: metatensor
            key: forces
            unit: null
            per_atom: True
            type: {cartesian: {rank: 1}}
        mtt::dos:
            quantity: null
            read_from: DOS_mtt::dos.mts
            reader: metatensor
            key: dos
            per_atom: False
            num_subtargets: 12
    extra_data:
        mtt::dos_mask:
            quantity: null
            reader: ase
            key: mtt::dos_mask
            per_atom: False
            num_subtargets: 12
test_set: 0.1
validation_set: 0.1
""",
        encoding="utf-8",
    )
    del p["mtt::q"]
    found = run("options.yaml", "--predictions", write("output.xyz", p, of))
    wanted = {
        "energy": refloss.mse(*(x["energy"]["values"] / ATOMS[:, None] for x in (p, t))),
        "energy/positions": refloss.mse(p["energy"]["positions"], t["energy"]["positions"]),
        "energy/strain": refloss.mse(*(x["energy"]["strain"] / ATOMS[:, None, None, None] for x in (p, t))),
        "non_conservative_forces": refloss.mse(*(x["non_conservative_forces"]["values"] for x in (p, t))),
        "mtt::dos": refloss.masked_dos(
            *(x["mtt::dos"]["values"] / ATOMS[:, None] for x in (p, t)), t["mtt::dos_mask"]["values"], grad_weight=1e-3
        ),
    }
    assert {name: term["value"] for name, term in found["terms"].items()} == {n: r.value for n, r in wanted.items()}


def test_a_density_that_is_nan_where_it_is_not_known() -> None:
    """The tutorial's newer form: no mask, NaN beyond the last energy, and predictions as wide as targets."""
    t, of = truth(), structures()
    dos = np.where(t["mtt::dos_mask"]["values"] == 1.0, t["mtt::dos"]["values"], math.nan)
    p = {"mtt::dos": {"values": t["mtt::dos"]["values"] + 0.125}}
    data = {"systems": "DOS.xyz", "targets": {"mtt::dos": {"key": "dos", "per_atom": False, "num_subtargets": POINTS}}}
    write("DOS.xyz", {"dos": {"values": dos}}, of)
    loss = {"mtt::dos": {"type": "shift_agnostic_mse", "int_weight": 0.5}}
    Path("o.yaml").write_text(yaml.safe_dump({"loss": loss, "training_set": data, "validation_set": data}))
    found = run("o.yaml", "--predictions", write("output.xyz", p, of))
    per_atom = (p["mtt::dos"]["values"] / ATOMS[:, None], dos / ATOMS[:, None])
    assert found["total"] == refloss.shift_agnostic_mse(*per_atom, int_weight=0.5).value


# ---- files in the place of the options' ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.npz", "t.h5", "t.xyz", "t.memmap", "t.zip"])
def test_files_in_the_place_of_the_options_files(name: str) -> None:
    t = truth()
    p = predicted(t)
    form = "memmap" if name == "t.memmap" else "keyed"
    options = write_options(described("nowhere.xyz", form))
    masks = write("m.npz", {"mtt::dos_mask": t["mtt::dos_mask"]})
    command = (options, "--predictions", write("p.npz", p), "--targets", write(name, t, structures()))
    found = run(*command, "--extra-data", masks)
    assert found["total"] == expected(p, t).total
    assert found["inputs"]["set"] is None
    assert found["inputs"]["per_atom"]


def test_only_files_that_tell_the_structures_make_figures_per_atom(capsys: pytest.CaptureFixture[str]) -> None:
    t = {"energy": truth()["energy"]}
    p = {"energy": predicted(truth())["energy"]}
    Path("o.yaml").write_text("loss: {energy: mse}\n")
    write("t.npz", t)
    whole = refloss.mse(p["energy"]["values"], t["energy"]["values"]).value
    assert run("o.yaml", "--predictions", write("p.npz", p), "--targets", "t.npz")["total"] == whole
    assert "nothing is divided by numbers of atoms" in capsys.readouterr().out
    found = run("o.yaml", "--predictions", write("p.xyz", p, structures()), "--targets", "t.npz")
    assert found["total"] == refloss.mse(*(x["energy"]["values"] / ATOMS[:, None] for x in (p, t))).value


def test_masks_of_ones_own_with_the_targets_of_the_options() -> None:
    t = truth()
    p = predicted(t)
    other = {"mtt::dos_mask": {"values": 1.0 - t["mtt::dos_mask"]["values"]}}
    options = write_options(described(write("t.xyz", t, structures())))
    found = run(options, "--predictions", write("p.npz", p), "--extra-data", write("m.npz", other))
    assert found["total"] == expected(p, t | other).total


def test_targets_of_ones_own_have_no_set() -> None:
    options = write_options(described(write("t.xyz", truth(), structures())))
    for keywords in ({"which": "test_set"}, {"indices": [0]}, {"data": "eval.yaml"}):
        (name,) = keywords
        message = refused(options, "p.npz", targets="t.xyz", **keywords)
        assert message.startswith(f"{name} and targets: found both")


def test_the_options_of_an_evaluation_name_the_data() -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described("nowhere.xyz"))
    Path("eval.yaml").write_text(yaml.safe_dump(described(write("t.xyz", t, structures()))))
    found = run(options, "--predictions", write("p.npz", p), "--data", "eval.yaml")
    assert found["total"] == expected(p, t).total
    assert found["inputs"]["set"] == "options"


# ---- sets, indices, several data sets --------------------------------------------------------------------------------


def picked(data: Mapping[str, Any], indices: list[int], atoms: Any = ATOMS) -> dict[str, Any]:
    """Return the rows of some structures."""
    ends = np.cumsum(atoms)
    rows = np.concatenate([np.arange(ends[i] - atoms[i], ends[i]) for i in indices])
    return {
        name: {key: array[rows] if len(array) == ends[-1] else array[indices] for key, array in entry.items()}
        for name, entry in data.items()
    }


INDICES = [3, 0, 2]


@pytest.mark.parametrize("name", ["p.npz", "p.xyz", "p.mts", "p.zip"])
@pytest.mark.parametrize("of", ["all", "those"])
@pytest.mark.parametrize("form", ["t.xyz", "t.mts"])
def test_indices(name: str, of: str, form: str) -> None:
    t = truth()
    p = predicted(t)
    part = picked(p, INDICES)
    written = structures() if of == "all" else structures_of(structures(), INDICES)
    write(name, p if of == "all" else part, written)
    data = described(write("t.xyz", t, structures()))
    if form == "t.mts":
        write(form, t, structures())
        data["targets"] = {n: one | {"read_from": f"t_{n}.mts"} for n, one in data["targets"].items()}
    wanted = expected(part, picked(t, INDICES), ATOMS[INDICES]).total
    assert run(write_options(data, test_set={"indices": INDICES}), "--predictions", name)["total"] == wanted
    assert run(write_options(data | {"indices": INDICES}), "--predictions", name)["total"] == wanted
    Path("i.txt").write_text("# drawn\n3\n 0\n\n2\n")
    options = write_options(data, test_set=0.7)
    found = run(options, "--predictions", name, "--set", "test_set", "--indices", "i.txt")
    assert found["total"] == wanted
    assert found["inputs"]["structures"] == 3
    message = refused(options, name, which="test_set", indices="i.text")
    assert message == "indices: i.text: cannot be read: No such file or directory"


def structures_of(of: Structures, indices: list[int]) -> Structures:
    assert of.types is not None
    assert of.positions is not None
    assert of.cells is not None
    ends = np.cumsum(of.num_atoms)
    rows = np.concatenate([np.arange(ends[i] - of.num_atoms[i], ends[i]) for i in indices])
    return Structures(of.num_atoms[indices], of.types[rows], of.positions[rows], of.cells[indices])


def test_a_permutation_is_told_by_structures_alone() -> None:
    t = truth()
    p = predicted(t)
    order = [2, 3, 0, 1]
    options = write_options(described(write("t.xyz", t, structures())) | {"indices": order})
    wanted = expected(picked(p, order), picked(t, order), ATOMS[order]).total
    assert run(options, "--predictions", write("p.xyz", p, structures()))["total"] == wanted
    part = picked(p, order)
    assert run(options, "--predictions", write("q.xyz", part, structures_of(structures(), order)))["total"] == wanted
    message = refused(options, write("p.npz", p))
    assert "predictions: p.npz: found 4 rows of 'energy', which can be those of all structures" in message
    straight = write_options(described("t.xyz") | {"indices": [0, 1, 2, 3]})
    assert run(straight, "--predictions", "p.npz")["total"] == expected(p, t).total


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 4], "found 4, expected 0 to 3, the number of a structure"),
        ([1, 1], "found 1 twice, expected each structure once"),
        ([], "found 0 values of"),
        ([0.5], "found 1 values of float64, expected integers"),
        ("i.txt", "i.txt: line 2: found 'two', expected an integer"),
    ],
)
def test_indices_that_are_none(indices: Any, message: str) -> None:
    Path("i.txt").write_text("1\ntwo\n")
    t = truth()
    options = write_options(described(write("t.xyz", t, structures())))
    found = refused(options, write("p.npz", predicted(t)), indices=indices)
    assert found.startswith("indices: ")
    assert message in found


def test_a_fraction_is_no_set_without_its_indices() -> None:
    t = truth()
    options = write_options(described(write("t.xyz", t, structures())), test_set=0.1)
    message = refused(options, write("p.npz", predicted(t)), which="test_set")
    assert message.startswith("test_set: found 0.1, a part of the training set")
    assert "indices/test.txt" in message


@pytest.mark.parametrize("name", ["p.xyz", "p.mts", "p.npz", "p.zip", "p.memmap"])
@pytest.mark.parametrize("forms", [("xyz", "xyz"), ("zip", "zip"), ("zip", "xyz")])
def test_several_data_sets_are_one(name: str, forms: tuple[str, str]) -> None:
    sizes = [ATOMS, np.array([2, 4])]
    parts, sets = [], []
    for i, atoms in enumerate(sizes):
        t, of = truth(10 + i, atoms), structures(20 + i, atoms)
        p = predicted(t, 30 + i)
        parts.append((p, t))
        write(f"{Path(name).stem}_{i}{Path(name).suffix}", p, of)
        sets.append(described(write(f"t{i}.{forms[i]}", t, of)))
    p, t = (joint([pair[which] for pair in parts]) for which in (0, 1))
    found = run(write_options(sets), "--predictions", name)
    assert found["total"] == expected(p, t, np.concatenate(sizes)).total
    assert found["inputs"]["structures"] == 6
    if not name.endswith(".mts"):
        each = [f"{Path(name).stem}_{i}{Path(name).suffix}" for i in range(2)]
        assert found["inputs"]["predictions"] == each
        assert run("options.yaml", "--predictions", *each)["total"] == found["total"]


def joint(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {key: np.concatenate([part[name][key] for part in parts]) for key in entry}
        for name, entry in parts[0].items()
    }


def test_a_target_that_one_data_set_has_alone() -> None:
    sizes = [ATOMS, np.array([2, 4])]
    parts, sets = [], []
    for i, atoms in enumerate(sizes):
        t, of = truth(10 + i, atoms), structures(20 + i, atoms)
        p = predicted(t, 30 + i)
        if i == 0:
            del p["mtt::dos"], t["mtt::dos"], t["mtt::dos_mask"]
        parts.append((p, t))
        write(f"p_{i}.xyz", p, of)
        data = described(write(f"t{i}.xyz", t, of))
        if i == 0:
            data = {"systems": data["systems"], "targets": {n: data["targets"][n] for n in ("energy", "mtt::q")}}
        sets.append(data)
    data = refloss.load_dataset(write_options(sets), "p.xyz")
    found = refloss.load_options("options.yaml").evaluate(**data.arguments())
    (p0, t0), (p1, t1) = parts
    both = [joint([{n: part[n] for n in ("energy", "mtt::q")} for part in pair]) for pair in ((p0, p1), (t0, t1))]
    wanted = expected(*both, np.concatenate(sizes)).terms | {"mtt::dos": expected(p1, t1, sizes[1]).terms["mtt::dos"]}
    assert {name: term.value for name, term in found.terms.items()} == {n: term.value for n, term in wanted.items()}
    assert {name: counts.tolist() for name, counts in data.num_atoms.items()} == {
        "energy": [3, 1, 2, 5, 2, 4],
        "mtt::q": [3, 1, 2, 5, 2, 4],
        "mtt::dos": [2, 4],
    }
    # What only some of the predictions have would quietly be a loss of fewer structures.
    write("p_0.xyz", {"mtt::q": p0["mtt::q"]}, structures(20, sizes[0]))
    message = refused("options.yaml", "p.xyz")
    assert message == "predictions: p_0.xyz: found no 'energy', expected it as in the other data sets"


def test_files_for_several_data_sets_that_are_not_as_many() -> None:
    t = truth()
    write("p.npz", predicted(t))
    data = described(write("t.xyz", t, structures()))
    options = write_options([data, data])
    assert refused(options, "p.npz").startswith(
        "predictions: found p.npz for 2 data sets, expected a file for each: p_0"
    )
    assert refused(options, ["p.npz"] * 3) == "predictions: found 3 files for 2 data sets, expected one for each"
    message = refused(options, ["p.npz", "p.npz"], indices=[0])
    assert message == "indices: found those of 1 data sets, expected 2, one for each"
    for second, atoms in (([1, 2], [3, 1, 2]), ([2], [3, 2])):  # as many of both, too
        for indices in ([[0], second], [np.array([0]), np.array(second)]):
            found = refloss.load_dataset(options, ["p.npz", "p.npz"], indices=indices)
            assert found.num_atoms.tolist() == atoms


@pytest.mark.parametrize("shuffled", ["t", "p", "m"])
def test_rows_of_tensormaps_go_by_structure_where_no_file_has_structures(shuffled: str) -> None:
    """Arrays beside them have no labels to compare: the rows must be matched before."""
    t = {name: entry for name, entry in truth().items() if name.startswith("mtt::dos")}
    p = {"mtt::dos": predicted(truth())["mtt::dos"]}
    held = {"p": ("mtt::dos", p), "t": ("mtt::dos", t), "m": ("mtt::dos_mask", t)}
    for file, (name, data) in held.items():
        write(f"{file}.npz", {name: data[name]})
        if file == shuffled:
            tensormap = as_tensormap(file, name, data[name], None)
            (block,) = tensormap.blocks()
            order = [2, 0, 3, 1]
            block.values, block.samples.values = block.values[order], block.samples.values[order]
            formats.write("out", Path(f"{file}.mts"), Contents({name: tensormap}))
    files = [f"{file}.mts" if file == shuffled else f"{file}.npz" for file in "ptm"]
    Path("o.yaml").write_text(yaml.safe_dump({"loss": {"mtt::dos": LOSS["mtt::dos"]}}))
    given = ("--predictions", files[0], "--targets", files[1], "--extra-data", files[2])
    assert run("o.yaml", *given)["total"] == expected(p, t, None).total


def test_indices_of_structures_whose_numbers_of_atoms_nothing_covers() -> None:
    """They are divided by, and are no reason to allocate a number for each of these atoms."""
    atoms = np.array([10**13, 2 * 10**13])
    data = {"systems": write("s.npz", {"energy": {"values": np.ones((2, 1))}}, Structures(atoms)), "indices": [1]}
    options = write_options(data | {"targets": {"energy": "s.npz"}}, training={"loss": "mse"})
    found = refloss.load_dataset(options, write("p.npz", {"energy": {"values": np.ones((1, 1))}}))
    assert found.num_atoms.tolist() == [2 * 10**13]


def test_gradients_of_a_row_an_atom() -> None:
    """Their samples count rows, not structures."""
    block = TensorBlock(
        numbers(np.random.default_rng(0), N, 1),
        as_tensormap("q", "q", np.zeros((N, 1)), ATOMS).block().samples,
        [],
        Labels(["q"], [[0]]),
    )
    samples = Labels(["sample", "atom"], [(row, 0) for row in range(N)])
    xyz = [Labels(["xyz"], np.arange(3))]
    block.add_gradient("positions", TensorBlock(np.zeros((N, 3, 1)), samples, xyz, block.properties))
    tensormap = TensorMap(Labels(["_"], [[0]]), [block])
    assert chosen("q", tensormap, ATOMS) is tensormap


# ---- the same structures ---------------------------------------------------------------------------------------------


def changed(**parts: Any) -> Structures:
    of = structures()
    return Structures(**({name: getattr(of, name) for name in ("num_atoms", "types", "positions", "cells")} | parts))


def moved(distance: float) -> np.ndarray:
    positions = structures().positions
    assert positions is not None
    positions[4, 1] += distance  # in the third structure
    return positions


OTHER_TYPES = np.where(np.arange(N) == 3, 60, structures().types)
OTHER_CELLS = np.where(np.arange(B)[:, None, None] == 1, 4.0, 1.0) * structures().cells


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (changed(positions=moved(1e-3)), "found other positions in 1 of 4 structures, numbers 2:"),
        (
            changed(types=OTHER_TYPES),
            "found other types in 1 of 4 structures, numbers 1: number 1 is 1 atom (1 of element 60",
        ),
        (changed(cells=OTHER_CELLS), "found other cells in 1 of 4 structures, numbers 1:"),
        (changed(num_atoms=np.array([3, 2, 1, 5])), "found other numbers of atoms in 2 of 4 structures, numbers 1, 2:"),
        (structures_of(structures(), [0, 2, 1, 3]), "(the same structures in another order), numbers 1, 2:"),
        (structures_of(structures(), [0, 1, 2]), "found 3 structures, expected 4"),
    ],
)
def test_other_structures(of: Structures, message: str) -> None:
    t = {"energy": {"values": np.zeros((B, 1))}}
    data = {"systems": write("t.xyz", t, structures()), "targets": {"energy": {}}}
    options = {"loss": "mse", "training_set": data}
    p = {"energy": {"values": np.ones((of.num_atoms.size, 1))}}
    found = refused(options, write("p.xyz", p, of))
    assert found.startswith("predictions: p.xyz: ")
    assert message in found


def test_positions_may_differ_by_what_formats_round() -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described(write("t.xyz", t, structures())))
    assert (
        run(options, "--predictions", write("p.xyz", p, changed(positions=moved(5e-9))))["total"]
        == expected(p, t).total
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("energy", lambda e: {"values": e["values"][:3]}, "p.npz: 'energy', values: found 3 rows, expected 4, a row a"),
        (
            "energy",
            lambda e: e | {"positions": e["positions"][:9]},
            "'energy', positions: found 9 rows, expected 11, a row",
        ),
        ("energy", lambda e: e | {"strain": e["strain"][:3]}, "'energy', strain: found 3 rows, expected 4, a row a"),
        (
            "mtt::q",
            lambda e: {"values": e["values"][:9]},
            "'mtt::q', values: found 9 rows, expected 4, a row a structure, or",
        ),
    ],
)
def test_other_numbers_of_rows(name: str, change: Any, message: str) -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described(write("t.xyz", t, structures())))
    found = refused(options, write("p.npz", p | {name: change(p[name])}))
    assert found.startswith("predictions: p.npz: ")
    assert message in found


def test_tensormaps_of_other_structures() -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described(write("t.xyz", t, structures())))
    part = picked(p, [0, 1, 3])
    write("p.mts", part, structures_of(structures(), [0, 1, 3]))
    assert "found 3 structures (no system 3), expected 4" in refused(options, "p.mts")
    # As many structures and atoms, but other ones.
    for first in (1, 40, -7):  # whatever their numbers, in their order
        tensormap = as_tensormap("p", "mtt::q", p["mtt::q"], ATOMS)
        tensormap.block().samples.values[:, 0] = first + 3 * tensormap.block().samples.values[:, 0]
        formats.write("out", Path("n_mtt::q.mts"), Contents({"mtt::q": tensormap}))
        found = run(options, "--predictions", "n.mts")
        assert found["total"] == expected({"mtt::q": p["mtt::q"]}, t).total
    write("q.mts", {"mtt::q": p["mtt::q"]}, changed(num_atoms=np.array([3, 2, 1, 5])))
    message = refused(options, "q.mts")
    assert "q_mtt::q.mts: 'mtt::q': found 2 atoms of structure 1, expected 1" in message


def test_predictions_that_are_not_finite_are_named() -> None:
    t = truth()
    p = predicted(t)
    p["energy"]["positions"][7, 1, 0] = math.nan
    options = write_options(described(write("t.xyz", t, structures())))
    for name in ("p.npz", "p.xyz", "p.zip"):
        message = refused(options, write(name, p, structures()))
        assert message.startswith(f"predictions: {name}: 'energy', positions: found 1 value")
        assert "index (7, 1, 0)" in message


def test_a_structure_without_a_cell_has_no_stress() -> None:
    """metatrain's eval writes NaN there, as data sets with molecules and crystals have it for their targets."""
    t = truth()
    p = predicted(t)
    of = structures()
    assert of.cells is not None
    of.cells[1] = 0.0
    t["energy"]["strain"][1] = p["energy"]["strain"][1] = math.nan
    options = write_options(described(write("t.xyz", t, of)))
    found = run(options, "--predictions", write("p.xyz", p, of))
    p["energy"]["strain"][1] = 0.0
    assert found["total"] == expected(p, t).total
    assert found["terms"]["energy/strain"]["count"] == 27
    # NaN where there is a cell, or a target, is an error still.
    p["energy"]["strain"][2] = math.nan
    assert "'energy', strain: found 9 values" in refused(options, write("q.xyz", p, of))


# ---- files that are not found, or not what they should be ------------------------------------------------------------


def test_a_file_beside_the_options() -> None:
    t = truth()
    p = predicted(t)
    Path("runs").mkdir()
    write("runs/t.xyz", t, structures())
    options = write_options(described("t.xyz"), "runs/options.yaml")
    assert run(options, "--predictions", write("p.npz", p))["total"] == expected(p, t).total
    write("t.xyz", t, structures(5))
    message = refused(options, "p.npz")
    assert message.startswith("runs/options.yaml:")
    assert "systems.read_from: found two files 't.xyz'" in message
    Path("t.xyz").unlink()
    Path("t.xyz").symlink_to("runs/t.xyz")  # one file by two names
    assert run(options, "--predictions", "p.npz")["total"] == expected(p, t).total


def test_files_that_are_nowhere_are_all_named() -> None:
    data = described("t.xyz")
    data["extra_data"] = {"mtt::dos_mask": DOS | {"read_from": "mask.mts"}}
    options = write_options(data)
    first, second = refused(options, write("p.npz", predicted(truth()))).splitlines()
    for line, name in ((first, "mask.mts"), (second, "t.xyz")):
        assert line.startswith("options.yaml:")
        assert f"found no file '{name}', looked in the working directory ({Path.cwd()})" in line
        assert "the folder of options.yaml" in line


def test_a_key_that_the_file_has_not() -> None:
    t = truth()
    for name, part in (("t.xyz", "'U0'"), ("t.h5", "'U0'")):
        data = described(write(name, t, structures()))
        data["targets"] = data["targets"] | {"energy": {"key": "U0", "virial": True}}
        message = refused(write_options(data), write("p.npz", predicted(t)))
        assert message.startswith(f"training_set: {name}: found no {part}")


def test_readers_that_do_not_read_the_file() -> None:
    t = truth()
    p = write("p.npz", predicted(t))
    data = described(write("t.xyz", t, structures()))
    data["targets"] = data["targets"] | {"mtt::q": CHARGE | {"reader": "metatensor"}}
    assert "t.xyz: found a file of the format extxyz, expected mts: the options say reader:" in refused(
        write_options(data), p
    )
    write("c.mts", {"mtt::q": t["mtt::q"]}, structures())
    data["targets"] = data["targets"] | {"mtt::q": CHARGE | {"reader": "ase", "read_from": "c_mtt::q.mts"}}
    assert "c_mtt::q.mts: found a file of the format mts, expected extxyz" in refused(write_options(data), p)


def test_what_is_wholly_in_one_file_is_not_read_from_another() -> None:
    """metatrain passes over `read_from` there; to follow it here would be another figure."""
    t = truth()
    data = described(write("t.zip", t, structures()))
    write("c.mts", {"mtt::q": t["mtt::q"]}, structures())
    data["targets"] = data["targets"] | {"mtt::q": CHARGE | {"read_from": "c_mtt::q.mts"}}
    message = refused(write_options(data), write("p.npz", predicted(t)))
    assert message.startswith("training_set: found c_mtt::q.mts for 'mtt::q', expected t.zip")


def test_a_file_without_structures() -> None:
    t = truth()
    options = write_options(described(write("t.npz", t)))
    message = refused(options, write("p.npz", predicted(t)))
    assert message == "training_set: t.npz: found no structures, expected those of the data set"


def test_tensormaps_are_called_by_what_they_hold() -> None:
    t = truth()
    p = predicted(t)
    options = write_options(described(write("t.xyz", t, structures())))
    write("p.mts", p, structures())
    files = [f"p_{name}.mts" for name in p]
    assert run(options, "--predictions", *files)["total"] == expected(p, t).total
    Path("p_mtt::q.mts").rename("other.mts")
    assert "other.mts: found a TensorMap that is not called by what it holds" in refused(options, "other.mts")
    message = refused(options, "none.mts")
    assert message.startswith("predictions: none.mts: found no such file, nor in its place none_energy.mts")
    message = refused(options, ["p_energy.mts", write("p.npz", p)])
    assert message == "predictions: found 'energy' in p_energy.mts and in p.npz, expected it in one file"
    one = described("t.xyz") | {"targets": {"mtt::q": CHARGE}}
    Path("o.yaml").write_text(yaml.safe_dump({"loss": {"mtt::q": "mae"}, "training_set": one}))
    found = run("o.yaml", "--predictions", "other.mts")  # there is one target alone
    assert list(found["terms"]) == ["mtt::q"]


def test_a_mask_that_the_options_do_not_have() -> None:
    t = truth()
    data = described(write("t.xyz", t, structures()))
    del data["extra_data"]
    dataset = refloss.load_dataset(write_options(data), write("p.npz", predicted(t)))
    with pytest.raises(InputError, match="extra_data: found nothing, expected 'mtt::dos_mask'"):
        refloss.load_options("options.yaml").evaluate(**dataset.arguments())


def test_output_over_a_file_that_the_options_name(capsys: pytest.CaptureFixture[str]) -> None:
    t = truth()
    options = write_options(described(write("t.xyz", t, structures())))
    before = Path("t.xyz").read_bytes()
    assert main(["evaluate", options, "--predictions", write("p.npz", predicted(t)), "--json", "t.xyz"]) == 2
    assert "--json: t.xyz is one of the inputs" in capsys.readouterr().err
    assert Path("t.xyz").read_bytes() == before
