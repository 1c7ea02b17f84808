"""Results to draw: generic ones, and one that looks like densities of states."""

from __future__ import annotations

from typing import Any

import numpy as np

import refloss
from refloss.results import AlignedResult


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
