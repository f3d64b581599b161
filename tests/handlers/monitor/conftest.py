"""A real Redis server for the session, and an empty store of each kind for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import redis_server

from trimtab.handlers.monitor.stores import Limits, Store
from trimtab.handlers.monitor.stores.redis import RedisStore
from trimtab.handlers.monitor.stores.sqlite import SQLiteStore

BACKENDS = ["sqlite", "redis"]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def store_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/state/monitor.db" if kind == "sqlite" else request.getfixturevalue("redis_url")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made = Backend(request.param, request, tmp_path)
    yield made
    made.close()


class Backend:
    """Opens as many stores as a test likes on one and the same state."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self.kind, self._folder = kind, folder
        self.prefix = f"{{{uuid.uuid4().hex}}}:"
        self.url = store_url(kind, request, folder)
        self._opened: list[Store] = []

    def open(self, limits: Limits | None = None) -> Store:
        store: Store
        if self.kind == "sqlite":
            store = SQLiteStore(self._folder / "state" / "mönitor file.db", limits or Limits())
        else:
            store = RedisStore(self.url, limits or Limits(), self.prefix)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()
