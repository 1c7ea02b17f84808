"""What the tests of a whole section share: data of every form, and the oracle on arrays of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import oracle
import pytest

import refloss
from refloss import InputError, LossSection

RNG = np.random.default_rng(6)
SEED = RNG.bit_generator.state

B, ATOMS = 4, np.array([3, 1, 2, 5])
"""Four structures of eleven atoms."""


def reseed() -> None:
    """Give a test the same numbers whatever ran before it."""
    RNG.bit_generator.state = SEED


FULL = {
    "energy": {
        "type": "huber",
        "delta": 0.7,
        "weight": 0.3,
        "forces": {"type": "mae", "weight": -2.5, "reduction": "sum"},
        "stress": {"type": "mse", "weight": 0.0},
    },
    "charge": {"type": "mae", "weight": 1e-3},
}


def section(losses: Mapping[str, Any], *, training_set: Mapping[str, Any] | None = None) -> LossSection:
    """Return the section of a file that has it at the top."""
    options = {"loss": losses} if training_set is None else {"loss": losses, "training_set": training_set}
    return refloss.load_options(options)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def said(call: Any, *args: Any, **keywords: Any) -> str:
    """Return the message of the InputError that the call raises."""
    with pytest.raises(InputError) as caught:
        call(*args, **keywords)
    return str(caught.value)


def energies() -> dict[str, Any]:
    """Return values (B, 1), forces (atoms, 3, 1) and stress (B, 3, 3, 1) of an energy."""
    return {"values": normal(B, 1), "positions": normal(11, 3, 1), "strain": normal(B, 3, 3, 1)}


def exact(loss: str, p: Any, t: Any, **keywords: Any) -> oracle.Pointwise:
    """Ask the oracle about arrays of any shape."""
    if "mask" in keywords:
        keywords["mask"] = np.asarray(keywords["mask"]).ravel().tolist()
    return oracle.pointwise(loss, np.ravel(p).tolist(), np.ravel(t).tolist(), **keywords)


def in_blocks(*arrays: Any) -> dict[str, Any]:
    """Return the arrays as blocks 0, 1, …, the last inserted first."""
    return {"blocks": dict(reversed(list(enumerate(arrays))))}
