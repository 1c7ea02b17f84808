"""The words of a cross-check: what is said of one figure of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What is found of one figure of one case."""

    exact = "exact"
    expected = "expected"
    within_bound = "within_bound"
    equivalent_shift = "equivalent_shift"
    expanded_form = "expanded_form"
    other_convention = "other_convention"
    not_given = "not_given"
    nondeterministic = "nondeterministic"
    outside_bound = "outside_bound"
    not_finite = "not_finite"
    wrong_shape = "wrong_shape"
    wrong_dtype = "wrong_dtype"
    modified_inputs = "modified_inputs"
    timed_out = "timed_out"
    raised = "raised"


MEANING: Final[Mapping[Verdict, str]] = {
    Verdict.exact: "the golden figure, rounded to the type in which it came back",
    Verdict.expected: "as near as roundings of random sign bring it",
    Verdict.within_bound: "as near as any correct implementation is",
    Verdict.equivalent_shift: "right, at another shift that cannot be told from the best",
    Verdict.expanded_form: "right only as an expanded square, which loses digits",
    Verdict.other_convention: "right under another convention than the one asked for",
    Verdict.not_given: "the candidate does not return it",
    Verdict.nondeterministic: "two runs differ",
    Verdict.outside_bound: "further off than any correct implementation is",
    Verdict.not_finite: "NaN, or infinite where the figure is not",
    Verdict.wrong_shape: "not of the shape that this figure has",
    Verdict.wrong_dtype: "not of a number type that holds the figure as the format does",
    Verdict.modified_inputs: "the candidate wrote to its inputs",
    Verdict.timed_out: "the candidate took longer than it was given",
    Verdict.raised: "the candidate raised an exception",
}
"""Every verdict in the order from right to wrong, with what it means."""

RIGHT: Final = frozenset(
    {Verdict.exact, Verdict.expected, Verdict.within_bound, Verdict.equivalent_shift, Verdict.expanded_form}
)
"""The verdicts of a figure that is right whatever else is the case."""


@dataclass(frozen=True)
class Judgement:
    """What is said of one figure of one case.

    Attributes
    ----------
    case : str
        The id of the case.
    figure : str
        A name of `candidates.FIGURES`; "call" and "inputs" for what concerns all of them; or the candidate's own key.
    verdict : Verdict
    right : bool
        Whether it counts as right in this run.
    worst : tuple of int or None
        The index of the element with the largest error over bound.
    found, expected, allowed, typical : float or None
        There: the candidate's number, the golden one, the bound of the error, and its probable size.
    ratio : float
        The largest error over bound; 0 where there is no error, inf where there is one and the bound is 0. For the
        verdict expanded_form it is over the bound of a direct sum, so above 1.
    digits_lost : float or None
        For the verdict expanded_form: log10 of the error over the bound of a direct sum, at most what the format has.
    convention : str or None
        For the verdict other_convention: under which the figure is right.
    message : str
    explanation : str
        "consistent with: …" where a usual mistake gives these numbers, else "".
    """

    case: str
    figure: str
    verdict: Verdict
    right: bool
    worst: tuple[int, ...] | None = None
    found: float | None = None
    expected: float | None = None
    allowed: float | None = None
    typical: float | None = None
    ratio: float = 0.0
    digits_lost: float | None = None
    convention: str | None = None
    message: str = ""
    explanation: str = ""
