"""What a user can get wrong on the command line: one message on stderr, status 2, and no file touched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_section

from refloss.cli import evaluate
from refloss.cli.main import main

Edit = Callable[[small_section.Parts], None]

P, T, X = "predictions", "targets", "extra_data"


def put(part: str, key: str, change: Callable[[Any], Any]) -> Edit:
    """Return an edit that replaces one array of the data."""

    def edit(parts: small_section.Parts) -> None:
        parts[part][key] = change(parts[part][key])

    return edit


def at(index: Any, value: Any) -> Callable[[Any], Any]:
    """Return a change of one element."""

    def change(array: Any) -> Any:
        changed = np.array(array)
        changed[index] = value
        return changed

    return change


def drop(part: str, key: str) -> Edit:
    return lambda parts: parts[part].pop(key)


def rename(part: str, key: str, other: str) -> Edit:
    return lambda parts: parts[part].update({other: parts[part].pop(key)})


DATA = {  # every row of section 8 that an npz file can bring about, and section 6 on what must be there
    "energy shapes": (put(T, "energy", lambda a: a[:4]), r"energy: .*\(4, 1\).*\(5, 1\)|energy: .*\(5, 1\).*\(4, 1\)"),
    "force shapes": (put(P, "energy/positions", lambda a: a[:, :2]), r"energy/positions: .*\(13, [23]\).*\(13, [23]\)"),
    "size 0": (put(P, "energy", lambda a: a[:0]), r"energy: predictions: found an array of size 0"),
    "not 2-D": (put(P, "mtt::dos", lambda a: a[0]), "mtt::dos: predictions: found 1 dimensions"),
    "width against extra_targets": (
        put(T, "mtt::dos", lambda a: a[:, :20]),
        "mtt::dos: targets: found 20 points, .*extra_targets is 6",
    ),
    "mask against extra_targets": (put(X, "mtt::dos_mask", lambda a: a[:, :20]), "mtt::dos: mask: found 20 points"),
    "structures": (
        put(X, "mtt::dos_mask", lambda a: a[:3]),
        r"mtt::dos: mask: found shape \(3, 24\), expected 5 structures",
    ),
    "NaN prediction": (
        put(P, "energy", at(2, math.nan)),
        r"predictions: .*predictions\.npz: 'energy': found 1 value .* \(first at index \(2, 0\)",
    ),
    "infinite target": (
        put(T, "energy", at(2, math.inf)),
        r"energy: targets: found 1 value .*infinite \(first at index \(2, 0\)",
    ),
    "NaN target that counts": (
        put(T, "mtt::dos", at((1, 3), math.nan)),
        r"mtt::dos: targets: found 1 NaN where the mask is true \(first at index \(1, 3\)",
    ),
    "mask of halves": (put(X, "mtt::dos_mask", lambda a: a * 0.5), "mtt::dos: mask: .*neither 0 nor 1"),
    "complex": (put(P, "energy", lambda a: a * 1j), r"predictions: .*'energy\.npy': found the type '<c16'"),
    "strings": (put(P, "energy", lambda a: a.astype(str)), r"predictions: .*'energy\.npy': found the type '<U"),
    "booleans": (put(T, "energy", lambda a: a > 0), "energy: targets: found dtype bool"),
    "large integers": (put(T, "energy", lambda a: np.full(a.shape, 2**53 + 1)), "energy: targets: .*not held exactly"),
    "objects": (
        put(T, "energy", lambda a: a.astype(object)),
        r"targets: .*targets\.npz: 'energy\.npy': found the type '\|O', .*pickled",
    ),
    "overflow": (put(P, "energy", lambda a: a * 1e200), "energy: .*(overflow|beyond the largest float64)"),
    "no mask": (
        rename(X, "mtt::dos_mask", "mtt::dos_msk"),
        r"extra_data: .*mtt::dos_msk.* expected 'mtt::dos_mask'.*did you mean 'mtt::dos_msk'",
    ),
    "no target": (drop(T, "mtt::dos"), "targets: .*'mtt::dos'|mtt::dos: .*targets"),
    "no prediction at all": (
        lambda parts: parts.update(predictions={"energi": np.ones(5)}),
        r"predictions: found energi, expected at least one .*did you mean 'energy'",
    ),
    "named gradient": (rename(P, "energy/positions", "energy/forces"), "energy/positions.* the options name"),
    "gradient alone": (drop(P, "energy"), "predictions: .*found 'energy/positions' but no 'energy'"),
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def refused(folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused, check how, and return its message."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("refloss: error: ")
    assert "Traceback" not in err
    assert err.endswith("\n")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return err.removeprefix("refloss: error: ").rstrip("\n")


@pytest.mark.parametrize(("edit", "message"), DATA.values(), ids=DATA)
def test_bad_data(files: Path, edit: Edit, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts = small_section.data()
    edit(parts)
    command = small_section.write(files, parts)
    found = refused(files, [*command, "--json", str(files / "o.json"), "--plots", str(files / "plots")], capsys)
    assert "\n" not in found
    assert re.search(message, found), found
    assert not (files / "plots").exists()


OPTIONS = {
    "dx": ("energy_step: -0.05", r"loss\.mtt::dos\.energy_step: found -0\.05"),
    "dx not finite": ("energy_step: .nan", "energy_step: found nan"),
    "weight": ("grad_weight: .inf", "grad_weight: found inf"),
    "reduction": ("reduction: avg", "unknown reduction 'avg'"),
    "convention": ("convention: documentd", "'documentd'.*did you mean 'documented'"),
    "key": ("grad_wieght: 1.0", "'grad_wieght'.*did you mean 'grad_weight'"),
    "step of a release": (
        "{convention: metatrain-2026.2, energy_step: 0.1}",
        "mtt::dos: energy_step: found 0.1, expected 0.05",
    ),
    "reduction of a release": ("{convention: metatrain-2026.2, reduction: sum}", "mtt::dos: reduction: found 'sum'"),
    "wider targets": (
        "extra_targets: 29",
        "mtt::dos: extra_targets: found 29, expected at most 28",
    ),
}


@pytest.mark.parametrize(("extra", "message"), OPTIONS.values(), ids=OPTIONS)
def test_bad_options(files: Path, extra: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"    {line.strip()}" for line in extra.strip("{}").split(",")]
    text = small_section.OPTIONS.replace("    extra_targets: 6\n", "") + "\n".join(lines) + "\n"
    found = refused(files, small_section.write(files, options=text), capsys)
    assert re.search(message, found), found


def test_every_problem_of_an_options_file_has_its_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(files, options="loss:\n  energy:\n    type: msee\n    weight: heavy\n")
    for arguments in (command, ["options", command[1]]):
        lines = refused(files, arguments, capsys).splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"{command[1]}:3:11: ")
        assert "did you mean 'mse'" in lines[0]
        assert lines[1].startswith(f"{command[1]}:4:13: ")


@pytest.mark.parametrize("position", [1, 3, 5, 7], ids=["options", P, T, X])
def test_a_file_that_is_not_there(files: Path, position: int, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(files)
    command[position] = str(files / "elsewhere" / "x.npz")
    assert command[position] in refused(files, command, capsys)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 and no more"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_npz(files: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(files)
    (files / "targets.npz").write_bytes(content)
    assert re.search(r"targets\.npz: found (no zip|neither a zip|an empty file)", refused(files, command, capsys))


def test_a_cut_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(files)
    whole = (files / "targets.npz").read_bytes()
    (files / "targets.npz").write_bytes(whole[: len(whole) // 2])
    assert "targets.npz: found no zip archive" in refused(files, command, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "missing/out.json"], "--json: .*there is no folder .*missing, make it first"),
        (["--json", "."], "--json: .* is a folder, expected the name of a file"),
        (["--json", "predictions.npz"], "--json: predictions.npz is one of the inputs"),
        (["--json", "options.yaml"], "--json: options.yaml is one of the inputs"),
        (["--plots", "missing/plots"], "--plots: .*there is no folder .*missing, make it first"),
        (["--plots", "options.yaml"], "--plots: options.yaml is a file, expected a folder"),
    ],
)
def test_bad_outputs(
    files: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are refused before the work: here, before it is even noticed that the options name a type in vain."""
    command = small_section.write(files, options="loss: {energy: nonsense}\n")
    monkeypatch.chdir(files)
    found = refused(files, [*command, *arguments], capsys)
    assert re.search(message, found), found


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="there are no device files here")
def test_a_device_is_not_replaced(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(files, [*small_section.write(files), "--json", "/dev/null"], capsys)
    assert "--json: /dev/null is a device" in found


def test_a_picture_that_cannot_be_written(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the third picture: neither the first two nor the JSON file stay."""
    from refloss.plotting import style

    command = small_section.write(files)
    written = []

    def write(figure: Any, path: Path) -> None:
        path.write_bytes(b"half a picture")
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(style, "write", write)
    assert main([*command, "--plots", str(files / "plots"), "--json", str(files / "o.json")]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert len(written) == 3
    assert list((files / "plots").iterdir()) == []
    assert not (files / "o.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["evaluat"], "invalid choice: 'evaluat'"),
        (["evaluate"], "the following arguments are required: OPTIONS, --predictions"),
        (["evaluate", "o", "--predictions", "p", "--targets", "t", "--plot", "d"], "unrecognized arguments: --plot d"),
        (["demo", "here"], "unrecognized arguments: here"),
        (["options"], "the following arguments are required: FILE"),
    ],
)
def test_bad_arguments(files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(files, arguments, capsys)
    assert message in found
    assert "--help)" in found
    assert "\n" not in found


def test_a_bug_is_not_taken_for_a_mistake(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a user can mend becomes a message: any other error keeps its traceback."""

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(evaluate, "evaluate", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(small_section.write(files))
