"""Results against the oracle, at the accuracy of docs/specification.md, section 9."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import oracle_agnostic
import pytest
from numpy.typing import NDArray
from strategies import Case

import refloss
from refloss import AlignedResult, Convention, InputError, PointwiseResult

FIGURE_ULPS = 0.501
"""A figure is the exact value rounded once, after an error of at most a thousandth of an ulp."""

GRAD_ULPS = 1.0
"""A gradient's element is the exact one, or one of its two neighbours; or see `oracle.FRACTION_OF_LEAVES`."""

OPTIONS = {"energy_step": 0.05, "grad_weight": 0.013, "int_weight": 1.7}
"""What `check` evaluates with: weights at which every term has a say."""


def assert_pointwise(found: PointwiseResult, exact: oracle.Pointwise, *, grad: bool) -> None:
    """Compare all that a pointwise result holds."""
    wrong: list[str] = []
    if isinstance(exact.value, list):
        assert isinstance(found.value, np.ndarray)
        assert found.value.shape == (exact.count,)
        wrong += _figures("value", found.value, exact.value)
    else:
        assert isinstance(found.value, float)
        wrong += _figures("value", [found.value], [exact.value])
    assert found.count == exact.count
    assert found.selected.ravel().tolist() == exact.selected
    if grad:
        assert found.grad is not None
        assert found.grad.shape == found.selected.shape
        wrong += _gradient(found.grad.ravel(), exact.grad, exact.leaves)
    else:
        assert found.grad is None
    assert not wrong, "\n".join(wrong)


def assert_aligned(found: AlignedResult, exact: oracle.Aligned, *, grad: bool, landscape: bool = True) -> None:
    """Compare all that an aligned result holds: the choices exactly, the figures in ulps."""
    each = exact.structures
    wrong = _choices("shift", found.shift, [s.shift for s in each])
    wrong += _choices("runner_up", found.runner_up, [s.runner_up for s in each])
    wrong += _choices("tied", found.tied, [s.tied for s in each])
    assert (found.shift.dtype, found.runner_up.dtype, found.tied.dtype) == (np.int64, np.int64, np.bool_)

    for b, structure in enumerate(each):
        wrong += [f"structure {b}: {line}" for line in _certificate(found, b, structure)]

    wrong += _figures("per_structure", found.per_structure, [s.total for s in each])
    wrong += _figures("margin", found.margin, [s.margin for s in each])
    for name in ("dos", "front_tail", "unmasked_gradient", "cumulative"):
        wrong += _figures(name, getattr(found.terms, name), [getattr(s, name) for s in each])
    if isinstance(exact.value, list):
        assert isinstance(found.value, np.ndarray)
        assert np.array_equal(found.value, found.per_structure)
    else:
        assert isinstance(found.value, float)
        wrong += _figures("value", [found.value], [exact.value])

    if grad:
        assert found.grad is not None
        assert found.grad.shape == found.predictions.shape
        for b, row in enumerate(found.grad):
            wrong += [f"structure {b}: {line}" for line in _gradient(row, exact.grad[b], exact.leaves[b])]
    else:
        assert found.grad is None

    if landscape:
        wrong += _rival(found, each)
        drawn = found.landscape()
        assert drawn.shape == (len(each), len(each[0].landscape))
        for b, row in enumerate(drawn):
            wrong += _figures(f"landscape[{b}]", row, each[b].landscape)
    assert not wrong, "\n".join(wrong)


def check(
    case: Case, convention: str | Convention, *, grad: bool = True, landscape: bool = True, **options: Any
) -> AlignedResult:
    """Evaluate `masked_dos`, compare with the oracle, and see that the inputs are what they were."""
    options = OPTIONS | options
    arrays = (case.predictions, case.targets, case.mask)
    before = [a.tobytes() for a in arrays]
    found = refloss.masked_dos(*arrays, convention=convention, grad=grad, **options)
    assert [a.tobytes() for a in arrays] == before
    switches = oracle.CONVENTIONS[convention] if isinstance(convention, str) else convention
    exact = oracle.masked_dos(*case.lists(), switches, gradient=grad, **options)
    assert_aligned(found, exact, grad=grad, landscape=landscape)
    return found


def check_agnostic(
    predictions: NDArray[np.float64],
    targets: NDArray[np.float64],
    convention: str | Convention = "intended",
    *,
    grad: bool = True,
    landscape: bool = True,
    **options: Any,
) -> AlignedResult:
    """The same for `shift_agnostic_mse`."""
    options = {"energy_step": 0.05, "grad_penalty_weight": 0.013, "int_weight": 1.7} | options
    before = [a.tobytes() for a in (predictions, targets)]
    found = refloss.shift_agnostic_mse(predictions, targets, convention=convention, grad=grad, **options)
    assert [a.tobytes() for a in (predictions, targets)] == before
    switches = oracle_agnostic.CONVENTIONS[convention] if isinstance(convention, str) else convention
    exact = oracle_agnostic.shift_agnostic_mse(
        predictions.tolist(), targets.tolist(), switches, gradient=grad, **options
    )
    assert_aligned(found, exact, grad=grad, landscape=landscape)
    width, points = predictions.shape[1], targets.shape[1]
    assert found.shifts == 3 * width - points + 1
    inside = [oracle_agnostic.in_padding(structure, width, points) for structure in exact.structures]
    assert found.in_padding.tolist() == inside
    return found


def _certificate(found: AlignedResult, b: int, exact: oracle.Structure) -> list[str]:
    """See that no shift but the evaluated ones can be below `excluded_above`, and that the best two are not above."""
    certificate, shifts = found.certificate, len(exact.landscape)
    evaluated, settled = int(certificate.evaluated[b]), int(certificate.exact[b])
    bound = float(certificate.excluded_above[b])
    wrong = []
    if not min(2, shifts) <= evaluated <= shifts or not 0 <= settled <= shifts:
        wrong.append(f"certificate: {evaluated} evaluated and {settled} exact of {shifts} shifts")
    if (bound == math.inf) != (evaluated == shifts):
        wrong.append(f"certificate: excluded above {bound!r}, {evaluated} of {shifts} evaluated")
    if bound == math.inf:
        return wrong
    below = sum(height < bound for height in exact.landscape)
    if below > evaluated:
        wrong.append(f"certificate: {below} shifts are below {bound!r}, {evaluated} were evaluated")
    runner_up = oracle.nearest(exact.landscape[exact.runner_up])  # it may underflow, and the bound with it
    if bound < runner_up:
        wrong.append(f"certificate: {bound!r} is below the runner-up {runner_up!r}")
    return wrong


def _rival(found: AlignedResult, each: list[oracle.Structure]) -> list[str]:
    margins = [s.rival_margin for s in each]
    if any(margin is not None and oracle.nearest(margin) == math.inf for margin in margins):
        with pytest.raises(InputError, match=r"rival.*beyond the largest float64"):
            found.rival()
        return []
    rival = found.rival()
    return _choices("rival", rival.shift, [s.rival for s in each]) + _figures("rival margin", rival.margin, margins)


def _choices(name: str, found: NDArray[Any], exact: Sequence[int]) -> list[str]:
    return [] if found.tolist() == exact else [f"{name}: found {found.tolist()}, exact {exact}"]


def _figures(name: str, found: Iterable[float], exact: Iterable[Fraction | None]) -> list[str]:
    wrong = []
    for index, (value, wanted) in enumerate(zip(found, exact, strict=True)):
        if wanted is None:
            if value != math.inf:
                wrong.append(f"{name}[{index}]: found {value!r}, expected inf: there is no other shift")
        elif value == oracle.nearest(wanted):  # also where both are infinite, as a landscape may be
            continue
        elif not (off := oracle.ulps(float(value), wanted)) <= FIGURE_ULPS:
            wrong.append(f"{name}[{index}]: found {value!r}, exact {oracle.nearest(wanted)!r}, {off:.4g} ulp off")
    return wrong


def _gradient(found: Iterable[float], exact: list[Fraction], leaves: list[Fraction]) -> list[str]:
    wrong = []
    for index, (value, wanted, leaf) in enumerate(zip(map(float, found), exact, leaves, strict=True)):
        off = oracle.ulps(value, wanted)
        if off <= GRAD_ULPS:
            continue
        if not math.isfinite(value) or abs(Fraction(value) - wanted) > oracle.FRACTION_OF_LEAVES * leaf:
            wrong.append(f"grad[{index}]: found {value!r}, exact {oracle.nearest(wanted)!r}, {off:.4g} ulp off")
    return wrong
