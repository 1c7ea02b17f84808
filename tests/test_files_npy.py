"""Folders of npy files: names in files, memory maps, and what no folder of arrays may do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from refloss import InputError
from refloss.files import Contents, Quantity, Structures, formats, npy

RNG = np.random.default_rng(6)
ENERGY, FORCES = RNG.normal(size=(3, 1)), RNG.normal(size=(7, 3))
DOS, MASK = RNG.normal(size=(3, 9)).astype(np.float32), RNG.random((3, 9)) < 0.5

SYMLINKS = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def save(folder: Path, **arrays: np.ndarray) -> Path:
    for name, array in arrays.items():
        (folder / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", array)
    return folder


def test_files_are_targets_and_folders_their_gradients(tmp_path: Path) -> None:
    save(tmp_path, **{"energy": ENERGY, "energy/positions": FORCES, "mtt%3A%3Ados": DOS, "mtt::dos_mask": MASK})
    (tmp_path / "notes.txt").write_text("by hand")
    (tmp_path / "._energy.npy").write_bytes(b"what a Mac leaves")
    data = formats.read("targets", tmp_path).data
    found = {(name, key): array for name, entry in data.items() for key, array in entry.items()}
    wanted = {
        ("energy", "values"): ENERGY,
        ("energy", "positions"): FORCES,
        ("mtt::dos", "values"): DOS,
        ("mtt::dos_mask", "values"): MASK,
    }
    assert found.keys() == wanted.keys()
    for which, array in wanted.items():
        assert found[which].dtype == array.dtype
        np.testing.assert_array_equal(found[which], array)


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    (array,) = npy.read("targets", save(tmp_path, dos=DOS)).data["dos"].values()
    base = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not array.flags.writeable


@pytest.mark.parametrize("name", ["mtt::dos", "a%b", "CON", "com1.x", "dots.", " a ", "wh?t*", "ångström", ".hidden"])
def test_write_and_read_again(tmp_path: Path, name: str) -> None:
    structures = Structures(np.array([3, 4, 1]))
    data = {name: {"values": DOS}, "energy": {"values": ENERGY, "positions": FORCES}, "m": {"values": MASK}}
    formats.write("out", tmp_path / "folder", Contents(data, structures))
    for file in (tmp_path / "folder").rglob("*"):  # what every file system takes
        assert not set('<>:"\\|?*').intersection(file.name)
        assert not file.stem.endswith((" ", "."))
        assert not file.name.startswith(".")
        assert file.stem.partition(".")[0].upper() not in ("CON", "COM1")
    back = formats.read("targets", tmp_path / "folder")
    assert back.data.keys() == data.keys()
    for target, entry in data.items():
        assert set(back.data[target]) == set(entry)
        for key, array in entry.items():
            assert back.data[target][key].dtype == array.dtype
            np.testing.assert_array_equal(back.data[target][key], array)
    assert back.structures is not None
    np.testing.assert_array_equal(back.structures.num_atoms, structures.num_atoms)


def test_a_target_whose_name_has_a_slash(tmp_path: Path) -> None:
    save(tmp_path, **{"energy": ENERGY, "energy/pbe": 2 * ENERGY, "energy/pbe/positions": FORCES})
    found = npy.read("targets", tmp_path, [Quantity("pbe", "energy/pbe"), Quantity("energy", "energy")]).data
    assert {name: sorted(entry) for name, entry in found.items()} == {
        "energy": ["values"],
        "pbe": ["positions", "values"],
    }
    np.testing.assert_array_equal(found["pbe"]["values"], 2 * ENERGY)


@SYMLINKS
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    save(tmp_path / "secrets", energy=ENERGY)
    folder = save(tmp_path / "data", energy=ENERGY)
    (folder / "again.npy").symlink_to(folder / "energy.npy")
    np.testing.assert_array_equal(npy.read("targets", folder).data["again"]["values"], ENERGY)
    (folder / "other.npy").symlink_to("../secrets/energy.npy")
    with pytest.raises(InputError, match=r"targets: .*data: 'other\.npy': found a link out of the folder"):
        npy.read("targets", folder)
    (folder / "other.npy").unlink()
    (folder / "more").symlink_to(tmp_path / "secrets", target_is_directory=True)
    with pytest.raises(InputError, match=r"'more': found a link out of the folder"):
        npy.read("targets", folder)


@SYMLINKS
@pytest.mark.parametrize("target", ["round.npy", "."])
def test_links_in_a_circle_end(tmp_path: Path, target: str) -> None:
    (save(tmp_path, energy=ENERGY) / "round.npy").symlink_to(target)
    with pytest.raises(InputError, match=r"round\.npy.*(cannot be read|folders \d+ deep)|folders \d+ deep"):
        dict(npy.read("targets", tmp_path).data["round"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_among_the_files_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(save(tmp_path, energy=ENERGY) / "dos.npy")
    data = npy.read("targets", tmp_path).data
    np.testing.assert_array_equal(data["energy"]["values"], ENERGY)
    with pytest.raises(InputError, match=r"dos\.npy: found a pipe, expected a file"):
        data["dos"]["values"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["energy/positions"], "found 'energy/positions' but no 'energy'"),
        (["a%3Ab", "a:b"], "found the key 'a:b' twice"),
        (["energy", "energy/values"], "found the key 'energy/values', expected 'energy' for the values"),
        (["a%2Fb"], "'a%2Fb': found a name that stands for none"),
        (["a%00"], "'a%00': found a name that stands for none"),
        (["a%FF"], "'a%FF': found a name that stands for none"),
        (["/".join("abcdefghij")], "folders 9 deep"),
    ],
)
def test_names_that_contradict_each_other(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        npy.read("targets", save(tmp_path, **dict.fromkeys(names, ENERGY)))


def test_a_folder_without_arrays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("by hand")
    with pytest.raises(InputError, match="found a folder without data"):
        formats.read("targets", tmp_path)
    with pytest.raises(InputError, match=r"found no \.npy file"):
        npy.read("targets", tmp_path)
    with pytest.raises(InputError, match="elsewhere: cannot be read: No such file"):
        npy.read("targets", tmp_path / "elsewhere")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    bad = Contents({"energy": {"values": ENERGY}, "b": {"values": np.array([None])}})
    with pytest.raises(InputError, match="found the type object"):
        npy.write("out", tmp_path / "folder", bad)
    assert list(tmp_path.iterdir()) == []
