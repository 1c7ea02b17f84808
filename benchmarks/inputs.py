"""What the contestants are given: densities of states on the grid of PET-MAD-DOS, and what a bad model makes of them.

Shapes: predictions (B, 4806), targets and mask (B, 4606), in states/eV.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refloss.demo import make

CRYSTALS = 64


@dataclass(frozen=True)
class Inputs:
    """Predictions, targets and mask of B structures."""

    predictions: NDArray[np.float64]
    targets: NDArray[np.float64]
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return self.predictions.nbytes + self.targets.nbytes + self.mask.nbytes

    @cached_property
    def with_nan(self) -> NDArray[np.float64]:
        """The targets with NaN where the mask is false, as shift_agnostic_mse has them."""
        return np.where(self.mask, self.targets, np.nan)

    @cached_property
    def unshifted(self) -> NDArray[np.float64]:
        """The predictions at the energies of the targets, as a pointwise loss has them."""
        return self.predictions[:, self.predictions.shape[1] - self.targets.shape[1] :].copy()


def trained(count: int = CRYSTALS) -> Inputs:
    """Crystals and the predictions of a good model: somewhat broader, with a little noise, and shifted.

    Beyond 64 they are repeated, each with its own factor and its own noise.
    """
    data = make(CRYSTALS, seed=0).data
    p = data.predictions["mtt::dos"]["values"]
    t = data.targets["mtt::dos"]["values"]
    m = data.extra_data["mtt::dos_mask"]["values"].astype(np.bool_)
    if count <= CRYSTALS:
        return Inputs(p[:count].copy(), t[:count].copy(), m[:count].copy())
    rng = np.random.default_rng(1)
    many = Inputs(np.empty((count, p.shape[1])), np.empty((count, t.shape[1])), np.empty((count, t.shape[1]), np.bool_))
    for start in range(0, count, CRYSTALS):
        rows = slice(start, min(start + CRYSTALS, count))
        size = rows.stop - rows.start
        factor = rng.uniform(0.5, 1.5, (size, 1))
        many.predictions[rows] = p[:size] * factor * (1 + 1e-3 * rng.standard_normal((size, p.shape[1])))
        many.targets[rows] = t[:size] * factor
        many.mask[rows] = m[:size]
    return many


def untrained(like: Inputs) -> Inputs:
    """Noise for noise: nothing for the alignment to find."""
    rng = np.random.default_rng(2)
    return replace(
        like,
        predictions=rng.standard_normal(like.predictions.shape),
        targets=rng.standard_normal(like.targets.shape),
    )


def half_masked(like: Inputs) -> Inputs:
    """Only the lower half of the energies counts."""
    mask = np.zeros_like(like.mask)
    mask[:, : mask.shape[1] // 2] = True
    return replace(like, mask=mask)


def scattered(like: Inputs) -> Inputs:
    """Every other point counts, at random."""
    return replace(like, mask=np.random.default_rng(3).random(like.mask.shape) < 0.5)
