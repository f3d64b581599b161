"""Removes environments that nobody needs any more."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from trimtab.deploy.local.environments.build import USED_FILE
from trimtab.deploy.local.environments.lock import try_lock

_GRACE = 600.0
"""Seconds: whoever asked for an environment has by then said that it uses it."""


def sweep(root: Path, in_use: Iterable[Path], now: float, *, most: int = 20, most_bytes: int = 10 * 2**30) -> list[str]:
    """Remove the least recently used environments beyond `most` and `most_bytes`; return their keys.

    Never one whose interpreter is among `in_use`, that is being made, or that was asked for in the last ten minutes
    before `now` (seconds since the epoch). What is left of builds that were killed goes too. Blocks: files are walked.
    """
    used = {path.parent.parent.name for path in in_use}
    count = total = 0
    removed = []
    for place, asked in _newest_first(root):
        count, total = count + 1, total + _size(place)
        beyond = count > most or total > most_bytes
        if beyond and place.name not in used and now - asked > _GRACE and _remove(place):
            removed.append(place.name)
            count -= 1
    for leftover in root.glob("*.building"):
        _remove(leftover.with_suffix(""), keep_finished=True)
    return removed


def _newest_first(root: Path) -> list[tuple[Path, float]]:
    places = [(marker.parent, marker.stat().st_mtime) for marker in root.glob(f"*/{USED_FILE}")]
    return sorted(places, key=lambda place: -place[1])


def _size(place: Path) -> int:
    """Give its bytes. Interpreters that run from it write and replace files in it meanwhile."""
    size = 0
    for file in place.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += file.lstat().st_size
    return size


def _remove(place: Path, *, keep_finished: bool = False) -> bool:
    lock = place.with_suffix(".lock")
    fd = try_lock(lock)
    if fd is None:
        return False
    try:
        shutil.rmtree(place.with_suffix(".building"), ignore_errors=True)
        if not keep_finished:
            # Out of sight first: a removal that is cut short must not leave half an environment under its name.
            place.rename(place.with_suffix(".building"))
            shutil.rmtree(place.with_suffix(".building"), ignore_errors=True)
            lock.unlink()
    finally:
        os.close(fd)
    return True
