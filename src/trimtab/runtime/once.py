"""One run of a job in a container: what it is to do stands in the environment, what came of it is its last words.

A Kubernetes Job starts it, or a JobSink for an event. The results go to the log, as its last line, and to the container's
termination message, where whoever started the run finds them without reading the log. Where the job has a sink (K_SINK),
the end of the run is told there, too, as the local target tells its broker; a try that fails with others to come is not its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from trimtab.errors import EventError, SpecError, TrimtabError
from trimtab.events.jsonformat import decode_event, to_json
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.ended import ended
from trimtab.runtime.job import REFUSED, attempt, written
from trimtab.runtime.logs import configure
from trimtab.runtime.post import post

RESULT = "trimtab.dev/result"
"""The key under which the report stands in the last line and in the message."""
_MOUNT = "/etc/jobsink-event"
"""Where a JobSink puts the event; older ones do not say so in K_EVENT_PATH."""
_LONGEST = 4096
"""Bytes of a termination message; the kubelet cuts it off there."""
_PAUSES = (1.0, 3.0, 10.0, 20.0, 30.0)
"""Seconds between tries to tell of the run's end."""

logger = logging.getLogger("trimtab.run")


def run(config: ReplicaConfig, environ: Mapping[str, str] = os.environ) -> int:
    """Call the job's handler once; return the exit code. Errors: SpecError for an environment that cannot be read."""
    message = describe(config, environ)
    configure(ReplicaConfig(function=message["function"], revision=message["run"]))
    signal.signal(signal.SIGTERM, _ended)
    code, report = attempt(message)
    if message["event"] is not None:
        report["cause"] = message["event"]["id"]
    text = msgspec.json.encode({RESULT: report}, enc_hook=written)
    sys.stdout.flush()
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.buffer.flush()
    _leave(Path(environ.get("TRIMTAB_TERMINATION_LOG") or "/dev/termination-log"), text, report)
    sink = environ.get("K_SINK")
    if sink and _is_last(code, environ):
        _tell(sink, message, code, msgspec.json.decode(text)[RESULT])
    return code


def _is_last(code: int, environ: Mapping[str, str]) -> bool:
    """Tell whether the run has ended with this try of it. What gets SIGTERM cannot know whether it is meant for the run."""
    limit, failures = (int(environ.get(f"TRIMTAB_{name}") or 0) for name in ("BACKOFF_LIMIT", "FAILURES"))
    return code in (0, REFUSED) or failures >= limit


def _tell(sink: str, message: dict[str, Any], code: int, report: dict[str, Any]) -> None:
    """Tell of the run's end; a sink that is away for longer than a minute does not hear of it."""
    state = {0: "succeeded", 128 + signal.SIGTERM: "cancelled"}.get(code, "failed")
    data = {name: report[name] for name in ("results", "artifacts", "error")} | {"parameters": message["parameters"]}
    cause = (message["event"] or {}).get("id")
    event = ended(message["function"], message["run"], state, cause, data)
    for pause in (*_PAUSES, None):
        try:
            post(sink, event)
        except TrimtabError as exc:
            logger.warning("the end of run %s could not be told: %s", message["run"], exc)
            if pause is not None:
                time.sleep(pause)
        else:
            return


def describe(config: ReplicaConfig, environ: Mapping[str, str]) -> dict[str, Any]:
    """Give the run as `trimtab.runtime.job` takes it. Errors: SpecError, naming the variable."""
    function = environ.get("TRIMTAB_FUNCTION") or config.function
    event = _event(environ.get("K_EVENT_PATH") or (_MOUNT if Path(_MOUNT, "event").is_file() else ""))
    return {
        "run": environ.get("TRIMTAB_RUN") or _identity(event),
        "function": function,
        "project": environ.get("TRIMTAB_PROJECT") or "default",
        "handler": config.handler,
        "directory": config.directory,
        "event": event,
        "parameters": _mapping(environ, "TRIMTAB_PARAMETERS"),
        "inputs": _mapping(environ, "TRIMTAB_INPUTS"),
        "artifact_path": environ.get("TRIMTAB_ARTIFACT_PATH") or "/tmp/trimtab-run",  # noqa: S108  the container's own
    }


def _mapping(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    text = environ.get(name, "").strip()
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
    except msgspec.DecodeError as exc:
        raise SpecError(f"environment variable {name}", text, "a JSON object", hint=str(exc)) from exc


def _event(path: str) -> dict[str, Any] | None:
    """Read the event that started the run, in CloudEvents' JSON format: a file, or the file `event` of a folder."""
    if not path:
        return None
    place = Path(path, "event") if Path(path).is_dir() else Path(path)
    try:
        return dict(to_json(decode_event(place.read_bytes())))
    except (OSError, EventError) as exc:
        raise SpecError("environment variable K_EVENT_PATH", path, "a CloudEvent in JSON", hint=str(exc)) from exc


def _identity(event: dict[str, Any] | None) -> str:
    """Name a run that nobody named: by the event, so that the same event is the same run, or by the container."""
    if event is None:
        return os.environ.get("HOSTNAME", "run")
    return hashlib.sha256(f"{event['source']}{event['id']}".encode()).hexdigest()[:12]


def _leave(place: Path, text: bytes, report: dict[str, Any]) -> None:
    """Write the message; a report that is too long is in the log alone, and the message says so."""
    if len(text) > _LONGEST:
        text = msgspec.json.encode({RESULT: {"error": (report["error"] or "")[:1000] or None, "in_log": True}})
    with contextlib.suppress(OSError):  # there is none outside a container
        place.write_bytes(text)


def _ended(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
