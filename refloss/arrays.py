"""The gate: whatever the caller holds becomes a checked float64 array, or an `InputError`.

Every entry point checks its input here, once. float16, float32 and integers are taken exactly as float64, bfloat16
through float32; arrays that live on another device are copied to the CPU. A float64 array in C order passes through
without a copy. (docs/specification.md, section 8.)
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss.errors import InputError, did_you_mean
from refloss.results import Booleans, Floats

_EXACT_INTEGERS = 2**53

_WORTH_A_THREAD = 32
"""Chunks of `refloss.kernels.extent`, 8 MiB: less is read before another thread is awake."""


def real_array(name: str, value: Any, *, ndim: int | None = None, finite: bool = True, empty: bool = False) -> Floats:
    """Return `value` as a float64 array in C order.

    Parameters
    ----------
    name : str
        What the error messages call it.
    value : array_like
        NumPy arrays, nested lists, and arrays of other libraries that offer DLPack or ``__array__``.
    ndim : int, optional
        The number of dimensions that it must have.
    finite : bool
        Whether NaN and infinities are errors.
    empty : bool
        Whether an array of size 0 is not an error.

    Raises
    ------
    InputError
        Not numbers, a type that float64 does not hold exactly, size 0, wrong dimensions, or not finite.
    """
    array = on_host(name, value)
    if isinstance(value, list | tuple) and array.dtype.kind == "f":
        _require_exact_items(name, value)
    array = _real(name, array)
    if ndim is not None and array.ndim != ndim:
        raise InputError(f"{name}: found {array.ndim} dimensions, shape {array.shape}, expected {ndim}")
    if array.size == 0 and not empty:
        raise InputError(f"{name}: found an array of size 0, shape {array.shape}, expected at least one element")
    if finite:
        require_finite(name, array)
    return array


def mask_array(name: str, value: Any, *, ndim: int | None = None) -> Booleans:
    """Return `value`, of booleans or of numbers that are all 0 or 1, as a boolean array in C order."""
    array = on_host(name, value)
    if ndim is not None and array.ndim != ndim:
        raise InputError(f"{name}: found {array.ndim} dimensions, shape {array.shape}, expected {ndim}")
    if array.dtype != np.bool_:
        array = _real(name, array, "booleans, or 0 and 1")
        wrong = (array != 0) & (array != 1)
        if wrong.any():
            raise InputError(f"{name}: found {_count(array, wrong, 'neither 0 nor 1')}, expected booleans, or 0 and 1")
    return np.require(array, np.bool_, ["C", "A"])


def require_same_shape(name: str, shape: tuple[int, ...], other: str, expected: tuple[int, ...]) -> None:
    """Raise where the argument `name` does not have the shape of the argument `other`."""
    if shape != expected:
        raise InputError(f"{name}: found shape {shape}, expected {expected}, the shape of {other}")


def largest(array: Floats) -> float:
    """Return the largest |value|; NaN counts for more than infinity."""
    from refloss.kernels import extent
    from refloss.parallel import for_range

    flat = array.reshape(-1)
    bits = np.zeros(math.ceil(flat.size / extent.CHUNK), np.int64)
    for_range(lambda start, stop: extent.largest(flat, start, stop, bits), bits.size, grain=_WORTH_A_THREAD)
    return float(bits.max(initial=0).view(np.float64))


def require_finite(name: str, array: Floats, *, allow_nan: bool = False) -> float:
    """Return the largest |value|; raise for an infinity, and for a NaN unless `allow_nan`: it is then the largest."""
    most = largest(array)
    if not math.isfinite(most):
        bad, kind = (np.isinf(array), "infinite") if allow_nan else (~np.isfinite(array), "NaN or infinite")
        if bad.any():
            raise InputError(f"{name}: found {_count(array, bad, kind)}, expected finite numbers")
    return most


def finite_number(name: str, value: Any, *, positive: bool = False) -> float:
    """Return `value` as a float; it must be one finite real number, and > 0 where `positive`."""
    expected = "a finite number > 0" if positive else "a finite number"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | np.floating | np.integer):
        raise InputError(f"{name}: found {type(value).__name__} {value!r}, expected {expected}")
    try:
        found = float(value)
    except OverflowError as error:
        raise InputError(
            f"{name}: found {type(value).__name__} beyond the largest float64, expected {expected}"
        ) from error
    if not math.isfinite(found) or (positive and found <= 0):
        raise InputError(f"{name}: found {found!r}, expected {expected}")
    return found


def whole_number(name: str, value: Any) -> int:
    """Return `value` as an int; it must be an integer ≥ 0."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral) or value < 0:
        raise InputError(f"{name}: found {value!r}, expected an integer ≥ 0")
    return int(value)


def choice(name: str, value: Any, known: Iterable[str], *, note: str = "") -> str:
    """Return `value`, which must be one of `known`; `note` is added to the message."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        raise InputError(f"{name}: found {value!r}, expected one of {', '.join(known)}{note}{hint}")
    return value


def uniform_step(name: str, grid: Floats) -> float:
    """Return (last − first)/(points − 1) of an increasing `grid` that is uniform to 1e-6 of that step."""
    if grid.size < 2:
        raise InputError(f"{name}: found {grid.size} point, expected at least 2")
    with np.errstate(over="ignore", invalid="ignore"):  # the messages will say so
        step = float((grid[-1] - grid[0]) / (grid.size - 1))
        steps = np.diff(grid)
        off = np.abs(steps - step) > 1e-6 * step
    if not (math.isfinite(step) and step > 0):
        raise InputError(f"{name}: found a step of {step!r}, expected energies that increase")
    if off.any():
        first = int(np.argmax(off))
        found = float(steps[first])
        raise InputError(
            f"{name}: found a step of {found!r} after index {first}, expected a uniform grid of step {step!r} (to 1e-6)"
        )
    return step


def _count(array: NDArray[Any], wrong: Booleans, kind: str) -> str:
    """Say how many elements are wrong, where the first is, and what it holds."""
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    total = int(np.count_nonzero(wrong))
    values = "value that is" if total == 1 else "values that are"
    return f"{total} {values} {kind} (first at index {first}: {array[first]})"


def on_host(name: str, value: Any) -> NDArray[Any]:
    """Return `value` as a NumPy array, copied from another device where need be."""
    # In a list, too: NumPy would take what is under the mask for data.
    items = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(item, np.ma.MaskedArray) for item in items):
        raise InputError(
            f"{name}: found a numpy.ma.MaskedArray, expected a plain array (pass its mask as mask=~x.mask)"
        )
    try:
        return np.asarray(_numpy_sees(value))
    except (TypeError, ValueError, RuntimeError, BufferError, OverflowError) as error:
        raise InputError(f"{name}: found {type(value).__name__}, expected an array of numbers ({error})") from error


def _numpy_sees(value: Any) -> Any:
    """Return what `np.asarray` takes, on this machine's CPU."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor: Any = value.detach().cpu()
        return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
        return value.get()
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return value


def _require_exact_items(name: str, value: Any) -> None:
    """Raise where NumPy rounded an integer of a list, or took a boolean for a number, for the sake of the others."""
    items = np.asarray(value, object)
    for kind, wrong in (("not held exactly by float64", _is_rounded), ("boolean", _is_boolean)):
        found = np.array([wrong(item) for item in items.flat], np.bool_).reshape(items.shape)
        if found.any():
            raise InputError(f"{name}: found {_count(items, found, kind)}, expected float64")


def _is_rounded(item: Any) -> bool:
    return isinstance(item, numbers.Integral) and int(float(item)) != item


def _is_boolean(item: Any) -> bool:
    return isinstance(item, bool | np.bool_)


def _real(name: str, array: NDArray[Any], expected: str = "real numbers that float64 holds exactly") -> Floats:
    kind = array.dtype.kind
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    elif kind in "iu":
        _require_exact_integers(name, array)
    elif kind != "f" or array.dtype.itemsize > 8:
        raise InputError(f"{name}: found dtype {array.dtype}, expected {expected}")
    return np.require(array, np.float64, ["C", "A"])


def _require_exact_integers(name: str, array: NDArray[Any]) -> None:
    if array.dtype.itemsize < 8:
        return
    large = array > _EXACT_INTEGERS
    if array.dtype.kind == "i":
        large |= array < -_EXACT_INTEGERS
    if not large.any():
        return
    inexact = np.zeros(array.shape, np.bool_)
    inexact[large] = [int(float(item)) != item for item in array[large].tolist()]
    if inexact.any():
        raise InputError(f"{name}: found {_count(array, inexact, 'not held exactly by float64')}, expected float64")
