"""Where events come in: Knative's broker protocol as an ASGI application.

`POST /<broker>` or `/<namespace>/<broker>` with a CloudEvent (binary, structured, batched) is answered 202 once the event
is on the disk. Every other answer means that nothing of the request was kept.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from trimtab.errors import EventError, StoreError, StoreFull
from trimtab.events import Envelope
from trimtab.runtime.binding import Header, Mode, is_event, read, read_batch

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 32 * 2**20
"""Bytes of one request, as a function's own default."""
RETRY_AFTER = 1
"""Seconds after which a refused sender may try again."""


class Intake(Protocol):
    """What the ingress asks of the broker."""

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers that exist."""

    def has(self, broker: str) -> bool:
        """Whether there is such a broker."""

    @property
    def busy(self) -> str:
        """Why no event can be taken now; empty when it can."""

    async def publish(self, broker: str, envelopes: list[Envelope]) -> None:
        """Accept events, all or none. Errors: EventError, StoreError, StoreFull."""


class Refused(Struct, frozen=True):
    """An answer other than 202."""

    status: int
    message: str
    attribute: str = ""
    headers: tuple[Header, ...] = ()


class Ingress:
    """The application. `refusals` counts answers other than 202 by status."""

    def __init__(self, intake: Intake, body_limit: int = BODY_LIMIT) -> None:
        self.refusals: dict[int, int] = {}
        self._intake, self._limit = intake, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the broker speaks HTTP alone, not {scope['type']}")
        refused = await self._take(scope, receive)
        if refused is None:
            await send({"type": "http.response.start", "status": 202, "headers": _ACCEPTED})
            await send({"type": "http.response.body"})
            return
        self.refusals[refused.status] = self.refusals.get(refused.status, 0) + 1
        await _refuse(send, refused)

    async def _take(self, scope: Scope, receive: Receive) -> Refused | None:
        headers: list[Header] = scope["headers"]
        broker, refused = self._address(scope)
        if refused is None and _declared(headers) > 2 * self._limit:
            refused = _too_large(self._limit)
        if refused is not None:
            return refused
        try:
            body = await _read(receive, self._limit)
        except EventError as exc:
            return Refused(400, str(exc))
        if body is None:
            return _too_large(self._limit)
        if reason := self._intake.busy:
            return Refused(503, reason, headers=_LATER)
        return await self._publish(broker, headers, body)

    def _address(self, scope: Scope) -> tuple[str, Refused | None]:
        parts = [part for part in scope["path"].split("/") if part]
        if not 1 <= len(parts) <= 2 or not self._intake.has(parts[-1]):
            known = ", ".join(self._intake.brokers)
            return "", Refused(404, f"no broker at {scope['path']!r}: post to /<broker>; brokers: {known}")
        if scope["method"] != "POST":
            return "", Refused(405, f"a broker takes POST, not {scope['method']}", headers=((b"allow", b"POST"),))
        return parts[-1], None

    async def _publish(self, broker: str, headers: list[Header], body: bytes) -> Refused | None:
        try:
            envelopes = _events(headers, body)
            await self._intake.publish(broker, envelopes)
        except EventError as exc:
            return Refused(400, str(exc), exc.attribute)
        except StoreFull as exc:
            return Refused(507, str(exc), headers=_LATER)
        except StoreError as exc:
            logger.exception("an event could not be accepted")
            return Refused(503, str(exc), headers=_LATER)
        return None


def _events(headers: list[Header], body: bytes) -> list[Envelope]:
    mode = is_event(headers)
    if mode is Mode.NONE:
        raise EventError("not a CloudEvent: neither ce- headers nor a content type application/cloudevents+json")
    return read_batch(body) if mode is Mode.BATCH else [read(headers, body)]


def _declared(headers: list[Header]) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Read the body; None when it is larger than `limit`. Errors: EventError when the sender goes away in between.

    As much again as the limit is read and thrown away: most senders look for an answer only after they have sent all.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    while more and size <= 2 * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EventError("the connection ended before the body did")
        size += len(message.get("body", b""))
        if size <= limit:
            chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks) if size <= limit else None


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes", headers=((b"connection", b"close"),))


async def _refuse(send: Send, refused: Refused) -> None:
    answer = {"error": refused.message} | ({"attribute": refused.attribute} if refused.attribute else {})
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *refused.headers]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_ACCEPTED: list[Header] = [(b"trimtab-batch", b"accept"), (b"content-length", b"0")]
_LATER = ((b"retry-after", b"%d" % RETRY_AFTER),)
