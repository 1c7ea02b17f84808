"""What every test shares: no window opens, and no test fails for being the one that compiles."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"  # in the environment, so that the command lines under test have it too
pytest.register_assert_rewrite("checks")

# A first call into a kernel compiles it, which takes seconds: a deadline would blame whichever example comes first.
settings.register_profile("refloss", deadline=None, max_examples=50)
settings.load_profile("refloss")
