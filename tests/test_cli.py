"""The command line: what it prints and writes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numba
import numpy as np
import pytest
import small_section
import yaml

import refloss
from refloss import metrics
from refloss.cli.main import main
from refloss.conventions import MASKED_DOS
from refloss.results import json_safe


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return small_section.write(tmp_path)


def expected() -> refloss.SectionResult:
    """Evaluate the small section through Python, from the arrays and not from the files."""
    parts = small_section.data()
    section = refloss.load_options(yaml.safe_load(small_section.OPTIONS))
    p, t = (
        {
            "energy": {"values": arrays["energy"], "positions": arrays["energy/positions"]},
            "mtt::dos": arrays["mtt::dos"],
        }
        for arrays in (parts["predictions"], parts["targets"])
    )
    return section.evaluate(p, t, parts["extra_data"])


def rows(text: str) -> dict[str, list[str]]:
    """Return the lines of a table by their first word."""
    return {words[0]: words for words in map(str.split, text.splitlines()) if words}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "refloss", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120, **options)


def test_the_table_has_every_term_and_the_total(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = rows(out)
    result = expected()
    assert table["term"] == ["term", "type,", "convention", "count", "value", "weight", "contribution"]
    for name, kind, count, weight in [
        ("energy", ["mse"], small_section.STRUCTURES, "2"),
        ("energy/positions", ["huber"], 39, "0.5"),
        ("mtt::dos", ["masked_dos,", "documented"], small_section.STRUCTURES, "0.25"),
    ]:
        term = result.terms[name]
        numbers = [f"{term.value:.10g}", weight, f"{term.contribution:.10g}"]
        assert table[name] == [name, *kind, str(count), *numbers]
    assert table["total"] == ["total", f"{result.total:.10g}"]


def test_the_table_tells_of_the_alignment(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    out = capsys.readouterr().out
    result = expected().terms["mtt::dos"].result
    assert isinstance(result, refloss.AlignedResult)
    assert result.shift.tolist() == [0, 2, 6, 3, 0]  # the last mask is empty: every shift is as good
    assert result.tied.tolist() == [False, False, False, False, True]
    assert "shifts       0 to 6 points (0 to 0.3 eV), median 2 (0.1 eV)" in out
    assert "range        0 to 6 points of 0.05 eV" in out
    assert "at an edge   2 at 0, 1 at 6" in out
    assert "ties         1 with another shift" in out
    assert "empty masks  1 in which" in out
    assert "masks        60 % of the targets' points" in out  # 72 of 5 · 24


def test_the_table_has_the_value_under_each_convention(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    table = rows(capsys.readouterr().out)
    result = expected().terms["mtt::dos"].result
    assert isinstance(result, refloss.AlignedResult)
    value = {
        name: refloss.masked_dos(result.predictions, result.targets, result.mask, convention=name)
        for name in MASKED_DOS
    }
    assert len({one.value for one in value.values()}) == len(MASKED_DOS)  # or the test would not tell them apart
    for name, one in value.items():
        used = ["(used)"] if name == "documented" else []
        moved = "-" if used else str(np.count_nonzero(one.shift != result.shift))
        assert table[name] == [name, *used, f"{one.value:.10g}", f"{0.25 * one.value:.10g}", moved]


def test_a_convention_that_does_not_apply_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = small_section.OPTIONS + "    energy_step: 0.1\n"
    assert main(small_section.write(tmp_path, options=text)) == 0
    out = capsys.readouterr().out
    table = rows(out)
    for name in ("metatrain-2025.12", "metatrain-2026.2"):
        assert table[name] == [name, "does", "not", "apply", "-", "-"]
    assert "metatrain-2026.2: energy_step: found 0.1, expected 0.05" in out
    assert table["intended"][1] != "does"


def test_a_section_without_a_total_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = small_section.OPTIONS + "    reduction: none\n"
    out_file = tmp_path / "out.json"
    assert main([*small_section.write(tmp_path, options=text), "--json", str(out_file)]) == 0
    out = capsys.readouterr().out
    table = rows(out)
    assert table["total"] == ["total", "none", "-"]
    assert "There is no total: reduction 'none' in mtt::dos." in out
    assert table["mtt::dos"][4:] == ["5", "values", "0.25", "-"]
    written = json.loads(out_file.read_text(encoding="utf-8"))
    assert written["total"] is None
    assert "mtt::dos" in written["reason"]
    assert len(written["terms"]["mtt::dos"]["value"]) == 5
    assert len(written["terms"]["mtt::dos"]["conventions"]["intended"]["value"]) == 5
    assert "reduction" in written["terms"]["mtt::dos"]["conventions"]["metatrain-2026.2"]["reason"]


def test_equal_widths_have_nothing_to_align(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = small_section.data()
    parts["predictions"]["mtt::dos"] = parts["predictions"]["mtt::dos"][:, :24]
    text = small_section.OPTIONS.replace("    extra_targets: 6\n", "")
    assert main(small_section.write(tmp_path, parts, text)) == 0
    out = capsys.readouterr().out
    assert "there is nothing to align" in out
    assert "at an edge" not in out


def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = small_section.data()
    del parts["predictions"]["mtt::dos"]
    parts["predictions"]["energy/strain"] = np.ones((5, 3, 3))
    parts["predictions"]["dipole"] = np.ones(3)
    assert main(small_section.write(tmp_path, parts)) == 0
    out = capsys.readouterr().out
    assert "skipped: mtt::dos, not in the predictions" in out
    assert "skipped: dipole, not in the loss section" in out
    assert "not used, of the predictions: energy/strain, dipole" in out
    assert "not used, of the targets: mtt::dos" in out
    assert "not used, of the extra data: mtt::dos_mask" in out


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_cut_or_coloured_in_a_pipe(
    tmp_path: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "mtt::electronic_density_of_states"
    parts = {
        part: {key.replace("mtt::dos", name): a for key, a in d.items()} for part, d in small_section.data().items()
    }
    assert main(small_section.write(tmp_path, parts, small_section.OPTIONS.replace("mtt::dos", name))) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "…" not in out
    term = expected().terms["mtt::dos"]
    assert f"{term.value:.10g}" in out
    assert f"{term.contribution:.10g}" in out
    if columns == 120:
        assert name in out
        assert max(map(len, out.splitlines())) <= columns


def test_brackets_in_a_name_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = small_section.data()
    for part in ("predictions", "targets"):
        parts[part]["mtt::[red]x[/] :smile:"] = parts[part]["energy"]
    text = small_section.OPTIONS + '  "mtt::[red]x[/] :smile:": mae\n'
    assert main(small_section.write(tmp_path, parts, text)) == 0
    assert "mtt::[red]x[/] :smile:" in capsys.readouterr().out


def test_padded_targets_and_masks_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """metatrain pads both with `extra_targets` points in front, which nobody looks at: garbage in them is no error."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "padded").mkdir()
    parts = small_section.data()
    assert main(small_section.write(tmp_path / "plain", parts)) == 0
    plain = capsys.readouterr().out
    front = np.full((small_section.STRUCTURES, small_section.EXTRA), np.nan)
    parts["targets"]["mtt::dos"] = np.hstack([front, parts["targets"]["mtt::dos"]])
    parts["extra_data"]["mtt::dos_mask"] = np.hstack([front + 7, parts["extra_data"]["mtt::dos_mask"]])
    assert main(small_section.write(tmp_path / "padded", parts)) == 0
    assert capsys.readouterr().out == plain


JSON_SCHEMA = {
    "type": "object",
    "required": ["inputs", "versions", "loss", "total", "reason", "terms", "skipped", "unused"],
    "additionalProperties": False,
    "properties": {
        "inputs": {"required": ["options", "set", "predictions", "targets", "extra_data", "structures", "per_atom"]},
        "versions": {
            "required": ["refloss", "specification", "python", "numpy", "numba"],
            "additionalProperties": {"type": "string"},
        },
        "loss": {"type": "object"},
        "total": {"type": "number"},
        "reason": {"type": "null"},
        "skipped": {"type": "object"},
        "unused": {"required": ["predictions", "targets", "extra_data"]},
        "terms": {
            "additionalProperties": {
                "required": [
                    "type",
                    "weight",
                    "value",
                    "contribution",
                    "count",
                    "convention",
                    "alignment",
                    "metrics",
                    "result",
                ],
                "properties": {
                    "value": {"type": "number"},
                    "contribution": {"type": "number"},
                    "count": {"type": "integer"},
                    "conventions": {"additionalProperties": {"required": ["value", "contribution", "moved", "reason"]}},
                },
            }
        },
    },
}


def test_the_json_file_has_all_of_it(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert main([*command, "--json", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    written = json.loads(out.read_text(encoding="utf-8"))
    jsonschema.validate(written, JSON_SCHEMA)
    result = expected()
    assert written["versions"] == {
        "refloss": refloss.__version__,
        "specification": str(refloss.SPEC_VERSION),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }
    assert written["inputs"] == {
        "options": command[1],
        "set": None,
        "predictions": [command[3]],
        "targets": [command[5]],
        "extra_data": [command[7]],
        "structures": None,
        "per_atom": False,
    }
    assert written["loss"]["energy"]["gradients"]["positions"]["delta"] == 0.3
    assert written["total"] == result.total  # to the last bit: JSON's numbers are written to be read back
    assert {name: term["value"] for name, term in written["terms"].items()} == {
        name: term.value for name, term in result.terms.items()
    }
    dos = written["terms"]["mtt::dos"]
    aligned = result.terms["mtt::dos"].result
    assert isinstance(aligned, refloss.AlignedResult)
    assert dos["result"]["per_structure"] == aligned.per_structure.tolist()
    assert dos["result"]["shift"] == aligned.shift.tolist()
    assert dos["alignment"] == {
        "structures": 5,
        "shifts": 7,
        "padding": 0,
        "energy_step": 0.05,
        "smallest": 0,
        "median": 2.0,
        "largest": 6,
        "tied": 1,
        "at_first": 2,
        "at_last": 1,
        "in_padding": 0,
        "empty_masks": 1,
        "counted": 0.6,
    }
    assert sorted(dos["conventions"]) == sorted(set(MASKED_DOS) - {"documented"})
    assert written["terms"]["energy"]["alignment"] is None
    errors = metrics.compare(aligned)
    assert np.isnan(errors.wasserstein_distance).tolist() == [False, False, False, False, True]  # the empty mask
    assert dos["metrics"] == json_safe(errors)
    assert dos["metrics"]["wasserstein_distance"][4] is None
    assert written["terms"]["energy"]["metrics"] is None


def test_the_table_has_the_metrics(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    aligned = expected().terms["mtt::dos"].result
    assert isinstance(aligned, refloss.AlignedResult)
    errors = metrics.compare(aligned)
    rmse, there = errors.integrated_rmse, slice(0, 4)  # the last mask is empty: no angle, and an error of 0
    mean, angles, r_squared = np.mean(rmse**2) ** 0.5, errors.spectral_angle[there], errors.r_squared[there]
    assert ["integrated", "RMSE", *_six(mean, np.median(rmse), rmse.max()), "-", "states/√eV"] in words
    assert ["spectral", "angle", *_six(angles.mean(), np.median(angles), angles.max()), "1", "rad"] in words
    assert ["R²", *_six(r_squared.mean(), np.median(r_squared), r_squared.min()), "1"] in words
    percent = metrics.percent_rmse_integrated(aligned.aligned, aligned.targets, mask=aligned.mask)
    assert ["percent", "RMSE,", "integrated", *_six(percent), "-", "-", "-", "%"] in words


def _six(*figures: float) -> list[str]:
    return [f"{figure:.6g}" for figure in figures]


def test_json_to_stdout_is_json_alone(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["total"] == expected().total
    assert "contribution" in err


def test_pictures(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    for _ in range(2):  # the second time over the first ones
        assert main([*command, "--plots", str(folder)]) == 0
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["alignment.png", "masks.png", "pointwise.png", "terms.png"]
        out = capsys.readouterr().out
        for name in names:
            assert f"wrote {folder / name}" in out
            assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_pictures_of_several_terms_carry_their_names(tmp_path: Path) -> None:
    parts = small_section.data()
    for part in parts.values():
        part |= {key.replace("dos", "dos/2"): array for key, array in part.items() if "dos" in key}
    second = "  mtt::dos/2: {type: masked_dos, extra_targets: 6, convention: intended}\n"
    parts["extra_data"]["mtt::dos/2_mask"] = parts["extra_data"].pop("mtt::dos_mask")
    parts["extra_data"]["mtt::dos_mask"] = parts["extra_data"]["mtt::dos/2_mask"]
    command = small_section.write(tmp_path, parts, small_section.OPTIONS + second)
    assert main([*command, "--plots", str(tmp_path / "pictures")]) == 0
    kinds = ("alignment", "masks", "terms")
    names = {f"{kind}-mtt-dos{suffix}.png" for kind in kinds for suffix in ("", "-2")} | {"pointwise.png"}
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == names


def test_no_pictures_of_an_mse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(tmp_path, options="loss: {energy: mse}\n")
    assert main([*command, "--plots", str(tmp_path / "pictures")]) == 0
    assert "no pictures" in capsys.readouterr().out
    assert not (tmp_path / "pictures").exists()


def test_options_prints_the_expanded_section(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", command[1]]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out) == {"loss": refloss.load_options(command[1]).losses}
    assert "delta: 0.3" in out


def test_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(small_section.OPTIONS)["loss"], schema)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"refloss {refloss.__version__} (specification {refloss.SPEC_VERSION})\n"


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"], ["demo", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from refloss.cli.main import main; code = main(sys.argv[1:]); "
        "print(sorted({'numpy', 'numba', 'scipy', 'matplotlib', 'rich', 'yaml'} & set(sys.modules)), file=sys.stderr); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "refloss" in done.stdout


def test_as_a_program(command: list[str], tmp_path: Path) -> None:
    """The same through a process, into a pipe that knows only ASCII."""
    done = run(*command, env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "120"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert rows(done.stdout.replace("|", ""))["total"][1] == f"{expected().total:.10g}"
    done = run(*command[:-2], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("refloss: error: ")
    assert "extra_data: found nothing, expected 'mtt::dos_mask'" in done.stderr
