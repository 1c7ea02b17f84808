"""Mutants that the list of mistakes was not written against, to see what `explain` says of what it has never seen.

They were written after the list (`refloss.crosscheck.slips`) was finished, as edits of another text in another style (the
whole batch at once), with mistakes in other forms, mistakes that the list does not have, and two at a time. `explained`
is what would be right to say; empty where no single name of the list is, so that silence is right.
"""

# ruff: noqa: E501 - what an edit replaces is quoted as it stands

from __future__ import annotations

from crosscheck_mutants import Mutant

TEXT = """
import numpy as np


def weights_of(n):
    w = np.ones(n)
    w[0] = w[-1] = 0.5
    return w if n > 1 else np.zeros(n)


def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    P, kind = predictions.astype(float), predictions.dtype
    T = np.nan_to_num(targets.astype(float))
    M = mask.astype(float)
    h = energy_step
    B, N = T.shape
    W = P.shape[1]
    S = W - N + 1
    wN = weights_of(N)
    windows = np.stack([P[:, s : s + N] for s in range(S)], axis=1)
    D = h * np.einsum("bsn,bn,n->bs", (windows - T[:, None]) ** 2, M, wN)
    F = np.stack([h * (P[:, : s + 1] ** 2 @ weights_of(s + 1)) for s in range(S)], axis=1)
    best = np.argmin(D + F, axis=1)
    rows = np.arange(B)
    A = windows[rows, best]
    dos, tail = D[rows, best], F[rows, best]

    G = np.zeros((B, W))
    for k, c in enumerate([3, -16, 36, -48, 25]):
        G[:, 4:] += c * P[:, k : max(W - 4, 0) + k] / (12 * h)
    j = np.arange(W)
    inside = (j >= best[:, None]) & (j < best[:, None] + N)
    full = (j < best[:, None]).astype(float)
    full[inside] = M.ravel()
    wG = np.zeros(W)
    wG[4:] = weights_of(W - 4) if W > 4 else 0
    V = (1 - full) * wG
    gradient = h * (V * G**2).sum(axis=1)

    R = A - T
    C = h * np.cumsum((R[:, 1:] + R[:, :-1]) / 2, axis=1)
    U = M[:, 1:] * weights_of(N - 1)
    cumulative = h * (U * C**2).sum(axis=1)

    each = dos + tail + grad_weight * gradient + int_weight * cumulative

    dP = np.zeros((B, W))
    window_slope = 2 * h * wN * M * R
    later = np.cumsum((2 * h * U * C * int_weight)[:, ::-1], axis=1)[:, ::-1] * h / 2
    window_slope[:, :-1] += later
    window_slope[:, 1:] += later
    for b in range(B):
        s = best[b]
        dP[b, s : s + N] += window_slope[b]
        dP[b, : s + 1] += 2 * h * weights_of(s + 1) * P[b, : s + 1]
    X = 2 * h * V * G * grad_weight / (12 * h)
    for k, c in enumerate([3, -16, 36, -48, 25]):
        dP[:, k : max(W - 4, 0) + k] += c * X[:, 4:]
    value = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    share = 1 / B if reduction == "mean" else 1
    dP = dP * share
    terms = {"dos": dos, "front_tail": tail, "unmasked_gradient": gradient, "cumulative": cumulative}
    return {
        "value": np.asarray(value).astype(kind),
        "per_structure": each.astype(kind),
        "shift": best,
        "terms": {name: term.astype(kind) for name, term in terms.items()},
        "grad": dP.astype(kind),
    }


def masked_mse(predictions, targets, mask, *, reduction):
    return common(predictions, targets, mask, reduction, lambda d: (d**2, 2 * d))


def masked_mae(predictions, targets, mask, *, reduction):
    return common(predictions, targets, mask, reduction, lambda d: (abs(d), np.sign(d)))


def masked_huber(predictions, targets, mask, *, delta, reduction):
    def element(d):
        quadratic = np.minimum(abs(d), delta)
        return quadratic**2 / 2 + delta * (abs(d) - quadratic), quadratic * np.sign(d)

    return common(predictions, targets, mask, reduction, element)


def common(predictions, targets, mask, reduction, element):
    kind = predictions.dtype
    keep = mask.astype(bool) & ~np.isnan(targets)
    d = np.where(keep, predictions, 0).astype(float) - np.where(keep, targets, 0)
    e, g = element(d)
    e, g = e * keep, g * keep
    n = keep.sum() or 1
    if reduction == "mean":
        return {"value": (e.sum() / n).astype(kind), "grad": (g / n).astype(kind)}
    if reduction == "sum":
        return {"value": e.sum().astype(kind), "grad": g.astype(kind)}
    return {"value": e[keep].astype(kind), "grad": g.astype(kind)}
"""


def _dos(name: str, explained: str | tuple[str, ...], *edits: tuple[str, str]) -> Mutant:
    names = explained if isinstance(explained, tuple) else (explained,) if explained else ()
    return Mutant(name, "masked_dos", edits, "intended", names, text=TEXT)


def _point(loss: str, name: str, explained: str | tuple[str, ...], *edits: tuple[str, str]) -> Mutant:
    names = explained if isinstance(explained, tuple) else (explained,) if explained else ()
    return Mutant(f"{loss}: {name}", loss, edits, None, names, text=TEXT)


SLOPE_C = "later = np.cumsum((2 * h * U * C * int_weight)[:, ::-1], axis=1)[:, ::-1] * h / 2"
TAILS = "F = np.stack([h * (P[:, : s + 1] ** 2 @ weights_of(s + 1)) for s in range(S)], axis=1)"
TAIL_SLOPE = "        dP[b, : s + 1] += 2 * h * weights_of(s + 1) * P[b, : s + 1]\n"

HELD_OUT: tuple[Mutant, ...] = (
    # one mistake of the list, written another way
    _dos("the mask is what is not zero in the targets", "mask ignored", ("M = mask.astype(float)", "M = (T != 0).astype(float)")),
    _dos("the mask subtracted the wrong way", "mask inverted", ("M = mask.astype(float)", "M = 1 - mask.astype(float)")),
    _dos("the mask read backwards", "mask reversed", ("M = mask.astype(float)", "M = mask.astype(float)[:, ::-1]")),
    _dos("any structure's mask will do", "masks mixed across the batch (counts where any does)",
         ("M = mask.astype(float)", "M = np.broadcast_to(mask.max(axis=0), mask.shape).astype(float)")),
    _dos("a mask that starts at index 1", "mask one point early",
         ("M = mask.astype(float)", "M = np.concatenate([mask[:, 1:], mask[:, :1]], axis=1).astype(float)")),
    _dos("no step at all", "energy step 1 everywhere", ("h = energy_step", "h = 1.0")),
    _dos("the release's step", "energy step 0.05 whatever is given", ("h = energy_step", "h = 0.05")),
    _dos("rectangles everywhere", "half weights missing in every integral", ("    w[0] = w[-1] = 0.5\n", "")),
    _dos("slope by np.gradient", "central difference",
         ("        G[:, 4:] += c * P[:, k : max(W - 4, 0) + k] / (12 * h)\n", "        G[:, 4:-1] = (P[:, 5:] - P[:, 3:-2]) / (2 * h)\n")),
    _dos("the misfit alone decides", "alignment without the front tail", ("np.argmin(D + F, axis=1)", "np.argmin(D, axis=1)")),
    _dos("best and worst confused by a sign", "alignment maximised", ("np.argmin(D + F, axis=1)", "np.argmin(-D - F, axis=1)")),
    _dos("one shift, from the batch's sum", "one shift for the whole batch",
         ("np.argmin(D + F, axis=1)", "np.full(B, np.argmin((D + F).sum(axis=0)))")),
    _dos("unaligned, at the end", "no alignment (the last shift)", ("np.argmin(D + F, axis=1)", "np.full(B, S - 1)")),
    _dos("the last shift left out by a range", "last shift never tried",
         ("np.argmin(D + F, axis=1)", "np.argmin((D + F)[:, : max(S - 1, 1)], axis=1)")),
    _dos("the tail's mask the wrong way round", "points below the window count as unmasked",
         ("full = (j < best[:, None]).astype(float)", "full = np.zeros((B, W))")),
    _dos("everything behind is known", "points behind the window left out of the unmasked gradient",
         ("full = (j < best[:, None]).astype(float)", "full = np.ones((B, W))")),
    _dos("squares in the integral", "squares cumulated", ("    R = A - T\n    C =", "    R = A**2 - T**2\n    C ="),
         ("2 * h * wN * M * R", "2 * h * wN * M * (A - T)"),
         ("    window_slope[:, :-1] += later\n    window_slope[:, 1:] += later\n",
          "    window_slope[:, :-1] += later * 2 * A[:, :-1]\n    window_slope[:, 1:] += later * 2 * A[:, 1:]\n")),
    _dos("the release's cumulative", "cumulative over the batch",
         ("    U = M[:, 1:] * weights_of(N - 1)\n",
          "    U = weights_of(B)[:, None] / (N - 1) * np.broadcast_to(M[:, 1:].sum(axis=0), C.shape)\n")),
    _dos("the cumulative detached", "gradient without the cumulative", (SLOPE_C, SLOPE_C + " * 0")),
    _dos("the front tail detached", "gradient without the front tail", (TAIL_SLOPE, "")),
    _dos("the weights in the wrong places", "weights swapped",
         ("    h = energy_step\n", "    h = energy_step\n    grad_weight, int_weight = int_weight, grad_weight\n")),
    _dos("no weights", "weights ignored", ("    h = energy_step\n", "    h, grad_weight, int_weight = energy_step, 1, 1\n")),
    _dos("targets as variables", "gradient of the target, not of the prediction (sign)", ("dP = dP * share", "dP = -dP * share")),
    _dos("twice the derivative", "gradient doubled", ("dP = dP * share", "dP = 2 * dP * share")),
    _dos("a mean that the derivative does not see", "gradient not divided by the batch", ("share = 1 / B if reduction == \"mean\" else 1", "share = 1")),
    _dos("summed, not averaged", "sum instead of mean", ("each.mean()", "each.sum()"),
         ("share = 1 / B if reduction == \"mean\" else 1", "share = 1")),
    _dos("the tail on the wrong side of zero", "front tail one point too short",
         (TAILS, "F = np.stack([h * (P[:, :s] ** 2 @ weights_of(s)) if s else np.zeros(B) for s in range(S)], axis=1)"),
         (TAIL_SLOPE, "        dP[b, :s] += 2 * h * (weights_of(s) if s else 0) * P[b, :s]\n"), ("w[0] = w[-1] = 0.5", "w[:1] = w[-1:] = 0.5")),
    _dos("a window counted from the top", "shift counted from the other end", ('"shift": best', '"shift": S - 1 - best')),
    _dos("a shift counted from one", "shift reported off by one, up", ('"shift": best', '"shift": best + 1')),
    _point("masked_mse", "everything divides", "mean over all instead of selected", ("n = keep.sum() or 1", "n = keep.size")),
    _point("masked_mae", "unbiased", "mean divided by n − 1", ("n = keep.sum() or 1", "n = (keep.sum() - 1) or 1")),
    _point("masked_mse", "a safe denominator", "mean divided by n + 1", ("n = keep.sum() or 1", "n = keep.sum() + 1")),
    _point("masked_mse", "the root of it", "root of the loss",
           ('"value": (e.sum() / n).astype(kind), "grad": (g / n)',
            '"value": np.sqrt(e.sum() / n).astype(kind), "grad": (g / n / (2 * np.sqrt(e.sum() / n) or 1))'),
           ('"value": e.sum().astype(kind), "grad": g', '"value": np.sqrt(e.sum()).astype(kind), "grad": (g / (2 * np.sqrt(e.sum()) or 1))')),
    _point("masked_huber", "clipped at one", "delta ignored", ("        quadratic = np", "        delta = 1.0\n        quadratic = np")),
    _point("masked_huber", "twice huber", ("loss doubled",),
           ("quadratic**2 / 2 + delta * (abs(d) - quadratic), quadratic * np.sign(d)",
            "quadratic**2 + 2 * delta * (abs(d) - quadratic), 2 * quadratic * np.sign(d)")),
    _point("masked_mae", "squares", "mse instead", ("lambda d: (abs(d), np.sign(d))", "lambda d: (d * d, d + d)")),
    _point("masked_mse", "mask complemented", "mask inverted", ("mask.astype(bool) &", "(mask == 0) &")),
    # two mistakes of the list at once: either name is half of the truth, and silence is no error
    _dos("two: mask inverted, sum for mean", ("mask inverted", "sum instead of mean"),
         ("M = mask.astype(float)", "M = 1 - mask.astype(float)"), ("each.mean()", "each.sum()")),
    _dos("two: step hard-coded, gradient halved", ("energy step 0.05 whatever is given", "missing factor 2 in the gradient"),
         ("h = energy_step", "h = 0.05"), ("dP = dP * share", "dP = dP * share / 2")),
    _dos("two: weights swapped, gradient negated",
         ("weights swapped", "gradient of the target, not of the prediction (sign)"),
         ("    h = energy_step\n", "    h = energy_step\n    grad_weight, int_weight = int_weight, grad_weight\n"),
         ("dP = dP * share", "dP = -dP * share")),
    _dos("two: mask ignored, front tail detached", ("mask ignored", "gradient without the front tail"),
         ("M = mask.astype(float)", "M = np.ones_like(T)"), (TAIL_SLOPE, "")),
    _dos("two: no half weights, last shift never tried", ("half weights missing in every integral", "last shift never tried"),
         ("    w[0] = w[-1] = 0.5\n", ""), ("np.argmin(D + F, axis=1)", "np.argmin((D + F)[:, : max(S - 1, 1)], axis=1)")),
    _point("masked_huber", "two: delta ignored, mean over all", ("delta ignored", "mean over all instead of selected"),
           ("        quadratic = np", "        delta = 1.0\n        quadratic = np"), ("n = keep.sum() or 1", "n = keep.size")),
    _point("masked_mse", "two: halved, divided by n − 1", ("half of the square", "loss halved", "mean divided by n − 1"),
           ("(d**2, 2 * d)", "(d**2 / 2, d)"), ("n = keep.sum() or 1", "n = (keep.sum() - 1) or 1")),
    # what the list does not have: silence is right
    _dos("Simpson's rule", "", ("    w[0] = w[-1] = 0.5\n    return w if",
                                "    w[1::2], w[2::2] = 4 / 3, 2 / 3\n    w[0] = w[-1] = 1 / 3\n    return w if")),
    _dos("N intervals too many", "", ("h = energy_step", "h = energy_step * targets.shape[1] / (targets.shape[1] - 1)")),
    _dos("step squared", "", ("D = h * np", "D = h * h * np")),
    _dos("structures in the wrong order", "", ("M = mask.astype(float)", "M = mask.astype(float)[::-1]")),
    _dos("mask up to its first hole", "", ("M = mask.astype(float)", "M = np.cumprod(mask, axis=1).astype(float)")),
    _dos("tail up to the window's end", "",
         (TAILS, "F = np.stack([h * (P[:, : s + N] ** 2).sum(axis=1) for s in range(S)], axis=1)"),
         (TAIL_SLOPE, "        dP[b, : s + N] += 2 * h * P[b, : s + N]\n")),
    _dos("aligned by absolute differences", "",
         ("np.argmin(D + F, axis=1)", 'np.argmin(h * np.einsum("bsn,bn,n->bs", abs(windows - T[:, None]), M, wN) + F, axis=1)')),
    _dos("shifts of the next structure", "", ("np.argmin(D + F, axis=1)", "np.roll(np.argmin(D + F, axis=1), 1)")),
    _dos("cumulative from a zero", "",
         ("    U = M[:, 1:] * weights_of(N - 1)\n", "    U = M[:, 1:] * weights_of(N)[1:]\n")),
    _dos("weight of the cumulative squared", "", ("    h = energy_step\n", "    h, int_weight = energy_step, int_weight**2\n")),
    _dos("a third of the gradient", "", ("dP = dP * share", "dP = dP * share / 3")),
    _dos("third-order stencil", "", ("[3, -16, 36, -48, 25]", "[0, -4, 18, -36, 22]")),
    _point("masked_mse", "variance", "", ("lambda d: (d**2, 2 * d)", "lambda d: ((d - d.mean()) ** 2, 2 * (d - d.mean()))")),
    _point("masked_huber", "log-cosh", "", ("        quadratic = np.minimum(abs(d), delta)\n        return quadratic**2 / 2 + delta * (abs(d) - quadratic), quadratic * np.sign(d)",
                                            "        return np.log(np.cosh(np.clip(d, -300, 300))), np.tanh(d)")),
    _point("masked_mse", "relative error", "", ("lambda d: (d**2, 2 * d)", "lambda d: (d**2 / 7, 2 * d / 7)")),
)  # fmt: skip
