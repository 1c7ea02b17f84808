"""What to tell of an evaluated section beyond its figures: alignments, the other conventions, what was not used.

Tables, JSON and reports are made of a `Summary`; none of them computes anything. Shifts are in grid points; times the
energy step they are in eV. (docs/specification.md, sections 3 and 6.)
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import refloss
from refloss.aligned import under
from refloss.errors import InputError
from refloss.files import Dataset
from refloss.interop.metatensor import is_tensormap
from refloss.metrics import DensityErrors, compare
from refloss.results import AlignedResult, EnsembleResult, PointwiseResult, SectionResult, SectionTerm, json_safe
from refloss.section import LOSS_TYPES, LossSection


@dataclass(frozen=True)
class Under:
    """An aligned term under another convention, its own switches apart all else equal.

    Attributes
    ----------
    value : float, list of float or None
        None where the convention does not apply.
    contribution : float or None
        weight · value, None where there is none.
    moved : int or None
        How many structures it aligns to another shift.
    reason : str or None
        Why it does not apply.
    """

    value: float | list[float] | None
    contribution: float | None
    moved: int | None
    reason: str | None


@dataclass(frozen=True)
class Alignment:
    """How the structures of an aligned term were aligned; `smallest`, `median` and `largest` are shifts in points."""

    structures: int
    shifts: int
    padding: int
    """Zeros on both sides of a prediction. Where there are any, this is the shift that moves nothing."""
    energy_step: float
    smallest: int
    median: float
    largest: int
    tied: int
    at_first: int
    at_last: int
    in_padding: int
    """The structures whose window holds none of the prediction's points, where the misfit gives no gradient."""
    empty_masks: int
    counted: float
    """The share of all target points that the masks count."""


@dataclass(frozen=True)
class TermSummary:
    """One term: its figures, and what is to be told of its alignment (None where it is not an aligned loss)."""

    term: SectionTerm
    count: int
    """The elements, or for an aligned loss the structures, that the reduction is over."""
    convention: str | None
    alignment: Alignment | None
    conventions: dict[str, Under]
    """Every named convention of the type but the term's own."""
    metrics: DensityErrors | None
    """How far the aligned predictions are from their targets, beside the loss."""

    def metric_rows(self) -> list[MetricRow]:
        """Return what a table says of the metrics."""
        return [] if self.metrics is None else _metric_rows(self.metrics)


@dataclass(frozen=True)
class MetricRow:
    """One metric of an aligned term: of the whole set, and of its structures; those without it are left out.

    Attributes
    ----------
    name, unit : str
    whole : float or None
        The quadratic mean of the RMSE, the mean of what each structure has, or what only a set has; None where no
        structure, or no set of this one, has it.
    median, worst : float or None
        None for what only a set has, too.
    undefined : int
        How many structures are without.
    """

    name: str
    unit: str
    whole: float | None
    median: float | None
    worst: float | None
    undefined: int


@dataclass(frozen=True)
class Summary:
    """An evaluated section and all that is to be told of it."""

    losses: Mapping[str, Any]
    """The expanded section."""
    result: SectionResult
    terms: dict[str, TermSummary]
    unused: dict[str, list[str]]
    """``predictions``, ``targets`` and ``extra_data`` to the keys that no term used."""
    versions: dict[str, str]
    inputs: Mapping[str, Any]
    """What was read: `Dataset.inputs`."""
    told: tuple[str, ...]
    """What a reader of the figures should know of the data."""

    def files(self) -> list[Path]:
        """Return the files that were read."""
        parts = (self.inputs.get(part) or () for part in ("predictions", "targets", "extra_data"))
        return [Path(path) for paths in parts for path in paths]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python, safe for JSON."""
        figures = self.result.to_dict()
        for name, told in self.terms.items():
            figures["terms"][name] |= {
                "count": told.count,
                "convention": told.convention,
                "alignment": json_safe(told.alignment),
                "conventions": json_safe(told.conventions),
                "metrics": json_safe(told.metrics),
            }
        inputs = {"inputs": dict(self.inputs), "versions": self.versions, "loss": json_safe(dict(self.losses))}
        return {**inputs, **figures, "unused": self.unused}


def summarise(section: LossSection, result: SectionResult, data: Dataset) -> Summary:
    """Return what is to be told of an evaluated section.

    Every aligned term is evaluated again under each other named convention of its type.

    Parameters
    ----------
    section : LossSection
    result : SectionResult
        What its `evaluate` returned.
    data : Dataset
        What `evaluate` was given.

    Raises
    ------
    InputError
        REFLOSS_NUM_THREADS is no number of threads.
    """
    terms = {name: _term(term) for name, term in result.terms.items()}
    unused = _unused(section, result, data)
    return Summary(section.losses, result, terms, unused, versions(), data.inputs, data.told)


def versions() -> dict[str, str]:
    """Return the versions of all that has a part in the figures."""
    return {
        "refloss": refloss.__version__,
        "specification": str(refloss.SPEC_VERSION),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": version("numba"),
    }


def _term(term: SectionTerm) -> TermSummary:
    result = term.result
    if isinstance(result, PointwiseResult | EnsembleResult):
        return TermSummary(term, result.count, None, None, {}, None)
    names = (name for name in LOSS_TYPES[term.type].conventions if name != result.convention.name)
    return TermSummary(
        term,
        result.shift.size,
        result.convention.name,
        _alignment(result),
        {name: _under(term, result, name) for name in names},
        compare(result),
    )


def _metric_rows(errors: DensityErrors) -> list[MetricRow]:
    of_structures = (
        ("integrated RMSE", "states/√eV", errors.integrated_rmse, np.max),
        ("integrated absolute error", "states", errors.integrated_absolute_error, np.max),
        ("Wasserstein distance", "eV", errors.wasserstein_distance, np.max),
        ("spectral angle", "rad", errors.spectral_angle, np.max),
        ("R²", "", errors.r_squared, np.min),
    )
    rows = []
    for name, unit, figures, worst in of_structures:
        there = figures[~np.isnan(figures)]
        whole, middle, last = (float(of(there)) if there.size else None for of in (np.mean, np.median, worst))
        if figures is errors.integrated_rmse:
            whole = errors.rmse
        rows.append(MetricRow(name, unit, whole, middle, last, int(figures.size - there.size)))
    # Not the pointwise one too: where a grid is wider than the bands, as most are, the tails decide it.
    percent = errors.percent_rmse_integrated
    return [*rows, MetricRow("percent RMSE, integrated", "%", None if np.isnan(percent) else percent, None, None, 0)]


def _alignment(result: AlignedResult) -> Alignment:
    return Alignment(
        structures=result.shift.size,
        shifts=result.shifts,
        padding=result.padding,
        energy_step=result.energy_step,
        smallest=int(result.shift.min()),
        median=float(np.median(result.shift)),
        largest=int(result.shift.max()),
        tied=int(result.tied.sum()),
        at_first=int((result.shift == 0).sum()),
        at_last=int((result.shift == result.shifts - 1).sum()),
        in_padding=int(result.in_padding.sum()),
        empty_masks=int((~result.mask.any(axis=1)).sum()),
        counted=float(result.mask.mean()),
    )


def _under(term: SectionTerm, result: AlignedResult, convention: str) -> Under:
    try:
        other = under(result, convention)
    except InputError as error:
        # The arrays have passed the same gate: what is refused now is the step, the reduction or an overflow.
        return Under(None, None, None, str(error))
    value = other.value if isinstance(other.value, float) else other.value.tolist()
    contribution = term.weight * value if isinstance(value, float) else None
    return Under(value, contribution, int((other.shift != result.shift).sum()), None)


def _unused(section: LossSection, result: SectionResult, data: Dataset) -> dict[str, list[str]]:
    """Return the keys of each part of the data that no term used."""
    used: dict[str, set[str]] = {"predictions": set(), "targets": set(result.terms), "extra_data": set()}
    for name in section.losses:
        for path in (path for path in result.terms if path == name or path.startswith(f"{name}/")):
            loss = LOSS_TYPES[result.terms[path].type]
            used["predictions"].add(f"{loss.source(name)}{path[len(name) :]}")
            if loss.masked:
                used["extra_data"].add(f"{name}_mask{path[len(name) :]}")
    return {
        which: [
            path
            for name, entry in getattr(data, which).items()
            for path in (name if key == "values" else f"{name}/{key}" for key in _keys(entry))
            if path not in known
        ]
        for which, known in used.items()
    }


def _keys(entry: Any) -> list[str]:
    """Return "values" and the gradients of one target, in the order of the data."""
    if is_tensormap(entry):
        return list(dict.fromkeys(key for block in entry.blocks() for key in ("values", *block.gradients_list())))
    return list(entry)
