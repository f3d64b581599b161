"""JSON echo against a bare ASGI application on the same uvicorn, uvloop and httptools: what our runtime costs.

One process a side, 32 keep-alive connections. Ours has the Event, the Context and the metrics, and is served by
`trimtab serve`; one row is a replica of the local target, which also counts its load for the autoscaler. Requests a second
depend on who else uses the cores, so the server's own CPU time a request is given too.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.home import Home, home
from benchmarks.load import echo
from benchmarks.rounds import Effort, alternate, often
from benchmarks.row import Row
from benchmarks.server import APPS, Server, bare, cpu, ours, serving

BARE = "bare ASGI app"
CLOSE = (
    "about even. uvicorn's own share of a request is nearly all of it; what the Event, the Context and the metrics add is "
    "about what msgspec saves over the standard library's json, so that runs on a busy machine fall on either side of 1"
)


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    effort = often(effort)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(command)) for name, command in _servers().items()}
        ports = {name: server.port for name, server in servers.items()}
        ports["replica"] = _replica(stack.enter_context(home()))
        found = alternate({name: partial(_rate, port, effort.seconds) for name, port in ports.items()}, effort.rounds)
        spent = alternate({name: partial(_cpu, at, effort.seconds) for name, at in servers.items()}, effort.rounds)
    rate = partial(Row, unit="req/s", beside=BARE, theirs=found["bare"], of="ratio")
    cost = partial(Row, unit="us", beside=BARE, theirs=spent["bare"], bound="at most")
    return [
        rate(what="JSON echo, async handler", ours=found["async"], must=1.0),
        rate(what="JSON echo, plain `def` handler", ours=found["def"], must=0.70),
        rate(what="JSON echo, async handler, replica of the local target", ours=found["replica"]),
        cost(what="JSON echo, async handler, CPU a request", ours=spent["async"]),
        cost(what="JSON echo, plain `def` handler, CPU a request", ours=spent["def"]),
    ]


def _servers() -> dict[str, list[str]]:
    return {"bare": bare(), "async": ours("echo"), "def": ours("echo_sync")}


def _replica(local: Home) -> int:
    code = (APPS / "handlers.py").read_text("utf-8").replace("async def echo(", "async def handler(")
    return int(local.deploy("echo", code, min=1, max=1).rstrip("/").rpartition(":")[2])


def _rate(port: int, seconds: float) -> float:
    return echo(port, seconds).per_second


def _cpu(server: Server, seconds: float) -> float:
    before = cpu(server.pid)
    answered = echo(server.port, seconds).answered
    return (cpu(server.pid) - before) / answered * 1e6
