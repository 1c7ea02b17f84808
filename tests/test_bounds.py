"""Every bound that excludes shifts, at every shift, against the exact objective: at most that, and not idly low."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import oracle
import oracle_agnostic
import pytest

import refloss
from refloss.kernels import bounds
from refloss.kernels.alignment import mask_weights, refine
from refloss.kernels.eft import TINY

WIDTH, POINTS = 210, 200
SHIFTS = WIDTH - POINTS + 1


def rows(name, width=WIDTH):
    """Return p (width,), t (POINTS,) and the mask; block bounds are near the objective where the residual is smooth."""
    rng = np.random.default_rng([len(name), 1])
    p, t = rng.normal(size=width), rng.normal(size=POINTS)
    mask = np.arange(POINTS) % 90 != 77
    if name == "smooth":
        p, t = 2 + np.sin(np.arange(width) / 30), np.cos(np.arange(POINTS) / 40)
    elif name == "constant residual":
        t = p[5 : 5 + POINTS] - 0.7
    elif name == "rounding":  # the sums of blocks are nothing but their own rounding
        t = p[5 : 5 + POINTS] + rng.integers(-2, 3, POINTS) * np.spacing(p[5 : 5 + POINTS])
    elif name == "pedestal":
        p, t = 1.0 + 1e-15 * rng.normal(size=width), 1.0 + 1e-15 * rng.normal(size=POINTS)
    elif name == "zeros in front":
        p[:9] = 0.0
    elif name == "tiny":
        p, t = 1e-155 * p, 1e-155 * t  # squares underflow
    elif name == "nothing counts":
        mask[:] = False
    return p, t, mask


NAMES = ["generic", "smooth", "constant residual", "rounding", "pedestal", "zeros in front", "tiny", "nothing counts"]


def exact_objective(p, t, mask, front_tail, trapezoid):
    """Return the objective without dx at every shift, by the oracle's terms."""
    choice = oracle.Choice("dos+front_tail" if front_tail else "dos", False, "window", "exact", "structure", "dos")
    kind = oracle.Parts if trapezoid else oracle_agnostic.Sums
    (parts,) = oracle.parts_of(kind, [p.tolist()], [t.tolist()], [mask.tolist()], choice, 1, 0.0, 0.0)
    return [parts.objective(s) for s in range(len(p) - len(t) + 1)]


def computed(p, t, mask, front_tail, trapezoid):
    """Return the bounds by blocks of both lengths, and those by sums."""
    shifts = p.size - POINTS + 1
    weight, tails, scratch = np.empty(POINTS), np.zeros(shifts), np.empty(p.size)
    mask_weights(mask, trapezoid, weight)
    if front_tail:
        bounds.front_tails(p, trapezoid, shifts, tails)
    chosen, most = np.empty(POINTS, np.int64), max(np.abs(p).max(), np.abs(t).max())
    by_blocks = {}
    for length in (bounds.FINE, bounds.COARSE):
        p_sums, t_sums, cost = np.zeros(p.size), np.zeros(POINTS), np.empty(shifts)
        count = bounds.whole_blocks(weight, length, chosen)
        bounds.block_sums(p, length, p_sums, scratch)
        bounds.sums_of_blocks(t, length, chosen, count, t_sums)
        bounds.bound_by_blocks(p_sums, t_sums, length, chosen, count, most, tails, 0, cost)
        by_blocks[length] = (count, cost)
    cost = np.empty(shifts)
    bounds.bound_by_sums(p, t, weight, chosen, bounds.inner_points(weight, chosen), tails, 0, cost)
    return by_blocks, cost


@pytest.mark.parametrize("trapezoid", [False, True])
@pytest.mark.parametrize("front_tail", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_bound_is_above_the_exact_objective(name, front_tail, trapezoid):
    p, t, mask = rows(name)
    exact = exact_objective(p, t, mask, front_tail, trapezoid)
    by_blocks, by_sums = computed(p, t, mask, front_tail, trapezoid)
    for cost in (*(cost for _, cost in by_blocks.values()), by_sums):
        assert all(Fraction(bound) <= wanted for bound, wanted in zip(cost.tolist(), exact, strict=True))
    error = 1 + Fraction(bounds.sum_error(POINTS, SHIFTS))
    for bound, wanted in zip(by_sums.tolist(), exact, strict=True):
        assert wanted <= (Fraction(bound) + Fraction(TINY)) * error + Fraction(TINY)


@pytest.mark.parametrize("trapezoid", [False, True])
def test_a_block_of_a_constant_residual_loses_nothing_but_rounding(trapezoid):
    # At shift 5 the residual is 0.7: a block of L points is worth 0.49 L, and that is what it must be bounded by.
    p, t, mask = rows("constant residual")
    by_blocks, _ = computed(p, t, mask, False, trapezoid)
    inner = {length: range(1, POINTS - length, length) for length in by_blocks}
    for length, (count, cost) in by_blocks.items():
        whole = [first for first in inner[length] if mask[first : first + length].all()]
        assert count == len(whole) > 0
        # Roundings of sums of up to 64 numbers of order 1.
        assert cost[5] == pytest.approx(0.49 * length * count, rel=1e-10)
        assert cost[5] < 0.49 * length * count


def test_the_rounding_of_block_sums_is_no_residual():
    # One ulp of one point per fine block: now and then a sum of 16 numbers rounds the other way for it, which is an ulp
    # of 8 or more, and its square far more than the objective. Only what is taken off for rounding keeps that a bound.
    misled = False
    for seed in range(40):
        rng = np.random.default_rng([seed, 2])
        p, mask = rng.uniform(0.5, 1.0, WIDTH), np.ones(POINTS, bool)
        t = p[5 : 5 + POINTS].copy()
        t[9::16] = np.nextafter(t[9::16], 2.0)
        exact = exact_objective(p, t, mask, False, False)[5]
        by_blocks, _ = computed(p, t, mask, False, False)
        assert all(Fraction(cost[5]) <= exact for _, cost in by_blocks.values())
        blocks = [slice(first, first + 16) for first in range(1, POINTS - 16, 16)]
        p_sums, t_sums, scratch = np.zeros(WIDTH), np.zeros(POINTS), np.empty(WIDTH)
        bounds.block_sums(p, 16, p_sums, scratch)
        bounds.sums_of_blocks(t, 16, np.array([block.start for block in blocks]), len(blocks), t_sums)
        residuals = [Fraction(p_sums[5 + block.start] - t_sums[block.start]) for block in blocks]
        misled |= sum(residual**2 for residual in residuals) / 16 > exact
    assert misled  # or this test would ask nothing


REFINED = 2 * bounds.TILE + 3
"""Shifts of the tests of `refine`: several tiles, the last one incomplete."""


@pytest.mark.parametrize("trapezoid", [False, True])
@pytest.mark.parametrize("front_tail", [False, True])
@pytest.mark.parametrize("name", ["generic", "smooth", "rounding", "pedestal", "zeros in front", "nothing counts"])
def test_coarse_bounds_are_refined_where_the_limit_does_not_exclude_them(name, front_tail, trapezoid):
    p, t, mask = rows(name, POINTS + REFINED - 1)
    by_blocks, _ = computed(p, t, mask, front_tail, trapezoid)
    coarse, fine = by_blocks[bounds.COARSE][1], by_blocks[bounds.FINE][1]
    exact = exact_objective(p, t, mask, front_tail, trapezoid)
    weight, tails, chosen = np.empty(POINTS), np.zeros(REFINED), np.empty(POINTS, np.int64)
    mask_weights(mask, trapezoid, weight)
    if front_tail:
        bounds.front_tails(p, trapezoid, REFINED, tails)
    tiles = [slice(start, start + bounds.TILE) for start in range(0, REFINED, bounds.TILE)]
    lowest = sorted(coarse[tile].min() for tile in tiles)
    for limit in (*lowest, np.nextafter(lowest[0], -np.inf)):
        cost, sums, scratch = coarse.copy(), (np.zeros(p.size), np.zeros(POINTS)), np.empty(p.size)
        most = max(np.abs(p).max(), np.abs(t).max())
        refine(p, t, weight, tails, most, limit, cost, chosen, *sums, scratch)
        for tile in tiles:
            # A shift that may be the best has the bound of its own fine blocks, to the bit; others are left alone.
            kept = coarse[tile].min() > limit
            assert np.array_equal(cost[tile], coarse[tile] if kept else fine[tile])
        assert all(Fraction(bound) <= wanted for bound, wanted in zip(cost.tolist(), exact, strict=True))
        # Every coarse block is four fine ones, whose means differ: the sum of squares over them is no smaller. What
        # comes in between are the roundings of sums of up to 200 numbers of order 1.
        assert (cost >= coarse - 1e-13 * (1 + abs(coarse))).all()


def test_refining_gains_what_the_blocks_have_in_them():
    # A residual that is 1 and −1 in turns of 16 points vanishes from every coarse block; of fine ones it is all.
    p, t, mask = np.zeros(POINTS + REFINED - 1), np.zeros(POINTS), np.ones(POINTS, np.bool_)
    t[1:] = np.where(np.arange(POINTS - 1) // 16 % 2, -1.0, 1.0)
    by_blocks, _ = computed(p, t, mask, False, True)
    cost, weight, chosen = by_blocks[bounds.COARSE][1].copy(), np.ones(POINTS), np.empty(POINTS, np.int64)
    assert (cost <= 0).all()
    sums, tails, scratch = (np.zeros(p.size), np.zeros(POINTS)), np.zeros(REFINED), np.empty(p.size)
    weight[[0, -1]] = 0.5
    refine(p, t, weight, tails, 1.0, 0.0, cost, chosen, *sums, scratch)
    assert cost == pytest.approx(16.0 * by_blocks[bounds.FINE][0], rel=1e-10)  # roundings of sums of 200 ones


def test_a_wide_search_goes_through_coarse_blocks_to_the_exact_alignment():
    # One coarse block, which says little of noise, and a decoy that differs in the ninth digit.
    rng = np.random.default_rng(91)
    points, extra = bounds.COARSE + 6, bounds.MANY + 30
    p = rng.normal(size=points + extra)
    p[900 : 900 + points] = p[300 : 300 + points] + 1e-9 * rng.normal(size=points)
    t = p[300 : 300 + points] + 0.5e-9 * rng.normal(size=points)
    mask = np.ones(points, np.bool_)
    found = refloss.masked_dos([p], [t], [mask], energy_step=1.0)
    exact = exact_objective(p, t, mask, False, True)
    order = sorted(range(extra + 1), key=lambda s: exact[s])
    assert (found.shift[0], found.runner_up[0]) == tuple(order[:2])
    assert set(order[:2]) == {300, 900}
    certificate = found.certificate
    assert certificate.evaluated[0] < 20  # of 1055: the others are bounded above both
    assert exact[order[1]] < Fraction(certificate.excluded_above[0]) <= exact[order[int(certificate.evaluated[0])]]
