"""What a handler finds around it: a logger, a place for its own things, the way to send events."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.events import Envelope, from_cloudevent, make
from trimtab.runtime.event import Event, TriggerInfo
from trimtab.runtime.response import Response

if TYPE_CHECKING:
    from trimtab.runtime.config import ReplicaConfig
    from trimtab.runtime.emit import Emitter

CURRENT: ContextVar[Event | None] = ContextVar("trimtab_event", default=None)
"""The call that the running code works on; log records take their ids from it."""


class Logger:
    """Nuclio's logger over the standard library's: `info("text %s", x)` and `info_with("text", key=value)`."""

    def __init__(self, name: str = "function") -> None:
        self._logger = logging.getLogger(name)
        self._bound: dict[str, Any] = {}

    def bind(self, **fields: Any) -> None:
        """Have these fields in every record from now on."""
        self._bound.update(fields)

    def _log(self, level: int, message: Any, arguments: tuple[Any, ...], fields: dict[str, Any] | None = None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        if arguments and "%" not in str(message):
            message, arguments = " ".join(map(str, (message, *arguments))), ()
        fields = {**self._bound, **(fields or {})}
        self._logger.log(level, message, *arguments, extra={"fields": fields} if fields else None)

    def debug(self, message: Any, *arguments: Any) -> None:
        """Log for whoever looks for a fault."""
        self._log(logging.DEBUG, message, arguments)

    def info(self, message: Any, *arguments: Any) -> None:
        """Log what is normal."""
        self._log(logging.INFO, message, arguments)

    def warn(self, message: Any, *arguments: Any) -> None:
        """Log what may become a fault."""
        self._log(logging.WARNING, message, arguments)

    warning = warn

    def error(self, message: Any, *arguments: Any) -> None:
        """Log a fault."""
        self._log(logging.ERROR, message, arguments)

    def exception(self, message: Any, *arguments: Any) -> None:
        """Log a fault with the exception that is being handled."""
        self._logger.exception(message, *arguments, extra={"fields": self._bound} if self._bound else None)

    def debug_with(self, message: Any, *arguments: Any, **fields: Any) -> None:
        """Log with fields of their own."""
        self._log(logging.DEBUG, message, arguments, fields)

    def info_with(self, message: Any, *arguments: Any, **fields: Any) -> None:
        """Log with fields of their own."""
        self._log(logging.INFO, message, arguments, fields)

    def warn_with(self, message: Any, *arguments: Any, **fields: Any) -> None:
        """Log with fields of their own."""
        self._log(logging.WARNING, message, arguments, fields)

    warning_with = warn_with

    def error_with(self, message: Any, *arguments: Any, **fields: Any) -> None:
        """Log with fields of their own."""
        self._log(logging.ERROR, message, arguments, fields)


class Context:
    """One process's: made before `init_context`, shared by all calls. `user_data` is the function's own."""

    Response = Response

    def __init__(self, config: ReplicaConfig, emitter: Emitter | None = None, worker_id: int = 0) -> None:
        self.function, self.revision, self.worker_id = config.function, config.revision, worker_id
        self.config = config
        self.logger = Logger()
        self.user_data = SimpleNamespace()
        self.trigger = TriggerInfo()
        self._emitter = emitter

    @property
    def emitter(self) -> Emitter | None:
        """What carries events to the sink; None without a sink."""
        return self._emitter

    def adopt(self, emitter: Emitter | None, worker_id: int) -> None:
        """Belong to another process from now on: a worker forked after the function was initialised."""
        self._emitter, self.worker_id = emitter, worker_id

    def emit(self, event: Any = None, *, type: str | None = None, data: Any = None, **attributes: Any) -> str:
        """Send an event to the function's sink, off the request path; return its id.

        `event` is a CloudEvent, or leave it out and give `type` and `data` (and `source`, `subject`, extensions ...).
        The call's trace goes with it. Errors: EventError (malformed), TrimtabError (the function has no sink).
        """
        if self._emitter is None:
            raise TrimtabError(
                "this function has no sink: set spec.sink (a broker or a uri), or K_SINK, to emit events"
            )
        if event is None:
            source = attributes.pop("source", None) or f"/functions/{self.function}"
            envelope = make(type or "dev.trimtab.event", source, data, **attributes)
        else:
            envelope = event if isinstance(event, Envelope) else from_cloudevent(event)
        current = CURRENT.get()
        if current is not None and "traceparent" not in envelope.attributes:
            envelope = Envelope({**envelope.attributes, "traceparent": current.trace.traceparent}, envelope.data)
        self._emitter.emit(envelope)
        return envelope.id
