"""``refloss plot``: every picture to every format, of the term, structure and energies that are asked for."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from refloss import demo, plotting
from refloss.cli import plot
from refloss.cli.main import main
from refloss.cli.plot import KINDS

MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that name the files of a small data set."""
    folder = tmp_path_factory.mktemp("data")
    demo.save(demo.make(3), folder)
    named = {f"--{part.replace('_', '-')}": str(folder / name) for part, name in demo.FILES.items()}
    return [str(folder / demo.OPTIONS_FILE), *itertools.chain(*named.items())]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What is drawn, in the place of a file."""
    figures: list[Figure] = []
    monkeypatch.setattr(plotting, "save", lambda figure, path: figures.append(figure))
    return figures


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_there_is_a_kind_for_every_picture_and_the_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    functions = {name.removeprefix("plot_"): getattr(plotting, name) for name in plotting.__all__ if "plot_" in name}
    assert KINDS.keys() == functions.keys()
    assert len(KINDS) == 12
    for name, kind in KINDS.items():
        parameters = inspect.signature(functions[name]).parameters
        assert kind.structure == ("b" in parameters), name
        assert kind.energy_range == ("energy_range" in parameters), name
    assert main(["plot", "--help"]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert all(name in told for name in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(kind: str, files: list[str], drawn: list[Figure], tmp_path: Path) -> None:
    assert main(["plot", kind, *files, "--out", str(tmp_path / "a.png")]) == 0
    (figure,) = drawn
    assert figure.axes


@pytest.mark.parametrize("ending", MAGIC)
def test_the_ending_says_the_format(
    ending: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"a{ending}"
    assert main(["plot", "terms", *files, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(MAGIC[ending])
    assert list(tmp_path.iterdir()) == [out]
    assert str(out) in capsys.readouterr().out.replace("\n", "")


def test_structure_energies_and_target_are_those_that_are_named(files: list[str], drawn: list[Figure]) -> None:
    assert main(["plot", "alignment", *files, "--structure", "2", "--out", "a.png"]) == 0
    assert main(["plot", "gradient", *files, "--energy-range", "-1", "150", "--out", "a.png"]) == 0
    assert main(["plot", "parity", *files, "--target", "energy/strain", "--out", "a.png"]) == 0
    assert main(["plot", "masks", *files, "--target", "mtt::dos", "--out", "a.png"]) == 0
    one, ranged, strain, masks = drawn
    assert "structure 2: loss" in words(one)
    assert ranged.axes[0].get_xlim() == (-1.0, 150.0)
    assert "energy/strain" in words(strain)
    assert "energy/positions" not in words(strain)
    assert "3 structures" in words(masks)


def test_without_a_number_it_is_the_worst_structure(files: list[str], drawn: list[Figure]) -> None:
    for kind in ("gallery", *(name for name, kind in KINDS.items() if kind.structure)):
        assert main(["plot", kind, *files, "--out", "a.png"]) == 0
    worst = drawn[0].axes[0].get_title(loc="left").partition(":")[0]
    for figure in drawn[1:]:
        assert words(figure).count(worst), worst


BAD = {
    "alignmet": (["alignmet"], "KIND: found 'alignmet', expected alignment, .* \\(did you mean 'alignment'\\?\\)"),
    "--structure 3": (
        ["terms", "--structure", "1"],
        "--structure: found one for terms, expected it for alignment, con",
    ),
    "--structure": (["penalty", "--structure", "3"], "--structure: found 3, expected a number from 0 to 2"),
    "--structure -1": (["penalty", "--structure", "-1"], "--structure: found -1, expected a number from 0 to 2"),
    "--energy-range": (["shifts", "--energy-range", "1", "2"], "--energy-range: found one for shifts, expected it for"),
    "energies": (["masks", "--energy-range", "2", "1"], "energy_range: found .*, expected \\(low, high\\)"),
    "aligned": (["masks", "--target", "energy"], "--target: found 'energy', expected one of mtt::dos, the terms of m"),
    "pointwise": (["parity", "--target", "mtt::dos"], "--target: found 'mtt::dos', expected one of energy, energy/pos"),
    "misspelt": (["parity", "--target", "energy/strian"], "--target: .* \\(did you mean 'energy/strain'\\?\\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_drawn_is_one_message(
    case: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kind, *more), message = BAD[case]
    assert main(["plot", kind, *files, *more, "--out", str(tmp_path / "a.png")]) == 2
    err = capsys.readouterr().err
    assert re.match(f"refloss: error: {message}", err), err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_output_must_have_a_known_ending_and_be_no_input(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.gif", "png", "a"):
        assert main(["plot", "terms", *files, "--out", str(tmp_path / name)]) == 2
        assert f"{name}, expected a file that ends in .png, .svg, .pdf" in capsys.readouterr().err
    picture = Path(files[0]).with_name("options.png")
    picture.write_bytes(Path(files[0]).read_bytes())
    assert main(["plot", "terms", str(picture), *files[1:], "--out", str(picture)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert picture.read_bytes() == Path(files[0]).read_bytes()


def test_an_output_must_not_be_a_file_that_the_options_name(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "targets.png"
    out.write_bytes(b"data")
    read = plot.load_dataset

    def named(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(read(*arguments, **options), inputs={"targets": [str(out)]})

    monkeypatch.setattr(plot, "load_dataset", named)
    assert main(["plot", "terms", *files, "--out", str(out)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert out.read_bytes() == b"data"


def test_options_that_have_no_such_term_or_several_say_so(
    files: list[str], drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(files[0]).read_text(encoding="utf-8")
    options = tmp_path / "options.yaml"
    options.write_text(text.replace("type: mse ", "type: huber "), encoding="utf-8")
    assert main(["plot", "pointwise", str(options), *files[1:], "--out", "a.png"]) == 2
    assert "--target: found none, expected one of energy, energy/positions" in capsys.readouterr().err
    arguments = ["--target", "energy/positions", "--out", "a.png"]
    assert main(["plot", "pointwise", str(options), *files[1:], *arguments]) == 0
    assert "δ = 0.5" in words(drawn[0])
    options.write_text(text.replace("type: huber", "type: mae").replace("delta: 0.5", ""), encoding="utf-8")
    assert main(["plot", "pointwise", str(options), *files[1:], "--out", "a.png"]) == 2
    assert "OPTIONS: found energy (mse), energy/positions (mae)" in capsys.readouterr().err


def test_the_gradient_is_computed_for_the_picture_of_it_alone(
    files: list[str], drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    from refloss.section import LossSection

    asked: list[bool] = []
    evaluate = LossSection.evaluate
    monkeypatch.setattr(
        LossSection, "evaluate", lambda self, *a, grad, **k: asked.append(grad) or evaluate(self, *a, grad=grad, **k)
    )
    for kind in ("gradient", "masks"):
        assert main(["plot", kind, *files, "--out", "a.png"]) == 0
    assert asked == [True, False]
    assert plot.KINDS["gradient"].grad
