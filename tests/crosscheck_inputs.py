"""Cases for the tests of the cross-check's bounds and reference, quantised to a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import strategies
from numpy.typing import NDArray

from refloss.crosscheck.cases import Case
from refloss.crosscheck.formats import Format, quantise

Floats = NDArray[np.float64]
Builder = Callable[[np.random.Generator, int, int, int], strategies.Case]


def case(loss: str, predictions: Any, targets: Any, mask: NDArray[np.bool_] | None = None, **params: Any) -> Case:
    """Return a case without flags."""
    p, t = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    return Case(f"{loss}/test", loss, p, t, mask, params, frozenset(), "")


def close(rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
    """Return predictions that fit at some shift but for a part in a thousand."""
    return strategies.fitted(rng, points, extra, rng.integers(0, extra + 1, batch).tolist(), 1e-3)


def smooth(rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
    """Return smooth curves: next to nothing is left of the backward difference, of large summands."""
    made = strategies.generic(rng, batch, points, extra)
    p, t = (np.cumsum(np.cumsum(x, axis=1), axis=1) / points for x in (made.predictions, made.targets))
    return strategies.Case(p, t, made.mask)


def pedestal(rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
    """Return predictions and targets on a common pedestal of 100, which the expanded square loses digits to."""
    made = strategies.generic(rng, batch, points, extra)
    return strategies.Case(100 + made.predictions, 100 + made.targets, made.mask)


def magnitudes(rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
    """Return numbers of several magnitudes beside each other."""
    made = strategies.generic(rng, batch, points, extra)
    p, t = (x * 10.0 ** rng.uniform(-3, 1, x.shape) for x in (made.predictions, made.targets))
    return strategies.Case(p, t, made.mask)


def around(tiny: float) -> Builder:
    """Return a builder of numbers whose squares are about `tiny`, or that are subnormal themselves."""

    def build(rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
        made = strategies.generic(rng, batch, points, extra)
        factor = tiny ** rng.choice([0.5, 0.8, 1.0])
        return strategies.Case(factor * made.predictions, factor * made.targets, made.mask)

    return build


KINDS: dict[str, Builder] = {
    "generic": strategies.generic,
    "close": close,
    "smooth": smooth,
    "pedestal": pedestal,
    "magnitudes": magnitudes,
    "palindromic": strategies.palindromic,
    "plateau": strategies.plateau,
    "empty masks": strategies.empty_masks,
    "isolated points": strategies.isolated,
    "integers": strategies.integers,
}
"""What every format can hold; `around` needs to know the format."""


def draw(kind: str, form: Format, rng: np.random.Generator, batch: int, points: int, extra: int) -> strategies.Case:
    """Return inputs of a kind, or "tiny" ones, that the format holds exactly."""
    build = around(form.tiny) if kind == "tiny" else KINDS[kind]
    made = build(rng, batch, points, extra)
    return strategies.Case(quantise(made.predictions, form), quantise(made.targets, form), made.mask)


def aligned(loss: str, made: strategies.Case, **params: Any) -> Case:
    """Return a case of an aligned loss; the one without a mask has NaN targets where it is false."""
    if loss == "masked_dos":
        return case(loss, made.predictions, made.targets, made.mask, **params)
    if "grad_weight" in params:
        params["grad_penalty_weight"] = params.pop("grad_weight")
    return case(loss, made.predictions, np.where(made.mask, made.targets, np.nan), **params)
