"""The tables of an evaluated section, for terminals of 80 columns and more, and for pipes."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refloss.results import SectionTerm
from refloss.summary import Alignment, Summary, TermSummary, Under


def console(file: TextIO) -> Console:
    """Return a console that prints text as it is: no markup, no emoji, and no colours where it is no terminal.

    Nothing is ever cut to fit: a terminal of fewer than 80 columns wraps. A pipe gets 120, or what COLUMNS says.
    """
    plain = _Console(file=file, highlight=False, markup=False, emoji=False)
    if plain.is_terminal:
        width = plain.width
    else:
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdecimal() else 120
    return _Console(file=file, highlight=False, markup=False, emoji=False, width=max(width, 80))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line to say how the program ends, where rich would exit with 1."""
        raise  # noqa: PLE0704 - rich calls this while it handles the error


def print_summary(summary: Summary, out: Console) -> None:
    """Print every term and the total, then what is to be told of each aligned term, then what was left out."""
    result = summary.result
    out.print(_terms(summary))
    if result.reason is not None:
        out.print(f"There is no total: {result.reason}.")
    for name, told in summary.terms.items():
        if told.alignment is not None:
            out.print()
            out.print(_alignment(name, told, told.alignment))
            out.print()
            out.print(_conventions(name, told))
            for convention, under in told.conventions.items():
                if under.reason is not None:
                    out.print(f"{convention}: {under.reason}")
            out.print()
            out.print(_metrics(name, told))
    out.print()
    for sentence in summary.told:
        out.print(sentence, soft_wrap=True)
    for name, reason in result.skipped.items():
        out.print(f"skipped: {name}, {reason}")
    for which, keys in summary.unused.items():
        if keys:
            out.print(f"not used, of the {which.replace('_', ' ')}: {', '.join(keys)}")
    versions = summary.versions
    out.print(f"refloss {versions['refloss']}, specification {versions['specification']}", style="dim")


def print_text(text: str, out: Console) -> None:
    """Print text whose lines a terminal folds under their own indentation, and a pipe gets as they are."""
    if not out.is_terminal:
        out.print(text, soft_wrap=True)
        return
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        folded = textwrap.fill(
            line, out.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        out.print(folded, soft_wrap=True)


def print_written(paths: Iterable[Path], out: Console) -> None:
    """Print where the files are, each on a line that is never folded."""
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True)


def _terms(summary: Summary) -> Table:
    result = summary.result
    table = make_table(None, show_footer=True)
    table.add_column("term", "total", no_wrap=True)
    table.add_column("type, convention", "" if result.reason is None else "none", overflow="fold")
    for header in ("count", "value", "weight"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("contribution", _number(result.total), justify="right", no_wrap=True)
    for name, told in summary.terms.items():
        term = told.term
        kind = term.type if told.convention is None else f"{term.type}, {told.convention}"
        table.add_row(name, kind, str(told.count), _value(term), f"{term.weight:g}", _number(term.contribution))
    return table


def _alignment(name: str, told: TermSummary, alignment: Alignment) -> Table:
    table = make_table(
        f"{name}: how {alignment.structures} structures were aligned ({told.convention})", show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    last, step = alignment.shifts - 1, alignment.energy_step
    ends = dict.fromkeys((alignment.smallest, alignment.largest))
    points, energies = (" to ".join(f"{end * unit:.6g}" for end in ends) for unit in (1, step))
    median = f"median {alignment.median:g} ({alignment.median * step:.6g} eV)"
    table.add_row("shifts", f"{points} points ({energies} eV), {median}")
    if last == 0:
        zeros = " with the zeros beside them" if alignment.padding else ""
        table.add_row("range", f"one shift: predictions{zeros} are as wide as targets, there is nothing to align")
    else:
        rest = f", {alignment.padding} moves nothing" if alignment.padding else ""
        table.add_row("range", f"0 to {last} points of {step:g} eV{rest}")
        table.add_row("at an edge", alarm((alignment.at_first, "at 0"), (alignment.at_last, f"at {last}")))
        table.add_row("ties", alarm((alignment.tied, "with another shift that is exactly as good")))
    if alignment.padding:
        where = "in the zeros beside the prediction, where the misfit has no gradient"
        table.add_row("in padding", alarm((alignment.in_padding, where)))
    table.add_row("empty masks", alarm((alignment.empty_masks, "in which nothing counts")))
    table.add_row("masks", f"{100 * alignment.counted:.4g} % of the targets' points count")
    return table


def _conventions(name: str, told: TermSummary) -> Table:
    table = make_table(f"{name}: the value under each convention")
    table.add_column("convention", no_wrap=True)
    for header in ("value", "contribution", "aligned elsewhere"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_row(f"{told.convention} (used)", _value(told.term), _number(told.term.contribution), "-", style="bold")
    for convention, under in told.conventions.items():
        if under.reason is None:
            table.add_row(convention, _value(under), _number(under.contribution), str(under.moved))
        else:
            table.add_row(convention, "does not apply", "-", "-")
    return table


def _metrics(name: str, told: TermSummary) -> Table:
    table = make_table(f"{name}: the aligned densities of states, beside the loss")
    table.add_column("metric", overflow="fold")
    for header in ("of all", "median", "worst", "undefined"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for row in told.metric_rows():
        figures = ("-" if figure is None else f"{figure:.6g}" for figure in (row.whole, row.median, row.worst))
        table.add_row(row.name, *figures, str(row.undefined) if row.undefined else "-", row.unit)
    return table


def make_table(title: str | None, *, show_header: bool = True, show_footer: bool = False) -> Table:
    """Return a table without rows, its title above it, with lines of spaces alone."""
    return Table(
        title=None if title is None else Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
        show_header=show_header,
        show_footer=show_footer,
        show_edge=False,
    )


def _value(of: SectionTerm | Under) -> str:
    """Return the value of a term, or how many there are where they are not reduced."""
    if of.value is None or isinstance(of.value, float):
        return _number(of.value)
    return f"{len(of.value)} values"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


def alarm(*counts: tuple[int, str]) -> Text:
    """Return "none", or how many structures are where, in a colour that is seen."""
    found = [f"{count} {place}" for count, place in counts if count]
    return Text(", ".join(found), style="yellow") if found else Text("none")
