"""A tar that depends on names and contents alone: sorted, owned by root, of one age, with one of two modes."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from msgspec import Struct

from trimtab.builder.abc import Content, is_executable
from trimtab.errors import BuildError

MTIME = 315_532_800
"""1980-01-01, the time of every file: zip, which some tools make of site-packages, knows none before it."""

_PART = 1 << 18
"""Bytes of a file that are read at a time."""


class Link(Struct, frozen=True):
    """A symbolic link as the content of an entry."""

    target: str


class Script(Struct, frozen=True):
    """Bytes that can be executed, as the content of an entry."""

    data: bytes


Entry = Content | Link | Script
"""What an entry of a layer can be; folders make themselves."""


class Sink(Protocol):
    """Where a tar goes."""

    def write(self, data: bytes, /) -> int:
        """Take some more of it."""
        ...


def write(entries: dict[str, Entry], sink: Sink) -> None:
    """Write a tar of `entries`: names relative to the image's root, with the folders that they need.

    Memory stays bounded, however large a file is. Errors: BuildError for names and files that cannot be in an image.
    """
    with tarfile.TarFile(
        fileobj=cast("IO[bytes]", _Counted(sink)),
        mode="w",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        copybufsize=_PART,
    ) as tar:
        for name in sorted({*entries, *_folders(entries)}):
            _add(tar, name, entries.get(name))


def checked_name(name: str) -> str:
    """Give `name` back if it can be a file's in an image. Errors: BuildError saying what is wrong with it."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or path.as_posix() != name or "\0" in name:
        raise BuildError(f"{name!r} leads out of the function's folder: names are relative, without '..' and '.'")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BuildError(
            f"the name {os.fsencode(name)!r} is not UTF-8, which names in an image have to be: rename the file, or"
            " leave it out in .trimtabignore"
        ) from None
    return name


def _folders(names: Iterable[str]) -> set[str]:
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(checked_name(name)).parents}
    folders.discard(".")
    return folders


class _Counted:
    """What tarfile wants of a file: where it is, and `write`."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._at = sink, 0

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at


def _add(tar: tarfile.TarFile, name: str, content: Entry | None) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = MTIME, 0o755
    if content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(content, Link):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, content.target, 0o777
        tar.addfile(info)
    elif isinstance(content, Path):
        _add_file(tar, info, content)
    else:
        data, info.mode = (content.data, 0o755) if isinstance(content, Script) else (content, 0o644)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for whoever writes to it
            raise BuildError(f"{str(path)!r} is {kind(status.st_mode)}; an image holds files, folders and links")
        with path.open("rb") as file:
            info.size, info.mode = status.st_size, 0o755 if is_executable(path) else 0o644
            _copy(tar, info, file, path)
    except OSError as exc:
        if exc.filename is None:
            raise  # the sink's disk, not this file
        raise BuildError(f"{str(path)!r} cannot be read: {exc.strerror}") from exc


def _copy(tar: tarfile.TarFile, info: tarfile.TarInfo, file: IO[bytes], path: Path) -> None:
    try:
        tar.addfile(info, file)
        grown = bool(file.read(1))
    except OSError as exc:
        if exc.errno is not None:
            raise
        grown = True  # tarfile's own words for "there was less than was said"
    if grown:
        raise BuildError(f"{str(path)!r} changed while it was read: build again when nothing writes to it")


def kind(mode: int) -> str:
    """Name what a file is that is no regular one."""
    names = (
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    )
    return next((name for test, name in names if test(mode)), "no regular file")
