"""The array libraries that a candidate may want its inputs in: NumPy, torch, JAX, CuPy.

Each makes arrays of a `Format`'s storage type from float64 numbers that the type holds exactly, on a device, and where
the library knows such a thing with gaps between the elements or read-only; shows the memory behind an array, to tell
whether it was written to; and differentiates what a candidate returned. The way back, `to_host`, is exact and the same
for all. No library is imported before it is asked for.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refloss.crosscheck.formats import Format
from refloss.errors import InputError, did_you_mean

AnyArray = NDArray[Any]
Call = Callable[[Any], Any]
"""A candidate with everything but the predictions filled in."""


class UnreadableError(TypeError):
    """What a candidate returned is no array of numbers."""


def open_library(arrays: str, device: str | None, storage: Format) -> NumPy:
    """Return the library called `arrays`, for arrays of the type that `storage` names, on `device`.

    Raises
    ------
    InputError
        No such library; it is not installed; it has no such device, or no such number type.
    """
    if arrays not in LIBRARIES:
        found = did_you_mean(str(arrays), LIBRARIES)
        raise InputError(f"arrays: found {arrays!r}, expected one of {', '.join(LIBRARIES)}{found}")
    return LIBRARIES[arrays](device, storage)


def to_host(value: Any) -> tuple[AnyArray, str]:
    """Return `value` as a float64 or int64 array, exactly, and the name of the type in which it came.

    Raises
    ------
    UnreadableError
        It is no number and no array of real numbers.
    """
    kind = type(value).__module__.partition(".")[0]
    if kind == "torch":
        torch = import_module("torch")
        value = value.detach().cpu().resolve_conj()
        name = str(value.dtype).removeprefix("torch.")
        value = value.to(torch.float64) if value.dtype.is_floating_point else value
        return _widened(value.numpy(), name)
    if kind == "cupy":
        value = value.get()
    elif isinstance(value, str | bytes) or not (isinstance(value, numbers.Number) or hasattr(value, "__array__")):
        raise UnreadableError(f"a {type(value).__name__}")
    array = np.asarray(value)
    return _widened(array, array.dtype.name)


def _widened(array: AnyArray, name: str) -> tuple[AnyArray, str]:
    if array.dtype.kind in "iu":
        return array.astype(np.int64), name
    if array.dtype.kind == "f" or name == "bfloat16":
        return array.astype(np.float64), name
    raise UnreadableError(f"an array of {name}")


class NumPy:
    """NumPy, on the CPU. bfloat16 is the type of that name in ml_dtypes."""

    name = "numpy"

    def __init__(self, device: str | None, storage: Format) -> None:
        self.format = storage
        self.device = device
        self._open()

    def _open(self) -> None:
        _require_cpu(self.name, self.device)
        self.type = _numpy_type(self.format.storage, self.name)

    def where(self) -> str:
        """Return the name of the device."""
        return "cpu"

    def version(self) -> dict[str, str]:
        """Return the version of the library by its name."""
        return {self.name: str(import_module(self.name).__version__)}

    def array(self, values: AnyArray, *, gaps: bool = False, read_only: bool = False) -> tuple[Any, Any]:
        """Return an array of `values`, booleans staying booleans, and the one that owns its memory.

        With `gaps` every second element in memory, along the last axis, belongs to nobody: it is NaN, or the opposite.
        """
        values = self._cast(values)
        if gaps:
            owner = np.repeat(values, 2, axis=-1)
            owner[..., 1::2] = ~values if values.dtype == np.bool_ else np.nan
            view = owner[..., ::2]
        else:
            owner = view = np.array(values, order="C")
        if read_only:
            owner.setflags(write=False)
            view.setflags(write=False)
        return view, owner

    def bits(self, owner: Any) -> bytes:
        """Return the memory behind an array, to see whether it was written to."""
        found: bytes = owner.tobytes()
        return found

    def leaf(self, predictions: Any) -> Any:
        """Return predictions by which the library can differentiate, where it can."""
        return predictions

    def gradient(self, call: Call, predictions: Any, value: Any) -> Any:
        """Return d Σ value / d predictions by the library's own differentiation; None where there is none."""
        return None

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Hold the library's settings as the format wants them."""
        yield

    def _cast(self, values: AnyArray) -> AnyArray:
        return values if values.dtype == np.bool_ else values.astype(self.type)


class Torch(NumPy):
    """torch, on any of its devices. It knows no read-only arrays. tf32 is float32 with the switches for it on."""

    name = "torch"

    def _open(self) -> None:
        self.torch = _imported(self.name)
        self.type = getattr(self.torch, self.format.storage)
        try:
            self.torch.empty(1, dtype=self.type, device=self.device)
        except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
            raise InputError(
                f"device: torch has no {self.format.storage} on {self.device!r}: {_line(error)}"
            ) from error

    def where(self) -> str:  # noqa: D102
        found = self.torch.empty(1, device=self.device).device
        return f"{found} ({self.torch.cuda.get_device_name(found)})" if found.type == "cuda" else str(found)

    def array(self, values: AnyArray, *, gaps: bool = False, read_only: bool = False) -> tuple[Any, Any]:  # noqa: D102
        torch = self.torch
        dtype = torch.bool if values.dtype == np.bool_ else self.type
        owner = torch.tensor(values).to(dtype)
        if gaps:
            between = ~owner if dtype == torch.bool else torch.full_like(owner, math.nan)
            owner = torch.stack([owner, between], dim=-1).flatten(-2).to(self.device)
            return owner[..., ::2], owner
        owner = owner.to(self.device)
        return owner, owner

    def bits(self, owner: Any) -> bytes:  # noqa: D102
        raw: bytes = owner.detach().cpu().contiguous().view(self.torch.uint8).numpy().tobytes()
        return raw

    def leaf(self, predictions: Any) -> Any:  # noqa: D102
        return predictions.detach().requires_grad_()

    def gradient(self, call: Call, predictions: Any, value: Any) -> Any:  # noqa: D102
        if not isinstance(value, self.torch.Tensor) or not value.requires_grad:
            return None
        return self.torch.autograd.grad(value.sum(), predictions, allow_unused=True)[0]

    @contextmanager
    def settings(self) -> Iterator[None]:  # noqa: D102
        if self.format.name != "tf32":
            yield
            return
        switches = (self.torch.backends.cuda.matmul, self.torch.backends.cudnn)
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = True
            yield
        finally:
            for switch, was in zip(switches, before, strict=True):
                switch.allow_tf32 = was


class JAX(NumPy):
    """JAX. Its arrays can be neither written to nor strided, so both flags ask for nothing of it."""

    name = "jax"

    def _open(self) -> None:
        self.jax = _imported(self.name)
        if self.format.storage == "float64" and not self.jax.config.jax_enable_x64:
            raise InputError("dtype: JAX has float64 switched off; set the environment variable JAX_ENABLE_X64=1")
        self.type = getattr(self.jax.numpy, self.format.storage)
        try:
            self.place = None if self.device is None else _jax_device(self.jax, self.device)
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(f"device: JAX has no {self.device!r}: {_line(error)}") from error

    def where(self) -> str:  # noqa: D102
        return str(self.place or self.jax.devices()[0])

    def array(self, values: AnyArray, *, gaps: bool = False, read_only: bool = False) -> tuple[Any, Any]:  # noqa: D102
        made = self.jax.device_put(self._cast(values), self.place)
        return made, made

    def bits(self, owner: Any) -> bytes:  # noqa: D102
        return b""

    def gradient(self, call: Call, predictions: Any, value: Any) -> Any:  # noqa: D102
        return self.jax.grad(lambda p: _value_of(call(p)).sum())(predictions)


class CuPy(NumPy):
    """CuPy, on a CUDA device."""

    name = "cupy"

    def _open(self) -> None:
        self.cupy = _imported(self.name)
        self.type = _numpy_type(self.format.storage, self.name)
        try:
            self.place = self.cupy.cuda.Device(int((self.device or "cuda:0").removeprefix("cuda").strip(":") or 0))
            self.place.use()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"device: CuPy has no {self.device!r}: {_line(error)}") from error

    def where(self) -> str:  # noqa: D102
        return f"cuda:{self.place.id}"

    def array(self, values: AnyArray, *, gaps: bool = False, read_only: bool = False) -> tuple[Any, Any]:  # noqa: D102
        owner = self.cupy.asarray(super().array(values, gaps=gaps)[1])
        return (owner[..., ::2] if gaps else owner), owner


LIBRARIES: Final[dict[str, type[NumPy]]] = {library.name: library for library in (NumPy, Torch, JAX, CuPy)}


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"arrays: {name} cannot be imported: {_line(error)}") from error


def _numpy_type(storage: str, library: str) -> Any:
    if storage != "bfloat16":
        return np.dtype(storage)
    try:
        return np.dtype(import_module("ml_dtypes").bfloat16)
    except ImportError as error:
        raise InputError(
            f"dtype: {library} has bfloat16 through the package ml_dtypes alone, which cannot be imported; "
            "install it, or ask for arrays of torch or jax"
        ) from error


def _require_cpu(library: str, device: str | None) -> None:
    if device not in (None, "cpu"):
        raise InputError(f"device: found {device!r}, {library} arrays are on the cpu")


def _jax_device(jax: Any, device: str) -> Any:
    platform, _, index = device.partition(":")
    return jax.devices(platform)[int(index or 0)]


def _value_of(returned: Any) -> Any:
    return returned["value"] if hasattr(returned, "keys") else returned


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
