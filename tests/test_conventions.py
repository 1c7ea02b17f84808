"""Conventions are data: the table of docs/specification.md, section 3, and what is no convention."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from refloss import Convention, InputError
from refloss.conventions import MASKED_DOS, find

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
