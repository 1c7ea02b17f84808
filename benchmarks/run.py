"""refloss beside what a user would pick instead: one run, one table, one JSON file, one figure.

python benchmarks/run.py [--old-metatrain WHEEL] [--out FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run every experiment, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old-metatrain", type=Path, help="wheel of metatrain 2026.2, whose MaskedDOSLoss is timed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where the files go")
    parser.add_argument("--quick", action="store_true", help="small and few: to see that it runs, not to measure")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant has its turn (default: 7)")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait in all for a quiet machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # A cache for this run alone: no other version of Numba or refloss can have left anything in it.
        os.environ["NUMBA_CACHE_DIR"] = cache
        _run(options)


def _run(options: argparse.Namespace) -> None:
    import experiments
    import machine
    import report as written
    import rivals
    import timing

    os.environ["REFLOSS_NUM_THREADS"] = str(experiments.THREADS)
    rivals.setup(experiments.THREADS)
    size = experiments.QUICK if options.quick else experiments.Size(rounds=options.rounds)
    old = rivals.masked_dos_module(options.old_metatrain)
    about = machine.describe()
    about["metatrain, old"] = options.old_metatrain.name.split("-")[1] if old is not None else "absent"
    found = experiments.Report()
    timing.patience = options.patience
    others = timing.Others()
    steps = {
        "masked_dos": lambda: experiments.masked_dos(found, size, old),
        "shift_agnostic_mse": lambda: experiments.shift_agnostic(found, size),
        "pointwise": lambda: experiments.pointwise(found, size),
        "threads": lambda: experiments.threads(found, size),
        "kinds of data": lambda: experiments.kinds_of_data(found, size),
        "memory": lambda: experiments.memory(found, size),
        "first calls": lambda: experiments.first_calls(found, size),
    }
    try:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    finally:  # minutes of measurements are worth keeping when a later one fails
        taken = others.cores()
        about["taken by other processes meanwhile"] = "unknown" if taken is None else f"{taken:.2f} cores"
        written.show(found, about)
        written.save(found, about, options.out)


if __name__ == "__main__":
    main()
