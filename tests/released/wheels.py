"""Older releases of metatrain beside the installed one.

A release's wheel is downloaded from the package index into the environment's own folder (at most once), verified by
its SHA-256 digest, and unpacked there. Its modules are imported as what they are, the `metatrain` package of that
release, while the installed one is out of sight: what they import of metatrain is their own release's, what they
import of torch and metatensor is what is installed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

SHA256 = {
    "2025.11": "2cf770b21ede10753b2edd8a3fea30d3729fa9b043222b5bb549348cc9d0e643",
    "2025.12": "a2bace4f74261bc24e5427dd39fb9e37156a6ef2d439190058df4e9da8e58c09",
    "2026.1": "532771de2660487e01d953cf0a2f51c56033471ddebf0a01d6503687806dc283",
    "2026.2": "327fccd19b0cd7dc72e34160086440e507abd6de7aa085218db841f4af82dfb6",
    "2026.2.1": "0cb48e9ea3f082bd4d544eacda98d5e14d6533ab49f793d997812c1642fb4f72",
    "2026.3": "446c0a5c77854fef95179ca859e0ca8ee7bb5a0f497b5db9b3b3c3186c50d288",
    "2026.3.1": "9fe14c5b2d1ea36061dc338771203ca5747c912b6376be352d12fcf8be44654e",
    "2026.4": "6f761839cea25324a8344d18f530ad81799002e79589229e29a56a4844f47e71",
    "2026.4.1": "c26aa6bc13ecf727f369e84b49e5032a0da420cf582caa86032c142a543e0f8f",
}
"""The digest of each release's wheel, which is the same file for every platform."""

FOLDER = Path(sys.prefix) / "metatrain-releases"


def loss_module(release: str) -> ModuleType:
    """Return `metatrain.utils.loss` of a release."""
    return module(release, "metatrain.utils.loss")


def options_module(release: str) -> ModuleType:
    """Return `metatrain.utils.omegaconf` of a release, which expands options."""
    return module(release, "metatrain.utils.omegaconf")


@functools.cache
def module(release: str, name: str) -> ModuleType:
    """Import a module of a release, which keeps to the modules of its own release."""
    with warnings.catch_warnings(), _in_place_of_the_installed(unpacked(release)):
        warnings.simplefilter("ignore")  # what a release deprecates in its dependencies
        return importlib.import_module(name)


def unpacked(release: str) -> Path:
    """Return the folder with the Python sources of a release, in which `metatrain` is the package."""
    folder = FOLDER / release
    if not folder.exists():
        making = folder.with_name(f"{release}-unfinished")
        with zipfile.ZipFile(wheel(release)) as archive:
            archive.extractall(making, [name for name in archive.namelist() if name.endswith(".py")])
        making.rename(folder)
    return folder


def wheel(release: str) -> Path:
    """Return the verified wheel of a release, from the package index where it is not here yet."""
    path = FOLDER / f"metatrain-{release}-py3-none-any.whl"
    if not path.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*pip, "--dest", FOLDER, f"metatrain=={release}"], check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256[release]:
        raise RuntimeError(f"{path}: its SHA-256 digest is {found}, expected {SHA256[release]}")
    return path


@contextmanager
def _in_place_of_the_installed(folder: Path) -> Iterator[None]:
    """Have `metatrain` mean the package in a folder, and nothing that is imported meanwhile be found afterwards."""
    from omegaconf import OmegaConf
    from omegaconf.basecontainer import BaseContainer

    installed = _withdraw()
    # A release registers its resolvers of options on import, under the same names as the installed one did.
    resolvers = BaseContainer._resolvers
    OmegaConf.clear_resolvers()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        BaseContainer._resolvers = resolvers
        _withdraw()
        sys.modules.update(installed)


def _withdraw() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "metatrain"]
    return {name: sys.modules.pop(name) for name in names}
