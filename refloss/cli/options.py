"""``refloss options`` and ``refloss schema``."""

from __future__ import annotations

import argparse
import json

from refloss.options import dump, load_options
from refloss.options_schema import schema


def run(arguments: argparse.Namespace) -> None:
    """Print the expanded loss section of a file."""
    print(dump(load_options(arguments.options).losses), end="")


def run_schema(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of the loss section."""
    print(json.dumps(schema(), indent=2))
