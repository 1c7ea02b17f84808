"""An aligned loss as somebody may have read it: its alignment, its terms there, and their sum.

`aligned` evaluates a batch as a reading has it (`misread_terms.Reading`). Nothing here is exact to the last bit: the
figures explain failures that are larger than rounding. B structures, N points of a target, W points of a prediction
(padded, for `shift_agnostic_mse`), S = W − N + 1 shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from refloss.conventions import Convention
from refloss.crosscheck.misread_terms import Figures, Reading, Terms
from refloss.results import Floats, Integers

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case


def aligned(
    case: Case,
    rule: Convention,
    reading: Reading,
    shift: Integers | None = None,
    *,
    slack: float = 1e-3,
    kept: dict[object, tuple[Floats, Floats]] | None = None,
) -> Figures | None:
    """Return the figures of a case as `reading` has them, or None where this reading cannot be.

    Parameters
    ----------
    case : Case
    rule : Convention
        What the reading reads wrongly.
    reading : Reading
    shift : (B,) integers, optional
        As an implementation reported them: the figures are then those at these shifts, and None where this reading
        would have chosen others by more than rounding.
    slack : float
        What rounding may be of the objective: a part of it, and this part again of what goes into it.
    kept : dict, optional
        Of this case alone: landscapes from one reading to the next that has the same.
    """
    with np.errstate(all="ignore"):  # a slip may overflow where the loss does not
        batch = _Batch(case, rule, reading, slack, {} if kept is None else kept)
        if batch.shifts < 1:
            return None
        if shift is None:
            used = batch.choose()
            clipped = np.clip(used + reading.used, 0, batch.shifts - 1)
        else:
            clipped = batch.unreported(shift)
            if np.any((clipped < 0) | (clipped >= batch.shifts)) or not batch.may_choose(clipped - reading.used):
                return None
        return batch.figures(clipped)


class _Batch(Terms):
    """A reading of a batch, and where it aligns."""

    def __init__(
        self, case: Case, rule: Convention, reading: Reading, slack: float, kept: dict[object, tuple[Floats, Floats]]
    ) -> None:
        super().__init__(case, rule, reading)
        self.slack, self.kept = slack, kept

    def choose(self) -> Integers:
        return self._pick(self._landscape()[0])

    def may_choose(self, shift: Integers) -> bool:
        """Whether rounding could have led this reading to these shifts."""
        landscape, size = self._landscape()
        if np.any((shift < 0) | (shift >= self.shifts)):
            return False
        rows = np.arange(self.batch)
        picked = self._pick(landscape)
        near = np.abs(landscape[rows, shift] - landscape[rows, picked])
        return bool(np.all(near <= self.slack * (np.abs(landscape[rows, picked]) + self.slack * size)))

    def unreported(self, shift: Integers) -> Integers:
        meant: Mapping[str, Integers] = {
            "as used": shift,
            "one more": shift - 1,
            "one less": shift + 1,
            "from the end": self.shifts - 1 - shift,
            "from the prediction's start": shift + self.before,
            "in electronvolts": np.rint(shift / self.dx).astype(np.int64),
        }
        return meant[self.reading.reported]

    def _report(self, shift: Integers) -> Floats:
        told: Mapping[str, Any] = {
            "as used": shift,
            "one more": shift + 1,
            "one less": shift - 1,
            "from the end": self.shifts - 1 - shift,
            "from the prediction's start": shift - self.before,
            "in electronvolts": shift * self.dx,
        }
        return np.asarray(told[self.reading.reported], np.float64)

    def _pick(self, landscape: Floats) -> Integers:
        several = self.shifts > 1
        choices: Mapping[str, Callable[[], Integers]] = {
            "first lowest": lambda: landscape.argmin(axis=1),
            "highest": lambda: landscape.argmax(axis=1),
            "largest overlap": lambda: landscape.argmax(axis=1),
            "one for the batch": lambda: np.full(self.batch, landscape.sum(axis=0).argmin()),
            "never moved": lambda: np.full(self.batch, self.before),
            "last shift": lambda: np.full(self.batch, self.shifts - 1),
            "all but the last": lambda: landscape[:, : -1 if several else None].argmin(axis=1),
            "all but the first": lambda: landscape[:, int(several) :].argmin(axis=1) + several,
            "every second": lambda: 2 * landscape[:, ::2].argmin(axis=1),
        }
        return choices[self.reading.choose]()

    def _landscape(self) -> tuple[Floats, Floats]:
        """Return the objective (B, S), and the size of what goes into it (B,)."""
        reading = self.reading
        if (reading.objective or self.rule.objective) == "total":
            return self._new_landscape()
        key = (
            *(
                reading.objective,
                reading.weighed,
                reading.dos_mask,
                reading.masked == "prediction",
                reading.misfit == "absolute",
            ),
            *(reading.dropped, reading.dos_measure, "dos" in reading.without_halves, self.dx, reading.padding),
            *(reading.without_dx & {"dos", "front_tail"}, reading.choose == "largest overlap"),
        )
        if key not in self.kept:
            self.kept[key] = self._new_landscape()
        return self.kept[key]

    def _new_landscape(self) -> tuple[Floats, Floats]:
        size = np.array([np.sum(q**2) + np.sum(t**2) for q, t in zip(self.q, self.t, strict=True)])
        objective = self.reading.objective or self.rule.objective
        if objective == "total":
            every = [self.at(np.full(self.batch, s))[0] for s in range(self.shifts)]
            return np.array([self._total(terms) for terms in every]).T, size
        weights = self.dos_weights()
        if self.reading.weighed == "without the mask":
            own = np.ones(self.points) if self.padded else self.halves("dos", self.points)
            weights = np.broadcast_to(own, weights.shape)
        if self.reading.weighed == "without half weights":
            weights = self.masks(self.reading.dos_mask).astype(float)
        measure, tail_measure = (
            1.0 if self.padded or place in self.reading.without_dx else self.dx for place in ("dos", "front_tail")
        )
        landscape = np.empty((self.batch, self.shifts))
        rows = max(1, 4_000_000 // self.points)
        for b in range(self.batch):
            windows = np.lib.stride_tricks.sliding_window_view(self.q[b], self.points)
            for s in range(0, self.shifts, rows):
                a = windows[s : s + rows]
                if self.reading.choose == "largest overlap":
                    landscape[b, s : s + rows] = a @ (weights[b] * self.t[b])
                    continue
                residual = self.residual(a, b)
                d = np.abs(residual) if self.reading.misfit == "absolute" else residual**2
                landscape[b, s : s + rows] = d @ weights[b]
        if objective == "dos+front_tail":
            squares = self.q**2
            running = np.cumsum(squares, axis=1)
            first, last = squares[:, :1], squares[:, : self.shifts]
            tail = running[:, : self.shifts] - (last if self.padded else (first + last) / 2)
            landscape += tail * (tail_measure / measure)
        return landscape * measure, size * measure

    def figures(self, shift: Integers) -> Figures:
        terms, slopes = self.at(shift)
        per_structure, grad = self._total(terms), self._slope(slopes)
        share = {"mean": 1 / self.batch, "sum": 1.0, "none": 1.0, "mean over points": 1 / (self.batch * self.points)}
        factor = share[self.reduction]
        value = per_structure if self.reduction == "none" else np.asarray(per_structure.sum() * factor)
        how = self.reading.slope
        if how == "not averaged":
            factor = 1.0
        elif how == "averaged always":
            factor = 1 / self.batch
        factor *= {"negated": -1.0, "halved": 0.5, "doubled": 2.0}.get(how, 1.0)
        return {
            "value": value,
            "per_structure": per_structure,
            "shift": self._report(shift),
            **{f"terms.{name}": term for name, term in terms.items()},
            "grad": factor * grad[:, self.before : self.before + self.width],
        }

    def _total(self, terms: Figures) -> Floats:
        tail = self.rule.front_tail if self.reading.front_tail is None else self.reading.front_tail
        by_gradient, by_cumulative = self.weights
        weighted = by_gradient * terms["unmasked_gradient"] + by_cumulative * terms["cumulative"]
        total: Floats = terms["dos"] + weighted + (terms["front_tail"] if tail else 0.0)
        return total

    def _slope(self, slopes: Figures) -> Floats:
        tail = self.rule.front_tail if self.reading.front_tail is None else self.reading.front_tail
        by_gradient, by_cumulative = self.weights
        left_out = self.reading.slope.removeprefix("without ")
        factors = {"dos": 1.0, "front_tail": float(tail), "unmasked_gradient": by_gradient, "cumulative": by_cumulative}
        return np.asarray(sum(f * slopes[name] for name, f in factors.items() if name != left_out))
