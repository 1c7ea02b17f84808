r"""What the electrons of a density of states do: Fermi level, gap, heat capacity.

A density g, (B, N) or (N,) in states/eV per cell, is taken to be linear between the points of its uniform grid of
energies, (N,) in eV, and zero outside. All integrals are of this function: exact at zero temperature, and to 1e-13 at
any other. With k Boltzmann's constant, f(x) = 1/(1 + exp x) and s(x) = −f'(x), the number of electrons at the chemical
potential μ and temperature T is

.. math:: n(\mu, T) = \int g(E) \, f\!\left(\frac{E - \mu}{kT}\right) dE = \int G(\mu + kTx) \, s(x) \, dx,
    \qquad G(E) = \int_{-\infty}^E g \, dE'

The second form, integrated by parts, holds at any temperature: s is smooth, and at zero temperature n = G(μ). A sum
over the grid's points, in the place of the integral, is right only where kT is not small beside the grid's step.

A density must be complete as far as its Fermi level and some tens of kT above it; where a mask says that it ends
before, these figures mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.errors import InputError
from refloss.results import Floats

BOLTZMANN: Final = 8.617333262e-5
"""Boltzmann's constant in eV/K (SI 2019: 1.380649e-23 J/K over 1.602176634e-19 J/eV)."""

SLACK: Final = 1e-12
"""By which part of the electrons their number may be off: within a gap it is the same, up to that, at many energies."""

_REACH: Final = 45
"""How many kT from μ an integral goes: s(45) is 3e-20."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@standard_arithmetic
def fermi_level(density: Any, electrons: Any, *, energy_grid: Any, temperature: float = 0.0) -> float | Floats:
    r"""Fermi level, or chemical potential: μ with n(μ, T) = `electrons`, in eV.

    Within a gap n hardly changes, and μ is the middle of where it differs from `electrons` by at most 1e-12 of them:
    the middle of the gap, at T = 0, and what that becomes as T rises. A prediction that is negative in places may have
    its electrons at several energies; it is then the middle of the lowest and the highest of them, at T = 0.

    Parameters
    ----------
    density : (B, N) or (N,) array
        g in states/eV. For weights that count both spins `electrons` is the number of electrons; see `refloss.spectra`.
    electrons : float or (B,) array
        How many there are, > 0 and fewer than the states on the grid.
    energy_grid : (N,) array
        The energies in eV, increasing and uniform.
    temperature : float
        T in K, ≥ 0.

    Returns
    -------
    float or (B,) array

    Raises
    ------
    InputError
        Arrays that are not finite or not of these shapes, a grid that is not uniform, a temperature < 0; a density that
        does not hold the electrons.

    References
    ----------
    N. W. Ashcroft, N. D. Mermin, Solid State Physics (1976), chapter 2 and equation 28.10.
    """
    return _each(lambda g, n: _level(g, n, temperature), density, electrons, energy_grid, temperature)


@standard_arithmetic
def number_of_electrons(density: Any, level: Any, *, energy_grid: Any, temperature: float = 0.0) -> float | Floats:
    r"""Return the number of electrons n(μ, T) at the Fermi level `level`: `fermi_level` the other way round.

    Parameters
    ----------
    density, energy_grid, temperature
        As `fermi_level`.
    level : float or (B,) array
        μ in eV.

    Returns
    -------
    float or (B,) array

    Raises
    ------
    InputError
        As `fermi_level`, but for the electrons.
    """
    return _each(lambda g, mu: g.electrons(mu, temperature), density, level, energy_grid, temperature, what="level")


@standard_arithmetic
def band_gap(density: Any, electrons: Any, *, energy_grid: Any, threshold: float) -> float | Floats:
    r"""Width in eV of the stretch around the Fermi level, at T = 0, in which the density stays below `threshold`.

    .. math:: \min \{E > \mu : g(E) \ge \vartheta\} - \max \{E < \mu : g(E) \ge \vartheta\}

    0 where :math:`g(\mu) \ge \vartheta`: a metal. A broadened density reaches into its gap from both sides, by some two
    or three times the broadening's width: compare gaps of densities of one broadening and at one threshold.

    Parameters
    ----------
    density, electrons, energy_grid
        As `fermi_level`.
    threshold : float
        ϑ in states/eV, > 0; for densities of cells of different size a multiple of their number of atoms.

    Returns
    -------
    float or (B,) array
        NaN where the density does not reach the threshold on one side, up to the grid's end.

    Raises
    ------
    InputError
        As `fermi_level`; a threshold that is not > 0.
    """
    arrays.finite_number("threshold", threshold, positive=True)
    return _each(lambda g, n: g.below(threshold, _level(g, n, 0.0)), density, electrons, energy_grid, 0.0)


@standard_arithmetic
def heat_capacity(density: Any, electrons: Any, *, energy_grid: Any, temperature: float) -> float | Floats:
    r"""Electronic heat capacity at constant volume and number of electrons, in eV/K per cell, of a density that stays.

    .. math:: C = \frac{d}{dT} \int E \, g \, f \, dE
        = k^2 T \left( \langle x^2 \rangle - \langle x \rangle^2 / \langle 1 \rangle \right), \qquad
        \langle x^n \rangle = \int g(\mu + kTx) \, x^n s(x) \, dx

    The second summand is the work of the chemical potential, which moves with T so that the electrons stay as many. For
    a density that is flat around μ it is Sommerfeld's :math:`\pi^2 k^2 T g(\mu) / 3`. States further than 45 kT from μ,
    of whose contribution less than 1e-16 k² T g is left, are not counted.

    Parameters
    ----------
    density, electrons, energy_grid
        As `fermi_level`.
    temperature : float
        T in K, > 0.

    Returns
    -------
    float or (B,) array
        Divided by `BOLTZMANN`, in k. NaN where negative densities around μ leave no ⟨1⟩ > 0.

    Raises
    ------
    InputError
        As `fermi_level`; a temperature that is not > 0.

    References
    ----------
    N. W. Ashcroft, N. D. Mermin, Solid State Physics (1976), chapter 2.
    """
    arrays.finite_number("temperature", temperature, positive=True)
    return _each(lambda g, n: _capacity(g, n, temperature), density, electrons, energy_grid, temperature)


@dataclass(frozen=True, eq=False)
class Density:
    """One density (N,), linear between points `step` apart from `first`, and its integral up to each point (N,)."""

    values: Floats
    first: float
    step: float
    integral: Floats

    @property
    def total(self) -> float:
        """How many states there are."""
        return float(self.integral[-1])

    def at(self, energies: Floats) -> Floats:
        """Return g, 0 outside the grid."""
        x, i, there = self._place(energies)
        return np.where(there, self.values[i] + (self.values[i + 1] - self.values[i]) * x, 0.0)

    def up_to(self, energies: Floats) -> Floats:
        """Return G: 0 below the grid, all states above it."""
        x, i, _ = self._place(energies)
        x = np.clip(x, 0.0, 1.0)
        half: Floats = 0.5 * (self.values[i + 1] - self.values[i]) * x
        states: Floats = self.integral[i] + self.step * x * (self.values[i] + half)
        return states

    def around(self, level: float, thermal: float) -> tuple[Floats, Floats]:
        """Return x and weights · s(x) by which a function of μ + kT x, smooth between points, is integrated."""
        last = self.values.size - 1
        ends = (np.array([-_REACH, _REACH]) * thermal + level - self.first) / self.step
        low, high = np.clip(np.ceil(ends[0]), 0, last), np.clip(np.floor(ends[1]), 0, last)
        points = self.first + self.step * np.arange(low, high + 1.0)
        inside = np.clip((points - level) / thermal, -_REACH, _REACH)
        edges = np.unique(np.concatenate([np.arange(-_REACH, _REACH + 1.0), inside]))
        half = 0.5 * np.diff(edges)[:, np.newaxis]
        x = (edges[:-1, np.newaxis] + half * (1.0 + _NODES)).ravel()
        return x, (half * _WEIGHTS).ravel() * (0.5 / np.cosh(0.5 * x)) ** 2

    def electrons(self, level: float, temperature: float) -> float:
        """Return n(μ, T)."""
        thermal = BOLTZMANN * temperature
        if thermal == 0.0:
            return float(self.up_to(np.array([level]))[0])
        x, weights = self.around(level, thermal)
        return float((weights * self.up_to(level + thermal * x)).sum())

    def holding(self, states: float, *, last: bool) -> float:
        """Return the lowest, or the highest, energy up to which there are so many states."""
        if last:
            i = int(np.flatnonzero(self.integral <= states)[-1])
            if i == self.values.size - 1:
                return self.first + self.step * i
        else:
            i = int(np.argmax(self.integral >= states)) - 1
        missing = states - self.integral[i]
        slope = (self.values[i + 1] - self.values[i]) / self.step
        root = np.sqrt(max(self.values[i] ** 2 + 2.0 * slope * missing, 0.0))
        # Of the two forms of the root the one whose denominator does not cancel.
        if self.values[i] >= 0.0:
            way = 2.0 * missing / (self.values[i] + root) if missing > 0.0 else 0.0
        else:
            way = (root - self.values[i]) / slope
        return float(self.first + self.step * i + min(way, self.step))

    def below(self, threshold: float, level: float) -> float:
        """Return the width of the stretch around `level` in which g is below `threshold`."""
        if self.at(np.array([level]))[0] >= threshold:
            return 0.0
        place = (level - self.first) / self.step
        points = np.arange(self.values.size)
        left = np.flatnonzero((self.values >= threshold) & (points <= place))
        right = np.flatnonzero((self.values >= threshold) & (points >= place))
        if not (left.size and right.size):
            return float("nan")
        a, b = int(left[-1]), int(right[0])
        low = a + (self.values[a] - threshold) / (self.values[a] - self.values[a + 1])
        high = b - (self.values[b] - threshold) / (self.values[b] - self.values[b - 1])
        return float((high - low) * self.step)

    def _place(self, energies: Floats) -> tuple[Floats, Any, Any]:
        """Return where in its interval an energy lies, from 0 to 1, which interval that is, and whether in the grid."""
        place = (energies - self.first) / self.step
        last = self.values.size - 2
        i = np.clip(np.floor(place), 0, last).astype(np.int64)
        return place - i, i, (place >= 0.0) & (place <= last + 1)


def _level(density: Density, electrons: float, temperature: float) -> float:
    few, many = electrons * (1.0 - SLACK), electrons * (1.0 + SLACK)
    if temperature == 0.0:
        return 0.5 * (density.holding(few, last=False) + density.holding(many, last=True))
    from scipy.optimize import brentq

    thermal = BOLTZMANN * temperature
    levels = []
    for wanted in (few, many):

        def excess(level: float, wanted: float = wanted) -> float:
            return density.electrons(level, temperature) - wanted

        low, high = density.first, density.first + density.step * (density.values.size - 1)
        while excess(low) > 0.0:
            low -= 10.0 * thermal
        while excess(high) < 0.0:
            high += 10.0 * thermal
        levels.append(float(brentq(excess, low, high, xtol=1e-13, rtol=4 * np.finfo(float).eps)))
    return 0.5 * (levels[0] + levels[1])


def _capacity(density: Density, electrons: float, temperature: float) -> float:
    level, thermal = _level(density, electrons, temperature), BOLTZMANN * temperature
    x, weights = density.around(level, thermal)
    weights = weights * density.at(level + thermal * x)
    ones, firsts, seconds = (float((weights * x**n).sum()) for n in range(3))
    if ones <= 0.0:
        return 0.0 if not weights.any() else float("nan")
    return BOLTZMANN * thermal * (seconds - firsts**2 / ones)


def _each(
    of_one: Callable[[Density, float], float],
    density: Any,
    numbers: Any,
    energy_grid: Any,
    temperature: float,
    *,
    what: str = "electrons",
) -> float | Floats:
    """Return the figure of each density, with the number that goes with it, or a float of the one that was given."""
    values = arrays.real_array("density", density)
    if values.ndim not in (1, 2):
        raise InputError(f"density: found {values.ndim} dimensions, shape {values.shape}, expected (B, N) or (N,)")
    grid = arrays.real_array("energy_grid", energy_grid, ndim=1)
    if grid.size != values.shape[-1]:
        raise InputError(f"energy_grid: found {grid.size} energies, expected {values.shape[-1]}, the points of density")
    step = arrays.uniform_step("energy_grid", grid)
    if arrays.finite_number("temperature", temperature) < 0.0:
        raise InputError(f"temperature: found {temperature!r}, expected a finite number ≥ 0")
    rows = np.atleast_2d(values)
    given = arrays.real_array(what, numbers)
    if given.ndim and given.shape != values.shape[:-1]:
        raise InputError(f"{what}: found shape {given.shape}, expected one number, or {values.shape[:-1]}")
    each = np.broadcast_to(given, rows.shape[:1])
    figures = np.empty(len(rows))
    for b, (row, number) in enumerate(zip(rows, each.tolist(), strict=True)):
        integral = np.concatenate([[0.0], np.cumsum(0.5 * step * (row[1:] + row[:-1]))])
        one = Density(row, float(grid[0]), step, integral)
        if what == "electrons" and not 0.0 < number * (1.0 + SLACK) < one.total:
            where = f", of structure {b}" if values.ndim == 2 else ""
            raise InputError(
                f"electrons: found {number!r}, expected more than 0 and fewer than the {one.total:.10g} states of the "
                f"density{where}"
            )
        figures[b] = of_one(one, number)
    return float(figures[0]) if values.ndim == 1 else figures
