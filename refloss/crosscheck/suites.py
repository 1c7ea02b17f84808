"""Which kinds of inputs, of which sizes, with which parameters: the tables that the cases are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from refloss.crosscheck.draws import Draws

SUITES: Final = ("core", "full")

POINTWISE: Final = ("mse", "mae", "huber", "masked_mse", "masked_mae", "masked_huber")
ALIGNED: Final = ("masked_dos", "shift_agnostic_mse")
LOSSES: Final = (*POINTWISE, *ALIGNED)

GRADIENT_WEIGHT: Final = {"masked_dos": "grad_weight", "shift_agnostic_mse": "grad_penalty_weight"}
"""What the aligned losses call the weight of the unmasked gradient."""

DEFAULT_WEIGHTS: Final = (1e-4, 2.0)

WEIGHTS: Final = (
    (1e-4, 2.0),
    (0.0, 0.0),
    (1.0, 0.0),
    (0.0, 100.0),
    (3e-3, 0.5),
    (0.0, 1.0),
    (0.01, 30.0),
    (1e-4, 0.0),
)
"""Weights of the unmasked gradient and of the cumulative: D alone, each of the two alone, and mixtures."""

REDUCTIONS: Final = ("mean", "sum", "none")

_STEPS: Final = (0.1, 0.25, 0.0125, 0.3, 1.0, 0.02)
_DELTAS: Final = (1.0, 0.5, 0.1, 2.0, 0.75)


@dataclass(frozen=True)
class Spec:
    """`copies` cases of a kind and a size: B, N, E, or the shape; with `sweep` one for each of the `WEIGHTS`."""

    kind: str
    sizes: tuple[int, ...]
    copies: int = 1
    sweep: bool = False


def specs(loss: str, suite: str) -> Iterator[tuple[Spec, int]]:
    """Yield what the cases of a suite are made from, and the number of the copy."""
    chosen = [*(_POINTWISE_CORE if loss in POINTWISE else _ALIGNED_CORE), *_OWN.get(loss, ())]
    if suite == "full":
        chosen += _POINTWISE_FULL if loss in POINTWISE else _ALIGNED_FULL
    for spec in chosen:
        for copy in range(len(WEIGHTS) if spec.sweep else spec.copies):
            yield spec, copy


def aligned_params(loss: str, name: str, spec: Spec, copy: int) -> dict[str, Any]:
    """Return the parameters of a case: of three in five what the releases can compute, dx = 0.05 eV and the mean."""
    draw = Draws(0, f"{name}/params")
    step, weights, reduction = 0.05, WEIGHTS[copy] if spec.sweep else draw.pick(WEIGHTS), "mean"
    if not spec.sweep and bool(draw.chance(1, 0.4)[0]):
        step, reduction = draw.pick(_STEPS), draw.pick(REDUCTIONS)
    if spec.kind in _OWN_PARAMS:
        step, weights = _OWN_PARAMS[spec.kind]
    return {
        "energy_step": step,
        GRADIENT_WEIGHT[loss]: weights[0],
        "int_weight": weights[1],
        "reduction": "mean" if spec.kind in _OWN_PARAMS else reduction,
    }


def pointwise_params(loss: str, name: str, copy: int) -> dict[str, Any]:
    """Return the parameters of a case; copies have the reductions in turn."""
    draw = Draws(0, f"{name}/params")
    first = int(draw.whole(1, 0, 2)[0])
    params: dict[str, Any] = {"reduction": REDUCTIONS[(first + copy) % 3]}
    return ({"delta": draw.pick(_DELTAS)} if loss.endswith("huber") else {}) | params


# Integers need steps and weights that are short in binary, spectra have the step that they were made with.
_OWN_PARAMS: Final = {
    "integers": (0.25, (0.5, 2.0)),
    "good-model": (0.05, DEFAULT_WEIGHTS),
    "bad-model": (0.05, DEFAULT_WEIGHTS),
}


def _specs(kind: str, *sizes: tuple[int, ...], copies: int = 1, sweep: bool = False) -> list[Spec]:
    return [Spec(kind, size, copies, sweep) for size in sizes]


_ALIGNED_CORE: Final = (
    *_specs("minimal", (1, 2, 0), (2, 2, 1), (2, 3, 2), (3, 4, 0), (2, 4, 3), (3, 5, 0), (3, 5, 2), (2, 6, 1)),
    *_specs("generic", (4, 8, 5), (3, 16, 4), (1, 24, 6), (5, 33, 7), (3, 64, 8), (2, 257, 33), (2, 1000, 40)),
    *_specs("fitted", (3, 9, 4), (4, 12, 6), (5, 17, 5), (1, 20, 6), copies=2),
    *_specs("fitted", (3, 31, 9), (8, 50, 20), (3, 128, 0), (2, 200, 200), (3, 513, 64), (2, 1000, 200)),
    *_specs("fitted", (3, 14, 6), sweep=True),
    *_specs("smooth", (3, 40, 8), sweep=True),
    *_specs("smooth", (4, 24, 8), (2, 300, 100)),
    *_specs("poor", (3, 10, 5), (4, 20, 8), (3, 60, 12)),
    *_specs("front", (3, 8, 24), (4, 6, 20), (3, 12, 40), copies=2),
    *_specs("trained", (3, 12, 5), (2, 100, 20)),
    *_specs("pedestal", (3, 12, 5), (2, 100, 20)),
    *_specs("cancelling", (3, 12, 4), (2, 60, 8)),
    *_specs("stencil", (3, 12, 4), (2, 60, 8)),
    *_specs("palindrome", (2, 9, 5), (2, 24, 7)),
    *_specs("nudge", (2, 9, 5), (2, 24, 7)),
    *_specs("close-call", (16, 9, 14)),
    *_specs("tied-ends", (2, 11, 4), (2, 24, 6)),
    *_specs("plateau", (2, 8, 3), (1, 16, 6)),
    *_specs("zeros", (2, 7, 6)),
    *_specs("bits", (2, 6, 5), (3, 12, 4)),
    *_specs("integers", (4, 9, 3), (2, 16, 5)),
    *_specs("edges", (3, 10, 6), (4, 40, 11)),
    *_specs("empty", (4, 9, 4), (1, 7, 2)),
    *_specs("empty", (4, 16, 6), sweep=True),
    *_specs("full", (3, 10, 4), (4, 24, 6)),
    *_specs("isolated", (4, 13, 5), (3, 40, 9)),
    *_specs("single", (4, 9, 4), (3, 2, 2)),
    *_specs("perfect", (3, 9, 4)),
    *_specs("nan", (3, 12, 5), (2, 40, 8)),
    *_specs("large", (3, 10, 4), (2, 60, 8)),
    *_specs("small", (3, 10, 4), (2, 60, 8)),
    *_specs("exponents", (3, 10, 4)),
    *_specs("part-subnormal", (3, 10, 4)),
    *_specs("all-subnormal", (2, 8, 3)),
    *_specs("strided", (3, 14, 5)),
    *_specs("read-only", (3, 14, 5)),
    *_specs("fitted", (64, 12, 5), (33, 40, 9)),
    # Beyond the blocks that kernels are made of: 128 structures, 256 shifts, 1024 points.
    *_specs("fitted", (130, 6, 3)),
    *_specs("edges", (3, 40, 300)),
    *_specs("fitted", (2, 1100, 20)),
    *_specs("good-model", (4, 240, 40), (3, 500, 60)),
    *_specs("bad-model", (4, 240, 40)),
)

_ALIGNED_FULL: Final = (
    *_specs("generic", (7, 129, 31), (2, 2048, 128), (1, 4606, 200)),
    *_specs("fitted", (6, 333, 77), (16, 1024, 100), (3, 4606, 200), (64, 300, 50), (200, 32, 8)),
    *_specs("smooth", (3, 1024, 100), (2, 4606, 200)),
    *_specs("trained", (2, 1000, 100), (1, 4606, 200)),
    *_specs("isolated", (4, 1000, 60), (1, 4606, 200)),
    *_specs("pedestal", (2, 1000, 60)),
    *_specs("cancelling", (2, 1000, 30)),
    *_specs("stencil", (2, 1000, 30)),
    *_specs("edges", (3, 1000, 99)),
    *_specs("nan", (3, 1000, 60)),
    *_specs("large", (2, 1000, 60)),
    *_specs("good-model", (4, 4606, 200)),
    *_specs("bad-model", (4, 4606, 200)),
)

_WIDE: Final = _specs("wide", (3, 9, 3), (2, 30, 6), copies=2)
"""Of `shift_agnostic_mse`, whose targets may be wider than the prediction."""

_POINTWISE_CORE: Final = (
    *_specs("generic", (1,), (2,), (7,), (64,), (1025,), (3, 5), (4, 3, 1), (20, 3, 3), (257, 9), (50000,)),
    *_specs("generic", (4, 6), copies=4),
    *_specs("outliers", (12,), (9, 7), (300,), copies=2),
    *_specs("bias", (40,), (3000,)),
    *_specs("trained", (4, 6), (500,)),
    *_specs("pedestal", (4, 6), (500,)),
    *_specs("perfect", (12,), (3, 4)),
    *_specs("integers", (16,), (4, 8)),
    *_specs("nan", (11,), (4, 6), (300,)),
    *_specs("empty", (5,), (3, 4), copies=3),
    *_specs("single", (6,), (3, 4)),
    *_specs("large", (12,), (200,)),
    *_specs("small", (12,), (200,)),
    *_specs("exponents", (12,), (200,)),
    *_specs("part-subnormal", (12,)),
    *_specs("all-subnormal", (12,)),
    *_specs("strided", (6, 5)),
    *_specs("read-only", (6, 5)),
    *_specs("generic", (64, 40)),
)

_KNEES: Final = _specs("knee", (12,), (5, 8), copies=2)

_POINTWISE_FULL: Final = (
    *_specs("generic", (1000003,), (64, 4606), (1000, 3)),
    *_specs("outliers", (100001,), (333, 3, 3)),
    *_specs("bias", (1000003,)),
    *_specs("trained", (100001,)),
    *_specs("nan", (100001,)),
    *_specs("large", (100001,)),
)

_NAN_INSIDE: Final = _specs("nan-inside", (4, 6), (300,))
"""Of the losses with a mask, which may be true where the target is NaN."""

_OWN: Final = {
    "shift_agnostic_mse": _WIDE,
    "huber": _KNEES,
    "masked_mse": _NAN_INSIDE,
    "masked_mae": _NAN_INSIDE,
    "masked_huber": [*_KNEES, *_NAN_INSIDE],
}
