"""Dead letters as their owner handles them: list, show, deliver again, forget."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.errors import Conflict, NotFound
from trimtab.triggers.broker.clock import Clock
from trimtab.triggers.broker.dead import Letter
from trimtab.triggers.broker.delivery import Dispatcher
from trimtab.triggers.broker.queue import Queue
from trimtab.triggers.broker.roster import Roster


class Letters:
    """The broker's dead letters. `ids` None means all, `function` None those of every function.

    Errors of all methods: NotFound naming the ids that are not there.
    """

    def __init__(self, queue: Queue, roster: Roster, dispatcher: Dispatcher, clock: Clock) -> None:
        self._queue, self._roster, self._dispatcher, self._clock = queue, roster, dispatcher, clock

    async def show(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> list[Letter]:
        """The letters, oldest first."""
        found = await self._queue.letters(ids, function)
        missing = set(ids or ()) - {letter.id for letter in found}
        if missing:
            raise NotFound(f"no dead letter {', '.join(map(str, sorted(missing)))}")
        return found

    async def redrive(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> int:
        """Deliver letters again, from the first try on; return how many. Those whose trigger is gone stay.

        Errors: Conflict when one that was asked for by id has lost its trigger.
        """
        for letter in await self.show(ids, function=function) if ids is not None else ():
            trigger = f"{letter.function}/{letter.trigger}"
            if trigger not in self._roster.lines:
                raise Conflict(f"dead letter {letter.id} was for trigger {trigger!r}, which is gone: deploy it again")
        now = self._clock.now()
        counts = await self._queue.redrive(ids, function, now, lambda counts: self._put_back(counts, now))
        return sum(counts.values())

    async def drop(self, ids: Sequence[int] | None = None, *, function: str | None = None) -> int:
        """Forget letters; return how many."""
        if ids is not None:
            await self.show(ids, function=function)
        return sum((await self._queue.drop(ids, function, self._dropped)).values())

    def _put_back(self, counts: dict[str, int], now: float) -> None:
        for subscription, count in counts.items():
            if line := self._roster.lines.get(subscription):
                line.dead -= count
                line.pending += count
                line.wait(now, count)
        self._dispatcher.look()

    def _dropped(self, counts: dict[str, int]) -> None:
        for subscription, count in counts.items():
            if line := self._roster.lines.get(subscription):
                line.dead -= count
