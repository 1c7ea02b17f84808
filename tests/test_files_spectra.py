"""Eigenvalues from files, what ``refloss dos`` makes of them, and the demo of somebody's own structures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refloss import InputError
from refloss.cli.main import main
from refloss.files import formats
from refloss.files.spectra import Sample, formula, read
from refloss.spectra import PET_MAD_DOS, confidence_mask, gaussian_dos, spectrum

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "DOS_structures.xyz"
RNG = np.random.default_rng(23)
BANDS = [RNG.uniform(-8.0, 6.0, (5, 4)), RNG.uniform(-3.0, 9.0, (3, 7))]
WEIGHTS = [2 * RNG.dirichlet(np.ones(5)), 2 * RNG.dirichlet(np.ones(3))]
SHORT = ["--start", "-10", "--step", "0.25", "--points", "81"]
GRID = -10 + 0.25 * np.arange(81)


def frame(eigenvalues: Any, weights: Any, symbols: str = "Mg Ga As Mg", *, key: str = "k-point weights") -> str:
    bands = json.dumps(eigenvalues.tolist() if isinstance(eigenvalues, np.ndarray) else eigenvalues)
    second = f'Lattice="3 0 0 0 4 0 0 0 5" eigenvalues="_JSON {bands}" "{key}"="{" ".join(map(repr, list(weights)))}"'
    atoms = "".join(f"{symbol} 0 {i} 0\n" for i, symbol in enumerate(symbols.split()))
    return f"{len(symbols.split())}\n{second}\n{atoms}"


@pytest.fixture
def xyz(tmp_path: Path) -> Path:
    path = tmp_path / "bands.xyz"
    pairs = zip(BANDS, (w.tolist() for w in WEIGHTS), ("C H H H H", "Si"), strict=True)
    path.write_text("".join(frame(*pair) for pair in pairs), encoding="utf-8")
    return path


def refused(path: Path, **names: str) -> str:
    with pytest.raises(InputError) as caught:
        list(read("FILE", path, **names))
    assert str(caught.value).startswith(f"FILE: {path}")
    return str(caught.value)


def same(samples: list[Sample], bands: list[np.ndarray], weights: list[np.ndarray]) -> None:
    for sample, eigenvalues, its_weights in zip(samples, bands, weights, strict=True):
        expected = gaussian_dos(eigenvalues, its_weights, GRID)
        np.testing.assert_array_equal(sample.spectrum.dos(GRID), expected)
        np.testing.assert_array_equal(sample.spectrum.mask(GRID), confidence_mask(eigenvalues, GRID))


def test_extended_xyz(xyz: Path) -> None:
    samples = list(read("FILE", xyz))
    assert [sample.name for sample in samples] == ["CH4", "Si"]
    assert samples[0].structure.num_atoms.tolist() == [5]
    np.testing.assert_array_equal(samples[1].structure.cells, [np.diag([3.0, 4.0, 5.0])])
    same(samples, BANDS, WEIGHTS)


def test_npz_of_several_structures(tmp_path: Path) -> None:
    """In the order of their numbers; of names, in that of the file."""
    arrays = {}
    for number in (10, 9, 100):
        which = number % 2
        arrays |= {f"{number}/eigenvalues": BANDS[which], f"{number}/k_weights": WEIGHTS[which]}
    np.savez(tmp_path / "numbers.npz", **arrays)
    samples = list(read("FILE", tmp_path / "numbers.npz"))
    assert [sample.name for sample in samples] == ["9", "10", "100"]
    same(samples, [BANDS[1], BANDS[0], BANDS[0]], [WEIGHTS[1], WEIGHTS[0], WEIGHTS[0]])
    np.savez_compressed(
        tmp_path / "names.npz",
        **{"si/e": BANDS[1], "si/w": WEIGHTS[1], "9/e": BANDS[0], "9/w": WEIGHTS[0], "note": np.zeros(3)},
    )
    samples = list(read("FILE", tmp_path / "names.npz", eigenvalues="e", k_weights="w"))
    assert [sample.name for sample in samples] == ["si", "9"]
    same(samples, BANDS[::-1], WEIGHTS[::-1])


def test_npz_of_one_structure(tmp_path: Path) -> None:
    np.savez(tmp_path / "gold.npz", eigenvalues=BANDS[0].astype(np.float32), k_weights=WEIGHTS[0])
    (sample,) = read("FILE", tmp_path / "gold.npz")
    assert sample.name == "gold"
    assert sample.structure is None
    same([sample], [BANDS[0].astype(np.float32)], [WEIGHTS[0]])


def test_k_points_with_different_numbers_of_bands(tmp_path: Path) -> None:
    """The density is the sum over k-points; the mask ends where the first of them has no band left."""
    rows = [[-3.0, 1.5, 4.0], [-2.0, 7.0], [0.5, 2.5, 3.25, 6.0]]
    weights = [0.5, 1.0, 0.25]
    path = tmp_path / "ragged.xyz"
    path.write_text(frame(rows, weights), encoding="utf-8")
    (sample,) = read("FILE", path)
    bands = sample.spectrum
    parts = [gaussian_dos([row], [weight], GRID) for row, weight in zip(rows, weights, strict=True)]
    # Sums of three in another order: a few ulp of the largest.
    np.testing.assert_allclose(bands.dos(GRID), sum(parts), rtol=0, atol=1e-15 * max(map(np.max, parts)))
    np.testing.assert_array_equal(bands.mask(GRID, 0.9), GRID <= 4.0 - 0.9)
    assert (bands.k_points, bands.spins, bands.fewest, bands.most, bands.occupation) == (3, 1, 2, 4, 1.75)


def test_two_spins_are_added(tmp_path: Path) -> None:
    """With the same weights, or each with its own; a mask ends where the first band of either ends."""
    up, down = BANDS[0], BANDS[0] - 1.25
    weights = WEIGHTS[0] / 2
    expected = gaussian_dos(np.vstack([up, down]), np.concatenate([weights, weights]), GRID)
    for given in (np.array([up, down]), [up.tolist(), down.tolist()]):
        bands = spectrum(given, weights)
        np.testing.assert_array_equal(bands.dos(GRID), expected)
        np.testing.assert_array_equal(bands.mask(GRID), confidence_mask(down, GRID))
        assert bands.occupation == pytest.approx(2.0, rel=1e-15)  # a sum of ten
        assert (bands.k_points, bands.spins) == (5, 2)
    own = spectrum(np.array([up, down]), [weights, 3 * weights])
    np.testing.assert_array_equal(
        own.dos(GRID), gaussian_dos(np.vstack([up, down]), np.concatenate([weights, 3 * weights]), GRID)
    )
    ragged = spectrum([[[1.0, 2.0], [3.0]], [[1.5], [0.5, 2.5, 4.0]]], [0.25, 0.75])
    assert ragged.states.tolist() == [1.0, 2.0, 3.0, 1.5, 0.5, 2.5, 4.0]
    assert ragged.weights.tolist() == [0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.75]
    assert ragged.tops.tolist() == [2.0, 3.0, 1.5, 4.0]


def test_one_k_point_and_scaled_weights() -> None:
    bands = spectrum([1.0, 3.0], [0.5])
    assert (bands.k_points, bands.tops.tolist()) == (1, [3.0])
    twice = bands.scaled(2.0)
    np.testing.assert_array_equal(twice.dos(GRID), 4 * bands.dos(GRID))  # a power of two: exact
    assert twice.occupation == 2.0
    with pytest.raises(InputError, match=r"k_weights: found the sum 0\.0, expected one > 0"):
        spectrum([1.0], [0.0]).scaled(2.0)
    with pytest.raises(InputError, match=r"occupation: found -1"):
        bands.scaled(-1.0)


@pytest.mark.parametrize(
    ("eigenvalues", "weights", "message"),
    [
        (np.zeros((3, 2, 2)), [1.0, 1.0], r"eigenvalues: found shape \(3, 2, 2\), expected \(k-points, bands\) or"),
        (np.zeros((2, 2)), [1.0], r"k_weights: found shape \(1,\), expected \(2,\), one per k-point"),
        (np.zeros((2, 3, 2)), [1.0], r"expected \(3,\), one per k-point, or \(2, 3\)"),
        ([1.0, 2.0], [0.5, 0.5], r"k_weights: found shape \(2,\), expected \(1,\)"),
        ([[1.0], [2.0, np.nan]], [0.5, 0.5], "eigenvalues of k-point 1: found 1 value"),
        ([[1.0, 2.0], []], [0.5, 0.5], "eigenvalues of k-point 1: found an array of size 0"),
        ([[[1.0]], [[1.0], [2.0, 3.0]]], [1.0], "eigenvalues: found 1 and 2 k-points of two spins"),
        ([[[1.0], [2.0, 3.0]]] * 3, [0.5, 0.5], "eigenvalues: found 3 lists, 3 deep"),
        ([[True, False], [True]], [0.5, 0.5], "eigenvalues of k-point 0: found dtype bool"),
        ([[1.0, 2.0], [3.0]], [0.5, np.inf], r"k_weights: found 1 value"),
        (3.0, [1.0], r"eigenvalues: found shape \(\)"),
    ],
)
def test_what_is_no_spectrum(eigenvalues: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spectrum(eigenvalues, weights)


def test_files_without_spectra(tmp_path: Path, xyz: Path) -> None:
    assert "did you mean 'eigenvalues'?" in refused(xyz, eigenvalues="eigenvalue")
    path = tmp_path / "bad.xyz"
    path.write_text(frame(BANDS[0], WEIGHTS[0].tolist(), key="weights"), encoding="utf-8")
    assert "frame 0 (line 1): found no key 'k-point weights', but 'eigenvalues', 'weights'; expected" in refused(path)
    path.write_text(frame(BANDS[0], [1.0]), encoding="utf-8")
    assert "frame 0 (line 1): k_weights: found shape (1,), expected (5,)" in refused(path)
    path.write_text('1\nk eigenvalues=none "k-point weights"=2\nH 0 0 0\n', encoding="utf-8")
    assert "'eigenvalues': found 'none', expected numbers" in refused(path)
    path.write_text(frame([[None]], [1.0]), encoding="utf-8")
    assert "'eigenvalues': found '_JSON" in refused(path)
    path.write_text(frame([[1.0, float("nan")]], [1.0]), encoding="utf-8")
    assert "eigenvalues: found 1 value" in refused(path)
    archive = tmp_path / "bad.npz"
    np.savez(archive, bands=BANDS[0])
    assert "found no array 'eigenvalues', but 'bands'; expected a spectrum" in refused(archive)
    np.savez(archive, **{"a/eigenvalues": BANDS[0], "a/weights": WEIGHTS[0]})
    assert "found no array 'a/k_weights', expected the weights (did you mean 'a/weights'?)" in refused(archive)
    np.savez(archive, **{"a/eigenvalues": BANDS[0], "a/k_weights": WEIGHTS[1]})
    assert "'a': k_weights: found shape (3,), expected (5,)" in refused(archive)


def test_another_format_is_named(tmp_path: Path) -> None:
    from refloss.files import Contents

    formats.write("x", tmp_path / "a.mts", Contents({"energy": {"values": np.zeros((2, 1))}}))
    with pytest.raises(InputError, match="found mts, expected eigenvalues in extended XYZ or npz"):
        read("FILE", tmp_path / "a.mts")


def test_formula() -> None:
    assert [formula(np.array(types)) for types in ([79, 79], [31, 33], [6, 1, 1, 1], [0, 500])] == [
        "Au2",
        "AsGa",
        "CH3",
        "(500)X",
    ]


# --- refloss dos


def dos(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    status = main(["dos", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def expected_dos(width: float = 0.3) -> np.ndarray:
    return np.array([gaussian_dos(e, w, GRID, width) for e, w in zip(BANDS, WEIGHTS, strict=True)])


@pytest.mark.parametrize("name", ["out.npz", "out.xyz", "out.h5", "out.zarr", "folder"])
def test_dos_in_one_file(xyz: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for module in {"out.h5": ["h5py"]}.get(name, []):
        pytest.importorskip(module, reason=f"{module} is not installed")
    printed = dos(capsys, xyz, "--out", tmp_path / name, *SHORT, "--width", 0.4, "--margin", 0.5)
    data = formats.read("out", tmp_path / name).data
    assert set(data) == {"mtt::dos", "mtt::dos_mask"}
    np.testing.assert_array_equal(data["mtt::dos"]["values"], expected_dos(0.4))
    masks = np.array([confidence_mask(bands, GRID, 0.5) for bands in BANDS])
    np.testing.assert_array_equal(data["mtt::dos_mask"]["values"], masks, strict=True)
    assert "2 structures of" in printed
    assert re.search(r"structures +CH4, Si", printed)
    assert re.search(r"k-points +3 to 5", printed)
    assert re.search(r"bands +4 to 7", printed)
    assert re.search(r"grid +81 points, -10 to 10 eV in steps of 0.25 eV", printed)
    assert re.search(r"below the grid +none", printed)
    assert f"wrote {tmp_path / name}" in printed


def test_dos_for_metatrain(xyz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A TensorMap's file holds one target: the mask has its own, in float64, as metatrain asks of all of them."""
    printed = dos(capsys, xyz, "--out", tmp_path / "dos.mts", *SHORT, "--target", "mtt::x", "--padding", 4)
    assert "dos_mask.mts" in printed
    grid = -10 + 0.25 * np.arange(-4, 81)
    ((_, target),) = formats.read("out", tmp_path / "dos.mts").data.items()
    ((_, mask),) = formats.read("out", tmp_path / "dos_mask.mts").data.items()
    np.testing.assert_array_equal(
        target.block(0).values, [gaussian_dos(e, w, grid) for e, w in zip(BANDS, WEIGHTS, strict=True)]
    )
    np.testing.assert_array_equal(
        mask.block(0).values, np.array([confidence_mask(e, grid) for e in BANDS], dtype=np.float64), strict=True
    )
    assert target.block(0).samples.names == ["system"]
    dos(capsys, xyz, "--out", tmp_path / "dos.zip", *SHORT)
    data = formats.read("out", tmp_path / "dos.zip").data
    np.testing.assert_array_equal(data["mtt::dos"].block(0).values, expected_dos())
    assert data["mtt::dos_mask"].block(0).values.dtype == np.float64
    assert "float32" not in printed
    assert "those of float32" in dos(capsys, xyz, "--out", tmp_path / "dos.memmap", *SHORT)


def test_k_weights_of_other_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All alike they are used as given, and told; where they differ, somebody has to say which is meant."""
    path, out = tmp_path / "bands.xyz", tmp_path / "out.npz"
    halves = [(weights / 2).tolist() for weights in WEIGHTS]
    path.write_text("".join(map(frame, BANDS, halves)), encoding="utf-8")
    printed = dos(capsys, path, "--out", out, *SHORT)
    assert "sums of 1, all spins together, where 2 would count every electron once: --occupation 2" in " ".join(
        printed.split()
    )
    with np.load(out) as data:
        np.testing.assert_array_equal(data["mtt::dos"], expected_dos() / 2)  # halves are exact
    printed = dos(capsys, path, "--out", out, *SHORT, "--occupation", 2)
    assert "--occupation" not in printed
    with np.load(out) as data:
        # The sum of the weights is 1 to an ulp or two, and so is what they are scaled by.
        np.testing.assert_allclose(data["mtt::dos"], expected_dos(), rtol=1e-14, atol=1e-300)

    path.write_text(frame(BANDS[0], WEIGHTS[0].tolist()) + frame(BANDS[1], halves[1]), encoding="utf-8")
    before = out.read_bytes()
    assert main(["dos", str(path), "--out", str(out), *SHORT]) == 2
    err = capsys.readouterr().err
    assert "frame 1 (line 7): found k-weights that sum to 1 over all spins, expected 2, as those of" in err
    assert "--occupation 2" in err
    assert out.read_bytes() == before
    dos(capsys, path, "--out", out, *SHORT, "--occupation", 2)
    with np.load(out) as data:
        np.testing.assert_allclose(data["mtt::dos"], expected_dos(), rtol=1e-14, atol=1e-300)


def test_what_is_cut_off_is_told(xyz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = dos(capsys, xyz, "--out", tmp_path / "o.npz", "--start", -5, "--step", 0.1, "--points", 9, "--margin", 99)
    lowest = [float(bands.min()) for bands in BANDS]
    assert lowest[0] < -5 < -3.5 < lowest[1]  # what the test supposes of its data
    assert re.search(r"below the grid +1 with states below it or at its edge", printed)
    assert re.search(r"empty masks +2 in which nothing counts", printed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o.npz", "--step", "0"], "step: found 0.0, expected a finite number > 0"),
        (["--out", "o.npz", "--points", "1"], "points: found 1, expected at least 2"),
        (["--out", "o.npz", "--padding", "-1"], "extra"),
        (["--out", "o.npz", "--width", "0"], "width: found 0.0"),
        (["--out", "o.npz", "--margin", "nan"], "margin: found nan"),
        (["--out", "o.npz", "--occupation", "0"], "occupation: found 0.0"),
        (["--out", "o.npz", "--points", str(10**15)], "error: does not fit into memory: Unable to allocate"),
        (["--out", "o.txt"], "--out: o.txt: found the ending '.txt'"),
        (["--out", "missing/o.npz"], "--out: missing/o.npz cannot be written: there is no folder"),
        (["--out", "bands.xyz"], "is one of the inputs"),
        (["--out", "o.npz", "--eigenvalues", "e"], "found no key 'e'"),
    ],
)
def test_arguments_that_are_refused(
    xyz: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(xyz.parent)
    assert main(["dos", "bands.xyz", *SHORT, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert [path.name for path in xyz.parent.iterdir()] == ["bands.xyz"]


def test_npz_has_no_atoms_for_a_format_that_needs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "b.npz", eigenvalues=BANDS[0], k_weights=WEIGHTS[0])
    assert main(["dos", str(tmp_path / "b.npz"), "--out", str(tmp_path / "o.xyz")]) == 2
    assert "found no atoms in" in capsys.readouterr().err
    dos(capsys, tmp_path / "b.npz", "--out", tmp_path / "o.npz", *SHORT)


# --- refloss demo --spectra


def test_the_demo_of_own_structures(xyz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert main(["demo", "--spectra", str(xyz), "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"2 structures of {xyz}" in " ".join(out.split())
    assert "recovers the shift of" in out
    names = {"options.yaml", "predictions.npz", "targets.npz", "extra_data.npz", "results.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == names | {"alignment.png", "masks.png", "terms.png"}
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert list(results["terms"]) == ["mtt::dos"]
    total = next(line.split()[1] for line in out.splitlines() if line.startswith("total"))
    assert float(total) == pytest.approx(results["total"], rel=1e-9)  # ten digits are printed
    with np.load(folder / "targets.npz") as targets:
        grid = PET_MAD_DOS.targets
        np.testing.assert_array_equal(
            targets["mtt::dos"], [gaussian_dos(e, w, grid) for e, w in zip(BANDS, WEIGHTS, strict=True)]
        )
    assert main(["demo", "--out", str(folder)]) == 2  # the other demo would leave this one's files
    assert "holds an options.yaml that is not the demo's" in capsys.readouterr().err


def test_a_demo_of_bands_that_end_below_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep.xyz"
    path.write_text(frame(BANDS[0] - 500.0, WEIGHTS[0].tolist(), "Pb"), encoding="utf-8")
    assert main(["demo", "--spectra", str(path), "--out", str(tmp_path / "demo")]) == 2
    message = r"structure 0 \(Pb\): found bands that end at -50\d.* eV, expected some above -148.7"
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "demo").exists()


@pytest.mark.skipif(not REAL_DATA.exists(), reason=f"{REAL_DATA.name} is not beside this checkout")
def test_data_that_nobody_here_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gold and magnesium, from file to table, JSON and pictures in one command."""
    gold, magnesium = read("FILE", REAL_DATA)
    assert [(s.name, s.spectrum.k_points, s.spectrum.most) for s in (gold, magnesium)] == [
        ("Au2", 1014, 76),
        ("Mg2", 858, 8),
    ]
    assert main(["demo", "--spectra", str(REAL_DATA), "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "recovers the shift of 2 of the 2" in out
    dos(capsys, REAL_DATA, "--out", tmp_path / "dos.npz")
    with np.load(tmp_path / "dos.npz") as data:
        electrons = 0.05 * data["mtt::dos"].sum(axis=1)
        # All bands lie on the grid, and the weights are given to seven digits.
        np.testing.assert_allclose(electrons, [2 * 76, 2 * 8], rtol=1e-5)
