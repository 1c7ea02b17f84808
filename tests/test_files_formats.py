"""Which format a file is in: what it holds decides, then its ending; and packages that are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import corpus
import numpy as np
import pytest

from refloss import InputError
from refloss.files import Contents, formats
from refloss.files.optional import need

NAMES = [known.name for known in formats.FORMATS]


def good(name: str, folder: Path, ending: str) -> Path:
    """Write a good file of a format under another ending."""
    path = folder / f"data{ending}"
    for part, content in corpus.good(name, np.random.default_rng(3), folder).items():
        (path / part).parent.mkdir(parents=True, exist_ok=True)
        (path / part).write_bytes(content)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [".npz", ".mts", ".zip", ".xyz", ".h5", ".zarr", ".memmap", ".data", ""])
def test_the_content_decides(name: str, ending: str, tmp_path: Path) -> None:
    assert formats.detect("data", good(name, tmp_path, ending)).name == name


def test_the_corpus_has_every_format() -> None:
    assert set(NAMES) == corpus.KINDS.keys() - {"options (YAML)"}


@pytest.mark.parametrize("known", formats.FORMATS, ids=NAMES)
def test_the_ending_decides_what_is_written(known: formats.Format) -> None:
    for ending in known.endings:
        assert formats.by_ending("out", Path(f"data{ending}")) is known
        assert formats.by_ending("out", Path(f"data{ending.upper()}")) is known
    assert callable(known.load().read)
    assert callable(known.load().write)


def test_an_ending_that_no_format_has() -> None:
    with pytest.raises(InputError, match=r"^out: a\.npzz: found the ending '\.npzz', expected \.npz, \.mts, "):
        formats.write("out", Path("a.npzz"), Contents({}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "found an empty file"),
        ("a.xyz", b" \n\n", "found an empty file"),
        ("a.mts", b"not a zip", "found neither a zip archive nor .*, expected mts, or another"),
        ("a.dat", b"not a zip", "expected npz, mts, extxyz, HDF5 or Zarr, or another"),
        ("a.npz", b"PK\x03\x04 and no more", "found no zip archive"),
        ("a.npy", b"\x93NUMPY\x01\x00", "found one npy array, expected an npz file or a folder"),
        ("a.h5", b"\x89HDF\r\n\x1a", "found neither"),
    ],
)
def test_what_is_of_no_format(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        formats.read("targets", tmp_path / name)
    assert str(caught.value).startswith(f"targets: {tmp_path / name}: ")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^targets: .*missing\.npz: cannot be read: No such file"):
        formats.read("targets", tmp_path / "missing.npz")


def test_a_signature_beyond_the_end_is_not_looked_for(tmp_path: Path) -> None:
    """HDF5's may stand at 512, 1024, …: in a file without it the search ends with the file."""
    (tmp_path / "a.h5").write_bytes(b"x" * 4097)
    with pytest.raises(InputError, match="found neither"):
        formats.detect("data", tmp_path / "a.h5")


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(
        InputError, match=r"^targets: a\.h5: needs the package nobodys_package: pip install 'refloss\[hdf5\]'$"
    ):
        need("targets: a.h5", "nobodys_package.part", "hdf5")


def test_a_package_that_lacks_something_itself_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_package.py").write_text("import what_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs"):
        need("targets: a.h5", "half_a_package", "hdf5")


def test_no_optional_package_is_imported_before_it_is_needed() -> None:
    import subprocess

    code = "import sys, refloss.files.formats as f; [k.load() for k in f.FORMATS]; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"h5py", "zarr", "numcodecs", "ase", "metatensor", "torch", "numba", "scipy"}.intersection(found)
