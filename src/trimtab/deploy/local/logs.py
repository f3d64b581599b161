"""Read what a function's replicas wrote: one file per revision, followed across revisions as they come."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.1


def read(folder: Path, *, follow: bool, tail: int | None, revision: str | None) -> Iterator[str]:
    """Yield lines without their newline: the last `tail` of all (None: every line), then with `follow` new ones."""
    positions: dict[Path, int] = {}
    lines = _new_lines(folder, revision, positions)
    yield from lines if tail is None else deque(lines, maxlen=tail)
    while follow:
        time.sleep(_POLL)
        yield from _new_lines(folder, revision, positions)


def _new_lines(folder: Path, revision: str | None, positions: dict[Path, int]) -> Iterator[str]:
    """Yield whole lines that came since `positions`; a file that shrank was trimmed, and is read from its end on."""
    paths = sorted(folder.glob("*.log"))
    for gone in positions.keys() - set(paths):
        del positions[gone]
    for path in paths:
        if revision is not None and path.stem != revision:
            continue
        try:
            log = path.open("rb")
        except FileNotFoundError:  # its revision was forgotten, or its function deleted
            continue
        with log:
            begin, size = positions.get(path, 0), os.fstat(log.fileno()).st_size
            if size < begin:
                positions[path] = size
                continue
            log.seek(begin)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                begin += len(line)
                yield line[:-1].decode("utf-8", "replace")
        positions[path] = begin
