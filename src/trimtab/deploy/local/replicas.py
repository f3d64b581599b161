"""One replica as the daemon sees it: a forked process, its state, and the page it writes its load to."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Literal

from trimtab.deploy.local.zygotes import Child
from trimtab.runtime import channel
from trimtab.runtime.stats import Sample, StatsPage

logger = logging.getLogger("trimtab.replicas")

KILL_AFTER = 7.0
"""Seconds beyond the grace period after which a replica is killed: its own last resort comes first."""

START_GRACE = 2.0
"""Seconds that a replica which is still starting gets."""

State = Literal["starting", "ready", "stopping", "gone"]


class Load:
    """What a replica did since it was asked last: mean concurrency and requests per second."""

    def __init__(self, concurrency: float = 0.0, rps: float = 0.0) -> None:
        self.concurrency, self.rps = concurrency, rps


class Replica:
    """A process of one revision. `on_change` is called whenever `state` changes."""

    def __init__(self, child: Child, page: StatsPage, *, drain: float, on_change: Callable[[Replica], None]) -> None:
        self.child, self.page, self.drain, self.on_change = child, page, drain, on_change
        self.state: State = "starting"
        self.replaced = False
        """Serves until its successor, with other sockets, is ready."""
        self.error: str | None = None
        self.traceback = ""
        self.phases: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._before: tuple[float, Sample] | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._loop.add_reader(child.control.fileno(), self._readable)
        child.exited.add_done_callback(self._exited)

    @property
    def pid(self) -> int:
        """The process, 0 before the fork is confirmed."""
        return self.child.pid

    def load(self, now: float) -> Load:
        """Give the load since the last call."""
        sample = self.page.read(now)
        before, self._before = self._before, (now, sample)
        if before is None or now <= before[0]:
            return Load(float(sample.in_flight + sample.waiting), 0.0)
        span = now - before[0]
        return Load(
            max(0.0, (sample.integral - before[1].integral) / span),
            max(0.0, (sample.arrived - before[1].arrived) / span),
        )

    def busy(self, now: float) -> int:
        """Requests that it works on or that wait inside it."""
        sample = self.page.read(now)
        return sample.in_flight + sample.waiting

    def stop(self) -> None:
        """Ask it to drain; kill it when it has not left by the end of its grace period.

        One that is still starting has nothing to drain: it gets SIGTERM, which nobody handles before it serves.
        """
        if self.state in ("stopping", "gone"):
            return
        grace = self.drain + KILL_AFTER
        if self.state == "starting":
            self.child.signal(signal.SIGTERM)
            grace = START_GRACE
        self._become("stopping")
        self.child.tell({"do": "stop"})
        self._killer = self._loop.call_later(grace, self._kill)

    def kill(self) -> None:
        """End it at once."""
        self.state = "stopping" if self.state != "gone" else "gone"
        self._kill()

    def _kill(self) -> None:
        logger.warning("replica %d is killed", self.pid)
        self.child.signal(signal.SIGKILL)

    def _readable(self) -> None:
        try:
            received = channel.receive(self.child.control)
        except BlockingIOError:
            return
        if received is None:
            self._loop.remove_reader(self.child.control.fileno())
            return
        message, _ = received
        if message["state"] == "ready" and self.state == "starting":
            self.phases = message["phases"]
            self._become("ready")
        elif message["state"] == "failed":
            self.error, self.traceback = message["error"], message["traceback"]

    def _exited(self, exited: asyncio.Future[int]) -> None:
        # What it said last may still be in the channel: read it before the channel goes.
        while self._loop.remove_reader(self.child.control.fileno()):
            self._readable()
        self._readable()
        if self._killer is not None:
            self._killer.cancel()
        if self.error is None and self.state != "stopping":
            code = exited.result()
            self.error = (
                f"replica {self.pid} was ended by {_signal_name(-code)}"
                if code < 0
                else f"replica {self.pid} ended with exit code {code}"
            )
        self.child.control.close()
        self.page.close()
        self._become("gone")

    def _become(self, state: State) -> None:
        self.state = state
        self.on_change(self)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
