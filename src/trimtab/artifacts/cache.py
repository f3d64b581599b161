"""Copies of a remote store's files on this machine: a version never changes, so each is fetched once."""

from __future__ import annotations

import secrets
from pathlib import Path

from trimtab.artifacts.artifact import check
from trimtab.artifacts.files import File, Files, Missing
from trimtab.artifacts.files.abc import copy
from trimtab.artifacts.files.local import make_folder
from trimtab.errors import StoreError


def copied(files: Files, source: str, logged: File, folder: Path, name: str, uri: str) -> Path:
    """Give the copy of a file, fetched unless a whole one is there. Errors: StoreError."""
    path = folder / name
    if _is_whole(path, logged):
        return path
    half = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        make_folder(path.parent, 0o700)
        with files.open(source) as stream, half.open("xb") as target:
            found = copy(stream, target)
        check(uri, name, logged, found, f"{files.url}/{source}")
        half.chmod(0o444)
        half.replace(path)
    except Missing as exc:
        raise StoreError(f"{uri}: its file {name!r} is missing; it should be {exc}") from exc
    except OSError as exc:
        raise StoreError(f"{uri}: its file {name!r} cannot be copied to {path}: {exc.strerror or exc}") from exc
    finally:
        half.unlink(missing_ok=True)
    return path


def _is_whole(path: Path, logged: File) -> bool:
    try:
        with path.open("rb") as stream:
            return copy(stream) == logged
    except OSError:
        return False
