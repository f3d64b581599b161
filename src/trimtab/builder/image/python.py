"""Which Python a base image holds: said by its configuration, or found in its layers. Nothing of it is executed."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from msgspec import Struct

from trimtab.builder.image.documents import Config, Descriptor
from trimtab.builder.layers.places import ROOT
from trimtab.errors import BuildError

_BINARY = re.compile(r"(?:\./)?(?P<path>(?:[^/]+/)*bin/python(?P<version>3\.\d+))")
_MUSL = re.compile(r"(?:\./)?(?:usr/)?lib/ld-musl-")
_SAID = re.compile(r"3\.\d+")
_ALPINE = re.compile(r"\bapk (?:add|--)|alpine", re.IGNORECASE)
_BUFFER = 1 << 18
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What runtimes use where an image names none."""


class Python(Struct, frozen=True):
    """A CPython in an image: its minor version and the absolute path of its executable."""

    version: str
    path: str


class Found(Struct):
    """What one layer holds: Pythons by absolute path, and whether its C library is musl."""

    pythons: dict[str, str]
    musl: bool = False


def said(config: Config) -> Python | None:
    """Read what the official images say of themselves, which saves fetching their layers."""
    match = _SAID.match(config.env.get("PYTHON_VERSION", ""))
    return Python(match[0], f"/usr/local/bin/python{match[0]}") if match else None


def is_musl(config: Config) -> bool:
    """Tell whether the image was made with Alpine's package manager."""
    return any(_ALPINE.search(str(step.get("created_by", ""))) for step in config.history or [])


def look(blob: Callable[[], Iterator[bytes]], layer: Descriptor) -> Found:
    """Look through one layer's names. Errors: BuildError for one that is no tar."""
    found = Found({})
    stream = _plain(blob(), layer.media_type)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                match = _BINARY.fullmatch(member.name)
                if match and (member.isfile() or member.issym()) and not match["path"].startswith(f"{ROOT}/"):
                    found.pythons[f"/{match['path']}"] = match["version"]
                found.musl = found.musl or bool(_MUSL.match(member.name))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as exc:
        raise BuildError(f"the base image's layer {layer.digest} is no tar: {exc}") from exc
    return found


def choose(found: list[Found], config: Config) -> Python | None:
    """Give the Python that `python3.x` means there: the first on PATH, or else the only other."""
    pythons: dict[str, str] = {}
    for layer in found:
        pythons.update(layer.pythons)
    folders = config.env.get("PATH", PATH).split(":")
    on_path = [(folders.index(folder), path) for path in pythons if (folder := path.rpartition("/")[0]) in folders]
    for _, path in sorted(on_path, key=lambda each: (each[0], -_minor(pythons[each[1]]))):
        return Python(pythons[path], path)
    return next((Python(version, path) for path, version in sorted(pythons.items())), None)


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _plain(chunks: Iterator[bytes], media_type: str) -> IO[bytes]:
    """Undo the compression. tarfile would do so itself, but reads no more than the first member of a gzip file."""
    stream = io.BufferedReader(_Stream(chunks), _BUFFER)
    if media_type.endswith("gzip"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if not media_type.endswith("zstd"):
        return stream
    try:
        import zstandard
    except ImportError as exc:
        raise BuildError("the base image's layers are compressed by zstd: pip install 'trimtab[zstd]'") from exc
    return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True))


class _Stream(io.RawIOBase):
    """Chunks as a file that is read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        part = self._left[: len(buffer)]
        buffer[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)
