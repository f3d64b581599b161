"""What moves between the broker's parts: an event on its way in, the same event accepted, and one delivery of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from trimtab.events import Envelope

FIRST_TTL = 255
"""Hops an event may make through the broker, as in Knative (eventing pkg/broker/ttl.go)."""
TTL = "knativebrokerttl"
"""The extension that carries the hops left. Functions do not see it."""

Try = tuple[float, int, str]
"""When a try began, its status (0: no answer) and what there is to say about it."""


class Route(Struct, frozen=True):
    """A subscription as matching sees it. `window` is the seconds of deduplication."""

    n: int
    id: str
    matches: Callable[[Mapping[str, str]], bool]
    window: float


class Entry(Struct, frozen=True):
    """An event that is to be accepted, and the subscriptions that match it. At `ttl` 0 they do not get it."""

    broker: str
    envelope: Envelope
    ttl: int
    routes: list[Route]

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return 500 + len(self.envelope.data or b"")


class Arrival(Struct, frozen=True):
    """An accepted event: its place in the log and the subscriptions (their numbers) that are to get it."""

    seq: int
    broker: str
    envelope: Envelope
    ttl: int
    subscriptions: list[int]
    suppressed: int = 0
    """Deliveries that were left out as duplicates."""
    dead: list[int] = []
    """Subscriptions in whose dead letters it went at once (hop limit)."""


class Delivery(Struct):
    """One event on its way to one subscription. `tries` counts those made since it was accepted or redriven."""

    seq: int
    envelope: Envelope
    ttl: int
    tries: int = 0
    due: float = 0.0
    """0 for one that was never tried."""
    history: list[Try] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return 500 + len(self.envelope.data or b"")
