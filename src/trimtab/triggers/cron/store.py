"""Cron's file: the triggers, how far each has come, and its latest firings.

The file may fall behind the queue (after a power loss by some seconds: `synchronous=NORMAL`), never run ahead of it.
What it has forgotten is put into the queue again, which knows the ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from trimtab.errors import StoreError
from trimtab.spec import CronTrigger
from trimtab.sqlite import Execute, File, transaction

VERSION = 1
KEPT = 1000
"""Firings of one trigger that are remembered, the latest ones."""

_SCHEMA = """
CREATE TABLE triggers (
  function TEXT NOT NULL,
  name TEXT NOT NULL,
  namespace TEXT NOT NULL,
  config TEXT NOT NULL,
  anchor REAL NOT NULL,
  cursor REAL NOT NULL,
  paused INTEGER NOT NULL,
  PRIMARY KEY (function, name)
) WITHOUT ROWID;
CREATE TABLE firings (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  function TEXT NOT NULL,
  name TEXT NOT NULL,
  due REAL NOT NULL,
  state TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX firings_trigger ON firings (function, name, seq);
"""


Decision = Literal["fired", "waiting", "skipped"]


class TriggerRow(Struct, kw_only=True):
    """A trigger as it is kept. All ticks up to `cursor` were decided about; periods are counted from `anchor`."""

    function: str
    name: str
    namespace: str
    config: CronTrigger
    anchor: float
    cursor: float
    paused: bool = False


class FiringRow(Struct, frozen=True, kw_only=True):
    """A decision about a tick: it was put into the queue, it waits for the ticks before it, or it was passed over."""

    id: str
    due: float
    state: Decision
    detail: str = ""


class CronStore:
    """The file, opened. Errors of all methods: StoreError."""

    def __init__(self, path: Path) -> None:
        self._file = File(
            path=path,
            what="cron's file",
            schema=_SCHEMA,
            version=VERSION,
            full="cron goes on by itself",
            damaged="start again; deploying the functions again brings their triggers back",
        )
        self._connection = self._file.open(synchronous="NORMAL")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def triggers(self) -> list[TriggerRow]:
        """All triggers, by function and name."""
        rows = self._read(
            "SELECT function, name, namespace, config, anchor, cursor, paused FROM triggers ORDER BY function, name"
        )
        return [self._trigger(*row) for row in rows]

    def _trigger(
        self, function: str, name: str, namespace: str, config: str, anchor: float, cursor: float, paused: int
    ) -> TriggerRow:
        try:
            decoded = msgspec.json.decode(config, type=CronTrigger)
        except msgspec.DecodeError as exc:
            raise StoreError(
                f"cron's file {str(self._file.path)!r} holds a trigger {function}/{name} that this Trimtab cannot read: {exc}. "
                "Use the Trimtab that wrote it, or a later one"
            ) from exc
        return TriggerRow(
            function=function,
            name=name,
            namespace=namespace,
            config=decoded,
            anchor=anchor,
            cursor=cursor,
            paused=bool(paused),
        )

    def replace(self, function: str, triggers: list[TriggerRow]) -> None:
        """Make `triggers` the triggers of a function; those of other names go, with their firings."""
        with self._transaction() as execute:
            execute("DELETE FROM triggers WHERE function = ?", (function,))
            for row in triggers:
                config = msgspec.json.encode(row.config).decode()
                values = (function, row.name, row.namespace, config, row.anchor, row.cursor, row.paused)
                execute("INSERT INTO triggers VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            kept = "SELECT name FROM triggers WHERE function = ?"
            execute(f"DELETE FROM firings WHERE function = ? AND name NOT IN ({kept})", (function, function))  # noqa: S608

    def save(self, row: TriggerRow, firing: FiringRow | None = None) -> None:
        """Write down how far a trigger has come, and the decision that brought it there; all or nothing."""
        with self._transaction() as execute:
            execute(
                "UPDATE triggers SET cursor = ?, paused = ? WHERE function = ? AND name = ?",
                (row.cursor, row.paused, row.function, row.name),
            )
            if firing is None:
                return
            execute(
                "INSERT INTO firings (id, function, name, due, state, detail) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET state = excluded.state, detail = excluded.detail",
                (firing.id, row.function, row.name, firing.due, firing.state, firing.detail),
            )
            execute(
                "DELETE FROM firings WHERE function = ?1 AND name = ?2 AND state != 'waiting' AND seq <= "
                "(SELECT seq FROM firings WHERE function = ?1 AND name = ?2 ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
                (row.function, row.name, KEPT),
            )

    def firings(self, function: str, name: str, *, limit: int) -> list[FiringRow]:
        """The firings of one trigger, the latest first."""
        return self._firings("ORDER BY seq DESC LIMIT ?", (function, name, limit))

    def waiting(self, function: str, name: str) -> list[FiringRow]:
        """The ticks of one trigger that wait, the earliest first."""
        return self._firings("AND state = 'waiting' ORDER BY seq", (function, name))

    def last(self, function: str, name: str) -> FiringRow | None:
        """The latest firing that was not passed over."""
        found = self._firings("AND state != 'skipped' ORDER BY seq DESC LIMIT 1", (function, name))
        return found[0] if found else None

    def _firings(self, rest: str, values: tuple[object, ...]) -> list[FiringRow]:
        rows = self._read(f"SELECT id, due, state, detail FROM firings WHERE function = ? AND name = ? {rest}", values)  # noqa: S608
        return [FiringRow(id=row[0], due=row[1], state=row[2], detail=row[3]) for row in rows]

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._file.translated():
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Execute]:
        with self._file.translated(), transaction(self._connection) as execute:
            yield execute
