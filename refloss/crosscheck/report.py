"""What a cross-check found: to read, to keep as JSON, to look at as a page, to fail a test with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import refloss
from refloss.crosscheck.candidates import FIGURES
from refloss.crosscheck.cases import FLAGS
from refloss.crosscheck.judgements import MEANING, Judgement, Verdict
from refloss.crosscheck.xfails import Pattern
from refloss.results import json_safe

SCHEMA_VERSION = 1
"""Of what `CrosscheckReport.to_dict` returns (docs/crosscheck.md, "The report as JSON")."""

_SHOWN = 8
"""Failures that the summary tells in full; those that read alike count as one."""

_RECORDED = "recorded"
"""The suite of figures that came from a file (`refloss.crosscheck.recorded`)."""

_DIFFERENTIATING = ("torch", "jax")
"""Arrays whose library differentiates a value where a candidate returns no gradient."""

_CHANCE = 0.05
"""How probable it may be that as many cases all have a flag by chance, for it to be told; most must not have it."""


class CrosscheckError(AssertionError):
    """A candidate is wrong; the message is the report's summary."""


@dataclass(frozen=True)
class CaseRecord:
    """What is kept of a case: all but its arrays.

    Attributes
    ----------
    id : str
    flags : tuple of str
    note : str
    params : mapping
    predictions, targets : tuple of int
        Shapes.
    seconds : float or None
        What the first call took; None where nothing was called.
    applies : bool
        Whether the convention that was judged by knows this case's energy step, reduction and size.
    """

    id: str
    flags: tuple[str, ...]
    note: str
    params: Mapping[str, Any]
    predictions: tuple[int, ...]
    targets: tuple[int, ...]
    seconds: float | None
    applies: bool = True


@dataclass(frozen=True)
class Fit:
    """How a convention fits: the cases to which it applies and that have values, and how many of these are wrong.

    Where another one fits, or was asked for, counting stops at the first that is wrong.
    """

    convention: str
    cases: int
    wrong: int

    @property
    def fits(self) -> bool:
        """Whether the values of every case to which it applies are right under it, and there is one."""
        return self.cases > 0 and self.wrong == 0


@dataclass(frozen=True, eq=False, repr=False)
class CrosscheckReport:
    """The verdicts on one candidate.

    Attributes
    ----------
    candidate, loss, dtype, accumulate, arrays, device, suite : str
    seed : int
    asked : str or None
        The convention that was asked for.
    convention : str or None
        The one that was judged by: the one asked for, or the one that fits best. None for pointwise losses.
    fits : tuple of Fit
        How each convention that was tried fits.
    cases : tuple of CaseRecord
    judgements : tuple of Judgement
        Of every case to which the convention applies, in order.
    explanation : str
        The usual mistake that accounts for at least half of what is wrong, else "".
    expected_failures : frozenset of (case, figure)
        What is wrong and was expected to be.
    unexpected_passes : tuple of str
        Lines of the expected failures of which nothing failed.
    unmatched : tuple of str
        Lines of the expected failures that mean no case or figure of this run.
    seconds : float
    versions : mapping
    """

    candidate: str
    loss: str
    dtype: str
    accumulate: str
    arrays: str
    device: str
    suite: str
    seed: int
    asked: str | None
    convention: str | None
    fits: tuple[Fit, ...]
    cases: tuple[CaseRecord, ...]
    judgements: tuple[Judgement, ...]
    explanation: str
    expected_failures: frozenset[tuple[str, str]]
    unexpected_passes: tuple[str, ...]
    unmatched: tuple[str, ...]
    seconds: float
    versions: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether something was judged, and all of it is right or was expected to fail."""
        judged = any(judgement.verdict is not Verdict.not_given for judgement in self.judgements)
        return judged and not self.failures

    @cached_property
    def failures(self) -> tuple[Judgement, ...]:
        """What is wrong and was not expected to be."""
        return tuple(j for j in self.judgements if not j.right and (j.case, j.figure) not in self.expected_failures)

    @cached_property
    def verdicts(self) -> dict[str, dict[str, Verdict]]:
        """The verdict of every figure of every case: the last in the order of `verdicts.MEANING` where it has two."""
        order = list(MEANING)
        found: dict[str, dict[str, Verdict]] = {}
        for judgement in self.judgements:
            figures = found.setdefault(judgement.case, {})
            known = figures.get(judgement.figure, Verdict.exact)
            figures[judgement.figure] = max(known, judgement.verdict, key=order.index)
        return found

    @cached_property
    def figures(self) -> tuple[str, ...]:
        """The figures that are judged anywhere, in the order of `candidates.FIGURES`; what is none of them in front."""
        found = dict.fromkeys(judgement.figure for judgement in self.judgements)
        known = [name for name in ("call", "inputs", *FIGURES) if name in found]
        return (*(name for name in found if name not in known), *known)

    @property
    def also_fits(self) -> tuple[str, ...]:
        """Other conventions that the cases cannot tell from the one judged by."""
        return tuple(fit.convention for fit in self.fits if fit.fits and fit.convention != self.convention)

    @property
    def digits_lost(self) -> float | None:
        """The most digits that an expanded square lost in any figure; None where none lost any."""
        lost = [judgement.digits_lost for judgement in self.judgements if judgement.digits_lost is not None]
        return max(lost) if lost else None

    def __repr__(self) -> str:
        wrong = len({judgement.case for judgement in self.failures})
        return f"CrosscheckReport(ok={self.ok}, cases={len(self.cases)}, wrong={wrong}, convention={self.convention!r})"

    def raise_for_failures(self) -> None:
        """Raise `CrosscheckError` with the summary where the candidate is not right."""
        if not self.ok:
            raise CrosscheckError(self.summary())

    def summary(self) -> str:
        """Return the report as plain text."""
        return "\n".join(_summary(self))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python, safe for JSON: what is infinite or NaN becomes None."""
        names = ("candidate", "loss", "dtype", "accumulate", "arrays", "device", "suite", "seed", "asked", "convention")
        return {
            "schema": SCHEMA_VERSION,
            "ok": self.ok,
            **{name: getattr(self, name) for name in names},
            "fits": [{**json_safe(fit), "fits": fit.fits} for fit in self.fits],
            "explanation": self.explanation,
            "digits_lost": json_safe(self.digits_lost),
            "seconds": self.seconds,
            "versions": dict(self.versions),
            "cases": [json_safe(case) | {"params": json_safe(dict(case.params))} for case in self.cases],
            "judgements": [json_safe(j) | {"verdict": str(j.verdict)} for j in self.judgements],
            "expected_failures": sorted(map(list, self.expected_failures)),
            "unexpected_passes": list(self.unexpected_passes),
            "unmatched": list(self.unmatched),
        }

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """Return the report as a page that needs nothing else."""
        from refloss.crosscheck.page import page

        return page(self)


def versions() -> dict[str, str]:
    """Return the versions that a report names."""
    import numpy as np

    return {"refloss": refloss.__version__, "specification": str(refloss.SPEC_VERSION), "numpy": np.__version__}


def expected(
    patterns: tuple[Pattern, ...], judgements: tuple[Judgement, ...]
) -> tuple[frozenset[tuple[str, str]], tuple[str, ...], tuple[str, ...]]:
    """Return what is wrong as expected, the lines of which nothing failed, and those that mean nothing of this run."""
    failed, passed, unmatched = set(), [], []
    for pattern in patterns:
        meant = [judgement for judgement in judgements if pattern.fits(judgement.case, judgement.figure)]
        wrong = {(judgement.case, judgement.figure) for judgement in meant if not judgement.right}
        failed |= wrong
        if not meant:
            unmatched.append(pattern.line)
        elif not wrong:
            passed.append(pattern.line)
    return frozenset(failed), tuple(passed), tuple(unmatched)


def headline(report: CrosscheckReport) -> str:
    """Return the outcome as one sentence."""
    applies = sum(case.applies for case in report.cases)
    under = "" if report.convention is None else f" under {report.convention}"
    if report.ok:
        known = len({case for case, _ in report.expected_failures})
        return f"right{under} in {_count(applies, 'case')}" + (f", but for {known} expected to fail" if known else "")
    if not applies:
        return "nothing could be judged: no case is one for this convention"
    if not report.failures:
        return "nothing could be judged: no figure came back"
    if not _answered(report):
        return f"WRONG: no figure came back in any of {_count(applies, 'case')}"
    wrong = len({judgement.case for judgement in report.failures})
    return f"WRONG{under} in {wrong} of {_count(applies, 'case')}"


def remarks(report: CrosscheckReport) -> Iterator[str]:
    """Give what is to be said of the run as a whole."""
    tried = [fit for fit in report.fits if fit.convention != report.convention]
    skipped = sum(not case.applies for case in report.cases)
    if report.failures and not _answered(report):
        if report.figures == ("call",):
            yield f"the candidate was called with {report.arrays} arrays (--arrays): are these what it takes?"
        return
    if report.explanation:
        yield report.explanation
    elif flag := _shared_flag(report):
        yield f"every case that is wrong has the flag {flag}: {FLAGS[flag]}"
    if report.asked is None and report.convention is not None:
        fitting = [fit for fit in report.fits if fit.fits]
        if not fitting:
            told = ", ".join(f"{fit.convention} {fit.cases - fit.wrong} of {fit.cases}" for fit in report.fits)
            yield f"no convention fits every case: right under {told}"
        elif tried:
            yield f"not right under {', '.join(f.convention for f in tried if not f.fits) or 'no other that was tried'}"
        if report.also_fits:
            yield f"these cases cannot tell {report.convention} from {' and '.join(report.also_fits)}"
    elif others := [fit for fit in tried if fit.fits]:
        told = " and ".join(f"{fit.convention} ({_count(fit.cases, 'case')})" for fit in others)
        yield f"right under {told} instead of {report.asked}" if not report.ok else f"right under {told}, too"
    if skipped:
        yield (
            f"{_count(skipped, 'case')} say nothing: {report.convention} has another energy step or reduction, or "
            "refuses so few points"
        )
    if report.digits_lost is not None and report.ok:
        yield (
            f"right only as an expanded square, which loses up to {report.digits_lost:.1f} digits against a sum of "
            "squared differences"
        )
    wide, all_of_them = _blunt(report)
    if 4 * wide > all_of_them:
        yield (
            f"the verdicts are blunt: {report.dtype} allows a tenth and more in {wide} of {all_of_them} figures, and "
            "small mistakes pass; check it in float32, too"
        )
    racing = {judgement.case for judgement in report.judgements if judgement.verdict is Verdict.nondeterministic}
    if racing:
        yield f"two runs differ in {_count(len(racing), 'case')}"
    missing = [name for name in report.figures if never_given(report, name)]
    if missing:
        yield f"not returned, so not judged: {', '.join(missing)}"
    if "grad" in missing and report.arrays in _DIFFERENTIATING:
        yield "and the value gives no gradient: none was asked for (--no-grad), or it is detached from the predictions"
    for line in report.unexpected_passes:
        yield f"expected to fail, but right: {line}"
    for line in report.unmatched:
        yield f"expected to fail, but not of this run: {line}"


def never_given(report: CrosscheckReport, figure: str) -> bool:
    """Return whether the figure came back in no case."""
    found = [j.verdict for j in report.judgements if j.figure == figure]
    return bool(found) and all(verdict is Verdict.not_given for verdict in found)


def _blunt(report: CrosscheckReport) -> tuple[int, int]:
    """Return in how many judged figures the bound is over a tenth of the figure, and how many there are."""
    judged = [
        (j.allowed, abs(j.expected))
        for j in report.judgements
        if j.figure != "shift" and j.allowed is not None and j.expected
    ]
    return sum(allowed > 0.1 * size for allowed, size in judged), len(judged)


def _answered(report: CrosscheckReport) -> bool:
    """Return whether any figure came back."""
    return any(j.figure in FIGURES and j.verdict is not Verdict.not_given for j in report.judgements)


def _shared_flag(report: CrosscheckReport) -> str:
    """Return the rarest flag that all wrong cases have, where chance would hardly bring that about, else ""."""
    cases = [case for case in report.cases if case.applies]
    wrong = {judgement.case for judgement in report.failures}
    flags = [set(case.flags) for case in cases if case.id in wrong]
    shared = [flag for flag in FLAGS if flags and all(flag in of for of in flags)]
    share = {flag: sum(flag in case.flags for case in cases) / len(cases) for flag in shared}
    flag = min(share, key=share.__getitem__, default="")
    telling = flag and share[flag] < 0.5 and share[flag] ** len(flags) < _CHANCE
    return flag if telling else ""


def _summary(report: CrosscheckReport) -> Iterator[str]:
    sums = "" if report.accumulate == report.dtype else f", sums in {report.accumulate}"
    where = f"{report.arrays} on {report.device}, suite {report.suite}, seed {report.seed}"
    told = "golden vectors" if report.suite == _RECORDED else where
    yield f"{report.candidate}: {report.loss}, {report.dtype}{sums}, {told}"
    yield headline(report)
    yield from remarks(report)
    counts = {
        name: Counter(v[name] for v in report.verdicts.values() if name in v)
        for name in report.figures
        if not never_given(report, name)
    }
    if counts:
        yield ""
        width = max(map(len, counts))
        for name, found in counts.items():
            told = ", ".join(f"{found[verdict]} {verdict.replace('_', ' ')}" for verdict in MEANING if found[verdict])
            yield f"  {name:<{width}}  {told}"
    alike = Counter(map(_told, report.failures))
    shown = _worst_first(report.failures)[:_SHOWN]
    for judgement in shown:
        yield ""
        yield from _failure(report, judgement, alike[_told(judgement)] - 1)
    if rest := len(report.failures) - sum(alike[_told(judgement)] for judgement in shown):
        yield ""
        yield f"and {_count(rest, 'failure')} more: the page (--html, to_html()) and the JSON have all of them"


def _failure(report: CrosscheckReport, judgement: Judgement, again: int) -> Iterator[str]:
    record = next(case for case in report.cases if case.id == judgement.case)
    yield f"{judgement.case}: {judgement.figure}: {judgement.verdict.replace('_', ' ')}"
    yield f"    {judgement.message}"
    if judgement.explanation:
        yield f"    {judgement.explanation}"
    params = ", ".join(f"{name}={value}" for name, value in record.params.items())
    yield f"    {params}; flags: {', '.join(record.flags) or 'none'}"
    if again:
        yield f"    the same in {_count(again, 'case')} more"


def _told(judgement: Judgement) -> tuple[str, Verdict, str]:
    """Return what failures have in common that need to be told once only."""
    return judgement.figure, judgement.verdict, judgement.message


def _worst_first(failures: tuple[Judgement, ...]) -> list[Judgement]:
    """Return the first of failures that read alike, new figures or verdicts in front of repeated ones."""
    first = {_told(judgement): judgement for judgement in reversed(failures)}
    seen: Counter[tuple[str, Verdict]] = Counter()
    ranked = []
    for place, judgement in enumerate(failures):
        if first[_told(judgement)] is judgement:
            key = (judgement.figure, judgement.verdict)
            ranked.append((seen[key], place, judgement))
            seen[key] += 1
    return [judgement for _, _, judgement in sorted(ranked, key=lambda entry: entry[:2])]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
