"""A whole section: the total, what is left out, masks, its options (docs/specification.md, section 6)."""

from __future__ import annotations

import copy
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from checks import assert_aligned, assert_pointwise
from sections import ATOMS, FULL, RNG, B, energies, exact, in_blocks, normal, reseed, said, section

import refloss
import refloss.results


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


def unrounded(term: refloss.results.SectionTerm) -> Fraction:
    """The exact value of a term, which the tests of the entry points hold against the oracle."""
    value = term.result._unrounded.exact()
    assert oracle.nearest(value) == term.value
    return value


# ---- the total -------------------------------------------------------------------------------------------------------


def test_every_term_is_its_entry_point_and_the_total_is_their_weighted_sum() -> None:
    p, t = {"energy": energies(), "charge": normal(11, 1)}, {"energy": energies(), "charge": normal(11, 1)}
    found = section(FULL).evaluate(p, t, grad=True)
    assert list(found.terms) == ["energy", "energy/positions", "energy/strain", "charge"]
    direct = {
        "energy": refloss.huber(p["energy"]["values"], t["energy"]["values"], delta=0.7),
        "energy/positions": refloss.mae(p["energy"]["positions"], t["energy"]["positions"], reduction="sum"),
        "energy/strain": refloss.mse(p["energy"]["strain"], t["energy"]["strain"]),
        "charge": refloss.mae(p["charge"], t["charge"]),
    }
    weights = {"energy": 0.3, "energy/positions": -2.5, "energy/strain": 0.0, "charge": 1e-3}
    types = {"energy": "huber", "energy/positions": "mae", "energy/strain": "mse", "charge": "mae"}
    for path, term in found.terms.items():
        assert (term.type, term.weight) == (types[path], weights[path])
        assert term.value == term.result.value == direct[path].value
        assert term.value > 0
        assert term.contribution == oracle.nearest(Fraction(weights[path]) * unrounded(term))
        assert term.result.grad.shape == term.result.selected.shape
    total = sum(Fraction(weights[path]) * unrounded(term) for path, term in found.terms.items())
    assert found.total == oracle.nearest(total)
    assert (found.reason, found.skipped) == (None, {})


def test_a_term_has_what_its_entry_point_was_given() -> None:
    from refloss.section import LOSS_TYPES

    p, t = {"energy": energies(), "charge": normal(11, 1)}, {"energy": energies(), "charge": normal(11, 1)}
    for atoms in (None, ATOMS):
        found = section(FULL).evaluate(p, t, num_atoms=atoms, per_structure_targets=["charge"])
        for path, term in found.terms.items():
            assert LOSS_TYPES[term.type].load()(**term.arguments).value == term.value, path
        divided = {path for path, term in found.terms.items() if term.per_atom}
        assert divided == (set() if atoms is None else {"energy", "energy/strain"})


def test_the_total_is_rounded_once() -> None:
    """1e16 + 1 − 1e16: the contributions, added up as floats in their order, give 0."""
    losses = {
        "a": {"type": "mae", "weight": 1e16},
        "b": {"type": "mae", "weight": 1.0},
        "c": {"type": "mae", "weight": -1e16},
    }
    ones = {name: np.ones(3) for name in losses}
    assert section(losses).evaluate(ones, {name: np.zeros(3) for name in losses}).total == 1.0


def test_the_total_is_of_values_that_are_not_rounded_first() -> None:
    """A third, less the float that is nearest to a third."""
    losses = {"a": {"type": "mse"}, "b": {"type": "mae", "weight": -1.0}}
    found = section(losses).evaluate({"a": [1.0, 0.0, 0.0], "b": [1 / 3]}, {"a": [0.0, 0.0, 0.0], "b": [0.0]})
    assert found.terms["a"].value == found.terms["b"].value
    assert found.total == oracle.nearest(Fraction(1, 3) - Fraction(1 / 3)) != 0.0


def test_a_total_of_large_contributions_that_cancel() -> None:
    found = section({"a": {"type": "mae", "weight": 1e308}, "b": {"type": "mae", "weight": -1e308}}).evaluate(
        {"a": [1.5], "b": [1.25]}, {"a": [0.0], "b": [0.0]}
    )
    assert found.total == oracle.nearest(Fraction(1e308) / 4)


@pytest.mark.parametrize("weight", [1e308, -1e308])
def test_a_contribution_beyond_the_range_is_an_error(weight: float) -> None:
    message = said(section({"a": {"type": "mae", "weight": weight}}).evaluate, {"a": [2.0]}, {"a": [0.0]})
    assert message.startswith("a: contribution: ")
    assert "beyond the largest float64" in message


def test_without_a_reduction_there_is_no_total_but_every_term() -> None:
    losses = {
        "energy": {"type": "mse", "reduction": "none", "forces": {"type": "mae", "reduction": "none"}},
        "charge": {"type": "mae", "weight": 2.0},
    }
    p, t = {"energy": energies(), "charge": normal(11)}, {"energy": energies(), "charge": normal(11)}
    t["energy"]["values"][1] = np.nan
    found = section(losses).evaluate(p, t)
    assert found.total is None
    for part in ("none", "energy", "energy/positions"):
        assert part in found.reason
    assert "charge" not in found.reason
    assert found.terms["energy"].contribution is None
    assert found.terms["energy"].value.shape == (B - 1,)
    assert found.terms["energy/positions"].value.shape == (33,)
    assert found.terms["charge"].contribution == 2 * refloss.mae(p["charge"], t["charge"]).value
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["total"] is None
    assert read["reason"] == found.reason
    assert read["terms"]["energy"]["value"] == found.terms["energy"].value.tolist()
    assert "total=None" in repr(found)


def test_no_grad_unless_asked_for() -> None:
    found = section({"charge": "mse"}).evaluate({"charge": normal(3)}, {"charge": normal(3)})
    assert found.terms["charge"].result.grad is None


def test_nothing_is_changed() -> None:
    p, t = {"energy": energies(), "charge": normal(11)}, {"energy": energies(), "charge": normal(11)}
    extra = {"charge_mask": np.arange(11) % 2}
    losses = FULL | {"charge": {"type": "masked_mae"}}
    atoms = ATOMS.copy()
    before = copy.deepcopy((p, t, extra, atoms))
    chosen = section(losses)
    expanded = copy.deepcopy(chosen.losses)
    chosen.evaluate(p, t, extra, num_atoms=atoms, grad=True)
    np.testing.assert_equal((p, t, extra, atoms), before)
    assert chosen.losses == expanded


# ---- what is left out, and what may not be ---------------------------------------------------------------------------


DEFAULTS = {"systems": "a.xyz", "targets": {"energy": {"quantity": "energy", "forces": True, "stress": True}}}


def without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def test_a_target_that_is_not_predicted_is_skipped_with_its_gradients() -> None:
    p, t = {"charge": normal(11)}, {"energy": energies(), "charge": normal(11)}
    found = section(FULL).evaluate(p, t)
    assert list(found.terms) == ["charge"]
    assert list(found.skipped) == ["energy", "energy/positions", "energy/strain"]
    assert all("not in the predictions" in reason for reason in found.skipped.values())
    assert found.total == found.terms["charge"].contribution


@pytest.mark.parametrize("loss", ["mae", {"energy": "mae"}])
@pytest.mark.parametrize("lacking", ["predictions", "targets", "both"])
def test_a_gradient_of_a_default_may_be_lacking(loss: Any, lacking: str) -> None:
    p, t = energies(), energies()
    if lacking != "targets":
        p = without(p, "strain")
    if lacking != "predictions":
        t = without(t, "strain")
    found = section(loss, training_set=DEFAULTS).evaluate({"energy": p}, {"energy": t})
    assert list(found.terms) == ["energy", "energy/positions"]
    assert list(found.skipped) == ["energy/strain"]
    for which in ("predictions", "targets"):
        assert (which in found.skipped["energy/strain"]) == (lacking in (which, "both"))


@pytest.mark.parametrize(
    "named", [{"stress": "mae"}, {"virial": {"weight": 2.0}}, {"gradients": {"strain": {"type": "mae"}}}]
)
@pytest.mark.parametrize("lacking", ["predictions", "targets", "both"])
def test_a_gradient_that_is_named_may_not(named: dict[str, Any], lacking: str) -> None:
    p, t = energies(), energies()
    if lacking != "targets":
        p = without(p, "strain")
    if lacking != "predictions":
        t = without(t, "strain")
    chosen = section({"energy": {"type": "mse"} | named}, training_set=DEFAULTS if "virial" not in named else None)
    message = said(chosen.evaluate, {"energy": p}, {"energy": t})
    for part in (
        "energy/strain",
        "'energy'",
        "name",
        *(("predictions", "targets") if lacking == "both" else [lacking]),
    ):
        assert part in message


def test_a_named_gradient_of_a_target_that_is_not_predicted_is_skipped() -> None:
    found = section(FULL).evaluate({"charge": [1.0]}, {"charge": [2.0]})
    assert "energy/positions" in found.skipped


def test_plain_arrays_have_no_gradients() -> None:
    values = normal(B), normal(B)
    found = section("mse", training_set=DEFAULTS).evaluate({"energy": values[0]}, {"energy": values[1]})
    assert list(found.terms) == ["energy"]
    assert list(found.skipped) == ["energy/positions", "energy/strain"]
    assert found.total == refloss.mse(*values).value


def test_a_missing_target_is_an_error() -> None:
    message = said(section(FULL).evaluate, {"energy": energies(), "charge": normal(11)}, {"energy": energies()})
    for part in ("targets", "found energy", "'charge'"):
        assert part in message


@pytest.mark.parametrize("lacking", ["predictions", "targets"])
def test_missing_values_are_an_error_whatever_named_them(lacking: str) -> None:
    data = {"predictions": {"energy": energies()}, "targets": {"energy": energies()}}
    del data[lacking]["energy"]["values"]
    message = said(section("mse", training_set=DEFAULTS).evaluate, **data)
    for part in ("energy", lacking, "'values'"):
        assert part in message


def test_predictions_beyond_the_section_are_listed() -> None:
    p = {"charge": [1.0], "dipole": [2.0], "energy": energies()}
    found = section({"charge": "mse", "energy": "mse"}).evaluate(p, {"charge": [2.0], "energy": energies()})
    assert list(found.terms) == ["charge", "energy"]
    assert list(found.skipped) == ["dipole", "energy/positions", "energy/strain"]
    assert all("not in the loss section" in reason for reason in found.skipped.values())


@pytest.mark.parametrize(
    ("predictions", "parts"),
    [({}, ["found nothing", "energy, charge"]), ({"chage": [1.0]}, ["found chage", "did you mean 'charge'?"])],
)
def test_nothing_to_evaluate(predictions: dict[str, Any], parts: list[str]) -> None:
    message = said(section(FULL).evaluate, predictions, {"charge": [1.0]})
    assert message.startswith("predictions: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("which", ["predictions", "targets", "extra_data"])
def test_data_that_are_no_mapping(which: str) -> None:
    data = {"predictions": {"charge": [1.0]}, "targets": {"charge": [2.0]}} | {which: np.ones(3)}
    assert said(section({"charge": "mse"}).evaluate, **data).startswith(f"{which}: found ndarray, expected a mapping")
    if which != "extra_data":
        data[which] = None
        assert said(section({"charge": "mse"}).evaluate, **data).startswith(f"{which}: found NoneType")


def test_a_target_with_the_name_of_a_gradient_hides_no_term() -> None:
    """Of two terms under one path, the total would know one."""
    chosen = section({"energy": {"type": "mse", "forces": "mae"}, "energy/positions": "mae"})
    data = {"energy": energies(), "energy/positions": normal(3)}
    message = said(chosen.evaluate, data, data)
    assert message.startswith("energy/positions: found a target and a gradient of this name")


def test_an_entry_point_s_error_names_the_term() -> None:
    t = energies()
    t["positions"][7, 2, 0] = np.inf
    message = said(section(FULL).evaluate, {"energy": energies()}, {"energy": t})
    assert message.startswith("energy/positions: targets: found 1 value")
    assert "(7, 2, 0)" in message
    message = said(section({"charge": "mse"}).evaluate, {"charge": normal(3)}, {"charge": normal(4)})
    assert message.startswith("charge: targets: found shape (4,)")


# ---- masks -----------------------------------------------------------------------------------------------------------


MASKED = {"energy": {"type": "masked_mse", "forces": {"type": "masked_huber", "delta": 0.4}, "stress": "mae"}}


def test_masks_come_from_the_extra_data_those_of_gradients_from_inside() -> None:
    p, t = energies(), energies()
    t["positions"][3] = np.nan
    masks = {"values": RNG.random((B, 1)) < 0.6, "positions": (RNG.random((11, 3, 1)) < 0.6).astype(float)}
    masks["values"][:2] = [[True], [False]]
    found = section(MASKED).evaluate({"energy": p}, {"energy": t}, {"energy_mask": masks, "other": object()}, grad=True)
    for path, key, loss, options in (
        ("energy", "values", "mse", {}),
        ("energy/positions", "positions", "huber", {"delta": 0.4}),
    ):
        wanted = exact(loss, p[key], t[key], mask=masks[key], **options)
        assert_pointwise(found.terms[path].result, wanted, grad=True)
    assert_pointwise(found.terms["energy/strain"].result, exact("mae", p["strain"], t["strain"]), grad=True)


def test_a_mask_may_be_a_plain_array() -> None:
    p, t, mask = normal(5), normal(5), np.array([1, 0, 1, 1, 0])
    found = section({"charge": "masked_mae"}).evaluate({"charge": p}, {"charge": t}, {"charge_mask": mask})
    assert found.total == refloss.mae(p, t, mask=mask).value


def test_a_mask_counts_for_masked_types_alone() -> None:
    p, t, mask = normal(5), normal(5), np.array([1, 0, 1, 1, 0])
    found = section({"charge": "mae"}).evaluate({"charge": p}, {"charge": t}, {"charge_mask": mask})
    assert found.total == refloss.mae(p, t).value


@pytest.mark.parametrize("extra", [None, {}, {"charge_masks": [1]}, {"charge": [1]}])
def test_a_missing_mask_names_its_key_and_the_nearest(extra: Any) -> None:
    message = said(section({"charge": "masked_mae"}).evaluate, {"charge": [1.0]}, {"charge": [2.0]}, extra)
    for part in ("extra_data", "'charge_mask'", "masked_mae", ", ".join(extra or []) or "nothing"):
        assert part in message
    assert ("did you mean 'charge_masks'?" in message) == ("charge_masks" in (extra or {}))


@pytest.mark.parametrize("entry", [np.ones((B, 1)), {"values": np.ones((B, 1)), "strain": np.ones((B, 3, 3, 1))}])
def test_a_missing_mask_of_a_gradient_names_it(entry: Any) -> None:
    message = said(section(MASKED).evaluate, {"energy": energies()}, {"energy": energies()}, {"energy_mask": entry})
    for part in ("energy_mask", "'positions'", "masked_huber", "energy/positions"):
        assert part in message


def test_a_gradient_that_is_skipped_needs_no_mask() -> None:
    chosen = section("masked_mse", training_set=DEFAULTS)
    found = chosen.evaluate({"energy": normal(B)}, {"energy": normal(B)}, {"energy_mask": np.ones(B)})
    assert list(found.skipped) == ["energy/positions", "energy/strain"]


def test_a_mask_does_not_broadcast() -> None:
    message = said(
        section({"charge": "masked_mae"}).evaluate,
        {"charge": normal(4, 3)},
        {"charge": normal(4, 3)},
        {"charge_mask": np.ones((4, 1))},
    )
    assert message.startswith("charge: mask: found shape (4, 1)")


# ---- the density of states -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "convention", "step"),
    [
        ({}, "documented", 0.05),
        ({"energy_step": 0.125, "extra_targets": 4}, "documented", 0.125),
        ({"convention": "intended", "grad_weight": 0.03, "int_weight": -0.5}, "intended", 0.05),
        ({"convention": "metatrain-2026.2", "extra_targets": 4}, "metatrain-2026.2", 0.05),
    ],
)
def test_masked_dos_reads_its_options(keys: dict[str, Any], convention: str, step: float) -> None:
    p, t, m = normal(3, 20), normal(3, 16), RNG.random((3, 16)) < 0.7
    given_t, given_m = t, m
    if "extra_targets" in keys:  # metatrain pads both: the padding is dropped unseen
        given_t = np.concatenate([np.full((3, 4), np.inf), t], axis=1)
        given_m = np.concatenate([np.full((3, 4), 7), m], axis=1)
    losses = {"mtt::dos": {"type": "masked_dos", "weight": 0.1} | keys}
    found = section(losses).evaluate({"mtt::dos": p}, {"mtt::dos": given_t}, {"mtt::dos_mask": given_m}, grad=True)
    term = found.terms["mtt::dos"]
    weights = {key: keys[key] for key in ("grad_weight", "int_weight") if key in keys}
    wanted = oracle.masked_dos(
        p.tolist(), t.tolist(), m.tolist(), oracle.CONVENTIONS[convention], energy_step=step, **weights
    )
    assert_aligned(term.result, wanted, grad=True)
    assert term.result.convention.name == convention
    assert term.result.energy_step == step
    assert found.total == term.contribution == oracle.nearest(Fraction(0.1) * unrounded(term))
    assert (
        json.loads(json.dumps(found.to_dict(), allow_nan=False))["terms"]["mtt::dos"]["result"]["convention"]
        == convention
    )


def test_masked_dos_does_not_come_in_blocks() -> None:
    blocks = in_blocks(normal(2, 9), normal(2, 9))
    message = said(
        section({"dos": "masked_dos"}).evaluate,
        {"dos": blocks},
        {"dos": blocks},
        {"dos_mask": in_blocks(np.ones((2, 9)), np.ones((2, 9)))},
    )
    assert message.startswith("dos: predictions: found 1 dimensions")


# ---- several targets at once -----------------------------------------------------------------------------------------


def test_a_section_as_a_training_run_has_it() -> None:
    """Energies with forces and stress, a masked density of states, and a per-atom target, per atom and from blocks."""
    losses = {
        "energy": {"type": "mse", "weight": 2.0, "forces": {"type": "huber", "weight": 0.25}, "stress": "mae"},
        "mtt::dos": {"type": "masked_dos", "weight": -0.5, "reduction": "sum"},
        "charge": {"type": "masked_mae", "reduction": "sum"},
    }
    charges = [[normal(5, 1), normal(6, 1)] for _ in range(2)]
    masks = [np.ones((5, 1)), np.zeros((6, 1))]
    p = {"energy": energies(), "mtt::dos": normal(B, 14), "charge": in_blocks(*charges[0])}
    t = {"energy": energies(), "mtt::dos": normal(B, 12), "charge": in_blocks(*charges[1])}
    extra = {"mtt::dos_mask": RNG.random((B, 12)) < 0.8, "charge_mask": in_blocks(*masks)}
    found = section(losses).evaluate(p, t, extra)
    values = {path: term.value for path, term in found.terms.items()}
    assert values == {
        "energy": refloss.mse(p["energy"]["values"], t["energy"]["values"]).value,
        "energy/positions": refloss.huber(p["energy"]["positions"], t["energy"]["positions"]).value,
        "energy/strain": refloss.mae(p["energy"]["strain"], t["energy"]["strain"]).value,
        "mtt::dos": refloss.masked_dos(p["mtt::dos"], t["mtt::dos"], extra["mtt::dos_mask"], reduction="sum").value,
        "charge": refloss.mae(charges[0][0], charges[1][0], reduction="sum").value,
    }
    weights = dict(zip(values, (2.0, 0.25, 1.0, -0.5, 1.0), strict=True))
    wanted = sum(Fraction(weight) * unrounded(found.terms[path]) for path, weight in weights.items())
    assert found.total == oracle.nearest(wanted)
    assert math.isfinite(found.total)
    assert repr(found).startswith("SectionResult(total=")
