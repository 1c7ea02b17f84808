"""A whole `loss` section: the registry of loss types, and the weighted total.

`LOSS_TYPES` is the one place that says which types there are, which keys their options take, and which entry point
computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Literal

from refloss.conventions import MASKED_DOS

KeyKind = Literal["number", "positive", "count", "convention"]
"""number: finite; positive: finite and > 0; count: an integer ≥ 0; convention: a name of `LossType.conventions`."""


@dataclass(frozen=True)
class LossType:
    """One type that a `loss` section can name.

    Attributes
    ----------
    entry : str
        ``"module:function"`` under `refloss`, the entry point.
    masked : bool
        Whether the type needs a mask from the extra data.
    keys : mapping
        The option keys beyond type, weight and reduction, to what their values must be.
    defaults : mapping
        The keys of these that the expansion fills in.
    conventions : tuple of str
        The named conventions, for the types that have any.
    """

    entry: str
    masked: bool = False
    keys: Mapping[str, KeyKind] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    conventions: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """Import and return the entry point."""
        module, _, function = self.entry.partition(":")
        return getattr(import_module(f"refloss.{module}"), function)


_DELTA: Final[dict[str, Any]] = {"keys": {"delta": "positive"}, "defaults": {"delta": 1.0}}
_DOS_KEYS: Final[dict[str, KeyKind]] = {
    "grad_weight": "number",
    "int_weight": "number",
    "extra_targets": "count",
    "energy_step": "positive",
    "convention": "convention",
}

LOSS_TYPES: Final[dict[str, LossType]] = {
    "mse": LossType("pointwise:mse"),
    "mae": LossType("pointwise:mae"),
    "huber": LossType("pointwise:huber", **_DELTA),
    "masked_mse": LossType("pointwise:mse", masked=True),
    "masked_mae": LossType("pointwise:mae", masked=True),
    "masked_huber": LossType("pointwise:huber", masked=True, **_DELTA),
    "masked_dos": LossType("aligned:masked_dos", masked=True, keys=_DOS_KEYS, conventions=tuple(MASKED_DOS)),
}
"""Every loss type of the options, by name."""

REDUCTIONS: Final = ("mean", "sum", "none")
