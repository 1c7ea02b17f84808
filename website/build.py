"""Build the documentation site: pages of the repository, lessons as they ran, and docstrings.

    python3 dev.py site        writes site/, to be opened at site/index.html or put on any web server

The repository's pages link to each other and to its files as on a code host. They are copied to build/site with the
folders as they are; a README becomes its folder's index, and a file of another kind that is linked to, a page that
shows it. Then mkdocs builds without a warning, or fails, and every link and anchor of what it built is followed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path, PurePosixPath

import docstrings
import lessons
import links

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "build" / "site"
SITE = ROOT / "site"
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "examples/lessons/README.md",
    "benchmarks/README.md",
)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
LANGUAGE = {".py": "python", ".c": "c"}
COPIED = (".png", ".svg", ".json")
REFERENCE = {  # the pages of docstrings, and the modules on each
    "Losses": ["pointwise", "aligned", "ensemble", "conventions", "results", "errors"],
    "Options and data": ["section", "options", "files.load", "files", "interop.torch"],
    "Cross-check": ["crosscheck", "crosscheck.report", "crosscheck.verdicts", "crosscheck.vectors"],
    "Metrics": ["metrics"],
    "Spectra": ["spectra", "crystals"],
    "Pictures": ["plotting"],
    "Formulas to read": ["plain"],
}


def main() -> int:
    """Build the site; return 1 where anything is wrong."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shown: set[str] = set()
    for path in sorted(file for pattern in PAGES for file in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        write(name, convert(path.read_text(encoding="utf-8"), name, shown))
    for path in sorted(ROOT.glob("examples/lessons/*.py")):
        print(f"running {path.name}", flush=True)
        name = path.relative_to(ROOT).as_posix()
        write(name, convert(lessons.page(path, "../../figures/lessons"), name, shown))
    for name in sorted(shown):
        show(name)
    reference()
    shutil.copy(Path(__file__).with_name("site.css"), SOURCE)
    shutil.copy(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf", SOURCE)  # SIL Open Font License 1.1
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "website/mkdocs.yml"],
        cwd=ROOT,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "NO_MKDOCS_2_WARNING": "1"},
    )
    if built.returncode:
        return built.returncode
    (SITE / "404.html").unlink()  # its links are right at the root of a server only
    wrong = links.broken(SITE)
    print(*wrong, f"{SITE / 'index.html'}: {len(wrong)} broken links", sep="\n")
    return bool(wrong)


def place(name: str) -> str:
    """Return where the site has a file of the repository."""
    path = PurePosixPath(name)
    if path.suffix in COPIED:
        return name
    if path.name == "README.md":
        return str(path.with_name("index.md"))
    if name.startswith("examples/lessons/"):
        return str(path.with_suffix(".md"))
    return name if path.suffix == ".md" else f"{name}.md"


def write(name: str, text: str) -> None:
    """Write the page of a file of the repository."""
    path = SOURCE / place(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def convert(text: str, name: str, shown: set[str]) -> str:
    """Return a page with its links as the site needs them; note in `shown` what has no page, copy what stays a file."""
    folder = (ROOT / name).parent

    def follow(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match[1]))
        linked = target / "README.md" if (target / "README.md").is_file() else target
        there = linked.relative_to(ROOT).as_posix()
        if not linked.exists():
            raise SystemExit(f"{name}: no such file: {match[1]}")
        if linked.suffix in COPIED:
            (SOURCE / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(linked, SOURCE / there)
        elif linked.suffix != ".md" and not there.startswith("examples/lessons/"):
            shown.add(there)
        way = os.path.relpath(SOURCE / place(there), (SOURCE / place(name)).parent)
        return way.replace(os.sep, "/") + (match[2] or "")

    pieces = re.split(r"(^```.*?^```$|`[^`\n]*`)", text, flags=re.MULTILINE | re.DOTALL)
    text = "".join(LINK.sub(follow, piece) if k % 2 == 0 else piece for k, piece in enumerate(pieces))
    return docstrings.anchored(text, Path(name).stem) if name.startswith("docs/") else text


def show(name: str) -> None:
    """Write a page that shows a file, or lists a folder."""
    path = ROOT / name
    if path.is_dir():
        sources = sorted(file.name for file in path.iterdir() if file.suffix in LANGUAGE)
        for source in sources:
            show(f"{name}/{source}")
        listed = "\n".join(f"- [{source}]({PurePosixPath(name).name}/{source}.md)" for source in sources)
        write(name, f"# {name}\n\n{listed}\n")
        return
    language = LANGUAGE.get(path.suffix, "text")
    write(name, f"# {name}\n\n````{language}\n{path.read_text(encoding='utf-8')}\n````\n")


def reference() -> None:
    """Write the pages of docstrings, and their index."""
    listed = ["# Reference\n"]
    for title, modules in REFERENCE.items():
        page = title.lower().replace(" ", "_") + ".md"
        body = "\n\n".join(f"::: refloss.{module}" for module in modules)
        write(f"reference/{page}", f"# {title}\n\n{body}\n")
        listed.append(f"- [{title}]({page}): " + ", ".join(f"`refloss.{module}`" for module in modules))
    write("reference/index.md", "\n".join(listed) + "\n")


if __name__ == "__main__":
    sys.exit(main())
