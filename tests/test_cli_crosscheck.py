"""``refloss crosscheck``: how it ends, what it prints, and the files it writes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from refloss.cli.main import main
from refloss.cli.table import print_text

CANDIDATES = """
import time
import numpy as np
import refloss

def right(p, t, *, reduction):
    found = refloss.mse(p, t, reduction=reduction, grad=True)
    return {"value": np.asarray(found.value).astype(p.dtype), "grad": found.grad.astype(p.dtype)}

def right_without_keyword(p, t):
    return right(p, t, reduction="sum")

def doubled(p, t, *, reduction):
    return {"value": 2 * right(p, t, reduction=reduction)["value"]}

def slow(p, t, *, reduction):
    if p.size == 5:
        time.sleep(1.0)
    return right(p, t, reduction=reduction)

def dos(p, t, m, **params):
    return refloss.masked_dos(p, t, m, convention="intended", **params).value
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "port.py").write_text(CANDIDATES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(candidate: str, *words: str, loss: str = "mse") -> int:
    return main(["crosscheck", f"port.py:{candidate}", "--loss", loss, *words])


def test_right_is_0_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("right", "--dtype", "float16") == 0
    out, err = capsys.readouterr()
    assert out.startswith("port.py:right: mse, float16, numpy on cpu, suite core, seed 0\nright in ")
    assert err == ""


def test_wrong_is_1_and_files_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doubled", "--json", "out.json", "--html", "out.html", "--seed", "3") == 1
    found = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert (found["ok"], found["candidate"], found["seed"]) == (False, "port.py:doubled", 3)
    assert (folder / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    out = capsys.readouterr().out
    assert "WRONG" in out
    assert "wrote out.json\nwrote out.html\n" in out


def test_every_option_arrives(folder: Path) -> None:
    words = [
        "--dtype",
        "float64",
        "--accumulate",
        "float64",
        "--suite",
        "full",
        "--param",
        "reduction=sum",
        "--no-grad",
    ]
    assert run("right_without_keyword", *words, "--arrays", "numpy", "--device", "cpu", "--json", "o.json") == 0
    found = json.loads((folder / "o.json").read_text(encoding="utf-8"))
    assert found["suite"] == "full"
    assert {case["params"]["reduction"] for case in found["cases"]} == {"sum"}
    assert run("right", "--only", "*/0", "--only", "*/1", "--json", "p.json") == 0
    assert json.loads((folder / "p.json").read_text(encoding="utf-8"))["suite"] == "core, only */0 */1"
    words = ["--dtype", "float64", "--param", "energy_step=0.05", "--param", "grad_weight=1e-3", "--json", "d.json"]
    assert run("dos", *words, "--convention", "documented", loss="masked_dos") == 1
    found = json.loads((folder / "d.json").read_text(encoding="utf-8"))
    assert (found["asked"], found["convention"]) == ("documented", "documented")
    assert {(case["params"]["energy_step"], case["params"]["grad_weight"]) for case in found["cases"]} == {(0.05, 1e-3)}
    assert {j["convention"] for j in found["judgements"] if not j["right"]} == {"intended"}


def test_what_takes_too_long_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("slow", "--timeout", "0.2") == 1
    assert "no answer after 0.2" in capsys.readouterr().out
    assert run("slow") == 0


def test_expected_failures_end_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "known.txt").write_text("* value\n", encoding="utf-8")
    assert run("doubled", "--xfails", "known.txt") == 0
    assert "expected to fail" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["port.py:rigth", "--loss", "mse"], "candidate: found no 'rigth' in port.py (did you mean 'right'?)"),
        (["nothing:at_all", "--loss", "mse"], "candidate: nothing cannot be imported"),
        (["port.py:right", "--loss", "mes"], "loss: found 'mes'"),
        (["port.py:right", "--loss", "mse", "--dtype", "half"], "dtype: found 'half'"),
        (["port.py:right", "--loss", "mse", "--param", "reduction"], "--param: found 'reduction', expected NAME=VALUE"),
        (["port.py:right", "--loss", "mse", "--param", "reduction=mena"], "reduction: found 'mena'"),
        (
            ["port.py:right", "--loss", "mse", "--param", "reduction=[1"],
            "--param reduction: found '[1', expected a num",
        ),
        (["port.py:right", "--loss", "mse", "--param", "reduction=sum", "--param", "reduction=sum"], "twice"),
        (["port.py:right_without_keyword", "--loss", "mse"], "candidate: it does not take reduction"),
        (["port.py:right", "--loss", "mse", "--json", "no/where.json"], "--json: no/where.json cannot be written"),
        (["port.py:right", "--loss", "mse", "--json", "a", "--html", "a"], "--html: a is the file of --json, too"),
        (["port.py:right", "--loss", "mse", "--xfails", "absent"], "xfails: absent cannot be read"),
        (["port.py:right"], "the following arguments are required: --loss"),
    ],
)
def test_what_cannot_be_run_is_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crosscheck", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("refloss: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_pipe_gets_lines_as_they_are_and_a_terminal_under_their_indentation() -> None:
    text = "short\n    value found 1, expected 2: off by 1, allowed 3e-7; " + "and so on " * 8
    piped, shown = (Console(file=StringIO(), width=80, highlight=False, force_terminal=here) for here in (False, True))
    for out in (piped, shown):
        print_text(text, out)
    unfolded, folded = (out.file.getvalue().splitlines() for out in (piped, shown))  # type: ignore[attr-defined]
    assert [line.rstrip() for line in unfolded] == [line.rstrip() for line in text.splitlines()]
    assert folded[0] == "short"
    assert len(folded) == 3
    assert folded[2].startswith("      ")
    assert max(map(len, folded)) <= 80
    assert " ".join(" ".join(folded).split()) == " ".join(text.split())
