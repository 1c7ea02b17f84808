"""``refloss evaluate``: options and files of data to a table, a JSON file, a page, pictures."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refloss.cli.table import console, print_summary, print_written
from refloss.errors import InputError
from refloss.files.load import Paths, load_dataset
from refloss.files.output import check_folder, check_output, make_folder, replacing
from refloss.options import load_options
from refloss.report import page
from refloss.results import AlignedResult
from refloss.section import LOSS_TYPES
from refloss.summary import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Step = Callable[[str], None]
"""Tells the user what is being done now."""


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, write what is asked for, print the table."""
    files = {name: getattr(arguments, name) for name in ("predictions", "targets", "extra_data")}
    to_stdout = arguments.json == Path("-")
    outputs = {"--json": None if to_stdout else arguments.json, "--report": arguments.report}
    given = [path for paths in files.values() for path in paths or ()]
    given += [arguments.options, *(arguments.indices or ()), *([arguments.data] if arguments.data else ())]
    _check_outputs(outputs, given)
    if arguments.plots is not None:
        check_folder("--plots", arguments.plots)
    written: list[Path] = []
    with progress() as step:
        summary = evaluate(
            arguments.options,
            **files,
            data=arguments.data,
            which=arguments.set,
            indices=arguments.indices,
            step=step,
        )
        _check_outputs(outputs, summary.files())
        text = as_json(summary)
        if arguments.plots is not None:
            written += draw(summary, arguments.plots, "--plots", step=step)
        for argument, path in outputs.items():
            if path is not None:
                step(f"writing {path}")
                whole = text if argument == "--json" else page(summary)
                with replacing(argument, path) as beside:
                    beside.write_text(whole, encoding="utf-8")
                written.append(path)
    if to_stdout:
        print(text, end="")
    out = console(sys.stderr if to_stdout else sys.stdout)
    print_summary(summary, out)
    print_written(written, out)
    if arguments.plots is not None and not arguments.plots.is_dir():
        out.print("no pictures: they are of aligned and huber terms, and there are none")


def evaluate(
    options: Path,
    predictions: Paths,
    targets: Paths | None = None,
    extra_data: Paths | None = None,
    *,
    data: Path | None = None,
    which: str | None = None,
    indices: Any = None,
    step: Step,
) -> Summary:
    """Read the files, evaluate the section, and gather what is to be told of it; see `refloss.load_dataset`."""
    step("reading the options")
    section = load_options(options)
    step("reading the data")
    given = load_dataset(
        options, predictions, targets=targets, extra_data=extra_data, data=data, which=which, indices=indices
    )
    step("evaluating")
    result = section.evaluate(**given.arguments())
    step("evaluating under the other conventions")
    return summarise(section, result, given)


def _check_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[Path]) -> None:
    """Raise where an output cannot be written, is one of the inputs, or is another output, too."""
    seen: dict[Path, str] = {}
    for argument, path in outputs.items():
        if path is not None:
            check_output(argument, path, inputs=inputs)
            other = seen.setdefault(path.resolve(), argument)
            if other != argument:
                raise InputError(f"{argument}: {path} is the file of {other}, too, expected another")


def as_json(summary: Summary) -> str:
    """Return the text of the JSON file: the inputs' names, the versions, and every figure."""
    return json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def draw(summary: Summary, folder: Path, argument: str, *, step: Step) -> list[Path]:
    """Draw the pictures of the aligned and the huber terms into `folder`, and return their paths.

    The folder is made when everything is drawn, and the pictures appear in it together.
    """
    from refloss.plotting import style

    figures = _figures(summary, step)
    if not figures:
        return []
    make_folder(argument, folder)
    with ExitStack() as stack:
        for name, figure in figures.items():
            step(f"writing {name}")
            style.write(figure, stack.enter_context(replacing(argument, folder / name)))
    return [folder / name for name in figures]


@contextmanager
def progress() -> Iterator[Step]:
    """Give a function that tells on stderr what is being done; silent where that is no terminal."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    err = console(sys.stderr)
    columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("")

        def step(description: str) -> None:
            bar.update(task, description=description)

        yield step


def _figures(summary: Summary, step: Step) -> dict[str, Figure]:
    """Return the pictures by file name; where several terms have the same picture, the name has the term in it."""
    from refloss.plotting import plot_alignment, plot_masks, plot_pointwise, plot_terms

    drawn: list[tuple[str, str, Figure]] = []
    for path, term in summary.result.terms.items():
        result = term.result
        step(f"drawing {path}")
        if isinstance(result, AlignedResult):
            worst = int(result.per_structure.argmax())
            drawn += [
                ("alignment", path, plot_alignment(result, worst)),
                ("masks", path, plot_masks(result)),
                ("terms", path, plot_terms(result)),
            ]
        elif "delta" in LOSS_TYPES[term.type].keys:
            drawn.append(("pointwise", path, plot_pointwise(_options(summary.losses, path)["delta"])))
    kinds = [kind for kind, _, _ in drawn]
    names = [kind if kinds.count(kind) == 1 else f"{kind}-{_file_name(path)}" for kind, path, _ in drawn]
    return {f"{name}.png": figure for name, (_, _, figure) in zip(names, drawn, strict=True)}


def _options(losses: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the options of the term ``<target>`` or ``<target>/<gradient>``."""
    entry = losses.get(path)
    if entry is None:
        target, _, gradient = path.rpartition("/")
        entry = losses[target]["gradients"][gradient]
    options: Mapping[str, Any] = entry
    return options


def _file_name(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path)
