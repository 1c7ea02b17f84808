"""`plot_pointwise`: mse, mae and huber of one element, and their derivatives, over the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refloss.arrays import finite_number
from refloss.plotting import style
from refloss.results import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclass(frozen=True, eq=False)
class PointwiseData:
    """What `plot_pointwise` draws: each of mse, mae and huber, and its derivative, over `residual`; all (M,)."""

    delta: float
    residual: Floats
    loss: dict[str, Floats]
    derivative: dict[str, Floats]


def pointwise_data(delta: float = 1.0) -> PointwiseData:
    """Return what `plot_pointwise` draws: residuals from −2.5 δ to 2.5 δ, with −δ, 0 and δ among them.

    Raises
    ------
    InputError
        `delta` is not a finite number > 0.
    """
    import refloss

    delta = finite_number("delta", delta, positive=True)
    residual = delta * (np.arange(-250, 251) / 100)
    results = {
        name: getattr(refloss, name)(residual, np.zeros_like(residual), reduction="none", grad=True, **options)
        for name, options in {"mse": {}, "mae": {}, "huber": {"delta": delta}}.items()
    }
    return PointwiseData(
        delta,
        residual,
        {name: result.value for name, result in results.items()},
        {name: result.grad for name, result in results.items()},
    )


def plot_pointwise(delta: float = 1.0, *, fig: Figure | SubFigure | None = None) -> Figure:
    """Draw mse, mae and huber over the residual, and their derivatives, with the knee at ±δ marked.

    Parameters
    ----------
    delta : float
        δ of the Huber loss, in the units of the target.
    fig : Figure or SubFigure, optional
        Where to draw; otherwise a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        `delta` is not a finite number > 0.

    References
    ----------
    docs/specification.md, section 2.
    """
    data = pointwise_data(delta)
    with style.figure(fig, (8.4, 3.6)) as canvas:
        left, right = canvas.subplots(1, 2)
        _panel(left, data, data.loss)
        _panel(right, data, data.derivative)
        left.set_ylabel("loss of one element\n(mse, huber: units²; mae: units)")
        right.set_ylabel("d loss / d prediction\n(mse, huber: units; mae: pure number)")
        canvas.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return style.root(canvas)


_LOOKS = {"mse": (style.BLUE, "--"), "mae": (style.INK, "-."), "huber": (style.VERMILLION, "-")}


def _panel(ax: Axes, data: PointwiseData, curves: dict[str, np.ndarray]) -> None:
    for side in (-1, 1):
        ax.axvline(side * data.delta, color=style.SHADE, lw=1.0, ls=":", zorder=0)
    ax.axhline(0, color=style.SHADE, lw=0.6, zorder=0)
    for name, values in curves.items():
        colour, dashes = _LOOKS[name]
        # A line through a jump would claim that the values between are taken.
        jump = np.abs(values[2:] - values[:-2]) > 0.8 * np.ptp(values)
        broken = np.where(np.pad(jump, 1), np.nan, values)
        ax.plot(data.residual, broken, color=colour, ls=dashes, label=name, lw=2.2 if name == "huber" else 1.4)
    knee = np.isin(data.residual, (-data.delta, data.delta))
    ax.plot(
        data.residual[knee],
        curves["huber"][knee],
        ls="none",
        marker="o",
        color=style.VERMILLION,
        mfc="white",
        mew=1.5,
        zorder=3,
        label=f"knee of huber, |d| = δ = {data.delta:g}",
    )
    ax.set_xlabel("residual d = prediction − target (units of the target)")
    ax.margins(x=0)
    # Of a small or a large δ the usual labels leave the power of ten to a corner, where the axis is named.
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
