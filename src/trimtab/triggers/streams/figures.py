"""What a consumer has done and how it stands, for tables and for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from trimtab.triggers.streams.abc import Lag


class Figures(Struct, kw_only=True):
    """Counts since the consumer started; `in_flight` counts calls, `held` messages that are lent to it."""

    state: Literal["starting", "consuming", "paused", "broken", "stopped"] = "starting"
    error: str = ""
    """Why it is broken."""
    received: int = 0
    redelivered: int = 0
    delivered: int = 0
    failed: int = 0
    """Tries of a message without success."""
    dead: int = 0
    connects: int = 0
    in_flight: int = 0
    held: int = 0
    last: float | None = None
    outcome: str | None = None
    lag: Lag = field(default_factory=Lag)


_HELP = {
    "received": ("counter", "Messages taken from the broker, those that came again included."),
    "redelivered": ("counter", "Messages that the broker may have lent before."),
    "delivered": ("counter", "Messages that the function took."),
    "failed": ("counter", "Tries of a message without success."),
    "dead": ("counter", "Messages given up."),
    "connects": ("counter", "Connections made to the broker."),
    "in_flight": ("gauge", "Calls of the function that are not answered."),
    "held": ("gauge", "Messages that are here and not acknowledged."),
}
_LAG = {
    "waiting": ("gauge", "Messages that the group has not been given yet."),
    "pending": ("gauge", "Messages that were given to the group and not acknowledged."),
    "lost": ("counter", "Messages that the broker threw away before the group had them."),
}


def metrics(consumers: Mapping[str, Figures]) -> str:
    """Write the figures of consumers, by `<function>/<trigger>`, in Prometheus' text format."""
    lines: list[str] = []
    up = {name: float(figures.state == "consuming") for name, figures in consumers.items()}
    _metric(lines, "trimtab_stream_up", "gauge", "1 while messages are taken from the broker.", up)
    for name, (kind, text) in _HELP.items():
        values = {who: getattr(figures, name) for who, figures in consumers.items()}
        _metric(lines, f"trimtab_stream_{name}" + "_total" * (kind == "counter"), kind, text, values)
    for name, (kind, text) in _LAG.items():
        values = {who: getattr(figures.lag, name) for who, figures in consumers.items()}
        _metric(lines, f"trimtab_stream_lag_{name}" + "_total" * (kind == "counter"), kind, text, values)
    return "\n".join(lines) + "\n"


def _metric(lines: list[str], name: str, kind: str, text: str, values: Mapping[str, float]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for who, value in values.items():
        function, _, trigger = who.partition("/")
        lines.append(f'{name}{{function="{function}",trigger="{trigger}"}} {value:g}')
