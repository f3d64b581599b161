"""The daemon's stream triggers: which consumers there are, and what they ask of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.deploy.abc import TriggerInfo
from trimtab.deploy.local.consumers import Child
from trimtab.deploy.local.live import slots
from trimtab.errors import DeployFailed, NotFound
from trimtab.events import from_json
from trimtab.spec import Function, StreamTrigger
from trimtab.spec.quantity import seconds
from trimtab.spec.stream import parse, references
from trimtab.triggers.broker import Broker
from trimtab.triggers.broker.routes import DEFAULT
from trimtab.triggers.streams.backends import check_extra
from trimtab.triggers.streams.channel import Orders
from trimtab.triggers.streams.figures import Figures, metrics

if TYPE_CHECKING:
    from trimtab.deploy.local.daemon import Daemon


CONNECT_WITHIN = 5.0
"""Seconds that a deploy waits for a broker at most."""
JOB_SLOTS = 4
"""Runs of one job that events may start side by side."""


class Streams:
    """The consumers of all stream triggers. Dead letters and replies go to `broker`."""

    def __init__(self, daemon: Daemon, broker: Broker) -> None:
        self._daemon, self._broker = daemon, broker
        self._children: dict[str, Child] = {}
        self._changing = asyncio.Lock()

    @staticmethod
    def check(function: Function) -> None:
        """Refuse a trigger whose library is not installed. Errors: TargetError naming the extra."""
        for trigger in function.spec.triggers:
            if isinstance(trigger, StreamTrigger):
                check_extra(parse(trigger.url).kind)

    async def use(self, documents: Iterable[Function]) -> None:
        """Make the triggers of these functions all the consumers there are; one that has changed is started anew."""
        orders = {
            f"{document.metadata.name}/{trigger.name}": self._orders(document, trigger)
            for document in documents
            for trigger in document.spec.triggers
            if isinstance(trigger, StreamTrigger) and not trigger.disabled
        }
        async with self._changing:
            gone = [
                self._children.pop(name)
                for name, child in list(self._children.items())
                if name not in orders or not _same(child.orders, orders[name])
            ]
            await asyncio.gather(*(child.stop() for child in gone))
            for name, order in orders.items():
                if name not in self._children:
                    self._children[name] = Child(order, self._ask)

    async def connected(self, function: str) -> None:
        """Wait a little until a function's new consumers have their place in their streams: what is published after a
        deploy is then theirs, although a new group begins at the latest message."""
        deadline = asyncio.get_running_loop().time() + CONNECT_WITHIN
        while any(child.figures.state == "starting" for child in self._children.values() if child.function == function):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop all."""
        await self.use(())

    def in_flight(self, function: str) -> int:
        """Calls of a function that consumers made and that are not answered, as they last said."""
        return sum(child.figures.in_flight for child in self._children.values() if child.function == function)

    def tell_slots(self, busy: dict[str, tuple[int, int]]) -> None:
        """Tell every consumer what its function takes and is busy with."""
        for child in self._children.values():
            child.slots(*busy.get(child.function, (0, 0)))

    @property
    def functions(self) -> set[str]:
        """The functions that streams call."""
        return {child.function for child in self._children.values()}

    def pause(self, id: str, *, paused: bool) -> None:
        """Pause one, or let it go on."""
        if id in self._children:
            self._children[id].pause(paused)

    async def seek(self, id: str, start: str) -> None:
        """Move one in its stream. Errors: NotFound, Conflict, Unsupported, StreamError."""
        child = self._children.get(id)
        if child is None:
            raise NotFound(f"no stream trigger {id!r} takes messages now")
        await child.seek(start)

    def fill(self, info: TriggerInfo) -> None:
        """Add what is known of a trigger's consumer. `pending` gets the lag; `outcome` says why one is broken."""
        child = self._children.get(f"{info.function}/{info.name}")
        if child is None:
            return
        figures = child.figures
        info.delivered += figures.delivered
        info.failed += figures.failed
        info.pending += figures.lag.waiting + figures.lag.pending
        if figures.last is not None and (info.last is None or figures.last > info.last):
            info.last, info.outcome = figures.last, figures.outcome
        if figures.state == "broken":
            info.state, info.outcome = "broken", figures.error

    def metrics(self) -> str:
        """Everything for Prometheus."""
        return metrics({name: child.figures for name, child in self._children.items()})

    def figures(self) -> dict[str, Figures]:
        """How each consumer stands."""
        return {name: child.figures for name, child in self._children.items()}

    def _orders(self, document: Function, trigger: StreamTrigger) -> Orders:
        function = document.metadata.name
        needed = set(references(trigger.url))
        try:
            environ = self._daemon.machine.environ([v for v in document.spec.env if v.name in needed])
        except DeployFailed:
            environ = {}  # said by the consumer, which asks for the variable and does not find it
        timeout = document.spec.timeouts.request
        return Orders(
            id=f"{function}/{trigger.name}",
            trigger=trigger,
            environ={name: text for name, text in environ.items() if name in needed},
            timeout=seconds(timeout) or 86400.0,
            consumer=f"trimtab-{function}-{trigger.name}",
            home=str(self._daemon.settings.home),
            url=self._daemon.service(function).url.rstrip("/"),
            slots=self._slots(document),
            paused=self._daemon.store.setting(f"paused {function}/{trigger.name}") is not None,
        )

    def _slots(self, document: Function) -> int:
        if document.spec.kind == "job":
            return JOB_SLOTS
        scale = document.spec.scale
        return slots(scale) * (scale.max or self._daemon.settings.max_replicas)

    async def _ask(self, id: str, said: dict[str, Any]) -> None:
        if said["say"] == "bury":
            history = [(at, status, detail) for at, status, detail in said["history"]]
            await self._broker.bury(id, from_json(said["event"]), said["reason"], history)
        else:
            await self._broker.publish(DEFAULT, [from_json(event) for event in said["events"]])


def _same(one: Orders, other: Orders) -> bool:
    return msgspec.structs.replace(one, paused=False) == msgspec.structs.replace(other, paused=False)
