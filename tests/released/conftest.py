"""Where the tests against the released metatrain run, and how they say that they do not.

`python3 dev.py released` runs them in an environment that has metatrain and torch, and there none of these may be
missing. Anywhere else each file of this folder is skipped under its own name.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

NEEDED = ("torch", "metatensor", "metatrain")
MISSING = [name for name in NEEDED if find_spec(name) is None]
REQUIRED = "REFLOSS_RELEASED" in os.environ

if not MISSING:
    with warnings.catch_warnings():
        # What the releases and their dependencies deprecate among themselves says nothing about refloss.
        warnings.simplefilter("ignore")
        import metatrain.pet
        import metatrain.utils.loss
        import metatrain.utils.omegaconf  # noqa: F401


class Absent(pytest.Module):
    """A file of tests that cannot run here, skipped as a whole."""

    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(
            f"{self.name}: {', '.join(MISSING)} not installed (python3 dev.py released)", allow_module_level=True
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not MISSING:
        return None
    if REQUIRED:
        raise pytest.UsageError(f"REFLOSS_RELEASED is set, and {', '.join(MISSING)} not installed")
    return Absent.from_parent(parent, path=module_path)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the released code is required, a run in which nothing passed has not succeeded."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRED and session.exitstatus == pytest.ExitCode.OK and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session")
def release_2025_12() -> ModuleType:
    """The loss module of metatrain 2025.12, the first release of masked_dos."""
    from wheels import loss_module

    return loss_module("2025.12")


@pytest.fixture(scope="session")
def release_2026_2() -> ModuleType:
    """The loss module of metatrain 2026.2, whose masked_dos is that of 2026.1 to 2026.2.1."""
    from wheels import loss_module

    return loss_module("2026.2")
