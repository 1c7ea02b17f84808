"""``refloss convert``: a data set from one format to another."""

from __future__ import annotations

import argparse
import sys

from refloss.cli.evaluate import progress
from refloss.cli.table import console, print_written
from refloss.files.conversion import convert


def run(arguments: argparse.Namespace) -> None:
    """Convert, and say what was written."""
    with progress() as step:
        made = convert(
            arguments.input,
            arguments.output,
            options=arguments.options,
            targets=arguments.target,
            drop=arguments.drop,
            step=step,
        )
    out = console(sys.stdout)
    for line in made.arrays:
        out.print(line, soft_wrap=True)
    if made.left_out:
        out.print(f"left out: {', '.join(made.left_out)}", soft_wrap=True)
    print_written([arguments.output], out)
