"""The subscriptions as they stand: their lines, the routes that lead to them, and how one set replaces another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from trimtab.errors import Conflict, NotFound
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker.entries import Route
from trimtab.triggers.broker.line import Line
from trimtab.triggers.broker.queue import Queue
from trimtab.triggers.broker.retry import policy_of
from trimtab.triggers.broker.routes import Routes
from trimtab.triggers.broker.settle import REMEMBERED
from trimtab.triggers.broker.subscriptions import Standing
from trimtab.triggers.filters import Filter, compile_filters


class Roster:
    """All subscriptions. `brokers` exist even if nobody subscribes to them."""

    def __init__(self, queue: Queue, brokers: Iterable[str]) -> None:
        self.lines: dict[str, Line] = {}
        self.ready = False
        """Whether there was a first set: an event cannot be matched before."""
        self._queue, self._always = queue, list(brokers)
        self._routes = Routes(self._always)
        self._settled = asyncio.Event()
        self._changing = asyncio.Lock()

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers that exist."""
        return self._routes.brokers

    def has(self, broker: str) -> bool:
        """Whether there is such a broker."""
        return self._routes.has(broker)

    async def routes(self) -> Routes:
        """The routes, after any change that is being made: an event is matched against the subscriptions that stand in
        the file when it is written, provided that it is handed to the queue before the next `await`.
        """
        await self._settled.wait()
        return self._routes

    async def replace(
        self, subscriptions: Sequence[Subscription], now: float, use: Callable[[Iterable[Line]], None]
    ) -> None:
        """See `Broker.subscribe`; `use` gets the lines as soon as they stand."""
        members = [_Member(subscription) for subscription in subscriptions]
        if len({member.id for member in members}) < len(members):
            raise Conflict("two subscriptions have the same id")
        windows = {member.id: member.window for member in members}
        async with self._changing:

            def after(standings: dict[str, Standing]) -> None:
                self._use(members, standings)
                use(self.lines.values())

            leaving = [line for line in self.lines.values() if line.subscription.id not in windows]
            self._settled.clear()
            _mark(leaving)
            try:
                await self._queue.subscribe(windows, now, after)
            except BaseException:
                _mark(leaving, leaving=False)
                raise
            finally:
                if self.ready:
                    self._settled.set()

    def line(self, subscription: str) -> Line:
        """Errors: NotFound naming the triggers there are."""
        line = self.lines.get(subscription)
        if line is None:
            raise NotFound(f"no trigger {subscription!r}; triggers: {', '.join(sorted(self.lines)) or 'none'}")
        return line

    def require(self, broker: str) -> None:
        """Errors: NotFound when there is no such broker."""
        if not self.has(broker):
            raise NotFound(f"no broker {broker!r}; brokers: {', '.join(self.brokers)}")

    def _use(self, members: list[_Member], standings: dict[str, Standing]) -> None:
        before, self.lines = self.lines, {}
        routes: list[tuple[str, Route]] = []
        for member in members:
            subscription = member.subscription
            line = before.get(member.id) or Line(subscription, member.policy, standings[member.id])
            line.subscription, line.policy = subscription, member.policy
            self.lines[member.id] = line
            if subscription.broker is not None:
                routes.append((subscription.broker, Route(line.n, member.id, member.matches, member.window)))
        self._routes = Routes(self._always, routes)
        self.ready = True


class _Member:
    """A subscription with its filters and durations read. Errors: SpecError."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription, self.id = subscription, subscription.id
        self.policy = policy_of(subscription.retry, subscription.timeout, f"{subscription.id}.retry")
        self.matches: Filter = compile_filters(subscription.filters, path=f"{self.id}.filters")
        self.window = subscription.deduplicate if subscription.broker is not None else REMEMBERED


def _mark(lines: list[Line], *, leaving: bool = True) -> None:
    for line in lines:
        line.leaving = leaving
