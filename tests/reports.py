"""Evaluated sections to make reports of."""

from __future__ import annotations

from typing import Any

import numpy as np

import refloss
from refloss.files import Dataset
from refloss.summary import Summary, summarise

HOSTILE = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "<!--<script>",
    "</script x",
    "<!--<script x",
    "]]> --> </title></style><svg onload=alert(1)>",
    "\" onmouseover='alert(1)' x=\"{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202edesrever \u2028 \udcff \x07",
)
"""Names of targets, structures and files that want to be more than text."""


def spectra(count: int, points: int = 60, extra: int = 8, distinct: int | None = None) -> tuple[Any, Any, Any]:
    """Return predictions, targets and masks like densities of states, each prediction shifted; `distinct` ones."""
    rng = np.random.default_rng(7)
    made = distinct or count
    x = np.linspace(0.0, 12.0, points)
    peaks, widths = rng.uniform(1.0, 11.0, (2, made, 5, 1)) * [[[[1.0]]], [[[0.06]]]]
    targets = np.exp(-(((x - peaks) / widths) ** 2)).sum(axis=1) * rng.uniform(0.5, 3.0, (made, 1))
    predictions = rng.uniform(0.0, 0.05, (made, points + extra))
    for b in range(made):
        s = int(rng.integers(1, max(2, extra)))
        predictions[b, s : s + points] += targets[b] + rng.normal(scale=0.1, size=points)
    mask = np.arange(points) < rng.integers(points // 2, points, (made, 1))
    mask[:, 3] = rng.random(made) < 0.5  # a hole
    repeat = -(-count // made)
    scale = np.repeat(np.linspace(1.0, 1.3, repeat), made)[:count, None]
    return (
        np.tile(predictions, (repeat, 1))[:count] * scale,
        *(np.tile(a, (repeat, 1))[:count] for a in (targets, mask)),
    )


def aligned(
    predictions: Any,
    targets: Any,
    mask: Any,
    *,
    target: str = "mtt::dos",
    convention: Any = "documented",
    inputs: dict[str, Any] | None = None,
    **more: Any,
) -> Summary:
    """Return the summary of one masked_dos term."""
    loss = {"type": "masked_dos", "convention": convention, "weight": 0.5, **more}
    return _summary({target: loss}, {target: predictions}, {target: targets}, {f"{target}_mask": mask}, inputs)


def agnostic(predictions: Any, targets: Any, convention: str = "intended") -> Summary:
    """Return the summary of one shift_agnostic_mse term."""
    loss = {"type": "shift_agnostic_mse", "convention": convention}
    return _summary({"mtt::dos": loss}, {"mtt::dos": predictions}, {"mtt::dos": targets}, {})


def two_terms(predictions: Any, targets: Any, mask: Any) -> Summary:
    """Return the summary of two aligned terms and a pointwise one."""
    names = ("mtt::dos", "mtt::other")
    losses: dict[str, Any] = {name: {"type": "masked_dos"} for name in names} | {"mtt::gap": "mae"}
    gap = predictions[:, :1], targets[:, :1]
    return _summary(
        losses,
        {names[0]: predictions, names[1]: predictions * 1.1, "mtt::gap": gap[0]},
        {**dict.fromkeys(names, targets), "mtt::gap": gap[1]},
        {f"{name}_mask": mask for name in names},
    )


def pointwise(*, missing: bool = False, offset: float = 0.0) -> Summary:
    """Return the summary of a section in which nothing is aligned; `missing`: without any target."""
    rng = np.random.default_rng(5)
    targets = np.full((6, 1), np.nan if missing else offset)
    losses = {"energy": {"type": "huber", "delta": 0.3}}
    return _summary(losses, {"energy": offset + rng.normal(size=(6, 1))}, {"energy": targets}, {})


def _summary(
    losses: dict[str, Any],
    predictions: dict[str, Any],
    targets: dict[str, Any],
    extra_data: dict[str, Any],
    inputs: dict[str, Any] | None = None,
) -> Summary:
    section = refloss.load_options({"loss": losses})
    parts = ({name: {"values": array} for name, array in part.items()} for part in (predictions, targets, extra_data))
    data = Dataset(*parts, inputs=inputs or {})
    return summarise(section, section.evaluate(**data.arguments()), data)
