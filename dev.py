"""One command from a fresh clone: make the environment that a task needs, then run the task in it.

    python3 dev.py demo [arguments of refloss demo]
    python3 dev.py test [arguments of pytest]
    python3 dev.py released [arguments of pytest]  the tests that run the released metatrain
    python3 dev.py site                          builds the documentation site, site/index.html, and follows its links
    python3 dev.py run PROGRAM [arguments]       a module of the environment: ruff, mypy, pip, ...

The environment is the folder .venv beside this file, or the one that REFLOSS_VENV names; metatrain and torch have one
of their own beside it, whose name ends in -released, and what builds the site has one that ends in -site. An
environment is made on first use, brought up to date when pyproject.toml changes, and rebuilt when it is broken or half
made. Only the standard library and a Python that pyproject.toml allows are needed: neither pip nor ensurepip has to be
there, and a Python that its distribution manages is left alone.
"""

# No annotations from __future__ here: an old Python must get as far as reading that it is too old.
import configparser
import hashlib
import html
import os
import re
import ssl
import subprocess
import sys
import tempfile
import typing
import urllib.parse
import urllib.request
import venv
from pathlib import Path

NEEDED = (3, 11)
if sys.version_info < NEEDED:
    sys.exit(
        "dev.py: this is Python {}.{} ({}), and refloss needs Python {}.{} or newer".format(
            *sys.version_info[:2], sys.executable, *NEEDED
        )
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / os.environ.get("REFLOSS_VENV", ".venv")

EVERYTHING = ".[test]"
RELEASED = ".[released]"
SITE = ".[site]"
APART = {RELEASED: "-released", SITE: "-site"}
"""What has an environment of its own, beside the other: refloss is to be tested without metatrain and torch."""

TASKS = {  # what to install, and what to run in the environment
    "demo": (".", ["-m", "refloss", "demo"]),
    "test": (EVERYTHING, ["-m", "pytest"]),
    "released": (RELEASED, ["-m", "pytest", "-o", "testpaths=tests/released"]),
    "site": (SITE, ["website/build.py"]),
    "run": (EVERYTHING, ["-m"]),
}

# A pip for a Python that has none. The digest stands here, so it matters little which index the file comes from.
PIP_VERSION = "25.3"
PIP_WHEEL = f"pip-{PIP_VERSION}-py3-none-any.whl"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
PIP_FILES = (".pip/pip.conf", ".config/pip/pip.conf", "Library/Application Support/pip/pip.conf")


class SetupError(Exception):
    """The environment cannot be made; the message is what the user reads."""


class Environment(typing.NamedTuple):
    """A virtual environment's folder, its Python, and the file that says what has been installed in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        return self.folder / "refloss-stamp.txt"


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in TASKS or arguments == ["run"]:
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    wanted, command = TASKS[arguments[0]]
    environment = home(wanted)
    try:
        prepare(wanted, environment)
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    # Here the released code is what is asked for: tests that find it missing must not pass for tests that ran.
    variables = os.environ | ({"REFLOSS_RELEASED": "required"} if wanted == RELEASED else {})
    return subprocess.run(
        [environment.python, *command, *arguments[1:]], cwd=ROOT, check=False, env=variables
    ).returncode


def home(wanted: str) -> Environment:
    """Return where `wanted` is installed."""
    return Environment(VENV.with_name(VENV.name + APART.get(wanted, "")))


def prepare(wanted: str, environment: Environment) -> None:
    """Bring the environment to where it has `wanted`; an environment that has it is left untouched."""
    found = environment.stamp.read_text() if environment.stamp.exists() else ""
    if not found or answer(environment.python, "-c", "import sys; print(sys.version)") != sys.version:
        create(environment)
    elif found in (stamp(wanted), stamp(EVERYTHING)):
        return
    environment.stamp.unlink(missing_ok=True)  # until the installation is complete, this environment is half made
    install(wanted, environment)
    environment.stamp.write_text(stamp(wanted))


def stamp(wanted: str) -> str:
    """Name what an installation depends on: what was asked for, from which pyproject.toml, in which folder."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    return f"{wanted} {hashlib.sha256(pyproject).hexdigest()} {ROOT}"


def create(environment: Environment) -> None:
    """Make the environment anew, and give it a pip by the first way that works."""
    folder, python = environment.folder, environment.python
    say(f"making {folder} with Python {sys.version.split()[0]}")
    try:
        venv.EnvBuilder(clear=True, symlinks=os.name != "nt").create(folder)
    except OSError as error:
        raise SetupError(f"cannot make the environment: {error}") from error
    bundled = (python, "-m", "ensurepip")
    borrowed = (sys.executable, "-m", "pip", "--python", python, "install", f"pip=={PIP_VERSION}")
    if answer(*bundled) is None and answer(*borrowed) is None and run_fetched_pip(python) is None:
        raise SetupError(f"the environment's Python runs no pip ({python})")


def install(wanted: str, environment: Environment) -> None:
    """Install the package, editable, showing pip's steps; show the rest of what pip says only when it matters."""
    say(f"installing refloss and what it needs ({wanted})")
    pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    pip += ["--editable", wanted]
    log = []
    with subprocess.Popen(
        pip, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        for line in process.stdout or ():
            log.append(line)
            if line.lstrip().startswith(("Downloading ", "Using cached ", "Installing collected ")):
                print("  " + line.strip()[:110], flush=True)
    if process.returncode:
        if any("connection broken by" in line for line in log):
            raise SetupError("pip does not reach the package index: is there a network?")
        raise SetupError("pip could not install refloss; it says:\n" + "".join(log[-30:]))


def run_fetched_pip(python: Path) -> "str | None":
    """Give the environment a pip from the configured package index, with nothing but the standard library."""
    say(f"this Python comes without pip: fetching {PIP_WHEEL}")
    address = f"{index()}/pip/"
    link = re.search(rf'href="([^"#]*{re.escape(PIP_WHEEL)})', page(address).decode("utf-8", "replace"))
    if link is None:
        raise SetupError(f"the package index has no {PIP_WHEEL}")
    content = page(urllib.parse.urljoin(address, html.unescape(link[1])))
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise SetupError(f"{PIP_WHEEL} from the package index is not the file it should be: its SHA-256 digest differs")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, PIP_WHEEL)
        wheel.write_bytes(content)
        return answer(python, wheel / "pip", "install", "--no-index", wheel)


def index() -> str:
    """Return the package index that pip is set to use: by the environment, else by its files, else PyPI."""
    files = [Path("/etc/pip.conf"), *(Path.home() / name for name in PIP_FILES)]
    files += [Path(os.environ[name], "pip/pip.ini") for name in ("PROGRAMDATA", "APPDATA") if name in os.environ]
    settings = configparser.RawConfigParser()
    settings.read([*files, os.environ.get("PIP_CONFIG_FILE", os.devnull)])
    sections = (settings[name] for name in ("install", "global") if name in settings)
    configured = (section["index-url"] for section in sections if "index-url" in section)
    return (os.environ.get("PIP_INDEX_URL") or next(configured, "https://pypi.org/simple")).rstrip("/")


def page(address: str) -> bytes:
    """Return what stands at an address."""
    try:
        trust = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
        with urllib.request.urlopen(address, timeout=30, context=trust) as reply:
            return bytes(reply.read())
    except OSError as error:
        host = urllib.parse.urlsplit(address).hostname
        raise SetupError(f"no answer from the package index at {host} ({error}): is there a network?") from error


def answer(*command: object) -> "str | None":
    """Return what a command prints, or None where it cannot be run or fails."""
    try:
        done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True, errors="replace")
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def say(line: str) -> None:
    print(f"dev.py: {line}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
