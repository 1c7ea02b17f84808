"""Extended XYZ: read as ASE reads it, written so that ASE reads the same bits, and refused where it lies."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from refloss import InputError
from refloss.files import Contents, GradientSource, Quantity, Structures, extxyz
from refloss.files.xyz_frames import SYMBOLS, frames

RNG = np.random.default_rng(11)
ATOMS = np.array([3, 1, 2])
CELLS = np.array([5 * np.eye(3) + 0.3 * RNG.normal(size=(3, 3)), np.zeros((3, 3)), np.diag([4.0, 5.0, 0.0])])
STRUCTURES = Structures(ATOMS, np.array([8, 1, 1, 79, 6, 92]), RNG.normal(size=(6, 3)), CELLS)
SPECIAL = ("energy", "forces", "stress")
"""What metatrain's reader takes back out of ASE's calculators."""


def quantity(name: str, key: str | None = None, **more: Any) -> Quantity:
    return Quantity(name, key or name, **more)


def lattice(cell: np.ndarray) -> str:
    return f'Lattice="{" ".join(map(repr, cell.ravel().tolist()))}"'


def read(path: Path, *quantities: Quantity) -> Contents:
    return extxyz.read("targets", path, quantities)


def one_frame(tmp_path: Path, second_line: str, *atoms: str) -> Path:
    path = tmp_path / "one.xyz"
    lines = atoms or ("H 0 0 0",)
    path.write_text(f"{len(lines)}\n{second_line}\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# --- what ASE writes


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
integers = st.integers(-(2**53), 2**53)
arrays = st.one_of(
    st.lists(numbers, min_size=2, max_size=4).map(np.array),
    st.lists(integers, min_size=2, max_size=4).map(np.array),
    st.lists(st.booleans(), min_size=2, max_size=4).map(np.array),
    st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=3).map(np.array),
)
values = st.one_of(
    numbers, integers, st.booleans(), arrays, st.sampled_from(["PBE", "it's", 'a "b" [c', "1 2 x", "x=3"])
)
keys = st.one_of(
    st.sampled_from(["energy", "mtt::dos", "k-point weights", "a[b]", "é", "dipole", "free_energy", "virial[mtt::x]"]),
    st.text("abcXYZ_:-[]{}' ", min_size=1, max_size=6).filter(lambda key: key.strip() == key and key not in ("Z",)),
)
columns = st.dictionaries(
    st.sampled_from(["forces", "masses", "q", "flag", "count", "charges", "momenta"]),
    st.integers(0, 2**32 - 1),
    max_size=3,
)


def column(name: str, seed: int, atoms: int) -> np.ndarray:
    """The kind and the width that the name asks for; eight decimals, which is what ASE's writer keeps."""
    rng = np.random.default_rng(seed)
    shape = (atoms, 3) if name in ("forces", "momenta") else (atoms,)
    if name == "flag":
        return rng.random(shape) < 0.5
    return rng.integers(-9, 9, shape) if name == "count" else np.round(rng.normal(size=shape), 8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    infos=st.lists(st.dictionaries(keys, values, max_size=5), min_size=1, max_size=3),
    columns=columns,
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_are_what_ase_makes_of_its_own_files(tmp_path: Path, infos: Any, columns: Any, seed: int) -> None:
    ase = pytest.importorskip("ase", reason="the extra ase is not installed")
    io = pytest.importorskip("ase.io")
    rng, written = np.random.default_rng(seed), []
    for info in infos:
        atoms = int(rng.integers(1, 5))
        cell = [None, rng.normal(size=(3, 3)), np.diag([2.0, 3.0, 0.0])][int(rng.integers(3))]
        # Atomic numbers up to that of the last element with a name.
        frame = ase.Atoms(rng.integers(1, 119, atoms), rng.normal(size=(atoms, 3)).round(8), cell=cell)
        frame.pbc = rng.random(3) < 0.6
        frame.info = dict(info)
        for name, its_seed in columns.items():
            frame.arrays[name] = column(name, its_seed, atoms)
        written.append(frame)
    path = tmp_path / "ase.xyz"
    io.write(path, written, format="extxyz")
    try:
        expected = io.read(path, ":", format="extxyz")
    except (ValueError, AttributeError, KeyError):  # what ASE cannot read of its own files is no standard
        reject()
    found = list(frames("f", path))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.types, theirs.numbers)
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        np.testing.assert_array_equal(ours.cell, theirs.cell.array)
        np.testing.assert_array_equal(ours.periodic, theirs.pbc)
        results = {} if theirs.calc is None else theirs.calc.results
        info = theirs.info | {key: value for key, value in results.items() if key not in ours.arrays}
        for key, value in info.items():
            if isinstance(value, str):
                assert ours.value(key) is None
                continue
            ours_value = ours.value(key)
            assert isinstance(ours_value, np.ndarray), key
            if key not in results:  # where ASE makes floats of all
                assert (ours_value.dtype == np.bool_) == (np.asarray(value).dtype == np.bool_)
            np.testing.assert_array_equal(ours_value, value)
        for key, array in ours.arrays.items():
            wanted = results[key] if key in results else theirs.arrays[key]
            np.testing.assert_array_equal(array, wanted)


def contents() -> Contents:
    def of(*shape: int) -> np.ndarray:
        return RNG.normal(size=shape)

    def energy() -> dict[str, np.ndarray]:
        return {"values": of(3, 1), "positions": of(6, 3, 1), "strain": of(3, 3, 3, 1)}

    data = {
        "energy": energy(),
        "mtt::other": energy(),
        "mtt::dos": {"values": of(3, 7).astype(np.float32)},
        "mtt::dos_mask": {"values": RNG.random((3, 7)) < 0.5},
        "mtt::tensor": {"values": of(3, 3, 2)},
        "mtt::charges": {"values": of(6, 2)},
        "mtt::flag": {"values": RNG.random((6, 1)) < 0.5},
        'a name, {with} [all] "of" it\'s = \\ signs': {"values": np.array([[np.nan], [5e-324], [-1.7e308]])},
    }
    return Contents(data, STRUCTURES)


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    kept = contents()
    extxyz.write("--out", tmp_path / "a.xyz", kept)
    found = read(tmp_path / "a.xyz")
    assert set(found.data) == set(kept.data)
    for name, entry in kept.data.items():
        assert list(found.data[name]) == list(entry)
        for key, array in entry.items():
            again = found.data[name][key]
            assert (again.dtype == np.bool_) == (array.dtype == np.bool_)
            np.testing.assert_array_equal(again, array, strict=array.dtype == np.float64)
    for name in ("num_atoms", "types", "positions", "cells"):
        np.testing.assert_array_equal(getattr(found.structures, name), getattr(STRUCTURES, name))


def test_ase_reads_what_is_written_to_the_last_bit(tmp_path: Path) -> None:
    """But for the columns whose names have colons: those ASE cannot read, not even of its own files."""
    pytest.importorskip("ase", reason="the extra ase is not installed")
    import ase.io

    data = {name: entry for name, entry in contents().data.items() if name not in ("mtt::charges", "mtt::flag")}
    del data["mtt::other"]["positions"]
    data["q"] = {"values": RNG.normal(size=(6, 2))}
    extxyz.write("--out", tmp_path / "a.xyz", Contents(data, STRUCTURES))
    atoms = 0
    for i, frame in enumerate(ase.io.read(tmp_path / "a.xyz", ":")):
        rows = slice(atoms, atoms + len(frame))
        atoms += len(frame)
        np.testing.assert_array_equal(frame.positions, STRUCTURES.positions[rows])
        np.testing.assert_array_equal(frame.numbers, STRUCTURES.types[rows])
        np.testing.assert_array_equal(frame.cell.array, CELLS[i])
        np.testing.assert_array_equal(frame.pbc, CELLS[i].any(axis=1))
        assert frame.calc.results["energy"] == data["energy"]["values"][i, 0]
        np.testing.assert_array_equal(frame.calc.results["forces"], -data["energy"]["positions"][rows, :, 0])
        np.testing.assert_array_equal(frame.info["virial"], -data["energy"]["strain"][i, :, :, 0])
        np.testing.assert_array_equal(frame.info["virial[mtt::other]"], -data["mtt::other"]["strain"][i, :, :, 0])
        np.testing.assert_array_equal(frame.info["mtt::dos"], data["mtt::dos"]["values"][i])
        np.testing.assert_array_equal(frame.info["mtt::dos_mask"], data["mtt::dos_mask"]["values"][i])
        np.testing.assert_array_equal(frame.info["mtt::tensor"], data["mtt::tensor"]["values"][i])
        np.testing.assert_array_equal(frame.arrays["q"], data["q"]["values"][rows])


# --- what options ask for


def test_forces_stress_and_virial_become_gradients(tmp_path: Path) -> None:
    """Nine numbers of ``virial`` and ``stress`` come column after column, those of other keys row after row."""
    cell = np.array([[4.0, 0.3, 0.1], [-0.2, 5.0, 0.7], [0.9, 0.4, 6.0]])
    left = cell[[1, 0, 2]]  # a volume has no sign
    text, matrices = "", RNG.normal(size=(2, 3, 3))
    symmetric = matrices + matrices.transpose(0, 2, 1)
    forces = RNG.normal(size=(4, 3))
    for i, atoms in enumerate((3, 1)):
        rows = forces[:3] if i == 0 else forces[3:]
        text += f"{atoms}\n{lattice((cell, left)[i])} Properties=species:S:1:pos:R:3:f:R:3 E={i + 0.5} "
        text += f'stress="{" ".join(map(repr, symmetric[i].T.ravel().tolist()))}" '
        text += f'virial="{" ".join(map(repr, matrices[i].T.ravel().tolist()))}" '
        text += f's="{" ".join(map(repr, matrices[i].ravel().tolist()))}" '
        text += f't="_JSON {[matrices[i].tolist()]}"\n'
        text += "".join(f"C 0 {atom} 1 {' '.join(map(repr, row))}\n" for atom, row in enumerate(rows.tolist()))
    path = tmp_path / "a.xyz"
    path.write_text(text, encoding="utf-8")
    sources = {
        "stress": ("stress", symmetric),
        "virial": ("virial", matrices),
        "s": ("stress", matrices),
        "t": ("virial", matrices),
    }
    a, b, c = ([Fraction(x) for x in row] for row in cell.tolist())
    volume = sum(a[i] * (b[i - 2] * c[i - 1] - b[i - 1] * c[i - 2]) for i in range(3))
    for key, (kind, matrix) in sources.items():
        gradients = {"positions": GradientSource("forces", "f"), "strain": GradientSource(kind, key)}
        entry = read(path, quantity("energy", "E", gradients=gradients)).data["energy"]
        np.testing.assert_array_equal(entry["values"], [[0.5], [1.5]])
        np.testing.assert_array_equal(entry["positions"], -forces[..., None])
        expected = matrix * float(volume) if kind == "stress" else -matrix
        np.testing.assert_array_equal(entry["strain"], expected[..., None])


def test_a_stress_of_a_cell_whose_volume_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f'1\n{lattice(np.eye(3) * 1e200)} energy=1.0 s="1 0 0 0 1 0 0 0 1"\nH 0 0 0\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"frame 0 \(line 1\): 's': found the cell \[\[1e\+200, .*float64 holds"):
        read(path, quantity("energy", gradients={"strain": GradientSource("stress", "s")}))


def test_a_stress_that_ase_would_halve(tmp_path: Path) -> None:
    entry = quantity("energy", gradients={"strain": GradientSource("stress", "stress")})
    cell = lattice(np.eye(3))
    path = one_frame(tmp_path, f'{cell} energy=1 stress="1 2 3 2.1 5 6 3 6 9"')
    with pytest.raises(InputError, match=r"'stress': found a matrix that is not symmetric, .* upper half"):
        read(path, entry)
    # Rounding of float32 is none of that: the upper half stands for both, as it does in ASE.
    path = one_frame(tmp_path, f'{cell} energy=1 stress="1 2.0000001 3 2 5 6 3 6 9"')
    strain = read(path, entry).data["energy"]["strain"][0, :, :, 0]
    np.testing.assert_array_equal(strain, [[1, 2, 3], [2, 5, 6], [3, 6, 9]])


def test_a_stress_without_a_cell(tmp_path: Path) -> None:
    entry = quantity("energy", gradients={"strain": GradientSource("stress", "stress")})
    with pytest.raises(InputError, match=r"frame 0 .*'stress': found a stress in a structure without a cell"):
        read(one_frame(tmp_path, 'energy=1 stress="1 2 3 2 5 6 3 6 9"'), entry)
    path = one_frame(tmp_path, f'energy=1 stress="{" ".join(["nan"] * 9)}"')  # metatrain's sign for there is none
    assert np.isnan(read(path, entry).data["energy"]["strain"]).all()


def test_rows_have_the_shape_that_is_asked_for(tmp_path: Path) -> None:
    second = 'Properties=species:S:1:pos:R:3:t:R:6 v="1 2 3 4 5 6" one=3 j="_JSON [[1, 2], [3, 4], [5, 6]]"'
    path = one_frame(tmp_path, second, "H 0 0 0 1 2 3 4 5 6", "O 0 0 1 7 8 9 10 11 12")
    asked = [
        quantity("v", row=(3, 2), per_atom=False),
        quantity("t", row=(3, 2), per_atom=True),
        quantity("j", row=(6,)),
        quantity("one", row=(1,)),
    ]
    data = read(path, *asked).data
    np.testing.assert_array_equal(data["v"]["values"], [[[1, 2], [3, 4], [5, 6]]])
    np.testing.assert_array_equal(data["t"]["values"], np.arange(1, 13).reshape(2, 3, 2))
    np.testing.assert_array_equal(data["j"]["values"], [np.arange(1, 7)])
    np.testing.assert_array_equal(data["one"]["values"], [[3]])
    free = read(path).data
    assert {name: entry["values"].shape for name, entry in free.items()} == {
        "v": (1, 6), "one": (1, 1), "j": (1, 3, 2), "t": (2, 6)
    }  # fmt: skip


def test_masks_are_booleans_or_numbers(tmp_path: Path) -> None:
    second = 'Properties=species:S:1:pos:R:3:a_mask:L:1 m="T F T" n="1 0 1" o="_JSON [true, false, true]" p=T'
    data = read(one_frame(tmp_path, second, "H 0 0 0 T", "H 0 0 1 F")).data
    for name in "mo":
        np.testing.assert_array_equal(data[name]["values"], [[True, False, True]], strict=True)
    np.testing.assert_array_equal(data["n"]["values"], [[1.0, 0.0, 1.0]], strict=True)
    np.testing.assert_array_equal(data["p"]["values"], [[True]], strict=True)
    np.testing.assert_array_equal(data["a_mask"]["values"], [[True], [False]], strict=True)


def test_names_of_metatrains_predictions(tmp_path: Path) -> None:
    """A virial goes before a stress, which stays by itself; forces without their energy do too."""
    second = (
        "Properties=species:S:1:pos:R:3:forces:R:3:forces[mtt::e]:R:3:forces[b]:R:3:mtt::q:R:1 energy=1 mtt::e=2 "
        'virial="1 2 3 4 5 6 7 8 9" "stress"="1 2 3 2 5 6 3 6 9" '
        '"virial[mtt::e]"="_JSON [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]"'
    )
    data = read(one_frame(tmp_path, second, "H 0 0 0 1 2 3 4 5 6 7 8 9 10")).data
    assert {name: list(entry) for name, entry in data.items()} == {
        "energy": ["values", "positions", "strain"],
        "mtt::e": ["values", "positions", "strain"],
        "stress": ["values"],
        "forces[b]": ["values"],
        "mtt::q": ["values"],
    }
    np.testing.assert_array_equal(data["energy"]["positions"], [[[-1], [-2], [-3]]])
    np.testing.assert_array_equal(data["mtt::e"]["positions"], [[[-4], [-5], [-6]]])
    np.testing.assert_array_equal(data["energy"]["strain"][0, :, :, 0], -np.arange(1, 10).reshape(3, 3).T)
    np.testing.assert_array_equal(data["mtt::e"]["strain"][0, :, :, 0], -np.arange(1, 10).reshape(3, 3))
    np.testing.assert_array_equal(data["mtt::q"]["values"], [[10]])


def test_without_quantities_what_is_amiss_matters_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(
        '1\nenergy=1 x=1 v="1 2" label=a twice=1\nH 0 0 0\n1\nenergy=2 v="1 2 3" label=2 twice=T\nH 0 0 0\n',
        encoding="utf-8",
    )
    data = read(path).data
    assert list(data) == ["energy", "x", "v", "twice"]  # a label that is a number in one frame is text all the same
    np.testing.assert_array_equal(data["energy"]["values"], [[1], [2]])
    for name, message in {
        "x": r"frame 1 \(line 4\): found no 'x', expected it in every frame",
        "v": r"frame 1 \(line 4\): 'v': found numbers of shape \(3,\), expected numbers of shape \(2,\)",
        "twice": r"frame 1 \(line 4\): 'twice': found T and F of shape \(1,\), expected numbers",
    }.items():
        with pytest.raises(InputError, match=message):
            data[name]["values"]


def test_a_vector_along_which_nothing_repeats_is_none(tmp_path: Path) -> None:
    """As in metatrain's systems; the volume is that of the whole cell, as it is there."""
    cell = np.diag([2.0, 3.0, 4.0])
    stress = 'energy=1 stress="1 0 0 0 1 0 0 0 1"'
    contents = read(
        one_frame(tmp_path, f'{lattice(cell)} pbc="T F T" {stress}'),
        quantity("energy", gradients={"strain": GradientSource("stress", "stress")}),
    )
    np.testing.assert_array_equal(contents.structures.cells, [np.diag([2.0, 0.0, 4.0])])
    np.testing.assert_array_equal(contents.data["energy"]["strain"][0, :, :, 0], 24 * np.eye(3))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (quantity("energi"), r"targets: .*one\.xyz: found no 'energi', expected .*did you mean 'energy'"),
        (quantity("energy", per_atom=True), r"found 'energy' as a key, expected it as a column"),
        (quantity("q", per_atom=False), r"found 'q' as a column, expected it as a key"),
        (quantity("both"), r"found 'both' as a key of the second lines and a column, expected one of them"),
        (quantity("label"), r"frame 0 \(line 1\): 'label': found 'PBE', expected numbers"),
        (quantity("species_of"), r"found no 'species_of'"),
        (quantity("v", row=(4,)), r"'v': found shape \(3,\), expected \(4,\) of a structure"),
        (quantity("q", row=(2,)), r"'q': found shape \(\), expected \(2,\) of an atom"),
        (quantity("ragged"), r"'ragged': found lists of different lengths"),
        (quantity("big"), r"'big': found inf at index 1"),
        (quantity("inf"), r"'inf': found inf at index 0"),
        (quantity("whole"), r"'whole': found an integer of 54 bits that float64 rounds"),
        (quantity("again"), r"found the key 'again' twice, with different values"),
        (
            quantity("energy", gradients={"strain": GradientSource("virial", "v")}),
            r"'v': found shape \(3,\), expected a matrix",
        ),
        (
            quantity("energy", gradients={"positions": GradientSource("forces", "q")}),
            r"'q': .*expected \(3, 1\) of an atom",
        ),
    ],
)
def test_what_is_asked_for_and_not_there(tmp_path: Path, asked: Quantity, message: str) -> None:
    second = (
        'Properties=species:S:1:pos:R:3:q:R:1:both:R:1 energy=1 label=PBE v="1 2 3" both=2 big="1 1e999" inf=inf '
        'whole=9007199254740993 again=1 again=2 ragged="_JSON [[1], [2, 3]]"'
    )
    with pytest.raises(InputError, match=message):
        read(one_frame(tmp_path, second, "H 0 0 0 1 2"), asked)


def test_gradients_that_no_frame_has(tmp_path: Path) -> None:
    """They are left out, since metatrain asks for them unless it is told otherwise; in a part of the frames, no."""
    sources = {"positions": GradientSource("forces", "f"), "strain": GradientSource("virial", "v")}
    asked = quantity("energy", gradients=sources)
    assert set(read(one_frame(tmp_path, "energy=1"), asked).data["energy"]) == {"values"}
    path = tmp_path / "part.xyz"
    path.write_text('1\nenergy=1 v="1 2 3 4 5 6 7 8 9"\nH 0 0 0\n1\nenergy=2\nH 0 0 0\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"frame 1 \(line 4\): found no 'v', expected it in every frame"):
        read(path, asked)


def test_nan_stays(tmp_path: Path) -> None:
    """It is metatrain's sign for what is missing: whoever uses it says whether it may be there."""
    path = one_frame(
        tmp_path, 'Properties=species:S:1:pos:R:3:q:R:1 energy=nan v="1 NaN" j="_JSON [[NaN, 1]]"', "H 0 0 0 nan"
    )
    data = read(path).data
    assert all(np.isnan(entry["values"]).sum() == 1 for entry in data.values())


# --- what is no extended XYZ


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("\n\n", "found an empty file"),
        ("x\n", r"line 1: found 'x', expected the number of atoms"),
        ("-1\n\nH 0 0 0\n", r"line 1: found '-1', expected the number of atoms"),
        ("1.0\n\nH 0 0 0\n", r"line 1: found '1.0', expected the number of atoms"),
        ("0\n\n", r"line 1: found 0 atoms"),
        ("1000000000000000000\n\nH 0 0 0\n", r"found 1000000000000000000 atoms in 9 bytes"),
        ("99999999999999999999999\n\nH 0 0 0\n", r"expected the number of atoms"),
        ("1", r"found 1 atoms in 0 bytes"),
        ("1\nenergy=1\n", r"frame 0 \(line 1\): found the end of the file after 0 atoms, expected 1"),
        ("2\n\nH 0 0 0\n", r"after 1 atoms, expected 2"),
        ("1\n\nH 0 0 0\n\n1\n\nH 0 0 0\n", r"line 5: found text behind a blank line"),
        ("1\n\nH 0 0 0\nH 0 0 1\n", r"frame 1 \(line 4\): line 4: found 'H 0 0 1', expected the number of atoms"),
        ("1\n\nH 0 0\n", r"line 3: found 3 columns, expected 4: atom 0 of 1"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 0 1\n", r"line 3: found more than 4 columns, expected 4"),
        ("1\n\nH 0 zero 0\n", r"line 3: found 'zero' as positions, expected numbers"),
        ("1\n\nH 0 inf 0\n", r"found a position that is not finite at atom 0"),
        ("1\n\nHx 0 0 0\n", r"found 'Hx' as symbols, expected chemical symbols"),
        ("1\nProperties=Z:I:1:pos:R:3\n-6 0 0 0\n", r"found '-6' as numbers, expected atomic numbers"),
        ("1\nProperties=species:S:1\nH\n", r"found the columns symbols \(1\), expected species or Z, and pos"),
        ("1\nProperties=pos:R:3\n0 0 0\n", r"expected species or Z"),
        ("1\nProperties=species:S:1:pos:R:2\nH 0 0\n", r"positions \(2\), expected"),
        ("1\nProperties=species:S:1:pos:I:3\nH 0 0 0\n", r"expected species or Z, and pos"),
        ("1\nProperties=species:S:1:pos:R:3:q\nH 0 0 0 1\n", r"Properties: found 'q', expected NAME:KIND:COLUMNS"),
        ("1\nProperties=species:S:1:pos:R:3:q:X:1\nH 0 0 0 1\n", r"Properties: found 'q:X:1'"),
        ("1\nProperties=species:S:1:pos:R:3:q:R:0\nH 0 0 0\n", r"found 'q' of no columns"),
        ("1\nProperties=species:S:1:pos:R:3:q:R:1:q:R:1\nH 0 0 0 1 1\n", r"found 'q' twice"),
        ("1\nProperties=species:S:1:pos:R:3:q:R:99999999\nH 0 0 0 1\n", r"Properties: found 'q:R:99999999'"),
        ("1\nProperties=species:S:1:pos:R:3:q:R:9999999\nH 0 0 0 1\n", r"found 5 columns, expected 10000003"),
        ("1\nProperties=species:S:1:pos:R:3:q:I:1\nH 0 0 0 1.5\n", r"line 3: found '1.5' as q, expected integers"),
        ("1\nProperties=species:S:1:pos:R:3:q:I:1\nH 0 0 0 " + "1" * 5000 + "\n", r"as q, expected integers"),
        ("1\nProperties=species:S:1:pos:R:3:q:L:1\nH 0 0 0 1\n", r"line 3: found '1' as q, expected T or F"),
        ("1\nProperties=species:S:1:pos:R:3:q:R:1\nH 0 0 0 inf\n", r"'q': found inf at index 0"),
        ('1\nenergy="1\nH 0 0 0\n', r"line 2: found a quotation or a bracket that does not end, .* value of 'energy'"),
        ("1\na={1 2\nH 0 0 0\n", r"expected the value of 'a'"),
        ('1\n"a=1\nH 0 0 0\n', r"expected a key"),
        ("1\n=1\nH 0 0 0\n", r"line 2: found text, '=1', expected a key"),
        ("1\na=1\\\nH 0 0 0\n", r"expected a key|expected the value"),
        ('1\nLattice="1 2 3"\nH 0 0 0\n', r"Lattice: found '1 2 3', expected nine finite numbers"),
        ('1\nLattice="1 0 0 0 1 0 0 0 nan"\nH 0 0 0\n', r"Lattice: .*nine finite numbers"),
        ('1\nLattice="a"\nH 0 0 0\n', r"Lattice: found 'a'"),
        ('1\npbc="T F"\nH 0 0 0\n', r"pbc: found 'T F', expected three of T and F"),
        ('1\npbc="2 0 0"\nH 0 0 0\n', r"pbc: found '2 0 0'"),
        ('1\nx="_JSON [1,"\nH 0 0 0\n', r"'x': found no readable JSON"),
        ('1\nx="_JSON ' + "[" * 100_000 + '"\nH 0 0 0\n', r"'x': found no readable JSON"),
        ('1\nx="_JSON ' + "1" * 5000 + '"\nH 0 0 0\n', r"'x': found no readable JSON|beyond"),
        ('1\nx="_JSON [1e999]"\nH 0 0 0\n', r"'x': found inf at index 0"),
        ('1\nx="_JSON [9007199254740993]"\nH 0 0 0\n', r"'x': found an integer of 54 bits that float64 rounds"),
        ("1\n" + "".join(f"a{i} " for i in range(10_002)) + "b=1\nH 0 0 0\n", "found more than 10000 keys"),
        (
            "1\nProperties=species:S:1:pos:R:3" + "".join(f":a{i}:S:1" for i in range(10_001)) + "\nH 0 0 0\n",
            "found more than 10000 names",
        ),
    ],
    ids=lambda text: repr(text[:30]),
)  # fmt: skip
def test_text_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.xyz"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"targets: {path}")
    assert len(str(caught.value)) < 600


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.xyz"
    path.write_bytes(b"1\nenergy=1\nH 0 0 \xff\n")
    with pytest.raises(InputError, match=r"frame 0 \(line 1\): line 3: found the byte 0xFF, expected UTF-8 text"):
        read(path)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("\ufeff 1 \r\nenergy=1\r\nH 0 0 0\r\n", {"energy": 1.0}),
        ("1\nenergy = 1 b= 2 c =3\nH 0 0 0", {"energy": 1.0, "b": 2.0, "c": 3.0}),
        ("1\nempty= energy=1\nh 0 0 0\n\n \n", {"energy": 1.0}),
        ("1\n'energy'={1} \"a b\"=[2] c\\=d=3\nH 0 0 0\n", {"energy": 1.0, "a b": 2.0, "c=d": 3.0}),
        ("1\nenergy=1 energy=1 uid=123\nH 0 0 0 extra columns\n", {"energy": 1.0}),
        ("1\nit's plain English, it is\nH 0 0 0\n", {}),
        ("1\nflag energy=-1E-3\nH 0 0 0\n", {"flag": True, "energy": -1e-3}),
    ],
)
def test_text_that_is_read(tmp_path: Path, text: str, data: dict[str, Any]) -> None:
    path = tmp_path / "good.xyz"
    path.write_text(text, encoding="utf-8", newline="")
    contents = read(path)
    assert {name: entry["values"].item() for name, entry in contents.data.items()} == data
    assert contents.structures.types.tolist() == [1]


LONG = 200_000
HOSTILE = {
    "quotes": '"a' * LONG,
    "escapes": "\\" * (2 * LONG),
    "brackets": "[{" * LONG,
    "closed": '""' * LONG + "=1",
    "equals": "a=" * LONG,
    "spaces": "a" + " " * (2 * LONG) + "=",
    "keys": "a " * LONG + "=1",
    "numbers": "a='" + "1 " * LONG + "x'",
    "digits": "a=" + "1" * (2 * LONG),
    "truths": "a='" + "T " * LONG + "'",
    "JSON": "a='_JSON " + "[" * 9 + "[]," * (LONG // 2) + "'",
    "lists": "a='_JSON [" + "[1]," * (LONG // 2) + "[1]]'",
    "Properties": "Properties=" + "a:" * LONG,
    "kinds": "Properties=" + ":R:" * (LONG // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_long_lines_take_time_and_memory_in_proportion(tmp_path: Path, name: str) -> None:
    """Some 400 kB: what went back on itself would take minutes, what copied itself at each step, 40 GB."""
    path = one_frame(tmp_path, HOSTILE[name])
    start = time.process_time()
    tracemalloc.start()
    try:
        read(path)
    except InputError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Lists of Python's numbers take 8 + 32 bytes of four letters, and there are two such lists; tracing is slow.
    assert peak < 100 * path.stat().st_size
    assert time.process_time() - start < 20


def test_ten_thousand_frames_are_read_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "many.xyz"
    frame = '2\nLattice="1 0 0 0 1 0 0 0 1" energy=-1.5\nH 0.1 0.2 0.3\nO 0.4 0.5 0.6\n'
    path.write_text(frame * 10_000, encoding="utf-8")
    tracemalloc.start()
    count = sum(1 for _ in itertools.islice(frames("f", path), 1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1000
    assert peak < 200_000  # a buffer of the file and one frame of 2 kB: a thousand of them would be 2 MB
    contents = read(path)
    assert contents.structures.num_atoms.sum() == 20_000
    assert contents.data["energy"]["values"].shape == (10_000, 1)


# --- what cannot be written


@pytest.mark.parametrize(
    ("data", "structures", "message"),
    [
        ({"energy": {"values": np.zeros((3, 1))}}, None, "found no species and positions"),
        ({"energy": {"values": np.zeros((3, 1))}}, Structures(ATOMS), "found no species and positions"),
        ({"energy": {"values": np.zeros((4, 1))}}, STRUCTURES, "found 4 rows, expected 3 structures or 6 atoms"),
        ({"energy": {"values": np.zeros((3, 0))}}, STRUCTURES, r"found shape \(3, 0\), expected some numbers"),
        ({"energy": {"values": np.full((3, 1), np.inf)}}, STRUCTURES, "found infinite numbers"),
        ({"energy": {"values": np.full((3, 1), 2**60)}}, STRUCTURES, r"found integers beyond 2\^53"),
        ({"energy": {"values": np.zeros((3, 1)), "cell": np.zeros((3, 9))}}, STRUCTURES, "found a gradient by cell"),
        ({"energy": {"values": np.zeros((3, 1)), "strain": np.zeros((3, 6))}}, STRUCTURES, "expected 9 numbers a row"),
        ({"energy": {"values": np.zeros((3, 1)), "positions": np.zeros((3, 3))}}, STRUCTURES, "expected"),
        ({"Lattice": {"values": np.zeros((3, 9))}}, STRUCTURES, "found the name 'Lattice'"),
        ({"positions": {"values": np.zeros((6, 3))}}, STRUCTURES, "found the name 'positions'"),
        ({"two\nlines": {"values": np.zeros((3, 1))}}, STRUCTURES, r"found the name 'two\\nlines'"),
        ({"a b": {"values": np.zeros((6, 1))}}, STRUCTURES, "found the name 'a b', expected one that can be"),
        ({"a:R:1": {"values": np.zeros((6, 1))}}, STRUCTURES, "found the name 'a:R:1'"),
        ({"a'": {"values": np.zeros((6, 1))}}, STRUCTURES, 'found the name "a\'"'),
        ({"stress": {"values": np.zeros((3, 6))}}, STRUCTURES, "'stress': found 6 numbers, expected nine"),
        (
            {"energy": {"values": np.ones(3), "positions": np.ones((6, 3))}, "forces": {"values": np.ones((6, 3))}},
            STRUCTURES,
            "found the name 'forces' twice",
        ),
        (
            {"energy": {"values": np.zeros((3, 1))}},
            Structures(ATOMS, np.full(6, 119), np.zeros((6, 3))),
            "found atomic numbers beyond 118",
        ),
    ],
)  # fmt: skip
def test_what_a_frame_cannot_hold(tmp_path: Path, data: Any, structures: Structures | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        extxyz.write("--out", tmp_path / "a.xyz", Contents(data, structures))
    assert str(caught.value).startswith(f"--out: {tmp_path / 'a.xyz'}")
    assert not list(tmp_path.iterdir())


def test_the_symbols_are_those_of_the_periodic_table() -> None:
    assert len(SYMBOLS) == 119
    assert [SYMBOLS.index(symbol) for symbol in ("H", "Ne", "Ca", "Kr", "Sn", "Ba", "Lu", "Hg", "Rn", "Lr", "Og")] == [
        1, 10, 20, 36, 50, 56, 71, 80, 86, 103, 118
    ]  # fmt: skip
    data = pytest.importorskip("ase.data", reason="the extra ase is not installed")
    assert list(SYMBOLS) == data.chemical_symbols
