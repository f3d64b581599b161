"""One try: the event as a request to the function, and what its answer means.

The rules are those of Knative's broker (eventing pkg/broker/filter/filter_handler.go): a success with an empty body is
done, one with a CloudEvent is done and a reply, and one with any other body is a failure that is tried again, as if the
function had answered 502.
"""

from __future__ import annotations

import logging

from msgspec import Struct

from trimtab.errors import EventError, TrimtabError
from trimtab.events import Envelope
from trimtab.runtime.binding import Mode, is_event, read, write_binary
from trimtab.runtime.client import Client, Reply

logger = logging.getLogger(__name__)

NOT_AN_EVENT = 502
_DETAIL = 500
"""Characters of an answer's body that a history keeps."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a try came to. `status` 0 is no answer; `retry_after` is the header's text.

    `taken` says whether the receiver answered 2xx, whatever the body then made of it.
    """

    status: int
    taken: bool = False
    detail: str = ""
    retry_after: str | None = None
    reply: Envelope | None = None
    body: bytes = b""

    @property
    def success(self) -> bool:
        """Whether the event is delivered."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The answer in a few words, for tables."""
        said = str(self.status) if self.status else "no answer"
        return f"{said} {self.detail}".strip()


async def attempt(client: Client, url: str, envelope: Envelope, timeout: float) -> Answer:
    """Send an event once, and wait at most `timeout` seconds for the answer."""
    headers, body = write_binary(envelope)
    headers.append((b"prefer", b"reply"))
    try:
        reply = await client.request("POST", url, headers, body, timeout=timeout)
    except TrimtabError as exc:
        return Answer(status=0, detail=str(exc))
    except Exception as exc:
        # A fault of ours must not lose the event: it counts as a try without an answer.
        logger.exception("sending an event to %s failed", url)
        return Answer(status=0, detail=f"{type(exc).__name__}: {exc}")
    return judge(reply)


def judge(reply: Reply) -> Answer:
    """Say what an HTTP answer means."""
    retry_after = next((value.decode("latin-1") for name, value in reply.headers if name == b"retry-after"), None)
    if not 200 <= reply.status < 300:
        return Answer(status=reply.status, detail=_shown(reply.body), retry_after=retry_after, body=reply.body)
    mode = is_event(reply.headers)
    if mode is Mode.NONE and not reply.body:
        return Answer(status=reply.status, taken=True)
    if mode in {Mode.NONE, Mode.BATCH}:
        detail = f"answered {reply.status} with a body that is not a CloudEvent: {_shown(reply.body)}"
        return Answer(status=NOT_AN_EVENT, taken=True, detail=detail, body=reply.body)
    try:
        return Answer(status=reply.status, taken=True, reply=read(reply.headers, reply.body))
    except EventError as exc:
        detail = f"answered {reply.status} with a malformed CloudEvent: {exc}"
        return Answer(status=NOT_AN_EVENT, taken=True, detail=detail, body=reply.body)


def _shown(body: bytes) -> str:
    return body[: 4 * _DETAIL].decode("utf-8", "replace")[:_DETAIL].replace("\x00", "\ufffd")
