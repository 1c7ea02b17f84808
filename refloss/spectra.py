"""From eigenvalues to what `masked_dos` compares: energy grids, densities of states, confidence masks.

Energies are in eV, densities in states/eV per cell. `eigenvalues` has shape (K, bands), one row per k-point of the
irreducible set; `k_weights` has shape (K,) and is used as given, so that weights that sum to 2, as plane-wave codes
write them for a spin-paired calculation, count every band twice. (docs/specification.md, section 7.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from refloss.arrays import finite_number, real_array, whole_number
from refloss.errors import InputError
from refloss.results import Booleans, Floats


@dataclass(frozen=True)
class EnergyGrid:
    """The uniform energies of a set of targets, and of predictions that begin `extra` points lower.

    Parameters
    ----------
    start : float
        The first energy of the targets in eV.
    step : float
        The energy step in eV, > 0.
    points : int
        How many points a target has, N.
    extra : int
        How many points a prediction has below those of the target, E.

    Raises
    ------
    InputError
        A number is not finite, the step is not > 0, or there are fewer than 2 points.
    """

    start: float
    step: float
    points: int
    extra: int = 0

    def __post_init__(self) -> None:
        finite_number("start", self.start)
        finite_number("step", self.step, positive=True)
        whole_number("extra", self.extra)
        if whole_number("points", self.points) < 2:
            raise InputError(f"points: found {self.points}, expected at least 2")

    @property
    def targets(self) -> Floats:
        """The energies of the targets, (N,); bit for bit the last N of those of the predictions."""
        return self.start + self.step * np.arange(self.points, dtype=np.float64)

    @property
    def predictions(self) -> Floats:
        """The energies of the predictions, (N + E,)."""
        return self.start + self.step * np.arange(-self.extra, self.points, dtype=np.float64)


PET_MAD_DOS: Final = EnergyGrid(start=-149.6456, step=0.05, points=4606, extra=200)
"""The grid of PET-MAD-DOS: 4606 target points from −149.6456 eV, 4806 prediction points from −159.6456 eV."""

WIDTH: Final = 0.3
"""The Gaussian broadening of PET-MAD-DOS in eV (a standard deviation)."""

MARGIN: Final = 0.9
"""How far below the highest band the PET-MAD-DOS mask ends, in eV: three widths."""


def gaussian_dos(eigenvalues: Any, k_weights: Any, energies: Any, width: float = WIDTH) -> Floats:
    r"""Return the Gaussian-broadened density of states at `energies`.

    .. math:: g(E) = \sum_k \sum_n w_k \frac{\exp(-(E - \epsilon_{kn})^2 / (2 \sigma^2))}{\sigma \sqrt{2 \pi}}

    Parameters
    ----------
    eigenvalues : array_like, (K, bands)
        Band energies in eV; the bands may come in any order.
    k_weights : array_like, (K,)
        The weight of each k-point, used as given.
    energies : array_like, (N,)
        Where to evaluate the density, in eV; any order, any spacing.
    width : float
        The standard deviation σ of the broadening in eV, > 0.

    Returns
    -------
    ndarray, (N,)
        States/eV per cell, to 1e-13 relative to the largest value returned. (Weights of one sign are assumed, and
        energies that come within 15 widths of a state: further out the exponential magnifies the rounding of its
        argument.)

    Raises
    ------
    InputError
        An argument is not a finite real array of its shape, the numbers of k-points differ, the width is not > 0, or
        the density overflows.

    Notes
    -----
    States further than c widths from an energy are left out there, which changes the density by at most
    exp(−c²/2) Σ|w| bands / (σ √(2π)). With c = 9 that is 2.6e-18 of what the density would be if all states had the
    same energy; when it is not also below 1e-16 of the largest density found, because the energies miss the states
    or the states are spread over very many widths, c = 39 is taken, where exp(−c²/2) is 0 in float64.

    References
    ----------
    docs/specification.md, section 7.
    """
    states = real_array("eigenvalues", eigenvalues, ndim=2)
    weights = _weights(k_weights, states)
    grid = real_array("energies", energies, ndim=1)
    width = finite_number("width", width, positive=True)

    order = np.argsort(states, axis=None, kind="stable")
    sorted_states = states.reshape(-1)[order]
    sorted_weights = np.repeat(weights, states.shape[1])[order]
    with np.errstate(over="ignore", invalid="ignore"):
        height = 1.0 / width / math.sqrt(2.0 * math.pi)
        every_state = float(np.abs(sorted_weights).sum())
        for reach in _REACHES:
            sums = _broadened(sorted_states, sorted_weights, grid, width, reach)
            if math.exp(-0.5 * reach * reach) * every_state <= 1e-16 * float(np.abs(sums).max()):
                break
        density = height * sums
    if not np.isfinite(density).all():
        raise InputError(
            f"k_weights, width: found a density that overflows float64 (largest weight "
            f"{float(np.abs(weights).max())!r}, width {width!r}), expected finite densities"
        )
    return density


def confidence_mask(eigenvalues: Any, energies: Any, margin: float = MARGIN) -> Booleans:
    """Return where a density of states is complete: E ≤ min over k of the highest band − margin.

    Above that energy some k-point has run out of bands, and the density is too low by an unknown amount.

    Parameters
    ----------
    eigenvalues : array_like, (K, bands)
        Band energies in eV; the bands may come in any order.
    energies : array_like, (N,)
        The energies of the density in eV.
    margin : float
        How far below the highest complete energy the mask ends, in eV; three broadening widths keep the tails of the
        missing bands out.

    Returns
    -------
    ndarray of bool, (N,)

    Raises
    ------
    InputError
        An argument is not a finite real array of its shape.

    References
    ----------
    docs/specification.md, section 7.
    """
    states = real_array("eigenvalues", eigenvalues, ndim=2)
    grid = real_array("energies", energies, ndim=1)
    limit = states.max(axis=1).min() - finite_number("margin", margin)
    return np.asarray(grid <= limit, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The bands of one structure as a set of states: k-points may have different numbers of them, and two spins.

    Attributes
    ----------
    states : (S,) float64
        All band energies in eV, k-point after k-point, the second spin after the first.
    weights : (S,) float64
        The weight of the k-point of each.
    tops : (K,) or (2K,) float64
        The highest band of each k-point, of each spin.
    k_points, spins : int
    fewest, most : int
        Bands at one k-point, of one spin.
    occupation : float
        The sum of the k-weights over k-points and spins: what one band adds to the number of states. 2 where every
        electron is counted once.
    """

    states: Floats
    weights: Floats
    tops: Floats
    k_points: int
    spins: int
    fewest: int
    most: int
    occupation: float

    def dos(self, energies: Any, width: float = WIDTH) -> Floats:
        """Return the density of states; see `gaussian_dos`."""
        return gaussian_dos(self.states[:, np.newaxis], self.weights, energies, width)

    def mask(self, energies: Any, margin: float = MARGIN) -> Booleans:
        """Return where every k-point of every spin still has bands; see `confidence_mask`."""
        return confidence_mask(self.tops[:, np.newaxis], energies, margin)

    def scaled(self, occupation: float) -> Spectrum:
        """Return the same bands with k-weights of another sum; see `occupation`."""
        if not self.occupation > 0.0:
            raise InputError(f"k_weights: found the sum {self.occupation!r}, expected one > 0, to be scaled")
        factor = finite_number("occupation", occupation, positive=True) / self.occupation
        return replace(self, weights=self.weights * factor, occupation=occupation)


def spectrum(eigenvalues: Any, k_weights: Any) -> Spectrum:
    """Return the spectrum of one structure.

    Parameters
    ----------
    eigenvalues : array_like or nested lists
        In eV: (K, bands), (2, K, bands) with two spins, or (bands,) with one k-point; in lists, k-points and spins may
        have different numbers of bands.
    k_weights : array_like, (K,) or (2, K)
        Used as given. Both spins have the same where there is one row: weights that sum to 1 then count each state
        once.

    Raises
    ------
    InputError
        Not finite, not of these shapes, k-points without a band, weights of other k-points.
    """
    channels = _channels(eigenvalues)
    counts = sorted({len(rows) for rows in channels})
    if len(counts) > 1:
        raise InputError(f"eigenvalues: found {counts[0]} and {counts[1]} k-points of two spins, expected as many")
    weights = real_array("k_weights", k_weights)
    if weights.shape not in ((counts[0],), (len(channels), counts[0])):
        expected = f"{(counts[0],)}, one per k-point" + (f", or {(2, counts[0])}" if len(channels) == 2 else "")
        raise InputError(f"k_weights: found shape {weights.shape}, expected {expected} of the eigenvalues")
    rows = [row for channel in channels for row in channel]
    bands = [row.size for row in rows]
    of_rows = np.broadcast_to(weights, (len(channels), counts[0])).ravel()
    return Spectrum(
        states=np.concatenate(rows),
        weights=np.repeat(of_rows, bands),
        tops=np.array([row.max() for row in rows]),
        k_points=counts[0],
        spins=len(channels),
        fewest=min(bands),
        most=max(bands),
        occupation=math.fsum(of_rows.tolist()),
    )


def _channels(eigenvalues: Any) -> list[list[Floats]]:
    """Return the bands by spin and k-point."""
    depth, first = 0, eigenvalues
    while isinstance(first, list | tuple) and len(first):
        depth, first = depth + 1, first[0]
    if depth < 2 or hasattr(first, "ndim"):  # an array, or what is no list of k-points
        array = real_array("eigenvalues", eigenvalues)
        if array.ndim not in (1, 2, 3) or (array.ndim == 3 and len(array) not in (1, 2)):
            raise _bad_shape(f"shape {array.shape}")
        return [list(channel) for channel in array.reshape((1,) * (3 - array.ndim) + array.shape)]
    channels = eigenvalues if depth == 3 else [eigenvalues]
    if depth > 3 or len(channels) > 2 or not all(isinstance(rows, list | tuple) and rows for rows in channels):
        raise _bad_shape(f"{len(eigenvalues)} lists, {depth} deep")
    return [[real_array(f"eigenvalues of k-point {k}", row, ndim=1) for k, row in enumerate(rows)] for rows in channels]


def _bad_shape(found: str) -> InputError:
    return InputError(f"eigenvalues: found {found}, expected (k-points, bands) or (2 spins, k-points, bands)")


_REACHES: Final = (9.0, 39.0)
"""The cutoffs in widths, tried in turn."""


def _weights(k_weights: Any, states: Floats) -> Floats:
    weights = real_array("k_weights", k_weights, ndim=1)
    if weights.shape[0] != states.shape[0]:
        raise InputError(
            f"k_weights: found {weights.shape[0]} weights for eigenvalues of shape {states.shape}, "
            f"expected {states.shape[0]}, one per k-point (eigenvalues are (k-points, bands))"
        )
    return weights


def _broadened(states: Floats, weights: Floats, grid: Floats, width: float, reach: float) -> Floats:
    """Sum w · exp(−z²/2) over the states within `reach` widths of each energy; `states` increase.

    Each energy's states lie side by side, so NumPy's pairwise summation applies: its error grows with the logarithm
    of their number, where adding states to a density one after another loses three digits on a dense k-mesh.
    """
    first = np.searchsorted(states, grid - reach * width, side="left").tolist()
    last = np.searchsorted(states, grid + reach * width, side="right").tolist()
    sums = np.zeros(grid.shape[0])
    for i, energy in enumerate(grid.tolist()):
        a, b = first[i], last[i]
        if a < b:
            z = (energy - states[a:b]) / width
            sums[i] = (weights[a:b] * np.exp(-0.5 * (z * z))).sum()
    return sums
