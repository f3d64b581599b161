"""The port of all places that keep files: names are relative, parted by `/`, and what is read is what was written."""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

_CHUNK = 1024 * 1024


class Missing(Exception):
    """There is no file of that name. Whoever asked knows what it means, and says so."""


class File(Struct, frozen=True):
    """What a file is: its SHA-256 in hexadecimal digits, and its size in bytes."""

    sha256: str
    size: int


class Files(ABC):
    """A place that keeps files.

    A name is there with all its bytes or not at all, whenever a writer is killed; of two writers of one name the last
    one wins. Errors of all methods: Missing (no such file), StoreFull, StoreError (what else the place says).
    """

    url: str

    @abstractmethod
    def put(self, name: str, source: BinaryIO) -> File:
        """Write a stream under a name, in place of what is there; say what was written."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Give the names right below a folder, files and folders alike, sorted; none where there is no folder."""

    @abstractmethod
    def delete(self, folder: str) -> None:
        """Remove a folder or a file, and what is below it; nothing happens where there is none."""

    def path(self, name: str) -> Path | None:
        """Give the file itself where it lies on this machine; None elsewhere."""
        return None

    def write(self, name: str, data: bytes) -> File:
        """Write bytes under a name."""
        return self.put(name, io.BytesIO(data))

    def read(self, name: str) -> bytes:
        """Read a small file."""
        with self.open(name) as stream:
            return stream.read()


def copy(source: BinaryIO, target: BinaryIO | None = None) -> File:
    """Copy a stream to its end (or read it only), and say what it was."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return File(sha256=digest.hexdigest(), size=size)
