"""The campaign in short: no figure is off by more than it may be, a case comes back by number, errors are noticed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import campaign
import numpy as np
import pytest

import refloss

CASES = 28
"""Of each of the eleven losses: some 300."""


@pytest.mark.parametrize("loss", campaign.LOSSES)
def test_a_short_campaign(loss):
    worst = campaign.run_part(loss, 1, 0, CASES)
    assert not worst.beyond(), "\n".join(worst.beyond())
    assert sum(worst.kinds.values()) == CASES
    assert worst.refused <= CASES // 4


def test_a_case_is_the_same_again_and_others_are_others():
    loss = "masked_dos/intended"
    assert campaign.run_case(loss, 1, 5) == campaign.run_case(loss, 1, 5)
    assert campaign.run_case(loss, 1, 5).errors != campaign.run_case(loss, 2, 5).errors
    assert campaign.run_case(loss, 1, 5).errors != campaign.run_case(loss, 1, 6).errors


def test_parts_in_any_order_make_the_same_table():
    parts = [campaign.run_part("mse", 3, 4 * k, 4 * k + 4) for k in range(5)]
    tables = []
    for order in (parts, parts[::-1]):
        worst = campaign.Worst()
        for part in order:
            worst.merge(part)
        tables.append(campaign.table({"mse": worst}))
    assert tables[0] == tables[1]
    assert "| cases | 20 |" in tables[0]


def an_ulp_up(x):
    return np.nextafter(x, np.inf)


SPOILT = {
    "value": ("value", lambda x: float(an_ulp_up(x))),
    "per_structure": ("per_structure", an_ulp_up),
    "margin": ("margin", an_ulp_up),
    "grad": ("grad beyond 1 ulp", lambda x: x * (1 + 1e-9)),
    "shift": ("choices", lambda x: 1 - x),
    "runner_up": ("choices", lambda x: 1 + x),
    "tied": ("choices", lambda x: ~x),
    "dos": ("dos", an_ulp_up),
    "front_tail": ("front_tail", an_ulp_up),
    "unmasked_gradient": ("unmasked_gradient", an_ulp_up),
    "cumulative": ("cumulative", an_ulp_up),
}


@pytest.mark.parametrize("field", list(SPOILT))
def test_it_notices_a_wrong_figure(field, monkeypatch):
    figure, spoil = SPOILT[field]
    right = refloss.masked_dos

    def wrong(*arrays, **options):
        found = right(*arrays, **options)
        if field in vars(found.terms):
            terms = dataclasses.replace(found.terms, **{field: spoil(getattr(found.terms, field))})
            return dataclasses.replace(found, terms=terms)
        return dataclasses.replace(found, **{field: spoil(getattr(found, field))})

    number = next(n for n in range(50) if is_generic(n))
    assert not campaign.run_case("masked_dos/documented", 7, number).beyond()
    monkeypatch.setattr(refloss, "masked_dos", wrong)
    assert figure in [line.partition(":")[0] for line in campaign.run_case("masked_dos/documented", 7, number).beyond()]


def is_generic(number):
    """Whether every figure of the case is a usual number, so that an error of an ulp is one."""
    worst = campaign.run_case("masked_dos/documented", 7, number)
    return "generic" in worst.kinds and all(
        0 < worst.errors[name][0] < 0.5
        for name in ("value", "per_structure", "dos", "front_tail", "unmasked_gradient", "cumulative", "margin")
    )


def test_it_notices_a_figure_refused_without_need(monkeypatch):
    def refuse(*arrays, **options):
        raise refloss.InputError("value: found about 1e400, beyond the largest float64")

    monkeypatch.setattr(refloss, "mse", refuse)
    assert [line.partition(":")[0] for line in campaign.run_case("mse", 1, 0).beyond()] == ["choices"]


def test_what_is_infinite_is_off_by_nothing_or_by_everything():
    assert campaign.off(math.inf, None) == 0
    assert campaign.off(1.0, None) == math.inf
    assert campaign.off(math.inf, campaign.Fraction(10) ** 400) == 0
    assert campaign.off(math.inf, campaign.Fraction(1)) == math.inf
    assert campaign.off(math.nan, campaign.Fraction(1)) == math.inf


def test_both_pages_show_tables_of_the_whole_run():
    for page in ("README.md", "docs/accuracy.md"):
        text = (Path(__file__).parents[1] / page).read_text(encoding="utf-8")
        shown = text.partition(campaign.MARKERS[0])[2].partition(campaign.MARKERS[1])[0]
        rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| ")]
        losses = {loss for row in rows if row[0].startswith("worst error") for loss in row[1:]}
        wanted = {loss.partition("/")[0] for loss in campaign.LOSSES} if page == "README.md" else set(campaign.LOSSES)
        assert losses == {f"`{loss}`" for loss in wanted}
        cases = [int(cell.replace(",", "")) for row in rows if row[0] == "cases" for cell in row[1:]]
        assert len(cases) == len(wanted)
        assert min(cases) >= 20_000
