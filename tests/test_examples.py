"""Every example runs as it stands and draws its figure; those that are candidates for the cross-check are Python."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from pictured import coarse

from refloss.crosscheck.cases import parameters

FOLDER = Path(__file__).parent.parent / "examples"
CANDIDATES = sorted(FOLDER.glob("masked_dos_*.py"))
"""They need torch or JAX: tests/released runs what of them runs on a CPU."""

EXAMPLES = sorted(set(FOLDER.glob("*.py")) - {*CANDIDATES, FOLDER / "metatrain_losses.py"})


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
    assert drawn == {path.name for path in figures.iterdir()}
    assert drawn == set(re.findall(r"\(figures/(\w+\.png)\)", readme))
    assert sum(path.stat().st_size for path in figures.iterdir()) < 1_500_000
    for name in drawn:
        # Other data differ by 0.02 and more; an edge that moves by two pixels, by a twentieth of a few cells.
        assert np.sqrt(np.mean((coarse(figures / name) - coarse(tmp_path / name)) ** 2)) < 0.01, name
