"""The harness against every mutant and every right variant, and the page that says so.

    python tests/crosscheck_campaign.py           run, and print
    python tests/crosscheck_campaign.py --write   run, and write docs/crosscheck_mutants.md

It takes about ten minutes, and ml_dtypes for the inputs in bfloat16. `test_crosscheck_mutants` asks what of it can be
asked in a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscheck_held_out import HELD_OUT
from crosscheck_mutants import MUTANTS, Edited, Mutant, caught_by, names_of, truths_kept
from crosscheck_variants import NARROW, POINTWISE_WAYS, SUMS, VARIANTS, WAYS

from refloss.crosscheck import crosscheck

PAGE = Path(__file__).parents[1] / "docs" / "crosscheck_mutants.md"
DTYPES = ("float64", "float32")
SEEDS = range(5)
NARROW_DTYPES = ("float16", "bfloat16")

TOPICS = {
    "derivative": (
        *("gradient of ", "gradient doubled", "gradient not", "gradient divided", "gradient without", "missing factor"),
        *("gradient one", "gradient minus one"),
    ),
    "half weights": ("half weight",),
    "energy step": ("energy step", "dx"),
    "mask": ("mask ", "masks ", "masked-out"),
    "alignment": ("alignment", "shift", "padding", "window"),
    "front tail": ("tail",),
    "unmasked gradient": ("stencil", "backward", "central", "gradient", "points below", "points behind"),
    "cumulative": ("cumul", "running"),
    "reduction, weights": ("weight", "sum instead", "mean", "reduction"),
    "element": (
        *("huber", "mae", "mse", "delta", "root", "loss", "square", "DOS term", "difference", "integral", "elements"),
        "NaN",
    ),
}
"""What a mistake is about, to the first of these words that its name has."""

NOTHING = "nothing"


@dataclass
class Row:
    """What became of one mutant."""

    mutant: Mutant
    case: str
    figure: str
    caught: dict[str, int]
    named: dict[str, tuple[str, ...]]

    def rightly(self, how: str) -> bool:
        return bool(self.named[how]) and set(self.named[how]) <= set(self.mutant.explained)


def run(candidate: Edited, **options: Any) -> Any:
    return crosscheck(candidate.call, candidate.loss, convention=candidate.convention, **options)


def value_and_gradient(mutant: Mutant) -> Any:
    """Cross-check what a candidate in torch would give: its value, and the gradient."""

    def call(*arrays: Any, **params: Any) -> Any:
        found = mutant.call(*arrays, **params)
        return {"value": found["value"], "grad": found["grad"]}

    return crosscheck(call, mutant.loss, dtype="float32", convention=mutant.convention)


def judged(mutant: Mutant) -> Row:
    found: dict[str, list[tuple[str, str, str]]] = {}
    named = {}
    for dtype in DTYPES:
        report = run(mutant, dtype=dtype)
        found[dtype], named[dtype] = list(caught_by(report)), names_of(report)
    named["value and gradient"] = names_of(value_and_gradient(mutant))
    both = [one for one in found["float64"] if one[:2] in {other[:2] for other in found["float32"]}]
    case, figure, _ = both[0] if both else ("", "", "")
    return Row(mutant, case, figure, {dtype: len({one[0] for one in found[dtype]}) for dtype in DTYPES}, named)


def false_alarms() -> Iterator[str]:
    """Give every variant, seed and type for which the harness finds something wrong."""
    for seed in SEEDS:
        with truths_kept():
            for variant in VARIANTS:
                for dtype in DTYPES:
                    if not run(variant, dtype=dtype, seed=seed).ok:
                        yield f"{variant.name}, {dtype}, seed {seed}"
            for dtype in NARROW_DTYPES:
                if not run(NARROW, dtype=dtype, accumulate="float32", seed=seed).ok:
                    yield f"{NARROW.name}, {dtype}, seed {seed}"
        progress(f"right implementations, seed {seed}")


def topic(name: str) -> str:
    return next(topic for topic, words in TOPICS.items() if any(word in name for word in words))


def page(rows: Sequence[Row], alarms: Sequence[str], held_out: Sequence[tuple[Mutant, bool, tuple[str, ...]]]) -> str:
    missed = [f"{row.mutant.name} ({how})" for row in rows for how in DTYPES if not row.caught[how] or not row.case]
    wrongly = sum(bool(found) and not row.rightly(how) for row in rows for how, found in row.named.items())
    nameable = [row for row in rows if row.mutant.explained]
    lines = [
        "# What the cross-check catches",
        "",
        "Written by `python tests/crosscheck_campaign.py --write`.",
        "",
        "## Wrong implementations",
        "",
        f"{len(rows)} implementations with one realistic mistake each, edits of `tests/crosscheck_candidate.py`; "
        f"missed by the core suite in float64 or float32: {', '.join(missed) or 'none'}. Named rightly, of "
        f"{len(nameable)} whose mistake has a name: "
        + ", ".join(
            f"{sum(row.rightly(how) for row in nameable)} ({how if how in DTYPES else f'{how} alone, float32'})"
            for how in (*DTYPES, "value and gradient")
        )
        + f". Named wrongly: {wrongly}.",
        "",
        "Each is judged under its own convention, and right under no other. The columns: the first case and figure",
        "that caught it in both types, in how many cases it was wrong, and what the report says that it is consistent",
        "with (float32; † where only part of the types and figures led to the name).",
        "",
        "| mistake | loss | caught by | figure | wrong cases (float64, float32) | consistent with |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        partly = " †" if len({row.rightly(how) for how in row.named}) > 1 else ""
        counts = ", ".join(str(row.caught[dtype]) for dtype in DTYPES)
        lines.append(
            f"| {row.mutant.name} | {row.mutant.loss} | {row.case} | {row.figure} | {counts} | "
            f"{' or '.join(row.named['float32'])}{partly} |"
        )
    lines += [
        "",
        "## Right implementations",
        "",
        f"{len(SUMS) + len(WAYS) + len(POINTWISE_WAYS) + 1} ways to be right, {len(VARIANTS)} implementations of",
        f"{len({variant.loss for variant in VARIANTS})} losses in {' and '.join(DTYPES)}, and inputs in",
        f"{' and '.join(NARROW_DTYPES)} with sums in float32.",
        f"False alarms over {len(SEEDS)} seeds: {'; '.join(alarms) or 'none'}.",
        "",
        *(f"- {name}" for name in (*SUMS, *WAYS, *(f"pointwise: {name}" for name in POINTWISE_WAYS))),
        "- narrow inputs, sums in float32",
        "",
        *_held_out(held_out),
    ]
    return "\n".join(lines) + "\n"


def _held_out(found: Sequence[tuple[Mutant, bool, tuple[str, ...]]]) -> Iterator[str]:
    one = [item for item in found if item[0].explained and "two: " not in item[0].name]
    two = [item for item in found if item[0].explained and item not in one]
    new = [item for item in found if not item[0].explained]

    def tell(items: Sequence[tuple[Mutant, bool, tuple[str, ...]]]) -> str:
        right = sum(bool(names) and set(names) <= set(mutant.explained) for mutant, _, names in items)
        silent = sum(not names for _, _, names in items)
        return f"{right} named rightly, {silent} not named, {len(items) - right - silent} named wrongly"

    missed = [mutant.name for mutant, caught, _ in found if not caught]
    yield from (
        "## Mistakes that the names were not written against",
        "",
        f"{len(found)} mutants of another text in another style (`tests/crosscheck_held_out.py`), written by the same",
        "hand after the list of mistakes, and without a change to it since; float32.",
        f"Missed: {', '.join(missed) or 'none'}.",
        "",
        f"- a mistake of the list in another form ({len(one)}): {tell(one)}",
        f"- two mistakes of the list at once ({len(two)}; either name counts): {tell(two)}",
        f"- a mistake that the list does not have ({len(new)}; silence is right): {tell(new)}",
        "",
        "What the mistake is about (rows) against what was said (columns):",
        "",
    )
    counts = Counter(
        (topic(mutant.explained[0]) if mutant.explained else "not in the list", topic(names[0]) if names else NOTHING)
        for mutant, _, names in found
    )
    columns = [*TOPICS, NOTHING]
    yield f"| | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for row in (*TOPICS, "not in the list"):
        yield f"| {row} | {' | '.join(str(counts[row, column] or '') for column in columns)} |"
    yield from ("", "| mistake | right to say | said |", "| --- | --- | --- |")
    for mutant, _, names in found:
        yield f"| {mutant.name} | {' or '.join(mutant.explained) or NOTHING} | {' or '.join(names) or NOTHING} |"


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[1])}")
    options = parser.parse_args()
    with truths_kept():
        rows = []
        for mutant in MUTANTS:
            rows.append(judged(mutant))
            progress(f"{mutant.name}: {rows[-1].case or 'MISSED'}")
        held_out = []
        for mutant in HELD_OUT:
            report = run(mutant, dtype="float32")
            held_out.append((mutant, not report.ok, names_of(report)))
    text = page(rows, list(false_alarms()), held_out)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
