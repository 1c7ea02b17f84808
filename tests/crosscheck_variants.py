"""Right implementations of the losses that do the same in another way: the harness must spare every one of them.

Like the mutants, they are edits of `crosscheck_candidate`.
"""

# ruff: noqa: E501, ISC004 - what an edit replaces is quoted as it stands

from __future__ import annotations

from crosscheck_mutants import INTEGRATED, LOWEST, MASK, MISFIT, RUNNING, TAIL_SUM, WHOLE, Edited

SUM = "    return values.sum()\n"

SUMS = {
    "as it stands": SUM,
    "sums from the front": "    return np.add.accumulate(values)[-1] if values.size else values.sum()\n",
    "sums from the back": "    return np.add.accumulate(values[::-1])[-1] if values.size else values.sum()\n",
    "sums in chunks of 16": "    return values.dtype.type(0) + sum(values[i : i + 16].sum() for i in range(0, len(values), 16))\n",
    "even and odd elements apart": "    return values[::2].sum() + values[1::2].sum()\n",
    "sums from the smallest": "    return np.add.accumulate(values[np.argsort(abs(values))])[-1] if values.size else values.sum()\n",
    "exact sums": "    import math\n    return values.dtype.type(math.fsum(values))\n",
    "sums in float64": "    return values.sum(dtype=np.float64)\n",
    "Kahan's sums": """    sum_, lost = values.dtype.type(0), values.dtype.type(0)
    for x in values:
        y = x - lost
        new = sum_ + y
        lost = (new - sum_) - y
        sum_ = new
    return sum_
""",
}  # fmt: skip
"""What `total` does."""

WAYS = {
    "the last of equal shifts": ((LOWEST, "    return len(landscape) - 1 - int(np.argmin(landscape[::-1]))\n"),),
    "masks as numbers": (
        ("    d = np.where(m, a - t, 0)\n    w = halves", "    d = (a - t) * m.astype(a.dtype)\n    w = halves"),
        ("    w = np.where(m[1:], w, 0)\n", "    w = w * m[1:].astype(w.dtype)\n"),
    ),
    "masks as weights": (
        ("    d = np.where(m, a - t, 0)\n    w = halves(len(d), d.dtype)\n",
         "    d = a - t\n    w = halves(len(d), d.dtype) * m\n"),
    ),
    "energy step in the weights": (
        (MISFIT, "    w = dx * w\n    return total(w * d**2), 2 * w * d\n"),
        (TAIL_SUM, "    w = dx * w\n    return total(w * front**2), 2 * w * front\n"),
        (INTEGRATED, "    w = dx * w\n    return total(w * c**2), running_transposed(2 * w * c, dx)\n"),
    ),
    "expanded squares": (
        (MISFIT, "    w = np.where(m, w, 0)\n    return dx * (total(w * a**2) - 2 * total(w * a * t) + total(w * t**2)), 2 * dx * w * d\n"),
    ),
    "expanded squares, by correlation": (
        ("    landscape = [objective(p, t, m, s, dx) for s in range(shifts)]\n",
         "    w = np.where(m, halves(len(t), t.dtype), 0)\n"
         "    landscape = np.correlate(p**2, w) - 2 * np.correlate(p, w * t) + total(w * t**2)\n"
         "    squares = p[:shifts] ** 2\n"
         "    landscape = landscape + (0 if DOCUMENTED else np.cumsum(squares) - (squares[0] + squares) / 2)\n"),
    ),
    "all shifts at once": (
        ("    landscape = [objective(p, t, m, s, dx) for s in range(shifts)]\n",
         "    windows = np.lib.stride_tricks.sliding_window_view(p, len(t))\n"
         "    landscape = np.where(m, windows - t, 0) ** 2 @ halves(len(t), t.dtype)\n"
         "    squares = p[:shifts] ** 2\n"
         "    landscape = landscape + (0 if DOCUMENTED else np.cumsum(squares) - (squares[0] + squares) / 2)\n"),
    ),
    "difference of the integrals": (
        ("    c = running(a - t, dx)\n", "    c = running(a, dx) - running(t, dx)\n"),
    ),
    "running sums by a matrix": (
        (RUNNING, "    n = len(values)\n    ones = np.tri(n - 1, n, dtype=values.dtype) + np.tri(n - 1, n, 1, dtype=values.dtype)\n"
                  "    ones[:, 0] = 1\n    return dx * (ones @ values) / 2\n"),
    ),
    "subnormal numbers flushed": (
        (MASK, MASK + "    tiny = np.finfo(predictions.dtype).tiny\n"
                      "    predictions = np.where(abs(predictions) < tiny, 0, predictions)\n"
                      "    targets = np.where(abs(targets) < tiny, 0, targets)\n"),
    ),
    "computed in float64": (
        (MASK, MASK + "    kind, predictions, targets = predictions.dtype, predictions.astype(float), targets.astype(float)\n"),
        (WHOLE, "    value, grad = np.asarray(value, kind), grad.astype(kind)\n" + WHOLE),
    ),
    "value and gradient alone": ((WHOLE, '    return {"value": value, "grad": grad}\n'),),
    "weights in the format": (
        (MASK, MASK + "    kind = predictions.dtype.type\n"
                      "    energy_step, grad_weight, int_weight = kind(energy_step), kind(grad_weight), kind(int_weight)\n"),
    ),
}  # fmt: skip
"""Other ways of masked_dos: old text, new text."""

POINTWISE_WAYS = {
    "expanded squares": ("        return d**2, 2 * d\n", "        return p * p - 2 * p * t + t * t, 2 * d\n"),
    "reciprocal of the count": ("total(values[selected]) / count, \"grad\": grad / count",
                                "total(values[selected]) * kind(1 / count), \"grad\": grad * kind(1 / count)"),
    "elements that do not count as zeros": ('total(values[selected]) / count', "total(values.ravel()) / count"),
}  # fmt: skip
"""Other ways of the pointwise losses."""

WIDER = (
    (MASK, MASK + "    predictions, targets = predictions.astype(np.float32), targets.astype(np.float32)\n"),
)  # fmt: skip
"""Narrow inputs, sums in float32: for dtype "bfloat16" or "float16" with accumulate "float32"."""


def _all() -> tuple[Edited, ...]:
    found = []
    for name, code in SUMS.items():
        edits = ((SUM, code),)
        found += [Edited(f"intended: {name}", "masked_dos", edits, "intended")]
        found += [Edited(f"agnostic: {name}", "shift_agnostic_mse", edits, "intended")]
        found += [Edited(f"{loss}: {name}", loss, edits) for loss in ("mse", "masked_mae", "masked_huber")]
    found += [
        Edited(f"documented: {name}", "masked_dos", ((SUM, code),), "documented")
        for name, code in list(SUMS.items())[:3]
    ]
    found += [Edited(f"intended: {name}", "masked_dos", edits, "intended") for name, edits in WAYS.items()]
    selected = "    values, slopes = element(loss, d, delta)\n"
    given = "    globals().update(p=np.where(selected, predictions, 0), t=np.where(selected, targets, 0), kind=d.dtype.type)\n"
    found += [
        Edited(f"{loss}: {name}", loss, ((selected, given + selected), edit))
        for name, edit in POINTWISE_WAYS.items()
        for loss in ("mse", "masked_mse")
    ]
    return tuple(found)


VARIANTS = _all()
NARROW = Edited("intended: narrow inputs, sums in float32", "masked_dos", WIDER, "intended")
