"""Several processes in one replica: forked after the handler is loaded and initialised, so its memory is paid once."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from trimtab.errors import HandlerError
from trimtab.runtime import channel
from trimtab.runtime.app import App
from trimtab.runtime.load import Loaded

if TYPE_CHECKING:
    from trimtab.runtime.replica import Replica

logger = logging.getLogger("trimtab.workers")

_RESPAWN_DELAY = 0.5


class Workers:
    """The parent: forks workers, passes the daemon's messages on, replaces a worker that died, leaves last."""

    def __init__(self, replica: Replica, loaded: Loaded) -> None:
        self.replica, self.loaded = replica, loaded
        self.channels: dict[int, socket.socket] = {}
        self.numbers: dict[int, int] = {}
        self.ready: set[int] = set()
        self.announced = False
        self.leaving = False

    def run(self) -> int:
        """Start the application once, fork, supervise; return the worst exit code."""
        started = time.monotonic()
        self.app = App(self.loaded, self.replica.config)
        try:
            asyncio.run(self.app.prepare())
        except HandlerError as exc:
            return self.replica._fail(exc)  # noqa: SLF001 - one noun in two modules
        self.replica.phases["init"] = time.monotonic() - started
        gc.collect()
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.leave())
        for index in range(self.replica.config.workers):
            self.fork(index)
        return self.supervise()

    def fork(self, index: int) -> None:
        """Start worker `index`."""
        ours, theirs = channel.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for other in self.channels.values():
                other.close()
            os._exit(self.work(index, theirs))
        theirs.close()
        self.channels[pid], self.numbers[pid] = ours, index

    def work(self, index: int, control: socket.socket) -> int:
        """Be a worker; return the exit code."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

        def ready(app: App) -> None:
            app.ready = True
            app.metrics.started(self.replica.phases)
            channel.send(control, {"state": "ready", "phases": {}})

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self.app.adopt(self.replica.emitter(), index))
                return runner.run(self.replica.answer(self.app, control, ready, index))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def supervise(self) -> int:
        """Pass messages on and wait for workers until the last one has left."""
        worst = 0
        control = self.replica.control
        while self.channels:
            watched = [*self.channels.values(), *([control] if control is not None and not self.leaving else [])]
            readable, _, _ = select.select(watched, [], [], 0.2)
            for sock in readable:
                if sock is control:
                    self.from_daemon(channel.receive(control))
                else:
                    self.from_worker(sock)
            worst = max(worst, self.reap())
        return worst

    def from_daemon(self, received: tuple[dict[str, object], list[int]] | None) -> None:
        """Pass a message on; without the daemon, leave."""
        if received is None or received[0]["do"] == "stop":
            self.leave()
            return
        for sock in self.channels.values():
            channel.send(sock, received[0])

    def from_worker(self, sock: socket.socket) -> None:
        """Count a worker as ready; the replica is ready when all are."""
        pid = next(pid for pid, other in self.channels.items() if other is sock)
        if channel.receive(sock) is None:
            return
        self.ready.add(pid)
        if len(self.ready) == self.replica.config.workers and not self.announced:
            self.announced = True
            self.replica.report({"state": "ready", "phases": self.replica.phases})

    def leave(self) -> None:
        """Tell every worker to drain."""
        self.leaving = True
        for sock in self.channels.values():
            try:
                channel.send(sock, {"do": "stop"})
            except OSError:
                continue

    def reap(self) -> int:
        """Collect the dead, replace those that died on their own; return the worst exit code of the orderly ones."""
        worst = 0
        while self.channels:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self.channels.pop(pid).close()
            self.ready.discard(pid)
            index = self.numbers.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self.leaving:
                worst = max(worst, code if code >= 0 else 128 - code)
                continue
            logger.error("worker %d (process %d) ended with code %d and is replaced", index, pid, code)
            time.sleep(_RESPAWN_DELAY)
            self.fork(index)
        return worst
