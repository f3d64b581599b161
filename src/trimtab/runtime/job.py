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

from trimtab.errors import HandlerError, ImportFailed, PermanentError, SpecError
from trimtab.runtime import channel, returns
from trimtab.runtime.codec import to_json
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import frames, load
from trimtab.runtime.logs import configure
from trimtab.runtime.parameters import bind, takes_context
from trimtab.runtime.run_context import RunContext

logger = logging.getLogger("trimtab.job")

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
FAILED = 1
REFUSED = 2
"""Exit code of a run that would fail again: its parameters do not fit its handler, or it says so (PermanentError)."""


def begin(message: dict[str, Any], control: socket.socket) -> int:
    """Be the run (or the rehearsal: load the handler and no more) that a zygote's message describes."""
    configure(ReplicaConfig(function=message["function"], revision=message.get("run", "")))
    threading.Thread(target=_end_with_daemon, args=(control,), name="trimtab-control", daemon=True).start()
    code, report = attempt(message)
    sys.stdout.flush()
    Path(message["result"]).write_bytes(msgspec.json.encode(report, enc_hook=written))
    return code


def attempt(message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Load the handler and call it, unless it is a rehearsal; give the exit code, and results, artifacts and error."""
    report: dict[str, Any] = {"results": {}, "artifacts": {}, "error": None, "traceback": ""}
    code = FAILED
    try:
        loaded = load(message["handler"], Path(message["directory"]), job=True)
        if not message.get("rehearsal"):
            context = RunContext(message)
            report |= {"results": context.results, "artifacts": context.artifacts}
            call(loaded.call, context)
        code = 0
    except ImportFailed as exc:
        report |= {"error": str(exc), "traceback": exc.traceback}
    except SpecError as exc:
        report["error"] = str(exc)
        code = REFUSED
    except HandlerError as exc:
        report["error"] = str(exc)
    except PermanentError as exc:
        report |= {"error": f"PermanentError: {exc}", "traceback": frames(exc)}
        code = REFUSED
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else FAILED
        report["error"] = f"the handler called exit({exc.code!r})" if code else None
    except BaseException as exc:
        report |= {"error": f"{type(exc).__name__}: {exc}", "traceback": frames(exc)}
    if report["error"]:
        logger.error("%s", report["error"], extra={"fields": {"traceback": report["traceback"]}})
    return code, report


def _end_with_daemon(control: socket.socket) -> None:
    """End this process and what it started when the daemon is gone: nobody would hear of the result."""
    while channel.receive(control) is not None:
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def call(function: Any, context: RunContext) -> None:
    """Call a job's handler with what it asks for; its results are in the context, what it returns under `return`, or under names."""
    data = (context.event or {}).get("data")
    if isinstance(data, dict):
        known = inspect.signature(function).parameters
        if isinstance(data.get("inputs"), dict):
            context.inputs = {**context.inputs, **data["inputs"]}
        given = {name: value for name, value in data.items() if name in known and name not in context.inputs}
        context.parameters = {**context.parameters, **given}
    inputs = {name: context.get_input(name) for name in context.inputs}
    named = {name: item for name, item in inputs.items() if name in inspect.signature(function).parameters}
    arguments = bind(function, {**context.parameters, **named})
    value = function(context, **arguments) if takes_context(function) else function(**arguments)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    names = returns.wanted(function)
    if names:
        returns.keep(context, value, names)
    elif value is not None:
        context.results.setdefault("return", value)


def written(value: Any) -> Any:
    """Give what JSON can say of a result: the value as answers are encoded, or its `repr`."""
    try:
        return msgspec.Raw(to_json(value))
    except TypeError:
        return repr(value)
