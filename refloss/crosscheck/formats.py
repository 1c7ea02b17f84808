"""The number formats that an implementation may compute in, and what arithmetic in them is worth.

A format rounds to nearest with unit roundoff `unit`, so that the rounded result of one operation is the exact one
times (1 + e), abs(e) ≤ unit. How far a correct implementation may then be off is `refloss.crosscheck.bounds`.

References
----------
float16, float32, float64: IEEE Std 754-2019, binary16, binary32, binary64. bfloat16: the upper half of a float32. tf32:
float32 storage and sums, but products of operands with 11 significand bits (NVIDIA A100 Tensor Core GPU Architecture,
2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refloss.errors import InputError, did_you_mean
from refloss.results import Floats


@dataclass(frozen=True)
class Format:
    """A number format.

    Attributes
    ----------
    name : str
    storage : str
        The name that the array libraries have for the type of its arrays.
    unit : float
        Unit roundoff of an operation, 2^−p with p significand bits.
    product_unit : float
        Unit roundoff of the operands of a product in a matrix multiplication or convolution.
    tiny : float
        The smallest normal number: what is smaller may be flushed to zero.
    largest : float
        The largest finite number.
    """

    name: str
    storage: str
    unit: float
    product_unit: float
    tiny: float
    largest: float


def _format(name: str, bits: int, emin: int, storage: str | None = None, operand_bits: int | None = None) -> Format:
    """Return the format of `bits` significand bits and normal numbers from 2^emin on."""
    unit, tiny = 2.0**-bits, 2.0**emin
    return Format(
        name, storage or name, unit, 2.0 ** -(operand_bits or bits), tiny, (1.0 - unit) * 2.0 ** (1 - emin) * 2.0
    )


FORMATS: Final[Mapping[str, Format]] = {
    found.name: found
    for found in (
        _format("float64", 53, -1022),
        _format("float32", 24, -126),
        _format("tf32", 24, -126, storage="float32", operand_bits=11),
        _format("float16", 11, -14),
        _format("bfloat16", 8, -126),
    )
}
"""Every format by its name."""

_OTHER_NAMES: Final = {
    "fp64": "float64", "double": "float64", "fp32": "float32", "single": "float32", "float": "float32",
    "fp16": "float16", "half": "float16", "bf16": "bfloat16",
}  # fmt: skip
"""What the formats are called elsewhere: fp32 would be taken for a misspelt tf32."""


def find(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    InputError
        There is none.
    """
    if not isinstance(name, str) or name not in FORMATS:
        hint = did_you_mean(_OTHER_NAMES.get(name, name), FORMATS) if isinstance(name, str) else ""
        raise InputError(f"dtype: found {name!r}, expected one of {', '.join(FORMATS)}{hint}")
    return FORMATS[name]


def quantise(x: Any, format: Format) -> Floats:  # noqa: A002
    """Return the nearest numbers of the format, ties to even, as float64; subnormal numbers are kept, and so is NaN.

    Raises
    ------
    InputError
        A number is infinite, or rounds to what is beyond the format's largest.
    """
    numbers = np.asarray(x, dtype=np.float64)
    _, exponent = np.frexp(np.where(np.isfinite(numbers), numbers, 0.0))
    bits = -int(np.log2(format.unit))
    # The spacing of the format around each number; below `tiny` it is the one at `tiny`.
    spacing = np.maximum(exponent - bits, int(np.log2(format.tiny)) + 1 - bits)
    nearest: Floats = np.ldexp(np.rint(np.ldexp(numbers, -spacing)), spacing)
    if (beyond := np.abs(nearest) > format.largest).any():
        where = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise InputError(
            f"numbers for {format.name}: found {float(numbers[where])!r} at index {where}, expected at most "
            f"{format.largest!r} in absolute value"
        )
    return nearest
