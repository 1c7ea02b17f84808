"""dev.py decides rightly what to make, what to keep, and what to say; the network and the installer are fakes."""

from __future__ import annotations

import email.message
import hashlib
import importlib.util
import re
import sys
import tomllib
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "dev.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_under_test", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Running:
    """Stands for an environment whose Python is the one that runs."""

    python = Path(sys.executable)

    def __init__(self, _: object) -> None:
        pass


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give a fresh dev.py whose project is a folder of its own."""
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "REFLOSS_VENV"):
        monkeypatch.delenv(name, raising=False)
    module = load()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv").mkdir()
    module.ROOT, module.VENV = tmp_path, tmp_path / ".venv"
    return module


@pytest.fixture
def done(dev: ModuleType) -> list[str]:
    """Record what prepare() does instead of doing it; the environment's Python is the one that runs."""
    actions: list[str] = []
    dev.create = lambda _: actions.append("create")
    dev.install = lambda wanted, _: actions.append(f"install {wanted}")
    dev.answer = lambda *_: sys.version
    return actions


def test_a_fresh_clone_is_made_once(dev: ModuleType, done: list[str]) -> None:
    dev.prepare(".", dev.home("."))
    dev.prepare(".", dev.home("."))
    assert done == ["create", "install ."]


@pytest.mark.parametrize(
    ("first", "then", "second"),
    [
        (".", ".[test]", ["install .[test]"]),
        (".[test]", ".", []),
        (".[test]", ".[test]", []),
    ],
)
def test_an_environment_grows_and_serves_the_smaller_task(
    dev: ModuleType, done: list[str], first: str, then: str, second: list[str]
) -> None:
    dev.prepare(first, dev.home(first))
    dev.prepare(then, dev.home(then))
    assert done == ["create", f"install {first}", *second]


def test_the_released_code_has_an_environment_of_its_own(dev: ModuleType, done: list[str]) -> None:
    assert dev.home(".") == dev.home(".[test]") == dev.Environment(dev.VENV)
    released = dev.home(".[released]")
    assert released.folder == dev.ROOT / ".venv-released"
    released.folder.mkdir()
    for wanted in (".[test]", ".[released]", ".[test]", ".[released]"):
        dev.prepare(wanted, dev.home(wanted))
    assert done == ["create", "install .[test]", "create", "install .[released]"]


def test_only_the_task_of_the_released_code_requires_it(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFLOSS_RELEASED", raising=False)
    (tmp_path / "pytest.py").write_text("import os, sys; sys.exit(len(os.environ.get('REFLOSS_RELEASED', '')))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    dev.prepare, dev.home = (lambda *_: None), Running
    assert dev.main(["released"]) == len("required")
    assert dev.main(["test"]) == 0


def test_a_changed_pyproject_installs_again_into_what_is_there(dev: ModuleType, done: list[str]) -> None:
    dev.prepare(".", dev.home("."))
    (dev.ROOT / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    dev.prepare(".", dev.home("."))
    assert done == ["create", "install .", "install ."]


@pytest.mark.parametrize("found", [None, "3.11.0 (another build)"])
def test_a_broken_or_older_environment_is_rebuilt(dev: ModuleType, done: list[str], found: str | None) -> None:
    dev.prepare(".", dev.home("."))
    dev.answer = lambda *_: found
    dev.prepare(".", dev.home("."))
    assert done == ["create", "install ."] * 2


def test_a_moved_folder_installs_again(dev: ModuleType, done: list[str], tmp_path: Path) -> None:
    dev.prepare(".", dev.home("."))
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "pyproject.toml").write_text("[project]\n")
    dev.ROOT = moved  # the stamp came along, the editable path did not
    dev.prepare(".", dev.home("."))
    assert done == ["create", "install .", "install ."]


def test_a_failed_installation_is_never_taken_for_a_finished_one(dev: ModuleType, done: list[str]) -> None:
    dev.prepare(".", dev.home("."))

    def fail(*_: object) -> None:
        raise dev.SetupError("no")

    dev.install = fail
    with pytest.raises(dev.SetupError):
        dev.prepare(".[test]", dev.home(".[test]"))
    dev.install = lambda wanted, _: done.append(f"install {wanted}")
    dev.prepare(".", dev.home("."))
    assert done == ["create", "install .", "create", "install ."]


@pytest.mark.parametrize("working", ["ensurepip", "pip", "fetched"])
def test_pip_comes_by_the_first_way_that_works(dev: ModuleType, monkeypatch: pytest.MonkeyPatch, working: str) -> None:
    tried = []

    def answer(*command: object) -> str | None:
        tried.append(command[2])
        return "" if command[2] == working else None

    def fetched(_: Path) -> str | None:
        tried.append("fetched")
        return "" if working == "fetched" else None

    monkeypatch.setattr(dev.venv.EnvBuilder, "create", lambda self, folder: None)
    dev.answer, dev.run_fetched_pip = answer, fetched
    dev.create(dev.home("."))
    ways = ["ensurepip", "pip", "fetched"]
    assert tried == ways[: ways.index(working) + 1]


def test_no_way_to_a_pip_is_an_error(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.venv.EnvBuilder, "create", lambda self, folder: None)
    dev.answer, dev.run_fetched_pip = (lambda *_: None), (lambda _: None)
    with pytest.raises(dev.SetupError, match="runs no pip"):
        dev.create(dev.home("."))


def index_of(files: dict[str, bytes]) -> Callable[[str], bytes]:
    """Play a package index that lists these files in PEP 503's form, by relative links."""
    listing = "".join(f'<a href="../../files/{name}#sha256=0">{name}</a>' for name in files).encode()

    def page(address: str) -> bytes:
        return listing if address.endswith("/pip/") else files[address.rpartition("/files/")[2]]

    return page


def test_the_fetched_pip_runs_only_with_the_right_digest(dev: ModuleType) -> None:
    dev.page = index_of({"pip-9.9-py3-none-any.whl": b"another", dev.PIP_WHEEL: b"the wheel"})
    ran = []

    def answer(*command: object) -> str:
        assert command[-1].read_bytes() == b"the wheel"
        ran.append(command)
        return ""

    dev.answer = answer
    with pytest.raises(dev.SetupError, match="SHA-256 digest differs"):
        dev.run_fetched_pip(Path("python"))
    assert not ran
    dev.PIP_SHA256 = hashlib.sha256(b"the wheel").hexdigest()
    assert dev.run_fetched_pip(Path("python")) == ""
    assert ran[0][0] == Path("python")


def test_an_index_without_the_wheel_is_named(dev: ModuleType) -> None:
    dev.page = index_of({"pip-9.9-py3-none-any.whl": b""})
    with pytest.raises(dev.SetupError, match=re.escape(dev.PIP_WHEEL)):
        dev.run_fetched_pip(Path("python"))


def test_the_index_is_the_one_pip_is_set_to(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    configuration.write_text("[global]\nindex-url = https://global.example/simple/\n")
    assert dev.index() == "https://global.example/simple"
    configuration.write_text("[global]\nindex-url = https://g.example\n[install]\nindex-url = https://i.example/%40\n")
    assert dev.index() == "https://i.example/%40"
    monkeypatch.setenv("PIP_INDEX_URL", "https://environment.example/simple")
    assert dev.index() == "https://environment.example/simple"


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("Temporary failure in name resolution"),
        urllib.error.HTTPError("https://x.example", 403, "Forbidden", email.message.Message(), None),
        TimeoutError("timed out"),
    ],
)
def test_an_unreachable_index_is_one_line_without_credentials(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(dev.urllib.request, "urlopen", urlopen)
    with pytest.raises(dev.SetupError) as caught:
        dev.page("https://user:secret@index.example/simple/pip/")
    message = str(caught.value)
    assert "index.example" in message
    assert "is there a network?" in message
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("says", "expected", "unexpected"),
    [
        ("after connection broken by 'NameResolutionError'", "is there a network?", "NameResolutionError"),
        ("error: numba has no wheel", "error: numba has no wheel", "network"),
    ],
)
def test_a_failing_pip_is_explained(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, expected: str, unexpected: str
) -> None:
    (tmp_path / "pip.py").write_text(f"print({says!r}); raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(dev.SetupError) as caught:
        dev.install(".", Running(tmp_path))
    assert expected in str(caught.value)
    assert unexpected not in str(caught.value)


def test_pip_installs_what_is_wanted_and_shows_its_steps(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pip.py").write_text(
        "import sys; open('seen', 'w').write(' '.join(sys.argv[1:]))\n"
        "print('Collecting numba'); print('  Downloading numba.whl (3 MB)')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    dev.install(".[test]", Running(tmp_path))
    assert (tmp_path / "seen").read_text().endswith("--editable .[test]")
    shown = capsys.readouterr().out
    assert "Downloading numba.whl (3 MB)" in shown
    assert "Collecting" not in shown


def test_the_task_runs_in_the_environment_and_its_exit_status_is_passed_on(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wanted = []
    dev.prepare, dev.home = (lambda what, _: wanted.append(what)), Running
    assert dev.main(["run", "failing", "7"]) == 7
    assert wanted == [".[test]"]


def test_a_setup_error_is_one_line_on_stderr(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise dev.SetupError("no network")

    dev.prepare = fail
    assert dev.main(["demo"]) == 1
    assert capsys.readouterr() == ("", "dev.py: no network\n")


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["tset"], 2), (["run"], 2), (["--help"], 0)])
def test_usage(dev: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int) -> None:
    assert dev.main(arguments) == status
    assert "python3 dev.py demo" in capsys.readouterr().out


def test_an_old_python_is_told_what_it_is_and_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    with pytest.raises(SystemExit, match=r"this is Python 3\.9 \(.+\), and refloss needs Python 3\.11 or newer"):
        load()


def test_dev_py_and_the_package_need_the_same_python(dev: ModuleType) -> None:
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">={}.{}".format(*dev.NEEDED)
