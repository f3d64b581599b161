"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import PYTHON

_OURS = ("uvicorn", "uvloop", "httptools", "msgspec", "cloudevents", "numpy", "scipy", "pandas", "scikit-learn")
_PEERS = ("functions_framework", "gunicorn", "uvicorn", "flask", "func_python", "hypercorn", "evidently")


def facts() -> dict[str, str]:
    """Describe machine and versions."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _OURS),
        "peers": _peers(),
        "SQLite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _peers() -> str:
    found = {
        path.name.rpartition(".dist-info")[0] for path in PYTHON.parent.parent.glob("lib/*/site-packages/*.dist-info")
    }
    versions = dict(name.rsplit("-", 1) for name in found)
    return ", ".join(f"{name.replace('_', '-')} {versions[name]}" for name in _PEERS if name in versions) or "none"
