"""Volumes of cells, in Å³, each the exact one rounded once: what stresses are multiplied by."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from refloss.errors import InputError
from refloss.results import Floats


def volume(where: str, cell: Floats) -> float:
    """Return the volume of a (3, 3) cell, a row a lattice vector; 0 where the vectors lie in a plane.

    Raises
    ------
    InputError
        float64 does not hold it.
    """
    if not cell.any():
        return 0.0
    (a, b, c), (d, e, f), (g, h, i) = ([Fraction(x) for x in row] for row in cell.tolist())
    exact = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    try:
        return float(exact)
    except OverflowError as error:
        raise InputError(f"{where}: found the cell {cell.tolist()}, expected a volume that float64 holds") from error


def volumes(where: str, cells: Floats) -> Floats:
    """Return the (B,) volumes of (B, 3, 3) cells; `where` begins the message of one that float64 does not hold."""
    found = np.asarray(cells, dtype=np.float64)
    return np.array([volume(f"{where}: structure {i}", cell) for i, cell in enumerate(found)], dtype=np.float64)
