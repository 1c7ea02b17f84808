"""Extension of Griffe: what docstrings write for readers of the source becomes what the site's Markdown knows.

Formulas (``.. math::``, ``:math:``) become those of `formulas`, and references to the pages of docs/ become links.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

DIRECTIVE = re.compile(r"^( *)\.\. math::[ \t]*(.*\n(?:(?:\1 +.*)?\n)*(?:\1 +.*)?)", re.MULTILINE)
SEVERAL = re.compile(r"^( *)(\w+(?:, \w+)+) : (.*\n(?:(?:\1 +.*)?\n)*)", re.MULTILINE)
HEADING = re.compile(r"\A# .*$|^## (\d+)\. .*$", re.MULTILINE)
ROLE = re.compile(r":math:`([^`]+)`")
REFERENCE = re.compile(r"(?<![\w/`])docs/(\w+)\.md(?:,\s+sections?\s+(\d))?")


def anchored(text: str, page: str) -> str:
    """Return a page of docs/ with the anchors that `link` refers to: of its title, and of its numbered sections."""

    def heading(match: re.Match[str]) -> str:
        return f"[](){{ #{page}-{match[1] or 'page'} }}\n\n{match[0]}"

    return HEADING.sub(heading, text)


def display(match: re.Match[str]) -> str:
    """Return the body of a directive as a paragraph between dollars."""
    latex = " ".join(textwrap.dedent(match[2]).split())
    return f"\n{match[1]}$${latex}$$\n\n"


def apart(match: re.Match[str]) -> str:
    """Return an entry for several names as one for each: Griffe would give all of them the first one's default."""
    entry = match[3].rstrip("\n")
    return "".join(f"{match[1]}{name} : {entry}\n" for name in match[2].split(", ")) + "\n" * match[3].endswith("\n\n")


def link(match: re.Match[str]) -> str:
    """Return a reference to a page as a link to its section."""
    return f"[{' '.join(match[0].split())}][{match[1]}-{match[2] or 'page'}]"


class Docstrings(griffe.Extension):
    """Rewrites each docstring once it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = DIRECTIVE.sub(display, SEVERAL.sub(apart, obj.docstring.value))
            text = ROLE.sub(lambda role: f"${' '.join(role[1].split())}$", text)
            obj.docstring.value = REFERENCE.sub(link, text)
