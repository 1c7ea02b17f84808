"""The losses as somebody who ports them writes them: NumPy, in the number type of the predictions, gradients by hand.

Written from docs/specification.md, sections 2 to 4, and importing nothing from the package. `crosscheck_mutants` edits
this text: a mutant is a slip of the pen in it, and so is a right implementation that does the same in another way.
"""

from __future__ import annotations

import numpy as np

DOCUMENTED = False  # else as intended: the front tail counts, and the gradient is asked of the whole prediction


# ---- sums and integrals


def total(values):
    return values.sum()


def halves(points, kind):
    weights = np.ones(points, kind)
    weights[:1] -= 0.5
    weights[-1:] -= 0.5
    return weights


def running(values, dx):
    return dx * np.cumsum((values[:-1] + values[1:]) / 2)


def running_transposed(values, dx):
    later = dx * np.cumsum(values[::-1])[::-1] / 2
    back = np.zeros(len(values) + 1, values.dtype)
    back[:-1] += later
    back[1:] += later
    return back


# ---- masked_dos


def misfit(a, t, m, dx):
    d = np.where(m, a - t, 0)
    w = halves(len(d), d.dtype)
    return dx * total(w * d**2), 2 * dx * w * d


def tail(p, s, dx):
    w = halves(s + 1, p.dtype)
    front = p[: s + 1]
    return dx * total(w * front**2), 2 * dx * w * front


def objective(p, t, m, s, dx):
    a = p[s : s + len(t)]
    value = misfit(a, t, m, dx)[0]
    if not DOCUMENTED:
        value = value + tail(p, s, dx)[0]
    return value


def align(p, t, m, dx):
    shifts = len(p) - len(t) + 1
    landscape = [objective(p, t, m, s, dx) for s in range(shifts)]
    return int(np.argmin(landscape))


def steepness(p, dx):
    g = np.zeros_like(p)
    g[4:] = (3 * p[:-4] - 16 * p[1:-3] + 36 * p[2:-2] - 48 * p[3:-1] + 25 * p[4:]) / (12 * dx)
    return g


def steepness_transposed(x, dx):
    x = x[4:] / (12 * dx)
    back = np.zeros(len(x) + 4, x.dtype)
    back[:-4] += 3 * x
    back[1:-3] -= 16 * x
    back[2:-2] += 36 * x
    back[3:-1] -= 48 * x
    back[4:] += 25 * x
    return back


def unmasked(p, m, s, dx):
    counted = np.zeros(len(p), bool)
    counted[:s] = True
    counted[s : s + len(m)] = m
    first, last = (max(4, s), s + len(m)) if DOCUMENTED else (4, len(p))
    w = np.zeros_like(p)
    w[first:last] = halves(max(last - first, 0), p.dtype)
    w[counted] = 0
    g = steepness(p, dx)
    if len(p) < 5:
        return total(w * g**2), np.zeros_like(p)
    return dx * total(w * g**2), steepness_transposed(2 * dx * w * g, dx)


def integrated(a, t, m, dx):
    c = running(a - t, dx)
    w = halves(len(c), c.dtype)
    w = np.where(m[1:], w, 0)
    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx)


def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    batch, points = targets.shape
    mask = mask.astype(bool)
    targets = np.where(np.isnan(targets), 0, targets)
    dx = energy_step
    names = ("dos", "front_tail", "unmasked_gradient", "cumulative")
    terms = {name: np.zeros(batch, predictions.dtype) for name in names}
    per_structure = np.zeros(batch, predictions.dtype)
    shift = np.zeros(batch, np.int64)
    grad = np.zeros_like(predictions)
    for b in range(batch):
        p, t, m = predictions[b], targets[b], mask[b]
        s = align(p, t, m, dx)
        a = p[s : s + points]
        shift[b] = s
        d, d_slope = misfit(a, t, m, dx)
        f, f_slope = tail(p, s, dx)
        g, g_slope = unmasked(p, m, s, dx)
        c, c_slope = integrated(a, t, m, dx)
        terms["dos"][b], terms["front_tail"][b] = d, f
        terms["unmasked_gradient"][b], terms["cumulative"][b] = g, c
        loss = d + grad_weight * g + int_weight * c
        grad[b, s : s + points] += d_slope
        grad[b] += grad_weight * g_slope
        grad[b, s : s + points] += int_weight * c_slope
        if not DOCUMENTED:
            loss = loss + f
            grad[b, : s + 1] += f_slope
        per_structure[b] = loss
    value, grad = reduce(per_structure, grad, reduction)
    return {"value": value, "per_structure": per_structure, "shift": shift, "terms": terms, "grad": grad}


def reduce(per_structure, grad, reduction):
    batch = len(per_structure)
    if reduction == "mean":
        return total(per_structure) / batch, grad / batch
    if reduction == "sum":
        return total(per_structure), grad
    return per_structure, grad


# ---- shift_agnostic_mse


def agnostic_objective(q, t, m, s):
    d = np.where(m, q[s : s + len(t)] - t, 0)
    return total(d**2) + total(q[:s] ** 2)


def agnostic_align(q, t, m):
    shifts = len(q) - len(t) + 1
    return int(np.argmin([agnostic_objective(q, t, m, s) for s in range(shifts)]))


def shift_agnostic_mse(predictions, targets, *, energy_step, grad_penalty_weight, int_weight, reduction):
    batch, points = targets.shape
    width = predictions.shape[1]
    mask = ~np.isnan(targets)
    targets = np.where(mask, targets, 0)
    dx = energy_step
    padded = np.pad(predictions, ((0, 0), (width, width)))
    names = ("dos", "front_tail", "unmasked_gradient", "cumulative")
    terms = {name: np.zeros(batch, predictions.dtype) for name in names}
    per_structure = np.zeros(batch, predictions.dtype)
    shift = np.zeros(batch, np.int64)
    grad = np.zeros_like(padded)
    for b in range(batch):
        q, t, m = padded[b], targets[b], mask[b]
        s = agnostic_align(q, t, m)
        a = q[s : s + points]
        shift[b] = s
        d = np.where(m, a - t, 0)
        g, g_slope = unmasked(q, m, s, dx)
        c, c_slope = integrated(a, t, m, dx)
        terms["dos"][b], terms["front_tail"][b] = total(d**2), total(q[:s] ** 2)
        terms["unmasked_gradient"][b], terms["cumulative"][b] = g, c
        per_structure[b] = total(d**2) + total(q[:s] ** 2) + grad_penalty_weight * g + int_weight * c
        grad[b, s : s + points] += 2 * d
        grad[b, :s] += 2 * q[:s]
        grad[b] += grad_penalty_weight * g_slope
        grad[b, s : s + points] += int_weight * c_slope
    value, grad = reduce(per_structure, grad[:, width : 2 * width], reduction)
    return {"value": value, "per_structure": per_structure, "shift": shift, "terms": terms, "grad": grad}


# ---- pointwise losses


def element(loss, d, delta):
    if loss == "mse":
        return d**2, 2 * d
    if loss == "mae":
        return np.abs(d), np.sign(d)
    inside = np.abs(d) <= delta
    line = delta * (np.abs(d) - delta / 2)
    return np.where(inside, d * d / 2, line), np.clip(d, -delta, delta)


def pointwise(loss, predictions, targets, mask, delta, reduction):
    selected = ~np.isnan(targets)
    if mask is not None:
        selected = selected & mask.astype(bool)
    d = np.where(selected, predictions - targets, 0)
    values, slopes = element(loss, d, delta)
    grad = np.where(selected, slopes, 0).astype(predictions.dtype)
    count = max(int(selected.sum()), 1)
    if reduction == "none":
        return {"value": values[selected], "grad": grad}
    if reduction == "sum":
        return {"value": total(values[selected]), "grad": grad}
    return {"value": total(values[selected]) / count, "grad": grad / count}


def mse(predictions, targets, *, reduction):
    return pointwise("mse", predictions, targets, None, None, reduction)


def mae(predictions, targets, *, reduction):
    return pointwise("mae", predictions, targets, None, None, reduction)


def huber(predictions, targets, *, delta, reduction):
    return pointwise("huber", predictions, targets, None, delta, reduction)


def masked_mse(predictions, targets, mask, *, reduction):
    return pointwise("mse", predictions, targets, mask, None, reduction)


def masked_mae(predictions, targets, mask, *, reduction):
    return pointwise("mae", predictions, targets, mask, None, reduction)


def masked_huber(predictions, targets, mask, *, delta, reduction):
    return pointwise("huber", predictions, targets, mask, delta, reduction)
