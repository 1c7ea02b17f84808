"""The oracle itself: cases worked out by hand, and its gradient against an exact difference quotient."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction as Q

import oracle
import pytest
from oracle import CONVENTIONS, Choice

NAN = math.nan
EVERY_CHOICE = [
    Choice(*switches)
    for switches in itertools.product(
        ("dos", "dos+front_tail", "total"),
        (True, False),
        ("window", "prediction"),
        ("exact", "float32"),
        ("structure", "batch"),
        ("dos", "squares"),
    )
    if not (switches[0] == "total" and switches[4] == "batch")
]


# ---- rounding --------------------------------------------------------------------------------------------------


def test_nearest_rounds_ties_to_even_and_knows_both_ends_of_the_range() -> None:
    half = Q(1, 2**53)
    assert oracle.nearest(1 + half) == 1.0
    assert oracle.nearest(1 + 3 * half) == 1.0 + 2 * math.ulp(1.0)
    assert oracle.nearest(1 + half + Q(1, 2**900)) == 1.0 + math.ulp(1.0)
    assert oracle.nearest(Q(3, 2**1075)) == 2 * 5e-324
    assert oracle.nearest(Q(1, 2**1075)) == 0.0
    assert oracle.nearest(-(Q(2) ** 1024)) == -math.inf


def test_ulps_measures_in_the_binade_of_the_exact_value() -> None:
    # Just below 1 the spacing is 2^-53, although the nearest float is 1 itself.
    below = 1 - Q(1, 2**60)
    assert oracle.ulp(below) == Q(1, 2**53)
    assert oracle.ulp(Q(1)) == Q(1, 2**52)
    assert oracle.ulps(1.0, below) == 2.0**-7
    assert oracle.ulps(math.nextafter(3.0, 4.0), Q(3)) == 1.0
    assert oracle.ulp(Q(0)) == oracle.ulp(Q(1, 2**1070)) == Q(1, 2**1074)
    assert oracle.ulps(NAN, Q(1)) == math.inf


# ---- pointwise -------------------------------------------------------------------------------------------------


def test_pointwise_by_hand() -> None:
    # Selected are elements 0, 2, 4 (1 is masked out, 3 has no target): d = 3, -1/2, 0.
    predictions = [5.0, 9.0, 0.5, 7.0, 2.0]
    targets = [2.0, 1.0, 1.0, NAN, 2.0]
    mask = [True, False, True, True, True]
    selected = [True, False, True, False, True]
    mse = oracle.pointwise("mse", predictions, targets, mask)
    assert (mse.value, mse.count, mse.selected) == ((9 + Q(1, 4)) / 3, 3, selected)
    assert mse.grad == [2, 0, -Q(1, 3), 0, 0]
    assert mse.leaves == [Q(14, 3), 0, 1, 0, Q(8, 3)]  # 2 (5 + 2) / 3, 2 (1/2 + 1) / 3, 2 (2 + 2) / 3
    mae = oracle.pointwise("mae", predictions, targets, mask, "sum")
    assert (mae.value, mae.grad) == (Q(7, 2), [1, 0, -1, 0, 0])
    # delta = 1/2 is met exactly by d = -1/2: still the parabola, (1/4)/2; d = 3: 1/2 (3 - 1/4).
    huber = oracle.pointwise("huber", predictions, targets, mask, "none", 0.5)
    assert (huber.value, huber.grad) == ([Q(11, 8), Q(1, 8), 0], [Q(1, 2), 0, -Q(1, 2), 0, 0])
    assert oracle.pointwise("mse", [1.0], [NAN]).value == 0


# ---- masked_dos by hand ----------------------------------------------------------------------------------------


def test_alignment_by_hand() -> None:
    # dx = 1/2, N = 3, E = 1.
    # s = 0: p - t = (-1, -1, 1),  D = 1/2 (1/2 + 1) = 3/4 (the last point is masked out), F = 0
    # s = 1: p - t = (0, 1, 0),    D = 1/2 · 1 = 1/2,  F = 1/2 (1/2 · 1 + 1/2 · 4) = 5/4
    # c at s = 0: 1/4 (-2) = -1/2, then -1/2 + 1/4 · 0 = -1/2;  C = 1/2 · 1/2 (1/4) = 1/16
    # c at s = 1: 1/4,             then 1/4 + 1/4 = 1/2;        C = 1/2 · 1/2 (1/16) = 1/64
    case = {"predictions": [[1.0, 2.0, 4.0, 3.0]], "targets": [[2.0, 3.0, 3.0]], "mask": [[True, True, False]]}
    documented = oracle.masked_dos(**case, convention=CONVENTIONS["documented"], energy_step=0.5)
    found = documented.structures[0]
    assert found.landscape == [Q(3, 4), Q(1, 2)]
    assert (found.shift, found.runner_up, found.margin, found.tied) == (1, 0, Q(1, 4), False)
    assert (found.rival, found.rival_margin) == (-1, None)
    assert (found.dos, found.front_tail, found.unmasked_gradient, found.cumulative) == (Q(1, 2), Q(5, 4), 0, Q(1, 64))
    assert documented.value == Q(1, 2) + 2 * Q(1, 64)
    # dD/dp_2 = 1/2 · 2 · 1; C: dC/dc_1 = 2 · 1/2 · 1/2 · 1/4 = 1/8, dc_1/da_0 = dc_1/da_1 = 1/4, times 2.
    assert documented.grad == [[0, Q(1, 16), 1 + Q(1, 16), 0]]
    intended = oracle.masked_dos(**case, convention=CONVENTIONS["intended"], energy_step=0.5)
    assert intended.structures[0].landscape == [Q(3, 4), Q(7, 4)]
    assert intended.value == Q(3, 4) + 2 * Q(1, 16)
    moved = oracle.masked_dos(**case, convention=CONVENTIONS["intended"], energy_step=0.5, shifts=[1])
    assert moved.value == Q(7, 4) + 2 * Q(1, 64)


@pytest.mark.parametrize(
    ("points", "shift", "mask", "expected"),
    [
        # dx = 1/12: g_4 = 25, g_5 = -48 + 75 = 27; trapz = (first + last)/24.
        ("prediction", 0, [1, 1, 1, 1, 1], Q(27**2, 24)),  # j = 5 lies behind the window: it counts as unmasked
        ("prediction", 0, [1, 1, 1, 1, 0], Q(25**2 + 27**2, 24)),
        ("prediction", 1, [1, 1, 1, 1, 0], Q(27**2, 24)),
        ("prediction", 1, [0, 1, 1, 0, 1], Q(25**2, 24)),
        ("window", 0, [0, 0, 0, 0, 0], Q(0)),  # j = 4 alone: one point has no trapezoid
        ("window", 1, [0, 0, 0, 0, 0], Q(25**2 + 27**2, 24)),
        ("window", 1, [0, 0, 0, 1, 0], Q(27**2, 24)),
    ],
)
def test_unmasked_gradient_by_hand(points: str, shift: int, mask: list[int], expected: Q) -> None:
    found = oracle.masked_dos(
        [[0.0, 0.0, 0.0, 0.0, 1.0, 3.0]],
        [[0.0] * 5],
        [[bool(m) for m in mask]],
        Choice("dos", False, points, "exact", "structure", "dos"),
        energy_step=Q(1, 12),
        shifts=[shift],
    )
    assert found.structures[0].unmasked_gradient == expected


def test_released_stencil_is_the_float32_one() -> None:
    # The mask spares j = 5 alone; g_5 = 60 p_3 = 60, and j = 4, 5 are the two points.
    found = oracle.masked_dos(
        [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]],
        [[0.0] * 6],
        [[True] * 5 + [False]],
        CONVENTIONS["metatrain-2026.2"],
    )
    assert found.structures[0].unmasked_gradient == Q(0.05) * Q(1, 2) * 3600
    fifth = oracle.masked_dos(
        [[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], [[0.0] * 6], [[True] * 5 + [False]], CONVENTIONS["metatrain-2025.12"]
    )
    # 25/(12 · 0.05) and -16/(12 · 0.05), rounded to 24 bits: multiples of 2^-18 and 2^-19.
    assert fifth.structures[0].unmasked_gradient == Q(0.05) * Q(1, 2) * 5**2
    for j, exact in [(2, -Q(80, 3)), (5, Q(125, 3))]:
        row = [float(k == j) for k in range(6)]
        single = oracle.masked_dos([row], [[0.0] * 6], [[True] * 5 + [False]], CONVENTIONS["metatrain-2026.2"])
        coefficient = single.structures[0].unmasked_gradient / (Q(0.05) * Q(1, 2))
        # float32 coefficients of a float32 sum in the release: near the exact one to a few float32 ulps, not equal.
        assert coefficient != exact**2
        assert abs(coefficient / exact**2 - 1) < Q(1, 2**22)


def test_batch_cumulative_by_hand() -> None:
    # N = 3, E = 0, dx = 1/20 exactly. Differences (2, 0, 2) and (0, 4, 0): c = dx/2 (2, 4) and dx/2 (4, 8).
    # M_1 = 2, M_2 = 1 (both structures count point 1, the second alone point 2).
    # C_b = 1/2 · dx/2 · (2 c_1² + c_2²): (dx/2)² dx/4 · (8 + 16) and (dx/2)² dx/4 · (32 + 64).
    case = {
        "predictions": [[2.0, 0.0, 2.0], [0.0, 4.0, 0.0]],
        "targets": [[0.0] * 3] * 2,
        "mask": [[False, True, False], [False, True, True]],
        "convention": CONVENTIONS["metatrain-2026.2"],
        "energy_step": Q(1, 20),
    }
    found = oracle.masked_dos(**case)
    unit = Q(1, 40) ** 2 * Q(1, 80)
    assert [s.cumulative for s in found.structures] == [24 * unit, 96 * unit]
    # D: dx (p_1²) with p_1 = 0 for the first, 16 for the second; the last point of the second is 0.
    assert found.value == (16 * Q(1, 20) + 2 * 120 * unit) / 2
    alone = oracle.masked_dos(**{**case, **{name: case[name][:1] for name in ("predictions", "targets", "mask")}})
    assert alone.structures[0].cumulative == 0
    # Three structures: the middle one weighs 1, and 1/2 at both ends.
    three = oracle.masked_dos(
        **{
            **case,
            "predictions": [case["predictions"][1]] * 3,
            "targets": [[0.0] * 3] * 3,
            "mask": [case["mask"][1]] * 3,
        }
    )
    ends, middle = three.structures[0].cumulative, three.structures[1].cumulative
    assert (ends, middle) == ((3 * 16 + 3 * 64) * unit, 2 * ends)


def test_squares_are_accumulated_apart() -> None:
    # a² = (4, 1), t² = (1, 0), dx = 2: c_1 = (4 + 1) - (1 + 0) = 4; three points, so that C = 2 (c_1² + c_2²)/2.
    choice = Choice("dos", False, "window", "exact", "structure", "squares")
    found = oracle.masked_dos([[2.0, 1.0, 0.0]], [[1.0, 0.0, -3.0]], [[True] * 3], choice, energy_step=2)
    assert found.structures[0].cumulative == 4**2 + (4 + 1 - 9) ** 2


def test_masked_targets_count_in_the_cumulative_and_nan_reads_zero() -> None:
    # Point 0 is masked out, and still adds its a - t to c_1 and c_2.
    case = {"predictions": [[1.0, 0.0, 0.0]], "mask": [[False, True, True]], "convention": CONVENTIONS["documented"]}
    far = oracle.masked_dos(**case, targets=[[7.0, 0.0, 0.0]], energy_step=2)
    assert far.structures[0].cumulative == 72  # c = (-6, -6): 2 (36/2 + 36/2)
    absent = oracle.masked_dos(**case, targets=[[NAN, 0.0, 0.0]], energy_step=2)
    assert absent.structures[0].cumulative == 2  # c = (1, 1)


@pytest.mark.parametrize(
    ("landscape", "shift", "runner_up", "rival"),
    [
        ([3, 1, 2, 2, 4, 2], 1, 2, 5),  # the run (2, 2) has 1 beside it; the last 2 is an end of the range
        ([3, 1, 2, 0, 4, 2], 3, 1, 1),
        ([1, 1, 5, 1, 1, 2], 0, 1, 3),  # the run of the chosen shift is left out, an equal one is not
        ([2, 5, 3, 3, 5, 0], 5, 0, 0),
        ([4, 5, 3, 3, 5, 0], 5, 2, 2),  # the smallest shift of the run stands for it
        ([0, 0, 0], 0, 1, -1),
        ([2], 0, -1, -1),
        ([5, 4, 3, 2], 3, 2, -1),
    ],
)
def test_choices_among_shifts(landscape: list[int], shift: int, runner_up: int, rival: int) -> None:
    exact = [Q(x) for x in landscape]
    assert oracle.best(exact) == shift
    assert oracle.runner_up(exact, shift) == runner_up
    assert oracle.rival(exact, shift) == rival


# ---- the gradient by another route -----------------------------------------------------------------------------


@pytest.mark.parametrize("choice", EVERY_CHOICE, ids=lambda choice: "-".join(map(str, vars(choice).values())))
def test_gradient_is_the_exact_difference_quotient(choice: Choice) -> None:
    # At fixed shifts the loss is a polynomial of degree 4 at most in each p (2 but for squares), and
    # (8 [f(h) - f(-h)] - [f(2h) - f(-2h)]) / 12h is exact up to degree 4, for any h.
    noise = random.Random(repr(choice))
    batch, points, extra = noise.choice([1, 2, 3]), noise.choice([2, 3, 6]), noise.choice([0, 1, 3])

    def rows(width: int) -> list[list[float]]:
        return [[noise.randint(-99, 99) / 16 for _ in range(width)] for _ in range(batch)]

    p, t = rows(points + extra), rows(points)
    mask = [[noise.random() < 0.6 for _ in range(points)] for _ in range(batch)]
    options = {"energy_step": 0.05, "grad_weight": 0.3, "int_weight": 0.7}
    at_rest = oracle.masked_dos(p, t, mask, choice, **options)
    shifts = [structure.shift for structure in at_rest.structures]

    def value(b: int, j: int, step: int) -> Q:
        moved = [list(row) for row in p]
        moved[b][j] += step / 8
        found = oracle.masked_dos(moved, t, mask, choice, **options, shifts=shifts, gradient=False).value
        assert isinstance(found, Q)
        return found

    for b, j in itertools.product(range(batch), range(points + extra)):
        quotient = (8 * (value(b, j, 1) - value(b, j, -1)) - (value(b, j, 2) - value(b, j, -2))) / (12 * Q(1, 8))
        assert at_rest.grad[b][j] == quotient
        assert at_rest.leaves[b][j] >= abs(quotient)


def test_leaves_are_the_gradient_of_absolute_values() -> None:
    # With p ≥ 0, t ≤ 0 and no stencil nothing cancels, so leaves and gradient are one.
    options = {"mask": [[True, False, True]], "energy_step": 0.25, "int_weight": 3.0}
    for choice in (CONVENTIONS["intended"], Choice("dos", True, "window", "exact", "structure", "dos")):
        found = oracle.masked_dos([[1.0, 0.5, 2.0, 3.0]], [[-1.0, -4.0, -0.5]], convention=choice, **options)
        assert found.leaves == found.grad
        mirrored = oracle.masked_dos(
            [[-1.0, 0.5, -2.0, 3.0]],
            [[1.0, -4.0, 0.5]],
            convention=choice,
            shifts=[found.structures[0].shift],
            **options,
        )
        assert mirrored.leaves == found.leaves
        assert mirrored.grad != found.grad
