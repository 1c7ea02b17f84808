"""``refloss plot``: one picture of a section that was evaluated on files of data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from refloss.cli.evaluate import Step, progress
from refloss.cli.table import console, print_written
from refloss.errors import InputError, did_you_mean
from refloss.files.load import load_dataset
from refloss.files.output import check_output
from refloss.options import load_options
from refloss.results import AlignedResult, PointwiseResult, SectionResult, SectionTerm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Subject = Literal["aligned", "pointwise", "huber"]


@dataclass(frozen=True)
class Kind:
    """A picture, and what it can be told.

    Attributes
    ----------
    subject : {"aligned", "pointwise", "huber"}
        Of which terms it is: of one aligned term, of all pointwise terms or one, of the δ of one huber term.
    structure, energy_range : bool
        Whether it is of one structure, and whether it has an energy axis to choose from.
    grad : bool
        Whether it needs the gradient.
    """

    subject: Subject
    structure: bool = False
    energy_range: bool = False
    grad: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "alignment": Kind("aligned", structure=True, energy_range=True),
    "conventions": Kind("aligned", structure=True, energy_range=True),
    "cumulative": Kind("aligned", structure=True, energy_range=True),
    "gallery": Kind("aligned", energy_range=True),
    "gradient": Kind("aligned", structure=True, energy_range=True, grad=True),
    "landscapes": Kind("aligned"),
    "masks": Kind("aligned", energy_range=True),
    "parity": Kind("pointwise"),
    "penalty": Kind("aligned", structure=True, energy_range=True),
    "pointwise": Kind("huber"),
    "shifts": Kind("aligned"),
    "terms": Kind("aligned"),
}
"""Every picture by its name: ``refloss.plotting.plot_<name>`` draws it."""

FORMATS: Final = (".png", ".svg", ".pdf")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, draw one picture, write it, say where it is."""
    from refloss.plotting import save

    kind = _kind(arguments)
    files = {name: getattr(arguments, name) for name in ("predictions", "targets", "extra_data")}
    given = [path for paths in (*files.values(), arguments.indices) for path in paths or ()]
    given += [path for path in (arguments.options, arguments.data) if path is not None]
    check_output("--out", arguments.out, inputs=given)
    with progress() as step:
        step("reading the options")
        section = load_options(arguments.options)
        step("reading the data")
        chosen = {"data": arguments.data, "which": arguments.set, "indices": arguments.indices}
        data = load_dataset(arguments.options, **files, **chosen)
        read = [Path(path) for part in files for path in data.inputs.get(part) or ()]
        check_output("--out", arguments.out, inputs=read)
        step("evaluating")
        result = section.evaluate(**data.arguments(), grad=kind.grad)
        figure = draw(arguments.kind, result, arguments, step)
        step(f"writing {arguments.out}")
        save(figure, arguments.out)
    print_written([arguments.out], console(sys.stdout))


def draw(name: str, result: SectionResult, arguments: argparse.Namespace, step: Step) -> Figure:
    """Draw the picture `name` of the term, the structure and the energies that the arguments name."""
    kind, function = KINDS[name], _function(name)
    step(f"drawing {name}")
    if kind.subject == "pointwise":
        terms = None if arguments.target is None else [_term(result, kind.subject, arguments.target)[0]]
        return function(result, terms=terms)
    _, term = _term(result, kind.subject, arguments.target)
    if kind.subject == "huber":
        return function(term.arguments["delta"])
    options: dict[str, Any] = {}
    aligned: Any = term.result
    if kind.structure:
        options["b"] = _structure(aligned, arguments.structure)
    if kind.energy_range:
        options["energy_range"] = arguments.energy_range
    return function(aligned, **options)


def _function(name: str) -> Callable[..., Figure]:
    from refloss import plotting

    function: Callable[..., Figure] = getattr(plotting, f"plot_{name}")
    return function


def _kind(arguments: argparse.Namespace) -> Kind:
    """Return the kind of picture; raise for one that there is not, or that does not take what it is told."""
    kind = KINDS.get(arguments.kind)
    if kind is None:
        names = ", ".join(KINDS)
        raise InputError(f"KIND: found {arguments.kind!r}, expected {names}{did_you_mean(arguments.kind, KINDS)}")
    for option in ("structure", "energy_range"):
        if getattr(arguments, option) is not None and not getattr(kind, option):
            takers = ", ".join(name for name, other in KINDS.items() if getattr(other, option))
            flag = f"--{option.replace('_', '-')}"
            raise InputError(f"{flag}: found one for {arguments.kind}, expected it for {takers} alone")
    if arguments.out.suffix.lower() not in FORMATS:
        raise InputError(f"--out: found {arguments.out}, expected a file that ends in {', '.join(FORMATS)}")
    return kind


_SUBJECTS: Final = {
    "aligned": "masked_dos or shift_agnostic_mse",
    "pointwise": "mse, mae or huber",
    "huber": "huber or masked_huber",
}


def _fits(term: SectionTerm, subject: Subject) -> bool:
    if subject == "aligned":
        return isinstance(term.result, AlignedResult)
    return isinstance(term.result, PointwiseResult) and (subject == "pointwise" or "delta" in term.arguments)


def _term(result: SectionResult, subject: Subject, named: str | None) -> tuple[str, SectionTerm]:
    """Return the term to draw: the one that is named, or the only one that the picture can be of."""
    fitting = {path: term for path, term in result.terms.items() if _fits(term, subject)}
    if not fitting:
        found = ", ".join(f"{path} ({term.type})" for path, term in result.terms.items())
        raise InputError(f"OPTIONS: found {found}, expected a term of {_SUBJECTS[subject]} to draw")
    if named is None:
        if len(fitting) > 1:
            raise InputError(f"--target: found none, expected one of {', '.join(fitting)}")
        ((path, term),) = fitting.items()
        return path, term
    if named not in fitting:
        hint = did_you_mean(named, fitting)
        kind = f", the terms of {_SUBJECTS[subject]}" if named in result.terms else ""
        raise InputError(f"--target: found {named!r}, expected one of {', '.join(fitting)}{kind}{hint}")
    return named, fitting[named]


def _structure(result: AlignedResult, given: int | None) -> int:
    """Return the structure to draw: the one that is named, or the one with the largest loss."""
    if given is None:
        return int(result.per_structure.argmax())
    if not 0 <= given < result.shift.size:
        raise InputError(f"--structure: found {given}, expected a number from 0 to {result.shift.size - 1}")
    return given
