"""`plot_gallery`: which structures are shown, and that they are the ones that the titles name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from pictured import generic, spectra

from refloss import InputError
from refloss.plotting import gallery_data, plot_gallery
from refloss.plotting.gallery import _ranks


def words(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_rows_are_the_worst_the_median_and_the_best() -> None:
    result = generic(structures=11)
    data = gallery_data(result, 2)
    order = sorted(range(11), key=lambda b: -result.per_structure[b])
    assert (
        {name: [panel.structure for panel in panels] for name, panels in data.rows.items()}
        == {
            "worst": order[:2],
            "median": order[4:6],  # 11 have the median at rank 5
            "best": order[9:],
        }
    )
    for panel in (panel for panels in data.rows.values() for panel in panels):
        b = panel.structure
        assert order[panel.rank] == b
        assert (panel.loss, panel.shift) == (result.per_structure[b], result.shift[b])
        shift = panel.shift
        assert panel.aligned.tolist() == result.predictions[b, shift : shift + 40].tolist()
        assert panel.target.tolist() == result.targets[b].tolist()
        assert panel.mask.tolist() == result.mask[b].tolist()


@given(structures=st.integers(1, 40), k=st.integers(1, 12))
def test_no_structure_stands_twice_and_of_few_all_are_there(structures: int, k: int) -> None:
    rows = _ranks(structures, k)
    shown = [rank for name in ("worst", "median", "best") for rank in rows[name]]
    assert shown == sorted(set(shown))  # in order, the worst first
    assert len(shown) == min(structures, 3 * k)
    assert shown[0] == 0
    assert structures == 1 or shown[-1] == structures - 1
    assert len(rows["worst"]) >= len(rows["best"]) >= len(rows["median"])
    if structures >= 3 * k:
        middle = (rows["median"][0] + rows["median"][-1]) / 2
        assert abs(middle - (structures - 1) / 2) <= 0.5


def test_panels_show_what_the_data_say() -> None:
    result = spectra(structures=9)
    figure, data = plot_gallery(result, k=2, energy_range=(-100, 100)), gallery_data(result, 2)
    panels = [panel for row in data.rows.values() for panel in row]
    assert len(figure.axes) == len(panels) == 6
    for ax, panel in zip(figure.axes, panels, strict=True):
        target, aligned = (np.asarray(line.get_ydata()).tolist() for line in ax.lines)
        assert (target, aligned) == (panel.target.tolist(), panel.aligned.tolist())
        title = ax.get_title(loc="left")
        assert title.startswith(f"structure {panel.structure}: {panel.loss:.4g}\n")
        assert f"number {panel.rank + 1} of 9 from the worst, shift {panel.shift}" in title
    assert [ax.get_ylabel().partition("\n")[0] for ax in figure.axes[::2]] == ["worst", "median", "best"]
    assert "absolute energy (eV, zero as in energy_grid)" in words(figure)
    assert "convention documented" in words(figure)
    own = plot_gallery(result, k=2)
    assert [ax.get_xlim() for ax in own.axes] == [panel.support for panel in panels]


def test_the_misfit_that_is_filled_is_the_one_that_counts() -> None:
    result = generic(structures=1)
    (ax,) = plot_gallery(result, energy_range=(-100, 100)).axes
    (filled,) = (artist for artist in ax.collections if artist.get_label() == "misfit that counts")
    corners = np.concatenate([path.vertices for path in filled.get_paths()])
    covered = {round(energy / 0.05) for energy in corners[:, 0]}
    assert covered == set(np.flatnonzero(result.mask[0]).tolist())


def test_one_structure_and_one_without_valid_data() -> None:
    alone = plot_gallery(spectra(structures=1))
    assert len(alone.axes) == 1
    assert "median" not in words(alone)
    empty = plot_gallery(spectra(structures=4, masked_out=1))
    assert words(empty).count("no valid data") == 1
    assert words(plot_gallery(generic(), energy_range=(700, 800))).count("no point of the target here") == 4


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_how_many_must_be_a_number(k: Any) -> None:
    with pytest.raises(InputError, match=r"^k: found"):
        plot_gallery(generic(), k=k)


def test_a_bad_energy_range_is_named() -> None:
    with pytest.raises(InputError, match=r"^energy_range: found"):
        plot_gallery(generic(), energy_range=(2.0, 1.0))
