"""The replica's ASGI application: a request becomes an Event, the handler is called, what it returned is sent.

The path of a request, hot first: read the body, take a slot, decode, call, encode, send, count. An error in between is
an answer too (an `Answer`), never an exception that travels up: 400 for what the caller did wrong, 500 with an id for
what the handler did wrong, whose traceback is logged under the same id. Handlers that speak ASGI themselves are called
by `exchange`; what a function does besides answering is in `life`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from time import monotonic
from typing import Any

from trimtab.runtime import batch
from trimtab.runtime.answer import Answer, Wish, piece, plain, to_event
from trimtab.runtime.config import ReplicaConfig, share
from trimtab.runtime.context import CURRENT, Context
from trimtab.runtime.event import Event
from trimtab.runtime.exchange import Exchange
from trimtab.runtime.failure import CLOSE, failed, gone, late, refusal
from trimtab.runtime.invoke import pieces, plan
from trimtab.runtime.life import Life
from trimtab.runtime.lifespan import Lifespan, acknowledge
from trimtab.runtime.limits import Full, Limiter
from trimtab.runtime.load import Loaded
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.request import read, rest
from trimtab.runtime.threads import MOST, Threads
from trimtab.runtime.watch import LATE, Watch

ADMIN = frozenset({"/healthz", "/readyz", "/metrics", "/health/liveness", "/health/readiness"})
_NO_LENGTH = frozenset({204, 304})
_FLUSH = 5.0
"""Seconds that events get, at the end, to reach the sink before they are spilled."""


class App:
    """One process's application. `startup` comes before the first request, `shutdown` after the last."""

    def __init__(self, loaded: Loaded, config: ReplicaConfig, *, emitter: Any = None) -> None:
        self.loaded, self.config = loaded, config
        self.context = Context(config, emitter)
        self.limiter = Limiter(config.concurrency, config.queue)
        self.metrics = Metrics(config.function, config.revision)
        self.watch = Watch(config.request_timeout)
        self.life = Life(loaded)
        self.lifespan: Lifespan | None = None
        self.ready = self.draining = False
        self.close_connections = False
        """Every response carries `connection: close`: the traffic is split, so each request is to be drawn anew."""
        self.close_next = 0
        """How many responses still carry it: a new replica is to get its share of the open connections."""
        self._call, self._blocking, self._two = loaded.call, plan(loaded.call), loaded.arity == 2
        self._asgi, self._batch = loaded.flavour != "event", loaded.batch
        self._given_up: dict[Any, asyncio.Future[Any]] = {}
        """By task: the thread's call that went on when the task was cancelled."""
        self._admin: Any = None

    # Life

    async def startup(self) -> None:
        """Run what the function does before the first request. Errors: ImportFailed, with its traceback."""
        await self.prepare()
        await self._begin()

    async def prepare(self) -> None:
        """Run the part of `startup` that forked workers share: `load`, `start`, `init_context`. Errors: ImportFailed."""
        self._belong()
        await self.life.begin(self.context, self._threads)

    async def adopt(self, emitter: Any, worker: int) -> None:
        """Go on in a forked worker and its loop, with what `prepare` made. Errors: ImportFailed."""
        self.config = share(self.config, worker)
        self.limiter = Limiter(self.config.concurrency, self.config.queue)
        self.context.adopt(emitter, worker)
        self.metrics = Metrics(self.config.function, self.config.revision, worker)
        self._belong()
        await self._begin()

    def _belong(self) -> None:
        loop = asyncio.get_running_loop()
        self._threads = Threads(loop, self.config.concurrency or MOST)
        self._aside = Threads(loop, 2)  # questions about its health must not wait until a handler's thread is free

    async def _begin(self) -> None:
        if self.context.emitter is not None:
            self.context.emitter.start()
        await self.life.enter(self._threads)
        if self.loaded.flavour == "asgi":
            self.lifespan = Lifespan(self.loaded.call)
            await self.lifespan.start()

    async def shutdown(self) -> None:
        """Close what was opened, last first."""
        if self.lifespan is not None:
            await self.lifespan.stop()
        await self.life.end(self._aside if self.limiter.in_flight else self._threads)
        if self.context.emitter is not None:
            await self._aside.call(self.context.emitter.close, _FLUSH)
        self._threads.close()
        self._aside.close()

    async def alive(self) -> tuple[bool, str]:
        """Ask the function, where it has an `alive()`, whether it is well."""
        return await self.life.ask("alive", self._aside)

    async def is_ready(self) -> tuple[bool, str]:
        """Tell whether requests should come; a function may have a `ready()` of its own."""
        if self.draining or not self.ready:
            return False, "draining" if self.draining else "starting"
        return await self.life.ask("ready", self._aside)

    # One request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, as ASGI 3.0 asks."""
        if self._asgi or scope["type"] != "http" or scope["path"] in ADMIN:
            await self._pass_on(scope, receive, send)
            return
        message = await receive()
        body: bytes | Answer = message.get("body", b"")
        if message.get("more_body") or len(body) > self.config.body_limit or message["type"] != "http.request":  # type: ignore[arg-type]
            body = await rest(scope, message, receive, self.config.body_limit)
        began = monotonic()
        task = self.watch.add(began, None if self._blocking else receive)
        status, entered = 499, False
        try:
            if isinstance(body, Answer):
                answer = body
            elif not self.limiter.enter() and (refused := await self.queue(task, receive)) is not None:
                answer = refused
            else:
                entered = True
                call, wanted = read(scope, body, raw=self.loaded.raw)
                if isinstance(call, Event):
                    answer = await self._answer(call, wanted, task)
                elif isinstance(call, Answer):
                    answer = call
                else:
                    answer = await self._answer_batch(call, task)
            if answer.stream is None:
                self.watch.discard(task)
                await self.send(answer, send)
            else:
                await self._send_stream(answer, receive, send, task)
            status = answer.status
        finally:
            self.ended(task, began, status, entered)

    def ended(self, task: Any, began: float, status: int, entered: bool) -> None:
        """Count a request, and free its slot; after a timeout only when the thread, which cannot be stopped, ends too."""
        self.watch.discard(task)
        self.metrics.observe(monotonic() - began, status)
        if entered:
            if self._given_up and (call := self._given_up.pop(task, None)) is not None:
                self._threads.after(call, self.limiter.release)
            else:
                self.limiter.release()

    async def queue(self, task: Any, receive: Any) -> Answer | None:
        """Wait for a slot: None when it is there, otherwise the answer. `receive` None: a disconnect does not show."""
        if receive is not None:
            self.watch.listen(task, receive)
        try:
            await self.limiter.wait()
        except Full:
            return refusal(503, "every slot is taken and the queue is full", (b"retry-after", b"1"))
        except asyncio.CancelledError as exc:
            return self.cut(task, exc)
        if self._blocking:
            self.watch.deaf(task)
        return None

    def cut(self, task: Any, exc: asyncio.CancelledError, call: asyncio.Future[Any] | None = None) -> Answer:
        """Answer for a cancelled task; `call` is what a thread was doing for it. Raises `exc` unless we cancelled it."""
        why = self.watch.why(task)
        if why is None:
            if task.cancelling():
                raise exc
            return failed(exc)  # the handler's own doing
        if call is not None:
            self._given_up[task] = call
        return late(self.config.request_timeout) if why is LATE else gone()

    async def _answer_batch(self, calls: list[Event], task: Any) -> Answer:
        if self._batch:
            return batch.together(calls, await self._answer_list(calls, batch.WISH, task))
        return await batch.respond(
            calls,
            lambda call, wanted: self._answer(call, wanted, task),
            lambda: self.watch.why(task) is not None,
        )

    async def _answer(self, call: Event, wanted: Wish, task: Any) -> Answer:
        """Call the handler; every end of the call is an answer."""
        if self._batch:
            return (await self._answer_list([call], wanted, task))[0]
        value = await self._value(call, call, task)
        if isinstance(value, Answer):
            return value
        return await self._written(value, call, wanted, task)

    async def _answer_list(self, calls: list[Event], wanted: Wish, task: Any) -> list[Answer]:
        """Call a handler of batches once; what it raises is the answer to every event."""
        value = await self._value(calls, calls[0], task) if calls else []
        if isinstance(value, Answer):
            return [value] * len(calls)
        try:
            outcomes = batch.outcomes(value, len(calls))
        except ValueError as exc:
            return [failed(exc)] * len(calls)
        return [
            failed(outcome) if isinstance(outcome, BaseException) else await self._written(outcome, call, wanted, task)
            for call, outcome in zip(calls, outcomes, strict=True)
        ]

    async def _value(self, argument: Event | list[Event], current: Event, task: Any) -> Any:
        """Call the handler and give what it returns; an Answer where it did not end well."""
        CURRENT.set(current)
        running: asyncio.Future[Any] | None = None
        try:
            if self._blocking:
                arguments = (self.context, argument) if self._two else (argument,)
                running = self._threads.call(self._call, *arguments)
                value = await running
            else:
                value = self._call(self.context, argument) if self._two else self._call(argument)
            return await value if isinstance(value, Awaitable) else value
        except asyncio.CancelledError as exc:
            return self.cut(task, exc, running)
        except GeneratorExit:
            raise
        except BaseException as exc:  # SystemExit and KeyboardInterrupt of a handler are its failure, not ours
            return failed(exc)

    async def _written(self, value: Any, call: Event, wanted: Wish, task: Any) -> Answer:
        """Write what the handler returned as the answer to one event."""
        try:
            if call.envelope is None:
                return plain(value, wanted)
            answer = to_event(value, wanted, call.envelope, self.config.function)
            if wanted.reply and answer.stream is not None:
                await self._exhaust(answer, task)
            return answer
        except asyncio.CancelledError as exc:
            return self.cut(task, exc)
        except GeneratorExit:
            raise
        except BaseException as exc:
            return failed(exc)

    # Answers

    async def send(self, answer: Answer, send: Any) -> None:
        """Send an answer that is no stream."""
        headers = answer.headers
        if self.closing():
            headers.append(CLOSE)
        if answer.status not in _NO_LENGTH:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def closing(self) -> bool:
        """Say whether the response that begins now is to close its connection."""
        if self.close_connections or self.draining:
            return True
        if self.close_next > 0:
            self.close_next -= 1
            return True
        return False

    async def _send_stream(self, answer: Answer, receive: Any, send: Any, task: Any) -> None:
        """Send pieces as they come; an error in between cuts the connection, so that nobody takes a part for the whole."""
        self.watch.listen(task, receive)
        started = False

        async def start() -> None:
            nonlocal started
            started = True
            self.watch.answered(task)
            headers = [*answer.headers, CLOSE] if self.closing() else answer.headers
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})

        try:
            async with aclosing(self._pieces(answer.stream, task)) as found:
                async for value in found:
                    body = piece(value)
                    if not started:
                        await start()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            if not started:
                await start()
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError as exc:
            instead = self.cut(task, exc)
        except GeneratorExit:
            raise
        except BaseException as exc:
            instead = failed(exc)
        else:
            return
        answer.status = instead.status
        if not started:
            await self.send(instead, send)

    async def _exhaust(self, answer: Answer, task: Any) -> None:
        """Let a stream that nobody wants run to its end, for what it does."""
        async with aclosing(self._pieces(answer.stream, task)) as found:
            async for _ in found:
                pass
        answer.stream = None

    def _pieces(self, stream: Any, task: Any) -> Any:
        return pieces(stream, self._threads, lambda call: self._given_up.__setitem__(task, call))

    # What is not the handler's, or is the handler's own business

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await acknowledge(scope, receive, send)
        elif scope["path"] in ADMIN:
            if self._admin is None:
                from trimtab.runtime.admin import routes

                self._admin = routes(self)
            await self._admin(scope, receive, send)
        else:
            await Exchange(self, scope, receive, send).run()
