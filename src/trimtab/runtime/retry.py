"""When a message that was not taken is worth another try. Knative's rules: eventing pkg/kncloudevents/retries.go."""

from __future__ import annotations

import calendar
import contextlib
from email.utils import parsedate

_AGAIN = frozenset({404, 408, 409, 429})


def retried(status: int) -> bool:
    """Whether a try that ended with this status (0: no answer) may succeed later; every other 3xx and 4xx is final."""
    return status < 200 or status >= 500 or status in _AGAIN


def backoff(tries: int, chance: float, *, delay: float, most: float) -> float:
    """Seconds to wait after `tries` failed tries (from 1): doubling from `delay` up to `most`, of which `chance` in
    [0, 1) takes off up to a half, so that many senders do not come back together.
    """
    return float(min(delay * 2.0 ** min(tries - 1, 64), most) * (1.0 - chance / 2))


def retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header (RFC 9110 10.2.3), seconds or an HTTP date, as seconds from `now` (Unix time).

    None when it says nothing usable.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, OverflowError):
        if date := parsedate(text):
            return max(0.0, calendar.timegm(date) - now)
    return None
