"""`plot_parity`: dots and shares against the elements themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from pictured import section

import refloss
from refloss import InputError
from refloss.plotting import parity_data, plot_parity
from refloss.results import SectionResult

ATOMS = [2, 5, 3, 1, 4]


def words(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def elements(result: SectionResult, path: str) -> tuple[np.ndarray, np.ndarray]:
    term = result.terms[path]
    chosen = term.result.selected
    return np.asarray(term.arguments["targets"])[chosen], np.asarray(term.arguments["predictions"])[chosen]


def test_each_element_that_counts_is_in_a_dot() -> None:
    result = section()
    data = parity_data(result)
    assert [panel.path for panel in data.panels] == ["energy", "energy/positions", "energy/strain", "charge"]
    for panel in data.panels:
        target, prediction = elements(result, panel.path)
        assert panel.count == panel.elements.sum() == target.size
        low, high = panel.limits
        assert low < min(target.min(), prediction.min())
        assert high > max(target.max(), prediction.max())
        cell = (high - low) / 160
        assert (np.diff(panel.elements) >= 0).all()  # the fullest are drawn last, on top
        for x, y in zip(target, prediction, strict=True):
            assert ((np.abs(panel.target - x) <= cell) & (np.abs(panel.prediction - y) <= cell)).any()
        weighted = (panel.elements * panel.target).sum(), (panel.elements * panel.prediction).sum()
        assert weighted == pytest.approx((target.sum(), prediction.sum()), rel=1e-12, abs=1e-12)
    assert data.panels[1].count == 44  # one is NaN
    assert data.panels[3].count < 15  # some are masked out


def test_dots_are_coloured_by_how_many_elements_they_stand_for() -> None:
    rng = np.random.default_rng(4)
    chosen = refloss.load_options({"loss": {"x": "mae", "y": "mse"}})
    targets = {"x": rng.normal(size=3000), "y": rng.normal(size=40)}
    result = chosen.evaluate({name: t + 0.01 * rng.normal(size=t.size) for name, t in targets.items()}, targets)
    panels, figure = parity_data(result).panels, plot_parity(result)
    most = max(panel.elements.max() for panel in panels)
    assert most > 10
    dots = [ax.collections[0] for ax in figure.axes if ax.get_xlabel().startswith("target")]
    for panel, drawn in zip(panels, dots, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), panel.elements)
        np.testing.assert_array_equal(drawn.get_offsets(), np.stack([panel.target, panel.prediction], axis=1))
        assert (drawn.norm.vmin, drawn.norm.vmax) == (1, most)  # one scale for all of them
    assert figure.axes[-1].get_ylabel() == "elements a dot"


def test_elements_that_fall_together_make_one_dot() -> None:
    chosen = refloss.load_options({"loss": {"y": "mae"}})
    y = np.array([0.0, 1.0, 1.0, 1.0, 0.5])
    (panel,) = parity_data(chosen.evaluate({"y": y + 0.25}, {"y": y})).panels
    assert panel.elements.tolist() == [1, 1, 3]
    assert sorted(zip(panel.target, panel.prediction, strict=True)) == [(0.0, 0.25), (0.5, 0.75), (1.0, 1.25)]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_shares_are_those_of_the_elements_in_each_bin(reduction: str) -> None:
    chosen = refloss.load_options({"loss": {"y": {"type": "huber", "delta": 0.3, "reduction": reduction}}})
    rng = np.random.default_rng(2)
    d = rng.standard_t(2, 700)
    result = chosen.evaluate({"y": d}, {"y": np.zeros(700)})
    (panel,) = parity_data(result).panels
    loss = np.where(np.abs(d) <= 0.3, d**2 / 2, 0.3 * (np.abs(d) - 0.15))
    reach = panel.edges[-1]
    assert panel.edges[0] == -reach
    assert np.quantile(np.abs(d), 0.99) <= reach < np.abs(d).max() == panel.largest
    inner = panel.edges[1:-1]
    for k in range(31):
        inside = np.searchsorted(inner, d, side="right") == k  # the outermost bins have no end
        assert panel.share_of_elements[k] == pytest.approx(inside.mean(), abs=1e-12)
        assert panel.share_of_loss[k] == pytest.approx(loss[inside].sum() / loss.sum(), abs=1e-12)
    assert f"outermost: up to ±{panel.largest:.3g}" in words(plot_parity(result))


def test_the_knee_is_in_view_where_there_are_elements_beyond_it() -> None:
    chosen = refloss.load_options({"loss": {"y": {"type": "huber", "delta": 1.0}}})
    y = np.concatenate([np.full(999, 0.01), [5.0]])
    figure = plot_parity(chosen.evaluate({"y": y}, {"y": np.zeros(1000)}))
    parity, residuals = figure.axes[:2]
    assert residuals.get_xlim() == (-2.0, 2.0)
    dashed = [line for line in parity.lines if line.get_linestyle() == "--"]
    offsets = sorted(float(line.get_ydata()[0] - line.get_xdata()[0]) for line in dashed)
    assert offsets == pytest.approx([-1.0, 1.0])
    assert sorted(float(line.get_xdata()[0]) for line in residuals.lines) == [-1.0, 1.0]


def test_words_say_type_weight_and_what_it_adds() -> None:
    result = section()
    figure = plot_parity(result)
    for path, term in result.terms.items():
        title = next(ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left").startswith(f"{path}, "))
        assert f"{term.type}" in title
        assert f"weight {term.weight:g}: {term.contribution:.4g} of the total" in title
    assert "huber, δ = 0.4: mean" in words(figure)
    assert "masked_huber, δ = 2: sum" in words(figure)
    assert f"total {result.total:.5g}" in words(figure)


def test_a_name_is_no_formula() -> None:
    data = {"a$^$": np.array([[1.0], [2.5]])}  # what mathtext would not parse
    result = refloss.load_options({"loss": {"a$^$": "mse"}}).evaluate({"a$^$": data["a$^$"] + 1.0}, data)
    figure = plot_parity(result)
    figure.draw_without_rendering()
    assert "a$^$, 2 elements" in words(figure)


def test_units_are_those_of_energies_and_their_gradients() -> None:
    units = {panel.path: panel.unit for panel in parity_data(section()).panels}
    assert units == {
        "energy": "eV",
        "energy/positions": "eV/Å",
        "energy/strain": "eV",
        "charge": "units of the target",
    }
    divided = parity_data(section(num_atoms=ATOMS)).panels
    assert [panel.unit for panel in divided][:3] == ["eV/atom", "eV/Å", "eV/atom"]
    target, _ = elements(section(num_atoms=ATOMS), "energy")
    whole, _ = elements(section(), "energy")
    np.testing.assert_allclose(target * ATOMS, whole, rtol=1e-15)


def test_terms_are_chosen_by_their_names() -> None:
    result = section()
    figure = plot_parity(result, terms=["energy/positions"])
    assert "energy/strain" not in words(figure)
    assert "3 of its 4 terms not shown" in words(figure)
    with pytest.raises(InputError, match=r"^terms: found 'energy/positon'.*did you mean 'energy/positions'"):
        plot_parity(result, terms=["energy/positon"])
    for none in ([], "energy"):
        with pytest.raises(InputError, match=r"^terms: found .*, expected some of energy, "):
            plot_parity(result, terms=none)


def test_a_section_without_pointwise_terms_is_told_so() -> None:
    chosen = refloss.load_options({"loss": {"mtt::dos": "shift_agnostic_mse"}})
    result = chosen.evaluate({"mtt::dos": np.ones((1, 9))}, {"mtt::dos": np.ones((1, 7))})
    message = r"^result: found mtt::dos \(shift_agnostic_mse\), expected a term of mse, mae or huber"
    with pytest.raises(InputError, match=message):
        plot_parity(result)


@pytest.mark.parametrize("values", [[np.nan, np.nan], [0.0, 0.0], [1.0, 1.0], [7.5]])
def test_no_element_one_element_and_no_error(values: list[float]) -> None:
    chosen = refloss.load_options({"loss": {"y": {"type": "huber", "delta": 0.5}}})
    targets = np.array(values)
    result = chosen.evaluate({"y": np.nan_to_num(targets)}, {"y": targets})
    (panel,) = parity_data(result).panels
    low, high = panel.limits
    assert low < high
    assert panel.share_of_loss.sum() == 0.0
    figure = plot_parity(result)
    assert ("no element counts" in words(figure)) == np.isnan(targets).all()


def test_five_terms_take_a_second_row() -> None:
    chosen = refloss.load_options({"loss": dict.fromkeys("abcde", "mse")})
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=4) for name in "abcde"}
    other = {name: rng.normal(size=4) for name in "abcde"}
    figure = plot_parity(chosen.evaluate(data, other))
    titled = [ax.get_title(loc="left").partition(",")[0] for ax in figure.axes if ax.get_title(loc="left")]
    assert titled == list("abcde")
    assert len(figure.axes) == 10  # no axes without a term, and no scale of colours where each dot is one element
