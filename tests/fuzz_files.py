"""Damaged files of every format: each is read, or refused with an InputError that names it, and nothing else happens.

    python tests/fuzz_files.py --tries 6000 --write         all formats; the table into README.md
    python tests/fuzz_files.py --case npz:0:1234 [--keep F]  one try again, by its format, seed and number

A try makes a good file (`corpus`), damages it (`damage`), and reads all of it in a child process, whose memory may grow
by `MEMORY`, and which is ended after `SECONDS`. What does not end as it should is printed with its case.

refloss reads each HDF5 file in a process of its own, which takes a third of a second to start. Here the child reads
them itself, and a file that crashes it is read once more as refloss reads it: that is the try that counts.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import corpus  # noqa: E402
import damage  # noqa: E402

from refloss.errors import ConfigError, InputError  # noqa: E402
from refloss.files import formats  # noqa: E402

MEMORY = 512 << 20
"""Bytes that a child may allocate beyond what it has when everything is imported: the largest file that is made has
some 100 KiB, 1100 times of which are 110 MiB, and one array may be there twice."""

SECONDS = 20.0
"""Of one try: a thousand times what one takes, on a machine that others use too."""

FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the files are, in memory if there is such a place."""

BASES = 16
"""Good files of each format and seed."""

KINDS = tuple(corpus.KINDS)
READ, REFUSED = "read", "refused"


@dataclass
class Tally:
    """How the tries of one format ended, and what ended otherwise than it should."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0
    """The most that a child grew by, in bytes."""
    contained: list[str] = field(default_factory=list)
    """The tries that crashed the library, which refloss has in a process of its own."""

    def note(self, case: str, end: str, told: str) -> None:
        self.ends[end] += 1
        if end not in (READ, REFUSED):
            self.wrong.append(f"{case}: {end}: {told}")


# ---- one try -----------------------------------------------------------------------------------------------------


def make(kind: str, seed: int, number: int, folder: Path, bases: dict[int, corpus.Good]) -> Path:
    """Write the damaged file of a try, and return its path."""
    which = number % BASES
    if which not in bases:
        bases[which] = corpus.good(kind, _rng(kind, seed, which, "base"), folder)
    return put(_rng(kind, seed, number, "damage"), kind, bases[which], folder)


def put(rng: np.random.Generator, kind: str, good: corpus.Good, folder: Path) -> Path:
    """Damage a good file, write it into the folder, and return its path."""
    path = folder / f"damaged{corpus.KINDS[kind].ending}"
    if "" in good:
        if rng.random() < 0.01:
            _strange(rng, path, pipe=kind != "options (YAML)")  # which may come through one, and are waited for
        else:
            path.write_bytes(_damaged(rng, kind, "", good[""]))
        return path
    for name, content in good.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    for _ in range(int(rng.choice([1, 1, 2]))):
        name = str(rng.choice(list(good)))
        if rng.random() < 0.1:
            (path / name).unlink(missing_ok=True)
            _strange(rng, path / name, pipe=True)
        elif (path / name).is_file() and not (path / name).is_symlink():
            (path / name).write_bytes(_damaged(rng, kind, name, good[name]))
    return path


def read_all(kind: str, path: Path, *, found: bool) -> None:
    """Read everything that a file holds: by what it is found to be, or by the reader of what it was."""
    if kind == "options (YAML)":
        from refloss.data_options import SETS, data_section
        from refloss.options import load_options
        from refloss.options_source import Problems, read_yaml

        problems = Problems(str(path))
        root = read_yaml(path, problems)
        for name in SETS if found else ():
            data_section(root, Problems(str(path)), name)  # what is wrong with one is noted, and no more
        load_options(path)
        return
    quantities = corpus.KINDS[kind].quantities
    module = formats.detect("data", path) if found else next(known for known in formats.FORMATS if known.name == kind)
    contents = module.load().read("data", path, quantities)
    for item in contents.data.values():
        for array in _arrays(item):
            # The copy reads what is mapped; a boolean is one byte, which must be 0 or 1.
            copy = np.array(array)
            if copy.dtype.kind not in "biuf" or not copy.dtype.isnative:
                raise TypeError(f"an array of {copy.dtype}")
            if copy.dtype == np.bool_ and copy.size and copy.view(np.uint8).max() > 1:
                raise TypeError("a boolean that is neither")
    if contents.structures is not None:
        assert int(contents.structures.num_atoms.sum()) >= 0


def attempt(kind: str, path: Path, *, found: bool) -> tuple[str, str]:
    """Read a file, and say how that ended, and what was said."""
    try:
        read_all(kind, path, found=found)
    except (InputError, ConfigError) as error:
        said = str(error)
        if str(path) not in said:
            return "refused without its name", said
        if "fit into memory" in said:
            return "beyond the memory", said
        return REFUSED, said
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the run is there to find
        return type(error).__name__, f"{error} ({_origin(error)})"
    return READ, ""


def _arrays(item: Any) -> Iterator[Any]:
    if isinstance(item, Mapping):
        for value in item.values():
            yield from _arrays(value)
    elif hasattr(item, "blocks"):
        yield item.keys.values
        for block in item.blocks():
            yield from _of_block(block)
    else:
        yield item


def _of_block(block: Any) -> Iterator[Any]:
    yield from (block.values, block.samples.values, block.properties.values)
    yield from (component.values for component in block.components)
    for name in block.gradients_list():
        yield from _of_block(block.gradient(name))


def _damaged(rng: np.random.Generator, kind: str, name: str, content: bytes) -> bytes:
    if content.startswith(b"PK"):
        return damage.zip_damaged(rng, content)
    if content.startswith(b"\x93NUMPY"):
        return damage.npy_damaged(rng, content)
    return damage.damaged(rng, content)


def _strange(rng: np.random.Generator, path: Path, *, pipe: bool) -> None:
    """Put something there that is no file of numbers."""
    which = int(rng.integers(8))
    if which == 0:
        path.write_bytes(b"")
    elif which == 1:
        path.mkdir()
    elif which == 2 and pipe:
        os.mkfifo(path)
    elif 2 < which < 7:
        path.symlink_to(("/dev/zero", "/proc/self/mem", "/proc/self/pagemap", path.name)[which - 3])
    # and one that is missing


def _rng(kind: str, seed: int, number: int, what: str) -> np.random.Generator:
    return np.random.default_rng([crc32(f"{kind} {what}".encode()), seed, number])


def _origin(error: BaseException) -> str:
    """Return where in refloss an exception passed last."""
    trace, at = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(ROOT):
            at = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return at


# ---- the child ---------------------------------------------------------------------------------------------------


def child(kind: str, seed: int, first: int, last: int, folder: Path, *, direct: bool) -> None:
    """Make and read the tries from `first` to `last`, and print a line of JSON after each."""
    import resource

    if direct:
        from refloss.files import hdf5, hdf5_reader

        hdf5.Isolated = hdf5_reader.Reader  # type: ignore[misc,assignment]
    bases: dict[int, corpus.Good] = {}
    warnings.simplefilter("error")
    for which in range(BASES):  # all that is imported late, and every good file once
        path = make(kind, seed, which, folder, bases)
        attempt(kind, path, found=True)
        _clear(folder)
    sizes = [
        int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line
    ]
    resource.setrlimit(resource.RLIMIT_AS, (sizes[0] + MEMORY, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        path = make(kind, seed, number, folder, bases)
        start = time.perf_counter()
        end, told = attempt(kind, path, found=number % 2 == 0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        line = {
            "number": number,
            "end": end,
            "told": told[:300],
            "seconds": time.perf_counter() - start,
            "grown": grown,
        }
        print(json.dumps(line), flush=True)
        _clear(folder)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


# ---- the run -----------------------------------------------------------------------------------------------------


def run(kind: str, seed: int, tries: int, first: int = 0) -> Tally:
    """Run the tries of one format in child processes: a new one where one crashed, or was ended."""
    tally, number, last = Tally(), first, first + tries
    direct = kind == "HDF5"
    while number < last:
        number, failure = _run_child(kind, seed, number, last, tally, direct=direct)
        if failure is not None and direct:
            tally.contained.append(f"{kind}:{seed}:{number}")
            number, failure = _run_child(kind, seed, number, number + 1, tally, direct=False)
        if failure is not None:
            tally.note(f"{kind}:{seed}:{number}", *failure)
            number += 1
    return tally


def _run_child(
    kind: str, seed: int, first: int, last: int, tally: Tally, *, direct: bool
) -> tuple[int, tuple[str, str] | None]:
    """Run tries in one child; return the number of the one that did not come back, and how it ended, or `last`."""
    number = first
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        command = [
            sys.executable,
            __file__,
            "--child",
            kind,
            str(seed),
            str(first),
            str(last),
            folder,
            str(int(direct)),
        ]
        # A session of its own, so that what the child started ends with it.
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            wait = 6 * SECONDS  # the first has to start, import, and make its good files
            rest = b""
            while number < last:
                ready, _, _ = select.select([process.stdout], [], [], wait)
                part = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not part:
                    os.killpg(process.pid, signal.SIGKILL)
                    said = process.stderr.read().decode(errors="replace")[-300:]
                    return number, (f"crash ({process.wait()})" if ready else "hang", said)
                *lines, rest = (rest + part).split(b"\n")
                for line in map(json.loads, lines):
                    tally.note(f"{kind}:{seed}:{line['number']}", line["end"], line["told"])
                    tally.slowest = max(tally.slowest, line["seconds"])
                    tally.memory = max(tally.memory, line["grown"] << 10)
                    number = line["number"] + 1
                wait = SECONDS
    return number, None


# ---- the table ---------------------------------------------------------------------------------------------------

MARKERS = "<!-- begin: tests/fuzz_files.py -->", "<!-- end: tests/fuzz_files.py -->"
HEAD = ("format", "tries", "read", "refused, by name", "anything else", "slowest, s", "most memory, MiB")


def table(tallies: Mapping[str, Tally]) -> str:
    """Return a Markdown table: a row for each format, and one for all."""
    rows = [list(HEAD), ["---"] * len(HEAD)]
    rows += [_row(kind, [tally]) for kind, tally in tallies.items()]
    rows.append(_row("all", list(tallies.values())))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, tallies: Sequence[Tally]) -> list[str]:
    ends = sum((tally.ends for tally in tallies), Counter[str]())
    counts = (ends.total(), ends[READ], ends[REFUSED], ends.total() - ends[READ] - ends[REFUSED])
    worst = max(tally.slowest for tally in tallies), max(tally.memory for tally in tallies) / 2**20
    return [name, *(f"{count:,}" for count in counts), f"{worst[0]:.2f}", f"{worst[1]:.0f}"]


def write(tallies: Mapping[str, Tally], seed: int) -> None:
    """Put the table between the markers of the README."""
    path = ROOT / "README.md"
    head, begin, rest = path.read_text(encoding="utf-8").partition(MARKERS[0])
    _, end, tail = rest.partition(MARKERS[1])
    if not begin or not end:
        sys.exit(f"{path.name}: found no {MARKERS[0]} … {MARKERS[1]}")
    path.write_text(f"{head}{begin}\n\nSeed {seed}.\n\n{table(tallies)}\n\n{end}{tail}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--child"]:
        kind, seed, first, last, folder, direct = arguments[1:]
        child(kind, int(seed), int(first), int(last), Path(folder), direct=direct == "1")
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tries", type=int, default=300, help="of each format (default 300)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS, metavar="FORMAT", help=", ".join(KINDS))
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--case", metavar="FORMAT:SEED:NUMBER", help="run this try alone, in this process")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the file of --case stays")
    given = parser.parse_args(arguments)
    if given.case is not None:
        kind, seed, number = given.case.rsplit(":", 2)
        folder = given.keep or Path(tempfile.mkdtemp())
        folder.mkdir(exist_ok=True)
        path = make(kind, int(seed), int(number), folder, {})
        print(path)
        print(*attempt(kind, path, found=int(number) % 2 == 0), sep=": ")
        return 0
    tallies = {}
    for kind in given.kind:
        tallies[kind] = run(kind, given.seed, given.tries, given.first)
        print(*(f"{line}\n" for line in tallies[kind].wrong[:20]), sep="", end="")
        print(kind, dict(tallies[kind].ends), *tallies[kind].contained, flush=True)
    print(table(tallies))
    if given.write:
        write(tallies, given.seed)
    return int(any(tally.wrong for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
