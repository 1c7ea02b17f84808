"""Run a candidate through the cases, judge it under every convention that may be meant, and choose among these."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from refloss.arrays import finite_number
from refloss.conventions import LOSSES, Convention, find
from refloss.crosscheck import formats, report, xfails
from refloss.crosscheck.candidates import Candidate, Returned, call, keywords_to_leave_out
from refloss.crosscheck.cases import Case, cases
from refloss.crosscheck.formats import Format
from refloss.crosscheck.judgements import MEANING, Judgement, Verdict
from refloss.crosscheck.libraries import NumPy, open_library
from refloss.crosscheck.mistakes import Explainer
from refloss.crosscheck.report import CaseRecord, CrosscheckReport, Fit
from refloss.crosscheck.verdicts import judge
from refloss.errors import InputError

Progress = Callable[[int, int, str], None]
"""Is told how many cases are done, how many there are, and which one comes next."""

_EXPLAINED: Final = 40
"""Wrong cases that an explanation is looked for: it costs more than the verdict, and repeats itself."""

_ORDER: Final = list(MEANING)


@dataclass(frozen=True, eq=False)
class Setting:
    """What does not change from case to case."""

    candidate: Candidate
    library: NumPy
    format: Format
    accumulate: Format
    grad: bool
    timeout: float | None
    deterministic: bool


@dataclass(eq=False)
class Attempt:
    """A case, what came back, and the judgements under each convention that applies, by its name."""

    case: Case
    returned: Returned
    judged: dict[str, list[Judgement]] = field(default_factory=dict)

    def wrong(self, convention: str) -> bool:
        """Return whether anything is wrong under a convention, if that applies."""
        return any(not judgement.right for judgement in self.judged.get(convention, ()))


def run(
    candidate: Candidate,
    loss: str,
    *,
    dtype: str,
    accumulate: str | None,
    arrays: str,
    device: str | None,
    suite: str,
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
    sums = form if accumulate is None else formats.find(accumulate)
    patterns = xfails.read(expected_failures)
    if timeout is not None:
        timeout = finite_number("timeout", timeout, positive=True)
    asked = _asked(loss, convention)
    fixed = _fixed(asked, params)
    library = open_library(arrays, device, form)
    todo = list(cases(loss, format=form, suite=suite, seed=seed, params=fixed))
    tried = _tried(loss, asked)
    leave_out = keywords_to_leave_out(candidate, todo[0], fixed)
    setting = Setting(candidate, library, form, sums, grad, timeout, deterministic)
    attempts = []
    for done, case in enumerate(todo):
        if progress is not None:
            progress(done, len(todo), case.id)
        attempts.append(_attempt(setting, case, tried, leave_out))
    if progress is not None:
        progress(len(todo), len(todo), "")
    named = [_name(choice) for choice in tried]
    _require_everywhere(attempts, named)
    fits = tuple(_fit(attempts, choice) for choice in named)
    chosen = _name(asked) if asked is not None else _best(fits)
    meant = next(choice for choice in tried if _name(choice) == chosen)
    explainer = Explainer(meant, form, sums)
    judgements = tuple(_settle(attempts, chosen, fits, asked, explainer))
    failed, passed, unmatched = report.expected(patterns, judgements)
    return CrosscheckReport(
        candidate=_called(candidate) if name is None else name,
        loss=loss,
        dtype=form.name,
        accumulate=sums.name,
        arrays=arrays,
        device=device or "the default device" if arrays != "numpy" else "cpu",
        suite=suite,
        seed=seed,
        asked=None if asked is None else asked.name,
        convention=chosen or None,
        fits=fits if chosen else (),
        cases=tuple(_record(attempt, chosen) for attempt in attempts),
        judgements=judgements,
        explanation=explainer.summary(),
        expected_failures=failed,
        unexpected_passes=passed,
        unmatched=unmatched,
        seconds=time.perf_counter() - start,
        versions=report.versions() | library.version(),
    )


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
    step = convention.energy_step
    return case.params["reduction"] in convention.reductions and (step is None or case.params["energy_step"] == step)


def _attempt(setting: Setting, case: Case, tried: Sequence[Convention | None], leave_out: frozenset[str]) -> Attempt:
    """Call the candidate twice, and judge what it returned; where the two differ, by the worse."""
    returned = [_called_with(setting, case, leave_out)]
    if returned[0].error is None and not returned[0].timed_out:
        returned.append(_called_with(setting, case, leave_out))
    same = returned[0].same_bits(returned[-1])
    racing = [name for name, alike in same.items() if not alike]
    failed = returned[-1].timed_out or returned[-1].error is not None
    attempt = Attempt(case, returned[0])
    for convention in tried:
        if _applies(convention, case):
            judged = judge(case, returned[0], convention, setting.format, setting.accumulate)
            if racing or failed:
                again = judge(case, returned[-1], convention, setting.format, setting.accumulate)
                judged = _worse(judged, again) + [_differing(setting, case, name) for name in racing]
            attempt.judged[_name(convention)] = judged
    return attempt


def _called_with(setting: Setting, case: Case, leave_out: frozenset[str]) -> Returned:
    return call(
        setting.candidate, case, setting.library, grad=setting.grad, timeout=setting.timeout, leave_out=leave_out
    )


def _worse(first: Sequence[Judgement], second: Sequence[Judgement]) -> list[Judgement]:
    """Return for each figure the one of two judgements that is further down the list of verdicts."""
    found: dict[str, Judgement] = {}
    for judgement in (*first, *second):
        known = found.setdefault(judgement.figure, judgement)
        if (_ORDER.index(judgement.verdict), judgement.ratio) > (_ORDER.index(known.verdict), known.ratio):
            found[judgement.figure] = judgement
    return list(found.values())


def _differing(setting: Setting, case: Case, figure: str) -> Judgement:
    message = "two runs with the same inputs returned different bits"
    right = not setting.deterministic
    return Judgement(case.id, figure, Verdict.nondeterministic, right, ratio=math.nan, message=message)


def _require_everywhere(attempts: Sequence[Attempt], named: Sequence[str]) -> None:
    """Turn figures that are missing in some cases, and there in others, into failures.

    An unreduced value and `per_structure` stand for each other.
    """
    for convention in named:
        lists = [attempt.judged[convention] for attempt in attempts if convention in attempt.judged]
        given: dict[str, int] = {}
        for judged in lists:
            for judgement in judged:
                given[judgement.figure] = given.get(judgement.figure, 0) + (judgement.verdict is not Verdict.not_given)
        for judged in lists:
            there = {judgement.figure for judgement in judged if judgement.verdict is not Verdict.not_given}
            for place, judgement in enumerate(judged):
                stands = judgement.figure in ("value", "per_structure") and there & {"value", "per_structure"}
                if (
                    judgement.verdict is Verdict.not_given
                    and given[judgement.figure]
                    and not stands
                    and "call" not in there
                ):
                    message = f"not returned, but it is in {given[judgement.figure]} other cases"
                    judged[place] = replace(judgement, right=False, message=message)


def _fit(attempts: Sequence[Attempt], convention: str) -> Fit:
    telling = [attempt for attempt in attempts if convention in attempt.judged]
    return Fit(convention, len(telling), sum(attempt.wrong(convention) for attempt in telling))


def _best(fits: Sequence[Fit]) -> str:
    """Return the convention that fits; of several the one that most cases speak for; else the one that fits best."""
    able = [fit for fit in fits if fit.cases] or list(fits)
    best = max(able, key=lambda fit: (fit.fits, fit.cases if fit.fits else (fit.cases - fit.wrong) / max(fit.cases, 1)))
    return best.convention


def _settle(
    attempts: Sequence[Attempt], chosen: str, fits: Sequence[Fit], asked: Convention | None, explainer: Explainer
) -> Iterable[Judgement]:
    """Give the judgements under the chosen convention; what is wrong, with what may be behind it."""
    other = next((fit.convention for fit in fits if fit.fits and fit.convention != chosen), None)
    explained = 0
    for attempt in attempts:
        judged = attempt.judged.get(chosen, [])
        if not attempt.wrong(chosen):
            yield from judged
            continue
        if asked is not None and other is not None and other in attempt.judged:
            yield from (_under(judgement, other) for judgement in judged)
            continue
        explanation = ""
        if explained < _EXPLAINED and any(judgement.verdict is Verdict.outside_bound for judgement in judged):
            explanation = explainer.explain(attempt.case, _readable(attempt.returned, judged))
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


def _record(attempt: Attempt, chosen: str) -> CaseRecord:
    case = attempt.case
    return CaseRecord(
        case.id, tuple(sorted(case.flags)), case.note, dict(case.params), case.predictions.shape, case.targets.shape,
        attempt.returned.seconds, chosen in attempt.judged,
    )  # fmt: skip


def _name(convention: Convention | None) -> str:
    return "" if convention is None else convention.name


def _called(candidate: Candidate) -> str:
    module, name = getattr(candidate, "__module__", ""), getattr(candidate, "__qualname__", type(candidate).__name__)
    return f"{module}:{name}" if module else str(name)
