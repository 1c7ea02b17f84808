"""The demo: its data set is what it says, it harms no file, and the command that it prints repeats it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pictured import coarse

import refloss
from refloss import InputError, demo
from refloss.cli.main import main
from refloss.spectra import PET_MAD_DOS

FIGURES = Path(__file__).parents[1] / "figures"
NAMES = sorted([demo.OPTIONS_FILE, demo.RESULTS_FILE, demo.REPORT_FILE, *demo.FILES.values(), *demo.PICTURES])


@pytest.fixture(scope="module")
def small() -> demo.Demo:
    return demo.make(8)


def test_the_data_set(small: demo.Demo) -> None:
    predictions, targets = small.data.predictions, small.data.targets
    assert targets["mtt::dos"]["values"].shape == (8, 4606)
    assert predictions["mtt::dos"]["values"].shape == (8, 4806)
    assert small.data.extra_data["mtt::dos_mask"]["values"].shape == (8, 4606)
    assert targets["energy"]["values"].shape == (8, 1)
    assert targets["energy"]["strain"].shape == (8, 3, 3)
    assert {key: array.shape for key, array in predictions["energy"].items()} == {
        key: array.shape for key, array in targets["energy"].items()
    }
    assert len(set(small.names)) == 8


def test_the_same_seed_gives_the_same_bits(small: demo.Demo) -> None:
    again, other = demo.make(8), demo.make(8, seed=1)
    for which in ("predictions", "targets", "extra_data"):
        for name, entry in getattr(small.data, which).items():
            for key, array in entry.items():
                np.testing.assert_array_equal(getattr(again.data, which)[name][key], array)
                assert not np.array_equal(getattr(other.data, which)[name][key], array)


def test_the_forces_are_the_slope_of_the_energy() -> None:
    """`positions` is +dE/dr, not the forces: the first atom of the first crystal, by central differences."""
    from refloss.crystals import data_set

    crystal = next(data_set(1))
    gradient = demo.make(1).data.targets["energy"]["positions"]
    step = np.zeros(crystal.positions.shape)
    step[0, 1] = 1e-4
    slope = (crystal.displaced(step).elastic().energy - crystal.displaced(-step).elastic().energy) / 2e-4
    # The truncation of the difference is some 1e-8 times the third derivative, at most a few hundred eV/Å³.
    assert slope == pytest.approx(gradient[0, 1], abs=1e-5)
    assert abs(gradient[0, 1]) > 1e-2


def test_the_known_shift_is_what_the_alignment_finds(small: demo.Demo) -> None:
    """The noise moves states by 0.02 eV or so, so that a shift may come out a point of 0.05 eV off, not two."""
    p, t = (part["mtt::dos"]["values"] for part in (small.data.predictions, small.data.targets))
    result = refloss.masked_dos(p, t, small.data.extra_data["mtt::dos_mask"]["values"])
    assert np.abs(result.shift - small.shift).max() <= 1
    assert np.count_nonzero(result.shift == small.shift) >= 4
    assert len(set(small.shift.tolist())) > 5
    assert small.shift.min() > 0
    assert small.shift.max() < PET_MAD_DOS.extra


def test_the_noise_adds_no_states(small: demo.Demo) -> None:
    """Up to where the mask ends, the prediction holds as many states as the target to a few hundredths of one."""
    dos, mask = small.data.targets["mtt::dos"]["values"], small.data.extra_data["mtt::dos_mask"]["values"]
    for b in range(8):
        last = np.flatnonzero(mask[b])[-1]
        predicted = (
            small.data.predictions["mtt::dos"]["values"][b, : small.shift[b] + last + 1].sum() * PET_MAD_DOS.step
        )
        # The noise moves at most 0.02 eV · 4 standard deviations of the density that stands at the edge, and the
        # broadening about as much; the densities there are up to 3 states/eV.
        assert predicted == pytest.approx(dos[b, : last + 1].sum() * PET_MAD_DOS.step, abs=0.3)
        assert predicted > 1.0


def test_the_options_file_is_one_for_metatrain(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(demo.OPTIONS, encoding="utf-8")
    assert set(refloss.load_options(path).losses) == {"energy", "mtt::dos"}
    options = yaml.safe_load(demo.OPTIONS)
    assert set(options["training_set"]) == {"systems", "targets", "extra_data"}
    assert set(options["training_set"]["targets"]) == {"energy", "mtt::dos"}
    assert demo.OPTIONS.isascii()  # whatever the editor takes it for
    assert max(map(len, demo.OPTIONS.splitlines())) <= 120


def test_run_twice_and_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["demo"]) == 0
    first = capsys.readouterr()
    assert first.err == ""
    folder = tmp_path / "refloss-demo"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    content = {name: (folder / name).read_bytes() for name in NAMES}
    total = next(line.split()[1] for line in first.out.splitlines() if line.startswith("total"))
    assert float(total) > 0
    assert "recovers the shift of" in first.out
    for name in demo.PICTURES:  # the committed figures are what the demo draws today
        difference = coarse(FIGURES / name) - coarse(folder / name)
        # Another seed differs by 0.02 and more; an edge that moves by two pixels, by a twentieth of a few cells.
        assert np.sqrt(np.mean(difference**2)) < 0.01, name

    assert main(["demo", "--out", "refloss-demo"]) == 0
    assert capsys.readouterr().out == first.out
    assert {name: (folder / name).read_bytes() for name in NAMES} == content

    command = first.out.splitlines()[-1]
    words = shlex.split(command) if os.name != "nt" else command.split()
    start = words.index("evaluate")
    assert words[:start] == [sys.executable, "-m", "refloss"]
    assert main(words[start:]) == 0
    repeated = capsys.readouterr().out
    assert f"\n{repeated}" in first.out.replace(repeated, f"\n{repeated}", 1)  # the whole of its table, as it stood
    assert next(line.split()[1] for line in repeated.splitlines() if line.startswith("total")) == total


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["thesis.tex"], "holds thesis.tex, expected a new or empty folder"),
        (["options.yaml"], "holds an options.yaml that is not the demo's"),
        (["targets.npz"], "holds targets.npz, but no options.yaml"),
        (["a", "b", "c", "d", "e"], "holds a, b, c and 2 more"),
    ],
)
def test_a_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, names: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("refloss: error: --out: ")
    assert message in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "mine")


def test_an_options_file_that_was_edited_is_kept(tmp_path: Path) -> None:
    demo.save(demo.make(1), tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"a folder that was looked at is the demo's still")
    demo.check_demo_folder(tmp_path, demo.OPTIONS)
    path = tmp_path / demo.OPTIONS_FILE
    path.write_text(demo.OPTIONS.replace("weight: 1.0", "weight: 7.0"), encoding="utf-8")
    with pytest.raises(InputError, match="not the demo's"):
        demo.save(demo.make(1), tmp_path)
    assert "7.0" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("out", "message"), [("missing/demo", "there is no folder"), ("file", "is a file")])
def test_a_folder_that_cannot_be(tmp_path: Path, out: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "--out", str(tmp_path / out)]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_printed_command_works_in_a_shell(tmp_path: Path) -> None:
    """From another folder, with a space and a quote in the name, through the program itself."""
    folder = tmp_path / "it's a demo"
    command = [sys.executable, "-m", "refloss", "demo", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    repeated = subprocess.run(
        done.stdout.splitlines()[-1], shell=True, capture_output=True, encoding="utf-8", check=True
    )
    assert repeated.stdout in done.stdout
    assert "total" in repeated.stdout
