"""Every example runs as it stands and draws its figure; those that are candidates for the cross-check are Python.

A lesson, `examples/lessons/<number>_<name>.py`, draws the figures `lesson_<number>_<name>.png` of `figures/lessons`.
"""

from __future__ import annotations

import ast
import re
import runpy
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictured import coarse

from refloss.crosscheck.cases import parameters

FOLDER = Path(__file__).parent.parent / "examples"
CANDIDATES = sorted(FOLDER.glob("masked_dos_*.py"))
"""They need torch or JAX: tests/released runs what of them runs on a CPU."""

EXAMPLES = sorted(set(FOLDER.glob("*.py")) - {*CANDIDATES, FOLDER / "metatrain_losses.py"})

LESSONS = sorted(FOLDER.glob("lessons/*.py"))
LESSON_FIGURES = FOLDER.parent / "figures" / "lessons"

CLAIMS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "1_pointwise_losses": lambda n: (
        n["share_at_truth"]["mse"][n["BROKEN"]] > 0.5  # it outvotes all the others
        and np.ptp(n["share_at_truth"]["mae"]) < 1e-12  # every structure has one vote
        and np.ptp(n["shares"]["mae"]) < 1e-12
        and np.ptp(n["shares"]["huber"][n["errors"].searchsorted(n["DELTA"]) :]) < 1e-12  # it stops at the knee
        and all(4 * off(n, name) < off(n, "mse") for name in ("mae", "huber"))  # they have hardly noticed
        and np.allclose(list(n["found"].values()), n["by_hand"], atol=1e-3)  # candidates are that far apart
    ),
    "2_masks_and_padding": lambda n: (
        n["masked"] == [n["truth"]] * len(n["masked"])
        and all(a > b for a, b in pairwise(n["naive"]))
        and n["everything"].value > 1e12 * n["known"].value
        and min(n["factors"]) < max(n["factors"]) / 2
    ),
    "3_from_eigenvalues_to_a_dos": lambda n: (
        np.abs(n["half"] - n["all_twelve"]).max() < 1e-13
        and np.abs(n["forgotten"] - n["all_twelve"]).max() > 0.05
        and abs(np.sum(n["weights"][:, None] * (n["states"] < n["middle"])) - 8) < 1e-12
        and abs(n["area"] - 8) < 1e-6  # with the smallest of the widths
        and np.abs(n["complete"] - n["target"])[n["mask"]].max() < 1e-6
    ),
    "6_reading_an_options_file": lambda n: (
        n["contributions"].sum() == pytest.approx(n["result"].total, rel=1e-12)
        and n["history"][0][n["names"].index("energy/strain")] == max(n["history"][0]) > 0.5  # it takes over
        and len(n["found"]) == 5
    ),
}
"""What the prose of a lesson says of its numbers, by the names that it leaves behind."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    drawn = list(tmp_path.iterdir())
    assert drawn
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)


def test_there_are_examples() -> None:
    assert "align_a_dos" in {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.stem)
def test_candidate_takes_what_the_harness_gives(path: Path) -> None:
    defined = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    (function,) = [node for node in defined if node.name == "masked_dos"]
    assert [argument.arg for argument in function.args.args] == ["predictions", "targets", "mask"]
    assert [argument.arg for argument in function.args.kwonlyargs] == list(parameters("masked_dos"))


def test_align_a_dos_finds_the_three_electronvolts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressing by 1 % widens the bands too, by 2 %: the best shift is 3 eV to within a few points of 0.05 eV."""
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES[0].parent / "align_a_dos.py"))
    assert names["up"] == pytest.approx(3.0, abs=0.2)
    assert f"moved up by {names['up']:.2f} eV" in capsys.readouterr().out


def test_the_figures_of_the_readme_are_what_every_picture_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, readme = FOLDER.parent / "figures", (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(FOLDER / "every_picture.py"))
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in figures.glob("*.png")}
    assert drawn == set(re.findall(r"\(figures/(\w+\.png)\)", readme))
    assert sum(path.stat().st_size for path in figures.glob("*.png")) < 1_500_000
    for name in drawn:
        assert_alike(figures / name, tmp_path / name)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.process_time()  # not the clock on the wall: others may be at work
    names = runpy.run_path(str(path), run_name="__main__")
    assert time.process_time() - began < 60.0
    assert capsys.readouterr().out
    drawn = {file.name for file in tmp_path.iterdir()}
    assert drawn
    assert drawn == {file.name for file in LESSON_FIGURES.glob(f"{prefix(path)}*")}
    for name in drawn:
        assert (LESSON_FIGURES / name).stat().st_size <= 150_000, name
        assert_alike(LESSON_FIGURES / name, tmp_path / name)
    assert path.stem not in CLAIMS or CLAIMS[path.stem](names)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_opens_as_a_notebook_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cells = re.split(r"^(?=# %%)", text, flags=re.MULTILINE)
    assert cells[0] == ""
    prose = [cell for cell in cells if cell.startswith("# %% [markdown]\n")]
    assert cells[1] == prose[0]
    assert prose[0].splitlines()[1].startswith(f"# # {path.stem.split('_')[0]}. ")
    assert all(line.startswith("#") for cell in prose for line in cell.splitlines() if line)
    read = "".join(prose)
    assert re.findall(r"^# ## (Exercise|Answer)$", read, flags=re.MULTILINE) == ["Exercise", "Answer"]
    # A notebook shows what the last line of a cell names. Each figure is referred to by its name.
    drawing = [cell for cell in cells if cell not in prose and re.search(r"\blesson_\d+_\w+\.png", cell)]
    assert all(cell.rstrip().endswith("\nfigure") for cell in drawing)
    named = set(re.findall(r"lesson_\d+_\w+\.png", read))
    assert named == {file.name for file in LESSON_FIGURES.glob(f"{prefix(path)}*")}


def test_every_lesson_has_its_row_in_the_table() -> None:
    table = (FOLDER / "lessons" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\d_\w+\.py)\)", table)) == {path.name for path in LESSONS}
    shown = re.findall(r"\(\.\./\.\./figures/lessons/(lesson_\w+\.png)\)", table)
    assert {name.split("_")[1] for name in shown} == {path.stem.split("_")[0] for path in LESSONS}
    assert all((LESSON_FIGURES / name).is_file() for name in shown)


def test_no_figure_is_left_of_a_lesson_that_is_gone() -> None:
    prefixes = tuple(prefix(path) for path in LESSONS)
    assert [file.name for file in LESSON_FIGURES.glob("*") if not file.name.startswith(prefixes)] == []


def off(names: dict[str, Any], loss: str) -> float:
    return float(np.abs(names["fits"][loss] - names["truth"]).max())


def prefix(lesson: Path) -> str:
    return f"lesson_{lesson.stem.split('_')[0]}_"


def assert_alike(committed: Path, drawn: Path) -> None:
    """Other data differ by 0.02 and more; an edge that moves by two pixels, by a twentieth of a few cells."""
    assert np.sqrt(np.mean((coarse(committed) - coarse(drawn)) ** 2)) < 0.01, drawn.name
