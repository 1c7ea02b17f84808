"""How far a correct implementation may be from the golden figures: the formulas of docs/bounds.md, evaluated.

An implementation rounds every operation in its format, adds up in the accumulation format in any order, may flush what
is smaller than the smallest normal number, and may have rounded dx, weights and delta to the format before use. For
each figure there is a rigorous bound, and a probabilistic one with √n in the place of n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from refloss.conventions import Convention
from refloss.crosscheck import bounds_aligned
from refloss.crosscheck.formats import Format
from refloss.crosscheck.reference import POINTWISE, Golden
from refloss.crosscheck.rounding import Arithmetic
from refloss.errors import InputError
from refloss.results import Booleans, Floats, PointwiseResult

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

Form = Literal["direct", "expanded"]

_SLACK: Final = 1.0 + 2.0**-20
"""The bounds themselves are computed in float64, in sums of less than 2^30 positive terms."""

_GOLDEN: Final = 2.0**-52
"""A golden figure is within 0.501 ulp, an element of a gradient within 1 ulp: this part of it at most."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Bounds on the absolute error of each figure, an array of the figure's shape each.

    Attributes
    ----------
    bound : mapping
        Rigorous; "value", "elements", "per_structure", "terms.dos", …, "grad", as in `Golden.figures`. Infinite where
        an intermediate result may be beyond the largest number of the format: nothing is then proven.
    expected : mapping
        Alike, but for sums, which are off by more than this in one case of a thousand million, if roundings are as
        good as independent.
    """

    bound: Mapping[str, Floats]
    expected: Mapping[str, Floats]
    _objective: Callable[[], tuple[Floats, Booleans]] = field(repr=False)

    @cached_property
    def objective(self) -> tuple[Floats, Booleans]:
        """(B, S) The bound of the objective at every shift, and where it may overflow to infinity."""
        with np.errstate(all="ignore"):
            bound, overflows = self._objective()
        return bound * _SLACK, overflows | ~np.isfinite(bound)


def tolerance(
    case: Case,
    golden: Golden,
    convention: str | Convention | None,
    format: Format,  # noqa: A002
    accumulate: Format,
    form: Form = "direct",
) -> Tolerance:
    """Return how far a correct implementation may be from `golden`, at golden's shifts.

    Parameters
    ----------
    case : Case
    golden : Golden
        Of this case and convention.
    convention : str or Convention or None
    format, accumulate : Format
        What it computes in, and what it adds up in.
    form : {"direct", "expanded"}
        Whether squares of differences are taken of the differences, or as Σp² − 2Σpt + Σt², and the cumulatives as
        cumtrapz(a) − cumtrapz(t).

    Raises
    ------
    InputError
        Unknown form; golden figures of another convention.
    """
    if form not in get_args(Form):
        raise InputError(f"form: found {form!r}, expected 'direct' or 'expanded'")
    expanded = form == "expanded"
    proven, probable = (Arithmetic(format, accumulate, probable=flag) for flag in (False, True))
    evaluate: Callable[[Arithmetic], dict[str, Floats]]
    if isinstance(golden.result, PointwiseResult):
        evaluate, objective = partial(_pointwise, case, golden.result, expanded), _no_objective
    else:
        found = golden.result.convention
        if convention is not None and convention not in (found, found.name):
            named = convention if isinstance(convention, str) else convention.name
            raise InputError(f"golden: found figures of the convention {found.name!r}, expected those of {named!r}")
        evaluate = partial(bounds_aligned.evaluate, golden.result, expanded)
        objective = partial(bounds_aligned.objective, golden, expanded, proven)
    with np.errstate(all="ignore"):
        bound, expected = (
            {
                name: _finish(error, golden.figures[name], r)
                for name, error in evaluate(r).items()
                if name in golden.figures
            }
            for r in (proven, probable)
        )
    return Tolerance(bound, expected, objective)


def _finish(error: Floats, figure: Floats, r: Arithmetic) -> Floats:
    """Add what the report in the format and the golden figure's own rounding may be off by."""
    size = np.abs(figure)
    total = (error + r.report_unit * (size + error)) * _SLACK + _GOLDEN * size
    total = np.where((error > 0.0) & (size < 2.0 * r.tiny), total + r.tiny, total)
    return np.where(np.isnan(total) | (size + total > r.largest), np.inf, total)


def _no_objective() -> tuple[Floats, Booleans]:
    raise InputError("case: found a pointwise loss, expected an aligned one: it has no objective")


# ---- pointwise losses ------------------------------------------------------------------------------------------


def _pointwise(case: Case, result: PointwiseResult, expanded: bool, r: Arithmetic) -> dict[str, Floats]:
    name, mean = POINTWISE[case.loss], case.params.get("reduction", "mean") == "mean"
    p, t = (x[result.selected] for x in (case.predictions, case.targets))
    # A square; a difference and products.
    roundings, flushes = {"mse": (1, 7 if expanded else 1), "mae": (0, 0), "huber": (4, 3)}[name]
    parts: dict[str, Callable[[Floats, Floats, bool, Arithmetic], _Parts]] = {
        "mse": _square,
        "mae": _absolute,
        "huber": partial(_huber, float(case.params.get("delta", 1.0))),
    }
    size, moved, slope, turned = parts[name](p, t, expanded, r)
    flushed = np.where(size + moved > 0.0, flushes * r.tiny, 0.0)
    each = moved + r.growth(roundings=roundings) * (size + moved) + flushed
    each = np.where(size > r.largest, np.inf, each)

    share = 1.0 / max(result.count, 1) if mean else 1.0
    # A sum, its entry into the accumulator, and 1/n rounded and multiplied; mse by a contraction of d with itself.
    g = r.growth(additions=max(p.size - 1, 0), roundings=3 if mean else 1, products=int(name != "mae"))
    total, sizes = each.sum(), size.sum()
    value = share * (total + g * (sizes + total)) + (r.tiny if total > 0.0 else 0.0)

    growth = 0.0 if name == "mae" and not mean else r.growth(roundings=2 if name == "mae" else 4)  # a sign is exact
    steep = turned + growth * (slope + turned)
    grad = np.zeros(case.predictions.shape)
    grad[result.selected] = share * steep + np.where(steep > 0.0, 3.0 * r.tiny * np.maximum(slope, 1.0), 0.0)
    return {"value": np.asarray(value if sizes <= r.largest else np.inf), "elements": each, "grad": grad}


# Each returns: of what the element is made, and by how much it moves with d and delta; the same of the slope.
_Parts = tuple[Floats, Floats, Floats, Floats]


def _square(p: Floats, t: Floats, expanded: bool, r: Arithmetic) -> _Parts:
    size, error = r.difference(p, t)
    base = np.abs(p) + np.abs(t) if expanded else size
    moved = 2.0 * base * error + error * error + (r.growth(additions=2, roundings=1) * base * base if expanded else 0.0)
    return base * base, moved, 2.0 * base, 2.0 * error


def _absolute(p: Floats, t: Floats, expanded: bool, r: Arithmetic) -> _Parts:
    size, error = r.difference(p, t)
    return size, error, np.where(size > 0.0, 1.0, 0.0), np.where((size > 0.0) & (error >= size), 1.0, 0.0)


def _huber(delta: float, p: Floats, t: Floats, expanded: bool, r: Arithmetic) -> _Parts:
    size, error = r.difference(p, t)
    inside, off = size <= delta, r.constant(delta) * delta
    knee = size + error >= delta - off
    slope = np.minimum(size, delta)
    linear = np.maximum(size - delta, 0.0) + error
    moved = slope * error + error * error + np.where(knee, linear * off + (error + off) ** 2, 0.0)
    turned = np.where(inside, error, 0.0) + np.where(knee, off + error, 0.0)
    return np.where(inside, 0.5 * size * size, delta * (size + 0.5 * delta)), moved, slope, turned
