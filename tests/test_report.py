"""What the report holds: the data of the page, its size, its safety; tests/test_report_browser.py opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reports
import small_section

from refloss import InputError
from refloss.cli.main import main
from refloss.report import LIMIT, page
from refloss.report.contents import LISTED


def data_of(text: str, kind: str = "aligned") -> list[dict[str, Any]]:
    """Return what stands in the page for its script, of aligned or of pointwise terms."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    data: list[dict[str, Any]] = json.loads(found[0])[kind]
    return data


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def decoded(curves: dict[str, Any], name: str) -> Any:
    return np.frombuffer(base64.b64decode(curves[name]), f"<f{curves['bits'] // 8}")


@pytest.mark.parametrize(("kind", "bits"), [(np.float64, 64), (np.float32, 32)])
def test_curves_are_there_bit_for_bit(kind: type, bits: int) -> None:
    predictions, targets, mask = reports.spectra(3)
    predictions, targets = predictions.astype(kind), targets.astype(kind)
    (term,) = data_of(page(reports.aligned(predictions, targets, mask)))
    assert sorted(term["curves"]) == ["0", "1", "2"]
    for b, curves in ((int(b), curves) for b, curves in term["curves"].items()):
        assert curves["bits"] == bits
        np.testing.assert_array_equal(decoded(curves, "prediction"), predictions[b].astype(np.float64))
        np.testing.assert_array_equal(decoded(curves, "target"), targets[b].astype(np.float64))
        counted = np.zeros(targets.shape[1], bool)
        for start, stop in zip(curves["mask"][::2], curves["mask"][1::2], strict=True):
            counted[start:stop] = True
        np.testing.assert_array_equal(counted, mask[b])


def test_rows_are_the_figures_worst_first() -> None:
    summary = reports.aligned(*reports.spectra(9))
    result = summary.result.terms["mtt::dos"].result
    (term,) = data_of(page(summary, names=[f"crystal {b}" for b in range(9)]))
    rows = term["rows"]
    assert rows["index"] == np.argsort(-result.per_structure, kind="stable").tolist()
    assert rows["name"] == [f"crystal {b}" for b in rows["index"]]
    expected = {"loss": result.per_structure, "shift": result.shift, "margin": result.margin, "dos": result.terms.dos}
    expected |= {name: getattr(result.terms, name) for name in ("front_tail", "unmasked_gradient", "cumulative")}
    for name, column in expected.items():
        assert rows[name] == column[rows["index"]].tolist(), name  # JSON holds a float64 to its last bit
    assert term["all_shifts"] == np.bincount(result.shift, minlength=result.shifts).tolist()


def test_notes_say_what_is_odd() -> None:
    """The last mask of the small section is empty: every shift is as good, and the first is taken."""
    predictions, targets, mask = (
        small_section.data()[part][key]
        for part, key in (("predictions", "mtt::dos"), ("targets", "mtt::dos"), ("extra_data", "mtt::dos_mask"))
    )
    summary = reports.aligned(predictions, targets, mask)
    (term,) = data_of(page(summary))
    notes = {
        b: {note for bit, note in enumerate(term["notes"]) if bits >> bit & 1}
        for b, bits in zip(term["rows"]["index"], term["rows"]["notes"], strict=True)
    }
    # Shifts 0, 2, 6, 3, 0 of 0 to 6.
    assert notes == {
        0: {"at the first shift"},
        1: set(),
        2: {"at the last shift"},
        3: set(),
        4: {"at the first shift", "tied", "empty mask"},
    }


def test_a_thumbnail_is_small_and_shows_the_aligned_window() -> None:
    predictions, targets, mask = reports.spectra(2, points=400, extra=60)
    for b, shift in enumerate((17, 41)):
        predictions[b, shift : shift + 400] = targets[b]  # right but for the shift: both curves are the same
    (term,) = data_of(page(reports.aligned(predictions, targets, mask)))
    assert term["rows"]["shift"] == [{0: 17, 1: 41}[b] for b in term["rows"]["index"]]
    for text in term["rows"]["thumbnail"]:
        assert len(text) <= 1000
        both = np.frombuffer(base64.b64decode(text), np.uint8).reshape(2, -1)
        np.testing.assert_array_equal(both[0], both[1])
        assert both.max() > 100


def test_a_thumbnail_of_a_window_in_the_padding_is_there() -> None:
    """A prediction of nothing but noise around −1 fits nowhere so well as its zeros do."""
    rng = np.random.default_rng(3)
    summary = reports.agnostic(rng.normal(-1.0, 0.1, (2, 30)), rng.uniform(0.0, 0.2, (2, 24)))
    assert summary.terms["mtt::dos"].alignment.in_padding == 2
    (term,) = data_of(page(summary))
    both = np.frombuffer(base64.b64decode(term["rows"]["thumbnail"][0]), np.uint8).reshape(2, -1)
    assert both[1].max() == 0


@pytest.mark.parametrize("room", [15_000, 120_000])
def test_the_page_keeps_to_its_limit_and_the_worst_have_their_curves(room: int) -> None:
    summary = reports.aligned(*reports.spectra(40, points=300, extra=20))
    names = ["é<&" * 5] * 40
    bare = page(summary, names=names, limit=0)  # what is said of every structure is there whatever the limit
    assert len(data_of(bare)[0]["rows"]["index"]) == 40
    assert data_of(bare)[0]["curves"] == {}
    limit = len(bare.encode()) + room
    text = page(summary, names=names, limit=limit)
    assert len(text.encode()) <= limit
    (term,) = data_of(text)
    held = len(term["curves"])
    assert 0 < held < 40
    assert {int(b) for b in term["curves"]} == set(term["rows"]["index"][:held])
    one = max(len(json.dumps(curves)) for curves in term["curves"].values())
    assert limit - len(text.encode()) < one + 100  # there is no room for one more


def test_a_thousand_structures_of_full_size_fit() -> None:
    predictions, targets, mask = reports.spectra(1000, points=4606, extra=200, distinct=4)
    text = page(reports.aligned(predictions, targets, mask))
    assert 0.95 * LIMIT < len(text.encode()) <= LIMIT
    (term,) = data_of(text)
    assert len(term["rows"]["index"]) == 1000
    assert len(term["curves"]) >= 40


def test_two_terms_share_the_room() -> None:
    summary = reports.two_terms(*reports.spectra(30, points=300, extra=20))
    bare = len(page(summary, limit=0).encode())
    first, second = data_of(page(summary, limit=bare + 150_000))
    assert 0 < len(first["curves"]) < 30
    assert abs(len(first["curves"]) - len(second["curves"])) <= 2


def test_the_same_summary_gives_the_same_page() -> None:
    assert page(reports.aligned(*reports.spectra(2))) == page(reports.aligned(*reports.spectra(2)))


def test_only_the_script_and_the_style_of_the_page_may_run() -> None:
    text = page(reports.aligned(*reports.spectra(2)))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert (len(script), len(style)) == (1, 1)
    for rule, (content,) in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert set(re.findall(r"https?://[^\s'\"]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, which nobody loads
    for tag, attributes in Elements(text).elements:
        assert not {"src", "srcset", "onclick", "onload", "style"} & attributes.keys(), tag
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}


@pytest.mark.parametrize("hostile", reports.HOSTILE)
def test_a_name_is_text_whatever_it_contains(hostile: str) -> None:
    summary = reports.aligned(*reports.spectra(2), target=hostile, inputs={"options": hostile, "targets": [hostile]})
    plain = page(reports.aligned(*reports.spectra(2)), names=["a", "b"])
    text = page(summary, names=[hostile, hostile])
    text.encode("utf-8")
    tags = [tag for tag, _ in Elements(plain).elements]
    own = [tag for tag, _ in Elements(text).elements]
    extra = ["div", "dt", "dd", "bdi"] * 2  # the two inputs
    assert sorted(own) == sorted(tags + extra)
    (term,) = data_of(text)
    assert term["name"] == hostile.encode("utf-8", "backslashreplace").decode()
    assert term["rows"]["name"] == [hostile.encode("utf-8", "backslashreplace").decode()] * 2


def test_the_metrics_of_an_aligned_term_stand_in_a_table() -> None:
    summary = reports.aligned(*reports.spectra(5))
    (told,) = summary.terms.values()
    (table,) = re.findall(r'<table class="metrics">(.*?)</table>', page(summary), re.DOTALL)
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    errors = told.metrics
    assert errors is not None
    distance = errors.wasserstein_distance
    figures = [f"{figure:.6g}" for figure in (distance.mean(), np.median(distance), distance.max())]
    assert ["Wasserstein distance", *figures, "–", "eV"] in rows
    assert ["percent RMSE, integrated", f"{errors.percent_rmse_integrated:.6g}", "–", "–", "–", "%"] in rows
    assert [row[0] for row in rows[1:]] == [row.name for row in told.metric_rows()]


def test_names_are_one_for_each_structure() -> None:
    with pytest.raises(InputError, match="names: found 3, expected 2"):
        page(reports.aligned(*reports.spectra(2)), names=["a", "b", "c"])


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(tmp_path)
    report = tmp_path / "report.html"
    assert main([*command, "--report", str(report)]) == 0
    assert f"wrote {report}" in capsys.readouterr().out
    text = report.read_text(encoding="utf-8")
    (term,) = data_of(text)
    assert term["name"] == "mtt::dos"
    assert len(term["curves"]) == small_section.STRUCTURES
    for name in ("energy", "energy/positions", "options.yaml", "predictions.npz", "extra_data.npz"):
        assert name in text


def test_an_input_or_another_output_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = small_section.write(tmp_path)
    before = (tmp_path / "targets.npz").read_bytes()
    assert main([*command, "--report", str(tmp_path / "targets.npz")]) == 2
    assert "--report: " in capsys.readouterr().err
    assert (tmp_path / "targets.npz").read_bytes() == before
    same = str(tmp_path / "out")
    assert main([*command, "--report", same, "--json", same]) == 2
    assert "--json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_numbers_far_from_one(scale: float) -> None:
    """float32 holds none of them, and no warning says so."""
    predictions, targets, mask = reports.spectra(2)
    (term,) = data_of(page(reports.aligned(predictions * scale, targets * scale, mask)))
    np.testing.assert_array_equal(decoded(term["curves"]["1"], "target"), targets[1] * scale)
    assert term["curves"]["1"]["bits"] == 64
    thumbnail = np.frombuffer(base64.b64decode(term["rows"]["thumbnail"][0]), np.uint8)
    assert thumbnail.max() > 200


def test_of_more_structures_than_can_be_listed_the_worst_are() -> None:
    summary = reports.aligned(*reports.spectra(LISTED + 50, points=12, extra=2, distinct=40))
    (term,) = data_of(page(summary))
    assert term["structures"] == LISTED + 50
    worst = np.argsort(-summary.result.terms["mtt::dos"].result.per_structure, kind="stable")
    assert term["rows"]["index"] == worst[:LISTED].tolist()
    assert sum(term["all_shifts"]) == LISTED + 50


def test_dots_lie_where_the_elements_are() -> None:
    summary = reports.pointwise()
    (panel,) = data_of(page(summary), "pointwise")
    term = summary.result.terms["energy"]
    low, high = panel["limits"]
    found = [low + place / 1000 * (high - low) for place in panel["prediction"]]
    # Six numbers in cells of their own, told to a thousandth of the axis.
    np.testing.assert_allclose(
        sorted(found), np.sort(term.arguments["predictions"].ravel()), atol=0.6e-3 * (high - low)
    )
    assert panel["elements"] == [1] * 6
    assert panel["delta"] == 0.3
    assert sum(panel["share_of_loss"]) == pytest.approx(1.0, rel=1e-12)


def test_of_no_elements_there_is_a_picture_without_dots() -> None:
    (panel,) = data_of(page(reports.pointwise(missing=True)), "pointwise")
    assert (panel["count"], panel["target"]) == (0, [])
