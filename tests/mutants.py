"""What each safeguard is for: it is removed in a copy of the package, and a test must fail.

    python tests/mutants.py                    every mutant: a table of which test caught it
    python tests/mutants.py "no TINY" intact   some of them, by name; "intact" is the copy as it is, which must pass

Every mutant compiles all kernels anew, so that the whole takes about twenty minutes. A mutant that nothing
catches is a test that is missing, or a safeguard that is not needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

TESTS = (
    "nasty",
    "pointwise",
    "bounds",
    "kernels_exact",
    "search",
    "aligned_hard",
    "aligned",
    "shift_agnostic",
    "metamorphic",
    "campaign",
)
"""The files of tests that a mutant has to pass, in this order, until one fails."""

ENSEMBLE_TESTS = ("ensemble", "section_ensemble")
"""The same for the ensemble losses."""


@dataclass(frozen=True)
class Mutant:
    """An edit of one file: every occurrence of `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = TESTS

    def apply(self, package: Path) -> None:
        """Edit the copy."""
        path = package / self.file
        text = path.read_text(encoding="utf-8")
        if self.old not in text:
            raise SystemExit(f"{self.name}: {self.file} has no {self.old!r}: the mutant no longer fits the package")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


MUTANTS = (
    # Sums
    Mutant("plain accumulation of squares", "kernels/sums.py", "low[k] += r + e", "low[k] += 0.0"),
    Mutant("plain accumulation, pointwise", "kernels/pointwise.py", "low[k] += r + e", "low[k] += 0.0"),
    Mutant("the product's error dropped", "kernels/eft.py", "return p, fma(a, b, -p)", "return p, 0.0"),
    Mutant(
        "the sum's error as if |a| ≥ |b|",
        "kernels/eft.py",
        "return s, (a - (s - v)) + (b - v)",
        "return s, b - (s - a)",
    ),
    Mutant(
        "a broken combination tree", "kernels/sums.py", "high[k + width], low[k + width])", "high[k + width], low[k])"
    ),
    Mutant(
        "a lane left out of the tree", "kernels/sums.py", "for k in range(width):", "for k in range(max(width - 1, 1)):"
    ),
    Mutant(
        "lanes without an error bound",
        "kernels/sums.py",
        "return 8.0 * (n / LANES + 9.0) ** 2 * 2.0**-106",
        "return 0.0",
    ),
    Mutant("points past the window", "kernels/sums.py", "    whole = n - n % LANES\n", "    whole = n + -n % LANES\n"),
    Mutant("bins without room for the sum", "kernels/sums.py", "room = math.frexp(4.0 * n)[1]", "room = 1"),
    Mutant("nothing below the two bins", "kernels/sums.py", "rest[i] = (r - b) + e", "rest[i] = 0.0"),
    Mutant(
        "running sums that begin anew in every tile",
        "kernels/sums.py",
        "a0, b0, c0 = a[count], b[count], c[count]",
        "a0 = b0 = c0 = 0.0",
    ),
    Mutant("bins without slack", "kernels/sums.py", "slack = math.ldexp(4.0 * n * n, second - 105)", "slack = 0.0"),
    Mutant(
        "the stencil's slack dropped",
        "kernels/profile.py",
        "slack = 4 * EPS * largest(reach[: high - low])",
        "slack = 0.0",
    ),
    # Certificates of figures
    Mutant(
        "every figure is certified",
        "certificate.py",
        "proven: Booleans = inside | ((high == 0.0) & (error == 0.0))",
        "proven: Booleans = np.ones_like(inside)",
    ),
    Mutant("no TINY", "kernels/eft.py", "TINY = 2.0**-1022", "TINY = 0.0"),
    Mutant("underflow in scaling not seen", "certificate.py", "(smallest < 2.0**-900)", "(smallest < 0.0)"),
    Mutant("lost gradients not mended", "kernels/profile.py", "NEGLIGIBLE = 2.0**-900", "NEGLIGIBLE = 0.0"),
    Mutant("lost pointwise slopes not mended", "kernels/pointwise.py", "LOST = 2.0**-900", "LOST = 0.0"),
    Mutant("52 bits of 53 in exact integers", "exact.py", "np.ldexp(mantissa, 53)", "np.ldexp(mantissa, 52) * 2"),
    # The search
    Mutant("terms at a shift that was corrected since", "alignment.py", "if shift[b] != before:", "if False:"),
    Mutant("no exact step for ties", "alignment.py", "        if not proven[b]:\n", "        if False:\n"),
    Mutant(
        "every order is proven",
        "kernels/alignment.py",
        "    return gap > slack * (1.0 + 2.0**-40) or (slack == 0.0 and gap == 0.0)",
        "    return True",
    ),
    Mutant("the runner-up is not kept", "kernels/alignment.py", "cost[s] > second:", "cost[s] > first:"),
    Mutant("the limit by sums is the best's", "kernels/alignment.py", "(next_lowest + TINY)", "(lowest + TINY)"),
    Mutant(
        "sums have no error",
        "kernels/bounds.py",
        "return 2.02 * (points + shifts + 32) * UNIT",
        "return 0.0 * (points + shifts)",
    ),
    Mutant(
        "blocks without rounding slack",
        "kernels/bounds.py",
        "cost[s] * shrink - 2.0 * error * math.sqrt(count * cost[s])",
        "cost[s] + 0.0 * error * shrink * math.sqrt(count * 1.0)",
    ),
    Mutant(
        "sums without rounding slack", "kernels/bounds.py", "        cost[s] *= shrink\n", "        cost[s] *= 1.0\n"
    ),
    Mutant(
        "front tails without rounding slack",
        "kernels/bounds.py",
        "(cost[s] + own[s] * shrink) * (1.0 - 4 * UNIT) - TINY",
        "cost[s] + own[s]",
    ),
    Mutant("blocks hold masked points", "kernels/bounds.py", "count += counting == length", "count += counting > 0.0"),
    Mutant(
        "a window one point on in the bounds",
        "kernels/bounds.py",
        "window = x[i + start : i + start + shifts]",
        "window = x[i + start + 1 : i + start + 1 + shifts]",
    ),
    Mutant("any run is a plateau", "kernels/alignment.py", "if p[anchor] == p[anchor - 1]:", "if True:"),
    Mutant(
        "a plateau one shift too long", "kernels/alignment.py", "high - last, same.size", "high - last + 1, same.size"
    ),
    Mutant(
        "a plateau in spite of a front tail",
        "kernels/alignment.py",
        "same[s] = same[s] and p[s] == 0.0 and p[s - 1] == 0.0",
        "same[s] = same[s]",
    ),
    Mutant(
        "excluded above the lowest alone",
        "kernels/alignment.py",
        "excluded[k] = min(excluded[k], cost[s])",
        "excluded[k] = cost[s]",
    ),
    # The ensemble losses
    Mutant("moments about 0", "kernels/ensemble.py", "two_sum(y, -first)", "(y - first, 0.0)", ENSEMBLE_TESTS),
    Mutant(
        "no error of members' differences",
        "kernels/ensemble.py",
        "two_sum(ensemble[i, k], -ensemble[i, 0])",
        "(ensemble[i, k] - ensemble[i, 0], 0.0)",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "the mean rounded",
        "kernels/ensemble.py",
        "    mh, ml = dd_div(mh, ml, float(members.size))\n",
        "    mh, ml = mh / members.size, 0.0\n",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "lost elements of an ensemble not mended",
        "kernels/ensemble.py",
        "LOST = 2.0**-900",
        "LOST = 0.0",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "a lost mean not mended",
        "kernels/ensemble.py",
        "    if lost or 0.0 < abs(h) < LOST:",
        "    if False:",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "a lost derivative by the variance not mended",
        "kernels/ensemble.py",
        "        elif abs(bh) < LOST:\n            bh = np.nan\n",
        "",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "equal members push each other",
        "kernels/ensemble.py",
        "while j < members and y[order[j]]",
        "while j < 0 and y[order[j]]",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "the floor lets derivatives through",
        "kernels/ensemble.py",
        "        if not floored:\n",
        "        if True:\n",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "the floor acts at itself",
        "kernels/ensemble.py",
        "floored = variance[i] < floor",
        "floored = variance[i] <= floor",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "members: the floor lets derivatives through",
        "kernels/ensemble.py",
        "            bh = bl = 0.0\n",
        "            bl = 0.0\n",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "members: the floor without the low part",
        "kernels/ensemble.py",
        "vh < floor or (vh == floor and vl < 0.0)",
        "vh < floor",
        ENSEMBLE_TESTS,
    ),
    Mutant("fractions: no end to z", "normal.py", "min(abs(d) / sigma, _FAR)", "abs(d) / sigma", ENSEMBLE_TESTS),
    Mutant(
        "log without the low part",
        "kernels/ensemble.py",
        "dd_add(math.log(vh), vl / vh,",
        "dd_add(math.log(vh), 0.0,",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "a sum of members that is lost",
        "kernels/ensemble.py",
        "    lost = 0.0 < abs(mh) < LOST\n",
        "    lost = False\n",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "deviations from 0",
        "kernels/ensemble.py",
        "h, l = dd_add(h, l, -mh, -ml)",
        "h, l = dd_add(h, l, -mh, 0.0)",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "erf from its complement everywhere", "kernels/ensemble.py", "    if h < 0.5:", "    if False:", ENSEMBLE_TESTS
    ),
    Mutant(
        "plain sums of elements",
        "kernels/ensemble.py",
        "            h, l = dd_add(h, l, high[i], low[i])\n",
        "            h += high[i]\n",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "plain sums of members",
        "kernels/ensemble.py",
        "            h, l = dd_add(h, l, dh, dl)\n",
        "            h += dh\n",
        ENSEMBLE_TESTS,
    ),
    Mutant("biased variance", "kernels/ensemble.py", "members.size - 1.0", "members.size - 0.0", ENSEMBLE_TESTS),
    Mutant("a target that hits the mean", "kernels/ensemble.py", "= 2.0**-40", "= 0.0", ENSEMBLE_TESTS),
    Mutant(
        "infinite gradients by members not mended",
        "ensemble.py",
        "    for i in np.flatnonzero(~np.isfinite(slopes)",
        "    for i in np.flatnonzero((np.isinf(slopes) & np.isnan(slopes))",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "properties outermost",
        "members.py",
        "y.reshape(*t.shape[:-1], y.shape[-1] // properties, properties)",
        "y.reshape(*t.shape[:-1], properties, y.shape[-1] // properties).swapaxes(-1, -2)",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "gradients by members last",
        "members.py",
        "np.ascontiguousarray(grad.reshape(self.members.shape).swapaxes(-1, -2))",
        "np.ascontiguousarray(grad.reshape(self.members.shape))",
        ENSEMBLE_TESTS,
    ),
    Mutant(
        "fractions: log without the rest",
        "normal.py",
        "Fraction(math.log(near)) + (m - Fraction(near)) / Fraction(near) + k",
        "Fraction(math.log(near)) + k",
        ENSEMBLE_TESTS,
    ),
    Mutant("fractions: an odd power", "normal.py", "k - k % 2", "k", ENSEMBLE_TESTS),
    Mutant("negative variances pass", "ensemble.py", "    if negative.size:", "    if False:", ENSEMBLE_TESTS),
)

INTACT = "intact"


def caught_by(mutant: Mutant | None) -> tuple[str, float]:
    """Return the first test that fails in a copy with this edit ("" for none), and how long that took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("refloss", "tests", "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy)
        if mutant is not None:
            mutant.apply(copy / "refloss")
        tests = TESTS + ENSEMBLE_TESTS if mutant is None else mutant.tests
        environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"PYTHONPATH": folder}
        files = [f"tests/test_{name}.py" for name in tests if (copy / f"tests/test_{name}.py").exists()]
        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=line"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *files],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if failed is None and done.returncode != 0:
        return f"pytest ended with {done.returncode}: {done.stdout[-200:]}", time.monotonic() - started
    return failed[1] if failed else "", time.monotonic() - started


def main(arguments: list[str] | None = None) -> int:
    named = {mutant.name: mutant for mutant in MUTANTS}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{INTACT}, {', '.join(named)}".replace("%", "%%"))
    chosen = parser.parse_args(arguments).names or [INTACT, *named]
    unknown = [name for name in chosen if name not in named and name != INTACT]
    if unknown:
        parser.error(f"no mutant is called {unknown[0]!r}")
    wrong = []
    for name in chosen:
        test, seconds = caught_by(named.get(name))
        if (test == "") != (name == INTACT):
            wrong.append(name)
        print(f"| {name} | {test or 'nothing'} | {seconds:.0f} s |", flush=True)
    print(f"wrong: {', '.join(wrong)}" if wrong else "as it should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
