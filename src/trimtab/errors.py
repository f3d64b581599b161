"""Every error that Trimtab raises, split by what the caller can do about it.

    TrimtabError
    ├── SpecError               the function's description is wrong: correct the named field
    ├── HandlerError            the function's code cannot be used: correct the code
    │   ├── ModuleMissing       there is no such module or file
    │   ├── ImportFailed        the module is there and raised while it was imported
    │   └── NameMissing         the module has no such name
    ├── DataError               a table of data, or a sketch of one, cannot be used: correct the named column
    ├── BuildError              no image can be made of what was given: correct the source, the requirements or the base
    │   ├── NotVerified         the handler fails in a clean process: correct the code, or give a sample that fits
    │   └── RegistryError       a registry refused or did not answer: look at its address and the credentials
    ├── EventError              an event or body is malformed: the sender must correct it (HTTP 400)
    ├── PermanentError          raised by handlers: do not retry this event
    ├── TemporaryError          raised by handlers: retry this event, after a delay
    └── TargetError             where functions run: look at the target
        ├── TargetUnreachable   the daemon (or the cluster) does not answer
        ├── NotFound            no function, revision, run or trigger of that name
        ├── Conflict            the request contradicts what is there
        ├── PreflightFailed     the cluster lacks what the function needs; nothing was changed
        ├── DeployFailed        a revision never became ready; the previous one keeps serving
        ├── InvocationFailed    the function answered with an error status
        ├── RunFailed           a job's run failed or was cancelled
        ├── StreamError         a stream's broker could not do what was asked: it is away, or refused
        ├── Unsupported         this kind of stream cannot do it at all
        └── StoreError          a state file cannot be used: it is corrupt, from a newer version, or not writable
            └── StoreFull       the disk is full (or the store's limit is reached): free space, then try again

Foreign exceptions stop at the adapter that meets them and are chained to one of these.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "BuildError",
    "Conflict",
    "DataError",
    "DeployFailed",
    "EventError",
    "HandlerError",
    "ImportFailed",
    "InvocationFailed",
    "ModuleMissing",
    "NameMissing",
    "NotFound",
    "NotVerified",
    "PermanentError",
    "PreflightFailed",
    "RegistryError",
    "RunFailed",
    "SendError",
    "SpecError",
    "StoreError",
    "StoreFull",
    "StreamError",
    "TargetError",
    "TargetUnreachable",
    "TemporaryError",
    "TrimtabError",
    "Unsupported",
]

_LONGEST = 200  # characters of a value that a message shows


class TrimtabError(Exception):
    """The root of everything Trimtab raises on purpose."""


class SpecError(TrimtabError):
    """A field of a function's description is unknown, impossible or in conflict with another.

    `path` is the field as it stands in YAML (`spec.scale.min`), `found` the value met there and `allowed` what may
    stand there; the message says all three.
    """

    def __init__(self, path: str, found: Any, allowed: str, *, hint: str = "") -> None:
        self.path, self.found, self.allowed, self.hint = path, found, allowed, hint
        shown = "nothing" if found is None else repr(found)
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
        message = f"{path}: found {shown}, allowed: {allowed}"
        super().__init__(f"{message}. {hint}" if hint else message)


class HandlerError(TrimtabError):
    """A handler cannot be loaded."""


class ModuleMissing(HandlerError):
    """There is no such module or file."""


class ImportFailed(HandlerError):
    """The handler's module raised while it was imported; `traceback` holds the user's frames."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class NameMissing(HandlerError):
    """The module has no such name; the message lists the names it has."""


class BuildError(TrimtabError):
    """No image can be made of what was given; nothing half-made is left under its name."""


class NotVerified(BuildError):
    """The handler fails in a clean process; `traceback` holds its frames."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class RegistryError(BuildError):
    """A registry refused or did not answer; `status` is the HTTP status, 0 where there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class EventError(TrimtabError):
    """A CloudEvent or a body is malformed; `attribute` names the attribute at fault (empty: the body)."""

    def __init__(self, message: str, attribute: str = "") -> None:
        super().__init__(message)
        self.attribute = attribute


class DataError(TrimtabError):
    """A table of data, or a sketch of one, cannot be used; `column` names the column at fault (empty: the whole)."""

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class PermanentError(TrimtabError):
    """Raised by a handler: this event can never succeed, so do not retry it.

    The caller gets `status` (400 unless told); a broker moves the event to the dead letters at once.
    """

    def __init__(self, message: str = "", *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class TemporaryError(TrimtabError):
    """Raised by a handler: try this event again, not before `delay` seconds (None: the trigger's own backoff).

    The caller gets 503, with `Retry-After` where a delay is given.
    """

    def __init__(self, message: str = "", *, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class TargetError(TrimtabError):
    """Where functions run could not do what was asked."""


class TargetUnreachable(TargetError):
    """The daemon (or the cluster) does not answer."""


class NotFound(TargetError):
    """No function, revision, run or trigger of that name."""


class Conflict(TargetError):
    """The request contradicts what is there."""


class PreflightFailed(TargetError):
    """Nothing was changed, because the cluster lacks what the function needs; `checks` are the rows that failed."""

    def __init__(self, message: str, checks: Any = ()) -> None:
        super().__init__(message)
        self.checks = list(checks)


class DeployFailed(TargetError):
    """A revision never became ready; the previous one keeps serving. `traceback` is the handler's, where it has one."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class InvocationFailed(TargetError):
    """A function answered with an error: `status` is the HTTP status, `body` what it sent."""

    def __init__(self, message: str, status: int, body: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.body = status, body


class RunFailed(TargetError):
    """A job's run failed or was cancelled; `run` is the run, with its results until then."""

    def __init__(self, message: str, run: Any = None) -> None:
        super().__init__(message)
        self.run = run


class StreamError(TargetError):
    """A stream's broker could not do what was asked. Whoever holds a connection opens it again; never says a password."""


class Unsupported(TargetError):
    """This kind of stream cannot do it at all (a replay, where what was acked is gone)."""


class StoreError(TargetError):
    """A file of the local target's state cannot be used; the message names the file and what to do."""


class StoreFull(StoreError):
    """Nothing was written, because the disk is full or the store's limit is reached."""


class SendError(TargetError):
    """An HTTP request got no answer.

    `kind`: `connect` (no connection, so nothing was sent), `timeout` (no whole answer in time), `broken` (the connection
    ended before the answer did) or `protocol` (what was sent or came back is not HTTP, or is too large).
    """

    def __init__(self, message: str, kind: Literal["connect", "timeout", "broken", "protocol"]) -> None:
        super().__init__(message)
        self.kind = kind
