"""Conventions are data: the table of docs/specification.md, section 3, and what is no convention."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import Any

import pytest

import refloss
from refloss import ConfigError, Convention, InputError
from refloss.conventions import LOSSES, MASKED_DOS, RELEASES, SHIFT_AGNOSTIC, find, names

TABLE = {
    # name: objective, front_tail, gradient_points, stencil, cumulative, cumulated, energy step, reductions
    "documented": ("dos", False, "window", "exact", "structure", "dos", None, ("mean", "sum", "none")),
    "intended": ("dos+front_tail", True, "prediction", "exact", "structure", "dos", None, ("mean", "sum", "none")),
    "metatrain-2026.2": ("dos+front_tail", True, "prediction", "float32", "batch", "dos", 0.05, ("mean",)),
    "metatrain-2025.12": ("dos+front_tail", True, "prediction", "float32", "batch", "squares", 0.05, ("mean",)),
}

VALID: dict[str, Any] = {
    "name": "mine",
    "objective": "dos",
    "front_tail": False,
    "gradient_points": "window",
    "stencil": "exact",
    "cumulative": "structure",
    "cumulated": "dos",
}


def test_the_named_conventions_are_the_table() -> None:
    columns = [*[field.name for field in dataclasses.fields(Convention)][1:], "energy_step", "reductions"]
    found = {key: tuple(getattr(value, column) for column in columns) for key, value in MASKED_DOS.items()}
    assert found == TABLE
    assert all(convention.name == name for name, convention in MASKED_DOS.items())


@pytest.mark.parametrize(("stencil", "step"), [("exact", None), ("float32", 0.05)])
@pytest.mark.parametrize(("cumulative", "reductions"), [("structure", ("mean", "sum", "none")), ("batch", ("mean",))])
def test_the_step_follows_the_stencil_and_the_reductions_the_cumulative(
    stencil: Any, step: float | None, cumulative: Any, reductions: tuple[str, ...]
) -> None:
    mine = Convention(**VALID | {"stencil": stencil, "cumulative": cumulative})
    assert (mine.energy_step, mine.reductions) == (step, reductions)


@pytest.mark.parametrize(
    ("switch", "value", "nearest"),
    [
        ("objective", "dos+fronttail", "dos+front_tail"),
        ("objective", "totals", "total"),
        ("gradient_points", "windows", "window"),
        ("gradient_points", "predictions", "prediction"),
        ("stencil", "float", "float32"),
        ("cumulative", "structures", "structure"),
        ("cumulative", "Batch", "batch"),
        ("cumulated", "square", "squares"),
    ],
)
def test_a_misspelt_switch_names_itself_and_the_nearest(switch: str, value: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        Convention(**VALID | {switch: value})
    message = str(caught.value)
    for part in (f"Convention {switch}: ", repr(value), "expected one of", f"did you mean {nearest!r}?"):
        assert part in message


@pytest.mark.parametrize("switch", [switch for switch in VALID if switch != "name"])
@pytest.mark.parametrize("value", [None, 0, 1, 1.0, "no such thing", ["dos"]])
def test_switches_take_their_choices_alone(switch: str, value: Any) -> None:
    """For front_tail too: 1 is not True, or a figure's convention would print otherwise than it was computed."""
    with pytest.raises(InputError, match=f"Convention {switch}: found"):
        Convention(**VALID | {switch: value})


def test_front_tail_lists_its_choices() -> None:
    with pytest.raises(InputError, match=r"front_tail: found 'True', expected one of True, False$"):
        Convention(**VALID | {"front_tail": "True"})


@pytest.mark.parametrize("name", ["", None, 5, b"mine"])
def test_a_name_is_a_string(name: Any) -> None:
    with pytest.raises(InputError, match="Convention name: found"):
        Convention(**VALID | {"name": name})


@pytest.mark.parametrize("cumulated", ["dos", "squares"])
def test_a_total_that_depends_on_the_batch_is_no_objective(cumulated: str) -> None:
    with pytest.raises(InputError, match=r"objective 'total' and cumulative 'batch' contradict"):
        Convention(**VALID | {"objective": "total", "cumulative": "batch", "cumulated": cumulated})
    with pytest.raises(InputError, match="contradict"):
        dataclasses.replace(MASKED_DOS["metatrain-2026.2"], name="mine", objective="total")


def test_a_convention_is_frozen_equal_by_value_and_hashable() -> None:
    mine = Convention(**VALID)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.objective = "total"  # type: ignore[misc]
    assert mine == Convention(**VALID)
    assert len({mine, Convention(**VALID), dataclasses.replace(mine, front_tail=True)}) == 2


def test_find_takes_names_and_conventions() -> None:
    mine = Convention(**VALID)
    assert find(mine, MASKED_DOS) is mine
    assert find("intended", MASKED_DOS) is MASKED_DOS["intended"]
    with pytest.raises(InputError) as caught:
        find("metatrain-2026", MASKED_DOS)
    for part in ("'metatrain-2026'", *MASKED_DOS, "did you mean 'metatrain-2026.2'?"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="found int, expected a Convention or one of documented"):
        find(3, MASKED_DOS)  # type: ignore[arg-type]


# Releases


BY_RELEASE = [
    ("2025.12", MASKED_DOS, "metatrain-2025.12"),
    ("2026.1", MASKED_DOS, "metatrain-2026.2"),
    ("2026.2", MASKED_DOS, "metatrain-2026.2"),
    ("2026.2.1", MASKED_DOS, "metatrain-2026.2"),
    ("2026.3", SHIFT_AGNOSTIC, "metatrain-2026.3"),
    ("2026.3.1", SHIFT_AGNOSTIC, "metatrain-2026.3"),
    ("2026.4", SHIFT_AGNOSTIC, "metatrain-2026.3"),
    ("2026.4.1", SHIFT_AGNOSTIC, "metatrain-2026.3"),
]
LACKING = {
    "masked_dos": "which metatrain 2025.12 to 2026.2.1 have; shift_agnostic_mse replaced it in 2026.3",
    "shift_agnostic_mse": "which metatrain 2026.3 to 2026.4.1 have; it replaced masked_dos",
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a release of metatrain installed, or none."""

    def install(release: str | None) -> None:
        def version(package: str) -> str:
            assert package == "metatrain"
            if release is None:
                raise importlib.metadata.PackageNotFoundError(package)
            return release

        monkeypatch.setattr(importlib.metadata, "version", version)

    return install


@pytest.mark.parametrize(("release", "named", "expected"), BY_RELEASE)
def test_a_release_is_the_name_of_its_convention(release: str, named: Any, expected: str, installed: Any) -> None:
    assert find(f"metatrain-{release}", named) is named[expected]
    assert f"metatrain-{release}" in names(named)
    installed(release)
    assert find("metatrain", named) is named[expected]
    (loss,) = (loss for loss, its in LOSSES.items() if its is named)
    options = {"loss": {"mtt::dos": {"type": loss, "convention": "metatrain"}}}
    assert refloss.expand_loss(options)["mtt::dos"]["convention"] == expected


@pytest.mark.parametrize("loss", LOSSES)
def test_a_release_without_the_loss_says_who_has_it_and_what_came_after(loss: str, installed: Any) -> None:
    lacking = [release for release, losses in RELEASES.items() if loss not in losses]
    assert "2025.11" in lacking
    for release in lacking:
        message = f"metatrain {release} has no {loss}, {LACKING[loss]}"
        installed(release)
        for convention in (f"metatrain-{release}", "metatrain"):
            with pytest.raises(InputError) as caught:
                find(convention, LOSSES[loss])
            assert str(caught.value) == f"convention: {message}"
            with pytest.raises(ConfigError) as said:
                refloss.expand_loss({"loss": {"mtt::dos": {"type": loss, "convention": convention}}})
            assert str(said.value) == f"loss.mtt::dos.convention: {message}"
        assert f"metatrain-{release}" not in names(LOSSES[loss])


def test_without_an_installed_metatrain_the_release_is_to_be_named(installed: Any) -> None:
    installed(None)
    with pytest.raises(InputError, match=r"none is installed; name the release: expected one of documented, intended"):
        find("metatrain", MASKED_DOS)


@pytest.mark.parametrize("release", ["2026.5", "2026.4.2.dev3+gabc", "0.0.0"])
def test_an_installed_release_that_nobody_has_looked_at_is_no_convention(release: str, installed: Any) -> None:
    installed(release)
    with pytest.raises(InputError) as caught:
        find("metatrain", SHIFT_AGNOSTIC)
    for part in (f"metatrain {release} is installed", "up to 2026.4.1", "one of intended, metatrain-2026.3"):
        assert part in str(caught.value)


@pytest.mark.parametrize("convention", ["metatrain-", "metatrain-2026.5", "metatrain 2026.2", "Metatrain"])
def test_what_is_like_a_release_and_is_none(convention: str) -> None:
    with pytest.raises(InputError, match="expected a Convention or one of documented"):
        find(convention, MASKED_DOS)


def test_the_named_conventions_are_those_of_the_releases() -> None:
    for loss, named in LOSSES.items():
        of_releases = {losses[loss] for losses in RELEASES.values() if loss in losses}
        assert of_releases == {name for name in named if name.startswith("metatrain")}
    assert names(("left", "right")) == ("left", "right")  # what has no releases
