"""Inputs for the aligned losses: generic ones, and the ones at which a plausible mistake shows.

Every builder takes a NumPy generator and gives a `Case`: predictions (B, N + E), targets (B, N), mask (B, N).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from refloss.conventions import MASKED_DOS, Convention

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One batch."""

    predictions: Floats
    targets: Floats
    mask: NDArray[np.bool_]

    def lists(self) -> tuple[list[list[float]], list[list[float]], list[list[bool]]]:
        """Return the batch as the oracle takes it."""
        return self.predictions.tolist(), self.targets.tolist(), self.mask.tolist()

    def replace_predictions(self, predictions: Floats) -> Case:
        """Return the case with other predictions."""
        return Case(predictions, self.targets, self.mask)


TOTAL = Convention("total", "total", True, "prediction", "exact", "structure", "dos")
"""An alignment by the whole loss, which no named convention has."""


def by_name(convention: str | Convention) -> str:
    """Name a test by its convention."""
    return convention if isinstance(convention, str) else convention.name


def conventions() -> Iterator[Convention]:
    """Yield the named conventions, then every valid combination of the switches."""
    yield from MASKED_DOS.values()
    for objective, front_tail, points, stencil, cumulative, cumulated in itertools.product(
        ("dos", "dos+front_tail", "total"),
        (True, False),
        ("window", "prediction"),
        ("exact", "float32"),
        ("structure", "batch"),
        ("dos", "squares"),
    ):
        if not (objective == "total" and cumulative == "batch"):
            name = f"{objective}-{front_tail}-{points}-{stencil}-{cumulative}-{cumulated}"
            yield Convention(name, objective, front_tail, points, stencil, cumulative, cumulated)


def random_mask(rng: np.random.Generator, batch: int, points: int) -> NDArray[np.bool_]:
    """Return masks with holes, each structure's of another density."""
    return rng.random((batch, points)) < rng.uniform(0.3, 0.95, (batch, 1))


def generic(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return unrelated random numbers: every shift is about as good as any other."""
    return Case(
        rng.normal(size=(batch, points + extra)), rng.normal(size=(batch, points)), random_mask(rng, batch, points)
    )


def fitted(rng: np.random.Generator, points: int, extra: int, shifts: list[int], error: float) -> Case:
    """Return predictions that are the target at the given shift of each structure, but for `error`.

    Below the window there are next to no states, so that every objective finds this shift.
    """
    case = generic(rng, len(shifts), points, extra)
    predictions = 3 * case.predictions
    case.targets[:, 0] *= 0.01  # the front tail holds the first point of the window
    for row, target, shift in zip(predictions, case.targets, shifts, strict=True):
        row[:shift] = 1e-3 * error * rng.normal(size=shift)
        row[shift : shift + points] = target + error * rng.normal(size=points)
    return case.replace_predictions(predictions)


def trained(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions that are a rounding away from the target at some shift: the squares lose every digit."""
    case = fitted(rng, points, extra, rng.integers(0, extra + 1, batch).tolist(), 0.0)
    step = rng.integers(-2, 3, case.predictions.shape)
    return case.replace_predictions(case.predictions + step * np.spacing(case.predictions))


def palindromic(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return p, t and m that read the same backwards: D(s) = D(E − s) exactly, and plain sums do not see it.

    With an odd E no shift is its own mirror image, so the best one is tied.
    """
    case = generic(rng, batch, points, extra)

    def mirrored(rows: NDArray[np.generic]) -> NDArray[np.generic]:
        width = rows.shape[1]
        half = rows[:, : (width + 1) // 2]
        return np.concatenate([half, half[:, : width // 2][:, ::-1]], axis=1)

    return Case(mirrored(case.predictions), mirrored(case.targets), mirrored(case.mask))


def nudged(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return palindromic batches with the last prediction an ulp off: the tie with E − s is broken by 1e-16."""
    case = palindromic(rng, batch, points, extra)
    predictions = case.predictions.copy()
    predictions[:, -1] = np.nextafter(predictions[:, -1], np.inf)
    return case.replace_predictions(predictions)


def offset(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions and targets on a common pedestal of 1e8."""
    case = generic(rng, batch, points, extra)
    return Case(1e8 + case.predictions, 1e8 + case.targets, case.mask)


def scaled(factor: float) -> Callable[[np.random.Generator, int, int, int], Case]:
    """Return a builder of generic cases times `factor`."""

    def build(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
        case = generic(rng, batch, points, extra)
        return Case(factor * case.predictions, factor * case.targets, case.mask)

    return build


def cancelling(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return numbers of three magnitudes whose cumulative sums cancel: 1e25 and −1e25 around 1e8 and 1."""
    case = generic(rng, batch, points, extra)

    def mixed(rows: Floats) -> Floats:
        large = 1e25 * rng.integers(-3, 4, rows.shape)
        large[:, 1::2] = -large[:, : 2 * (rows.shape[1] // 2) : 2]
        middle = rng.choice([0.0, 0.0, 1e8, -1e8], rows.shape)
        return np.where(rng.random(rows.shape) < 0.5, large, middle + rows)

    return Case(mixed(case.predictions), mixed(case.targets), case.mask)


def plateau(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions that are constant: D is the same at every shift."""
    case = generic(rng, batch, points, extra)
    return case.replace_predictions(np.repeat(rng.normal(size=(batch, 1)), points + extra, axis=1))


def empty_masks(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return a batch whose first mask, and every second after it, counts nothing."""
    case = generic(rng, batch, points, extra)
    mask = case.mask.copy()
    mask[::2] = False
    return Case(case.predictions, case.targets, mask)


def small_integers(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return a few small integers, so that ties and plateaus abound and rivals are often equal."""
    return Case(
        rng.integers(0, 2, (batch, points + extra)).astype(float),
        rng.integers(0, 2, (batch, points)).astype(float),
        random_mask(rng, batch, points),
    )


def integers(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return whole numbers: with a dyadic energy step every figure is a short binary number."""
    case = generic(rng, batch, points, extra)
    return Case(np.round(9 * case.predictions), np.round(9 * case.targets), case.mask)


def isolated(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return masks of single points, and in every second structure of all points but single ones."""
    case = generic(rng, batch, points, extra)
    alone = np.arange(points) % rng.integers(2, 6) == rng.integers(0, 2)
    mask = np.repeat(alone[None], batch, axis=0)
    mask[1::2] = ~mask[1::2]
    return Case(case.predictions, case.targets, mask)


def all_true(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return masks that leave nothing out: the unmasked gradient has no points in the window."""
    case = generic(rng, batch, points, extra)
    return Case(case.predictions, case.targets, np.ones_like(case.mask))


def edges(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions that fit at the first shift, or at the last."""
    return fitted(rng, points, extra, rng.choice([0, extra], batch).tolist(), 0.01)


def exponents(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return numbers of any magnitude beside each other, 2^−90 to 2^90."""
    case = generic(rng, batch, points, extra)
    return Case(
        np.ldexp(case.predictions, rng.integers(-90, 91, case.predictions.shape)),
        np.ldexp(case.targets, rng.integers(-90, 91, case.targets.shape)),
        case.mask,
    )


def runs(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions of a few constant pieces, zeros in front: some windows are alike, and most are not."""
    case = generic(rng, batch, points, extra)
    heights = rng.choice([0.0, 0.0, 0.3, -1.7], (batch, points + extra))
    pieces = rng.random((batch, points + extra)) < 1.5 / points
    pieces[:, 0] = True
    heights[:, 0] = 0.0
    latest = np.maximum.accumulate(np.where(pieces, np.arange(points + extra), 0), axis=1)
    return case.replace_predictions(np.take_along_axis(heights, latest, axis=1))


def cancelling_stencil(rng: np.random.Generator, batch: int, points: int, extra: int) -> Case:
    """Return predictions of three magnitudes, 2^90, 2^40 and 1, of which the backward difference leaves the last.

    3 · 16 X − 16 · 3 X + 36 · 4 Y − 48 · 3 Y + 25 z, at every fifth point; only there the mask is false.
    """
    case = generic(rng, batch, points, extra)
    column = np.arange(points + extra)
    wholes = rng.integers(1, 9, (batch, points + extra)) // 1.0
    block = np.take_along_axis(wholes, np.broadcast_to(column // 5, wholes.shape), axis=1)
    factor = np.array([16 * 2.0**90, 3 * 2.0**90, 4 * 2.0**40, 3 * 2.0**40, 0.0])[column % 5]
    predictions = np.where(column % 5 == 4, case.predictions, factor * block)
    shift = int(rng.integers(0, extra + 1))
    mask = np.broadcast_to((np.arange(points) + shift) % 5 != 4, (batch, points)).copy()
    return Case(predictions, predictions[:, shift : shift + points].copy(), mask)


HARD: dict[str, Callable[[np.random.Generator, int, int, int], Case]] = {
    "generic": generic,
    "trained": trained,
    "palindromic": palindromic,
    "nudged": nudged,
    "offset": offset,
    "large": scaled(1e150),
    "small": scaled(1e-150),
    "subnormal": scaled(1e-310),
    "cancelling": cancelling,
    "plateau": plateau,
    "empty masks": empty_masks,
    "small integers": small_integers,
    "integers": integers,
    "isolated points": isolated,
    "all-true masks": all_true,
    "edges": edges,
    "exponents": exponents,
    "runs": runs,
    "cancelling stencil": cancelling_stencil,
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw small batches of values that collide often: ties, plateaus, signed zeros, an ulp, extremes."""
    batch, points, extra = draw(st.integers(1, 3)), draw(st.integers(2, 7)), draw(st.integers(0, 5))
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, -1.0, 0.1, 3.0, 1e8, 1e-160, 5e-324, 1e100]) | st.floats(
        -1e3, 1e3, allow_nan=False
    )

    def rows(width: int, elements: st.SearchStrategy[float] | st.SearchStrategy[bool]) -> NDArray[np.generic]:
        return np.array(draw(st.lists(elements, min_size=batch * width, max_size=batch * width))).reshape(batch, width)

    return Case(rows(points + extra, numbers), rows(points, numbers), rows(points, st.booleans()))
