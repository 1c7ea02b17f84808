"""``refloss demo``: a data set from nothing, its loss, its pictures, and the command that repeats it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from refloss.cli.evaluate import draw, evaluate, progress
from refloss.cli.table import console, print_summary, print_written
from refloss.demo import BROADENING, FILES, OPTIONS_FILE, check_demo_folder, make, save
from refloss.results import AlignedResult


def run(arguments: argparse.Namespace) -> None:
    """Make the data set, write it, evaluate the files, draw, and print what to do next."""
    folder: Path = arguments.out
    check_demo_folder(folder)
    files = [folder / OPTIONS_FILE, *(folder / name for name in FILES.values())]
    with progress() as step:
        step("computing the spectra of the crystals")
        demo = make()
        save(demo, folder)
        summary = evaluate(*files, step=step)
        pictures = draw(summary, folder, "--out", step=step)
    result = summary.result.terms["mtt::dos"].result
    assert isinstance(result, AlignedResult)
    found, largest = int((result.shift == demo.shift).sum()), int(np.abs(result.shift - demo.shift).max())
    out = console(sys.stdout)
    out.print(
        f"{demo.shift.size} structures of four crystals. Each predicted density of states is shifted by a number of "
        f"points that the demo drew ({demo.shift.min()} to {demo.shift.max()}), {BROADENING:g} eV broader than its "
        "target, and noisy."
    )
    missed = "" if found == demo.shift.size else f", and misses it by at most {largest} point{'s' * (largest != 1)}"
    out.print(f"The alignment recovers the shift of {found} of the {demo.shift.size}{missed}.")
    out.print()
    print_summary(summary, out)
    print_written([*files, *pictures], out)
    out.print("\nTo repeat the evaluation:\n")
    out.print(_command(*files), soft_wrap=True)


def _command(options: Path, predictions: Path, targets: Path, extra_data: Path) -> str:
    """Return the command line that evaluates these files, for the shell of this system."""
    words = [*_program(), "evaluate", options, "--predictions", predictions, "--targets", targets]
    text = [str(word) for word in (*words, "--extra-data", extra_data)]
    return subprocess.list2cmdline(text) if os.name == "nt" else shlex.join(text)


def _program() -> list[str]:
    """Return how to start refloss here: by its name where the shell finds it, otherwise by this Python."""
    script = Path(sys.argv[0])
    known = shutil.which("refloss")
    if script.name.startswith("refloss") and known is not None and script.exists() and script.samefile(known):
        return ["refloss"]
    return [sys.executable, "-m", "refloss"]
