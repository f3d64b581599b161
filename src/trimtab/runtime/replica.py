"""One replica's life: load the handler, open its process-long things, serve, drain, close them in reverse order.

`begin` is where a process forked by a zygote starts; `serve` runs a replica in the foreground (`trimtab serve`, and
the entry point of an image).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from trimtab.errors import HandlerError, ImportFailed
from trimtab.runtime import channel
from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import load
from trimtab.runtime.logs import configure
from trimtab.runtime.server import Server
from trimtab.runtime.stats import StatsPage

if TYPE_CHECKING:
    from trimtab.runtime.emit import Emitter

logger = logging.getLogger("trimtab.replica")

FAILED = 1
"""Exit code of a replica whose handler could not be loaded or started."""
CUT_OFF = 2
"""Exit code of a replica that had to cut requests off at the end of its grace period."""
_LAST_RESORT = 5.0
"""Seconds after the grace period at which a process that still hangs is ended without further ado."""


def begin(message: dict[str, Any], control: socket.socket, descriptors: list[int]) -> int:
    """Be the replica or the run that a zygote's `fork` message describes; return the exit code."""
    if message["mode"] == "job":
        from trimtab.runtime import job

        return job.begin(message, control)
    page, *listening = descriptors
    config = msgspec.convert(message["config"], ReplicaConfig)
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    phases = {"fork": time.monotonic() - message["asked"]}
    return Replica(config, sockets, control=control, page=StatsPage.attach(page), phases=phases).run()


def serve(config: ReplicaConfig, host: str = "127.0.0.1", port: int = 8080) -> int:
    """Run one replica in the foreground until SIGTERM or Ctrl-C; return the exit code."""
    try:
        sock = socket.create_server((host, port), backlog=4096)
    except OSError as exc:
        sys.stderr.write(f"trimtab: cannot listen on {host}:{port}: {exc.strerror}\n")
        return FAILED
    sock.setblocking(False)
    address = f"http://{host}:{sock.getsockname()[1]}/"
    return Replica(config, [sock], address=address).run()


class Replica:
    """One replica. `control` is the channel to the daemon; without one the process obeys signals alone."""

    def __init__(
        self,
        config: ReplicaConfig,
        sockets: Sequence[socket.socket],
        *,
        control: socket.socket | None = None,
        page: StatsPage | None = None,
        phases: dict[str, float] | None = None,
        address: str = "",
    ) -> None:
        self.config, self.sockets, self.control, self.page = config, sockets, control, page
        self.phases = phases if phases is not None else {}
        self.address = address

    def run(self) -> int:
        """Load, then serve in this process, or in `workers` forked ones that share what was loaded."""
        configure(self.config)
        started = time.monotonic()
        try:
            loaded = load(self.config.entry, Path(self.config.directory))
        except HandlerError as exc:
            return self._fail(exc)
        self.phases["import"] = time.monotonic() - started
        if self.config.workers > 1:
            from trimtab.runtime.workers import Workers

            return Workers(self, loaded).run()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            app = App(loaded, self.config, emitter=self.emitter())
            return runner.run(self._live(app))

    def emitter(self) -> Emitter | None:
        """Make what carries one process's events to the sink."""
        if self.config.sink is None:
            return None
        from trimtab.runtime.emit import Emitter

        spool = Path(self.config.spool) if self.config.spool else None
        return Emitter(self.config.sink, overrides=self.config.overrides, spool=spool)

    async def _live(self, app: App) -> int:
        started = time.monotonic()
        try:
            await app.startup()
        except HandlerError as exc:
            return self._fail(exc)
        self.phases["init"] = time.monotonic() - started
        return await self.answer(app, self.control, self._ready)

    async def answer(
        self, app: App, control: socket.socket | None, ready: Callable[[App], None], worker: int = 0
    ) -> int:
        """Serve a started application until told to leave; `ready` is called once requests are accepted."""
        loop = asyncio.get_running_loop()
        shared = control is not None
        server = Server(
            app,
            self.sockets,
            gate=app.limiter if shared else None,
            slots=app.limiter.slots,
            page=self.page.slot(worker) if self.page is not None else None,
            drain=self.config.drain,
        )

        def leave() -> None:
            app.draining = True
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        if control is not None:
            _Listener(control, loop, app, server, leave, self.config.drain).start()
        loop.call_soon(ready, app)
        finished = await server.serve()
        await app.shutdown()
        return 0 if finished else CUT_OFF

    def _ready(self, app: App) -> None:
        app.ready = True
        app.metrics.started(self.phases)
        if self.address:
            logger.info("serving %s on %s", self.config.function, self.address)
        self.report({"state": "ready", "phases": self.phases})

    def _fail(self, exc: HandlerError) -> int:
        trace = exc.traceback if isinstance(exc, ImportFailed) else ""
        self.report({"state": "failed", "error": str(exc), "traceback": trace})
        logger.error("%s", exc, extra={"fields": {"traceback": trace}} if trace else None)
        return FAILED

    def report(self, message: dict[str, Any]) -> None:
        """Tell the daemon, if there is one and it is still there."""
        if self.control is not None:
            try:
                channel.send(self.control, message)
            except OSError:
                logger.warning("the daemon is gone")


class _Listener(threading.Thread):
    """Obeys the daemon, in a thread of its own so that a handler that blocks the loop cannot hide the daemon's end."""

    def __init__(
        self,
        control: socket.socket,
        loop: asyncio.AbstractEventLoop,
        app: App,
        server: Server,
        leave: Callable[[], None],
        drain: float,
    ) -> None:
        super().__init__(name="trimtab-control", daemon=True)
        self.control, self.loop, self.app, self.server = control, loop, app, server
        self.leave, self.drain = leave, drain

    def run(self) -> None:
        while True:
            received = channel.receive(self.control)
            if received is None:
                break
            message, _ = received
            if message["do"] == "stop":
                break
            self.loop.call_soon_threadsafe(self.apply, message)
        self.loop.call_soon_threadsafe(self.leave)
        time.sleep(self.drain + _LAST_RESORT)
        os._exit(CUT_OFF)

    def apply(self, message: dict[str, Any]) -> None:
        if message["do"] == "split":
            self.app.close_connections = message["on"]
        elif message["do"] == "rebalance":
            self.app.close_next = round(self.server.connections * message["share"])
