"""Ensemble types in a section: where the ensemble is read, which member is where, and what becomes of gradients."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import oracle_ensemble
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sections import in_blocks, said, section
from tensormaps import block, tensormap
from test_ensemble import ULPS

import refloss
from refloss.cli.main import main
from refloss.files import Contents, Dataset, npz
from refloss.members import ensemble_name
from refloss.summary import summarise

TYPES = {"gaussian_nll_ensemble": "nll", "gaussian_crps_ensemble": "crps", "empirical_crps_ensemble": "empirical"}
B, M, P = 5, 4, 3
DOS = "mtt::aux::dos_ensemble"


def data(seed: int = 0, properties: int = P, members: int = M) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return members (B, M, P), the same as the predictions have them (B, M · P), and targets (B, P)."""
    rng = np.random.default_rng(seed)
    members_of = rng.normal(size=(B, members, properties)) + 10.0 * np.arange(properties)
    return members_of, members_of.reshape(B, -1), 10.0 * np.arange(properties) + rng.normal(size=(B, properties))


def judged(
    loss: str, members: np.ndarray, target: float
) -> tuple[oracle_ensemble.Figure, list[oracle_ensemble.Figure]]:
    """Ask the oracle about one element."""
    if TYPES[loss] == "empirical":
        value, slopes = oracle_ensemble.empirical(members.tolist(), target)
        return figure(value), [figure(slope) for slope in slopes]
    found = oracle_ensemble.of_members(TYPES[loss], members.tolist(), target)
    return found.element, found.by_member


def figure(value: Any) -> oracle_ensemble.Figure:
    exact = oracle_ensemble.number(value)
    return oracle_ensemble.Figure(exact, abs(exact))


def assert_term(loss: str, result: Any, members: np.ndarray, targets: np.ndarray) -> None:
    """Compare a mean over (B, M, P) members and (B, P) targets, and its gradient by the members, all of them."""
    exact = {index: judged(loss, members[index[0], :, index[1]], float(t)) for index, t in np.ndenumerate(targets)}
    value = oracle_ensemble.total([element for element, _ in exact.values()], targets.size)
    assert oracle_ensemble.error(result.value, value) <= ULPS
    assert result.count == targets.size
    slopes = np.asarray(result.grad).reshape(members.shape)
    for (b, p), (_, by_member) in exact.items():
        for m, slope in enumerate(by_member):
            assert oracle_ensemble.error(float(slopes[b, m, p]), slope.times(Fraction(1, targets.size))) <= ULPS


def test_names_of_ensembles() -> None:
    assert ensemble_name("energy") == ensemble_name("mtt::energy") == "energy_ensemble"
    assert ensemble_name("mtt::dos") == ensemble_name("dos") == DOS
    assert ensemble_name("mtt::aux::dos") == "mtt::aux::aux::dos_ensemble"
    assert ensemble_name("energy/2") == "mtt::aux::energy/2_ensemble"


@pytest.mark.parametrize("loss", TYPES)
def test_members_are_outermost_in_the_properties(loss: str) -> None:
    members, ensemble, targets = data()
    result = section({"mtt::dos": {"type": loss, "weight": 0.5}}).evaluate(
        {DOS: ensemble}, {"mtt::dos": targets}, grad=True
    )
    term = result.terms["mtt::dos"]
    assert_term(loss, term.result, members, targets)
    assert term.result.grad.shape == ensemble.shape
    assert term.result.selected.shape == targets.shape
    assert term.result.grad_variance is None
    assert result.total == pytest.approx(0.5 * term.value, rel=1e-15)
    assert np.array_equal(result.gradient()[DOS]["values"], 0.5 * term.result.grad)
    assert result.skipped == {}


@pytest.mark.parametrize("loss", TYPES)
@pytest.mark.parametrize("shape", [(B,), (B, 1)])
def test_an_energy_has_one_property(loss: str, shape: tuple[int, ...]) -> None:
    members, ensemble, targets = data(1, properties=1)
    found = section({"energy": loss}).evaluate(
        {"energy_ensemble": ensemble}, {"energy": targets.reshape(shape)}, grad=True
    )
    assert_term(loss, found.terms["energy"].result, members, targets)
    assert found.terms["energy"].result.grad.shape == (B, M)
    assert found.terms["energy"].result.selected.shape == shape


@pytest.mark.parametrize("loss", TYPES)
def test_components_stand_between_samples_and_properties(loss: str) -> None:
    members, _, targets = data(2)
    with_components = members.reshape(B, M, 3, 1).swapaxes(1, 2).reshape(B, 3, M)  # (samples, components, members)
    found = section({"mtt::x": loss}).evaluate(
        {"mtt::aux::x_ensemble": with_components}, {"mtt::x": targets.reshape(B, 3, 1)}, grad=True
    )
    result = found.terms["mtt::x"].result
    assert result.grad.shape == (B, 3, M)
    assert (
        result.value
        == section({"mtt::dos": loss})
        .evaluate({DOS: members.reshape(B, -1)}, {"mtt::dos": targets})
        .terms["mtt::dos"]
        .value
    )


@pytest.mark.parametrize("loss", TYPES)
def test_blocks_are_joined_before_the_reduction(loss: str) -> None:
    members, ensemble, targets = data(3)
    parts = in_blocks(ensemble[:2], ensemble[2:]), in_blocks(targets[:2], targets[2:])
    blocked = section({"mtt::dos": loss}).evaluate({DOS: parts[0]}, {"mtt::dos": parts[1]}, grad=True)
    whole = section({"mtt::dos": loss}).evaluate({DOS: ensemble}, {"mtt::dos": targets}, grad=True)
    assert blocked.total == whole.total
    assert section({"mtt::dos": loss}).evaluate({DOS: parts[0]}, {"mtt::dos": parts[1]}).total == whole.total
    gradient = blocked.gradient()[DOS]["blocks"]
    assert np.array_equal(
        np.concatenate([gradient[0]["values"], gradient[1]["values"]]), whole.gradient()[DOS]["values"]
    )
    # Blocks of other numbers of properties, one of no samples.
    parts = (
        in_blocks(ensemble[:, :], members[:, :, :2].reshape(B, -1), np.zeros((0, M))),
        in_blocks(targets, targets[:, :2], np.zeros((0, 1))),
    )
    found = section({"mtt::dos": loss}).evaluate({DOS: parts[0]}, {"mtt::dos": parts[1]}, grad=True)
    assert found.terms["mtt::dos"].result.count == 5 * B
    gradient = found.gradient()[DOS]["blocks"]
    assert [gradient[k]["values"].shape for k in range(3)] == [(B, M * P), (B, M * 2), (0, M)]
    assert np.allclose(
        gradient[1]["values"].reshape(B, M, 2), gradient[0]["values"].reshape(B, M, P)[:, :, :2], rtol=1e-15
    )


@pytest.mark.parametrize("loss", TYPES)
def test_per_atom(loss: str) -> None:
    """The members are divided, each quotient rounded, and the gradient of the total is by what was given."""
    members, ensemble, targets = data(4, properties=1)
    atoms = np.array([1, 2, 3, 5, 7])
    entry = section({"energy": loss})
    found = entry.evaluate({"energy_ensemble": ensemble}, {"energy": targets}, num_atoms=atoms, grad=True)
    assert_term(loss, found.terms["energy"].result, members / atoms[:, None, None], targets / atoms[:, None])
    assert np.array_equal(
        found.gradient()["energy_ensemble"]["values"], found.terms["energy"].result.grad / atoms[:, None]
    )
    exempt = entry.evaluate(
        {"energy_ensemble": ensemble}, {"energy": targets}, num_atoms=atoms, per_structure_targets=["energy"]
    )
    assert exempt.total == entry.evaluate({"energy_ensemble": ensemble}, {"energy": targets}).total


def test_targets_without_a_value_and_the_reductions() -> None:
    members, ensemble, targets = data(5)
    targets[0, 1] = targets[3, 2] = np.nan
    for loss in TYPES:
        options = {r: {"type": loss, "reduction": r} for r in ("mean", "sum", "none")}
        found = {
            r: section({"mtt::dos": o}).evaluate({DOS: ensemble}, {"mtt::dos": targets}, grad=True)
            for r, o in options.items()
        }
        elements = found["none"].terms["mtt::dos"].value
        assert found["none"].total is None
        assert elements.shape == (B * P - 2,)
        first = judged(loss, members[0, :, 0], float(targets[0, 0]))[0]
        assert oracle_ensemble.error(float(elements[0]), first) <= ULPS
        assert found["sum"].total == pytest.approx(elements.sum(), rel=1e-14)
        assert found["mean"].total == pytest.approx(elements.mean(), rel=1e-14)
        assert not found["mean"].terms["mtt::dos"].result.grad.reshape(B, M, P)[0, :, 1].any()


def test_the_mean_is_of_the_members_and_not_the_prediction() -> None:
    """metatrain's models centre the ensemble on the prediction; nothing here relies on it."""
    members, ensemble, targets = data(6)
    alone = section({"mtt::dos": "gaussian_nll_ensemble"}).evaluate({DOS: ensemble}, {"mtt::dos": targets})
    beside = section({"mtt::dos": "gaussian_nll_ensemble"}).evaluate(
        {"mtt::dos": targets + 100.0, DOS: ensemble}, {"mtt::dos": targets}
    )
    by_hand = refloss.gaussian_nll(members.mean(axis=1), targets, members.var(axis=1, ddof=1))
    assert alone.total == beside.total == pytest.approx(by_hand.value, rel=1e-13)


# ---- what is missing ---------------------------------------------------------------------------------------------


def test_a_missing_ensemble() -> None:
    _, ensemble, targets = data(7)
    dos = section({"mtt::dos": "empirical_crps_ensemble", "energy": "mse"})
    ones = {"energy": np.ones(3)}
    message = said(
        dos.evaluate, {"mtt::dos": targets, "mtt::dos_ensemble": ensemble, **ones}, {"mtt::dos": targets, **ones}
    )
    assert message.startswith("mtt::dos: predictions: found mtt::dos, mtt::dos_ensemble, energy, expected")
    assert (
        f"'{DOS}' too, the ensemble that empirical_crps_ensemble reads (did you mean 'mtt::dos_ensemble'?)" in message
    )
    # With neither it is a target that the predictions lack.
    found = dos.evaluate(ones, {"mtt::dos": targets, **ones})
    assert found.skipped == {"mtt::dos": "not in the predictions"}
    message = said(section({"energy": "gaussian_nll_ensemble"}).evaluate, {"energy_ensembel": ensemble}, ones)
    assert "expected at least one target of the section: energy_ensemble (did you mean 'energy_ensemble'?)" in message
    message = said(dos.evaluate, {DOS: ensemble}, ones)
    assert message == "targets: found energy, expected 'mtt::dos' too, as in predictions"


def test_what_the_section_does_not_read_is_told() -> None:
    _, ensemble, targets = data(8)
    given = {DOS: {"values": ensemble, "positions": ensemble}, "energy_ensemble": ensemble, "mtt::dos": targets}
    dos = section({"mtt::dos": "gaussian_crps_ensemble"})
    found = dos.evaluate(given, {"mtt::dos": targets})
    assert found.skipped == {
        f"{DOS}/positions": "not in the loss section",
        "energy_ensemble": "not in the loss section",
    }
    held = {name: item if isinstance(item, dict) else {"values": item} for name, item in given.items()}
    unused = summarise(dos, found, Dataset(held, {"mtt::dos": {"values": 0}}, {})).unused
    assert unused["predictions"] == [f"{DOS}/positions", "energy_ensemble", "mtt::dos"]
    assert unused["targets"] == []


def test_gradients_have_no_ensemble() -> None:
    _, ensemble, targets = data(9, properties=1)
    forces = np.ones((B, 3, 1))
    predictions = {"energy": {"values": targets, "positions": forces}, "energy_ensemble": ensemble}
    energy = {"energy": {"values": targets, "positions": 2 * forces}}
    by_default = section("gaussian_nll_ensemble", training_set={"targets": {"energy": {"stress": False}}})
    found = by_default.evaluate(predictions, energy)
    assert found.skipped == {"energy/positions": "gaussian_nll_ensemble is of values alone"}
    assert list(found.terms) == ["energy"]
    for loss in TYPES:
        named = section({"energy": {"type": "mse", "forces": loss}})
        message = said(named.evaluate, predictions, energy)
        assert message == f"energy/positions: found type {loss}, which is of values alone, expected another"
    # Beside an ensemble's loss the forces are the prediction's own.
    mixed = section({"energy": {"type": "empirical_crps_ensemble", "forces": {"type": "mse", "weight": 3.0}}})
    found = mixed.evaluate(predictions, energy, grad=True)
    assert found.terms["energy/positions"].value == 1.0
    assert found.skipped == {}
    assert set(found.gradient()) == {"energy", "energy_ensemble"}
    assert set(found.gradient()["energy"]) == {"positions"}
    # The ensemble alone has no forces: an error where the options name them, else the term is left out.
    alone = {"energy_ensemble": targets}
    message = said(mixed.evaluate, alone, energy)
    assert message == (
        "energy/positions: predictions: found energy_ensemble, expected 'energy' too, for 'positions', which the "
        "options name"
    )
    default = {"energy": {"type": "empirical_crps_ensemble"}}
    found = section(default, training_set={"targets": {"energy": {"stress": False}}}).evaluate(alone, energy)
    assert found.skipped == {"energy/positions": "not in the predictions"}


@pytest.mark.parametrize(
    ("ensemble", "targets", "fragments"),
    [
        (np.ones((5, 7)), np.ones((5, 3)), ["mtt::dos: ensemble and targets", "(5, 7)", "(5, 3)", "as many times"]),
        (np.ones((4, 6)), np.ones((5, 3)), ["ensemble and targets", "(4, 6)", "(5, 3)"]),
        (np.ones((5, 2, 3)), np.ones((5, 3)), ["ensemble and targets", "(5, 2, 3)", "(5, 3)"]),
        (np.ones(5), np.ones(5), ["ensemble and targets", "(5,)"]),
        (np.full((5, 6), np.inf), np.ones((5, 3)), ["ensemble", "30 values", "infinite", "finite"]),
        (np.ones((5, 6)), np.full((5, 3), np.inf), ["targets", "15 values", "infinite"]),
        (np.ones((5, 6)) + 0j, np.ones((5, 3)), ["ensemble", "complex128"]),
        (np.ones((5, 0)), np.ones((5, 3)), ["ensemble", "size 0"]),
        (in_blocks(np.ones((2, 4))), np.ones((2, 1)), ["mtt::dos: targets", "no blocks", "blocks 0", "ensemble"]),
        (
            in_blocks(np.ones((2, 4)), np.ones((2, 6))),
            in_blocks(np.ones((2, 2)), np.ones((2, 2))),
            ["ensemble", "2 in block 0, 3 in block 1", "as many in every block"],
        ),
        (in_blocks(np.ones((2, 5))), in_blocks(np.ones((2, 2))), ["ensemble of block 0 and targets", "(2, 5)"]),
        (in_blocks(np.ones((2, 0))), in_blocks(np.ones((2, 2))), ["ensemble of block 0 and targets", "(2, 0)"]),
    ],
)
@pytest.mark.parametrize("loss", TYPES)
def test_message(loss: str, ensemble: Any, targets: Any, fragments: list[str]) -> None:
    message = said(section({"mtt::dos": loss}).evaluate, {DOS: ensemble}, {"mtt::dos": targets})
    assert not [fragment for fragment in fragments if fragment not in message], message


def test_one_member() -> None:
    ones = np.ones((5, 3))
    for loss in TYPES:
        call = section({"mtt::dos": loss}).evaluate
        if loss == "empirical_crps_ensemble":  # its score is the absolute error
            assert call({DOS: ones}, {"mtt::dos": 3 * ones}).total == 2.0
        else:
            message = said(call, {DOS: ones}, {"mtt::dos": ones})
            assert message == "mtt::dos: ensemble: found one member, expected at least two, to have a variance"


@pytest.mark.parametrize("loss", TYPES)
def test_tensormaps(loss: str) -> None:
    """As metatrain's models return them: one block, the member first of the names of the properties."""
    _, ensemble, targets = data(12)
    labels = (["ensemble_member", "property"], [(m, p) for m in range(M) for p in range(P)])
    maps = tensormap({0: block(ensemble, properties=labels)}), tensormap({0: block(targets)})
    dos = section({"mtt::dos": loss})
    found = dos.evaluate({DOS: maps[0], "mtt::dos": maps[1]}, {"mtt::dos": maps[1]}, grad=True)
    wanted = dos.evaluate({DOS: ensemble}, {"mtt::dos": targets}, grad=True)
    assert found.total == wanted.total
    assert np.array_equal(found.gradient()[DOS]["values"], wanted.gradient()[DOS]["values"])
    fewer = tensormap({0: block(targets[:-1])})
    assert said(dos.evaluate, {DOS: maps[0]}, {"mtt::dos": fewer}).startswith("mtt::dos: targets: found samples")


def test_the_one_member_of_a_tensormap_is_called_otherwise_than_the_target() -> None:
    _, ensemble, targets = data(13, members=1)
    maps = (
        tensormap({0: block(x, properties=([name], range(P)))})
        for x, name in ((ensemble, "ensemble_member"), (targets, "energy"))
    )
    found = section({"mtt::dos": "empirical_crps_ensemble"}).evaluate({DOS: next(maps)}, {"mtt::dos": next(maps)})
    assert found.total == refloss.mae(ensemble, targets).value


# ---- files and the command line ----------------------------------------------------------------------------------


def test_the_command_line_takes_an_ensemble(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    members, ensemble, targets = data(10)
    (tmp_path / "options.yaml").write_text("loss: {mtt::dos: {type: gaussian_nll_ensemble, weight: 2}}\n")
    npz.write("P", tmp_path / "p.npz", Contents({DOS: {"values": ensemble}, "mtt::dos": {"values": targets}}))
    npz.write("T", tmp_path / "t.npz", Contents({"mtt::dos": {"values": targets}}))
    files = ["--predictions", str(tmp_path / "p.npz"), "--targets", str(tmp_path / "t.npz")]
    status = main(["evaluate", str(tmp_path / "options.yaml"), *files, "--json", str(tmp_path / "out.json")])
    out = capsys.readouterr().out
    assert status == 0
    assert "gaussian_nll_ensemble" in out
    assert "not used, of the predictions: mtt::dos\n" in out
    assert "skipped" not in out
    found = json.loads((tmp_path / "out.json").read_text())
    wanted = refloss.gaussian_nll(members.mean(axis=1), targets, members.var(axis=1, ddof=1)).value
    assert found["total"] == pytest.approx(2 * wanted, rel=1e-13)
    assert found["terms"]["mtt::dos"]["count"] == B * P


# ---- metamorphic -------------------------------------------------------------------------------------------------


@given(st.permutations(range(M)), st.permutations(range(P)), st.sampled_from(list(TYPES)))
def test_the_order_of_members_and_of_properties(members_order: Any, properties_order: Any, loss: str) -> None:
    members, ensemble, targets = data(11)
    moved = members[:, members_order][:, :, properties_order]
    one = section({"mtt::dos": loss}).evaluate({DOS: ensemble}, {"mtt::dos": targets}, grad=True)
    other = section({"mtt::dos": loss}).evaluate(
        {DOS: moved.reshape(B, -1)}, {"mtt::dos": targets[:, properties_order]}, grad=True
    )
    assert other.total == pytest.approx(one.total, rel=1e-15)
    grads = (r.terms["mtt::dos"].result.grad.reshape(B, M, P) for r in (one, other))
    first, second = grads
    assert np.allclose(second, first[:, members_order][:, :, properties_order], rtol=1e-13, atol=1e-18)


def test_the_oracle_has_numbers_of_its_own() -> None:
    """Two members 0 and 2 about the target 1: mean 1, variance 2, so the likelihood's logarithm is −ln(2)/2."""
    found, _ = judged("gaussian_nll_ensemble", np.array([0.0, 2.0]), 1.0)
    assert oracle_ensemble.error(math.log(2.0) / 2, found) < 1.0
