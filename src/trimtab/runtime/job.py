"""One run of a job: a process that calls the handler once with its parameters, and writes down what came of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import HandlerError, ImportFailed, SpecError
from trimtab.runtime import channel
from trimtab.runtime.codec import to_json
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.context import Logger
from trimtab.runtime.load import frames, load
from trimtab.runtime.logs import configure
from trimtab.runtime.parameters import bind, takes_context

logger = logging.getLogger("trimtab.job")

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
FAILED = 1
REFUSED = 2
"""Exit code of a run whose parameters do not fit its handler."""


class RunContext:
    """What a job's handler finds in its first argument. Names are MLRun's."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.uid: str = message["run"]
        self.name: str = message["function"]
        self.parameters: dict[str, Any] = message["parameters"]
        self.inputs: dict[str, str] = message["inputs"]
        self.event: dict[str, Any] | None = message["event"]
        """The CloudEvent (JSON format) that started the run; None when somebody did."""
        self.artifact_path: str = message["artifact_path"]
        self.results: dict[str, Any] = {}
        self.logger = Logger(self.name)

    def get_param(self, key: str, default: Any = None) -> Any:
        """Give a parameter, whether or not the handler names it."""
        return self.parameters.get(key, default)

    def get_input(self, key: str) -> Path:
        """Give the path of an input. Errors: SpecError naming those there are."""
        if key not in self.inputs:
            raise SpecError(f"input {key}", None, f"one of {', '.join(self.inputs) or '(no inputs were given)'}")
        return Path(self.inputs[key])

    def log_result(self, key: str, value: Any) -> None:
        """Record one result; it stands in the run's history."""
        self.results[key] = value

    def log_results(self, results: dict[str, Any]) -> None:
        """Record several."""
        self.results.update(results)

    def artifact(self, name: str) -> Path:
        """Give the path for a file of this run, in a folder that is made."""
        path = Path(self.artifact_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def begin(message: dict[str, Any], control: socket.socket) -> int:
    """Be the run (or the rehearsal: load the handler and no more) that a zygote's message describes."""
    configure(ReplicaConfig(function=message["function"], revision=message.get("run", "")))
    threading.Thread(target=_end_with_daemon, args=(control,), name="trimtab-control", daemon=True).start()
    report: dict[str, Any] = {"results": {}, "error": None, "traceback": ""}
    code = FAILED
    try:
        loaded = load(message["handler"], Path(message["directory"]), job=True)
        if not message.get("rehearsal"):
            context = RunContext(message)
            report["results"] = context.results
            call(loaded.call, context)
        code = 0
    except ImportFailed as exc:
        report |= {"error": str(exc), "traceback": exc.traceback}
    except SpecError as exc:
        report["error"] = str(exc)
        code = REFUSED
    except HandlerError as exc:
        report["error"] = str(exc)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else FAILED
        report["error"] = f"the handler called exit({exc.code!r})" if code else None
    except BaseException as exc:
        report |= {"error": f"{type(exc).__name__}: {exc}", "traceback": frames(exc)}
    if report["error"]:
        logger.error("%s", report["error"], extra={"fields": {"traceback": report["traceback"]}})
    sys.stdout.flush()
    Path(message["result"]).write_bytes(msgspec.json.encode(report, enc_hook=_written))
    return code


def _end_with_daemon(control: socket.socket) -> None:
    """End this process and what it started when the daemon is gone: nobody would hear of the result."""
    while channel.receive(control) is not None:
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def call(function: Any, context: RunContext) -> None:
    """Call a job's handler with what it asks for; its results are in the context, what it returns under `return`."""
    data = (context.event or {}).get("data")
    if isinstance(data, dict):
        known = inspect.signature(function).parameters
        context.parameters = {**context.parameters, **{name: value for name, value in data.items() if name in known}}
    inputs = {name: Path(path) for name, path in context.inputs.items()}
    named = {name: path for name, path in inputs.items() if name in inspect.signature(function).parameters}
    arguments = bind(function, {**context.parameters, **named})
    value = function(context, **arguments) if takes_context(function) else function(**arguments)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    if value is not None:
        context.results.setdefault("return", value)


def _written(value: Any) -> Any:
    try:
        return msgspec.Raw(to_json(value))
    except TypeError:
        return repr(value)
