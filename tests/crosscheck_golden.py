"""Candidates for the tests of the cross-check: the golden figures themselves, rounded to the type of the predictions.

They show what the verdicts make of known figures; implementations are in crosscheck_candidate and crosscheck_mutants.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import refloss

TERMS = ("dos", "front_tail", "unmasked_gradient", "cumulative")


def masked_dos(predictions: Any, targets: Any, mask: Any, *, convention: str = "intended", **params: Any) -> Any:
    """Return every figure."""
    found = refloss.masked_dos(predictions, targets, mask, convention=convention, grad=True, **params)
    return rounded(figures(found), predictions.dtype)


def value_alone(predictions: Any, targets: Any, mask: Any, **params: Any) -> Any:
    """Return the value as a number of the predictions' type."""
    return masked_dos(predictions, targets, mask, **params)["value"]


def inverted(predictions: Any, targets: Any, mask: Any, **params: Any) -> Any:
    """Return the figures of the opposite mask."""
    return masked_dos(predictions, np.nan_to_num(targets), ~mask, **params)


def mse(predictions: Any, targets: Any, *, reduction: str) -> Any:
    """Return value and gradient."""
    found = refloss.mse(predictions, targets, reduction=reduction, grad=True)
    return rounded({"value": found.value, "grad": found.grad}, predictions.dtype)


def figures(found: refloss.AlignedResult) -> dict[str, Any]:
    """Return a result as a candidate returns it."""
    return {
        "value": found.value,
        "per_structure": found.per_structure,
        "shift": found.shift,
        "terms": {name: getattr(found.terms, name) for name in TERMS},
        "grad": found.grad,
    }


def rounded(part: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(part, dict):
        return {name: rounded(value, dtype) for name, value in part.items()}
    found = np.asarray(part)
    return found.astype(dtype)[()] if found.dtype.kind == "f" else found
