"""What the page holds: a row for each term, and of each aligned loss its structures, thumbnails and curves.

A structure's curves are its prediction (P,) and its target (N,), bit for bit, and the mask as runs of counted points;
they are stored as float32 where that holds every number exactly. Energies are told in points of the target's grid.
Structures come worst first; where there is no room for all, the best are left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from refloss.errors import InputError
from refloss.plotting.common import energies, support, unit_of
from refloss.plotting.parity import parity_data
from refloss.results import AlignedResult, Booleans, Floats, PointwiseResult, json_safe
from refloss.summary import Summary

LIMIT: Final = 5_000_000
"""How many bytes a page may have."""

LISTED: Final = 5000
"""How many structures a page lists; one takes some 400 bytes without its curves."""

THUMBNAIL: Final = 64
"""How many points each of the two curves of a thumbnail has, of a byte each."""

NOTES: Final = ("at the first shift", "at the last shift", "tied", "in the padding", "empty mask")
"""What there may be to say of a structure's alignment; bit i of its ``notes`` is the i-th of these."""


def json_text(value: Any) -> str:
    """Return JSON in which no character has a meaning in HTML: nothing in it can end the element that it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def parity(summary: Summary) -> list[dict[str, Any]]:
    """Return what is drawn of each pointwise term: places in thousandths of the axes, shares of elements and loss."""
    if not any(isinstance(term.result, PointwiseResult) for term in summary.result.terms.values()):
        return []
    panels = []
    for panel in parity_data(summary.result).panels:
        low, high = panel.limits
        places = {
            name: np.rint(1000.0 * (getattr(panel, name) - low) / (high - low)).astype(int).tolist()
            for name in ("target", "prediction")
        }
        names = (
            "unit",
            "delta",
            "count",
            "elements",
            "limits",
            "edges",
            "share_of_elements",
            "share_of_loss",
            "largest",
        )
        told = {name: json_safe(getattr(panel, name)) for name in names}
        panels.append({"path": _text(panel.path), **told, **places})
    return panels


def term_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return what the table says of each term: its figures, and its part of all contributions' absolute values."""
    total = sum(abs(told.term.contribution or 0.0) for told in summary.terms.values())
    rows = []
    for name, told in summary.terms.items():
        value, contribution = told.term.value, told.term.contribution
        rows.append(
            {
                "name": name,
                "type": told.term.type,
                "convention": told.convention,
                "count": told.count,
                "value": value if isinstance(value, float) else None,
                "values": None if isinstance(value, float) else len(value),
                "weight": told.term.weight,
                "contribution": contribution,
                "share": abs(contribution or 0.0) / total if total else 0.0,
            }
        )
    return rows


def contents(summary: Summary, names: Sequence[str] | None, room: int) -> dict[str, Any]:
    """Return what the page's script draws, of pointwise and of aligned terms, in `room` bytes of JSON altogether."""
    pointwise = parity(summary)
    return {"pointwise": pointwise, "aligned": _aligned(summary, names, room - len(json_text(pointwise)) - 30)}


def _aligned(summary: Summary, names: Sequence[str] | None, room: int) -> list[dict[str, Any]]:
    aligned = {name: term for name, term in summary.result.terms.items() if isinstance(term.result, AlignedResult)}
    told = []
    for position, (name, term) in enumerate(aligned.items()):
        result = term.result
        assert isinstance(result, AlignedResult)
        if names is not None and len(names) != result.shift.size:
            raise InputError(f"names: found {len(names)}, expected {result.shift.size}, one for each structure")
        titles = {"name": _text(name), "type": term.type, "weight": term.weight}
        room -= len(json_text(titles))
        share = room // (len(aligned) - position)  # what one term leaves is the next one's
        entry, used = _term(result, names, share, LISTED // len(aligned))
        told.append({**titles, **entry})
        room -= used
    return told


def _term(result: AlignedResult, names: Sequence[str] | None, room: int, most: int) -> tuple[dict[str, Any], int]:
    """Return what is told of one term, and how many bytes of JSON it takes."""
    worst = np.argsort(-result.per_structure, kind="stable")
    listed = worst[:most]
    notes = _notes(result)
    views = {b: _view(result, b) for b in listed.tolist()}
    rows = {
        "index": listed,
        "loss": result.per_structure[listed],
        "dos": result.terms.dos[listed],
        "front_tail": result.terms.front_tail[listed],
        "unmasked_gradient": result.terms.unmasked_gradient[listed],
        "cumulative": result.terms.cumulative[listed],
        "shift": result.shift[listed],
        "runner_up": result.runner_up[listed],
        "margin": result.margin[listed],
        "notes": notes[listed],
    }
    told = {
        "convention": result.convention.name,
        "switches": json_safe(result.convention),
        "structures": result.shift.size,
        "points": result.targets.shape[1],
        "width": result.predictions.shape[1],
        "padding": result.padding,
        "shifts": result.shifts,
        "rest": result.padding or result.shifts - 1,
        "energy_step": result.energy_step,
        **_axis(result),
        "grad_weight": result.grad_weight,
        "int_weight": result.int_weight,
        "reduction": result.reduction,
        "value": result.value if isinstance(result.value, float) else None,
        "unit": unit_of(result),
        "notes": NOTES,
        "all_shifts": np.bincount(result.shift, minlength=result.shifts).tolist(),
        # Under a batch cumulative every structure's masks count, added up over the batch.
        "mixed": result.mask.sum(axis=0).tolist() if result.convention.cumulative == "batch" else None,
        "rows": json_safe(rows)
        | {
            "name": None if names is None else [_text(names[b]) for b in listed.tolist()],
            "thumbnail": [_thumbnail(result, b, *view) for b, view in views.items()],
        },
    }
    curves: dict[str, Any] = {}
    used = len(json_text(told)) + 30
    for b, view in views.items():
        entry = _curves(result, b, view)
        size = len(json_text({b: entry}))
        if used + size > room:
            break
        curves[str(b)] = entry
        used += size
    return {**told, "curves": curves}, used


def _axis(result: AlignedResult) -> dict[str, Any]:
    energy, label = energies(result, 0, 0)
    return {"energy_start": float(energy[0]), "energy_label": label}


def _notes(result: AlignedResult) -> Any:
    several = result.shifts > 1  # the one shift that there is says nothing
    flags = (
        several & (result.shift == 0),
        several & (result.shift == result.shifts - 1),
        result.tied,
        result.in_padding,
        ~result.mask.any(axis=1),
    )
    return sum(flag.astype(np.int64) << bit for bit, flag in enumerate(flags))


def _view(result: AlignedResult, b: int) -> tuple[int, int]:
    """Return the first and the last point worth looking at: where the target has states, of those that count."""
    counted = np.where(result.mask[b], result.targets[b], 0.0)
    density = counted if counted.any() else result.targets[b]
    low, high = support(np.arange(density.size) * result.energy_step, density)
    return round(low / result.energy_step), round(high / result.energy_step)


def _curves(result: AlignedResult, b: int, view: tuple[int, int]) -> dict[str, Any]:
    prediction, target = result.predictions[b], result.targets[b]
    with np.errstate(over="ignore", under="ignore"):
        small = all(np.array_equal(array.astype(np.float32), array) for array in (prediction, target))
    kind = np.dtype("<f4" if small else "<f8")
    return {
        "bits": 8 * kind.itemsize,
        "prediction": _base64(prediction.astype(kind)),
        "target": _base64(target.astype(kind)),
        "mask": _runs(result.mask[b]),
        "view": view,
    }


def _runs(mask: Booleans) -> list[int]:
    """Return where each run of counted points begins, and where it has ended."""
    change = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(change).tolist()


def _thumbnail(result: AlignedResult, b: int, first: int, last: int) -> str:
    """Return the target and the aligned prediction, largest of each stretch of points, as bytes from 0 to 255."""
    shift, points, padding = int(result.shift[b]), result.targets.shape[1], result.padding
    window = np.zeros(points)  # not `aligned`, which holds those of all structures
    start, stop = max(padding - shift, 0), min(padding + result.predictions.shape[1] - shift, points)
    if start < stop:
        window[start:stop] = result.predictions[b, start + shift - padding : stop + shift - padding]
    ends = np.linspace(first, last + 1, min(THUMBNAIL, last + 1 - first) + 1).astype(np.int64)[:-1]
    both = np.array([np.maximum.reduceat(curve[: last + 1], ends) for curve in (result.targets[b], window)])
    highest = both[0].max() * 1.2 or 1.0  # a prediction far above it is cut
    if highest < 0.0:
        highest = 1.0
    with np.errstate(over="ignore"):
        scaled: Floats = np.clip(both / highest, 0.0, 1.0)
    return _base64(np.rint(255.0 * scaled).astype(np.uint8))


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _text(name: str) -> str:
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")
