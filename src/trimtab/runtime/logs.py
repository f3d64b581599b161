"""Logs as JSON, one record a line, on standard output: the runtime's own and those of the function."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.runtime.context import CURRENT

if TYPE_CHECKING:
    from trimtab.runtime.config import ReplicaConfig


class JsonFormatter(logging.Formatter):
    """Writes time, level, message, function, revision; event and trace where a call is worked on; then the fields."""

    def __init__(self, function: str, revision: str) -> None:
        super().__init__()
        self.function, self.revision = function, revision

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a field by a reserved name does not win."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": _message(record),
            "function": self.function,
            "revision": self.revision,
        }
        event = CURRENT.get()
        if event is not None:
            line["event"], line["trace"] = event.id, event.trace.trace_id
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        fields = getattr(record, "fields", None)
        if fields:
            line = {**fields, **line} if line.keys() & fields.keys() else {**line, **fields}
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except Exception:
            # What JSON has no place for, a lone surrogate for one, must not cost the record.
            return msgspec.json.encode({name: _shown(value) for name, value in line.items()}).decode()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        return f"{_shown(record.msg)} {_shown(record.args)}"


def _shown(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:
        text = f"({type(value).__name__} that cannot be shown)"
    return text.encode("utf-8", "backslashreplace").decode()


def configure(config: ReplicaConfig) -> None:
    """Send every logger's records through the formatter."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(config.function, config.revision))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level.upper())
    logging.captureWarnings(capture=True)
