"""What roundings may add up to: the model of arithmetic that `refloss.crosscheck.bounds` rests on.

The letters are those of docs/bounds.md, section 2.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from refloss.crosscheck.formats import Format
from refloss.results import Floats

LAMBDA: Final = 6.55
"""√(2 ln(2·10⁹)): n independent roundings add up to more than λ√n u with a probability of less than 1e-9."""


class Arithmetic:
    """A format, with what its sums are formed in.

    Parameters
    ----------
    format, accumulate : Format
    probable : bool
        Whether a sum of n is taken to be off by λ√n roundings, where that is less than n.
    """

    def __init__(self, format: Format, accumulate: Format, *, probable: bool) -> None:  # noqa: A002
        # Operands that are cut to their length, not rounded, lose twice as much, and so does a sum of their products.
        self._cut = format.product_unit != format.unit
        self.unit = max(format.unit, accumulate.unit)
        self.report_unit = format.unit
        self.operand = 2 * format.product_unit if self._cut else 0.0
        self.sum_unit = (2 if self._cut else 1) * accumulate.unit
        self.tiny = max(format.tiny, accumulate.tiny)
        self.largest = min(format.largest, accumulate.largest)
        # What is cut always errs to the same side: such roundings are not independent.
        self._probable = probable and not self._cut

    def growth(self, additions: Any = 0, roundings: int = 0, products: int = 0, constants: float = 0.0) -> Any:
        """Return the relative error of a sum whose summands went through roundings and inexact constants.

        `products` counts the contractions (matrix products, convolutions) among the roundings: their operands may be
        cut.
        """
        count = np.minimum(additions, LAMBDA * np.sqrt(additions)) if self._probable else additions
        # Of logarithms, since 1 + u is 1 in float64. Off by n s and no more are n additions rounded to nearest alone.
        added = count * np.log1p(self.sum_unit) if self._cut else np.log1p(count * self.sum_unit)
        powers = roundings * np.log1p(self.unit) + 2 * products * np.log1p(self.operand)
        return np.expm1(added + powers + np.log1p(constants))

    def constant(self, number: float) -> float:
        """Return the relative error of a number that is rounded to the format, or flushed to zero."""
        size = abs(number)
        return self.unit + (self.tiny / size if 0.0 < size < 2.0 * self.tiny else 0.0)

    def flushed(self, x: Floats) -> Floats:
        """Return what a number loses in being read, where it is below the smallest normal one."""
        return np.where((x != 0.0) & (np.abs(x) < self.tiny), self.tiny, 0.0)

    def difference(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Return |a − b|, which the format rounds once, and the error."""
        size = np.abs(a - b)
        lost = self.flushed(a) + self.flushed(b)
        small = (size + lost > 0.0) & (size < 4.0 * self.tiny)
        return size * (1.0 + 2.0**-52), self.unit * size + lost + np.where(small, self.tiny, 0.0)

    def underflow(self, product: Floats, flushed: Floats, *factors: Any) -> Floats:
        """Return what products of some of the factors lose below the smallest normal number.

        At most `flushed`, at most the whole product, and nothing where no product can be so small.
        """
        smallest: Any = 1.0
        for factor in factors:
            smallest = smallest * np.minimum(1.0, 0.5 * factor)
        return np.where(smallest < 2.0 * self.tiny, np.minimum(product, flushed), 0.0)
