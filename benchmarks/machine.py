"""What a measurement was made on: the processor, its caches, and versions. Nothing that names a host or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

import refloss


def describe() -> dict[str, str]:
    """Return what is known of this machine, in words."""
    found = {
        "processor": _processor(),
        "cores in use": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "caches": _caches(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "refloss": refloss.__version__,
    }
    for package in ("numpy", "numba", "llvmlite", "torch", "metatrain", "metatensor-torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or "unknown"
    fields = dict(re.findall(r"^(model name|cpu family|model|flags)\s*:\s*(.*)$", path.read_text(), re.MULTILINE))
    vectors = [flag for flag in ("avx2", "fma", "avx512f") if flag in fields.get("flags", "").split()]
    family = f"family {fields['cpu family']}, model {fields['model']}; " if "cpu family" in fields else ""
    return f"{fields.get('model name', platform.machine())} ({family}{', '.join(vectors) or 'no vectors listed'})"


def _caches() -> str:
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    read = [{name: (folder / name).read_text().strip() for name in ("level", "type", "size")} for folder in folders]
    return ", ".join(f"L{c['level']} {c['type'].lower()} {c['size']}" for c in read) or "unknown"


def _memory() -> str:
    path = Path("/proc/meminfo")
    found = re.search(r"MemTotal:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return f"{int(found[1]) / 2**20:.0f} GiB" if found else "unknown"
