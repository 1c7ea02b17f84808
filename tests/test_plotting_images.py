"""What the pictures look like: each against the image in tests/baseline that somebody has looked at.

``python tests/test_plotting_images.py`` draws the baseline anew; look at it before committing it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from pictured import generic, section, spectra

from refloss.plotting import (
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
)

BASELINE = Path(__file__).parent / "baseline"

PICTURES: dict[str, Callable[[], Figure]] = {
    "alignment": lambda: plot_alignment(spectra(), 2),
    "alignment_without_valid_data": lambda: plot_alignment(spectra(structures=2, masked_out=1), 1),
    "masks": lambda: plot_masks(spectra(structures=25)),
    "terms": lambda: plot_terms(generic(structures=7, convention="intended", grad_weight=-0.002), most=5),
    "pointwise": lambda: plot_pointwise(0.7),
    "shifts": lambda: plot_shifts(spectra(structures=25, masked_out=3)),
    "landscapes": lambda: plot_landscapes(spectra(structures=25, masked_out=3, convention="intended")),
    "penalty": lambda: plot_penalty(spectra(convention="intended", grad_weight=0.1), 2),
    "cumulative": lambda: plot_cumulative(spectra(), 2),
    "gallery": lambda: plot_gallery(spectra(structures=9, masked_out=3), k=2),
    "parity": lambda: plot_parity(section()),
    "gradient": lambda: plot_gradient(spectra(convention="intended", grad_weight=0.1, grad=True), 2),
    "conventions": lambda: plot_conventions(spectra(grad_weight=0.1), 2),
}

TOLERANCE = {"masks": 12.0, "landscapes": 6.0}
"""Root mean square over all pixels, of 255; 1 where nothing is said. The least that can go missing, a dotted line of
`plot_pointwise`, makes 1.1. The edges of an image fall on one pixel or the next with the release of matplotlib, which
makes 10 in `plot_masks`; columns that are off by one make 14, rows 37. In `plot_landscapes`, whose colours change
little from one column to the next, it makes 3; columns that are off by one make 12, rows 16, a missing line 12.
"""


def draw(name: str, path: Path) -> None:
    """Draw without words and hatches, at a third of the size.

    Releases of matplotlib differ in how they draw those, and the layout makes room for words. What is written and
    hatched, and that it does not overlap, is tested in test_plotting.py.
    """
    figure = PICTURES[name]()
    figure.set_layout_engine("none")
    for legend in (*figure.legends, *(ax.get_legend() for ax in figure.axes)):
        if legend is not None:
            legend.remove()
    for ax in figure.axes:
        for panel in (ax, *ax.child_axes):
            panel.tick_params(which="both", labelleft=False, labelbottom=False, labeltop=False)
            panel.xaxis.get_offset_text().set_visible(False)
            panel.yaxis.get_offset_text().set_visible(False)
    for text in figure.findobj(Text):
        text.set_visible(False)
    for hatched in figure.findobj(lambda artist: hasattr(artist, "set_hatch")):
        hatched.set_hatch(None)
    figure.savefig(path, dpi=64, metadata={"Software": None})


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_looks_as_it_did(name: str, tmp_path: Path) -> None:
    found, expected = tmp_path / f"{name}.png", tmp_path / f"{name}-expected.png"
    draw(name, found)
    shutil.copy(BASELINE / f"{name}.png", expected)
    difference = compare_images(str(expected), str(found), TOLERANCE.get(name, 1.0))
    assert difference is None, difference


def test_every_baseline_has_its_picture() -> None:
    assert {path.stem for path in BASELINE.iterdir()} == PICTURES.keys()


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for name in PICTURES:
        draw(name, BASELINE / f"{name}.png")
