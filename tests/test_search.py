"""The shift search, instrumented: its bounds on hard numbers, and every way through it against a direct scan, in bits.

The helpers are the kernels' own, called one by one; what is exact comes from the oracle. The objective is that of the
kernels, without its factor dx. `test_bounds` has the bounds on numbers made for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import oracle
import oracle_agnostic
import pytest
from strategies import HARD, Case, fitted, generic

import refloss
from refloss.kernels import bounds
from refloss.kernels.alignment import ENOUGH, decide, margin, mask_weights, objective
from refloss.kernels.bounds import COARSE, FINE, MANY, TILE

STEP = 0.25
"""The energy step of masked_dos here: a power of two, with which nothing is rounded."""


@dataclass(frozen=True)
class Search:
    """One structure as the kernels see it: the padded prediction, the target, the mask and the two switches."""

    p: np.ndarray
    t: np.ndarray
    mask: np.ndarray
    front_tail: bool
    trapezoid: bool

    @property
    def shifts(self) -> int:
        return self.p.size - self.t.size + 1

    @property
    def step(self) -> float:
        return STEP if self.trapezoid else 1.0

    def weight(self) -> np.ndarray:
        weight = np.empty(self.t.size)
        mask_weights(self.mask, self.trapezoid, weight)
        return weight

    def tails(self) -> np.ndarray:
        tails = np.zeros(self.shifts)
        if self.front_tail:
            bounds.front_tails(self.p, self.trapezoid, self.shifts, tails)
        return tails

    def exact(self) -> list[Fraction]:
        """Return the objective at every shift."""
        kind = oracle.Parts if self.trapezoid else oracle_agnostic.Sums
        switches = oracle.CONVENTIONS["intended" if self.front_tail else "documented"]
        rows = [self.p.tolist()], [self.t.tolist()], [self.mask.tolist()]
        (one,) = oracle.parts_of(kind, *rows, switches, 1, 0.0, 0.0)
        return [one.objective(s) for s in range(self.shifts)]

    def by_blocks(self, length: int, start: int, stop: int) -> np.ndarray:
        """Return the bounds of the shifts start..stop − 1 by blocks of this length."""
        chosen, scratch = np.empty(self.t.size, np.int64), np.empty(self.p.size)
        p_sums, t_sums, cost = np.zeros(self.p.size), np.zeros(self.t.size), np.empty(stop - start)
        count = bounds.whole_blocks(self.weight(), length, chosen)
        bounds.block_sums(self.p, length, p_sums, scratch)
        bounds.sums_of_blocks(self.t, length, chosen, count, t_sums)
        most = max(np.abs(self.p).max(), np.abs(self.t).max())
        bounds.bound_by_blocks(p_sums, t_sums, length, chosen, count, most, self.tails(), start, cost)
        return cost

    def by_sums(self, start: int, stop: int) -> np.ndarray:
        """Return the bounds of the shifts start..stop − 1 by plain sums."""
        chosen, cost, weight = np.empty(self.t.size, np.int64), np.empty(stop - start), self.weight()
        count = bounds.inner_points(weight, chosen)
        bounds.bound_by_sums(self.p, self.t, weight, chosen, count, self.tails(), start, cost)
        return cost

    def direct(self) -> tuple[int, int, bool, tuple[float, float, float]]:
        """Return best, runner-up, whether that is proven, and the margin, from all shifts in double-double."""
        zero, scratch, weight = np.zeros(self.p.size), np.empty(self.p.size), self.weight()
        rows = [
            objective(self.p, self.t, weight, self.front_tail, self.trapezoid, s, zero, scratch)
            for s in range(self.shifts)
        ]
        high, low, error = (np.array(column) for column in zip(*rows, strict=True))
        level = np.arange(self.shifts)
        best, second, sure = decide(high, low, error, level, np.ones(self.shifts, np.bool_))
        return best, second, sure, margin(high, low, error, level, best, second, self.step)


def seen(case: Case, b: int, loss: str) -> Search:
    """Return structure `b` as a loss sees it: "documented" and "intended" masked_dos, or shift_agnostic_mse."""
    p, t, mask = case.predictions[b], np.where(case.mask[b], case.targets[b], 0.0), case.mask[b]
    if loss == "agnostic":
        return Search(np.pad(p, p.size), t, mask, True, False)
    return Search(p, t, mask, loss == "intended", True)


def smooth(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return densities like real ones, a shift and a little noise apart: blocks bound these well."""
    x = np.arange(points + extra)
    centres, heights = rng.uniform(0, points + extra, (12, 1)), rng.uniform(0.2, 2, (12, 1))
    density = (heights * np.exp(-(((x - centres) / 9) ** 2))).sum(axis=0)
    shift = int(rng.integers(0, extra + 1))
    targets = np.repeat(density[None, shift : shift + points], batch, axis=0)
    mask = np.repeat(np.arange(points)[None] < 0.8 * points, batch, axis=0)
    return Case(density + 1e-3 * rng.normal(size=(batch, x.size)), targets, mask)


# ---- bounds ----------------------------------------------------------------------------------------------------

KINDS = {name: build for name, build in HARD.items() if name not in ("large", "subnormal")} | {"smooth": smooth}
LOSSES = ["documented", "intended", "agnostic"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", list(KINDS))
def test_no_shift_is_bounded_above_its_exact_objective(name, loss):
    # "large" reaches the kernels scaled, "subnormal" not at all.
    for points, extra in [(12, 7), (40, 11), (130, 40), (70, 150)]:
        search = seen(KINDS[name](np.random.default_rng([len(name), points, 80]), 1, points, extra), 0, loss)
        exact, whole = search.exact(), (0, search.shifts)
        for cost in (search.by_blocks(FINE, *whole), search.by_blocks(COARSE, *whole), search.by_sums(*whole)):
            assert all(Fraction(bound) <= wanted for bound, wanted in zip(cost.tolist(), exact, strict=True))
        without = Search(search.p, search.t, search.mask, False, search.trapezoid).exact()
        for s, tail in enumerate(search.tails().tolist()):
            rounded, tiny = (s + 4) * Fraction(bounds.UNIT), Fraction(bounds.TINY)
            wanted = exact[s] - without[s]
            assert abs(Fraction(tail) - wanted) <= rounded * wanted + tiny


@pytest.mark.parametrize("loss", LOSSES)
def test_a_tile_of_shifts_has_the_bounds_of_the_whole(loss):
    search = seen(smooth(np.random.default_rng(82), 1, 200, 3 * TILE + 5), 0, loss)
    whole = 0, search.shifts
    for start in range(0, search.shifts, TILE):
        tile = start, min(start + TILE, search.shifts)
        for length in (FINE, COARSE):
            assert np.array_equal(search.by_blocks(length, *tile), search.by_blocks(length, *whole)[slice(*tile)])
        assert np.array_equal(search.by_sums(*tile), search.by_sums(*whole)[slice(*tile)])


@pytest.mark.parametrize("length", [FINE, COARSE])
def test_blocks_hold_no_masked_point_and_no_end(length):
    rng = np.random.default_rng(83)
    for points in (2, length + 1, length + 2, length + 3, 300):
        mask, weight, chosen = rng.random(points) < 0.98, np.empty(points), np.empty(points, np.int64)
        mask_weights(mask, True, weight)
        count = bounds.whole_blocks(weight, length, chosen)
        whole = [first for first in range(1, points - length, length) if mask[first : first + length].all()]
        assert chosen[:count].tolist() == whole
        assert all(first + length <= points - 1 for first in whole)


# ---- the ways through the search -------------------------------------------------------------------------------


def scenes() -> dict[str, Case]:
    """Return a case for each way through the search."""
    rng = np.random.default_rng(84)
    noise = generic(rng, 2, 60, 200)
    flat = np.where(np.arange(260) < 200, 0.37, noise.predictions)
    return {
        "blocks": smooth(rng, 2, 700, 200),
        "blocks, at the first shift": fitted(rng, 300, 100, [0, 0], 0.01),
        "blocks, at the last shift": fitted(rng, 300, 100, [100, 100], 0.01),
        "sums over many survivors": noise,
        "sums on a pedestal": Case(1e3 + noise.predictions, 1e3 + noise.targets, noise.mask),
        "sums without a block": HARD["isolated points"](rng, 2, 80, 300),
        "coarse blocks, then fine ones": smooth(rng, 2, 500, 1100),
        "coarse blocks, then sums": generic(rng, 2, 150, 1100),
        "coarse, more shifts than points": generic(rng, 2, 9, 1100),
        "a plateau": HARD["plateau"](rng, 2, 60, 200),
        "a coarse plateau": HARD["plateau"](rng, 2, 90, 1100),
        "a plateau of some": noise.replace_predictions(flat),
        "an empty mask": Case(noise.predictions, noise.targets, np.zeros_like(noise.mask)),
        "runs": HARD["runs"](rng, 2, 30, 200),
        "zeros and ones": HARD["small integers"](rng, 2, 40, 200),
        "a palindrome": HARD["palindromic"](rng, 2, 40, 201),
        "a palindrome an ulp off": HARD["nudged"](rng, 2, 40, 201),
        "a rounding away": HARD["trained"](rng, 2, 200, 100),
        "two shifts": generic(rng, 2, 50, 1),
    }


SCENES = scenes()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", list(SCENES))
def test_every_way_gives_the_bits_of_a_direct_scan(name, loss):
    case = SCENES[name]
    if loss == "agnostic":
        # The middle third of the prediction: with its padding about as wide as the whole.
        third = case.predictions.shape[1] // 3
        case = case.replace_predictions(np.ascontiguousarray(case.predictions[:, third : 2 * third + 5]))
        found = refloss.shift_agnostic_mse(case.predictions, np.where(case.mask, case.targets, np.nan))
    else:
        arrays = case.predictions, case.targets, case.mask
        found = refloss.masked_dos(*arrays, convention=loss, energy_step=STEP)
    for b in range(len(case.targets)):
        search = seen(case, b, loss)
        exact = [height * Fraction(search.step) for height in search.exact()]
        first, second = sorted(range(search.shifts), key=lambda s: (exact[s], s))[:2]
        gap = exact[second] - exact[first]
        assert (found.shift[b], found.runner_up[b], found.tied[b]) == (first, second, gap == 0)
        best, other, sure, (high, _, slack) = search.direct()
        if sure and slack <= 2.0**-64 * high:
            assert (best, other, high) == (first, second, found.margin[b])
        else:
            assert found.margin[b] == oracle.nearest(gap)

        excluded, evaluated = float(found.certificate.excluded_above[b]), int(found.certificate.evaluated[b])
        assert (excluded == math.inf) == (evaluated == search.shifts)
        assert sum(height < excluded for height in exact) <= evaluated
        assert excluded > exact[second]


def test_the_scenes_go_the_ways_that_they_are_named_after():
    found = {name: refloss.masked_dos(c.predictions, c.targets, c.mask) for name, c in SCENES.items()}
    for name, result in found.items():
        evaluated, shifts = result.certificate.evaluated, result.shifts
        assert ("coarse" in name) == (shifts > MANY), name
        if name in ("a plateau", "a coarse plateau", "an empty mask", "two shifts"):
            assert (evaluated == shifts).all(), name
        elif name.startswith(("blocks", "sums", "coarse", "a rounding")):
            assert (evaluated <= max(6, shifts // 20)).all(), name
    # Of noise the blocks exclude next to nothing: what is left goes through plain sums.
    for name in ("sums over many survivors", "sums without a block", "coarse blocks, then sums"):
        search = seen(SCENES[name], 0, "documented")
        cost = search.by_blocks(FINE, 0, search.shifts)
        assert sum(cost <= found[name].per_structure[0] / 0.05) > ENOUGH, name
