"""A section's total against the LossAggregator of metatrain 2026.4.1, on the same TensorMaps and options.

Both get the expanded options that `LossSection.losses` holds, and every number in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from maps import ATOMS, ROWS, block, energy, tensormap
from metatomic.torch import System
from metatrain.utils import loss as released
from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info
from metatrain.utils.per_atom import average_by_num_atoms
from sections import normal, reseed

import refloss
from refloss.interop import torch as golden

RTOL = 1e-14
"""torch adds at most 33 numbers for a term, with an error of at most 32 · 2⁻⁵³ = 4e-15 of their sum; then the terms."""

LIBRARY = "metatensor.torch"
B, PLACES = len(ATOMS), (7, 3, 0, 5)
SYSTEMS = [
    System(torch.ones(n, dtype=torch.int32), torch.zeros(n, 3), torch.zeros(3, 3), torch.zeros(3, dtype=torch.bool))
    for n in ATOMS
]
SPHERICAL = [(2, 1), (0, 1), (1, -1)]
"""Keys o3_lambda, o3_sigma of a target in blocks, not in their order."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


# ---- targets as metatrain has them -----------------------------------------------------------------------------------


def leaf(*shape: int) -> Any:
    return torch.from_numpy(normal(*shape)).requires_grad_()


def energies(make: Any, gradients: tuple[str, ...] = ("positions", "strain"), systems: Any = None) -> Any:
    shapes = {"values": (B, 1), "positions": (len(ROWS), 3, 1), "strain": (B, 3, 3, 1)}
    return energy(LIBRARY, {name: make(*shapes[name]) for name in ("values", *gradients)}, systems=systems)


def charges(make: Any, systems: Any = range(B)) -> Any:
    rows = ["system", "atom"], [(systems[i], a) for i, a in ROWS]
    return tensormap(LIBRARY, {0: block(LIBRARY, make(len(ROWS), 2), samples=rows, properties="charge")})


def spherical(make: Any, order: list[int], systems: Any = range(B)) -> Any:
    values = [make(B, 2 * key[0] + 1, 2) for key in SPHERICAL]
    blocks = {
        SPHERICAL[i]: block(LIBRARY, values[i], samples=(["system"], systems), components=["o3_mu"], properties="n")
        for i in order
    }
    return tensormap(LIBRARY, blocks, ("o3_lambda", "o3_sigma"))


def batch(held: tuple[str, ...] = ("positions", "strain")) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return predictions of three targets and the targets, whose energy has the gradients `held`."""
    predictions = {"energy": energies(leaf), "charge": charges(leaf), "spherical": spherical(leaf, [0, 1, 2])}
    targets = {
        "energy": energies(normal, held, PLACES),
        "charge": charges(normal, PLACES),
        "spherical": spherical(normal, [1, 2, 0], PLACES),
    }
    return predictions, targets


def infos(predictions: Mapping[str, Any], *, energy_gradients: tuple[str, ...] = ("positions", "strain")) -> Any:
    """Return the TargetInfo of each target; of their layouts the aggregator reads the gradients alone."""
    generic = {"quantity": "", "unit": "", "type": "scalar", "num_subtargets": 1, "sample_kind": "system"}
    return {
        name: get_energy_target_info(
            name, {"unit": "eV"}, "positions" in energy_gradients, "strain" in energy_gradients
        )
        if name == "energy"
        else get_generic_target_info(name, generic | {"per_atom": False, "description": ""})
        for name in predictions
    }


def compare(
    loss: Mapping[str, Any],
    predictions: Mapping[str, Any],
    targets: Mapping[str, Any],
    extra_data: Mapping[str, Any] | None = None,
    *,
    per_atom: bool = False,
    per_structure_targets: list[str] | None = None,
    rtol: float = RTOL,
    **keywords: Any,
) -> Any:
    """Compare totals and their gradients; return the section's result."""
    exempt = per_structure_targets or []
    section = refloss.load_options({"loss": loss})
    aggregator = released.LossAggregator(infos(section.losses, **keywords), section.losses)
    given = predictions, targets
    if per_atom:  # as the trainers do before they call it
        given = [average_by_num_atoms(item, SYSTEMS, exempt) for item in given]
    expected = aggregator(*given, extra_data)
    ours = golden.section(section)
    atoms = {"num_atoms": ATOMS, "per_structure_targets": exempt} if per_atom else {}
    found = ours(predictions, targets, extra_data, **atoms)
    scale = sum(abs(term.contribution) for term in ours.last.terms.values())
    assert abs(found.item() - expected.item()) <= rtol * scale
    leaves = [item for _, item in golden._leaves(predictions) if item.requires_grad]
    wanted = torch.autograd.grad(expected, leaves, allow_unused=True)
    for a, b in zip(torch.autograd.grad(found, leaves, allow_unused=True), wanted, strict=True):
        nothing = [item is None or not item.any() for item in (a, b)]
        assert all(nothing) or (a - b).abs().max() <= rtol * b.abs().max()
    return ours.last


# ---- sections --------------------------------------------------------------------------------------------------------

FULL = {
    "energy": {
        "type": "huber",
        "delta": 0.7,
        "weight": 0.3,
        "forces": {"type": "mae", "weight": 2.5, "reduction": "sum"},
        "stress": {"type": "mse", "weight": 1e-3},
    },
    "charge": {"type": "mae", "weight": 1e-2},
    "spherical": {"type": "mse", "weight": 4.0, "reduction": "sum"},
}


@pytest.mark.parametrize("per_atom", [False, True])
@pytest.mark.parametrize("exempt", [[], ["energy"], ["spherical", "charge"]])
def test_targets_with_gradients_and_blocks(per_atom: bool, exempt: list[str]) -> None:
    result = compare(FULL, *batch(), per_atom=per_atom, per_structure_targets=exempt)
    assert list(result.terms) == ["energy", "energy/positions", "energy/strain", "charge", "spherical"]
    assert not result.skipped


@pytest.mark.parametrize("seed", range(20))
def test_random_sections(seed: int) -> None:
    """Any types, weights, reductions and gradients; targets that are NaN, targets and gradients that are missing."""
    rng = np.random.default_rng(seed)

    def options(**keys: Any) -> dict[str, Any]:
        chosen = str(rng.choice(["mse", "mae", "huber"]))
        made = {"type": chosen, "weight": float(rng.normal()), "reduction": str(rng.choice(["mean", "sum"]))}
        return made | ({"delta": float(rng.uniform(0.1, 1.5))} if chosen == "huber" else {}) | keys

    # A gradient that the options name must be there: here those that the options do not name may be missing.
    named = {"forces": "positions", "stress": "strain"}
    chosen = {key: options() for key in named if rng.random() < 0.5}
    loss = {"energy": options(**chosen), "charge": options(), "spherical": options()}
    held = tuple(name for key, name in named.items() if key in chosen or rng.random() < 0.5)
    predictions, targets = batch(held)
    for _, item in golden._leaves(targets):
        item[torch.from_numpy(rng.random(tuple(item.shape)) < 0.2)] = torch.nan
    kept = [name for name in predictions if rng.random() < 0.7] or ["charge"]
    compare(
        loss,
        {name: predictions[name] for name in kept},
        targets,
        per_atom=bool(rng.random() < 0.5),
        energy_gradients=tuple(named[key] for key in chosen),
    )


def test_a_gradient_that_a_data_set_lacks() -> None:
    """metatrain adds a zero; here the term is left out, and an error where the options name it."""
    predictions, targets = batch(held=("positions",))
    result = compare({"energy": {"type": "mse", "forces": "mae"}}, predictions, targets)
    assert list(result.terms) == ["energy", "energy/positions"]
    from_training_set = {"loss": {"energy": "mse"}, "training_set": {"targets": {"energy": {"forces": True}}}}
    section = refloss.load_options(from_training_set)
    expected = released.LossAggregator(infos(["energy"]), section.losses)(predictions, targets)
    result = section.evaluate({"energy": predictions["energy"]}, targets)
    assert result.skipped == {"energy/strain": "not in the targets"}
    assert result.total == pytest.approx(expected.item(), rel=RTOL)

    named = refloss.load_options({"loss": {"energy": {"type": "mse", "stress": "mae"}}})
    assert released.LossAggregator(infos(["energy"]), named.losses)(predictions, targets).isfinite()
    with pytest.raises(refloss.InputError, match="energy/strain: found none in targets, expected 'strain'"):
        named.evaluate(predictions, targets)


def test_masks_with_the_gradient_s_inside() -> None:
    predictions, targets = batch()

    def mask(*shape: int) -> Any:
        return torch.from_numpy(normal(*shape) > -0.3)

    masks = {"energy_mask": energies(mask, systems=PLACES), "spherical_mask": spherical(mask, [2, 1, 0], PLACES)}
    loss = {
        "energy": {"type": "masked_mse", "weight": 0.3, "forces": "masked_mae", "stress": "mse"},
        "charge": "mae",
        "spherical": {"type": "masked_mae", "weight": 2.0},
    }
    result = compare(loss, predictions, targets, masks, per_atom=True)
    assert result.terms["energy/positions"].result.count < 33


def test_masks_of_nothing() -> None:
    predictions, targets = batch()
    masks = {"charge_mask": charges(lambda *shape: torch.zeros(shape, dtype=torch.bool), PLACES)}
    result = compare({"charge": {"type": "masked_mse"}, "spherical": "mae"}, predictions, targets, masks)
    assert result.terms["charge"].value == 0.0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["gaussian_nll_ensemble", "gaussian_crps_ensemble", "empirical_crps_ensemble"])
@pytest.mark.parametrize("per_atom", [False, True])
def test_ensembles(kind: str, reduction: str, per_atom: bool) -> None:
    predictions, targets = batch(held=())
    predictions["energy_ensemble"] = energy(LIBRARY, {"values": leaf(B, 6)})
    loss = {"energy": {"type": kind, "weight": 0.4, "reduction": reduction}, "charge": "mse"}
    # The Gaussian scores subtract what nearly cancels, and torch rounds each step: 1e-12 of the largest element.
    result = compare(loss, predictions, targets, per_atom=per_atom, rtol=1e-12, energy_gradients=())
    assert list(result.terms) == ["energy", "charge"]


def test_what_metatrain_compares_without_a_word() -> None:
    """Rows that are not each other's, and a block that only the targets have."""
    predictions, _ = batch()
    section = refloss.load_options({"loss": {"charge": "mse"}})
    aggregator = released.LossAggregator(infos(["charge"]), section.losses)
    rows = [(PLACES[i], a) for i, a in ROWS]
    rows[0], rows[1] = rows[1], rows[0]
    rows_block = block(LIBRARY, normal(len(ROWS), 2), samples=(["system", "atom"], rows), properties="charge")
    swapped = tensormap(LIBRARY, {0: rows_block})
    assert aggregator(predictions, {"charge": swapped}).isfinite()
    with pytest.raises(refloss.InputError, match="the same in another order"):
        section.evaluate(predictions, {"charge": swapped})
    two = tensormap(LIBRARY, {i: block(LIBRARY, normal(len(ROWS), 2)) for i in range(2)})
    assert aggregator(predictions, {"charge": two}).isfinite()
    with pytest.raises(refloss.InputError, match=r"found blocks \(_=0\), \(_=1\), expected \(_=0\)"):
        section.evaluate(predictions, {"charge": two})
