"""Which subscriptions get which event."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.errors import EventError
from trimtab.events import Envelope
from trimtab.triggers.broker.entries import FIRST_TTL, TTL, Entry, Route

DEFAULT = "default"
"""The broker that is always there."""


class Routes:
    """The subscriptions of each broker. `brokers` are those that exist though nobody subscribes to them."""

    def __init__(self, brokers: Iterable[str] = (), routes: Iterable[tuple[str, Route]] = ()) -> None:
        self._routes: dict[str, list[Route]] = {name: [] for name in (DEFAULT, *brokers)}
        for broker, route in routes:
            self._routes.setdefault(broker, []).append(route)

    @property
    def brokers(self) -> list[str]:
        """The brokers that exist, by name."""
        return sorted(self._routes)

    def has(self, broker: str) -> bool:
        """Whether there is such a broker."""
        return broker in self._routes

    def arriving(self, broker: str, envelope: Envelope) -> Entry:
        """Match an event that comes from outside. Its hops, if it brings some, count down as on Knative.

        Errors: EventError when none are left, or when they are not a number.
        """
        return self._entry(broker, *_hops(envelope))

    def returning(self, broker: str, envelope: Envelope, ttl: int) -> Entry:
        """Match an event that a function answered with, to an event with `ttl` hops left."""
        stripped, own = _stripped(envelope)
        left = int(own) if own.isascii() and own.isdecimal() else FIRST_TTL
        return self._entry(broker, stripped, max(0, min(left, ttl) - 1))

    def _entry(self, broker: str, envelope: Envelope, ttl: int) -> Entry:
        routes = [route for route in self._routes.get(broker, ()) if route.matches(envelope.attributes)]
        return Entry(broker, envelope, ttl, routes)


def _hops(envelope: Envelope) -> tuple[Envelope, int]:
    stripped, text = _stripped(envelope)
    if not text:
        return stripped, FIRST_TTL
    if not (text.isascii() and text.isdecimal()):
        raise EventError(f"{TTL}: found {text!r}, allowed: a whole number", TTL)
    left = min(int(text), FIRST_TTL) - 1
    if left <= 0:
        raise EventError(f"{TTL}: found {text!r}: the event has used up its hops through brokers", TTL)
    return stripped, left


def _stripped(envelope: Envelope) -> tuple[Envelope, str]:
    if TTL not in envelope.attributes:
        return envelope, ""
    attributes = dict(envelope.attributes)
    text = attributes.pop(TTL)
    return Envelope(attributes, envelope.data), text
