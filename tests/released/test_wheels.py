"""The releases stand beside each other: each is its own code, and none disturbs the installed one."""

from __future__ import annotations

import sys
from types import ModuleType

import metatrain
import pytest
import wheels
from metatrain.utils import loss as installed


def test_the_installed_release_is_the_last_of_the_table() -> None:
    assert metatrain.__version__ == list(wheels.SHA256)[-1] == "2026.4.1"


def test_each_release_is_its_own_code(release_2025_12: ModuleType, release_2026_2: ModuleType) -> None:
    files = [str(wheels.FOLDER / release / "metatrain" / "utils" / "loss.py") for release in ("2025.12", "2026.2")]
    assert [release_2025_12.__file__, release_2026_2.__file__] == files
    assert sys.modules["metatrain.utils.loss"] is installed
    assert len({release_2025_12.LossInterface, release_2026_2.LossInterface, installed.LossInterface}) == 3
    target_infos = {release_2025_12.TargetInfo, release_2026_2.TargetInfo, installed.TargetInfo}
    assert len(target_infos) == 3  # what a release imports from metatrain is its own, too


def test_a_wheel_that_is_not_the_released_one_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "FOLDER", tmp_path)
    (tmp_path / "metatrain-2026.2-py3-none-any.whl").write_bytes(b"another")
    with pytest.raises(RuntimeError, match="SHA-256"):
        wheels.unpacked("2026.2")
    assert not (tmp_path / "2026.2").exists()
