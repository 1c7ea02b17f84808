"""Failures that are known and expected: a file of patterns that the user keeps beside the candidate.

A line is the pattern of a case id, and after a space, if wanted, that of a figure; ``*`` and ``?`` stand for any
characters and any one. What follows a ``#`` at the start of a line or after a space is a comment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from refloss.errors import InputError


@dataclass(frozen=True)
class Pattern:
    """A case pattern and a figure pattern, and the line that they came from."""

    case: str
    figure: str
    line: str

    def fits(self, case: str, figure: str) -> bool:
        """Return whether this figure of this case is meant."""
        return fnmatchcase(case, self.case) and fnmatchcase(figure, self.figure)


def read(source: str | Path | Iterable[str] | None) -> tuple[Pattern, ...]:
    """Return the patterns of a file, or of lines.

    Raises
    ------
    InputError
        The file cannot be read, or a line has more than two patterns.
    """
    if source is None:
        return ()
    if not isinstance(source, str | Path):
        return tuple(_patterns("xfails", source))
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"xfails: {source} cannot be read: {told}") from error
    return tuple(_patterns(str(source), lines))


def _patterns(name: str, lines: Iterable[str]) -> Iterable[Pattern]:
    for number, line in enumerate(lines, 1):
        words = f" {line}".partition(" #")[0].split()
        if len(words) > 2:
            raise InputError(f"{name}, line {number}: found {line.strip()!r}, expected CASE or CASE FIGURE")
        if words:
            yield Pattern(words[0], words[1] if len(words) == 2 else "*", " ".join(words))
