"""Where messages go that cannot be delivered: a stream of the same broker, a URL, or whoever runs the consumer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from trimtab.events import Envelope
from trimtab.runtime.client import Client
from trimtab.triggers.broker.attempt import attempt
from trimtab.triggers.broker.deadsink import marked
from trimtab.triggers.broker.entries import Try
from trimtab.triggers.streams.abc import Publisher, StreamError
from trimtab.triggers.streams.cloudevent import to_record

REASON, TRIGGER, TIME, HISTORY = "deadreason", "deadtrigger", "deadtime", "deadhistory"
"""The extensions that a dead letter in a stream carries; `redrive` takes them off again."""
_HISTORY = 4096
"""Characters of the history that travel with a letter: brokers limit what headers hold."""


class Letter(Struct, frozen=True, kw_only=True):
    """A message that is given up: `history` is every try, `url` where it was sent, `answer` the last status and body."""

    trigger: str
    envelope: Envelope
    key: str | None
    reason: str
    died: float
    history: Sequence[Try] = ()
    url: str = ""
    status: int = 0
    body: bytes = b""


class DeadLetters(Protocol):
    """A place for dead letters."""

    async def bury(self, letters: Sequence[Letter]) -> None:
        """Keep them; durable when it returns. Errors: StreamError, and none or some are kept."""


class StreamDead:
    """A stream of the same broker. `publisher` is opened when the first letter comes."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher, self._opened = publisher, False

    async def bury(self, letters: Sequence[Letter]) -> None:
        """See DeadLetters."""
        if not self._opened:
            await self._publisher.open()
            self._opened = True
        try:
            await self._publisher.publish([to_record(_buried(letter), letter.key) for letter in letters])
        except StreamError:
            self._opened = False
            await self._publisher.close()
            raise

    async def close(self) -> None:
        """Disconnect."""
        await self._publisher.close()


class SinkDead:
    """A URL, which gets letters with Knative's `knativeerror...` extensions, and has to answer 2xx."""

    def __init__(self, client: Client, url: str, timeout: float) -> None:
        self._client, self._url, self._timeout = client, url, timeout

    async def bury(self, letters: Sequence[Letter]) -> None:
        """See DeadLetters."""
        for letter in letters:
            envelope = marked(letter.envelope, letter.url, letter.status, letter.body)
            answer = await attempt(self._client, self._url, envelope, self._timeout)
            if not answer.taken:
                raise StreamError(f"the dead letter sink {self._url} failed: {answer.text}")


def revived(envelope: Envelope) -> Envelope:
    """Give the event as it was before it died."""
    kept = {k: v for k, v in envelope.attributes.items() if k not in {REASON, TRIGGER, TIME, HISTORY}}
    return Envelope(kept, envelope.data)


def why(attributes: Mapping[str, str]) -> str:
    """Say in a line why an event is in a stream of dead letters."""
    return f"{attributes.get(TRIGGER, '?')}: {attributes.get(REASON, '?')}"


def _buried(letter: Letter) -> Envelope:
    history = list(letter.history)
    while len(text := msgspec.json.encode(history).decode()) > _HISTORY and history:
        history = history[1:]
    moment = datetime.fromtimestamp(letter.died, UTC).isoformat().replace("+00:00", "Z")
    more = {REASON: _plain(letter.reason), TRIGGER: letter.trigger, TIME: moment, HISTORY: _plain(text)}
    return Envelope(letter.envelope.attributes | more, letter.envelope.data)


def _plain(text: str) -> str:
    """Make text that every broker takes as a header, and every CloudEvent as an attribute."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
