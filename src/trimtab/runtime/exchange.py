"""One request of a handler that speaks ASGI itself: a Starlette application, or a function written for Knative's.

Knative's finds the CloudEvent of a request in `scope["event"]` and may send one: `await send(event)`, or, where it
matters to it how, `send.structured(event, status)` and `send.binary(event, status)`; `send.http(message)` is plain ASGI.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from trimtab.errors import EventError
from trimtab.events import to_cloudevent
from trimtab.runtime import binding
from trimtab.runtime.answer import Answer, Wish, as_envelope, event, wish
from trimtab.runtime.binding import Mode
from trimtab.runtime.failure import CLOSE, failed
from trimtab.runtime.invoke import settle
from trimtab.runtime.request import declared, malformed, rest, too_large

if TYPE_CHECKING:
    from trimtab.runtime.app import App


class Exchange:
    """Runs one request of `app` between the server and the handler, and watches what is sent."""

    def __init__(self, app: App, scope: Any, receive: Any, send: Any) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._limit = app.config.body_limit
        self._size = 0
        self._started = False
        self._refused = False
        """The handler has lost its say: what it sends goes nowhere."""
        self._status = 500

    async def run(self) -> None:
        """Take a slot, call the handler, count."""
        app = self._app
        began = monotonic()
        self._task = task = app.watch.add(began, None)
        entered = False
        try:
            if declared(self._scope) > self._limit:
                await self._refuse(too_large(self._limit))
            elif not app.limiter.enter() and (refused := await app.queue(task, None)) is not None:
                await self._refuse(refused)
            else:
                entered = True
                await self._call()
        finally:
            app.ended(task, began, self._status, entered)

    async def _call(self) -> None:
        app = self._app
        if app.lifespan is not None:
            self._scope.setdefault("state", {}).update(app.lifespan.state)
        try:
            if app.loaded.flavour == "knative" and not await self._read_event():
                return
            await settle(app.loaded.call(self._scope, self.receive, Send(self)))
        except asyncio.CancelledError as exc:
            await self._refuse(app.cut(self._task, exc))
        except GeneratorExit:
            raise
        except BaseException as exc:  # SystemExit and KeyboardInterrupt of a handler are its failure, not ours
            await self._refuse(failed(exc))

    async def _read_event(self) -> bool:
        """Put the CloudEvent of a request into the scope; False when it is refused."""
        headers = self._scope["headers"]
        if binding.is_event(headers) not in (Mode.BINARY, Mode.STRUCTURED):
            return True
        body = await rest(self._scope, await self._receive(), self._receive, self._limit)
        if isinstance(body, Answer):
            await self._refuse(body)
            return False
        try:
            found = to_cloudevent(binding.read(headers, body))
        except EventError as exc:
            await self._refuse(malformed(exc))
            return False
        self._scope = {**self._scope, "event": found}
        self._receive = _Replay(body, self._receive)
        return True

    async def receive(self) -> Any:
        """Give the handler a message, within the body's limit."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            await self._refuse(too_large(self._limit))
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Any) -> None:
        """Pass a message of the handler on."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            if message["status"] < 300 and not _is_event(message) and self._wants_event():
                # A broker retries a 2xx that is not a CloudEvent, so it is told what it needs: that this was taken.
                await self._refuse(Answer(202, []))
                return
            self._begin(message["status"])
            if self._app.closing():
                message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
        await self._send(message)

    async def send_event(self, found: Any, status: int, *, structured: bool | None = None) -> None:
        """Send a CloudEvent as the answer; `structured` None leaves the mode to the caller's `Accept`."""
        envelope = as_envelope(found)
        if envelope is None:
            raise TypeError(f"send: found {type(found).__name__}, allowed: an ASGI message or a CloudEvent")
        wanted = wish(dict(self._scope["headers"])) if structured is None else Wish(structured=structured)
        answer = event(envelope, wanted)
        answer.status = status
        if not self._refused:
            self._begin(status)
            await self._app.send(answer, self._send)

    def _wants_event(self) -> bool:
        headers = self._scope["headers"]
        return binding.is_event(headers) is not Mode.NONE and wish(dict(headers)).reply

    async def _refuse(self, answer: Answer) -> None:
        """Answer instead of the handler; where it has begun to answer, the connection is cut."""
        self._refused = True
        self._status = answer.status
        if not self._started:
            self._started = True
            await self._app.send(answer, self._send)

    def _begin(self, status: int) -> None:
        self._started, self._status = True, status
        self._app.watch.answered(self._task)


def _is_event(message: Any) -> bool:
    """Tell whether the headers of an ASGI response are those of a CloudEvent."""
    return binding.is_event(
        [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
    ) is not (Mode.NONE)


class Send:
    """What the handler calls to send."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self, message: Any, status: int = 200) -> None:
        """Send an ASGI message, or a CloudEvent in the mode that the caller accepts."""
        if isinstance(message, dict):
            await self._exchange.send(message)
        else:
            await self._exchange.send_event(message, status)

    async def http(self, message: Any) -> None:
        """Send an ASGI message."""
        await self._exchange.send(message)

    async def structured(self, event: Any, status: int = 200) -> None:
        """Send a CloudEvent in structured mode."""
        await self._exchange.send_event(event, status, structured=True)

    async def binary(self, event: Any, status: int = 200) -> None:
        """Send a CloudEvent in binary mode."""
        await self._exchange.send_event(event, status, structured=False)


class _Replay:
    """Gives a body that was read already once more, then whatever else comes."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
