"""`plot_parity`: predictions over targets, and what the loss makes of their differences.

Energies in eV, gradients by positions (minus the forces) in eV/Å, gradients by strain (stress times volume) in eV;
where they were divided by numbers of atoms, per atom. Units of other targets are theirs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refloss.arrays import real_array
from refloss.errors import InputError, did_you_mean
from refloss.plotting import style
from refloss.results import Floats, Integers, PointwiseResult, SectionResult, SectionTerm
from refloss.section import LOSS_TYPES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class ParityPanel:
    """One pointwise term of a section.

    Attributes
    ----------
    path : str
        ``<target>`` or ``<target>/<gradient>``.
    loss : str
        Type, reduction, weight and value in words.
    unit : str
    delta : float or None
        The knee of the Huber loss.
    count : int
        How many elements count; the others are in none of the figures.
    target, prediction : (M,)
        Means of the elements that fall into the same cell of a fine grid: where the dots are.
    elements : (M,) int
        How many elements each dot stands for.
    limits : (low, high)
        Of targets and predictions together.
    edges : (K + 1,)
        Of bins of the residual, prediction − target; the outermost hold what lies beyond them too.
    share_of_elements, share_of_loss : (K,)
        What part of the elements, and of the sum over them, each bin holds; of no elements, or of a loss of 0, 0.
    largest : float
        The largest |residual|.
    """

    path: str
    loss: str
    unit: str
    delta: float | None
    count: int
    target: Floats
    prediction: Floats
    elements: Integers
    limits: tuple[float, float]
    edges: Floats
    share_of_elements: Floats
    share_of_loss: Floats
    largest: float


@dataclass(frozen=True, eq=False)
class ParityData:
    """What `plot_parity` draws: a panel a term, and the total in words."""

    panels: tuple[ParityPanel, ...]
    caption: str


def parity_data(result: SectionResult, terms: Collection[str] | None = None) -> ParityData:
    """Return what `plot_parity` draws.

    Raises
    ------
    InputError
        No term of the section is pointwise, or one of `terms` is none.
    """
    pointwise = {path: term for path, term in result.terms.items() if isinstance(term.result, PointwiseResult)}
    found = ", ".join(f"{path} ({term.type})" for path, term in result.terms.items())
    if not pointwise:
        raise InputError(f"result: found {found}, expected a term of mse, mae or huber")
    chosen = list(pointwise) if terms is None else list(terms)
    if not chosen or isinstance(terms, str):
        raise InputError(f"terms: found {terms!r}, expected some of {', '.join(pointwise)}")
    for path in chosen:
        if path not in pointwise:
            hint = did_you_mean(str(path), pointwise)
            raise InputError(f"terms: found {path!r}, expected pointwise terms: {', '.join(pointwise)}{hint}")
    total = f"total {result.total:.5g}" if result.total is not None else "no total"
    others = len(result.terms) - len(chosen)
    beside = f", {others} of its {len(result.terms)} terms not shown" if others else ""
    return ParityData(tuple(_panel(path, pointwise[path]) for path in chosen), f"{total}{beside}")


_DOTS: Final = 160
"""Cells of the fine grid along each axis: a dot is some one and a half cells wide."""

_BINS: Final = 31
"""Of the residual; odd, so that one of them has 0 in its middle."""


def _panel(path: str, term: SectionTerm) -> ParityPanel:
    assert isinstance(term.result, PointwiseResult)  # parity_data has chosen
    selected = term.result.selected
    prediction, target = (
        real_array(name, term.arguments[name], finite=False)[selected] for name in ("predictions", "targets")
    )
    delta = term.arguments.get("delta")
    limits = _limits(np.concatenate([prediction, target]))
    return ParityPanel(
        path,
        _in_words(term),
        _unit(path, term),
        delta,
        prediction.size,
        *_dots(target, prediction, limits),
        limits,
        *_shares(prediction - target, _elements(term), delta),
        float(np.abs(prediction - target).max(initial=0.0)),
    )


def _elements(term: SectionTerm) -> Floats:
    """Return the loss of each element."""
    if isinstance(term.result.value, np.ndarray):
        return term.result.value
    elements: Floats = LOSS_TYPES[term.type].load()(**{**term.arguments, "reduction": "none"}).value
    return elements


def _limits(values: Floats) -> tuple[float, float]:
    if not values.size:
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or abs(low) or 1.0
    return low - margin, high + margin


def _dots(target: Floats, prediction: Floats, limits: tuple[float, float]) -> tuple[Floats, Floats, Integers]:
    """Return the mean target and prediction of each cell that holds any, the fullest last, and how many it holds."""
    edges = np.linspace(*limits, _DOTS + 1)[1:-1]
    cell = np.searchsorted(edges, target) * _DOTS + np.searchsorted(edges, prediction)
    held = np.bincount(cell)
    full = np.flatnonzero(held)
    full = full[np.argsort(held[full], kind="stable")]
    x, y = (np.bincount(cell, weights=values)[full] / held[full] for values in (target, prediction))
    return x, y, held[full].astype(np.int64)


def _shares(residual: Floats, loss: Floats, delta: float | None) -> tuple[Floats, Floats, Floats]:
    """Return bins of the residual, and of elements and loss the share of each; the outermost hold what lies beyond."""
    size = np.abs(residual)
    most = float(size.max(initial=0.0)) or 1.0
    usual = float(np.quantile(size, _USUAL, method="higher")) if size.size else 0.0
    reach = min(max(usual, 2.0 * (delta or 0.0)), most) or most
    edges = np.linspace(-reach, reach, _BINS + 1)
    inside = np.clip(residual, -reach, reach)
    counts = np.histogram(inside, edges)[0]
    sums = np.histogram(inside, edges, weights=loss)[0]
    return edges, counts / max(residual.size, 1), sums / (sums.sum() or 1.0)


_USUAL: Final = 0.99
"""At least so many of the elements are in the bins where they belong: a few far outside would leave one bar to see."""


def _in_words(term: SectionTerm) -> str:
    value = "not reduced" if isinstance(term.value, np.ndarray) else f"{term.arguments['reduction']} {term.value:.4g}"
    knee = f", δ = {term.arguments['delta']:g}" if "delta" in term.arguments else ""
    total = "" if term.contribution is None else f": {term.contribution:.4g} of the total"
    return f"{term.type}{knee}: {value}\nweight {term.weight:g}{total}"


_UNITS: Final = {"energy": "eV", "positions": "eV/Å", "strain": "eV"}


def _unit(path: str, term: SectionTerm) -> str:
    target, _, gradient = path.rpartition("/")
    unit = _UNITS.get(gradient, "units of the target") if not target or target == "energy" else "units of the gradient"
    return f"{unit}/atom" if term.per_atom and "units" not in unit else f"{unit}, per atom" if term.per_atom else unit


def plot_parity(
    result: SectionResult, *, terms: Collection[str] | None = None, fig: Figure | SubFigure | None = None
) -> Figure:
    """Draw predictions over targets for each pointwise term of a section, and where the loss of the term comes from.

    Above, a dot for each place where there are elements, the darker the more of them; on the diagonal the prediction
    is right, and beyond the dashed lines the Huber loss grows linearly. Below, over the residual, which share of the
    elements each bin holds and which share of the loss: mse gives the few large errors almost all of it, mae a share
    that grows with the error, huber the one within ±δ and the other beyond.

    Parameters
    ----------
    result : SectionResult
        What `LossSection.evaluate` returned.
    terms : collection of str, optional
        The terms to draw, ``"energy/positions"`` say; otherwise all of types mse, mae and huber, masked or not.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        No term of the section is pointwise, or one of `terms` is none.

    References
    ----------
    docs/specification.md, sections 2 and 6.
    """
    data = parity_data(result, terms)
    columns = min(len(data.panels), _COLUMNS)
    rows = -(-len(data.panels) // columns)
    size = (max(2.7 * columns + 0.6, 4.2), 0.7 + 4.6 * rows)
    with style.figure(fig, size) as canvas:
        canvas.suptitle(data.caption, ha="left", x=0.01)
        axes = canvas.subplots(2 * rows, columns, squeeze=False, height_ratios=(1.6, 1) * rows)
        most = max(int(panel.elements.max(initial=1)) for panel in data.panels)
        dots: list[ScalarMappable] = []
        for number, panel in enumerate(data.panels):
            row, column = divmod(number, columns)
            above, below = axes[2 * row : 2 * row + 2, column]
            dots.append(_parity(above, panel, most))
            _residuals(below, panel)
        for row in range(len(data.panels), rows * columns):
            for ax in axes[-2:, row % columns]:
                ax.remove()
        handles: dict[str, Any] = {}
        for ax in canvas.axes:
            handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        canvas.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=min(columns + 1, 4))
        if most > 1:
            _scale(canvas, dots[0], list(axes[::2].ravel()[: len(data.panels)]), most)
        return style.root(canvas)


_COLUMNS: Final = 4


def _parity(ax: Axes, panel: ParityPanel, most: int) -> ScalarMappable:
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import MaxNLocator

    shades = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.5, 1.0, 256)))
    low, high = panel.limits
    ax.plot([low, high], [low, high], color=style.INK, lw=0.6, zorder=1, label="prediction = target")
    if panel.delta is not None:
        for side, label in ((-1, None), (1, _KNEE)):
            ends = np.array([low, high])
            ax.plot(ends, ends + side * panel.delta, color=style.INK, lw=1.0, ls="--", zorder=3, label=label)
    dots = ax.scatter(
        panel.target,
        panel.prediction,
        c=panel.elements,
        s=9,
        lw=0,
        cmap=shades,
        norm=LogNorm(1, max(most, 2)),
        rasterized=panel.elements.size > 500,
        zorder=2,
    )
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_box_aspect(1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xlabel(f"target ({panel.unit})")
    ax.set_ylabel(f"prediction ({panel.unit})")
    elements = f"{panel.count:,} element{'s' * (panel.count != 1)}"
    title = f"{panel.path}, {elements}\n{panel.loss}"
    ax.set_title(title, loc="left", fontsize="small", pad=4, parse_math=False)  # a "$" of a name is no formula
    if not panel.count:
        style.say(ax, "no element counts")
    return dots


_KNEE: Final = "knee of huber, |residual| = δ"


def _scale(canvas: Figure | SubFigure, dots: ScalarMappable, beside: list[Axes], most: int) -> None:
    from matplotlib.ticker import LogLocator

    few = most < _DECADES
    ticks = LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,))
    scale = canvas.colorbar(dots, ax=beside, label="elements a dot", ticks=ticks, aspect=30, pad=0.02, fraction=0.05)
    scale.ax.yaxis.set_major_formatter("{x:,.0f}")
    scale.minorticks_off()


_DECADES: Final = 50
"""From here powers of ten alone are labels enough."""


def _residuals(ax: Axes, panel: ParityPanel) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    look: dict[str, Any] = {"color": style.ORANGE, "hatch": "////", "edgecolor": "white", "lw": 0}
    ax.bar(panel.edges[:-1], panel.share_of_loss, np.diff(panel.edges), align="edge", label="share of the loss", **look)
    ax.stairs(panel.share_of_elements, panel.edges, color=style.BLUE, lw=1.3, label="share of the elements")
    if panel.delta is not None:
        for side in (-1, 1):
            if panel.delta <= panel.edges[-1]:
                ax.axvline(side * panel.delta, color=style.INK, lw=1.0, ls="--")
    ax.set_xlim(panel.edges[0], panel.edges[-1])
    ax.set_ylim(0, None if panel.count else 1)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    beyond = f"\noutermost: up to ±{panel.largest:.3g}" if panel.largest > panel.edges[-1] else ""
    ax.set_xlabel(f"residual ({panel.unit}){beyond}")
    ax.set_ylabel("share in each bin (%)")
    ax.set_box_aspect(0.65)
