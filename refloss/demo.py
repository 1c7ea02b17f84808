"""The demo's data set: spectra of model crystals, or the user's own, and predictions that are wrong in known ways.

Targets of the crystals of `refloss.crystals` are the elastic energy (eV) with its gradients by positions (eV/Å, minus
the forces) and by strain (eV, the stress times the volume), and the density of states on the grid of PET-MAD-DOS
(states/eV); of a file of eigenvalues they are the densities alone. Predictions differ from them by a rigid shift of the
energies, a broader Gaussian, smooth noise, and a tail that levels off where the mask no longer counts, as that of a
trained model does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from refloss.crystals import data_set
from refloss.errors import InputError
from refloss.files import Contents, Dataset
from refloss.files.npz import write
from refloss.files.output import check_folder, make_folder, replacing
from refloss.results import Booleans, Floats, Integers
from refloss.spectra import MARGIN, PET_MAD_DOS, WIDTH, Spectrum, spectrum

COUNT: Final = 24
"""How many structures the demo has: each of the four crystals in three cells, twice."""

FILES: Final = {"predictions": "predictions.npz", "targets": "targets.npz", "extra_data": "extra_data.npz"}
PICTURES: Final = ("alignment.png", "masks.png", "terms.png", "pointwise.png")
OPTIONS_FILE: Final = "options.yaml"
RESULTS_FILE: Final = "results.json"
"""All that was evaluated, as ``refloss evaluate --json`` writes them."""

REPORT_FILE: Final = "report.html"
"""The same to explore, as ``refloss evaluate --report`` writes it, with the names of the structures."""

BROADENING: Final = 0.1
"""What the predictions are broader by: a Gaussian of √(0.3² + 0.1²) eV instead of 0.3 eV."""

TAIL: Final = 3.0
"""The width in eV of the half Gaussian with which a prediction ends above the mask's last energy."""


@dataclass(frozen=True, eq=False)
class Demo:
    """The demo's data set, and what was done to it.

    Attributes
    ----------
    names : tuple of str
        The crystal and the cell of each structure.
    shift : (B,) int64
        The shift in points at which each prediction fits its target, as `AlignedResult.shift` counts.
    data : Dataset
        ``energy`` with ``positions`` and ``strain`` (of crystals), ``mtt::dos``, and its mask.
    options : str
        What the options file says.
    """

    names: tuple[str, ...]
    shift: Integers
    data: Dataset
    options: str


def make(count: int = COUNT, seed: int = 0) -> Demo:
    """Make the data set; the same `count` and `seed` give the same one."""
    rng = np.random.default_rng(seed)
    shift = _shifts(rng, count)
    names: list[str] = []
    densities = _Densities()
    energies, positions, strains = [], [], []
    for crystal, points in zip(data_set(count, seed), shift.tolist(), strict=True):
        names.append(f"{crystal.name} {crystal.formula}")
        densities.add(rng, names[-1], spectrum(*crystal.spectrum(crystal.mesh())), points)
        elastic = crystal.elastic()
        energies.append(elastic.energy)
        positions.append(-elastic.forces)
        strains.append(elastic.strain_gradient)
    targets = {
        "energy": {
            "values": np.array(energies)[:, None],
            "positions": np.concatenate(positions),
            "strain": np.array(strains),
        },
    }
    # Three degrees of freedom: as in a real model, a few errors are much larger than the rest.
    predicted = {
        key: array + scale * rng.standard_t(3, array.shape)
        for (key, array), scale in zip(targets["energy"].items(), (0.01, 0.2, 0.02), strict=True)
    }
    data = Dataset({"energy": predicted}, targets, {})
    return Demo(tuple(names), shift, densities.added_to(data), OPTIONS)


def make_from(samples: Iterable[tuple[str, Spectrum]], seed: int = 0) -> Demo:
    """Make the data set of these structures, their names and their bands; the same `seed` gives the same one.

    Raises
    ------
    InputError
        The mask of a structure is empty: nothing is known of its density on the grid of PET-MAD-DOS.
    """
    rng = np.random.default_rng(seed)
    names: list[str] = []
    shifts: list[int] = []
    densities = _Densities()
    for name, bands in samples:
        names.append(name)
        shifts += _shifts(rng, 1).tolist()
        densities.add(rng, f"structure {len(names) - 1} ({name})", bands, shifts[-1])
    data = densities.added_to(Dataset({}, {}, {}))
    return Demo(tuple(names), np.array(shifts, dtype=np.int64), data, SPECTRA_OPTIONS)


def check_demo_folder(folder: Path, options: str) -> None:
    """Raise where `folder` holds anything but an unchanged demo with these options: nobody's files are overwritten.

    Raises
    ------
    InputError
        It cannot be a folder, or it holds other files, or an options file that is not the demo's own.
    """
    check_folder("--out", folder)
    # Hidden files are an operating system's, or an editor's, and none of them has a name that the demo writes.
    entries = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    present = [name for name in entries if not name.startswith(".")]
    own = (OPTIONS_FILE, RESULTS_FILE, REPORT_FILE, *FILES.values(), *PICTURES)
    foreign = [name for name in present if name not in own]
    if foreign:
        listed = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise InputError(f"--out: {folder} holds {listed}, expected a new or empty folder, or one that the demo made")
    file = folder / OPTIONS_FILE
    if present and not (file.is_file() and file.read_bytes() == options.encode()):
        what = "an options.yaml that is not the demo's" if file.exists() else f"{present[0]}, but no options.yaml"
        raise InputError(f"--out: {folder} holds {what}, expected a new or empty folder, or one that the demo made")


def save(demo: Demo, folder: Path) -> None:
    """Write the options file and the three npz files into `folder`, which is made where it is missing."""
    check_demo_folder(folder, demo.options)
    make_folder("--out", folder)
    with replacing("--out", folder / OPTIONS_FILE) as beside:
        beside.write_bytes(demo.options.encode())
    for which, file in FILES.items():
        write("--out", folder / file, Contents(getattr(demo.data, which)))


class _Densities:
    """Densities of states, their masks, and predictions of them, structure after structure."""

    def __init__(self) -> None:
        self._targets: list[Floats] = []
        self._masks: list[Booleans] = []
        self._predictions: list[Floats] = []

    def add(self, rng: np.random.Generator, name: str, bands: Spectrum, points: int) -> None:
        """Add a structure whose prediction fits at the shift `points`."""
        grid = PET_MAD_DOS
        self._targets.append(bands.dos(grid.targets))
        self._masks.append(bands.mask(grid.targets))
        counted = np.flatnonzero(self._masks[-1])
        if not counted.size:
            top = float(bands.tops.min())
            raise InputError(
                f"{name}: found bands that end at {top:.6g} eV, expected some above {grid.start + MARGIN:.6g} eV: the "
                "mask is empty"
            )
        moved = replace(bands, states=bands.states + grid.step * (points - grid.extra))
        broad = moved.dos(grid.predictions, float(np.hypot(WIDTH, BROADENING)))
        # The slope of something: noise that moves states about in energy, but adds none.
        noise = np.gradient(_smooth(rng, broad.size) * (0.02 * broad + 0.002), grid.step)
        self._predictions.append(_with_tail(broad + noise, points + int(counted[-1])))

    def added_to(self, data: Dataset) -> Dataset:
        """Return `data` with the densities and masks too."""
        return Dataset(
            {**data.predictions, "mtt::dos": {"values": np.array(self._predictions)}},
            {**data.targets, "mtt::dos": {"values": np.array(self._targets)}},
            {**data.extra_data, "mtt::dos_mask": {"values": np.array(self._masks)}},
        )


def _shifts(rng: np.random.Generator, count: int) -> Integers:
    return rng.integers(10, PET_MAD_DOS.extra - 10, count, endpoint=True)


def _smooth(rng: np.random.Generator, points: int) -> Floats:
    """Return noise of variance 1 that varies over some 10 points (half an eV)."""
    kernel = np.exp(-0.5 * (np.arange(-40, 41) / 10.0) ** 2)
    noise = np.convolve(rng.normal(size=points + kernel.size - 1), kernel / np.sqrt(np.sum(kernel**2)), mode="valid")
    return np.asarray(noise, dtype=np.float64)


def _with_tail(density: Floats, ends: int) -> Floats:
    """Return `density` turning, beyond the point `ends`, into a half Gaussian of the height that it has there."""
    beyond = np.arange(density.size - ends) * PET_MAD_DOS.step
    still = np.exp(-((beyond / 0.3) ** 2))  # no kink: for a third of an eV or so it goes on as it was
    tailed = density.copy()
    tailed[ends:] = still * density[ends:] + (1.0 - still) * density[ends] * np.exp(-0.5 * (beyond / TAIL) ** 2)
    return tailed


_TITLE: Final = """\
# Options for metatrain, as its "mtt train" takes them, with a loss for energies, forces, stresses and a density of
# states. refloss reads the loss section, and from the training set which targets there are; it passes over the rest.
#
"""
_SPECTRA_TITLE: Final = """\
# Options for metatrain, as its "mtt train" takes them, with a loss for a density of states. refloss reads the loss
# section, and from the training set which targets there are; it passes over the rest.
#
"""
_USE: Final = """\
#   refloss evaluate options.yaml --predictions predictions.npz --targets targets.npz --extra-data extra_data.npz
#   refloss options options.yaml        prints the loss section with every default filled in
#
# Made by "refloss demo". Start from a copy: the demo does not run in a folder where this file was changed.

architecture:
  name: pet
  training:
    loss:
"""
_ENERGY_LOSS: Final = """\
      energy:
        type: mse          # mse, mae or huber; with a mask in the extra data masked_mse, masked_mae, masked_huber
        weight: 1.0        # total = sum of weight * value over all terms
        reduction: mean    # mean, sum, or none, which has no total
        forces:            # the gradient by positions, in the npz files "energy/positions": minus the forces, eV/A
          type: huber
          delta: 0.5       # quadratic up to here, linear beyond: a few large errors do not rule
          weight: 0.1
        stress: mae        # the gradient by strain, "energy/strain": stress times volume, eV. A type alone will do

"""
_DOS_LOSS: Final = """\
      mtt::dos:
        type: masked_dos
        weight: 0.01
        extra_targets: 200 # a prediction has 200 points more than its target, all below it: the room to align in
        grad_weight: 1e-4  # of the squared slope where the mask is 0
        int_weight: 2.0    # of the squared error of the running integral, the number of states
        # The documentation of this loss and its released code disagree. "documented" is the former; "intended" and
        # "metatrain-2026.2" are others. metatrain does not know this key and the next: leave them out of its options.
        convention: documented
        energy_step: 0.05  # eV

# The files named below are where metatrain would read its data, and refloss too if it is not given --targets. With them
# it only looks at the names of the targets and at which gradients are on, and takes its arrays from the npz files.
training_set:
  systems:
    read_from: structures.xyz
    length_unit: angstrom
  targets:
"""
_ENERGY_DATA: Final = """\
    energy:
      quantity: energy     # what makes the keys forces, stress and virial known
      key: energy
      unit: eV
      forces: on
      stress: on
"""
_DOS_DATA: Final = """\
    mtt::dos:
      key: dos
      num_subtargets: 4806 # metatrain's layout: 200 points of padding and 4606 of the target; either width will do here
  extra_data:
    mtt::dos_mask:         # the target's name and _mask; 1 where the target can be trusted
      key: dos_mask
      num_subtargets: 4806

validation_set: 0.1
test_set: 0.1
"""

OPTIONS: Final = _TITLE + _USE + _ENERGY_LOSS + _DOS_LOSS + _ENERGY_DATA + _DOS_DATA
"""The demo's options file, which is also a commented one to start from."""

SPECTRA_OPTIONS: Final = _SPECTRA_TITLE + _USE + _DOS_LOSS + _DOS_DATA
"""The same for densities of states alone."""
