"""The verdicts on known figures, and runs of candidates that are right, wrong, or no candidates at all."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import crosscheck_golden
import numpy as np
import pytest

import refloss
from refloss.crosscheck import formats
from refloss.crosscheck.bounds import tolerance
from refloss.crosscheck.candidates import Returned
from refloss.crosscheck.cases import Case
from refloss.crosscheck.judgements import MEANING, Judgement, Verdict
from refloss.crosscheck.reference import Golden, reference
from refloss.crosscheck.report import CrosscheckReport
from refloss.crosscheck.verdicts import judge
from refloss.errors import InputError

FLOAT64, FLOAT32 = formats.find("float64"), formats.find("float32")

SMALL = {"energy_step": 0.05, "reduction": "mean"}
"""With it each convention applies to each case."""


# ---- one case


def tied(reduction: str = "mean") -> Case:
    """Three structures, each with two shifts that are exactly as good and terms that differ between them.

    Palindromes: the misfit at shift s is that at E − s; cumulatives and backward differences know left from right.
    """
    rng = np.random.default_rng(11)

    def palindrome(points: int) -> Any:
        half = formats.quantise(rng.normal(size=(3, (points + 1) // 2)), FLOAT32)
        return np.concatenate([half, half[:, : points // 2][:, ::-1]], axis=1)

    p, t, m = palindrome(13), palindrome(8), palindrome(8) > -0.5
    params = {"energy_step": 0.25, "grad_weight": 0.01, "int_weight": 0.5, "reduction": reduction}
    return Case("tied", "masked_dos", p, t, m, params, frozenset({"ExactTie"}), "")


def ends(case: Case) -> tuple[Golden, Golden]:
    """Return the golden figures at the smallest and at the largest of the best shifts."""
    first = reference(case, "documented")
    last = reference(case, "documented", shift=5 - first.shift)
    assert first.result.tied.all()
    assert (first.shift != last.shift).all()
    assert not np.isclose(first.per_structure, last.per_structure, rtol=1e-3).any()
    return first, last


def returned(**figures: Any) -> Returned:
    arrays = {name.replace("__", "."): np.asarray(found) for name, found in figures.items()}
    return Returned(arrays, {name: array.dtype.name for name, array in arrays.items()})


def verdicts(judgements: list[Judgement]) -> dict[str, Verdict]:
    return {j.figure: j.verdict for j in judgements if j.verdict is not Verdict.not_given}


def judged(case: Case, *, convention: str | None = "documented", form: Any = FLOAT64, **figures: Any) -> dict[str, Any]:
    return verdicts(judge(case, returned(**figures), convention, form, form))


def test_another_of_equal_shifts_is_right_with_the_figures_it_has_there() -> None:
    case = tied()
    _, last = ends(case)
    found = judged(
        case, shift=last.shift, value=last.value, per_structure=last.per_structure, grad=last.grad,
        terms__cumulative=last.terms["cumulative"],
    )  # fmt: skip
    assert set(found.values()) == {Verdict.equivalent_shift}
    assert len(found) == 5


def test_figures_of_another_shift_than_the_one_that_is_named_are_wrong() -> None:
    case = tied()
    first, last = ends(case)
    found = judged(case, shift=last.shift, value=first.value, per_structure=first.per_structure, grad=first.grad)
    assert found == {
        "shift": Verdict.equivalent_shift, "value": Verdict.outside_bound, "per_structure": Verdict.outside_bound,
        "grad": Verdict.outside_bound,
    }  # fmt: skip


@pytest.mark.parametrize("choice", list(itertools.product([False, True], repeat=3)))
def test_shifts_that_are_not_named_are_found_structure_by_structure(choice: tuple[bool, ...]) -> None:
    case = tied()
    first, last = ends(case)
    pick = np.array(choice)
    rows = np.where(pick, last.per_structure, first.per_structure)
    grad = np.where(pick[:, None], last.grad, first.grad)
    expected = Verdict.equivalent_shift if any(choice) else Verdict.exact
    assert judged(case, per_structure=rows, grad=grad) == {"per_structure": expected, "grad": expected}
    assert judged(case, value=rows.mean(), grad=grad)["value"] in (expected, Verdict.expected)
    unreduced = tied("none")
    assert judged(unreduced, value=rows) == {"value": expected}
    if len(set(choice)) == 2:  # a value at other shifts than its own gradient
        wrong = np.where(pick[:, None], first.grad, last.grad)
        assert judged(case, value=rows.mean(), grad=wrong)["value"] is Verdict.outside_bound


def test_rows_of_one_structure_must_be_of_one_shift() -> None:
    case = tied()
    first, last = ends(case)
    found = judged(case, per_structure=first.per_structure, grad=last.grad)
    assert Verdict.outside_bound in found.values()


def test_a_value_alone_is_right_in_the_interval_that_the_shifts_span() -> None:
    case = tied()
    first, last = ends(case)
    both = np.stack([first.per_structure, last.per_structure])
    low, high = both.min(axis=0).mean(), both.max(axis=0).mean()
    assert judged(case, value=low)["value"] in (Verdict.equivalent_shift, Verdict.exact)
    assert judged(case, value=high)["value"] is Verdict.equivalent_shift
    # 1e-9 is far more than float64 rounds in sums of eight terms, and far less than the shifts span.
    assert judged(case, value=low - 1e-9)["value"] is Verdict.outside_bound
    assert judged(case, value=high + 1e-9)["value"] is Verdict.outside_bound


def test_a_worse_shift_is_wrong_and_what_goes_with_it_too() -> None:
    case = tied()
    first, _ = ends(case)
    worse = np.where(first.shift == 2, 1, 2)
    there = reference(case, "documented", shift=worse)
    judgements = judge(case, returned(shift=worse, per_structure=there.per_structure), "documented", FLOAT64, FLOAT64)
    assert verdicts(judgements) == {"shift": Verdict.outside_bound, "per_structure": Verdict.outside_bound}
    shift = next(j for j in judgements if j.figure == "shift")
    assert shift.ratio > 1e6
    assert "times further above the best than rounding" in shift.message


@pytest.mark.parametrize("beyond", [-1, 6, 10**9])
def test_a_shift_that_there_is_not_is_wrong(beyond: int) -> None:
    case = tied()
    first, _ = ends(case)
    shift = np.where(np.arange(3) == 1, beyond, first.shift)
    judgements = judge(case, returned(shift=shift), "documented", FLOAT64, FLOAT64)
    (found,) = (j for j in judgements if j.figure == "shift")
    assert (found.verdict, found.worst, found.found) == (Verdict.outside_bound, (1,), beyond)


def test_the_bound_is_where_right_ends() -> None:
    """Errors are put where the bounds have them; float64 holds them although the candidate computes in float32.

    2000 points, so that the probable error of a sum is well below the largest possible.
    """
    rng = np.random.default_rng(8)
    p, t = (formats.quantise(rng.normal(size=(3, points)), FLOAT32) for points in (2004, 2000))
    params = {"grad_weight": 1.0, "reduction": "mean"}
    case = Case("long", "masked_dos", p, t, rng.random((3, 2000)) < 0.6, params, frozenset(), "")
    golden = reference(case, "documented")
    bounds = tolerance(case, golden, "documented", FLOAT32, FLOAT32)
    for share, expected in ((0.9, Verdict.expected), (1.5, Verdict.within_bound)):
        error = share * bounds.expected["terms.cumulative"]
        assert (error <= bounds.bound["terms.cumulative"]).all()
        found = judged(case, form=FLOAT32, shift=golden.shift, terms__cumulative=golden.terms["cumulative"] - error)
        assert found["terms.cumulative"] is expected
    for sign in (-1, 1):
        error = np.zeros_like(golden.grad)
        error[1, 40] = sign * 1.01 * bounds.bound["grad"][1, 40]
        # A value that is wrong in any form, since an expanded square could be off in the gradient by as much.
        answer = returned(shift=golden.shift, grad=golden.grad + error, value=2 * golden.value)
        judgements = judge(case, answer, "documented", FLOAT32, FLOAT32)
        (found,) = (j for j in judgements if j.figure == "grad")
        assert (found.verdict, found.worst) == (Verdict.outside_bound, (1, 40))
        # The error is a difference of rounded numbers: a part in 2^-53 of the figure, which 1e-6 of the bound exceeds.
        assert found.ratio == pytest.approx(1.01, rel=1e-6)
        assert found.allowed == bounds.bound["grad"][1, 40]
        assert found.expected == golden.grad[1, 40]
        assert found.found == (golden.grad + error)[1, 40]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_exact_is_the_golden_figure_in_the_type_of_the_candidate(dtype: str) -> None:
    case, form = tied(), formats.find(dtype)
    golden = reference(case, "documented")
    rounded = golden.per_structure.astype(dtype)
    kind = np.dtype(dtype).type
    near = np.nextafter(rounded, kind(9))

    def found(rows: Any) -> Verdict:
        arrays = {"shift": golden.shift, "per_structure": rows.astype(np.float64)}
        answer = Returned(arrays, {"shift": "int64", "per_structure": dtype})
        return verdicts(judge(case, answer, "documented", form, form))["per_structure"]

    assert found(rounded) is Verdict.exact
    assert found(near) in (Verdict.expected, Verdict.within_bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_wherever_it_is(bad: float) -> None:
    case = tied()
    golden = reference(case, "documented")
    grad = golden.grad.copy()
    grad[2, 5] = bad
    judgements = judge(case, returned(shift=golden.shift, grad=grad), "documented", FLOAT64, FLOAT64)
    (found,) = (j for j in judgements if j.figure == "grad")
    assert (found.verdict, found.worst, found.right) == (Verdict.not_finite, (2, 5), False)
    assert judged(case, value=bad)["value"] is Verdict.not_finite


def test_shapes_and_types_come_before_values() -> None:
    case = tied()
    golden = reference(case, "documented")
    rows = golden.per_structure
    for name, found, verdict, said in (
        ("value", [golden.value], Verdict.wrong_shape, r"found \(1,\), expected \(\)"),
        ("per_structure", rows[:, None], Verdict.wrong_shape, r"found \(3, 1\), expected \(3,\)"),
        ("grad", golden.grad[:, 1:], Verdict.wrong_shape, r"found \(3, 12\), expected \(3, 13\)"),
        ("value", np.float32(golden.value), Verdict.wrong_dtype, "found float32, expected float64"),
        ("shift", golden.shift.astype(float), Verdict.wrong_dtype, "found float64, expected integers"),
        ("value", np.int64(1), Verdict.wrong_dtype, "found int64, expected float64"),
    ):
        judgements = judge(case, returned(**{name: found}), "documented", FLOAT64, FLOAT64)
        (judgement,) = (j for j in judgements if j.figure == name)
        assert judgement.verdict is verdict
        assert not judgement.right
        assert re.search(said, judgement.message)
    narrow = {"value": np.asarray(golden.value)}
    for dtype, right in (("float32", True), ("bfloat16", True), ("float16", False)):
        bfloat16 = formats.find("bfloat16")
        found = verdicts(judge(case, Returned(narrow, {"value": dtype}), "documented", bfloat16, bfloat16))
        assert (found["value"] is not Verdict.wrong_dtype) == right


def test_a_pointwise_loss_has_no_structures() -> None:
    case = Case("mse", "mse", np.ones((2, 3)), np.zeros((2, 3)), None, {"reduction": "mean"}, frozenset(), "")
    found = judged(case, convention=None, value=1.0, per_structure=np.ones(2))
    assert found == {"value": Verdict.exact, "per_structure": Verdict.wrong_shape}
    for loss, params, there, rows in (
        ("mse", {"reduction": "none"}, (6,), "the elements that count, in C order"),
        ("masked_dos", dict(SMALL, grad_weight=1.0, int_weight=1.0, reduction="none"), (2,), "one for each structure"),
    ):
        mask = np.ones((2, 3), bool) if loss == "masked_dos" else None
        case = Case(loss, loss, np.ones((2, 3)), np.zeros((2, 3)), mask, params, frozenset(), "")
        convention = "documented" if loss == "masked_dos" else None
        (judgement,) = (
            j for j in judge(case, returned(value=np.ones((2, 3))), convention, FLOAT64, FLOAT64) if j.figure == "value"
        )
        assert judgement.message == f"found (2, 3), expected {there}: {rows}"


def test_an_expanded_square_is_one_where_it_must_be() -> None:
    """p and t are 100 and a little: squares of 1e4 rounded in float32 leave 1e-3 of a sum that is about 1e-4."""
    rng = np.random.default_rng(3)
    t = formats.quantise(100 + 1e-3 * rng.normal(size=(2, 12)), FLOAT32)
    p = formats.quantise(t + 1e-3 * rng.normal(size=(2, 12)), FLOAT32)
    case = Case("hill", "masked_dos", p, t, np.ones((2, 12), bool), {"reduction": "mean"}, frozenset(), "")
    golden = reference(case, "documented")
    dos = golden.terms["dos"]
    error = 0.5 * tolerance(case, golden, "documented", FLOAT32, FLOAT32, "expanded").bound["terms.dos"]
    assert (error > 100 * dos).all()
    judgements = judge(case, returned(terms__dos=dos + error), "documented", FLOAT32, FLOAT32)
    (found,) = (j for j in judgements if j.figure == "terms.dos")
    assert (found.verdict, found.right) == (Verdict.expanded_form, True)
    bound = tolerance(case, golden, "documented", FLOAT32, FLOAT32).bound["terms.dos"]
    assert found.digits_lost == pytest.approx(min(np.log10((error / bound).max()), 24 * np.log10(2)), rel=1e-3)
    assert "no digit is right" in found.message
    # With something else that is wrong it is no longer an expanded square that explains the case.
    broken = judged(case, form=FLOAT32, terms__dos=dos + error, grad=golden.grad + 1.0)
    assert broken == {"terms.dos": Verdict.outside_bound, "grad": Verdict.outside_bound}


# ---- a run


def check(candidate: Any, loss: str = "masked_dos", **options: Any) -> CrosscheckReport:
    return refloss.crosscheck(candidate, loss, **({"dtype": "float64"} | options))


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", "metatrain-2025.12"])
def test_the_golden_figures_are_exact_and_their_convention_is_recognised(convention: str) -> None:
    def candidate(p: Any, t: Any, m: Any, **params: Any) -> Any:
        return crosscheck_golden.masked_dos(p, t, m, convention=convention, **params)

    for options in ({"params": SMALL}, {"convention": convention}):
        report = check(candidate, **options)
        assert report.ok
        assert report.convention == convention
        assert report.also_fits == ()
        found = Counter(verdict for figures in report.verdicts.values() for verdict in figures.values())
        assert set(found) == {Verdict.exact}
        terms = {f"terms.{name}" for name in crosscheck_golden.TERMS}
        assert set(report.figures) == {"value", "per_structure", "shift", "grad"} | terms


def test_a_release_refuses_what_it_cannot_compute_and_is_right_all_the_same() -> None:
    """Without params there are cases with other energy steps: they say nothing about a release's convention."""

    def candidate(p: Any, t: Any, m: Any, **params: Any) -> Any:
        return crosscheck_golden.masked_dos(p, t, m, convention="metatrain-2026.2", **params)

    report = check(candidate)
    assert report.ok
    assert report.convention == "metatrain-2026.2"
    assert 0 < sum(case.applies for case in report.cases) < len(report.cases)
    assert "say nothing" in report.summary()


@pytest.mark.parametrize(("asked", "candidate"), [("documented", "metatrain-2026.2"), ("intended", "documented")])
def test_another_convention_than_the_one_asked_for_is_wrong_and_named(asked: str, candidate: str) -> None:
    def of(p: Any, t: Any, m: Any, **params: Any) -> Any:
        return crosscheck_golden.masked_dos(p, t, m, convention=candidate, **params)

    report = check(of, convention=asked, params=SMALL)
    assert not report.ok
    few = {case.id for case in report.cases if case.predictions[1] < 5}  # on which a release says nothing
    failures = [j for j in report.failures if j.case not in few]
    assert {j.verdict for j in failures} == {Verdict.other_convention}
    assert {j.convention for j in failures} == {candidate}
    assert f"right under {candidate}" in report.summary()
    assert report.convention == report.asked == asked


def test_a_convention_of_ones_own() -> None:
    own = refloss.Convention("own", "dos", True, "window", "exact", "structure", "dos")

    def candidate(p: Any, t: Any, m: Any, **params: Any) -> Any:
        return crosscheck_golden.masked_dos(p, t, m, convention=own, **params)

    assert check(candidate, convention=own).ok
    report = check(candidate)
    assert not report.ok
    assert "no convention fits every case" in report.summary()


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "masked_mse", "masked_mae", "masked_huber"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_pointwise_losses(loss: str, dtype: str) -> None:
    entry = getattr(refloss, loss.removeprefix("masked_"))

    def candidate(p: Any, t: Any, *mask: Any, **params: Any) -> Any:
        found = entry(p, t, grad=True, **({"mask": mask[0]} if mask else {}), **params)
        return crosscheck_golden.rounded({"value": found.value, "grad": found.grad}, p.dtype)

    report = check(candidate, loss, dtype=dtype)
    assert report.ok
    assert report.convention is None
    assert {verdict for figures in report.verdicts.values() for verdict in figures.values()} == {Verdict.exact}


def test_a_wrong_candidate_is_wrong_and_its_mistake_named() -> None:
    report = check(crosscheck_golden.inverted, dtype="float32")
    assert not report.ok
    assert len({j.case for j in report.failures}) > 0.9 * len(report.cases)
    assert "mask inverted" in report.explanation
    assert report.explanation in report.summary()


class Sometimes:
    """The golden mse, with something else in every third call, or in every second: that of the second run."""

    def __init__(self, otherwise: Any, every: int = 3) -> None:
        self.calls, self.otherwise, self.every = 0, otherwise, every

    def __call__(self, p: Any, t: Any, *, reduction: str) -> Any:
        self.calls += 1
        right = crosscheck_golden.mse(p, t, reduction=reduction)
        return self.otherwise(p, t, right) if self.calls % self.every == 0 else right


def fail(p: Any, t: Any, right: Any) -> Any:
    raise RuntimeError("out of memory")


def overwrite(p: Any, t: Any, right: Any) -> Any:
    p.flags.writeable = True
    p.reshape(-1)[0] = 7.0
    return right


@pytest.mark.parametrize(
    ("otherwise", "figure", "verdict"),
    [
        (fail, "call", Verdict.raised),
        (lambda p, t, right: time.sleep(0.6) or right, "call", Verdict.timed_out),
        (lambda p, t, right: None, "return", Verdict.wrong_dtype),
        (lambda p, t, right: {"value": right["value"] * np.nan, "grad": right["grad"]}, "value", Verdict.not_finite),
        (lambda p, t, right: {"value": right["value"]}, "grad", Verdict.not_given),
        (lambda p, t, right: right | {"loss": 1.0}, "loss", Verdict.wrong_dtype),
        (overwrite, "inputs", Verdict.modified_inputs),
    ],
)
def test_the_run_goes_on_whatever_a_candidate_does(otherwise: Any, figure: str, verdict: Verdict) -> None:
    timeout = 0.3 if verdict is Verdict.timed_out else None
    params = {"reduction": "mean"}
    report = check(Sometimes(otherwise), "mse", timeout=timeout, params=params)
    wrong = {j.case for j in report.failures if (j.figure, j.verdict) == (figure, verdict)}
    assert len(wrong) > len(report.cases) / 4
    assert not report.ok
    right = {case.id for case in report.cases} - {j.case for j in report.failures}
    assert len(right) > len(report.cases) / 4
    assert verdict.replace("_", " ") in report.summary()


def test_two_runs_that_differ_are_a_remark_unless_they_must_not() -> None:
    def racing(p: Any, t: Any, right: Any) -> Any:
        return right | {"grad": right["grad"] * np.float32(1 + 2**-23)}  # the last bit of what is not 0

    for deterministic in (False, True):
        report = check(Sometimes(racing), "mse", dtype="float32", deterministic=deterministic)
        racy = {j.case for j in report.judgements if j.verdict is Verdict.nondeterministic}
        assert racy
        assert report.ok == (not deterministic)
        assert "two runs differ in" in report.summary()
    report = check(Sometimes(lambda p, t, right: right | {"value": right["value"] + 1}), "mse")
    assert {j.verdict for j in report.failures} == {Verdict.outside_bound}  # wrong in the second run alone, too


def test_what_a_second_run_does_not_return_or_writes_to_is_found() -> None:
    def forgets(p: Any, t: Any, right: Any) -> Any:
        return {"value": right["value"]}

    def scribbles(p: Any, t: Any, right: Any) -> Any:
        if p.flags.writeable:
            p[:] = 0
        return right

    for second, verdict in (
        (lambda p, t, right: None, Verdict.wrong_dtype),
        (forgets, Verdict.not_given),
        (scribbles, Verdict.modified_inputs),
    ):
        report = check(Sometimes(second, every=2), "mse")
        assert verdict in {judgement.verdict for judgement in report.failures}


def test_nothing_that_can_be_judged_is_not_right() -> None:
    report = check(lambda p, t, **_: {"terms": {}}, "mse")
    assert not report.ok
    assert "nothing could be judged" in report.summary()


def test_without_gradients_none_is_asked_for() -> None:
    report = check(crosscheck_golden.value_alone)
    assert report.ok
    assert "not returned, so not judged" in report.summary()


def test_parameters_are_fixed_and_those_without_a_keyword_left_out() -> None:
    seen = []

    def candidate(p: Any, t: Any, m: Any, int_weight: float, grad_weight: float) -> Any:
        seen.append((int_weight, grad_weight))
        return crosscheck_golden.masked_dos(
            p, t, m, energy_step=0.3, reduction="sum", grad_weight=grad_weight, int_weight=int_weight
        )

    params = {"energy_step": 0.3, "reduction": "sum"}
    report = check(candidate, params=params | {"int_weight": 0.25})
    assert report.ok
    assert {weight for weight, _ in seen} == {0.25}
    assert len({weight for _, weight in seen}) > 2
    with pytest.raises(InputError, match="does not take energy_step"):
        check(candidate, params={"reduction": "sum"})


def test_arguments_are_checked_before_anything_is_called() -> None:
    def never(*arrays: Any, **params: Any) -> Any:
        raise AssertionError

    for options, message in (
        ({"loss": "mes"}, r"loss: found 'mes'.*did you mean 'mse'"),
        ({"dtype": "float23"}, r"dtype: found 'float23'.*did you mean 'float32'"),
        ({"accumulate": "double"}, "found 'double', expected one of"),
        ({"suite": "all"}, "suite: found 'all'"),
        ({"convention": "intended"}, "convention: found 'intended', expected None: mse has none"),
        ({"params": {"delta": 1.0}}, "params: found 'delta'"),
        ({"timeout": 0}, "timeout: found 0"),
        ({"loss": "masked_dos", "convention": "documentd"}, "did you mean 'documented'"),
        (
            {"loss": "masked_dos", "convention": "metatrain-2026.2", "params": {"energy_step": 0.1}},
            "params: found energy_step=0.1, expected 0.05, all that metatrain-2026.2 is for",
        ),
        ({"only": "*/minimul/*"}, r"only: found '\*/minimul/\*', expected a pattern of cases such as 'mse/"),
        ({"only": ["*", "mse/minimul"]}, "only: found 'mse/minimul'"),
        ({"xfails": Path("/nowhere/at/all")}, "xfails: /nowhere/at/all cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            check(never, **({"loss": "mse"} | options))


def test_progress_is_told_and_seeds_change_the_numbers() -> None:
    told: list[tuple[int, int, str]] = []
    first, second = (
        check(crosscheck_golden.mse, "mse", seed=seed, progress=lambda *step: told.append(step)) for seed in (0, 1)
    )
    assert [case.id for case in first.cases] == [case.id for case in second.cases]
    count = len(first.cases)
    assert [step[:2] for step in told] == [(done, count) for done in range(count + 1)] * 2
    expected = [{j.case: j.expected for j in report.judgements if j.figure == "grad"} for report in (first, second)]
    assert sum(expected[0][case] != expected[1][case] for case in expected[0]) > count / 2


def test_some_of_the_cases_are_run_as_they_are_among_all() -> None:
    every = check(crosscheck_golden.mse, "mse")
    ids = [case.id for case in every.cases]
    some = check(crosscheck_golden.mse, "mse", only=[ids[7], "*/0", ids[3]])
    chosen = [one for one in ids if one.endswith("/0") or one in (ids[3], ids[7])]
    assert [case.id for case in some.cases] == chosen
    assert 2 < len(chosen) < len(ids)
    assert list(some.judgements) == [judgement for judgement in every.judgements if judgement.case in chosen]
    assert some.suite == f"core, only {ids[7]} */0 {ids[3]}"  # a report on some cases says so
    assert [case.id for case in check(crosscheck_golden.mse, "mse", only=ids[5]).cases] == [ids[5]]


def test_the_package_is_also_its_function() -> None:
    import refloss.crosscheck.formats  # binds the package's name in its parent

    assert refloss.crosscheck is sys.modules["refloss.crosscheck"]
    assert refloss.crosscheck.formats is formats
    assert check(crosscheck_golden.mse, "mse").ok


def test_every_verdict_has_its_meaning() -> None:
    assert set(MEANING) == set(Verdict)


def test_the_core_suite_takes_seconds_and_little_memory() -> None:
    """20 s and 1 GB are promised for a NumPy candidate, the imports and kernels that are loaded on the way included."""
    program = (
        "import resource, time, crosscheck_golden, refloss\n"
        "refloss.crosscheck(crosscheck_golden.mse, 'mse')\n"
        "start = time.perf_counter()\n"
        "ok = refloss.crosscheck(crosscheck_golden.masked_dos, 'masked_dos', dtype='float64').ok\n"
        "print(ok, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    pytest.importorskip("resource", reason="memory is measured on Unix")
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(here.parent)})  # fmt: skip
    ok, seconds, memory = done.stdout.split()
    assert ok == "True"
    assert float(seconds) < 20
    assert int(memory) < 1e6 if sys.platform == "linux" else 1e9  # KiB there, bytes on macOS
