"""Every format, its good files read back to the bit and its damaged ones read or refused; the harness itself."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import damage
import fuzz_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refloss import InputError
from refloss.files import Contents, formats

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is bounded as Linux does it")

TRIES = 250
"""Of each format: some seconds. The table in the README is of thousands."""

KINDS = [kind for kind in fuzz_files.KINDS if kind != "options (YAML)"]


@pytest.mark.parametrize("kind", fuzz_files.KINDS)
def test_damaged_files_are_read_or_refused_by_name(kind: str) -> None:
    tally = fuzz_files.run(kind, 7, TRIES)
    assert tally.wrong == []
    assert tally.ends.total() == TRIES
    # Damage that is always noticed at the door tests no more than the door.
    assert tally.ends[fuzz_files.READ] >= TRIES // 50
    assert tally.ends[fuzz_files.REFUSED] >= TRIES // 4


NAMES = st.sampled_from(["energy", "mtt::dos", "a b", "50%", "ångström", "x.y"])
NUMBERS = st.sampled_from([np.bool_, np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16])
ARRAYS = hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), elements={"allow_nan": False})


@pytest.mark.parametrize("ending", [".npz", "", ".h5", ".zarr"])
@given(data=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3), draws=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_drawn_files_are_read_back_and_damaged_ones_refused(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: dict[str, Any], draws: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    path = folder / f"good{ending}"
    formats.write("out", path, Contents({name: {"values": array} for name, array in data.items()}))
    back = formats.read("data", path).data
    assert back.keys() == data.keys()
    for name, array in data.items():
        assert back[name]["values"].dtype == array.dtype
        assert back[name]["values"].tobytes() == array.tobytes()

    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    file = draws.draw(st.sampled_from(files), label="file")
    content = bytearray(file.read_bytes())
    for place in draws.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4), label="places"):
        content[place] = draws.draw(st.integers(0, 255), label="byte")
    file.write_bytes(content[: draws.draw(st.integers(0, len(content)), label="length")])
    end, told = fuzz_files.attempt("npz", path, found=True)
    assert end in (fuzz_files.READ, fuzz_files.REFUSED), told


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_files_are_good(kind: str, tmp_path: Path) -> None:
    for number in range(8):
        good = corpus.good(kind, np.random.default_rng([5, number]), tmp_path)
        path = tmp_path / f"again{corpus.KINDS[kind].ending}"
        for name, content in good.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        assert fuzz_files.attempt(kind, path, found=number % 2 == 0) == (fuzz_files.READ, "")
        fuzz_files._clear(tmp_path)


def test_a_try_is_the_same_again_and_others_are_others(tmp_path: Path) -> None:
    def tried(seed: int, number: int) -> bytes:
        content = fuzz_files.make("mts", seed, number, tmp_path, {}).read_bytes()
        fuzz_files._clear(tmp_path)
        return content

    assert tried(1, 5) == tried(1, 5)
    assert len({tried(1, 5), tried(2, 5), tried(1, 6), tried(1, 5 + fuzz_files.BASES)}) == 4


SPOILT: dict[str, tuple[Callable[[Any], object], str]] = {
    "another exception": (lambda path: 1 / 0, "ZeroDivisionError"),
    "a refusal without the file": (lambda path: _refuse("found nothing"), "refused without its name"),
    "too much": (lambda path: _refuse(f"{path}: does not fit into memory"), "beyond the memory"),
}


def _refuse(message: str) -> None:
    raise InputError(message)


@pytest.mark.parametrize(("read", "end"), SPOILT.values(), ids=SPOILT)
def test_it_notices_what_should_not_be(
    read: Callable[[Any], object], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_files, "read_all", lambda kind, path, found: read(path))
    assert fuzz_files.attempt("npz", tmp_path, found=True)[0] == end


CHILDREN = {
    "a crash": ("os.kill(os.getpid(), 11)", "crash (-11)"),
    "a hang": ("time.sleep(60)", "hang"),
    "an allocation": ("np.ones(1 << 30)", "MemoryError"),
}


@pytest.mark.parametrize(("what", "end"), CHILDREN.values(), ids=CHILDREN)
def test_it_survives_what_a_child_does_not(
    what: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third try goes wrong, and the tries behind it are made all the same."""
    script = tmp_path / "spoilt.py"
    script.write_text(
        f"""
import os, sys, time
sys.path.insert(0, {str(Path(fuzz_files.__file__).parent)!r})
import numpy as np
import fuzz_files
made, number = fuzz_files.make, -1
def make(*arguments):
    global number
    number = arguments[2]
    return made(*arguments)
def read_all(kind, path, found):
    if number == 18:
        {what}
fuzz_files.make, fuzz_files.read_all = make, read_all
fuzz_files.main(sys.argv[1:])
"""
    )
    monkeypatch.setattr(fuzz_files, "__file__", str(script))
    monkeypatch.setattr(fuzz_files, "SECONDS", 5.0)
    tally = fuzz_files.run("npz", 1, 5, first=16)
    assert tally.ends == Counter({fuzz_files.READ: 4, end: 1})
    assert tally.wrong[0].startswith(f"npz:1:18: {end}: ")


def test_a_zip_is_packed_again_with_right_checksums() -> None:
    """Damage inside a member gets past the checksum, into the reader: in most of the tries."""
    import zipfile

    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(9.0))
    whole = 0
    for number in range(100):
        content = damage.zip_damaged(np.random.default_rng(number), buffer.getvalue())
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                whole += archive.testzip() is None
        except Exception:  # noqa: BLE001 - whatever it is, this one is not whole
            continue
    assert whole >= 30


def test_the_readme_shows_the_table_of_a_whole_run() -> None:
    text = (fuzz_files.ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition(fuzz_files.MARKERS[0])[2].partition(fuzz_files.MARKERS[1])[0]
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| ")]
    assert rows[0] == list(fuzz_files.HEAD)
    assert [row[0] for row in rows[2:]] == [*fuzz_files.KINDS, "all"]
    counts = {row[0]: [int(cell.replace(",", "")) for cell in row[1:5]] for row in rows[2:]}
    for tries, read, refused, other in counts.values():
        assert tries == read + refused + other
        assert other == 0
    assert [sum(column) for column in zip(*(counts[kind] for kind in fuzz_files.KINDS), strict=True)] == counts["all"]
    assert counts["all"][0] >= 50_000
    assert re.search(r"^Seed \d+", shown, re.MULTILINE)
