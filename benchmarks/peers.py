"""The same echo against what people use today: functions-framework (WSGI and ASGI) and Knative's func-python.

Each with the server that it ships and one worker process. They live in an environment of their own (`.venv-peers`, made
by `make bench` from the dependency group `bench`), because functions-framework wants an older cloudevents.
functions-framework does not depend on uvloop and httptools; uvicorn takes them where they are installed. So its ASGI
side is measured twice: as it is installed, and with both added.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.load import echo
from benchmarks.rounds import Effort, alternate, often
from benchmarks.row import Row
from benchmarks.server import APPS, ROOT, ours, serving

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
_PLAIN = "import sys; sys.modules['uvloop'] = sys.modules['httptools'] = None\n"
_GOOGLE = "from functions_framework._cli import _cli; _cli()"


def rows(effort: Effort) -> list[Row]:
    """Measure. Errors: FileNotFoundError where the environment of the peers is missing."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` makes it")
    google = {"HOST": "127.0.0.1", "PORT": "{port}", "FUNCTION_TARGET": "echo", "THREADS": "8", "WORKERS": "1"}
    asgi = {**google, "FUNCTION_SOURCE": str(APPS / "google_asgi.py"), "FUNCTION_USE_ASGI": "true"}
    wsgi = {**google, "FUNCTION_SOURCE": str(APPS / "google_wsgi.py")}
    peers: dict[str, tuple[list[str], dict[str, str]]] = {
        "functions-framework, WSGI (gunicorn, 8 threads)": (_peer("-c", _GOOGLE), wsgi),
        "functions-framework, ASGI (gunicorn with uvicorn)": (_peer("-c", _PLAIN + _GOOGLE), asgi),
        "functions-framework, ASGI, uvloop and httptools added": (_peer("-c", _GOOGLE), asgi),
        "func-python (hypercorn)": (_peer("-m", "benchmarks.apps.knative"), {"LISTEN_ADDRESS": "127.0.0.1:{port}"}),
    }
    effort = often(effort)
    with ExitStack() as stack:
        ports = {"trimtab": stack.enter_context(serving(ours("echo"))).port}
        for name, (command, environ) in peers.items():
            ports[name] = stack.enter_context(serving(command, **environ)).port
        found = alternate({name: partial(_rate, port, effort.seconds) for name, port in ports.items()}, effort.rounds)
    return [
        Row(
            what="JSON echo, async handler",
            unit="req/s",
            ours=found["trimtab"],
            beside=name,
            theirs=found[name],
            must=3.0 if "added" not in name else None,
            of="ratio",
        )
        for name in peers
    ]


def _peer(*arguments: str) -> list[str]:
    return [str(PYTHON), *arguments]


def _rate(port: int, seconds: float) -> float:
    return echo(port, seconds).per_second
