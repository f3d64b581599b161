"""Our side of the echo."""

from __future__ import annotations

from typing import Any


async def echo(context: Any, event: Any) -> Any:
    """Echo JSON."""
    return event.body


def echo_sync(context: Any, event: Any) -> Any:
    """Echo JSON, in a thread."""
    return event.body
