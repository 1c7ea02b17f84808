"""What the README shows runs as it stands there, and what it links to exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import refloss
from refloss import demo

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/specification.md",
    "docs/accuracy.md",
    "docs/bounds.md",
    "docs/crosscheck.md",
    "docs/evaluate.md",
    "docs/extxyz.md",
    "docs/files.md",
    "docs/findings.md",
    "docs/interop.md",
    "docs/metatensor_files.md",
    "docs/metrics.md",
    "docs/vectors.md",
]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def run(snippet: str, folder: Path) -> str:
    """Run a snippet as it stands, in `folder`, and return what it prints."""
    script = folder / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_four_snippets_of_which_one_needs_torch() -> None:
    """That one runs in tests/released/test_interop_torch.py."""
    assert ["import torch" in snippet for snippet in SNIPPETS] == [False, False, True, False]


def test_the_first_snippet_draws_its_picture(tmp_path: Path) -> None:
    shift = re.search(r"\[(\d+)\]", run(SNIPPETS[0], tmp_path))[1]
    assert int(shift) == 170  # 200 extra points in front, less the 1.5 eV / 0.05 eV that the prediction lies too low
    assert (tmp_path / "alignment.png").read_bytes().startswith(b"\x89PNG")


def test_the_second_snippet_evaluates_what_the_demo_wrote(tmp_path: Path) -> None:
    made = demo.make(4)
    demo.save(made, tmp_path / "refloss-demo")
    section = refloss.load_options(tmp_path / "refloss-demo" / demo.OPTIONS_FILE)
    expected = section.evaluate(made.data.predictions, made.data.targets, made.data.extra_data)
    *terms, total = (line.split() for line in run(SNIPPETS[1], tmp_path).splitlines())
    assert total == ["total", str(expected.total)]
    assert terms == [[name, t.type, str(t.value), str(t.contribution)] for name, t in expected.terms.items()]
    assert len(terms) == 4


def test_the_last_snippet_is_right_as_its_comment_says(tmp_path: Path) -> None:
    printed = run(SNIPPETS[3], tmp_path)
    assert "\nright in " in printed
    assert "right only as an expanded square" in printed


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_and_sections_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        file, _, section = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{page} links to {link}"
        if section:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert section in anchors, f"{page} links to {link}"
