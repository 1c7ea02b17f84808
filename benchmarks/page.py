"""How fast a report of 1000 structures of PET-MAD-DOS size opens in a browser, and how fast it answers.

    python benchmarks/page.py

needs playwright and a Chromium or Chrome. Times are from the start of the navigation to the curves of the worst
structure, from a click in the table to the frame after the next, and for one position of the slider.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import inputs
from playwright.sync_api import Browser, sync_playwright

import refloss
from refloss.files import Dataset
from refloss.report import page
from refloss.summary import summarise

TURNS = 7

CLICK = """k => new Promise(done => {
  const link = document.querySelectorAll('#rows a')[k], start = performance.now();
  link.click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""

SLIDE = """() => {
  const slider = document.getElementById('slider'), start = performance.now();
  for (let s = 0; s <= 200; s++) { slider.value = s; slider.dispatchEvent(new Event('input')); }
  return (performance.now() - start) / 201;
}"""


def main() -> None:
    """Make the page, and print its size and the times."""
    given = inputs.trained(1000)
    names = ("predictions", "targets", "mask")
    parts = ({"mtt::dos" if name != "mask" else "mtt::dos_mask": {"values": getattr(given, name)}} for name in names)
    data = Dataset(*parts)
    section = refloss.load_options({"loss": {"mtt::dos": {"type": "masked_dos"}}})
    summary = summarise(section, section.evaluate(**data.arguments()), data)
    start = time.perf_counter()
    text = page(summary)
    print(f"made in {time.perf_counter() - start:.2f} s, {len(text.encode()) / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_text(text, encoding="utf-8")
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program)
        print(f"Chromium {browser.version}; median and longest of {TURNS}")
        for what, times in measure(browser, path.as_uri()).items():
            print(f"{what:6} {1e3 * statistics.median(times):8.1f} ms {1e3 * max(times):8.1f} ms")
        browser.close()


def measure(browser: Browser, address: str) -> dict[str, list[float]]:
    """Return the times in seconds, each of a page of its own."""
    times: dict[str, list[float]] = {"open": [], "click": [], "slide": []}
    for turn in range(TURNS):
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        tab.goto(address)
        tab.wait_for_selector("#curves svg")
        times["open"].append(time.perf_counter() - start)
        times["click"].append(1e-3 * tab.evaluate(CLICK, turn + 3))
        times["slide"].append(1e-3 * tab.evaluate(SLIDE))
        tab.close()
    return times


if __name__ == "__main__":
    main()
