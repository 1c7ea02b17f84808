"""A lesson, a script of cells, becomes a page: its text, its code, what the code prints, and its figures."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
FIGURE = re.compile(r"lesson_\d_\w+\.png")


def page(path: Path, figures: str) -> str:
    """Run a lesson and return it as Markdown; `figures` leads from the page to the folder of its figures."""
    _, *parts = CELL.split(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    pieces = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        try:
            for kind, source in zip(parts[::2], parts[1::2], strict=True):
                if kind.strip() == "[markdown]":
                    text = re.sub(r"^# ?", "", source, flags=re.MULTILINE).strip()
                    pieces.append(re.sub(rf"`({FIGURE.pattern})`", rf"[`\1`]({figures}/\1)", text))
                else:
                    pieces += code(source.strip(), names, figures)
        finally:
            os.chdir(before)
    return "\n\n".join(pieces) + "\n"


def code(source: str, names: dict[str, Any], figures: str) -> list[str]:
    """Run a cell and return it, what it prints, and the figures that it writes."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "lesson", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "lesson", "eval"), names)
            if value is not None and type(value).__name__ != "Figure":
                print(repr(value))
    pieces = [f"```python\n{source}\n```"]
    if text := printed.getvalue().rstrip():
        pieces.append(f"```{{ .text .printed }}\n{text}\n```")
    return pieces + [f"![{name}]({figures}/{name})" for name in dict.fromkeys(FIGURE.findall(source))]
