"""``refloss crosscheck``: somebody's implementation to verdicts, and to a JSON file and a page where asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

import refloss.crosscheck
from refloss.cli.table import console, print_text, print_written
from refloss.crosscheck.candidates import load
from refloss.crosscheck.runner import Progress
from refloss.errors import InputError
from refloss.files.output import check_output, replacing


def run(arguments: argparse.Namespace) -> int:
    """Load the candidate, run it, write what is asked for, print the summary; return 0 where it is right, else 1."""
    outputs = {"--json": arguments.json, "--html": arguments.html}
    inputs = [arguments.xfails] if arguments.xfails is not None else []
    for name, path in outputs.items():
        if path is not None:
            check_output(name, path, inputs=inputs)
    if arguments.json is not None and arguments.json == arguments.html:
        raise InputError(f"--html: {arguments.html} is the file of --json, too; expected another file")
    with _progress() as told:
        report = refloss.crosscheck.crosscheck(
            load(arguments.candidate),
            arguments.loss,
            dtype=arguments.dtype,
            accumulate=arguments.accumulate,
            arrays=arguments.arrays,
            device=arguments.device,
            suite=arguments.suite,
            only=arguments.only,
            grad=not arguments.no_grad,
            convention=arguments.convention,
            params=_params(arguments.param),
            seed=arguments.seed,
            timeout=arguments.timeout,
            deterministic=arguments.deterministic,
            xfails=arguments.xfails,
            name=arguments.candidate,
            progress=told,
        )
    written = []
    for (name, path), text in zip(outputs.items(), (report.to_json, report.to_html), strict=True):
        if path is not None:
            with replacing(name, path) as beside:
                beside.write_text(text(), encoding="utf-8")
            written.append(path)
    out = console(sys.stdout)
    print_text(report.summary(), out)
    print_written(written, out)
    return 0 if report.ok else 1


@contextmanager
def _progress() -> Iterator[Progress]:
    """Give a function that moves a bar on stderr; silent where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    err = console(sys.stderr)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("getting ready", total=None)

        def told(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, description=case or "judging")

        yield told


def _params(words: list[str]) -> dict[str, object]:
    """Return NAME=VALUE words as a mapping, values read as options files have them."""
    params: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise InputError(f"--param: found {word!r}, expected NAME=VALUE")
        if name in params:
            raise InputError(f"--param: found {name} twice, expected each name once")
        params[name] = _value(name, text)
    return params


def _value(name: str, text: str) -> object:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--param {name}: found {text!r}, expected a number or a word") from error
