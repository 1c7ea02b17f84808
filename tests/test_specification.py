"""The specification page keeps its numbers: its worked example is worked again, from the page's own text."""

from __future__ import annotations

import ast
import inspect
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import oracle
import oracle_agnostic
import pytest

import refloss
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC, Convention
from refloss.section import LOSS_TYPES
from refloss.spectra import MARGIN, PET_MAD_DOS, WIDTH

PAGE = (Path(__file__).parents[1] / "docs" / "specification.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("### Worked example")[2].partition("\n## ")[0]
AGNOSTIC = PAGE.partition("\n## 4. ")[2].partition("\n## ")[0]
DX = Fraction(0.05)


def tables(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of each Markdown table, by its heading line."""
    found = re.findall(r"^(\|.*)\n\|[ -|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {
        heading: [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows.splitlines()]
        for heading, rows in found
    }


def example(text: str = EXAMPLE) -> dict[str, Any]:
    """Return the arrays of the example."""
    code = ast.parse(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("nan", "None"))
    arrays = {node.targets[0].id: ast.literal_eval(node.value) for node in code.body}
    return {name: [[math.nan if x is None else x for x in row] for row in rows] for name, rows in arrays.items()}


def assert_printed(printed: str, exact: Fraction | float) -> None:
    assert printed == f"{float(exact):.10g}"


LANDSCAPES, PARTS, VALUES = tables(EXAMPLE).values()


@pytest.mark.parametrize(("structure", "shift", "d", "f", "both"), LANDSCAPES)
def test_the_landscapes_of_the_example(structure: str, shift: str, d: str, f: str, both: str) -> None:
    """Written out here once more, straight from the table of parts."""
    arrays, b, s = example(), int(structure), int(shift)
    p, t, m = (arrays[name][b] for name in ("predictions", "targets", "mask"))
    squares = [(p[s + i] - t[i]) ** 2 if m[i] else 0 for i in range(len(t))]
    misfit = DX * (sum(squares) - Fraction(squares[0] + squares[-1], 2))
    front = DX * (sum(x * x for x in p[: s + 1]) - Fraction(p[0] ** 2 + p[s] ** 2, 2))
    for printed, exact in zip((d, f, both), (misfit, front, misfit + front), strict=True):
        assert_printed(printed, exact)


def test_the_example_shows_every_shift_and_every_convention() -> None:
    assert [(row[0], row[1]) for row in LANDSCAPES] == [(str(b), str(s)) for b in range(2) for s in range(3)]
    assert [(row[0], row[1]) for row in PARTS] == [(name, str(b)) for name in MASKED_DOS for b in range(2)]
    assert [row[0] for row in VALUES] == list(MASKED_DOS)


@pytest.mark.parametrize("convention", MASKED_DOS)
def test_the_figures_of_the_example(convention: str) -> None:
    exact = oracle.masked_dos(**example(), convention=oracle.CONVENTIONS[convention])
    for row, structure in zip((row for row in PARTS if row[0] == convention), exact.structures, strict=True):
        assert int(row[2]) == structure.shift
        figures = (structure.dos, structure.front_tail, structure.unmasked_gradient, structure.cumulative)
        for printed, figure in zip(row[3:], (*figures, structure.total), strict=True):
            assert_printed(printed, figure)
    assert_printed(dict(VALUES)[convention], exact.value)


@pytest.mark.parametrize("convention", MASKED_DOS)
def test_the_package_gives_the_figures_of_the_example(convention: str) -> None:
    result = refloss.masked_dos(**example(), convention=convention)
    assert_printed(dict(VALUES)[convention], result.value)
    assert [row[2] for row in PARTS if row[0] == convention] == [str(s) for s in result.shift]


@pytest.mark.parametrize("convention", SHIFT_AGNOSTIC)
def test_the_example_of_shift_agnostic_mse(convention: str) -> None:
    landscapes, parts = list(tables(AGNOSTIC).values())[-2:]
    arrays = example(AGNOSTIC)
    exact = oracle_agnostic.shift_agnostic_mse(**arrays, convention=oracle_agnostic.CONVENTIONS[convention])
    result = refloss.shift_agnostic_mse(**arrays, convention=convention)
    assert landscapes == [
        [str(b), *(str(height) for height in structure.landscape)] for b, structure in enumerate(exact.structures)
    ]
    listed = [row[1:] for row in parts if row[0] == convention]
    assert [row[:2] for row in listed] == [[str(b), str(s)] for b, s in enumerate(result.shift)]
    for row, structure in zip(listed, exact.structures, strict=True):
        figures = (structure.dos, structure.front_tail, structure.unmasked_gradient, structure.cumulative)
        for printed, figure in zip(row[2:], (*figures, structure.total), strict=True):
            assert_printed(printed, figure)
    assert {row[0] for row in parts} == set(SHIFT_AGNOSTIC)
    assert_printed(re.search(rf"([\d.]+) \(`{convention}`\)", AGNOSTIC)[1], exact.value)
    assert result.value == pytest.approx(float(exact.value), rel=1e-15)
    assert (result.tied.tolist(), result.in_padding.tolist()) == ([False, True], [False, True])


@pytest.mark.parametrize(("text", "conventions"), [(PAGE, MASKED_DOS), (AGNOSTIC, SHIFT_AGNOSTIC)])
def test_the_convention_tables_are_those_of_the_package(text: str, conventions: dict[str, Convention]) -> None:
    heading = next(line for line in tables(text) if line.startswith("| switch |"))
    rows = tables(text)[heading]
    names = re.findall(r"`([^`]+)`", heading)
    assert names == list(conventions)
    switches = {row[0].split("`")[0]: row[1:] for row in rows}
    for column, name in enumerate(names):
        convention = conventions[name]
        for switch in ("objective", "gradient_points", "stencil", "cumulative", "cumulated"):
            assert re.match(r"[\w+]+", switches[switch][column])[0] == getattr(convention, switch)
        assert switches["front_tail"][column] == ("yes" if convention.front_tail else "no")
        assert switches["energy step"][column] == (
            f"{convention.energy_step} eV only" if convention.energy_step else "any"
        )
        assert re.findall("mean|sum|none", switches["reductions"][column]) == list(convention.reductions)


def test_every_loss_type_and_its_keys_are_on_the_page() -> None:
    rows = tables(PAGE)["| type | keys besides `type`, `weight`, `reduction` |"]
    listed = {name: set(re.findall(r"`(\w+)`", f"`{keys}`")) for types, keys in rows for name in types.split("`, `")}
    assert {name: keys - {"none"} for name, keys in listed.items()} == {n: set(t.keys) for n, t in LOSS_TYPES.items()}


def test_the_grid_of_section_7_is_that_of_the_package() -> None:
    assert f"| {PET_MAD_DOS.points} points from −{-PET_MAD_DOS.start} eV |" in PAGE
    assert f"| {PET_MAD_DOS.points + PET_MAD_DOS.extra} points from −{-PET_MAD_DOS.predictions[0]:.4f} eV, so" in PAGE
    assert f"| `width` | {WIDTH} eV |" in PAGE
    assert f"| `margin` | {MARGIN} eV, three widths |" in PAGE
    assert pytest.approx(3 * WIDTH, rel=1e-15) == MARGIN  # 3 · 0.3 is not 0.9 to the last bit


def test_the_sections_that_the_code_cites_are_there() -> None:
    assert [int(n) for n in re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)] == list(range(1, 10))


@pytest.mark.parametrize(
    "name",
    ["mse", "mae", "huber", "masked_dos", "shift_agnostic_mse", "gaussian_nll", "gaussian_crps", "empirical_crps"],
)
def test_the_signatures_of_the_page_are_those_of_the_code(name: str) -> None:
    stated = re.search(rf"^refloss\.{name}\((.*?)\)$", PAGE, re.MULTILINE | re.DOTALL)
    assert stated is not None
    taken = ast.parse(f"def f({stated[1]}): ...").body[0].args
    parameters = inspect.signature(getattr(refloss, name)).parameters
    assert [a.arg for a in (*taken.args, *taken.kwonlyargs)] == list(parameters)
    defaults = {a.arg: ast.literal_eval(d) for a, d in zip(taken.kwonlyargs, taken.kw_defaults, strict=True)}
    assert defaults == {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
