"""Data sets on disk: one reader per format, each giving the same `Dataset`, and outputs that are whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Data = Mapping[str, Mapping[str, Any]]
"""Target to ``{"values": array, "<gradient>": array, …}``; a reader may read an array only when it is asked for."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """What `LossSection.evaluate` takes, as a reader found it.

    Attributes
    ----------
    predictions, targets : mapping
        ``{target: {"values": array, "<gradient>": array, …}}``.
    extra_data : mapping
        ``{"<target>_mask": {"values": mask, "<gradient>": mask, …}}``; empty where there is none.
    """

    predictions: Data
    targets: Data
    extra_data: Data
