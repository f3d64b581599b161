"""What `context.emit` costs its caller, with a sink that is well and with sinks that are dead in each way.

Microseconds of the caller's own CPU per event, in batches of a hundred with pauses between, as a busy function emits; the
largest wait of the caller for one event; and how many events a second arrive at a sink that is well, counted by the sink,
from the first emit of a long run to the end of `close`. A dead sink must cost the caller no more than a live one.
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.rounds import Effort, say
from benchmarks.row import Row
from trimtab.events import make
from trimtab.runtime.emit import Emitter

MUST = 10.0
ROUNDS, BURST, PAUSE = 100, 100, 0.02
RUN = {"well": 30_000, "well, takes batches": 200_000}
"""Events of the run that measures the rate: seconds each, so that neither its start nor its end matters."""


def answering(status: int, batches: bool = False) -> Any:
    """Make an application that gives every request the same answer, and tells how many events it got."""
    headers = [(b"content-length", b"0")] + ([(b"trimtab-batch", b"accept")] if batches else [])
    got = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal got
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["method"] == "GET":
            count = str(got).encode()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(count))]}
            )
            await send({"type": "http.response.body", "body": count})
            return
        # A batch names it once an event; a single one has it in a header.
        got += body.count(b'"specversion"') or 1
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body"})

    return app


def serve(sock: socket.socket, status: int, batches: bool) -> None:
    """Run a sink."""
    config = uvicorn.Config(answering(status, batches), lifespan="off", ws="none", log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[sock])


@contextmanager
def sink(kind: str) -> Iterator[str]:
    """A sink's URL. The silent one takes connections, in the kernel, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        if kind == "refusing":
            sock.close()
        status = {"well": 202, "well, takes batches": 202, "failing": 500}.get(kind)
        if status is None:
            yield url
            return
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(sock, status, "batches" in kind))
        process.start()
        arrived(url)  # answered once it runs: connections wait in the kernel until then
        yield url
        process.terminate()
        process.join()


def arrived(url: str) -> int:
    """Ask a sink how many events it got."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.read())


def wait_until_sent(emitter: Emitter) -> None:
    """Wait until nothing is under way any more."""
    while (counters := emitter.counters()).sent < counters.emitted:
        time.sleep(0.005)


def measure(kind: str, part: float) -> dict[str, float]:
    """Emit to one kind of sink; `part` shortens the run that measures the rate."""
    with sink(kind) as url, tempfile.TemporaryDirectory() as spool:
        emitter = Emitter(url, spool=Path(spool))
        event = make("com.example.made", "/bench", {"value": 1}, subject="x")
        spent, longest, rate = 0.0, 0.0, 0.0
        for _ in range(ROUNDS):
            before = time.thread_time()
            for _ in range(BURST):
                began = time.perf_counter()
                emitter.emit(event)
                longest = max(longest, time.perf_counter() - began)
            spent += time.thread_time() - before
            time.sleep(PAUSE)
        if kind in RUN:
            wait_until_sent(emitter)
            got, began = arrived(url), time.perf_counter()
            count = int(RUN[kind] * part)
            for number in range(count):
                emitter.emit(event)
                if number % 50 == 0:
                    while emitter.counters().queued > 5000:
                        time.sleep(0.005)
            emitter.close(60)
            seconds = time.perf_counter() - began
            delivered = arrived(url) - got
            assert delivered == count, delivered
            rate = delivered / seconds
        else:
            emitter.close(0.1)
        final = emitter.counters()
        assert final.dropped == 0, final
        return {"us": spent / (ROUNDS * BURST) * 1e6, "longest_ms": longest * 1e3, "arrived": rate}


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the emitters say that the sinks are dead
    try:
        runs = [_run(effort) for _ in range(min(effort.rounds, 3))]
    finally:
        logging.disable(level)

    def values(kind: str, name: str) -> list[float]:
        return [run[kind][name] for run in runs]

    well = values("well", "us")
    return [
        *(
            Row(
                what=f"context.emit, a sink that is {kind}",
                unit="us",
                ours=values(kind, "us"),
                must=MUST,
                bound="at most",
                beside="a sink that is well",
                theirs=well if kind != "well" else [],
            )
            for kind in ("well", "refusing", "silent", "failing")
        ),
        *(
            Row(what=f"events that arrive at a sink that is {kind}", unit="events/s", ours=values(kind, "arrived"))
            for kind in RUN
        ),
    ]


def _run(effort: Effort) -> dict[str, dict[str, float]]:
    found = {}
    for kind in ("well", "well, takes batches", "refusing", "silent", "failing"):
        found[kind] = measure(kind, min(1.0, effort.seconds))
        say(f"{kind}: " + ", ".join(f"{name} {value:.1f}" for name, value in found[kind].items()))
    return found
