"""Call somebody's implementation of a loss on a case, and take home what it returned.

A candidate takes ``(predictions, targets[, mask], **params)`` in the arrays of its own library, and returns a scalar
(for reduction "none" the array), or a mapping with any of ``value``, ``per_structure``, ``shift``, ``terms``, ``grad``,
where `terms` is a mapping of the names of `refloss.results.Terms`. Where it returns no `grad`, and its library can
differentiate `value`, that is done.

Nothing that a candidate does ends the run: `Returned` says that it raised, hung, wrote to its inputs, or returned
what nobody can read.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.crosscheck.libraries import AnyArray, NumPy, UnreadableError, to_host
from refloss.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from refloss.crosscheck.cases import Case

TERMS: Final = ("dos", "front_tail", "unmasked_gradient", "cumulative")

FIGURES: Final = ("value", "per_structure", "shift", *(f"terms.{term}" for term in TERMS), "grad")
"""What can be judged of an aligned loss, in the order of tables; of a pointwise one, value and grad."""

_KEYS: Final = ("value", "per_structure", "shift", "terms", "grad")

_OUTCOME: Final = ("dtypes", "garbage", "error", "grad_error", "timed_out", "modified_inputs")
"""What of two calls is to be the same, beside the figures: `dtypes` has their names."""

Candidate = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Returned:
    """What came back from one call.

    Attributes
    ----------
    figures : mapping
        Names of `FIGURES` to float64 arrays (`shift`: int64), the exact values of what was returned.
    dtypes : mapping
        The same names to the name of the type in which each came back; a Python float is a "float64".
    garbage : mapping
        What was returned and cannot be judged, to the reason. The key is the candidate's, or "return" for all of it.
    error : str or None
        The last line of the exception that the call raised, and where it was raised.
    grad_error : str or None
        The same of the library's differentiation, where the call itself went well.
    timed_out : bool
    modified_inputs : tuple of str
        Which of its inputs it wrote to.
    seconds : float
        How long it took, its differentiation included.
    """

    figures: Mapping[str, AnyArray]
    dtypes: Mapping[str, str]
    garbage: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    grad_error: str | None = None
    timed_out: bool = False
    modified_inputs: tuple[str, ...] = ()
    seconds: float = 0.0

    def same_bits(self, other: Returned) -> dict[str, bool]:
        """Return for each figure that both have whether it has the same bits; NaN is like NaN."""
        both = [name for name in self.figures if name in other.figures]
        return {name: _bits(self.figures[name]) == _bits(other.figures[name]) for name in both}

    def alike(self, other: Returned) -> bool:
        """Return whether all but the figures' bits, and the time it took, is the same."""
        return all(getattr(self, name) == getattr(other, name) for name in _OUTCOME)


def load(name: str) -> Candidate:
    """Return the callable that ``package.module:name`` or ``path/to/file.py:name`` names.

    Modules are looked for in the current folder, too.

    Raises
    ------
    InputError
        There is no such module or callable, or importing it fails.
    """
    module_name, _, path = name.rpartition(":")
    if not module_name or not path:
        raise InputError(f"candidate: found {name!r}, expected PACKAGE.MODULE:CALLABLE or FILE.py:CALLABLE")
    found: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            near = did_you_mean(part, dir(found))
            raise InputError(f"candidate: found no {path!r} in {module_name}{near}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"candidate: {name} is a {type(found).__name__}, expected a callable")
    candidate: Candidate = found
    return candidate


def keywords_to_leave_out(candidate: Candidate, case: Case, fixed: Mapping[str, Any]) -> frozenset[str]:
    """Return the keywords that the candidate does not take and need not, since they are fixed for the whole run.

    Raises
    ------
    InputError
        It does not take a keyword that changes from case to case, or does not take the arrays.
    """
    forward = getattr(candidate, "forward", None)  # a torch module's call takes anything, and passes it on
    try:
        parameters = inspect.signature(forward if callable(forward) else candidate).parameters.values()
    except (TypeError, ValueError):  # a callable in C tells nothing of itself
        return frozenset()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [key for key in case.params if key not in named]
    if free := [key for key in missing if key not in fixed]:
        raise InputError(
            f"candidate: it does not take {', '.join(free)}, expected (predictions, targets"
            f"{'' if case.mask is None else ', mask'}, *, {', '.join(case.params)}); "
            "fix what it has no keyword for with params (--param NAME=VALUE): it is then not asked to take it"
        )
    return frozenset(missing)


def call(
    candidate: Candidate,
    case: Case,
    library: NumPy,
    *,
    grad: bool,
    timeout: float | None = None,
    leave_out: frozenset[str] = frozenset(),
) -> Returned:
    """Call a candidate with arrays of its own, and return what came back.

    Parameters
    ----------
    candidate : callable
    case : Case
    library : NumPy
        From `libraries.open_library`.
    grad : bool
        Whether to differentiate where the candidate returns no gradient and its library can.
    timeout : float, optional
        Seconds. The call then runs in a thread of its own, which is left behind when they are over: Python cannot stop
        it, so it keeps its memory and its processor until it ends or the process does. A call that never lets go of the
        interpreter lock cannot be timed out.
    leave_out : frozenset of str
        Keywords of the case that the candidate is not given.
    """
    named: dict[str, AnyArray] = {"predictions": case.predictions, "targets": case.targets}
    if case.mask is not None:
        named["mask"] = case.mask
    gaps, read_only = "NonContiguous" in case.flags, "ReadOnly" in case.flags
    try:
        arrays = {name: library.array(values, gaps=gaps, read_only=read_only) for name, values in named.items()}
        before = {name: library.bits(owner) for name, (_, owner) in arrays.items()}
    except Exception as error:  # noqa: BLE001 - a device that an earlier call has broken does nothing any more
        return Returned({}, {}, error=f"before the call, its arrays: {_told(error)}")
    inputs = [view for view, _ in arrays.values()]
    if grad:
        inputs[0] = library.leaf(inputs[0])
    params = {name: value for name, value in case.params.items() if name not in leave_out}

    def of(predictions: Any) -> Any:
        return candidate(predictions, *inputs[1:], **params)

    with warnings.catch_warnings(), np.errstate(), library.settings():  # whatever a candidate makes of these
        warnings.simplefilter("ignore")  # what a candidate warns of is between it and its user
        start = time.perf_counter()
        returned = _in_time(lambda: _call(of, inputs[0], library, grad), timeout)
        seconds = time.perf_counter() - start
    if returned is None:
        return Returned({}, {}, timed_out=True, seconds=seconds)
    try:
        modified = tuple(name for name, (_, owner) in arrays.items() if library.bits(owner) != before[name])
    except Exception as error:  # noqa: BLE001 - likewise
        return Returned({}, {}, error=f"after the call, its arrays: {_told(error)}", seconds=seconds)
    return Returned(**returned, modified_inputs=modified, seconds=seconds)


def _call(of: Callable[[Any], Any], predictions: Any, library: NumPy, grad: bool) -> dict[str, Any]:
    garbage: dict[str, str] = {}
    try:
        parts = dict(_parts(of(predictions), garbage))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a candidate raises is the finding
        return {"figures": {}, "dtypes": {}, "error": _told(error)}
    figures: dict[str, AnyArray] = {}
    dtypes: dict[str, str] = {}
    grad_error = None
    if grad and "grad" not in parts and "value" in parts:
        try:
            found = library.gradient(of, predictions, parts["value"])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
            grad_error = _told(error)
        else:
            parts |= {} if found is None else {"grad": found}
    for name, part in parts.items():
        try:
            figures[name], dtypes[name] = to_host(part)
        except UnreadableError as error:
            garbage[name] = f"{error}, expected numbers"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an asynchronous kernel fails when its result is read
            garbage[name] = f"what cannot be read: {_told(error)}"
    return {"figures": figures, "dtypes": dtypes, "garbage": garbage, "grad_error": grad_error}


def _parts(answer: Any, garbage: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Give the figures of an answer by name, and put what is none of them into `garbage`."""
    if not isinstance(answer, Mapping):
        if answer is None or isinstance(answer, str | bytes | list | tuple | set):
            expected = f"a scalar, or a mapping with any of {', '.join(_KEYS)}"
            garbage["return"] = f"a {type(answer).__name__}, expected {expected}"
        else:
            yield "value", answer
        return
    for key, part in answer.items():
        if key == "terms" and isinstance(part, Mapping):
            for term, figure in part.items():
                if term in TERMS:
                    yield f"terms.{term}", figure
                else:
                    garbage[_printable(f"terms.{term}")] = (
                        f"no term, expected any of {', '.join(TERMS)}{_near(term, TERMS)}"
                    )
        elif key == "terms":
            garbage["terms"] = f"a {type(part).__name__}, expected a mapping with any of {', '.join(TERMS)}"
        elif key in _KEYS:
            yield key, part
        else:
            garbage[_printable(str(key))] = f"no figure, expected any of {', '.join(_KEYS)}{_near(key, _KEYS)}"
    if not answer:
        garbage["return"] = f"an empty mapping, expected any of {', '.join(_KEYS)}"


def _in_time(work: Callable[[], dict[str, Any]], timeout: float | None) -> dict[str, Any] | None:
    """Return what `work` returns; None where it takes more than `timeout` seconds."""
    if timeout is None:
        return work()
    done: list[dict[str, Any] | KeyboardInterrupt] = []

    def collect() -> None:
        try:
            done.append(work())
        except KeyboardInterrupt as interrupt:
            done.append(interrupt)

    thread = threading.Thread(target=collect, daemon=True, name="refloss candidate")
    thread.start()
    thread.join(timeout)
    if not done:
        return None
    if isinstance(done[0], KeyboardInterrupt):
        raise done[0]
    return done[0]


def _module(name: str) -> Any:
    try:
        if name.endswith(".py"):
            return _from_file(Path(name))
        if "" not in sys.path:
            sys.path.insert(0, "")
        return import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"candidate: {name} cannot be imported: {error}") from error
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's module: whatever it raises on import is the answer
        raise InputError(f"candidate: importing {name} raised {_told(error)}") from error


def _from_file(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"candidate: found no file {path}")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _near(key: Any, known: tuple[str, ...]) -> str:
    return did_you_mean(key, known) if isinstance(key, str) else ""


def _told(error: BaseException) -> str:
    """Return the kind of an exception, its first line, and where it came from."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - an exception that cannot say what it is
        lines = []
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return _printable(f"{type(error).__name__}{': ' + lines[0] if lines else ''}{where}")


def _printable(text: str) -> str:
    """Return text that a terminal shows and UTF-8 holds: controls and lone surrogates as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _bits(array: AnyArray) -> tuple[tuple[int, ...], bytes]:
    """Return what two arrays have in common where they are the same to the last bit."""
    with_one_nan = np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array
    return array.shape, with_one_nan.tobytes()
