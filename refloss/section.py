"""A whole `loss` section: the registry of loss types, and the weighted total.

`LOSS_TYPES` is the one place that says which types there are, which keys their options take, and which entry point
computes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final, Literal

from refloss import arrays, gradients, members
from refloss.arithmetic import standard_arithmetic
from refloss.conventions import MASKED_DOS, SHIFT_AGNOSTIC
from refloss.errors import InputError, did_you_mean
from refloss.interop.metatensor import opened, require_same_labels
from refloss.members import ensemble_name
from refloss.results import Floats, SectionResult, SectionTerm
from refloss.section_data import atom_counts, joined, keys_of, mask_of, per_atom, pieces_of, require_names

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
    ensemble : bool
        Whether the type compares the target's values with an ensemble of predictions; gradients have no such type.
    """

    entry: str
    masked: bool = False
    keys: Mapping[str, KeyKind] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    conventions: tuple[str, ...] = ()
    ensemble: bool = False

    def source(self, target: str) -> str:
        """Return the name under which the predictions hold what the type compares with the target."""
        return ensemble_name(target) if self.ensemble else target

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
    "gaussian_nll_ensemble": LossType("ensemble:gaussian_nll_of_members", ensemble=True),
    "gaussian_crps_ensemble": LossType("ensemble:gaussian_crps_of_members", ensemble=True),
    "empirical_crps_ensemble": LossType("ensemble:empirical_crps", ensemble=True),
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
            one of these for each block: blocks are flattened and joined in the order of their keys. Or to a
            metatensor TensorMap, whose labels must be those of the other TensorMaps of the target. An ensemble type
            reads the target's ensemble, ``energy_ensemble`` or ``mtt::aux::<target without mtt::>_ensemble``, in the
            place of its prediction: its last axis holds all properties of the first member, then of the second, ….
        extra_data : mapping, optional
            ``<target>_mask`` to the mask of a masked type, in the same form, the gradients' masks inside.
        num_atoms : (B,) integers, optional
            Per-structure values and strain gradients are divided by it first, as metatrain's trainers do; the
            results then hold the divided arrays and the gradients by them. The samples of a TensorMap say what is per
            structure. Where targets are of different structures, a mapping of each of them to its own.
        per_structure_targets : collection of str
            Targets that are exempt from that division; each must be one that the section or the data name.
        grad : bool
            Whether each result carries its gradient.

        Returns
        -------
        SectionResult
            A target that the predictions lack is in `skipped`, and so is a gradient of a default that the data lack,
            and what the predictions hold beyond the section. With `grad`, its `gradient()` is by the predictions.

        Raises
        ------
        InputError
            Nothing to evaluate; a target, mask or named gradient that the data lack; blocks of predictions, targets
            and masks, or labels of TensorMaps, that are not alike; or what an entry point refuses. The message begins
            with the term's path.
        """
        from refloss.certificate import weighted_sum

        extra_data = {} if extra_data is None else extra_data
        for which, data in (("predictions", predictions), ("targets", targets), ("extra_data", extra_data)):
            if not isinstance(data, Mapping):
                raise InputError(f"{which}: found {type(data).__name__}, expected a mapping of names to arrays")
        predictions, targets, extra_data = map(opened, (predictions, targets, extra_data))
        atoms = None if num_atoms is None else atom_counts(num_atoms, self.losses)
        require_names("per_structure_targets", per_structure_targets, {*self.losses, *predictions, *targets})
        skipped = self._unknown(predictions)
        terms: dict[str, SectionTerm] = {}
        origins: dict[str, gradients.Origin] = {}
        paths = Counter(path for path, *_ in self._entries())
        for path, name, key, options in self._entries():
            if paths[path] > 1:
                raise InputError(
                    f"{path}: found a target and a gradient of this name, expected terms of different names"
                )
            reason = self._missing(path, name, key, options["type"], predictions, targets)
            if reason is not None:
                skipped[path] = reason
                continue
            loss = LOSS_TYPES[options["type"]]
            arguments = {k: v for k, v in options.items() if k not in ("type", "weight", "gradients")}
            weight, contribution = float(options["weight"]), None
            try:
                given = {"predictions": predictions[loss.source(name)], "targets": targets[name]}
                if loss.masked:
                    given["mask"] = mask_of(extra_data, name, key, options["type"])
                require_same_labels(key, given, properties=not loss.ensemble)
                data = {which: pieces_of(which, container, key) for which, container in given.items()}
                divisors: dict[str, dict[Any, Floats]] = {which: {} for which in data}
                if atoms is not None and name not in per_structure_targets:
                    for which in ("predictions", "targets"):
                        data[which], divisors[which] = per_atom(which, given[which], key, data[which], atoms[name])
                if loss.ensemble:
                    result = members.evaluate(loss.load(), data, grad=grad, **arguments)
                else:
                    inputs = joined(data)
                    result = loss.load()(**inputs, **arguments, grad=grad)
                    # Not the inputs themselves: a result that holds a tensor holds the model that made it.
                    arguments |= {which: arrays.on_host(which, value) for which, value in inputs.items()}
                if result._unrounded is not None:
                    contribution = weighted_sum([(weight, result._unrounded)], "contribution")
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            figures = result.value, contribution, result
            terms[path] = SectionTerm(options["type"], weight, *figures, arguments, bool(divisors["predictions"]))
            shapes = {
                block: None if block is gradients.Whole else array.shape for block, array in data["predictions"].items()
            }
            origins[path] = gradients.Origin(loss.source(name), key, shapes, divisors["predictions"])
        if not terms:
            sources = [LOSS_TYPES[options["type"]].source(name) for name, options in self.losses.items()]
            wanted, found = ", ".join(sources), ", ".join(map(str, predictions)) or "nothing"
            hint = "".join(did_you_mean(str(name), sources) for name in predictions)
            raise InputError(f"predictions: found {found}, expected at least one target of the section: {wanted}{hint}")
        return _total(terms, skipped, partial(gradients.of_total, terms, origins))

    def _entries(self) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
        for name, options in self.losses.items():
            yield name, name, "values", options
            for gradient, nested in options.get("gradients", {}).items():
                yield f"{name}/{gradient}", name, gradient, nested

    def _unknown(self, predictions: Mapping[str, Any]) -> dict[str, str]:
        """Return what the predictions hold and the section does not name, to the reason why it is left out."""
        unknown, read = {}, {}
        for name, options in self.losses.items():
            read[LOSS_TYPES[options["type"]].source(name)] = {"values"}
        for name, options in self.losses.items():  # the prediction beside an ensemble has the gradients
            read[name] = {"values", *options.get("gradients", {})}
        for name, data in predictions.items():
            if name not in read:
                unknown[name] = "not in the loss section"
                continue
            evaluated = read[name]
            for gradient in sorted(keys_of(f"predictions[{name!r}]", data) - evaluated, key=str):
                unknown[f"{name}/{gradient}"] = "not in the loss section"
        return unknown

    def _missing(
        self,
        path: str,
        name: str,
        key: str,
        loss_type: str,
        predictions: Mapping[str, Any],
        targets: Mapping[str, Any],
    ) -> str | None:
        """Return why a term is left out, or None; raise where it may not be."""
        loss = LOSS_TYPES[loss_type]
        if loss.ensemble and key != "values":
            if path in self.named:
                raise InputError(f"{path}: found type {loss_type}, which is of values alone, expected another")
            return f"{loss_type} is of values alone"
        source = loss.source(name)
        if source not in predictions:
            found = ", ".join(map(str, predictions))
            if name not in predictions:
                if path in self.named and LOSS_TYPES[self.losses[name]["type"]].source(name) in predictions:
                    wanted = f"expected {name!r} too, for {key!r}, which the options name"
                    raise InputError(f"{path}: predictions: found {found}, {wanted}")
                return "not in the predictions"
            raise InputError(
                f"{path}: predictions: found {found}, expected {source!r} too, the ensemble that {loss_type} reads"
                f"{did_you_mean(source, map(str, predictions))}"
            )
        if name not in targets:
            found = ", ".join(map(str, targets)) or "nothing"
            raise InputError(f"targets: found {found}, expected {name!r} too, as in predictions")
        lacking = [
            which
            for which, data, entry in (("predictions", predictions, source), ("targets", targets, name))
            if key not in keys_of(f"{which}[{entry!r}]", data[entry])
        ]
        if not lacking:
            return None
        where = " and ".join(lacking)
        if key == "values" or path in self.named:
            named = "" if key == "values" else ", which the options name"
            raise InputError(f"{path}: found none in {where}, expected {key!r} of target {name!r}{named}")
        return f"not in the {where}"


def _total(
    terms: dict[str, SectionTerm], skipped: dict[str, str], gradient: Callable[[], dict[str, Any]]
) -> SectionResult:
    from refloss.certificate import weighted_sum

    unreduced = [path for path, term in terms.items() if term.result._unrounded is None]
    if unreduced:
        return SectionResult(None, f"reduction 'none' in {', '.join(unreduced)}", terms, skipped, gradient)
    summands = [(term.weight, term.result._unrounded) for term in terms.values() if term.result._unrounded is not None]
    return SectionResult(weighted_sum(summands, "total"), None, terms, skipped, gradient)
