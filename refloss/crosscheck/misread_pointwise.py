"""A pointwise loss as somebody may have read it: the formulas in plain NumPy, with a switch for every slip.

`Reading` holds the switches, and its defaults are the specification (docs/specification.md, section 2); `pointwise`
evaluates a case as a reading has it. Arrays may have any shape; d = p − t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refloss.crosscheck.misread_terms import Figures
from refloss.results import Booleans, Floats

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

Element = Callable[[Floats, float], Floats]


@dataclass(frozen=True)
class Reading:
    """How a pointwise loss is computed; a switch that is not at its default is one slip. `None`: as the loss has it."""

    selected: str = "own"
    masked: str = "selection"
    element: str | None = None
    delta: float | None = None
    slope: str | None = None
    factor: float = 1.0
    sign: str = "right"
    divided: str = "by the selected"
    slope_divided: str = "like the value"
    reduction: str | None = None
    rooted: bool = False
    empty: str = "zero"
    slope_selected: str = "like the value"


ELEMENTS: Mapping[str, tuple[Element, Element]] = {
    "mse": (lambda d, _: d**2, lambda d, _: 2 * d),
    "half of mse": (lambda d, _: d**2 / 2, lambda d, _: d),
    "mae": (lambda d, _: np.abs(d), lambda d, _: np.sign(d)),
    "mean error": (lambda d, _: d, lambda d, _: np.ones_like(d)),
    "one at no difference": (lambda d, _: np.abs(d), lambda d, _: np.where(d >= 0, 1.0, -1.0)),
    "minus one at no difference": (lambda d, _: np.abs(d), lambda d, _: np.where(d > 0, 1.0, -1.0)),
    "huber": (lambda d, k: np.where(np.abs(d) <= k, d**2 / 2, k * (np.abs(d) - k / 2)), lambda d, k: np.clip(d, -k, k)),
    "without the half inside": (
        lambda d, k: np.where(np.abs(d) <= k, d**2, k * (np.abs(d) - k / 2)),
        lambda d, k: np.where(np.abs(d) <= k, 2 * d, k * np.sign(d)),
    ),
    "without the half outside": (
        lambda d, k: np.where(np.abs(d) <= k, d**2 / 2, k * (np.abs(d) - k)),
        lambda d, k: np.clip(d, -k, k),
    ),
    "nothing taken off outside": (
        lambda d, k: np.where(np.abs(d) <= k, d**2 / 2, k * np.abs(d)),
        lambda d, k: np.clip(d, -k, k),
    ),
    "no delta outside": (
        lambda d, k: np.where(np.abs(d) <= k, d**2 / 2, np.abs(d) - k / 2),
        lambda d, k: np.where(np.abs(d) <= k, d, np.sign(d)),
    ),
    "twice": (
        lambda d, k: np.where(np.abs(d) <= k, d**2, 2 * k * np.abs(d) - k**2),
        lambda d, k: 2 * np.clip(d, -k, k),
    ),
    "divided by delta": (
        lambda d, k: np.where(np.abs(d) <= k, d**2 / (2 * k), np.abs(d) - k / 2),
        lambda d, k: np.clip(d / k, -1.0, 1.0),
    ),
    "branches swapped": (
        lambda d, k: np.where(np.abs(d) > k, d**2 / 2, k * (np.abs(d) - k / 2)),
        lambda d, k: np.where(np.abs(d) > k, d, k * np.sign(d)),
    ),
    "knee by the sign": (
        lambda d, k: np.where(d <= k, d**2 / 2, k * (np.abs(d) - k / 2)),
        lambda d, k: np.where(d <= k, d, k),
    ),
    "not clipped": (lambda d, _: d**2 / 2, lambda d, _: d),
}
"""Element and derivative by p, of d and δ."""


def pointwise(case: Case, reading: Reading) -> Figures | None:
    """Return value and grad of a case as `reading` has them, or None where this reading cannot be."""
    loss = case.loss.removeprefix("masked_")
    value_of, _ = ELEMENTS[reading.element or loss]
    _, slope_of = ELEMENTS[reading.slope or reading.element or loss]
    delta = reading.delta or float(case.params.get("delta", 1.0))
    reduction = reading.reduction or str(case.params.get("reduction", "mean"))
    chosen = _selected(case, reading.selected)
    if chosen is None:
        return None
    p, t = np.asarray(case.predictions, float), np.nan_to_num(np.asarray(case.targets, float), nan=0.0)
    d = np.where(chosen, p, 0.0) - t if reading.masked == "prediction" else p - t
    counted = np.ones_like(chosen) if reading.masked in ("prediction", "not in the value") else chosen
    elements = reading.factor * value_of(d, delta)
    slopes = reading.factor * slope_of(d, delta)
    slope_chosen = chosen if reading.slope_selected == "like the value" else np.ones_like(chosen)
    factor = {"right": 1.0, "negated": -1.0, "halved": 0.5, "doubled": 2.0}[reading.sign]
    with np.errstate(all="ignore"):
        weights = _weights(counted, reading.divided if reduction == "mean" else "by one", reading.empty)
        divided = reading.divided if reading.slope_divided == "like the value" else reading.slope_divided
        always = reading.slope_divided != "like the value"
        slope_weights = _weights(counted, divided if reduction == "mean" or always else "by one", reading.empty)
        if reduction == "none":
            value: Floats = elements[counted] if reading.empty != "zeros kept" else np.where(counted, elements, 0.0)
        else:
            value = np.asarray(np.sum(np.where(counted, elements, 0.0) * weights))
            if reading.empty == "nan" and not counted.any() and reduction == "mean":
                value = np.asarray(np.nan)
        grad = factor * np.where(slope_chosen, slopes * slope_weights, 0.0)
        if reading.rooted and reduction != "none":
            value = np.sqrt(value)
            grad = grad / (2 * value) if value > 0 else grad
    return {"value": value, "grad": grad}


def _selected(case: Case, how: str) -> Booleans | None:
    present = ~np.isnan(case.targets)
    if case.mask is None:
        return {"own": present, "with NaN as zero": np.ones_like(present)}.get(how)
    mask = np.asarray(case.mask, bool)
    made: Mapping[str, Callable[[], Booleans]] = {
        "own": lambda: mask & present,
        "with NaN as zero": lambda: mask,
        "inverted": lambda: ~mask & present,
        "ignored": lambda: present,
        "the next structure's": lambda: np.roll(mask, -1, axis=0) & present,
        "the previous structure's": lambda: np.roll(mask, 1, axis=0) & present,
        "the first structure's": lambda: np.broadcast_to(mask[:1], mask.shape) & present,
        "all structures'": lambda: np.broadcast_to(mask.all(axis=0), mask.shape) & present,
        "any structure's": lambda: np.broadcast_to(mask.any(axis=0), mask.shape) & present,
        "one point late": lambda: np.roll(mask, 1, axis=-1) & present,
        "one point early": lambda: np.roll(mask, -1, axis=-1) & present,
    }
    return made[how]()


def _weights(chosen: Booleans, divided: str, empty: str) -> Floats:
    """Return what each element is multiplied by."""
    count = max(1, int(chosen.sum()))
    rows = chosen.shape[0]
    if divided == "by rows":  # the mean over structures of each one's own mean
        own = chosen.reshape(rows, -1).sum(axis=1)
        each = 1 / (rows * np.maximum(own, 1))
        return np.broadcast_to(each.reshape(rows, *[1] * (chosen.ndim - 1)), chosen.shape)
    divisor = {
        "by the selected": count,
        "by all": chosen.size,
        "by all but one": max(1, count - 1),
        "by one more": count + 1,
        "by the structures": rows,
        "by one": 1,
    }[divided]
    return np.full(chosen.shape, 1 / divisor)
