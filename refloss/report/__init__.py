"""The report: an evaluated section as one web page, which loads nothing and opens from disk.

The page tells the terms, how predictions of energies and the like lie over their targets, and of each aligned loss how
its structures came out: a table to sort and to filter, with a
thumbnail of each structure, and for as many as there is room, worst first, the curves themselves. Of a structure with
curves the reader moves the window over the prediction by hand, and the page computes anew, in float64 and with
compensated sums, all that depends on it. Nothing that this package computes depends on the page.

Names of targets and files are text in it, whatever they contain: the template escapes them, the data stand in JSON
without ``<``, and a Content-Security-Policy lets no script run but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Final

from refloss.report.contents import LIMIT, contents, json_text, term_rows
from refloss.summary import Summary

__all__ = ["LIMIT", "page"]

_SCRIPTS: Final = ("numbers.js", "drawing.js", "curves.js", "overview.js", "parity.js", "page.js")
"""In the order in which they need each other; together they are one function."""


def page(summary: Summary, *, names: Sequence[str] | None = None, limit: int = LIMIT) -> str:
    """Return the text of the page.

    Parameters
    ----------
    summary : Summary
        Of an evaluated section.
    names : sequence of str, optional
        What the structures of the aligned terms are called. Their numbers stand beside.
    limit : int, optional
        How many bytes the page may have. What it says of every structure has precedence over curves.

    Raises
    ------
    InputError
        There is not one name for each structure.
    """
    from jinja2 import Environment, StrictUndefined

    script = "(() => {\n'use strict';\n" + "\n".join(_part(name) for name in _SCRIPTS) + "})();\n"
    style = _part("page.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["short"] = partial(_number, digits=6)
    template = environment.from_string(_part("page.html"))

    def with_data(data: str) -> str:
        text = template.render(
            summary=summary,
            terms=term_rows(summary),
            script=script,
            style=style,
            script_hash=_digest(script),
            style_hash=_digest(style),
            data=data,
        )
        return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a file's name may have bytes that are none

    return with_data(json_text(contents(summary, names, limit - len(with_data("").encode()))))


def _part(name: str) -> str:
    return (files("refloss.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(value: float | None, digits: int = 10) -> str:
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")
