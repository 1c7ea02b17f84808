"""The pointwise losses: mse, mae and huber over the elements that a mask and the targets select.

Shapes: any, the same for predictions, targets and mask. Units: those of the targets, squared for mse and huber.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.certificate import Unrounded, add_up, weighted_sum
from refloss.exact import half_of_limbs, nearest
from refloss.kernels import pointwise as kernels
from refloss.parallel import for_range
from refloss.results import Booleans, Floats, PointwiseResult


@standard_arithmetic
def mse(
    predictions: Any, targets: Any, *, mask: Any = None, reduction: str = "mean", grad: bool = False
) -> PointwiseResult:
    r"""Mean squared error, :math:`d^2` with :math:`d = p - t`; its derivative is :math:`2d`.

    Parameters
    ----------
    predictions, targets : arrays of one shape
        A NaN target is not selected.
    mask : array of that shape, of booleans or 0 and 1, optional
        1 where an element counts; it does not broadcast.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of selected elements; with none selected the value is 0.
    grad : bool
        Whether to return d value / d predictions too.

    Returns
    -------
    PointwiseResult

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists.

    References
    ----------
    docs/specification.md, section 2.
    """
    return _evaluate("mse", predictions, targets, mask, reduction, grad)


@standard_arithmetic
def mae(
    predictions: Any, targets: Any, *, mask: Any = None, reduction: str = "mean", grad: bool = False
) -> PointwiseResult:
    r"""Mean absolute error, :math:`|d|` with :math:`d = p - t`; its derivative is the sign of d, 0 at 0.

    Parameters, Returns, Raises
    ---------------------------
    As `mse`.

    References
    ----------
    docs/specification.md, section 2.
    """
    return _evaluate("mae", predictions, targets, mask, reduction, grad)


@standard_arithmetic
def huber(
    predictions: Any,
    targets: Any,
    *,
    delta: float = 1.0,
    mask: Any = None,
    reduction: str = "mean",
    grad: bool = False,
) -> PointwiseResult:
    r"""Huber loss, :math:`d^2/2` where :math:`|d| \le \delta`, else :math:`\delta(|d| - \delta/2)`.

    Its derivative is d, clipped to :math:`[-\delta, \delta]`.

    Parameters
    ----------
    delta : float
        The knee, in units of the targets; finite and > 0.
    predictions, targets, mask, reduction, grad
        As `mse`.

    Returns
    -------
    PointwiseResult

    Raises
    ------
    InputError
        As docs/specification.md, section 8, lists.

    References
    ----------
    docs/specification.md, section 2. P. J. Huber, Ann. Math. Statist. 35, 73 (1964).
    """
    return _evaluate(
        "huber", predictions, targets, mask, reduction, grad, arrays.finite_number("delta", delta, positive=True)
    )


def _evaluate(
    name: str, predictions: Any, targets: Any, mask: Any, reduction: str, want_grad: bool, delta: float = 1.0
) -> PointwiseResult:
    p = arrays.real_array("predictions", predictions, finite=False)
    t = arrays.real_array("targets", targets, finite=False)
    arrays.require_same_shape("targets", t.shape, "predictions", p.shape)
    m = None
    if mask is not None:
        m = arrays.mask_array("mask", mask)
        arrays.require_same_shape("mask", m.shape, "predictions", p.shape)
    arrays.choice("reduction", reduction, ("mean", "sum", "none"))
    run = _Run(name, delta, p, t, m)
    divisor = max(run.count, 1) if reduction == "mean" else 1
    unrounded = None if reduction == "none" else run.unrounded(divisor)
    return PointwiseResult(
        value=run.elements() if unrounded is None else weighted_sum([(1.0, unrounded)], "value"),
        grad=run.grad(divisor) if want_grad else None,
        count=run.count,
        selected=run.selected,
        _unrounded=unrounded,
    )


class _Run:
    """One evaluation on checked arrays: kernels over chunks, and exact fractions where they cannot certify."""

    def __init__(self, name: str, delta: float, p: Floats, t: Floats, m: Booleans | None) -> None:
        self._name, self._delta, self._shape = name, delta, p.shape
        self._p, self._t = p.reshape(-1), t.reshape(-1)
        self._m = np.empty(0, np.bool_) if m is None else m.reshape(-1)
        self._arguments = (getattr(kernels, name.upper()), delta, self._p, self._t, self._m)
        self._chunks = math.ceil(p.size / kernels.CHUNK)
        self._parts, found = np.empty((self._chunks, 3)), np.empty((self._chunks, 3), np.int64)
        self._for_chunks(kernels.add_up, (), self._parts, found)
        largest = found[:, 1:].max(axis=0).view(np.float64)
        if not np.isfinite(largest).all():
            arrays.require_finite("predictions", p)
            arrays.require_finite("targets", t, allow_nan=True)
        self._missing = bool(np.isnan(largest[1]))
        self._counts = found[:, 0]
        self.count = int(self._counts.sum())

    @property
    def selected(self) -> Booleans:
        there: Booleans = ~np.isnan(self._t) if self._missing else np.broadcast_to(np.True_, self._t.shape)
        if self._m.size:
            there = there & self._m if self._missing else self._m
        return there.reshape(self._shape)

    def unrounded(self, divisor: int) -> Unrounded:
        """Return Σ element / divisor."""
        return Unrounded(add_up(self._parts, divisor), partial(self._exact, divisor))

    def _exact(self, divisor: int) -> Fraction:
        from refloss.kernels import superaccumulator

        limbs = np.zeros((self._chunks, superaccumulator.LIMBS), np.int64)
        self._for_chunks(superaccumulator.add_pointwise, (), limbs)
        return sum((half_of_limbs(row) for row in limbs), Fraction()) / divisor

    def elements(self) -> Floats:
        """Return the selected elements in C order."""
        elements, offsets = np.empty(self.count), np.cumsum(self._counts) - self._counts
        self._for_chunks(kernels.fill_elements, (offsets,), elements)
        where = np.flatnonzero(self.selected).tolist()
        for k in np.flatnonzero(~np.isfinite(elements)).tolist():
            elements[k] = nearest(self._element(where[k]), f"value[{k}]")
        return elements

    def grad(self, divisor: int) -> Floats:
        """Return Σ element's slope / divisor."""
        grad = np.empty(self._p.size)
        self._for_chunks(kernels.fill_slopes, (float(divisor),), grad)
        for i in np.flatnonzero(~np.isfinite(grad)).tolist():
            grad[i] = nearest(self._slope(i) / divisor, f"grad (flat index {i})")
        return grad.reshape(self._shape)

    def _for_chunks(self, kernel: Any, inputs: tuple[Any, ...], *outputs: Any) -> None:
        for_range(lambda start, stop: kernel(*self._arguments, *inputs, start, stop, *outputs), self._chunks)

    def _difference(self, i: int) -> Fraction:
        return Fraction(float(self._p[i])) - Fraction(float(self._t[i]))

    def _element(self, i: int) -> Fraction:
        d, delta = self._difference(i), Fraction(self._delta)
        if self._name == "mae":
            return abs(d)
        if self._name == "mse":
            return d * d
        return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)

    def _slope(self, i: int) -> Fraction:
        d, delta = self._difference(i), Fraction(self._delta)
        if self._name == "mae":
            return Fraction((d > 0) - (d < 0))
        return 2 * d if self._name == "mse" else min(max(d, -delta), delta)
