"""Events on disk while their sink is away.

A spool folder may be shared by several processes. Each writes append-only segments into a folder of its own, on which
it holds a lock for as long as it lives; the kernel drops the lock when the process ends, however it ends, and whoever
finds an unlocked folder adopts its segments. Events go out at least once: a segment is deleted when all of it has been
settled, so a kill in between sends some of it again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import msgspec

from trimtab.events import Envelope

logger = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


class Segment:
    """One file of frames: length, CRC-32, event."""

    def __init__(self, path: Path, size: int = 0, count: int = 0) -> None:
        self.path, self.size, self.count = path, size, count
        self.taken = 0
        self.pending = 0
        """Events taken and not settled."""
        self.offset = 0
        """Where the next event to be taken starts."""
        self.content: bytes | None = None

    @classmethod
    def recover(cls, path: Path) -> Segment:
        """Look at a segment that somebody else wrote; a torn or damaged end does not count."""
        segment = cls(path)
        for _, end in frames(path.read_bytes()):
            segment.size, segment.count = end, segment.count + 1
        return segment

    def take(self, count: int, most: int) -> list[Envelope]:
        """Give the next events, up to `count` and about `most` bytes, but one at least."""
        if self.content is None:
            self.content = self.path.read_bytes()[: self.size]
        events: list[Envelope] = []
        for payload, end in frames(self.content, self.offset):
            if len(events) == count or most <= 0:
                break
            events.append(_decode(payload))
            self.offset = end
            most -= len(payload)
        self.taken += len(events)
        self.pending += len(events)
        return events


class Spool:
    """The events of this process on disk, oldest first. Not thread-safe.

    `limit`: bytes that this process may have on disk; `segment`: bytes after which a new file is begun. The folder is
    only made when there is something to write.
    """

    def __init__(self, root: Path, *, limit: int = 64 * 1024 * 1024, segment: int = 1024 * 1024) -> None:
        self._root, self._limit, self._segment = root, limit, segment
        self._folder: Path | None = None
        self._lock = -1
        self._file = -1
        self._segments: deque[Segment] = deque()
        self.size = 0
        self.count = 0
        """Events that have not been settled."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return any(segment.taken < segment.count for segment in self._segments)

    def append(self, events: list[Envelope]) -> int:
        """Write events; gives how many found room before the limit, or before the disk failed."""
        written = 0
        for event in events:
            payload = _encode(event)
            frame = _FRAME.pack(len(payload), crc32(payload)) + payload
            if self.size + len(frame) > self._limit or not self._write(frame):
                break
            written += 1
        return written

    def take(self, count: int, most: int) -> list[tuple[Envelope, Segment]]:
        """Give up to `count` of the oldest events, up to about `most` bytes of them.

        Each must be settled later, or is given again at the next start.
        """
        for segment in list(self._segments):
            if segment.taken < segment.count:
                if self._file >= 0 and segment is self._segments[-1]:
                    self._finish()
                return [(event, segment) for event in self._read(segment, count, most)]
        return []

    def settle(self, segment: Segment) -> None:
        """Note that one event of this segment need not be kept any longer."""
        segment.pending -= 1
        self.count -= 1
        if segment.pending == 0 and segment.taken == segment.count:
            self._delete(segment)

    def adopt(self) -> int:
        """Take over what dead processes left behind; gives the number of events."""
        if not leftovers(self._root):
            return 0
        found: list[Segment] = []
        try:
            with self._alone():
                for folder in sorted(self._root.iterdir()):
                    if folder.is_dir() and folder != self._folder:
                        found += self._adopt(folder)
        except OSError as exc:
            logger.warning("events left in %s cannot be adopted: %s", self._root, exc)
        self._segments = deque(sorted([*self._segments, *found], key=lambda segment: segment.path.name))
        self.size += sum(segment.size for segment in found)
        self.count += sum(segment.count for segment in found)
        return sum(segment.count for segment in found)

    def close(self) -> None:
        """Leave what is unsettled for the next start. What has been taken and not settled is kept, too."""
        self._finish()
        for segment in list(self._segments):
            if segment.pending == 0 and segment.offset:
                self._shorten(segment)
        if self._folder is not None:
            if not self._segments:
                with suppress(OSError), self._alone():
                    (self._folder / "lock").unlink()
                    self._folder.rmdir()
            os.close(self._lock)
            self._folder = None

    def _write(self, frame: bytes) -> bool:
        try:
            if self._file < 0:
                self._begin()
            segment = self._segments[-1]
            written = os.write(self._file, frame)
        except OSError as exc:
            logger.warning("events cannot be written to %s: %s", self._root, exc)
            self._repair()
            return False
        if written < len(frame):
            logger.warning("events cannot be written to %s: the disk is full", self._root)
            self._repair()
            return False
        segment.size += len(frame)
        segment.count += 1
        self.size += len(frame)
        self.count += 1
        if segment.size >= self._segment:
            self._finish()
        return True

    def _begin(self) -> None:
        path = self._home() / f"{time.time_ns():020d}-{uuid4().hex[:8]}.seg"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append(Segment(path))

    def _finish(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._segments[-1].count == 0:
                self._delete(self._segments[-1])

    def _repair(self) -> None:
        """Cut off half a frame, so that the events before it stay readable, and go on in a new file."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, self._segments[-1].size)
            self._finish()

    def _read(self, segment: Segment, count: int, most: int) -> list[Envelope]:
        try:
            events = segment.take(count, most)
        except (OSError, msgspec.MsgspecError) as exc:
            logger.warning("events in %s are lost: %s", segment.path, exc)
            events = []
        if not events:
            self.count -= segment.count - segment.taken
            segment.count = segment.taken
            if segment.pending == 0:
                self._delete(segment)
        return events

    def _delete(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self.size -= segment.size
        with suppress(OSError):
            segment.path.unlink()

    def _shorten(self, segment: Segment) -> None:
        """Take settled events off the front of a file that is given up, lest they be sent again."""
        rest = (segment.content or b"")[segment.offset :]
        with suppress(OSError):
            new = segment.path.with_suffix(".new")
            new.write_bytes(rest)
            new.replace(segment.path)

    def _home(self) -> Path:
        if self._folder is None:
            with self._alone():
                return self._make_home()
        return self._folder

    def _make_home(self) -> Path:
        folder = self._root / f"{os.getpid()}-{uuid4().hex[:8]}"
        folder.mkdir(mode=0o700)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._folder = folder
        return folder

    def _adopt(self, folder: Path) -> list[Segment]:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = []
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in sorted(folder.glob("*.seg")):
                segment = Segment.recover(path)
                if segment.count:
                    segment.path = path.rename((self._folder or self._make_home()) / path.name)
                    found.append(segment)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(lock)
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from making or adopting folders, which takes each of them a moment."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def leftovers(root: Path) -> bool:
    """Say cheaply whether there may be something to adopt."""
    return next(root.glob("*/*.seg"), None) is not None


def frames(content: bytes, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Give each whole frame's payload and where it ends, up to the first that is torn or damaged."""
    while offset + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, offset)
        offset += _FRAME.size + length
        payload = content[offset - length : offset]
        if len(payload) < length or crc32(payload) != checksum:
            return
        yield payload, offset
