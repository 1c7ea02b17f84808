"""`refloss.plotting`: what is drawn where, on whose figure, and what it leaves behind."""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from pictured import generic, section, spectra

import refloss
from refloss import InputError, plotting
from refloss.plotting import (
    alignment_data,
    masks_data,
    plot_alignment,
    plot_conventions,
    plot_cumulative,
    plot_gallery,
    plot_gradient,
    plot_landscapes,
    plot_masks,
    plot_parity,
    plot_penalty,
    plot_pointwise,
    plot_shifts,
    plot_terms,
    save,
    style,
)
from refloss.results import AlignedResult

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data" / "DOS_structures.xyz"


DRAW: dict[str, Callable[[AlignedResult], Figure]] = {
    "alignment": lambda result: plot_alignment(result, 2),
    "conventions": lambda result: plot_conventions(result, 2),
    "cumulative": lambda result: plot_cumulative(result, 2),
    "gallery": lambda result: plot_gallery(result, k=2),
    "gradient": lambda result: plot_gradient(result, 2),
    "landscapes": plot_landscapes,
    "masks": plot_masks,
    "parity": lambda result: plot_parity(section()),
    "penalty": lambda result: plot_penalty(result, 2),
    "pointwise": lambda result: plot_pointwise(0.7),
    "shifts": plot_shifts,
    "terms": plot_terms,
}
"""Every kind of figure."""


def drawing(name: str) -> Figure:
    return DRAW[name](spectra(grad=True))


def drawings(result: AlignedResult | None = None) -> dict[str, Figure]:
    result = spectra(grad=True) if result is None else result
    return {name: draw(result) for name, draw in DRAW.items()}


def test_every_picture_is_tested() -> None:
    assert DRAW.keys() == {name.removeprefix("plot_") for name in plotting.__all__ if name.startswith("plot_")}


def words(figure: Figure) -> str:
    """Return all that is written in a figure, titles and legends included."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def panels(figure: Figure) -> tuple[Axes, ...]:
    density, residual, cumulated, objective = figure.axes
    return density, residual, cumulated, objective


def line(ax: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return the points of the one line whose label begins so."""
    (found,) = (found for found in ax.lines if str(found.get_label()).startswith(label))
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def test_an_alignment_has_its_curves_where_the_data_say() -> None:
    result = spectra()
    data = alignment_data(result, 2)
    assert panels(plot_alignment(result, 2))[0].get_xlim() == data.support
    density, residual, cumulated, _ = panels(plot_alignment(result, 2, energy_range=(-100, 100)))
    assert line(density, "target") == (data.energy.tolist(), result.targets[2].tolist())
    assert line(density, "prediction, aligned") == (data.energy.tolist(), result.aligned[2].tolist())
    assert line(density, "prediction, unaligned") == (data.prediction_energy.tolist(), result.predictions[2].tolist())
    assert np.asarray(residual.lines[-1].get_ydata()).tolist() == (result.aligned[2] - result.targets[2]).tolist()
    curves = [np.asarray(curve.get_ydata()).tolist() for curve in cumulated.lines]
    assert curves == [data.cumulative_target.tolist(), data.cumulative_aligned.tolist()]


def test_shading_spans_what_does_not_count_in_every_panel_over_energy() -> None:
    result = generic()  # several runs each
    for b in range(4):
        data = alignment_data(result, b)
        assert len(data.masked_out) > 1
        for ax in panels(plot_alignment(result, b))[:3]:
            (shade,) = (artist for artist in ax.collections if isinstance(artist, PolyCollection))
            drawn = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shade.get_paths()]
            np.testing.assert_allclose(drawn, data.masked_out, rtol=1e-12)  # low + (high − low) is rounded twice
            assert {(p.vertices[:, 1].min(), p.vertices[:, 1].max()) for p in shade.get_paths()} == {(0.0, 1.0)}
            assert shade.get_transform() == ax.get_xaxis_transform()
            assert shade.get_hatch()


def test_best_runner_up_and_rival_are_marked_on_the_objective() -> None:
    result = generic(energy_step=0.07)
    landscape, rival = result.landscape(), result.rival()
    for b in range(4):
        figure = plot_alignment(result, b)
        objective = panels(figure)[3]
        for name, shift in (("best", result.shift[b]), ("runner-up", result.runner_up[b]), ("rival", rival.shift[b])):
            assert shift >= 0
            assert line(objective, name) == ([shift], [landscape[b, shift]])
        assert f"margin {result.margin[b]:.3g}" in words(figure)
        assert f"shift {result.shift[b]} points ({0.07 * result.shift[b]:.6g} eV)" in words(figure)
        moved = 7 - result.shift[b]
        if moved > 1:
            assert f"up by {moved} points ({0.07 * moved:.6g} eV)" in words(figure)


def test_a_tie_and_a_single_shift_are_said() -> None:
    flat = np.ones((1, 20))
    tied = refloss.masked_dos(flat, flat[:, 3:], np.ones((1, 17), bool))
    assert "runner-up (tied with the best): 1 points" in words(plot_alignment(tied))
    alone = refloss.masked_dos(flat, flat, np.ones((1, 20), bool))
    assert "there is only one shift" in words(plot_alignment(alone))
    assert "runner-up" not in words(plot_alignment(alone))


def test_the_residual_is_scaled_to_what_counts() -> None:
    predictions, targets = np.ones((1, 30)), np.full((1, 30), 1.01)
    targets[0, 20:] = 9.0
    result = refloss.masked_dos(predictions, targets, np.arange(30)[None] < 20)
    low, high = panels(plot_alignment(result))[1].get_ylim()
    assert 0.01 < high < 0.02
    assert low == -high


@pytest.mark.parametrize(("options", "zero"), [({"energy_step": 0.07}, "zero at the target's first point"), ({}, None)])
def test_every_energy_axis_names_its_unit_and_zero(options: dict[str, Any], zero: str | None) -> None:
    result = generic(**options) if zero else spectra()
    over_energy = plot_masks(result).axes[0], plot_penalty(result).axes[2], plot_cumulative(result).axes[2]
    for ax in (panels(plot_alignment(result))[2], *over_energy):
        assert "eV" in ax.get_xlabel()
        assert (zero or "absolute energy (eV, zero as in energy_grid)") in ax.get_xlabel()


def test_every_axis_that_has_numbers_has_a_label_with_a_unit() -> None:
    unit = re.compile(r"\(.*(eV|states|electrons|points|units|pure number|%).*\)|^structure|^elements", re.DOTALL)
    for name, figure in drawings().items():
        named = [label for ax in figure.axes for label in labels_of_numbers(ax)]
        named += [child.get_xlabel() for ax in figure.axes for child in ax.child_axes]
        assert len(named) >= 2
        for label in named:
            assert unit.search(label), (name, label)


def labels_of_numbers(ax: Axes) -> list[str]:
    """Return the labels of the axes that have numbers; in a grid the outermost of a column or a row names it."""
    place, figure = ax.get_subplotspec(), ax.figure
    labels = []
    for axis, span, label in ((ax.xaxis, "colspan", Axes.get_xlabel), (ax.yaxis, "rowspan", Axes.get_ylabel)):
        if any(tick.label1.get_visible() or tick.label2.get_visible() for tick in axis.get_major_ticks()[:1]):
            grid = [other for other in figure.axes if other.get_subplotspec() and place]
            line = [other for other in grid if getattr(other.get_subplotspec(), span) == getattr(place, span)]
            labels.append(label(ax) or next(filter(None, map(label, line)), ""))
    return labels


@pytest.mark.parametrize("convention", ["documented", "intended", "metatrain-2026.2", "metatrain-2025.12"])
def test_every_picture_of_a_result_names_convention_and_value(convention: str) -> None:
    result = spectra(convention=convention, grad=True)
    drawn = drawings(result)
    # Those of pointwise losses have no convention, and one of several conventions has the loss of its structure.
    for name in ("pointwise", "parity", "conventions"):
        del drawn[name]
    for figure in drawn.values():
        assert f"convention {convention}" in words(figure)
        assert f"{result.value:.5g}" in words(figure)


def test_masks_are_drawn_as_they_are_and_shifts_beside_them() -> None:
    result = spectra()
    data = masks_data(result)
    image, shifts = plot_masks(result).axes
    (drawn,) = image.images
    np.testing.assert_array_equal(drawn.get_array(), data.kind)
    half = 0.025
    extent = (data.energy[0] - half, data.energy[-1] + half, 5.5, -0.5)
    assert drawn.get_extent() == pytest.approx(extent)
    assert np.asarray(shifts.lines[0].get_xdata()).tolist() == result.shift.tolist()
    assert np.asarray(shifts.lines[0].get_ydata()).tolist() == list(range(6))
    low, high = shifts.get_xlim()
    assert low < 0
    assert high > 30  # every possible shift is in view


def test_bars_are_stacked_worst_first_and_the_rest_is_counted() -> None:
    result = spectra(structures=9, convention="intended", grad_weight=-0.001)
    figure = plot_terms(result, most=5)
    (ax,) = figure.axes
    worst = np.argsort(-result.per_structure)
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(b) for b in worst[:5]]
    bars = [[bar.get_height() for bar in container] for container in ax.containers]
    assert np.shape(bars) == (4, 5)
    # The sum of four terms, in another order: a few roundings.
    np.testing.assert_allclose(np.sum(bars, axis=0), result.per_structure[worst[:5]], rtol=1e-13)
    assert f"4 more, none above {result.per_structure[worst[5]]:.3g}" in ax.get_xlabel()
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in ax.patches}) == 4
    assert len({bar.get_hatch() for bar in ax.patches}) == 4  # without colours too
    (net,) = (found for found in ax.lines if found.get_label() == "sum")  # there because a weight is negative
    assert np.asarray(net.get_ydata()).tolist() == result.per_structure[worst[:5]].tolist()
    assert "more" not in plot_terms(result, most=9).axes[0].get_xlabel()


@pytest.mark.parametrize("most", [0, -1, 2.0, True])
def test_how_many_bars_must_be_a_number(most: object) -> None:
    with pytest.raises(InputError, match=r"^most: found"):
        plot_terms(spectra(), most=most)  # type: ignore[arg-type]


def test_the_knee_is_marked_on_loss_and_derivative() -> None:
    delta = 0.7
    loss, derivative = plot_pointwise(delta).axes
    assert line(loss, "knee") == ([-delta, delta], [delta**2 / 2] * 2)
    assert line(derivative, "knee") == ([-delta, delta], [-delta, delta])
    x, y = (np.array(values) for values in line(derivative, "mae"))
    assert np.isnan(y[x == 0]).all()  # no line through the jump
    assert np.isfinite(y[x != 0]).all()
    assert np.isfinite(line(derivative, "huber")[1]).all()


def test_a_figure_without_valid_data_says_so() -> None:
    density = np.random.default_rng(0).random((3, 30))
    result = refloss.masked_dos(density, density[:, :25], np.zeros((3, 25), bool))
    for figure in (plot_alignment(result, 1), plot_masks(result), plot_terms(result)):
        assert "no valid data" in words(figure)
    for figure in drawings().values():
        assert "no valid data" not in words(figure)
    one = refloss.masked_dos(density, density[:, :25], np.arange(3)[:, None] != np.ones(25))
    assert "no valid data: the mask of this structure is empty" in words(plot_alignment(one, 1))
    assert "no valid data" not in words(plot_alignment(one, 0))
    assert "1 with an empty mask" in words(plot_masks(one))
    nothing = refloss.masked_dos(np.zeros((1, 9)), np.zeros((1, 9)), np.ones((1, 9), bool))
    assert "every term is 0" in words(plot_terms(nothing))


def test_a_view_that_misses_the_grid_says_so_and_a_part_is_noted() -> None:
    result = spectra()
    assert "no point of the target lies from 50 to 60 eV" in words(plot_alignment(result, energy_range=(50, 60)))
    assert "no point of the grid lies from 50 to 60 eV" in words(plot_masks(result, energy_range=(50, 60)))
    figure = plot_alignment(result, energy_range=(-3.0, -1.0))
    assert panels(figure)[0].get_xlim() == (-3.0, -1.0)
    left = alignment_data(result).left_out(-3.0, -1.0)
    assert f"{left:.0%} of the target's states lie outside these energies" in words(figure)
    assert "outside these energies" not in words(plot_alignment(result, energy_range=(-100, 100)))
    with pytest.raises(InputError, match=r"^energy_range"):
        plot_masks(result, energy_range=(2, 1))


def test_drawing_leaves_no_setting_behind() -> None:
    before = dict(mpl.rcParams)
    drawings()
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported_and_matplotlib_only_to_draw() -> None:
    program = """
import sys, json
import refloss.plotting
first = "matplotlib" in sys.modules
refloss.plotting.plot_pointwise().savefig(sys.argv[1])
print(json.dumps([first, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules]))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(  # to a device that every system has a name for
        [*command, "nul.png" if sys.platform == "win32" else "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True, False]


def test_a_figure_keeps_its_look_under_other_settings() -> None:
    wild = {"xtick.labelsize": 30, "ytick.color": "red", "xtick.major.width": 9, "font.family": "serif"}
    wild |= {"axes.titlesize": 40, "ytick.minor.size": 20, "lines.linewidth": 7}
    for name, figure in drawings().items():
        with mpl.rc_context(wild):
            changed = pixels(figure)
        np.testing.assert_array_equal(changed, pixels(drawing(name)), err_msg=name)


def pixels(figure: Figure) -> np.ndarray:
    target = io.BytesIO()
    figure.savefig(target, format="rgba", dpi=50)
    return np.frombuffer(target.getvalue(), np.uint8)


def test_they_draw_where_they_are_told() -> None:
    result = spectra()
    whole = Figure(layout="constrained")
    top, bottom = whole.subfigures(2, 1)
    assert plot_alignment(result, fig=top) is whole
    assert plot_masks(result, fig=bottom) is whole
    assert (len(top.axes), len(bottom.axes)) == (4, 2)
    other = Figure(layout="constrained")
    left, right = other.subplots(1, 2)
    assert plot_terms(result, ax=right) is other
    assert len(right.containers) == 3
    assert not left.has_data()
    third = Figure()
    assert plot_pointwise(fig=third) is third
    for figure in (whole, other, third):
        assert pixels(figure).size


def test_results_are_not_changed() -> None:
    result = spectra(grad=True)
    copies = [array.copy() for array in (result.predictions, result.targets, result.mask)]
    drawings(result)
    for array, copy in zip((result.predictions, result.targets, result.mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_saving_twice_gives_the_same_bytes_and_no_other_file(kind: str, tmp_path: Path) -> None:
    figure = plot_pointwise()
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    save(figure, first)
    save(plot_pointwise(), str(second))
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib version" not in first.read_bytes().lower()
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_a_save_that_fails_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    class Broken(Figure):
        def savefig(self, fname: Any, **options: Any) -> None:
            Path(fname).write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(refloss.InputError, match=r"path: .*a\.png cannot be written: disk full"):
        save(Broken(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", DRAW)
def test_no_text_lies_on_other_text_or_leaves_the_figure(name: str) -> None:
    figure = drawing(name)
    figure.draw_without_rendering()
    frame = figure.bbox
    boxes = []
    for text in visible_texts(figure):
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0 <= box.x1 <= frame.x1 + 1, (name, text.get_text())
        assert frame.y0 - 1 <= box.y0 <= box.y1 <= frame.y1 + 1, (name, text.get_text())
        boxes.append((text.get_text(), box))
    assert len(boxes) > 10
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        # 2 pixels of 1680: text boxes include the room for descenders that most words have not.
        apart = a.x1 - 2 <= b.x0 or b.x1 - 2 <= a.x0 or a.y1 - 2 <= b.y0 or b.y1 - 2 <= a.y0
        assert apart, (name, one, other)


@pytest.mark.parametrize("name", DRAW)
def test_no_legend_covers_data(name: str) -> None:
    figure = drawing(name)
    figure.draw_without_rendering()
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    assert legends, name
    for legend, ax in itertools.product(legends, figure.axes):
        box, data = legend.get_window_extent(), ax.get_window_extent()
        assert box.x1 <= data.x0 or data.x1 <= box.x0 or box.y1 <= data.y0 + 1 or data.y1 <= box.y0 + 1, name


def visible_texts(figure: Figure) -> list[Text]:
    """Return what is written in a drawn figure; ticks beyond the ends of their axis are made but not shown."""
    unseen = set()
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            for tick in itertools.chain(axis.get_major_ticks(), axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    unseen |= {tick.label1, tick.label2}
        for child in ax.child_axes:
            low, high = sorted(child.get_xlim())
            unseen |= {tick.label1 for tick in child.xaxis.get_major_ticks() if not low <= tick.get_loc() <= high}
            unseen |= {tick.label2 for tick in child.xaxis.get_major_ticks() if not low <= tick.get_loc() <= high}
    texts = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in texts if text.get_text().strip() and text not in unseen]


# What people without one kind of cone see, in linear RGB: Machado, Oliveira and Fernandes, IEEE Transactions on
# Visualization and Computer Graphics 15, 1291 (2009), severity 1.
DICHROMACY = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("eyes", DICHROMACY)
@pytest.mark.parametrize(
    "together",
    [
        (style.BLUE, style.VERMILLION, style.SHADE),  # curves over shading
        (style.VERMILLION, style.SKY, style.PURPLE, style.INK),  # marks on the objective
        (style.BLUE, style.SHADE, style.ORANGE, "#FFFFFF"),  # masks
        (style.BLUE, style.SKY, style.VERMILLION, style.PURPLE),  # terms
        (style.BLUE, style.INK, style.VERMILLION),  # pointwise
        (style.BLUE, style.VERMILLION, style.SKY, style.PURPLE, "#FFFFFF"),  # shifts
        (style.ORANGE, style.INK, style.SHADE),  # what a term adds
        (style.SKY, style.ORANGE, style.INK, style.SHADE),  # pushes
        (style.BLUE, style.VERMILLION, style.PURPLE, "#E1E1E1"),  # pushes of terms, over shading, which is transparent
        (style.BLUE, style.ORANGE, style.INK, "#FFFFFF"),  # shares of elements and loss
    ],
)
def test_colours_that_meet_differ_for_all_eyes(eyes: str, together: tuple[str, ...]) -> None:
    for one, other in itertools.combinations(together, 2):
        # A just noticeable difference is 2.3 in CIELAB; curves and bars are told apart with ease at some 10 of them.
        assert np.linalg.norm(lab(one, eyes) - lab(other, eyes)) > 20, (one, other)


def lab(colour: str, eyes: str) -> np.ndarray:
    """Return the CIELAB coordinates (D65) of a colour as these eyes see it."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DICHROMACY[eyes]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = xyz / [0.9505, 1.0, 1.089]
    f = np.where(f > 0.008856, np.cbrt(f), 7.787 * f + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.skipif(
    not REAL_DATA.exists(), reason="the real eigenvalues, shared/data beside the checkout, are not there"
)
def test_real_eigenvalues_become_an_aligned_picture() -> None:
    from refloss.spectra import PET_MAD_DOS, confidence_mask, gaussian_dos

    states = [
        (np.array(json.loads(bands)), np.array(weights.split(), dtype=float))
        for bands, weights in re.findall(
            r'eigenvalues="_JSON (.*?)".*?k-point weights"?="(.*?)"', REAL_DATA.read_text()
        )
    ]
    assert [bands.shape for bands, _ in states] == [(1014, 76), (858, 8)]
    grid, moved = PET_MAD_DOS, 43
    targets = np.array([gaussian_dos(bands, weights, grid.targets) for bands, weights in states])
    mask = np.array([confidence_mask(bands, grid.targets) for bands, _ in states])
    off = grid.step * moved
    predictions = np.array([gaussian_dos(bands - off, weights, grid.predictions) for bands, weights in states])
    result = refloss.masked_dos(predictions, targets, mask, energy_grid=grid.targets)
    assert result.shift.tolist() == [grid.extra - moved] * 2
    # The same densities on a grid that is off by roundings of 1e-14 eV: slopes reach some 10 states/eV².
    np.testing.assert_allclose(result.aligned, targets, atol=1e-11)
    for b, electrons in enumerate((76 * 2, 8 * 2)):
        data = alignment_data(result, b)
        assert data.cumulative_target[-1] == pytest.approx(electrons, rel=1e-4)  # the file's weights sum to 2 to 1e-5
        figure = plot_alignment(result, b)
        assert f"up by {moved} points (2.15 eV)" in words(figure)
        low, high = panels(figure)[0].get_xlim()
        assert low < -5 < 5 < high  # the valence bands are in view
        assert len(pixels(figure)) == 420 * 280 * 4
