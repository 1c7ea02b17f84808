"""npz files: what the keys mean, that arrays are read late and unpickled never, and every way to be damaged."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refloss import InputError
from refloss.files import Contents, Data, Quantity, Structures, npz

RNG = np.random.default_rng(5)
ENERGY = RNG.normal(size=(3, 1))
FORCES = RNG.normal(size=(7, 3))
DOS = RNG.normal(size=(3, 9)).astype(np.float32)
MASK = RNG.random((3, 9)) < 0.5


def read(path: Path, *names: str) -> Data:
    return npz.read("predictions", path, [Quantity(name, name) for name in names]).data


def read_one(path: Path, *names: str) -> dict[str, dict[str, np.ndarray]]:
    """Read `path` as predictions, every array of it."""
    return {name: dict(entry) for name, entry in read(path, *names).items()}


def test_keys_are_targets_gradients_and_masks(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **{"energy": ENERGY, "energy/positions": FORCES, "mtt::dos": DOS})
    np.savez_compressed(
        tmp_path / "x.npz", **{"mtt::dos_mask": MASK, "energy_mask": MASK, "energy_mask/positions": FORCES}
    )
    predictions = read(tmp_path / "p.npz")
    assert {name: set(entry) for name, entry in predictions.items()} == {
        "energy": {"values", "positions"},
        "mtt::dos": {"values"},
    }
    np.testing.assert_array_equal(predictions["energy"]["positions"], FORCES)
    assert predictions["mtt::dos"]["values"].dtype == np.float32
    masks = read(tmp_path / "x.npz", "mtt::dos_mask", "energy_mask")
    np.testing.assert_array_equal(masks["mtt::dos_mask"]["values"], MASK)
    np.testing.assert_array_equal(masks["energy_mask"]["positions"], FORCES)
    assert masks["mtt::dos_mask"]["values"].dtype == np.bool_


def test_a_key_that_options_name_otherwise(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **{"E/pbe": ENERGY, "E/pbe/positions": FORCES, "dos": DOS})
    found = npz.read("targets", tmp_path / "p.npz", [Quantity("energy", "E/pbe")]).data
    assert {name: list(entry) for name, entry in found.items()} == {
        "energy": ["values", "positions"],
        "dos": ["values"],
    }
    np.testing.assert_array_equal(found["energy"]["positions"], FORCES)


def test_structures_are_written_and_read(tmp_path: Path) -> None:
    structures = Structures(np.array([3, 4]), np.array([1, 1, 8, 6, 1, 1, 1]), RNG.normal(size=(7, 3)), None)
    npz.write("out", tmp_path / "a.npz", Contents({"energy": {"values": ENERGY}}, structures))
    back = npz.read("targets", tmp_path / "a.npz")
    assert list(back.data) == ["energy"]
    assert back.structures is not None
    np.testing.assert_array_equal(back.structures.num_atoms, structures.num_atoms)
    np.testing.assert_array_equal(back.structures.types, structures.types)
    np.testing.assert_array_equal(back.structures.positions, structures.positions)
    assert back.structures.cells is None


def test_a_target_whose_name_has_a_slash(tmp_path: Path) -> None:
    """`energy/pbe` is a target of its own where the section says so, and a gradient of `energy` where it does not."""
    arrays = {"energy": ENERGY, "energy/pbe": 2 * ENERGY, "energy/pbe/positions": FORCES}
    np.savez(tmp_path / "p.npz", **arrays)
    found = read_one(tmp_path / "p.npz", "energy", "energy/pbe")
    assert {name: list(entry) for name, entry in found.items()} == {
        "energy": ["values"],
        "energy/pbe": ["values", "positions"],
    }
    np.testing.assert_array_equal(found["energy/pbe"]["values"], 2 * ENERGY)
    assert list(read_one(tmp_path / "p.npz", "energy")["energy"]) == ["values", "pbe", "pbe/positions"]


def test_what_nobody_asks_for_is_not_read(tmp_path: Path) -> None:
    """An array of objects beside the targets is no reason to refuse the file, until it is asked for."""
    np.savez(tmp_path / "p.npz", energy=ENERGY, notes=np.array([{"by": "hand"}], dtype=object))
    predictions = read(tmp_path / "p.npz", "energy")
    np.testing.assert_array_equal(predictions["energy"]["values"], ENERGY)
    with pytest.raises(InputError, match=r"predictions: .*p\.npz: 'notes\.npy': found the type '\|O', .*: pickled"):
        predictions["notes"]["values"]


def test_write_and_read_again(tmp_path: Path) -> None:
    data = {
        "energy": {"values": ENERGY, "positions": FORCES},
        "file": {"values": DOS},
        "allow_pickle": {"values": MASK},
    }
    npz.write("out", tmp_path / "a.npz", Contents(data))
    back = read_one(tmp_path / "a.npz", *data)
    assert {name: list(entry) for name, entry in back.items()} == {name: list(entry) for name, entry in data.items()}
    for name, entry in data.items():
        for key, array in entry.items():
            assert back[name][key].dtype == array.dtype
            np.testing.assert_array_equal(back[name][key], array)
    with np.load(tmp_path / "a.npz") as archive:  # NumPy reads it too
        np.testing.assert_array_equal(archive["energy/positions"], FORCES)
    npz.write("out", tmp_path / "b.npz", Contents(data))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    npz.write("out", tmp_path / "a.npz", Contents({"energy": {"values": ENERGY}}))
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(InputError, match="out: 'b/values': found the type object"):
        npz.write(
            "out", tmp_path / "a.npz", Contents({"energy": {"values": ENERGY}, "b": {"values": np.array([None])}})
        )
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "found no zip archive"),
        (b"energy: 1\n", "found no zip archive"),
        ("npy", "found no zip archive"),
        ("folder", "found a folder, expected a file"),
    ],
)
def test_what_is_no_npz_file(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "p.npz"
    if content == "folder":
        path.mkdir()
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, ENERGY)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_one(path, "energy")
    assert str(caught.value).startswith(f"predictions: {path}: ")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["energy/positions"], "found 'energy/positions' but no 'energy'"),
        (["energi", "energy/positions"], r"but no 'energy', .* \(did you mean 'energi'\?\)"),
        (["energy", "energy/values"], "found the key 'energy/values', expected 'energy' for the values"),
        (["energy", "energy/blocks"], "found the key 'energy/blocks'"),
    ],
)
def test_keys_that_contradict_each_other(tmp_path: Path, keys: list[str], message: str) -> None:
    np.savez(tmp_path / "p.npz", **dict.fromkeys(keys, ENERGY))
    with pytest.raises(InputError, match=message):
        read_one(tmp_path / "p.npz", "energy")


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        for member in ("energy.npy", "energy"):
            archive.writestr(member, npy(ENERGY))
    with pytest.raises(InputError, match="found the key 'energy' twice"):
        read_one(tmp_path / "p.npz", "energy")


def test_folders_in_the_archive_are_passed_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("energy/", b"")
        archive.writestr("energy.npy", npy(ENERGY))
        archive.writestr("energy/positions.npy", npy(FORCES))
    assert list(read_one(tmp_path / "p.npz", "energy")["energy"]) == ["values", "positions"]


@pytest.mark.parametrize(
    "content",
    [b"", b"three numbers", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", None],
    ids=["empty", "text", "cut header", "too long"],
)
def test_a_member_that_is_no_array(tmp_path: Path, content: bytes | None) -> None:
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("energy.npy", npy(ENERGY) + b"more" if content is None else content)
    with pytest.raises(InputError, match=r"p\.npz: 'energy\.npy': found .*, expected"):
        read_one(tmp_path / "p.npz", "energy")


def test_a_changed_number_does_not_pass(tmp_path: Path) -> None:
    """One flipped bit inside the data is a valid float still: the archive's checksum is what tells."""
    path = tmp_path / "p.npz"
    np.savez(path, energy=ENERGY)
    content = bytearray(path.read_bytes())
    content[content.index(ENERGY.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"'energy\.npy': found damaged content .*CRC"):
        read_one(path, "energy")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_damage_is_an_input_error_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"energy": ENERGY, "energy/positions": FORCES})
    content = bytearray(buffer.getvalue())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="length") :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4), label="places"):
            content[place] = data.draw(st.integers(0, 255), label="byte")
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    try:
        found = read_one(path, "energy")
    except InputError:
        return
    # Some bytes of an archive carry no data (times, permissions, names): then what is read is what was written.
    for array in (array for entry in found.values() for array in entry.values()):
        assert array.tobytes() in (ENERGY.tobytes(), FORCES.tobytes())


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
