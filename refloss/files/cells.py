"""Volumes of cells, in Å³, each the exact one rounded once: what stresses are multiplied by."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from refloss.results import Floats


def volume(cell: Floats) -> float:
    """Return the volume of a (3, 3) cell, a row a lattice vector; 0 where the vectors lie in a plane."""
    if not cell.any():
        return 0.0
    (a, b, c), (d, e, f), (g, h, i) = ([Fraction(x) for x in row] for row in cell.tolist())
    return float(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))


def volumes(cells: Floats) -> Floats:
    """Return the (B,) volumes of (B, 3, 3) cells."""
    return np.array([volume(cell) for cell in np.asarray(cells, dtype=np.float64)], dtype=np.float64)
