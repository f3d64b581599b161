"""Our side of the echo."""

from __future__ import annotations

from typing import Any


async def echo(context: Any, event: Any) -> Any:
    """Echo JSON."""
    return event.body


def echo_sync(context: Any, event: Any) -> Any:
    """Echo JSON, in a thread."""
    return event.body


async def taken(context: Any, event: Any) -> None:
    """Take an event."""


async def taken_all(context: Any, events: list[Any]) -> None:
    """Take a batch of events."""
