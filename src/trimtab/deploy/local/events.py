"""The daemon's triggers: the broker and cron put together, and what both know of the functions they call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.config import Settings
from trimtab.deploy.abc import TriggerInfo
from trimtab.deploy.local.jobsink import PREFIX, JobSink
from trimtab.errors import Conflict, NotFound
from trimtab.runtime.client import Client
from trimtab.runtime.server import Server
from trimtab.spec import CronTrigger, EventTrigger, Function
from trimtab.spec.quantity import seconds
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue
from trimtab.triggers.cron import CronScheduler
from trimtab.triggers.filters import compile_filters

if TYPE_CHECKING:
    from trimtab.deploy.local.daemon import Daemon
    from trimtab.deploy.local.listener import Call, Progress

logger = logging.getLogger("trimtab.events")

JOB_SLOTS = 4
"""Runs of one job that events may start side by side."""
MOST_IN_FLIGHT = 512
"""Deliveries to one function at a time, however many slots it has: each holds a connection."""


class Events:
    """Broker, cron and job sink of one home. `daemon` says which functions there are."""

    def __init__(self, settings: Settings, daemon: Daemon) -> None:
        self.daemon = daemon
        self.client = Client(connections=MOST_IN_FLIGHT)
        self.broker = Broker(Queue(settings.home / "broker.db"), self.client, self)
        self.cron = CronScheduler(self.broker, settings.home / "cron.db")
        self.jobs = JobSink(daemon)
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    # Life

    async def start(self, sock: socket.socket) -> None:
        """Open the files, take events on `sock`, begin to deliver and to fire."""
        await self.broker.start()
        await self.subscribe()
        self._server = Server(self, [sock], drain=5.0, linger=0.2)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._server.serve()), loop.create_task(self.cron.run())]

    async def close(self) -> None:
        """Take no more events, finish what is in flight, close the files."""
        if self._server is None:
            return
        serving, firing = self._tasks
        firing.cancel()
        self._server.stop()
        await asyncio.gather(serving, firing, return_exceptions=True)
        await self.broker.close()
        self.cron.close()
        await self.client.aclose()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as an ASGI application: the job sink under its prefix, the broker everywhere else."""
        app = self.jobs if scope["path"].startswith(PREFIX) else self.broker.app
        await app(scope, receive, send)

    # What delivery asks (triggers.abc.Slots)

    def url(self, function: str) -> str | None:
        """Where the function takes events."""
        service = self.daemon.services.get(function)
        return None if service is None or service.latest() is None else service.url.rstrip("/")

    def free(self, function: str) -> int:
        """How many more events may be sent to the function now."""
        service = self.daemon.services.get(function)
        if service is None:
            return 0
        if service.is_job:
            return max(0, JOB_SLOTS - self.daemon.runs.active(function))
        sent = self.broker.in_flight(function)
        ready = [live for live in service.lives.values() if live.ready]
        if not ready:
            return max(0, 1 - sent)
        busy = sum(live.busy() for live in ready)
        capacity = min(sum(live.capacity() for live in ready), MOST_IN_FLIGHT)
        return max(0, capacity - max(busy, sent))

    def notify(self) -> None:
        """Look again for deliveries: a slot may be free."""
        if self._server is not None:
            self.broker.notify()
            self.cron.wake()

    # Triggers of functions

    @staticmethod
    def check(function: Function) -> None:
        """Refuse what `trimtab.spec` cannot know to be wrong: filters. Errors: SpecError with the path."""
        for number, trigger in enumerate(function.spec.triggers):
            if isinstance(trigger, EventTrigger):
                compile_filters(trigger.filters, path=f"spec.triggers[{number}].filters")

    async def set_triggers(self, function: Function) -> None:
        """Make the function's triggers those of its document."""
        crons = [trigger for trigger in function.spec.triggers if isinstance(trigger, CronTrigger)]
        await self.subscribe()
        await self.cron.set_triggers(function.metadata.name, crons, namespace=function.metadata.namespace)

    async def remove(self, name: str) -> None:
        """Forget a function's triggers; what is pending for them goes to the dead letters."""
        await self.cron.set_triggers(name, [])
        await self.subscribe(without=name)

    async def subscribe(self, without: str | None = None) -> None:
        """Tell the broker all subscriptions there are."""
        documents = [
            latest.document
            for service in self.daemon.services.values()
            if service.name != without and (latest := service.latest()) is not None
        ]
        await self.broker.subscribe(
            [
                self._subscription(document, trigger)
                for document in documents
                for trigger in document.spec.triggers
                if not trigger.disabled or isinstance(trigger, CronTrigger)
            ]
        )

    def _subscription(self, function: Function, trigger: CronTrigger | EventTrigger) -> Subscription:
        identity = f"{function.metadata.name}/{trigger.name}"
        timeout = trigger.retry.timeout if trigger.retry.timeout is not None else function.spec.timeouts.request
        if isinstance(trigger, CronTrigger):
            return Subscription(id=identity, retry=trigger.retry, timeout=seconds(timeout))
        return Subscription(
            id=identity,
            broker=trigger.broker,
            filters=trigger.filters,
            path=trigger.path,
            retry=trigger.retry,
            timeout=seconds(timeout),
            deduplicate=seconds(trigger.deduplicate),
            paused=self.daemon.store.setting(f"paused {identity}") is not None,
        )

    # What the command line asks

    def calls(self) -> dict[str, Call]:
        """The calls about triggers and events."""
        return {
            "triggers": self._triggers,
            "firings": self._firings,
            "fire": self._fire,
            "pause": self._pause,
            "events": self._events,
            "dead": self._dead,
            "redrive": self._redrive,
            "drop": self._drop,
        }

    async def triggers(self, function: str | None = None) -> list[TriggerInfo]:
        """Describe the triggers of one function, or of all."""
        crons = {(state.function, state.name): state for state in await self.cron.triggers(function)}
        stats = self.broker.stats()
        found = []
        for name in [function] if function is not None else sorted(self.daemon.services):
            latest = self.daemon.service(name).latest()
            for trigger in latest.document.spec.triggers if latest else []:
                identity = f"{name}/{trigger.name}"
                info = TriggerInfo(
                    function=name,
                    name=trigger.name,
                    kind="cron" if isinstance(trigger, CronTrigger) else "event",
                    config=msgspec.to_builtins(trigger),
                    state="paused" if trigger.disabled or self.daemon.store.setting(f"paused {identity}") else "active",
                )
                if (figures := stats.get(identity)) is not None:
                    info.delivered, info.failed = figures.delivered, figures.failed
                    info.pending, info.dead = figures.pending, figures.dead
                    info.last, info.outcome = figures.last, figures.outcome
                if (state := crons.get((name, trigger.name))) is not None:
                    info.state, info.next = state.state, state.next
                    info.last, info.outcome = state.last, state.outcome
                found.append(info)
        return found

    async def _triggers(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        return msgspec.to_builtins(await self.triggers(arguments["function"]))

    def _trigger(self, arguments: dict[str, Any]) -> CronTrigger | EventTrigger:
        service = self.daemon.service(arguments["function"])
        latest = service.latest()
        known = {trigger.name: trigger for trigger in latest.document.spec.triggers} if latest else {}
        trigger = known.get(arguments["trigger"])
        if trigger is None:
            names = ", ".join(known) or "none"
            raise NotFound(f"{service.name!r} has no trigger {arguments['trigger']!r}; it has {names}")
        return trigger

    async def _firings(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        self._cron_only(arguments)
        found = await self.cron.firings(arguments["function"], arguments["trigger"], limit=arguments["limit"])
        return msgspec.to_builtins(found)

    async def _fire(self, arguments: dict[str, Any], _progress: Progress) -> str:
        self._cron_only(arguments)
        return await self.cron.fire(arguments["function"], arguments["trigger"])

    def _cron_only(self, arguments: dict[str, Any]) -> None:
        if not isinstance(self._trigger(arguments), CronTrigger):
            raise Conflict(
                f"{arguments['trigger']!r} takes events from a broker; only cron triggers fire by themselves"
            )

    async def _pause(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        trigger, function, paused = self._trigger(arguments), arguments["function"], arguments["paused"]
        if isinstance(trigger, CronTrigger):
            await self.cron.pause(function, trigger.name, paused=paused)
        else:
            self.daemon.store.keep(f"paused {function}/{trigger.name}", "yes" if paused else None)
            await self.subscribe()
        found = await self.triggers(function)
        return msgspec.to_builtins(next(info for info in found if info.name == trigger.name))

    async def _events(self, arguments: dict[str, Any], progress: Progress) -> None:
        found = self.broker.events(arguments["broker"], tail=arguments["tail"], follow=arguments["follow"])
        async with contextlib.aclosing(found) as events:
            async for event in events:
                progress(event)

    async def _dead(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        return msgspec.to_builtins(await self.broker.letters(function=arguments["function"]))

    async def _redrive(self, arguments: dict[str, Any], _progress: Progress) -> int:
        return await self.broker.redrive(arguments["ids"], function=arguments["function"])

    async def _drop(self, arguments: dict[str, Any], _progress: Progress) -> int:
        return await self.broker.drop(arguments["ids"], function=arguments["function"])
