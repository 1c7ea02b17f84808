"""The two errors a user can cause, and the hint that goes with a misspelt name.

`InputError` is about the arrays and arguments of an entry point (specification, section 8); `ConfigError` is about
an options file (section 6). Both are `ValueError`, so a caller who does not care which can catch that.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An argument of an entry point is not what the specification asks for.

    The message names the argument, what was found and what was expected.
    """


class ConfigError(ValueError):
    """A `loss` section, or the options around it, is not valid.

    The message lists every problem of the source, one a line, with file, line and column where they are known.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `known`, or ``""`` when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
