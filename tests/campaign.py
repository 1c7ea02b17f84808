"""The long run: generated cases of every loss against the exact oracle, and the worst error of every figure.

    python tests/campaign.py --cases 20000 --seed 0 --write      all losses; the table into README and docs/accuracy.md
    python tests/campaign.py --case masked_dos/intended:0:1234   one case again, by its loss, seed and number

Errors are in units in the last place of the exact value. A gradient's element beyond 1 ulp is measured against 2⁻⁸⁰ of
the same formula with absolute values at its leaves. Choices (shifts, ties, certificates) are right or wrong.
(docs/specification.md, section 9.)
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import checks  # noqa: E402
import oracle  # noqa: E402
import oracle_agnostic  # noqa: E402
from strategies import HARD, Case, conventions  # noqa: E402

import refloss  # noqa: E402

OWN = [choice for choice in conventions() if choice.name not in oracle.CONVENTIONS]
LOSSES = (
    "mse",
    "mae",
    "huber",
    *(f"masked_dos/{name}" for name in [*oracle.CONVENTIONS, "own"]),
    *(f"shift_agnostic_mse/{name}" for name in [*oracle_agnostic.CONVENTIONS, "own"]),
)
"""Each with its convention; "own" takes every other valid combination of the switches in turn."""

FIGURES = {
    "value": checks.FIGURE_ULPS,
    "per_structure": checks.FIGURE_ULPS,
    "dos": checks.FIGURE_ULPS,
    "front_tail": checks.FIGURE_ULPS,
    "unmasked_gradient": checks.FIGURE_ULPS,
    "cumulative": checks.FIGURE_ULPS,
    "margin": checks.FIGURE_ULPS,
    "landscape": checks.FIGURE_ULPS,
    "rival margin": checks.FIGURE_ULPS,
    "grad": checks.GRAD_ULPS,
    "grad beyond 1 ulp": 1.0,  # in units of 2⁻⁸⁰ of its leaves
    "choices": 0.0,
}
"""What each figure may be off by."""


@dataclass
class Worst:
    """The worst error of each figure, the case that gave it, and how many cases there were of which kind."""

    errors: dict[str, tuple[float, str]] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    refused: int = 0

    def note(self, figure: str, error: float, case: str) -> None:
        """Keep the error if it is the worst so far; of equals, the one of the first case."""

        def rank(error: float, case: str) -> tuple[float, int]:
            return error, -int(case.rpartition(":")[2])

        if figure not in self.errors or rank(error, case) > rank(*self.errors[figure]):
            self.errors[figure] = error, case

    def merge(self, other: Worst) -> None:
        """Take in what another part of the run found."""
        for figure, (error, case) in other.errors.items():
            self.note(figure, error, case)
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.refused += other.refused

    def beyond(self) -> list[str]:
        """Return a line for each figure that is off by more than it may be."""
        return [
            f"{figure}: {error:.6g}, at most {FIGURES[figure]:g} allowed; case {case}"
            for figure, (error, case) in self.errors.items()
            if not error <= FIGURES[figure]
        ]


# ---- one case --------------------------------------------------------------------------------------------------


def run_case(loss: str, seed: int, number: int) -> Worst:
    """Evaluate one case and compare it with the oracle."""
    rng = np.random.default_rng([crc32(loss.encode()), seed, number])
    name = f"{loss}:{seed}:{number}"
    worst = Worst()
    kind, evaluate, judge = (_aligned if "/" in loss else _pointwise)(loss, rng, number)
    worst.kinds[kind] = 1
    exact = judge()
    try:
        found = evaluate()
        drawn = (found.landscape(), found.rival()) if "/" in loss else None
    except refloss.InputError as error:
        # Beyond the largest float64 there is no figure to compare; it must be so in exact arithmetic, too.
        right = "beyond the largest float64" in str(error) and math.inf in map(abs, map(oracle.nearest, _all(exact)))
        worst.refused = 1
        worst.note("choices", float(not right), name)
        return worst
    for figure, error in _errors(found, exact, drawn):
        worst.note(figure, error, name)
    return worst


def _sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return structures, points and extra points: mostly few, so that the oracle is quick."""
    luck = rng.random()
    if luck < 0.0003:
        return 1, 4606, 200
    if luck < 0.004:
        return 1, int(rng.integers(100, 600)), int(rng.integers(0, 120))
    if luck < 0.08:
        return int(rng.integers(1, 4)), int(rng.integers(15, 80)), int(rng.integers(0, 40))
    return int(rng.integers(1, 5)), int(rng.integers(2, 14)), int(rng.integers(0, 9))


def _agnostic_sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return structures, points of the target and of the prediction, at times so many that coarse blocks come first."""
    luck = rng.random()
    if luck < 0.001:
        return 1, int(rng.integers(2, 120)), int(rng.integers(390, 440))
    batch = int(rng.integers(1, 4))
    width = int(rng.integers(30, 90) if luck < 0.01 else rng.integers(9, 30) if luck < 0.08 else rng.integers(2, 9))
    longest = 3 * width if rng.random() < 0.3 else width
    return batch, int(rng.integers(2, longest + 1)), width


def _aligned(loss: str, rng: np.random.Generator, number: int) -> tuple[str, Any, Any]:
    entry, _, convention = loss.partition("/")
    kind = list(HARD)[int(rng.integers(len(HARD)))]
    chosen = OWN[number % len(OWN)] if convention == "own" else convention
    named = oracle.CONVENTIONS | oracle_agnostic.CONVENTIONS
    switches = named[convention] if convention != "own" else chosen
    step, first, second, reduction = 0.05, 1e-4, 2.0, "mean"
    if switches.stencil == "exact":
        step = float(rng.choice([0.05, 0.125, 2.0**-20, 1 / 3, 3.0, 1e-3]))
    if switches.cumulative == "structure":
        reduction = str(rng.choice(["mean", "sum", "none"]))
    if rng.random() < 0.7:
        first, second = (float(w) for w in rng.choice([0.0, 1e-4, 0.013, 1.7, 2.0, -0.3, 1e6], 2))
    if entry == "masked_dos":
        batch, points, extra = _sizes(rng)
        if switches.objective == "total" and points > 1000:
            extra = 20  # the oracle then evaluates every term at every shift
        case = HARD[kind](rng, batch, points, extra)
        options = {"energy_step": step, "grad_weight": first, "int_weight": second, "reduction": reduction}
        arrays, lists = (case.predictions, case.targets, case.mask), case.lists()
        judge = partial(oracle.masked_dos, *lists, switches, **options)
    else:
        batch, points, width = _agnostic_sizes(rng)
        case = HARD[kind](rng, batch, points, max(width - points, 0))
        options = {"energy_step": step, "grad_penalty_weight": first, "int_weight": second, "reduction": reduction}
        predictions = np.ascontiguousarray(case.predictions[:, :width])
        targets = np.where(case.mask | (rng.random() < 0.5), case.targets, np.nan)
        arrays = (predictions, targets)
        judge = partial(oracle_agnostic.shift_agnostic_mse, predictions.tolist(), targets.tolist(), switches, **options)
    evaluate = partial(getattr(refloss, entry), *arrays, convention=chosen, grad=True, **options)
    return kind, evaluate, judge


def _pointwise(loss: str, rng: np.random.Generator, number: int) -> tuple[str, Any, Any]:
    kind = list(HARD)[int(rng.integers(len(HARD)))]
    luck = rng.random()
    points = 20000 if luck < 0.0005 else int(rng.integers(100, 900)) if luck < 0.01 else int(rng.integers(2, 40))
    case: Case = HARD[kind](rng, int(rng.integers(1, 4)), points, 0)
    p, t = case.predictions, case.targets.copy()
    mask = case.mask if rng.random() < 0.5 else None
    if rng.random() < 0.3:
        t[rng.random(t.shape) < 0.2] = np.nan
    reduction, options = str(rng.choice(["mean", "sum", "none"])), {}
    if loss == "huber":
        size = np.abs(p - t)[~np.isnan(t)]
        delta = float(rng.choice([1.0, 0.3, 1e-8, 1e8, 5e-324, 1e200, *size[(size > 0) & (size < 1e300)][:4]]))
        options = {"delta": float(rng.choice([delta, np.nextafter(delta, np.inf)]))}  # at the knee, and beside it
    flat = None if mask is None else mask.ravel().tolist()
    judge = partial(oracle.pointwise, loss, p.ravel().tolist(), t.ravel().tolist(), flat, reduction, **options)
    evaluate = partial(getattr(refloss, loss), p, t, mask=mask, reduction=reduction, grad=True, **options)
    return kind, evaluate, judge


# ---- the comparison --------------------------------------------------------------------------------------------


def off(found: float, exact: Fraction | None) -> float:
    """Return by how many ulp `found` is off; 0 where both are infinite, or there is no such figure."""
    if exact is None:
        return 0.0 if found == math.inf else math.inf
    if not math.isfinite(found):
        return 0.0 if found == oracle.nearest(exact) else math.inf
    return oracle.ulps(found, exact)


def _errors(found: Any, exact: Any, drawn: Any) -> Iterator[tuple[str, float]]:
    """Yield every figure of a result with its error."""
    values = (found.value, exact.value) if isinstance(exact.value, list) else ([found.value], [exact.value])
    yield from _each("value", *values)
    if isinstance(exact, oracle.Pointwise):
        yield from _gradient(found.grad.ravel(), exact.grad, exact.leaves)
        yield "choices", float(found.count != exact.count or found.selected.ravel().tolist() != exact.selected)
        return
    structures = exact.structures
    yield from _each("per_structure", found.per_structure, [one.total for one in structures])
    yield from _each("margin", found.margin, [one.margin for one in structures])
    for term in ("dos", "front_tail", "unmasked_gradient", "cumulative"):
        yield from _each(term, getattr(found.terms, term), [getattr(one, term) for one in structures])
    landscape, rival = drawn
    yield from _each("rival margin", rival.margin, [one.rival_margin for one in structures])
    for b, one in enumerate(structures):
        yield from _each("landscape", landscape[b], one.landscape)
        yield from _gradient(found.grad[b], exact.grad[b], exact.leaves[b])
        chosen = found.shift[b], found.runner_up[b], found.tied[b], rival.shift[b]
        wrong = sum(a != e for a, e in zip(chosen, (one.shift, one.runner_up, one.tied, one.rival), strict=True))
        yield "choices", float(wrong + len(checks._certificate(found, b, one)))


def _each(figure: str, found: Iterable[float], exact: Sequence[Fraction | None]) -> Iterator[tuple[str, float]]:
    for value, wanted in zip(found, exact, strict=True):
        yield figure, off(float(value), wanted)


def _gradient(found: Any, exact: Sequence[Fraction], leaves: Sequence[Fraction]) -> Iterator[tuple[str, float]]:
    for value, wanted, leaf in zip(found.tolist(), exact, leaves, strict=True):
        error = off(value, wanted)
        if error <= checks.GRAD_ULPS:
            yield "grad", error
        elif not math.isfinite(value):
            yield "grad beyond 1 ulp", math.inf
        else:
            yield "grad beyond 1 ulp", float(abs(Fraction(value) - wanted) / (oracle.FRACTION_OF_LEAVES * leaf))


def _all(exact: Any) -> Iterator[Fraction]:
    """Yield every figure that would have to be reported."""
    yield from exact.value if isinstance(exact.value, list) else [exact.value]
    if isinstance(exact, oracle.Pointwise):
        yield from exact.grad
        return
    for one, row in zip(exact.structures, exact.grad, strict=True):
        yield from (one.total, one.dos, one.front_tail, one.unmasked_gradient, one.cumulative, *row)
        yield from (margin for margin in (one.margin, one.rival_margin) if margin is not None)


# ---- the run ---------------------------------------------------------------------------------------------------

PART = 50
"""Cases that one process takes at a time."""


def run_part(loss: str, seed: int, first: int, last: int) -> Worst:
    """Run some cases of one loss."""
    worst = Worst()
    for number in range(first, last):
        worst.merge(run_case(loss, seed, number))
    return worst


def run(losses: Sequence[str], cases: int, seed: int, processes: int = 1, progress: Any = None) -> dict[str, Worst]:
    """Run `cases` cases of each loss."""
    results = {loss: Worst() for loss in losses}
    edges = [*range(0, cases, PART), cases]
    jobs = [(loss, seed, *part) for part in itertools.pairwise(edges) for loss in losses]

    def take(loss: str, part: Worst) -> None:
        results[loss].merge(part)
        if progress is not None:
            progress(loss, part)

    if processes == 1:
        for job in jobs:
            take(job[0], run_part(*job))
        return results
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(run_part, *job): job[0] for job in jobs}
        for done in as_completed(pending):
            take(pending[done], done.result())
    return results


# ---- the tables ------------------------------------------------------------------------------------------------

MARKERS = "<!-- begin: tests/campaign.py -->", "<!-- end: tests/campaign.py -->"


def table(results: dict[str, Worst]) -> str:
    """Return a Markdown table: a row for each figure, a column for each of `results`."""
    rows = [["worst error, in ulp", *(f"`{loss}`" for loss in results)], ["---"] * (len(results) + 1)]
    for figure, allowed in FIGURES.items():
        cells = [_cell(figure, worst) for worst in results.values()]
        if any(cells):
            rows.append([f"{LABELS.get(figure, figure)} (at most {allowed:g})", *cells])
    rows.append(["cases", *(f"{sum(worst.kinds.values()):,}" for worst in results.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


LABELS = {
    "grad beyond 1 ulp": "`grad` beyond 1 ulp, in 2⁻⁸⁰ of its leaves",
    "choices": "shifts, ties, certificates, selections wrong in one case",
    **{name: f"`{name}`" for name in ("value", "per_structure", "margin", "grad")},
    **{name: f"`terms.{name}`" for name in ("dos", "front_tail", "unmasked_gradient", "cumulative")},
    "landscape": "`landscape()`",
    "rival margin": "`rival().margin`",
}


def _cell(figure: str, worst: Worst) -> str:
    if figure not in worst.errors:
        return ""
    error, case = worst.errors[figure]
    return "0" if error == 0 else f"{error:.6g} ({case.rpartition('/')[2]})"


def by_entry(results: dict[str, Worst]) -> dict[str, Worst]:
    """Unite the conventions of each entry point."""
    united: dict[str, Worst] = {}
    for loss, worst in results.items():
        united.setdefault(loss.partition("/")[0], Worst()).merge(worst)
    return united


def write(results: dict[str, Worst], seed: int) -> None:
    """Put the tables between the markers of the README and of docs/accuracy.md."""
    cases = sum(sum(worst.kinds.values()) for worst in results.values())
    said = f"Seed {seed}, {cases:,} cases."
    pointwise = {loss: worst for loss, worst in results.items() if "/" not in loss}
    pages = {
        "README.md": [by_entry(results)],
        "docs/accuracy.md": [
            pointwise,
            *(
                {loss: worst for loss, worst in results.items() if loss.startswith(f"{entry}/")}
                for entry in ("masked_dos", "shift_agnostic_mse")
            ),
        ],
    }
    for page, tables in pages.items():
        path = ROOT / page
        head, begin, rest = path.read_text(encoding="utf-8").partition(MARKERS[0])
        _, end, tail = rest.partition(MARKERS[1])
        if not begin or not end:
            sys.exit(f"{page}: found no {MARKERS[0]} … {MARKERS[1]}")
        body = "\n\n".join([said, *(table(one) for one in tables if one)])
        path.write_text(f"{head}{begin}\n\n{body}\n\n{end}{tail}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=300, help="of each loss (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loss", nargs="+", choices=LOSSES, default=LOSSES, metavar="LOSS", help=", ".join(LOSSES))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md and docs/accuracy.md")
    parser.add_argument("--case", metavar="LOSS:SEED:NUMBER", help="run this case alone")
    given = parser.parse_args(arguments)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    console = Console()
    if given.case is not None:
        loss, seed, number = given.case.split(":")
        results = {loss: run_case(loss, int(seed), int(number))}
    else:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bars:
            tasks = {loss: bars.add_task(loss, total=given.cases) for loss in given.loss}

            def progress(loss: str, part: Worst) -> None:
                bars.advance(tasks[loss], sum(part.kinds.values()))
                for line in part.beyond():
                    bars.console.print(f"[red]{loss}[/red] {line}")

            results = run(given.loss, given.cases, given.seed, given.processes, progress)
    for loss, worst in results.items():
        shown = Table("figure", "worst error", "allowed", "case", title=f"{loss}, {sum(worst.kinds.values())} cases")
        for figure, allowed in FIGURES.items():
            if figure in worst.errors:
                error, case = worst.errors[figure]
                shown.add_row(figure, f"{error:.6g}", f"{allowed:g}", case)
        console.print(shown)
        console.print(f"beyond the range: {worst.refused}; of each kind: {worst.kinds}")
    if given.write:
        write(results, given.seed)
    return int(any(worst.beyond() for worst in results.values()))


if __name__ == "__main__":
    sys.exit(main())
