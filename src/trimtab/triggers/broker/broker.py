"""The broker, put together: what comes in, and what its owner can ask and change.

All of it lives on one event loop; only the file is read and written in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

import msgspec

from trimtab.errors import Conflict
from trimtab.events import Envelope, to_json
from trimtab.runtime.client import Client
from trimtab.triggers.abc import Slots, Subscription
from trimtab.triggers.broker.clock import Clock, WallClock
from trimtab.triggers.broker.dead import Letter
from trimtab.triggers.broker.delivery import Dispatcher
from trimtab.triggers.broker.entries import Arrival, Delivery, Entry, Try
from trimtab.triggers.broker.ingress import BODY_LIMIT, Ingress
from trimtab.triggers.broker.letters import Letters
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.queue import Firing, Queue
from trimtab.triggers.broker.retention import Retention, tidy
from trimtab.triggers.broker.roster import Roster
from trimtab.triggers.broker.routes import DEFAULT
from trimtab.triggers.broker.stats import Counters, Stats

WAITING_BYTES = 64 * 2**20
"""Bytes of events that may wait for the disk; above it senders are told to come again."""


class Broker:
    """A broker over one file. `start` it, then `subscribe` with all the subscriptions there are; until then the ingress
    answers 503, because an event cannot be matched. `app` is the ingress, an ASGI application.

    `slots` says where functions are and how much they take; its owner calls `notify` when a slot may have become free.
    `brokers` exist even if nobody subscribes to them. Errors of all methods that write: StoreError, StoreFull.
    """

    def __init__(
        self,
        queue: Queue,
        client: Client,
        slots: Slots,
        clock: Clock | None = None,
        *,
        brokers: Iterable[str] = (),
        retention: Retention | None = None,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self.app = Ingress(self, body_limit)
        self._queue, self._clock = queue, clock or WallClock()
        self._retention = retention or Retention()
        self._counters = Counters()
        self._roster = Roster(queue, brokers)
        self._dispatcher = Dispatcher(queue, client, slots, self._clock, self._counters, self._reenter)
        self._letters = Letters(queue, self._roster, self._dispatcher, self._clock)
        self._tidy: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the file. Errors: StoreError naming it."""
        await self._queue.open()
        self._tidy = asyncio.create_task(tidy(self._queue, self._retention, self._clock))

    async def close(self, grace: float = 10.0) -> None:
        """Send nothing more, wait `grace` seconds for what is in flight, and close the file."""
        await self._dispatcher.close(grace)
        if self._tidy is not None:
            self._tidy.cancel()
            await asyncio.wait([self._tidy])
        await self._queue.close()

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Make these all the subscriptions there are.

        What is pending for one that goes is moved to the dead letters; a paused one goes on collecting. Errors:
        SpecError (a filter or a duration), Conflict (an id twice); nothing has changed then.
        """
        await self._roster.replace(subscriptions, self._clock.now(), self._dispatcher.use)

    def notify(self, function: str | None = None) -> None:
        """A slot of `function` (None: of any) may have become free, or a function has appeared."""
        self._dispatcher.look(function)

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers that exist."""
        return self._roster.brokers

    def has(self, broker: str) -> bool:
        """Whether there is such a broker."""
        return self._roster.has(broker)

    @property
    def busy(self) -> str:
        """Why no event can be taken now; empty when it can."""
        if not self._roster.ready:
            return "the broker is starting"
        if self._queue.writer.waiting > WAITING_BYTES:
            return "more events wait for the disk than it keeps up with"
        return ""

    async def publish(self, broker: str, envelopes: Sequence[Envelope]) -> None:
        """Accept events, all or none; they are durable when it returns. Errors: EventError, NotFound."""
        routes = await self._roster.routes()
        self._roster.require(broker)
        entries = [routes.arriving(broker, envelope) for envelope in envelopes]
        if entries:
            await self._queue.accept(entries, self._clock.now(), self._dispatcher.arrived)

    async def enqueue(self, subscription: str, envelope: Envelope) -> bool:
        """Put in an event for one subscription; durable when it returns. False when its (source, id) is known already.

        Errors: NotFound, Conflict (the subscription takes its events from a broker).
        """
        line = self._roster.line(subscription)
        if line.subscription.broker is not None:
            raise Conflict(
                f"trigger {subscription!r} takes its events from broker {line.subscription.broker!r}: post them there"
            )
        arrival = await self._queue.enqueue(line.n, envelope, self._clock.now(), self._arrived_alone)
        return arrival is not None

    async def bury(self, subscription: str, envelope: Envelope, reason: str, history: Sequence[Try]) -> None:
        """Keep an event as a dead letter that others tried to deliver in vain; durable when it returns.

        Redriven, it is delivered as any other event of the subscription. Errors: NotFound.
        """
        line = self._roster.line(subscription)

        def after(_: int) -> None:
            line.dead += 1

        await self._queue.give_up(subscription, envelope, reason, history, self._clock.now(), after)

    async def outstanding(self, subscription: str) -> int:
        """Deliveries of one subscription that are neither done nor dead; 0 for one that is not there."""
        line = self._roster.lines.get(subscription)
        return line.pending if line is not None else 0

    async def outcome(self, subscription: str, source: str, id: str) -> Firing | None:
        """What became of an event that was put in by `enqueue`; None for one that is not known."""
        line = self._roster.lines.get(subscription)
        return await self._queue.firing(line.n, source, id) if line is not None else None

    def wanted(self, function: str) -> int:
        """Deliveries that are due now or in flight: the function's demand."""
        now = self._clock.now()
        return sum(line.wanted(now) for line in self._roster.lines.values() if line.subscription.function == function)

    def in_flight(self, function: str) -> int:
        """Deliveries that were sent to the function and are not answered."""
        return self._dispatcher.in_flight[function]

    def stats(self) -> dict[str, Stats]:
        """Figures of each subscription, by id."""
        return {key: line.stats() for key, line in self._roster.lines.items()}

    def counters(self) -> Counters:
        """Figures of the whole, as they are now."""
        writer = self._queue.writer
        return msgspec.structs.replace(
            self._counters,
            pending=sum(line.pending for line in self._roster.lines.values()),
            in_flight=self._dispatcher.in_flight.total(),
            commits=writer.commits,
            operations=writer.operations,
            refused=dict(self.app.refusals),
        )

    async def letters(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> list[Letter]:
        """The dead letters, oldest first; see `Letters.show`."""
        return await self._letters.show(ids, function=function)

    async def redrive(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> int:
        """Deliver dead letters again; see `Letters.redrive`."""
        return await self._letters.redrive(ids, function=function)

    async def drop(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> int:
        """Forget dead letters; see `Letters.drop`."""
        return await self._letters.drop(ids, function=function)

    async def events(
        self, broker: str = DEFAULT, *, tail: int | None = 20, follow: bool = False, type: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a broker's events in CloudEvents' JSON format, oldest first: the last `tail` (None: all that are kept),
        and with `follow` those that come until the iterator is closed; with `type`, those of this type. Errors: NotFound.
        """
        self._roster.require(broker)
        after = 0
        if tail is not None:
            latest = await self._queue.latest(broker, max(tail, 1), type)
            after = latest[-1][0] if latest else 0
            for _, envelope in latest[-tail:] if tail else ():
                yield to_json(envelope)
        while tail is None or follow:
            news = self._dispatcher.news
            page = await self._queue.following(broker, after, 200, type)
            for seq, envelope in page:
                after = seq
                yield to_json(envelope)
            if page:
                continue
            if not follow:
                return
            await news.wait()

    async def _reenter(self, line: Line, delivery: Delivery, reply: Envelope) -> list[Entry]:
        """Match what a function answered with. Cron's events have no broker of their own: theirs is the default one."""
        routes = await self._roster.routes()
        return [routes.returning(line.subscription.broker or DEFAULT, reply, delivery.ttl)]

    def _arrived_alone(self, arrival: Arrival | None) -> None:
        if arrival is not None:
            self._dispatcher.arrived([arrival])
