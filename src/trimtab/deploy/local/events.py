"""The daemon's triggers: the broker and cron put together, and what both know of the functions they call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trimtab.config import Settings
from trimtab.deploy.abc import TriggerInfo
from trimtab.deploy.local.jobsink import PREFIX, JobSink
from trimtab.deploy.local.streams import JOB_SLOTS, Streams
from trimtab.deploy.local.streamsink import PREFIX as SINK
from trimtab.deploy.local.streamsink import StreamSink
from trimtab.errors import Conflict, NotFound
from trimtab.runtime.client import Client
from trimtab.runtime.server import Server
from trimtab.spec import CronTrigger, EventTrigger, Function, Source, StreamTrigger, Trigger, check
from trimtab.spec.quantity import seconds
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue
from trimtab.triggers.cron import CronScheduler
from trimtab.triggers.filters import compile_filters
from trimtab.triggers.streams.plan import start

if TYPE_CHECKING:
    from trimtab.deploy.local.daemon import Daemon
    from trimtab.deploy.local.listener import Call, Progress

logger = logging.getLogger("trimtab.events")

METRICS = "/-/metrics"
"""Where Prometheus reads how the stream consumers stand."""
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
        self.streams = Streams(daemon, self.broker)
        self.sinks = StreamSink(daemon)
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
        await asyncio.gather(serving, firing, self.streams.close(), return_exceptions=True)
        await self.sinks.close()
        await self.broker.close()
        self.cron.close()
        await self.client.aclose()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as an ASGI application: the sinks under their prefixes, the broker everywhere else."""
        path = scope["path"]
        if path.startswith(PREFIX):
            await self.jobs(scope, receive, send)
        elif path.startswith(SINK):
            await self.sinks(scope, receive, send)
        elif path == METRICS:
            await _text(send, self.streams.metrics())
        else:
            await self.broker.app(scope, receive, send)

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
        capacity, busy = self.load(function)
        sent = 0 if service.is_job else self.broker.in_flight(function) + self.streams.in_flight(function)
        return max(0, capacity - max(busy, sent))

    def load(self, function: str) -> tuple[int, int]:
        """How many calls the function takes at a time, and how many it works on now. At zero replicas it takes one."""
        service = self.daemon.services.get(function)
        if service is None:
            return 0, 0
        if service.is_job:
            return JOB_SLOTS, self.daemon.runs.active(function)
        ready = [live for live in service.lives.values() if live.ready]
        if not ready:
            return 1, 0
        return min(sum(live.capacity() for live in ready), MOST_IN_FLIGHT), sum(live.busy() for live in ready)

    def notify(self) -> None:
        """Look again for deliveries: a slot may be free."""
        if self._server is not None:
            self.broker.notify()
            self.cron.wake()
            self.streams.tell_slots({function: self.load(function) for function in self.streams.functions})

    # Triggers of functions

    @staticmethod
    def check(function: Function) -> None:
        """Refuse what `trimtab.spec` cannot know to be wrong: filters. Errors: SpecError with the path."""
        for number, trigger in enumerate(function.spec.triggers):
            if isinstance(trigger, EventTrigger):
                compile_filters(trigger.filters, path=f"spec.triggers[{number}].filters")
        Streams.check(function)

    async def set_triggers(self, function: Function) -> None:
        """Make the function's triggers those of its document."""
        crons = [trigger for trigger in function.spec.triggers if isinstance(trigger, CronTrigger)]
        await self.subscribe()
        await self.cron.set_triggers(function.metadata.name, crons, namespace=function.metadata.namespace)
        await self.streams.connected(function.metadata.name)

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
                if not trigger.disabled or not isinstance(trigger, EventTrigger)
            ]
        )
        await self.streams.use(documents)
        self.notify()

    def _subscription(self, function: Function, trigger: Trigger) -> Subscription:
        identity = f"{function.metadata.name}/{trigger.name}"
        timeout = trigger.retry.timeout if trigger.retry.timeout is not None else function.spec.timeouts.request
        if isinstance(trigger, CronTrigger):
            return Subscription(id=identity, retry=trigger.retry, timeout=seconds(timeout))
        if isinstance(trigger, StreamTrigger):  # for what is redriven: the consumer delivers the rest
            retry = msgspec.structs.replace(trigger.retry, dead_letter=None)
            return Subscription(id=identity, path=trigger.path, retry=retry, timeout=seconds(timeout))
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
            "replay": self._replay,
            "add_trigger": self._add_trigger,
            "remove_trigger": self._remove_trigger,
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
                    kind=_kind(trigger),
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
                self.streams.fill(info)
                found.append(info)
        return found

    async def _triggers(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        return msgspec.to_builtins(await self.triggers(arguments["function"]))

    def _trigger(self, arguments: dict[str, Any]) -> Trigger:
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
        trigger = self._trigger(arguments)
        if not isinstance(trigger, CronTrigger):
            place = "a broker" if isinstance(trigger, EventTrigger) else "a stream"
            raise Conflict(f"{trigger.name!r} takes events from {place}; only cron triggers fire by themselves")

    async def _pause(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        trigger, function, paused = self._trigger(arguments), arguments["function"], arguments["paused"]
        if isinstance(trigger, CronTrigger):
            await self.cron.pause(function, trigger.name, paused=paused)
        else:
            self.daemon.store.keep(f"paused {function}/{trigger.name}", "yes" if paused else None)
            self.streams.pause(f"{function}/{trigger.name}", paused=paused)
            await self.subscribe()
        found = await self.triggers(function)
        return msgspec.to_builtins(next(info for info in found if info.name == trigger.name))

    async def _replay(self, arguments: dict[str, Any], _progress: Progress) -> None:
        trigger = self._trigger(arguments)
        if not isinstance(trigger, StreamTrigger):
            raise Conflict(f"{trigger.name!r} is no stream trigger; `trimtab dead redrive` delivers dead letters again")
        start(arguments["start"])  # refuse what is none here, where the error keeps its kind
        await self.streams.seek(f"{arguments['function']}/{trigger.name}", arguments["start"])

    async def _add_trigger(self, arguments: dict[str, Any], progress: Progress) -> Any:
        trigger = msgspec.convert(arguments["trigger"], StreamTrigger)
        return await self._with_triggers(arguments["function"], trigger.name, [trigger], progress)

    async def _remove_trigger(self, arguments: dict[str, Any], progress: Progress) -> Any:
        trigger = self._trigger(arguments)
        return await self._with_triggers(arguments["function"], trigger.name, [], progress)

    async def _with_triggers(self, name: str, trigger: str, added: list[StreamTrigger], progress: Progress) -> Any:
        """Deploy what serves with one trigger replaced. Its code is the latest revision's, not what the file holds now."""
        latest = self.daemon.service(name).latest()
        if latest is None:
            raise NotFound(f"{name!r} has no revision that was ever ready: deploy it first")
        spec = latest.document.spec
        code = Source(path=str(self.daemon.machine.code(name, latest.name)))
        triggers = [*(each for each in spec.triggers if each.name != trigger), *added]
        spec = msgspec.structs.replace(spec, triggers=triggers, source=code)
        function = check(msgspec.structs.replace(latest.document, spec=spec))
        return await self.daemon.deploy({"function": msgspec.to_builtins(function)}, progress)

    async def _events(self, arguments: dict[str, Any], progress: Progress) -> None:
        found = self.broker.events(
            arguments["broker"], tail=arguments["tail"], follow=arguments["follow"], type=arguments["type"]
        )
        async with contextlib.aclosing(found) as events:
            async for event in events:
                progress(event)

    async def _dead(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        return msgspec.to_builtins(await self.broker.letters(function=arguments["function"]))

    async def _redrive(self, arguments: dict[str, Any], _progress: Progress) -> int:
        return await self.broker.redrive(arguments["ids"], function=arguments["function"])

    async def _drop(self, arguments: dict[str, Any], _progress: Progress) -> int:
        return await self.broker.drop(arguments["ids"], function=arguments["function"])


def _kind(trigger: Trigger) -> Literal["cron", "event", "stream"]:
    if isinstance(trigger, CronTrigger):
        return "cron"
    return "event" if isinstance(trigger, EventTrigger) else "stream"


async def _text(send: Any, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
