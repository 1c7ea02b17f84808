"""d total / d predictions of a section, put back where the predictions were: in blocks, and before any division.

A term's own gradient is by what its entry point was given, which is joined from blocks and divided by numbers of atoms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    pieces : mapping
        Block to its array, in the order in which the blocks were joined; or `Whole` to what was given.
    divisors : mapping
        Block to what it was divided by (broadcasts); absent where it was not.
    """

    name: str
    key: str
    pieces: Mapping[Any, Any]
    divisors: Mapping[Any, Floats]


def of_total(terms: Sequence[tuple[SectionTerm, Origin]]) -> dict[str, Any]:
    """Return Σ weight · d value / d predictions, as `SectionResult.gradient` describes it."""
    gradients: dict[str, Any] = {}
    for term, origin in terms:
        joined = term.result.grad
        if joined is None:
            raise InputError("gradient: found none in the terms, expected evaluate(..., grad=True)")
        shapes = {block: joined.shape if block is Whole else array.shape for block, array in origin.pieces.items()}
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
        for (block, shape), part in zip(shapes.items(), np.split(joined.reshape(-1), ends[:-1]), strict=True):
            by_block = np.asarray(term.weight * part.reshape(shape) / origin.divisors.get(block, 1.0))
            home = gradients.setdefault(origin.name, {} if block is Whole else {"blocks": {}})
            if block is not Whole:
                home = home["blocks"].setdefault(block, {})
            home[origin.key] = np.asarray(home[origin.key] + by_block) if origin.key in home else by_block
    return gradients
