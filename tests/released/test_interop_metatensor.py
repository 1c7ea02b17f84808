"""TensorMaps of metatensor-core and of metatensor-torch as a section's data, and gradients as TensorMaps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from maps import ATOMS, LIBRARIES, block, energy, tensormap
from metatensor.learn.data import Dataset, group_and_join
from sections import FULL, energies, normal, reseed, section

import refloss
from refloss.interop.metatensor import gradient_as_tensormap

NAMES = ("o3_lambda", "o3_sigma")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


@pytest.mark.parametrize("of_targets", LIBRARIES)
@pytest.mark.parametrize("of_predictions", LIBRARIES)
def test_an_energy_with_its_gradients(of_predictions: str, of_targets: str) -> None:
    p, t = energies(), energies()
    t["values"][2] = np.nan
    wanted = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=ATOMS)
    found = section(FULL).evaluate(
        {"energy": energy(of_predictions, p)}, {"energy": energy(of_targets, t, systems=(7, 3, 0, 5))}, num_atoms=ATOMS
    )
    assert found.to_dict() == wanted.to_dict()


@pytest.mark.parametrize("library", LIBRARIES)
def test_blocks_in_any_order_with_a_mask_for_each(library: str) -> None:
    keys = [(10, 1), (9, -1), (0, 1)]
    p, t, m = ({key: normal(2, 2 * i + 1, 3) for i, key in enumerate(keys)} for _ in range(3))
    m = {key: array > 0 for key, array in m.items()}

    def ordered(arrays: dict[Any, Any], order: list[int]) -> Any:
        return tensormap(library, {keys[i]: block(library, arrays[keys[i]]) for i in order}, NAMES)

    data = [{"s": {"blocks": arrays}} for arrays in (p, t, m)]
    chosen = section({"s": {"type": "masked_huber", "reduction": "none"}})
    wanted = chosen.evaluate(data[0], data[1], {"s_mask": data[2]["s"]})
    found = chosen.evaluate(
        {"s": ordered(p, [0, 1, 2])}, {"s": ordered(t, [2, 0, 1])}, {"s_mask": ordered(m, [1, 2, 0])}
    )
    assert found.terms["s"].value.tolist() == wanted.terms["s"].value.tolist()


def test_core_maps_that_hold_tensors() -> None:
    p, t = torch.randn(3, 2, dtype=torch.float32, requires_grad=True), torch.randn(3, 2)
    maps = [{"a": tensormap("metatensor", {0: block("metatensor", array)})} for array in (p, t)]
    assert section({"a": "mse"}).evaluate(*maps).total == refloss.mse(p, t).value


def test_what_a_data_loader_joins() -> None:
    """metatensor-learn numbers the structures of the targets by their places in the data set."""
    p, t = energies(), energies()
    starts = np.cumsum([0, *ATOMS])
    targets = []
    for i, place in enumerate((7, 3, 0, 5)):
        rows = [(0, place, a) for a in range(ATOMS[i])]
        positions = block(
            "metatensor.torch",
            t["positions"][starts[i] : starts[i + 1]],
            samples=(["sample", "system", "atom"], rows),
            components=["xyz"],
            properties="energy",
        )
        one = block(
            "metatensor.torch",
            t["values"][i : i + 1],
            samples=(["system"], [place]),
            properties="energy",
            gradients={"positions": positions},
        )
        targets.append(tensormap("metatensor.torch", {0: one}))
    loaded = Dataset.from_dict({"energy": targets})
    batch = group_and_join([loaded[i] for i in range(4)], join_kwargs={"different_keys": "union"})
    chosen = section({"energy": {"type": "mse", "forces": "mae"}})
    found = chosen.evaluate({"energy": energy("metatensor.torch", p)}, {"energy": batch.energy})
    assert found.to_dict()["terms"] == chosen.evaluate({"energy": p}, {"energy": t}).to_dict()["terms"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_gradients_as_a_tensormap(library: str) -> None:
    p, t = energies(), energies()
    p = {key: array.astype(np.float32) for key, array in p.items()}
    predictions = energy(library, p)
    chosen = section({"energy": {"type": "huber", "forces": "mae"}})
    result = chosen.evaluate({"energy": predictions}, {"energy": energy(library, t)}, num_atoms=ATOMS, grad=True)
    gradient = result.gradient()["energy"]
    made = gradient_as_tensormap(gradient, predictions)
    assert type(made) is type(predictions)
    assert made.keys == predictions.keys
    found, model = made.block(), predictions.block()
    assert (found.samples, found.components, found.properties) == (model.samples, model.components, model.properties)
    assert np.array_equal(np.asarray(found.values), gradient["values"])
    positions, wanted = found.gradient("positions"), model.gradient("positions")
    assert (positions.samples, positions.properties) == (wanted.samples, wanted.properties)
    assert np.array_equal(np.asarray(positions.values), gradient["positions"])
    assert gradient["positions"].any()
    # No term of the section reads the strain.
    strain = np.asarray(found.gradient("strain").values)
    assert strain.shape == (4, 3, 3, 1)
    assert not strain.any()
    assert {np.asarray(item.values).dtype for item in (found, positions)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_gradients_of_several_blocks_come_back_in_the_order_of_the_map(library: str) -> None:
    keys, shapes = [(10, 1), (0, 1), (9, -1)], [(2, 3), (4, 1), (1, 2)]
    p, t = ({key: normal(*shape) for key, shape in zip(keys, shapes, strict=True)} for _ in range(2))
    maps = [tensormap(library, {key: block(library, x[key]) for key in keys}, NAMES) for x in (p, t)]
    result = section({"s": {"type": "mae", "reduction": "sum"}}).evaluate({"s": maps[0]}, {"s": maps[1]}, grad=True)
    made = gradient_as_tensormap(result.gradient()["s"], maps[0])
    assert made.keys == maps[0].keys
    for key, found in zip(keys, made.blocks(), strict=True):
        assert np.array_equal(np.asarray(found.values), np.sign(p[key] - t[key]))


@pytest.mark.parametrize("library", LIBRARIES)
def test_gradients_that_are_not_of_these_predictions(library: str) -> None:
    """Zeros where nothing was found, or one gradient for two blocks, would look like an answer."""
    one = tensormap(library, {0: block(library, normal(2, 3))})
    two = tensormap(library, {key: block(library, normal(2, 3)) for key in (0, 1)})
    values = {"values": normal(2, 3)}
    for gradient, predictions, message in (
        ({"energy": values}, one, r"gradient: found energy, expected some of values \(one target's\)"),
        (values, two, r"gradient: found blocks \(_=0\), expected those of predictions: \(_=0\), \(_=1\)"),
        (values, normal(2, 3), "predictions: found ndarray, expected a TensorMap"),
    ):
        with pytest.raises(refloss.InputError, match=message):
            gradient_as_tensormap(gradient, predictions)


@pytest.mark.parametrize("library", LIBRARIES)
def test_labels_that_differ_are_named(library: str) -> None:
    p, t = normal(3, 2), normal(3, 2)
    rows = [(0, 0), (0, 1), (1, 0)], [(0, 0), (1, 0), (1, 1)]
    maps = [
        tensormap(library, {0: block(library, x, samples=(["system", "atom"], r))})
        for x, r in zip((p, t), rows, strict=True)
    ]
    with pytest.raises(refloss.InputError, match=r"a: targets: found samples \(system=1, atom=0\) at index 1"):
        section({"a": "mse"}).evaluate({"a": maps[0]}, {"a": maps[1]})


def test_nothing_imports_them_before_they_are_there() -> None:
    program = (
        "import sys, refloss\n"
        "refloss.load_options({'loss': {'a': 'mse'}}).evaluate({'a': [1.0]}, {'a': [2.0]}, grad=True).gradient()\n"
        "assert not {'torch', 'metatensor'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
