"""The models document: what was added to a revision's models, and taken from them, since it was deployed.

One small file that every worker of every replica watches, so that a change reaches all of them, and those that start
later. A revision's spec never changes; the document is laid over it, and a new deployment begins without one. Writers
take turns by a lock, readers see the old file or the new one, never a part.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from trimtab.errors import StoreError, StoreFull
from trimtab.spec import Model


class Change(Struct, omit_defaults=True):
    """What became of one key: its model now, or None where it was taken away."""

    model: Model | None = None
    stamp: int = 0
    """Nanoseconds since the epoch, more with every change; the same model with a newer stamp is to be loaded anew."""


class Changes(Struct, omit_defaults=True):
    """The document."""

    models: dict[str, Change] = {}

    def over(self, models: Sequence[Model]) -> dict[str, Change]:
        """Lay the changes over a spec's models: what is to be served, by key, in order."""
        wanted = {model.key: Change(model) for model in models}
        wanted.update(self.models)
        return {key: change for key, change in wanted.items() if change.model is not None}

    def with_change(self, key: str, model: Model | None) -> Changes:
        """Give the changes with one more."""
        last = max((change.stamp for change in self.models.values()), default=0)
        stamp = max(last + 1, time.time_ns())
        return Changes({**self.models, key: Change(model, stamp)})


def read(path: Path) -> Changes:
    """Read the document; none is one without changes. Errors: StoreError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Changes)
    except FileNotFoundError:
        return Changes()
    except (OSError, msgspec.MsgspecError) as exc:
        raise StoreError(f"{path} cannot be read ({exc}); remove it to serve what was deployed") from exc


def change(path: Path, make: Callable[[Changes], Changes]) -> Changes:
    """Replace the document by what `make` makes of it, while nobody else does. Errors: StoreError, StoreFull."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            changes = make(read(path))
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(changes))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as exc:
        kind = StoreFull if exc.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"{path} cannot be written: {exc.strerror}") from exc
    return changes


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Give what changes when the document does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def named(models: Mapping[str, Change]) -> str:
    """List keys for a message."""
    return ", ".join(models) or "none"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
