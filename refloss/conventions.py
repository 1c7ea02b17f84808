"""The named switch sets of the aligned losses: what "the masked DOS loss" means to whom.

The documentation of the loss and its released code disagree in several places (specification, section 3). Each place
is one switch of `Convention`; a convention is one choice of all of them, and it is data: nothing else in the package
asks which release it is computing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Literal, get_args

from refloss.errors import InputError, did_you_mean

Objective = Literal["dos", "dos+front_tail", "total"]
GradientPoints = Literal["window", "prediction"]
Stencil = Literal["exact", "float32"]
Cumulative = Literal["structure", "batch"]
Cumulated = Literal["dos", "squares"]

_CHOICES: Final = {
    "objective": get_args(Objective),
    "front_tail": (True, False),
    "gradient_points": get_args(GradientPoints),
    "stencil": get_args(Stencil),
    "cumulative": get_args(Cumulative),
    "cumulated": get_args(Cumulated),
}


@dataclass(frozen=True)
class Convention:
    """One choice of every switch of the masked DOS loss.

    Parameters
    ----------
    name : str
        Printed beside every figure that was computed under this convention.
    objective : {"dos", "dos+front_tail", "total"}
        What the alignment minimises: D(s), D(s) + F(s), or the whole per-structure loss at s.
    front_tail : bool
        Whether F, the predicted states below the window, is part of the value.
    gradient_points : {"window", "prediction"}
        Where the unmasked gradient is taken: on the aligned window, or on the whole prediction with everything
        outside the window but what lies behind it counted as unmasked.
    stencil : {"exact", "float32"}
        The coefficients of the backward difference: the exact ones over 12 dx, or the float32 numbers that the
        release stores for dx = 0.05 eV.
    cumulative : {"structure", "batch"}
        Whether the cumulative term integrates over energy with the structure's own mask, or over the batch axis
        with the masks of all structures added up.
    cumulated : {"dos", "squares"}
        Whether it accumulates a − t, or a² − t².

    Raises
    ------
    InputError
        A switch has a value that is none of its choices, or two switches contradict each other.

    Notes
    -----
    Specification, section 3, "Conventions".
    """

    name: str
    objective: Objective
    front_tail: bool
    gradient_points: GradientPoints
    stencil: Stencil
    cumulative: Cumulative
    cumulated: Cumulated

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"Convention name: found {self.name!r}, expected a non-empty string")
        for switch, choices in _CHOICES.items():
            found = getattr(self, switch)
            if not any(found is choice or (isinstance(found, str) and found == choice) for choice in choices):
                expected = ", ".join(repr(choice) for choice in choices)
                hint = did_you_mean(found, choices) if isinstance(found, str) and switch != "front_tail" else ""
                raise InputError(f"Convention {switch}: found {found!r}, expected one of {expected}{hint}")
        if self.objective == "total" and self.cumulative == "batch":
            raise InputError(
                "Convention objective 'total' and cumulative 'batch' contradict each other: a batch cumulative "
                "depends on every structure's shift, so no structure can be aligned by its own total"
            )

    @property
    def energy_step(self) -> float | None:
        """The only energy step (eV) for which this convention is defined, or None where any will do."""
        return 0.05 if self.stencil == "float32" else None

    @property
    def reductions(self) -> tuple[str, ...]:
        """The reductions that this convention knows: the release of a batch cumulative ignores all but the mean."""
        return ("mean",) if self.cumulative == "batch" else ("mean", "sum", "none")


_RELEASE_2026_2 = Convention("metatrain-2026.2", "dos+front_tail", True, "prediction", "float32", "batch", "dos")

MASKED_DOS: Final = {
    convention.name: convention
    for convention in (
        Convention("documented", "dos", False, "window", "exact", "structure", "dos"),
        Convention("intended", "dos+front_tail", True, "prediction", "exact", "structure", "dos"),
        _RELEASE_2026_2,
        dataclasses.replace(_RELEASE_2026_2, name="metatrain-2025.12", cumulated="squares"),
    )
}
"""The named conventions of `masked_dos`."""

SHIFT_AGNOSTIC: Final = {
    convention.name: convention
    for convention in (MASKED_DOS["intended"], dataclasses.replace(_RELEASE_2026_2, name="metatrain-2026.3"))
}
"""The named conventions of `shift_agnostic_mse`."""


def find(convention: str | Convention, named: dict[str, Convention]) -> Convention:
    """Return `convention` itself, or the one of `named` that has this name."""
    if isinstance(convention, Convention):
        return convention
    if not isinstance(convention, str):
        raise InputError(
            f"convention: found {type(convention).__name__}, expected a Convention or one of {', '.join(named)}"
        )
    if convention not in named:
        raise InputError(
            f"convention: found {convention!r}, expected a Convention or one of {', '.join(named)}"
            f"{did_you_mean(convention, named)}"
        )
    return named[convention]
