"""The models that are served now, and how they follow the spec and the models document."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import HandlerError, ImportFailed, PermanentError, StoreError, TemporaryError
from trimtab.handlers.documents import Documents, open_documents
from trimtab.handlers.serving import document
from trimtab.handlers.serving.classes import Classes
from trimtab.handlers.serving.document import Change, Changes, Route
from trimtab.handlers.serving.entry import Entry, load
from trimtab.runtime.context import Context
from trimtab.runtime.threads import Threads
from trimtab.spec import Model

logger = logging.getLogger("trimtab.models")

LOOK = 0.25
"""Seconds between two looks at the document: 20 us each in SQLite, one small request with Redis."""
_BACKOFF = (1.0, 60.0)


class Trouble(Struct):
    """Why a model that should be served is not, and when it is tried again."""

    change: Change
    reason: str
    again: float
    delay: float = _BACKOFF[0]


class Repository:
    """Serves `models`, and what the document at `path` makes of them."""

    def __init__(self, models: Sequence[Model], state: str, classes: Classes, context: Context) -> None:
        self.models, self.classes, self.context = models, classes, context
        self.state = state or f"sqlite://{tempfile.gettempdir()}/trimtab-{uuid.uuid4().hex}/state.db"
        self.name = document.name(context.function, context.revision)
        self.routes: dict[str, Route] = {}
        self.entries: dict[str, Entry] = {}
        self.troubles: dict[str, Trouble] = {}
        self._documents: Documents | None = None
        self._seen = -1
        self._task: asyncio.Task[None] | None = None
        self._threads: Threads | None = None
        self._turn: asyncio.Lock | None = None
        self.changed: Callable[[Entry], None] = lambda _: None
        """Told of a model that somebody changed while it was served."""

    # Starting

    async def begin(self) -> None:
        """Load all models, at once. Errors: HandlerError for one that was deployed; others are noted and tried again."""
        changes = await asyncio.to_thread(self._first)
        self.routes = changes.routes
        wanted = changes.over(self.models)
        found = await asyncio.gather(*(asyncio.to_thread(self._load, change) for change in wanted.values()))
        for (key, change), result in zip(wanted.items(), found, strict=True):
            if isinstance(result, Entry):
                self.entries[key] = result
            elif key in changes.models:
                self._note(key, change, result)
            else:
                raise result

    def _first(self) -> Changes:
        """Read the document before any worker is forked, each of which opens its own. Without it: what was deployed."""
        try:
            documents = open_documents(self.state)
            try:
                changes, self._seen = document.read(documents, self.name)
            finally:
                documents.close()
        except StoreError as exc:
            logger.error("%s", exc)
            return Changes()
        return changes

    async def enter(self, threads: Threads) -> None:
        """Belong to this process and its loop from now on, and watch the document."""
        self._threads, self._turn = threads, asyncio.Lock()
        for entry in self.entries.values():
            await threads.call(entry.warm)
            entry.open(threads)
        await self.follow()  # a worker that takes another's place was forked from what was there at the start
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def leave(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._documents is not None:
            self._documents.close()

    # Finding

    def find(self, name: str, version: str = "") -> Entry | None:
        """Find a model; of several versions, where none is asked for, the one that was added last."""
        if version:
            return self.entries.get(f"{name}:{version}")
        if name in self.entries:
            return self.entries[name]
        named = (entry for entry in reversed(self.entries.values()) if entry.name == name)
        return next((entry for entry in named if not self.is_challenger(entry.key)), None)

    def drawn(self, entry: Entry) -> Entry:
        """Give the version that answers a request to this one's key: itself, or by its share a challenger."""
        route = self.routes.get(entry.key)
        key = route.draw() if route is not None else None
        return entry if key is None else self.entries.get(key, entry)

    def shadow(self, entry: Entry) -> Entry | None:
        """Give the version that is to answer copies of the requests that this one answers."""
        route = self.routes.get(entry.key)
        return self.entries.get(route.shadow) if route is not None and route.shadow is not None else None

    def is_challenger(self, key: str) -> bool:
        """Tell whether a key is a challenger's; that one that cannot be loaded is no reason to serve nothing."""
        return any(key in route.challengers for route in self.routes.values())

    def versions(self, name: str) -> list[str]:
        """List a model's versions."""
        return [entry.version for entry in self.entries.values() if entry.name == name and entry.version]

    async def need(self, name: str, version: str = "") -> Entry:
        """Find a model, after a look at the document. Errors: PermanentError (404), TemporaryError (it cannot be loaded)."""
        if (found := self.find(name, version)) is None:
            await self.follow()
            found = self.find(name, version)
        if found is not None:
            return found
        key = f"{name}:{version}" if version else name
        if key in self.troubles:
            raise TemporaryError(f"model {key!r} is not ready: {self.troubles[key].reason}")
        raise PermanentError(f"no model {key!r}; there is {', '.join(self.entries) or 'none'}", status=404)

    # Changing

    def known(self, key: str) -> Model | None:
        """Give the model that a key stands for, served or not."""
        change = self._read()[0].models.get(key)
        if change is not None and change.model is not None:
            return change.model
        return next((model for model in self.models if model.key == key), None)

    async def change(self, key: str, model: Model | None) -> None:
        """Add a model, replace it or (None) take it away, here and, by the document, everywhere.

        A model is loaded here before anybody else hears of it. Errors: HandlerError (then nothing changed), StoreError.
        """
        if model is not None:
            result = await self._call(self._load, Change(model))
            if not isinstance(result, Entry):
                raise result
            if result.server.artifact is not None:
                model = msgspec.structs.replace(model, path=result.uri)  # the same version everywhere
        await self._call(self._write, key, model)
        await self.follow()

    async def follow(self) -> None:
        """Bring what is served to what the document says, if it changed or a model's next try is due."""
        assert self._turn is not None
        async with self._turn:
            now = time.monotonic()
            due = any(trouble.again <= now for trouble in self.troubles.values())
            try:
                changes, seen = await self._call(self._read)
            except StoreError as exc:
                logger.error("%s", exc)
                return
            if seen == self._seen and not due:
                return
            self._seen = seen
            before = {key: entry.change.stamp for key, entry in self.entries.items()}
            await self._reach(changes)
            self.routes = changes.routes
            for entry in self.entries.values():
                if entry.change.stamp > before.get(entry.key, 0):
                    self.changed(entry)

    async def _reach(self, changes: Changes) -> None:
        wanted = changes.over(self.models)
        for key in [key for key in self.entries if key not in wanted]:
            del self.entries[key]
            logger.info("model %r is taken away", key)
        self.troubles = {key: trouble for key, trouble in self.troubles.items() if key in wanted}
        waiting = [(key, change) for key, change in wanted.items() if self._is_due(key, change)]
        results = await asyncio.gather(*(self._call(self._load, change) for _, change in waiting))
        for (key, change), result in zip(waiting, results, strict=True):
            if isinstance(result, Entry):
                assert self._threads is not None
                await self._call(result.warm)
                result.open(self._threads)
                self.entries[key] = result
                self.troubles.pop(key, None)
                logger.info("model %r is loaded from %s", key, result.uri)
            else:
                self._note(key, change, result)
        self.entries = {key: self.entries[key] for key in wanted if key in self.entries}

    def _is_due(self, key: str, change: Change) -> bool:
        trouble = self.troubles.get(key)
        if trouble is not None and trouble.change == change:
            return trouble.again <= time.monotonic()
        return key not in self.entries or self.entries[key].change != change

    def _load(self, change: Change) -> Entry | HandlerError:
        try:
            return load(change, self.classes, self.context)
        except HandlerError as exc:
            return exc

    def _note(self, key: str, change: Change, exc: HandlerError) -> None:
        before = self.troubles.get(key)
        delay = min(before.delay * 2, _BACKOFF[1]) if before is not None and before.change == change else _BACKOFF[0]
        self.troubles[key] = Trouble(change, str(exc), time.monotonic() + delay, delay)
        trace = exc.traceback if isinstance(exc, ImportFailed) else ""
        logger.error("%s; next try in %.0f s", exc, delay, extra={"fields": {"traceback": trace}} if trace else None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.follow()
            except Exception:
                logger.exception("the models document cannot be followed")

    def _open(self) -> Documents:
        """Open the documents; where they cannot be reached now, that is tried at every look, and models are served."""
        if self._documents is None:
            self._documents = open_documents(self.state)
        return self._documents

    def _read(self) -> tuple[Changes, int]:
        return document.read(self._open(), self.name)

    def _write(self, key: str, model: Model | None) -> None:
        document.change(self._open(), self.name, lambda changes: changes.with_change(key, model))

    async def _call(self, function: Any, *arguments: Any) -> Any:
        assert self._threads is not None
        return await self._threads.call(function, *arguments)
