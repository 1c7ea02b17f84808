"""The cases: valid under every convention, exact in their format, stable, and such that mistakes show on them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import subprocess
import sys

import numpy as np
import pytest

from refloss.conventions import LOSSES as CONVENTIONS
from refloss.conventions import Convention
from refloss.crosscheck.bounds import tolerance
from refloss.crosscheck.cases import FLAGS, Case, cases, parameters
from refloss.crosscheck.draws import Draws
from refloss.crosscheck.formats import FORMATS, quantise
from refloss.crosscheck.reference import Golden, equivalent_shifts, reference
from refloss.crosscheck.suites import ALIGNED, GRADIENT_WEIGHT, LOSSES, POINTWISE, WEIGHTS
from refloss.errors import InputError

FLOAT32 = FORMATS["float32"]


@functools.cache
def core(loss: str, form: str = "float32", seed: int = 0) -> tuple[Case, ...]:
    return tuple(cases(loss, format=FORMATS[form], seed=seed))


def applies(convention: Convention, case: Case) -> bool:
    """Return whether a release that has its step and reduction fixed can compute the case."""
    step = convention.energy_step
    return (step is None or case.params["energy_step"] == step) and case.params["reduction"] in convention.reductions


def goldens(case: Case) -> list[Golden]:
    if case.loss in POINTWISE:
        return [reference(case)]
    return [reference(case, name) for name, found in CONVENTIONS[case.loss].items() if applies(found, case)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_case_is_valid_and_within_its_format(loss, form):
    known = FORMATS[form]
    for case in core(loss, form):
        assert set(case.params) == set(parameters(loss)), case.id
        assert (case.mask is None) == (not loss.startswith("masked_")), case.id
        for numbers in (case.predictions, case.targets):
            assert np.array_equal(quantise(numbers, known), numbers, equal_nan=True), case.id
        for golden in goldens(case):
            for name, figure in golden.figures.items():
                assert (np.abs(figure) <= known.largest).all(), (case.id, name)


@pytest.mark.parametrize("form", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_figures_do_not_underflow_but_where_the_flag_says_so(loss, form):
    for case in core(loss, form):
        if "Subnormal" in case.flags:
            continue
        for golden in goldens(case):
            figures = {name: figure for name, figure in golden.figures.items() if name not in ("grad", "elements")}
            low = {name for name, x in figures.items() if ((x != 0.0) & (np.abs(x) < FORMATS[form].tiny)).any()}
            # A sum of numbers that are small already: what there is of a "small" case's running integral.
            assert low <= ({"terms.cumulative"} if "/small/" in case.id else set()), (case.id, low)


@pytest.mark.parametrize("loss", LOSSES)
def test_ids_are_unique_and_start_with_the_loss(loss):
    found = [case.id for case in cases(loss, format=FLOAT32, suite="full")]
    assert len(set(found)) == len(found)
    assert all(name.startswith(f"{loss}/") for name in found)
    assert [case.id for case in core(loss)] == found[: len(core(loss))]


@pytest.mark.parametrize("loss", LOSSES)
def test_another_seed_gives_other_numbers_and_the_same_parameters(loss):
    for one, again, other in zip(core(loss), cases(loss, format=FLOAT32), core(loss, seed=1), strict=True):
        assert one.predictions.tobytes() == again.predictions.tobytes()
        assert one.targets.tobytes() == again.targets.tobytes()
        assert (one.id, one.params) == (other.id, other.params)
        assert one.predictions.shape == other.predictions.shape
        if "Random" in one.flags:
            assert not np.array_equal(one.predictions, other.predictions), one.id


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("loss", ALIGNED)
def test_other_seeds_are_valid_too(loss, seed):
    for case in core(loss, seed=seed):
        assert all(np.isfinite(figure).all() for golden in goldens(case) for figure in golden.figures.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_flag_is_there_where_it_makes_sense(loss):
    aligned_only = {"BatchOne", "ExactTie", "NearTie", "EdgeShift", "Plateau", "Physical", "Weights", "UnequalMasks"}
    expected = set(FLAGS) - {"HuberKnee"} if loss in ALIGNED else set(FLAGS) - aligned_only
    if not loss.endswith("huber"):
        expected -= {"HuberKnee"}
    found = collections.Counter(flag for case in core(loss) for flag in case.flags)
    assert set(found) == expected
    assert found["Random"] > 0.4 * len(core(loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_flags_say_what_is_there(loss):
    for case in core(loss):
        counts = ~np.isnan(case.targets) & (True if case.mask is None else case.mask)
        rows = counts.reshape(len(counts), -1) if loss in ALIGNED else counts.reshape(1, -1)
        assert ("NaNTarget" in case.flags) == bool(np.isnan(case.targets).any())
        assert ("AllMasked" in case.flags) == (rows.sum(axis=1) == 0).any()
        assert ("SinglePoint" in case.flags) == (rows.sum(axis=1) == 1).any()
        if "UnequalMasks" in case.flags:
            assert len({row.tobytes() for row in rows}) > 1
        if case.mask is not None:
            inside = loss in POINTWISE and "/nan-inside/" in case.id  # of an aligned loss it would be an error
            assert (np.isnan(case.targets) & case.mask).any() == inside
            assert not inside or (np.isnan(case.targets) & ~case.mask).any()
        if "Subnormal" in case.flags:
            subnormal = (case.predictions != 0.0) & (np.abs(case.predictions) < FLOAT32.tiny)
            assert subnormal.any(), case.id


def test_the_size_of_the_core_suites():
    assert all(60 <= len(core(loss)) <= 120 for loss in ALIGNED)
    assert all(40 <= len(core(loss)) <= 80 for loss in POINTWISE)
    assert all(case.predictions.size <= 60_000 for loss in LOSSES for case in core(loss))


@pytest.mark.parametrize("loss", ALIGNED)
def test_what_blocks_of_a_usual_size_leave_out_is_there(loss):
    """A kernel for one block of 128 structures, 256 shifts or 1024 points drops what is beyond: and that counts."""
    assert any(len(case.targets) > 128 for case in core(loss))
    assert any(case.targets.shape[1] > 1024 for case in core(loss))
    found = [reference(case, "intended") for case in core(loss) if "/edges/" in case.id]
    assert any((golden.shift > 256 + golden.result.padding).any() for golden in found)


@pytest.mark.parametrize("loss", ALIGNED)
def test_a_structure_of_which_nothing_counts_has_its_unmasked_gradient(loss):
    """An implementation that returns 0 for an empty mask is wrong where G weighs, and should be so in several cases."""
    wrong = 0
    for case in core(loss):
        counts = ~np.isnan(case.targets) if case.mask is None else case.mask
        terms = reference(case, "documented" if loss == "masked_dos" else "intended").terms
        gradient = terms["unmasked_gradient"] * case.params[GRADIENT_WEIGHT[loss]]
        wrong += bool((gradient[~counts.any(axis=1)] > 0.01).any())
    assert wrong >= 4


@pytest.mark.parametrize("form", ["float64", "float32"])
@pytest.mark.parametrize(("loss", "convention"), [("masked_dos", name) for name in CONVENTIONS["masked_dos"]]
                         + [("shift_agnostic_mse", "intended")])  # fmt: skip
def test_close_calls_are_lost_to_less_precision_and_to_no_other(loss, convention, form):
    """Two thirds of the digits are alike: too many for products of 11 bits, or of float32 in float64's place."""
    (case,) = (case for case in core(loss, form) if "/close-call/" in case.id)
    golden = reference(case, convention)
    own, less = (FORMATS[name] for name in (form, {"float64": "float32", "float32": "tf32"}[form]))
    alone = equivalent_shifts(case, golden, tolerance(case, golden, convention, own, own))
    assert [shifts.tolist() for shifts in alone] == [[shift] for shift in golden.shift.tolist()]
    several = equivalent_shifts(case, golden, tolerance(case, golden, convention, less, less))
    assert sum(len(shifts) > 1 for shifts in several) == len(several) // 2
    assert len(set(golden.shift.tolist())) == 2


@pytest.mark.parametrize("loss", ALIGNED)
def test_parameters_vary_and_half_of_the_cases_suit_the_releases(loss):
    found = [case.params for case in core(loss)]
    weights = {(p[parameters(loss)[1]], p["int_weight"]) for p in found}
    assert weights >= set(WEIGHTS)
    assert {p["reduction"] for p in found} == {"mean", "sum", "none"}
    assert len({p["energy_step"] for p in found}) >= 5
    suited = [p["energy_step"] == 0.05 and p["reduction"] == "mean" for p in found]
    assert len(found) / 2 <= sum(suited) <= 0.8 * len(found)


@pytest.mark.parametrize("loss", POINTWISE)
def test_pointwise_parameters_vary(loss):
    assert {case.params["reduction"] for case in core(loss)} == {"mean", "sum", "none"}
    if loss.endswith("huber"):
        assert len({case.params["delta"] for case in core(loss)}) >= 4


@pytest.mark.parametrize("loss", ["huber", "masked_huber"])
@pytest.mark.parametrize("form", ["float32", "float64", "bfloat16"])
def test_differences_at_the_knee_are_exactly_there(loss, form):
    for case in core(loss, form):
        if "HuberKnee" in case.flags:
            delta = float(quantise(case.params["delta"], FORMATS[form]))
            d = np.abs(case.predictions - case.targets)
            assert (d == delta).any()
            assert ((d < delta) & (d > 0.99 * delta)).any()
            assert ((d > delta) & (d < 1.01 * delta)).any()


def test_given_parameters_are_those_of_every_case():
    given = {"energy_step": 0.25, "reduction": "sum"}
    for case in cases("masked_dos", format=FLOAT32, params=given):
        assert {key: case.params[key] for key in given} == given
    assert len({case.params["grad_weight"] for case in cases("masked_dos", format=FLOAT32, params=given)}) > 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "masked_doss"}, "did you mean 'masked_dos'"),
        ({"suite": "cor"}, "did you mean 'core'"),
        ({"seed": -1}, "seed: found -1"),
        ({"params": {"energy_steps": 0.05}}, "did you mean 'energy_step'"),
        ({"params": {"delta": 1.0}}, "params: found 'delta'"),
        ({"params": {"energy_step": 0.0}}, "energy_step: found 0.0"),
        ({"params": {"int_weight": float("nan")}}, "int_weight: found nan"),
        ({"params": {"reduction": "men"}}, "did you mean 'mean'"),
    ],
)
def test_bad_arguments_are_answered_at_once(change, message):
    arguments = {"loss": "masked_dos", "format": FLOAT32} | change
    with pytest.raises(InputError, match=message):
        cases(**arguments)


def differing(case: Case, one: Convention, other: Convention, form: str) -> set[str]:
    """Return the figures that no implementation in this format can have right under both conventions."""
    found = []
    for convention in (one, other):
        golden = reference(case, convention)
        found.append((golden.figures, tolerance(case, golden, convention, FORMATS[form], FORMATS[form]).bound))
    (a, near_a), (b, near_b) = found
    with np.errstate(over="ignore"):
        return {name for name in a if (np.abs(a[name] - b[name]) > near_a[name] + near_b[name]).any()}


SWITCHES = [
    ("objective", "dos", "dos+front_tail", "terms.dos"),
    ("objective", "dos+front_tail", "total", "terms.dos"),
    ("front_tail", True, False, "value"),
    ("gradient_points", "window", "prediction", "terms.unmasked_gradient"),
    ("cumulative", "structure", "batch", "terms.cumulative"),
    ("cumulated", "dos", "squares", "terms.cumulative"),
]


@pytest.mark.parametrize(("switch", "one", "other", "figure"), SWITCHES, ids=str)
@pytest.mark.parametrize("loss", ALIGNED)
def test_each_switch_of_a_convention_shows_in_float32(loss, switch, one, other, figure):
    base = CONVENTIONS[loss]["intended"]
    pair = [dataclasses.replace(base, name="x", **{switch: value}) for value in (one, other)]
    counted = collections.Counter()
    for case in core(loss):
        # No named convention has squares beside any step, so large numbers may overflow under that pair.
        if all(applies(convention, case) for convention in pair) and not case.flags & {"HugeRange"}:
            counted.update(differing(case, *pair, "float32"))
    assert counted[figure] >= 10
    assert min(counted["value"], counted["grad"]) >= 3


@pytest.mark.parametrize("loss", ALIGNED)
def test_the_stencil_of_the_releases_shows(loss):
    # Its coefficients differ by less than a rounding in float32: in the values it takes float64 to see that.
    names = {"masked_dos": "metatrain-2026.2", "shift_agnostic_mse": "metatrain-2026.3"}
    released = CONVENTIONS[loss][names[loss]]
    exact = dataclasses.replace(released, name="x", stencil="exact")
    counted = collections.Counter()
    for case in core(loss, "float64"):
        if applies(released, case):
            counted.update(differing(case, released, exact, "float64"))
    assert min(counted["terms.unmasked_gradient"], counted["value"], counted["grad"]) >= 10


@pytest.mark.parametrize(("form", "error"), [("float64", 1e-6), ("float32", 0.1), ("bfloat16", 1.0)])
@pytest.mark.parametrize("loss", ALIGNED)
def test_each_term_decides_some_cases(loss, form, error):
    """Where a term is this much too large, the value alone gives it away, in at least five cases."""
    for term in range(4):
        seen = 0
        for case in core(loss, form):
            golden = reference(case, "intended")
            if golden.value is None:
                continue
            weight = (1.0, 1.0, *(case.params[name] for name in parameters(loss)[1:3]))[term]
            part = weight * list(golden.terms.values())[term]
            wrong = error * (part.mean() if case.params["reduction"] == "mean" else part.sum())
            bound = tolerance(case, golden, "intended", FORMATS[form], FLOAT32 if form == "bfloat16" else FORMATS[form])
            seen += wrong > 2.0 * bound.bound["value"]
        assert seen >= 5, term


@pytest.mark.parametrize("form", FORMATS)
def test_ties_and_edges_are_what_they_say(form):
    named = {case.id: reference(case, "documented").result for case in core("masked_dos", form)}
    both_ends = [r for name, r in named.items() if "/tied-ends/" in name]
    assert both_ends
    for result in both_ends:
        last = result.predictions.shape[1] - result.targets.shape[1]
        assert result.tied.all()
        assert (result.shift == 0).all()
        assert (result.runner_up == last).all()
    for name, result in named.items():
        if "/plateau/" in name or "/palindrome/" in name:
            assert result.tied.all(), name
        if "/nudge/" in name and form != "float16":  # scaled to its narrow range, the rounding may round away
            assert not result.tied.any(), name
    edges = [r for name, r in named.items() if "/edges/" in name]
    assert {(int(s), int(s) > 0) for r in edges for s in r.shift} >= {(0, False)}
    assert any(s == r.predictions.shape[1] - r.targets.shape[1] for r in edges for s in r.shift)


def test_spectra_have_states_below_and_above_the_end_of_their_masks():
    for case in core("masked_dos"):
        if "Physical" in case.flags:
            assert case.mask is not None
            assert len({row.tobytes() for row in case.mask}) == len(case.mask)
            behind = np.where(case.mask, 0.0, case.targets).max(axis=1)
            assert (behind > 0.1).all(), case.id
            before = np.where(case.mask, case.targets, 0.0).max(axis=1)
            assert (before > 0.1).all(), case.id


def test_a_good_model_is_better_than_a_bad_one():
    values = {case.id.split("/")[1]: reference(case, "documented").terms["dos"] for case in core("masked_dos")}
    assert values["good-model"].max() < 0.1 * values["bad-model"].min()


def test_draws_are_those_of_the_bit_generator():
    # By hand from the raw bits, whose stream NumPy promises to keep.
    raw = np.random.PCG64(np.random.SeedSequence([7, 0x352441C2])).random_raw(3)  # the CRC-32 of "abc"
    assert Draws(7, "abc").uniform(3).tolist() == [(int(word) >> 11) / 2**53 for word in raw]
    many = Draws(0, "many").normal(20_000)
    assert abs(many.mean()) < 5 / np.sqrt(20_000)  # five standard errors
    assert abs(many.var() - 1.0) < 5 * np.sqrt(1.7 / 20_000)  # kurtosis 2.7, that of four uniforms
    assert set(Draws(0, "whole").whole(200, -1, 2).tolist()) == {-1, 0, 1, 2}


def test_making_cases_imports_no_kernels():
    program = (
        "import sys; from refloss.crosscheck.cases import cases; from refloss.crosscheck.formats import FORMATS; "
        "next(cases('masked_dos', format=FORMATS['float32'])); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
