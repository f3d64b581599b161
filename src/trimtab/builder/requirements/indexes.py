"""Package indexes as pip's users have set them up, told to uv, which reads none of pip's settings itself.

They go to uv by its environment, never by an argument (which every process of the machine could read), and nothing of
them is written into a lock.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_SECTIONS = ("global", "install")


def environ(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the variables that say to uv what pip's variables and files say; none where uv has been told itself."""
    variables = os.environ if variables is None else variables
    said: dict[str, str] = {}
    index = variables.get("PIP_INDEX_URL") or _configured(variables, "index-url")
    extra = variables.get("PIP_EXTRA_INDEX_URL") or _configured(variables, "extra-index-url")
    if index and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & variables.keys():
        said["UV_DEFAULT_INDEX"] = index
    if extra and not {"UV_INDEX", "UV_EXTRA_INDEX_URL"} & variables.keys():
        said["UV_INDEX"] = " ".join(extra.split())
        if "UV_INDEX_STRATEGY" not in variables:
            said["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip takes the best version of all its indexes
    return said


def _configured(variables: Mapping[str, str], key: str) -> str:
    """Look a setting up in pip's files; the last file and section that has it wins, as with pip."""
    found = ""
    for path in _files(variables):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself complains of it
        for section in _SECTIONS:
            found = parser.get(section, key, fallback=found)
    return found.strip()


def _files(variables: Mapping[str, str]) -> list[Path]:
    home = Path(variables.get("HOME") or "~").expanduser()
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    usual = [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        config / "pip" / "pip.conf",
        Path(sys.prefix, "pip.conf"),
    ]
    given = variables.get("PIP_CONFIG_FILE", "")
    if given == os.devnull:
        return []
    return [path for path in [*usual, *([Path(given)] if given else [])] if path.is_file()]
