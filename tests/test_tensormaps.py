"""TensorMaps as a section's data: what is read from them, and which labels must agree (docs/specification.md, 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import assert_pointwise
from sections import ATOMS, FULL, B, energies, exact, normal, reseed, said, section
from tensormaps import Labels, TensorMap, block, tensormap, whole

import refloss
from refloss.interop import metatensor

ROWS = [(i, a) for i, n in enumerate(ATOMS.tolist()) for a in range(n)]
"""Structure and atom of the eleven rows of the forces."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


def energy_map(data: dict[str, Any], *, systems: Any = range(B), with_systems: bool = False) -> TensorMap:
    """Return an energy with its gradients, as metatrain's predictions are labelled, or `with_systems` its targets."""
    names = ("sample", "system", "atom") if with_systems else ("sample", "atom")
    numbers = list(systems)
    rows = [(i, numbers[i], a) if with_systems else (i, a) for i, a in ROWS]
    return whole(
        block(
            data["values"],
            samples=(["system"], numbers),
            gradients={
                "positions": block(data["positions"], samples=(names, rows)),
                "strain": block(data["strain"], samples=(["sample"], range(B))),
            },
        )
    )


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_atoms", [None, ATOMS])
def test_an_energy_with_its_gradients(num_atoms: Any) -> None:
    """Labelled as in metatrain's own batches: targets by their places in the data set, the rest in the batch."""
    p, t = energies(), energies()
    wanted = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=num_atoms)
    found = section(FULL).evaluate(
        {"energy": energy_map(p)},
        {"energy": energy_map(t, systems=(7, 3, 0, 5), with_systems=True)},
        num_atoms=num_atoms,
    )
    assert found.to_dict() == wanted.to_dict()
    assert len(found.terms) == 3


def test_blocks_are_matched_by_their_keys_whatever_their_order() -> None:
    """Ten keys: as text, 10 would come before 9."""
    keys = [(10, 1), (9, -1), (9, 1), (0, 3)]
    p, t, m = ([normal(2, n + 1) for n in range(4)] for _ in range(3))
    m = [array > 0 for array in m]
    names = ("o3_lambda", "o3_sigma")

    def shuffled(arrays: list[Any], order: list[int]) -> TensorMap:
        return tensormap({keys[i]: block(arrays[i]) for i in order}, names)

    found = section({"s": {"type": "masked_mae", "reduction": "none"}}).evaluate(
        {"s": shuffled(p, [0, 1, 2, 3])}, {"s": shuffled(t, [2, 0, 3, 1])}, {"s_mask": shuffled(m, [1, 3, 0, 2])}
    )
    in_key_order = [3, 1, 2, 0]
    flat = [np.concatenate([arrays[i].ravel() for i in in_key_order]) for arrays in (p, t, m)]
    wanted = exact("mae", flat[0], flat[1], mask=flat[2], reduction="none")
    assert_pointwise(found.terms["s"].result, wanted, grad=False)


def test_the_mask_of_a_gradient_lies_inside_the_mask() -> None:
    p, t = energies(), energies()
    masks = {key: array > 0 for key, array in energies().items()}
    chosen = section({"energy": {"type": "masked_mse", "forces": "masked_mae"}})
    found = chosen.evaluate({"energy": energy_map(p)}, {"energy": energy_map(t)}, {"energy_mask": energy_map(masks)})
    wanted = exact("mae", p["positions"], t["positions"], mask=masks["positions"])
    assert_pointwise(found.terms["energy/positions"].result, wanted, grad=False)


def test_one_block_keeps_its_shape_for_the_aligned_losses() -> None:
    p, t, m = normal(3, 9), normal(3, 6), np.ones((3, 6))
    data = {"dos": whole(block(p))}, {"dos": whole(block(t))}, {"dos_mask": whole(block(m))}
    found = section({"dos": {"type": "masked_dos"}}).evaluate(*data)
    assert found.total == refloss.masked_dos(p, t, m).value


def test_tensormaps_and_arrays_go_together() -> None:
    p, t = normal(3, 2), normal(3, 2)
    found = section({"a": "mse"}).evaluate({"a": whole(block(p))}, {"a": t})
    assert found.total == refloss.mse(p, t).value


def test_what_is_a_tensormap_and_what_is_not() -> None:
    assert metatensor.is_tensormap(whole(block(normal(1, 1))))
    for other in (np.ones(3), {"keys": 1, "blocks": 2, "block": 3}, [1.0], None, "block"):
        assert not metatensor.is_tensormap(other)


# ---- labels that differ ----------------------------------------------------------------------------------------------


def pairs(*rows: tuple[int, int]) -> tuple[list[str], list[tuple[int, int]]]:
    return ["system", "atom"], list(rows)


@pytest.mark.parametrize(
    ("labels", "others", "parts"),
    [
        (
            {"samples": pairs((0, 0), (0, 1), (1, 0))},
            {"samples": pairs((0, 0), (1, 0), (1, 1))},
            ["samples (system=1, atom=0) at index 1", "expected (system=0, atom=1), structures being numbered"],
        ),
        (
            {"samples": pairs((0, 0), (0, 1), (1, 0))},
            {"samples": pairs((0, 1), (0, 0), (1, 0))},
            ["samples (system=0, atom=1) at index 0 (the same in another order)", "expected (system=0, atom=0)"],
        ),
        (
            {"samples": (["system"], [0, 1, 2])},
            {"samples": pairs((0, 0), (1, 0), (2, 0))},
            ["samples named system, atom", "expected named system"],
        ),
        (
            {"properties": (["n"], [0, 1])},
            {"properties": (["n"], [1, 2])},
            ["properties (n=1) at index 0,", "expected (n=0), as in predictions"],
        ),
        (
            {"properties": (["n"], [0, 1])},
            {"properties": (["n"], [1, 0])},
            ["properties (n=1) at index 0 (the same in another order)"],
        ),
        (
            {"properties": (["n"], [0, 1])},
            {"properties": (["n", "l"], [(0, 0), (1, 0)])},
            ["properties named n, l, expected named n"],
        ),
    ],
)
@pytest.mark.parametrize("which", ["targets", "mask"])
def test_labels_that_differ(labels: Any, others: Any, parts: list[str], which: str) -> None:
    p, t, m = normal(3, 2), normal(3, 2), np.ones((3, 2))
    labelled = [labels, others, labels] if which == "targets" else [labels, labels, others]
    made = [whole(block(array, **chosen)) for array, chosen in zip((p, t, m), labelled, strict=True)]
    evaluate = section({"a": {"type": "masked_mse"}}).evaluate
    message = said(evaluate, {"a": made[0]}, {"a": made[1]}, {"a_mask": made[2]})
    assert message.startswith(f"a: {which}: found ")
    for part in (*parts, "as in predictions"):
        assert part in message


def test_only_a_mask_has_properties_of_its_own_name() -> None:
    """metatrain calls them after the extra data, `dos_mask` beside `dos`; their entries are the same."""
    p, t, m = normal(3, 2), normal(3, 2), np.eye(3, 2)
    made = [whole(block(array, properties=([name], [5, 7]))) for array, name in ((p, "a"), (t, "b"), (m, "a_mask"))]
    evaluate = section({"a": {"type": "masked_mse"}}).evaluate
    message = said(evaluate, {"a": made[0]}, {"a": made[1]}, {"a_mask": made[2]})
    assert message == "a: targets: found properties named b, expected named a, as in predictions"
    found = evaluate({"a": made[0]}, {"a": t}, {"a_mask": made[2]})
    assert found.total == refloss.mse(p, t, mask=m).value
    other = whole(block(m, properties=(["a_mask"], [7, 5])))
    message = said(evaluate, {"a": made[0]}, {"a": t}, {"a_mask": other})
    assert "mask: found properties (a_mask=7) at index 0 (the same in another order)" in message


def test_components_that_differ() -> None:
    p, t = normal(2, 3, 1), normal(2, 3, 1)
    made = [whole(block(array, components=[Labels(["xyz"], rows)])) for array, rows in ((p, [0, 1, 2]), (t, [1, 2, 0]))]
    message = said(section({"a": "mse"}).evaluate, {"a": made[0]}, {"a": made[1]})
    assert message.startswith(
        "a: targets: found components (xyz=1) at index 0 (the same in another order), expected (xyz=0)"
    )


def test_numbers_of_samples_that_differ() -> None:
    message = said(section({"a": "mse"}).evaluate, {"a": whole(block(normal(3, 1)))}, {"a": whole(block(normal(4, 1)))})
    assert message == "a: targets: found samples of number 4, expected 3, as in predictions"


def test_numbers_of_properties_that_differ_are_the_loss_s_affair() -> None:
    message = said(section({"a": "mse"}).evaluate, {"a": whole(block(normal(3, 1)))}, {"a": whole(block(normal(3, 2)))})
    assert message == "a: targets: found shape (3, 2), expected (3, 1), the shape of predictions"


@pytest.mark.parametrize("names", [("_",), ("key",)])
def test_keys_that_differ(names: tuple[str]) -> None:
    """metatrain would not find the block of the second, and would pass over a block that only the targets have."""
    p, t = normal(2, 1), normal(2, 1)
    evaluate = section({"a": "mse"}).evaluate
    other = tensormap({(1 if names == ("_",) else 0): block(t)}, names)
    assert "found blocks" in said(evaluate, {"a": whole(block(p))}, {"a": other})
    two = tensormap({0: block(t), 1: block(t)})
    message = said(evaluate, {"a": whole(block(p))}, {"a": two})
    assert message == "a: targets: found blocks (_=0), (_=1), expected (_=0), as in predictions"


def test_the_labels_of_a_gradient_are_looked_at_and_of_one_that_no_term_has_are_not() -> None:
    p, t = energies(), energies()
    wrong = energy_map(t, with_systems=True)
    positions = wrong.blocks()[0].gradient("positions")
    positions.samples.values = positions.samples.values[[1, 0, *range(2, 11)]]
    message = said(section(FULL).evaluate, {"energy": energy_map(p)}, {"energy": wrong})
    assert message.startswith("energy/positions: targets: found samples (sample=0, atom=1) at index 0")
    section({"energy": "mse"}).evaluate({"energy": energy_map(p)}, {"energy": wrong})


def test_a_block_that_differs_is_named() -> None:
    p, t = ([normal(2, 1), normal(2, 1)] for _ in range(2))
    made = {"a": tensormap({0: block(p[0]), 1: block(p[1])}, ["k"])}
    other = {"a": tensormap({0: block(t[0]), 1: block(t[1], properties=(["n"], [4]))}, ["k"])}
    message = said(section({"a": "mse"}).evaluate, made, other)
    assert message.startswith("a: targets of block (k=1): found properties named n")


# ---- figures per atom ------------------------------------------------------------------------------------------------


def test_samples_say_what_is_per_structure() -> None:
    """As many rows as structures, but they are atoms: bare arrays would be divided."""
    p, t = normal(B, 2), normal(B, 2)
    atoms = {"samples": (["system", "atom"], [(0, 0), (0, 2), (1, 0), (3, 4)])}
    evaluate = section({"a": "mse"}).evaluate
    found = evaluate({"a": whole(block(p, **atoms))}, {"a": whole(block(t, **atoms))}, num_atoms=ATOMS)
    assert found.total == refloss.mse(p, t).value
    assert found.total != evaluate({"a": p}, {"a": t}, num_atoms=ATOMS).total


def test_pairs_of_atoms_are_not_divided() -> None:
    p, t = normal(7, 2), normal(7, 2)
    rows = (["system", "first_atom", "second_atom"], [(0, 0, i) for i in range(7)])
    found = section({"a": "mse"}).evaluate(
        {"a": whole(block(p, samples=rows))}, {"a": whole(block(t, samples=rows))}, num_atoms=ATOMS
    )
    assert found.total == refloss.mse(p, t).value


def test_structures_that_are_not_one_row_each() -> None:
    """Eleven rows would be atoms if these were bare arrays."""
    p, t = normal(11, 1), normal(11, 1)
    message = said(section({"a": "mse"}).evaluate, {"a": whole(block(p))}, {"a": whole(block(t))}, num_atoms=ATOMS)
    assert "found 11 rows and 4 structures of 11 atoms, expected a row a structure (" in message
