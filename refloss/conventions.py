"""The named switch sets of the aligned losses: what "the masked DOS loss" means to whom.

The documentation of the loss and its released code disagree in several places (specification, section 3). Each place
is one switch of `Convention`; a convention is one choice of all of them, and it is data: nothing else in the package
asks which release it is computing.

Every release of metatrain is a name, too: ``"metatrain-2026.2.1"`` is the convention of that release, ``"metatrain"``
that of the installed one. `RELEASES` says which convention each release has for which loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
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
        Where the unmasked gradient is taken: on the aligned window, or on the whole prediction, with the mask 1 before
        the window and 0 behind it, so that what lies behind is asked to be smooth and what lies before is not.
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
    def fewest_points(self) -> int:
        """The points of the (padded) prediction below which the release behind this convention raises, 0 for none.

        It convolves with five coefficients, unless the weight of the gradient term is 0. Here the term of so few points
        is 0, as in the other conventions.
        """
        return 5 if self.stencil == "float32" else 0

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


LOSSES: Final = {"masked_dos": MASKED_DOS, "shift_agnostic_mse": SHIFT_AGNOSTIC}
"""The losses that have conventions, each with its named ones."""

_OLDER: Final = ("0", "1", "2", "3", "4", "5", "6", "7", "8.1", "9", "9.1", "10", "11")
_MASKED_DOS_2026: Final = {"masked_dos": "metatrain-2026.2"}
_AGNOSTIC_2026: Final = {"shift_agnostic_mse": "metatrain-2026.3"}

RELEASES: Final[dict[str, dict[str, str]]] = {
    **{f"2025.{number}": {} for number in _OLDER},
    "2025.12": {"masked_dos": "metatrain-2025.12"},
    **dict.fromkeys(("2026.1", "2026.2", "2026.2.1"), _MASKED_DOS_2026),
    **dict.fromkeys(("2026.3", "2026.3.1", "2026.4", "2026.4.1"), _AGNOSTIC_2026),
}
"""Every release of metatrain, oldest first, to its losses that have conventions, each with the name of its own."""

REPLACEMENTS: Final = {"masked_dos": "shift_agnostic_mse"}
"""Losses that metatrain has given up, to what it replaced them by."""

_PREFIX: Final = "metatrain"


def find(convention: str | Convention, named: dict[str, Convention]) -> Convention:
    """Return `convention` itself, or the one of `named` that has this name or is that of the release it names.

    Raises
    ------
    InputError
        There is no such convention; the release has not this loss; or it is the installed one, and there is none.
    """
    if isinstance(convention, Convention):
        return convention
    if not isinstance(convention, str):
        raise InputError(
            f"convention: found {type(convention).__name__}, expected a Convention or one of {', '.join(named)}"
        )
    meant = convention if convention in named else of_release(convention, named)
    if meant is None:
        raise InputError(
            f"convention: found {convention!r}, expected a Convention or one of {', '.join(named)}"
            f"{did_you_mean(convention, named)}"
        )
    return named[meant]


def of_release(convention: str, named: Collection[str]) -> str | None:
    """Return the name of the convention that a release has for a loss.

    Parameters
    ----------
    convention : str
        ``"metatrain"`` for the release that is installed, or ``"metatrain-<release>"``.
    named : collection of str
        The loss's named conventions, as in `LOSSES`.

    Returns
    -------
    str or None
        One of `named`; None where `convention` names no release.

    Raises
    ------
    InputError
        The release has not this loss; none is installed, or one that is not in `RELEASES`.
    """
    prefix, _, release = convention.partition("-")
    loss = _loss_of(named)
    if prefix != _PREFIX or loss is None or (release and release not in RELEASES) or convention == f"{_PREFIX}-":
        return None
    release = release or _installed(named)
    if loss not in RELEASES[release]:
        raise InputError(f"convention: metatrain {release} has no {loss}, {_history(loss)}")
    return RELEASES[release][loss]


def names(named: Collection[str]) -> tuple[str, ...]:
    """Return every name of a convention that a loss with these takes: those of releases, and ``"metatrain"``, too."""
    loss = _loss_of(named)
    if loss is None:
        return tuple(named)
    releases = (f"{_PREFIX}-{release}" for release, losses in RELEASES.items() if loss in losses)
    return tuple(dict.fromkeys((*named, *releases, _PREFIX)))


def _loss_of(named: Collection[str]) -> str | None:
    return next((loss for loss, conventions in LOSSES.items() if list(conventions) == list(named)), None)


def _installed(named: Collection[str]) -> str:
    """Return the release of metatrain that is installed; it is not imported."""
    from importlib.metadata import PackageNotFoundError, version

    instead = f"expected one of {', '.join(named)}"
    try:
        release = version("metatrain")
    except PackageNotFoundError:
        raise InputError(
            f"convention: 'metatrain' is the installed metatrain, and none is installed; name the release: {instead}"
        ) from None
    if release not in RELEASES:
        raise InputError(
            f"convention: metatrain {release} is installed, and refloss knows the releases up to "
            f"{list(RELEASES)[-1]}; name the convention: {instead}"
        )
    return release


def _history(loss: str) -> str:
    """Say which releases have a loss, and what stood or stands in its place."""
    having = [release for release, losses in RELEASES.items() if loss in losses]
    told = f"which metatrain {having[0]} to {having[-1]} have"
    if loss in REPLACEMENTS:
        return f"{told}; {REPLACEMENTS[loss]} replaced it in {_next_after(having[-1])}"
    replaced = [old for old, new in REPLACEMENTS.items() if new == loss]
    return told + (f"; it replaced {' and '.join(replaced)}" if replaced else "")


def _next_after(release: str) -> str:
    """Return the release that followed."""
    releases = list(RELEASES)
    return releases[releases.index(release) + 1]
