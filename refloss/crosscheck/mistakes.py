"""The usual mistakes, computed: what an implementation that made one of them would have found.

A mistake is data: a reading of the loss with a switch off its default (`slips`). `explain` evaluates each on a case
that failed and names those whose figures are the ones found; `Explainer` does so for a whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refloss.conventions import LOSSES, Convention, find
from refloss.crosscheck import misread, misread_pointwise, misread_terms
from refloss.crosscheck.misread_terms import Figures
from refloss.crosscheck.slips import ALIGNED, POINTWISE
from refloss.results import Floats, Integers

if TYPE_CHECKING:
    from refloss.crosscheck.candidates import Returned
    from refloss.crosscheck.cases import Case
    from refloss.crosscheck.formats import Format


def named(loss: str) -> Mapping[str, misread_terms.Reading] | Mapping[str, misread_pointwise.Reading]:
    """Return the mistakes that can be made in a loss."""
    return ALIGNED if loss in LOSSES else _of_pointwise(loss)


def mistaken(name: str, case: Case, convention: str | Convention | None = None) -> Figures | None:
    """Return the figures of a case as an implementation with this mistake has them; None where it cannot be made.

    Parameters
    ----------
    name : str
        One of `named`.
    case : Case
    convention : str or Convention, optional
        Of an aligned loss, "intended" if there is none.

    Returns
    -------
    mapping or None
        "value" and "grad"; of an aligned loss "per_structure", "shift", "terms.dos", … as well.
    """
    if case.loss in LOSSES:
        rule = find(convention or "intended", LOSSES[case.loss])
        return misread.aligned(case, rule, ALIGNED[name])
    return misread_pointwise.pointwise(case, _of_pointwise(case.loss)[name])


def explain(
    case: Case,
    returned: Returned,
    convention: str | Convention | None,
    format: Format,  # noqa: A002
    accumulate: Format | None = None,
) -> str:
    """Return "consistent with: " and the mistakes that give what was found for one case; "" where none or many do."""
    return Explainer(convention, format, accumulate).explain(case, returned)


class Explainer:
    """Explains the failures of one run, and remembers which mistakes have accounted for the ones before.

    Parameters
    ----------
    convention : str or Convention or None
        What an aligned loss is judged under.
    format, accumulate : Format
        What the candidate computes in, and what it adds up in.
    """

    _PATIENCE = 12
    """A run in which so many failures found no name has a mistake that is not in the list."""

    _SPOKEN = 3
    """Of more mistakes than this that fit one case alike, none is worth naming."""

    def __init__(
        self,
        convention: str | Convention | None,
        format: Format,  # noqa: A002
        accumulate: Format | None = None,
    ) -> None:
        self.convention, self.format, self.accumulate = convention, format, accumulate or format
        self.accounted: Counter[str] = Counter()
        self.failures = 0
        self._nameless = 0

    def explain(self, case: Case, returned: Returned) -> str:
        """Return what a failed case is consistent with, "" where that cannot be said."""
        names = self.fitting(case, returned)
        return f"consistent with: {' or '.join(names)}" if 0 < len(names) <= self._SPOKEN else ""

    def fitting(self, case: Case, returned: Returned) -> Sequence[str]:
        """Return the mistakes that give what was found for a failed case; those that have fitted before come first."""
        self.failures += 1
        trial = _Trial(case, returned.figures, self.convention, self.format, self.accumulate)
        names = trial.fitting([name for name, _ in self.accounted.most_common()])
        if not names and self._nameless < self._PATIENCE:
            names = trial.fitting([name for name in named(case.loss) if name not in self.accounted])
            self._nameless += not names
        self.accounted.update(names)
        most = max((self.accounted[name] for name in names), default=0)
        return [name for name in names if self.accounted[name] == most]

    def best(self) -> tuple[str, ...]:
        """Return the mistake that accounts for the most failures of the run, with its equals."""
        most = max(self.accounted.values(), default=0)
        return tuple(name for name, count in self.accounted.items() if count == most)

    def summary(self) -> str:
        """Return one sentence about the run, "" where no mistake accounts for half of its failures."""
        names = self.best()
        if not names or 2 * self.accounted[names[0]] < self.failures or len(names) > self._SPOKEN:
            return ""
        count = self.accounted[names[0]]
        return f"{count} of {self.failures} failures that were looked into are consistent with: {' or '.join(names)}"


class _Trial:
    """What was found for one case, against what the right loss and each mistake give."""

    _LARGEST = 60_000_000
    """Points times shifts of a batch beyond which trying every mistake takes too long to be worth it."""

    def __init__(
        self,
        case: Case,
        found: Mapping[str, Floats],
        convention: str | Convention | None,
        format: Format,  # noqa: A002
        accumulate: Format,
    ) -> None:
        from refloss.crosscheck.bounds import tolerance
        from refloss.crosscheck.reference import reference

        self.case, self.unit = case, max(format.unit, format.product_unit, accumulate.unit)
        self.rule = find(convention or "intended", LOSSES[case.loss]) if case.loss in LOSSES else None
        golden = reference(case, self.rule)
        bounds = tolerance(case, golden, self.rule, format, accumulate)
        self.right = dict(golden.figures)
        self.bound, self.expected = dict(bounds.bound), dict(bounds.expected)
        whole = "elements" if self.rule is None else "per_structure"
        if golden.value is None:  # the value of reduction "none"
            for figures in (self.right, self.bound, self.expected):
                figures["value"] = figures[whole]
        self.found = {name: np.asarray(x, float) for name, x in found.items() if name in self.right}
        self.shift = self._integers(found.get("shift"))
        self.kept: dict[object, tuple[Floats, Floats]] = {}
        # An alignment that is right may have taken another of several equals, and all figures are then those there.
        self.elsewhere = self._evaluate(None)
        self.wrong_shift = "shift" in found and self.elsewhere is None

    def fitting(self, names: Iterable[str]) -> list[str]:
        """Return those that give every figure that was found; if there are none, those that give every wrong figure."""
        every: list[str] = []
        some: list[str] = []
        for name in names:
            fit = self._fit(name)
            if fit is not None:
                (every if fit else some).append(name)
        return every or some

    def _fit(self, name: str) -> bool | None:
        """Return None where the mistake does not give the wrong figures, else whether it gives the right ones too."""
        figures = self._evaluate(name)
        if figures is None:
            return None
        explained, all_fit = self.wrong_shift, True
        for figure, numbers in self.found.items():
            fits = self._near(figure, numbers, figures[figure])
            right = self._is_right(figure, numbers)
            if not right:
                if not fits:
                    return None
                explained = True
            elif not fits:
                all_fit = False
        return all_fit if explained else None

    def _evaluate(self, name: str | None) -> Figures | None:
        case = self.case
        if self.rule is None:
            reading = misread_pointwise.Reading() if name is None else _of_pointwise(case.loss)[name]
            return misread_pointwise.pointwise(case, reading)
        batch, points = case.targets.shape
        width = case.predictions.shape[1] * (3 if case.loss == "shift_agnostic_mse" else 1)
        if batch * points * (width - points + 1) > self._LARGEST:
            return None
        slip = misread_terms.Reading() if name is None else ALIGNED[name]
        return misread.aligned(case, self.rule, slip, self.shift, slack=max(1e-3, 16 * self.unit), kept=self.kept)

    def _integers(self, shift: Floats | None) -> Integers | None:
        if shift is None or shift.shape != (len(self.case.targets),) or not np.isfinite(shift).all():
            return None
        return np.rint(shift).astype(np.int64)

    def _is_right(self, figure: str, found: Floats) -> bool:
        right = self.right[figure]
        if found.shape != right.shape:
            return False
        with np.errstate(invalid="ignore"):
            if (np.abs(found - right) <= self.bound[figure]).all():
                return True
        return (
            self.elsewhere is not None and self.shift is not None and self._near(figure, found, self.elsewhere[figure])
        )

    def _near(self, figure: str, found: Floats, given: Floats) -> bool:
        """Whether `found` is what `given` is but for rounding, and nearer to it than to the right figure by far."""
        right = self.right[figure]
        nans = np.isnan(given)
        if found.shape != given.shape or (np.isnan(found) != nans).any() or not np.isfinite(found[~nans]).all():
            return False
        if given.shape == right.shape:
            scale = _largest(right)
            growth = max(1.0, _largest(given) / scale) if scale > 0 else 1.0
            probable = 4 * np.where(np.isfinite(self.expected[figure]), self.expected[figure], 0.0) * growth
        else:
            probable = np.zeros(())
        terms = max(self.case.predictions.shape[-1], found.size)
        allowed = probable + (2 * np.sqrt(terms) + 8) * self.unit * _largest(given)
        with np.errstate(invalid="ignore"):
            error = np.where(nans, 0.0, np.abs(found - given))
        if not (error <= allowed).all():
            return False
        if given.shape != right.shape or nans.any():
            return True
        missed = _largest(found - right)
        # Where the mistake changes little, "within rounding of both" says nothing: it must account for the failure.
        return _largest(error) <= 0.05 * missed or bool((np.abs(given - right) <= self.bound[figure]).all())


def _largest(x: Floats) -> float:
    return float(np.nanmax(np.abs(x), initial=0.0))


def _of_pointwise(loss: str) -> Mapping[str, misread_pointwise.Reading]:
    return POINTWISE[loss.removeprefix("masked_")]
