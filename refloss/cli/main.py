"""The command ``refloss``: its arguments, and how it ends.

It exits with 0, with 1 where what it checked is wrong, with 2 and one message on stderr where the user can mend
something, with 130 after Ctrl-C, and with 141 where whoever reads its output has left. Commands are imported when they
run, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import refloss
from refloss.errors import ConfigError, InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name; None: that of this process), return the exit status."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # whoever started this process has closed it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end of the process
        elif isinstance(stream, io.TextIOWrapper):  # a console that cannot show a character still shows the rest
            stream.reconfigure(errors="backslashreplace")
    with _no_interrupt_lost():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
        module, _, function = str(arguments.run).partition(":")
        run: Callable[[argparse.Namespace], int | None] = getattr(import_module(f"refloss.cli.{module}"), function)
        status = run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse, after --help or a message of its own
        return stop.code if isinstance(stop.code, int) else 0
    except (InputError, ConfigError) as error:
        print(f"refloss: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"refloss: error: does not fit into memory: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("refloss: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        if error.filename is not None:
            raise
        # No file of ours: those are answered where they are written. What is left is a stdout on a full disk.
        _drop_output()
        print(f"refloss: error: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    return status or 0


def _drop_output() -> None:
    """Let go of stdout: at its exit Python flushes what is still buffered, and would complain of the same again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Repeat a Ctrl-C that lands in a callback from foreign code, out of which Python cannot raise it.

    Compiling a kernel is mostly such code, and in writing HDF5 nearly all else is: the interrupt would be printed, and
    the work would go on. It is raised by the next line of the frame that had called the foreign code; a signal sent
    again would land in a callback again.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            frame = sys._getframe().f_back
            assert frame is not None  # main's own is below
            frame.f_trace = _interrupt
            sys.settrace(lambda *_: None)  # without any, a frame's own is not called
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """argparse, with one message of one line instead of the usage and an error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"refloss: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="refloss",
        description="The reference for the loss functions of atomistic machine learning: values, gradients, pictures.",
        allow_abbrev=False,
    )
    version = f"refloss {refloss.__version__} (specification {refloss.SPEC_VERSION})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    evaluate = commands.add_parser(
        "evaluate",
        help="evaluate a loss section on predictions and targets",
        description="Evaluate the loss section of metatrain options on predictions, and on the targets and masks of "
        "the files that the options name. Files may be npz, mts, extended XYZ, HDF5, Zarr, metatrain's zip and memmap "
        "data sets, or folders of npy.",
        allow_abbrev=False,
    )
    _add_data(evaluate)
    evaluate.add_argument("--json", metavar="OUT", type=Path, help="write every figure to this file (- for stdout)")
    evaluate.add_argument("--report", metavar="OUT", type=Path, help="write a page to explore to this file (.html)")
    evaluate.add_argument("--plots", metavar="DIR", type=Path, help="draw the pictures into this folder")
    evaluate.set_defaults(run="evaluate:run")
    _add_plot(commands)

    demo = commands.add_parser(
        "demo",
        help="make a data set, evaluate it and draw the pictures",
        description="Make a data set of model crystals with predictions that are wrong in known ways, evaluate it, "
        "draw the pictures, and print the command that repeats it.",
        allow_abbrev=False,
    )
    demo.add_argument("--out", metavar="DIR", type=Path, default=Path("refloss-demo"), help="default: %(default)s")
    demo.add_argument(
        "--spectra", metavar="FILE", type=Path, help="the eigenvalues of your own structures instead, as dos reads them"
    )
    demo.set_defaults(run="demo:run")
    _add_dos(commands)

    options = commands.add_parser(
        "options",
        help="print a loss section with every shorthand and default written out",
        description="Print the loss section of metatrain options as YAML, every shorthand and default written out.",
        allow_abbrev=False,
    )
    options.add_argument("options", metavar="FILE", type=Path, help="metatrain options, YAML")
    options.set_defaults(run="options:run")

    schema = commands.add_parser(
        "schema",
        help="print a JSON schema of the loss section, for editors",
        description="Print a JSON schema of the loss section, for editors.",
        allow_abbrev=False,
    )
    schema.set_defaults(run="options:run_schema")
    _add_convert(commands)
    _add_crosscheck(commands)
    _add_vectors(commands)
    return parser


def _add_data(command: _Parser) -> None:
    """Add the arguments that say what is evaluated."""
    add = command.add_argument
    add("options", metavar="OPTIONS", type=Path, help="metatrain options, YAML")
    predictions = "what the model says: a file, several, or the name that metatrain's eval was given"
    add("--predictions", metavar="P", type=Path, nargs="+", required=True, help=predictions)
    add("--set", metavar="SET", help="training_set, validation_set or test_set (default: test_set if it names data)")
    add("--indices", metavar="I", type=Path, nargs="+", help="text files with the structures that count, one a line")
    add("--data", metavar="EVAL", type=Path, help="options of metatrain's eval, whose data are read instead")
    add("--targets", metavar="T", type=Path, nargs="+", help="what it should say, in the place of the options' files")
    add("--extra-data", metavar="X", type=Path, nargs="+", help="masks: TARGET_mask, TARGET_mask/GRADIENT")


def _add_plot(commands: argparse._SubParsersAction[_Parser]) -> None:
    plot = commands.add_parser(
        "plot",
        help="draw one picture of predictions and targets",
        description="Evaluate the loss section of metatrain options, as evaluate does, and draw one picture. Of one "
        "structure: alignment, conventions, cumulative, gradient, penalty. Of all: gallery, landscapes, masks, shifts, "
        "terms. Of energies, forces and other pointwise terms: parity, pointwise.",
        allow_abbrev=False,
    )
    kinds = "alignment, gallery, …: see above"
    plot.add_argument("kind", metavar="KIND", help=kinds)
    _add_data(plot)
    add = plot.add_argument
    add("--target", metavar="NAME", help="the term to draw, TARGET or TARGET/GRADIENT, where there are several")
    add("--structure", metavar="B", type=int, help="the structure to draw, from 0 (default: the one of largest loss)")
    limits = "the energies to show, in eV (default: where most states are)"
    add("--energy-range", metavar=("LOW", "HIGH"), type=float, nargs=2, help=limits)
    add("--out", metavar="FILE", type=Path, required=True, help="what to write: .png, .svg or .pdf")
    plot.set_defaults(run="plot:run")


def _add_convert(commands: argparse._SubParsersAction[_Parser]) -> None:
    convert = commands.add_parser(
        "convert",
        help="write a data set in another format",
        description="Read a data set in any format and write it in that of the output's ending: .npz, .mts, .zip "
        "(DiskDataset), .xyz, .h5, .zarr, .memmap, or none for a folder of npy files. What the new format cannot hold "
        "is an error, unless it is given up by --drop.",
        allow_abbrev=False,
    )
    add = convert.add_argument
    add("input", metavar="IN", type=Path, help="a file or a folder")
    add("output", metavar="OUT", type=Path, help="what to write: a file may be there, a folder must not hold anything")
    add("--options", metavar="FILE", type=Path, help="metatrain options, which describe the data")
    add("--target", metavar="NAME", action="append", default=[], help="a target or mask, and no others; repeatable")
    dropped = "labels, structures, gradients, or digits (beyond float32); repeatable"
    add("--drop", metavar="WHAT", action="append", default=[], help=dropped)
    convert.set_defaults(run="convert:run")


def _add_dos(commands: argparse._SubParsersAction[_Parser]) -> None:
    dos = commands.add_parser(
        "dos",
        help="make densities of states and their masks from eigenvalues",
        description="Make a density of states and a mask for each structure of a file of eigenvalues and k-weights: "
        "extended XYZ with the keys eigenvalues and 'k-point weights', or npz with eigenvalues and k_weights, "
        "NAME/eigenvalues and NAME/k_weights where there are several structures. The grid is that of PET-MAD-DOS.",
        allow_abbrev=False,
    )
    add = dos.add_argument
    add("file", metavar="FILE", type=Path, help="eigenvalues in eV, extended XYZ or npz")
    add(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="what to write, in the format of its ending (npz, mts, …)",
    )
    add("--target", metavar="NAME", default="mtt::dos", help="what it is called; the mask is NAME_mask (%(default)s)")
    add("--start", metavar="E", type=float, default=-149.6456, help="the first energy in eV (%(default)s)")
    add("--step", metavar="E", type=float, default=0.05, help="the energy step in eV (%(default)s)")
    add("--points", metavar="N", type=int, default=4606, help="the number of energies (%(default)s)")
    add("--padding", metavar="N", type=int, default=0, help="points below the start, metatrain's extra_targets (0)")
    add(
        "--width", metavar="E", type=float, default=0.3, help="standard deviation of the broadening in eV (%(default)s)"
    )
    add(
        "--margin",
        metavar="E",
        type=float,
        default=0.9,
        help="how far below the bands' end the mask ends (%(default)s)",
    )
    add(
        "--occupation",
        metavar="X",
        type=float,
        help="scale k-weights so that a band holds X states; 2 counts both spins",
    )
    add("--eigenvalues", metavar="KEY", help="the name that the eigenvalues have in the file")
    add("--k-weights", metavar="KEY", help="the name that the weights have")
    dos.set_defaults(run="dos:run")


def _add_crosscheck(commands: argparse._SubParsersAction[_Parser]) -> None:
    crosscheck = commands.add_parser(
        "crosscheck",
        help="check somebody's implementation of a loss against the golden figures",
        description="Run an implementation of a loss on cases that a wrong one cannot pass, and say which figures are "
        "right. Exits with 0 where it is right, 1 where it is wrong, 2 where it could not be run.",
        allow_abbrev=False,
    )
    add = crosscheck.add_argument
    add("candidate", metavar="PACKAGE.MODULE:CALLABLE", help="or FILE.py:CALLABLE, the implementation")
    add("--loss", required=True, help="masked_dos, shift_agnostic_mse, mse, masked_huber, …")
    add("--dtype", default="float32", help="float64, float32, tf32, float16 or bfloat16 (default: %(default)s)")
    add("--accumulate", metavar="DTYPE", help="what it sums in, where that is another")
    add("--arrays", default="numpy", help="numpy, torch, jax or cupy (default: %(default)s)")
    add("--device", help="cuda, say")
    add("--suite", default="core", help="core or full (default: %(default)s)")
    add("--only", metavar="PATTERN", action="append", help="run the cases that fit alone (*/generic/*); repeatable")
    add("--convention", metavar="C", help="the only one that is right (default: any one that fits every case)")
    add("--param", metavar="NAME=VALUE", action="append", default=[], help="a parameter of all cases; repeatable")
    add("--seed", type=int, default=0, help="of the numbers in the cases (default: %(default)s)")
    add("--no-grad", action="store_true", help="do not judge gradients, nor differentiate")
    add("--timeout", metavar="S", type=float, help="seconds that one call may take")
    add("--deterministic", action="store_true", help="fail where two runs differ")
    add("--xfails", metavar="F", type=Path, help="cases, or cases and figures, that are expected to fail")
    add("--json", metavar="F", type=Path, help="write the report to this file")
    add("--html", metavar="F", type=Path, help="write it as a page")
    crosscheck.set_defaults(run="crosscheck:run")


def _add_vectors(commands: argparse._SubParsersAction[_Parser]) -> None:
    vectors = commands.add_parser(
        "vectors",
        help="golden vectors: cases and figures as JSON, for implementations in any language",
        description="Write golden vectors, judge by them what an implementation in any language has computed, and look "
        "them over.",
        allow_abbrev=False,
    )
    actions = vectors.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=_Parser)

    write = actions.add_parser("write", help="write the set into a folder", allow_abbrev=False)
    write.add_argument("folder", metavar="DIR", type=Path, nargs="?", default=Path("vectors"), help="default: vectors")
    write.set_defaults(run="vectors:run_write")

    check = actions.add_parser(
        "check",
        help="judge results",
        description="Judge the figures in a JSON file {case id: {figure: numbers}}. Exits with 0 where all are right, "
        "1 where one is wrong or a case is missing, 2 where the file cannot be read.",
        allow_abbrev=False,
    )
    check.add_argument("results", metavar="RESULTS.json", type=Path, help="what an implementation has computed")
    check.add_argument("--vectors", metavar="DIR", type=Path, help="the set that it read (default: what write makes)")
    check.add_argument("--convention", metavar="C", help="the only one that is right (default: any one that fits)")
    check.set_defaults(run="vectors:run_check")

    lint = actions.add_parser("lint", help="look a set over", allow_abbrev=False)
    lint.add_argument("folder", metavar="DIR", type=Path, help="a folder of vectors")
    lint.set_defaults(run="vectors:run_lint")
