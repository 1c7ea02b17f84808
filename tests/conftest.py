"""What every test shares: no window opens, and no test fails for being the one that compiles."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"  # in the environment, so that the command lines under test have it too
pytest.register_assert_rewrite("checks")

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be what the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A first call into a kernel compiles it, which takes seconds: a deadline would blame whichever example comes first.
settings.register_profile("refloss", deadline=None, max_examples=50)
settings.load_profile("refloss")
