"""Four tight-binding crystals with published parameters: real eigenvalues for demos, tests and teaching.

`SILICON` and `GALLIUM_ARSENIDE` (sp3s*), `GRAPHENE` (π bands with overlap) and `SIMPLE_CUBIC` (one s band, whose
moments are known in closed form), all with nearest neighbours only. Any of them can be strained, repeated and rattled;
the bonds stay those of the ideal crystal. A hopping between two atoms at distance d is the published one times
(d₀/d)², Harrison's rule for s and p orbitals, turned into the bond's direction by the table of Slater and Koster; the
on-site energies stay as they are.

Lengths in Å, energies in eV, force constants in N/m. Lattice vectors are rows; strains are tensors ε, (3, 3), that
take every vector v to (1 + ε) v. k-points are fractions of the reciprocal lattice vectors, so that a strained or
rotated crystal has the same ones. The k-weights sum to 2, one for each spin.

References
----------
P. Vogl, H. P. Hjalmarson, J. D. Dow, J. Phys. Chem. Solids 44, 365 (1983), table 1: Si and GaAs.
R. Saito, G. Dresselhaus, M. S. Dresselhaus, Physical Properties of Carbon Nanotubes (1998), section 2.3: graphene.
W. A. Harrison, Electronic Structure and the Properties of Solids (1980), chapter 2: hopping ∝ d⁻².
S. Froyen, W. A. Harrison, Phys. Rev. B 20, 2420 (1979): the same rule from the free-electron bands.
J. C. Slater, G. F. Koster, Phys. Rev. 94, 1498 (1954): hopping by direction.
P. N. Keating, Phys. Rev. 145, 637 (1966): the elastic energy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refloss.arrays import finite_number, real_array, require_same_shape, whole_number
from refloss.errors import InputError
from refloss.results import Floats

Integers = NDArray[np.int64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True)
class Hopping:
    """Two-centre integrals in eV from the first atom of a bond to the second, at the bond's rest length.

    `sp` is from s of the first atom to p of the second, `ps` from p of the first to s of the second, both as the
    positive numbers of the tables. One orbital per atom uses `ss` alone. `overlap` is that of the same pair, 0 where
    the orbitals are orthogonal; it is scaled with distance as the hopping is, as the two are proportional in extended
    Hückel theory.
    """

    ss: float
    sp: float = 0.0
    ps: float = 0.0
    excited_sp: float = 0.0
    ps_excited: float = 0.0
    pp_sigma: float = 0.0
    pp_pi: float = 0.0
    overlap: float = 0.0

    def blocks(self, vectors: Floats, rest: Floats, orbitals: int) -> Floats:
        """Return the hopping matrices (bonds, orbitals, orbitals) of bonds `vectors`; orbitals s, x, y, z, s*."""
        lengths = np.linalg.norm(vectors, axis=1)
        u = vectors / lengths[:, None]
        blocks = np.zeros((len(vectors), 5, 5))
        blocks[:, 0, 0] = self.ss
        blocks[:, 0, 1:4] = self.sp * u
        blocks[:, 1:4, 0] = -self.ps * u
        blocks[:, 4, 1:4] = self.excited_sp * u
        blocks[:, 1:4, 4] = -self.ps_excited * u
        blocks[:, 1:4, 1:4] = self.pp_pi * np.eye(3)
        blocks[:, 1:4, 1:4] += (self.pp_sigma - self.pp_pi) * u[:, :, None] * u[:, None, :]
        scale = (np.linalg.norm(rest, axis=1) / lengths) ** 2
        scaled: Floats = blocks[:, :orbitals, :orbitals] * scale[:, None, None]
        return scaled


class Elastic(NamedTuple):
    """The elastic energy of a crystal and its derivatives."""

    energy: float
    """eV per cell, 0 for the ideal crystal."""
    forces: Floats
    """(atoms, 3), −dE/d position in eV/Å."""
    strain_gradient: Floats
    """(3, 3), dE/dε in eV, symmetric; divided by the volume it is the stress."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal, its bonds, and the parameters that give its bands and its elastic energy.

    Parameters
    ----------
    name : str
        What it is called.
    species : tuple of str
        The element of each atom.
    lattice : ndarray, (3, 3)
        Lattice vectors, one a row, in Å.
    positions : ndarray, (atoms, 3)
        In Å.
    periodic : tuple of bool
        Along which lattice vectors it repeats; not along that of a sheet's vacuum.
    pairs, images : ndarray of int, (bonds, 2) and (bonds, 3)
        Bond m goes from atom ``pairs[m, 0]`` to atom ``pairs[m, 1]`` of the cell at ``images[m]``; each is listed once.
    rest : ndarray, (bonds, 3)
        The bonds of the ideal crystal in Å.
    onsite : mapping
        The orbital energies of each element in eV.
    hopping : Hopping
    stretching, bending : float
        Keating's α and β in N/m.
    """

    name: str
    species: tuple[str, ...]
    lattice: Floats
    positions: Floats
    periodic: tuple[bool, bool, bool]
    pairs: Integers
    images: Integers
    rest: Floats
    onsite: Mapping[str, tuple[float, ...]]
    hopping: Hopping
    stretching: float
    bending: float

    @property
    def formula(self) -> str:
        """The atoms of the cell, elements in alphabetical order."""
        return "".join(f"{element}{self.species.count(element)}" for element in sorted(set(self.species)))

    @property
    def volume(self) -> float:
        """The cell's volume in Å³ (for a sheet: with its vacuum)."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def bonds(self) -> Floats:
        """The bond vectors as they are now, (bonds, 3), in Å."""
        first, second = self.pairs.T
        vectors: Floats = self.positions[second] + self.images @ self.lattice - self.positions[first]
        return vectors

    def strained(self, strain: Any) -> Crystal:
        """Return the crystal with every vector v taken to (1 + ε) v; atoms do not relax inside the cell.

        A rotation R is the strain R − 1.
        """
        strain = real_array("strain", strain, ndim=2)
        if strain.shape != (3, 3):
            raise InputError(f"strain: found shape {strain.shape}, expected (3, 3)")
        deformation = np.eye(3) + strain
        if not np.linalg.det(deformation) > 0:
            raise InputError(f"strain: found det(1 + strain) = {np.linalg.det(deformation)}, expected > 0")
        return replace(self, lattice=self.lattice @ deformation.T, positions=self.positions @ deformation.T)

    def displaced(self, displacements: Any) -> Crystal:
        """Return the crystal with each atom moved by its row of `displacements`, (atoms, 3), in Å."""
        moved = real_array("displacements", displacements, ndim=2)
        require_same_shape("displacements", moved.shape, "positions", self.positions.shape)
        return replace(self, positions=self.positions + moved)

    def repeated(self, repeats: Sequence[int]) -> Crystal:
        """Return the same crystal in a cell of repeats[0] × repeats[1] × repeats[2] of this one's."""
        counts = _three_counts("repeats", repeats)
        cells = np.array(list(itertools.product(*map(range, counts))), dtype=np.int64)
        atoms, origin = len(self.species), np.arange(len(cells))
        neighbours = cells[:, None, :] + self.images[None, :, :]
        home = np.ravel_multi_index(tuple(np.moveaxis(neighbours % counts, -1, 0)), counts)
        first = origin[:, None] * atoms + self.pairs[None, :, 0]
        second = home * atoms + self.pairs[None, :, 1]
        return replace(
            self,
            species=self.species * len(cells),
            lattice=self.lattice * np.array(counts)[:, None],
            positions=((cells @ self.lattice)[:, None, :] + self.positions[None, :, :]).reshape(-1, 3),
            pairs=np.stack([first.reshape(-1), second.reshape(-1)], axis=1),
            images=(neighbours // counts).reshape(-1, 3),
            rest=np.tile(self.rest, (len(cells), 1)),
        )

    def bands(self, kpoints: Any) -> Floats:
        """Return the band energies (K, bands) in eV, increasing, at `kpoints`, (K, 3), fractions.

        Solves H c = E S c with H(k) = Σ over bonds of its block · exp(2πi k·image), plus the on-site energies.
        """
        fractions = real_array("kpoints", kpoints, ndim=2)
        if fractions.shape[1] != 3:
            raise InputError(f"kpoints: found shape {fractions.shape}, expected (K, 3)")
        energies = [self.onsite[element] for element in self.species]
        blocks = self.hopping.blocks(self.bonds, self.rest, len(energies[0]))
        phases = np.exp(2j * np.pi * (fractions @ self.images.T))
        hamiltonian = self._bloch_sum(blocks, phases) + np.diag(np.concatenate(energies))
        if self.hopping.overlap:
            # The overlap is the hopping's shape with another number: only crystals of one orbital per atom have one.
            overlaps = blocks * (self.hopping.overlap / self.hopping.ss)
            overlap = self._bloch_sum(overlaps, phases) + np.eye(hamiltonian.shape[-1])
            inverse = np.linalg.inv(np.linalg.cholesky(overlap))
            hamiltonian = inverse @ hamiltonian @ inverse.conj().swapaxes(1, 2)
        bands: Floats = np.linalg.eigvalsh(hamiltonian)
        return bands

    def mesh(self, spacing: float = 0.2) -> tuple[int, int, int]:
        """Return the coarsest uniform mesh whose k-points lie at most `spacing` (1/Å, with 2π) apart; 1 in vacuum."""
        spacing = finite_number("spacing", spacing, positive=True)
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(self.lattice), axis=0)
        a, b, c = (
            math.ceil(length / spacing) if repeats else 1
            for length, repeats in zip(lengths.tolist(), self.periodic, strict=True)
        )
        return a, b, c

    def spectrum(self, mesh: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the eigenvalues (K, bands) in eV and the k-weights (K,) of `uniform_mesh(mesh)`."""
        kpoints, weights = uniform_mesh(mesh)
        return self.bands(kpoints), weights

    def elastic(self) -> Elastic:
        r"""Return Keating's elastic energy with its forces and strain gradient.

        .. math:: E = \frac{3}{8} \Big[ \sum_{bonds} \frac{\alpha}{d^2} (r \cdot r - d^2)^2 + \sum_{angles}
            \frac{\beta}{d^2} (r \cdot r' - r_0 \cdot r_0')^2 \Big]

        with r the bonds, r₀ those of the ideal crystal, d their length, and an angle for each two bonds of an atom.
        """
        bonds, rest = self.bonds, self.rest
        ends = [(atom, m, sign) for side, sign in ((0, 1.0), (1, -1.0)) for m, atom in enumerate(self.pairs[:, side])]
        angles = [(a, b) for a, b in itertools.combinations(ends, 2) if a[0] == b[0]]
        # A stretched bond is the "angle" of a bond with itself.
        one = np.array([*range(len(bonds)), *(a[1] for a, _ in angles)])
        two = np.array([*range(len(bonds)), *(b[1] for _, b in angles)])
        signs = np.array([1.0] * len(bonds) + [a[2] * b[2] for a, b in angles])
        constants = np.repeat([self.stretching, self.bending], [len(bonds), len(angles)]) * _EV_PER_SQUARE_ANGSTROM
        lengths = np.linalg.norm(rest, axis=1)
        stiffness = 0.375 * constants / (lengths[one] * lengths[two])
        change = signs * (np.sum(bonds[one] * bonds[two], axis=1) - np.sum(rest[one] * rest[two], axis=1))

        pull = (2.0 * stiffness * change * signs)[:, None]
        by_bond = np.zeros_like(bonds)
        np.add.at(by_bond, one, pull * bonds[two])
        np.add.at(by_bond, two, pull * bonds[one])
        forces = np.zeros_like(self.positions)
        np.add.at(forces, self.pairs[:, 0], by_bond)
        np.add.at(forces, self.pairs[:, 1], -by_bond)
        return Elastic(float(np.sum(stiffness * change**2)), forces, by_bond.T @ bonds)

    def _bloch_sum(self, blocks: Floats, phases: Complexes) -> Complexes:
        """Return Σ over bonds of block · phase, plus its Hermitian conjugate, as (K, bands, bands)."""
        atoms, orbitals = len(self.species), blocks.shape[-1]
        half = np.zeros((len(phases), atoms, orbitals, atoms, orbitals), dtype=np.complex128)
        for m, (first, second) in enumerate(self.pairs.tolist()):
            half[:, first, :, second, :] += phases[:, m, None, None] * blocks[m]
        matrix = half.reshape(len(phases), atoms * orbitals, atoms * orbitals)
        return matrix + matrix.conj().swapaxes(1, 2)


def uniform_mesh(mesh: Sequence[int]) -> tuple[Floats, Floats]:
    """Return k-points (K, 3) and weights (K,) of the uniform mesh through Γ, one of each pair k, −k kept.

    Time reversal makes the bands of k and −k equal; the one that stays has both weights. The weights sum to 2.
    """
    counts = _three_counts("mesh", mesh)
    points = np.array(list(itertools.product(*map(range, counts))), dtype=np.int64)
    opposite = np.ravel_multi_index(tuple((-points % counts).T), counts)
    kept = np.arange(len(points)) <= opposite
    weights = np.where(np.arange(len(points)) == opposite, 2.0, 4.0)[kept] / len(points)
    return points[kept] / np.array(counts), weights


def data_set(count: int = 24, seed: int = 0) -> Iterator[Crystal]:
    """Yield `count` different crystals, the four in turn: repeated, strained by up to 3 % and rattled by some 0.03 Å.

    The same `count` and `seed` give the same crystals. Sheets are strained and rattled in their plane.
    """
    rng = np.random.default_rng(seed)
    for i in range(whole_number("count", count)):
        ideal, cells = _CELLS[i % len(_CELLS)]
        free = np.array(ideal.periodic, dtype=np.float64)
        crystal = ideal.repeated(cells[i // len(_CELLS) % len(cells)])
        strain = rng.uniform(-0.03, 0.03, (3, 3))
        rattle = rng.normal(0.0, 0.03, crystal.positions.shape)
        yield crystal.strained((strain + strain.T) / 2 * np.outer(free, free)).displaced(rattle * free)


def _three_counts(name: str, value: Sequence[int]) -> tuple[int, int, int]:
    found = tuple(value)
    if len(found) != 3 or any(whole_number(name, item) < 1 for item in found):
        raise InputError(f"{name}: found {value!r}, expected three integers ≥ 1")
    a, b, c = (int(item) for item in found)
    return a, b, c


def _zinc_blende(
    name: str, elements: tuple[str, str], a: float, onsite: Sequence[tuple[float, float, float]], hopping: Hopping,
    keating: tuple[float, float],
) -> Crystal:  # fmt: skip
    """Build the two-atom cell: anion at the origin, cation at (1, 1, 1) a/4, lattice constant `a`."""
    lattice = a / 2 * (1.0 - np.eye(3))
    positions = a / 4 * np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    images = np.vstack([np.zeros((1, 3)), -np.eye(3)]).astype(np.int64)
    return Crystal(
        name=name,
        species=elements,
        lattice=lattice,
        positions=positions,
        periodic=(True, True, True),
        pairs=np.tile(np.array([0, 1]), (4, 1)),
        images=images,
        rest=positions[1] + images @ lattice,
        onsite={element: (s, p, p, p, star) for element, (s, p, star) in zip(elements, onsite, strict=True)},
        hopping=hopping,
        stretching=keating[0],
        bending=keating[1],
    )


def _sp3s(ss: float, xx: float, xy: float, sp: float, ps: float, excited_sp: float, ps_excited: float) -> Hopping:
    """Turn V(s,s), V(x,x), V(x,y), V(sa,pc), V(pa,sc), V(s*a,pc), V(pa,s*c) of Vogl et al. into two-centre integrals.

    Theirs are sums over the four neighbours in the directions (±1, ±1, ±1)/√3 of the tetrahedron.
    """
    root = math.sqrt(3.0) / 4.0
    return Hopping(
        ss=ss / 4,
        sp=root * sp,
        ps=root * ps,
        excited_sp=root * excited_sp,
        ps_excited=root * ps_excited,
        pp_sigma=(xx + 2 * xy) / 4,
        pp_pi=(xx - xy) / 4,
    )


_EV_PER_SQUARE_ANGSTROM: Final = 1.0 / 16.02176634
"""One N/m in eV/Å²."""

_HBAR2_PER_ELECTRON: Final = 7.61996423
"""ħ²/m of the electron in eV Å² (CODATA 2018)."""

# Vogl et al., table 1: lattice constant, E(s) E(p) E(s*), the integrals. Keating constants: R. M. Martin, Phys. Rev. B
# 1, 4005 (1970); the Coulomb part that he adds for GaAs is left out.
SILICON: Final = _zinc_blende(
    "silicon",
    ("Si", "Si"),
    5.431,
    [(-4.2, 1.715, 6.685)] * 2,
    _sp3s(-8.3, 1.715, 4.575, 5.7292, 5.7292, 5.3749, 5.3749),
    keating=(48.50, 13.81),
)

GALLIUM_ARSENIDE: Final = _zinc_blende(
    "gallium arsenide",
    ("As", "Ga"),
    5.6533,
    [(-8.3431, 1.0414, 8.5914), (-2.6569, 3.6686, 6.7386)],
    _sp3s(-6.4513, 1.9546, 5.0779, 4.48, 5.7839, 4.8422, 4.8077),
    keating=(41.19, 8.95),
)

_GRAPHENE_LATTICE: Final = 1.23 * np.array([[math.sqrt(3), 1, 0], [math.sqrt(3), -1, 0], [0, 0, 12]])
_GRAPHENE_POSITIONS: Final = np.array([[0.0, 0.0, 0.0], [2.46 / math.sqrt(3), 0.0, 0.0]])
_GRAPHENE_IMAGES: Final = np.array([[0, 0, 0], [-1, 0, 0], [0, -1, 0]])

# t = −3.033 eV, s₀ = 0.129, E(2p) = 0: Saito et al. The Keating constants are those that give the elastic constants
# C11 = 358.1 N/m and C12 = 60.4 N/m of X. Wei et al., Phys. Rev. B 80, 205407 (2009), by C11 + C12 = √3 (α + β/2) and,
# with the two sublattices relaxed, C11 − C12 = (27/2√3) αβ/(2α + β).
GRAPHENE: Final = Crystal(
    name="graphene",
    species=("C", "C"),
    lattice=_GRAPHENE_LATTICE,
    positions=_GRAPHENE_POSITIONS,
    periodic=(True, True, False),
    pairs=np.tile(np.array([0, 1]), (3, 1)),
    images=_GRAPHENE_IMAGES,
    rest=_GRAPHENE_POSITIONS[1] + _GRAPHENE_IMAGES @ _GRAPHENE_LATTICE,
    onsite={"C": (0.0,)},
    hopping=Hopping(ss=-3.033, overlap=0.129),
    stretching=194.07,
    bending=95.11,
)

# A model, no element's bands: E(k) = −2t Σ cos(k_i a), with t = (π²/8) ħ²/(m a²), where the band is as wide from Γ to X
# as the free electron's (Froyen and Harrison). The lattice constant is that of α-polonium, the one element with this
# structure (R. J. DeSando, R. C. Lange, J. Inorg. Nucl. Chem. 28, 1837 (1966)); the elastic constants are made up.
SIMPLE_CUBIC: Final = Crystal(
    name="simple cubic s band",
    species=("X",),
    lattice=3.359 * np.eye(3),
    positions=np.zeros((1, 3)),
    periodic=(True, True, True),
    pairs=np.zeros((3, 2), dtype=np.int64),
    images=np.eye(3, dtype=np.int64),
    rest=3.359 * np.eye(3),
    onsite={"X": (0.0,)},
    hopping=Hopping(ss=-(math.pi**2) / 8 * _HBAR2_PER_ELECTRON / 3.359**2),
    stretching=20.0,
    bending=4.0,
)

CRYSTALS: Final = (SILICON, GALLIUM_ARSENIDE, GRAPHENE, SIMPLE_CUBIC)
"""The four, unstrained."""

_SMALL: Final = ((2, 1, 1), (1, 1, 1), (2, 2, 1))

# The s band is folded over larger cells: where it is the only band, its confidence mask ends below its states.
_CELLS: Final = (
    (SILICON, _SMALL),
    (GALLIUM_ARSENIDE, _SMALL),
    (GRAPHENE, _SMALL),
    (SIMPLE_CUBIC, ((2, 2, 2), (3, 2, 2), (3, 3, 2))),
)
