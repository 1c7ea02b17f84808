"""A whole `loss` section: the registry of loss types, and the weighted total.

`LOSS_TYPES` is the one place that says which types there are, which keys their options take, and which entry point
computes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np

from refloss import arrays
from refloss.arithmetic import standard_arithmetic
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC
from refloss.errors import InputError, did_you_mean
from refloss.results import Floats, SectionResult, SectionTerm

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
_AGNOSTIC_KEYS: Final[dict[str, KeyKind]] = {
    "grad_penalty_weight": "number",
    "int_weight": "number",
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
    "shift_agnostic_mse": LossType(
        "aligned:shift_agnostic_mse", keys=_AGNOSTIC_KEYS, conventions=tuple(SHIFT_AGNOSTIC)
    ),
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

    @standard_arithmetic
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
            Targets that are exempt from that division; each must be one that the section or the data name.
        grad : bool
            Whether each result carries its gradient.

        Returns
        -------
        SectionResult
            A target that the predictions lack is in `skipped`, and so is a gradient of a default that the data lack,
            and what the predictions hold beyond the section.

        Raises
        ------
        InputError
            Nothing to evaluate; a target, mask or named gradient that the data lack; blocks of predictions, targets
            and masks that are not alike; or what an entry point refuses. The message begins with the term's path.
        """
        from refloss.certificate import weighted_sum

        extra_data = {} if extra_data is None else extra_data
        for which, data in (("predictions", predictions), ("targets", targets), ("extra_data", extra_data)):
            if not isinstance(data, Mapping):
                raise InputError(f"{which}: found {type(data).__name__}, expected a mapping of names to arrays")
        atoms = None if num_atoms is None else _atom_counts(num_atoms)
        _require_names("per_structure_targets", per_structure_targets, {*self.losses, *predictions, *targets})
        skipped = self._unknown(predictions)
        terms: dict[str, SectionTerm] = {}
        paths = Counter(path for path, *_ in self._entries())
        for path, name, key, options in self._entries():
            if paths[path] > 1:
                raise InputError(
                    f"{path}: found a target and a gradient of this name, expected terms of different names"
                )
            reason = self._missing(path, name, key, predictions, targets)
            if reason is not None:
                skipped[path] = reason
                continue
            loss = LOSS_TYPES[options["type"]]
            arguments = {k: v for k, v in options.items() if k not in ("type", "weight", "gradients")}
            weight, contribution = float(options["weight"]), None
            try:
                data = {
                    which: _pieces(which, container[name], key)
                    for which, container in (("predictions", predictions), ("targets", targets))
                }
                if atoms is not None and name not in per_structure_targets and key in ("values", "strain"):
                    data = {which: _per_atom(which, pieces, atoms) for which, pieces in data.items()}
                if loss.masked:
                    data["mask"] = _pieces("mask", _mask(extra_data, name, key, options["type"]), key)
                result = loss.load()(**_joined(data), grad=grad, **arguments)
                if result._unrounded is not None:
                    contribution = weighted_sum([(weight, result._unrounded)], "contribution")
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            terms[path] = SectionTerm(options["type"], weight, result.value, contribution, result)
        if not terms:
            wanted, found = ", ".join(self.losses), ", ".join(map(str, predictions)) or "nothing"
            hint = "".join(did_you_mean(str(name), self.losses) for name in predictions)
            raise InputError(f"predictions: found {found}, expected at least one target of the section: {wanted}{hint}")
        return _total(terms, skipped)

    def _entries(self) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
        for name, options in self.losses.items():
            yield name, name, "values", options
            for gradient, nested in options.get("gradients", {}).items():
                yield f"{name}/{gradient}", name, gradient, nested

    def _unknown(self, predictions: Mapping[str, Any]) -> dict[str, str]:
        """Return what the predictions hold and the section does not name, to the reason why it is left out."""
        unknown = {}
        for name, data in predictions.items():
            if name not in self.losses:
                unknown[name] = "not in the loss section"
                continue
            evaluated = {"values", *self.losses[name].get("gradients", {})}
            for gradient in sorted(_keys(f"predictions[{name!r}]", data) - evaluated, key=str):
                unknown[f"{name}/{gradient}"] = "not in the loss section"
        return unknown

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
            if key not in _keys(f"{which}[{name!r}]", data[name])
        ]
        if not lacking:
            return None
        where = " and ".join(lacking)
        if key == "values" or path in self.named:
            named = "" if key == "values" else ", which the options name"
            raise InputError(f"{path}: found none in {where}, expected {key!r} of target {name!r}{named}")
        return f"not in the {where}"


def _total(terms: dict[str, SectionTerm], skipped: dict[str, str]) -> SectionResult:
    from refloss.certificate import weighted_sum

    unreduced = [path for path, term in terms.items() if term.result._unrounded is None]
    if unreduced:
        return SectionResult(None, f"reduction 'none' in {', '.join(unreduced)}", terms, skipped)
    summands = [(term.weight, term.result._unrounded) for term in terms.values() if term.result._unrounded is not None]
    return SectionResult(weighted_sum(summands, "total"), None, terms, skipped)


def _require_names(argument: str, names: Collection[str], known: Collection[str]) -> None:
    # A string is a collection of strings, too: its letters.
    if isinstance(names, str):
        raise InputError(f"{argument}: found the string {names!r}, expected a collection of names")
    for name in names:
        if name not in known:
            raise InputError(
                f"{argument}: found {name!r}, expected names of targets: {_listed(known)}"
                f"{did_you_mean(str(name), map(str, known))}"
            )


def _blocks(where: str, data: Any) -> dict[Any, Any] | None:
    """Return the blocks in key order, or None where the data are not in blocks."""
    if not (isinstance(data, Mapping) and "blocks" in data):
        return None
    blocks = data["blocks"]
    if len(data) > 1:
        raise InputError(f"{where}: found {_listed(data)}, expected blocks alone, or values and gradients")
    if not isinstance(blocks, Mapping):
        raise InputError(f"{where}: found blocks of type {type(blocks).__name__}, expected a mapping of key to block")
    try:
        return {key: blocks[key] for key in sorted(blocks)}
    except TypeError as error:
        raise InputError(f"{where}: found block keys {list(blocks)}, expected keys that have an order") from error


def _keys(where: str, data: Any) -> set[str]:
    """Return "values" and the gradients that the data hold; blocks must all hold the same."""
    blocks = _blocks(where, data)
    if blocks is None:
        return set(data) if isinstance(data, Mapping) else {"values"}
    held = [(key, set(block) if isinstance(block, Mapping) else {"values"}) for key, block in blocks.items()]
    for key, keys in held:
        if keys != held[0][1]:
            raise InputError(
                f"{where}: found {_listed(keys)} in block {key!r} and {_listed(held[0][1])} in block {held[0][0]!r}, "
                "expected the same in every block"
            )
    return held[0][1] if held else set()


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"


_Pieces = dict[Any, Any]
"""Block key to its checked array, in key order; or `_WHOLE` to what was given, which the entry point will check."""

_WHOLE: Final = object()


def _pieces(which: str, data: Any, key: str) -> _Pieces:
    blocks = _blocks(which, data)
    if blocks is None:
        return {_WHOLE: _entry(data, key)}
    return {block: _checked(_label(which, block), which, _entry(nested, key)) for block, nested in blocks.items()}


def _entry(data: Any, key: str) -> Any:
    return data[key] if isinstance(data, Mapping) else data


def _checked(label: str, which: str, value: Any) -> Any:
    """Pass one block through the gate: joined with the others, its type would no longer be its own."""
    if which == "mask":
        return arrays.mask_array(label, value)
    return arrays.real_array(label, value, finite=which == "predictions", empty=True)


def _label(which: str, block: Any) -> str:
    return which if block is _WHOLE else f"{which} of block {block!r}"


def _joined(data: Mapping[str, _Pieces]) -> dict[str, Any]:
    """Return the arguments of the entry point: what is in blocks comes flattened and joined."""
    expected = data["predictions"]
    for which, pieces in data.items():
        if list(pieces) != list(expected):
            found, wanted = (
                "no blocks" if _WHOLE in keys else f"blocks {', '.join(map(repr, keys))}" for keys in (pieces, expected)
            )
            raise InputError(f"{which}: found {found}, expected {wanted} as in predictions")
        for block, array in pieces.items():
            if block is not _WHOLE:
                arrays.require_same_shape(_label(which, block), array.shape, "predictions", expected[block].shape)
    return {
        which: pieces[_WHOLE] if _WHOLE in pieces else np.concatenate([np.ravel(a) for a in pieces.values()])
        for which, pieces in data.items()
    }


def _mask(extra_data: Mapping[str, Any], name: str, key: str, loss_type: str) -> Any:
    """Return the mask entry of target `name`, which holds the mask of `key`."""
    wanted = f"{name}_mask"
    if wanted not in extra_data:
        found = ", ".join(map(str, extra_data)) or "nothing"
        raise InputError(
            f"extra_data: found {found}, expected {wanted!r}, the mask that {loss_type} of target {name!r} needs"
            f"{did_you_mean(wanted, map(str, extra_data))}"
        )
    if key not in _keys(f"extra_data[{wanted!r}]", extra_data[wanted]):
        raise InputError(
            f"extra_data[{wanted!r}]: found no {key!r}, expected the mask that {loss_type} of {name}/{key} needs"
        )
    return extra_data[wanted]


def _atom_counts(num_atoms: Any) -> Floats:
    counts = arrays.real_array("num_atoms", num_atoms, ndim=1)
    wrong = (counts < 1) | (counts != np.floor(counts))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"num_atoms: found {float(counts[first])!r} at index {first}, expected integers ≥ 1")
    return counts


def _per_atom(which: str, pieces: _Pieces, atoms: Floats) -> _Pieces:
    """Divide what has a row a structure by its number of atoms; what has a row an atom stays."""
    divided = {}
    for block, value in pieces.items():
        label = _label(which, block)
        array = arrays.real_array(label, value, finite=False, empty=True)
        rows = array.shape[0] if array.ndim else 0
        if rows == atoms.size:
            array = array / atoms.reshape((-1,) + (1,) * (array.ndim - 1))
        elif rows != atoms.sum():
            raise InputError(
                f"{label} and num_atoms: found {rows} rows and {atoms.size} structures of {atoms.sum():.0f} atoms, "
                "expected a row a structure or a row an atom (what is neither may be in per_structure_targets)"
            )
        divided[block] = array
    return divided
