"""The trust layer: what an npy header or a zip's directory can lie about is refused before anything is allocated."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forged
import numpy as np
import pytest
from forged import DEFLATED, Member
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refloss import InputError
from refloss.files import archive as archive_module
from refloss.files import bounded, npy_format
from refloss.files.archive import Archive
from refloss.files.bounded import LIMITS

ENERGY = np.random.default_rng(7).normal(size=(3, 4))
NPY = forged.npy(ENERGY)


def read_array(content: bytes) -> np.ndarray:
    return npy_format.read_array("x", io.BytesIO(content), len(content))


def opened(content: bytes, **options: bool) -> Archive:
    return Archive("x", io.BytesIO(content), **options)


@contextmanager
def at_most(peak: int) -> Iterator[None]:
    """Fail where more than `peak` bytes are allocated at a time, by Python or by NumPy."""
    tracemalloc.start()
    try:
        yield
        found = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found <= peak


# ---- npy ---------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    hnp.boolean_dtypes(),
    *(kind(endianness=order) for order in "<>" for kind in (hnp.integer_dtypes, hnp.unsigned_integer_dtypes)),
    *(hnp.floating_dtypes(endianness=order, sizes=(16, 32, 64)) for order in "<>"),
)


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_what_numpy_saves_is_read_to_the_bit_in_the_machines_order(array: np.ndarray, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = read_array(forged.npy(array))
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.dtype.isnative
    assert found.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format(version: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, ENERGY, version=version)
    np.testing.assert_array_equal(read_array(buffer.getvalue()), ENERGY)


DESCR, SHAPE = (
    "{'descr': %s, 'fortran_order': False, 'shape': (3, 4), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }",
)
LIES = {
    "empty": (b"", "found b'', expected an npy array"),
    "text": (b"three numbers", "expected an npy array"),
    "version 4": (forged.npy_with(DESCR % "'<f8'", bytes(96), (4, 0)), "found npy version 4.0"),
    "cut in the header": (NPY[:60], "the end of the file in the npy header"),
    "cut in the elements": (NPY[:-1], r"shape \(3, 4\) of float64, 96 bytes, in 95 bytes"),
    "trailing bytes": (NPY + b"\0", r"96 bytes, in 97 bytes"),
    "header of 10 MB": (forged.npy_with(b" " * 10_000_000, version=(2, 0)), "npy header of 10000000 bytes"),
    "header of 4 GB that is not there": (forged.npy_with(b"", version=(2, 0), length=2**32 - 1), "4294967295 bytes"),
    "an expression": (forged.npy_with(DESCR % "__import__('os').getcwd()", bytes(96)), "in the npy header, expected"),
    "a nest": (forged.npy_with("(" * 60_000), "expected a dictionary"),
    "a chain of signs": (forged.npy_with(SHAPE % ("(" + "-" * 50_000 + "3, 4)"), bytes(96)), "in the npy header"),
    "a number of 50,000 digits": (forged.npy_with(SHAPE % ("(" + "9" * 50_000 + ",)")), "expected whole numbers"),
    "objects": (forged.npy_with(DESCR % "'|O'", bytes(96)), "'|O'.*pickled objects are never read"),
    "objects among fields": (forged.npy_with(DESCR % "[('a', '|O')]", bytes(96)), "found the type a list of fields"),
    "a subarray": (forged.npy_with(DESCR % "('<f8', (2,))", bytes(96)), "in the npy header"),
    "text elements": (forged.npy(np.array(["a"])), "found the type '<U1'"),
    "complex": (forged.npy(ENERGY * 1j), "found the type '<c16'"),
    "dates": (forged.npy(np.array(["2026-01-01"], "M8[D]")), r"found the type '<M8\[D\]'"),
    "a float of 3 bytes": (forged.npy_with(DESCR % "'<f3'", bytes(36)), "found the type '<f3'"),
    "huge": (forged.npy_with(SHAPE % "(1000000000, 1000000000)"), "expected one that an array can have"),
    "huge beside zero": (forged.npy_with(SHAPE % "(0, 1000000000, 1000000000)"), "expected one that an array can have"),
    "large": (forged.npy_with(SHAPE % "(1000000000,)", bytes(96)), "8000000000 bytes, in 96 bytes"),
    "negative": (forged.npy_with(SHAPE % "(-3, -4)", bytes(96)), "in the npy header"),
    "fractional": (forged.npy_with(SHAPE % "(3.0, 4)", bytes(96)), "in the npy header"),
    "true": (forged.npy_with(SHAPE % "(True, 12)", bytes(96)), "in the npy header"),
    "no tuple": (forged.npy_with(SHAPE % "12", bytes(96)), "in the npy header"),
    "no comma": (forged.npy_with(SHAPE % "(12)", bytes(96)), "expected whole numbers"),
    "65 dimensions": (forged.npy_with(SHAPE % f"({'1, ' * 65})", bytes(8)), "expected one that an array can have"),
    "without an order": (forged.npy_with("{'descr': '<f8', 'shape': (12,)}", bytes(96)), "descr, order and shape"),
    "an order of 1": (forged.npy_with("{'descr': '<f8', 'fortran_order': 1, 'shape': (12,)}", bytes(96)), "npy header"),
    "twice": (forged.npy_with("{'descr': '<f8', 'descr': '<f4', 'shape': (12,)}", bytes(96)), "npy header"),
    "one key more": (forged.npy_with(SHAPE % "(12,), 'more': 1", bytes(96)), "npy header"),
    "kinds in each other's places": (
        forged.npy_with("{'descr': True, 'fortran_order': '<f8', 'shape': (12,)}", bytes(96)),
        "descr, order and shape",
    ),
    "a boolean that is 2": (forged.npy(np.array([0, 1, 2], np.uint8).view(bool)), "the byte 2 among booleans"),
}


@pytest.mark.parametrize(("content", "message"), LIES.values(), ids=LIES)
def test_an_npy_that_lies(content: bytes, message: str) -> None:
    # The header's limit and the text of the message: what is declared does not matter.
    with at_most(8 * LIMITS.header), pytest.raises(InputError, match=f"^x: .*{message}"):
        read_array(content)


def test_a_stream_that_ends_before_its_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x: found 88 bytes of elements, expected 96"):
        npy_format.read_array("x", io.BytesIO(NPY[:-8]), len(NPY))


@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_are_int32_fields(order: str) -> None:
    table = np.array([(1, -2), (3, 2**31 - 1)], [("system", f"{order}i4"), ("atom", f"{order}i4")])
    names, values = npy_format.read_labels("x", io.BytesIO(forged.npy(table)), len(forged.npy(table)))
    assert names == ["system", "atom"]
    assert values.dtype == np.int32
    assert values.dtype.isnative
    assert values.tolist() == [[1, -2], [3, 2**31 - 1]]


NO_LABELS = {
    "plain": forged.npy(np.arange(3, dtype="<i4")),
    "objects": forged.npy_with("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "wide": forged.npy_with("{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "nested": forged.npy_with("{'descr': [('a', [('b', '<i4')])], 'fortran_order': False, 'shape': (1,)}", bytes(4)),
    "subarray": forged.npy_with("{'descr': [('a', '<i4', (2,))], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "same names": forged.npy_with(
        "{'descr': [('a', '<i4'), ('a', '<i4')], 'fortran_order': False, 'shape': (1,)}", bytes(8)
    ),
    "two dimensions": forged.npy_with("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1, 1)}", bytes(4)),
    "rows without a name": forged.npy_with("{'descr': [], 'fortran_order': False, 'shape': (1000000000,)}"),
}


@pytest.mark.parametrize("content", NO_LABELS.values(), ids=NO_LABELS)
def test_what_is_no_labels(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^x: found "):
        npy_format.read_labels("x", io.BytesIO(content), len(content))


def test_labels_without_names_or_rows() -> None:
    content = forged.npy_with("{'descr': [], 'fortran_order': False, 'shape': (0,)}")
    names, values = npy_format.read_labels("x", io.BytesIO(content), len(content))
    assert names == []
    assert values.shape == (0, 0)


# ---- zip ---------------------------------------------------------------------------------------------------------


def test_an_archive_of_arrays_bytes_and_labels() -> None:
    buffer = io.BytesIO()
    table = np.array([(1,)], [("system", "<i4")])
    np.savez_compressed(buffer, a=ENERGY, labels=table, none=np.empty((0, 3)))
    with Archive("x", buffer) as archive:
        assert archive.names == ("a.npy", "labels.npy", "none.npy")
        assert "a.npy" in archive
        np.testing.assert_array_equal(archive.array("a.npy"), ENERGY)
        assert archive.array("none.npy").shape == (0, 3)
        assert archive.labels("labels.npy")[0] == ["system"]
        assert archive.bytes("a.npy", 1000) == NPY
        assert archive.size("a.npy") == len(NPY)
        with pytest.raises(InputError, match=r"^x: 'a\.npy': found 224 bytes, expected at most 100"):
            archive.bytes("a.npy", 100)
        with pytest.raises(InputError, match=r"^x: found no member 'b\.npy', expected it \(did you mean 'a\.npy'"):
            archive.array("b.npy")


HUGE = 2**63
BOMB = Member(b"a", bytes(1 << 20), DEFLATED)  # a MiB in a kilobyte: what an honest mask may be
ARCHIVES = {
    "dots": ([Member(b"../a.npy", NPY)], "'../a.npy': found a name that leads out"),
    "dots inside": ([Member(b"a/../../b.npy", NPY)], "leads out"),
    "absolute": ([Member(b"/etc/a.npy", NPY)], "'/etc/a.npy': found a name that leads out"),
    "backslash": ([Member(rb"..\a.npy", NPY)], "leads out"),
    "drive": ([Member(b"C:/a.npy", NPY)], "leads out"),
    "NUL": ([Member(b"a.npy\0.txt", NPY)], "leads out"),
    "no name": ([Member(b"", NPY)], "a name of 0 characters"),
    "long name": ([Member(b"a" * 5000, NPY)], "a name of 5000 characters"),
    "link": ([Member(b"a.npy", b"/etc/passwd", attributes=(stat.S_IFLNK | 0o777) << 16)], "found a symbolic link"),
    "password": ([Member(b"a.npy", NPY, flags=0x801)], "found an encrypted member"),
    "bzip2": ([Member(b"a.npy", NPY, method=12)], "found compression by bzip2"),
    "lzma": ([Member(b"a.npy", NPY, method=14)], "found compression by lzma"),
    "unknown method": ([Member(b"a.npy", NPY, method=99)], "found compression by method 99"),
    "twice": ([Member(b"a.npy", NPY), Member(b"a.npy", NPY)], "'a.npy': found this member twice"),
    "stored in fewer bytes": ([Member(b"a.npy", NPY, size=HUGE, zip64=True)], f"found {HUGE} bytes stored in 224"),
    "both sizes of 2^63": (
        [Member(b"a.npy", NPY, size=HUGE, compressed_size=HUGE, zip64=True)],
        "expected it within the",
    ),
    "ratio": ([Member(b"a.npy", NPY, DEFLATED, size=10**9)], "1000000000 bytes compressed to .* at most 1100 times"),
    "ratio of 2^63": ([Member(b"a.npy", NPY, DEFLATED, size=HUGE, zip64=True)], f"found {HUGE} bytes compressed"),
    "the same data": (
        [Member(b"a", bytes(10**6), DEFLATED), Member(b"b", b"", DEFLATED, offset=0)],
        "'[ab]': found it over",
    ),
    "overlap": ([Member(b"a.npy", NPY), Member(b"b.npy", NPY, offset=100)], "'b.npy': found it over 'a.npy'"),
    "beyond the end": ([Member(b"a.npy", NPY, offset=10**6)], "expected it within the"),
    "an offset of 2^63": ([Member(b"a.npy", NPY, offset=HUGE, zip64=True)], "expected it within the"),
}


@pytest.mark.parametrize(("members", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_that_lies_is_not_opened(members: list[Member], message: str) -> None:
    content = forged.archive(members)
    with at_most(1 << 20), pytest.raises(InputError, match=f"^x: .*{message}"):
        opened(content)


def test_a_name_with_two_colons_is_a_targets() -> None:
    with opened(forged.archive([Member(b"a::dos.npy", NPY)])) as archive:
        np.testing.assert_array_equal(archive.array("a::dos.npy"), ENERGY)


def test_a_bomb_is_an_archive_with_more_than_it_may_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio of one bomb is that of an honest mask of one value; of all of them together the sum is bounded."""
    bombs = [Member(b"%d" % i, BOMB.content, DEFLATED) for i in range(8)]
    with opened(forged.archive(bombs)) as archive:
        assert archive.bytes("3", 1 << 20) == BOMB.content
    monkeypatch.setattr(archive_module, "LIMITS", bounded.Limits(expanded=7 << 20))
    with pytest.raises(InputError, match=r"found compressed members of 8388608 bytes in .*: store them uncompressed"):
        opened(forged.archive(bombs))


def test_formats_that_never_compress_take_no_compressed_member() -> None:
    """Archives in one another would otherwise multiply the ratio: a kilobyte, a megabyte, a gigabyte."""
    inner = forged.archive([BOMB])
    with opened(forged.archive([Member(b"inner.zip", inner, DEFLATED)])) as outer:
        content = outer.bytes("inner.zip", 1 << 20)
    with pytest.raises(InputError, match="found compression by deflate, expected none"):
        opened(content, compressed=False)


def test_too_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "LIMITS", bounded.Limits(members=3))
    with pytest.raises(InputError, match="found 4 members, expected at most 3"):
        opened(forged.archive([Member(b"%d" % i, b"") for i in range(4)]))


def test_a_directory_larger_than_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = forged.archive([Member(b"%d" % i, b"") for i in range(4)])
    monkeypatch.setattr(archive_module, "LIMITS", bounded.Limits(directory=100))
    with pytest.raises(InputError, match=r"found no zip archive \(a table of contents of 188 bytes\)"):
        opened(content)


@pytest.mark.parametrize("declared", [0, 1, 2**16 - 1, 2**32 - 1])
def test_a_directory_of_another_size_than_declared(declared: int) -> None:
    with at_most(1 << 20), pytest.raises(InputError, match=r"^x: "):
        opened(forged.archive([Member(b"a.npy", NPY)], directory=declared)).array("a.npy")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (Member(b"a.npy", NPY, checksum=1), "found damaged content .*CRC"),
        (Member(b"a.npy", forged.npy(np.empty((0, 3))), checksum=1), "found damaged content .*CRC"),
        (Member(b"a.npy", NPY, DEFLATED, size=230), "in 102 bytes"),
        (Member(b"a.npy", NPY, DEFLATED, size=100), "found damaged content .*CRC"),
    ],
    ids=["checksum", "checksum of nothing", "longer than declared", "shorter than declared"],
)
def test_a_member_that_is_not_what_it_declares(member: Member, message: str) -> None:
    with opened(forged.archive([member])) as archive, pytest.raises(InputError, match=rf"^x: 'a\.npy': .*{message}"):
        archive.array("a.npy")


def test_folders_are_no_members() -> None:
    with opened(forged.archive([Member(b"a/", b""), Member(b"a/b.npy", NPY)])) as archive:
        assert archive.names == ("a/b.npy",)


# ---- files -------------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    kinds = {"a folder": tmp_path, "a device": Path(os.devnull)}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        kinds["a pipe"] = tmp_path / "pipe"
    for kind, path in kinds.items():
        with pytest.raises(InputError, match=f"^x: found {kind}, expected a file"):
            bounded.read_bytes("x", path, 100)


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="there are no files that the system makes up")
def test_a_file_that_the_system_makes_up_is_not_read() -> None:
    """It is regular, says that it is empty, and has as many bytes as the process has pages, and more."""
    with pytest.raises(InputError, match=r"^x: found a file that has no size but content"):
        bounded.read_bytes("x", Path("/proc/self/pagemap"), 100)


@pytest.mark.parametrize(
    ("name", "message"), [("missing", "cannot be read: No such file"), ("a\0b", "found a NUL in the name")]
)
def test_what_cannot_be_opened(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^x: {message}"):
        bounded.read_bytes("x", tmp_path / name, 100)


def test_bytes_and_text_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfeV/\xc3\x85\n")
    assert bounded.read_text("x", path) == "eV/Å\n"
    assert bounded.read_bytes("x", path, 9) == path.read_bytes()
    with pytest.raises(InputError, match=r"^x: found 9 bytes, expected at most 8"):
        bounded.read_bytes("x", path, 8)
    path.write_bytes(b"eV\neV/\xc5\n")
    with pytest.raises(InputError, match=r"^x: found the byte 0xC5 in line 2, expected UTF-8 text"):
        bounded.read_text("x", path)


@pytest.mark.parametrize("array", [ENERGY, ENERGY.T, np.empty((0, 3)), np.array(2.5), ENERGY.astype(">f4"), ENERGY > 0])
def test_mapped_arrays_are_the_arrays(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    found = npy_format.map_array("x", tmp_path / "a.npy")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"^x: found shape"):
        npy_format.map_array("x", tmp_path / "a.npy")


def test_bare_numbers_are_mapped_where_the_size_fits(tmp_path: Path) -> None:
    ENERGY.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(npy_format.map_raw("x", tmp_path / "a.bin", np.float64, (3, 4)), ENERGY)
    with pytest.raises(InputError, match=r"^x: found 96 bytes, expected 48: shape \(3, 4\) of float32"):
        npy_format.map_raw("x", tmp_path / "a.bin", np.float32, (3, 4))
    (tmp_path / "b.bin").write_bytes(b"")
    assert npy_format.map_raw("x", tmp_path / "b.bin", np.float64, (0, 4)).shape == (0, 4)


def test_an_array_whose_header_leaves_it_unaligned_is_aligned(tmp_path: Path) -> None:
    content = forged.npy_with("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4)}", ENERGY.tobytes())
    assert len(content) % 8
    (tmp_path / "a.npy").write_bytes(content)
    found = npy_format.map_array("x", tmp_path / "a.npy")
    assert found.flags.aligned
    np.testing.assert_array_equal(found, ENERGY)


CUT = """
import os, sys
from pathlib import Path
from refloss.files import npy_format
path = Path(sys.argv[1])
array = npy_format.map_array("x", path)
if sys.argv[2] == "replaced":
    path.with_name("b.npy").write_bytes(b"")
    path.with_name("b.npy").replace(path)
else:
    os.truncate(path, 4096)
print(array[-1])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let a mapped file be changed")
@pytest.mark.parametrize(("how", "ends"), [("replaced", True), ("cut", False)])
def test_a_mapped_file_may_be_replaced_but_not_cut(tmp_path: Path, how: str, ends: bool) -> None:
    """What docs/files.md promises, and what it does not: the system ends a process that reads what is gone."""
    np.save(tmp_path / "a.npy", np.arange(100_000.0))
    command = [sys.executable, "-c", CUT, str(tmp_path / "a.npy"), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout == "99999.0\n") == ends, done.stderr
    assert (done.returncode == 0) == ends


def test_zipfile_reads_a_member_in_no_more_than_it_declares() -> None:
    """What `Archive` relies on: a declared size bounds what is decompressed, whatever the data hold."""
    content = forged.archive([Member(b"a", bytes(64 << 20), DEFLATED, size=100, checksum=zlib.crc32(bytes(100)))])
    with zipfile.ZipFile(io.BytesIO(content)) as archive, at_most(1 << 20), archive.open("a") as stream:
        assert stream.read(100) == bytes(100)
        assert stream.read(1) == b""
