"""Judge what a candidate returned for a case: one verdict per figure.

Shape and number type come before values. A value is right where it is as near to the golden one as the bounds of
`refloss.crosscheck.bounds` say that any correct implementation is. An aligned loss is judged at the shifts that the
candidate took, as long as these are among those that a correct implementation may take.

References
----------
docs/crosscheck.md, "Verdicts"; docs/bounds.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from refloss.conventions import Convention
from refloss.crosscheck.bounds import Form
from refloss.crosscheck.candidates import FIGURES, Returned
from refloss.crosscheck.formats import Format
from refloss.crosscheck.judgements import RIGHT, Judgement, Verdict
from refloss.crosscheck.libraries import AnyArray
from refloss.crosscheck.reference import equivalent_shifts
from refloss.crosscheck.truth import Finding, Truth, error_of, over
from refloss.results import Booleans, Floats, Integers

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

__all__ = ["RIGHT", "Judgement", "Verdict", "judge"]

_WIDE_ENOUGH: Final[Mapping[str, tuple[str, ...]]] = {
    "float64": ("float64",),
    "float32": ("float32", "float64"),
    "float16": ("float16", "float32", "float64"),
    "bfloat16": ("bfloat16", "float32", "float64"),
}


def judge(
    case: Case,
    returned: Returned,
    convention: str | Convention | None,
    format: Format,  # noqa: A002
    accumulate: Format,
    *,
    tried: int | None = None,
) -> list[Judgement]:
    """Judge what was returned for a case under one convention.

    Parameters
    ----------
    case : Case
    returned : Returned
    convention : str or Convention or None
        None for the pointwise losses.
    format, accumulate : Format
        What the candidate computes and what it sums in.
    tried : int, optional
        At how many equivalent shifts, at most, to look for figures whose shift is not told. Without it at all of them.

    Returns
    -------
    list of Judgement
        In the order of `candidates.FIGURES`. A figure that was not returned has the verdict not_given, which counts as
        right: whether it should have been there the other cases tell.
    """
    if returned.timed_out:
        return [_said(case, "call", Verdict.timed_out, f"no answer after {returned.seconds:.3g} s")]
    if returned.error is not None:
        return [_said(case, "call", Verdict.raised, returned.error)]
    judged = [_said(case, name, Verdict.wrong_dtype, f"found {what}") for name, what in returned.garbage.items()]
    if returned.modified_inputs:
        judged.append(_said(case, "inputs", Verdict.modified_inputs, f"it wrote to {_and(returned.modified_inputs)}"))
    truth = Truth(case, convention, format, accumulate)
    truth.tried = tried
    readable: dict[str, AnyArray] = {}
    for name in FIGURES:
        if name not in returned.figures:
            continue
        wrong = _form(case, truth, name, returned.figures[name], returned.dtypes[name])
        if wrong is None:
            readable[name] = returned.figures[name]
        else:
            judged.append(wrong)
    judged += _values(truth, readable, returned.dtypes)
    if returned.grad_error is not None:
        judged.append(_said(case, "grad", Verdict.raised, f"differentiating it: {returned.grad_error}"))
    done = {judgement.figure for judgement in judged}
    judged += [
        Judgement(case.id, name, Verdict.not_given, right=True, message="not returned")
        for name in truth.figures
        if name not in done
    ]
    order = {name: place for place, name in enumerate(("call", "inputs", *FIGURES))}
    return sorted(judged, key=lambda judgement: order.get(judgement.figure, -1))


def _form(case: Case, truth: Truth, figure: str, found: AnyArray, dtype: str) -> Judgement | None:
    """Say what is wrong with the shape or the number type of a figure; None where nothing is."""
    if figure not in truth.figures:
        return _said(case, figure, Verdict.wrong_shape, f"{case.loss} has no {figure}: return {_and(truth.figures)}")
    if figure == "shift":
        if found.dtype.kind != "i":
            return _said(case, figure, Verdict.wrong_dtype, f"found {dtype}, expected integers")
    elif dtype not in _WIDE_ENOUGH[truth.format.storage]:
        expected = " or ".join(_WIDE_ENOUGH[truth.format.storage])
        return _said(case, figure, Verdict.wrong_dtype, f"found {dtype}, expected {expected}")
    if found.shape != truth.shape(figure):
        rows = "one for each structure" if truth.golden.shift is not None else "the elements that count, in C order"
        meant = f": {rows}" if figure == "value" and truth.shape(figure) else ""
        return _said(case, figure, Verdict.wrong_shape, f"found {found.shape}, expected {truth.shape(figure)}{meant}")
    return None


def _values(truth: Truth, found: Mapping[str, AnyArray], dtypes: Mapping[str, str]) -> Iterator[Judgement]:
    """Judge the figures that can be read, in direct form first, and as an expanded square where that does not fit.

    It is one only where all figures of the case fit: single ones do so by chance, its bounds being wide.
    """
    direct, _ = _findings(truth, found, dtypes, "direct")
    expanded: dict[str, tuple[Finding, bool]] = {}
    taken = None
    if any(finding.verdict not in RIGHT for finding, _ in direct.values()):
        expanded, taken = _findings(truth, found, dtypes, "expanded")
    explains = all(finding.verdict in RIGHT for finding, _ in expanded.values())
    for name, (finding, moved) in direct.items():
        if finding.verdict is not Verdict.outside_bound or expanded[name][0].verdict not in RIGHT:
            yield _judgement(truth, name, finding, moved)
        elif explains:
            yield _expanded(truth, name, found[name], dtypes[name], expanded[name][0], taken)
        else:
            judgement = _judgement(truth, name, finding, moved)
            yield replace(judgement, message=f"{judgement.message}; an expanded square may be off by as much")


def _findings(
    truth: Truth, found: Mapping[str, AnyArray], dtypes: Mapping[str, str], form: Form
) -> tuple[dict[str, tuple[Finding, bool]], Integers | None]:
    """Return the finding of each figure in one form, and whether it is one at other shifts; and these shifts."""
    if not truth.aligned:
        plain = {name: truth.compare(name, values, dtypes[name], form, None) for name, values in found.items()}
        return {name: (finding, False) for name, finding in plain.items()}, None
    golden_shift = truth.golden.shift
    assert golden_shift is not None
    allowed = equivalent_shifts(truth.case, truth.golden, truth.tolerance(form))
    spans: list[Integers] | None = None
    findings: dict[str, tuple[Finding, bool]] = {}
    if "shift" in found:
        finding, taken = _shift(truth, found["shift"], allowed, form)
        findings["shift"] = finding, finding.verdict is Verdict.equivalent_shift
    else:
        taken, spans = _taken(truth, found, dtypes, allowed, form)
    moved = not np.array_equal(taken, golden_shift)
    for name, values in found.items():
        if name == "shift":
            continue
        finding, elsewhere = truth.compare(name, values, dtypes[name], form, taken), moved
        if name == "value" and truth.reduced and finding.verdict not in RIGHT and spans is not None:
            within = _between(truth, float(values), spans, form)
            finding, elsewhere = (finding, moved) if within is None else (within, True)
        findings[name] = finding, elsewhere
    return findings, taken


def _shift(truth: Truth, found: Integers, allowed: list[Integers], form: Form) -> tuple[Finding, Integers]:
    """Judge the shifts that a candidate says it took; return those at which the other figures are to be judged."""
    golden = truth.golden.shift
    assert golden is not None
    right = np.array([s in options for s, options in zip(found.tolist(), allowed, strict=True)])
    exact, (bound, _) = truth.golden.landscape, truth.tolerance(form).objective
    there = np.clip(found, 0, exact.shape[1] - 1)[:, None]
    outside = found != there[:, 0]
    # How far the objective there is above the best, in units of what rounding could make of both.
    with np.errstate(invalid="ignore"):
        above = np.take_along_axis(exact, there, axis=1)[:, 0] - exact.min(axis=1)
        slack = np.take_along_axis(bound, there, axis=1)[:, 0] + (exact + bound).min(axis=1) - exact.min(axis=1)
    ratio = np.where(outside, math.inf, over(above, slack))
    ratio = np.where(right, np.minimum(ratio, 1.0), np.maximum(ratio, np.nextafter(1.0, 2.0)))
    ratio = np.where(found == golden, 0.0, ratio)
    b = int(ratio.argmax())
    verdict = Verdict.exact if (found == golden).all() else Verdict.equivalent_shift
    finding = Finding(
        verdict if right.all() else Verdict.outside_bound,
        (b,), float(found[b]), float(golden[b]), 0.0, 0.0, float(ratio[b]), float(abs(found[b] - golden[b])),
    )  # fmt: skip
    return finding, np.where(right, found, golden)


def _taken(
    truth: Truth, found: Mapping[str, AnyArray], dtypes: Mapping[str, str], allowed: list[Integers], form: Form
) -> tuple[Integers, list[Integers]]:
    """Find the shifts that a candidate took and does not tell.

    Returns
    -------
    taken : (B,) int64
        Per structure the first equivalent shift, the golden one before all others, at which all its rows are right; the
        golden one where there is none.
    spans : list of int64 arrays
        Per structure every equivalent shift at which its rows are right, or all of them where no row tells.
    """
    golden = truth.golden.shift
    assert golden is not None
    rows = {name: values for name, values in found.items() if name != "value" or not truth.reduced}
    options = [
        np.concatenate([[best], some[some != best]])[: truth.tried] for best, some in zip(golden, allowed, strict=True)
    ]
    fits: list[list[int]] = [[] for _ in options]
    taken = golden
    for k in range(max(map(len, options)) if rows else 0):
        shift = np.array([some[min(k, len(some) - 1)] for some in options])
        right = _rows_right(truth, rows, dtypes, form, shift)
        for b, some in enumerate(options):
            if k < len(some) and right[b]:
                fits[b].append(int(some[k]))
        taken = np.array([some[0] if some else best for some, best in zip(fits, golden.tolist(), strict=True)])
        if all(fits) and _value_fits(truth, found, dtypes, form, taken):
            break
        if any(k + 1 == len(some) and not right for some, right in zip(options, fits, strict=True)):
            break  # a structure that is right at none of its shifts: the case is wrong, whatever the others took
    return taken, [np.array(some) if some else options[b] for b, some in enumerate(fits)]


def _value_fits(
    truth: Truth, found: Mapping[str, AnyArray], dtypes: Mapping[str, str], form: Form, shift: Integers
) -> bool:
    if "value" not in found or not truth.reduced:
        return True
    return truth.compare("value", found["value"], dtypes["value"], form, shift).verdict in RIGHT


def _rows_right(
    truth: Truth, rows: Mapping[str, AnyArray], dtypes: Mapping[str, str], form: Form, shift: Integers
) -> Booleans:
    golden, bounds = truth.at(shift), truth.tolerance(form, shift)
    right = np.ones(len(shift), np.bool_)
    for name, values in rows.items():
        expected, bound = golden.figures[truth.name(name)], bounds.bound[truth.name(name)]
        fits = error_of(values, expected, bound, dtypes[name]) <= bound
        right &= fits.reshape(len(shift), -1).all(axis=1)
    return right


def _between(truth: Truth, found: float, spans: list[Integers], form: Form) -> Finding | None:
    """Judge a reduced value by the interval that the equivalent shifts span; None where it is not in it."""
    low: list[Floats] = []
    bound = 0.0
    for k in range(max(map(len, spans))):
        shift = np.array([some[min(k, len(some) - 1)] for some in spans])
        rows = truth.at(shift).per_structure
        assert rows is not None
        low.append(rows)
        bound = max(bound, float(truth.tolerance(form, shift).bound["value"]))
    every = np.stack(low)
    count = 1 if truth.case.params.get("reduction", "mean") == "sum" else every.shape[1]
    ends = math.fsum(every.min(axis=0)) / count, math.fsum(every.max(axis=0)) / count
    nearest = min(max(found, ends[0]), ends[1])
    if not abs(found - nearest) <= bound:
        return None
    return Finding(
        Verdict.equivalent_shift, (), found, nearest, bound, bound, float(over(abs(found - nearest), bound)),
        abs(found - nearest),
    )  # fmt: skip


def _judgement(truth: Truth, figure: str, finding: Finding, moved: bool) -> Judgement:
    verdict = finding.verdict
    right = verdict in RIGHT
    if right and moved:
        verdict = Verdict.equivalent_shift
    return Judgement(
        truth.case.id, figure, verdict, right, finding.worst, finding.found, finding.expected, finding.allowed,
        finding.typical, finding.ratio, message=_message(truth, figure, finding, verdict),
    )  # fmt: skip


def _expanded(
    truth: Truth, figure: str, values: AnyArray, dtype: str, expanded: Finding, taken: Integers | None
) -> Judgement:
    """Say that a figure is right as an expanded square, and what that has cost against a direct sum at its shifts."""
    if figure == "shift":
        message = f"{_moved(figure, expanded)}: the objective there cannot be told from the best in an expanded square"
        return replace(_judgement(truth, figure, expanded, True), verdict=Verdict.expanded_form, message=message)
    if expanded.verdict is Verdict.equivalent_shift:  # a value in the interval that the shifts span
        bound = float(truth.tolerance("direct").bound["value"])
        direct = replace(expanded, allowed=bound, ratio=float(over(expanded.error, bound)))
    else:
        direct = truth.compare(figure, values, dtype, "direct", taken)
    judgement = replace(_judgement(truth, figure, direct, False), verdict=Verdict.expanded_form, right=True)
    if direct.ratio <= 1.0:
        return replace(judgement, message="right at the shifts that an expanded square takes for the best")
    lost = min(math.log10(direct.ratio), -math.log10(truth.format.unit))  # no more than the format has
    size = abs(direct.expected)
    left = "no digit is right" if direct.error >= size else f"{math.log10(size / direct.error):.1f} digits are right"
    message = (
        f"{_named(figure, direct.worst)} found {direct.found:.9g}, expected {direct.expected:.9g}: off by "
        f"{direct.error:.3g}, where a direct sum is within {direct.allowed:.3g} ({lost:.1f} digits lost): {left}"
    )
    return replace(judgement, digits_lost=lost, message=message)


def _message(truth: Truth, figure: str, finding: Finding, verdict: Verdict) -> str:
    found, expected = finding.found, finding.expected
    name = _named(figure, finding.worst)
    if figure == "shift":
        if verdict is Verdict.exact:
            return "exact"
        if verdict is Verdict.equivalent_shift:
            return f"{_moved(figure, finding)}: the objective there cannot be told from the best"
        if finding.ratio == math.inf:
            return f"{_moved(figure, finding)}: there is no such shift, or no rounding makes its objective the best"
        times = f"{finding.ratio:.3g} times further above the best than rounding"
        return f"{_moved(figure, finding)}: the objective there is {times}"
    if verdict is Verdict.exact:
        return "exact"
    at = ", at equivalent shifts" if verdict is Verdict.equivalent_shift else ""
    if verdict is Verdict.not_finite:
        return f"{name} found {found}, expected {expected:.9g}"
    times = f" ({finding.ratio:.3g} times the bound)" if finding.allowed else ""
    return (
        f"{name} found {found:.9g}, expected {expected:.9g}{at}: off by {finding.error:.3g}, "
        f"allowed {finding.allowed:.3g}{times}"
    )


def _moved(figure: str, finding: Finding) -> str:
    return f"{_named(figure, finding.worst)} found {finding.found:.0f}, expected {finding.expected:.0f}"


def _named(figure: str, worst: tuple[int, ...]) -> str:
    return f"{figure}[{', '.join(map(str, worst))}]" if worst else figure


def _said(case: Case, figure: str, verdict: Verdict, message: str) -> Judgement:
    return Judgement(case.id, figure, verdict, right=False, ratio=math.inf, message=message)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
