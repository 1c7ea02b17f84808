"""The golden figures of a case with their tolerances, at the best shifts and at others, and what is compared with them.

Shapes: B structures. A figure is an array; its finding is one verdict on all of it, and its worst element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refloss.conventions import Convention
from refloss.crosscheck.bounds import Form, Tolerance, tolerance
from refloss.crosscheck.candidates import FIGURES
from refloss.crosscheck.formats import FORMATS, Format, quantise
from refloss.crosscheck.judgements import Verdict
from refloss.crosscheck.libraries import AnyArray
from refloss.crosscheck.reference import Golden, at_shift, reference
from refloss.results import Floats, Integers

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case


@dataclass(frozen=True)
class Finding:
    """A figure against one golden figure and its bounds: the verdict, and its worst element."""

    verdict: Verdict
    worst: tuple[int, ...]
    found: float
    expected: float
    allowed: float
    typical: float
    ratio: float
    error: float


class Truth:
    """The golden figures of a case and their tolerances, at the best shifts and at others."""

    def __init__(
        self,
        case: Case,
        convention: str | Convention | None,
        format: Format,  # noqa: A002
        accumulate: Format,
    ) -> None:
        self.case, self.convention, self.format, self.accumulate = case, convention, format, accumulate
        self.tried: int | None = None
        """At how many equivalent shifts to look for figures whose shift is not told."""
        self.golden = golden = reference(case, convention)
        self.aligned = golden.shift is not None
        self._goldens: dict[bytes, Golden] = {}
        self._tolerances: dict[tuple[bytes, str], Tolerance] = {}

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that this loss has."""
        return FIGURES if self.aligned else ("value", "grad")

    @property
    def reduced(self) -> bool:
        """Whether the value is one number."""
        return self.golden.value is not None

    def name(self, figure: str) -> str:
        """Return what the golden figures call a candidate's figure: an unreduced value is the elements."""
        if figure == "value" and not self.reduced:
            return "per_structure" if self.aligned else "elements"
        return figure

    def at(self, shift: Integers | None) -> Golden:
        """Return the golden figures at these shifts (B,), or at the best ones."""
        if shift is None or self.golden.shift is None or np.array_equal(shift, self.golden.shift):
            return self.golden
        key = shift.tobytes()
        if key not in self._goldens:
            self._goldens[key] = at_shift(self.golden, shift)
        return self._goldens[key]

    def tolerance(self, form: Form, shift: Integers | None = None) -> Tolerance:
        """Return the bounds of `at` these shifts."""
        golden = self.at(shift)
        key = (b"" if golden.shift is None else golden.shift.tobytes(), form)
        if key not in self._tolerances:
            self._tolerances[key] = tolerance(self.case, golden, self.convention, self.format, self.accumulate, form)
        return self._tolerances[key]

    def shape(self, figure: str) -> tuple[int, ...]:
        """Return the shape that a figure has to have."""
        if figure == "shift":
            assert self.golden.shift is not None
            return self.golden.shift.shape
        return self.golden.figures[self.name(figure)].shape

    def compare(self, figure: str, found: AnyArray, dtype: str, form: Form, shift: Integers | None) -> Finding:
        """Return what is found of a figure other than the shift, at these shifts."""
        name, bounds = self.name(figure), self.tolerance(form, shift)
        return compare(found, self.at(shift).figures[name], bounds.bound[name], bounds.expected[name], dtype)


def compare(found: AnyArray, expected: Floats, bound: Floats, typical: Floats, dtype: str) -> Finding:
    """Return the verdict on a figure that came back in a type, and its worst element."""
    bound, typical = np.broadcast_to(bound, expected.shape), np.broadcast_to(typical, expected.shape)
    error = error_of(found, expected, bound, dtype)
    ratio = over(error, bound)
    if not expected.size:
        return Finding(Verdict.exact, (), math.nan, math.nan, 0.0, 0.0, 0.0, 0.0)
    worst = np.unravel_index(int(ratio.argmax()), ratio.shape)
    bad = ~np.isfinite(found) & ~(error <= bound)
    if bad.any():
        verdict, worst = Verdict.not_finite, np.unravel_index(int(bad.argmax()), bad.shape)
    elif np.array_equal(found, rounded(expected, dtype)):
        verdict = Verdict.exact
    elif (error <= typical).all():
        verdict = Verdict.expected
    else:
        verdict = Verdict.within_bound if (error <= bound).all() else Verdict.outside_bound
    numbers = (float(array[worst]) for array in (found, expected, bound, typical, ratio, error))
    return Finding(verdict, tuple(int(i) for i in worst), *numbers)


def error_of(found: AnyArray, expected: Floats, bound: Floats, dtype: str) -> Floats:
    """Return the error; 0 for infinities where a right figure may be beyond the type's range, inf for any other."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(found - expected)
        beyond = np.isinf(found) & (np.sign(found) * expected + bound > FORMATS[dtype].largest)
        unbounded = np.isinf(bound)
    return np.where(np.isfinite(found), error, np.where(beyond | unbounded, 0.0, math.inf))


def over(error: Floats | float, bound: Floats | float) -> Floats:
    """Return the error over the bound: 0 where there is no error, whatever the bound."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(np.asarray(error) == 0.0, 0.0, np.divide(error, bound))
    return np.where(np.isnan(ratio), math.inf, ratio)


def rounded(expected: Floats, dtype: str) -> Floats:
    """Return the golden figure as the type holds it."""
    if dtype == "float64":
        return expected
    own = FORMATS[dtype]
    beyond = np.abs(expected) >= own.largest * (1 + own.unit)
    return np.where(beyond, np.copysign(math.inf, expected), quantise(np.where(beyond, 0.0, expected), own))
