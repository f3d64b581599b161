"""One run's processes: the first, and those that follow it when it fails and the job's `backoffLimit` allows more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from trimtab.deploy.abc import RunInfo
from trimtab.deploy.local import source
from trimtab.deploy.local.machine import Machine
from trimtab.deploy.local.zygotes import Child, Zygote
from trimtab.errors import TargetError, TrimtabError
from trimtab.runtime.job import GRACE, REFUSED
from trimtab.spec import Function
from trimtab.spec.quantity import duration, seconds

_FIRST, _LONGEST = 10.0, 360.0
"""Seconds before the second try, and before any: those of Kubernetes' Job controller."""


class Ending(NamedTuple):
    """How a run, or one try of it, ended."""

    state: Literal["succeeded", "failed", "cancelled"]
    code: int | None
    error: str | None


class Tries:
    """The processes of one run. `info` is the caller's, who writes it down; results and number of tries are set here."""

    def __init__(self, machine: Machine, folder: Path, info: RunInfo, function: Function) -> None:
        self._machine, self._folder, self._info, self._function = machine, folder, info, function
        self._result, self._job = folder / "result.json", function.spec.job
        self._deadline: float | None = None
        self.lost = False
        """Whether it was cancelled because we go, not because somebody wants it."""
        self._message: dict[str, Any] = {}
        self._zygote: Zygote | None = None
        self._child: Child | None = None
        self._cancelled = asyncio.Event()

    async def begin(self, inputs: dict[str, str], event: dict[str, Any] | None) -> None:
        """Start the first process. Errors: TrimtabError and OSError."""
        machine, folder, info = self._machine, self._folder, self._info
        folder.mkdir(parents=True)
        function, code, _ = await asyncio.to_thread(source.read, self._function, machine.copies)
        snapshot = source.Snapshot(code.files)
        snapshot.write(folder / "code")
        python = await machine.interpreter(function, folder / "code")
        preload = function.spec.build.preload
        if preload is None:
            module = function.spec.handler.partition(":")[0]
            preload = source.heavy_imports(snapshot, module, foreign=python != machine.python)
        environ = machine.environ(function.spec.env)
        self._zygote = machine.zygote(python, preload, environ)
        if event is not None:
            (folder / "event.json").write_bytes(msgspec.json.encode(event))
            environ = {**environ, "K_EVENT_PATH": str(folder / "event.json")}
        self._message = {
            "mode": "job",
            "run": info.id,
            "function": info.function,
            "project": function.metadata.project,
            "handler": function.spec.handler,
            "directory": str(folder / "code"),
            "event": event,
            "parameters": info.parameters,
            "inputs": inputs,
            "artifact_path": info.artifact_path,
            "result": str(self._result),
            "environ": environ,
        }
        await self._fork()
        if limit := seconds(self._job.active_deadline):
            self._deadline = time.monotonic() + limit

    async def _fork(self) -> None:
        assert self._zygote is not None
        await self._zygote.start()
        if self._cancelled.is_set():
            raise TargetError("cancelled")
        self._result.unlink(missing_ok=True)
        log = os.open(self._folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._child = self._zygote.fork(self._message, [log])
        finally:
            os.close(log)

    async def finish(self, changed: Callable[[], None]) -> Ending:
        """Wait until it has succeeded, or failed for the last time; `changed` is called when another try has begun."""
        while True:
            ending = await self._attempt()
            over = self._info.tries > self._job.backoff_limit or self._left() <= 0
            if ending.state != "failed" or ending.code == REFUSED or over:
                return ending
            wait = pause(self._info.tries)
            self._note(
                f"try {self._info.tries} of {self._job.backoff_limit + 1} failed: {ending.error}; the next in {wait:g}s"
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), min(wait, self._left()))
            if self._cancelled.is_set():
                return Ending("cancelled", ending.code, "cancelled")
            if self._left() <= 0:
                return Ending("failed", ending.code, self._too_long(ending.error))
            try:
                await self._fork()
            except (TrimtabError, OSError) as exc:
                if self._cancelled.is_set():
                    return Ending("cancelled", ending.code, "cancelled")
                return Ending("failed", ending.code, f"not started again: {exc}; before that: {ending.error}")
            self._info.tries += 1
            changed()

    def _left(self) -> float:
        return self._deadline - time.monotonic() if self._deadline is not None else float("inf")

    async def _attempt(self) -> Ending:
        """Wait for the process, at most until the deadline."""
        child = self._child
        assert child is not None
        late = False
        if self._deadline is not None:
            await asyncio.wait({child.exited}, timeout=max(self._left(), 0))
            if late := not child.exited.done():
                await self._end(child)
        code = await child.exited
        child.control.close()
        self._child = None
        try:
            found = json.loads(self._result.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        self._info.results, self._info.artifacts = found.get("results", {}), found.get("artifacts", {})
        shown = code if code >= 0 else 128 - code
        if self._cancelled.is_set():
            return Ending("cancelled", shown, "cancelled")
        if late:
            return Ending("failed", shown, self._too_long(None))
        if code == 0:
            return Ending("succeeded", 0, None)
        return Ending("failed", shown, found.get("error") or _ended_by(code))

    def _too_long(self, error: str | None) -> str:
        text = f"it took longer than {duration(self._job.active_deadline)} (spec.job.activeDeadline)"
        return f"{text}; before that: {error}" if error else text

    def _note(self, text: str) -> None:
        with contextlib.suppress(OSError), (self._folder / "log").open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    async def cancel(self, *, lost: bool = False) -> None:
        """Stop it: SIGTERM, and SIGKILL after ten seconds. `finish` gives the end."""
        self.lost = lost
        self._cancelled.set()
        if self._child is not None:
            await self._end(self._child)

    @staticmethod
    async def _end(child: Child) -> None:
        while not (child.pid or child.exited.done()):
            await asyncio.sleep(0.01)  # it is being forked
        child.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({child.exited}, timeout=GRACE)
        if not done:
            child.signal(signal.SIGKILL)
            await asyncio.wait({child.exited})


def pause(failures: int) -> float:
    """Give the seconds to wait after so many failures, as Kubernetes' Job controller does: 10, 20, 40 ... 360."""
    return float(min(_FIRST * 2 ** min(failures - 1, 6), _LONGEST))


def _ended_by(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
