"""A whole section: data in blocks, and figures per atom (docs/specification.md, section 6)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from checks import assert_pointwise
from sections import ATOMS, FULL, RNG, B, energies, exact, in_blocks, normal, reseed, said, section

import refloss


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


# ---- blocks ----------------------------------------------------------------------------------------------------------


def test_blocks_have_one_mean_over_all_in_the_order_of_their_keys() -> None:
    shapes = [(2, 3), (5,), (1, 2, 2)]
    p, t = [[normal(*shape) for shape in shapes] for _ in range(2)]
    m = [RNG.random(shape) < 0.6 for shape in shapes]
    t[0][1, 1] = t[1][3] = np.nan
    m[0][1, 1], m[1][3], m[2][0, 0, 0] = True, False, True
    flat = [np.concatenate([a.ravel() for a in arrays]) for arrays in (p, t, m)]
    for reduction in ("mean", "sum", "none"):
        chosen = section({"spherical": {"type": "masked_huber", "delta": 0.5, "reduction": reduction}})
        found = chosen.evaluate(
            {"spherical": in_blocks(*p)}, {"spherical": in_blocks(*t)}, {"spherical_mask": in_blocks(*m)}, grad=True
        )
        wanted = exact("huber", flat[0], flat[1], mask=flat[2], delta=0.5, reduction=reduction)
        assert_pointwise(found.terms["spherical"].result, wanted, grad=True)


def test_blocks_of_gradients() -> None:
    p, t = [[{"values": normal(n), "positions": normal(n, 3)} for n in (2, 4)] for _ in range(2)]
    chosen = section({"energy": {"type": "mse", "forces": "mae"}})
    found = chosen.evaluate({"energy": in_blocks(*p)}, {"energy": in_blocks(*t)})
    for path, key, loss in (("energy", "values", "mse"), ("energy/positions", "positions", "mae")):
        flat = [np.concatenate([block[key].ravel() for block in blocks]) for blocks in (p, t)]
        assert_pointwise(found.terms[path].result, exact(loss, *flat), grad=False)


def test_blocks_that_differ_in_their_keys_or_shapes_are_no_pair() -> None:
    """Joined, all of these have the same number of elements: the wrong ones would be compared without a word."""
    evaluate = section({"a": {"type": "masked_mse"}}).evaluate
    pair, mask = in_blocks(normal(2), normal(3)), in_blocks(np.ones(2), np.ones(3))
    cases = [
        ("targets of block 0: found shape (3,), expected (2,)", None, in_blocks(normal(3), normal(2)), mask),
        ("targets of block 0: found shape (1, 2)", None, in_blocks(normal(1, 2), normal(3)), mask),
        ("targets: found blocks 0, 7, expected blocks 0, 1", None, {"blocks": {0: normal(2), 7: normal(3)}}, mask),
        ("targets: found no blocks, expected blocks 0, 1", None, normal(5), mask),
        ("targets: found blocks 0, 1, expected no blocks", normal(5), pair, mask),
        ("mask of block 0: found shape (3,)", None, pair, in_blocks(np.ones(3), np.ones(2))),
        ("mask: found no blocks", None, pair, np.ones(5)),
    ]
    for message, p, t, m in cases:
        found = said(evaluate, {"a": pair if p is None else p}, {"a": t}, {"a_mask": m})
        assert found.startswith("a: ")
        assert message in found


def test_every_block_passes_the_gate_by_itself() -> None:
    """Joined, a boolean or an integer becomes a float of the neighbour's type, and nobody would know."""
    evaluate = section({"a": {"type": "mse"}}).evaluate
    good = in_blocks(normal(2), normal(2))
    for block, part in (
        (np.array([True, False]), "bool"),
        (np.array([1, 2**53 + 1]), "not held exactly"),
        (np.array(["1", "2"]), "<U1"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "MaskedArray"),
        (np.array([1.0, np.nan]), "(1,)"),
    ):
        message = said(evaluate, {"a": in_blocks(normal(2), block)}, {"a": good})
        assert message.startswith("a: predictions of block 1: found")
        assert part in message
    exact_integers = in_blocks(np.array([2**53 + 2, 1]), np.array([0.5, 1.5], np.float32))
    zero = in_blocks(np.zeros(2), np.zeros(2))
    found = section({"a": {"type": "mae", "reduction": "none"}}).evaluate({"a": exact_integers}, {"a": zero})
    assert found.terms["a"].value.tolist() == [2.0**53 + 2, 1.0, 0.5, 1.5]


def test_an_empty_block_is_no_error_but_nothing_at_all_is() -> None:
    p, t = normal(3), normal(3)
    found = section({"a": {"type": "mse"}}).evaluate(
        {"a": in_blocks(p, np.empty((0, 2)))}, {"a": in_blocks(t, np.empty((0, 2)))}
    )
    assert found.total == refloss.mse(p, t).value
    empty = {"a": in_blocks(np.empty(0), np.empty((0, 2)))}
    assert said(section({"a": {"type": "mse"}}).evaluate, empty, empty).startswith(
        "a: predictions: found an array of size 0"
    )
    assert "values" in said(section({"a": {"type": "mse"}}).evaluate, {"a": {"blocks": {}}}, {"a": {"blocks": {}}})


@pytest.mark.parametrize(
    ("blocks", "parts"),
    [
        ({"blocks": [normal(2)]}, ["list", "mapping"]),
        ({"blocks": {1: normal(2), "x": normal(2)}}, ["keys", "order"]),
        ({"blocks": {1: normal(2)}, "values": normal(2)}, ["blocks, values", "blocks alone"]),
        (
            {"blocks": {1: {"values": normal(2), "strain": normal(2)}, 2: normal(2)}},
            ["strain", "block 2", "every block"],
        ),
    ],
)
def test_blocks_that_are_none(blocks: Any, parts: list[str]) -> None:
    message = said(section({"a": {"type": "mse"}}).evaluate, {"a": blocks}, {"a": blocks})
    for part in ("predictions['a']", *parts):
        assert part in message


# ---- figures per atom ------------------------------------------------------------------------------------------------


def divided(array: np.ndarray) -> np.ndarray:
    """Return the rows over their number of atoms, each quotient rounded once from the exact one."""

    def quotient(item: float, n: int) -> float:
        return item if math.isnan(item) else oracle.nearest(Fraction(item) / n)

    rows = [[quotient(item, n) for item in row.ravel().tolist()] for row, n in zip(array, ATOMS.tolist(), strict=True)]
    return np.array(rows).reshape(array.shape)


@pytest.mark.parametrize("kind", [list, np.array, lambda n: np.array(n, np.float32), lambda n: np.array(n, np.uint8)])
def test_values_and_strain_are_divided_but_not_positions(kind: Any) -> None:
    p, t = energies(), energies()
    t["values"][2] = np.nan
    found = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=kind(ATOMS.tolist()), grad=True)
    results = {path: term.result for path, term in found.terms.items()}
    energy = exact("huber", divided(p["values"]), divided(t["values"]), delta=0.7)
    assert_pointwise(results["energy"], energy, grad=True)
    assert_pointwise(results["energy/strain"], exact("mse", divided(p["strain"]), divided(t["strain"])), grad=True)
    forces = exact("mae", p["positions"], t["positions"], reduction="sum")
    assert_pointwise(results["energy/positions"], forces, grad=True)


@pytest.mark.parametrize("shape", [(B, 5, 3), (33,), (1, 11, 3)])
def test_positions_stay_in_any_layout(shape: tuple[int, ...]) -> None:
    """Padded to the largest structure they have a row a structure, too."""
    p, t = energies() | {"positions": normal(*shape)}, energies() | {"positions": normal(*shape)}
    found = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=ATOMS)
    assert found.terms["energy/positions"].value == refloss.mae(p["positions"], t["positions"], reduction="sum").value


def test_each_quotient_is_rounded_by_itself() -> None:
    """The difference over n, which a shortcut would take, is another number."""
    p, t = np.full((B, 1), 1e16 + 2), np.full((B, 1), 1e16)
    found = section({"energy": {"type": "mse", "reduction": "none"}}).evaluate(
        {"energy": p}, {"energy": t}, num_atoms=ATOMS
    )
    wanted = [
        Fraction(float(a) / n - float(b) / n) ** 2 for a, b, n in zip(p[:, 0], t[:, 0], ATOMS.tolist(), strict=True)
    ]
    assert found.terms["energy"].value.tolist() == [oracle.nearest(item) for item in wanted]
    assert wanted != [(Fraction(2) / n) ** 2 for n in ATOMS.tolist()]


def test_per_atom_targets_stay() -> None:
    p, t = normal(11, 2), normal(11, 2)
    found = section({"charge": "mse"}).evaluate({"charge": p}, {"charge": t}, num_atoms=ATOMS)
    assert found.total == refloss.mse(p, t).value


def test_structures_of_one_atom() -> None:
    p, t = normal(B, 2), normal(B, 2)
    found = section({"charge": "mse"}).evaluate({"charge": p}, {"charge": t}, num_atoms=np.ones(B, int))
    assert found.total == refloss.mse(p, t).value


@pytest.mark.parametrize("names", [["gap"], {"gap"}, ("gap",), {"gap": 1}.keys()])
def test_targets_that_are_exempt(names: Any) -> None:
    p, t = {name: normal(B) for name in ("energy", "gap")}, {name: normal(B) for name in ("energy", "gap")}
    chosen = section({"energy": "mse", "gap": "mse"})
    found = chosen.evaluate(p, t, num_atoms=ATOMS, per_structure_targets=names)
    assert found.terms["gap"].value == refloss.mse(p["gap"], t["gap"]).value
    assert found.terms["energy"].value == refloss.mse(divided(p["energy"]), divided(t["energy"])).value


def test_the_strain_of_an_exempt_target_is_exempt_too() -> None:
    p, t = energies(), energies()
    found = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=ATOMS, per_structure_targets=["energy"])
    assert found.terms["energy/strain"].value == refloss.mse(p["strain"], t["strain"]).value


def test_names_of_exempt_targets_are_names() -> None:
    """A string holds "energy" as a part of it; a name that nobody has would be ignored without a word."""
    evaluate = section({"energy": "mse"}).evaluate
    p, t = {"energy": normal(B)}, {"energy": normal(B)}
    message = said(evaluate, p, t, num_atoms=ATOMS, per_structure_targets="total_energy")
    assert "per_structure_targets: found the string 'total_energy'" in message
    message = said(evaluate, p, t, num_atoms=ATOMS, per_structure_targets=["energie"])
    assert "per_structure_targets: found 'energie'" in message
    assert "did you mean 'energy'?" in message


def test_blocks_are_divided_each_by_itself() -> None:
    """Each block has a row a structure: joined, their rows are no longer one a structure."""
    p, t = [[normal(B, 3), normal(B, 5), normal(11, 2)] for _ in range(2)]
    flat = [
        np.concatenate([divided(first).ravel(), divided(second).ravel(), third.ravel()])
        for first, second, third in (p, t)
    ]
    found = section({"s": {"type": "mse"}}).evaluate({"s": in_blocks(*p)}, {"s": in_blocks(*t)}, num_atoms=ATOMS)
    assert_pointwise(found.terms["s"].result, exact("mse", *flat), grad=False)
    # Four blocks of one row: joined they look like four structures.
    ones = [[normal(1, 1) for _ in range(B)] for _ in range(2)]
    message = said(
        section({"s": {"type": "mse"}}).evaluate,
        {"s": in_blocks(*ones[0])},
        {"s": in_blocks(*ones[1])},
        num_atoms=ATOMS,
    )
    assert message.startswith("s: predictions of block 0 and num_atoms: found 1 rows and 4 structures of 11 atoms")


@pytest.mark.parametrize("rows", [1, B - 1, B + 1, 12])
@pytest.mark.parametrize("which", ["predictions", "targets"])
def test_rows_that_are_neither_structures_nor_atoms(rows: int, which: str) -> None:
    data = {"predictions": {"energy": normal(B)}, "targets": {"energy": normal(B)}} | {which: {"energy": normal(rows)}}
    message = said(section({"energy": "mse"}).evaluate, **data, num_atoms=ATOMS)
    assert message.startswith(f"energy: {which} and num_atoms: found {rows} rows and 4 structures of 11 atoms")


def test_targets_of_different_structures_have_numbers_of_atoms_of_their_own() -> None:
    """The second of two data sets has a target that the first has not: two structures of it, of four of the other."""
    p, t, q, u = normal(B, 1), normal(B, 1), normal(2, 3), normal(2, 3)
    both = section({"energy": "mse", "charge": "mae"})
    atoms = {"energy": ATOMS, "charge": ATOMS[2:]}
    found = both.evaluate({"energy": p, "charge": q}, {"energy": t, "charge": u}, num_atoms=atoms)
    assert found.terms["energy"].value == refloss.mse(p / ATOMS[:, None], t / ATOMS[:, None]).value
    assert found.terms["charge"].value == refloss.mae(q / ATOMS[2:, None], u / ATOMS[2:, None]).value
    message = said(both.evaluate, {"energy": p}, {"energy": t}, num_atoms={"charge": ATOMS})
    assert message == "num_atoms: found charge, expected 'energy' too"
    message = said(both.evaluate, {"energy": p}, {"energy": t}, num_atoms={"energy": ATOMS, "charge": [1.5]})
    assert message.startswith("num_atoms['charge']: found 1.5 at index 0")


@pytest.mark.parametrize(
    ("num_atoms", "parts"),
    [
        ([3, 0, 2, 5], ["0.0 at index 1", "integers ≥ 1"]),
        ([3, 1, -2, 5], ["-2.0 at index 2"]),
        ([3, 1, 2, 2.5], ["2.5 at index 3"]),
        ([3, 1, np.nan, 5], ["NaN or infinite", "(2,)"]),
        ([], ["size 0"]),
        (4, ["0 dimensions", "expected 1"]),
        ([[3, 1, 2, 5]], ["2 dimensions"]),
        (["H2O"], ["<U3"]),
        ([True] * 4, ["bool"]),
    ],
)
def test_numbers_of_atoms_that_are_none(num_atoms: Any, parts: list[str]) -> None:
    p, t = {"energy": normal(B)}, {"energy": normal(B)}
    message = said(section({"energy": "mse"}).evaluate, p, t, num_atoms=num_atoms)
    assert message.startswith("num_atoms: found")
    for part in parts:
        assert part in message


def test_a_number_of_atoms_that_no_structure_has() -> None:
    found = section({"energy": "mae"}).evaluate({"energy": [1.0]}, {"energy": [0.0]}, num_atoms=[1e300])
    assert found.total == 1e-300
