"""Runs `uv`, and says in our words what it could not do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from trimtab.builder.requirements import indexes
from trimtab.builder.requirements.listing import redacted
from trimtab.errors import BuildError, TargetError

FOREIGN = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT")
_MOST_LINES = 20
_OFFLINE = re.compile(
    r"error sending request|dns error|failed to fetch|request failed|network|timed out", re.IGNORECASE
)
_UNMET = re.compile(r"no solution found", re.IGNORECASE)
_UNKNOWN = "was not found in the package registry"
_DECORATION = re.compile(r"^\s*(?:error:|cause:|Caused by:|[\u00d7├╰│─▶]+)\s*")


def find() -> str:
    """The path of `uv`: that of the `build` extra, or the one on PATH. Errors: TargetError."""
    try:
        from uv import find_uv_bin
    except ImportError:
        found = shutil.which("uv")
    else:
        try:
            found = find_uv_bin()
        except FileNotFoundError:
            found = shutil.which("uv")
    if not found:
        raise TargetError("functions with requirements need uv: pip install 'trimtab[build]'")
    return found


def run(*arguments: str, cwd: Path, stdin: str = "", failing: str) -> str:
    """Run `uv` to its end and return its standard output. Errors: BuildError as `explain` says it, TargetError without uv."""
    done = subprocess.run(
        [find(), *arguments], cwd=cwd, env=environ(), input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(explain(done.stderr, failing))
    return done.stdout


def environ() -> dict[str, str]:
    """The environment of uv: ours without other projects' settings, with pip's indexes, and quiet."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, **indexes.environ(), "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


def explain(errors: str, failing: str) -> str:
    """Turn what uv wrote to standard error into a message: what failed, and the lines that say why."""
    lines = redacted(errors).replace("\r", "\n").splitlines()
    first = next((n for n, line in enumerate(lines) if re.match(r"\s*(?:error:|\u00d7)", line)), 0)
    told = [line.rstrip() for line in lines[first:]]
    told = told[: next((n for n, line in enumerate(told) if line.startswith("hint:")), len(told))]
    told = [_DECORATION.sub("", line) for line in told if line.strip(" │")]
    if _UNMET.search(errors):
        unknown = any(_UNKNOWN in line for line in told)
        failing, told = "a required package does not exist" if unknown else "the requirements cannot be met", told[1:]
    elif _OFFLINE.search("\n".join(told)):
        failing = f"{failing}: the package index does not answer (is this machine online?)"
    cut = [] if len(told) <= _MOST_LINES else [f"... ({len(told) - _MOST_LINES} lines more)"]
    return "\n  ".join([f"{failing}:", *told[:_MOST_LINES], *cut])
