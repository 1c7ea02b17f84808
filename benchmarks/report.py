"""The table, the JSON file and the figure of a run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments import Goal, Report
from rich.console import Console
from rich.table import Table

WIDTH = 150
MET = {True: "met", False: "NOT MET", None: "not measured"}
COLOURS = {True: "#0072B2", False: "#D55E00", None: "#999999"}


def show(report: Report, machine: dict[str, str]) -> None:
    """Print goals, times and machine."""
    console = Console()
    _print(console if console.is_terminal else Console(width=WIDTH), report, machine)


def save(report: Report, machine: dict[str, str], folder: Path) -> None:
    """Write table.txt, results.json and figure.png."""
    from refloss.plotting.style import save as save_figure

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.txt").open("w", encoding="utf-8") as file:
        _print(Console(file=file, width=WIDTH), report, machine)
    written = {
        "machine": machine,
        "read_bandwidth": report.bandwidth,
        "goals": [{**asdict(goal), "met": goal.met} for goal in report.goals],
        "seconds": report.times,
    }
    text = json.dumps(written, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    save_figure(_figure(report, machine), folder / "figure.png")


def _print(console: Console, report: Report, machine: dict[str, str]) -> None:
    goals = Table("work", "against", "measured", "goal", "", "what bounds it, or how it was reached", title="Goals")
    for goal in report.goals:
        if goal.needed is None:
            needed, mark = "none", ""
        else:
            needed, mark = f"{'≤' if goal.at_most else '≥'} {goal.needed:g} {goal.unit}", MET[goal.met]
        goals.add_row(goal.work, goal.against, _figure_of(goal), needed, mark, goal.note)
    times = Table("experiment", "contestant", "median", "quartiles", "calls", "cores", title="Times")
    for row in report.times:
        quartiles = f"{_time(row['lower_quartile'])} to {_time(row['upper_quartile'])}"
        median = f"{_time(row['median'])} a {row['per']}"
        cores = "–" if row["cores"] is None else f"{row['cores']:.2f}"
        times.add_row(row["experiment"], row["contestant"], median, quartiles, str(row["calls"]), cores)
    about = Table("machine", "", title="Measured on", show_header=False)
    for name, value in machine.items():
        about.add_row(name, value)
    about.add_row("read bandwidth, 2 threads", f"{report.bandwidth / 1e9:.1f} GB/s")
    for table in (goals, times, about):
        console.print(table)
    missed = [goal for goal in report.goals if goal.met is False]
    absent = [goal for goal in report.goals if goal.figure is None]
    met = [goal for goal in report.goals if goal.met]
    console.print(
        f"{len(met)} goals met, {len(missed)} not met, {len(absent)} not measured (metatrain or torch absent)."
    )


def _figure_of(goal: Goal) -> str:
    if goal.figure is None:
        return "–"
    digits = max(0, 2 - math.floor(math.log10(abs(goal.figure)))) if goal.figure else 0
    return f"{goal.figure:.{digits}f} {goal.unit}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _figure(report: Report, machine: dict[str, str]) -> Any:
    """Draw the times of the aligned losses, and how far every goal is passed or missed."""
    import matplotlib as mpl
    import matplotlib.style
    from matplotlib.figure import Figure

    with mpl.rc_context(), mpl.style.context("refloss.plotting.refloss"):
        fig = Figure(figsize=(8.0, 9.5), layout="constrained")
        upper, lower = fig.subplots(2, 1, height_ratios=(1.0, 2.0))
        _draw_times(upper, [row for row in report.times if row["experiment"] in ("masked_dos", "shift_agnostic_mse")])
        _draw_goals(lower, [goal for goal in report.goals if goal.met is not None])
        fig.suptitle(f"{machine['processor']}, 2 threads; medians", fontsize=8)
    return fig


def _draw_times(ax: Any, rows: list[dict[str, Any]]) -> None:
    rows = [row for row in rows if not row["contestant"].startswith("one call")]
    labels = [f"{row['experiment']}: {row['contestant']}" for row in rows]
    medians = [1e6 * row["median"] for row in rows]
    colours = ["#0072B2" if row["contestant"].startswith("value") else "#999999" for row in rows]
    ax.barh(range(len(rows)), medians, color=colours, height=0.6)
    for y, (row, median) in enumerate(zip(rows, medians, strict=True)):
        ax.annotate(_time(row["median"]), (median, y), (3, 0), textcoords="offset points", va="center", fontsize=7)
    ax.set_yticks(range(len(rows)), labels, fontsize=7)
    ax.set(xscale="log", xlabel="time per structure (µs)", title="Side by side (blue: refloss)", xlim=(0.1, None))
    ax.margins(x=0.1)
    ax.invert_yaxis()


def _draw_goals(ax: Any, goals: list[Goal]) -> None:
    ax.axvline(1.0, color="#333333", lw=0.8)
    for y, goal in enumerate(goals):
        ratio = min(goal.better or 0.0, 100.0)
        ax.plot([1.0, ratio], [y, y], color=COLOURS[goal.met], lw=1.5)
        ax.plot(ratio, y, "o" if goal.met else "X", color=COLOURS[goal.met])
    ax.set_yticks(range(len(goals)), [f"{_short(goal)}  {_figure_of(goal)}" for goal in goals], fontsize=6.5)
    ax.set(xscale="log", xlabel="times better than the goal, up to 100", title="Goals (round: met, cross: not met)")
    ax.invert_yaxis()


def _short(goal: Goal) -> str:
    work = goal.work.partition(", convention")[0].partition(", B 64")[0]
    return (
        work if goal.against in ("–", "itself") or goal.against.startswith("the same") else f"{work} / {goal.against}"
    )
