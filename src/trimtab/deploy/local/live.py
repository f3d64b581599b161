"""A revision that can be called: its sockets, its replicas, and the autoscaler that says how many there should be."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trimtab.config import Settings
from trimtab.deploy.local import sockets
from trimtab.deploy.local.autoscale import Autoscaler, ScalerConfig
from trimtab.deploy.local.refuse import apologise, waiting_connections
from trimtab.deploy.local.replicas import Replica
from trimtab.deploy.local.store import Revision
from trimtab.deploy.local.zygotes import Zygote
from trimtab.errors import DeployFailed, TargetError
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.stats import StatsPage
from trimtab.spec import Scale
from trimtab.spec.quantity import seconds

logger = logging.getLogger("trimtab.live")

_BACKOFF = (0.1, 10.0)
"""Seconds before a crashed replica is replaced: the first time, and at most."""


def slots(scale: Scale) -> int:
    """Requests that one replica takes at once: its slots, or the soft target where slots are unlimited."""
    return scale.concurrency or int(scale.target or 100)


class Live:
    """One revision in service (or about to be)."""

    def __init__(
        self,
        revision: Revision,
        config: ReplicaConfig,
        zygote: Zygote,
        environ: dict[str, str],
        settings: Settings,
        *,
        initialised: bool,
        on_change: Callable[[], None],
        on_error: Callable[[str], None],
    ) -> None:
        self.revision, self.config, self.zygote, self.environ = revision, config, zygote, environ
        self.settings, self.on_change, self.on_error = settings, on_change, on_error
        spec = revision.document.spec
        self.start_within = seconds(spec.timeouts.start)
        scaler = ScalerConfig.of(spec.scale, max_replicas=settings.max_replicas, start_timeout=self.start_within)
        self.autoscaler = Autoscaler(scaler, initialised=initialised)
        self.reachable = True
        """Whether it has a share of the traffic; `scale.min` holds only then."""
        self.sockets: list[socket.socket] = []
        self.replicas: list[Replica] = []
        self.want = 0
        self.split = False
        self.retired = False
        self._failures = 0
        self._awaited = False
        """Whether somebody waits for the first replica: until it is there, nothing is to be decided."""
        self._watched: list[int] = []
        self._starting = 0
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # What others read

    @property
    def ready(self) -> list[Replica]:
        """Replicas that accept requests."""
        return [replica for replica in self.replicas if replica.state == "ready"]

    @property
    def running(self) -> list[Replica]:
        """Replicas that are ready or on their way there."""
        return [replica for replica in self.replicas if replica.state in ("starting", "ready") and not replica.replaced]

    def backlog(self) -> int:
        """Connections that wait in the kernel. The socket of a tag that is gone is closed."""
        return sum(sockets.waiting(sock) for sock in self.sockets if sock.fileno() >= 0)

    def capacity(self) -> int:
        """Requests that the ready replicas take at once."""
        return slots(self.revision.document.spec.scale) * len(self.ready)

    def busy(self) -> int:
        """Requests in flight or waiting inside replicas."""
        now = time.monotonic()
        return sum(replica.busy(now) for replica in self.ready)

    # Scaling

    def sample(self, now: float) -> None:
        """Record the last second's load with the autoscaler."""
        loads = [replica.load(now) for replica in self.ready]
        waiting = self.backlog()
        if not loads and not waiting:
            return
        self.autoscaler.record(now, sum(load.concurrency for load in loads) + waiting, sum(load.rps for load in loads))

    def decide(self, now: float) -> None:
        """Let the autoscaler decide, and follow."""
        if self._awaited or (not self.replicas and not self.want):
            return  # asleep: `wake` is what decides
        decision = self.autoscaler.decide(now, len(self.ready), reachable=self.reachable)
        want = decision.want or min(self.backlog(), 1)
        if want != self.want:
            logger.info("%s: %d -> %d replicas (%s)", self.revision.name, self.want, want, decision.reason)
        self.scale(want)

    def scale(self, want: int) -> None:
        """Have `want` replicas: start what is missing, drain what is too much."""
        self.want = want
        missing = want - len(self.running) - self._starting
        if missing > 0 and self._retry is None:
            for _ in range(missing):
                self._start_one()
        elif missing < 0:
            now = time.monotonic()
            surplus = sorted(self.running, key=lambda replica: (replica.state == "ready", replica.busy(now)))
            for replica in surplus[:-missing]:
                replica.stop()
        self._watch()

    def _start_one(self) -> None:
        if self.zygote.pid:
            self._fork()
            return
        self._starting += 1
        task = self._loop.create_task(self._warm_and_fork())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _warm_and_fork(self) -> None:
        try:
            await self.zygote.start()
        except TargetError as exc:
            self._failed(str(exc))
            return
        finally:
            self._starting -= 1
        if len(self.running) < self.want:
            self._fork()

    def _fork(self) -> None:
        page = StatsPage.create(self.config.workers)
        folder = self.settings.logs / self.revision.function
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / f"{self.revision.name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        message: dict[str, Any] = {
            "mode": "serve",
            "config": msgspec.to_builtins(self.config),
            "environ": self.environ,
            "directory": self.config.directory,
        }
        try:
            child = self.zygote.fork(message, [log, page.fd, *(sock.fileno() for sock in self.sockets)])
        except (TargetError, ValueError) as exc:
            page.close()
            self._failed(str(exc))
            return
        finally:
            os.close(log)
        if self.split:
            child.tell({"do": "split", "on": True})
        replica = Replica(child, page, drain=self.config.drain, on_change=self._changed)
        self.replicas.append(replica)
        self._loop.call_later(self.start_within, self._too_slow, replica)

    def _too_slow(self, replica: Replica) -> None:
        if replica.state == "starting":
            replica.error = f"not ready within {self.start_within:g} s (spec.timeouts.start)"
            self.on_error(replica.error)
            replica.kill()

    def _changed(self, replica: Replica) -> None:
        if replica.state == "ready":
            self._failures = 0
            others = [other for other in self.ready if other is not replica]
            for other in others:
                other.child.tell({"do": "rebalance", "share": 1 / (len(others) + 1)})
        elif replica.state == "gone":
            self.replicas.remove(replica)
            if replica.error is not None:
                self._failed(replica.error)
        self._watch()
        self.on_change()

    def _failed(self, error: str) -> None:
        """Note a replica's unexpected end, and replace it after a pause that doubles."""
        self.on_error(error)
        if self.retired:
            return
        delay = min(_BACKOFF[0] * 2**self._failures, _BACKOFF[1])
        self._failures += 1
        logger.error("%s: %s; next try in %.1f s", self.revision.name, error, delay)
        if self._failures > 1 and not self.running:
            self._refuse_backlog(error)
        if self._retry is None:
            self._retry = self._loop.call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.scale(max(self.want, 1) if self.backlog() else self.want)

    # At zero replicas

    def _watch(self) -> None:
        """At zero replicas wait for a connection; with any, leave the sockets to them."""
        idle = not (self.running or self._starting or self._retry or self.retired)
        if idle == bool(self._watched):
            return
        if idle:
            self._watched = [sock.fileno() for sock in self.sockets]
            for descriptor in self._watched:
                self._loop.add_reader(descriptor, self.wake)
        else:
            self._unwatch()

    def _unwatch(self) -> None:
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._watched = []

    def wake(self) -> None:
        """Start the first replica for a connection that waits."""
        now = time.monotonic()
        waiting = max(1.0, float(self.backlog()))
        self.autoscaler.record(now, waiting, waiting)
        self.scale(max(1, self.autoscaler.decide(now, 0).want))

    def _refuse_backlog(self, error: str) -> None:
        """Answer those who wait for a replica that will not come."""
        logger.error("%s: refusing %d waiting connections: %s", self.revision.name, self.backlog(), error)
        message = f"the function does not start; see `trimtab logs {self.revision.function}`"
        for connection in (connection for sock in self.sockets for connection in waiting_connections(sock)):
            task = self._loop.create_task(apologise(connection, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # Into service and out of it

    async def adopt(self, wanted: list[socket.socket]) -> None:
        """Listen on these sockets instead: replicas that run without them are replaced once others are ready."""
        self._unwatch()
        self.sockets = wanted
        old = self.running
        for replica in old:
            replica.replaced = True
        self.scale(len(old))
        deadline = time.monotonic() + self.start_within
        while self.want and len(self.ready) < 2 * len(old) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        for replica in old:
            replica.stop()

    def tell_split(self, *, on: bool) -> None:
        """Tell replicas whether the traffic is split, so that they answer one request a connection."""
        if on != self.split:
            self.split = on
            for replica in self.running:
                replica.child.tell({"do": "split", "on": on})

    async def until_ready(self, count: int) -> None:
        """Start `count` replicas and wait for the first to be ready. Errors: DeployFailed with its traceback."""
        deadline = time.monotonic() + self.start_within
        self._awaited = True
        try:
            await self.zygote.start()
            self.scale(count)
            first = self.running[0] if self.running else None
            while not self.ready:
                late = time.monotonic() > deadline
                if first is None or first.state == "gone" or late:
                    why = (
                        f"not ready within {self.start_within:g} s" if late else "its replica ended before it was ready"
                    )
                    error = (first.error if first else None) or why
                    raise DeployFailed(error, first.traceback if first else "")
                await asyncio.sleep(0.002)
        finally:
            self._awaited = False

    async def retire(self) -> None:
        """Leave service: serve what waits in the backlog, drain the replicas, return when the last has gone."""
        quiet_until = time.monotonic() + 0.1
        give_up = time.monotonic() + self.start_within
        while time.monotonic() < min(quiet_until, give_up):
            if self.backlog():
                quiet_until = time.monotonic() + 0.1
                if not self.running:
                    self.scale(1)
            await asyncio.sleep(0.02)
        await self.stop()

    async def stop(self) -> None:
        """Drain the replicas and return when the last has gone."""
        self.retired = True
        self.want = 0
        self._unwatch()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for task in list(self._tasks):
            task.cancel()
        for replica in self.replicas:
            replica.stop()
        while self.replicas:
            await asyncio.wait([replica.child.exited for replica in self.replicas])
            await asyncio.sleep(0)


def log_path(settings: Settings, revision: Revision) -> Path:
    """Where the output of a revision's replicas goes."""
    return settings.logs / revision.function / f"{revision.name}.log"
