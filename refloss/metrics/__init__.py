"""What else is asked of a density of states, beside its loss: distances, Fermi level, gap, heat capacity.

Densities are (B, N), a row a structure, or (N,) for one; in states/eV per cell, on a uniform grid of energies in eV.
Functions return (B,), or a float for one density. A figure that is undefined is NaN, and the docstring says when.

These are diagnostics in plain float64, good to some 1e-12 of the quantities that enter them, not golden figures.
"""

from __future__ import annotations

from refloss.metrics.comparison import DensityErrors, ElectronicErrors, compare, compare_electrons
from refloss.metrics.distances import (
    integrated_absolute_error,
    integrated_rmse,
    percent_rmse_integrated,
    percent_rmse_pointwise,
    r_squared,
    spectral_angle,
    wasserstein_distance,
)
from refloss.metrics.electrons import BOLTZMANN, band_gap, fermi_level, heat_capacity, number_of_electrons

__all__ = [
    "BOLTZMANN",
    "DensityErrors",
    "ElectronicErrors",
    "band_gap",
    "compare",
    "compare_electrons",
    "fermi_level",
    "heat_capacity",
    "integrated_absolute_error",
    "integrated_rmse",
    "number_of_electrons",
    "percent_rmse_integrated",
    "percent_rmse_pointwise",
    "r_squared",
    "spectral_angle",
    "wasserstein_distance",
]
