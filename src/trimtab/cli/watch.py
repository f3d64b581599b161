"""What `trimtab dev` looks at: the files of a source, and a log that is followed beside them."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trimtab.errors import TrimtabError

_LEFT_OUT = {"__pycache__", "node_modules", "venv"}


class Watched:
    """The files of a source: one file, or a folder without hidden and generated ones; a document's folder too."""

    def __init__(self, path: Path) -> None:
        self._path = path if path.is_dir() or path.suffix in {".py", ".ipynb"} else path.parent
        self._seen = self._look()
        self._known = self._seen

    def changed(self) -> bool:
        """Tell whether something was saved since the last time this said so, and has been left alone since the last
        call: editors write in several steps."""
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._known or not self._seen:
            return False
        self._known = self._seen
        return True

    def _look(self) -> dict[str, tuple[int, int]]:
        states = {}
        for path in self._files():
            try:
                state = path.stat()
            except OSError:
                continue  # between an editor's unlink and its rename
            states[str(path)] = (state.st_mtime_ns, state.st_size)
        return states

    def _files(self) -> Iterator[Path]:
        if not self._path.is_dir():
            yield self._path
            return
        for folder, folders, names in os.walk(self._path):
            folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith(".")]
            yield from (Path(folder, name) for name in names if not name.startswith(".") and not name.endswith(".pyc"))


class Followed:
    """A log read by a thread of its own and printed by ours, so that the process can end while a read blocks."""

    def __init__(self, open_log: Callable[[], Iterator[str]]) -> None:
        self._open = open_log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start_if_ended(self) -> None:
        """Begin to follow, again where the log was not there yet or the target went away."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def lines(self, *, within: float) -> Iterator[str]:
        """Yield the lines that come within so many seconds."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            try:
                yield self._lines.get(timeout=left)
            except queue.Empty:
                return

    def _follow(self) -> None:
        try:
            for line in self._open():
                self._lines.put(line)
        except TrimtabError:
            return
