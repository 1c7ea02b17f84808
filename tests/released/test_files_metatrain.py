"""metatrain's own files, as its documentation has them: options with their data, and what its ``eval`` writes of them.

A small model is trained once and evaluated into each format. refloss reads the options unchanged, and its figures are
those of metatrain's own loss on what metatrain's own readers read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import metatensor.torch as mts
import numpy as np
import pytest
import torch
import yaml
from maps import block, tensormap
from metatomic.torch import ModelCapabilities, ModelOutput
from metatrain.utils.data import CollateFn, get_dataset, unpack_batch
from metatrain.utils.data.writers import get_writer
from metatrain.utils.loss import LossAggregator
from metatrain.utils.omegaconf import expand_dataset_config
from metatrain.utils.per_atom import average_by_num_atoms
from omegaconf import OmegaConf

import refloss
from refloss.cli.main import main

# metatrain and what it imports warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

RTOL = 1e-14
"""torch adds at most 99 numbers for a term: 98 · 2⁻⁵³ of their sum, all of one sign, is 1.1e-14 at the very worst."""

ATOMS = (3, 1, 2, 5, 4)
LIBRARY = "metatensor.torch"

OPTIONS = """\
# A small model, and a data set as in the documentation: the keys of the file, gradients by default.
seed: 1
base_precision: 64
device: cpu
architecture:
  name: pet
  model:
    cutoff: 3.0
    num_attention_layers: 1
    num_gnn_layers: 1
    num_heads: 1
    d_pet: 8
    d_head: 8
    d_node: 8
    d_feedforward: 8
  training:
    num_epochs: 1
    batch_size: 2
    num_workers: 0
    loss:
      energy:
        type: mse
        forces: {type: huber, delta: 0.05, weight: 10}
        stress: mae
training_set:
  systems:
    read_from: train.xyz  # where the positions are
    length_unit: angstrom
  targets:
    energy:
      key: U0
      unit: eV
validation_set: 0.2
test_set: 0.2
"""

EVAL = {"systems": "train.xyz", "targets": {"energy": {"key": "U0", "unit": "eV"}}}


def frames(seed: int, counts: Sequence[int] = ATOMS) -> list[ase.Atoms]:
    rng, made = np.random.default_rng(seed), []
    for n in counts:
        line = np.arange(n)[:, None] * [1.1, 0.3, 0.2]
        frame = ase.Atoms(["H", "C", "O", "H", "C"][:n], line + rng.normal(0, 0.05, (n, 3)), cell=[8, 8, 8], pbc=True)
        stress = rng.normal(0, 0.01, (3, 3))
        frame.info.update(U0=n * float(rng.normal()), stress=stress + stress.T)
        frame.arrays["forces"] = rng.normal(size=(n, 3))
        made.append(frame)
    return made


def batch_of(data: Mapping[str, Any], indices: Sequence[int] | None = None) -> tuple[Any, Any, Any, Any]:
    """Return what metatrain's readers read of a data set, as one batch: infos, systems, targets, extra data."""
    (conf,) = expand_dataset_config(OmegaConf.create(dict(data)))
    dataset, infos, _ = get_dataset(conf)
    items = [dataset[i] for i in (range(len(dataset)) if indices is None else indices)]
    systems, targets, extra = unpack_batch(CollateFn(list(infos))(items))
    return infos, systems, targets, extra


def released_total(
    losses: Mapping[str, Any],
    data: Mapping[str, Any],
    predictions: Mapping[str, Any],
    *,
    exempt: Sequence[str] = (),
    indices: Sequence[int] | None = None,
) -> float:
    """Return metatrain's loss of a data set in float64."""
    infos, systems, targets, extra = batch_of(data, indices)
    maps = [average_by_num_atoms(part, systems, list(exempt)) for part in (predictions, targets)]
    losses = {name: dict(loss) for name, loss in losses.items()}
    return float(LossAggregator(infos, losses).compute(*maps, extra))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with options, data, and the predictions of a model trained on them, in every format."""
    from metatrain.cli.eval import eval_model
    from metatrain.cli.train import train_model
    from metatrain.utils.io import load_model

    folder = tmp_path_factory.mktemp("trained")
    (folder / "options.yaml").write_text(OPTIONS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ase.io.write("train.xyz", frames(3))
        ase.io.write("more.xyz", frames(4, (2, 4)))
        (folder / "outputs").mkdir()
        train_model(OmegaConf.load("options.yaml"), output="model.pt", checkpoint_dir="outputs")
        model = load_model("model.pt")
        for name in ("output.xyz", "output.mts", "output.zip", "output/"):
            eval_model(model, OmegaConf.create(EVAL), output=name, batch_size=2, warm_up=False)
        two = [EVAL, {**EVAL, "systems": "more.xyz"}]
        for name in ("both.xyz", "both.mts"):
            eval_model(model, OmegaConf.create(two), output=name, warm_up=False)
        part = EVAL | {"indices": [4, 0, 2]}
        for name in ("part.xyz", "part.mts"):
            eval_model(model, OmegaConf.create(part), output=name, warm_up=False)
        yield folder


@pytest.fixture
def folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def evaluated(*arguments: str) -> dict[str, Any]:
    """Run ``refloss evaluate`` in this folder and return its JSON."""
    assert main(["evaluate", *arguments, "--json", "out.json"]) == 0
    written: dict[str, Any] = json.loads(Path("out.json").read_text(encoding="utf-8"))
    return written


@pytest.mark.parametrize("predictions", ["output.xyz", "output.mts", "output.zip", "output"])
def test_what_eval_writes_is_evaluated_with_the_options_as_they_are(folder: Path, predictions: str) -> None:
    losses = refloss.load_options("options.yaml").losses
    expected = released_total(losses, EVAL, {"energy": mts.load("output_energy.mts")})
    found = evaluated("options.yaml", "--predictions", predictions)
    assert list(found["terms"]) == ["energy", "energy/positions", "energy/strain"]
    assert found["inputs"]["set"] == "training_set"  # the test set is a fraction of it
    assert found["inputs"]["structures"] == len(ATOMS)
    # The memmap folder has float32, whose relative rounding 2⁻²⁴ the differences magnify a few times.
    assert found["total"] == pytest.approx(expected, rel=1e-6 if predictions == "output" else RTOL)
    assert not found["skipped"]


def test_through_python(folder: Path) -> None:
    section = refloss.load_options("options.yaml")
    data = refloss.load_dataset("options.yaml", "output.mts")
    assert data.num_atoms.tolist() == list(ATOMS)
    expected = released_total(section.losses, EVAL, {"energy": mts.load("output_energy.mts")})
    assert section.evaluate(**data.arguments()).total == pytest.approx(expected, rel=RTOL)


def test_the_options_that_a_run_leaves_behind(folder: Path) -> None:
    """`options_restart.yaml`: everything expanded by metatrain itself, in a folder from which the data are not seen."""
    found = evaluated("options.yaml", "--predictions", "output.mts")
    again = evaluated("outputs/options_restart.yaml", "--predictions", "output.mts")
    assert again["loss"] == found["loss"]
    assert again["total"] == found["total"]


def test_the_indices_that_a_run_drew(folder: Path) -> None:
    """`test_set: 0.2` is one structure of five; which, stands in the run's folder."""
    drawn = np.loadtxt("outputs/indices/test.txt", dtype=int).reshape(-1).tolist()
    whole = mts.load("output_energy.mts")
    one = mts.split(whole, "samples", [mts_labels("system", [[i]]) for i in drawn])
    losses = refloss.load_options("options.yaml").losses
    expected = released_total(losses, EVAL, {"energy": one[0]}, indices=drawn)
    for predictions in ("output.xyz", "output.mts", "output.zip"):
        found = evaluated(
            "options.yaml", "--predictions", predictions, "--set", "test_set", "--indices", "outputs/indices/test.txt"
        )
        assert found["inputs"]["structures"] == len(drawn) == 1
        assert found["total"] == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("predictions", ["output.xyz", "output.mts", "part.xyz", "part.mts"])
def test_indices_of_the_options_with_predictions_of_all_or_of_these(folder: Path, predictions: str) -> None:
    options = yaml.safe_load(OPTIONS) | {"test_set": {"indices": [4, 0, 2]}}
    Path("indexed.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    losses = refloss.load_options("indexed.yaml").losses
    expected = released_total(losses, EVAL, {"energy": mts.load("part_energy.mts")}, indices=[4, 0, 2])
    found = evaluated("indexed.yaml", "--predictions", predictions)
    assert found["inputs"]["set"] == "test_set"
    assert found["total"] == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("predictions", ["both.xyz", "both.mts"])
def test_a_list_of_data_sets(folder: Path, predictions: str) -> None:
    """Sums over both sets, which metatrain evaluates one after the other, are the sum of its two losses."""
    options = yaml.safe_load(OPTIONS)
    first = options["training_set"]
    options["training_set"] = [first, first | {"systems": "more.xyz"}]
    energy = options["architecture"]["training"]["loss"]["energy"]
    energy |= {"reduction": "sum", "stress": {"type": "mae", "reduction": "sum"}}
    energy["forces"]["reduction"] = "sum"
    Path("both.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    losses = refloss.load_options("both.yaml").losses
    expected = [
        released_total(losses, EVAL | {"systems": f"{name}.xyz"}, {"energy": mts.load(f"both_{i}_energy.mts")})
        for i, name in enumerate(("train", "more"))
    ]
    found = evaluated("both.yaml", "--predictions", predictions)
    assert found["inputs"]["structures"] == len(ATOMS) + 2
    assert found["total"] == pytest.approx(sum(expected), rel=RTOL)


def test_the_data_of_an_evaluation(folder: Path) -> None:
    """The options that ``eval`` was run with name the structures, where the training options name others."""
    Path("eval.yaml").write_text(yaml.safe_dump(EVAL | {"systems": "more.xyz"}), encoding="utf-8")
    losses = refloss.load_options("options.yaml").losses
    more = EVAL | {"systems": "more.xyz"}
    expected = released_total(losses, more, {"energy": mts.load("both_1_energy.mts")})
    found = evaluated("options.yaml", "--predictions", "both_1.xyz", "--data", "eval.yaml")
    assert found["total"] == pytest.approx(expected, rel=RTOL)


def test_other_structures_than_those_of_the_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = ase.io.read("train.xyz", ":")
    ase.io.write("swapped.xyz", [atoms[i] for i in (0, 4, 2, 3, 1)])
    text = OPTIONS.replace("train.xyz", "swapped.xyz")
    Path("swapped.yaml").write_text(text, encoding="utf-8")
    assert main(["evaluate", "swapped.yaml", "--predictions", "output.xyz"]) == 2
    error = capsys.readouterr().err
    assert "predictions: output.xyz: found other numbers of atoms in 2 of 5 structures" in error
    assert "(the same structures in another order), numbers 1, 4" in error


# ---- targets of any kind, from every format that metatrain reads -----------------------------------------------------


def mts_labels(name: str, values: Any) -> Any:
    return mts.Labels([name], torch.tensor(values))


def of_structures(values: np.ndarray, name: str) -> Any:
    return tensormap(LIBRARY, {0: block(LIBRARY, values, properties=name)})


def of_atoms(values: np.ndarray, name: str, counts: Sequence[int] = ATOMS) -> Any:
    rows = ["system", "atom"], [(i, a) for i, n in enumerate(counts) for a in range(n)]
    made = block(LIBRARY, values, samples=rows, components=["xyz"] * (values.ndim - 2), properties=name)
    return tensormap(LIBRARY, {0: made})


def write_predictions(file: str, systems: Any, predictions: Mapping[str, Any]) -> None:
    """Write as ``eval`` does."""
    outputs = {"energy": ModelOutput(quantity="energy", unit="eV")}  # what is one has forces and a virial
    writer = get_writer(file, capabilities=ModelCapabilities(outputs=outputs))
    writer.write(systems, dict(predictions))
    writer.finish()


@pytest.mark.parametrize("predictions", ["output.xyz", "output.mts", "output.zip", "output/"])
def test_a_mask_from_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictions: str) -> None:
    """The documentation's example of a masked loss: `extra_data` with `read_from: my_target_mask.mts`."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(8)
    structures = frames(5)
    for frame in structures:
        frame.info["my_target"] = rng.normal(size=6)
    ase.io.write("dataset.xyz", structures)
    mask = (rng.random((len(ATOMS), 6)) < 0.6).astype(np.float64)
    mts.save("my_target_mask.mts", of_structures(mask, "my_target_mask"))
    data = {
        "systems": {"read_from": "dataset.xyz", "length_unit": "angstrom"},
        "targets": {"mtt::my_target": {"key": "my_target", "num_subtargets": 6, "quantity": ""}},
        "extra_data": {"mtt::my_target_mask": {"read_from": "my_target_mask.mts", "num_subtargets": 6}},
    }
    loss = {"mtt::my_target": {"type": "masked_huber", "delta": 0.3, "weight": 1.0, "reduction": "sum"}}
    text = yaml.safe_dump({"loss": loss, "training_set": data, "test_set": 0.1})
    Path("options.yaml").write_text(text, encoding="utf-8")
    _, systems, _, _ = batch_of(data)
    made = {"mtt::my_target": of_structures(rng.normal(size=(len(ATOMS), 6)), "my_target")}
    write_predictions(predictions, systems, made)
    expected = released_total(refloss.load_options("options.yaml").losses, data, made)
    found = evaluated("options.yaml", "--predictions", predictions.rstrip("/"))
    assert found["inputs"]["extra_data"] == ["my_target_mask.mts"]
    assert found["terms"]["mtt::my_target"]["count"] == mask.sum()
    # float32 in the memmap folder: see above
    assert found["total"] == pytest.approx(expected, rel=1e-6 if predictions == "output/" else RTOL)


@pytest.mark.parametrize("predictions", ["output.xyz", "output.mts"])
def test_a_density_of_states_as_in_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictions: str, release_2026_2: Any
) -> None:
    """Densities and masks padded in front in the extended XYZ file, the older `per_atom`, validation on the same."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(9)
    extra, points = 20, 60
    structures, wide = frames(6), []
    for frame in structures:
        dos = rng.gamma(2.0, size=points)
        ends = int(rng.integers(30, points))
        frame.info["dos"] = np.concatenate([np.zeros(extra), dos]).astype(np.float32)
        frame.info["dos_mask"] = np.concatenate([np.zeros(extra), np.arange(points) < ends]).astype(np.float32)
        shift = int(rng.integers(0, extra + 1))
        prediction = 0.05 * rng.normal(size=extra + points)
        prediction[shift : shift + points] += dos
        wide.append(prediction)
    ase.io.write("DOS.xyz", structures)
    source = {"per_atom": False, "type": "scalar", "num_subtargets": extra + points}
    data = {
        "systems": "DOS.xyz",
        "targets": {"mtt::dos": {"key": "dos", **source}},
        "extra_data": {"mtt::dos_mask": {"key": "dos_mask", **source}},
    }
    loss = {"type": "masked_dos", "weight": 1.0, "grad_weight": 1e-4, "int_weight": 2, "extra_targets": extra}
    options = {
        "architecture": {"name": "soap_bpnn", "training": {"scale_targets": False, "loss": {"mtt::dos": loss}}},
        "training_set": data,
        "validation_set": data,
        "test_set": 0.0,
    }
    Path("options-dos.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    described = {**source, "sample_kind": "system"}
    described.pop("per_atom")
    new = {part: {name: described | {"key": one["key"]} for name, one in data[part].items()} for part in
           ("targets", "extra_data")}  # fmt: skip
    _, systems, targets, masks = batch_of({"systems": "DOS.xyz", **new})
    made = {"mtt::dos": of_structures(np.array(wide), "dos")}
    write_predictions(predictions, systems, made)
    maps = [average_by_num_atoms(part, systems, []) for part in (made, targets)]
    released = release_2026_2.MaskedDOSLoss("mtt::dos", None, 1.0, 1e-4, 2.0, extra, "mean").compute(*maps, masks)
    command = ("options-dos.yaml", "--predictions", predictions)
    found = evaluated(*command)
    # What the released code computes is one of the conventions; a sum of 80 numbers and of their cumulatives: 1e-13,
    # as in test_masked_dos.
    value = found["terms"]["mtt::dos"]["conventions"]["metatrain-2026.2"]["value"]
    assert value == pytest.approx(float(released), rel=1e-13)
    assert found["total"] == found["terms"]["mtt::dos"]["value"]  # of the documented convention
    assert (
        evaluated("options-dos.yaml", "--predictions", predictions, "--set", "validation_set")["total"]
        == found["total"]
    )


KINDS = {
    "mtt::dipole": {"key": "mu", "quantity": "", "type": {"cartesian": {"rank": 1}}},
    "mtt::charges": {"key": "q", "quantity": "", "sample_kind": "atom", "num_subtargets": 2},
    "non_conservative_forces": {"key": "f", "quantity": "", "sample_kind": "atom", "type": {"cartesian": {"rank": 1}}},
    "energy": {"key": "e", "unit": "eV", "forces": {"key": "f"}, "stress": {"key": "s"}},
}
"""Targets of many kinds; the forces are the gradient of one and a target of their own, as in the documentation."""


def data_set(form: str) -> dict[str, Any]:
    """Write a data set with metatrain's or ASE's own writers and return what options say of it."""
    rng = np.random.default_rng(11)
    structures = frames(7)
    for frame in structures:
        n = len(frame)
        frame.info.pop("stress")
        frame.info |= {"e": n * float(rng.normal()), "mu": rng.normal(size=3), "s": rng.normal(size=(3, 3))}
        frame.arrays |= {"q": rng.normal(size=(n, 2)), "f": frame.arrays.pop("forces")}
    ase.io.write("data.xyz", structures)
    from_xyz = {"systems": {"read_from": "data.xyz"}, "targets": KINDS}
    if form == "xyz":
        return from_xyz
    _, systems, targets, _ = batch_of(from_xyz)
    targets = {name: relabelled(item, torch.clone) for name, item in targets.items()}
    keyed = {("e" if name == "energy" else name): item for name, item in targets.items()}
    if form == "zip":
        writer = get_writer("data.zip")
        writer.write(systems, keyed)
        writer.finish()
        named = {name: {k: v for k, v in one.items() if k != "key"} for name, one in KINDS.items()}
        return {"systems": {"read_from": "data.zip"}, "targets": named | {"energy": KINDS["energy"]}}
    if form == "mts":
        for name, item in targets.items():
            mts.save(f"{name}.mts", item)
        parts = {name: one | {"read_from": f"{name}.mts"} for name, one in KINDS.items()}
        for kind in ("forces", "stress"):
            parts["energy"][kind] = True
        return {"systems": "data.xyz", "targets": parts}
    folder = Path("data_memmap")
    folder.mkdir()
    np.save(folder / "ns.npy", len(structures))
    np.save(folder / "na.npy", np.cumsum([0, *map(len, structures)]))
    np.concatenate([frame.positions for frame in structures]).astype("f4").tofile(folder / "x.bin")
    np.concatenate([frame.numbers for frame in structures]).astype("i4").tofile(folder / "a.bin")
    np.array([np.array(frame.cell) for frame in structures]).astype("f4").tofile(folder / "c.bin")
    for key in ("e", "mu", "s"):
        np.array([frame.info[key] for frame in structures]).astype("f4").tofile(folder / f"{key}.bin")
    for key in ("q", "f"):
        np.concatenate([frame.arrays[key] for frame in structures]).astype("f4").tofile(folder / f"{key}.bin")
    return {"systems": {"read_from": "data_memmap/"}, "targets": KINDS}


@pytest.mark.parametrize("predictions", ["output.xyz", "output.mts", "output.zip", "output/"])
@pytest.mark.parametrize("form", ["xyz", "mts", "zip", "memmap"])
def test_targets_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, predictions: str) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(12)
    data = data_set(form)
    losses = {
        "energy": {"type": "mse", "forces": {"type": "huber", "delta": 0.5}, "stress": {"type": "mae", "weight": 0.3}},
        "mtt::dipole": {"type": "mae", "weight": 2.0},
        "mtt::charges": "mse",
        "non_conservative_forces": {"type": "huber", "delta": 0.2},
    }
    training = {"loss": losses, "per_structure_targets": ["mtt::dipole"]}
    options = {"architecture": {"name": "pet", "training": training}, "test_set": data, "training_set": data}
    Path("options.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    _, systems, targets, _ = batch_of(data)
    made = {
        name: relabelled(item, lambda x: x + torch.from_numpy(rng.normal(size=tuple(x.shape))))
        for name, item in targets.items()
    }
    write_predictions(predictions, systems, made)
    section = refloss.load_options("options.yaml")
    expected = released_total(section.losses, data, made, exempt=["mtt::dipole"])
    found = evaluated("options.yaml", "--predictions", predictions.rstrip("/"))
    assert found["inputs"]["set"] == "test_set"
    assert len(found["terms"]) == 6
    # Columns of extended XYZ have eight decimals, as ASE writes them, and memmap folders float32.
    rough = predictions in ("output.xyz", "output/")
    assert found["total"] == pytest.approx(expected, rel=1e-6 if rough else RTOL)


def relabelled(item: Any, changed: Any) -> Any:
    """Return a map with its arrays `changed`, whose gradients' samples do not name the structures, as a model's."""
    (old,) = item.blocks()

    def one(of: Any, samples: Any) -> Any:
        return mts.TensorBlock(changed(of.values), samples, of.components, of.properties)

    made = one(old, old.samples)
    for name in old.gradients_list():
        gradient = old.gradient(name)
        names = [label for label in gradient.samples.names if label != "system"]
        columns = torch.stack([gradient.samples.column(label) for label in names], dim=1)
        made.add_gradient(name, one(gradient, mts.Labels(names, columns)))
    return mts.TensorMap(item.keys, [made])
