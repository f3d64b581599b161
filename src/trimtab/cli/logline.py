"""One line of a log, made readable."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import msgspec

from trimtab.cli.output import compact

_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_SHOWN = ("time", "level", "message", "function", "revision", "trace", "traceback")


def render(line: str) -> str:
    """Write a JSON log line as `time revision level message field=value`, a traceback below; other lines as they are.

    The time is this machine's; of the revision only its number is shown.
    """
    record = _record(line)
    if record is None:
        return line
    level = str(record.get("level", "info"))
    head = f"{_clock(record.get('time'))} {_number(record)}{click.style(f'{level.upper():<7}', fg=_COLOURS.get(level))}"
    fields = [f"{name}={compact(value)}" for name, value in record.items() if name not in _SHOWN]
    text = f"{head} {record['message']}" + (click.style(f" {' '.join(fields)}", dim=True) if fields else "")
    trace = str(record.get("traceback") or "").rstrip("\n")
    return f"{text}\n{trace}" if trace else text


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return record if isinstance(record, dict) and "message" in record else None


def _clock(moment: Any) -> str:
    try:
        if isinstance(moment, int | float):
            when = datetime.fromtimestamp(moment)
        else:
            when = datetime.fromisoformat(str(moment)).astimezone()
    except (ValueError, OverflowError, OSError):
        return "--:--:--.---"
    return when.strftime("%H:%M:%S.%f")[:-3]


def _number(record: dict[str, Any]) -> str:
    number = str(record.get("revision") or "").rpartition("-")[2]
    return f"{number} " if number else ""
