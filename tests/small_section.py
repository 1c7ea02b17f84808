"""A small section with every kind of term, its data, and the files of both, for the tests of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

OPTIONS = """\
loss:
  energy:
    type: mse
    weight: 2.0
    forces: {type: huber, delta: 0.3, weight: 0.5}
  mtt::dos:
    type: masked_dos
    weight: 0.25
    extra_targets: 6
"""

STRUCTURES, POINTS, EXTRA = 5, 24, 6

Parts = dict[str, dict[str, Any]]


def data(seed: int = 1) -> Parts:
    """Return predictions, targets and extra_data by npz key: generic numbers, unequal masks, and one empty mask."""
    rng = np.random.default_rng(seed)
    targets = {
        "energy": rng.normal(size=(STRUCTURES, 1)),
        "energy/positions": rng.normal(size=(13, 3)),
        "mtt::dos": rng.uniform(0.1, 2.0, (STRUCTURES, POINTS)),
    }
    predictions = {key: array + rng.normal(scale=0.4, size=array.shape) for key, array in targets.items()}
    wide = rng.uniform(0.1, 2.0, (STRUCTURES, POINTS + EXTRA))
    for b, shift in enumerate((0, 2, EXTRA, 3, 1)):
        wide[b, shift : shift + POINTS] = targets["mtt::dos"][b] + rng.normal(scale=0.05, size=POINTS)
    predictions["mtt::dos"] = wide
    mask = np.arange(POINTS) < np.array([20, 17, 24, 11, 0])[:, None]
    return {"predictions": predictions, "targets": targets, "extra_data": {"mtt::dos_mask": mask}}


def write(folder: Path, parts: Parts | None = None, options: str = OPTIONS) -> list[str]:
    """Write the files and return the arguments of ``refloss evaluate`` for them."""
    (folder / "options.yaml").write_text(options, encoding="utf-8")
    for part, arrays in (parts or data()).items():
        np.savez(folder / f"{part}.npz", **arrays)
    return arguments(folder)


def arguments(folder: Path) -> list[str]:
    files = ["--predictions", "predictions.npz", "--targets", "targets.npz", "--extra-data", "extra_data.npz"]
    names = [name if name.startswith("--") else str(folder / name) for name in files]
    return ["evaluate", str(folder / "options.yaml"), *names]
