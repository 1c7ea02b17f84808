"""The one place that sets Numba's options.

No fastmath anywhere: the error-free transformations rest on every operation being done as it is written. Signatures
are given, and read-only, so that a new kind of array never compiles a kernel anew. What helpers are given as arguments
may be constants of NumPy's types, but no literals, which are types of their own, each with a compilation of its own;
and arrays are copied by loops, since an assignment brings along all that composes its error message, a second's worth.

Compiled kernels are cached beside this file, or where NUMBA_CACHE_DIR says. Numba takes a cached kernel for fresh as
long as its own file has not changed, though it holds code of the other files; here it must fit all of them, and
NUMBA_BOUNDSCHECK too. Where no folder can be written, or the one that could is full, each process compiles its own:
that takes seconds, and a RuntimeWarning says so.

With NUMBA_DISABLE_JIT the kernels run as Python, thousands of times slower, to the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numba import types

COMPILED: Final = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
"""Whether the kernels are compiled."""

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
        return _compiled(dispatcher, arguments) if COMPILED else _silent(function)

    return compile_and_cache


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, with each kernel that calls it."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def _compiled(dispatcher: Any, arguments: tuple[Any, ...]) -> Any:  # pragma: no cover (only where the JIT is on)
    """Compile a kernel, or load it from where it was kept."""
    try:
        dispatcher.enable_caching()
        # A private attribute, for which Numba offers nothing public: the stamp that a cached kernel must carry.
        index = dispatcher._cache._cache_file
        index._source_stamp = (index._source_stamp, _SOURCES, numba.config.BOUNDSCHECK)  # type: ignore[attr-defined]
    except RuntimeError:  # so says Numba where no folder can be written
        _warn_uncached("there is no folder to keep them in")
    try:
        dispatcher.compile(types.void(*arguments))
    except OSError as error:  # it is compiled then, and only not kept
        _warn_uncached(str(error.strerror))
    dispatcher.disable_compile()
    return dispatcher


@cache
def _warn_uncached(reason: str) -> None:  # pragma: no cover (only where the JIT is on)
    """Say, once for each reason, that compiled kernels are not kept."""
    warnings.warn(
        f"refloss compiles its kernels anew in every process, which takes seconds ({reason}): set NUMBA_CACHE_DIR to "
        "a folder that can be written",
        RuntimeWarning,
        stacklevel=3,
    )


def _silent(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make NumPy as silent about overflow and the like as compiled code is."""

    @wraps(function)
    def run(*arguments: Any) -> None:
        with np.errstate(all="ignore"):
            function(*arguments)

    return run
