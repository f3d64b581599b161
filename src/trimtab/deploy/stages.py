"""How long each step of a deployment took, told as it ends."""

from __future__ import annotations

import time

from trimtab.deploy.abc import Progress, Stage


class Stages:
    """Times the steps of one deployment."""

    def __init__(self, progress: Progress | None) -> None:
        self.done: list[Stage] = []
        self._progress = progress
        self._started = time.monotonic()

    def finish(self, name: str, detail: str = "") -> None:
        """End the step that began when the one before it ended."""
        at = time.monotonic()
        stage = Stage(name=name, ms=round((at - self._started) * 1000, 1), detail=detail)
        self._started = at
        self._report(stage)

    def took(self, name: str, ms: float, detail: str = "") -> None:
        """Report a step that somebody else timed; the next step begins now."""
        self._started = time.monotonic()
        self._report(Stage(name=name, ms=round(ms, 1), detail=detail))

    def _report(self, stage: Stage) -> None:
        self.done.append(stage)
        if self._progress is not None:
            self._progress(stage)
