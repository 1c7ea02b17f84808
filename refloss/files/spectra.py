"""Eigenvalues and k-weights, structure after structure, from extended XYZ and npz files.

Extended XYZ: two keys of each frame's second line, ``eigenvalues`` and ``k-point weights``, the former as JSON.

npz: the arrays ``eigenvalues`` and ``k_weights`` of one structure, or ``NAME/eigenvalues`` and ``NAME/k_weights`` of
each of several, in the order of the file, or of their numbers where all names are numbers.

Eigenvalues in eV have the shape (k-points, bands), (2, k-points, bands) with two spins, or (bands,) with one k-point;
in JSON, k-points may have different numbers of bands. Weights have the shape (k-points,) or (2, k-points). See
`refloss.spectra.spectrum`. (docs/extxyz.md)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refloss.errors import InputError, did_you_mean
from refloss.files import Structures
from refloss.files.archive import Archive
from refloss.files.formats import detect
from refloss.files.xyz_frames import SYMBOLS, frames
from refloss.files.xyz_pairs import shown
from refloss.results import Integers
from refloss.spectra import Spectrum, spectrum


@dataclass(frozen=True, eq=False)
class Sample:
    """One structure of a file: where it is, for messages; its name, its bands, and its atoms where they are known."""

    where: str
    name: str
    spectrum: Spectrum
    structure: Structures | None


def read(argument: str, path: Path, eigenvalues: str | None = None, k_weights: str | None = None) -> Iterator[Sample]:
    """Yield the spectra of a file, each read when it is asked for.

    Parameters
    ----------
    argument : str
        What messages call it.
    path : Path
        An extended XYZ or an npz file.
    eigenvalues, k_weights : str, optional
        The names of the keys or arrays, where they are others.

    Raises
    ------
    InputError
        The file is damaged or of another format, lacks one of the two, or holds what is no spectrum; with the file, the
        structure, what was found and what was expected.
    """
    name = detect(argument, path).name
    if name == "extxyz":
        return _of_frames(f"{argument}: {path}", path, eigenvalues or "eigenvalues", k_weights or "k-point weights")
    if name == "npz":
        return _of_archive(f"{argument}: {path}", path, eigenvalues or "eigenvalues", k_weights or "k_weights")
    raise InputError(f"{argument}: {path}: found {name}, expected eigenvalues in extended XYZ or npz")


def _of_frames(where: str, path: Path, eigenvalues: str, k_weights: str) -> Iterator[Sample]:
    for frame in frames(where, path, ()):
        values = []
        for key in (eigenvalues, k_weights):
            if key not in frame.info:
                hint = did_you_mean(key, frame.info)
                listed = ", ".join(map(shown, list(frame.info)[:8])) or "none"
                raise InputError(f"{frame.where}: found no key {shown(key)}, but {listed}; expected a spectrum{hint}")
            value = frame.value(key)
            if value is None:
                raise InputError(f"{frame.where}: {shown(key)}: found {shown(frame.info[key])}, expected numbers")
            values.append(np.atleast_1d(value) if isinstance(value, np.ndarray) else value)
        structure = Structures(
            np.array([frame.types.size]), frame.types, frame.positions, (frame.cell * frame.periodic[:, None])[None]
        )
        yield Sample(frame.where, formula(frame.types), _spectrum(frame.where, *values), structure)


def _of_archive(where: str, path: Path, eigenvalues: str, k_weights: str) -> Iterator[Sample]:
    with Archive(where, path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.names}
        if eigenvalues in members:
            names = [""]
        else:
            names = [name.removesuffix(eigenvalues) for name in members if name.endswith(f"/{eigenvalues}")]
            if all(name[:-1].isdecimal() for name in names):
                names.sort(key=lambda name: int(name[:-1]))
        if not names:
            listed = ", ".join(map(shown, list(members)[:8])) or "none"
            hint = did_you_mean(eigenvalues, list(members)[:1000])
            raise InputError(f"{where}: found no array {shown(eigenvalues)}, but {listed}; expected a spectrum{hint}")
        for name in names:
            if name + k_weights not in members:
                hint = did_you_mean(name + k_weights, list(members)[:1000])
                raise InputError(f"{where}: found no array {shown(name + k_weights)}, expected the weights{hint}")
            arrays = (archive.array(members[name + key]) for key in (eigenvalues, k_weights))
            place = f"{where}: {shown(name[:-1])}" if name else where
            yield Sample(place, name[:-1] or path.stem, _spectrum(place, *arrays), None)


def _spectrum(where: str, eigenvalues: Any, k_weights: Any) -> Spectrum:
    try:
        return spectrum(eigenvalues, k_weights)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def formula(types: Integers) -> str:
    """Return a formula like Au2 or AsGa, the elements in alphabetical order."""
    counts = Counter(SYMBOLS[number] if number < len(SYMBOLS) else f"({number})" for number in types.tolist())
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in sorted(counts.items()))


def joined(structures: list[Structures]) -> Structures:
    """Return the structures of several as one."""
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(structure, name) for structure in structures])
        for name in ("num_atoms", "types", "positions", "cells")
    }
    return Structures(**parts)
