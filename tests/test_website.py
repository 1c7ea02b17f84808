"""The site's own parts that need none of its tools: lessons as pages, and the check of links."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

WEBSITE = Path(__file__).parents[1] / "website"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"website_{name}", WEBSITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lesson_shows_text_code_and_what_it_prints_in_order(tmp_path: Path) -> None:
    lesson = tmp_path / "1_it.py"
    lesson.write_text(
        "# %% [markdown]\n# # Title\n#\n# Two lines\n# of text, and `lesson_1_a.png`.\n\n"
        "# %%\nx = 6\nprint('six', x)\nx * 7\n\n"
        "# %%\nopen('lesson_1_a.png', 'w').close()\n",
        encoding="utf-8",
    )
    before = Path.cwd()
    text = load("lessons").page(lesson, "figures")
    assert text == (
        "# Title\n\nTwo lines\nof text, and [`lesson_1_a.png`](figures/lesson_1_a.png).\n\n"
        "```python\nx = 6\nprint('six', x)\nx * 7\n```\n\n```{ .text .printed }\nsix 6\n42\n```\n\n"
        "```python\nopen('lesson_1_a.png', 'w').close()\n```\n\n![lesson_1_a.png](figures/lesson_1_a.png)\n"
    )
    assert Path.cwd() == before
    assert list(tmp_path.iterdir()) == [lesson]  # it ran in a folder of its own


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ('<a href="b.html#here">', None),
        ('<a href="b.html#there">', "no such anchor"),
        ('<a href="c.html">', "no such page"),
        ('<a href="#here">', "no such anchor"),
        ('<a href="https://example.org/x">', None),
        ('<img src="none.png">', "no such page"),
        ('<script src="https://example.org/x.js"></script>', "loads"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "loads"),
    ],
)
def test_links(tmp_path: Path, link: str, wrong: str | None) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{link}</body></html>", encoding="utf-8")
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>', encoding="utf-8")
    found = load("links").broken(tmp_path)
    assert [wrong in line for line in found] == ([] if wrong is None else [True])
