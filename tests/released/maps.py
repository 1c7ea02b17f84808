"""Real TensorMaps for the tests: metatensor-core's and metatensor-torch's, labelled as metatrain labels its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

LIBRARIES = ("metatensor", "metatensor.torch")

ATOMS = (3, 1, 2, 5)
"""Four structures of eleven atoms."""

ROWS = [(i, a) for i, n in enumerate(ATOMS) for a in range(n)]
"""Structure and atom of each row of what is per atom."""

XYZ = {"positions": ["xyz"], "strain": ["xyz_1", "xyz_2"]}


def labels(library: str, names: Sequence[str], values: Any) -> Any:
    array = np.asarray(values, np.int32).reshape(-1, len(names))
    return import_module(library).Labels(list(names), torch.from_numpy(array) if library.endswith("torch") else array)


def block(
    library: str,
    values: Any,
    *,
    samples: tuple[Sequence[str], Any] | None = None,
    components: Sequence[str] | None = None,
    properties: str = "property",
    gradients: Mapping[str, Any] = {},
) -> Any:
    """Return a block; labels that are not given count from 0."""
    if library.endswith("torch"):
        values = torch.as_tensor(values)
    shape = tuple(values.shape)
    middle = [f"mu_{i}" for i in range(len(shape) - 2)] if components is None else components
    made = import_module(library).TensorBlock(
        values,
        labels(library, ["system"], range(shape[0])) if samples is None else labels(library, *samples),
        [labels(library, [name], range(n)) for name, n in zip(middle, shape[1:-1], strict=True)],
        labels(library, [properties], range(shape[-1])),
    )
    for name, gradient in gradients.items():
        made.add_gradient(name, gradient)
    return made


def tensormap(library: str, blocks: Mapping[Any, Any], names: Sequence[str] = ("_",)) -> Any:
    """Return the map of key to block, in the order of insertion."""
    keys = [list(key) if isinstance(key, tuple) else [key] for key in blocks]
    return import_module(library).TensorMap(labels(library, names, keys), list(blocks.values()))


def energy(library: str, data: Mapping[str, Any], *, systems: Sequence[int] | None = None) -> Any:
    """Return an energy with the gradients that `data` hold, labelled as predictions, or with `systems` as targets."""
    rows = ROWS if systems is None else [(i, systems[i], a) for i, a in ROWS]
    samples = {
        "positions": (["sample", "atom"] if systems is None else ["sample", "system", "atom"], rows),
        "strain": (["sample"], range(len(ATOMS))),
    }
    made = block(
        library,
        data["values"],
        samples=(["system"], range(len(ATOMS)) if systems is None else systems),
        properties="energy",
        gradients={
            name: block(library, data[name], samples=samples[name], components=XYZ[name], properties="energy")
            for name in ("positions", "strain")
            if name in data
        },
    )
    return tensormap(library, {0: made})
