"""shift_agnostic_mse in a section, in the tables, in JSON and in pictures made by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import oracle_agnostic
import pytest
import small_section

import refloss
from refloss.cli.main import main
from refloss.conventions import SHIFT_AGNOSTIC

OPTIONS = """\
loss:
  mtt::dos:
    type: shift_agnostic_mse
    weight: 0.25
    grad_penalty_weight: 3e-4
    int_weight: 1.5
"""

WIDTH, POINTS = 9, 7
SHIFTS = [7, 9, 0, 0, 11]


def data() -> small_section.Parts:
    """Return five structures: moved up, not moved, hopeless, without any target, moved down."""
    rng = np.random.default_rng(3)
    predictions = rng.uniform(0.5, 2.0, (5, WIDTH))
    predictions[4, :2] = 0.0  # no front tail
    padded = np.pad(predictions, ((0, 0), (WIDTH, WIDTH)))
    targets = np.stack([row[s : s + POINTS] for row, s in zip(padded, SHIFTS, strict=True)])
    targets += rng.normal(scale=0.01, size=targets.shape)
    predictions[2] += 5.0
    targets[[0, 1, 4], [2, 4, 5]] = np.nan
    targets[3] = np.nan
    return {"predictions": {"mtt::dos": predictions}, "targets": {"mtt::dos": targets}, "extra_data": {}}


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    parts = data()
    small_section.write(tmp_path, parts, OPTIONS)
    return [word for word in small_section.arguments(tmp_path) if "extra" not in word]


def value(convention: str) -> float:
    """Evaluate the section's term from the arrays, NaN and all, by the oracle."""
    p, t = (data()[part]["mtt::dos"].tolist() for part in ("predictions", "targets"))
    switches = oracle_agnostic.CONVENTIONS[convention]
    return float(oracle_agnostic.shift_agnostic_mse(p, t, switches, 0.05, 3e-4, 1.5, gradient=False).value)


def test_a_section_needs_no_mask() -> None:
    parts = data()
    section = refloss.load_options({"loss": {"mtt::dos": {"type": "shift_agnostic_mse", "int_weight": 0.0}}})
    term = section.evaluate(parts["predictions"], parts["targets"], grad=True).terms["mtt::dos"]
    arrays = parts["predictions"]["mtt::dos"], parts["targets"]["mtt::dos"]
    alone = refloss.shift_agnostic_mse(*arrays, int_weight=0.0, grad=True)
    assert isinstance(term.result, refloss.AlignedResult)
    assert term.value == alone.value
    assert np.array_equal(term.result.grad, alone.grad)
    assert term.result.shift.tolist() == SHIFTS
    with pytest.raises(refloss.InputError, match=r"^mtt::dos: targets: .* 2 to 27"):
        section.evaluate(parts["predictions"], {"mtt::dos": np.ones((5, 28))})


def test_the_table_tells_of_the_alignment(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "shift_agnostic_mse, intended" in out
    assert "0 to 11 points (0 to 0.55 eV), median 7 (0.35 eV)" in out
    assert "range        0 to 20 points of 0.05 eV, 9 moves nothing" in out
    assert "at an edge   2 at 0" in out
    assert "ties         2 with another shift" in out
    assert "in padding   2 in the zeros beside the prediction" in out
    assert "empty masks  1 in which" in out
    assert "masks        71.43 % of the targets' points" in out  # 25 of 5 · 7


def test_the_value_under_each_convention_leaves_out_what_is_missing(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(tuple(SHIFT_AGNOSTIC))]
    assert value("intended") != value("metatrain-2026.3")
    # The first ten digits of a figure that is right to half an ulp are the oracle's.
    (used, other) = lines
    assert used == ["intended", "(used)", *(f"{factor * value('intended'):.10g}" for factor in (1.0, 0.25)), "-"]
    assert other == ["metatrain-2026.3", *(f"{f * value('metatrain-2026.3'):.10g}" for f in (1.0, 0.25)), "0"]


def test_the_json_file_and_the_pictures(command: list[str], tmp_path: Path) -> None:
    out, folder = tmp_path / "out.json", tmp_path / "pictures"
    assert main([*command, "--json", str(out), "--plots", str(folder)]) == 0
    term = json.loads(out.read_text(encoding="utf-8"))["terms"]["mtt::dos"]
    assert term["value"] == pytest.approx(value("intended"), rel=1e-15)
    assert term["result"]["shift"] == SHIFTS
    assert (term["alignment"]["padding"], term["alignment"]["in_padding"], term["alignment"]["shifts"]) == (9, 2, 21)
    assert term["conventions"]["metatrain-2026.3"]["value"] == pytest.approx(value("metatrain-2026.3"), rel=1e-15)
    assert sorted(path.name for path in folder.iterdir()) == ["alignment.png", "masks.png", "terms.png"]


def test_one_shift_has_nothing_to_align(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    parts = {"predictions": {"mtt::dos": rng.normal(size=(2, 3))}, "targets": {"mtt::dos": rng.normal(size=(2, 9))}}
    small_section.write(tmp_path, parts, OPTIONS)
    assert main([word for word in small_section.arguments(tmp_path) if "extra" not in word]) == 0
    assert "predictions with the zeros beside them are as wide as targets" in capsys.readouterr().out
