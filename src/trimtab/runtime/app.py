"""The replica's ASGI application: a request becomes an Event, the handler is called, what it returned is sent.

The path of a request, hot first: read the body, take a slot, decode, call, encode, send, count. An error in between is
an answer too (an `Answer`), never an exception that travels up: 400 for what the caller did wrong, 500 with an id for
what the handler did wrong, whose traceback is logged under the same id.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import uuid
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from trimtab.errors import EventError, HandlerError, ImportFailed, PermanentError, TemporaryError
from trimtab.events import Envelope
from trimtab.runtime import binding
from trimtab.runtime.answer import Answer, Wish, as_envelope, event, piece, plain, to_event, wish
from trimtab.runtime.binding import Mode
from trimtab.runtime.codec import decode, decoder, to_json
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.context import CURRENT, Context
from trimtab.runtime.event import Event
from trimtab.runtime.invoke import pieces, plan, settle
from trimtab.runtime.limits import Full, Limiter
from trimtab.runtime.load import Loaded, frames
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.threads import MOST, Threads
from trimtab.runtime.watch import GONE, LATE, Watch

logger = logging.getLogger("trimtab.app")

ADMIN = frozenset({"/healthz", "/readyz", "/metrics", "/health/liveness", "/health/readiness"})
_MARKS = frozenset({b"ce-specversion", b"ce-id", b"ce-source", b"ce-type"})
_CLOSE = (b"connection", b"close")
_JSON = (b"content-type", b"application/json")
_NO_LENGTH = frozenset({204, 304})


def refusal(status: int, message: str, *headers: tuple[bytes, bytes], **more: Any) -> Answer:
    """Make an answer that says what is wrong."""
    body = to_json({"error": message, **more})
    return Answer(status, [_JSON, *headers], body)


class App:
    """One process's application. `startup` comes before the first request, `shutdown` after the last."""

    def __init__(self, loaded: Loaded, config: ReplicaConfig, *, emitter: Any = None) -> None:
        self.loaded, self.config = loaded, config
        self.context = Context(config, emitter)
        self.limiter = Limiter(config.concurrency, config.queue)
        self.metrics = Metrics(config.function, config.revision)
        self.ready = self.draining = False
        self.close_connections = False
        """Every response carries `connection: close`: the traffic is split, so each request is to be drawn anew."""
        self.close_next = 0
        """How many responses still carry it: a new replica is to get its share of the open connections."""
        self._call, self._blocking, self._two = loaded.call, plan(loaded.call), loaded.arity == 2
        self._watch = Watch(config.request_timeout)
        self._unstoppable: dict[Any, asyncio.Future[Any]] = {}
        self._admin: Any = None

    # Life

    async def startup(self) -> None:
        """Run what the function does once: `load`, `start`, `init_context`. Errors: ImportFailed, with its traceback."""
        await self.open()
        instance = self.loaded.instance
        for function, arguments in (
            (getattr(instance, "load", None), ()),
            (getattr(instance, "start", None), (dict(os.environ),)),
            (self.loaded.init, (self.context,)),
        ):
            if function is not None:
                await self._once(function, *arguments)

    async def _once(self, function: Any, *arguments: Any) -> None:
        name = getattr(function, "__name__", "start")
        try:
            arguments = arguments[: len(inspect.signature(function).parameters)]
            await settle(await self._threads.call(function, *arguments) if plan(function) else function(*arguments))
        except HandlerError:
            raise
        except (Exception, SystemExit) as exc:
            raise ImportFailed(f"{name} failed: {type(exc).__name__}: {exc}", frames(exc)) from exc

    async def open(self) -> None:
        """Belong to the running loop."""
        most = self.config.concurrency or MOST
        self._threads = Threads(asyncio.get_running_loop(), most)
        if self.context.emitter is not None:
            self.context.emitter.start()

    def adopt(self, emitter: Any, worker: int) -> None:
        """Go on in a forked worker, with what `startup` made."""
        self.context.adopt(emitter, worker)
        self.metrics = Metrics(self.config.function, self.config.revision, worker)

    async def shutdown(self) -> None:
        """Close what was opened, last first."""
        stop = getattr(self.loaded.instance, "stop", None)
        if callable(stop):
            try:
                await settle(await self._threads.call(stop) if plan(stop) else stop())
            except Exception:
                logger.exception("stop() failed")
        if self.context.emitter is not None:
            await self._threads.call(self.context.emitter.close, 5.0)
        self._threads.close()

    async def alive(self) -> tuple[bool, str]:
        """Ask the function, where it has an `alive()`, whether it is well."""
        return await self._ask("alive")

    async def is_ready(self) -> tuple[bool, str]:
        """Tell whether requests should come; a function may have a `ready()` of its own."""
        if self.draining or not self.ready:
            return False, "draining" if self.draining else "starting"
        return await self._ask("ready")

    async def _ask(self, name: str) -> tuple[bool, str]:
        function = getattr(self.loaded.instance, name, None)
        if not callable(function):
            return True, ""
        try:
            found = await settle(await self._threads.call(function) if plan(function) else function())
        except Exception:
            logger.exception("%s() failed", name)
            return False, f"{name}() failed"
        return (bool(found[0]), str(found[1])) if isinstance(found, tuple) else (bool(found), "")

    # One request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, as ASGI 3.0 asks."""
        if scope["type"] != "http":
            await _other(scope, receive, send)
            return
        if scope["path"] in ADMIN:
            await self._answer_admin(scope, receive, send)
            return
        if self.loaded.flavour != "event":
            await self._forward(scope, receive, send)
            return
        message = await receive()
        body = message.get("body", b"")
        if message.get("more_body") or len(body) > self.config.body_limit or message["type"] != "http.request":
            read = await self._rest(scope, body, message, receive)
            if read is None:
                return
            if isinstance(read, Answer):
                await self._send(read, send)
                return
            body = read
        limiter = self.limiter
        if limiter.slots:
            if not await self._slot(send):
                return
        else:
            limiter.in_flight += 1
        began = monotonic()
        task = self._watch.add(began, None if self._blocking else receive)
        status = 499
        try:
            answer: Answer | None
            try:
                call, wanted = self._read(scope, body)
            except EventError as exc:
                answer = refusal(400, str(exc), **({"attribute": exc.attribute} if exc.attribute else {}))
            else:
                if isinstance(call, Event):
                    answer = await self._answer(call, wanted, task)
                else:
                    answer = await self._batch(call, task)
            if answer is not None:
                status = answer.status
                await self._send(answer, send)
        finally:
            self._watch.discard(task)
            ended = monotonic()
            self.metrics.observe(ended - began, status)
            if not (self._unstoppable and self._still_busy(task)):
                self._release()

    def _release(self) -> None:
        if self.limiter.slots:
            self.limiter.release()
        else:
            self.limiter.in_flight -= 1

    def _still_busy(self, task: Any) -> bool:
        """After a timeout a thread cannot be stopped: its slot is free when it ends, not before."""
        future = self._unstoppable.pop(task, None)
        return future is not None and self._threads.when_ended(future, self._release)

    async def _slot(self, send: Any) -> bool:
        try:
            await self.limiter.acquire()
        except Full:
            await self._send(refusal(503, "every slot is taken and the queue is full", (b"retry-after", b"1")), send)
            self.metrics.observe(0.0, 503)
            return False
        return True

    async def _rest(self, scope: Any, body: bytes, message: Any, receive: Any) -> bytes | Answer | None:
        """Read a body of several messages; None when the caller is gone."""
        limit = self.config.body_limit
        too_large = refusal(413, f"a body of more than {limit} bytes is not accepted", _CLOSE)
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit:
            return too_large
        chunks, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                return too_large
        return too_large if size > limit else b"".join(chunks) if message["type"] == "http.request" else None

    def _read(self, scope: Any, body: bytes) -> tuple[Event | list[Event], Wish]:
        """Turn a request into its event, or a batch into its events. Errors: EventError."""
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"")
        if _MARKS.isdisjoint(headers) and content_type[:23].lower() != b"application/cloudevents":
            return Event.of(scope, body, decoder(content_type)(body) if body else b"", None), wish(headers)
        mode = binding.is_event(scope["headers"])
        if mode is Mode.BATCH:
            return [_event(scope, envelope) for envelope in binding.read_batch(body)], wish(headers)
        return _event(scope, binding.read(scope["headers"], body)), wish(headers)

    async def _batch(self, calls: list[Event], task: Any) -> Answer | None:
        """Answer a batch: 202 if every event was taken, else the worst status and a list that says which failed."""
        rows, worst = [], 202
        for call in calls:
            answer = await self._answer(call, Wish(reply=True), task)
            if answer is None:
                return None
            worst = max(worst, answer.status)
            rows.append({**_identity(call), "status": answer.status})
        return Answer(202, []) if worst < 300 else Answer(worst, [_JSON], to_json({"events": rows}))

    async def _answer(self, call: Event, wanted: Wish, task: Any) -> Answer | None:
        """Call the handler; every end of the call is an answer. None when the caller is gone."""
        CURRENT.set(call)
        future: asyncio.Future[Any] | None = None
        try:
            if self._blocking:
                future = self._threads.call(self._call, *self._arguments(call))
                value = await future
            else:
                value = self._call(self.context, call) if self._two else self._call(call)
            if isinstance(value, Awaitable):
                value = await value
            if call.envelope is None:
                return plain(value, wanted)
            return to_event(value, wanted, call.envelope, self.config.function)
        except asyncio.CancelledError:
            why = self._watch.why(task)
            if why is LATE:
                if future is not None:
                    self._unstoppable[task] = future
                return refusal(504, f"no answer within {self.config.request_timeout:g} s")
            if why is GONE:
                return None
            raise
        except PermanentError as exc:
            return refusal(exc.status, str(exc) or "the request can never succeed")
        except TemporaryError as exc:
            after = ((b"retry-after", b"%d" % max(0, round(exc.delay))),) if exc.delay is not None else ()
            return refusal(503, str(exc) or "try again later", *after)
        except BaseException as exc:  # SystemExit and KeyboardInterrupt of a handler are its failure, not ours
            return self._failed(exc)

    def _arguments(self, call: Event) -> tuple[Any, ...]:
        return (self.context, call) if self._two else (call,)

    def _failed(self, exc: BaseException) -> Answer:
        """Log a handler's exception under a new id, and tell the caller nothing but the id."""
        identity = uuid.uuid4().hex[:16]
        fields = {"id": identity, "traceback": frames(exc)}
        logger.error("handler raised %s: %s", type(exc).__name__, exc, extra={"fields": fields})
        return refusal(500, "internal error", id=identity)

    async def _send(self, answer: Answer, send: Any) -> None:
        headers = answer.headers
        if self.close_connections or self.draining:
            headers.append(_CLOSE)
        elif self.close_next > 0:
            self.close_next -= 1
            headers.append(_CLOSE)
        if answer.stream is not None:
            await self._send_stream(answer, send)
            return
        if answer.status not in _NO_LENGTH:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_stream(self, answer: Answer, send: Any) -> None:
        """Send pieces as they come; an error in between cuts the connection, so that nobody takes a part for the whole."""
        started = False
        try:
            async for found in pieces(answer.stream, self._threads):
                if not started:
                    started = True
                    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                await send({"type": "http.response.body", "body": piece(found), "more_body": True})
        except Exception as exc:
            failed = self._failed(exc)
            if not started:
                await self._send(failed, send)
            return
        if not started:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": b""})

    # Handlers that speak ASGI themselves

    async def _forward(self, scope: Any, receive: Any, send: Any) -> None:
        if self.limiter.slots:
            if not await self._slot(send):
                return
        else:
            self.limiter.in_flight += 1
        began = monotonic()
        exchange = _Exchange(self, scope, receive, send)
        task = self._watch.add(began, None)
        try:
            await exchange.run(task)
        finally:
            self._watch.discard(task)
            ended = monotonic()
            self.metrics.observe(ended - began, exchange.status)
            self._release()

    async def _answer_admin(self, scope: Any, receive: Any, send: Any) -> None:
        if self._admin is None:
            from trimtab.runtime.admin import routes

            self._admin = routes(self)
        await self._admin(scope, receive, send)


class _Exchange:
    """One request of a handler that speaks ASGI, watched: its status, its body's size, whether it sends an event."""

    def __init__(self, app: App, scope: Any, receive: Any, send: Any) -> None:
        self.app, self.scope, self.status, self.size = app, scope, 500, 0
        self.started = False
        self._receive, self._send = receive, send

    async def run(self, task: Any) -> None:
        try:
            scope = await self._with_event() if self.app.loaded.flavour == "knative" else self.scope
            await settle(self.app.loaded.call(scope, self.receive, self.send))
        except EventError as exc:
            await self.refuse(refusal(400, str(exc), attribute=exc.attribute))
        except asyncio.CancelledError:
            if self.app._watch.why(task) is not LATE:  # noqa: SLF001 - its other half
                raise
            await self.refuse(refusal(504, f"no answer within {self.app.config.request_timeout:g} s"))
        except Exception as exc:
            await self.refuse(self.app._failed(exc))  # noqa: SLF001

    async def _with_event(self) -> Any:
        """Put the CloudEvent of a request into the scope, as Knative's Python functions expect."""
        if binding.is_event(self.scope["headers"]) not in (Mode.BINARY, Mode.STRUCTURED):
            return self.scope
        body, more = b"", True
        while more:
            message = await self.receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        made = Event.of(self.scope, body, None, binding.read(self.scope["headers"], body))

        async def replay() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        self.receive = replay  # type: ignore[method-assign]
        return {**self.scope, "event": made.cloudevent}

    async def refuse(self, answer: Answer) -> None:
        if not self.started:
            await self.app._send(answer, self.send)  # noqa: SLF001

    async def receive(self) -> Any:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        if self.size > self.app.config.body_limit:
            raise EventError(f"a body of more than {self.app.config.body_limit} bytes is not accepted")
        return message

    async def send(self, message: Any) -> None:
        envelope = None if isinstance(message, dict) else as_envelope(message)
        if envelope is not None:
            await self.app._send(event(envelope, Wish()), self.send)  # noqa: SLF001
            return
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            if self.app.close_connections or self.app.draining:
                message = {**message, "headers": [*message.get("headers", []), _CLOSE]}
        await self._send(message)


def _event(scope: Any, envelope: Envelope) -> Event:
    value = None if envelope.data is None else decode(envelope.data, envelope.content_type)
    return Event.of(scope, envelope.data or b"", value, envelope)


def _identity(call: Event) -> dict[str, str]:
    assert call.envelope is not None
    return {"source": call.envelope.source, "id": call.envelope.id}


async def _other(scope: Any, receive: Any, send: Any) -> None:
    """Be polite to a server that speaks of its lifespan; nothing else but HTTP is spoken here."""
    if scope["type"] != "lifespan":
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
