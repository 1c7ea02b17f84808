"""refloss: the reference for the loss functions of atomistic machine learning.

Every public name is imported when it is first used, so that ``import refloss`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
SPEC_VERSION = 1
"""The version of the specification (docs/specification.md) that the figures follow."""

_HOME = {
    "mse": "pointwise",
    "mae": "pointwise",
    "huber": "pointwise",
    "masked_dos": "aligned",
    "shift_agnostic_mse": "aligned",
    "gaussian_nll": "ensemble",
    "gaussian_crps": "ensemble",
    "empirical_crps": "ensemble",
    "Convention": "conventions",
    "ConfigError": "errors",
    "InputError": "errors",
    "PointwiseResult": "results",
    "AlignedResult": "results",
    "EnsembleResult": "results",
    "SectionResult": "results",
    "LossSection": "section",
    "expand_loss": "options",
    "load_options": "options",
    "load_dataset": "files.load",
}

__all__ = ["SPEC_VERSION", "__version__", *_HOME]  # noqa: PLE0604

if TYPE_CHECKING:
    from refloss.aligned import masked_dos, shift_agnostic_mse
    from refloss.conventions import Convention
    from refloss.ensemble import empirical_crps, gaussian_crps, gaussian_nll
    from refloss.errors import ConfigError, InputError
    from refloss.files.load import load_dataset
    from refloss.options import expand_loss, load_options
    from refloss.pointwise import huber, mae, mse
    from refloss.results import AlignedResult, EnsembleResult, PointwiseResult, SectionResult
    from refloss.section import LossSection

_MODULES = ("conventions", "crosscheck", "crystals", "metrics", "plain", "plotting", "spectra")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"refloss.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"refloss.{name}")
    raise AttributeError(f"module 'refloss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
