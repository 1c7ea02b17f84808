"""Files are written whole or not at all, and only where it is meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from refloss import InputError
from refloss.files.output import (
    check_folder,
    check_new_folder,
    check_output,
    make_folder,
    replacing,
    replacing_folder,
)


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing("--out", path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
        assert beside.parent == tmp_path  # a rename across file systems would be a copy, which can be half done
        assert beside.suffix == ".txt"  # what tells matplotlib the format
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_whatever_ends_the_block_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.txt"

    def write(beside: Path) -> None:
        beside.write_text("half")
        raise error

    with pytest.raises(error), replacing("--out", path) as beside:
        write(beside)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_output_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "out.txt"
    with (
        pytest.raises(InputError, match=r"out\.txt cannot be written: No such file"),
        replacing("--out", missing) as beside,
    ):
        beside.write_text("new")


def test_an_error_of_another_file_is_not_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing("--out", tmp_path / "out.txt"):
        (tmp_path / "input.txt").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links, and has no umask")
def test_links_stay_links_and_permissions_are_the_usual(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with replacing("--out", link) as beside:
        beside.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    (tmp_path / "plain.txt").write_text("")
    assert target.stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_checks_beforehand(tmp_path: Path) -> None:
    file, other = tmp_path / "file.txt", tmp_path / "other.txt"
    file.write_text("input")
    check_output("--out", file, inputs=[other])
    check_output("--out", other, inputs=[file])
    check_folder("--out", tmp_path)
    check_folder("--out", tmp_path / "new")
    with pytest.raises(InputError, match=r"--out: .*file\.txt is one of the inputs"):
        check_output("--out", tmp_path / ".." / tmp_path.name / "file.txt", inputs=[file])
    with pytest.raises(InputError, match="is one of the inputs"):  # where writing would find it, and the system not
        check_output("--out", tmp_path / "missing" / ".." / "file.txt", inputs=[file])
    with pytest.raises(InputError, match=r"new\.txt is in the input"):
        check_output("--out", tmp_path / "new.txt", inputs=[tmp_path])
    with pytest.raises(InputError, match="is a folder, expected the name of a file"):
        check_output("--out", tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_output("--out", tmp_path / "a" / "b.txt")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        check_folder("--out", file)
    with pytest.raises(InputError, match="there is no folder"):
        check_folder("--out", tmp_path / "a" / "b")


def test_a_folder_is_made_or_said_to_be_impossible(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder("--out", tmp_path / "new")
    assert (tmp_path / "new").is_dir()
    with pytest.raises(InputError, match=r"--out: .*b cannot be made: "):
        make_folder("--out", tmp_path / "a" / "b")


def test_where_one_must_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in a folder that is closed to this user; to the superuser none is, so the answer is made up."""

    def closed(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("stat", "is_dir", "is_file", "exists"):
        monkeypatch.setattr(Path, name, closed)
    for check in (check_folder, check_output):
        with pytest.raises(InputError, match=r"--out: .*out cannot be written: Permission denied"):
            check("--out", tmp_path / "closed" / "out")


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_when_the_block_ends(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "out.zarr"
    if exists:
        path.mkdir()
    check_new_folder("--out", path)
    with replacing_folder("--out", path) as beside:
        (beside / "group").mkdir()
        (beside / "group" / "file").write_text("new")
        assert path.exists() == exists
        assert beside.parent == tmp_path
    assert (path / "group" / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("exists", [False, True])
def test_whatever_ends_the_block_no_folder_is_left(tmp_path: Path, error: type[BaseException], exists: bool) -> None:
    path = tmp_path / "out.zarr"
    if exists:
        path.mkdir()

    def write(beside: Path) -> None:
        (beside / "group").mkdir()
        (beside / "group" / "file").write_text("half")
        raise error

    with pytest.raises(error), replacing_folder("--out", path) as beside:
        write(beside)
    assert list(tmp_path.rglob("*")) == [path] * exists


def test_a_folder_that_holds_something_stays(tmp_path: Path) -> None:
    """What came into it while the new one was written, too."""
    path = tmp_path / "out.zarr"
    path.mkdir()
    with pytest.raises(InputError, match=r"--out: the folder .* is not empty"), replacing_folder("--out", path):
        (path / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"--out: the folder .* is not empty"):
        check_new_folder("--out", path)
    assert [place.name for place in tmp_path.rglob("*")] == ["out.zarr", "thesis.tex"]
    with pytest.raises(InputError, match="is a file, expected a folder"):
        check_new_folder("--out", path / "thesis.tex")
    with pytest.raises(InputError, match="is in the input"):
        check_new_folder("--out", path / "new", inputs=[path])


def test_an_error_of_the_output_folder_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"out cannot be written: No such file"),
        replacing_folder("--out", tmp_path / "missing" / "out"),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"out cannot be written: "),
        replacing_folder("--out", tmp_path / "out") as beside,
    ):
        (beside / "no" / "such").write_text("")
    with pytest.raises(FileNotFoundError), replacing_folder("--out", tmp_path / "out"):
        (tmp_path / "input.txt").read_text()
    assert list(tmp_path.iterdir()) == []
