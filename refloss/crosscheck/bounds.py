"""How far a correct implementation may be from the golden figures: the formulas of docs/bounds.md, evaluated.

An implementation rounds every operation in its format, adds up in the accumulation format in any order, may flush what
is smaller than the smallest normal number, and may have rounded dx, weights and delta to the format before use. For
each figure there is a rigorous bound, and a probabilistic one with √n in the place of n (section 7 there).

Shapes: B structures, N points of a target, Q points of a padded prediction, S shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from refloss.conventions import Convention
from refloss.crosscheck.formats import Format
from refloss.crosscheck.reference import POINTWISE, TERMS, Golden
from refloss.errors import InputError
from refloss.exact import STENCILS
from refloss.results import AlignedResult, Booleans, Floats, PointwiseResult

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

Form = Literal["direct", "expanded"]

LAMBDA: Final = 6.55
"""√(2 ln(2·10⁹)): independent roundings add up to more than λ√n u with a probability of less than 1e-9."""

_SLACK: Final = 1.0 + 2.0**-20
"""The bounds themselves are computed in float64, in sums of less than 2^30 positive terms."""

_GOLDEN: Final = 2.0**-52
"""A golden figure is within 0.501 ulp, an element of a gradient within 1 ulp: this part of it at most."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Bounds on the absolute error of each figure, an array of the figure's shape each.

    Attributes
    ----------
    bound : mapping
        Rigorous; "value", "elements", "per_structure", "terms.dos", …, "grad", as in `Golden.figures`. Infinite where
        an intermediate result may be beyond the largest number of the format: nothing is then proven.
    expected : mapping
        Alike, exceeded with a small probability only where the roundings are as good as independent.
    """

    bound: Mapping[str, Floats]
    expected: Mapping[str, Floats]
    _objective: Callable[[], tuple[Floats, Booleans]] = field(repr=False)

    @cached_property
    def objective(self) -> tuple[Floats, Booleans]:
        """(B, S) The bound of the objective at every shift, and where it may overflow to infinity."""
        return self._objective()


def tolerance(
    case: Case,
    golden: Golden,
    convention: str | Convention | None,
    format: Format,  # noqa: A002
    accumulate: Format,
    form: Form = "direct",
) -> Tolerance:
    """Return how far a correct implementation may be from `golden`, at golden's shifts.

    Parameters
    ----------
    case : Case
    golden : Golden
        Of this case and convention.
    convention : str or Convention or None
    format, accumulate : Format
        What it computes in, and what it adds up in.
    form : {"direct", "expanded"}
        Whether squares of differences are taken of the differences, or as Σp² − 2Σpt + Σt² and the cumulatives as
        cumtrapz(a) − cumtrapz(t).
    """
    if form not in ("direct", "expanded"):
        raise InputError(f"form: found {form!r}, expected 'direct' or 'expanded'")
    exact = _Arithmetic(format, accumulate, probable=False), _Arithmetic(format, accumulate, probable=True)
    if isinstance(golden.result, PointwiseResult):
        delta, reduction = case.params.get("delta", 1.0), case.params.get("reduction", "mean")
        run: Callable[[_Arithmetic], dict[str, Floats]] = partial(
            _pointwise, POINTWISE[case.loss], case.predictions, case.targets, golden.result, delta, reduction, form
        )
        objective = _nothing
    else:
        found = golden.result.convention
        if convention is not None and convention not in (found, found.name):
            named = convention if isinstance(convention, str) else convention.name
            raise InputError(f"golden: found figures of the convention {found.name!r}, expected those of {named!r}")
        run = partial(_aligned, golden.result, form)
        objective = partial(_objective, golden, form, exact[0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        bound, expected = (
            {
                name: _finish(error, golden.figures[name], arithmetic)
                for name, error in run(arithmetic).items()
                if name in golden.figures
            }
            for arithmetic in exact
        )
    return Tolerance(bound, expected, objective)


class _Arithmetic:
    """What roundings may add up to, relative to exact results."""

    def __init__(self, format: Format, accumulate: Format, *, probable: bool) -> None:  # noqa: A002
        self.format = format
        self.unit = max(format.unit, accumulate.unit)
        # Operands that are not rounded but cut to their length lose twice as much, and so does a sum of such products.
        cut = format.product_unit != format.unit
        self.operand = 2 * format.product_unit if cut else 0.0
        self.sum_unit = (2 if cut else 1) * accumulate.unit
        self.tiny = max(format.tiny, accumulate.tiny)
        self.largest = min(format.largest, accumulate.largest)
        self.largest_sum = accumulate.largest
        self.probable = probable

    def count(self, terms: Any) -> Any:
        """Return by how many roundings a sum of `terms` may be off."""
        return np.minimum(terms, LAMBDA * np.sqrt(terms)) if self.probable else terms

    def growth(self, terms: Any = 0, roundings: int = 0, products: int = 0, constants: float = 0.0) -> Any:
        """Return the relative error of a sum of `terms`, each after roundings, products and inexact constants."""
        factor = (1.0 + self.unit) ** roundings * ((1.0 + self.unit) * (1.0 + self.operand) ** 2) ** products
        return (1.0 + self.count(terms) * self.sum_unit) * factor * (1.0 + constants) - 1.0

    def constant(self, number: float) -> float:
        """Return the relative error of a number that is rounded to the format, or flushed to zero."""
        size = abs(number)
        return self.unit + (self.tiny / size if 0.0 < size < 2.0 * self.tiny else 0.0)

    def flushed(self, x: Floats) -> Floats:
        """Return what a number that is read loses where it is below the smallest normal one."""
        return np.where((x != 0.0) & (np.abs(x) < self.tiny), self.tiny, 0.0)

    def underflow(self, product: Floats, flushed: Floats, *factors: Any) -> Floats:
        """Return what products of some of the factors lose below the smallest normal number.

        At most `flushed`, at most the whole product, and nothing where no product can be so small.
        """
        smallest = 1.0
        for factor in factors:
            smallest = smallest * np.minimum(1.0, 0.5 * factor)
        return np.where(smallest < 2.0 * self.tiny, np.minimum(product, flushed), 0.0)

    def difference(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Return |a − b|, which is exact to a rounding, and the error of the implementation's."""
        size = np.abs(a - b)
        lost = self.flushed(a) + self.flushed(b)
        small = (size + lost > 0.0) & (size < 4.0 * self.tiny)
        return size * (1.0 + 2.0**-52), self.unit * size + lost + np.where(small, self.tiny, 0.0)


def _finish(error: Floats, figure: Floats, arithmetic: _Arithmetic) -> Floats:
    """Add what the report in the format and the golden figure's own rounding may be off by."""
    size = np.abs(figure)
    total = (error + arithmetic.format.unit * (size + error)) * _SLACK + _GOLDEN * size
    total = np.where((error > 0.0) & (size < 2.0 * arithmetic.tiny), total + arithmetic.tiny, total)
    return np.where(np.isnan(total) | (size + total > arithmetic.format.largest), np.inf, total)


# ---- pointwise losses ------------------------------------------------------------------------------------------


def _pointwise(
    name: str,
    predictions: Floats,
    targets: Floats,
    result: PointwiseResult,
    delta: float,
    reduction: str,
    form: Form,
    arithmetic: _Arithmetic,
) -> dict[str, Floats]:
    r = arithmetic
    selected = result.selected
    p, t = (np.asarray(x, np.float64)[selected] for x in (predictions, targets))
    size, error = r.difference(p, t)
    share = 1.0 / max(result.count, 1) if reduction == "mean" else 1.0
    sign = np.sign(p - t)
    # What an element and its slope are made of, in absolute values; errors beyond growth come from d alone.
    if name == "mse":
        base = np.abs(p) + np.abs(t) if form == "expanded" else size
        square, slope, slope_error = base * base, 2.0 * base, 2.0 * error
        second = 2.0 * size * error + error * error
        if form == "expanded":
            second = second + r.growth(roundings=3) * square
    elif name == "mae":
        square, slope, second = size, np.abs(sign), error
        slope_error = np.where((size > 0.0) & (error >= size), 1.0, 0.0)
    else:
        inside = size <= delta
        square = np.where(inside, 0.5 * size * size, delta * (size + 0.5 * delta))
        slope = np.minimum(size, delta)
        off = r.constant(delta) * delta
        knee = size + error >= delta - off
        second = (
            slope * error + error * error + np.where(knee, np.maximum(size + error - delta, 0.0) + error, 0.0) * off
        )
        second = second + np.where(knee, (error + off) ** 2, 0.0)
        slope_error = np.where(inside, error, 0.0) + np.where(knee, off + error, 0.0)
    moved = (square > 0.0) | (second > 0.0)
    each = second + r.growth(roundings=3, products=1) * (square + second) + np.where(moved, 3.0 * r.tiny, 0.0)
    each = np.where(square > r.largest, np.inf, each)
    g = r.growth(terms=p.size + 1, roundings=2, products=1)
    total, sizes = float(each.sum()), float(square.sum())
    reduced = share * (total + g * (sizes + total)) + (r.tiny if moved.any() else 0.0)
    if sizes > r.largest_sum:
        reduced = np.inf
    grad = np.zeros(selected.shape)
    growth = r.growth(roundings=1, products=1) if name == "mae" else r.growth(roundings=4, products=1)
    if reduction != "mean" and name == "mae":
        growth = 0.0  # a sign is exact
    steep = slope_error + growth * (slope + slope_error)
    grad[selected] = share * steep + np.where(steep > 0.0, 3.0 * r.tiny * np.maximum(slope, 1.0), 0.0)
    return {"value": np.asarray(reduced), "elements": each, "grad": grad}


def _nothing() -> tuple[Floats, Booleans]:
    raise InputError("case: found a pointwise loss, expected an aligned one: it has no objective")


# ---- aligned losses --------------------------------------------------------------------------------------------


class _Squares(NamedTuple):
    """A term: Σ weight · x² over the last axis, with the sizes and errors of x and the number of summands."""

    weight: Floats
    size: Floats
    error: Floats
    terms: Any
    leaves: Floats
    """What x is made of in absolute values, where its square is expanded; else x."""

    def bound(self, r: _Arithmetic, dx: float, terms: Any = None) -> Floats:
        """Return the error of the sum."""
        w, x, e, base = self.weight, self.size, self.error, self.leaves
        g = r.growth(terms=self.terms if terms is None else terms, roundings=4, products=1, constants=r.constant(dx))
        square = w * base * base
        second = w * (2.0 * x * e + e * e)
        whole = square + second
        lost = r.underflow(whole, r.tiny * (w + 4.0), w, base, base)
        total = (second + lost).sum(-1) + g * whole.sum(-1)
        plain = np.where(w > 0.0, base * base, 0.0)
        return np.where((plain.max(-1, initial=0.0) > r.largest) | (plain.sum(-1) > r.largest_sum), np.inf, total)


class _Figures:
    """The sizes and errors of all that the terms of a batch are made of, at the shifts of the result."""

    def __init__(self, result: AlignedResult, form: Form, r: _Arithmetic) -> None:
        self.result, self.form, self.r = result, form, r
        self.convention, self.dx = result.convention, result.energy_step
        self.t, self.mask = result.targets, result.mask
        self.q = np.pad(result.predictions, ((0, 0), (result.padding, result.padding)))
        self.a = result.aligned
        self.trapezoid = result.padding == 0
        self.structures, self.points = self.t.shape
        self.column = np.arange(self.q.shape[1])
        self.shift = result.shift[:, None]
        self.expanded = form == "expanded"

    @cached_property
    def dos(self) -> _Squares:
        size, error = self.r.difference(self.a, self.t)
        omega = _trapezoid(self.points) if self.trapezoid else np.ones(self.points)
        weight = self.measure * self.mask * omega
        leaves = np.abs(self.a) + np.abs(self.t) if self.expanded else size
        factor = 3 if self.expanded else 1
        return _Squares(weight, size, error, factor * _summands(self.mask), leaves)

    @property
    def measure(self) -> float:
        return self.dx if self.trapezoid else 1.0

    @cached_property
    def front_tail(self) -> _Squares:
        inside = self.column <= self.shift if self.trapezoid else self.column < self.shift
        weight = self.measure * inside.astype(np.float64)
        if self.trapezoid:
            weight *= np.where((self.column == 0) | (self.column == self.shift), 0.5, 1.0) * (self.shift > 0)
        size = np.abs(self.q)
        return _Squares(weight, size, self.r.flushed(self.q), self.shift[:, 0] + 3, size)

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
        ends = np.where((self.column == first) | (self.column == last - 1), 0.5, 1.0)
        weight = self.dx * inside.astype(np.float64) * ends * (last - first > 1)
        masked = np.zeros(q.shape, np.bool_)
        masked[np.arange(self.structures)[:, None], self.shift + np.arange(self.points)] = self.mask
        weight = weight * ((self.column < self.shift + self.points) & ~masked)
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
        return _Squares(weight, size, error, _summands(weight > 0.0), size)

    @cached_property
    def cumulative(self) -> _Squares:
        r, half = self.r, 0.5 * self.dx
        size, error = r.difference(self.a, self.t)
        value, leaves = self.a - self.t, size
        if self.convention.cumulated == "squares":
            squares = self.a**2, self.t**2
            value, leaves = squares[0] - squares[1], squares[0] + squares[1]
            read = 2.0 * np.abs(self.a) * r.flushed(self.a) + 2.0 * np.abs(self.t) * r.flushed(self.t)
            error = r.growth(roundings=1, products=1) * leaves + read + (leaves > 0.0) * 4.0 * r.tiny
        elif self.expanded or self.convention.cumulative == "batch":
            leaves = np.abs(self.a) + np.abs(self.t)
        steps = np.arange(1, self.points)
        c, s, e = (half * np.cumsum(x[:, :-1] + x[:, 1:], axis=1) for x in (value, leaves, error))
        g = r.growth(terms=steps + 3, roundings=5, products=1, constants=r.constant(self.dx))
        own = (steps + 8) * 2.0**-53 * s
        flushed = (s + e > 0.0) * r.tiny * (3.0 * steps * (1.0 + half) + 2.0)
        weight = self.dx * _trapezoid(self.points - 1) * self.mask[:, 1:]
        terms = _summands(self.mask[:, 1:])
        if self.convention.cumulative == "batch":
            share = _trapezoid(self.structures)[:, None] * self.dx / (self.points - 1)
            weight = share * self.mask[:, 1:].sum(axis=0)
            terms = np.full(self.structures, self.structures**2 * (self.points - 1))
        error = np.where(s / half > r.largest_sum, np.inf, e + g * (s + e) + flushed)
        return _Squares(weight, np.abs(c) + own, error, terms, np.abs(c) + own)

    @property
    def terms(self) -> list[_Squares]:
        return [self.dos, self.front_tail, self.unmasked_gradient, self.cumulative]

    @property
    def weights(self) -> Floats:
        """What multiplies the terms."""
        return np.array([1.0, float(self.convention.front_tail), self.result.grad_weight, self.result.int_weight])


def _aligned(result: AlignedResult, form: Form, r: _Arithmetic) -> dict[str, Floats]:
    figures = _Figures(result, form, r)
    values = [getattr(result.terms, name) for name in TERMS]
    errors = {f"terms.{name}": term.bound(r, figures.dx) for name, term in zip(TERMS, figures.terms, strict=True)}
    errors["per_structure"] = _total(figures, values, list(errors.values()), 0)
    share = 1.0 / result.shift.size if result.reduction == "mean" else 1.0
    # An implementation may add up all structures' summands at once.
    together = [np.sum(term.terms) + result.shift.size for term in figures.terms]
    flat = [term.bound(r, figures.dx, terms) for term, terms in zip(figures.terms, together, strict=True)]
    errors["value"] = np.asarray(share * _total(figures, values, flat, result.shift.size).sum())
    errors["grad"] = _grad(figures)
    return errors


def _total(figures: _Figures, values: list[Floats], errors: list[Floats], structures: int) -> Floats:
    """Return the error of the weighted sum of the terms, and of that of `structures` such sums."""
    r = figures.r
    total = np.zeros(figures.structures)
    for weight, value, error in zip(figures.weights, values, errors, strict=True):
        g = r.growth(terms=4 + structures, roundings=3, constants=r.constant(float(weight)))
        some = (value + error > 0.0) & (weight != 0.0)
        total = total + np.abs(weight) * (error + g * (value + error)) + some * 3.0 * r.tiny
    return total


def _grad(figures: _Figures) -> Floats:
    """Return the error of d value / d predictions."""
    f, r, result = figures, figures.r, figures.result
    share = 1.0 / result.shift.size if result.reduction == "mean" else 1.0
    w = np.abs(f.weights) * share
    rows, window = np.arange(f.structures)[:, None], f.shift + np.arange(f.points)
    constants = 2.0 * r.constant(f.dx)
    error, size = np.zeros(f.q.shape), np.zeros(f.q.shape)
    for squares, weight, at in ((f.dos, w[0], window), (f.front_tail, w[1], f.column[None, :])):
        part, made_of, leaves = _slopes(squares, weight, r, constants)
        error[rows, at] += part
        size[rows, at] += made_of * (leaves > 0.0)
    coefficients, over = f.stencil
    part, made_of, _ = _slopes(f.unmasked_gradient, w[2], r, constants + r.constant(float(f.weights[2])))
    amplified = max(1.0, 1.0 / over)
    g = r.growth(roundings=5, products=1, constants=constants)
    for k, c in enumerate(coefficients):
        here = slice(k, f.q.shape[1] - 4 + k)
        moved, its = part[:, 4:], made_of[:, 4:]
        error[:, here] += c * (moved + g * (its + moved)) + (its + moved > 0.0) * 4.0 * r.tiny * (1.0 + amplified)
        size[:, here] += c * (its + moved)
    part, made_of, _ = _slopes(f.cumulative, w[3], r, constants + r.constant(float(f.weights[3])))
    n = f.points
    tails, sizes = (np.cumsum(x[:, ::-1], axis=1)[:, ::-1] for x in (part, made_of))
    both, whole = (0.5 * f.dx * _pairs(x) for x in (tails, sizes))
    factor = 2.0 * np.abs(f.a) if f.convention.cumulated == "squares" else np.ones((1, n))
    remaining = np.arange(n, 0, -1)
    g = r.growth(terms=2 * remaining + 4, roundings=8, products=1, constants=constants)
    flush = (both + whole > 0.0) * r.tiny * (4.0 * remaining * (1.0 + f.dx) * np.maximum(factor, 1.0) + 4.0)
    error[rows, window] += factor * (both + g * (whole + both)) + flush
    size[rows, window] += factor * (whole + both)
    error = error + r.growth(terms=10) * (size + error)
    own: Floats = error[:, result.padding : f.q.shape[1] - result.padding]
    return own


def _pairs(x: Floats) -> Floats:
    """Return x_k + x_{k+1} with zeros at both ends: one more than there are."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    return padded[:, :-1] + padded[:, 1:]


def _slopes(squares: _Squares, weight: float, r: _Arithmetic, constants: float) -> tuple[Floats, Floats, Floats]:
    """Return the error of 2 · weight · w · x, its size, and what x is made of."""
    w = weight * squares.weight
    leaves = squares.leaves
    size = 2.0 * w * leaves
    error = 2.0 * w * squares.error
    g = r.growth(roundings=9, products=1, constants=constants)
    # Any product of some of the factors may be flushed before the rest multiplies it.
    rest = max(1.0, weight) * np.maximum(1.0, squares.weight) * np.maximum(1.0, 2.0 * (leaves + squares.error))
    lost = r.underflow(size + error, 4.0 * r.tiny * rest, weight, squares.weight, leaves)
    return np.where(w > 0.0, error + g * (size + error) + lost, 0.0), np.where(w > 0.0, size, 0.0), leaves


# ---- the objective ---------------------------------------------------------------------------------------------


def _objective(golden: Golden, form: Form, r: _Arithmetic) -> tuple[Floats, Booleans]:
    result = golden.result
    assert isinstance(result, AlignedResult)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        if result.convention.objective == "total":
            return _total_objective(golden, form, r)
        figures = _Figures(result, form, r)
        heights = golden.landscape
        measured = figures.dos.weight
        windows = sliding_window_view(figures.q, figures.points, axis=1)
        lost = np.array([[r.flushed(figures.q).max(initial=0.0) + r.flushed(figures.t).max(initial=0.0)]])
        lost = lost + (lost > 0.0) * r.tiny
        sides = figures.points + (np.arange(heights.shape[1]) if result.convention.objective != "dos" else 0)
        terms = (3 if form == "expanded" else 1) * _summands(figures.mask)[:, None] + sides - figures.points + 6
        g = r.growth(terms=terms, roundings=6, products=1, constants=r.constant(figures.dx))
        total = measured.sum(axis=1, keepdims=True)
        second = 2.0 * lost * np.sqrt(total * heights) + total * lost**2
        made_of = heights
        if form == "expanded":
            made_of = np.stack(
                [
                    np.abs(row) ** 2 @ w + 2.0 * (np.abs(row) @ (w * np.abs(t))) + w @ t**2
                    for row, w, t in zip(windows, measured, figures.t, strict=True)
                ]
            )
            if result.convention.objective == "dos+front_tail":
                tail = np.cumsum(figures.q**2, axis=1) * figures.measure
                made_of = made_of + tail[:, : heights.shape[1]]
        flush = r.tiny * ((figures.measure + 4.0) * sides)
        bound = (second + g * (made_of + second) + flush) * _SLACK + _GOLDEN * heights
        return bound, (made_of / min(1.0, figures.measure) * 2.0 > r.largest) | ~np.isfinite(bound)


def _total_objective(golden: Golden, form: Form, r: _Arithmetic) -> tuple[Floats, Booleans]:
    """Return the bound of the whole loss at every shift: as slow as evaluating it there."""
    from refloss.crosscheck.reference import at_shift

    result = golden.result
    assert isinstance(result, AlignedResult)
    bounds = []
    for s in range(result.shifts):
        moved = at_shift(golden, np.full(result.shift.size, s)).result
        assert isinstance(moved, AlignedResult)
        bounds.append(_finish(_aligned(moved, form, r)["per_structure"], moved.per_structure, r))
    bound = np.stack(bounds, axis=1)
    return bound, np.isinf(bound)


def _trapezoid(points: int) -> Floats:
    weight = np.full(points, 1.0)
    weight[[0, -1][:points]] = 0.5
    return weight * float(points != 1)


def _summands(mask: Booleans) -> Any:
    """Return how many summands other than zero there are, of points or of pairs of neighbours, and a few more."""
    return np.minimum(mask.shape[1], 2 * mask.sum(axis=1)) + 2
