"""A consumer without a daemon: what an image runs in a ContainerSource or a Deployment, and `trimtab consume` here.

The same consumer; what differs is where dead letters go (a stream of the same broker) and who is told how it stands:
`/metrics`, `/healthz`, `/readyz` and `/lag` (JSON, which KEDA's metrics-api scaler reads) on a port.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.runtime.server import Server
from trimtab.triggers.broker.attempt import attempt
from trimtab.triggers.streams.abc import StreamError
from trimtab.triggers.streams.backends import open_stream
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.dead import StreamDead
from trimtab.triggers.streams.figures import metrics
from trimtab.triggers.streams.plan import Plan
from trimtab.triggers.streams.process import graves
from trimtab.triggers.streams.redrive import dead_name

logger = logging.getLogger("trimtab.streams")


class Job(Struct, frozen=True, kw_only=True):
    """What to do: a plan, where the function is, and where its replies go (None: nowhere)."""

    plan: Plan
    url: str
    slots: int
    home: Path
    reply: str | None = None
    port: int | None = None
    host: str = "0.0.0.0"  # noqa: S104 - a container's probes and scrapers come from outside
    grace: float = 30.0


class Fixed:
    """A function that takes so many calls at a time."""

    def __init__(self, url: str, slots: int) -> None:
        self.consumer: Consumer
        self._url, self._slots = url, slots

    def url(self, function: str) -> str | None:
        """Where the function is."""
        return self._url

    def free(self, function: str) -> int:
        """How many more calls it takes."""
        return self._slots - self.consumer.figures.in_flight


class Watch:
    """An ASGI application that says how the consumer stands."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        status, kind, body = self._answer(scope["path"])
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, bytes, bytes]:
        figures = self._consumer.figures
        if path == "/metrics":
            body = metrics({self._consumer.plan.id: figures}).encode()
            return 200, b"text/plain; version=0.0.4; charset=utf-8", body
        if path == "/lag":
            return 200, b"application/json", msgspec.json.encode(figures.lag)
        if path == "/healthz":
            return 200, b"application/json", msgspec.json.encode({"state": figures.state})
        if path == "/readyz":
            ready = figures.state in ("consuming", "paused")
            body = msgspec.json.encode({"state": figures.state, "error": figures.error})
            return (200 if ready else 503), b"application/json", body
        return 404, b"application/json", b'{"error":"there are /metrics, /lag, /healthz and /readyz"}'


def run(job: Job) -> None:
    """Consume until SIGTERM or Ctrl-C. Errors: TargetError (a missing extra)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(job))


async def _run(job: Job) -> None:
    client = Client(connections=max(job.slots, 1))
    plan = job.plan
    place = plan.policy.dead_letter or dead_name(plan.url)
    dead = graves(plan.url, place, job.home, client, plan.policy.timeout)
    slots = Fixed(job.url, job.slots)
    replies = _replies(client, job.reply, plan.policy.timeout) if job.reply else None
    stream = open_stream(plan.url, plan.options(job.slots), job.home)
    consumer = slots.consumer = Consumer(plan, stream, client, slots, dead, replies=replies)
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.add(loop.create_task(consumer.stop(job.grace))))
    server, serving = _serve(job, consumer)
    logger.info("%s: %s calls %s, at most %d at a time", plan.id, plan.url, job.url, job.slots)
    await consumer.run()
    if server is not None:
        server.stop()
        await asyncio.gather(*serving)
    if isinstance(dead, StreamDead):
        await dead.close()
    await client.aclose()


def _serve(job: Job, consumer: Consumer) -> tuple[Server | None, list[asyncio.Task[Any]]]:
    if job.port is None:
        return None, []
    server = Server(Watch(consumer), [socket.create_server((job.host, job.port))], drain=1.0, linger=0.0)
    return server, [asyncio.get_running_loop().create_task(server.serve())]


def _replies(client: Client, url: str, timeout: float) -> Any:
    async def send(envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            answer = await attempt(client, url, envelope, timeout)
            if not answer.taken:
                raise StreamError(f"{url}: {answer.text}")

    return send
