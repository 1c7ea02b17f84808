"""The experiments: who runs against whom on what, and which goal that is held against."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import inputs as data
import numpy as np
import rivals
import timing
from inputs import Inputs
from reading import compute, read, write
from timing import Times, race

import refloss

THREADS = 2
OLD, NEW = "metatrain-2026.2", "metatrain-2026.3"
"""The conventions of refloss that compute what the released losses compute."""

OLD_RIVAL, NEW_RIVAL = "metatrain 2026.2 forward + backward", "metatrain 2026.4.1 forward + backward, float32"

Work = Callable[[], Any]


@dataclass(frozen=True)
class Goal:
    """One line of the table: a figure, what it should be, and what bounds it."""

    work: str
    against: str
    figure: float | None
    needed: float
    at_most: bool = False
    unit: str = "×"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it could not be measured."""
        if self.figure is None:
            return None
        return self.figure <= self.needed if self.at_most else self.figure >= self.needed


@dataclass
class Report:
    """What has been measured so far."""

    goals: list[Goal] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)
    bandwidth: float = 0.0
    """Bytes per second that `THREADS` threads read from memory."""

    def add(self, experiment: str, per: str, share: float, found: dict[str, Times]) -> None:
        """Keep the times of a race, per `per`, of which there were `share` in a call."""
        self.times += [
            {"experiment": experiment, "contestant": name, "per": per, **times.to_dict(share)}
            for name, times in found.items()
        ]


@dataclass(frozen=True)
class Size:
    """How large the experiments are, and how often they are repeated."""

    structures: int = 64
    many: int = 10_000
    elements: int = 30_000_000
    rounds: int = 7
    processes: int = 5


QUICK = Size(structures=8, many=256, elements=1_000_000, rounds=2, processes=1)


def pointwise(report: Report, size: Size) -> None:
    """Mse, mae and huber against torch, and the value alone against reading the arrays."""
    p, t = _elements(size.elements)
    for name in ("mse", "mae", "huber"):
        loss = getattr(refloss, name)
        works: dict[str, Work] = {
            "value + grad": partial(loss, p, t, grad=True),
            "value": partial(loss, p, t),
            "reading once": partial(read, p, t),
            "reading once and writing a new array": partial(_read_and_write, p, t),
        }
        if rivals.version("torch"):
            works["torch forward + backward"] = rivals.pointwise(name, p, t)
        found = race(works, rounds=size.rounds)
        report.add(name, "element", size.elements, found)
        report.bandwidth = max(report.bandwidth, (p.nbytes + t.nbytes) / found["reading once"].median)
        both, value, once = (found[key].median for key in ("value + grad", "value", "reading once"))
        rate = (p.nbytes + t.nbytes) / 1e9
        title = f"{name} value + grad, {size.elements:.0e} elements"
        floor = found["reading once and writing a new array"].median
        note = f"{both / floor:.1f} times reading the inputs once and writing a new array"
        report.goals += [
            Goal(title, "torch forward + backward", _ratio(found, "torch forward + backward", both), 2, note=note),
            Goal(
                f"{name} value", "the machine's read bandwidth", 100 * once / value, 40, unit="%",
                note=f"{rate / value:.1f} of {rate / once:.1f} GB/s, were each array read once only",
            ),
        ]  # fmt: skip


def masked_dos(report: Report, size: Size, old: Any) -> None:
    """Run masked_dos against metatrain's, against convolutions in torch, and against reading its inputs."""
    some = data.trained(size.structures)
    works: dict[str, Work] = {
        "value + grad": partial(_masked_dos, some, grad=True),
        f"value + grad, {OLD}": partial(_masked_dos, some, grad=True, convention=OLD),
        "value": partial(_masked_dos, some),
        "reading once": partial(read, some.predictions, some.targets, some.mask),
        "one call on 1 structure of 8 points": partial(_masked_dos, _tiny()),
    }
    if rivals.version("torch"):
        works["torch, grouped conv1d, forward"] = rivals.convolved(some)
        works["torch, unfold, forward"] = rivals.unfolded(some)
    if old is not None:
        works[OLD_RIVAL] = rivals.metatrain_masked_dos(old, some, "float64")
        works[f"{OLD_RIVAL}, float32"] = rivals.metatrain_masked_dos(old, some, "float32")
    found = race(works, rounds=size.rounds)
    report.add("masked_dos", "structure", len(some), found)
    like, value, once = (found[key].median for key in (f"value + grad, {OLD}", "value", "reading once"))
    fixed = found["one call on 1 structure of 8 points"].median / len(some) * 1e6
    per = 1e6 / len(some)
    notes = {
        "grad": f"{like * per:.1f} µs a structure, {fixed:.1f} of them the fixed cost of a call",
        "value": f"{value * per:.1f} µs a structure, {fixed:.1f} of them the fixed cost of a call",
        "reading": f"reading takes {once * per:.2f} µs a structure ({some.bytes / once / 1e9:.0f} GB/s)",
    }
    if old is not None:
        theirs, ours = works[OLD_RIVAL](), works[f"value + grad, {OLD}"]().value
        notes["grad"] += f"; the values differ by {abs(theirs - ours) / ours:.0e} of them"
    title = f"B {len(some)}, N {some.targets.shape[1]}, E {some.predictions.shape[1] - some.targets.shape[1]}"
    report.goals += [
        Goal(
            f"masked_dos value + grad + certificate, {title}, convention {OLD}", OLD_RIVAL,
            _ratio(found, OLD_RIVAL, like), 1000, note=notes["grad"],
        ),
        Goal(
            "masked_dos value + certificate", "torch, grouped conv1d, forward",
            _ratio(found, "torch, grouped conv1d, forward", value), 15, note=notes["value"],
        ),
        Goal("masked_dos value + certificate", "reading once", value / once, 6, at_most=True, note=notes["reading"]),
    ]  # fmt: skip


def shift_agnostic(report: Report, size: Size) -> None:
    """Run shift_agnostic_mse against metatrain's own."""
    some = data.trained(size.structures)
    works: dict[str, Work] = {
        "value + grad": partial(_shift_agnostic, some),
        f"value + grad, {NEW}": partial(_shift_agnostic, some, convention=NEW),
    }
    if rivals.version("metatrain"):
        works[NEW_RIVAL] = rivals.metatrain_shift_agnostic(some)
    found = race(works, rounds=size.rounds)
    report.add("shift_agnostic_mse", "structure", len(some), found)
    like = found[f"value + grad, {NEW}"].median
    result = _shift_agnostic(some)
    shifts = 3 * some.predictions.shape[1] - some.targets.shape[1] + 1
    note = f"{like / len(some) * 1e6:.0f} µs a structure; {_effort(result)} of {shifts}"
    work = f"shift_agnostic_mse value + grad, {shifts} shifts, convention {NEW}"
    report.goals.append(Goal(work, NEW_RIVAL, _ratio(found, NEW_RIVAL, like), 100, note=note))


def threads(report: Report, size: Size) -> None:
    """Compare one thread with two: what each loss gains, and what reading gains, which needs nothing but memory."""
    some, (p, t) = data.trained(size.structures), _elements(size.elements)
    works: dict[str, tuple[float, str, Work]] = {
        "masked_dos value + grad": (len(some), "structure", partial(_masked_dos, some, grad=True)),
        "shift_agnostic_mse value + grad": (len(some), "structure", partial(_shift_agnostic, some)),
        "mse value + grad": (p.size, "element", partial(refloss.mse, p, t, grad=True)),
        "reading": (p.size, "element", partial(read, p, t)),
        "arithmetic": (1, "call", compute),
    }
    gains = {}
    for name, (share, per, work) in works.items():
        found = race({"1 thread": partial(_on, 1, work), "2 threads": work}, rounds=size.rounds)
        report.add(f"threads: {name}", per, share, found)
        gains[name] = found["1 thread"].median / found["2 threads"].median
    reading, arithmetic = gains.pop("reading"), gains.pop("arithmetic")
    note = f"on the same cores, reading from memory gains {reading:.2f} ×, arithmetic alone {arithmetic:.2f} ×"
    for name, gain in gains.items():
        report.goals.append(Goal(f"{name}, 1 → 2 threads", "itself", gain, 1.8, note=note))


def kinds_of_data(report: Report, size: Size) -> None:
    """Each loss on inputs that are harder to prune, and on more of them than the caches hold."""
    some = data.trained(size.structures)
    kinds = {
        "trained": some,
        "untrained (noise)": data.untrained(some),
        "half masked": data.half_masked(some),
        "half masked, scattered": data.scattered(some),
    }
    losses: dict[str, Callable[[Inputs], Any]] = {
        "masked_dos": partial(_masked_dos, grad=True),
        "shift_agnostic_mse": _shift_agnostic,
        "mse": _masked_mse,
    }
    for name, loss in losses.items():
        found = race({kind: partial(loss, some) for kind, some in kinds.items()}, rounds=min(size.rounds, 3))
        report.add(f"data: {name}", "structure", len(some), found)
        for kind in list(kinds)[1:]:
            note = "" if name == "mse" else f"{_effort(loss(kinds[kind]))}; trained: {_effort(loss(some))}"
            _held_against_trained(report, f"{name}, {kind}", found[kind].median / found["trained"].median, note)
    many = data.trained(size.many)
    for name, loss in losses.items():
        found = race({"few": partial(loss, some), "many": partial(loss, many)}, rounds=min(size.rounds, 3))
        for count, label in ((len(some), "few"), (len(many), "many")):
            report.add(f"data: {name}, B {count}", "structure", count, {"value + grad": found[label]})
        per_few, per_many = found["few"].median / len(some), found["many"].median / len(many)
        rate = (many.bytes + many.predictions.nbytes) / found["many"].median / 1e9
        note = f"{rate:.1f} of {report.bandwidth / 1e9:.1f} GB/s, were inputs and grad touched once only"
        _held_against_trained(report, f"{name}, B {len(many)}", per_many / per_few, note)


def memory(report: Report, size: Size) -> None:
    """Peak memory beyond inputs and outputs, each in a process of its own."""
    for count in (size.many // 10, size.many):
        found = _child("memory", str(count)) / 1e6 if Path("/proc/self/clear_refs").exists() else None
        work = f"masked_dos value + grad, B {count}: memory beyond inputs and outputs"
        report.goals.append(Goal(work, "–", found, 64, at_most=True, unit="MB", note="peak resident memory"))


def first_calls(report: Report, size: Size) -> None:
    """Time the first call in a process, with all its imports: nothing compiled yet, then with a cache."""
    for loss in ("masked_dos", "shift_agnostic_mse", "mse"):
        with tempfile.TemporaryDirectory() as cache:
            timing.wait_for_quiet()
            cold = _child("first", loss, NUMBA_CACHE_DIR=cache)
            warm = [_child("first", loss, NUMBA_CACHE_DIR=cache) for _ in range(size.processes)]
        report.add("first call", "call", 1, {f"{loss}, cold": Times((cold,)), f"{loss}, warm": Times(tuple(warm))})
        report.goals += [
            Goal(f"{loss}: first call, cache warm", "–", statistics.median(warm), 0.5, at_most=True, unit="s"),
            Goal(f"{loss}: first call, cache cold", "–", cold, 8, at_most=True, unit="s"),
        ]


def _masked_dos(some: Inputs, **options: Any) -> Any:
    return refloss.masked_dos(some.predictions, some.targets, some.mask, **options)


def _shift_agnostic(some: Inputs, **options: Any) -> Any:
    return refloss.shift_agnostic_mse(some.predictions, some.with_nan, grad=True, **options)


def _masked_mse(some: Inputs) -> Any:
    return refloss.mse(some.unshifted, some.targets, mask=some.mask, grad=True)


def _read_and_write(p: Any, t: Any) -> Any:
    read(p, t)
    return write(p.size)


def _tiny() -> Inputs:
    rng = np.random.default_rng(4)
    return Inputs(rng.random((1, 8)), rng.random((1, 8)), np.ones((1, 8), np.bool_))


def _elements(count: int) -> tuple[Any, Any]:
    """Targets, and predictions that differ from them by a tenth."""
    rng = np.random.default_rng(5)
    t = rng.standard_normal(count)
    p = rng.standard_normal(count)
    p *= 0.1
    p += t
    return p, t


def _ratio(found: dict[str, Times], rival: str, ours: float) -> float | None:
    return found[rival].median / ours if rival in found else None


def _effort(result: Any) -> str:
    """Say what the certificate says of an alignment."""
    certificate = result.certificate
    exact = int(np.count_nonzero(certificate.exact))
    settled = f", {exact} structures settled exactly" if exact else ""
    return f"{np.median(certificate.evaluated):.0f} shifts evaluated in full (median){settled}"


def _held_against_trained(report: Report, work: str, ratio: float, note: str) -> None:
    report.goals.append(Goal(work, "the same loss on trained data", ratio, 2, at_most=True, note=note))


@contextmanager
def thread_count(count: int) -> Iterator[None]:
    """Have refloss use this many threads; it reads the variable at every call."""
    before = os.environ["REFLOSS_NUM_THREADS"]
    os.environ["REFLOSS_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        os.environ["REFLOSS_NUM_THREADS"] = before


def _on(count: int, work: Work) -> Any:
    with thread_count(count):
        return work()


def _child(what: str, argument: str, **environment: str) -> float:
    command = [sys.executable, str(Path(__file__).with_name("child.py")), what, argument]
    done = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    return float(json.loads(done.stdout))
