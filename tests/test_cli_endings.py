"""The command line: how it ends where it is interrupted, or its output goes nowhere."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_section

from refloss.cli import evaluate
from refloss.cli.main import main


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return small_section.write(tmp_path)


def test_interrupted_within(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second of the pictures is written: no picture stays, whole or half."""
    folder = tmp_path / "pictures"

    def interrupt(name: str) -> None:
        if name == "writing masks.png":
            raise KeyboardInterrupt

    drawn = evaluate.draw
    monkeypatch.setattr(evaluate, "draw", lambda *a, step: drawn(*a, step=interrupt))
    assert main([*command, "--plots", str(folder), "--json", str(tmp_path / "out.json")]) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "refloss: interrupted\n")
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "out.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console, this test's included")
def test_interrupted_from_outside(command: list[str], tmp_path: Path) -> None:
    """The options come through a pipe that nobody writes to, so the process waits where the signal finds it."""
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    words = [sys.executable, "-m", "refloss", "evaluate", str(pipe), *command[2:], "--json", str(tmp_path / "o.json")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        writer = open_when_read(pipe, process)
        try:
            time.sleep(0.5)  # a signal between the opening and the reading is noticed only after the reading
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            os.close(writer)
    assert (process.returncode, out, err) == (130, "", "refloss: interrupted\n")
    assert not (tmp_path / "o.json").exists()


def open_when_read(pipe: Path, process: subprocess.Popen[str]) -> int:
    """Open the writing end once the process has opened the reading one."""
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
    raise AssertionError("the process never read its options")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE and no such error")
@pytest.mark.parametrize("words", [["schema"], None], ids=["schema", "evaluate"])
def test_a_reader_that_leaves(command: list[str], words: list[str] | None) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "refloss", *(words or command)],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_interrupted_in_a_callback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Python cannot raise out of a callback from foreign code, in which the compiler and HDF5 spend their time.

    What comes next may be callbacks again: no later one is waited for.
    """

    @ctypes.CFUNCTYPE(None)
    def callback() -> None:
        raise KeyboardInterrupt

    def compiling(_: object) -> None:
        callback()
        raise AssertionError("the interrupt was lost")

    monkeypatch.setattr("refloss.cli.options.run_schema", compiling)
    assert main(["schema"]) == 130
    assert capsys.readouterr() == ("", "refloss: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device here that is always full")
@pytest.mark.parametrize("words", [["schema"], None], ids=["schema", "evaluate"])
def test_a_full_disk(command: list[str], words: list[str] | None) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "refloss", *(words or command)], stdout=full, stderr=subprocess.PIPE, check=False
        )
    message = b"refloss: error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no shell that closes a stream")
def test_a_closed_stream(command: list[str], tmp_path: Path) -> None:
    """The figures go to the JSON file, and nobody wants the rest; a message goes nowhere, not into the output."""
    program = [sys.executable, "-m", "refloss"]
    words = [*program, *command, "--json", str(tmp_path / "out.json")]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out.json").exists()
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *program, "evaluat"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
