"""The terms of an aligned loss as somebody may have read it, in plain NumPy, with a switch for every slip.

`Reading` holds the switches, and its defaults are the specification (docs/specification.md, sections 3 and 4). Every
term is Σ w r², r linear in the predictions (or in their squares), so that its derivative follows the slip without being
told. B structures, N points of a target, W points of a prediction (padded, for `shift_agnostic_mse`), S = W − N + 1
shifts, dx the energy step in eV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refloss.conventions import Convention
from refloss.plain import trapezoid_weights
from refloss.results import Booleans, Floats, Integers

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

Figures = dict[str, Floats]
"""Name of a figure to its numbers: "value", "per_structure", "shift", "terms.dos", …, "grad"."""

STENCILS: Mapping[str, tuple[int, tuple[float, ...]]] = {
    "exact": (-4, (3 / 12, -16 / 12, 36 / 12, -48 / 12, 25 / 12)),
    "float32": (-4, tuple(c * 0.05 for c in (5.0, -26.666667938232422, 60.0, -80.0, 41.666664123535156))),
    "reversed": (-4, (25 / 12, -48 / 12, 36 / 12, -16 / 12, 3 / 12)),
    "forward": (0, (-25 / 12, 48 / 12, -36 / 12, 16 / 12, -3 / 12)),
    "first order": (-1, (-1.0, 1.0)),
    "central": (-1, (-0.5, 0.0, 0.5)),
    "central, fourth order": (-2, (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)),
    "without the twelfth": (-4, (3.0, -16.0, 36.0, -48.0, 25.0)),
}
"""First offset and coefficients of dp/dE · dx."""


@dataclass(frozen=True)
class Reading:
    """How an aligned loss is computed; a switch that is not at its default is one slip.

    `None` means: as the convention has it. `without_dx` and `without_halves` name the sums that lack the energy step or
    the half weights: "dos", "front_tail", "gradient", "stencil", "cumulate" (the running sum), "cumulative" (over it).
    """

    dx: str = "given"
    without_dx: frozenset[str] = frozenset()
    without_halves: frozenset[str] = frozenset()
    dos_mask: str = "own"
    gradient_mask: str = "own"
    cumulative_mask: str = "own"
    masked: str = "residual"
    misfit: str = "square"
    dos_measure: str | None = None
    dropped: str = "nothing"
    padding: tuple[int, int] = (1, 1)
    objective: str | None = None
    weighed: str = "as in the value"
    choose: str = "first lowest"
    used: int = 0
    reported: str = "as used"
    front_tail: bool | None = None
    tail: str = "below"
    gradient_points: str | None = None
    from_four: bool = True
    below: str = "left out"
    behind: str = "counted"
    stencil: str | None = None
    cumulative: str | None = None
    cumulated: str | None = None
    cumulate: str = "trapezoid"
    weigh: str = "as given"
    reduction: str | None = None
    slope: str = "right"


class Terms:
    """D, F, G and C of a batch, each with its derivative by the padded predictions, as a reading has them."""

    def __init__(self, case: Case, rule: Convention, reading: Reading) -> None:
        params = case.params
        self.rule, self.reading = rule, reading
        self.padded = case.loss == "shift_agnostic_mse"
        targets = np.asarray(case.targets, float)
        own = ~np.isnan(targets) if case.mask is None else np.asarray(case.mask, bool)
        self.t = np.where(np.isnan(targets), 0.0, targets)
        self.mask = own
        self.before = self.width = case.predictions.shape[1]
        before, behind = reading.padding if self.padded else (0, 0)
        self.before = before * self.width
        self.q = np.pad(np.asarray(case.predictions, float), ((0, 0), (self.before, behind * self.width)))
        self.batch, self.points = self.t.shape
        self.shifts = self.q.shape[1] - self.points + 1
        given = float(params.get("energy_step", 0.05))
        intervals = (self.points - 1) / self.points
        self.dx: float = {"given": given, "0.05": 0.05, "1": 1.0, "N": given * intervals, "half": given / 2}[reading.dx]
        name = "grad_penalty_weight" if self.padded else "grad_weight"
        weights = float(params.get(name, 1e-4)), float(params.get("int_weight", 2.0))
        self.weights = {
            "as given": weights,
            "swapped": weights[::-1],
            "not at all": (1.0, 1.0),
            "defaults": (1e-4, 2.0),
            "only the gradient": (weights[0], 1.0),
            "only the cumulative": (1.0, weights[1]),
            "without the gradient": (0.0, weights[1]),
            "without the cumulative": (weights[0], 0.0),
            "squared": (weights[0] ** 2, weights[1] ** 2),
        }[reading.weigh]
        self.reduction = reading.reduction or str(params.get("reduction", "mean"))

    def at(self, shift: Integers) -> tuple[Figures, Figures]:
        """Return the terms at these shifts (B,), and their derivatives (B, W)."""
        makers = {
            "dos": self._dos,
            "front_tail": self._front_tail,
            "unmasked_gradient": self._unmasked_gradient,
            "cumulative": self._cumulative,
        }
        terms, slopes = {}, {}
        for name, maker in makers.items():
            found = [maker(b, int(s)) for b, s in enumerate(shift)]
            terms[name] = np.array([value for value, _ in found])
            slopes[name] = np.array([slope for _, slope in found])
        return terms, slopes

    def _dos(self, b: int, s: int) -> tuple[float, Floats]:
        w = self.dos_weights()[b] * self._dos_scale(b)
        residual = self.residual(self.q[b, s : s + self.points], b)
        unmasked = self.halves("dos", self.points) * self._dos_scale(b)
        w_slope = unmasked if self.reading.slope == "unmasked dos" else w
        mask = self.masks(self.reading.dos_mask)[b] if self.reading.masked == "prediction" else 1.0
        if self.reading.misfit == "absolute":
            return float(w @ np.abs(residual)), self._scatter(w_slope * np.sign(residual) * mask, s)
        if self.reading.misfit == "root":
            root = float(np.sqrt(w @ residual**2))
            return root, self._scatter(w_slope * residual * mask / (root or 1.0), s)
        factor = 0.5 if self.reading.misfit == "half" else 1.0
        return factor * float(w @ residual**2), self._scatter(2 * factor * w_slope * residual * mask, s)

    def _front_tail(self, b: int, s: int) -> tuple[float, Floats]:
        width = self.q.shape[1]
        w = np.zeros(width)
        if self.reading.tail == "behind":
            stop = s + self.points - (not self.padded)
            w[stop:] = 1.0 if self.padded else self.halves("front_tail", width - stop)
        elif self.padded:
            w[: s + (self.reading.tail == "one point more")] = 1.0
        else:
            reach = {"below": s + 1, "one point less": s, "one point more": s + 2}[self.reading.tail]
            reach = min(reach, width)
            w[:reach] = self.halves("front_tail", reach)
        if not self.padded and "front_tail" not in self.reading.without_dx:
            w *= self.dx
        return float(w @ self.q[b] ** 2), 2 * w * self.q[b]

    def _unmasked_gradient(self, b: int, s: int) -> tuple[float, Floats]:
        name = self.reading.stencil or self.rule.stencil
        first, coefficients = STENCILS[name]
        scale = 1.0 if "stencil" in self.reading.without_dx else self.dx
        if name == "float32":
            scale = 0.05
        width = self.q.shape[1]
        low, high = max(0, -first), width - max(0, first + len(coefficients) - 1)
        g = np.zeros(width)
        if high > low:
            g[low:high] = sum(c * self.q[b, low + first + k : high + first + k] for k, c in enumerate(coefficients))
        g /= scale
        mask = self.masks(self.reading.gradient_mask)[b]
        points = self.reading.gradient_points or self.rule.gradient_points
        start = 4 if self.reading.from_four else 0
        if points == "inside the window":
            j, unmasked = np.arange(s + 4, s + self.points), ~mask[4:]
        elif points == "window":
            j, unmasked = np.arange(s, s + self.points), ~mask
        else:
            j = np.arange(width)
            below = np.full(s, self.reading.below == "counted")
            behind = np.full(self.shifts - 1 - s, self.reading.behind == "counted")
            unmasked = np.concatenate([below, ~mask, behind])
        valid = (j >= start) & (j < high)
        j, unmasked = j[valid], unmasked[valid]
        w = np.zeros(width)
        w[j] = np.where(unmasked, self.halves("gradient", j.size), 0.0)
        if "gradient" not in self.reading.without_dx:
            w *= self.dx
        slope = np.zeros(width)
        back = 2 * w * g / scale
        for k, c in enumerate(coefficients):
            offset = first + k if self.reading.slope != "stencil not transposed" else -(first + k)
            slope += c * _moved(back, offset)
        return float(w @ g**2), slope

    def _cumulative(self, b: int, s: int) -> tuple[float, Floats]:
        a, t = self.q[b, s : s + self.points], self.t[b]
        squares = (self.reading.cumulated or self.rule.cumulated) == "squares"
        f = a**2 - t**2 if squares else a - t
        mask = self.masks(self.reading.cumulative_mask)
        first = mask[b].astype(float) if "before" in self.reading.masked else np.ones(self.points)
        f = f * first
        dx = 1.0 if "cumulate" in self.reading.without_dx else self.dx
        how = self.reading.cumulate
        half = 1.0 if how == "without the half" else 0.5
        if how in ("trapezoid", "without the half", "from above"):
            f = f[::-1] if how == "from above" else f
            c = dx * half * np.cumsum(f[:-1] + f[1:])
            c = c[::-1] if how == "from above" else c
        elif how == "rectangles":
            c = dx * np.cumsum(f)[1:]
        elif how == "rectangles without the first":
            c = dx * np.cumsum(f[1:])
        elif how == "rectangles without the last":
            c = dx * np.cumsum(f[:-1])
        else:  # not at all
            c = dx * f[1:]
        structure = (self.reading.cumulative or self.rule.cumulative) == "structure"
        if not structure:
            spread = trapezoid_weights(self.batch)[b] / (self.points - 1)
            w = spread * mask[:, 1:].sum(axis=0)
        elif self.reading.masked == "before cumulating":
            w = self.halves("cumulative", self.points - 1)
        else:
            kept = mask[b, :-1] if self.reading.dropped == "mask's last" else mask[b, 1:]
            w = np.where(kept, self.halves("cumulative", self.points - 1), 0.0)
        if "cumulative" not in self.reading.without_dx:
            w = w * self.dx
        back = self._cumulate_transposed(2 * w * c, how, dx * half) * first
        return float(w @ c**2), self._scatter(back * (2 * a if squares else 1.0), s)

    def _cumulate_transposed(self, x: Floats, how: str, step: float) -> Floats:
        back = np.zeros(self.points)
        if how == "from above" or self.reading.slope == "running sum not transposed":
            onward = step * np.cumsum(x)
        else:
            onward = step * np.cumsum(x[::-1])[::-1]
        if how in ("trapezoid", "without the half", "from above"):
            back[:-1] += onward
            back[1:] += onward
        elif how == "rectangles":
            back[1:] = 2 * onward
            back[0] = 2 * onward[0] if onward.size else 0.0
        elif how == "rectangles without the first":
            back[1:] = 2 * onward
        elif how == "rectangles without the last":
            back[:-1] = 2 * onward
        else:
            back[1:] = 2 * step * x
        return back

    # ---- what the terms share

    def _scatter(self, window: Floats, s: int) -> Floats:
        slope = np.zeros(self.q.shape[1])
        at = self.before if self.reading.slope == "not moved by the shift" else s
        slope[at : at + self.points] = window[: slope.size - at]
        return slope

    def residual(self, a: Floats, b: int) -> Floats:
        """Return a − t over the last axis, or what stands for it."""
        mask = self.masks(self.reading.dos_mask)[b]
        residual: Floats = (np.where(mask, a, 0.0) if self.reading.masked == "prediction" else a) - self.t[b]
        return residual

    def _dos_scale(self, b: int) -> float:
        measure = self.reading.dos_measure or ("sum" if self.padded else "integral")
        if measure == "mean":
            return 1.0 / int(self.points)
        if measure == "mean of the selected":
            return 1 / max(1, int(self.mask[b].sum()))
        unit = measure == "sum" or "dos" in self.reading.without_dx
        return 1.0 if unit else float(self.dx)

    def dos_weights(self) -> Floats:
        """Return the weights (B, N) of the squares in D, but for the energy step."""
        mask = self.masks(self.reading.dos_mask)
        dropped = self.reading.dropped
        weights = np.ones(mask.shape)
        integral = (self.reading.dos_measure or ("sum" if self.padded else "integral")) == "integral"
        if dropped == "joined":  # the trapezoid rule over what is left when masked-out points are taken out
            for b, row in enumerate(mask):
                weights[b, row] = trapezoid_weights(int(row.sum()))
            return np.where(mask, weights, 0.0)
        if integral:
            weights *= self.halves("dos", self.points)
        if dropped == "first half weight":
            weights[:, 0] = 1.0
        if dropped == "last half weight":
            weights[:, -1] = 1.0
        if dropped == "last point":
            weights[:, -1] = 0.0
            if integral and self.points > 1:
                weights[:, -2] = 0.5
        if dropped == "first point":
            weights[:, 0] = 0.0
            if integral and self.points > 1:
                weights[:, 1] = 0.5
        return weights if self.reading.masked == "prediction" else np.where(mask, weights, 0.0)

    def halves(self, place: str, points: int) -> Floats:
        """Return the weights of the trapezoid rule, or what stands for them."""
        return np.ones(points) if place in self.reading.without_halves else trapezoid_weights(points)

    def masks(self, whose: str) -> Booleans:
        """Return the masks (B, N) as somebody reads them."""
        if whose == "own":
            return self.mask
        readings: Mapping[str, Callable[[Booleans], Booleans]] = {
            "inverted": lambda m: ~m,
            "ignored": np.ones_like,
            "the next structure's": lambda m: np.roll(m, -1, axis=0),
            "the previous structure's": lambda m: np.roll(m, 1, axis=0),
            "the first structure's": lambda m: np.broadcast_to(m[:1], m.shape),
            "all structures'": lambda m: np.broadcast_to(m.all(axis=0), m.shape),
            "any structure's": lambda m: np.broadcast_to(m.any(axis=0), m.shape),
            "one point late": lambda m: np.roll(m, 1, axis=1),
            "one point early": lambda m: np.roll(m, -1, axis=1),
            "reversed": lambda m: m[:, ::-1],
        }
        return readings[whose](self.mask)


def _moved(x: Floats, by: int) -> Floats:
    """Return x_{j − by}: element j to j + by, zeros moving in."""
    moved = np.zeros_like(x)
    if by < 0:
        moved[:by] = x[-by:]
    elif by > 0:
        moved[by:] = x[:-by]
    else:
        moved[:] = x
    return moved
