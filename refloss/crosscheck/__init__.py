"""Cross-check: point refloss at an implementation and learn whether it is right, and if not, what it got wrong.

``refloss.crosscheck`` is this package, and can be called: ``refloss.crosscheck(candidate, "masked_dos")`` is
`crosscheck`. docs/crosscheck.md tells how to use it, docs/bounds.md how far from the golden figures is still right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refloss.conventions import Convention
    from refloss.crosscheck.report import CrosscheckReport


def crosscheck(
    candidate: Callable[..., Any],
    loss: str,
    *,
    dtype: str = "float32",
    accumulate: str | None = None,
    arrays: str = "numpy",
    device: str | None = None,
    suite: str = "core",
    only: str | Iterable[str] | None = None,
    grad: bool = True,
    convention: str | Convention | None = None,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    timeout: float | None = None,
    deterministic: bool = False,
    xfails: str | Path | Iterable[str] | None = None,
    name: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> CrosscheckReport:
    """Judge an implementation of a loss on cases that a wrong one cannot pass.

    Parameters
    ----------
    candidate : callable
        ``candidate(predictions, targets, **params)``, or with ``mask`` after the targets where the loss has one, in
        arrays of its library. Returns a scalar (for reduction "none" the array), or a mapping with any of `value`,
        `per_structure`, `shift`, `terms` (a mapping of `dos`, `front_tail`, `unmasked_gradient`, `cumulative`), `grad`.
    loss : str
        mse, mae, huber, masked_mse, masked_mae, masked_huber, masked_dos or shift_agnostic_mse.
    dtype : {"float64", "float32", "tf32", "float16", "bfloat16"}
        What the candidate computes in. The inputs are numbers that it holds exactly.
    accumulate : str, optional
        What it sums in, where that is another.
    arrays : {"numpy", "torch", "jax", "cupy"}
    device : str, optional
        "cuda" or "cuda:1", say.
    suite : {"core", "full"}
    only : str or iterable of str, optional
        Patterns of case ids, ``*`` and ``?`` for any characters and any one: no other case is run. A report on some
        of the cases is for finding a mistake; that a candidate is right takes all of them.
    grad : bool
        Whether to judge gradients, and to have torch or JAX differentiate where the candidate returns none.
    convention : str or Convention, optional
        By which alone an aligned loss is right. Without it all named ones are tried, and the candidate is right if one
        and the same fits every case.
    params : mapping, optional
        Parameters that all cases are to have. One that the candidate has no keyword for must be here, and is then not
        passed to it.
    seed : int
        Of the numbers in the cases.
    timeout : float, optional
        Seconds for a call, its differentiation included. Each call then runs in a thread, which is left behind when
        they are over: Python cannot stop it, and it may slow down what follows.
    deterministic : bool
        Whether two runs that differ are a failure, not a remark.
    xfails : path, or lines, optional
        Patterns of cases, or of cases and figures, that are expected to fail (`refloss.crosscheck.xfails`).
    name : str, optional
        What the report calls the candidate.
    progress : callable, optional
        Is told (cases done, cases in all, id of the next).

    Returns
    -------
    CrosscheckReport

    Raises
    ------
    InputError
        An argument is not what is expected here; what a candidate does wrong is in the report.

    References
    ----------
    docs/crosscheck.md
    """
    from refloss.crosscheck.runner import run

    return run(
        candidate, loss, dtype=dtype, accumulate=accumulate, arrays=arrays, device=device, suite=suite, only=only,
        grad=grad, convention=convention, params=params, seed=seed, timeout=timeout, deterministic=deterministic,
        expected_failures=xfails, name=name, progress=progress,
    )  # fmt: skip


class _CallablePackage(ModuleType):
    """Importing a part of a package binds the package's name, so that name can be its function too."""

    __call__ = staticmethod(crosscheck)


sys.modules[__name__].__class__ = _CallablePackage
