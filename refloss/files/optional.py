"""Optional packages: imported when they are needed, and where one is missing, an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from refloss.errors import InputError


def need(where: str, module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    where : str
        What the message begins with: the argument and the path that need it.
    module : str
        What is imported, ``"ase.io"`` say.
    extra : str
        The extra of refloss that brings it.

    Raises
    ------
    InputError
        The package is not installed. One that is, but fails to import, raises what it raises.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # something that the package itself needs: another name would mislead
        raise InputError(f"{where}: needs the package {package}: pip install 'refloss[{extra}]'") from error
