"""The package as it is installed: version, names, what an import costs, what the wheel holds, and how it is checked."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

import refloss

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {"numba", "llvmlite", "matplotlib", "scipy", "yaml", "pydantic", "torch", "metatensor"}
TEST_COMMAND = "python3 dev.py test"


def imported_by(statement: str) -> set[str]:
    """Return the top-level modules that a statement leaves imported in a fresh interpreter."""
    program = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint('imported:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in done.stdout.rpartition("imported:")[2].split()}


def test_version_is_a_release_number_and_the_changelog_has_it() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", refloss.__version__)
    assert f"## [{refloss.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_specification_page_has_the_version_that_results_carry() -> None:
    page = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    assert re.findall(r"[Ss]pecification (?:version )?(\d+)", page.splitlines()[0]) == [str(refloss.SPEC_VERSION)]


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    imported = imported_by("import refloss")
    assert "refloss" in imported
    assert not imported & (HEAVY | {"numpy"})


def test_the_help_page_imports_nothing_that_takes_time() -> None:
    imported = imported_by("from refloss.cli.main import main; main(['--help'])")
    assert "refloss" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("name", dir(refloss))
def test_every_public_name_is_there_when_asked_for(name: str) -> None:
    assert getattr(refloss, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="masked_doss"):
        _ = refloss.masked_doss


def test_the_wheel_holds_the_package_whole_and_nothing_else(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "refloss").rglob("*.py")}
    assert sources <= names
    assert {"refloss/py.typed", "refloss/plotting/refloss.mplstyle", "refloss/crosscheck/page.css"} <= names
    parts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "refloss" / "report").glob("page.*")}
    assert len(parts) == 3
    assert parts <= names
    assert {name.partition("/")[0] for name in names} == {"refloss", f"refloss-{refloss.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".nbi", ".nbc"))]
    assert f"refloss-{refloss.__version__}.dist-info/licenses/LICENSE" in names


def test_every_runtime_import_is_a_declared_dependency() -> None:
    """A package that only the test environment happens to have would fail at a user's."""
    distributions = importlib.metadata.packages_distributions()
    imports = {
        (name, "interop" in path.parts)
        for path in (ROOT / "refloss").rglob("*.py")
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if name in distributions and name != "refloss"
    }
    extras = [entry for name in ("torch", "metatensor") for entry in PROJECT["optional-dependencies"][name]]
    needed = names_of(PROJECT["dependencies"]) | {"llvmlite"}  # Numba's own compiler, in the version that it needs
    assert ("numpy", False) in imports
    for name, from_interop in imports:
        allowed = needed | names_of(extras) if from_interop else needed
        assert allowed & {d.lower() for d in distributions[name]}, name


def names_of(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


def test_readme_script_and_workflow_run_the_same_tests() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert re.search(rf"^{re.escape(TEST_COMMAND)}(?:\s+#.*)?$", readme, re.MULTILINE)
    assert f"\nstep {TEST_COMMAND}\n" in script
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["check"]["steps"]]


def test_the_workflow_checks_every_python_that_the_package_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["check"]["strategy"]["matrix"]
    named = [match[1] for entry in PROJECT["classifiers"] if (match := re.fullmatch(r".*:: Python :: (3\.\d+)", entry))]
    assert matrix["python"] == named
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_the_shell_script_has_unix_line_ends() -> None:
    """Git for Windows would give it carriage returns, which bash takes for part of the commands."""
    assert b"\r" not in (ROOT / ".ci" / "run").read_bytes()
    assert "eol=lf" in (ROOT / ".gitattributes").read_text()
