"""What the daemon must remember: functions, their revisions and traffic, and which processes it started.

One SQLite file, `functions.db`. Every method is one transaction; a daemon killed between two of them finds a state in
which each function has a revision that is ready, or none.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from trimtab.spec import Function, TrafficTarget
from trimtab.sqlite import File

_SCHEMA = """
CREATE TABLE function (
  name TEXT PRIMARY KEY, port INTEGER NOT NULL UNIQUE, traffic TEXT NOT NULL, last_number INTEGER NOT NULL DEFAULT 0,
  last_error TEXT
) STRICT;
CREATE TABLE revision (
  name TEXT PRIMARY KEY, function TEXT NOT NULL REFERENCES function (name) ON DELETE CASCADE, number INTEGER NOT NULL,
  digest TEXT NOT NULL, document TEXT NOT NULL, python TEXT NOT NULL, preload TEXT NOT NULL,
  state TEXT NOT NULL, created REAL NOT NULL
) STRICT;
CREATE TABLE tag (function TEXT NOT NULL REFERENCES function (name) ON DELETE CASCADE, name TEXT NOT NULL,
  port INTEGER NOT NULL UNIQUE, PRIMARY KEY (function, name)) STRICT;
CREATE TABLE process (pid INTEGER PRIMARY KEY, born INTEGER NOT NULL) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class Revision(msgspec.Struct, kw_only=True):
    """One immutable deployment of a function."""

    name: str
    function: str
    number: int
    digest: str
    document: Function
    python: str
    preload: list[str]
    state: str
    created: float


class Record(msgspec.Struct, kw_only=True):
    """One function. `traffic` is resolved: every target names its revision."""

    name: str
    port: int
    traffic: list[TrafficTarget]
    last_error: str | None


class Store:
    """The file and its statements."""

    def __init__(self, path: Path) -> None:
        file = File(
            path=path,
            what="the functions' file",
            schema=_SCHEMA,
            full="nothing was changed",
            damaged="deploy the functions again",
        )
        self._db = file.open(pragmas=("foreign_keys = ON",))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Functions

    def functions(self) -> list[Record]:
        """All functions, by name."""
        rows = self._db.execute("SELECT name, port, traffic, last_error FROM function ORDER BY name").fetchall()
        return [
            Record(
                name=name, port=port, traffic=msgspec.json.decode(traffic, type=list[TrafficTarget]), last_error=error
            )
            for name, port, traffic, error in rows
        ]

    def ports(self) -> set[int]:
        """Every port that belongs to a function or a tag."""
        return {port for (port,) in self._db.execute("SELECT port FROM function UNION SELECT port FROM tag")}

    def add(self, name: str, port: int) -> Record:
        """Add a function without a revision."""
        self._db.execute("INSERT INTO function (name, port, traffic) VALUES (?, ?, '[]')", (name, port))
        return Record(name=name, port=port, traffic=[], last_error=None)

    def remove(self, name: str) -> None:
        """Forget a function and its revisions."""
        self._db.execute("DELETE FROM function WHERE name = ?", (name,))

    def set_traffic(self, name: str, traffic: list[TrafficTarget]) -> None:
        """Record the split."""
        text = msgspec.json.encode(traffic).decode()
        self._db.execute("UPDATE function SET traffic = ? WHERE name = ?", (text, name))

    def set_error(self, name: str, error: str | None) -> None:
        """Record what went wrong last (None: all is well again)."""
        self._db.execute("UPDATE function SET last_error = ? WHERE name = ?", (error, name))

    def set_port(self, name: str, port: int) -> None:
        """Move a function to another port."""
        self._db.execute("UPDATE function SET port = ? WHERE name = ?", (port, name))

    # Revisions

    def next_number(self, function: str) -> int:
        """Count up the function's revisions; a number is never used twice."""
        (number,) = self._db.execute(
            "UPDATE function SET last_number = last_number + 1 WHERE name = ? RETURNING last_number", (function,)
        ).fetchone()
        return int(number)

    def put(self, revision: Revision) -> None:
        """Record a revision, or its new state."""
        document, preload = (
            msgspec.json.encode(revision.document).decode(),
            msgspec.json.encode(revision.preload).decode(),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO revision (name, function, number, digest, document, python, preload, state, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                revision.name,
                revision.function,
                revision.number,
                revision.digest,
                document,
                revision.python,
                preload,
                revision.state,
                revision.created,
            ),
        )

    def revisions(self, function: str) -> list[Revision]:
        """A function's revisions, oldest first."""
        rows = self._db.execute(
            "SELECT name, function, number, digest, document, python, preload, state, created FROM revision"
            " WHERE function = ? ORDER BY number",
            (function,),
        )
        return [
            Revision(
                name=name,
                function=owner,
                number=number,
                digest=digest,
                document=msgspec.json.decode(document, type=Function),
                python=python,
                preload=msgspec.json.decode(preload),
                state=state,
                created=created,
            )
            for name, owner, number, digest, document, python, preload, state, created in rows
        ]

    def interpreters(self) -> list[str]:
        """Every revision's Python."""
        return [python for (python,) in self._db.execute("SELECT DISTINCT python FROM revision")]

    def drop(self, revision: str) -> None:
        """Forget one revision."""
        self._db.execute("DELETE FROM revision WHERE name = ?", (revision,))

    # Tags

    def tags(self, function: str) -> dict[str, int]:
        """The ports of a function's tags."""
        return dict(self._db.execute("SELECT name, port FROM tag WHERE function = ?", (function,)).fetchall())

    def set_tag(self, function: str, tag: str, port: int) -> None:
        """Give a tag its port."""
        self._db.execute("INSERT OR REPLACE INTO tag (function, name, port) VALUES (?, ?, ?)", (function, tag, port))

    def drop_tag(self, function: str, tag: str) -> None:
        """Forget a tag."""
        self._db.execute("DELETE FROM tag WHERE function = ? AND name = ?", (function, tag))

    # Processes and settings

    def born(self, pid: int) -> None:
        """Remember a child, so that the next daemon finds it if this one is killed."""
        self._db.execute("INSERT OR REPLACE INTO process (pid, born) VALUES (?, ?)", (pid, start_time(pid)))

    def died(self, pid: int) -> None:
        """Forget a child."""
        self._db.execute("DELETE FROM process WHERE pid = ?", (pid,))

    def survivors(self) -> list[int]:
        """Pids of earlier children that are still alive (and not somebody else by the same number)."""
        rows = self._db.execute("SELECT pid, born FROM process").fetchall()
        return [pid for pid, born in rows if start_time(pid) == born]

    def forget_dead(self) -> None:
        """Forget the children that are gone."""
        alive = set(self.survivors())
        for (pid,) in self._db.execute("SELECT pid FROM process").fetchall():
            if pid not in alive:
                self.died(pid)

    def setting(self, name: str) -> str | None:
        """A value kept for as long as the home lives."""
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def keep(self, name: str, value: str | None) -> None:
        """Keep a value (None: forget it)."""
        if value is None:
            self._db.execute("DELETE FROM setting WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, value))


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), field 22 of stat); 0 where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def now() -> float:
    """Seconds since the epoch."""
    return time.time()
