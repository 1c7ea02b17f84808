"""Wrong implementations of the losses, each with one realistic mistake, and right ones that do the same in another way.

Both are edits of one text, `crosscheck_candidate`: the harness must catch every mutant and spare every variant.

`crosscheck_campaign` runs them all and writes docs/crosscheck_mutants.md.
"""

# ruff: noqa: E501, ISC004 - what an edit replaces is quoted as it stands

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from refloss.crosscheck.judgements import Verdict

SOURCE = Path(__file__).with_name("crosscheck_candidate.py").read_text(encoding="utf-8")

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Edited:
    """An implementation of a loss: every `old` of the text becomes `new`."""

    name: str
    loss: str
    edits: Edits
    convention: str | None = None
    explained: tuple[str, ...] = ()
    text: str = SOURCE

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The callable that the harness is pointed at."""
        text = self.text
        for old, new in self.edits:
            if old not in text:
                raise ValueError(f"{self.name}: the text has no {old!r}: the edit no longer fits it")
            text = text.replace(old, new)
        if self.convention == "documented":
            text = text.replace("DOCUMENTED = False", "DOCUMENTED = True")
        module = ModuleType("crosscheck_edited")
        exec(compile(text, self.name, "exec"), module.__dict__)
        found: Callable[..., Any] = getattr(module, self.loss)
        return found


class Mutant(Edited):
    """A wrong implementation; `explained` are the names that say rightly what is wrong, none where the list has none."""


def _dos(name: str, explained: str | tuple[str, ...], *edits: tuple[str, str], convention: str = "intended") -> Mutant:
    return Mutant(name, "masked_dos", edits, convention, _names(explained))


def _agnostic(name: str, explained: str | tuple[str, ...], *edits: tuple[str, str]) -> Mutant:
    return Mutant(name, "shift_agnostic_mse", edits, "intended", _names(explained))


def _pointwise(loss: str, name: str, explained: str | tuple[str, ...], *edits: tuple[str, str]) -> Mutant:
    return Mutant(f"{loss}: {name}", loss, edits, None, _names(explained))


def _names(explained: str | tuple[str, ...]) -> tuple[str, ...]:
    return ((explained,) if explained else ()) if isinstance(explained, str) else explained


# Pieces of the text that several edits change.
MASK = "    mask = mask.astype(bool)\n"
OWN_MASK = "p, t, m = predictions[b], targets[b], mask[b]"
MISFIT = "    return dx * total(w * d**2), 2 * dx * w * d\n"
TAIL = "    w = halves(s + 1, p.dtype)\n    front = p[: s + 1]\n"
TAIL_SUM = "    return dx * total(w * front**2), 2 * dx * w * front\n"
STENCIL = "(3 * p[:-4] - 16 * p[1:-3] + 36 * p[2:-2] - 48 * p[3:-1] + 25 * p[4:])"
TRANSPOSED = """    back[:-4] += 3 * x
    back[1:-3] -= 16 * x
    back[2:-2] += 36 * x
    back[3:-1] -= 48 * x
    back[4:] += 25 * x
"""
STEEPNESS = f"    g[4:] = {STENCIL} / (12 * dx)\n"
UNMASKED = "    return dx * total(w * g**2), steepness_transposed(2 * dx * w * g, dx)\n"
RUNNING = "    return dx * np.cumsum((values[:-1] + values[1:]) / 2)\n"
LATER = "    later = dx * np.cumsum(values[::-1])[::-1] / 2\n"
BACK = "    back[:-1] += later\n    back[1:] += later\n"
INTEGRATED = "    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx)\n"
LOWEST = "    return int(np.argmin(landscape))\n"
STEP = "    dx = energy_step\n"
REDUCED = "        return total(per_structure) / batch, grad / batch\n"
SHIFT = "        shift[b] = s\n"
WHOLE = '    return {"value": value, "per_structure": per_structure, "shift": shift, "terms": terms, "grad": grad}\n'

MUTANTS: tuple[Mutant, ...] = (
    # masks
    _dos("mask inverted", "mask inverted", (MASK, "    mask = ~mask.astype(bool)\n")),
    _dos("mask ignored", "mask ignored", (MASK, "    mask = np.ones_like(mask, bool)\n")),
    _dos("every structure has the first one's mask", "mask of the first structure for all",
         (OWN_MASK, OWN_MASK.replace("mask[b]", "mask[0]"))),
    _dos("structure b has the mask of b − 1", "mask of the previous structure",
         (OWN_MASK, OWN_MASK.replace("mask[b]", "mask[b - 1]"))),
    _dos("masks multiplied over the batch", "masks mixed across the batch (counts where all do)",
         (MASK, "    mask = np.broadcast_to(mask.astype(bool).all(axis=0), mask.shape)\n")),
    _dos("mask moved by one point", "mask one point late", (MASK, "    mask = np.roll(mask.astype(bool), 1, axis=1)\n")),
    _dos("mask multiplied into the prediction alone", "mask applied to the prediction alone",
         ("    d = np.where(m, a - t, 0)\n    w = halves", "    d = np.where(m, a, 0) - t\n    w = halves"),
         (MISFIT, "    return dx * total(w * d**2), 2 * dx * w * d * m\n")),
    _dos("mask forgotten in the cumulative", "mask ignored in the cumulative", ("    w = np.where(m[1:], w, 0)\n", "")),
    _dos("mask of the cumulative taken from the other end", "mask of the cumulative without its last point, not its first",
         ("np.where(m[1:], w, 0)", "np.where(m[:-1], w, 0)")),
    _dos("cumulative of the masked difference", "cumulative masked before it is accumulated",
         ("    c = running(a - t, dx)\n", "    c = running(np.where(m, a - t, 0), dx)\n"),
         ("    w = np.where(m[1:], w, 0)\n    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx)\n",
          "    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx) * m\n")),
    _dos("cumulative of the masked difference, where the mask counts", "cumulative masked before it is accumulated, and after",
         ("    c = running(a - t, dx)\n", "    c = running(np.where(m, a - t, 0), dx)\n"),
         ("    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx)\n",
          "    return dx * total(w * c**2), running_transposed(2 * dx * w * c, dx) * m\n")),
    _dos("gradient asked for where the mask is true",
         ("mask ignored in the unmasked gradient (a gradient everywhere)", "mask of the unmasked gradient inverted"),
         ("    w[counted] = 0\n", "    w[~counted] = 0\n")),
    # the energy step
    _dos("energy step hard-coded", "energy step 0.05 whatever is given", (STEP, "    dx = 0.05\n")),
    _dos("energy step of N intervals", "energy step over N, not N − 1 intervals",
         (STEP, "    dx = energy_step * (points - 1) / points\n")),
    _dos("DOS term without dx", "DOS term without dx", (MISFIT, "    return total(w * d**2), 2 * w * d\n")),
    _dos("front tail without dx", "front tail without dx", (TAIL_SUM, "    return total(w * front**2), 2 * w * front\n")),
    _dos("stencil without dx", "backward difference without dx",
         (STEEPNESS, STEEPNESS.replace(" * dx", "")), ("x = x[4:] / (12 * dx)", "x = x[4:] / 12")),
    _dos("unmasked gradient without dx", "unmasked gradient integrated without dx",
         (UNMASKED, "    return total(w * g**2), steepness_transposed(2 * w * g, dx)\n")),
    _dos("running sum without dx", "cumulative without dx (running sum)",
         (RUNNING, RUNNING.replace("dx * ", "")), (LATER, LATER.replace("dx * ", ""))),
    _dos("cumulative without dx", "cumulative integrated without dx",
         (INTEGRATED, "    return total(w * c**2), running_transposed(2 * w * c, dx)\n")),
    # half weights
    _dos("no half weights", "half weights missing in every integral", ("    weights[:1] -= 0.5\n    weights[-1:] -= 0.5\n", "")),
    _dos("no half weights in the DOS term", "half weights missing in the DOS term",
         ("    w = halves(len(d), d.dtype)\n", "    w = np.ones_like(d)\n")),
    _dos("no half weights in the front tail", "half weights missing in the front tail",
         (TAIL, TAIL.replace("halves", "np.ones"))),
    _dos("no half weights in the unmasked gradient", "half weights missing in the unmasked gradient",
         ("halves(max(last - first, 0), p.dtype)", "1")),
    _dos("no half weights in the cumulative", "half weights missing in the cumulative",
         ("    w = halves(len(c), c.dtype)\n", "    w = np.ones_like(c)\n")),
    _dos("half weight of the first point forgotten", "half weight missing at the first point",
         ("    w = halves(len(d), d.dtype)\n", "    w = halves(len(d), d.dtype)\n    w[0] = 1\n")),
    # window and alignment
    _dos("window one point too high", "window off by one, up",
         ("s = align(p, t, m, dx)", "s = min(align(p, t, m, dx) + 1, len(p) - points)")),
    _dos("alignment at the worst shift", "alignment maximised", (LOWEST, "    return int(np.argmax(landscape))\n")),
    _dos("last shift never tried", "last shift never tried",
         ("    shifts = len(p) - len(t) + 1\n", "    shifts = max(len(p) - len(t), 1)\n")),
    _dos("first shift never tried", "first shift never tried",
         (LOWEST, "    return int(np.argmin(landscape[1:])) + 1 if shifts > 1 else 0\n")),
    _dos("never aligned", ("no alignment",), ("s = align(p, t, m, dx)", "s = 0")),
    _dos("aligned without the front tail", "alignment without the front tail",
         ("        value = value + tail(p, s, dx)[0]\n", "        pass\n")),
    _dos("aligned without the mask", "alignment without the mask",
         ("s = align(p, t, m, dx)", "s = align(p, t, np.ones_like(m), dx)")),
    _dos("shift reported from one", "shift reported off by one, up", (SHIFT, "        shift[b] = s + 1\n")),
    _dos("shift reported from the top", "shift counted from the other end",
         (SHIFT, "        shift[b] = len(p) - points - s\n")),
    _dos("points taken out before integrating", "masked-out points removed before the trapezoid rule",
         ("    w = halves(len(d), d.dtype)\n    return dx", "    w = np.zeros_like(d)\n    w[m] = halves(m.sum(), d.dtype)\n    return dx")),
    _dos("window without its last point", "last point left out of the window",
         ("    w = halves(len(d), d.dtype)\n", "    w = np.append(halves(len(d) - 1, d.dtype), d.dtype.type(0))\n")),
    _dos("absolute difference", "absolute difference, not its square",
         (MISFIT, "    return dx * total(w * abs(d)), dx * w * np.sign(d)\n")),
    _dos("mean over the selected points", "mean over the selected points, not an integral",
         ("        d, d_slope = misfit(a, t, m, dx)\n",
          "        e = np.where(m, a - t, 0)\n        d, d_slope = total(e**2) / max(m.sum(), 1), 2 * e / max(m.sum(), 1)\n")),
    # the front tail
    _dos("front tail left out", "front tail left out",
         ("            loss = loss + f\n            grad[b, : s + 1] += f_slope\n", "            pass\n")),
    _dos("front tail counted", "front tail counted",
         ("        if not DOCUMENTED:\n            loss = loss + f\n", "        if DOCUMENTED:\n            loss = loss + f\n"),
         convention="documented"),
    _dos("front tail a point too short", "front tail one point too short",
         (TAIL, TAIL.replace("s + 1", "s")), ("grad[b, : s + 1] += f_slope", "grad[b, :s] += f_slope")),
    _dos("tail behind the window", "tail behind the window, not before it",
         ("        f, f_slope = tail(p, s, dx)\n", "        f, f_slope = tail(p[::-1], len(p) - points - s, dx)\n"),
         ("grad[b, : s + 1] += f_slope", "grad[b, s + points - 1 :] += f_slope[::-1]")),
    # the unmasked gradient
    _dos("stencil reversed", "stencil reversed",
         (STENCIL, "(25 * p[:-4] - 48 * p[1:-3] + 36 * p[2:-2] - 16 * p[3:-1] + 3 * p[4:])"),
         (TRANSPOSED, TRANSPOSED.replace("25", "_").replace("+= 3 ", "+= 25 ").replace("_", "3").replace("16", "_")
          .replace("48", "16").replace("_", "48"))),
    _dos("stencil without the twelfth", "stencil without the twelfth", (STEEPNESS, STEEPNESS.replace("(12 * dx)", "dx")),
         ("x = x[4:] / (12 * dx)", "x = x[4:] / dx")),
    _dos("first-order difference", "first-order backward difference",
         (STEEPNESS, "    g[4:] = (p[4:] - p[3:-1]) / dx\n"), ("x = x[4:] / (12 * dx)", "x = x[4:] / dx"),
         (TRANSPOSED, "    back[4:] += x\n    back[3:-1] -= x\n")),
    _dos("gradient on the window", "gradient points of the window",
         ("(max(4, s), s + len(m)) if DOCUMENTED else", "(max(4, s), s + len(m)) if True else")),
    _dos("gradient on the whole prediction", "gradient points of the whole prediction",
         ("(max(4, s), s + len(m)) if DOCUMENTED else", "(max(4, s), s + len(m)) if False else"), convention="documented"),
    _dos("points below the window are unmasked", "points below the window count as unmasked", ("    counted[:s] = True\n", "")),
    _dos("points behind the window are masked", "points behind the window left out of the unmasked gradient",
         ("    counted[:s] = True\n", "    counted[:] = True\n")),
    _dos("gradient from the first point on", "gradient's first four points integrated as zeros",
         ("else (4, len(p))", "else (0, len(p))")),
    # the cumulative
    _dos("running sum for the running integral", "plain running sum for the cumulative",
         (RUNNING, "    return dx * np.cumsum(values)[1:]\n"),
         (LATER, "    later = dx * np.cumsum(values[::-1])[::-1]\n"),
         (BACK, "    back[1:] += later\n    back[:1] += later[:1]\n")),
    _dos("running integral without its half", "running trapezoid without its half",
         (RUNNING, RUNNING.replace(" / 2", "")), (LATER, LATER.replace(" / 2", ""))),
    _dos("squares accumulated", "squares cumulated",
         ("running(a - t, dx)", "running(a**2 - t**2, dx)"),
         (INTEGRATED, INTEGRATED.replace("* c, dx)", "* c, dx) * 2 * a"))),
    _dos("difference not accumulated", "cumulative not accumulated",
         (RUNNING, "    return dx * values[1:]\n"), (LATER, "    later = dx * values\n"), (BACK, "    back[1:] += later\n")),
    _dos("accumulated from the top", "cumulative from the highest energy down",
         (RUNNING, "    return dx * np.cumsum(((values[:-1] + values[1:]) / 2)[::-1])[::-1]\n"),
         (LATER, "    later = dx * np.cumsum(values) / 2\n")),
    # weights and reduction
    _dos("weights swapped", "weights swapped", (MASK, MASK + "    grad_weight, int_weight = int_weight, grad_weight\n")),
    _dos("weights ignored", "weights ignored", (MASK, MASK + "    grad_weight = int_weight = 1.0\n")),
    _dos("sum instead of mean", "sum instead of mean", (REDUCED, "        return total(per_structure), grad\n")),
    _dos("mean whatever the reduction", "reduction ignored (mean)", ('    if reduction == "mean":\n', "    if True:\n")),
    _dos("mean over points too", "mean over points too",
         (REDUCED, "        return total(per_structure) / batch / POINTS, grad / batch / POINTS\n"),
         (STEP, "    dx = energy_step\n    globals()['POINTS'] = points\n")),
    # the derivative
    _dos("gradient by the target", "gradient of the target, not of the prediction (sign)",
         (WHOLE, "    grad = -grad\n" + WHOLE)),
    _dos("gradient without the factor 2", "missing factor 2 in the gradient", (WHOLE, "    grad = grad / 2\n" + WHOLE)),
    _dos("gradient of the sum", "gradient not divided by the batch", (REDUCED, REDUCED.replace("grad / batch", "grad"))),
    _dos("gradient of the mean", "gradient divided by the batch whatever the reduction",
         ("        return total(per_structure), grad\n    return per_structure, grad\n",
          "        return total(per_structure), grad / batch\n    return per_structure, grad / batch\n")),
    _dos("front tail detached", "gradient without the front tail", ("            grad[b, : s + 1] += f_slope\n", "")),
    _dos("unmasked gradient detached", "gradient without the unmasked gradient", ("        grad[b] += grad_weight * g_slope\n", "")),
    _dos("cumulative detached", "gradient without the cumulative", ("        grad[b, s : s + points] += int_weight * c_slope\n        if", "        if")),
    _dos("gradient not scattered to the window", "gradient not moved by the shift",
         ("grad[b, s : s + points] += d_slope", "grad[b, :points] += d_slope"),
         ("        grad[b, s : s + points] += int_weight * c_slope\n        if", "        grad[b, :points] += int_weight * c_slope\n        if")),
    _dos("running sum not reversed in the gradient", "gradient of the running sum not reversed",
         (LATER, "    later = dx * np.cumsum(values) / 2\n")),
    _dos("stencil not transposed in the gradient", "gradient of the stencil not reversed",
         (UNMASKED, "    return dx * total(w * g**2), steepness(2 * dx * w * g, dx)\n")),
    _dos("DOS term's gradient unmasked", "gradient of the DOS term without the mask",
         ("    d = np.where(m, a - t, 0)\n    w = halves(len(d), d.dtype)\n    return dx * total(w * d**2), 2 * dx * w * d\n",
          "    d = a - t\n    w = halves(len(d), d.dtype)\n    return dx * total(w * np.where(m, d, 0) ** 2), 2 * dx * w * d\n")),
    # what no list of formulas has
    _dos("NaN times zero", "", ("    targets = np.where(np.isnan(targets), 0, targets)\n", ""),
         ("    d = np.where(m, a - t, 0)\n    w = halves", "    d = (a - t) * m\n    w = halves")),
    _dos("targets cleaned in place", "",
         ("    targets = np.where(np.isnan(targets), 0, targets)\n", "    targets[np.isnan(targets)] = 0\n")),
    _dos("half precision inside", "", (MASK, MASK + "    predictions = predictions.astype(np.float16).astype(predictions.dtype)\n")),
    _dos("value as an array of one", "", (WHOLE, "    value = np.atleast_1d(value)\n" + WHOLE)),
    _dos("gradient of the window alone", "", (WHOLE, "    grad = grad[:, :points]\n" + WHOLE)),
    # shift_agnostic_mse
    _agnostic("agnostic: padded behind alone", "padding behind the prediction alone",
              ("((0, 0), (width, width))", "((0, 0), (0, 2 * width))"), ("grad[:, width : 2 * width]", "grad[:, :width]")),
    _agnostic("agnostic: padded before alone", "padding before the prediction alone",
              ("((0, 0), (width, width))", "((0, 0), (2 * width, 0))"), ("grad[:, width : 2 * width]", "grad[:, 2 * width :]")),
    _agnostic("agnostic: shift counted from the prediction", "shift counted from the prediction's start",
              (SHIFT, "        shift[b] = s - width\n")),
    _agnostic("agnostic: NaN targets count as zeros", "mask ignored", ("    mask = ~np.isnan(targets)\n    targets = np.where(mask, targets, 0)\n",
               "    mask = np.ones(targets.shape, bool)\n    targets = np.where(np.isnan(targets), 0, targets)\n")),
    _agnostic("agnostic: mean over the points", "mean over all points, not an integral",
              ('terms["dos"][b], terms["front_tail"][b] = total(d**2), total', 'terms["dos"][b], terms["front_tail"][b] = total(d**2) / points, total'),
              ("per_structure[b] = total(d**2) +", "per_structure[b] = total(d**2) / points +"), ("+= 2 * d\n", "+= 2 * d / points\n")),
    _agnostic("agnostic: aligned by the misfit alone", "alignment without the front tail",
              ("    return total(d**2) + total(q[:s] ** 2)\n", "    return total(d**2)\n")),
    _agnostic("agnostic: aligned by the highest", "alignment maximised", ("    return int(np.argmin([agnostic", "    return int(np.argmax([agnostic")),
    _agnostic("agnostic: front tail a point too long", "front tail one point too long",
              ('total(d**2), total(q[:s] ** 2)\n', 'total(d**2), total(q[: s + 1] ** 2)\n'),
              ("total(d**2) + total(q[:s] ** 2) + grad", "total(d**2) + total(q[: s + 1] ** 2) + grad"),
              ("grad[b, :s] += 2 * q[:s]", "grad[b, : s + 1] += 2 * q[: s + 1]")),
    # pointwise losses
    _pointwise("masked_mse", "mask inverted", "mask inverted", ("selected & mask.astype(bool)", "selected & ~mask.astype(bool)")),
    _pointwise("masked_mae", "mask ignored", "mask ignored", ("selected & mask.astype(bool)", "selected")),
    _pointwise("masked_huber", "mask of the first structure", "mask of the first structure for all",
               ("selected & mask.astype(bool)", "selected & mask.astype(bool)[:1]")),
    _pointwise("masked_mse", "mean over all", "mean over all instead of selected", ("max(int(selected.sum()), 1)", "selected.size")),
    _pointwise("mse", "mean over n − 1", "mean divided by n − 1", ("max(int(selected.sum()), 1)", "max(int(selected.sum()) - 1, 1)")),
    _pointwise("masked_mse", "mean of means", "mean of each structure's mean",
               ("    if reduction == \"none\":\n        return {\"value\": values[selected]",
                "    if reduction == \"mean\":\n        flat = selected.reshape(len(selected), -1)\n"
                "        each = (1 / np.maximum(flat.sum(axis=1), 1) / len(flat)).astype(predictions.dtype)\n"
                "        each = each.reshape(-1, *[1] * (selected.ndim - 1))\n"
                "        return {\"value\": total(np.where(selected, values, 0) * each), \"grad\": grad * each}\n"
                "    if reduction == \"none\":\n        return {\"value\": values[selected]")),
    _pointwise("mae", "sum instead of mean", "sum instead of mean", ("count = max(int(selected.sum()), 1)", "count = 1")),
    _pointwise("mse", "reduction ignored", "reduction ignored (mean)", ('if reduction == "sum"', "if False")),
    _pointwise("mse", "absolute", "mae instead", ("        return d**2, 2 * d\n", "        return np.abs(d), np.sign(d)\n")),
    _pointwise("mse", "half of the square", ("half of the square", "loss halved"), ("        return d**2, 2 * d\n", "        return d**2 / 2, d\n")),
    _pointwise("mae", "no absolute value", "mean error, without absolute value",
               ("        return np.abs(d), np.sign(d)\n", "        return d, np.ones_like(d)\n")),
    _pointwise("mse", "gradient without the factor 2", "missing factor 2 in the gradient", ("        return d**2, 2 * d\n", "        return d**2, d\n")),
    _pointwise("mae", "gradient by the target", "gradient of the target, not of the prediction (sign)",
               ("np.abs(d), np.sign(d)", "np.abs(d), -np.sign(d)")),
    _pointwise("masked_mae", "gradient not divided", "gradient not divided by the reduction's count", ('"grad": grad / count', '"grad": grad')),
    _pointwise("masked_mse", "gradient divided by all", "gradient divided by all instead of selected",
               ('"grad": grad / count', '"grad": grad / grad.size')),
    _pointwise("masked_mse", "gradient unmasked", "gradient without the mask",
               ("    d = np.where(selected, predictions - targets, 0)\n", "    d = predictions - np.where(np.isnan(targets), 0, targets)\n"),
               ("np.where(selected, slopes, 0)", "slopes")),
    _pointwise("huber", "without the half", "huber without the half",
               ("np.where(inside, d * d / 2, line), np.clip(d, -delta, delta)", "np.where(inside, d * d, line), np.where(inside, 2 * d, delta * np.sign(d))")),
    _pointwise("huber", "line without the half", "huber's line without the half", ("np.abs(d) - delta / 2", "np.abs(d) - delta")),
    _pointwise("huber", "line without delta", "huber's line without delta",
               ("line = delta * (", "line = ("), ("np.clip(d, -delta, delta)", "np.where(inside, d, np.sign(d))")),
    _pointwise("huber", "smooth L1", "huber divided by delta (smooth L1)",
               ("d * d / 2, line), np.clip(d, -delta, delta)", "d * d / (2 * delta), line / delta), np.clip(d / delta, -1, 1)")),
    _pointwise("masked_huber", "delta ignored", "delta ignored", ("    inside = np.abs", "    delta = 1.0\n    inside = np.abs")),
    _pointwise("huber", "branches swapped", "huber's branches swapped",
               ("np.where(inside, d * d / 2, line), np.clip(d, -delta, delta)", "np.where(inside, line, d * d / 2), np.where(inside, delta * np.sign(d), d)")),
    _pointwise("huber", "gradient not clipped", "gradient of huber not clipped", ("np.clip(d, -delta, delta)", "d")),
    _pointwise("masked_mae", "gradient one at zero", "gradient one where nothing differs",
               ("np.abs(d), np.sign(d)", "np.abs(d), np.where(d >= 0, d.dtype.type(1), d.dtype.type(-1))")),
    _pointwise("mse", "NaN targets count as zeros", "NaN targets counted as zeros",
               ("    selected = ~np.isnan(targets)\n", "    targets = np.where(np.isnan(targets), 0, targets)\n    selected = np.ones(targets.shape, bool)\n")),
    _pointwise("masked_mse", "NaN where nothing is selected", "",
               ("total(values[selected]) / count", "total(values[selected]) / selected.sum()")),
    _pointwise("masked_mae", "elements not taken out", "", ('"value": values[selected], "grad"', '"value": values, "grad"')),
)  # fmt: skip


@contextmanager
def truths_kept() -> Iterator[None]:
    """Compute the golden figures of a case once, not once for each candidate."""
    from refloss.crosscheck import verdicts

    made = verdicts.Truth
    kept: dict[object, Any] = {}

    def truth(case: Any, convention: Any, format: Any, accumulate: Any) -> Any:  # noqa: A002
        named = getattr(convention, "name", convention)
        key = case.id, hash(case.predictions.tobytes()), named, format.name, accumulate.name, repr(case.params)
        if key not in kept:
            kept[key] = made(case, convention, format, accumulate)
        return kept[key]

    verdicts.Truth = truth  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        verdicts.Truth = made  # type: ignore[misc]


def caught_by(report: Any) -> Iterator[tuple[str, str, str]]:
    """Give case, figure and verdict of what was found wrong; not what another convention would explain."""
    for judgement in report.failures:
        if judgement.verdict != Verdict.other_convention:
            yield judgement.case, judgement.figure, str(judgement.verdict)


def names_of(report: Any) -> tuple[str, ...]:
    """Return the mistakes that the report says the failures are consistent with."""
    _, _, names = report.explanation.partition("consistent with: ")
    return tuple(names.split(" or ")) if names else ()
