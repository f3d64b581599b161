"""Installs a lock for its platform into a folder: the content of an image's dependencies layer, the same on any machine."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

from trimtab.builder.abc import Lock
from trimtab.builder.requirements import uv
from trimtab.builder.requirements.platforms import uv_platform

_SHEBANG = re.compile(rb"\A#!\s*\S*python[\d.]*[^\n]*\n")
_ENV = b"#!/usr/bin/env python3\n"
_OURS = (".lock", "CACHEDIR.TAG")
"""What uv leaves in its target for itself."""
_HERE = ("uv_cache.json", "uv_build.json", "direct_url.json")
"""What uv notes in each distribution of where and when its wheel was found."""


def install(lock: Lock, python: str, platform: str, folder: Path) -> None:
    """Install `lock` for Python `python` on `platform` into `folder`, which is made; its modules lie right in it.

    Nothing of it depends on where, when or by which Python this was done. Errors: BuildError, TargetError without uv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not lock.packages:
        return
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        (Path(scratch) / "requirements.txt").write_text(lock.text, "utf-8")
        uv.run(
            *("pip", "install", "--quiet", "--target", str(folder.absolute()), "--requirements", "requirements.txt"),
            *("--require-hashes", "--no-deps", "--no-build", "--no-compile-bytecode", "--no-python-downloads"),
            *("--python", sys.executable, "--python-version", python, "--python-platform", uv_platform(platform)),
            *(word for link in lock.links for word in ("--find-links", str(link.absolute()))),
            cwd=Path(scratch),
            failing=f"the locked requirements cannot be installed for Python {python} on {platform}",
        )
    for name in _OURS:
        (folder / name).unlink(missing_ok=True)
    _neutralise(folder)


def _neutralise(folder: Path) -> None:
    """Take out what speaks of this machine: the path of its Python in scripts, and where wheels were found when."""
    changed = {}
    for script in sorted((folder / "bin").glob("*")):
        content = script.read_bytes()
        if script.is_file() and (match := _SHEBANG.match(content)):
            _replace(script, _ENV + content[match.end() :])
            changed[f"bin/{script.name}"] = _ENV + content[match.end() :]
    for name in _HERE:
        for note in folder.glob(f"*.dist-info/{name}"):
            note.unlink()
    for record in folder.glob("*.dist-info/RECORD"):
        _correct(record, changed)


def _correct(record: Path, changed: dict[str, bytes]) -> None:
    lines = record.read_text("utf-8").splitlines()
    kept = [line for line in lines if line.partition(",")[0].rpartition("/")[2] not in _HERE]
    corrected = [_entry(line, changed) for line in kept]
    if corrected != lines:
        _replace(record, "".join(f"{line}\n" for line in corrected).encode())


def _entry(line: str, changed: dict[str, bytes]) -> str:
    name = line.partition(",")[0]
    short = name[name.find("bin/") :] if name.lstrip("./").startswith("bin/") else name
    if short not in changed:
        return line
    content = changed[short]
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def _replace(path: Path, content: bytes) -> None:
    """Write beside and rename: the file may be a hard link into uv's cache."""
    mode = path.stat().st_mode
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)
