"""What must be measured in a process of its own: prints one JSON number.

child.py first LOSS      seconds of the first call, with every import that it needs but NumPy's
child.py memory COUNT    bytes beyond inputs and outputs that masked_dos takes at its peak, for COUNT structures
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np


def first(loss: str) -> float:
    """Call `loss` for the first time in this process, on 64 densities of states of 4606 points."""
    energies = np.arange(-200, 4606)
    centres = np.linspace(1000.0, 3000.0, 64)[:, None]
    p = np.exp(-(((energies - centres) / 300.0) ** 2))
    t = np.exp(-(((energies[200:] - centres - 20.5) / 310.0) ** 2))
    extra = {"masked_dos": (t > 1e-3,)}.get(loss, ())
    if loss == "mse":
        p = p[:, 200:].copy()
    start = time.perf_counter()
    import refloss

    getattr(refloss, loss)(p, t, *extra, grad=True)
    return time.perf_counter() - start


def memory(count: int) -> float:
    """Return the peak of the resident memory during a call, less what was there before and what was returned."""
    from inputs import Inputs, trained

    import refloss

    few = trained()
    refloss.masked_dos(few.predictions, few.targets, few.mask, grad=True)
    many: Inputs = trained(count)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = _kilobytes("VmRSS")
    result = refloss.masked_dos(many.predictions, many.targets, many.mask, grad=True)
    peak = _kilobytes("VmHWM")
    assert result.grad is not None
    certificate = result.certificate
    returned = (
        result.grad, result.per_structure, result.shift, result.runner_up, result.margin, result.tied,
        result.terms.dos, result.terms.front_tail, result.terms.unmasked_gradient, result.terms.cumulative,
        certificate.evaluated, certificate.exact, certificate.excluded_above,
    )  # fmt: skip
    return max(1024.0 * (peak - before) - sum(array.nbytes for array in returned), 0.0)


def _kilobytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    print(json.dumps(first(argument) if what == "first" else memory(int(argument))))
