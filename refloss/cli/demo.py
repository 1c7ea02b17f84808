"""``refloss demo``: a data set from nothing or from eigenvalues, its loss, its pictures, and how to repeat it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refloss.cli.evaluate import Step, as_json, draw, evaluate, progress
from refloss.cli.table import console, print_summary, print_written
from refloss.demo import (
    BROADENING,
    FILES,
    OPTIONS,
    OPTIONS_FILE,
    REPORT_FILE,
    RESULTS_FILE,
    SPECTRA_OPTIONS,
    check_demo_folder,
    make,
    make_from,
    save,
)
from refloss.files.output import replacing
from refloss.files.spectra import read
from refloss.report import page
from refloss.results import AlignedResult
from refloss.spectra import Spectrum


def run(arguments: argparse.Namespace) -> None:
    """Make the data set, write it, evaluate the files, draw, and print what to do next."""
    folder: Path = arguments.out
    check_demo_folder(folder, OPTIONS if arguments.spectra is None else SPECTRA_OPTIONS)
    files = [folder / OPTIONS_FILE, *(folder / name for name in FILES.values())]
    with progress() as step:
        step("computing the spectra of the crystals")
        demo = make() if arguments.spectra is None else make_from(_samples(arguments.spectra, step))
        step("writing")
        save(demo, folder)
        summary = evaluate(*files, step=step)
        with replacing("--out", folder / RESULTS_FILE) as beside:
            beside.write_text(as_json(summary), encoding="utf-8")
        with replacing("--out", folder / REPORT_FILE) as beside:
            beside.write_text(page(summary, names=demo.names), encoding="utf-8")
        pictures = draw(summary, folder, "--out", step=step)
    result = summary.result.terms["mtt::dos"].result
    assert isinstance(result, AlignedResult)
    found, largest = int((result.shift == demo.shift).sum()), int(np.abs(result.shift - demo.shift).max())
    out = console(sys.stdout)
    count = demo.shift.size
    source = "four crystals" if arguments.spectra is None else str(arguments.spectra)
    drawn = " to ".join(dict.fromkeys(map(str, (demo.shift.min(), demo.shift.max()))))
    out.print(
        f"{count} structure{'s' * (count > 1)} of {source}. Each predicted density of states is shifted by a number of "
        f"points that the demo drew ({drawn}), {BROADENING:g} eV broader than its target, and noisy."
    )
    missed = "" if found == count else f", and misses it by at most {largest} point{'s' * (largest != 1)}"
    out.print(f"The alignment recovers the shift of {found} of the {count}{missed}.")
    out.print()
    print_summary(summary, out)
    print_written([*files, folder / RESULTS_FILE, folder / REPORT_FILE, *pictures], out)
    out.print("\nTo repeat the evaluation:\n")
    out.print(_command(*files), soft_wrap=True)


def _samples(path: Path, step: Step) -> Iterator[tuple[str, Spectrum]]:
    """Yield the structures of a file, telling which is next."""
    for number, sample in enumerate(read("--spectra", path)):
        step(f"structure {number}: {sample.name}")
        yield sample.name, sample.spectrum


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
