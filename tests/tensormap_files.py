"""Archives of arrays and labels as metatensor lays them out, written without it and without refloss."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def table(names: str, rows: Any, order: str = "<") -> np.ndarray:
    """Return labels as metatensor stores them: a structured array of int32."""
    fields = [(name, f"{order}i4") for name in names.split()]
    return np.array([tuple(np.atleast_1d(row).tolist()) for row in rows], fields)


def saved(path: Path | io.BytesIO, members: Mapping[str, Any], compression: int = zipfile.ZIP_STORED) -> Any:
    """Write a zip of arrays, JSON and bytes by `numpy.save` and `zipfile` alone, and return `path`."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, encoded(content))
    return path


def encoded(content: Any) -> str | bytes:
    if isinstance(content, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, content)
        return buffer.getvalue()
    encoded: str | bytes = json.dumps(content) if isinstance(content, dict) else content
    return encoded
