"""A function in this process, without a server: what a test asks goes through the real runtime's application."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.project.call import Reply, Request, request
from trimtab.project.code import located
from trimtab.spec import Function
from trimtab.spec.quantity import seconds, size

if TYPE_CHECKING:
    from trimtab.events import Envelope
    from trimtab.runtime.app import App
    from trimtab.runtime.outbox import Counters

_STARTS_WITHIN = 600.0
"""Seconds for `init_context` or `load` of a large model; a test that hangs longer is stuck."""


class Outbox:
    """What carries events to a sink elsewhere; here they stay, in `events`."""

    def __init__(self) -> None:
        self.events: list[Envelope] = []

    def start(self) -> None:
        """Nothing has to be started."""

    def emit(self, envelope: Envelope) -> None:
        """Keep an event."""
        self.events.append(envelope)

    def counters(self) -> Counters:
        """Say that all were taken, for /metrics."""
        from trimtab.runtime.outbox import Counters

        return Counters(emitted=len(self.events), sent=len(self.events))

    def close(self, deadline: float = 0.0) -> None:
        """Nothing has to be flushed."""


class MockServer:
    """A function's application, and the loop it runs in, on a thread of its own.

    Close it, or use it as a context manager, to run the function's `stop` and to give its environment variables back.
    """

    def __init__(self, function: Function) -> None:
        from trimtab.runtime.app import App
        from trimtab.runtime.load import load

        self.name = function.metadata.name
        self._outbox = Outbox() if function.spec.sink is not None else None
        with ExitStack() as stack:
            handler, folder = stack.enter_context(located(function))
            config = _config(function, handler, folder)
            found = load(config.entry, folder)
            self._loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._loop.run_forever, name=f"trimtab-mock-{self.name}", daemon=True)
            thread.start()
            stack.callback(_stop, self._loop, thread)
            app: App = App(found, config, emitter=self._outbox)
            stack.callback(_shut_down, self._loop, app)  # its threads are there as soon as it begins to start
            self._wait(app.startup())
            app.ready = True
            self._app = app
            self._close = weakref.finalize(self, stack.pop_all().close)

    @property
    def events(self) -> list[Envelope]:
        """What the function emitted, oldest first; always empty for a function without a sink, which cannot emit."""
        return self._outbox.events if self._outbox is not None else []

    def test(
        self,
        path: str = "/",
        body: Any = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        *,
        silent: bool = False,
        get_body: bool = True,
    ) -> Any:
        """Ask, and give the body (JSON as objects, else bytes), or the whole reply without `get_body`.

        Errors: InvocationFailed unless the answer is a success or `silent` is set.
        """
        if content_type is not None:
            headers = {**(headers or {}), "content-type": content_type}
        reply = self._wait(_exchange(self._app, request(path, body, method, headers)))
        if not silent:
            reply.check(self.name)
        return reply.value if get_body else reply

    def close(self) -> None:
        """End the function; doing it twice is well."""
        self._close()

    def __enter__(self) -> MockServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_STARTS_WITHIN)


def _config(function: Function, handler: str, folder: Path) -> Any:
    from trimtab.runtime.config import ReplicaConfig

    spec = function.spec
    return ReplicaConfig(
        function=function.metadata.name,
        kind=spec.kind,
        handler=handler,
        directory=str(folder),
        concurrency=spec.scale.concurrency,
        queue=spec.limits.queue,
        request_timeout=seconds(spec.timeouts.request),
        body_limit=size(spec.limits.body),
        models=msgspec.json.encode(spec.models).decode(),
        tracking=msgspec.json.encode(spec.tracking).decode() if spec.tracking is not None else "",
        retrain=msgspec.json.encode(spec.retrain).decode() if spec.retrain is not None else "",
        model_control="on",
    )


def _shut_down(loop: asyncio.AbstractEventLoop, app: App) -> None:
    asyncio.run_coroutine_threadsafe(app.shutdown(), loop).result(_STARTS_WITHIN)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _exchange(app: App, made: Request) -> Reply:
    """Make one ASGI exchange of a request."""
    path, _, query = made.path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": made.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _complete(made).items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    messages = asyncio.Queue[dict[str, Any]]()
    messages.put_nowait({"type": "http.request", "body": made.body, "more_body": False})
    status, headers, chunks = 500, {}, []

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            chunks.append(message.get("body", b""))

    await app(scope, messages.get, send)
    return Reply(status, headers, b"".join(chunks))


def _complete(made: Request) -> dict[str, str]:
    length = {"content-length": str(len(made.body))} if made.body else {}
    return {"host": "127.0.0.1", **length, **made.headers}
