"""What went wrong, as an answer: the caller learns what is its business, the operator the rest from the log."""

from __future__ import annotations

import logging
import math
import uuid
from typing import Any

from trimtab.errors import PermanentError, TemporaryError
from trimtab.runtime.answer import Answer, Wish, is_status, plain
from trimtab.runtime.codec import to_json
from trimtab.runtime.load import frames

logger = logging.getLogger("trimtab.app")

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")


def refusal(status: int, message: str, *headers: tuple[bytes, bytes], **more: Any) -> Answer:
    """Make an answer that says what is wrong."""
    return Answer(status, [JSON, *headers], to_json({"error": message, **more}))


def gone() -> Answer:
    """Make the answer that nobody waits for any more; 499 is what the figures call it, as nginx does."""
    return Answer(499, [])


def late(seconds: float) -> Answer:
    """Make the answer to a request that took too long."""
    return refusal(504, f"no answer within {seconds:g} s")


def failed(exc: BaseException) -> Answer:
    """Answer for a handler's exception: what it says of itself, or 500 with an id under which the log has the rest."""
    if isinstance(exc, PermanentError):
        return refusal(_status(exc.status, 400), str(exc) or "the request can never succeed")
    if isinstance(exc, TemporaryError):
        after = ((b"retry-after", b"%d" % max(0, math.ceil(exc.delay))),) if exc.delay is not None else ()
        return refusal(503, str(exc) or "try again later", *after)
    if type(exc).__name__ == "ExceptionWithResponse" and is_status(getattr(exc, "status_code", None)):
        return _nuclio(exc)
    identity = uuid.uuid4().hex[:16]
    fields = {"id": identity, "traceback": frames(exc)}
    logger.error("handler raised %s: %s", type(exc).__name__, _text(exc), extra={"fields": fields})
    return refusal(500, "internal error", id=identity)


def _nuclio(exc: Any) -> Answer:
    """Answer as nuclio_sdk.ExceptionWithResponse says."""
    answer = plain(exc.body, Wish())
    answer.status = exc.status_code
    if exc.content_type:
        answer.headers = [(b"content-type", str(exc.content_type).encode("ascii", "replace"))]
    return answer


def _status(found: Any, otherwise: int) -> int:
    return int(found) if is_status(found) and found >= 400 else otherwise


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:
        return f"(its text cannot be had: {type(broken).__name__})"
