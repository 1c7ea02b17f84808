"""``refloss vectors``: write golden vectors, judge results by them, and look them over."""

from __future__ import annotations

import argparse
import sys

from refloss.cli.table import console, print_text


def run_write(arguments: argparse.Namespace) -> None:
    """Write the set into a folder."""
    from refloss.crosscheck import vectors

    paths = vectors.write(arguments.folder)
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} files, {size / 1e6:.2f} MB, in {arguments.folder}")


def run_check(arguments: argparse.Namespace) -> int:
    """Print the verdicts on a file of results; return 1 where one is wrong."""
    from refloss.crosscheck import recorded, vectors

    found = vectors.current() if arguments.vectors is None else vectors.read(arguments.vectors)
    results = recorded.read_results(arguments.results)
    reports = recorded.check(results, found, convention=arguments.convention, name=arguments.results.name)
    out = console(sys.stdout)
    print_text("\n\n".join(report.summary() for report in reports), out)
    return 0 if all(report.ok for report in reports) else 1


def run_lint(arguments: argparse.Namespace) -> int:
    """Print what is wrong with a set of vectors; return 1 where something is."""
    from refloss.crosscheck import vectors

    wrong = vectors.lint(arguments.folder)
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{arguments.folder}: as it should be")
    return 1 if wrong else 0
