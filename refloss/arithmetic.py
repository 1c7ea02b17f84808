"""The processor's floating-point mode: what is reported is computed in IEEE 754's default one, whoever calls.

A thread's control word (MXCSR on x86-64, FPCR on AArch64) can be left in another mode by another library: subnormal
numbers flushed to zero or taken for zero, other rounding, traps. Every result here rests on the default, in NumPy and
in Python as well as in the kernels, so entry points set it while they run, and put back what they found. On other
processors the mode is taken to be the default.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def standard_arithmetic(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function run in IEEE 754's default mode, and leave its caller the mode that it had."""

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        found = set_standard()
        try:
            return function(*args, **kwargs)
        finally:
            if found is not None:
                control_word().write(found)

    return run


def set_standard() -> int | None:
    """Set the default mode on this thread; return the control word that there was, None where that was the mode."""
    word = control_word()
    found = int(word.read())
    standard = found & ~word.mode | word.default
    if found == standard:
        return None
    word.write(standard)
    return found


@dataclass(frozen=True)
class ControlWord:
    """A thread's control word: how to read and write it, which of its bits are the mode, and their default.

    Attributes
    ----------
    flush : int
        The bits that replace subnormal results and operands by zero.
    """

    read: Callable[[], int]
    write: Callable[[int], None]
    mode: int
    default: int
    flush: int
    engine: Any


_CODE = {
    # MXCSR: subnormal operands are zero (bit 6), traps masked (7 to 12), rounding (13, 14), subnormal results are zero
    # (15).
    "x86_64": (
        """
        declare void @llvm.x86.sse.stmxcsr(i8*)
        declare void @llvm.x86.sse.ldmxcsr(i8*)
        define i64 @read() {
          %slot = alloca i32
          %bytes = bitcast i32* %slot to i8*
          call void @llvm.x86.sse.stmxcsr(i8* %bytes)
          %word = load i32, i32* %slot
          %wide = zext i32 %word to i64
          ret i64 %wide
        }
        define void @write(i64 %wide) {
          %slot = alloca i32
          %bytes = bitcast i32* %slot to i8*
          %word = trunc i64 %wide to i32
          store i32 %word, i32* %slot
          call void @llvm.x86.sse.ldmxcsr(i8* %bytes)
          ret void
        }
        """,
        0xFFC0,
        0x1F80,
        0x8040,
    ),
    # FPCR: its default is 0; FZ (bit 24) replaces subnormal operands and results by zero.
    "aarch64": (
        """
        declare i64 @llvm.aarch64.get.fpcr()
        declare void @llvm.aarch64.set.fpcr(i64)
        define i64 @read() {
          %word = call i64 @llvm.aarch64.get.fpcr()
          ret i64 %word
        }
        define void @write(i64 %word) {
          call void @llvm.aarch64.set.fpcr(i64 %word)
          ret void
        }
        """,
        0xFFFFFFFF,
        0,
        1 << 24,
    ),
}
_CODE["arm64"] = _CODE["aarch64"]


@cache
def control_word() -> ControlWord:
    """Return this processor's control word; one whose mode has no bits where it is not known."""
    from llvmlite import binding as llvm  # type: ignore[import-untyped]
    from numba.core.codegen import initialize_llvm

    triple = llvm.get_process_triple()
    if triple.split("-")[0] not in _CODE:
        return ControlWord(lambda: 0, lambda word: None, 0, 0, 0, None)
    code, mode, default, flush = _CODE[triple.split("-")[0]]
    initialize_llvm()  # type: ignore[no-untyped-call]
    module = llvm.parse_assembly(f'target triple = "{triple}"\n{code}')
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_triple(triple).create_target_machine())
    engine.finalize_object()
    # PYFUNCTYPE keeps the GIL: taking it back can cost milliseconds while another thread keeps it busy.
    read = ctypes.PYFUNCTYPE(ctypes.c_int64)(engine.get_function_address("read"))
    write = ctypes.PYFUNCTYPE(None, ctypes.c_int64)(engine.get_function_address("write"))
    return ControlWord(read, write, mode, default, flush, engine)
