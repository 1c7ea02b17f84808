"""The ensemble losses: the likelihood and the ranked probability score of predictions that state their uncertainty.

Shapes: any; mean, targets and variance the same, an ensemble with its members as one more axis, the last. Units: those
of the targets for the ranked probability scores, a pure number (up to the logarithm's unit) for the likelihood.

A NaN target is not selected, as in the pointwise losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from refloss import arrays, normal
from refloss.arithmetic import standard_arithmetic
from refloss.certificate import Unrounded, add_up, weighted_sum
from refloss.errors import InputError
from refloss.exact import nearest
from refloss.kernels import ensemble as kernels
from refloss.parallel import for_range
from refloss.results import Booleans, EnsembleResult, Floats

NLL_FLOOR, CRPS_FLOOR = 1e-6, 1e-12
"""What a smaller variance counts as."""


@standard_arithmetic
def gaussian_nll(
    mean: Any, targets: Any, variance: Any, *, reduction: str = "mean", grad: bool = False
) -> EnsembleResult:
    r"""Negative log-likelihood of a Gaussian.

    :math:`\frac12 (\ln v + (t - \mu)^2 / v)` with :math:`v = \max(s^2, 10^{-6})`; the constant
    :math:`\frac12 \ln 2\pi` is left out, as in torch by default.

    Parameters
    ----------
    mean, targets, variance : arrays of one shape
        μ, t and s². A NaN target is not selected. (A batch with one has the loss NaN in metatrain 2026.4.1.)
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of selected elements; with none selected the value is 0.
    grad : bool
        Whether to return the derivatives by mean and by variance too. The one by variance is 0 where the floor acts,
        that is where the variance is less than it. (torch lets it through, as if there were no floor.)

    Returns
    -------
    EnsembleResult

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists: a variance that is negative, NaN or infinite, for one.

    References
    ----------
    docs/specification.md, section 5. D. A. Nix and A. S. Weigend, Proc. IEEE Int. Conf. Neural Networks 1, 55 (1994).
    """
    return _gaussian(kernels.NLL, NLL_FLOOR, mean, targets, variance, reduction, grad)


@standard_arithmetic
def gaussian_crps(
    mean: Any, targets: Any, variance: Any, *, reduction: str = "mean", grad: bool = False
) -> EnsembleResult:
    r"""Continuous ranked probability score of a Gaussian.

    :math:`\sigma [z (2 \Phi(z) - 1) + 2 \varphi(z) - 1/\sqrt\pi]` with :math:`z = (t - \mu) / \sigma` and
    :math:`\sigma = \sqrt{\max(s^2, 10^{-12})}`; Φ and φ are the standard normal distribution and its density.

    Parameters, Returns, Raises
    ---------------------------
    As `gaussian_nll`.

    References
    ----------
    docs/specification.md, section 5. T. Gneiting and A. E. Raftery, J. Am. Stat. Assoc. 102, 359 (2007).
    """
    return _gaussian(kernels.CRPS, CRPS_FLOOR, mean, targets, variance, reduction, grad)


@standard_arithmetic
def empirical_crps(ensemble: Any, targets: Any, *, reduction: str = "mean", grad: bool = False) -> EnsembleResult:
    r"""Continuous ranked probability score of the step function that M members make.

    :math:`\frac1M \sum_i |y_i - t| - \frac1{2 M^2} \sum_{i,j} |y_i - y_j|`, in O(M log M). Its derivative by a member
    takes the sign of 0 as 0, so members that are equal do not push each other.

    Parameters
    ----------
    ensemble : (B, M) array
        The members; B may be several axes, or none. One member gives the absolute error.
    targets : (B,) array
        A NaN target is not selected.
    reduction : {"mean", "sum", "none"}
        Over B. "mean" divides by the number of selected elements; with none selected the value is 0.
    grad : bool
        Whether to return d value / d ensemble too.

    Returns
    -------
    EnsembleResult
        Its value is the exact one, rounded once.

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists.

    References
    ----------
    docs/specification.md, section 5. T. Gneiting and A. E. Raftery, J. Am. Stat. Assoc. 102, 359 (2007).
    """
    y, t = _members(ensemble, targets)
    arrays.choice("reduction", reduction, ("mean", "sum", "none"))
    members = y.reshape(t.size, -1)
    run = _Run(t, reduction, partial(_exact_empirical, members, t.reshape(-1)), terms=members.shape[1])
    slopes = np.empty(members.shape if grad else (0, members.shape[1]))
    run.fill(kernels.fill_empirical, (members, run.targets), slopes)
    return run.result(slopes.reshape(y.shape) if grad else None)


@standard_arithmetic
def gaussian_nll_of_members(
    ensemble: Any, targets: Any, *, reduction: str = "mean", grad: bool = False
) -> EnsembleResult:
    """`gaussian_nll` of the mean and the unbiased variance of the members, neither of them rounded.

    Parameters, Returns, Raises
    ---------------------------
    As `empirical_crps`; a single member, which has no variance, is an error.
    """
    return _gaussian_of_members(kernels.NLL, NLL_FLOOR, ensemble, targets, reduction, grad)


@standard_arithmetic
def gaussian_crps_of_members(
    ensemble: Any, targets: Any, *, reduction: str = "mean", grad: bool = False
) -> EnsembleResult:
    """`gaussian_crps` of the mean and the unbiased variance of the members, neither of them rounded.

    Parameters, Returns, Raises
    ---------------------------
    As `empirical_crps`; a single member, which has no variance, is an error.
    """
    return _gaussian_of_members(kernels.CRPS, CRPS_FLOOR, ensemble, targets, reduction, grad)


def _gaussian(
    kind: int, floor: float, mean: Any, targets: Any, variance: Any, reduction: str, grad: bool
) -> EnsembleResult:
    mu, t = arrays.real_array("mean", mean), _targets(targets)
    v = arrays.real_array("variance", variance)
    arrays.require_same_shape("targets", t.shape, "mean", mu.shape)
    arrays.require_same_shape("variance", v.shape, "mean", mu.shape)
    _require_not_negative(v)
    arrays.choice("reduction", reduction, ("mean", "sum", "none"))
    mu, v = mu.reshape(-1), v.reshape(-1)
    figures = partial(_exact_gaussian, kind, floor, mu, t.reshape(-1), v)
    run = _Run(t, reduction, figures)
    slopes = np.empty((2, t.size if grad else 0))
    run.fill(kernels.fill_gaussian, (kind, floor, mu, run.targets, v), *slopes)
    if not grad:
        return run.result(None)
    for i in np.flatnonzero(~np.isfinite(slopes).all(axis=0)).tolist():
        exact = figures(i)
        slopes[0, i] = nearest(exact.by_mean / run.divisor, f"grad (flat index {i})")
        if v[i] >= floor:
            slopes[1, i] = nearest(exact.by_variance / run.divisor, f"grad_variance (flat index {i})")
    return run.result(slopes[0].reshape(t.shape), slopes[1].reshape(t.shape))


def _gaussian_of_members(
    kind: int, floor: float, ensemble: Any, targets: Any, reduction: str, grad: bool
) -> EnsembleResult:
    y, t = _members(ensemble, targets)
    arrays.choice("reduction", reduction, ("mean", "sum", "none"))
    if y.shape[-1] < 2:
        raise InputError("ensemble: found one member, expected at least two, to have a variance")
    members = y.reshape(t.size, -1)
    figures = partial(_exact_of_members, kind, floor, members, t.reshape(-1))
    run = _Run(t, reduction, figures, terms=members.shape[1])
    slopes = np.empty(members.shape if grad else (0, members.shape[1]))
    run.fill(kernels.fill_gaussian_members, (kind, floor, members, run.targets), slopes)
    for i in np.flatnonzero(~np.isfinite(slopes).all(axis=1)).tolist():
        slopes[i] = [nearest(x / run.divisor, f"grad (row {i} of the ensemble)") for x in figures(i)[1:]]
    return run.result(slopes.reshape(y.shape) if grad else None)


# Element i in fractions, and its derivatives. These are no closures, so that a result can be pickled.


def _exact_empirical(members: Floats, targets: Floats, i: int) -> tuple[Fraction]:
    return (normal.empirical(members[i].tolist(), float(targets[i])),)


def _exact_gaussian(kind: int, floor: float, mean: Floats, targets: Floats, variance: Floats, i: int) -> normal.Figures:
    d = Fraction(float(targets[i])) - Fraction(float(mean[i]))
    return normal.gaussian(kind, d, Fraction(max(float(variance[i]), floor)))


def _exact_of_members(kind: int, floor: float, members: Floats, targets: Floats, i: int) -> tuple[Fraction, ...]:
    d, v, deviations = normal.moments(members[i].tolist(), float(targets[i]))
    exact = normal.gaussian(kind, d, max(v, Fraction(floor)))
    # The variance follows a member as 2 (y − μ)/(M − 1).
    slope = 2 * exact.by_variance / (len(deviations) - 1) if v >= Fraction(floor) else Fraction()
    return exact.element, *(exact.by_mean / len(deviations) + slope * x for x in deviations)


class _Run:
    """One evaluation on checked arrays: elements as double-doubles, and fractions where they are NaN.

    Parameters
    ----------
    targets : array
    reduction : str
    exact : callable
        Gives fractions for target `i` of the flat ones, the first of them its element.
    terms : int
        How many terms the sum of an element has.
    """

    def __init__(
        self, targets: Floats, reduction: str, exact: Callable[[int], Sequence[Fraction]], *, terms: int = 1
    ) -> None:
        self.targets = targets.reshape(-1)
        there: Booleans = np.asarray(~np.isnan(targets))
        self._selected: Booleans = np.broadcast_to(np.True_, targets.shape) if there.all() else there
        self._count = int(there.sum())
        self._reduction, self._exact, self._terms = reduction, exact, terms
        self.divisor = max(self._count, 1) if reduction == "mean" else 1
        self._high, self._low = np.empty((2, targets.size))
        self._chunks = math.ceil(targets.size / kernels.CHUNK)

    def fill(self, kernel: Any, inputs: tuple[Any, ...], *slopes: Floats) -> None:
        """Let a kernel fill the elements, and `slopes` with what is divided by `divisor`; reduce the elements."""
        divisor, outputs = float(self.divisor), (self._high, self._low, *slopes)
        for_range(lambda start, stop: kernel(*inputs, divisor, start, stop, *outputs), self._chunks)
        self._unrounded = None if self._reduction == "none" else self._added_up()
        self._value = self._elements() if self._unrounded is None else weighted_sum([(1.0, self._unrounded)], "value")

    def result(self, grad: Floats | None, grad_variance: Floats | None = None) -> EnsembleResult:
        return EnsembleResult(
            value=self._value,
            grad=grad,
            grad_variance=grad_variance,
            count=self._count,
            selected=self._selected,
            _unrounded=self._unrounded,
        )

    def _added_up(self) -> Unrounded:
        parts = np.empty((self._chunks, 3))
        inputs = (self._high, self._low, self._terms)
        for_range(lambda start, stop: kernels.add_up(*inputs, start, stop, parts), self._chunks)
        return Unrounded(add_up(parts, self.divisor), self._sum)

    def _sum(self) -> Fraction:
        """Add up the elements, each as it was computed."""
        return sum(map(self._element, range(self._high.size)), Fraction()) / self.divisor

    def _element(self, i: int) -> Fraction:
        high, low = float(self._high[i]), float(self._low[i])
        return Fraction(high) + Fraction(low) if math.isfinite(high + low) else self._exact(i)[0]

    def _elements(self) -> Floats:
        elements = (self._high + self._low)[self._selected.reshape(-1)]
        where = np.flatnonzero(self._selected)
        for k in np.flatnonzero(~np.isfinite(elements)).tolist():
            elements[k] = nearest(self._exact(int(where[k]))[0], f"value[{k}]")
        return elements


def _members(ensemble: Any, targets: Any) -> tuple[Floats, Floats]:
    y, t = arrays.real_array("ensemble", ensemble), _targets(targets)
    if y.ndim != t.ndim + 1 or y.shape[:-1] != t.shape:
        raise InputError(
            f"ensemble and targets: found shapes {y.shape} and {t.shape}, expected the ensemble to have the targets' "
            "shape and one more axis, the last, of its members"
        )
    return y, t


def _targets(targets: Any) -> Floats:
    t = arrays.real_array("targets", targets, finite=False)
    arrays.require_finite("targets", t, allow_nan=True)
    return t


def _require_not_negative(variance: Floats) -> None:
    negative = np.argwhere(variance < 0.0)
    if negative.size:
        first = tuple(negative[0].tolist())
        raise InputError(
            f"variance: found {len(negative)} negative (first at index {first}: {float(variance[first])!r}), expected "
            "numbers ≥ 0 (a standard deviation is squared first)"
        )
