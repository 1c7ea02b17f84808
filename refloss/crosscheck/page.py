"""A cross-check as a web page of one file: cases and figures as a coloured table, the errors, and what is wrong.

It loads nothing and runs no script. A verdict is a colour and a letter, so that neither a screen reader nor a reader
who cannot tell two of the colours apart misses it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from refloss.crosscheck.cases import FLAGS
from refloss.crosscheck.judgements import MEANING, Judgement, Verdict
from refloss.crosscheck.report import headline, never_given, remarks

if TYPE_CHECKING:
    from refloss.crosscheck.report import CaseRecord, CrosscheckReport

LETTERS: Final[Mapping[Verdict, str]] = {
    Verdict.exact: "E",
    Verdict.expected: "P",
    Verdict.within_bound: "B",
    Verdict.equivalent_shift: "S",
    Verdict.expanded_form: "X",
    Verdict.other_convention: "C",
    Verdict.not_given: "·",
    Verdict.nondeterministic: "2",
    Verdict.outside_bound: "!",
    Verdict.not_finite: "N",
    Verdict.wrong_shape: "H",
    Verdict.wrong_dtype: "D",
    Verdict.modified_inputs: "M",
    Verdict.timed_out: "T",
    Verdict.raised: "R",
}
"""What stands in a cell of the table."""

_TOP, _BOTTOM, _LEFT, _WIDTH, _HEIGHT = 26, 40, 62, 1120, 330
"""Of the plot, in its own units: margins, and the size of all."""

_ZERO: Final = 18
"""By how much the line of 0 is below the axis."""

_DETAILED: Final = 200
"""Failures that the page tells in full."""


def page(report: CrosscheckReport) -> str:
    """Return the text of the page."""
    style = (files("refloss.crosscheck") / "page.css").read_text(encoding="utf-8")
    title = escape(f"{report.candidate}: {report.loss} in {report.dtype}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>\n{style}</style></head><body>",
            "<main>",
            *_head(report),
            *_plot(report),
            *_table(report),
            *_failures(report),
            *_foot(report),
            "</main></body></html>",
            "",
        ]
    )


def _head(report: CrosscheckReport) -> Iterator[str]:
    yield f"<h1><code>{escape(report.candidate)}</code></h1>"
    mood = "right" if report.ok else "wrong"
    yield f'<p class="outcome {mood}"><strong>{"✓" if report.ok else "✗"}</strong> {escape(headline(report))}</p>'
    if report.failures:
        yield '<p><a href="#failures">What is wrong, case by case</a></p>'
    told = {
        "loss": report.loss,
        "computes in": report.dtype,
        "sums in": report.accumulate,
        "arrays": f"{report.arrays} on {report.device}",
        "convention": _convention(report),
        "suite": f"{report.suite}, seed {report.seed}",
        "took": f"{report.seconds:.1f} s",
    }
    yield "<dl>"
    yield from (f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in told.items() if text)
    yield "</dl>"
    if said := list(remarks(report)):
        yield "<ul>"
        yield from (f"<li>{escape(remark)}</li>" for remark in said)
        yield "</ul>"


def _convention(report: CrosscheckReport) -> str | None:
    if report.convention is None:
        return None
    fits = any(fit.fits for fit in report.fits if fit.convention == report.convention)
    return f"{report.convention} ({'asked for' if report.asked else 'found' if fits else 'the nearest'})"


def _plot(report: CrosscheckReport) -> Iterator[str]:
    """Draw the error over the bound of every figure of every case, on a logarithmic axis, one strip for each figure."""
    measured = [j for j in report.judgements if j.allowed is not None and j.figure != "shift"]
    names = [name for name in report.figures if any(j.figure == name for j in measured)]
    ratios = [j.ratio for j in measured if 0.0 < j.ratio < math.inf]
    if not names:
        return
    low = min(-4, max(-8, math.floor(math.log10(min(ratios, default=1.0)))))
    high = max(1, min(20, math.ceil(math.log10(max(ratios, default=1.0)) + 0.2)))
    strip, places = min(240, (_WIDTH - _LEFT - 12) / len(names)), {case.id: n for n, case in enumerate(report.cases)}
    width = round(_LEFT + strip * len(names) + 12)

    def height(ratio: float) -> float:
        """0 is drawn below the axis, what is beyond it above."""
        if ratio == 0.0:
            return _HEIGHT - _BOTTOM - 4.0
        decade = min(max(math.log10(ratio), low), high + 0.5) if ratio < math.inf else high + 0.5
        return _TOP + (high + 0.5 - decade) / (high + 0.5 - low) * (_HEIGHT - _TOP - _BOTTOM - 4.0 - _ZERO)

    yield '<section aria-labelledby="errors"><h2 id="errors">Error over bound</h2>'
    yield "<p>Each mark is a case. No correct implementation gets above 1, unless it expands squares.</p>"
    yield f'<div class="scroll"><svg viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" role="img"'
    yield f' aria-label="Error over bound of {len(measured)} figures, largest {max(j.ratio for j in measured):.3g}">'
    every = max(1, math.ceil((high - low) / 9))
    for decade in range(every * math.ceil(low / every), high + 1, every):
        y = height(10.0**decade)
        yield _line("bound" if decade == 0 else "grid", width, y)
        label = "1" if decade == 0 else f'10<tspan dy="-5" font-size="9">{_minus(decade)}</tspan>'
        yield f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    y = height(0.0)
    yield _line("grid", width, y)
    yield f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">0</text>'
    for column, name in enumerate(names):
        x = _LEFT + column * strip
        middle = f'x="{x + strip / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle"'
        yield f'<text class="axis" {middle}>{escape(_short(name))}</text>'
        for judgement in measured:
            if judgement.figure == name:
                at = x + 8 + (strip - 16) * (places[judgement.case] + 0.5) / len(places)
                yield _mark(judgement, at, height(judgement.ratio))
    yield "</svg></div></section>"


def _line(kind: str, width: int, y: float) -> str:
    return f'<line class="{kind}" x1="{_LEFT}" x2="{width - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _mark(judgement: Judgement, x: float, y: float) -> str:
    told = f"<title>{escape(judgement.case)}: {judgement.ratio:.3g}</title>"
    kind = f"v-{judgement.verdict}"
    if judgement.right:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3">{told}</circle>'
    path = f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7"  # a cross: shape tells wrong from right, too
    return f'<path class="{kind} cross" d="{path}">{told}</path>'


def _table(report: CrosscheckReport) -> Iterator[str]:
    told = {(j.case, j.figure): j for j in sorted(report.judgements, key=lambda j: list(MEANING).index(j.verdict))}
    failing = {judgement.case for judgement in report.failures}
    detailed = {judgement.case for judgement in report.failures[:_DETAILED]}
    figures = [name for name in report.figures if not never_given(report, name)]
    counts = Counter(found[name] for found in report.verdicts.values() for name in figures if name in found)
    yield '<section aria-labelledby="cases"><h2 id="cases">Cases and figures</h2>'
    yield '<ul class="legend">'
    for verdict in MEANING:
        if counts[verdict]:
            name = verdict.replace("_", " ")
            letter = f'<b class="cell v-{verdict}">{LETTERS[verdict]}</b>'
            yield f"<li>{letter} {name}: {MEANING[verdict]} ({counts[verdict]})</li>"
    yield "</ul>"
    if failing:
        yield '<p><label><input type="checkbox" id="only-wrong"> show only the cases that are wrong</label></p>'
    yield '<div class="scroll"><table><thead><tr><th scope="col">case</th>'
    yield from (f'<th scope="col">{escape(_short(name))}</th>' for name in figures)
    yield '<th scope="col">flags</th></tr></thead><tbody>'
    for case in report.cases:
        mood = "wrong" if case.id in failing else "right"
        name = f'<a href="#{_anchor(case)}">{escape(case.id)}</a>' if case.id in detailed else escape(case.id)
        yield f'<tr class="{mood}"><th scope="row">{name}</th>'
        for figure in figures:
            yield _cell(report, case, figure, told.get((case.id, figure)))
        yield f'<td class="flags">{", ".join(map(_flag, case.flags))}</td></tr>'
    yield "</tbody></table></div>"
    yield "<details><summary>What the flags mean</summary><ul>"
    used = {flag for case in report.cases for flag in case.flags}
    yield from (f"<li>{flag}: {escape(meaning)}</li>" for flag, meaning in FLAGS.items() if flag in used)
    yield "</ul></details></section>"


def _flag(name: str) -> str:
    return f'<span title="{escape(FLAGS[name], quote=True)}">{escape(name)}</span>'


def _cell(report: CrosscheckReport, case: CaseRecord, figure: str, judgement: Judgement | None) -> str:
    if judgement is None:
        return "<td></td>"
    expected = (case.id, figure) in report.expected_failures
    name = judgement.verdict.replace("_", " ") + (", as expected" if expected else "")
    title = escape(f"{name}: {judgement.message}", quote=True)
    kind = f"v-{judgement.verdict}{' xfail' if expected else ''}"
    letter = LETTERS[judgement.verdict]
    return f'<td class="cell {kind}" title="{title}"><span aria-label="{name}">{letter}</span></td>'


def _failures(report: CrosscheckReport) -> Iterator[str]:
    if not report.failures:
        return
    by_case: dict[str, list[Judgement]] = {}
    for judgement in report.failures[:_DETAILED]:
        by_case.setdefault(judgement.case, []).append(judgement)
    yield '<section aria-labelledby="failures"><h2 id="failures">What is wrong</h2>'
    for case in report.cases:
        if case.id not in by_case:
            continue
        params = ", ".join(f"{name} = {value}" for name, value in case.params.items())
        flags = ", ".join(case.flags) or "none"
        told = f"{params}; predictions {case.predictions}, targets {case.targets}; flags: {flags}"
        yield f'<article id="{_anchor(case)}"><h3>{escape(case.id)}</h3>'
        yield f"<p>{escape(case.note)}</p>" if case.note else ""
        yield f'<p class="small">{escape(told)}</p>'
        for explanation in dict.fromkeys(j.explanation for j in by_case[case.id] if j.explanation):
            yield f'<p class="explanation">{escape(explanation)}</p>'
        yield "<ul>"
        for judgement in by_case[case.id]:
            letter = f'<b class="cell v-{judgement.verdict}">{LETTERS[judgement.verdict]}</b>'
            name = f"<code>{escape(judgement.figure)}</code> {judgement.verdict.replace('_', ' ')}"
            yield f"<li>{letter} {name}: {escape(judgement.message)}</li>"
        yield "</ul></article>"
    if len(report.failures) > _DETAILED:
        yield f"<p>And {len(report.failures) - _DETAILED} failures more, which the JSON has.</p>"
    yield "</section>"


def _foot(report: CrosscheckReport) -> Iterator[str]:
    told = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f'<footer><p class="small">{escape(told)}</p></footer>'


def _anchor(case: CaseRecord) -> str:
    return escape(case.id.replace(" ", "-"), quote=True)


def _short(figure: str) -> str:
    return figure.removeprefix("terms.").replace("_", " ")


def _minus(number: int) -> str:
    return str(number).replace("-", "−")
