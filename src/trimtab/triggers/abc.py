"""What the parts of `triggers` share: a subscription, a firing, and the port through which they know a function's free slots."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from msgspec import Struct, field

from trimtab.spec import Retry


class Subscription(Struct, frozen=True, kw_only=True):
    """One function's standing order for events. `id` is `<function>/<trigger>` and stays the same across revisions.

    `broker` None means that nothing matches it: its events come from `Queue.enqueue` alone (cron).
    """

    id: str
    broker: str | None = None
    filters: list[dict[str, Any]] = []
    path: str = "/"
    retry: Retry = field(default_factory=Retry)
    timeout: float = 300.0
    """Seconds of one try."""
    deduplicate: float = 0.0
    paused: bool = False

    @property
    def function(self) -> str:
        """The function that is called."""
        return self.id.partition("/")[0]


class Firing(Struct, kw_only=True):
    """One tick and what became of it; `finished` and `attempts` are those of the event's delivery."""

    id: str
    due: float
    state: Literal["pending", "delivered", "dead", "skipped"]
    attempts: int = 0
    finished: float | None = None
    detail: str = ""


class Slots(Protocol):
    """What delivery asks of whoever runs the functions."""

    def url(self, function: str) -> str | None:
        """Where to POST, without a path and without a trailing slash; None while the function does not exist."""

    def free(self, function: str) -> int:
        """How many more events may be sent now. At zero replicas one slot is free: the delivery is what wakes it."""
