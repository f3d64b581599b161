"""A monitor's state in Redis: for replicas on several machines.

Each change is one script, so that it happens whole and alone. Whether it is there after a crash is the server's setting:
`appendonly yes` with `appendfsync always` keeps all that was acknowledged; a store warns when it finds less.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from trimtab.errors import StoreError, StoreFull
from trimtab.handlers.monitor.stores.abc import Change, Entry, Journaled, Limits, Store, Stream

logger = logging.getLogger("trimtab.monitor")

PREFIX = "{trimtab-monitor}:"
"""The braces keep all keys in one slot of a cluster, as scripts need it."""
_PAGE = 256
"""Events read from a journal at a time."""
_PATIENCE = 10.0
"""Seconds until a server that does not answer is an error."""

# A journal is a Redis stream, whose entry ids are number-0. `journal` keeps what waits in it: events, rows, bytes.
_APPEND = """
local p, added = ARGV[1], {}
for i = 2, #ARGV, 6 do
  local identity, at, stream, rows, size, entry = unpack(ARGV, i, i + 5)
  if redis.call('ZADD', p .. 'seen', 'NX', at, identity) == 1 then
    local number = redis.call('INCR', p .. 'number')
    redis.call('SADD', p .. 'streams', stream)
    redis.call('XADD', p .. 'journal:' .. stream, number .. '-0', 'e', entry, 'a', at, 'r', rows, 's', size)
    redis.call('HINCRBY', p .. 'events', stream, 1)
    redis.call('HINCRBY', p .. 'rows', stream, rows)
    redis.call('HINCRBY', p .. 'bytes', stream, size)
    added[#added + 1] = 1
  else
    added[#added + 1] = 0
  end
end
return added
"""

_COMMIT = """
local p, stream, version, upto, at = unpack(ARGV, 1, 5)
if (redis.call('HGET', p .. 'versions', stream) or '0') ~= version then return 0 end
redis.call('SADD', p .. 'streams', stream)
redis.call('HINCRBY', p .. 'versions', stream, 1)
local place = 6
local function take() place = place + 1; return ARGV[place - 1] end
for _ = 1, tonumber(take()) do redis.call('HSET', p .. 'documents:' .. stream, take(), take()) end
for _ = 1, tonumber(take()) do redis.call('HDEL', p .. 'documents:' .. stream, take()) end
for _ = 1, tonumber(take()) do
  local id = take()
  redis.call('HSET', p .. 'waiting:' .. stream, id, take())
  redis.call('ZADD', p .. 'ages:' .. stream, at, id)
end
if upto ~= '0' then
  for _, found in ipairs(redis.call('XRANGE', p .. 'journal:' .. stream, '-', upto)) do
    redis.call('HINCRBY', p .. 'events', stream, -1)
    redis.call('HINCRBY', p .. 'rows', stream, -found[2][6])
    redis.call('HINCRBY', p .. 'bytes', stream, -found[2][8])
    redis.call('XDEL', p .. 'journal:' .. stream, found[1])
  end
end
return 1
"""

_FORGET = """
local p, stream, before, most = unpack(ARGV, 1, 4)
local ages, waiting = p .. 'ages:' .. stream, p .. 'waiting:' .. stream
local function forget(ids) for _, id in ipairs(ids) do redis.call('ZREM', ages, id); redis.call('HDEL', waiting, id) end end
forget(redis.call('ZRANGEBYSCORE', ages, '-inf', '(' .. before))
forget(redis.call('ZRANGE', ages, 0, -1 - most))
"""

_DROP = """
local p, stream, version = unpack(ARGV, 1, 3)
if (redis.call('HGET', p .. 'versions', stream) or '0') ~= version then return 0 end
if redis.call('XLEN', p .. 'journal:' .. stream) > 0 then return 0 end
for _, kind in ipairs({'journal:', 'documents:', 'waiting:', 'ages:'}) do redis.call('DEL', p .. kind .. stream) end
for _, table in ipairs({'versions', 'events', 'rows', 'bytes'}) do redis.call('HDEL', p .. table, stream) end
redis.call('SREM', p .. 'streams', stream)
return 1
"""

_READ = """
local found = {redis.call('HGET', ARGV[1] .. 'versions', ARGV[2]) or '0'}
for i = 3, #ARGV do found[i - 1] = redis.call('HGET', ARGV[1] .. 'documents:' .. ARGV[2], ARGV[i]) end
return found
"""


class RedisStore(Store):
    """See Store."""

    def __init__(self, url: str, limits: Limits, prefix: str = PREFIX) -> None:
        super().__init__(limits)
        import redis

        self._url, self._prefix, self._errors = url, prefix, redis.RedisError
        self._redis: Any = redis.Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)
        scripts = (self._redis.register_script(text) for text in (_APPEND, _COMMIT, _FORGET, _DROP, _READ))
        self._append, self._commit, self._forget, self._drop, self._read = scripts
        with self._translated():
            self._redis.ping()
        self._warn()

    def append(self, entries: list[Entry]) -> list[bool]:
        """See Store."""
        given: list[Any] = [self._prefix]
        for entry in entries:
            packed = msgspec.msgpack.encode(entry)
            given += [entry.identity, repr(entry.at), entry.stream, entry.rows, len(entry.data), packed]
        with self._translated():
            return [bool(added) for added in self._append(args=given)]

    def streams(self) -> list[Stream]:
        """See Store."""
        with self._translated():
            names = sorted(name.decode() for name in self._redis.smembers(f"{self._prefix}streams"))
            return [self._stream(name) for name in names]

    def pending(self, stream: str, *, upto: int = 0, rows: int = 0, bytes: int = 0) -> list[Journaled]:
        """See Store."""
        found: list[Journaled] = []
        seen_rows = seen_bytes = 0
        for event in self._journal(stream, str(upto) if upto else "+"):
            found.append(event)
            seen_rows, seen_bytes = seen_rows + event.entry.rows, seen_bytes + len(event.entry.data)
            if (rows and seen_rows >= rows) or (bytes and seen_bytes >= bytes):
                break
        return found

    def read(self, stream: str, keys: Iterable[str]) -> tuple[int, dict[str, bytes]]:
        """See Store."""
        wanted = list(dict.fromkeys(keys))
        with self._translated():
            version, *found = self._read(args=[self._prefix, stream, *wanted])
        found += [None] * (len(wanted) - len(found))
        return int(version), {key: data for key, data in zip(wanted, found, strict=True) if data is not None}

    def keys(self, stream: str, prefix: str) -> list[str]:
        """See Store."""
        with self._translated():
            names = [key.decode() for key in self._redis.hkeys(f"{self._prefix}documents:{stream}")]
        return sorted(name for name in names if name.startswith(prefix))

    def rows(self, stream: str, ids: Iterable[str]) -> dict[str, bytes]:
        """See Store."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        with self._translated():
            found = self._redis.hmget(f"{self._prefix}waiting:{stream}", wanted)
        return {name: data for name, data in zip(wanted, found, strict=True) if data is not None}

    def commit(self, stream: str, version: int, change: Change) -> bool:
        """See Store."""
        given: list[Any] = [self._prefix, stream, version, change.upto, repr(change.at)]
        given += [len(change.put), *(part for pair in change.put.items() for part in pair)]
        given += [len(change.delete), *change.delete]
        given += [len(change.rows), *(part for pair in change.rows.items() for part in pair)]
        with self._translated():
            return bool(self._commit(args=given))

    def sweep(self, now: float) -> None:
        """See Store."""
        limits = self.limits
        with self._translated():
            self._redis.zremrangebyscore(f"{self._prefix}seen", "-inf", f"({now - limits.seen_seconds!r}")
            self._redis.zremrangebyrank(f"{self._prefix}seen", 0, -1 - limits.seen_events)
            for stream in self._redis.smembers(f"{self._prefix}streams"):
                self._forget(args=[self._prefix, stream, repr(now - limits.row_seconds), limits.rows])

    def drop(self, stream: str, version: int) -> bool:
        """See Store."""
        with self._translated():
            return bool(self._drop(args=[self._prefix, stream, version]))

    def close(self) -> None:
        """See Store."""
        self._redis.close()

    def _stream(self, name: str) -> Stream:
        events, rows, size = (
            int(self._redis.hget(f"{self._prefix}{table}", name) or 0) for table in ("events", "rows", "bytes")
        )
        first = self._redis.xrange(f"{self._prefix}journal:{name}", count=1)
        return Stream(name, events, rows, size, float(first[0][1][b"a"]) if first else None)

    def _journal(self, stream: str, end: str) -> Iterator[Journaled]:
        start = "-"
        while True:
            with self._translated():
                page = self._redis.xrange(f"{self._prefix}journal:{stream}", start, end, count=_PAGE)
            for name, fields in page:
                number = int(name.partition(b"-")[0])
                yield Journaled(number=number, entry=msgspec.msgpack.decode(fields[b"e"], type=Entry))
                start = f"({number}-0"
            if len(page) < _PAGE:
                return

    def _warn(self) -> None:
        with contextlib.suppress(self._errors):  # a managed server may not tell its settings
            told = self._redis.config_get("append*")
            if told.get("appendonly") != "yes" or told.get("appendfsync") != "always":
                logger.warning(
                    "redis acknowledges what a crash may lose (appendonly %s, appendfsync %s): "
                    "set appendonly yes and appendfsync always to keep every event",
                    told.get("appendonly"),
                    told.get("appendfsync"),
                )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors as exc:
            if any(word in str(exc) for word in ("OOM", "maxmemory", "MISCONF")):
                raise StoreFull(
                    f"redis takes no more: {exc}. Free memory or disk on the server; nothing of this request was kept"
                ) from exc
            raise StoreError(
                f"the monitor's redis at {_place(self._url)} cannot be used: {exc}. Check that it runs and answers"
            ) from exc


def _place(url: str) -> str:
    """Give the address without a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
