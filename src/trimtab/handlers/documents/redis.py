"""Documents in Redis: for processes of several machines. A document is a hash of `text` and `version`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trimtab.errors import StoreError
from trimtab.handlers.documents.abc import Document, Documents

_PUT = """
local found = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if found ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'text', ARGV[1], 'version', found + 1)
return 1
"""


class RedisDocuments(Documents):
    """One database of a Redis server; keys begin with `prefix`."""

    def __init__(self, url: str, prefix: str = "trimtab:document:") -> None:
        try:
            import redis
        except ImportError as exc:
            raise StoreError("documents in Redis need the package redis: pip install 'trimtab[redis]'") from exc
        self._errors, self._prefix = redis.RedisError, prefix
        with self._translated():
            self._redis: Any = redis.Redis.from_url(url)
            self._put = self._redis.register_script(_PUT)

    def get(self, name: str) -> Document:
        """See Documents."""
        with self._translated():
            text, version = self._redis.hmget(self._prefix + name, "text", "version")
        return Document(b"", 0) if version is None else Document(text, int(version))

    def put(self, name: str, text: bytes, version: int) -> bool:
        """See Documents."""
        with self._translated():
            return bool(self._put(keys=[self._prefix + name], args=[text, version]))

    def names(self, prefix: str = "") -> list[str]:
        """See Documents."""
        with self._translated():
            pattern = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self._prefix + prefix) + "*"
            found = {key.decode() for key in self._redis.scan_iter(match=pattern, count=1000)}
        return sorted(key.removeprefix(self._prefix) for key in found)

    def delete(self, name: str) -> None:
        """See Documents."""
        with self._translated():
            self._redis.delete(self._prefix + name)

    def close(self) -> None:
        """See Documents."""
        self._redis.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._errors, ValueError) as exc:
            raise StoreError(f"Redis does not do as it should: {exc}") from exc
