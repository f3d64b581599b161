"""Files in a folder of this machine: written beside, synced, and moved into place."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from trimtab.artifacts.files.abc import File, Files, Missing, copy
from trimtab.errors import StoreError, StoreFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HALF = ".part"
"""End of the names of files that are being written."""


def folder_of(url: str) -> Path | None:
    """Give the folder that a `file://` URL or a plain path means; None for every other URL."""
    if "://" not in url:
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    return Path(unquote(parts.netloc + parts.path)).absolute() if parts.scheme == "file" else None


class LocalFiles(Files):
    """A folder, made when something is first written. Files in it are read-only: a version never changes.

    `mode` is that of the folders that are made, before the umask.
    """

    def __init__(self, folder: Path, mode: int = 0o777) -> None:
        self.folder, self._mode = folder, mode
        self.url = f"file://{folder}"

    def path(self, name: str) -> Path:
        """See Files."""
        return self.folder / name

    def put(self, name: str, source: BinaryIO) -> File:
        """See Files."""
        path = self.path(name)
        half = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_HALF}")
        with _errors(path, missing=False):
            make_folder(path.parent, self._mode)
            try:
                with half.open("xb") as target:
                    written = copy(source, target)
                    target.flush()
                    os.fchmod(target.fileno(), 0o444)
                    os.fsync(target.fileno())
                half.replace(path)
            except BaseException:
                half.unlink(missing_ok=True)
                raise
            _sync(path.parent)
        return written

    def open(self, name: str) -> BinaryIO:
        """See Files."""
        with _errors(self.path(name)):
            return self.path(name).open("rb")

    def names(self, folder: str) -> list[str]:
        """See Files."""
        try:
            with _errors(self.path(folder)):
                return sorted(path.name for path in self.path(folder).iterdir() if path.suffix != _HALF)
        except Missing:
            return []

    def delete(self, folder: str) -> None:
        """See Files."""
        path = self.path(folder)
        with contextlib.suppress(Missing), _errors(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _errors(path: Path, *, missing: bool = True) -> Iterator[None]:
    """Turn the system's errors into the port's; `missing` says whether a file may well not be there."""
    try:
        yield
    except OSError as exc:
        if missing and isinstance(exc, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise Missing(str(path)) from exc
        if exc.errno in _FULL:
            raise StoreFull(f"{path} was not written: {exc.strerror}; free space and try again") from exc
        raise StoreError(f"{path} cannot be used: {exc.strerror or exc}") from exc


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder and those above it that are missing, all of this mode; each one survives a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    folder.mkdir(mode, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Have what a folder names survive a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
