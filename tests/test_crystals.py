"""The tight-binding crystals against what the literature and exact identities say of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refloss.crystals import (
    CRYSTALS,
    GALLIUM_ARSENIDE,
    GRAPHENE,
    SILICON,
    SIMPLE_CUBIC,
    data_set,
    uniform_mesh,
)
from refloss.errors import InputError
from refloss.spectra import PET_MAD_DOS, gaussian_dos

# An eigenvalue solver's backward error on matrices of norm 20 eV or so, a few hundred units of 1e-16 times that.
EIGENVALUE = 1e-12
GPA = 160.2176634  # one eV/Å³
EV = 16.02176634  # one eV/Å² in N/m

GAMMA, L, X = np.zeros(3), np.full(3, 0.5), np.array([0.0, 0.5, 0.5])
SYMMETRIC = np.array([[0.02, 0.007, -0.011], [0.007, -0.013, 0.004], [-0.011, 0.004, 0.009]])

every_crystal = pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda crystal: crystal.name)


def generic_kpoints(seed=5, count=6):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))


def generic(crystal, seed=2):
    """A larger cell, strained and rattled in the crystal's own dimensions: nothing is zero by symmetry."""
    free = np.array(crystal.periodic, dtype=float)
    cell = crystal.repeated((2, 1, 1)).strained(SYMMETRIC * np.outer(free, free))
    return cell.displaced(np.random.default_rng(seed).normal(0.0, 0.05, cell.positions.shape) * free)


def rotation(angle=0.7, axis=(1.0, 2.0, -0.5)):
    n = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


# What the literature says


def test_silicon_has_its_indirect_gap_near_x():
    x = np.linspace(0.0, 1.0, 401)
    bands = SILICON.bands(x[:, None] * X)
    conduction = bands[:, 4]
    # Vogl et al. fix the top of the valence band at 0 eV and the gap at 1.17 eV (to the parameters' four digits), with
    # the minimum about three quarters of the way to X.
    assert bands[:, 3].max() == pytest.approx(0.0, abs=EIGENVALUE)
    assert bands[0, 1:4] == pytest.approx(np.zeros(3), abs=EIGENVALUE)
    assert conduction.min() == pytest.approx(1.17, abs=0.005)
    assert 0.70 < x[conduction.argmin()] < 0.80
    # and Γ15 at 3.43 eV, twice V(x,x), as in their table; the gap at Γ is not the smallest one
    assert conduction[0] == pytest.approx(3.43, abs=EIGENVALUE)
    # no point of the whole zone lies lower
    everywhere = SILICON.spectrum((8, 8, 8))[0]
    assert everywhere[:, 4].min() > 1.16
    assert everywhere[:, 3].max() < EIGENVALUE


def test_gallium_arsenide_has_its_direct_gap_at_gamma():
    bands = GALLIUM_ARSENIDE.bands([GAMMA, L, X])
    # four-digit parameters fitted to these energies: 1e-4 eV
    assert bands[0, 1:4] == pytest.approx(np.zeros(3), abs=1e-4)
    assert bands[0, 4] == pytest.approx(1.55, abs=1e-4)
    assert bands[0, 0] == pytest.approx(-12.55, abs=1e-4)
    everywhere = GALLIUM_ARSENIDE.spectrum((8, 8, 8))[0]
    assert everywhere[:, 4].min() == pytest.approx(bands[0, 4], abs=EIGENVALUE)
    assert everywhere[:, 3].max() == pytest.approx(bands[0, 3], abs=EIGENVALUE)


def test_gallium_arsenide_zone_centre_is_anion_below_and_cation_above():
    # At Γ s couples to s alone: the roots of a 2 × 2 matrix of E(s,a), E(s,c) and V(s,s), by hand.
    mean, half, v = (-8.3431 - 2.6569) / 2, (-8.3431 + 2.6569) / 2, -6.4513
    s_levels = mean + np.array([-1, 1]) * math.hypot(half, v)
    found = GALLIUM_ARSENIDE.bands([GAMMA])[0]
    assert [np.abs(found - level).min() < EIGENVALUE for level in s_levels] == [True, True]
    # s* couples to nothing there
    assert [np.abs(found - level).min() < EIGENVALUE for level in (8.5914, 6.7386)] == [True, True]


def test_zinc_blende_at_x_tells_anion_from_cation():
    # At X, k = 2π/a (1, 0, 0), the sum over the four neighbours leaves s(a) with x(c) and s*(c)'s x, and
    # y with z: the y-z levels are the roots of a 2 × 2 of E(p,a), E(p,c), V(x,y), each twice.
    mean, half = (1.0414 + 3.6686) / 2, (1.0414 - 3.6686) / 2
    levels = mean + np.array([-1, 1]) * math.hypot(half, 5.0779)
    found = GALLIUM_ARSENIDE.bands([X])[0]
    for level in levels:
        assert np.sum(np.abs(found - level) < EIGENVALUE) == 2
    # The others: s and s* of one element with the x of the other, a 3 × 3 each. Swapping V(sa,pc) and V(pa,sc) moves
    # both.
    for s, star, p, v_s, v_star in (
        (-8.3431, 8.5914, 3.6686, 4.48, 4.8422),
        (-2.6569, 6.7386, 1.0414, 5.7839, 4.8077),
    ):
        matrix = np.array([[s, 0, v_s], [0, star, v_star], [v_s, v_star, p]])
        for level in np.linalg.eigvalsh(matrix):
            assert np.abs(found - level).min() < EIGENVALUE


def test_graphene_has_no_gap_at_k_and_unequal_bands_at_gamma():
    gamma, k, k_prime, m = GRAPHENE.bands([[0, 0, 0], [1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [0.5, 0, 0]])
    assert k == pytest.approx([0, 0], abs=EIGENVALUE)
    assert k_prime == pytest.approx([0, 0], abs=EIGENVALUE)
    t, s0 = -3.033, 0.129
    # Saito et al.: E = (E2p ± t w)/(1 ± s0 w), w = 3 at Γ and 1 at M
    assert gamma == pytest.approx([3 * t / (1 + 3 * s0), -3 * t / (1 - 3 * s0)], abs=EIGENVALUE)
    assert m == pytest.approx([t / (1 + s0), -t / (1 - s0)], abs=EIGENVALUE)


def test_graphene_dirac_velocity():
    # Near K the bands are ±(√3/2)|t| a q; on-site energies are 0, so the overlap does not enter to first order.
    q = 1e-4
    reciprocal = 2 * math.pi * np.linalg.inv(GRAPHENE.lattice)
    for direction in ([1.0, 0.0, 0.0], [0.6, 0.8, 0.0]):
        step = q * np.array(direction) @ np.linalg.inv(reciprocal.T)
        upper = GRAPHENE.bands([np.array([1 / 3, 2 / 3, 0]) + step])[0, 1]
        # the next order is smaller by s0 times the energy and by a q: 1e-4
        assert upper == pytest.approx(math.sqrt(3) / 2 * 3.033 * 2.46 * q, rel=3e-4)


def test_simple_cubic_band_and_its_moments():
    k = generic_kpoints()
    t = math.pi**2 / 8 * 7.61996423 / 3.359**2
    assert SIMPLE_CUBIC.bands(k)[:, 0] == pytest.approx(-2 * t * np.cos(2 * math.pi * k).sum(axis=1), abs=EIGENVALUE)
    # as wide from Γ to X as the free electron's band, ħ²(π/a)²/2m
    gamma, x = SIMPLE_CUBIC.bands([GAMMA, [0.5, 0, 0]])[:, 0]
    assert x - gamma == pytest.approx(7.61996423 / 2 * (math.pi / 3.359) ** 2, rel=1e-13)
    # closed walks on the lattice: 1, 6 of two steps, 90 of four; a mesh of 5 or more points a side sums them exactly
    energies, weights = SIMPLE_CUBIC.spectrum((7, 8, 6))
    moments = [float(weights @ energies[:, 0] ** n) / 2 for n in range(5)]
    assert moments == pytest.approx([1, 0, 6 * t**2, 0, 90 * t**4], abs=1e-11)  # the terms reach (6t)⁴ = 620


def test_simple_cubic_density_has_the_band_moments_and_the_broadening():
    t = -SIMPLE_CUBIC.hopping.ss
    grid = PET_MAD_DOS.targets
    density = gaussian_dos(*SIMPLE_CUBIC.spectrum((8, 8, 8)), grid)
    # a broadened moment: <E²> + σ²; the trapezoid of Gaussians is exact, the rest is rounding
    assert 0.05 * density.sum() == pytest.approx(2.0, rel=1e-11)
    assert 0.05 * (density @ grid**2) == pytest.approx(2 * (6 * t**2 + 0.3**2), rel=1e-10)


@every_crystal
def test_density_integrates_to_two_electrons_a_band(crystal):
    cell = generic(crystal)
    density = gaussian_dos(*cell.spectrum((3, 2, 2)), PET_MAD_DOS.targets)
    bands = len(cell.species) * len(cell.onsite[cell.species[0]])
    assert 0.05 * density.sum() == pytest.approx(2 * bands, rel=1e-11)


# What must hold of any crystal


@every_crystal
def test_bands_of_k_and_minus_k_and_of_k_plus_g_are_equal(crystal):
    cell, k = generic(crystal), generic_kpoints()
    bands = cell.bands(k)
    assert np.all(np.diff(bands, axis=1) >= 0)
    assert cell.bands(-k) == pytest.approx(bands, abs=EIGENVALUE)
    assert cell.bands(k + np.array([1, -2, 3])) == pytest.approx(bands, abs=1e-11)  # phases of k ~ 3 round more


@every_crystal
def test_rotation_changes_nothing_but_the_directions(crystal):
    cell, k = generic(crystal), generic_kpoints()
    turn = rotation()
    turned = cell.strained(turn - np.eye(3))
    assert turned.lattice == pytest.approx(cell.lattice @ turn.T, abs=1e-13)
    assert np.abs(turned.lattice - cell.lattice).max() > 0.5
    assert turned.bands(k) == pytest.approx(cell.bands(k), abs=EIGENVALUE)
    before, after = cell.elastic(), turned.elastic()
    assert after.energy == pytest.approx(before.energy, rel=1e-11)  # differences of squares of 10 Å², then squared
    assert after.forces == pytest.approx(before.forces @ turn.T, abs=1e-11)
    assert after.strain_gradient == pytest.approx(turn @ before.strain_gradient @ turn.T, abs=1e-11)


@every_crystal
def test_no_strain_is_no_change_and_the_parent_stays(crystal):
    lattice = crystal.lattice.copy()
    assert crystal.strained(np.zeros((3, 3))).bands(generic_kpoints()).tolist() == (
        crystal.bands(generic_kpoints()).tolist()
    )
    crystal.strained(SYMMETRIC).displaced(np.ones_like(crystal.positions)).repeated((2, 1, 1))
    assert np.array_equal(crystal.lattice, lattice)


@pytest.mark.parametrize("crystal", [SILICON, GALLIUM_ARSENIDE, SIMPLE_CUBIC], ids=lambda crystal: crystal.name)
def test_hydrostatic_strain_scales_hoppings_by_the_inverse_square(crystal):
    stretch, k = 1.04, generic_kpoints()
    bands, ideal = crystal.strained((stretch - 1) * np.eye(3)).bands(k), crystal.bands(k)
    # Σ E² = tr H² is that of the on-site energies, which stay, plus that of the hoppings, here d⁻⁴.
    onsite = np.concatenate([crystal.onsite[element] for element in crystal.species])
    hopping = (ideal**2).sum(axis=1) - (onsite**2).sum()
    # sums of squares of 10 eV, a few hundred in all
    assert (bands**2).sum(axis=1) - (onsite**2).sum() == pytest.approx(hopping / stretch**4, abs=1e-11)


def test_hydrostatic_strain_scales_the_overlap_of_graphene_too():
    stretch, k = 1.04, generic_kpoints()
    w = np.abs(1 + np.exp(-2j * np.pi * k[:, 0]) + np.exp(-2j * np.pi * k[:, 1])) / stretch**2
    expected = np.stack([-3.033 * w / (1 + 0.129 * w), 3.033 * w / (1 - 0.129 * w)], axis=1)
    bands = GRAPHENE.strained((stretch - 1) * np.eye(3)).bands(k)
    assert bands == pytest.approx(expected, abs=EIGENVALUE)


def test_uniaxial_strain_turns_and_scales_each_bond():
    # Silicon stretched along [111], the axis of one of its four bonds. At Γ the p levels split into a doublet across
    # the axis, which couples to p alone, and a singlet along it, which now couples to s and s*: both worked out here
    # bond by bond, with the integrals of Vogl et al. over 4.
    axis, e = np.ones(3) / math.sqrt(3), 0.03
    cell = SILICON.strained(e * np.outer(axis, axis))
    sigma, pi = (1.715 + 2 * 4.575) / 4, (1.715 - 4.575) / 4
    ss, sp, star_p = -8.3 / 4, math.sqrt(3) * 5.7292 / 4, math.sqrt(3) * 5.3749 / 4
    across, along = 0.0, np.zeros((3, 3))
    for bond in np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3):
        parallel = (1 + e) * (bond @ axis)
        square = parallel**2 + 1 - (bond @ axis) ** 2
        u = parallel / math.sqrt(square)
        across += (sigma * (1 - u**2) / 2 + pi * (1 + u**2) / 2) / square
        # rows s, p, s* of the first atom, columns the same of the second
        block = [[ss, sp * u, 0], [-sp * u, sigma * u**2 + pi * (1 - u**2), -star_p * u], [0, star_p * u, 0]]
        along += np.array(block) / square
    bands = cell.bands([GAMMA])[0]
    for level in (1.715 - across, 1.715 + across):
        assert np.sum(np.abs(bands - level) < EIGENVALUE) == 2
    onsite = np.diag([-4.2, 1.715, 6.685])
    singlets = np.linalg.eigvalsh(np.block([[onsite, along], [along.T, onsite]]))
    doublets = [1.715 - across] * 2 + [1.715 + across] * 2
    assert np.sort([*singlets, *doublets]) == pytest.approx(bands, abs=EIGENVALUE)


@every_crystal
def test_larger_cell_has_the_folded_bands(crystal):
    cell = crystal.strained(SYMMETRIC)
    repeats = (2, 3, 1)
    k = generic_kpoints(count=2)
    shifts = np.array([[i, j, 0] for i in range(2) for j in range(3)])
    folded = np.stack([cell.bands((q + shifts) / np.array(repeats)).reshape(-1) for q in k])
    large = cell.repeated(repeats)
    assert large.bands(k) == pytest.approx(np.sort(folded, axis=1), abs=EIGENVALUE)
    assert large.volume == pytest.approx(6 * cell.volume, rel=1e-14)
    assert large.elastic().energy == pytest.approx(6 * cell.elastic().energy, rel=1e-11)
    assert np.linalg.norm(crystal.repeated(repeats).bonds - large.rest) < 1e-13


@pytest.mark.parametrize("mesh", [(4, 4, 4), (3, 5, 2), (1, 1, 1), (6, 1, 3)])
def test_mesh_keeps_one_of_each_pair(mesh):
    kpoints, weights = uniform_mesh(mesh)
    assert weights.sum() == pytest.approx(2, rel=1e-14)
    # with the partners that were left out it is every fraction i/n once
    integers = np.rint(kpoints * mesh).astype(int)
    assert kpoints * mesh == pytest.approx(integers, abs=1e-12)
    both = {tuple(point) for point in np.vstack([integers, -integers]) % mesh}
    assert len(both) == math.prod(mesh)
    doubled = (weights * math.prod(mesh)).round(9)
    assert set(doubled) <= {2.0, 4.0}
    own_partner = ((2 * integers) % mesh == 0).all(axis=1)
    assert np.array_equal(doubled == 2.0, own_partner)


@every_crystal
def test_spectrum_is_that_of_the_whole_mesh(crystal):
    cell = generic(crystal)
    counts = (3, 2, 2)
    whole = np.stack(np.meshgrid(*[np.arange(n) / n for n in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    every = cell.bands(whole)
    eigenvalues, weights = cell.spectrum(counts)
    energies = np.linspace(-15.0, 15.0, 61)
    found, expected = (
        gaussian_dos(eigenvalues, weights, energies),
        gaussian_dos(every, np.full(12, 1 / 6), energies),
    )
    assert found == pytest.approx(expected, abs=1e-10)


@every_crystal
def test_mesh_follows_the_cell(crystal):
    cell = crystal.repeated((2, 1, 1))
    spacing = 0.3
    mesh = cell.mesh(spacing)
    reciprocal = 2 * math.pi * np.linalg.inv(cell.lattice).T
    for vector, n, periodic in zip(reciprocal, mesh, cell.periodic, strict=True):
        length = np.linalg.norm(vector)
        assert n == 1 if not periodic else length / n <= spacing < length / (n - 1)


# The elastic energy


@every_crystal
def test_ideal_crystal_has_no_energy_and_no_forces(crystal):
    energy, forces, gradient = crystal.elastic()
    assert energy == pytest.approx(0, abs=1e-20)
    assert np.abs(forces).max() < 1e-12
    assert np.abs(gradient).max() < 1e-12


@every_crystal
def test_forces_are_minus_the_slope_of_the_energy(crystal):
    cell, step = generic(crystal), 1e-4
    forces = cell.elastic().forces
    assert np.abs(forces).max() > 0.1
    assert forces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-11)
    for atom in range(len(cell.species)):
        for axis in range(3):
            move = np.zeros_like(cell.positions)
            move[atom, axis] = step
            slope = (cell.displaced(move).elastic().energy - cell.displaced(-move).elastic().energy) / (2 * step)
            # third derivative of some 100 eV/Å³, times step²/6
            assert forces[atom, axis] == pytest.approx(-slope, abs=1e-5)


@every_crystal
def test_strain_gradient_is_the_slope_of_the_energy(crystal):
    cell, step = generic(crystal), 1e-5
    gradient = cell.elastic().strain_gradient
    assert gradient == pytest.approx(gradient.T, abs=1e-11)
    assert np.abs(gradient).max() > 0.1
    for i in range(3):
        for j in range(3):
            strain = np.zeros((3, 3))
            strain[i, j] = step
            slope = (cell.strained(strain).elastic().energy - cell.strained(-strain).elastic().energy) / (2 * step)
            # third derivative of some 1e4 eV, times step²/6, and rounding 1e-15/step
            assert gradient[i, j] == pytest.approx(slope, abs=1e-6)


def curvature(crystal, strain, step=1e-4):
    """d²E/dx² at strain x · `strain`, where E and its slope are 0 at x = 0."""
    return 2 * crystal.strained(step * strain).elastic().energy / step**2


@pytest.mark.parametrize(
    ("crystal", "c11", "c12", "tolerance"),
    [
        # Si: 165.7 and 63.9 GPa (McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964)); Martin's constants are
        # fitted to them.
        (SILICON, 165.7, 63.9, 0.01),
        # GaAs: 118.8 and 53.8 GPa (Blakemore, J. Appl. Phys. 53, R123 (1982)); without Martin's Coulomb part the
        # same constants are a few per cent off.
        (GALLIUM_ARSENIDE, 118.8, 53.8, 0.06),
    ],
    ids=["silicon", "gallium arsenide"],
)
def test_keating_gives_the_elastic_constants(crystal, c11, c12, tolerance):
    # neither strain moves the sublattices against each other
    bulk = curvature(crystal, np.eye(3)) / crystal.volume * GPA / 3  # C11 + 2 C12
    shear = curvature(crystal, np.diag([1.0, -1.0, 0.0])) / crystal.volume * GPA / 2  # C11 − C12
    assert bulk == pytest.approx(c11 + 2 * c12, rel=tolerance)
    assert shear == pytest.approx(c11 - c12, rel=tolerance)


def test_graphene_elastic_constants():
    area = GRAPHENE.volume / GRAPHENE.lattice[2, 2]
    plane = np.diag([1.0, 1.0, 0.0])
    assert curvature(GRAPHENE, plane) / area * EV / 2 == pytest.approx(358.1 + 60.4, rel=1e-3)

    # A shear moves the sublattices: relax them, along x by symmetry, by Newton's method on the force.
    step = 1e-4
    cell = GRAPHENE.strained(step * np.diag([1.0, -1.0, 0.0]))
    for _ in range(3):
        nudge = np.zeros((2, 3))
        nudge[1, 0] = 1e-4
        force, other = cell.elastic().forces[1, 0], cell.displaced(nudge).elastic().forces[1, 0]
        cell = cell.displaced(nudge * force / (force - other))
    assert np.abs(cell.elastic().forces).max() < 1e-9
    # the constants in the file have five digits, the strain's second order is 1e-4
    assert 2 * cell.elastic().energy / step**2 / area * EV / 2 == pytest.approx(358.1 - 60.4, rel=1e-3)


# The data set


def test_data_set_is_varied_and_repeats_itself():
    crystals, again = list(data_set(24, seed=3)), list(data_set(24, seed=3))
    assert len(crystals) == 24
    assert {crystal.name for crystal in crystals} == {crystal.name for crystal in CRYSTALS}
    assert len({len(crystal.species) for crystal in crystals}) >= 4
    for one, two in zip(crystals, again, strict=True):
        assert np.array_equal(one.lattice, two.lattice)
        assert np.array_equal(one.positions, two.positions)
    assert len({crystal.lattice.tobytes() for crystal in crystals}) == 24
    other = next(data_set(1, seed=4))
    assert not np.array_equal(other.lattice, crystals[0].lattice)


def test_data_set_stays_physical():
    for crystal in data_set(12, seed=1):
        lengths, rest = np.linalg.norm(crystal.bonds, axis=1), np.linalg.norm(crystal.rest, axis=1)
        # 3 % of strain and six standard deviations of two atoms' rattling
        assert np.abs(lengths - rest).max() < 0.06 * rest.max() + 6 * math.sqrt(2) * 0.03
        assert np.abs(crystal.elastic().forces).max() > 0.05
        if not all(crystal.periodic):
            assert not np.any(crystal.bonds[:, 2])


def test_formula_counts_atoms():
    assert [crystal.repeated((1, 2, 1)).formula for crystal in CRYSTALS] == ["Si4", "As2Ga2", "C4", "X2"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SILICON.strained(np.zeros((2, 3))), r"^strain: found shape \(2, 3\), expected \(3, 3\)"),
        (lambda: SILICON.strained(-2 * np.eye(3)), r"^strain: found det\(1 \+ strain\) = -1"),
        (lambda: SILICON.strained(np.full((3, 3), np.nan)), "^strain: found 9 values"),
        (lambda: SILICON.displaced([[0.0, 0.0, 0.0]]), r"^displacements: found shape \(1, 3\), expected \(2, 3\)"),
        (lambda: SILICON.bands([[0.0, 0.5]]), r"^kpoints: found shape \(1, 2\), expected \(K, 3\)"),
        (lambda: SILICON.spectrum((4, 0, 4)), r"^mesh: found \(4, 0, 4\), expected three integers ≥ 1"),
        (lambda: SILICON.spectrum((4, 4)), r"^mesh: found \(4, 4\), expected three"),
        (lambda: SILICON.repeated((1, 1.5, 1)), "^repeats: found 1.5, expected an integer"),
        (lambda: SILICON.mesh(0.0), "^spacing: found 0.0"),
        (lambda: list(data_set(-1)), "^count: found -1"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()
