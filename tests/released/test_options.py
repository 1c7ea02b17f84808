"""`expand_loss` reads options as metatrain does, but for the differences that are listed.

What metatrain refuses is what any of its steps refuses, from the validation to the building of the losses.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import wheels
from expansion import build, completed, expand, released
from maps import block, tensormap
from omegaconf import OmegaConf
from options_cases import ALIKE, DIFFERENCES, REFUSED, Difference
from options_valid import VALID, Valid

from refloss import ConfigError, expand_loss
from refloss.options_source import Problems, read_yaml

OTHERWISE = {
    "targets and gradients of several data sets are united": "a file name in a list of data sets",
    "loss: {target: T} leaves the gradients and the other targets alone": "`masked_huber` without `delta`",
    "masked_dos takes its keys and fills none of them in": "`masked_dos`",
    "weights may be zero and negative, and extra_targets zero": "`masked_dos`",
    "shift_agnostic_mse takes its keys and fills none of them in": "`energy_step` and `convention`",
    "explicit gradients, of any target": "a gradient's type as a plain string under `gradients`",
    "halves that are valid only together": "a gradient's type as a plain string under `gradients`",
    "without a training set: the targets and gradients that the section names, energy-like what has a shorthand": (
        "a gradient's type as a plain string under `gradients`"
    ),
}
"""Examples of tests/options_valid.py that metatrain 2026.4.1 refuses, to the difference that is the reason."""

FINDINGS = Path(__file__).parents[2] / "docs" / "findings.md"


def read(text: str, tmp_path: Path) -> Any:
    """Read YAML by the package's own reader, as plain dicts and lists."""
    path = tmp_path / "options.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return plain(read_yaml(path, Problems()).value)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_enough_sections_are_compared() -> None:
    assert len(VALID) - len(OTHERWISE) + len(ALIKE) + len(REFUSED) >= 40
    assert set(OTHERWISE) <= {example.name for example in VALID}
    assert set(OTHERWISE.values()) <= {difference.title for difference in DIFFERENCES}


@pytest.mark.parametrize("example", VALID, ids=lambda example: example.name)
def test_files_read_alike(example: Valid, tmp_path: Path) -> None:
    """Booleans, numbers with exponents, anchors: what OmegaConf makes of a file is what refloss makes of it."""
    assert read(example.text, tmp_path) == OmegaConf.to_container(OmegaConf.create(example.text))


@pytest.mark.parametrize("example", VALID, ids=lambda example: example.name)
def test_a_valid_section_is_valid_for_both(example: Valid, tmp_path: Path) -> None:
    options = completed(read(example.text, tmp_path))
    assert expand_loss(options) == example.expanded
    if example.name not in OTHERWISE:
        assert released(options) == example.expanded
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011 (which one is said of the difference itself)
            released(options)


@pytest.mark.parametrize("name", ALIKE)
def test_sections_expand_alike(name: str, tmp_path: Path) -> None:
    options = completed(read(ALIKE[name], tmp_path))
    assert expand_loss(options) == released(options)


@pytest.mark.parametrize("name", REFUSED)
def test_sections_are_refused_alike(name: str, tmp_path: Path) -> None:
    options = completed(read(REFUSED[name], tmp_path))
    with pytest.raises(ConfigError):
        expand_loss(options)
    with pytest.raises(Exception):  # noqa: B017, PT011 (metatrain has no class of errors for this)
        released(options)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.title)
def test_a_difference_is_as_listed(difference: Difference, tmp_path: Path) -> None:
    options = read(difference.text, tmp_path)
    if difference.title != "no training set":
        options = completed(options)
    else:
        options = {"architecture": {"name": "pet", "training": {"loss": options["loss"]}}}
    assert _says(difference.ours, expand_loss, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of names that metatrain gives up
        assert _says(difference.theirs, released, options)


def _says(expected: dict[str, Any] | str, call: Any, options: Any) -> bool:
    if isinstance(expected, dict):
        return bool(call(options) == expected)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (metatrain has no class of errors for this)
        call(options)
    return expected in str(caught.value)


@pytest.mark.parametrize(
    "difference", [d for d in DIFFERENCES if "first training step" in d.theirs_in_words], ids=lambda d: d.title
)
def test_what_is_taken_fails_in_the_first_training_step(difference: Difference, tmp_path: Path) -> None:
    losses = build(released(completed(read(difference.text, tmp_path))))
    values = torch.rand(2, 9)
    data = {"mtt::dos": tensormap("metatensor.torch", {0: block("metatensor.torch", values)})}
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        _total(losses, values, data)


def _total(losses: list[Any], values: Any, data: Any) -> Any:
    """Add up weighted losses, of gradients without going through a gradient."""
    terms = [
        loss.torch_loss(values, values + 1) if hasattr(loss, "torch_loss") else loss.compute(data, data)
        for loss in losses
    ]
    return sum(loss.weight * term for loss, term in zip(losses, terms, strict=True))


def test_the_differences_are_the_table_of_the_findings() -> None:
    rows = [f"| {d.title} | {d.theirs_in_words} | {d.ours_in_words} |" for d in DIFFERENCES]
    page = FINDINGS.read_text(encoding="utf-8").splitlines()
    start = page.index("| options | metatrain 2026.4.1 | refloss |") + 2
    end = next(i for i in range(start, len(page)) if not page[i].startswith("|"))
    assert page[start:end] == rows


@pytest.mark.parametrize("release", ["2025.12", "2026.2"])
def test_masked_dos_expands_as_in_its_own_releases(release: str, tmp_path: Path) -> None:
    module = wheels.options_module(release)
    for text in (
        "loss: {mtt::dos: {type: masked_dos, grad_weight: 1e-4, int_weight: 2.0, extra_targets: 200, reduction: mean}}",
        "loss: {mtt::dos: {type: masked_dos, weight: 3, grad_weight: 0, int_weight: 0, extra_targets: 0}, mtt::b: mae}",
    ):
        options = completed(read(text, tmp_path))
        found = expand(options, module)
        assert expand_loss(options) == found
        # In the order of the expansion, which is that of a set of names: another one in every process.
        built = dict(zip(found, build(found, wheels.loss_module(release)), strict=True))
        assert type(built["mtt::dos"]).__name__ == "MaskedDOSLoss"


@pytest.mark.parametrize("release", ["2025.12", "2026.2"])
@pytest.mark.parametrize("name", [name for name in ALIKE if name not in ("ensemble types",)])
def test_the_older_releases_expand_alike(release: str, name: str, tmp_path: Path) -> None:
    options = completed(read(ALIKE[name], tmp_path))
    assert expand(options, wheels.options_module(release)) == expand_loss(options)
