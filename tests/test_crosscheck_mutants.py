"""The harness against wrong implementations and right ones: what docs/crosscheck_mutants.md can be asked in a minute.

`crosscheck_campaign` asks all of it, and writes the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from crosscheck_campaign import DTYPES, PAGE, SEEDS, TOPICS, topic
from crosscheck_held_out import HELD_OUT, TEXT
from crosscheck_mutants import MUTANTS, Edited, Mutant, truths_kept
from crosscheck_variants import NARROW, VARIANTS

from refloss.crosscheck import crosscheck
from refloss.crosscheck.candidates import Returned, call
from refloss.crosscheck.cases import Case, cases
from refloss.crosscheck.formats import find
from refloss.crosscheck.libraries import open_library
from refloss.crosscheck.mistakes import Explainer, named
from refloss.crosscheck.verdicts import judge


@pytest.fixture(scope="module", autouse=True)
def _golden_figures_once() -> Iterator[None]:
    with truths_kept():
        yield


@cache
def core(loss: str, dtype: str) -> dict[str, Case]:
    return {case.id: case for case in cases(loss, format=find(dtype))}


def tried(candidate: Edited, case: Case, dtype: str) -> tuple[Returned, list[Any]]:
    form = find(dtype)
    returned = call(candidate.call, case, open_library("numpy", None, form), grad=True)
    return returned, [one for one in judge(case, returned, candidate.convention, form, form) if not one.right]


def table(title: str) -> list[list[str]]:
    """Return the rows of the last table of a section of the page."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    last = section.rstrip().rpartition("\n\n")[2]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in last.splitlines()[2:]]


def test_there_are_as_many_as_there_should_be() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in (*MUTANTS, *HELD_OUT)}) == len(MUTANTS) + len(HELD_OUT)
    assert len({variant.name.partition(": ")[2] for variant in VARIANTS}) + 1 >= 12
    assert len(SEEDS) == 5


def test_the_page_has_every_mutant() -> None:
    assert [row[0] for row in table("Wrong implementations")] == [mutant.name for mutant in MUTANTS]
    rows = table("Mistakes that the names were not written against")
    assert [row[0] for row in rows] == [mutant.name for mutant in HELD_OUT]
    text = PAGE.read_text(encoding="utf-8")
    assert "missed by the core suite in float64 or float32: none" in text
    assert "False alarms over 5 seeds: none" in text


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_mutant_is_caught_by_the_case_of_the_page(dtype: str) -> None:
    for mutant, row in zip(MUTANTS, table("Wrong implementations"), strict=True):
        _, wrong = tried(mutant, core(mutant.loss, dtype)[row[2]], dtype)
        assert row[3] in {judgement.figure for judgement in wrong}, mutant.name


def test_most_mutants_are_named_and_none_wrongly() -> None:
    """From a dozen cases each, not from all: what the page counts is from all."""
    form = find("float32")
    silent = []
    nameable = [mutant for mutant in MUTANTS if mutant.explained]
    for mutant in nameable:
        assert set(mutant.explained) <= set(named(mutant.loss)), mutant.name
        explainer = Explainer(mutant.convention, form)
        chosen = [case for case in core(mutant.loss, "float32").values() if telling(case)]
        for case in chosen[:: max(1, len(chosen) // 12)]:
            returned, wrong = tried(mutant, case, "float32")
            if any(judgement.verdict == "outside_bound" for judgement in wrong):
                explainer.explain(case, returned)
        found = explainer.summary().partition("consistent with: ")[2]
        if not found:
            silent.append(mutant.name)
        elif len(found.split(" or ")) == 1:
            assert found in mutant.explained, mutant.name
    assert len(nameable) - len(silent) >= 25
    assert len(silent) <= len(nameable) // 5, silent


def telling(case: Case) -> bool:
    return "Random" in case.flags and case.predictions.size > 60


@pytest.mark.parametrize("variant", [*VARIANTS[::3], VARIANTS[-1]], ids=lambda variant: variant.name)
def test_a_right_implementation_raises_no_alarm(variant: Edited) -> None:
    report = crosscheck(variant.call, variant.loss, dtype="float32", convention=variant.convention)
    assert report.ok, report.summary()


def test_narrow_inputs_with_wider_sums_raise_no_alarm() -> None:
    report = crosscheck(NARROW.call, NARROW.loss, dtype="float16", accumulate="float32", convention="intended")
    assert report.ok, report.summary()


@pytest.mark.parametrize("loss", ["masked_dos", "masked_mse", "masked_mae", "masked_huber"])
def test_the_text_of_the_held_out_mutants_is_right_itself(loss: str) -> None:
    convention = "intended" if loss == "masked_dos" else None
    unedited = Mutant(loss, loss, (), convention, text=TEXT)
    report = crosscheck(unedited.call, loss, dtype="float32", convention=convention)
    assert report.ok, report.summary()


def test_every_edit_changes_what_the_text_computes() -> None:
    for mutant in HELD_OUT:
        assert mutant.call is not None  # an edit that does not fit raises


def test_every_mistake_has_a_topic() -> None:
    for loss in ("masked_dos", "mse", "mae", "huber"):
        assert {topic(name) for name in named(loss)} <= set(TOPICS)
