"""Which git commit a function's source is at: written on its objects, so that people find the code again."""

from __future__ import annotations

import subprocess
from pathlib import Path

from trimtab.spec import Function


def commit_of(function: Function) -> str:
    """Give the git commit of a function's source; empty where it has none or git does not know."""
    path = function.spec.source.path
    if path is None:
        return ""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
