"""The golden figures of a case: those of refloss, at the shifts that it finds or at given ones.

Shapes: B structures, N points of a target, P of a prediction, S shifts. Units as in docs/specification.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import refloss
from refloss.conventions import LOSSES, Convention
from refloss.errors import InputError, did_you_mean
from refloss.results import AlignedResult, Floats, Integers, PointwiseResult

if TYPE_CHECKING:
    from refloss.crosscheck.bounds import Tolerance
    from refloss.crosscheck.cases import Case

POINTWISE = {"mse": "mse", "mae": "mae", "huber": "huber"} | {
    f"masked_{name}": name for name in ("mse", "mae", "huber")
}
"""The pointwise losses, each with the entry point that computes it."""

TERMS = ("dos", "front_tail", "unmasked_gradient", "cumulative")
"""The names of the terms of an aligned loss."""


@dataclass(frozen=True, eq=False)
class Golden:
    """The figures of a case.

    Attributes
    ----------
    value : float or None
        None for the reduction "none".
    elements : (n,) array or None
        Of a pointwise loss with the reduction "none": the selected elements in C order.
    per_structure, shift : (B,) arrays or None
        None for a pointwise loss.
    terms : mapping
        The names of `TERMS` to (B,) arrays; empty for a pointwise loss.
    grad : array of the predictions' shape
    result : PointwiseResult or AlignedResult
        What refloss returned.
    """

    value: float | None
    elements: Floats | None
    per_structure: Floats | None
    shift: Integers | None
    terms: Mapping[str, Floats]
    grad: Floats
    result: PointwiseResult | AlignedResult

    @cached_property
    def figures(self) -> dict[str, Floats]:
        """The figures that there are, by the names that `refloss.crosscheck.bounds.Tolerance` has for them."""
        named = {"value": self.value, "elements": self.elements, "per_structure": self.per_structure}
        named |= {f"terms.{name}": term for name, term in self.terms.items()}
        return {name: np.asarray(figure) for name, figure in named.items() if figure is not None} | {"grad": self.grad}

    @cached_property
    def landscape(self) -> Floats:
        """(B, S) The objective of an aligned loss at every shift."""
        assert isinstance(self.result, AlignedResult)
        return self.result.landscape()


def reference(
    case: Case, convention: str | Convention | None = None, *, shift: Integers | Sequence[int] | None = None
) -> Golden:
    """Return the golden figures of a case.

    Parameters
    ----------
    case : Case
        Predictions, targets, mask, params and the name of the loss.
    convention : str or Convention, optional
        Of an aligned loss; without it the loss's own default.
    shift : (B,) integers, optional
        Evaluate an aligned loss at these shifts, not at the best ones.

    Raises
    ------
    InputError
        Unknown loss or convention; a convention or a shift for a pointwise loss; a shift that there is not; what the
        loss refuses.
    """
    given: dict[str, Any] = {} if case.mask is None else {"mask": case.mask}
    if case.loss in POINTWISE:
        for name, found in (("convention", convention), ("shift", shift)):
            if found is not None:
                raise InputError(f"{name}: found {found!r}, expected None: {case.loss} has none")
        entry = getattr(refloss, POINTWISE[case.loss])
        return _pointwise(entry(case.predictions, case.targets, **given, **case.params, grad=True))
    if case.loss not in LOSSES:
        known = (*POINTWISE, *LOSSES)
        raise InputError(
            f"loss: found {case.loss!r}, expected one of {', '.join(known)}{did_you_mean(case.loss, known)}"
        )
    if convention is not None:
        given["convention"] = convention
    entry = getattr(refloss, case.loss)
    golden = _aligned(entry(case.predictions, case.targets, **given, **case.params, grad=True))
    return golden if shift is None else at_shift(golden, shift)


def at_shift(golden: Golden, shift: Integers | Sequence[int]) -> Golden:
    """Return the golden figures of the same case at these shifts (B,).

    Raises
    ------
    InputError
        There is not one shift for each structure, or not such a shift.
    """
    from refloss import engine

    assert isinstance(golden.result, AlignedResult)
    moved = _aligned(engine.at_shift(golden.result, np.asarray(shift)))
    if "landscape" in golden.__dict__:  # the same at whichever shift the figures are
        moved.__dict__["landscape"] = golden.landscape
    return moved


def equivalent_shifts(case: Case, golden: Golden, tolerance: Tolerance) -> list[Integers]:
    """Return, per structure, every shift that a correct implementation may take for the best.

    Whoever takes s found the objective there not above the one at any other s': so obj(s) − bound(s) ≤ obj(s') +
    bound(s') for all s', exact objectives and their bounds. One that may overflow at s' tells nothing.

    Raises
    ------
    InputError
        A pointwise loss has no shifts.
    """
    if not isinstance(golden.result, AlignedResult):
        raise InputError(f"case: found the loss {case.loss!r}, expected one of {', '.join(LOSSES)}: it has no shifts")
    bound, overflows = tolerance.objective
    upper = np.where(overflows, np.inf, golden.landscape + bound).min(axis=1, keepdims=True)
    # An objective beyond the largest float64 is beyond every format's, too.
    possible = np.isfinite(golden.landscape) & (golden.landscape - np.where(np.isfinite(bound), bound, 0.0) <= upper)
    return [np.flatnonzero(row) for row in possible]


def _pointwise(result: PointwiseResult) -> Golden:
    value, elements = (result.value, None) if isinstance(result.value, float) else (None, result.value)
    assert result.grad is not None
    return Golden(value, elements, None, None, {}, result.grad, result)


def _aligned(result: AlignedResult) -> Golden:
    value = result.value if isinstance(result.value, float) else None
    terms = {field.name: getattr(result.terms, field.name) for field in dataclasses.fields(result.terms)}
    assert result.grad is not None
    return Golden(value, None, result.per_structure, result.shift, terms, result.grad, result)
