"""JSON echo against a bare ASGI application on the same uvicorn, uvloop and httptools: what our runtime costs.

One process a side, 32 keep-alive connections. Ours has the Event, the Context and the metrics, and is served by
`trimtab serve`; one row is a replica of the local target, which also counts its load for the autoscaler.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.home import home
from benchmarks.load import echo
from benchmarks.rounds import Effort, alternate, say
from benchmarks.row import Row
from benchmarks.server import APPS, bare, ours, serving

BARE = "bare ASGI app"
CLOSE = (
    "about even. uvicorn's own share of a request is nearly all of it; what the Event, the Context and the metrics add is "
    "about what msgspec saves over the standard library's json, so that runs on a busy machine fall on either side of 1"
)


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    with ExitStack() as stack:
        ports = {name: stack.enter_context(serving(command)).port for name, command in _servers().items()}
        local = stack.enter_context(home())
        code = (APPS / "handlers.py").read_text("utf-8").replace("async def echo(", "async def handler(")
        ports["replica"] = int(local.deploy("echo", code, min=1, max=1).rstrip("/").rpartition(":")[2])
        found = alternate({name: partial(_rate, port, effort.seconds) for name, port in ports.items()}, effort.rounds)
        say(f"the load generator took {echo(ports['bare'], effort.seconds).client:.0%} of a core")
    row = partial(Row, unit="req/s", beside=BARE, theirs=found["bare"], of="ratio")
    return [
        row(what="JSON echo, async handler", ours=found["async"], must=1.0, why=CLOSE),
        row(what="JSON echo, plain `def` handler", ours=found["def"], must=0.70),
        row(what="JSON echo, async handler, replica of the local target", ours=found["replica"]),
    ]


def _servers() -> dict[str, list[str]]:
    return {"bare": bare(), "async": ours("echo"), "def": ours("echo_sync")}


def _rate(port: int, seconds: float) -> float:
    return echo(port, seconds).per_second
