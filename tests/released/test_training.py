"""A training run of metatrain 2026.4.1: the loss that it logs, and the same run driven by the golden loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refloss
from refloss.interop import torch as golden

LOSS = {
    "energy": {
        "type": "huber",
        "delta": 0.4,
        "weight": 0.3,
        "forces": {"type": "mae", "weight": 2.5},
        "stress": {"type": "mse", "weight": 0.1},
    }
}
MODEL = {"cutoff": 3.0, "num_attention_layers": 1, "num_gnn_layers": 1, "num_heads": 1}
WIDTHS = ("d_pet", "d_head", "d_node", "d_feedforward")
ATOMS = (3, 1, 2, 5)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the options of a small run; its data, and what it writes, are in a folder of its own."""
    import ase.io

    monkeypatch.chdir(tmp_path)
    rng, frames = np.random.default_rng(3), []
    for n in ATOMS:
        line = np.arange(n)[:, None] * [1.1, 0.3, 0.2]
        frame = ase.Atoms(["H", "C", "O", "H", "C"][:n], line + rng.normal(0, 0.05, (n, 3)), cell=[8, 8, 8], pbc=True)
        stress = rng.normal(0, 0.01, (3, 3))
        frame.info.update(energy=n * float(rng.normal()), stress=stress + stress.T)
        frame.arrays["forces"] = rng.normal(size=(n, 3))
        frames.append(frame)
    ase.io.write("data.xyz", frames)
    energy = {"read_from": "data.xyz", "unit": "eV", "forces": {"key": "forces"}, "stress": {"key": "stress"}}
    data = {"systems": {"read_from": "data.xyz", "length_unit": "angstrom"}, "targets": {"energy": energy}}
    training = {
        "batch_size": 4,
        "num_epochs": 3,
        "log_interval": 1,
        "num_workers": 0,
        "atomic_baseline": {"energy": dict.fromkeys((1, 6, 8), 0.0)},
        "loss": LOSS,
    }
    return {
        "seed": 1,
        "base_precision": 64,
        "device": "cpu",
        "architecture": {"name": "pet", "model": MODEL | dict.fromkeys(WIDTHS, 8), "training": training},
        "training_set": data,
        "validation_set": data,
    }


class Run:
    """One training run: what its loss was called with, and what it logged."""

    def __init__(self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, loss: Any = None) -> None:
        from metatrain.cli.train import train_model
        from metatrain.pet import trainer
        from omegaconf import OmegaConf

        self.seen: list[tuple[Any, list[int], list[str]]] = []
        self.logged: list[dict[str, float]] = []
        average, log = trainer.average_by_num_atoms, trainer.MetricLogger.log

        def averaged(maps: Any, systems: Any, exempt: Any) -> Any:
            self.seen.append((maps, [len(system) for system in systems], exempt))
            return average(maps, systems, exempt)

        def logged(logger: Any, metrics: Any, *args: Any, **keywords: Any) -> Any:
            if isinstance(metrics, list):  # of an epoch; the final evaluation logs none of them
                self.logged.append({name: part["loss"] for name, part in zip(("train", "val"), metrics, strict=True)})
            return log(logger, metrics, *args, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "average_by_num_atoms", averaged)
            patch.setattr(trainer.MetricLogger, "log", logged)
            if loss is not None:
                patch.setattr(trainer.LossAggregator, "compute", lambda _, *data: loss(*data))
            folder = Path.cwd() / ("released" if loss is None else "driven")
            folder.mkdir()
            train_model(OmegaConf.create(options), output=folder / "model.pt", checkpoint_dir=folder)


# metatrain and what it imports warn of their own affairs.
@pytest.mark.filterwarnings("ignore")
def test_what_a_trainer_logs(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(options, monkeypatch)
    section = refloss.load_options({"loss": LOSS, "training_set": options["training_set"]})
    losses = []
    for (predictions, atoms, exempt), (targets, *_) in zip(run.seen[::2], run.seen[1::2], strict=True):
        result = section.evaluate(predictions, targets, num_atoms=atoms, per_structure_targets=exempt)
        assert len(result.terms) == 3
        assert sorted(atoms) == sorted(ATOMS)
        losses.append(result.total)
    # Sums of up to 36 numbers, and of three terms: 4e-15, and what the order of the terms adds.
    assert len(losses) == 6
    assert losses == pytest.approx([part for epoch in run.logged for part in epoch.values()], rel=1e-14)

    # The run once more, driven by the golden loss: its gradients differ in the last bits, which three steps amplify.
    loss = golden.section(section)
    again = Run(options, monkeypatch, loss)
    assert list(loss.last.terms) == ["energy", "energy/positions", "energy/strain"]
    for name in ("train", "val"):
        driven, released = ([epoch[name] for epoch in logged.logged] for logged in (again, run))
        assert driven == pytest.approx(released, rel=1e-9)
        assert len(set(released)) == 3
