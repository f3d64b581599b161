"""Compression whose output depends on the input alone.

zlib would not do: its bytes differ between zlib, zlib-ng and their versions, which are the system's choice, and so would
the digest of the same layer on two machines. libdeflate comes inside a wheel, gives the same bytes on every CPU, and is
three times as fast. Members of one MiB are compressed on all cores, and strung together as RFC 1952 (2.2) allows.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import IO, Literal

from trimtab.errors import BuildError

Compression = Literal["gzip", "zstd"]

MEMBER = 1 << 20
_WAITING = 8
"""Members that may wait for the disk, which bounds the memory."""
_LEVELS = {"gzip": 4, "zstd": 6}
"""gzip: a twentieth larger than level 6, in two thirds of the time."""
_LIBRARIES = {"gzip": "deflate", "zstd": "zstandard"}
MEDIA_TYPES = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


def identity(compression: Compression) -> str:
    """Name everything that decides the compressed bytes: a part of every layer's key."""
    library = _LIBRARIES[compression]
    return f"{compression} {library} {version(library)} level {_LEVELS[compression]} members {MEMBER}"


class Compressor:
    """A sink that writes what it gets to `file`, compressed, and knows both digests and the size at the end."""

    def __init__(self, file: IO[bytes], compression: Compression) -> None:
        self._file, self._compress = file, _function(compression)
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._parts: list[bytes] = []
        self._held = 0
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="trimtab-compress")
        self._queue: deque[Future[bytes]] = deque()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Take some more of the tar. Errors: OSError of the file."""
        self._plain.update(data)
        self._parts.append(data)
        self._held += len(data)
        while self._held >= MEMBER:
            whole = b"".join(self._parts)
            self._submit(whole[:MEMBER])
            self._parts, self._held = [whole[MEMBER:]], self._held - MEMBER
        return len(data)

    def finish(self) -> tuple[str, str]:
        """Write what is left; give the digests of the compressed bytes and of the plain ones."""
        if self._held or not self.size:
            self._submit(b"".join(self._parts))
        while self._queue:
            self._take()
        return f"sha256:{self._packed.hexdigest()}", f"sha256:{self._plain.hexdigest()}"

    def close(self) -> None:
        """Let go of the threads, whether or not all went well."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, member: bytes) -> None:
        self._queue.append(self._pool.submit(self._compress, member))
        if len(self._queue) >= _WAITING:
            self._take()

    def _take(self) -> None:
        packed = self._queue.popleft().result()
        self._packed.update(packed)
        self._file.write(packed)
        self.size += len(packed)


def _function(compression: Compression) -> Callable[[bytes], bytes]:
    level = _LEVELS[compression]
    try:
        if compression == "gzip":
            import deflate

            return lambda data: bytes(deflate.gzip_compress(data, level))
        import zstandard
    except ImportError as exc:
        extra = "build" if compression == "gzip" else "zstd"
        raise BuildError(f"building images needs {exc.name}: pip install 'trimtab[{extra}]'") from exc
    return lambda data: zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)
