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

PARTS = 64
"""Arithmetic that takes as long as masked_dos on `Size.structures`."""

OLD, NEW = "metatrain-2026.2", "metatrain-2026.3"
"""The conventions of refloss that compute what the released losses compute."""

OLD_RIVAL, NEW_RIVAL = "metatrain 2026.2 forward + backward", "metatrain 2026.4.1 forward + backward, float32"

TIMES = 8
READING = f"reading once, as one of {TIMES} times in a call"
"""A call so long that the system is likely to spread its threads over the cores."""

Work = Callable[[], Any]


@dataclass(frozen=True)
class Goal:
    """One line of the table: a figure, what it should be (None: it is only reported), and what bounds it."""

    work: str
    against: str
    figure: float | None
    needed: float | None
    at_most: bool = False
    unit: str = "×"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it could not be measured or there is none."""
        return None if self.better is None else self.better >= 1

    @property
    def better(self) -> float | None:
        """How many times better than needed the figure is; None as above."""
        if self.figure is None or self.needed is None:
            return None
        return self.needed / max(self.figure, 1e-9) if self.at_most else self.figure / self.needed


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
    spread: int = 1024
    """Structures of a call that is long enough for its threads to be spread over the cores."""
    many: int = 10_000
    elements: int = 30_000_000
    rounds: int = 7
    processes: int = 5


QUICK = Size(structures=8, spread=64, many=256, elements=1_000_000, rounds=2, processes=1)


def pointwise(report: Report, size: Size) -> None:
    """Mse, mae and huber against torch, and the value alone against reading the arrays."""
    p, t = _elements(size.elements)
    for name in ("mse", "mae", "huber"):
        loss = getattr(refloss, name)
        works: dict[str, Work] = {
            "value + grad": partial(loss, p, t, grad=True),
            "value": partial(loss, p, t),
            "reading once": partial(read, p, t),
            READING: partial(read, p, t, times=TIMES),
            "reading once and writing a new array": partial(_read_and_write, p, t),
        }
        if rivals.version("torch"):
            works["torch forward + backward"] = rivals.pointwise(name, p, t)
        found = race(works, rounds=size.rounds)
        found[READING] = found[READING].shared(TIMES)
        report.add(name, "element", size.elements, found)
        both, value = found["value + grad"].median, found["value"].median
        once = min(found["reading once"].median, found[READING].median)
        report.bandwidth = max(report.bandwidth, (p.nbytes + t.nbytes) / once)
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
        "reading": f"reading takes {once * per:.2f} µs a structure ({some.bytes / once / 1e9:.0f} GB/s from cache)",
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
    """Compare one thread with two: what each loss gains, and what reading and arithmetic gain, which share nothing.

    Calls on few structures are short: the fixed cost of a call and the way to another thread weigh. They are reported
    beside arithmetic that is as short; the goal is that of long calls.
    """
    few, many, (p, t) = data.trained(size.structures), data.trained(size.spread), _elements(size.elements)

    def gain(name: str, share: float, per: str, work: Work) -> tuple[float, str]:
        found = race({"1 thread": partial(_on, 1, work), "2 threads": work}, rounds=size.rounds)
        report.add(f"threads: {name}", per, share, found)
        one, two = found["1 thread"], found["2 threads"]
        milliseconds, fastest = 1e3 * one.median, min(one.seconds) / min(two.seconds)
        had = f"{milliseconds:.1f} ms on 1 thread; 2 threads had {two.median_cores:.2f} cores; fastest {fastest:.2f} ×"
        return one.median / two.median, had

    short, short_had = gain("arithmetic, short", 1, "call", partial(compute, PARTS))
    long, long_had = gain("arithmetic, long", 1, "call", partial(compute, 16 * PARTS))
    reading, reading_had = gain("reading", TIMES * p.size, "element", partial(read, p, t, times=TIMES))
    losses: dict[str, Callable[[Inputs], Any]] = {
        "masked_dos": partial(_masked_dos, grad=True),
        "shift_agnostic_mse": _shift_agnostic,
    }
    for name, loss in losses.items():
        for some, needed, control in (
            (many, 1.8, f"Arithmetic alone: {long:.2f} × ({long_had})"),
            (few, None, f"Arithmetic alone: {short:.2f} × ({short_had})"),
        ):
            found, had = gain(f"{name}, B {len(some)}", len(some), "structure", partial(loss, some))
            work = f"{name} value + grad, B {len(some)}, 1 → 2 threads"
            report.goals.append(Goal(work, "itself", found, needed, note=f"{had}. {control}"))
    found, had = gain("mse value + grad", p.size, "element", partial(refloss.mse, p, t, grad=True))
    note = f"{had}. Reading alone: {reading:.2f} × ({reading_had})"
    report.goals.append(Goal("mse value + grad, 1 → 2 threads", "itself", found, 1.8, note=note))


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
