"""d total / d predictions of a section, put back where the predictions were: in blocks, and before any division.

A term's own gradient is by what its entry point was given, which is joined from blocks and divided by numbers of atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from refloss.arithmetic import standard_arithmetic
from refloss.errors import InputError
from refloss.results import Floats, SectionTerm


class Whole:
    """Stands for the key of the one block of data that are not in blocks."""


@dataclass(frozen=True)
class Origin:
    """Where the predictions of one term came from.

    Attributes
    ----------
    name, key : str
        The entry of the predictions, and "values" or the gradient that was read there.
    shapes : mapping
        Block to the shape of its array, in the order in which the blocks were joined; or `Whole` to None: the shape is
        that of the term's gradient. (The arrays themselves are not kept: a tensor would keep its graph alive.)
    divisors : mapping
        Block to what it was divided by (broadcasts); absent where it was not.
    """

    name: str
    key: str
    shapes: Mapping[Any, tuple[int, ...] | None]
    divisors: Mapping[Any, Floats]


@standard_arithmetic
def of_total(terms: Mapping[str, SectionTerm], origins: Mapping[str, Origin]) -> dict[str, Any]:
    """Return Σ weight · d value / d predictions, as `SectionResult.gradient` describes it."""
    gradients: dict[str, Any] = {}
    for path, origin in origins.items():
        term = terms[path]
        joined = term.result.grad
        if joined is None:
            raise InputError("gradient: found none in the terms, expected evaluate(..., grad=True)")
        shapes = {block: joined.shape if shape is None else shape for block, shape in origin.shapes.items()}
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
        for (block, shape), part in zip(shapes.items(), np.split(joined.reshape(-1), ends[:-1]), strict=True):
            by_block = _weighted(term.weight, part.reshape(shape), origin.divisors.get(block), path)
            home = gradients.setdefault(origin.name, {} if block is Whole else {"blocks": {}})
            if block is not Whole:
                home = home["blocks"].setdefault(block, {})
            home[origin.key] = _added(home[origin.key], by_block, path) if origin.key in home else by_block
    return gradients


def _weighted(weight: float, slopes: Floats, divisor: Floats | None, path: str) -> Floats:
    divisors = np.broadcast_to(1.0 if divisor is None else divisor, slopes.shape)
    with np.errstate(over="ignore"):
        found = np.asarray(weight * slopes / divisors)
    return _mended(found, lambda i: Fraction(weight) * Fraction(slopes[i]) / Fraction(divisors[i]), path)


def _added(a: Floats, b: Floats, path: str) -> Floats:
    with np.errstate(over="ignore"):
        found = np.asarray(a + b)
    return _mended(found, lambda i: Fraction(a[i]) + Fraction(b[i]), path)


def _mended(found: Floats, exact: Callable[[tuple[int, ...]], Fraction], path: str) -> Floats:
    """Compute exactly what overflowed, on the way or for good: the latter is an `InputError`."""
    from refloss.exact import nearest

    for row in np.argwhere(~np.isfinite(found)).tolist():
        index = tuple(row)
        found[index] = nearest(exact(index), f"{path}: gradient (index {index})")
    return found
