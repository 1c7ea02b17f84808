"""The metrics of an aligned loss's result: each structure's target beside the window that its prediction has.

Energies are in eV, densities in states/eV per cell. The windows are not all made at once: a result holds thousands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.errors import InputError
from refloss.metrics import distances
from refloss.metrics import electrons as of_electrons
from refloss.parallel import for_range
from refloss.results import AlignedResult, Floats

_ROWS: Final = 16
"""Structures at a time, 0.6 MB an array of 4606 points: what is computed of them stays in a core's cache."""


@dataclass(frozen=True, eq=False)
class DensityErrors:
    """How far the aligned predictions are from their targets; NaN where a figure is undefined.

    Attributes
    ----------
    rmse : float
        Root of the mean over structures of the squares of `integrated_rmse`, in states/√eV.
    percent_rmse_integrated, percent_rmse_pointwise : float
        See the functions; of fewer than two structures NaN.
    integrated_absolute_error, integrated_rmse, wasserstein_distance, spectral_angle, r_squared : (B,) array
        See the functions: in states, states/√eV, eV, radians, and a pure number.
    """

    rmse: float
    percent_rmse_integrated: float
    percent_rmse_pointwise: float
    integrated_absolute_error: Floats
    integrated_rmse: Floats
    wasserstein_distance: Floats
    spectral_angle: Floats
    r_squared: Floats


@dataclass(frozen=True, eq=False)
class ElectronicErrors:
    """Of each structure the aligned prediction's figure minus the target's, (B,); NaN where one is undefined.

    Attributes
    ----------
    fermi_level : (B,) array
        In eV, at the temperature.
    band_gap : (B,) array
        In eV, at the threshold.
    heat_capacity : (B,) array
        In eV/K per cell, at the temperature.
    """

    fermi_level: Floats
    band_gap: Floats
    heat_capacity: Floats


@standard_arithmetic
def compare(result: AlignedResult) -> DensityErrors:
    """Return how far the aligned predictions of a result are from their targets, where the masks count.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.

    Returns
    -------
    DensityErrors
        A figure beyond the largest float64 is infinite in it.
    """
    exponent = distances.scale_of(max(arrays.largest(result.predictions), arrays.largest(result.targets)))
    if exponent:  # what does not count may be of another scale
        counted = (
            np.where(
                result.mask[start : start + _ROWS], np.array([windows, result.targets[start : start + _ROWS]]), 0.0
            )
            for start, windows in _windows(result)
        )
        exponent = distances.scale_of(max(map(arrays.largest, counted)))

    def pair_of(first: int) -> distances.Pair:
        rows = slice(first, first + _ROWS)
        windows = _windows_from(result, first)
        return distances.pair(windows, result.targets[rows], result.mask[rows], result.energy_step, exponent)

    def blocks() -> Iterator[distances.Pair]:
        return map(pair_of, range(0, result.shift.size, _ROWS))

    figures = (
        distances.absolute_error,
        distances.root_square_error,
        distances.earth_movers,
        distances.angle,
        distances.determination,
    )
    columns = np.empty((len(figures), result.shift.size))

    def fill(start: int, stop: int) -> None:
        for block in range(start, stop):
            rows = slice(block * _ROWS, (block + 1) * _ROWS)
            of = pair_of(rows.start)
            columns[:, rows] = [figure(of) for figure in figures]

    for_range(fill, math.ceil(result.shift.size / _ROWS))
    spread = distances.spread_over(blocks) if result.shift.size > 1 else None
    return DensityErrors(
        math.hypot(*columns[1].tolist()) / math.sqrt(result.shift.size),
        spread.percent_integrated() if spread else float("nan"),
        spread.percent_pointwise() if spread else float("nan"),
        *columns,
    )


@standard_arithmetic
def compare_electrons(
    result: AlignedResult, electrons: Any, *, temperature: float = 300.0, threshold: float
) -> ElectronicErrors:
    """Return by how much Fermi level, gap and heat capacity of the aligned predictions are too large.

    Both densities are taken to be zero where the mask does not count. The origin of the energies does not matter.

    Parameters
    ----------
    result : AlignedResult
        What `refloss.masked_dos` or `refloss.shift_agnostic_mse` returned.
    electrons : float or (B,) array
        How many electrons each structure has, > 0.
    temperature : float
        In K, > 0.
    threshold : float
        For `band_gap`, in states/eV, > 0.

    Returns
    -------
    ElectronicErrors
        NaN where a density holds fewer states than electrons.

    Raises
    ------
    InputError
        As `fermi_level`, `band_gap` and `heat_capacity`.
    """
    count = arrays.real_array("electrons", electrons)
    if count.ndim and count.shape != result.shift.shape:
        raise InputError(f"electrons: found shape {count.shape}, expected one number, or {result.shift.shape}")
    count = np.broadcast_to(count, result.shift.shape)
    if (count <= 0.0).any():
        raise InputError(f"electrons: found {float(count.min())!r}, expected numbers > 0")
    points = result.targets.shape[1]
    grid = result.energy_step * np.arange(points) if result.energy_grid is None else result.energy_grid
    errors = np.full((3, result.shift.size), np.nan)
    for start, windows in _windows(result):
        for b, window in enumerate(windows, start):
            both = np.where(result.mask[b], np.array([window, result.targets[b]]), 0.0)
            if (np.trapezoid(both, dx=result.energy_step) * (1.0 - 1e-9) <= count[b]).any():
                continue
            n, axis = float(count[b]), {"energy_grid": grid}
            figures = (
                of_electrons.fermi_level(both, n, **axis, temperature=temperature),
                of_electrons.band_gap(both, n, **axis, threshold=threshold),
                of_electrons.heat_capacity(both, n, **axis, temperature=temperature),
            )
            errors[:, b] = [predicted - wanted for predicted, wanted in map(np.asarray, figures)]
    return ElectronicErrors(*errors)


def _windows(result: AlignedResult) -> Iterator[tuple[int, Floats]]:
    """Yield some structures at a time: the first's number and their windows."""
    for first in range(0, result.shift.size, _ROWS):
        yield first, _windows_from(result, first)


def _windows_from(result: AlignedResult, first: int) -> Floats:
    """Return the windows of some structures, with zeros where they reach into padding."""
    points, width = result.targets.shape[1], result.predictions.shape[1]
    starts = (result.shift[first : first + _ROWS] - result.padding).tolist()
    windows = np.zeros((len(starts), points))
    for row, prediction, start in zip(windows, result.predictions[first : first + _ROWS], starts, strict=True):
        low, high = max(start, 0), min(start + points, width)
        if low < high:
            row[low - start : high - start] = prediction[low:high]
    return windows
