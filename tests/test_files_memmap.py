"""Memory-mapped folders without metatrain: what the numbers mean, when they are read, and when they are not told.

The files are made here by NumPy alone; tests/released/test_files_metatensor.py has metatrain's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refloss import InputError
from refloss.files import Contents, GradientSource, Quantity, Structures, memmap

RNG = np.random.default_rng(13)
ATOMS = np.array([2, 1, 4, 3])
COUNT, TOTAL = 4, 10
TYPES = RNG.integers(1, 90, TOTAL).astype(np.int32)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


POSITIONS, CELLS, ENERGY = normal(TOTAL, 3), normal(COUNT, 3, 3), normal(COUNT, 1)
FORCES, STRESS, DOS, CHARGES = normal(TOTAL, 3, 1), normal(COUNT, 3, 3, 1), normal(COUNT, 7), normal(TOTAL, 3)


def exact_volume(cell: np.ndarray) -> float:
    (a, b, c), (d, e, f), (g, h, i) = ([Fraction(x) for x in row] for row in cell.tolist())
    return float(abs(a * e * i + b * f * g + c * d * h - c * e * g - b * d * i - a * f * h))


STRAIN = STRESS.astype(float) * np.array([exact_volume(cell) for cell in CELLS]).reshape(-1, 1, 1, 1)


def folder(path: Path, **files: Any) -> Path:
    """Write the arrays of a data set, changed as told; None leaves one out."""
    given: dict[str, Any] = {
        "ns.npy": np.array(COUNT),
        "na.npy": np.cumsum([0, *ATOMS]),
        "a.bin": TYPES,
        "x.bin": POSITIONS,
        "c.bin": CELLS,
        "energy.bin": ENERGY,
        "energy_forces.bin": FORCES,
        "energy_stress.bin": STRESS,
        "mtt::dos.bin": DOS,
        "q.bin": CHARGES,
    }
    path.mkdir()
    for name, array in (given | files).items():
        if isinstance(array, np.ndarray):
            np.save(path / name, array) if name.endswith(".npy") else array.tofile(path / name)
        elif array is not None:
            (path / name).write_bytes(array)
    return path


def test_what_the_sizes_tell(tmp_path: Path) -> None:
    contents = memmap.read("targets", folder(tmp_path / "a"))
    structures = contents.structures
    assert structures is not None
    for name, wanted in (("num_atoms", ATOMS), ("types", TYPES), ("positions", POSITIONS), ("cells", CELLS)):
        np.testing.assert_array_equal(getattr(structures, name), wanted)
    assert sorted(contents.data) == ["energy", "mtt::dos", "q"]
    energy = contents.data["energy"]
    assert sorted(energy) == ["positions", "strain", "values"]
    for found, wanted in (
        (energy["values"], ENERGY),
        (energy["positions"], -FORCES),
        (energy["strain"], STRAIN),
        (contents.data["mtt::dos"]["values"], DOS),
        (contents.data["q"]["values"], CHARGES),
    ):
        np.testing.assert_array_equal(found, wanted)
        assert found.shape == wanted.shape


def test_what_the_quantities_tell(tmp_path: Path) -> None:
    """Ten numbers are too many for a scalar of four structures, and three of each atom may be a vector."""
    path = folder(tmp_path / "a", **{"v.bin": normal(TOTAL, 3), "e.bin": ENERGY, "f.bin": FORCES})
    gradients = {
        "positions": GradientSource("forces", "f"),
        "strain": GradientSource("virial", "energy_stress"),
        "cell": GradientSource("gradient", "nowhere"),
    }
    quantities = [
        Quantity("u", "e", per_atom=False, row=(1,), gradients=gradients),
        Quantity("mtt::v", "v", per_atom=True, row=(3, 1)),
        Quantity("mtt::absent", "absent"),
    ]
    data = memmap.read("targets", path, quantities).data
    assert sorted(data) == ["energy", "mtt::dos", "mtt::v", "q", "u"]
    assert sorted(data["u"]) == ["positions", "strain", "values"]
    np.testing.assert_array_equal(data["u"]["values"], ENERGY)
    np.testing.assert_array_equal(data["u"]["positions"], -FORCES)
    np.testing.assert_array_equal(data["u"]["strain"], -STRESS)
    assert data["mtt::v"]["values"].shape == (TOTAL, 3, 1)
    assert sorted(data["energy"]) == ["positions", "values"]  # its stress is spoken for
    assert data["energy"]["positions"].dtype == np.float32


def test_shapes_that_nothing_tells(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", **{"b.bin": normal(20), "n.bin": normal(13)})
    data = memmap.read("targets", path).data
    message = r"'b\.bin': found 20 numbers, which may be 5 for each of 4 structures or 2 for each of 10 atoms, expected"
    with pytest.raises(InputError, match=message):
        data["b"]["values"]
    message = (
        r"'n\.bin': found 52 bytes, expected float32 of rows for 4 structures, shape \(4, 3\) or rows for 10 atoms"
    )
    with pytest.raises(InputError, match=message):
        data["n"]["values"]
    for told, shape in ((False, (4, 5)), (True, (10, 2))):
        data = memmap.read("targets", path, [Quantity("b", "b", per_atom=told)]).data
        assert data["b"]["values"].shape == shape
    data = memmap.read("targets", path, [Quantity("b", "b", row=(5,))]).data
    assert data["b"]["values"].shape == (4, 5)
    data = memmap.read("targets", path, [Quantity("b", "b", per_atom=True, row=(5,))]).data
    with pytest.raises(
        InputError, match=r"'b\.bin': found 80 bytes, expected float32 of rows for 10 atoms, shape \(10, 5"
    ):
        data["b"]["values"]


def test_structures_of_one_atom_leave_no_doubt(tmp_path: Path) -> None:
    ones = {"na.npy": np.arange(COUNT + 1), "a.bin": TYPES[:4], "x.bin": POSITIONS[:4], "b.bin": normal(COUNT, 2)}
    path = folder(tmp_path / "a", **ones, **{"energy_forces.bin": FORCES[:4]})
    data = memmap.read("targets", path).data
    assert data["b"]["values"].shape == (COUNT, 2)
    np.testing.assert_array_equal(data["energy"]["positions"], -FORCES[:4])


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """Files of 2.6 GB, of which nothing is on the disk; arrays stay in them when they are asked for."""
    count, atoms = 100_000, 2_000_000
    path = folder(tmp_path / "a", **dict.fromkeys(("c.bin", "energy.bin", "energy_forces.bin", "energy_stress.bin")))
    np.save(path / "ns.npy", count)
    np.save(path / "na.npy", np.arange(count + 1) * (atoms // count))
    for name, size in (("a", 4 * atoms), ("x", 12 * atoms), ("mtt::dos", 4 * 4606 * count), ("q", 400 * atoms)):
        with (path / f"{name}.bin").open("wb") as file:
            file.truncate(size)
    program = f"""
import resource
from pathlib import Path
import numpy as np
from refloss.files import Quantity, memmap
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
contents = memmap.read("targets", Path({str(path)!r}), [Quantity("q", "q", per_atom=True)])
dos, q = contents.data["mtt::dos"]["values"], contents.data["q"]["values"]
assert (dos.shape, q.shape) == (({count}, 4606), ({atoms}, 100))
assert dos[99_999, 4605] == 0.0 and not dos.flags.writeable
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 64 << 10, grown  # in KiB: numbers of atoms, and the atomic numbers, which are looked at
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_gradients_are_the_same_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refloss.files.stored.PART", 80)  # two structures at a time, six atoms
    energy = memmap.read("targets", folder(tmp_path / "a")).data["energy"]
    np.testing.assert_array_equal(energy["strain"], STRAIN)
    np.testing.assert_array_equal(energy["positions"], -FORCES)


@pytest.mark.parametrize("strained", [True, False])
def test_written_and_read_again(tmp_path: Path, strained: bool) -> None:
    structures = Structures(
        ATOMS, TYPES.astype(np.int64), POSITIONS.astype(float), CELLS.astype(float) if strained else None
    )
    energy = {"values": ENERGY[:, 0].astype(float), "positions": -FORCES[..., 0].astype(float)}
    if strained:
        energy["strain"] = STRAIN
    mask = RNG.random((COUNT, 7)) < 0.5
    data = {"energy": energy, "mtt::dos": {"values": DOS}, "mtt::dos_mask": {"values": mask}, "q": {"values": CHARGES}}
    memmap.write("out", tmp_path / "b", Contents(data, structures))
    assert (tmp_path / "b" / "c.bin").exists() is strained
    back = memmap.read("targets", tmp_path / "b")
    assert back.structures is not None
    np.testing.assert_array_equal(back.structures.positions, POSITIONS)
    np.testing.assert_array_equal(back.structures.types, TYPES)
    np.testing.assert_array_equal(back.data["energy"]["values"], ENERGY)
    np.testing.assert_array_equal(back.data["energy"]["positions"], -FORCES)
    if strained:
        # The stress was STRAIN over the volume, within an ulp of float64: rounded to float32 it is STRESS, and back.
        np.testing.assert_array_equal(back.data["energy"]["strain"], STRAIN)
    np.testing.assert_array_equal(back.data["mtt::dos"]["values"], DOS)
    np.testing.assert_array_equal(back.data["mtt::dos_mask"]["values"], mask)
    np.testing.assert_array_equal(back.data["q"]["values"], CHARGES)


def swapped(array: np.ndarray) -> np.ndarray:
    return array.byteswap()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ns.npy": None}, r"'ns\.npy': cannot be read: No such file"),
        ({"ns.npy": b"4"}, r"'ns\.npy': found b'4', expected an npy array"),
        ({"ns.npy": np.array(5)}, r"found ns\.npy 5 and na\.npy of shape \(5,\) beginning with \[0\], expected"),
        ({"ns.npy": np.array([4, 4])}, r"found ns\.npy \[4, 4\] and na\.npy"),
        ({"ns.npy": np.array(0), "na.npy": np.array([0])}, r"found ns\.npy 0 and na\.npy"),
        ({"ns.npy": np.array(4.0)}, r"'ns\.npy': found the type float64, expected integers"),
        ({"na.npy": np.cumsum(ATOMS)}, r"and na\.npy of shape \(4,\) beginning with \[2\]"),
        ({"na.npy": np.array([0, 2, 2, 7, 10])}, r"na\.npy: found 0 atoms in structure 1, expected ≥ 1"),
        ({"na.npy": np.array([0, 2, 3, 7, 9])}, r"'a\.bin': found 40 bytes, expected 36: shape \(9,\) of int32"),
        ({"na.npy": np.array([0, 2, 3, 7, 2**62])}, r"'a\.bin': found 40 bytes"),
        # Differences beyond int64 come out as 2^62 each, which again sum to 10: np.repeat would write beyond its array.
        (
            {"na.npy": np.array([0, 2**62, -(2**63), -(2**62), 10])},
            rf"found -{2**63 + 2**62} atoms in structure 1, expected ≥ 1",
        ),
        ({"a.bin": None}, r"'a\.bin': cannot be read"),
        (
            {"a.bin": swapped(TYPES)},
            r"'a\.bin': found the atomic number -?\d+, expected smaller ones \(files of a machine",
        ),
        ({"x.bin": POSITIONS[:9]}, r"'x\.bin': found 108 bytes, expected 120: shape \(10, 3\) of float32"),
        ({"x.bin": POSITIONS.astype(float)}, r"'x\.bin': found 240 bytes, expected 120"),
        ({"c.bin": CELLS[:3]}, r"'c\.bin': found 108 bytes, expected 144"),
        ({"c.bin": CELLS * np.float32("inf")}, r"'c\.bin': found a cell of structure 0 that is not finite"),
    ],
)
def test_folders_that_contradict_themselves(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        memmap.read("targets", folder(tmp_path / "a", **files))
    assert str(caught.value).startswith(f"targets: {tmp_path / 'a'}: ")


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    ENERGY.tofile(tmp_path / "other")
    (path / "z.bin").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match=r"'z\.bin': found a link out of the folder"):
        memmap.read("targets", path)


def test_gradients_of_the_wrong_size(tmp_path: Path) -> None:
    """What metatrain would not have written so is data of its own; what the quantities name must fit."""
    vectors = {"mtt::dos_forces.bin": FORCES}  # of what is no energy
    path = folder(tmp_path / "a", **{"energy_forces.bin": FORCES[:8], "c.bin": None}, **vectors)
    assert sorted(memmap.read("targets", path).data) == ["energy", "energy_forces", "mtt::dos", "mtt::dos_forces", "q"]
    gradients = {
        "positions": GradientSource("forces", "energy_forces"),
        "strain": GradientSource("stress", "energy_stress"),
    }
    energy = memmap.read("targets", path, [Quantity("energy", "energy", False, (1,), gradients)]).data["energy"]
    with pytest.raises(InputError, match=r"'energy_forces\.bin': found 96 bytes, expected 120: shape \(10, 3, 1\)"):
        energy["positions"]
    with pytest.raises(InputError, match=r"found 'energy_stress', a stress, and no cells, expected c\.bin"):
        energy["strain"]


FLAT = np.zeros((COUNT, 3, 3))


@pytest.mark.parametrize(
    ("data", "structures", "message"),
    [
        ({"u": ENERGY}, lambda s: None, r"found no structures, expected them"),
        ({"u": ENERGY}, lambda s: Structures(s.num_atoms), r"found no types and positions of the structures"),
        (
            {"u": ENERGY},
            lambda s: Structures(ATOMS, TYPES.astype(np.int64) << 33, s.positions),
            r"found types beyond int32",
        ),
        ({"u": ENERGY[:3]}, lambda s: s, r"'u': found 3 rows, expected 4, one a structure, or 10, one an atom"),
        (
            {"u": ENERGY.astype(float) * 1e300},
            lambda s: s,
            r"'u': found .*e\+\d+, expected numbers that float32 can hold",
        ),
        ({"x": ENERGY}, lambda s: s, r"found 'x' to be written, expected a name that no other file has"),
        ({"a/b": ENERGY}, lambda s: s, r"found 'a/b' to be written"),
        ({"e_forces": ENERGY, "e": {"values": ENERGY, "positions": FORCES}}, lambda s: s, r"found 'e_forces' to be"),
        ({"e": {"values": ENERGY, "cell": STRAIN}}, lambda s: s, r"found a gradient of shape .*expected positions or"),
        ({"e": {"values": ENERGY, "positions": FORCES[:4]}}, lambda s: s, r"expected positions or strain of an energy"),
        ({"e": {"values": ENERGY, "positions": FORCES > 0}}, lambda s: s, r"of bool, expected positions or strain"),
        (
            {"e": {"values": ENERGY, "strain": STRAIN}},
            lambda s: Structures(ATOMS, s.types, s.positions, CELLS * np.array([1, 1, 0, 1])[:, None, None]),
            r"found structure 2 without a volume",
        ),
    ],
)
def test_what_the_folder_cannot_hold(
    tmp_path: Path, data: Any, structures: Callable[[Structures], Structures | None], message: str
) -> None:
    whole = Structures(ATOMS, TYPES.astype(np.int64), POSITIONS.astype(float), CELLS.astype(float))
    with pytest.raises(InputError, match=message):
        memmap.write("out", tmp_path / "b", Contents(data, structures(whole)))
    assert not list(tmp_path.iterdir())
