"""What builds keep for each other: blobs by their digest, and what was made of which inputs.

Nothing in it is trusted: bytes are checked against their digest whenever they are about to be used, so a torn write, a
full disk or a curious editor costs a rebuild and never a wrong image.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TypeVar

import msgspec

from trimtab.errors import BuildError, StoreError, StoreFull

CHUNK = 1 << 20
LIMIT = 10 * 2**30
"""Bytes that are kept unless told otherwise: a few dozen dependency layers."""
_GRACE = 600.0
"""Seconds after its last use for which nothing is removed: a build that runs beside this one may be about to use it."""
_FULL = (errno.ENOSPC, errno.EDQUOT)

Kept = TypeVar("Kept")


class CorruptEntry(BuildError):
    """A blob of the cache is not what its name says. It is removed: making it again is all that is needed."""


class Cache:
    """A folder of blobs and records, bounded in bytes; safe to share between builds that run at once."""

    def __init__(self, root: Path, limit: int = LIMIT) -> None:
        self.root, self.limit = root, limit
        self._blobs, self._records, self._scratch = root / "blobs" / "sha256", root / "records", root / "scratch"

    def path(self, digest: str) -> Path | None:
        """Give the place of a blob that is there, and note that it is used."""
        path = self._blobs / digest.removeprefix("sha256:")
        try:
            with translated(self.root):
                os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def checked(self, digest: str) -> Path:
        """Give the place of a blob whose bytes were just compared with its digest. Errors: CorruptEntry."""
        path = self._blobs / digest.removeprefix("sha256:")
        found = digest_of(path) if path.is_file() else "nothing"
        if found != digest:
            path.unlink(missing_ok=True)
            raise CorruptEntry(f"the cache entry {digest} in {self.root} holds {found}: it was removed, build again")
        return path

    def record(self, key: str, type: type[Kept]) -> Kept | None:
        """Give what was recorded under `key`, unless it is not there or cannot be read any more."""
        path = self._records / _name(key)
        try:
            with translated(self.root):
                found = msgspec.json.decode(path.read_bytes(), type=type)
                os.utime(path)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return found

    def keep(self, key: str, value: object) -> None:
        """Record `value` under `key`. Errors: StoreFull, StoreError."""
        with self.writing() as file:
            file.write(msgspec.json.encode(value))
            file.flush()
            _place(file.name, self._records / _name(key))

    def add(self, file: IO[bytes], digest: str) -> Path:
        """Give a file that `writing` opened its place among the blobs. Errors: StoreFull, StoreError."""
        file.flush()
        return _place(file.name, self._blobs / digest.removeprefix("sha256:"))

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """Open a scratch file in the cache's own file system; what is not given a place is removed.

        Errors: StoreFull when the disk is full, StoreError for whatever else the disk refuses.
        """
        with translated(self.root):
            self._scratch.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._scratch, delete=False) as file:
                try:
                    yield file
                finally:
                    with suppress(FileNotFoundError):
                        Path(file.name).unlink()

    def trim(self, now: float | None = None) -> int:
        """Remove what was not used for longest until the rest fits the limit; return the bytes that were removed."""
        now = time.time() if now is None else now
        removed, total = 0, 0
        for path, used, size in _newest_first(self._blobs, self._records, self._scratch):
            total += size
            if total > self.limit and now - used > _GRACE:
                path.unlink(missing_ok=True)
                removed += size
        return removed


def digest_of(path: Path) -> str:
    """Give the `sha256:...` of a file, read as a stream."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_of_bytes(data: bytes) -> str:
    """Give the `sha256:...` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Turn what the disk refuses into our errors: a full disk is StoreFull, the rest StoreError, both naming `place`."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreFull(
                f"the disk that holds {place} is full: free some space and build again; nothing was left half-written"
            ) from exc
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"{place} cannot be used ({exc.strerror}): give yourself the right to, or name another place"
            ) from exc
        raise


def _name(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _place(scratch: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(scratch).replace(path)


def _newest_first(*folders: Path) -> list[tuple[Path, float, int]]:
    found = []
    for folder in folders:
        for path in folder.glob("*"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((path, stat.st_mtime, stat.st_size))
    return sorted(found, key=lambda entry: -entry[1])
