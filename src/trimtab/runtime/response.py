"""The answer a handler gives when a body alone does not say enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Response:
    """Status, headers and body, with the names and the order of Nuclio's SDK (give them by name).

    `body` is whatever a handler may return, a generator included. `content_type` None means: what the body implies. A
    header's value may be a list, which sends the header once per item (`Set-Cookie`).
    """

    def __init__(
        self,
        headers: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str | None = None,
        status_code: int = 200,
        event_id: str | None = None,
    ) -> None:
        self.headers: dict[str, Any] = dict(headers or {})
        self.body = body
        self.content_type = content_type
        self.status_code = status_code
        self.event_id = event_id

    def __repr__(self) -> str:
        return (
            f"Response(status_code={self.status_code!r}, content_type={self.content_type!r}, "
            f"headers={self.headers!r}, body={self.body!r})"
        )


class ExceptionWithResponse(OSError):
    """Raised by a handler to end with this status and body; Nuclio's SDK has it under the same name."""

    def __init__(self, status_code: int, body: Any = None, content_type: str | None = None) -> None:
        super().__init__(f"status {status_code}")
        self.status_code, self.body, self.content_type = status_code, body, content_type
