"""`shift_agnostic_mse` under `metatrain-2026.3` is the installed release's ShiftAgnosticMSE, value and gradient.

The released code turns its input into float32 and takes squares apart: Σ(q − t)² as Σq² − 2Σqt + Σt². It is held
against refloss twice: as it stands, within the error that float32 allows it, and with `Tensor.float` replaced by
`Tensor.double` while it computes, which is the same code in float64 (its stencil, made in float32 beforehand, is kept).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maps import block, tensormap
from metatrain.utils.loss import ShiftAgnosticMSE

import refloss
from refloss.results import AlignedResult

SIZES = [(47, 40), (40, 47), (60, 31), (13, 39), (20, 17)]
"""Points of the predictions P and of the targets N, which may be up to 3P."""

WEIGHTS = [(1e-4, 2.0), (3e-3, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
"""grad_penalty_weight and int_weight."""

STEP = 0.05


def generic(seed: int, structures: int, width: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions that hold their part of the target near a shift of its own, and targets with unequal NaN.

    The numbers are float32 ones, so that the release's first step changes none of them.
    """
    rng = np.random.default_rng([seed, structures, width, n])
    targets = rng.gamma(2.0, size=(structures, n))
    padded = 0.3 * rng.normal(size=(structures, 3 * width))
    for row, target, shift in zip(
        padded, targets, rng.integers(width - n // 4, width + n // 4, structures), strict=True
    ):
        start = min(shift, 3 * width - n)
        row[start : start + n] += target * rng.uniform(0.8, 1.2, n)
    predictions = padded[:, width : 2 * width].astype(np.float32)
    targets = targets.astype(np.float32)
    targets[rng.random((structures, n)) < rng.uniform(0.1, 0.6, (structures, 1))] = np.nan
    return predictions, targets


def released(
    predictions: np.ndarray, targets: np.ndarray, weights: tuple[float, float], monkeypatch: pytest.MonkeyPatch | None
) -> tuple[float, np.ndarray]:
    """Return value and gradient of the released loss; with `monkeypatch`, of its code in float64."""
    loss = ShiftAgnosticMSE("mtt::dos", None, 1.0, weights[1], weights[0], "mean")
    dtype = torch.float32 if monkeypatch is None else torch.float64
    tensor = torch.tensor(predictions, dtype=dtype, requires_grad=True)
    maps = [
        {"mtt::dos": tensormap("metatensor.torch", {0: block("metatensor.torch", values)})}
        for values in (tensor, torch.tensor(targets, dtype=dtype))
    ]
    if monkeypatch is None:
        value = loss.compute(*maps)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            value = loss.compute(*maps)
    assert value.dtype == dtype
    value.backward()
    return value.item(), tensor.grad.numpy()


def ours(predictions: np.ndarray, targets: np.ndarray, weights: tuple[float, float]) -> AlignedResult:
    return refloss.shift_agnostic_mse(
        predictions,
        targets,
        grad_penalty_weight=weights[0],
        int_weight=weights[1],
        convention="metatrain-2026.3",
        grad=True,
    )


@pytest.mark.parametrize("structures", [1, 2, 3, 8])
@pytest.mark.parametrize(("width", "n"), SIZES)
def test_in_float64(structures: int, width: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # At most 3P + 40 roundings in each sum, 3e-14 of Σq² + Σt², which is up to ten times the loss: below 1e-12.
    for seed, weights in enumerate(WEIGHTS):
        data = generic(seed, structures, width, n)
        value, gradient = released(*data, weights, monkeypatch)
        found = ours(*data, weights)
        assert found.value == pytest.approx(value, rel=1e-12, abs=0.0)
        assert np.all(np.abs(found.grad - gradient) <= 1e-12 * np.abs(gradient).max(axis=1, keepdims=True))


@pytest.mark.parametrize("structures", [1, 2, 3, 8])
@pytest.mark.parametrize(("width", "n"), SIZES)
def test_as_released(structures: int, width: int, n: int) -> None:
    for seed, weights in enumerate(WEIGHTS):
        data = generic(seed, structures, width, n)
        value, _ = released(*data, weights, None)
        found = ours(*data, weights)
        bound = float32_bound(found, weights)
        assert abs(found.value - value) <= bound
        assert bound < 5e-3 * found.value  # every term is more than this share of it, see below


def float32_bound(result: AlignedResult, weights: tuple[float, float]) -> float:
    """Bound how far the release's float32 arithmetic can be from the exact value.

    A float32 sum of n products is within γ(n + 2) of itself with absolute values, γ(n) = n u / (1 − n u), u = 2^-24.

    - The objective at a shift is three such sums over the window and one running sum of up to 3P squares before it:
      within γ (Σq² + 2 Σ abs(q t) + Σt² + F) ≤ γ (2 Σq² + 2 Σt²) over the whole of q. That holds at every shift,
      so the minima differ by no more, whichever shift the release takes. Where it might take another shift the
      other terms would be others: the margin must exceed the bound twice.
    - One element of the gradient has five products, and each cumulative at most N sums of a and t: ε below. Then
      Σ x² with x known within ε is within Σ (2 abs(x) ε + ε²), and a further γ of itself by being added up.
    """
    p, t = result.predictions, np.nan_to_num(result.targets)
    counts = ~np.isnan(result.targets)
    structures, n = t.shape
    q = np.pad(p, ((0, 0), (p.shape[1], p.shape[1])))
    unit = (q.shape[1] + 8) * 2.0**-24
    gamma = unit / (1 - unit)

    objective = 2 * gamma * ((q**2).sum(1) + (t**2).sum(1))
    assert np.all(result.margin > 2 * objective)

    coefficients = np.abs(np.array([1 / 4, -4 / 3, 3.0, -4.0, 25 / 12]) / STEP)
    sizes = sum(c * np.abs(q[:, k : q.shape[1] - 4 + k]) for k, c in enumerate(coefficients))
    g, error = sizes, 8 * 2.0**-24 * sizes  # abs(g) ≤ sizes will do
    unmasked = STEP * (2 * g * error + error**2).sum(1) + gamma * result.terms.unmasked_gradient

    a = result.aligned
    cumulative = np.abs(STEP * np.cumsum((a - t)[:, :-1] + (a - t)[:, 1:], axis=1) / 2)
    error = gamma * STEP * np.cumsum(np.abs(a) + np.abs(t), axis=1)[:, 1:] + gamma * STEP * np.abs(a + t)[:, 1:]
    along = np.ones(structures)
    along[[0, -1]] = 0.5 if structures > 1 else 0.0
    summed = (counts.sum(0)[1:] * (2 * cumulative * error + error**2)).sum(1)
    mixed = STEP / (n - 1) * along * summed + gamma * result.terms.cumulative

    # A term without weight is left out by the release, and the last additions and the mean are a handful more.
    total = np.mean(objective + weights[0] * unmasked + weights[1] * mixed)
    return float(total + 16 * 2.0**-24 * result.value)


def test_the_cases_have_terms_that_count_and_shifts_of_their_own() -> None:
    found = ours(*generic(0, 8, 47, 40), WEIGHTS[0])
    terms = found.terms
    parts = [terms.dos, terms.front_tail, 1e-4 * terms.unmasked_gradient, 2.0 * terms.cumulative]
    assert all(np.mean(part) > 1e-2 * found.value for part in parts)
    assert len(set(found.shift.tolist())) > 4
    for width, n in SIZES:
        shifts = ours(*generic(0, 8, width, n), WEIGHTS[0]).shift
        assert len(set(shifts.tolist())) > 1 or n == 3 * width  # where there is but one


def test_everything_masked_out_but_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, targets = generic(3, 3, 47, 40)
    targets[1, :] = np.nan
    targets[2, 1:] = np.nan
    value, gradient = released(predictions, targets, WEIGHTS[0], monkeypatch)
    found = ours(predictions, targets, WEIGHTS[0])
    # Σq² − 2Σqt + Σt² of the one point that is left cancels, down to what is left of float64
    assert found.value == pytest.approx(value, rel=1e-12, abs=0.0)
    assert np.allclose(found.grad, gradient, rtol=1e-12, atol=1e-12)
