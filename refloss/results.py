"""The frozen objects that entry points return.

Energies and shifts: a shift counts grid points of the target's grid; times `energy_step` it is in eV. Results hold
the arrays that were used, not copies of them: what needed no conversion on the way in is the caller's own array.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refloss.conventions import Convention
from refloss.errors import InputError

if TYPE_CHECKING:
    from refloss.certificate import Unrounded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def json_safe(value: Any) -> Any:
    """Turn a result's field into what JSON can hold: arrays into lists, infinities and NaN into None."""
    if isinstance(value, np.ndarray | np.generic):
        return json_safe(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_safe(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _show(value: float | Floats) -> str:
    return f"{value:.10g}" if isinstance(value, float) else f"array of {value.size}"


@dataclass(frozen=True, eq=False, repr=False)
class _Elements:
    """The figures of a loss that is a sum over elements."""

    value: float | Floats
    grad: Floats | None
    count: int
    selected: Booleans
    _unrounded: Unrounded | None = field(repr=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(value={_show(self.value)}, count={self.count})"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, safe for JSON; `selected` and gradients are left to the arrays."""
        return {"value": json_safe(self.value), "count": self.count}


@dataclass(frozen=True, eq=False, repr=False)
class PointwiseResult(_Elements):
    """What `mse`, `mae` and `huber` return.

    Attributes
    ----------
    value : float or (count,) array
        The reduced loss; for reduction "none" the selected elements in C order.
    grad : array of the predictions' shape, or None
        d value / d predictions, where it was asked for.
    count : int
        How many elements were selected.
    selected : boolean array of the predictions' shape
        Mask true (where given) and target not NaN.
    """


@dataclass(frozen=True, eq=False, repr=False)
class EnsembleResult(_Elements):
    """What `gaussian_nll`, `gaussian_crps` and `empirical_crps` return.

    Attributes
    ----------
    value : float or (count,) array
        The reduced loss; for reduction "none" the selected elements in C order.
    grad : array or None
        d value / d mean, or for the empirical loss d value / d ensemble, where it was asked for. In a `loss` section it
        is by the ensemble for every type, of the shape that the ensemble has in the predictions.
    grad_variance : array or None
        d value / d variance, 0 where the floor acts; None where there is no variance to derive by.
    count : int
        How many elements were selected.
    selected : boolean array of the targets' shape
        Target not NaN.
    """

    grad_variance: Floats | None


@dataclass(frozen=True, eq=False)
class Terms:
    """The unweighted parts of an aligned loss, each (B,): D(s*), F(s*), G and C of the specification."""

    dos: Floats
    front_tail: Floats
    unmasked_gradient: Floats
    cumulative: Floats


@dataclass(frozen=True, eq=False)
class Certificate:
    """How the alignment is known, per structure.

    Attributes
    ----------
    evaluated : (B,) int64
        Shifts whose objective was evaluated in full, with a proven error.
    exact : (B,) int64
        Shifts that needed exact arithmetic to be told apart.
    excluded_above : (B,)
        A proven lower bound of the objective at all other shifts: above the runner-up's. inf where none was excluded.
    """

    evaluated: Integers
    exact: Integers
    excluded_above: Floats


@dataclass(frozen=True, eq=False)
class Rival:
    """Per structure the best other local minimum of the landscape: (B,) `shift` (−1: none), (B,) `margin` (inf)."""

    shift: Integers
    margin: Floats


@dataclass(frozen=True, eq=False, repr=False)
class AlignedResult:
    """What `masked_dos` and `shift_agnostic_mse` return.

    The arrays of the inputs are the caller's own where they needed no conversion: what is computed later, `aligned`,
    `landscape()` and `rival()`, is of these arrays, so do not write into them before.

    B structures, N target points, P prediction points; `padding` zeros on both sides make Q of them, and
    S = Q − N + 1 shifts. For `masked_dos` the padding is 0 and P = N + E.

    Attributes
    ----------
    value : float or (B,) array
        The reduced loss; for reduction "none" `per_structure`.
    per_structure : (B,)
        D + [F] + grad_weight · G + int_weight · C.
    shift, runner_up : (B,) int64
        The best shift in points, and the best of the others (−1 where there is no other); ties to the smallest.
    margin : (B,)
        objective(runner_up) − objective(shift), at least 0; inf where there is no other shift.
    tied : (B,) bool
        The exact margin is 0.
    terms : Terms
        The unweighted terms, also those whose weight is 0 or that the convention leaves out of the value.
    certificate : Certificate
        How `shift`, `runner_up` and `tied` are known.
    grad : (B, P) or None
        d value / d predictions; row b of it is d per_structure[b] / d predictions[b] for reduction "none".
    convention : Convention
    predictions (B, P), targets (B, N), mask (B, N), energy_step (eV), energy_grid (N,) or None, reduction,
    grad_weight, int_weight, padding
        The inputs as used.
    """

    value: float | Floats
    per_structure: Floats
    shift: Integers
    runner_up: Integers
    margin: Floats
    tied: Booleans
    terms: Terms
    certificate: Certificate
    grad: Floats | None
    convention: Convention
    predictions: Floats
    targets: Floats
    mask: Booleans
    energy_step: float
    energy_grid: Floats | None
    reduction: str
    grad_weight: float
    int_weight: float
    padding: int
    _unrounded: Unrounded | None = field(repr=False)
    _landscape: Callable[[], Floats] = field(repr=False)
    _rival: Callable[[], Rival] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"AlignedResult(value={_show(self.value)}, structures={self.shift.size}, "
            f"convention={self.convention.name!r})"
        )

    @property
    def shifts(self) -> int:
        """How many shifts there are to choose from."""
        return int(self.predictions.shape[1] - self.targets.shape[1]) + 2 * self.padding + 1

    @cached_property
    def aligned(self) -> Floats:
        """(B, N) The window of each structure's prediction at its shift."""
        padded = np.pad(self.predictions, ((0, 0), (self.padding, self.padding)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.targets.shape[1], axis=1)
        return windows[np.arange(self.shift.size), self.shift]

    @property
    def in_padding(self) -> Booleans:
        """(B,) Whether the window lies wholly in the padding, where D gives no gradient."""
        before = self.shift + self.targets.shape[1] <= self.padding
        behind = self.shift >= self.padding + self.predictions.shape[1]
        either: Booleans = before | behind
        return either

    def landscape(self) -> Floats:
        """Return the (B, S) objective at every shift; inf where it overflows."""
        return self._landscape()

    def rival(self) -> Rival:
        """Return, per structure, the best local minimum of the landscape other than the one it was aligned to.

        A local minimum is a run of equal values with nothing lower beside it, an end of the range included; the
        run is represented by its smallest shift. The runner-up is mostly the best shift's neighbour: the rival is
        what a wrong alignment would be.
        """
        return self._rival()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain Python, safe for JSON (an infinite margin becomes None)."""
        names = ("value", "per_structure", "shift", "runner_up", "margin", "tied", "terms", "certificate")
        figures = {name: json_safe(getattr(self, name)) for name in names}
        return figures | {
            "convention": self.convention.name,
            "reduction": self.reduction,
            "energy_step": self.energy_step,
            "grad_weight": self.grad_weight,
            "int_weight": self.int_weight,
            "padding": self.padding,
            "in_padding": json_safe(self.in_padding),
        }


@dataclass(frozen=True, eq=False)
class SectionTerm:
    """One term of a `loss` section: its type, its weight, and what its entry point returned.

    Attributes
    ----------
    type : str
        The loss type of the options, "masked_dos" say.
    weight : float
    value : float or array
        The unweighted value.
    contribution : float or None
        weight · value; None where the reduction is "none".
    result : PointwiseResult, AlignedResult or EnsembleResult
    arguments : mapping
        What the entry point was given, by the names of its arguments: ``predictions``, ``targets``, ``mask`` where the
        type has one, as NumPy arrays, and the options; of an ensemble, the options alone.
    per_atom : bool
        Whether predictions and targets were divided by numbers of atoms.
    """

    type: str
    weight: float
    value: float | Floats
    contribution: float | None
    result: PointwiseResult | AlignedResult | EnsembleResult
    arguments: Mapping[str, Any] = field(repr=False)
    per_atom: bool


@dataclass(frozen=True, eq=False, repr=False)
class SectionResult:
    """What `LossSection.evaluate` returns.

    Attributes
    ----------
    total : float or None
        Σ weight · value; None where a term's reduction is "none".
    reason : str or None
        Why `total` is None.
    terms : mapping
        ``<target>`` and ``<target>/<gradient>`` to `SectionTerm`.
    skipped : mapping
        What was left out, to the reason.
    """

    total: float | None
    reason: str | None
    terms: dict[str, SectionTerm]
    skipped: dict[str, str]
    _gradient: Callable[[], dict[str, Any]] = field(repr=False)

    def __repr__(self) -> str:
        total = "None" if self.total is None else _show(self.total)
        return f"SectionResult(total={total}, terms={list(self.terms)}, skipped={list(self.skipped)})"

    def gradient(self) -> dict[str, Any]:
        """Return d total / d predictions: target to ``{"values": array, …}`` or ``{"blocks": {key: {…}}}``.

        Arrays have the shapes of the predictions, and are by the predictions as they were given: a division by
        `num_atoms` is in them. What no term reads is absent. Weights, divisions and sums are rounded one by one.

        Raises
        ------
        InputError
            There is no total; or the section was evaluated without `grad`.
        """
        if self.total is None:
            raise InputError(f"gradient: found no total ({self.reason}), expected the reductions mean or sum")
        return self._gradient()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python, safe for JSON."""
        terms = {
            name: {
                "type": term.type,
                "weight": term.weight,
                "value": json_safe(term.value),
                "contribution": json_safe(term.contribution),
                "result": term.result.to_dict(),
            }
            for name, term in self.terms.items()
        }
        return {"total": json_safe(self.total), "reason": self.reason, "terms": terms, "skipped": dict(self.skipped)}
