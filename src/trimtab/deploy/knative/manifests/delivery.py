"""How an event comes to a function again and again, and where it goes when it cannot: Knative's DeliverySpec."""

from __future__ import annotations

import math
from typing import Any

from trimtab.spec import Retry
from trimtab.spec.quantity import Amount, seconds


def delivery(retry: Retry) -> dict[str, Any]:
    """Give a trigger's `delivery`."""
    found: dict[str, Any] = {
        "retry": retry.attempts,
        "backoffPolicy": retry.backoff,
        "backoffDelay": iso(retry.delay),
    }
    if retry.timeout is not None:
        found["timeout"] = iso(retry.timeout)
    if retry.dead_letter is not None:
        found["deadLetterSink"] = {"uri": retry.dead_letter}
    return found


def iso(duration: Amount) -> str:
    """Write a duration as ISO 8601 does: PT0.2S, PT5M, PT1H30S.

    Knative reads one decimal of the seconds and leaves the others out, so they are rounded up.
    """
    tenths = in_tenths(duration)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}H"] * bool(hours) + [f"{minutes}M"] * bool(minutes)
    return "PT" + "".join(parts) + (f"{tenths / 10:g}S" if tenths or not parts else "")


def in_tenths(duration: Amount) -> int:
    """Give a duration in tenths of a second, rounded up."""
    return math.ceil(round(seconds(duration) * 10, 6))
