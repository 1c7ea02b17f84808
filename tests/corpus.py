"""Good files of every format, small and generic, to be damaged: written by refloss, and by the formats' own libraries.

A file is ``{"": bytes}``, a folder ``{path in it: bytes}``. Targets are an energy with both its gradients, a density of
states in float32, and its mask; where a file holds one target, it is one of these.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refloss.demo import OPTIONS as DEMO_OPTIONS
from refloss.files import Contents, GradientSource, Quantity, Structures, formats

Rng = np.random.Generator
Good = dict[str, bytes]

POINTS = 7


@dataclass(frozen=True)
class Kind:
    """A format: the ending of its files, who writes them, and what is asked of them."""

    ending: str
    writers: tuple[Callable[[Rng, Path], None], ...]
    quantities: tuple[Quantity, ...] = ()


def good(kind: str, rng: Rng, folder: Path) -> Good:
    """Write a file with one of the format's writers, and return what it is."""
    chosen = KINDS[kind]
    path = folder / f"good{chosen.ending}"
    chosen.writers[int(rng.integers(len(chosen.writers)))](rng, path)
    if path.is_dir():
        found = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
        shutil.rmtree(path)
        return found
    content = path.read_bytes()
    path.unlink()
    return {"": content}


def contents(rng: Rng, *, per_target: bool = False) -> Contents:
    """Return generic data of one to four structures; of one target alone where `per_target`."""
    atoms = rng.integers(1, 5, int(rng.integers(1, 5)))
    count, total = len(atoms), int(atoms.sum())
    data: dict[str, Any] = {
        "energy": {
            "values": rng.normal(size=(count, 1)),
            "positions": rng.normal(size=(total, 3, 1)),
            "strain": rng.normal(size=(count, 3, 3, 1)),
        },
        "mtt::dos": {"values": rng.uniform(size=(count, POINTS)).astype(np.float32)},
        "mtt::dos_mask": {"values": rng.random((count, POINTS)) < 0.5},
    }
    if per_target:
        name = list(data)[int(rng.integers(len(data)))]
        data = {name: data[name]}
    types = rng.choice([1, 6, 8, 14], total).astype(np.int64)
    cells = 6 * np.eye(3) + rng.normal(scale=0.2, size=(count, 3, 3))
    return Contents(data, Structures(atoms.astype(np.int64), types, rng.normal(size=(total, 3)), cells))


def _arrays(rng: Rng) -> dict[str, np.ndarray]:
    """Return the same as npz keys."""
    return {
        name if key == "values" else f"{name}/{key}": array
        for name, entry in contents(rng).data.items()
        for key, array in entry.items()
    }


# ---- writers -----------------------------------------------------------------------------------------------------


def ours(rng: Rng, path: Path) -> None:
    formats.write("out", path, contents(rng, per_target=path.suffix == ".mts"))


def _npz_of_numpy(rng: Rng, path: Path) -> None:
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(path, **_arrays(rng))


def _mts_of_metatensor(rng: Rng, path: Path) -> None:
    metatensor = importlib.import_module("metatensor")
    held = contents(rng, per_target=True)
    blocks, keys = [], []
    for i in range(int(rng.integers(1, 4))):
        (entry,) = held.data.values()
        values = entry["values"].astype(float)
        labels = metatensor.Labels
        samples = labels(["system"], np.arange(len(values)).reshape(-1, 1))
        block = metatensor.TensorBlock(values, samples, [], labels.range("energy", values.shape[1]))
        if "strain" in entry:
            xyz = [labels([f"xyz_{k}"], np.arange(3).reshape(-1, 1)) for k in (1, 2)]
            rows = labels(["sample"], np.arange(len(values)).reshape(-1, 1))
            block.add_gradient("strain", metatensor.TensorBlock(entry["strain"], rows, xyz, block.properties))
        blocks.append(block)
        keys.append((i, 3 - i))
    metatensor.save(str(path), metatensor.TensorMap(metatensor.Labels(["a", "b"], np.array(keys)), blocks))


def _xyz_of_ase(rng: Rng, path: Path) -> None:
    ase, ase_io = importlib.import_module("ase"), importlib.import_module("ase.io")
    frames = []
    periodic = rng.random() < 0.7
    for _ in range(int(rng.integers(1, 4))):
        count = int(rng.integers(1, 4))
        frame = ase.Atoms(numbers=rng.choice([1, 8], count), positions=rng.normal(size=(count, 3)))
        if periodic:
            frame.cell, frame.pbc = 5 * np.eye(3), True
            stress = rng.normal(size=(3, 3))
            frame.info["stress"] = stress + stress.T
        frame.info["energy"] = float(rng.normal())
        frame.info["dos"] = rng.uniform(size=POINTS)
        frame.info["dos_mask"] = rng.random(POINTS) < 0.5
        frame.info["label"] = "a text, with 'quotes'"
        frame.arrays["forces"] = rng.normal(size=(count, 3))
        frames.append(frame)
    ase_io.write(path, frames, format="extxyz")


def _hdf5_of_h5py(rng: Rng, path: Path) -> None:
    h5py = importlib.import_module("h5py")
    libver = "latest" if rng.random() < 0.4 else "earliest"
    with h5py.File(path, "w", libver=libver, userblock_size=512 if rng.random() < 0.2 else 0) as file:
        for key, array in _arrays(rng).items():
            name = key if "/" in key else f"{key}/values"
            filters = ({}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {"fletcher32": True})
            options: dict[str, Any] = filters[int(rng.integers(len(filters)))]
            file.create_dataset(name, data=array, chunks=True if options else None, **options)
        file.attrs["by"] = "hand"


def _zarr_of_zarr(rng: Rng, path: Path) -> None:
    zarr, codecs = importlib.import_module("zarr"), importlib.import_module("zarr.codecs")
    numcodecs = importlib.import_module("numcodecs")
    version = int(rng.choice([2, 3]))
    packings = {
        2: (None, numcodecs.Blosc("lz4"), numcodecs.Blosc("zstd", shuffle=2), numcodecs.LZ4(), numcodecs.GZip()),
        3: (None, codecs.BloscCodec(cname="lz4"), codecs.BloscCodec(cname="blosclz"), codecs.GzipCodec(), "auto"),
    }[version]
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    for key, array in _arrays(rng).items():
        name = key if "/" in key else f"{key}/values"
        chunks = tuple(max(1, n // 2) for n in array.shape)
        options: dict[str, Any] = {"chunks": chunks, "compressors": packings[int(rng.integers(len(packings)))]}
        if version == 3 and rng.random() < 0.3:
            options["shards"] = tuple(2 * n for n in chunks)
        root.create_array(name, shape=array.shape, dtype=array.dtype, **options)[...] = array


def _options(rng: Rng, path: Path) -> None:
    path.write_text(OPTIONS[int(rng.integers(len(OPTIONS)))], encoding="utf-8")


OPTIONS = (
    DEMO_OPTIONS,
    "loss:\n  energy: {type: mse, forces: huber}\n  a: &dos {type: masked_dos, weight: 1e-2}\n  b: *dos\n",
    "defaults: &a {type: mse, weight: 1}\nloss:\n  energy: {<<: *a, weight: 2}\n  x: {<<: [*a, *a]}\n",
    "loss: huber\ntraining_set:\n  systems: a.xyz\n  targets: {energy: {key: U0, forces: on, stress: {key: s}}}\n",
    # a text of 2^40 items, and one of 10^9: shared, each is built once
    "x: &l0 [1, 1]\n" + "".join(f"y{i}: &l{i + 1} [*l{i}, *l{i}]\n" for i in range(40)) + "loss: {energy: mse}\n",
    "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "loss: *i\n",
    "m0: &m0 {a: 1}\n" + "".join(f"m{i + 1}: &m{i + 1} {{<<: [*m{i}, *m{i}]}}\n" for i in range(30)) + "loss: *m30\n",
    "loss: &a {energy: *a}\n",
    "loss: " + "[" * 60 + "]" * 60 + "\n",
)

_GRADIENTS = {
    "positions": GradientSource("forces", "energy_forces"),
    "strain": GradientSource("stress", "energy_stress"),
}
NAMED = (
    Quantity("energy", "energy", per_atom=False, row=(1,), gradients=_GRADIENTS),
    *(Quantity(name, name, per_atom=False, row=(POINTS,)) for name in ("mtt::dos", "mtt::dos_mask")),
)
"""What options would say of the targets, for files that do not."""

KINDS = {
    "npz": Kind(".npz", (ours, _npz_of_numpy)),
    "npy folder": Kind("", (ours,)),
    "mts": Kind(".mts", (ours, _mts_of_metatensor)),
    "disk dataset": Kind(".zip", (ours,)),
    "memmap": Kind(".memmap", (ours,), NAMED),
    "extxyz": Kind(".xyz", (ours, _xyz_of_ase)),
    "HDF5": Kind(".h5", (ours, _hdf5_of_h5py)),
    "Zarr": Kind(".zarr", (ours, _zarr_of_zarr)),
    "options (YAML)": Kind(".yaml", (_options,)),
}
