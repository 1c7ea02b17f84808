"""Conversions: every pair of formats, to the last bit; what a format cannot hold is told; nothing is left half done."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import taking_at_most

from refloss import InputError
from refloss.cli.main import main
from refloss.files import Contents, Structures, formats
from refloss.files.conversion import convert

pytest.importorskip("h5py")

ENDINGS = {
    "npz": "a.npz",
    "npy folder": "a",
    "HDF5": "a.h5",
    "Zarr": "a.zarr",
    "disk dataset": "a.zip",
    "extxyz": "a.xyz",
    "memmap": "a.memmap",
    "mts": "a.mts",
}
ARRAYS = ("npz", "npy folder", "HDF5", "Zarr")
"""Formats of bare arrays, which hold all that the others do but labels."""


def structures_of(counts: list[int], rng: np.random.Generator) -> Structures:
    # Positions of 24 bits are what float32 holds, and lattice vectors apart enough that the volume is none of rounding.
    total = sum(counts)
    cells = (np.eye(3) * 8 + rng.random((len(counts), 3, 3))).astype(np.float32).astype(np.float64)
    positions = rng.normal(size=(total, 3)).astype(np.float32).astype(np.float64)
    return Structures(np.array(counts), rng.integers(1, 90, total), positions, cells)


@st.composite
def datasets(draw: st.DrawFn, *, told: bool = True) -> Contents:
    """Draw what every format holds: a density of states, its mask, an energy with forces, a row of charges an atom.

    The numbers are those of float32, which memmap holds. Where the format does not tell shapes, sizes have to: then
    the atoms are no multiple of the structures, and the points are a prime that is no number of atoms.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lists = st.lists(st.integers(1, 4), min_size=1, max_size=5)
    counts = draw(lists if told else lists.filter(lambda counts: sum(counts) % len(counts) != 0))
    points = draw(st.integers(2, 40) if told else st.sampled_from([23, 29, 31, 37]))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    structures = structures_of(counts, rng)

    def numbers(*shape: int) -> Any:
        scale = 10.0 ** rng.integers(-30, 30, shape)
        return (rng.normal(size=shape) * scale).astype(np.float32).astype(kind)

    size, total = len(counts), sum(counts)
    data: dict[str, dict[str, Any]] = {
        "mtt::dos": {"values": numbers(size, points)},
        "mtt::dos_mask": {"values": (rng.random((size, points)) < 0.5).astype(kind)},
        "energy": {"values": numbers(size, 1), "positions": numbers(total, 3, 1)},
    }
    if draw(st.booleans()):
        data["mtt::charge"] = {"values": numbers(total, 1)}
    return Contents(data, structures)


def arrays(contents: Contents) -> dict[str, dict[str, Any]]:
    """Return all arrays of what was read, TensorMaps' too."""
    from refloss.files.unlabelled import without_labels

    return {
        name: {key: np.asarray(entry[key]) for key in entry}
        for name, item in contents.data.items()
        for entry in [item if isinstance(item, Mapping) else without_labels(name, item)]
    }


def assert_same(found: Contents, expected: Contents) -> None:
    """Compare numbers to the bit: types and trailing axes of length 1 are each format's own."""
    back, meant = arrays(found), arrays(expected)
    assert set(back) == set(meant)
    for name, entry in meant.items():
        assert set(back[name]) == set(entry), name
        for key, array in entry.items():
            assert back[name][key].size == array.size, (name, key)
            np.testing.assert_array_equal(back[name][key].ravel(), array.ravel(), f"{name}/{key}")
    if expected.structures is not None and found.structures is not None:
        for name in ("num_atoms", "types", "positions", "cells"):
            np.testing.assert_array_equal(getattr(found.structures, name), getattr(expected.structures, name))


PAIRS = [pair for pair in itertools.product(ENDINGS, repeat=2) if "mts" not in pair]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{a} to {b}" for a, b in PAIRS])
def test_from_each_format_to_each_other(first: str, second: str) -> None:
    @given(datasets(told="memmap" not in (first, second)))
    @settings(max_examples=6)  # of every one of 49 pairs
    def round_trip(contents: Contents) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder, "1", ENDINGS[first]), Path(folder, "2", ENDINGS[second])
            source.parent.mkdir()
            output.parent.mkdir()
            formats.write("source", source, contents)
            written = formats.read("source", source)
            assert_same(written, contents)
            drop = ["digits"] if second == "memmap" else []
            convert(source, output, drop=drop)
            found = formats.read("output", output)
            assert found.structures is not None
            assert_same(found, contents)
            if first in ARRAYS and second in ARRAYS:
                for name, entry in arrays(contents).items():
                    for key, array in entry.items():
                        back = arrays(found)[name][key]
                        assert (back.dtype, back.shape) == (array.dtype, array.shape)

    round_trip()


RNG = np.random.default_rng(13)
DOS = RNG.normal(size=(3, 9))
STRUCTURES = structures_of([2, 1, 4], RNG)
DATA = Contents(
    {
        "mtt::dos": {"values": DOS},
        "mtt::dos_mask": {"values": DOS > 0},
        "energy": {"values": DOS[:, :1], "positions": RNG.normal(size=(7, 3, 1))},
    },
    STRUCTURES,
)


def refused(source: Path, output: Path, message: str, **options: Any) -> None:
    """Assert that a conversion is refused, and that nothing was written."""
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(InputError, match=message):
        convert(source, output, **options)
    assert sorted(output.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ENDINGS)
def test_one_target_becomes_a_tensormap_and_the_arrays_again(tmp_path: Path, name: str) -> None:
    """Forces need the structures' numbers of atoms for their labels, which an mts file keeps, and arrays do not."""
    source, output = tmp_path / "in.h5", tmp_path / ENDINGS[name]
    formats.write("source", source, DATA)
    mts = tmp_path / "energy.mts"
    refused(source, mts, "found structures, .*or --drop structures", targets=["energy"])
    refused(source, mts, "found .*expected one target", drop=["structures"])
    convert(source, mts, targets=["energy"], drop=["structures"])
    found = formats.read("found", mts)
    np.testing.assert_array_equal(arrays(found)["energy"]["positions"], DATA.data["energy"]["positions"])
    assert found.data["energy"].block().gradient("positions").samples.names == ["sample", "atom"]
    if name in ARRAYS:
        refused(mts, output, "'energy': found labels other than .*--drop labels")
        convert(mts, output, drop=["labels"])
        np.testing.assert_array_equal(arrays(formats.read("found", output))["energy"]["values"], DOS[:, :1])
    dos = tmp_path / "dos.mts"
    convert(source, dos, targets=["mtt::dos"], drop=["structures"])
    if name in ARRAYS:
        renamed = dos.rename(tmp_path / "renamed.mts")
        convert(renamed, tmp_path / "again.npz")  # labels that count from 0 are no loss
        np.testing.assert_array_equal(arrays(formats.read("found", tmp_path / "again.npz"))["renamed"]["values"], DOS)


def test_digits_are_not_lost_without_a_word(tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    formats.write("source", source, DATA)
    refused(source, tmp_path / "a.memmap", r"mtt::dos/values: found .*, and the format holds float32, .*--drop digits")
    convert(source, tmp_path / "a.memmap", drop=["digits"])
    convert(source, tmp_path / "b.npz", drop=["digits"])
    rounded = formats.read("found", tmp_path / "b.npz").data
    np.testing.assert_array_equal(rounded["mtt::dos"]["values"], DOS.astype(np.float32))
    assert rounded["mtt::dos"]["values"].dtype == np.float32
    assert rounded["mtt::dos_mask"]["values"].dtype == np.bool_


def test_what_is_given_up_is_gone_and_the_rest_is_there(tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    formats.write("source", source, DATA)
    convert(source, tmp_path / "a.zarr", drop=["gradients", "structures"])
    found = formats.read("found", tmp_path / "a.zarr")
    assert found.structures is None
    assert {name: set(entry) for name, entry in found.data.items()} == {name: {"values"} for name in DATA.data}


def test_targets_are_chosen_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    formats.write("source", source, DATA)
    made = convert(source, tmp_path / "a.npz", targets=["mtt::dos", "mtt::dos_mask"])
    assert made.left_out == ("energy",)
    assert made.arrays == ("mtt::dos: values (3, 9) float64", "mtt::dos_mask: values (3, 9) bool")
    refused(source, tmp_path / "b.npz", r"expected 'mtt::doss' \(did you mean 'mtt::dos'\?\)", targets=["mtt::doss"])
    refused(source, tmp_path / "b.npz", r"--drop: found 'label', .*\(did you mean 'labels'\?\)", drop=["label"])
    refused(source, tmp_path / "b.nzp", r"found the ending '\.nzp', expected \.npz, ")


@pytest.mark.parametrize("name", ["extxyz", "memmap", "npz", "disk dataset"])
def test_a_target_that_is_chosen_keeps_its_gradients(tmp_path: Path, name: str) -> None:
    """Of formats too in which a gradient is found by what options say, or by the name of its energy."""
    source = tmp_path / ENDINGS[name].replace("a", "in", 1)
    formats.write("source", source, DATA)
    made = convert(source, tmp_path / "a.npz", targets=["energy"], drop=["labels"])
    assert set(made.left_out) == set(DATA.data) - {"energy"}
    found = arrays(formats.read("found", tmp_path / "a.npz"))
    assert set(found) == {"energy"}
    assert set(found["energy"]) == set(DATA.data["energy"]) > {"values"}


def test_options_say_what_the_data_are_called(tmp_path: Path) -> None:
    """The file that is converted has a key of its own for the target; that of another file is not looked for in it."""
    source = tmp_path / "in.h5"
    formats.write("source", source, Contents({"u": {"values": DOS}, "spare": {"values": DOS}}, STRUCTURES))
    options = tmp_path / "options.yaml"
    options.write_text(
        "training_set:\n  systems: other.xyz\n  targets:\n"
        "    mtt::dos: {read_from: in.h5, key: u}\n    mtt::gap: {read_from: other.h5, key: spare}\n"
    )
    made = convert(source, tmp_path / "a.npz", options=options)
    assert made.left_out == ("spare",)
    options.write_text(
        "training_set:\n  systems: in.h5\n  targets:\n"
        "    energy: {key: u, forces: {read_from: f.xyz, key: f}, stress: false}\n"
    )
    made = convert(source, tmp_path / "b.npz", options=options)
    assert made.left_out == ("spare", "energy/positions, which is in f.xyz")
    assert set(formats.read("found", tmp_path / "a.npz").data) == {"mtt::dos"}


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    source, folder = tmp_path / "in.npz", tmp_path / "in"
    formats.write("source", source, DATA)
    formats.write("source", folder, DATA)
    refused(source, source, "is one of the inputs")
    refused(source, tmp_path / "sub" / ".." / "in.npz", "is one of the inputs|there is no folder")
    refused(folder, folder, "is in the input")
    refused(folder, folder / "a.zarr", "is in the input")
    refused(folder, folder / "a.npz", "is in the input")
    refused(source, folder, "is not empty, expected a new one")


@pytest.mark.parametrize("name", [name for name in ENDINGS if name != "mts"])
@pytest.mark.parametrize("before", [False, True])
def test_ctrl_c_leaves_what_was_there(tmp_path: Path, name: str, before: bool) -> None:
    """In the middle of the second array; a folder that was there was empty."""
    source, output = tmp_path / "in.h5", tmp_path / "out" / ENDINGS[name]
    formats.write("source", source, DATA)
    output.parent.mkdir()
    if before and name in ("npy folder", "Zarr", "memmap"):
        output.mkdir()
    elif before:
        output.write_bytes(b"old")
    steps = []

    def interrupt(step: str) -> None:
        steps.append(step)
        if len([step for step in steps if step.startswith("writing")]) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, output, drop=["digits"], step=interrupt)
    assert [path.name for path in output.parent.iterdir()] == ([output.name] if before else [])
    if before:
        assert not any(output.iterdir()) if output.is_dir() else output.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["npy folder", "HDF5", "Zarr", "npz"])
def test_a_real_ctrl_c(tmp_path: Path, name: str) -> None:
    """From the keyboard's own signal, while the file beside the output grows."""
    source, output = tmp_path / "in", tmp_path / "out" / ENDINGS[name]
    source.mkdir()
    output.parent.mkdir()
    made = np.lib.format.open_memmap(source / "dos.npy", "w+", np.float64, (50_000, 1000))  # zeros take no disk
    del made
    command = [sys.executable, "-m", "refloss", "convert", str(source), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not any(output.parent.iterdir()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "refloss: interrupted\n")
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *[("npz", "HDF5"), ("npz", "Zarr"), ("HDF5", "npz"), ("HDF5", "npy folder")],
        *[("Zarr", "HDF5"), ("Zarr", "memmap"), ("npy folder", "npz")],
    ],
)
def test_an_array_passes_through_in_parts(tmp_path: Path, first: str, second: str) -> None:
    """Of 96 MiB, in parts of 16: that of the source, of the target, and one between them."""
    source, output = tmp_path / "1" / ENDINGS[first], tmp_path / "2" / ENDINGS[second]
    source.parent.mkdir()
    output.parent.mkdir()
    values = np.arange(12 << 20, dtype=np.float64).reshape(-1, 4096)
    structures = structures_of([1] * len(values), RNG)
    formats.write("source", source, Contents({"dos": {"values": values}}, structures))
    with taking_at_most(64 << 20):
        convert(source, output, drop=["digits"] if second == "memmap" else [])
    kind = np.float32 if second == "memmap" else np.float64
    np.testing.assert_array_equal(formats.read("found", output).data["dos"]["values"], values.astype(kind))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.h5", tmp_path / "a.npz"
    formats.write("source", source, DATA)
    assert main(["convert", str(source), str(output), "--target", "energy", "--drop", "gradients"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "energy: values (3, 1) float64",
        "left out: mtt::dos, mtt::dos_mask",
        f"wrote {output}",
    ]
    assert main(["convert", str(source), str(source)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
