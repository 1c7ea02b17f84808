"""The one place that sets Numba's options.

No fastmath anywhere: the error-free transformations rest on every operation being done as it is written. Signatures
are given, and read-only, so that a new kind of array never compiles a kernel anew.

Compiled kernels are cached beside this file, or where NUMBA_CACHE_DIR says. Numba takes a cached kernel for fresh as
long as its own file has not changed, though it holds code of the other files; here it must fit all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numba
from numba import types

Float, Int, Bool = types.float64, types.int64, types.boolean

_SOURCES: Final = sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()  # fmt: skip


def read(dtype: Any, ndim: int) -> types.Array:
    """Return the type of a C-ordered array that the kernel only reads; writable ones are accepted too."""
    return types.Array(dtype, ndim, "C", readonly=True)


def write(dtype: Any, ndim: int) -> types.Array:
    """Return the type of a C-ordered array that the kernel writes."""
    return types.Array(dtype, ndim, "C")


def kernel(*arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile an entry of the kernels, which returns nothing, for these argument types, and cache it."""

    def compile_and_cache(function: Callable[..., Any]) -> Any:
        dispatcher = helper(function)
        if not hasattr(dispatcher, "enable_caching"):
            # With NUMBA_DISABLE_JIT it is the function itself.
            return dispatcher
        dispatcher.enable_caching()
        # A private attribute, for which Numba offers nothing public: the stamp that a cached kernel must carry.
        index = dispatcher._cache._cache_file
        index._source_stamp = (index._source_stamp, _SOURCES)
        dispatcher.compile(types.void(*arguments))
        dispatcher.disable_compile()
        return dispatcher

    return compile_and_cache


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, with each kernel that calls it."""
    return numba.njit(nogil=True, error_model="numpy")(function)
