"""W3C trace context: https://www.w3.org/TR/trace-context/ - taken from the caller, handed on with a span of our own."""

from __future__ import annotations

import os
import re

from msgspec import Struct

_traceparent = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch


class Trace(Struct, frozen=True):
    """Where an invocation stands in its trace. `span_id` is the invocation's own, `parent_id` its caller's."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: str = "00"
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """The header for calls that the invocation makes: they are children of its span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def trace(traceparent: str | None, tracestate: str = "") -> Trace:
    """Take up the caller's trace; begin one where there is none or it is malformed (section 3.2.2.6: restart it)."""
    match = _traceparent(traceparent.strip()) if traceparent else None
    if match is None or not _valid(match):
        return Trace(os.urandom(16).hex(), os.urandom(8).hex())
    return Trace(match[2], os.urandom(8).hex(), match[3], match[4], tracestate)


def _valid(match: re.Match[str]) -> bool:
    if match[1] == "ff" or (match[1] == "00" and match[5] is not None):
        return False
    return match[2].strip("0") != "" and match[3].strip("0") != ""
