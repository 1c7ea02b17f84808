"""Figures that were computed elsewhere, from the inputs of golden vectors, and their verdicts.

A file of results is a JSON object of case ids, each with an object of the figures `value`, `per_structure`, `shift`,
`terms` and `grad`, those that there are. Numbers are JSON numbers, or strings of decimal or hexadecimal ones with
spaces between; arrays may be flat, in C order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from refloss.conventions import LOSSES as CONVENTIONS
from refloss.conventions import Convention
from refloss.crosscheck.candidates import FIGURES, TERMS, Returned
from refloss.crosscheck.cases import Case
from refloss.crosscheck.formats import Format, quantise
from refloss.crosscheck.report import CrosscheckReport
from refloss.crosscheck.runner import run_recorded
from refloss.crosscheck.vectors import Vectors, decode, read_json
from refloss.errors import InputError, did_you_mean
from refloss.results import Floats

Results = Mapping[str, Mapping[str, Any]]


def read_results(path: Path) -> Results:
    """Read a file of results.

    Raises
    ------
    InputError
        It cannot be read, or is not an object of objects.
    """
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(figures, dict) for figures in found.values()):
        raise InputError(f'{path}: expected {{case id: {{"value": number, …}}, …}}')
    return found


def check(
    results: Results, vectors: Sequence[Vectors], *, convention: str | Convention | None = None, name: str = "results"
) -> list[CrosscheckReport]:
    """Judge results, as `refloss.crosscheck` judges a candidate; a report for each loss and format that they are of.

    Parameters
    ----------
    results : mapping
        Case ids to mappings of figures.
    vectors : sequence of Vectors
        What the results are of. A file of which there is no result is passed over; of one with results every case must
        have one.
    convention : str or Convention, optional
        By which alone an aligned loss is right; without it any named one that fits all cases of a file.
    name : str
        What the reports call the implementation.

    Raises
    ------
    InputError
        There are no results; an id is that of no case; a figure is unknown or no number; or the convention is unknown.
    """
    known = {case.id for found in vectors for case in found.cases}
    for identity in results:
        if identity not in known:
            raise InputError(f"results: {identity!r} is the id of no case{did_you_mean(identity, known)}")
    reports = []
    for found in vectors:
        if any(case.id in results for case in found.cases):
            asked = convention if found.loss in CONVENTIONS else None
            answers = list(_answers(found, results))
            reports.append(run_recorded(answers, found.loss, dtype=found.format.name, convention=asked, name=name))
    if not reports:
        raise InputError("results: found none, expected at least those of one file of vectors")
    return reports


def _answers(vectors: Vectors, results: Results) -> Iterator[tuple[Case, Returned]]:
    for case in vectors.cases:
        if case.id in results:
            yield case, _returned(case, results[case.id], vectors.format)
        else:
            yield case, Returned({}, {}, error="there is no result for this case")


def _returned(case: Case, given: Mapping[str, Any], form: Format) -> Returned:
    flat = {name: value for name, value in given.items() if name != "terms"}
    terms = given.get("terms", {})
    if not isinstance(terms, dict):
        raise InputError(f"results: {case.id}: terms: found {type(terms).__name__}, expected {{{', '.join(TERMS)}}}")
    flat |= {f"terms.{name}": value for name, value in terms.items()}
    figures: dict[str, Any] = {}
    dtypes: dict[str, str] = {}
    for name, value in flat.items():
        if name not in FIGURES:
            raise InputError(f"results: {case.id}: found {name!r}, expected some of {', '.join(FIGURES)}{_near(name)}")
        numbers = _shaped(_numbers(f"{case.id}: {name}", value), _shape(case, name))
        if name == "shift" and (np.rint(numbers) == numbers).all() and (np.abs(numbers) < 2.0**53).all():
            figures[name], dtypes[name] = numbers.astype(np.int64), "int64"
        else:
            figures[name], dtypes[name] = numbers, _narrowest(numbers, form)
    return Returned(figures, dtypes)


def _near(name: str) -> str:
    return did_you_mean(name, FIGURES)


def _numbers(what: str, value: Any) -> Floats:
    try:
        if isinstance(value, str):
            return decode(value)
        array = np.asarray(value)
        if array.dtype.kind == "U":
            return decode(" ".join(array.ravel().tolist())).reshape(array.shape)
        if array.dtype.kind == "b":
            raise ValueError("true and false")
        return array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"results: {what}: found no numbers: {error}") from error


_PER_STRUCTURE: Final = ("per_structure", "shift", *(f"terms.{term}" for term in TERMS))


def _shape(case: Case, figure: str) -> tuple[int, ...]:
    """Return the shape that a figure of a case has."""
    if figure == "grad":
        return case.predictions.shape
    if figure in _PER_STRUCTURE or (case.loss in CONVENTIONS and case.params["reduction"] == "none"):
        return case.predictions.shape[:1]
    if case.params["reduction"] != "none":
        return ()
    selected = ~np.isnan(case.targets) if case.mask is None else case.mask & ~np.isnan(case.targets)
    return (int(selected.sum()),)


def _shaped(numbers: Floats, shape: tuple[int, ...]) -> Floats:
    """Return numbers in this shape, where they come as a list without one, and are as many."""
    if numbers.ndim <= 1 and numbers.size == int(np.prod(shape)):
        return numbers.reshape(shape)
    return numbers


def _narrowest(numbers: Floats, form: Format) -> str:
    """Return the name of the type that they came from: that of the format, unless it does not hold them."""
    finite = numbers[np.isfinite(numbers)]
    fits = bool((np.abs(finite) <= form.largest).all()) and np.array_equal(quantise(finite, form), finite)
    return form.storage if fits else "float64"
