"""Every output's bits for a set of cases, as hashes: `python determinism_case.py [flushed]` prints them as JSON.

With "flushed" the calling thread flushes subnormal numbers to zero from before refloss's kernels are imported.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import refloss
from refloss.arithmetic import control_word, standard_arithmetic

Call = Callable[[], Any]


@standard_arithmetic
def cases() -> dict[str, Call]:
    """Return what is to be evaluated, by name."""
    rng = np.random.default_rng(2026)
    calls: dict[str, Call] = {}

    def pointwise(name: str, p: Any, t: Any, mask: Any = None) -> None:
        for loss in (refloss.mse, refloss.mae, refloss.huber):
            for reduction in ("mean", "sum", "none"):
                calls[f"{loss.__name__}, {reduction}, {name}"] = lambda loss=loss, reduction=reduction: loss(
                    p, t, mask=mask, reduction=reduction, grad=True
                )

    def whole(loss: Any, name: str, *arrays: Any, **options: Any) -> None:
        calls[f"{loss.__name__}, {name}"] = lambda: loss(*arrays, grad=True, **options)

    p, t = rng.normal(size=(2, 1999)) * 10.0 ** rng.uniform(-9, 9, (2, 1999))
    t[rng.random(1999) < 0.1] = np.nan
    pointwise("generic", p, t, rng.random(1999) < 0.7)
    for factor in (1e-160, 1e-310, 1e150):
        p, t = factor * rng.normal(size=(2, 37))
        pointwise(f"{factor}", p, t)
    # Read as zeros these single-precision numbers, subnormal ones, change their sums at once.
    pointwise("single", *(rng.integers(1, 1 << 20, (2, 19)) * 2.0**-149).astype(np.float32))

    p, t = rng.normal(size=(3, 57)) * 10.0 ** rng.uniform(-3, 3, (3, 57)), rng.normal(size=(3, 40))
    mask = rng.random((3, 40)) < 0.7
    for convention in ("documented", "intended", "metatrain-2026.2", "metatrain-2025.12"):
        whole(refloss.masked_dos, convention, p, t, mask, convention=convention)
    total = refloss.Convention("total", "total", True, "prediction", "exact", "structure", "dos")
    whole(refloss.masked_dos, "total", p, t, mask, convention=total)
    trained = p.copy()
    trained[:, 5:45] = t * (1 + 2.0**-52 * rng.integers(-2, 3, t.shape))
    whole(refloss.masked_dos, "trained", trained, t, mask, convention="intended")
    for factor in (1e-70, 1e-150, 1e-158, 1e-312, 1e140):
        whole(refloss.masked_dos, f"{factor}", factor * p, factor * t, mask, convention="intended")
    whole(refloss.masked_dos, "small step", 1e-20 * p, 1e-20 * t, mask, energy_step=1e-250)
    whole(refloss.masked_dos, "small beside large", p * [[1e20], [1e-145], [1.0]], t * [[1e20], [1e-145], [1.0]], mask)

    p, t = rng.normal(size=(2, 30)), rng.normal(size=(2, 41))
    t[rng.random(t.shape) < 0.2] = np.nan
    for factor in (1.0, 1e-155, 1e-312):
        whole(refloss.shift_agnostic_mse, f"{factor}", factor * p, factor * t)
    # More shifts than are bounded by short blocks at once; and more of them alike than are evaluated one by one.
    whole(refloss.shift_agnostic_mse, "wide", rng.normal(size=(1, 520)), rng.normal(size=(1, 80)))
    whole(
        refloss.masked_dos,
        "one ulp",
        np.nextafter(np.ones((1, 160)), 1 + (rng.random((1, 160)) < 0.5)),
        p[:1, :9],
        mask[:1, :9],
    )

    # Of the ensemble losses the one that needs no log or erf: those may differ from one library to another.
    ensemble, t = np.round(rng.normal(size=(3000, 6)), 1), rng.normal(size=3000)
    t[rng.random(3000) < 0.1] = np.nan
    for factor in (1.0, 1e-312, 1e150):
        whole(refloss.empirical_crps, f"{factor}", factor * ensemble, factor * t)
    return calls


def figures(result: Any) -> list[Any]:
    """Return all that a result holds."""
    found = [result.value, result.grad]
    if isinstance(result, refloss.AlignedResult):
        found += [result.per_structure, result.shift, result.runner_up, result.margin, result.tied]
        found += [*vars(result.terms).values(), *vars(result.certificate).values()]
        if result.shifts < 200:  # a wide landscape takes long without the JIT
            found += [result.landscape(), *vars(result.rival()).values()]
    return found


def digest(call: Call) -> str:
    """Evaluate, and hash the bits of all figures."""
    found = b"".join(np.ascontiguousarray(figure).tobytes() for figure in figures(call()))
    return hashlib.sha256(found).hexdigest()


def digests(calls: dict[str, Call]) -> dict[str, str]:
    """Hash every case."""
    return {name: digest(call) for name, call in calls.items()}


def main() -> None:
    """Print the hashes."""
    if sys.argv[1:] == ["flushed"]:
        word = control_word()
        word.write(word.read() | word.flush)
        assert refloss.mse is not None  # which imports, and compiles, its kernels
    print(json.dumps(digests(cases())))


if __name__ == "__main__":
    main()
