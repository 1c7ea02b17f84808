"""The page of findings runs as it stands, and quotes no figure that its code does not hold or print."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)
"""What comes before the first finding, with the definitions, and then each finding."""

FIGURE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\w)")
RELEASE = re.compile(r"20\d\d\.\d+(?:\.\d+)*")
LONE = {"0", "1"}
"""Digits that are words: a gradient of 0, a mask of 1."""


@pytest.fixture
def definitions() -> dict[str, object]:
    found: dict[str, object] = {}
    run(SECTIONS[0], found)
    return found


def run(section: str, names: dict[str, object]) -> int:
    """Run the code of a section, and return how many examples it has."""
    source = "\n".join(BLOCK.findall(section))
    test = doctest.DocTestParser().get_doctest(source, names, section.partition("\n")[0], str(PAGE), 0)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=told.append, clear_globs=False)
    assert not told, "".join(told)
    names.update(test.globs)
    return len(test.examples)


@pytest.mark.parametrize("section", SECTIONS[1:-1], ids=lambda section: section.partition("\n")[0])
def test_a_finding_is_seen(section: str, definitions: dict[str, object]) -> None:
    assert run(section, definitions) > 0


@pytest.mark.parametrize("section", SECTIONS[1:-1], ids=lambda section: section.partition("\n")[0])
def test_a_finding_quotes_what_its_code_shows(section: str) -> None:
    code = set(FIGURE.findall(" ".join(BLOCK.findall(section))))
    prose = re.sub(r"`[^`]*`", "", BLOCK.sub("", section))
    quoted = set(FIGURE.findall(RELEASE.sub("", prose)))
    assert quoted - code - LONE == set()


def test_the_last_section_is_the_table_of_options() -> None:
    assert SECTIONS[-1].startswith("Where the options are read otherwise")  # which test_options.py holds to its data
    assert not BLOCK.findall(SECTIONS[-1])


@pytest.mark.parametrize("block", BLOCK.findall(TEXT))
def test_every_line_is_an_example_or_what_it_prints(block: str) -> None:
    assert block.startswith(">>> ")
