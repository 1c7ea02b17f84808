"""Results to draw: generic ones, and one that looks like densities of states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import refloss
from refloss.results import AlignedResult, SectionResult


def generic(structures: int = 4, points: int = 40, extra: int = 7, seed: int = 5, **options: Any) -> AlignedResult:
    """Return a result on random numbers with unequal masks: nothing about it is round, sorted or symmetric."""
    rng = np.random.default_rng(seed)
    predictions = rng.normal(1.0, 1.0, (structures, points + extra))
    targets = rng.normal(1.0, 1.0, (structures, points))
    mask = rng.random((structures, points)) < np.linspace(0.35, 0.85, structures)[:, None]
    return refloss.masked_dos(predictions, targets, mask, **options)


def spectra(structures: int = 6, masked_out: int | None = None, **options: Any) -> AlignedResult:
    """Return smooth densities of states of 120 points, predicted with a ripple, each at another known shift.

    Of `masked_out`, where it is given, nothing counts.
    """
    points, extra = 120, 30
    energy = np.arange(points + extra) / (points + extra)
    shift = (7 * np.arange(structures) + 4) % extra
    height = 0.5 + np.arange(structures)[:, None] / structures
    peaks = np.exp(-(((energy - 0.3) / 0.05) ** 2)) + height * np.exp(-(((energy - 0.65) / 0.07) ** 2))
    ripple = 0.04 * np.sin(90 * energy) * np.sin(11 * height * energy)
    targets = np.stack([row[s : s + points] for row, s in zip(peaks, shift, strict=True)])
    mask = np.arange(points) < 85 + 11 * np.arange(structures)[:, None] % 31
    if masked_out is not None:
        mask[masked_out] = False
    grid = -4.3 + 0.05 * np.arange(points)
    return refloss.masked_dos(peaks + ripple, targets, mask, energy_grid=grid, **options)


def section(**options: Any) -> SectionResult:
    """Return energies, forces and stresses, and charges of which some are masked out; `options` are those of evaluate.

    Errors have long tails, as those of a model do.
    """
    losses = {
        "energy": {"type": "mse", "weight": 3.0, "forces": {"type": "huber", "delta": 0.4}, "stress": "mae"},
        "charge": {"type": "masked_huber", "reduction": "sum", "delta": 2.0},
    }
    rng = np.random.default_rng(3)
    shapes = {"values": (5, 1), "positions": (15, 3), "strain": (5, 3, 3)}
    targets = {
        "energy": {key: rng.normal(size=shape) for key, shape in shapes.items()},
        "charge": rng.normal(size=(15, 1)),
    }
    predictions = {
        "energy": {key: array + 0.4 * rng.standard_t(3, array.shape) for key, array in targets["energy"].items()},
        "charge": targets["charge"] + rng.standard_t(3, (15, 1)),
    }
    targets["energy"]["positions"][4, 1] = np.nan
    mask = {"charge_mask": rng.random((15, 1)) < 0.6}
    return refloss.load_options({"loss": losses}).evaluate(predictions, targets, mask, **options)


def coarse(path: Path) -> np.ndarray:
    """The picture in cells of 40 by 40 pixels: releases of matplotlib move words and edges by a pixel or two."""
    from matplotlib.image import imread

    image = imread(path)[..., :3]
    height, width = (size // 40 * 40 for size in image.shape[:2])
    return image[:height, :width].reshape(height // 40, 40, width // 40, 40, 3).mean(axis=(1, 3))
