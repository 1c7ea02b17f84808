"""The losses once more, in exact rational arithmetic: the judge of everything that computes them.

Written from docs/specification.md, sections 1 to 3, alone; section 4 is in `oracle_agnostic`. It imports nothing from
the package under test and no NumPy: inputs are nested lists of floats, each taken as the rational number that it is,
and outputs are `Fraction`s. For speed, every structure is scaled by one power of two to integers; dx, the weights and
the stencil enter at the end as Fractions.

Names: predictions (B, N + E), targets (B, N), mask (B, N), energy_step dx in eV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Protocol

HALF = Fraction(1, 2)
FRACTION_OF_LEAVES = Fraction(1, 2**80)
"""What a gradient may be off by, as a part of the same formula with absolute values at its leaves (section 9)."""


class Switches(Protocol):
    """What the oracle reads of a convention."""

    @property
    def objective(self) -> str: ...
    @property
    def front_tail(self) -> bool: ...
    @property
    def gradient_points(self) -> str: ...
    @property
    def stencil(self) -> str: ...
    @property
    def cumulative(self) -> str: ...
    @property
    def cumulated(self) -> str: ...


@dataclass(frozen=True)
class Choice:
    """One choice of the switches, spelt out here so that the package's own table is tested too."""

    objective: str
    front_tail: bool
    gradient_points: str
    stencil: str
    cumulative: str
    cumulated: str


CONVENTIONS = {
    "documented": Choice("dos", False, "window", "exact", "structure", "dos"),
    "intended": Choice("dos+front_tail", True, "prediction", "exact", "structure", "dos"),
    "metatrain-2026.2": Choice("dos+front_tail", True, "prediction", "float32", "batch", "dos"),
    "metatrain-2025.12": Choice("dos+front_tail", True, "prediction", "float32", "batch", "squares"),
}


# ---- floats and exact numbers ----------------------------------------------------------------------------------


def nearest(exact: Fraction) -> float:
    """Round to the nearest float64, ties to even; beyond the range: an infinity."""
    try:
        return exact.numerator / exact.denominator  # the quotient of two integers is rounded correctly
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def ulp(exact: Fraction) -> Fraction:
    """Return the spacing of the float64 numbers around `exact`: 2^(e − 52) for 2^e ≤ abs(exact) < 2^(e+1)."""
    if exact == 0:
        return Fraction(1, 2**1074)
    numerator, denominator = abs(exact.numerator), exact.denominator
    exponent = numerator.bit_length() - denominator.bit_length()
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    return Fraction(2) ** max(exponent - 52, -1074)


def ulps(found: float, exact: Fraction) -> float:
    """Return by how many units in the last place `found` is off."""
    if not math.isfinite(found):
        return math.inf
    return nearest(abs(Fraction(found) - exact) / ulp(exact))


# ---- pointwise losses ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pointwise:
    """`value`: one number, or a list for reduction "none"; `grad` and `leaves` have one entry per element."""

    value: Fraction | list[Fraction]
    grad: list[Fraction]
    leaves: list[Fraction]
    count: int
    selected: list[bool]


def pointwise(
    loss: str,
    predictions: Sequence[float],
    targets: Sequence[float],
    mask: Sequence[bool] | None = None,
    reduction: str = "mean",
    delta: float = 1.0,
) -> Pointwise:
    """Evaluate "mse", "mae" or "huber" over flat sequences."""
    selected = [target == target and (mask is None or bool(mask[i])) for i, target in enumerate(targets)]
    count = sum(selected)
    share = Fraction(1, count) if reduction == "mean" and count else Fraction(1)
    elements, grad, leaves = [], [], []
    for prediction, target, chosen in zip(predictions, targets, selected, strict=True):
        if not chosen:
            grad.append(Fraction(0))
            leaves.append(Fraction(0))
            continue
        difference = Fraction(prediction) - Fraction(target)
        size = abs(Fraction(prediction)) + abs(Fraction(target))
        element, slope, leaf = _element(loss, difference, size, Fraction(delta))
        elements.append(element)
        grad.append(slope * share)
        leaves.append(leaf * share)
    value = elements if reduction == "none" else sum(elements, Fraction(0)) * share
    return Pointwise(value, grad, leaves, count, selected)


def _element(loss: str, d: Fraction, size: Fraction, delta: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Return the element, its derivative by p, and the derivative with `size` in the place of d."""
    sign = (d > 0) - (d < 0)
    if loss == "mse":
        return d * d, 2 * d, 2 * size
    if loss == "mae":
        return abs(d), Fraction(sign), Fraction(1)
    if abs(d) <= delta:
        return d * d / 2, d, size
    return delta * (abs(d) - delta / 2), sign * delta, delta


# ---- masked_dos ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """One structure, at its own shift. `margin` None: there is no other shift (or no rival)."""

    landscape: list[Fraction]
    shift: int
    runner_up: int
    margin: Fraction | None
    rival: int
    rival_margin: Fraction | None
    dos: Fraction
    front_tail: Fraction
    unmasked_gradient: Fraction
    cumulative: Fraction
    total: Fraction
    grad: list[Fraction]
    leaves: list[Fraction]

    @property
    def tied(self) -> bool:
        """The best of the other shifts is exactly as good."""
        return self.margin == 0


@dataclass(frozen=True)
class Aligned:
    """A batch. `grad` and `leaves` (B, N + E) are already reduced as `value` is."""

    value: Fraction | list[Fraction]
    structures: list[Structure]
    grad: list[list[Fraction]]
    leaves: list[list[Fraction]]


def masked_dos(
    predictions: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]],
    mask: Sequence[Sequence[bool]],
    convention: Switches,
    energy_step: float | Fraction = 0.05,
    grad_weight: float = 1e-4,
    int_weight: float = 2.0,
    reduction: str = "mean",
    shifts: Sequence[int] | None = None,
    gradient: bool = True,
) -> Aligned:
    """Evaluate the masked DOS loss of a batch; `shifts` given: at these instead of the best ones."""
    numbers = (energy_step, grad_weight, int_weight)
    parts = parts_of(Parts, predictions, targets, mask, convention, *numbers)
    chosen = [None] * len(parts) if shifts is None else shifts
    return reduced([one.structure(s, gradient) for one, s in zip(parts, chosen, strict=True)], reduction)


def parts_of(
    kind: type[Parts],
    predictions: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]],
    mask: Sequence[Sequence[bool]],
    convention: Switches,
    energy_step: float | Fraction,
    grad_weight: float,
    int_weight: float,
) -> list[Parts]:
    """Return the terms of every structure, as `kind` defines them, with what is accumulated over the batch."""
    batch, points = len(targets), len(targets[0])
    mixed = [sum(bool(row[i]) for row in mask) for i in range(points)]
    over_batch = _doubled_trapezoid(batch)
    parts = []
    for b in range(batch):
        own = [bool(flag) for flag in mask[b]]
        if convention.cumulative == "batch":
            accumulation = _Accumulation(HALF * over_batch[b] / (points - 1), mixed[1:])
        else:
            weights = _doubled_trapezoid(points - 1)
            accumulation = _Accumulation(HALF, [w * flag for w, flag in zip(weights, own[1:], strict=True)])
        given = [0.0 if target != target else target for target in targets[b]]
        parts.append(kind(predictions[b], given, own, convention, energy_step, grad_weight, int_weight, accumulation))
    return parts


def reduced(structures: list[Structure], reduction: str) -> Aligned:
    """Return the batch of these structures."""
    share = Fraction(1, len(structures)) if reduction == "mean" else Fraction(1)
    totals = [structure.total for structure in structures]
    return Aligned(
        totals if reduction == "none" else sum(totals, Fraction(0)) * share,
        structures,
        [[share * x for x in structure.grad] for structure in structures],
        [[share * x for x in structure.leaves] for structure in structures],
    )


def best(objective: Sequence[Fraction]) -> int:
    """Return the smallest shift with the lowest objective."""
    return min(range(len(objective)), key=lambda s: (objective[s], s))


def runner_up(objective: Sequence[Fraction], shift: int) -> int:
    """Return the best of the other shifts, ties to the smallest; −1 where there is none."""
    others = [s for s in range(len(objective)) if s != shift]
    return min(others, key=lambda s: (objective[s], s)) if others else -1


def rival(objective: Sequence[Fraction], shift: int) -> int:
    """Return the best local minimum whose run does not hold `shift`; −1 where there is none.

    A local minimum is a maximal run of equal values with nothing lower directly beside it, the ends of the range
    included; its smallest shift stands for it.
    """
    runs = []
    start = 0
    while start < len(objective):
        stop = start
        while stop < len(objective) and objective[stop] == objective[start]:
            stop += 1
        falls_before = start > 0 and objective[start - 1] < objective[start]
        falls_behind = stop < len(objective) and objective[stop] < objective[start]
        if not falls_before and not falls_behind and not start <= shift < stop:
            runs.append(start)
        start = stop
    return min(runs, key=lambda s: (objective[s], s)) if runs else -1


def _doubled_trapezoid(points: int) -> list[int]:
    """Twice the trapezoid weights: 1, 2, …, 2, 1; a single point weighs 0."""
    if points < 2:
        return [0] * points
    return [1] + [2] * (points - 2) + [1]


def _integers(numbers: Sequence[float]) -> tuple[list[int], int]:
    """Return integers n and an exponent k with numbers = n / 2^k."""
    ratios = [float(x).as_integer_ratio() for x in numbers]
    common = max(denominator for _, denominator in ratios)
    return [n * (common // denominator) for n, denominator in ratios], common.bit_length() - 1


@dataclass(frozen=True)
class _Accumulation:
    """C = factor · dx · Σ weights_i c_i², i = 1..N−1: over energy, or over the batch."""

    factor: Fraction
    weights: list[int]


class Parts:
    """The terms of one structure as functions of the shift. Integers p, t stand for p · unit, t · unit."""

    def __init__(
        self,
        predictions: Sequence[float],
        targets: Sequence[float],
        mask: list[bool],
        convention: Switches,
        energy_step: float | Fraction,
        grad_weight: float,
        int_weight: float,
        accumulation: _Accumulation,
    ) -> None:
        joined, exponent = _integers([*predictions, *targets])
        self.p, self.t = joined[: len(predictions)], joined[len(predictions) :]
        self.unit = Fraction(1, 2**exponent)
        self.mask, self.convention, self.accumulation = mask, convention, accumulation
        self.dx = Fraction(energy_step)
        self.grad_weight, self.int_weight = Fraction(grad_weight), Fraction(int_weight)
        self.points = len(targets)
        self.shifts = len(predictions) - self.points + 1
        if convention.stencil == "exact":
            self.stencil, self.over = [3, -16, 36, -48, 25], 1 / (12 * self.dx)
        else:
            released = [5.0, -26.666667938232422, 60.0, -80.0, 41.666664123535156]
            self.stencil, exponent = _integers(released)
            self.over = Fraction(1, 2**exponent)
        self.steep_squares = [g * g for g in self._stencil_of(self.p, self.stencil)]

    @staticmethod
    def _stencil_of(p: Sequence[int], stencil: Sequence[int]) -> list[int]:
        """Σ_k stencil_k p_{j−4+k} for j = 4, 5, …"""
        c0, c1, c2, c3, c4 = stencil
        return [c0 * p[j - 4] + c1 * p[j - 3] + c2 * p[j - 2] + c3 * p[j - 1] + c4 * p[j] for j in range(4, len(p))]

    # How D and F are measured: integrals over energy. `oracle_agnostic` has plain sums.

    @property
    def measure(self) -> Fraction:
        return self.dx

    def misfit_weights(self) -> list[int]:
        """Twice the weights of D, i = 0..N−1."""
        return _doubled_trapezoid(self.points)

    def tail_weights(self, s: int) -> list[int]:
        """Twice the weights of F, j = 0..s."""
        return _doubled_trapezoid(s + 1)

    # The terms, each as its formula stands in the specification.

    def dos(self, s: int) -> Fraction:
        weights = self.misfit_weights()
        window = self.p[s : s + self.points]
        total = sum(w * (a - t) * (a - t) for w, a, t, m in zip(weights, window, self.t, self.mask, strict=True) if m)
        return HALF * self.measure * total * self.unit**2

    def front_tail(self, s: int) -> Fraction:
        total = sum(w * p * p for w, p in zip(self.tail_weights(s), self.p[: s + 1], strict=True))
        return HALF * self.measure * total * self.unit**2

    def gradient_points(self, s: int) -> list[tuple[int, bool]]:
        """Return (j, mask at j) for the points of G in order."""
        if self.convention.gradient_points == "window":
            return [(s + i, m) for i, m in enumerate(self.mask) if s + i >= 4]
        behind = self.shifts - 1 - s
        stretched = [True] * s + self.mask + [False] * behind
        return [(j, m) for j, m in enumerate(stretched) if j >= 4]

    def unmasked_gradient(self, s: int) -> Fraction:
        where = self.gradient_points(s)
        weighted = zip(_doubled_trapezoid(len(where)), where, strict=True)
        total = sum(w * self.steep_squares[j - 4] for w, (j, m) in weighted if not m)
        return HALF * self.dx * total * (self.over * self.unit) ** 2

    def accumulated(self, s: int, absolute: bool = False) -> list[Fraction]:
        """c_i, i = 1..N−1; `absolute`: with absolute values at the leaves."""
        sign = 1 if absolute else -1
        pairs = zip(self.p[s : s + self.points], self.t, strict=True)
        if self.convention.cumulated == "squares":
            f, unit = [a * a + sign * t * t for a, t in pairs], self.unit**2
        elif absolute:
            f, unit = [abs(a) + abs(t) for a, t in pairs], self.unit
        else:
            f, unit = [a - t for a, t in pairs], self.unit
        sums = accumulate(f[i - 1] + f[i] for i in range(1, self.points))
        return [c * HALF * self.dx * unit for c in sums]

    def cumulative(self, s: int) -> Fraction:
        # The same as Σ weights · accumulated(s)², in integers: this runs once a shift for the objective "total".
        pairs = zip(self.p[s : s + self.points], self.t, strict=True)
        squares = self.convention.cumulated == "squares"
        f = [a * a - t * t for a, t in pairs] if squares else [a - t for a, t in pairs]
        unit = self.unit**2 if squares else self.unit
        sums = accumulate(f[i - 1] + f[i] for i in range(1, self.points))
        total = sum(w * c * c for w, c in zip(self.accumulation.weights, sums, strict=True))
        return self.accumulation.factor * self.dx * total * (HALF * self.dx * unit) ** 2

    def total(self, s: int) -> Fraction:
        front = self.front_tail(s) if self.convention.front_tail else Fraction(0)
        weighted = self.grad_weight * self.unmasked_gradient(s) + self.int_weight * self.cumulative(s)
        return self.dos(s) + front + weighted

    def objective(self, s: int) -> Fraction:
        if self.convention.objective == "total":
            return self.total(s)
        if self.convention.objective == "dos+front_tail":
            return self.dos(s) + self.front_tail(s)
        return self.dos(s)

    def gradient(self, s: int, absolute: bool = False) -> list[Fraction]:
        """d total / d p at a fixed shift; `absolute`: the same formula with absolute values at its leaves."""
        p = [abs(x) for x in self.p] if absolute else self.p
        t = [-abs(x) for x in self.t] if absolute else self.t
        stencil = [abs(x) for x in self.stencil] if absolute else self.stencil
        steep = self._stencil_of(p, stencil)
        grad_weight = abs(self.grad_weight) if absolute else self.grad_weight
        int_weight = abs(self.int_weight) if absolute else self.int_weight
        slope = [Fraction(0)] * len(p)

        scale = self.measure * self.unit  # D: dx ω (p − t)², twice the weight and the 2 of the square
        for i, w in enumerate(self.misfit_weights()):
            if self.mask[i]:
                slope[s + i] += scale * w * (p[s + i] - t[i])
        if self.convention.front_tail:
            for j, w in enumerate(self.tail_weights(s)):
                slope[j] += scale * w * p[j]

        where = self.gradient_points(s)
        for w, (j, m) in zip(_doubled_trapezoid(len(where)), where, strict=True):
            if not m:
                rate = grad_weight * self.dx * self.unit * self.over**2 * w * steep[j - 4]
                for k, coefficient in enumerate(stencil):
                    slope[j - 4 + k] += rate * coefficient

        # C: the pair (j − 1, j) enters every c_i with i ≥ j.
        factor = int_weight * self.accumulation.factor * self.dx
        rates = [
            2 * factor * w * c for w, c in zip(self.accumulation.weights, self.accumulated(s, absolute), strict=True)
        ]
        behind = Fraction(0)
        for j in range(self.points - 1, 0, -1):
            behind += rates[j - 1]
            for k in (j - 1, j):
                inner = 2 * p[s + k] * self.unit if self.convention.cumulated == "squares" else 1
                slope[s + k] += HALF * self.dx * behind * inner
        return slope

    def structure(self, shift: int | None, gradient: bool) -> Structure:
        landscape = [self.objective(s) for s in range(self.shifts)]
        shift = best(landscape) if shift is None else shift
        second, other = runner_up(landscape, shift), rival(landscape, shift)
        return Structure(
            landscape=landscape,
            shift=shift,
            runner_up=second,
            margin=None if second < 0 else landscape[second] - landscape[shift],
            rival=other,
            rival_margin=None if other < 0 else landscape[other] - landscape[shift],
            dos=self.dos(shift),
            front_tail=self.front_tail(shift),
            unmasked_gradient=self.unmasked_gradient(shift),
            cumulative=self.cumulative(shift),
            total=self.total(shift),
            grad=self.gradient(shift) if gradient else [],
            leaves=self.gradient(shift, absolute=True) if gradient else [],
        )
