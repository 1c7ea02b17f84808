"""Markdown extension: formulas between dollars become MathML, which browsers draw without a script.

``$x$`` within a line and ``$$x$$`` on lines of its own, in LaTeX. Code is left alone, and so is an escaped dollar.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
LONG = 40
"""Formulas within a line that are longer, in characters of LaTeX, scroll on a narrow screen."""


class Inline(InlineProcessor):
    """A formula in a line of text."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        """Return the formula as HTML that Markdown does not look into."""
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)


class Display(BlockProcessor):
    """A paragraph that is a formula."""

    def test(self, parent: ET.Element, block: str) -> bool:
        """Whether the paragraph is one formula."""
        return DISPLAY.fullmatch(block.strip()) is not None

    def run(self, parent: ET.Element, blocks: list[str]) -> None:
        """Put the formula in place of the paragraph."""
        latex = blocks.pop(0).strip().strip("$").strip()
        paragraph = ET.SubElement(parent, "div", {"class": "formula"})
        paragraph.text = self.parser.md.htmlStash.store(mathml(latex, "block"))


def mathml(latex: str, display: str) -> str:
    """Return a formula as MathML; lines that are broken are aligned where they have an ampersand."""
    if "\\\\" in latex:
        latex = rf"\begin{{split}}{latex}\end{{split}}"
    drawn = convert(latex, display=display)
    if "\\" in drawn or "&amp;" in drawn:
        raise ValueError(f"this formula has something that is not understood: {latex}")
    return f'<span class="long">{drawn}</span>' if display == "inline" and len(latex) > LONG else drawn


class Formulas(Extension):
    """The extension."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Read formulas before anything that a backslash or an underscore could be taken for, but after code."""
        md.inlinePatterns.register(Inline(r"(?<![\\$])\$([^$\n]+)\$", md), "formula", 185)
        md.parser.blockprocessors.register(Display(md.parser), "formula", 75)


def makeExtension(**options: Any) -> Formulas:  # noqa: N802
    """Return the extension: the name is Markdown's."""
    return Formulas(**options)
