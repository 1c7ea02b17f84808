"""Run a candidate through the cases, judge it under every convention that may be meant, and choose among these."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from refloss.arrays import finite_number
from refloss.conventions import LOSSES, Convention, find
from refloss.crosscheck import formats, report, xfails
from refloss.crosscheck.candidates import Candidate, Returned, call, keywords_to_leave_out
from refloss.crosscheck.cases import Case, cases
from refloss.crosscheck.formats import Format
from refloss.crosscheck.judgements import MEANING, RIGHT, Judgement, Verdict
from refloss.crosscheck.libraries import open_library
from refloss.crosscheck.mistakes import Explainer
from refloss.crosscheck.report import CaseRecord, CrosscheckReport, Fit
from refloss.crosscheck.suites import GRADIENT_WEIGHT
from refloss.crosscheck.verdicts import judge
from refloss.errors import InputError, did_you_mean

Progress = Callable[[int, int, str], None]
"""Is told how many cases are done, how many there are, and which one comes next."""

_VALUES: Final = RIGHT | {Verdict.outside_bound, Verdict.not_finite}
"""Verdicts that depend on the convention: an exception, or a wrong shape, says nothing about it."""

_EXPLAINED: Final = 40
"""Wrong cases that an explanation is looked for: it costs more than the verdict, and repeats itself."""

_PATIENCE: Final = 6
_HASTY: Final = 3
"""After so many wrong cases, so many equivalent shifts are tried for each structure: the candidate is wrong already."""

_TRIED: Final = 8
"""Wrong cases that tell which convention a candidate is nearest to, where it is right under none."""

_ORDER: Final = list(MEANING)


@dataclass(frozen=True)
class Rules:
    """What does not change from case to case."""

    format: Format
    accumulate: Format
    deterministic: bool = False
    wrong: Counter[str] = field(default_factory=Counter)
    """By convention, the cases found wrong so far."""


class Attempt:
    """A case, what came back from two calls, and the judgements under each convention, made when they are asked for.

    Parameters
    ----------
    case : Case
    returned : Returned
    again : Returned or None
        From a second call, where there was one.
    rules : Rules
    """

    def __init__(self, case: Case, returned: Returned, again: Returned | None, rules: Rules) -> None:
        self.case, self.returned, self.rules = case, returned, rules
        same = {} if again is None else returned.same_bits(again)
        self.racing = tuple(name for name, alike in same.items() if not alike)
        self.again = again if again is not None and (self.racing or not returned.alike(again)) else None
        self._judged: dict[str, list[Judgement]] = {}

    def judged(self, convention: Convention | None, given: Mapping[str, int]) -> list[Judgement]:
        """Return the judgements under a convention that applies; `given` counts the cases that have each figure."""
        name = _name(convention)
        if name not in self._judged:
            arithmetic = self.rules.format, self.rules.accumulate
            tried = None if self.rules.wrong[name] < _PATIENCE else _HASTY
            found = judge(self.case, self.returned, convention, *arithmetic, tried=tried)
            if self.again is not None:
                other = judge(self.case, self.again, convention, *arithmetic, tried=tried)
                found = _worse(found, other) + [self._differing(figure) for figure in self.racing]
            self.rules.wrong[name] += any(judgement.verdict is Verdict.outside_bound for judgement in found)
            self._judged[name] = _missing(found, given)
        return self._judged[name]

    def wrong(self, convention: Convention | None, given: Mapping[str, int]) -> bool:
        """Return whether anything is wrong under a convention."""
        return any(not judgement.right for judgement in self.judged(convention, given))

    def evidence(self, convention: Convention | None, given: Mapping[str, int]) -> bool | None:
        """Return whether the values are right under a convention; None where there are none to tell by."""
        values = [judgement for judgement in self.judged(convention, given) if judgement.verdict in _VALUES]
        return all(judgement.right for judgement in values) if values else None

    def _differing(self, figure: str) -> Judgement:
        message = "two runs with the same inputs returned different bits"
        right = not self.rules.deterministic
        return Judgement(self.case.id, figure, Verdict.nondeterministic, right, ratio=math.nan, message=message)


def run(
    candidate: Candidate,
    loss: str,
    *,
    dtype: str,
    accumulate: str | None,
    arrays: str,
    device: str | None,
    suite: str,
    only: str | Iterable[str] | None,
    grad: bool,
    convention: str | Convention | None,
    params: Mapping[str, Any] | None,
    seed: int,
    timeout: float | None,
    deterministic: bool,
    expected_failures: str | Path | Iterable[str] | None,
    name: str | None,
    progress: Progress | None,
) -> CrosscheckReport:
    """Return the report of `refloss.crosscheck.crosscheck`, whose parameters these are."""
    start = time.perf_counter()
    form = formats.find(dtype)
    rules = Rules(form, form if accumulate is None else formats.find(accumulate), deterministic)
    patterns = xfails.read(expected_failures)
    only = [only] if isinstance(only, str) else None if only is None else list(only)
    if timeout is not None:
        timeout = finite_number("timeout", timeout, positive=True)
    asked = _asked(loss, convention)
    fixed = _fixed(asked, params)
    library = open_library(arrays, device, form)
    todo = _chosen(cases(loss, format=form, suite=suite, seed=seed, params=fixed), only)
    leave_out = keywords_to_leave_out(candidate, todo[0], fixed)
    ask = partial(call, candidate, library=library, grad=grad, timeout=timeout, leave_out=leave_out)
    attempts = []
    for done, case in enumerate(todo):
        if progress is not None:
            progress(done, len(todo), case.id)
        returned = ask(case)
        answered = returned.error is None and not returned.timed_out
        attempts.append(Attempt(case, returned, ask(case) if answered else None, rules))
    if progress is not None:
        progress(len(todo), len(todo), "")
    part = "" if only is None else f", only {' '.join(only)}"
    found = _report(
        attempts, loss, asked, rules, patterns, _called(candidate) if name is None else name,
        arrays=arrays, device=library.where(), suite=suite + part, seed=seed, versions=library.version(),
    )  # fmt: skip
    return replace(found, seconds=time.perf_counter() - start)


def run_recorded(
    answers: Iterable[tuple[Case, Returned]], loss: str, *, dtype: str, convention: str | Convention | None, name: str
) -> CrosscheckReport:
    """Return the report on figures that were computed elsewhere: `answers` has them beside their cases."""
    start = time.perf_counter()
    form = formats.find(dtype)
    rules = Rules(form, form)
    attempts = [Attempt(case, returned, None, rules) for case, returned in answers]
    found = _report(
        attempts, loss, _asked(loss, convention), rules, (), name,
        arrays="numbers", device="recorded", suite="recorded", seed=0, versions={},
    )  # fmt: skip
    return replace(found, seconds=time.perf_counter() - start)


def _report(
    attempts: Sequence[Attempt],
    loss: str,
    asked: Convention | None,
    rules: Rules,
    patterns: tuple[xfails.Pattern, ...],
    name: str,
    *,
    arrays: str,
    device: str,
    suite: str,
    seed: int,
    versions: Mapping[str, str],
) -> CrosscheckReport:
    """Judge the attempts, and choose the convention that is meant."""
    tried = _tried(loss, asked)
    given = Counter(figure for attempt in attempts for figure in attempt.returned.figures)
    fits = _fits(attempts, given, tried, asked)
    chosen = asked if asked is not None else _best(attempts, given, fits, tried, rules)
    explainer = Explainer(chosen, rules.format, rules.accumulate)
    judgements = tuple(_settle(attempts, given, chosen, fits if asked is not None else (), tried, explainer))
    failed, passed, unmatched = report.expected(patterns, judgements)
    return CrosscheckReport(
        candidate=name,
        loss=loss,
        dtype=rules.format.name,
        accumulate=rules.accumulate.name,
        arrays=arrays,
        device=device,
        suite=suite,
        seed=seed,
        asked=None if asked is None else asked.name,
        convention=None if chosen is None else chosen.name,
        fits=fits if loss in LOSSES else (),
        cases=tuple(_record(attempt, chosen) for attempt in attempts),
        judgements=judgements,
        explanation=explainer.summary(),
        expected_failures=failed,
        unexpected_passes=passed,
        unmatched=unmatched,
        seconds=0.0,
        versions=report.versions() | dict(versions),
    )


def _chosen(all_cases: Iterable[Case], patterns: list[str] | None) -> list[Case]:
    """Return the cases that one of the patterns fits, or all."""
    found = list(all_cases)
    if patterns is None:
        return found
    known = [case.id for case in found]
    for pattern in patterns:
        if not any(fnmatchcase(one, pattern) for one in known):
            raise InputError(
                f"only: found {pattern!r}, expected a pattern of cases such as {known[0]!r} or '*/generic/*'"
                f"{did_you_mean(pattern, known)}"
            )
    return [case for case in found if any(fnmatchcase(case.id, pattern) for pattern in patterns)]


def _asked(loss: str, convention: str | Convention | None) -> Convention | None:
    if convention is None:
        return None
    if loss not in LOSSES:
        raise InputError(f"convention: found {convention!r}, expected None: {loss} has none")
    return find(convention, LOSSES[loss])


def _fixed(asked: Convention | None, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that all cases have: the user's, and what the convention asked for is defined for alone."""
    fixed = {} if params is None else dict(params)
    if asked is None:
        return fixed
    only: dict[str, Any] = {} if asked.energy_step is None else {"energy_step": asked.energy_step}
    if len(asked.reductions) == 1:
        only["reduction"] = asked.reductions[0]
    for key, value in only.items():
        if fixed.setdefault(key, value) != value:
            raise InputError(f"params: found {key}={fixed[key]!r}, expected {value!r}, all that {asked.name} is for")
    return fixed


def _tried(loss: str, asked: Convention | None) -> list[Convention | None]:
    """Return the conventions to judge by, the one asked for first; None stands for that of a loss without any."""
    if loss not in LOSSES:
        return [None]
    others = [convention for convention in LOSSES[loss].values() if convention != asked]
    return list(others) if asked is None else [asked, *others]


def _applies(convention: Convention | None, case: Case) -> bool:
    if convention is None:
        return True
    points = case.predictions.shape[1] * (1 + 2 * (case.loss == "shift_agnostic_mse"))
    return (
        case.params["reduction"] in convention.reductions
        and convention.energy_step in (None, case.params["energy_step"])
        and (points >= convention.fewest_points or not case.params[GRADIENT_WEIGHT[case.loss]])
    )


def _worse(first: Sequence[Judgement], second: Sequence[Judgement]) -> list[Judgement]:
    """Return for each figure the one of two judgements that is further down the list of verdicts."""
    found: dict[str, Judgement] = {}
    for judgement in (*first, *second):
        known = found.setdefault(judgement.figure, judgement)
        if (_ORDER.index(judgement.verdict), judgement.ratio) > (_ORDER.index(known.verdict), known.ratio):
            found[judgement.figure] = judgement
    return list(found.values())


def _missing(judged: Sequence[Judgement], given: Mapping[str, int]) -> list[Judgement]:
    """Turn a figure that is missing here, and there in other cases, into a failure.

    An unreduced value and `per_structure` stand for each other.
    """
    there = {judgement.figure for judgement in judged if judgement.verdict is not Verdict.not_given}

    def settled(judgement: Judgement) -> Judgement:
        stands = judgement.figure in ("value", "per_structure") and there & {"value", "per_structure"}
        if judgement.verdict is not Verdict.not_given or stands or not given.get(judgement.figure):
            return judgement
        message = f"not returned, but it is in {given[judgement.figure]} other cases"
        return replace(judgement, right=False, message=message)

    return list(map(settled, judged))


def _fits(
    attempts: Sequence[Attempt], given: Mapping[str, int], tried: Sequence[Convention | None], asked: Convention | None
) -> tuple[Fit, ...]:
    """Return how each convention fits. Where one does, the others are judged to their first failure alone."""
    if asked is not None:
        first = _fit(attempts, given, asked)
        return first, *(_fit(attempts, given, other, stop=True) for other in tried[1:] if first.wrong)
    found = [_fit(attempts, given, convention, stop=True) for convention in tried]
    if any(fit.fits for fit in found):
        return tuple(found)
    return tuple(_fit(attempts, given, convention) for convention in tried)


def _fit(
    attempts: Sequence[Attempt], given: Mapping[str, int], convention: Convention | None, *, stop: bool = False
) -> Fit:
    cases = wrong = 0
    for attempt in attempts:
        if not _applies(convention, attempt.case):
            continue
        right = attempt.evidence(convention, given)
        cases += right is not None
        wrong += right is False
        if wrong and stop:
            break
    return Fit(_name(convention), cases, wrong)


def _best(
    attempts: Sequence[Attempt],
    given: Mapping[str, int],
    fits: Sequence[Fit],
    tried: Sequence[Convention | None],
    rules: Rules,
) -> Convention | None:
    """Return the convention that fits, of several the one that most cases speak for.

    Where none does, the one with the largest share of cases that are right, one that is consistent with a usual mistake
    counting half: the share of the wrong ones that are is taken from the first of them.
    """

    def merit(place: int) -> tuple[bool, float]:
        fit, convention = fits[place], tried[place]
        if fit.fits or not fit.cases or len(tried) == 1:
            return fit.fits, fit.cases
        explainer = Explainer(convention, rules.format, rules.accumulate)
        wrong = (a for a in attempts if _applies(convention, a.case) and a.evidence(convention, given) is False)
        sample = [
            _explained(attempt, attempt.judged(convention, given), explainer) for attempt in islice(wrong, _TRIED)
        ]
        named = sum(map(bool, sample)) / max(len(sample), 1)
        return False, 1.0 - fit.wrong / fit.cases * (1.0 - named / 2)

    return tried[max(range(len(fits)), key=merit)]


def _explained(attempt: Attempt, judged: Sequence[Judgement], explainer: Explainer) -> str:
    """Return what a case is consistent with: where figures are off, not merely of another shape or type, nor NaN."""
    verdicts = {judgement.verdict for judgement in judged}
    if Verdict.outside_bound not in verdicts or Verdict.not_finite in verdicts:  # what is left of NaN proves little
        return ""
    return explainer.explain(attempt.case, _readable(attempt.returned, judged))


def _settle(
    attempts: Sequence[Attempt],
    given: Mapping[str, int],
    chosen: Convention | None,
    fits: Sequence[Fit],
    tried: Sequence[Convention | None],
    explainer: Explainer,
) -> Iterable[Judgement]:
    """Give the judgements under the chosen convention; what is wrong, with what may be behind it."""
    fitting = {fit.convention for fit in fits if fit.fits}
    other = next((c for c in tried if c is not chosen and _name(c) in fitting), None)
    explained = 0
    for attempt in attempts:
        if not _applies(chosen, attempt.case):
            continue
        judged = attempt.judged(chosen, given)
        if not attempt.wrong(chosen, given):
            yield from judged
            continue
        if other is not None and _applies(other, attempt.case):
            yield from (_under(judgement, other.name) for judgement in judged)
            continue
        explanation = _explained(attempt, judged, explainer) if explained < _EXPLAINED else ""
        explained += 1
        for judgement in judged:
            off = judgement.verdict is Verdict.outside_bound
            yield replace(judgement, explanation=explanation) if off and explanation else judgement


def _readable(returned: Returned, judged: Sequence[Judgement]) -> Returned:
    """Return what came back without the figures that are not of their shape or type."""
    unfit = {j.figure for j in judged if j.verdict in (Verdict.wrong_shape, Verdict.wrong_dtype, Verdict.not_finite)}
    return replace(returned, figures={name: found for name, found in returned.figures.items() if name not in unfit})


def _under(judgement: Judgement, other: str) -> Judgement:
    if judgement.right or judgement.verdict is not Verdict.outside_bound:
        return judgement
    message = f"right under {other}; here {judgement.message}"
    return replace(judgement, verdict=Verdict.other_convention, convention=other, message=message)


def _record(attempt: Attempt, chosen: Convention | None) -> CaseRecord:
    case = attempt.case
    return CaseRecord(
        case.id, tuple(sorted(case.flags)), case.note, dict(case.params), case.predictions.shape, case.targets.shape,
        attempt.returned.seconds, _applies(chosen, case),
    )  # fmt: skip


def _name(convention: Convention | None) -> str:
    return "" if convention is None else convention.name


def _called(candidate: Candidate) -> str:
    module, name = getattr(candidate, "__module__", ""), getattr(candidate, "__qualname__", type(candidate).__name__)
    return f"{module}:{name}" if module else str(name)
