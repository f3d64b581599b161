"""Runs of jobs: one process each, its log, its result, and the history of all in `runs.db`."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.deploy.abc import RunInfo
from trimtab.deploy.local.machine import Machine
from trimtab.deploy.local.store import now
from trimtab.deploy.local.tries import Ending, Tries
from trimtab.errors import NotFound
from trimtab.spec import Function
from trimtab.spec.quantity import seconds
from trimtab.sqlite import File, transaction

logger = logging.getLogger("trimtab.runs")

_AGAIN = 1.0
"""Seconds until the end of a run that could not be written down (a full disk) is written again."""
_WRITTEN = 5.0
"""Seconds for which whoever cancels a run waits until its end is written down."""
KEPT = 1000
"""Runs in the history; older ones are forgotten with their files."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
  id TEXT PRIMARY KEY, function TEXT NOT NULL, created REAL NOT NULL, info TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS untold (id TEXT PRIMARY KEY) STRICT;
"""
_LIST = """
SELECT info FROM run WHERE (?1 IS NULL OR function = ?1)
AND ifnull(json_extract(info, '$.finished') + json_extract(info, '$.kept') > ?2, 1)
ORDER BY created DESC, id
"""
_OLD = """
SELECT id FROM (SELECT id FROM run ORDER BY created DESC LIMIT -1 OFFSET ?1) UNION
SELECT id FROM run WHERE json_extract(info, '$.finished') + json_extract(info, '$.kept') <= ?2
AND id NOT IN (SELECT id FROM untold)
"""


class Runs:
    """Starts runs, watches them, remembers them."""

    def __init__(self, path: Path, machine: Machine) -> None:
        self.machine = machine
        file = File(
            path=path,
            what="the history of runs",
            schema=_SCHEMA,
            full="the run goes on",
            damaged="start again without the runs that ended",
        )
        self._db = file.open()
        self.ended = asyncio.Event()
        """Set when a run has ended that `untold` lists."""
        self._under_way: dict[str, Tries] = {}
        self._done: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._bury_lost()
        self._forget_old()

    def _bury_lost(self) -> None:
        """Mark what an earlier daemon was running: its process is gone with it, and its result unknown."""
        for info in self.list():
            if info.state in ("pending", "running"):
                info.state, info.finished, info.lost = "failed", now(), True
                info.error = "the daemon ended while this ran; run it again"
                self._put_ended(info)

    # Reading

    def list(self, function: str | None = None) -> list[RunInfo]:
        """The history, newest first."""
        rows = self._db.execute(_LIST, (function, now()))
        return [msgspec.json.decode(text, type=RunInfo) for (text,) in rows]

    def get(self, identity: str) -> RunInfo:
        """One run, by its id or a prefix that only it has."""
        rows = self._db.execute(
            "SELECT info FROM run WHERE id GLOB ? LIMIT 2", (identity.replace("*", "") + "*",)
        ).fetchall()
        if len(rows) != 1:
            raise NotFound(
                f"no run {identity!r}; `trimtab runs` lists them"
                if not rows
                else f"{identity!r} is not the id of one run alone"
            )
        return msgspec.json.decode(rows[0][0], type=RunInfo)

    def folder(self, identity: str) -> Path:
        """Where a run's code, log and result lie."""
        return self.machine.settings.home / "runs" / identity

    # Running

    async def start(
        self,
        function: Function,
        parameters: dict[str, Any],
        inputs: dict[str, str],
        artifact_path: str | None,
        identity: str | None = None,
        event: dict[str, Any] | None = None,
    ) -> RunInfo:
        """Start one run; return as soon as its process is there. An `identity` that was used before starts nothing."""
        identity = identity or uuid.uuid4().hex[:12]
        known = self._db.execute("SELECT info FROM run WHERE id = ?", (identity,)).fetchone()
        if known is not None:
            return msgspec.json.decode(known[0], type=RunInfo)
        folder = self.folder(identity)
        files = artifact_path or str(self.machine.settings.run_files(function.metadata.name, identity))
        kept = function.spec.job.ttl_after_finished
        info = RunInfo(
            id=identity,
            function=function.metadata.name,
            state="pending",
            created=now(),
            parameters={**function.spec.parameters, **parameters},
            artifact_path=files,
            cause=event["id"] if event is not None else None,
            kept=None if kept is None else seconds(kept),
        )
        self._put(info)
        self._done[identity] = asyncio.get_running_loop().create_future()
        tries = Tries(self.machine, folder, info, function)
        try:
            await tries.begin(inputs, event)
        except BaseException as exc:
            self._finish(info, Ending("failed", None, f"not started: {exc}"))
            raise
        self._under_way[identity] = tries
        info.state, info.started = "running", now()
        self._put_if_possible(info)
        task = asyncio.get_running_loop().create_task(self._follow(info, tries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._forget_old()
        return info

    async def _follow(self, info: RunInfo, tries: Tries) -> None:
        ending = await tries.finish(lambda: self._put_if_possible(info))
        del self._under_way[info.id]
        info.lost = tries.lost
        while True:
            try:
                self._finish(info, ending)
            except sqlite3.Error as exc:
                logger.error("run %s %s, and that cannot be written down: %s", info.id, ending.state, exc)
                await asyncio.sleep(_AGAIN)
            else:
                return

    def _put_if_possible(self, info: RunInfo) -> None:
        try:
            self._put(info)
        except sqlite3.Error as exc:
            logger.warning("run %s is %s, and that cannot be written down: %s", info.id, info.state, exc)

    def _finish(self, info: RunInfo, ending: Ending) -> None:
        info.state, info.exit_code, info.error = ending
        info.finished = info.finished or now()
        self._put_ended(info)
        done = self._done.pop(info.id, None)
        if done is not None:
            done.set_result(None)

    async def wait(self, identity: str, on_log: Callable[[str], None]) -> RunInfo:
        """Follow a run to its end; `on_log` gets its lines. Cancelling the wait does not cancel the run."""
        done = self._done.get(identity)
        with (self.folder(identity) / "log").open(encoding="utf-8", errors="replace") as log:
            rest = ""
            while True:
                ended = done is None or done.done()
                rest += log.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    on_log(line)
                if ended:
                    break
                await asyncio.sleep(0.02)
            if rest:
                on_log(rest)
        return self.get(identity)

    async def cancel(self, identity: str, *, lost: bool = False) -> RunInfo:
        """Stop a run: SIGTERM, and SIGKILL after ten seconds. `lost`: because we go, not because somebody wants it.

        A run whose end finds no room on the disk is not waited for: whoever asks later finds it.
        """
        info = self.get(identity)
        tries = self._under_way.get(info.id)
        if tries is None:
            return info
        info.state, info.lost = "cancelled", lost
        self._put_if_possible(info)
        done = self._done[info.id]
        await tries.cancel(lost=lost)
        await asyncio.wait({done}, timeout=_WRITTEN)
        return self.get(info.id) if done.done() else info

    def active(self, function: str) -> int:
        """Count the runs of a function that are under way."""
        return sum(info.state in ("pending", "running") for info in self.list(function))

    async def close(self) -> None:
        """Cancel what still runs."""
        await asyncio.gather(*(self.cancel(identity, lost=True) for identity in list(self._under_way)))
        self._db.close()

    def untold(self) -> Sequence[RunInfo]:
        """Runs that have ended and that the world has not been told of, oldest first."""
        rows = self._db.execute("SELECT info FROM run JOIN untold USING (id) ORDER BY created")
        return [msgspec.json.decode(text, type=RunInfo) for (text,) in rows]

    def told(self, identity: str) -> None:
        """Remember that the world knows of a run's end."""
        self._db.execute("DELETE FROM untold WHERE id = ?", (identity,))

    def _put_ended(self, info: RunInfo) -> None:
        with transaction(self._db) as execute:
            self._put(info)
            execute("INSERT OR IGNORE INTO untold VALUES (?)", (info.id,))
        self.ended.set()

    def _put(self, info: RunInfo) -> None:
        text = msgspec.json.encode(info, enc_hook=str).decode()
        self._db.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?)", (info.id, info.function, info.created, text))

    def _forget_old(self) -> None:
        rows = self._db.execute(_OLD, (KEPT, now())).fetchall()
        for identity in {identity for (identity,) in rows} - self._under_way.keys():
            self._db.execute("DELETE FROM run WHERE id = ?", (identity,))
            self.told(identity)
            shutil.rmtree(self.folder(identity), ignore_errors=True)
