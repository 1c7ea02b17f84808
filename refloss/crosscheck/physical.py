"""Densities of states of tight-binding crystals, and predictions such as a good and a bad model make of them.

Targets are on a grid of the energy step given, their masks end where some k-point has run out of bands. Units: eV,
states/eV per cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from refloss.crosscheck.adversarial import Kind, Rows, Sizes
from refloss.crosscheck.draws import Draws
from refloss.crosscheck.formats import Format
from refloss.crystals import CRYSTALS, SIMPLE_CUBIC
from refloss.results import Floats
from refloss.spectra import PET_MAD_DOS, WIDTH, EnergyGrid, confidence_mask, gaussian_dos

_STEP: Final = PET_MAD_DOS.step

# Its one band is folded: where there is no other, the mask ends below the states.
_CELLS: Final = tuple(crystal.repeated((2, 2, 2)) if crystal is SIMPLE_CUBIC else crystal for crystal in CRYSTALS)

_GRAIN: Final = 2.0**-20
"""What densities are rounded to, in states/eV: eigenvalues and exponentials differ between machines by some 1e-15."""


def spectra(model: Callable[[Draws, Floats, Floats], Floats]) -> Callable[[Draws, Sizes, Format], Rows]:
    """Return a builder of the densities of strained crystals, and of what `model` makes of them at some shift.

    `model` takes the density that a perfect model would predict, (N + E,), and that of another crystal.
    """

    def build(draw: Draws, sizes: Sizes, form: Format) -> Rows:
        structures, points, extra = sizes
        moved = draw.whole(structures, extra // 4, extra).tolist()
        spacing = 0.8 if points < 1000 else 0.4
        exact, targets, mask = [], [], []
        for b, shift in enumerate(moved):
            ideal = _CELLS[b % len(_CELLS)]
            free = np.array(ideal.periodic, dtype=np.float64)
            strain = draw.uniform((3, 3), -0.03, 0.03)
            crystal = ideal.strained((strain + strain.T) / 2.0 * np.outer(free, free))
            states, weights = crystal.spectrum(crystal.mesh(spacing))
            # The grid ends where there are states still, so that something lies behind the mask.
            middle = float(np.quantile(states, 0.7))
            start = PET_MAD_DOS.start if points >= PET_MAD_DOS.points else middle - 0.75 * _STEP * points
            grid = EnergyGrid(start, _STEP, points, extra)
            targets.append(gaussian_dos(states, weights, grid.targets))
            mask.append(confidence_mask(states, grid.targets))
            exact.append(gaussian_dos(states + _STEP * (shift - extra), weights, grid.predictions, 1.05 * WIDTH))
        found = [model(draw, own, exact[b - 1]) for b, own in enumerate(exact)]
        return Rows(_rounded(found), _rounded(targets), np.array(mask))

    return build


def _good(draw: Draws, own: Floats, other: Floats) -> Floats:
    """Return a density with errors of a percent that vary over half an eV."""
    return own * (1.0 + 0.01 * _slow(draw, own.size)) + 0.002 * _slow(draw, own.size)


def _bad(draw: Draws, own: Floats, other: Floats) -> Floats:
    """Return a density that is partly another crystal's, with noise from point to point."""
    return 0.6 * own + 0.4 * other + 0.1 * draw.normal(own.size)


def _slow(draw: Draws, points: int) -> Floats:
    knots = draw.normal(points // 10 + 2)
    return np.asarray(np.interp(np.arange(points) / 10.0, np.arange(knots.size), knots), dtype=np.float64)


def _rounded(rows: list[Floats]) -> Floats:
    return np.asarray(np.rint(np.array(rows) / _GRAIN) * _GRAIN, dtype=np.float64)


KINDS: Final[dict[str, Kind]] = {
    "good-model": Kind(spectra(_good), "crystals, predicted well at some shift", frozenset({"Physical"})),
    "bad-model": Kind(spectra(_bad), "crystals, predicted badly", frozenset({"Physical"})),
}
"""The kinds of inputs that are physical; their energy step is 0.05 eV."""
