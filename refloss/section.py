"""A whole `loss` section: the registry of loss types, and the weighted total.

`LOSS_TYPES` is the one place that says which types there are, which keys their options take, and which entry point
computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np

from refloss import arrays
from refloss.conventions import MASKED_DOS
from refloss.errors import InputError, did_you_mean
from refloss.exact import nearest
from refloss.results import Floats, Integers, SectionResult, SectionTerm

KeyKind = Literal["number", "positive", "count", "convention"]
"""number: finite; positive: finite and > 0; count: an integer ≥ 0; convention: a name of `LossType.conventions`."""


@dataclass(frozen=True)
class LossType:
    """One type that a `loss` section can name.

    Attributes
    ----------
    entry : str
        ``"module:function"`` under `refloss`, the entry point.
    masked : bool
        Whether the type needs a mask from the extra data.
    keys : mapping
        The option keys beyond type, weight and reduction, to what their values must be.
    defaults : mapping
        The keys of these that the expansion fills in.
    conventions : tuple of str
        The named conventions, for the types that have any.
    """

    entry: str
    masked: bool = False
    keys: Mapping[str, KeyKind] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    conventions: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """Import and return the entry point."""
        module, _, function = self.entry.partition(":")
        entry: Callable[..., Any] = getattr(import_module(f"refloss.{module}"), function)
        return entry


_DELTA: Final[dict[str, Any]] = {"keys": {"delta": "positive"}, "defaults": {"delta": 1.0}}
_DOS_KEYS: Final[dict[str, KeyKind]] = {
    "grad_weight": "number",
    "int_weight": "number",
    "extra_targets": "count",
    "energy_step": "positive",
    "convention": "convention",
}

LOSS_TYPES: Final[dict[str, LossType]] = {
    "mse": LossType("pointwise:mse"),
    "mae": LossType("pointwise:mae"),
    "huber": LossType("pointwise:huber", **_DELTA),
    "masked_mse": LossType("pointwise:mse", masked=True),
    "masked_mae": LossType("pointwise:mae", masked=True),
    "masked_huber": LossType("pointwise:huber", masked=True, **_DELTA),
    "masked_dos": LossType("aligned:masked_dos", masked=True, keys=_DOS_KEYS, conventions=tuple(MASKED_DOS)),
}
"""Every loss type of the options, by name."""

REDUCTIONS: Final = ("mean", "sum", "none")


@dataclass(frozen=True)
class LossSection:
    """A `loss` section, expanded, that can be evaluated.

    Attributes
    ----------
    losses : mapping
        What `refloss.expand_loss` returns: target to type, weight, reduction, …, and its gradients.
    named : frozenset of str
        The ``<target>/<gradient>`` that the options name; the other gradients came from a default.

    Notes
    -----
    docs/specification.md, section 6.
    """

    losses: Mapping[str, Mapping[str, Any]]
    named: frozenset[str] = frozenset()

    def evaluate(
        self,
        predictions: Mapping[str, Any],
        targets: Mapping[str, Any],
        extra_data: Mapping[str, Any] | None = None,
        *,
        num_atoms: Any = None,
        per_structure_targets: Collection[str] = (),
        grad: bool = False,
    ) -> SectionResult:
        """Evaluate every term and add them up: total = Σ weight · value.

        Parameters
        ----------
        predictions, targets : mapping
            Target to an array, to ``{"values": array, "<gradient>": array, …}``, or to ``{"blocks": {key: …}}`` with
            one of these for each block: blocks are flattened and joined in the order of their keys.
        extra_data : mapping, optional
            ``<target>_mask`` to the mask of a masked type, in the same form, the gradients' masks inside.
        num_atoms : (B,) integers, optional
            Per-structure values and strain gradients are divided by it first, as metatrain's trainers do; the
            results then hold the divided arrays and the gradients by them.
        per_structure_targets : collection of str
            Targets that are exempt from that division.
        grad : bool
            Whether each result carries its gradient.

        Returns
        -------
        SectionResult
            A target that the predictions lack is in `skipped`, and so is a gradient of a default that the data lack.

        Raises
        ------
        InputError
            Nothing to evaluate, a target, mask or named gradient that the data lack, or what an entry point refuses.
        """
        atoms = None if num_atoms is None else _atom_counts(num_atoms)
        skipped = {name: "not in the loss section" for name in predictions if name not in self.losses}
        terms: dict[str, SectionTerm] = {}
        for name, key, options in self._entries():
            path = name if key == "values" else f"{name}/{key}"
            reason = self._missing(path, name, key, predictions, targets)
            if reason is not None:
                skipped[path] = reason
                continue
            loss = LOSS_TYPES[options["type"]]
            p, t = (_find(data, name, key) for data in (predictions, targets))
            if atoms is not None and name not in per_structure_targets and key in ("values", "strain"):
                p, t = (_per_atom(f"{which}[{path!r}]", a, atoms) for which, a in (("predictions", p), ("targets", t)))
            arguments = {k: v for k, v in options.items() if k not in ("type", "weight", "gradients")}
            if loss.masked:
                arguments["mask"] = _mask(extra_data or {}, name, key, options["type"])
            try:
                result = loss.load()(p, t, grad=grad, **arguments)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            weight = float(options["weight"])
            contribution = None
            if options["reduction"] != "none":
                contribution = nearest(Fraction(weight) * Fraction(result.value), f"contribution of {path}")
            terms[path] = SectionTerm(options["type"], weight, result.value, contribution, result)
        if not terms:
            wanted, found = ", ".join(self.losses), ", ".join(map(str, predictions)) or "nothing"
            hint = "".join(did_you_mean(str(name), self.losses) for name in predictions)
            raise InputError(f"predictions: found {found}, expected at least one target of the section: {wanted}{hint}")
        return _total(terms, skipped)

    def _entries(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for name, options in self.losses.items():
            yield name, "values", options
            for gradient, nested in options.get("gradients", {}).items():
                yield name, gradient, nested

    def _missing(
        self, path: str, name: str, key: str, predictions: Mapping[str, Any], targets: Mapping[str, Any]
    ) -> str | None:
        """Return why a term is left out, or None; raise where it may not be."""
        if name not in predictions:
            return "not in the predictions"
        if name not in targets:
            found = ", ".join(map(str, targets)) or "nothing"
            raise InputError(f"targets: found {found}, expected {name!r} too, as in predictions")
        lacking = [
            which
            for which, data in (("predictions", predictions), ("targets", targets))
            if key not in _keys(data[name])
        ]
        if not lacking:
            return None
        where = " and ".join(lacking)
        if key == "values" or path in self.named:
            named = "" if key == "values" else f", which the options name for target {name!r}"
            raise InputError(f"{where}: found no {path!r}, expected {key!r}{named}")
        return f"not in the {where}"


def _total(terms: dict[str, SectionTerm], skipped: dict[str, str]) -> SectionResult:
    unreduced = [path for path, term in terms.items() if term.contribution is None]
    if unreduced:
        return SectionResult(None, f"reduction 'none' in {', '.join(unreduced)}", terms, skipped)
    exact = sum((Fraction(term.weight) * Fraction(float(term.value)) for term in terms.values()), Fraction())
    return SectionResult(nearest(exact, "total"), None, terms, skipped)


def _blocks(data: Any) -> list[Any] | None:
    """Return the blocks in key order, or None where the data are not in blocks."""
    if isinstance(data, Mapping) and "blocks" in data:
        blocks = data["blocks"]
        return [blocks[key] for key in sorted(blocks)]
    return None


def _keys(data: Any) -> set[str]:
    """Return "values" and the gradients that the data hold, in every block where there are several."""
    blocks = _blocks(data)
    if blocks is not None:
        return set.intersection(*(_keys(block) for block in blocks)) if blocks else set()
    return set(data) if isinstance(data, Mapping) else {"values"}


def _find(container: Mapping[str, Any], name: str, key: str) -> Any:
    """Return the array of target `name` under `key`; blocks come flattened and joined."""
    data = container[name]
    blocks = _blocks(data)
    if blocks is not None:
        parts = [
            np.ravel(arrays.on_host(name, block[key] if isinstance(block, Mapping) else block)) for block in blocks
        ]
        return np.concatenate(parts)
    return data[key] if isinstance(data, Mapping) else data


def _mask(extra_data: Mapping[str, Any], name: str, key: str, loss_type: str) -> Any:
    wanted = f"{name}_mask"
    if wanted not in extra_data:
        found = ", ".join(map(str, extra_data)) or "nothing"
        raise InputError(
            f"extra_data: found {found}, expected {wanted!r}, the mask that {loss_type} of target {name!r} needs"
            f"{did_you_mean(wanted, map(str, extra_data))}"
        )
    if key not in _keys(extra_data[wanted]):
        raise InputError(
            f"extra_data[{wanted!r}]: found no {key!r}, expected the mask that {loss_type} of {name}/{key} needs"
        )
    return _find(extra_data, wanted, key)


def _atom_counts(num_atoms: Any) -> Integers:
    counts = arrays.real_array("num_atoms", num_atoms, ndim=1)
    wrong = (counts < 1) | (counts != np.floor(counts))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"num_atoms: found {counts[first]!r} at index {first}, expected integers ≥ 1")
    return counts.astype(np.int64)


def _per_atom(name: str, value: Any, atoms: Integers) -> Floats:
    """Divide what has a row a structure by its number of atoms; what has a row an atom stays."""
    array = arrays.real_array(name, value, finite=False)
    rows = array.shape[0] if array.ndim else 0
    if rows == atoms.size:
        quotient: Floats = array / atoms.reshape((-1,) + (1,) * (array.ndim - 1))
        return quotient
    if rows == atoms.sum():
        return array
    raise InputError(
        f"{name} and num_atoms: found {rows} rows and {atoms.size} structures of {atoms.sum()} atoms, "
        "expected a row a structure or a row an atom"
    )
