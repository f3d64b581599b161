"""One HTTP request from Python: what is sent for a body, and what an answer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import InvocationFailed, SpecError


class Request(Struct, frozen=True):
    """What is sent; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(Struct, frozen=True):
    """What came back; header names are lower-case."""

    status_code: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The body: JSON as objects, everything else as bytes."""
        media = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media.endswith(("/json", "+json")) and self.body:
            return msgspec.json.decode(self.body)
        return self.body

    def check(self, name: str) -> Reply:
        """Give the reply itself. Errors: InvocationFailed, with status and body, unless it is a success."""
        if not 200 <= self.status_code < 300:
            text = self.body[:500].decode("utf-8", "replace")
            raise InvocationFailed(f"{name} answered {self.status_code}: {text}", self.status_code, self.body)
        return self


def request(path: str, body: Any, method: str | None, headers: Mapping[str, str] | None) -> Request:
    """Make a request. Without a method: GET without a body, POST with one.

    Bytes are sent as they are, text as JSON if it is that and as plain text otherwise, anything else as JSON (what has
    `tolist()`, a NumPy array for one, as its list). A content-type among the headers wins. Errors: SpecError.
    """
    given = {name.lower(): str(value) for name, value in (headers or {}).items()}
    content, content_type = _encode(body)
    if content_type:
        given.setdefault("content-type", content_type)
    verb = (method or ("GET" if body is None else "POST")).upper()
    return Request(verb, path if path.startswith("/") else f"/{path}", given, content)


def send(url: str, made: Request, timeout: float | None) -> Reply:
    """Send a request below `url`; redirects are not followed. Errors: TargetUnreachable."""
    from trimtab.runtime import http  # what it needs of the standard library is slow to import

    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in made.headers.items()]
    with http.request(made.method, http.join(url, made.path), headers, made.body or None, timeout=timeout) as response:
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, response.read())


def _encode(body: Any) -> tuple[bytes, str | None]:
    if body is None:
        return b"", None
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), None
    if isinstance(body, str):
        return body.encode(), "application/json" if _is_json(body) else "text/plain; charset=utf-8"
    try:
        return msgspec.json.encode(body, enc_hook=_listed), "application/json"
    except (TypeError, ValueError) as error:
        allowed = "bytes, text, or what JSON can say"
        raise SpecError("body", body, allowed, hint=str(error)) from error


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none of these")
