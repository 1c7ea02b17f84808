"""The report of a cross-check: what it says, as text, JSON and a page, and failures that were expected."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import crosscheck_golden
import jsonschema
import numpy as np
import pytest

import refloss
from refloss.crosscheck import page, recorded, vectors, xfails
from refloss.crosscheck.candidates import FIGURES
from refloss.crosscheck.cases import FLAGS
from refloss.crosscheck.judgements import MEANING, Verdict
from refloss.crosscheck.report import CrosscheckError, CrosscheckReport
from refloss.errors import InputError

NUMBER, TEXT = {"type": ["number", "null"]}, {"type": "string"}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def listed(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


SCHEMA = record(
    schema={"const": 1},
    ok={"type": "boolean"},
    candidate=TEXT,
    loss=TEXT,
    dtype=TEXT,
    accumulate=TEXT,
    arrays=TEXT,
    device=TEXT,
    suite=TEXT,
    seed={"type": "integer"},
    asked={"type": ["string", "null"]},
    convention={"type": ["string", "null"]},
    fits=listed(
        record(convention=TEXT, cases={"type": "integer"}, wrong={"type": "integer"}, fits={"type": "boolean"})
    ),
    explanation=TEXT,
    digits_lost=NUMBER,
    seconds={"type": "number"},
    versions={"type": "object", "additionalProperties": TEXT},
    cases=listed(
        record(
            id=TEXT,
            flags=listed(TEXT),
            note=TEXT,
            params={"type": "object"},
            predictions=listed({"type": "integer"}),
            targets=listed({"type": "integer"}),
            seconds=NUMBER,
            applies={"type": "boolean"},
        )
    ),
    judgements=listed(
        record(
            case=TEXT,
            figure=TEXT,
            verdict={"enum": [str(verdict) for verdict in Verdict]},
            right={"type": "boolean"},
            worst={"anyOf": [{"type": "null"}, listed({"type": "integer"})]},
            found=NUMBER,
            expected=NUMBER,
            allowed=NUMBER,
            typical=NUMBER,
            ratio=NUMBER,
            digits_lost=NUMBER,
            convention={"type": ["string", "null"]},
            message=TEXT,
            explanation=TEXT,
        )
    ),
    expected_failures=listed({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}),
    unexpected_passes=listed(TEXT),
    unmatched=listed(TEXT),
)
"""What docs/crosscheck.md says of the JSON."""


def nan_is_zero(p: Any, t: Any, *, reduction: str) -> Any:
    """Take a missing target for 0: right wherever none is missing."""
    return crosscheck_golden.mse(p, np.nan_to_num(t), reduction=reduction)


@pytest.fixture(scope="module")
def wrong() -> CrosscheckReport:
    return refloss.crosscheck(nan_is_zero, "mse", name="<b>me & you</b>")


@pytest.fixture(scope="module")
def right() -> CrosscheckReport:
    return refloss.crosscheck(crosscheck_golden.value_alone, "masked_dos", dtype="float64")


def test_what_is_wrong_is_told_with_all_that_is_known_of_it(wrong: CrosscheckReport) -> None:
    failing = {case.id for case in wrong.cases if "NaNTarget" in case.flags}
    assert {j.case for j in wrong.failures} == failing
    with pytest.raises(CrosscheckError) as caught:
        wrong.raise_for_failures()
    text = str(caught.value)
    assert text == wrong.summary()
    assert text.startswith("<b>me & you</b>: mse, float32, numpy on cpu, suite core, seed 0\n")
    assert f"WRONG in {len(failing)} of {len(wrong.cases)} cases" in text
    shown = next(j for j in wrong.failures if j.verdict is Verdict.outside_bound)
    assert f"{shown.case}: {shown.figure}: outside bound\n    {shown.message}\n" in text
    assert re.search(r"found \S+, expected \S+: off by \S+, allowed \S+ \(\S+ times the bound\)", shown.message)
    assert "flags: NaNTarget" in text
    assert "consistent with: NaN targets counted as zeros" in text
    assert re.search(r"and \d+ failures more", text)


def test_each_kind_of_failure_is_shown_before_any_twice(wrong: CrosscheckReport) -> None:
    kinds = {(j.figure, j.verdict.replace("_", " ")) for j in wrong.failures}
    shown = re.findall(r"^mse/\S+: (\S+): (.*)$", wrong.summary(), re.MULTILINE)
    assert len(shown) == 8
    assert set(shown[: len(kinds)]) == kinds


def nan_of_nothing(p: Any, t: Any, *, reduction: str) -> Any:
    """Divide by the number of elements that count, 0 or not."""
    with np.errstate(invalid="ignore"):
        found = crosscheck_golden.mse(p, t, reduction=reduction)["value"]
        return {"value": found / np.float32(not np.isnan(t).all()) if reduction == "mean" else found}


def test_what_the_wrong_cases_have_in_common_is_told() -> None:
    report = refloss.crosscheck(nan_of_nothing, "mse")
    cases = len({j.case for j in report.failures})
    assert cases > 1
    text = report.summary()
    assert f"every case that is wrong has the flag AllMasked: {FLAGS['AllMasked']}" in text
    # All of these failures read alike, so that one is told, and how often it occurs.
    assert text.count(": value: not finite") == 1
    assert f"the same in {cases - 1} case" in text
    assert "more: the page" not in text


def test_what_chance_may_have_brought_about_is_not_told(wrong: CrosscheckReport) -> None:
    alone = next(j for j in wrong.failures if j.case.startswith("mse/nan"))
    flags = next(case.flags for case in wrong.cases if case.id == alone.case)
    share = min(sum(flag in case.flags for case in wrong.cases) for flag in flags) / len(wrong.cases)
    assert share > 0.05  # one case with such a flag is no wonder
    assert "has the flag" not in replace(wrong, judgements=(alone,), explanation="").summary()


def test_a_call_that_never_comes_back_says_nothing_of_conventions() -> None:
    def torch_code(p: Any, t: Any, m: Any, **_: Any) -> Any:
        raise TypeError("argument 'input' must be Tensor, not numpy.ndarray")

    report = refloss.crosscheck(torch_code, "masked_dos", name="port")
    lines = report.summary().splitlines()
    assert lines[1] == f"WRONG: no figure came back in any of {len(report.cases)} cases"
    assert lines[2] == "the candidate was called with numpy arrays (--arrays): are these what it takes?"
    assert "convention" not in report.summary()
    assert f"the same in {len(report.cases) - 1} cases more" in report.summary()


def test_what_is_no_figure_says_nothing_of_conventions() -> None:
    report = refloss.crosscheck(lambda *_, **__: {"loss": 1.0}, "masked_dos", name="port")
    told = report.summary()
    assert told.splitlines()[1] == f"WRONG: no figure came back in any of {len(report.cases)} cases"
    assert "--arrays" not in told
    assert "convention" not in told
    assert "found no figure, expected any of value" in told


def test_figures_from_a_file_are_of_no_library() -> None:
    results = {"float32/mse/generic/1/0": {"value": 0.0}}
    (report,) = recorded.check(results, vectors.current(), name="results.json")
    assert report.summary().startswith("results.json: mse, float32, golden vectors\nWRONG in ")


def test_what_is_right_is_short(right: CrosscheckReport) -> None:
    right.raise_for_failures()
    lines = right.summary().splitlines()
    assert lines[1] == f"right under intended in {len(right.cases)} cases"
    assert lines[-1].strip() == f"value  {len(right.cases)} exact"
    assert "not returned, so not judged: per_structure, shift" in right.summary()
    assert [str(fit.convention) for fit in right.fits if fit.fits] == ["intended"]


@pytest.mark.parametrize("which", ["wrong", "right"])
def test_json_is_what_the_documentation_says(which: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(which)
    found = json.loads(report.to_json(), parse_constant=pytest.fail)  # no NaN, no Infinity
    jsonschema.validate(found, SCHEMA)
    assert found == json.loads(json.dumps(report.to_dict()))
    assert [j["message"] for j in found["judgements"]] == [j.message for j in report.judgements]
    documented = (Path(__file__).parents[1] / "docs" / "crosscheck.md").read_text(encoding="utf-8")
    for part in (SCHEMA, *(SCHEMA["properties"][name]["items"] for name in ("fits", "cases", "judgements"))):
        for name in part["required"]:
            assert f"`{name}`" in documented, name


def test_flags_and_verdicts_are_documented() -> None:
    documented = (Path(__file__).parents[1] / "docs" / "crosscheck.md").read_text(encoding="utf-8")
    for flag, meaning in FLAGS.items():
        assert f"| {flag} | {meaning} |" in documented
    rows = re.findall(r"^\| ([a-z, ]+) \| (yes|no) \| ", documented, re.MULTILINE)
    told = {name: right for names, right in rows for name in names.split(", ")}
    assert list(told) == [verdict.replace("_", " ") for verdict in MEANING]
    wrong = ("other convention", "outside bound", "not finite", "wrong shape", "wrong dtype", "modified inputs")
    assert {name for name, right in told.items() if right == "no"} == {*wrong, "timed out", "raised"}


class Page(HTMLParser):
    """Collects what a page has, and that its elements are closed in order."""

    VOID = ("meta", "input", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("which", ["wrong", "right"])
def test_the_page_is_whole_and_needs_nothing_else(which: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(which)
    found = Page(report.to_html())
    kinds = {tag for tag, _ in found.tags}
    assert {"table", "svg", "style"} <= kinds
    assert not kinds & {"script", "link", "img", "iframe", "object"}
    assert not any(name in attrs for _, attrs in found.tags for name in ("src", "onclick", "style"))
    assert "url(" not in report.to_html()
    assert "@import" not in report.to_html()
    anchors = {attrs["id"] for _, attrs in found.tags if "id" in attrs}
    links = {(attrs["href"] or "").removeprefix("#") for tag, attrs in found.tags if tag == "a"}
    assert links <= anchors
    assert links - {"failures"} == {j.case for j in report.failures}
    assert ("failures" in links) == bool(report.failures)
    assert report.candidate in found.text  # escaped: as text, not as elements
    for case in report.cases:
        assert case.id in found.text


def test_the_page_has_a_cell_for_each_figure_and_a_mark_for_each_error(wrong: CrosscheckReport) -> None:
    found = Page(wrong.to_html())
    cells = [attrs for tag, attrs in found.tags if tag == "td" and "v-" in (attrs.get("class") or "")]
    assert len(cells) == len(wrong.judgements)
    assert all(attrs["title"] for attrs in cells)
    marks = [attrs["class"] for tag, attrs in found.tags if tag in ("circle", "path")]
    measured = [j for j in wrong.judgements if j.allowed is not None]
    assert len(marks) == len(measured)
    assert sum("cross" in kind for kind in marks) == sum(not j.right for j in measured)
    assert all(j.message in found.text for j in wrong.failures)
    flags = {attrs["title"] for tag, attrs in found.tags if tag == "span" and "title" in attrs}
    assert flags == {FLAGS[flag] for case in wrong.cases for flag in case.flags}
    assert all(meaning in found.text for meaning in flags)


def test_the_page_has_no_column_for_what_never_came_back(right: CrosscheckReport) -> None:
    found = Page(right.to_html())
    columns = [tag for tag, attrs in found.tags if tag == "th" and attrs.get("scope") == "col"]
    assert len(columns) == len(("case", "value", "flags"))
    assert "not given" not in found.text


def test_a_verdict_is_a_letter_too() -> None:
    assert set(page.LETTERS) == set(MEANING)
    assert len(set(page.LETTERS.values())) == len(page.LETTERS)
    style = (Path(page.__file__).parent / "page.css").read_text(encoding="utf-8")
    for verdict in Verdict:
        assert f".cell.v-{verdict}" in style
    assert "prefers-color-scheme: dark" in style


def test_expected_failures_are_none(tmp_path: Path) -> None:
    path = tmp_path / "xfails.txt"
    path.write_text("# targets that are missing\nmse/nan/*\nmse/empty/* value # of none\n\nmse/empty/*  grad\n")
    report = refloss.crosscheck(nan_is_zero, "mse", xfails=path)
    assert all(not j.case.startswith(("mse/nan", "mse/empty")) for j in report.failures)
    assert {case.partition("/")[2].partition("/")[0] for case, _ in report.expected_failures} == {"nan", "empty"}
    everything = refloss.crosscheck(nan_is_zero, "mse", xfails=["*"])
    assert everything.ok
    assert "expected to fail" in everything.summary()
    assert not everything.unexpected_passes


def test_what_passes_unexpectedly_and_what_is_not_of_this_run_is_said() -> None:
    lines = ["mse/nan/* grad", "mse/generic/* value", "mse/genetic/*", "mse/nan/* shift"]
    report = refloss.crosscheck(crosscheck_golden.mse, "mse", xfails=lines)
    assert report.ok
    assert report.unexpected_passes == ("mse/nan/* grad", "mse/generic/* value")
    assert report.unmatched == ("mse/genetic/*", "mse/nan/* shift")
    assert "expected to fail, but right: mse/nan/* grad" in report.summary()
    assert "expected to fail, but not of this run: mse/genetic/*" in report.summary()


def test_a_line_has_two_patterns_at_most() -> None:
    with pytest.raises(InputError, match="xfails, line 2: found 'a b c', expected CASE or CASE FIGURE"):
        xfails.read(["a b", "a b c"])


def test_figures_stand_in_their_order(wrong: CrosscheckReport, right: CrosscheckReport) -> None:
    assert wrong.figures == ("value", "grad")
    assert right.figures == FIGURES


def test_few_bits_are_said_to_say_little() -> None:
    for dtype, blunt in (("float16", True), ("tf32", False), ("float32", False)):
        report = refloss.crosscheck(crosscheck_golden.masked_dos, "masked_dos", convention="intended", dtype=dtype)
        assert report.ok
        assert (f"the verdicts are blunt: {dtype} allows a tenth" in report.summary()) == blunt
