"""Bounds of the aligned losses: terms, loss, gradient and objective (docs/bounds.md, sections 4 to 6).

Every term is a weighted sum of squares of some x: a difference, a prediction, a backward difference, a running sum.
`_Figures` has the size of each x and how far an implementation's may be from it; the rest follows from these.

Shapes: B structures, N points of a target, P of a prediction, Q of a padded one, S shifts.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from refloss.crosscheck.reference import TERMS, Golden, at_shift
from refloss.crosscheck.rounding import Arithmetic
from refloss.exact import STENCILS
from refloss.results import AlignedResult, Booleans, Floats


def evaluate(result: AlignedResult, expanded: bool, r: Arithmetic) -> dict[str, Floats]:
    """Return how far each figure may be off, before its report."""
    figures = _Figures(result, expanded, r)
    values = [getattr(result.terms, name) for name in TERMS]
    squares = [getattr(figures, name) for name in TERMS]
    structures = result.shift.size
    errors = {f"terms.{name}": term.bound(r, figures.dx) for name, term in zip(TERMS, squares, strict=True)}
    # An implementation may add up the summands of all terms at once, and those of all structures.
    together = sum(term.additions for term in squares) + len(squares) - 1
    joint, flat = (
        _total(figures, values, [term.bound(r, figures.dx, additions) for term in squares], count)
        for additions, count in ((together, 1), (together.sum() + structures - 1, structures))
    )
    sizes = sum(abs(w) * v for w, v in zip(figures.weights, values, strict=True)) + flat
    value = figures.share * flat.sum() if np.sum(sizes) <= r.largest else np.inf
    return errors | {"per_structure": joint, "value": np.asarray(value), "grad": _grad(figures)}


def objective(golden: Golden, expanded: bool, r: Arithmetic) -> tuple[Floats, Booleans]:
    """Return (B, S) how far the objective may be off at every shift, and where it may overflow to infinity."""
    result = golden.result
    assert isinstance(result, AlignedResult)
    if result.convention.objective == "total":
        return _total_objective(golden, expanded, r)
    figures, heights = _Figures(result, expanded, r), golden.landscape
    tail = result.convention.objective == "dos+front_tail"
    q, t, full, halved = figures.q, figures.t, figures.dos.full, 0.5 * figures.measure * float(figures.trapezoid)
    if expanded:
        q, t = np.abs(q), np.abs(t)
        # Σ w (|p| + |t|)² in every window.
        made_of = np.stack(
            [
                np.correlate(q[b] ** 2, w) + 2.0 * np.correlate(q[b], w * t[b]) + w @ t[b] ** 2
                for b, w in enumerate(full)
            ]
        )
        if tail:
            made_of = made_of + figures.measure * np.cumsum(q**2, axis=1)[:, : heights.shape[1]]
    else:
        last = figures.points - 1
        made_of = heights + halved * (
            figures.mask[:, :1] * (q[:, : heights.shape[1]] - t[:, :1]) ** 2
            + figures.mask[:, last:] * (q[:, last:] - t[:, last:]) ** 2
        )
        if tail:
            made_of = made_of + halved * (q[:, :1] ** 2 + q[:, : heights.shape[1]] ** 2)
    front = np.arange(heights.shape[1]) if tail else np.zeros(1)
    g = r.growth(
        additions=figures.dos.additions[:, None] + front + 2, roundings=7, products=1, constants=r.constant(figures.dx)
    )
    # Σ w (2 |x| e + e²) for what reading may lose, by Cauchy and Schwarz.
    lost = r.flushed(figures.q).max(axis=1, keepdims=True) + r.flushed(figures.t).max(axis=1, keepdims=True)
    lost = np.where(lost > 0.0, lost + r.tiny, 0.0)
    weight = full.sum(axis=1, keepdims=True)
    second = 2.0 * lost * np.sqrt(weight * made_of) + weight * lost**2
    flushed = r.tiny * (figures.measure + 4.0) * (figures.dos.products * figures.points + front)
    # A golden height is rounded, too.
    bound = second + g * (made_of + second) + flushed + 2.0**-52 * heights
    return bound, 2.0 * made_of / min(1.0, figures.measure) > r.largest


def _total_objective(golden: Golden, expanded: bool, r: Arithmetic) -> tuple[Floats, Booleans]:
    """Return the same for the whole loss: as slow as evaluating it at every shift."""
    bounds = []
    for s in range(golden.landscape.shape[1]):
        moved = at_shift(golden, np.full(len(golden.landscape), s)).result
        assert isinstance(moved, AlignedResult)
        bounds.append(evaluate(moved, expanded, r)["per_structure"])
    bound = np.stack(bounds, axis=1) + (r.report_unit + 2.0**-52) * np.abs(golden.landscape)
    return bound, np.isnan(bound)


class _Squares(NamedTuple):
    """A term: Σ weight · x² over the last axis, with the sizes and errors of x, and how many additions it takes."""

    weight: Floats
    size: Floats
    """|x|; where its square is expanded, what x is made of in absolute values."""
    error: Floats
    additions: Any
    full: Floats
    """The weights with whole ends: some form Σ f − (f_0 + f_n)/2."""
    products: int = 1
    """How many products, counted with their factors, there are for each x."""
    least: Floats | None = None
    """The smallest factor of what is squared, where that is not x: of (a − t)² expanded, the smaller one of a and t."""
    members: Floats | None = None
    """How often a square is counted before it is weighed, where not once: the masks of a batch."""

    @property
    def factor(self) -> Floats:
        """What is multiplied by itself or by weights, at its smallest."""
        return self.size if self.least is None else self.least

    def bound(self, r: Arithmetic, dx: float, additions: Any = None) -> Floats:
        """Return the error of the sum."""
        w, x, e = self.weight, self.size, self.error
        n = self.additions if additions is None else additions
        # A square, its weight, a pair of neighbours, the ends and the entry into the accumulator.
        g = r.growth(additions=n, roundings=5, products=1, constants=r.constant(dx))
        second, whole = w * (2.0 * x * e + e * e), self.full * (x + e) ** 2
        lost = r.underflow(whole, self.products * r.tiny * (self.full + 4.0), w, self.factor, self.factor)
        total = (second + lost).sum(-1) + g * whole.sum(-1)
        plain = np.where(w > 0.0, x * x, 0.0) if self.members is None else self.members * x * x
        return np.where((plain.max(-1, initial=0.0) > r.largest) | (plain.sum(-1) > r.largest), np.inf, total)


class _Figures:
    """The sizes and errors of all that the terms of a batch are made of, at the shifts of the result."""

    def __init__(self, result: AlignedResult, expanded: bool, r: Arithmetic) -> None:
        self.result, self.expanded, self.r = result, expanded, r
        self.convention, self.dx = result.convention, result.energy_step
        self.t, self.mask = result.targets, result.mask
        self.q = np.pad(result.predictions, ((0, 0), (result.padding, result.padding)))
        self.a = result.aligned
        self.trapezoid = result.padding == 0
        self.structures, self.points = self.t.shape
        self.column = np.arange(self.q.shape[1])
        self.shift = result.shift[:, None]
        self.measure = self.dx if self.trapezoid else 1.0
        self.share = 1.0 / self.structures if result.reduction == "mean" else 1.0
        self.weights = np.array([1.0, float(self.convention.front_tail), result.grad_weight, result.int_weight])

    @cached_property
    def dos(self) -> _Squares:
        size, error = self.r.difference(self.a, self.t)
        omega = _trapezoid(self.points) if self.trapezoid else np.ones(self.points)
        full = self.measure * self.mask.astype(np.float64)
        if not self.expanded:
            return _Squares(full * omega, size, error, _additions(self.mask), full)
        a, t = np.abs(self.a), np.abs(self.t)
        additions = 3 * _additions(self.mask) + 2
        return _Squares(full * omega, a + t, error, additions, full, products=4, least=np.minimum(a, t))

    @cached_property
    def front_tail(self) -> _Squares:
        inside = self.column <= self.shift if self.trapezoid else self.column < self.shift
        full = weight = self.measure * inside.astype(np.float64)
        if self.trapezoid:
            full = full * (self.shift > 0)
            weight = full * np.where((self.column == 0) | (self.column == self.shift), 0.5, 1.0)
        size = np.abs(self.q)
        return _Squares(weight, size, self.r.flushed(self.q), self.shift[:, 0] + 1, full)

    @cached_property
    def stencil(self) -> tuple[Floats, float]:
        """The coefficients in absolute value, and what divides them."""
        over = 1.0 / (12.0 * self.dx) if self.convention.stencil == "exact" else 1.0
        return np.abs(STENCILS[self.convention.stencil]) * over, over

    @cached_property
    def unmasked_gradient(self) -> _Squares:
        r, q = self.r, self.q
        width = q.shape[1]
        first, last = np.full_like(self.shift, 4), np.full_like(self.shift, width)
        if self.convention.gradient_points == "window":
            first, last = np.maximum(4, self.shift), self.shift + self.points
        inside = (self.column >= first) & (self.column < last)
        masked = np.zeros(q.shape, np.bool_)
        masked[np.arange(self.structures)[:, None], self.shift + np.arange(self.points)] = self.mask
        inside &= (self.column >= self.shift) & ~masked & (last - first > 1)
        full = self.dx * inside.astype(np.float64)
        weight = full * np.where((self.column == first) | (self.column == last - 1), 0.5, 1.0)
        size, error = np.zeros(q.shape), np.zeros(q.shape)
        if width > 4:
            coefficients, over = self.stencil
            signed = np.array(STENCILS[self.convention.stencil]) * over
            h = sliding_window_view(q, 5, axis=1) @ signed
            leaves = sliding_window_view(np.abs(q), 5, axis=1) @ coefficients
            lost = sliding_window_view(r.flushed(q), 5, axis=1) @ coefficients
            # Here and in the cumulative the golden size itself comes from float64.
            own = 16 * 2.0**-53 * leaves
            size[:, 4:] = np.abs(h) + own
            moved = leaves > 0.0
            g = r.growth(roundings=8, products=1, constants=r.constant(self.dx))
            error[:, 4:] = g * leaves + lost * (1.0 + g) + moved * 7.0 * r.tiny * (1.0 + over)
            error[:, 4:] = np.where(leaves / over * max(1.0, over) > r.largest, np.inf, error[:, 4:])
        return _Squares(weight, size, error, _additions(inside), full)

    @cached_property
    def cumulative(self) -> _Squares:
        r, half = self.r, 0.5 * self.dx
        size, error = r.difference(self.a, self.t)
        value, leaves = self.a - self.t, size
        if self.convention.cumulated == "squares":
            squares = self.a**2, self.t**2
            value, leaves = squares[0] - squares[1], squares[0] + squares[1]
            read = 2.0 * np.abs(self.a) * r.flushed(self.a) + 2.0 * np.abs(self.t) * r.flushed(self.t)
            error = r.growth(roundings=2, products=1) * leaves + read + (leaves > 0.0) * 4.0 * r.tiny
        elif self.expanded or self.convention.cumulative == "batch":
            leaves = np.abs(self.a) + np.abs(self.t)
        steps = np.arange(1, self.points)
        c, e = (half * np.cumsum(x[:, :-1] + x[:, 1:], axis=1) for x in (value, error))
        # With whole ends: some form dx (Σ d − (d_0 + d_i)/2), and sums of pairs are no more.
        s = self.dx * np.cumsum(leaves, axis=1)[:, 1:]
        g = r.growth(additions=steps + 2, roundings=5, products=1, constants=r.constant(self.dx))
        own = (steps + 8) * 2.0**-53 * s
        flushed = (s + e > 0.0) * r.tiny * (3.0 * steps * (1.0 + half) + 2.0)
        full = self.dx * self.mask[:, 1:].astype(np.float64) * (self.points > 2)
        weight = full * _trapezoid(self.points - 1)
        additions, members = _additions(self.mask[:, 1:]), None
        if self.convention.cumulative == "batch":
            members = self.mask[:, 1:].sum(axis=0, dtype=np.float64)
            full = np.full((self.structures, 1), self.dx / (self.points - 1) * float(self.structures > 1)) * members
            weight = full * _trapezoid(self.structures)[:, None]
            additions = np.full(self.structures, self.structures**2 * (self.points - 1))
        error = np.where(s / half > r.largest, np.inf, e + g * (s + e) + flushed)
        return _Squares(weight, np.abs(c) + own, error, additions, full, members=members)


def _total(figures: _Figures, values: list[Floats], errors: list[Floats], structures: int) -> Floats:
    """Return the error of the weighted sum of the terms, of `structures` of which a sum is formed."""
    r = figures.r
    total = np.zeros(figures.structures)
    for weight, value, own in zip(figures.weights, values, errors, strict=True):
        error = np.where(value > r.largest, np.inf, own)
        g = r.growth(additions=2 + structures, roundings=3, constants=r.constant(float(weight)))
        some = (value + error > 0.0) & (weight != 0.0)
        # An overflow times a weight of zero is not a number: nothing is known of it, either.
        total = total + np.abs(weight) * (error + g * (value + error)) + some * 3.0 * r.tiny
    return total


def _grad(f: _Figures) -> Floats:
    """Return (B, P) the error of d value / d predictions."""
    r, w = f.r, np.abs(f.weights) * f.share
    rows, window = np.arange(f.structures)[:, None], f.shift + np.arange(f.points)
    constants = r.constant(f.dx) + r.unit  # dx and 1/B
    error, size = np.zeros(f.q.shape), np.zeros(f.q.shape)
    misfit, made_of = _slopes(f.dos, w[0], r, constants)
    if f.expanded:
        # What may come out below 0 is clamped by some, and then has no slope.
        clamped = f.dos.bound(r, f.dx) >= f.result.terms.dos
        misfit = misfit + np.where(clamped[:, None], 2.0 * w[0] * f.dos.weight * np.abs(f.a - f.t), 0.0)
    for part, its, at in (
        (misfit, made_of, window),
        (*_slopes(f.front_tail, w[1], r, constants), f.column[None, :]),
        (*_by_stencil(f, w[2], constants + r.constant(float(f.weights[2]))), f.column[None, :]),
        (*_by_running_sums(f, w[3], constants + r.constant(float(f.weights[3]))), window),
    ):
        error[rows, at] += part
        size[rows, at] += its
    # Up to eight contributions: D, F, C, and five of the stencil.
    error = error + r.growth(additions=7) * (size + error)
    error = np.where(size > r.largest, np.inf, error)
    own: Floats = error[:, f.result.padding : f.q.shape[1] - f.result.padding]
    return own


def _slopes(squares: _Squares, weight: float, r: Arithmetic, constants: float) -> tuple[Floats, Floats]:
    """Return the error of 2 · weight · w · x, and its size."""
    w, x = squares.weight, squares.size
    size, error = 2.0 * weight * w * x, 2.0 * weight * w * squares.error
    g = r.growth(roundings=7, products=1, constants=constants)
    # Any product of some of the factors may be flushed, or overflow, before the rest multiplies it.
    rest = max(1.0, weight) * np.maximum(1.0, w) * np.maximum(1.0, 2.0 * (x + squares.error))
    lost = r.underflow(size + error, 4.0 * r.tiny * rest, weight, w, squares.factor)
    total = np.where(rest > r.largest, np.inf, error + g * (size + error) + lost)
    # What overflows is not a number even where it weighs nothing.
    total = np.where(np.isinf(squares.error), np.inf, np.where(w > 0.0, total, 0.0))
    return total, np.where(w > 0.0, size, 0.0)


def _by_stencil(f: _Figures, weight: float, constants: float) -> tuple[Floats, Floats]:
    """Return the error of the unmasked gradient's part, and its size: the slopes by h through the stencil."""
    r, (coefficients, over) = f.r, f.stencil
    error, size = np.zeros(f.q.shape), np.zeros(f.q.shape)
    if f.q.shape[1] < 5:
        return error, size
    by_h, its = (part[:, 4:] for part in _slopes(f.unmasked_gradient, weight, r, constants))
    g = r.growth(roundings=6, products=1, constants=constants)
    apart = max(1.0, 1.0 / over)
    flushed = np.where(its + by_h > 0.0, 4.0 * r.tiny * (1.0 + apart), 0.0)
    for k, c in enumerate(coefficients):
        here = slice(k, f.q.shape[1] - 4 + k)
        error[:, here] += np.where(c * apart * its > r.largest, np.inf, c * (by_h + g * (its + by_h)) + flushed)
        size[:, here] += c * (its + by_h)
    return error, size


def _by_running_sums(f: _Figures, weight: float, constants: float) -> tuple[Floats, Floats]:
    """Return the error of the cumulative's part, and its size: the slopes by c in a running sum from the end."""
    r = f.r
    tails, sizes = (np.cumsum(x[:, ::-1], axis=1)[:, ::-1] for x in _slopes(f.cumulative, weight, r, constants))
    by_c, its = (0.5 * f.dx * _pairs(x) for x in (tails, sizes))
    factor = 2.0 * np.abs(f.a) if f.convention.cumulated == "squares" else np.ones((1, f.points))
    remaining = np.arange(f.points, 0, -1)
    g = r.growth(additions=remaining + 2, roundings=9, products=1, constants=constants)
    whole = factor * (its + by_c)
    flushed = r.tiny * (4.0 * remaining * (1.0 + f.dx) * np.maximum(factor, 1.0) + 4.0)
    # As for the running sums themselves, with whole ends: Σ dx y from k on, and half of it again at the first point.
    ends = 1.5 * f.dx * factor * np.concatenate([sizes[:, :1], sizes], axis=1)
    error = factor * by_c + g * (ends + factor * by_c) + np.where(whole > 0.0, np.minimum(flushed, whole + r.tiny), 0.0)
    beyond = np.maximum(1.0, factor) * np.maximum(_pairs(sizes + tails), ends) > r.largest
    return np.where(beyond, np.inf, error), whole


def _pairs(x: Floats) -> Floats:
    """Return x_k + x_{k+1} with zeros at both ends: one more than there are."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    return padded[:, :-1] + padded[:, 1:]


def _trapezoid(points: int) -> Floats:
    weight = np.full(points, 1.0)
    weight[[0, -1][:points]] = 0.5
    return weight * float(points != 1)


def _additions(mask: Booleans) -> Any:
    """Return how many additions are not of zero, of points or of pairs of neighbours."""
    return np.maximum(np.minimum(mask.shape[1], 2 * mask.sum(axis=1)) - 1, 0)
