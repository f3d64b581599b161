"""Figures of the broker: of each subscription, and of the whole since the daemon started."""

from __future__ import annotations

from msgspec import Struct

from trimtab.triggers.broker.entries import Arrival


class Counters(Struct, kw_only=True):
    """Totals since the start; `Broker.counters()` gives a copy. All are events or deliveries but the last four."""

    accepted: int = 0
    unmatched: int = 0
    suppressed: int = 0
    """Deliveries left out as duplicates."""
    hop_limit: int = 0
    delivered: int = 0
    replies: int = 0
    retried: int = 0
    dead: int = 0
    pending: int = 0
    in_flight: int = 0
    store_errors: int = 0
    commits: int = 0
    """Syncs of the disk."""
    operations: int = 0
    """What they wrote: more than one each when requests come together."""
    refused: dict[int, int] = {}
    """Requests answered otherwise than 202, by status."""

    def note(self, arrival: Arrival) -> None:
        """Count an event that has come in."""
        self.accepted += 1
        self.suppressed += arrival.suppressed
        self.hop_limit += len(arrival.dead)
        self.unmatched += not (arrival.subscriptions or arrival.suppressed or arrival.dead)


class Stats(Struct, kw_only=True):
    """One subscription. `delivered` and `failed` (tries without success) count since it was made."""

    pending: int = 0
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    last: float | None = None
    outcome: str | None = None
