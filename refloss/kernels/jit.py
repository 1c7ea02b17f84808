"""The one place that sets Numba's options.

No fastmath anywhere: the error-free transformations rest on every operation being done as it is written. Signatures
are given, and read-only, so that a new kind of array never compiles a kernel anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types

Float, Int, Bool = types.float64, types.int64, types.boolean


def read(dtype: Any, ndim: int) -> types.Array:
    """Return the type of a C-ordered array that the kernel only reads; writable ones are accepted too."""
    return types.Array(dtype, ndim, "C", readonly=True)


def write(dtype: Any, ndim: int) -> types.Array:
    """Return the type of a C-ordered array that the kernel writes."""
    return types.Array(dtype, ndim, "C")


def kernel(*arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile an entry of the kernels, which returns nothing, for these argument types, and cache it."""
    compiled: Callable[[Callable[..., Any]], Any]
    compiled = numba.njit(types.void(*arguments), nogil=True, cache=True, error_model="numpy")
    return compiled


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, with each kernel that calls it."""
    return numba.njit(nogil=True, error_model="numpy")(function)
