"""The list of inputs at which rounded arithmetic goes wrong, each against the oracle, under every loss.

Every entry says in its name what is nasty about it. Random ones of the same kinds: `strategies.HARD`, in the campaign
and in `test_aligned_hard`, which also holds the cases that need a convention or weights of their own.
"""

from __future__ import annotations

import math

import numpy as np
import oracle
import pytest
from checks import assert_pointwise, check, check_agnostic
from strategies import HARD, TOTAL, Case, by_name

import refloss

SMALLEST = 5e-324
ROOT = math.sqrt(SMALLEST)  # 2^-537: its square is the smallest number there is


def up(x: float, times: int = 1) -> float:
    """Return the number so many ulp above."""
    return float(x + times * np.spacing(x))


A, B, C, D = 0.1234567890123456, 0.7071067811865476, -1.4142135623730951, 0.3333333333333333

# name: predictions (N + E), targets (N), mask (N) of one structure
NASTY: dict[str, tuple[list[float], list[float], str]] = {
    "p is t but for an ulp here and there": ([A, up(B), C, up(D, -1), A], [A, B, C, D, up(A, 2)], "11111"),
    "p is t to the bit": ([A, B, C, D, A], [A, B, C, D, A], "11011"),
    "p is t at the second shift, an ulp off at the first": ([up(A), up(A), A, A], [A, A, A], "111"),
    "a pedestal of 1e8": ([1e8 + x for x in (A, B, C, D, A, B)], [1e8 + x for x in (B, C, D, A)], "1011"),
    "a pedestal of 1e8 and an ulp": ([up(1e8 + x) for x in (A, B, C, D, A)], [1e8 + x for x in (A, B, C, D)], "1111"),
    "1e150": ([1e150 * x for x in (A, B, C, D, A, B, C)], [1e150 * x for x in (B, D, C, A)], "1101"),
    "1e-150": ([1e-150 * x for x in (A, B, C, D, A, B, C)], [1e-150 * x for x in (B, D, C, A)], "1101"),
    "1e150 beside 1e-150": ([1e150, 1e-150, 1e150, 1e-150, A], [1e150, 1e-150, up(1e150), 1e-150], "1111"),
    "squares that are subnormal": ([ROOT * x for x in (3.0, A, B, -7.0, D, 2.0)], [ROOT, -ROOT, 0.0, ROOT], "1011"),
    "squares that underflow to 0": ([1e-170 * x for x in (A, B, C, D, A)], [1e-170 * x for x in (B, C, D)], "111"),
    "subnormal inputs": ([SMALLEST * k for k in (3, 1, 7, 2, 5, 11)], [SMALLEST * k for k in (1, 7, 2, 4)], "1110"),
    "the smallest number alone": ([0.0, 0.0, SMALLEST, 0.0, 0.0], [0.0, 0.0, 0.0], "111"),
    "the smallest normal number, and half of it": ([2.0**-1022, 2.0**-1023, 0.0, A], [2.0**-1023, 2.0**-1022], "11"),
    "signed zeros": ([0.0, -0.0, 0.0, -0.0, 0.0], [-0.0, 0.0, -0.0], "101"),
    "a tie of two shifts": ([1.0, 2.0, 5.0, 1.0, 2.0], [1.0, 2.0], "11"),
    "a tie of the second and the fourth shift": ([9.0, A, B, A, B], [A, B], "11"),
    "a tie for the runner-up alone": ([0.0, 0.0, 1.0, 0.0, 7.0], [0.0, 0.0], "11"),
    "a palindrome: D(s) = D(E - s), no shift its own image": (
        [A, B, C, D, D, C, B, A],
        [B, D, A, D, B],
        "11011",
    ),
    "a palindrome, an ulp up at its end": ([A, B, C, D, D, C, B, up(A)], [B, D, A, D, B], "11011"),
    "a palindrome, an ulp down at its end": ([A, B, C, D, D, C, B, up(A, -1)], [B, D, A, D, B], "11011"),
    "a palindrome, an ulp up in the middle": ([A, B, C, up(D), D, C, B, A], [B, D, A, D, B], "11011"),
    "a constant prediction: a plateau": ([A] * 9, [B, C, D, A], "1011"),
    "a plateau but for an ulp at its end": ([A] * 8 + [up(A)], [B, C, D, A], "1111"),
    "a plateau but for an ulp in front": ([up(A)] + [A] * 8, [B, C, D, A], "1111"),
    "a plateau between two others": ([B] * 4 + [A] * 6 + [C] * 4, [A, A, B], "111"),
    "zeros in front: a plateau with a front tail of 0": ([0.0] * 7 + [A, B], [0.0, 0.0, A], "111"),
    "a prediction of zeros": ([0.0] * 8, [A, B, C, D], "1101"),
    "a plateau that only the mask makes": ([B, C, A, A, A, A, A], [C, 5.0, D], "001"),
    "integers": ([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0], [4.0, 1.0, -5.0, 8.0], "1111"),
    "integers of 53 bits": ([2.0**53 - 1, 2.0**52 + 1, -(2.0**53) + 3, 1.0, 7.0], [2.0**53 - 3, 5.0, 1.0], "111"),
    "nothing counts": ([A, B, C, D, A, B], [B, C, D, A], "0000"),
    "all counts": ([A, B, C, D, A, B], [B, C, D, A], "1111"),
    "one point counts": ([A, B, C, D, A, B, C], [B, C, D, A, C], "00100"),
    "the first point alone counts": ([A, B, C, D, A, B, C], [B, C, D, A, C], "10000"),
    "the last point alone counts": ([A, B, C, D, A, B, C], [B, C, D, A, C], "00001"),
    "every other point counts": ([A, B, C, D, A, B, C, D, B], [B, C, D, A, C, B, A], "1010101"),
    "every other point does not": ([A, B, C, D, A, B, C, D, B], [B, C, D, A, C, B, A], "0101010"),
    "two points": ([A, B, C, D], [C, D], "11"),
    "two points, no other shift": ([A, B], [C, D], "10"),
    "three points, no other shift": ([A, B, C], [C, D, A], "101"),
    "four points, no other shift": ([A, B, C, D], [C, D, A, B], "0110"),
    "five points, no other shift": ([A, B, C, D, A], [C, D, A, B, D], "01100"),
    "five points: one of the stencil": ([A, B, C, D, A], [C, D, A, B, D], "11110"),
    "the best shift is the first": ([A, B, C, D, 5.0, 6.0, 7.0], [A, B, C, up(D)], "1111"),
    "the best shift is the last": ([0.0, 0.0, 0.0, A, B, C, D], [A, B, C, up(D)], "1111"),
    "a cumulative sum of three magnitudes": (
        [1e25, 1e8, -1e25, 1.0, 1e25, -1e8, -1e25, A],
        [B, -1e8, A, D, 0.0, 1e8, -A, B],
        "11111111",
    ),
    "a cumulative sum that is 1 after 1e25 - 1e25": ([1e25, -1e25, 1.0, 0.0, 0.0], [0.0] * 5, "00011"),
    "a cumulative sum of 2^100, 2^50, 2^0": (
        [2.0**100, -(2.0**100), 2.0**50, -(2.0**50), 1.0, -1.0, A],
        [0.0] * 6,
        "111111",
    ),
    "a cumulative sum whose large parts all cancel in pairs": (
        [(-1) ** i * 2.0**60 for i in range(16)],
        [2.0**-40 * math.sin(i + 1) for i in range(16)],
        "1111111111111111",
    ),
    "a stencil of three magnitudes: 3·16 X - 16·3 X + 36·4 Y - 48·3 Y + 25 z": (
        [16 * 2.0**90, 3 * 2.0**90, 4 * 2.0**40, 3 * 2.0**40, A],
        [16 * 2.0**90, 3 * 2.0**90, 4 * 2.0**40, 3 * 2.0**40, A],
        "11110",
    ),
    "a stencil over a constant of 1e25": ([1e25, 1e25, 1e25, 1e25, up(1e25), 1e25], [1e25] * 6, "000000"),
    "a misfit of three magnitudes": ([1e100, 1.0, 1e-100, A, B], [up(1e100), up(1.0), up(1e-100), A], "1111"),
    "a front tail larger than all the rest": ([1e30, A, B, C, D], [A, B, C, D], "1111"),
    "a front tail of the smallest numbers": ([1e-160, 1e-162, A, B, C], [A, B, C], "111"),
    "neighbours of a power of two": ([1.0, up(1.0), 1 - 2**-53, 2.0, up(2.0)], [1 - 2**-53, 1.0, up(1.0)], "111"),
    "squares halfway between floats": ([1 + 2.0**-27, 1 + 2.0**-26, 1 - 2.0**-27, 0.0], [0.0, 2.0**-53, 0.0], "111"),
}  # fmt: skip


def structure(name: str) -> Case:
    """Return the entry as a batch of two: itself, and itself backwards with the opposite sign."""
    predictions, targets, mask = (np.array(row, float) for row in (*NASTY[name][:2], list(NASTY[name][2])))
    rows = [np.stack([row, sign * row[::-1]]) for row, sign in ((predictions, -1), (targets, -1), (mask, 1))]
    return Case(rows[0], rows[1], rows[2] == 1)


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", TOTAL], ids=by_name)
@pytest.mark.parametrize("name", list(NASTY))
def test_masked_dos(name, convention):
    case = structure(name)
    check(case, convention)
    if convention in ("documented", "intended"):
        check(case, convention, energy_step=0.125, grad_weight=0.5, int_weight=2.0, reduction="sum")


@pytest.mark.parametrize("convention", ["intended", "metatrain-2026.3"])
@pytest.mark.parametrize("name", list(NASTY))
def test_shift_agnostic_mse(name, convention):
    case = structure(name)
    check_agnostic(case.predictions, np.where(case.mask, case.targets, np.nan), convention)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("name", list(NASTY))
def test_pointwise(name, loss, reduction):
    case = structure(name)
    p, t = np.ascontiguousarray(case.predictions[:, : case.targets.shape[1]]), case.targets
    largest = np.abs(p - t).max()
    # At the knee of the largest difference, and in the middle of them all.
    for delta in (float(largest), 0.5) if loss == "huber" and largest > 0 else (1.0,):
        options = {"delta": delta} if loss == "huber" else {}
        found = getattr(refloss, loss)(p, t, mask=case.mask, reduction=reduction, grad=True, **options)
        lists = p.ravel().tolist(), t.ravel().tolist(), case.mask.ravel().tolist()
        assert_pointwise(found, oracle.pointwise(loss, *lists, reduction, **options), grad=True)


TIED = [
    "the smallest number alone",
    "signed zeros",
    "a tie of two shifts",
    "a tie of the second and the fourth shift",
    "a palindrome: D(s) = D(E - s), no shift its own image",
    "a constant prediction: a plateau",
    "a plateau but for an ulp at its end",
    "a plateau between two others",
    "a prediction of zeros",
    "a plateau that only the mask makes",
    "nothing counts",
]


def test_the_ties_of_the_list_are_ties():
    # What the names promise, so that nobody weakens an entry by a change of its numbers; in exact arithmetic.
    exact = {name: oracle.masked_dos(*structure(name).lists(), oracle.CONVENTIONS["documented"]) for name in NASTY}
    assert [name for name, found in exact.items() if found.structures[0].tied] == TIED
    landscape = exact["a tie for the runner-up alone"].structures[0].landscape
    assert landscape[0] < landscape[1] == landscape[2] < landscape[3]
    for name in NASTY:
        if name.startswith("a palindrome, an ulp"):
            assert 0 < exact[name].structures[0].margin < 2**-52, name


@pytest.mark.parametrize("big", [1e30, 1e60])
def test_a_large_number_that_does_not_count_behind_many_that_do(big):
    case = HARD["generic"](np.random.default_rng(52), 1, 40, 0)
    case.mask[:], case.mask[0, -1], case.predictions[0, -1] = True, False, big
    check(case, "documented", grad_weight=0.0, int_weight=1e6)


LONG = ["trained", "palindromic", "nudged", "offset", "cancelling", "plateau", "runs", "isolated points", "integers"]


@pytest.mark.parametrize("name", LONG)
def test_masked_dos_at_4606_points(name):
    rng = np.random.default_rng([len(name), 50])
    case = HARD[name](rng, 1, 4606, 25)
    check(case, "intended" if name in ("runs", "trained") else "documented", landscape=False, grad=name == "trained")


@pytest.mark.parametrize("name", ["trained", "isolated points"])
def test_shift_agnostic_mse_at_4606_points(name):
    # 1545 points of a prediction make 4635 with the padding, and 30 shifts.
    rng = np.random.default_rng([len(name), 51])
    case = HARD[name](rng, 1, 4606, 0)
    predictions = np.ascontiguousarray(case.predictions[:, 1500:3045])
    targets = np.where(case.mask, case.targets, np.nan)
    targets[:, :1520], targets[:, 3065:] = 0.0, 0.0
    check_agnostic(predictions, targets, landscape=False, grad=name == "trained")
