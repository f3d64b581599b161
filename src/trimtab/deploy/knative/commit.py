"""Which git commit a function's source is at: written on its objects, so that people find the code again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from trimtab.spec import Function


def commit_of(function: Function) -> str:
    """Give the git commit of a function's source; empty where it has none or git does not know."""
    path, elsewhere = function.spec.source.path, function.spec.source.git
    if elsewhere is not None:
        commit = re.search(r"@([0-9a-f]{40})(?:#|$)", elsewhere)
        return commit[1] if commit else ""
    if path is None:
        return ""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
