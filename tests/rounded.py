"""Correct implementations of the losses, rounded after every operation: what bounds have to leave room for.

Written from docs/specification.md. Numbers are float64 arrays that a format holds; every operation rounds to the
nearest number of the format, sums in that of the accumulation and in an order of choice; subnormal numbers are kept or
flushed to zero, operands of contractions cut to 11 bits for tf32. Nothing is imported from the package but the formats.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refloss.crosscheck.formats import Format

Floats = NDArray[np.float64]

STENCIL = (3.0, -16.0, 36.0, -48.0, 25.0)
RELEASED = (5.0, -26.666667938232422, 60.0, -80.0, 41.666664123535156)
ORDERS = ("sequential", "reversed", "pairwise", "blocked", "shuffled", "float64")
SCANS = ("sequential", "blocked", "doubling")
PATHS = ("weighted", "pairs", "after", "ends")


@dataclass(frozen=True)
class Machine:
    """How an implementation computes.

    `order` of the sums; `scan`, how running sums are formed; `path`, where dx and the half weights enter an integral;
    `flush`, whether subnormal numbers are zero; `expanded`, whether squares of differences are.
    """

    format: Format
    accumulate: Format
    order: str = "sequential"
    scan: str = "sequential"
    path: str = "weighted"
    flush: bool = False
    expanded: bool = False
    seed: int = 0

    def round(self, x: Any, to: Format | None = None) -> Floats:
        """Round to the nearest, overflow to infinity."""
        to = to or self.format
        x = np.asarray(x, np.float64)
        if to.storage in ("float32", "float16"):
            with np.errstate(over="ignore", under="ignore"):
                x = x.astype(to.storage).astype(np.float64)
        elif to.name == "bfloat16":
            x = _bfloat16(x)
        return np.where(np.abs(x) < to.tiny, 0.0 * x, x) if self.flush else x

    def add(self, a: Any, b: Any) -> Floats:
        return self.round(np.asarray(a) + np.asarray(b))

    def times(self, a: Any, b: Any) -> Floats:
        with np.errstate(under="ignore"):
            return self.round(np.asarray(a) * np.asarray(b))

    def operand(self, x: Any) -> Floats:
        """Return what a contraction makes of an operand: tf32 cuts it to 11 significand bits."""
        if self.format.name != "tf32":
            return np.asarray(x)
        return (np.asarray(x).astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) * 1.0

    def dot(self, a: Any, b: Any) -> Floats:
        """Return Σ a b over the last axis, as a contraction."""
        return self.sum(self.times(self.operand(a), self.operand(b)))

    def sum(self, x: Any) -> Floats:
        """Add up over the last axis."""
        x = self.round(x, self.accumulate)
        n = x.shape[-1]
        if n == 0:
            return np.zeros(x.shape[:-1])
        if self.order == "float64":
            return self.round(self.round(x.sum(-1), self.accumulate))
        if self.order == "reversed":
            x = x[..., ::-1]
        if self.order == "shuffled":
            x = x[..., np.random.default_rng(self.seed).permutation(n)]
        if self.order == "pairwise":
            while x.shape[-1] > 1:
                if x.shape[-1] % 2:
                    x = np.concatenate([x, np.zeros((*x.shape[:-1], 1))], -1)
                x = self.round(x[..., ::2] + x[..., 1::2], self.accumulate)
            return self.round(x[..., 0])
        if self.order == "blocked":
            x = np.stack([self._run(block)[..., -1] for block in np.array_split(x, max(1, n // 5), axis=-1)], -1)
        return self.round(self._run(x)[..., -1])

    def running(self, x: Any) -> Floats:
        """Return the running sums along the last axis."""
        x = self.round(x, self.accumulate)
        n = x.shape[-1]
        if self.scan == "doubling":
            step = 1
            while step < n:
                x = x.copy()
                x[..., step:] = self.round(x[..., step:] + x[..., :-step], self.accumulate)
                step *= 2
        elif self.scan == "blocked":
            blocks, carry, out = np.array_split(x, max(1, n // 4), axis=-1), np.zeros((*x.shape[:-1], 1)), []
            for block in blocks:
                out.append(self.round(self._run(block) + carry, self.accumulate))
                carry = out[-1][..., -1:] if block.shape[-1] else carry
            x = np.concatenate(out, -1)
        else:
            x = self._run(x)
        return self.round(x)

    def _run(self, x: Floats) -> Floats:
        steps = itertools.accumulate(np.moveaxis(x, -1, 0), lambda a, b: self.round(a + b, self.accumulate))
        return np.stack(list(steps), -1) if x.shape[-1] else x

    def trapezoid(self, f: Floats, dx: float) -> Floats:
        """Integrate over the last axis, with this machine's way to weigh."""
        dx = self.round(dx)
        if f.shape[-1] < 2:
            return np.zeros(f.shape[:-1])
        if self.path == "pairs":
            return self.sum(self.times(self.add(f[..., 1:], f[..., :-1]), self.times(dx, 0.5)))
        if self.path == "ends":
            ends = self.times(0.5, self.add(f[..., 0], f[..., -1]))
            return self.times(self.add(self.sum(f), -ends), dx)
        weight = omega(f.shape[-1])
        if self.path == "after":
            return self.times(self.sum(self.times(f, weight)), dx)
        return self.dot(f, self.times(weight, dx))


def omega(n: int) -> Floats:
    weight = np.ones(n)
    weight[[0, -1][:n]] = 0.5
    return weight * (n != 1)


def _bfloat16(x: Floats) -> Floats:
    """Round to 8 significand bits."""
    _, exponent = np.frexp(np.where(np.isfinite(x), x, 0.0))
    spacing = np.maximum(exponent - 8, -133)
    rounded = np.ldexp(np.rint(np.ldexp(x, -spacing)), spacing)
    return np.where(np.abs(rounded) > 3.3895313892515355e38, np.copysign(np.inf, rounded), rounded)


def pointwise(
    m: Machine, loss: str, p: Floats, t: Floats, mask: Any, reduction: str = "mean", delta: float = 1.0
) -> dict[str, Floats]:
    """Return value or elements, and grad."""
    selected = ~np.isnan(t) if mask is None else mask & ~np.isnan(t)
    p, t = m.round(p[selected]), m.round(t[selected])
    d = m.add(p, -t)
    q = m.round(delta)
    size = np.abs(d)
    if loss == "mse":
        element, slope = m.times(d, d), m.times(2.0, d)
        if m.expanded:
            element = m.add(m.add(m.times(p, p), -m.times(2.0, m.times(p, t))), m.times(t, t))
    elif loss == "mae":
        element, slope = size, np.sign(d)
    else:
        linear = m.times(q, m.add(size, -m.times(0.5, q)))
        element = np.where(size <= q, m.times(0.5, m.times(d, d)), linear)
        slope = np.clip(d, -q, q)
    grad = np.zeros(selected.shape)
    if reduction == "none":
        grad[selected] = slope
        return {"elements": element, "grad": grad}
    count = max(d.size, 1)
    total = m.sum(element)
    value = m.round(total / count) if reduction == "mean" else total
    grad[selected] = m.round(slope / count) if reduction == "mean" else slope
    return {"value": value, "grad": grad}


@dataclass(frozen=True)
class Inputs:
    """An aligned loss to evaluate: `padding` 0 for masked_dos."""

    p: Floats
    t: Floats
    mask: NDArray[np.bool_]
    switches: Any
    dx: float
    grad_weight: float
    int_weight: float
    reduction: str
    padding: int


def objective(m: Machine, x: Inputs) -> Floats:
    """Return (B, S), as the machine sees it."""
    q, t = m.round(np.pad(x.p, ((0, 0), (x.padding, x.padding)))), m.round(x.t)
    shifts = q.shape[1] - t.shape[1] + 1
    columns = []
    for s in range(shifts):
        shift = np.full(len(t), s)
        value = _dos(m, x, q, t, shift)
        if x.switches.objective != "dos":
            value = m.add(value, _front_tail(m, x, q, shift))
        columns.append(value)
    return np.stack(columns, 1)


def _integral(m: Machine, x: Inputs, f: Floats) -> Floats:
    return m.sum(f) if x.padding else m.trapezoid(f, x.dx)


def _windows(q: Floats, t: Floats, shift: NDArray[np.int64]) -> Floats:
    return np.stack([row[s : s + t.shape[1]] for row, s in zip(q, shift, strict=True)])


def _dos(m: Machine, x: Inputs, q: Floats, t: Floats, shift: NDArray[np.int64]) -> Floats:
    a = _windows(q, t, shift)
    if m.expanded:
        squares, cross, own = (
            _integral(m, x, np.where(x.mask, m.times(f, g), 0.0)) for f, g in ((a, a), (a, t), (t, t))
        )
        return m.add(m.add(squares, -m.times(2.0, cross)), own)
    d = m.add(a, -t)
    factor = d if m.path == "weighted" else m.operand(d)  # a sum is one contraction, not two
    return _integral(m, x, np.where(x.mask, m.times(factor, factor), 0.0))


def _front_tail(m: Machine, x: Inputs, q: Floats, shift: NDArray[np.int64]) -> Floats:
    points = [row[: s if x.padding else s + 1] for row, s in zip(q, shift, strict=True)]
    return np.array([float(_integral(m, x, m.times(row, row))) for row in points])


def aligned(m: Machine, x: Inputs, shift: NDArray[np.int64]) -> dict[str, Floats]:
    """Return terms, per_structure, value and grad at these shifts."""
    q, t = m.round(np.pad(x.p, ((0, 0), (x.padding, x.padding)))), m.round(x.t)
    structures, points = t.shape
    width, dx = q.shape[1], m.round(x.dx)
    a = _windows(q, t, shift)
    dos, front = _dos(m, x, q, t, shift), _front_tail(m, x, q, shift)
    # G
    if x.switches.stencil == "exact":
        scale = m.round(1.0 / m.times(12.0, dx))
        coefficients = [m.times(c, scale) for c in STENCIL] if m.path != "after" else [np.asarray(c) for c in STENCIL]
    else:
        coefficients = [m.round(c) for c in RELEASED]
    parts = [m.times(m.operand(c), m.operand(q[:, r : max(r, width - 4 + r)])) for r, c in enumerate(coefficients)]
    h = m.sum(np.stack(parts, -1)) if width > 4 else np.zeros((structures, 0))
    after = x.switches.stencil == "exact" and m.path == "after"
    if after:
        h = m.round(h / m.times(12.0, dx))
    gradient, slopes_h = [], np.zeros(h.shape)
    share = m.round(1.0 / structures) if x.reduction == "mean" else np.asarray(1.0)
    w_g, w_c = m.round(x.grad_weight), m.round(x.int_weight)
    for b, s in enumerate(shift):
        first, last = (4, width) if x.switches.gradient_points == "prediction" else (max(4, s), s + points)
        last = max(first, last)
        free = np.ones(width)
        free[:s] = 0.0
        free[s : s + points] = ~x.mask[b]
        own = np.where(free[first:last] > 0, h[b, first - 4 : last - 4], 0.0)
        gradient.append(float(m.trapezoid(np.where(free[first:last] > 0, m.times(own, own), 0.0), dx)))
        upstream = m.times(m.times(share, w_g), m.times(dx, omega(own.size)))
        slopes_h[b, first - 4 : last - 4] = np.where(free[first:last] > 0, m.times(upstream, m.times(2.0, own)), 0.0)
    # C
    half = m.times(dx, 0.5)

    def cumulated(f: Floats) -> Floats:
        if m.path == "ends":
            return m.add(m.times(m.running(f)[:, 1:], dx), -m.times(half, m.add(f[:, :1], f[:, 1:])))
        return m.times(m.running(m.add(f[:, 1:], f[:, :-1])), half)

    if x.switches.cumulated == "squares":
        c = m.add(cumulated(m.times(a, a)), -cumulated(m.times(t, t)))
    elif m.expanded:
        c = m.add(cumulated(a), -cumulated(t))
    else:
        c = cumulated(m.add(a, -t))
    inner = x.mask[:, 1:]
    if x.switches.cumulative == "batch":
        over = omega(structures)[:, None] * m.round(dx / (points - 1))
        members = inner.sum(axis=0)
        squares = np.where(members > 0, m.times(c, c), 0.0)
        cumulative = m.times(m.sum(m.times(squares, m.round(members))), over[:, 0])
        weight = m.times(m.round(over), m.round(members))
    else:
        cumulative = m.trapezoid(np.where(inner, m.times(c, c), 0.0), dx)
        weight = m.times(dx, omega(points - 1)) * inner
    y = m.times(m.times(m.times(share, w_c), weight), np.where(weight > 0, m.times(2.0, c), 0.0))
    tails = m.running(y[:, ::-1])[:, ::-1]
    grad = np.zeros(q.shape)
    ends = np.zeros((structures, 1))
    by_c = m.times(half, m.add(np.concatenate([ends, tails], 1), np.concatenate([tails, ends], 1)))
    if m.path == "ends":
        behind = np.concatenate([tails[:, :1], tails], 1)
        by_c = m.add(m.times(dx, behind), -m.times(half, np.concatenate([tails[:, :1], y], 1)))
    if x.switches.cumulated == "squares":
        by_c = m.times(by_c, m.times(2.0, a))
    measure = np.asarray(1.0) if x.padding else dx
    for b, s in enumerate(shift):
        window = slice(s, s + points)
        weight_d = m.times(m.times(share, measure), omega(points) if not x.padding else 1.0) * x.mask[b]
        if m.expanded:
            by_d = m.add(m.times(weight_d, 2.0 * a[b]), -m.times(weight_d, 2.0 * t[b]))
        else:
            by_d = np.where(x.mask[b], m.times(weight_d, m.times(2.0, m.add(a[b], -t[b]))), 0.0)
        grad[b, window] = m.add(by_d, by_c[b])
        if x.switches.front_tail:
            count = s if x.padding else s + 1
            weight_f = m.times(m.times(share, measure), np.ones(count) if x.padding else omega(count))
            grad[b, :count] = m.add(grad[b, :count], m.times(weight_f, m.times(2.0, q[b, :count])))
    for r, coefficient in enumerate(coefficients if width > 4 else ()):
        moved = m.times(m.operand(slopes_h), m.operand(coefficient))
        if after:
            moved = m.round(moved / m.times(12.0, dx))
        grad[:, r : width - 4 + r] = m.add(grad[:, r : width - 4 + r], moved)
    terms = {"dos": dos, "front_tail": front, "unmasked_gradient": np.array(gradient), "cumulative": cumulative}
    total = dos
    if x.switches.front_tail:
        total = m.add(total, front)
    total = m.add(m.add(total, m.times(w_g, terms["unmasked_gradient"])), m.times(w_c, cumulative))
    figures = {f"terms.{name}": term for name, term in terms.items()} | {"per_structure": total}
    if x.reduction == "mean":
        figures["value"] = m.round(m.sum(total) / structures)
    elif x.reduction == "sum":
        figures["value"] = m.sum(total)
    return figures | {"grad": grad[:, x.padding : width - x.padding]}


def machines(rng: np.random.Generator, form: Format, accumulate: Format) -> Machine:
    """Draw one way to compute."""
    return Machine(
        form,
        accumulate,
        str(rng.choice(ORDERS)),
        str(rng.choice(SCANS)),
        str(rng.choice(PATHS)),
        bool(rng.random() < 0.3),
        bool(rng.random() < 0.3),
        int(rng.integers(1 << 30)),
    )


def worst(found: Mapping[str, Floats], golden: Mapping[str, Floats], bound: Mapping[str, Floats]) -> dict[str, float]:
    """Return, per figure, the largest error over bound; 0 / 0 is 0."""
    ratios = {}
    for name, figure in found.items():
        error = np.abs(figure - golden[name])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(error == 0.0, 0.0, error / bound[name])
        ratios[name] = float(np.where(np.isinf(bound[name]), 0.0, ratio).max(initial=0.0))
    return ratios


Order = Callable[[Floats], Floats]
