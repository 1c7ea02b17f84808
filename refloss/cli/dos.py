"""``refloss dos``: eigenvalues to densities of states and masks, in a file that metatrain or refloss reads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from refloss.cli.evaluate import Step, progress
from refloss.cli.table import alarm, console, make_table, print_written
from refloss.errors import InputError
from refloss.files import Contents, Structures, formats
from refloss.files.output import check_output
from refloss.files.spectra import Sample, joined, read
from refloss.results import Booleans, Floats
from refloss.spectra import EnergyGrid

SAME: Final = 1e-3
"""How far apart, relatively, the occupations of the structures of a data set may be: printed k-weights are rounded."""

_NEED_ATOMS: Final = ("extxyz", "disk dataset", "memmap")
_FLOATS_ALONE: Final = ("mts", "disk dataset", "memmap")
"""The formats that metatrain reads without making float64 of what is in them: masks of 0.0 and 1.0."""


@dataclass
class Densities:
    """What was made of a file, and what is to be told of it; `rows` and `masks` have a row a structure."""

    grid: EnergyGrid
    energies: Floats
    rows: list[Floats] = field(default_factory=list)
    masks: list[Booleans] = field(default_factory=list)
    structures: list[Structures | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    k_points: list[int] = field(default_factory=list)
    bands: list[int] = field(default_factory=list)
    spins: list[int] = field(default_factory=list)
    occupations: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    below: int = 0


def run(arguments: argparse.Namespace) -> None:
    """Compute, write, and tell what was found."""
    out: Path = arguments.out
    written = formats.by_ending("--out", out)
    grid = EnergyGrid(arguments.start, arguments.step, arguments.points, arguments.padding)
    files: dict[Path, tuple[str, ...]] = {out: (arguments.target, f"{arguments.target}_mask")}
    if written.name == "mts":  # which holds one of the two
        files = {out: (arguments.target,), out.with_name(f"{out.stem}_mask{out.suffix}"): (f"{arguments.target}_mask",)}
    for path in files if not written.folder else ():
        check_output("--out", path, inputs=[arguments.file])
    with progress() as step:
        made = densities(arguments, grid, written.name in _NEED_ATOMS, step)
        step("writing")
        mask = np.array(made.masks)
        data = {
            arguments.target: {"values": np.array(made.rows)},
            f"{arguments.target}_mask": {"values": mask.astype(np.float64) if written.name in _FLOATS_ALONE else mask},
        }
        known = [structure for structure in made.structures if structure is not None]
        structures = joined(known) if known else None
        for path, names in files.items():
            formats.write("--out", path, Contents({name: data[name] for name in names}, structures))
    output = console(sys.stdout)
    output.print(f"{len(made.rows)} structure{'s' * (len(made.rows) > 1)} of {arguments.file}", soft_wrap=True)
    output.print()
    table = _table(made, scaled=arguments.occupation is not None)
    if written.name == "memmap":
        table.add_row("digits", "those of float32, which are all that memmap folders hold")
    output.print(table)
    output.print()
    print_written(files, output)


def densities(arguments: argparse.Namespace, grid: EnergyGrid, need_atoms: bool, step: Step) -> Densities:
    """Compute the density and the mask of each structure."""
    made = Densities(grid, grid.predictions)
    for number, sample in enumerate(_scaled(arguments)):
        step(f"structure {number}: {sample.name}")
        if need_atoms and sample.structure is None:
            raise InputError(f"--out: {arguments.out}: found no atoms in {arguments.file}, expected a format without")
        bands = sample.spectrum
        made.rows.append(bands.dos(made.energies, arguments.width))
        made.masks.append(bands.mask(made.energies, arguments.margin))
        made.structures.append(sample.structure)
        made.names.append(sample.name)
        made.k_points.append(bands.k_points)
        made.bands += [bands.fewest, bands.most]
        made.spins.append(bands.spins)
        made.occupations.append(bands.occupation)
        made.lowest.append(float(bands.states.min()))
        made.ends.append(float(bands.tops.min()) - arguments.margin)
        made.below += int(bands.states.min() < made.energies[0] + 3.0 * arguments.width)
    return made


def _scaled(arguments: argparse.Namespace) -> Iterator[Sample]:
    """Yield the structures; their k-weights scaled where that is asked for, of one sum where it is not."""
    first: Sample | None = None
    for sample in read("FILE", arguments.file, arguments.eigenvalues, arguments.k_weights):
        found = sample.spectrum.occupation
        if arguments.occupation is not None:
            scaled = sample.spectrum.scaled(arguments.occupation)
            yield Sample(sample.where, sample.name, scaled, sample.structure)
            continue
        first = first or sample
        expected = first.spectrum.occupation
        if not abs(found - expected) <= SAME * abs(expected):
            raise InputError(
                f"{sample.where}: found k-weights that sum to {found:.6g} over all spins, expected {expected:.6g}, as "
                f"those of {first.where}: densities of one scale (--occupation 2 gives them one)"
            )
        yield sample


def _table(made: Densities, *, scaled: bool) -> Table:
    table = make_table(None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    counted = [int(mask.sum()) for mask in made.masks]
    kinds = list(dict.fromkeys(made.names))
    table.add_row("structures", ", ".join(kinds[:6]) + (f" and {len(kinds) - 6} more" if len(kinds) > 6 else ""))
    table.add_row("k-points", _range(made.k_points))
    table.add_row("bands", _range(made.bands))
    table.add_row("spins", _range(made.spins))
    full = [occupation for occupation in made.occupations if abs(occupation - 2.0) > 2.0 * SAME]
    note = "" if scaled or not full else ", where 2 would count every electron once: --occupation 2 scales them"
    table.add_row("k-weights", f"sums of {_range(made.occupations)}, all spins together{note}")
    table.add_row("lowest state", f"{_range(made.lowest)} eV")
    step, last = made.grid.step, float(made.energies[-1])
    table.add_row(
        "grid", f"{made.energies.size} points, {made.energies[0]:.8g} to {last:.8g} eV in steps of {step:g} eV"
    )
    table.add_row("below the grid", alarm((made.below, "with states below it or at its edge, which are cut off")))
    table.add_row("masks end at", f"{_range(made.ends)} eV, {100 * np.mean(made.masks):.4g} % of the points count")
    table.add_row("empty masks", alarm((counted.count(0), "in which nothing counts")))
    return table


def _range(values: list[int] | list[float]) -> str:
    """Return the smallest and the largest, or the one that all are."""
    ends = dict.fromkeys(f"{end:.6g}" for end in (min(values), max(values)))
    return " to ".join(ends)
