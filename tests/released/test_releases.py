"""The table of releases is what the wheels hold: which loss each has, and with which code."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import metatrain
import pytest
import wheels

import refloss
from refloss.conventions import LOSSES, RELEASES, SHIFT_AGNOSTIC, find
from refloss.section import LOSS_TYPES

CLASSES = {"masked_dos": "MaskedDOSLoss", "shift_agnostic_mse": "ShiftAgnosticMSE"}
BOUNDARIES = ["2025.11", "2025.12", "2026.1", "2026.2", "2026.2.1", "2026.3", "2026.4.1"]
"""The first and the last release of every row, and one before and after."""


def source(release: str, loss: str) -> str | None:
    """Return the code of the class that a release has for a loss, or None."""
    tree = ast.parse(Path(str(wheels.loss_module(release).__file__)).read_text(encoding="utf-8"))
    classes = {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    return classes.get(CLASSES[loss])


@pytest.mark.parametrize("release", BOUNDARIES)
@pytest.mark.parametrize("loss", CLASSES)
def test_a_release_has_the_losses_of_the_table_with_the_code_of_its_convention(release: str, loss: str) -> None:
    found = source(release, loss)
    if loss not in RELEASES[release]:
        assert found is None
        return
    convention = RELEASES[release][loss]
    assert found == source(convention.removeprefix("metatrain-"), loss)
    others = {its[loss] for its in RELEASES.values() if loss in its} - {convention}
    for other in others:
        assert found != source(other.removeprefix("metatrain-"), loss)


def test_the_table_has_the_releases_in_order_up_to_the_installed_one() -> None:
    numbers = [[int(part) for part in release.split(".")] for release in RELEASES]
    assert numbers == sorted(numbers)
    assert list(RELEASES)[-1] == metatrain.__version__
    assert set(BOUNDARIES) <= set(RELEASES)
    assert list(LOSSES) == list(CLASSES)


def test_metatrain_means_the_installed_release() -> None:
    assert find("metatrain", SHIFT_AGNOSTIC).name == "metatrain-2026.3"
    options = {"loss": {"mtt::dos": {"type": "masked_dos", "convention": "metatrain"}}}
    with pytest.raises(refloss.ConfigError, match=r"metatrain 2026\.4\.1 has no masked_dos, .*shift_agnostic_mse"):
        refloss.expand_loss(options)


def test_the_installed_release_is_not_imported_to_know_it() -> None:
    program = (
        "import sys\nfrom refloss.conventions import SHIFT_AGNOSTIC, find\n"
        "find('metatrain', SHIFT_AGNOSTIC)\nassert not {'metatrain', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_type_of_every_release_is_known(release_2025_12: ModuleType, release_2026_2: ModuleType) -> None:
    """A type of a release is one of ours, one that has another name since, or one that no options can build."""
    releases = (release_2025_12, wheels.loss_module("2026.1"), release_2026_2, metatrain.utils.loss)
    offered = [{loss.key for loss in module.LossType} for module in releases]
    renamed = set(refloss.options.RENAMED)
    assert set.union(*offered) == {*LOSS_TYPES, *refloss.options.UNBUILDABLE, *renamed}
    assert [renamed <= keys for keys in offered] == [True, True, False, False]
