"""Requests to the API: authenticated, bounded in time, and repeated where repeating is right (429, 5xx, broken lines)."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec

from trimtab.deploy.knative.client.connect import Connection
from trimtab.deploy.knative.client.failures import translate
from trimtab.errors import TargetUnreachable

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_AGAIN = {429, 500, 502, 503, 504}
_TRIES = 6
_CONNECTIONS = 3
_CONNECT = 2.5
"""Seconds for a connection, so that an API that is not there is told of within ten."""
_READ = 30.0


class Stop:
    """Ends a stream of lines from another thread: reading stops at once, and no other request begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: Any = None
        self.asked = threading.Event()

    def set(self) -> None:
        """End it."""
        self.asked.set()
        with self._lock:
            if self._response is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._response.shutdown()

    def hold(self, response: Any) -> None:
        """Remember what is read from; None when it is done."""
        with self._lock:
            self._response = response
        if response is not None and self.asked.is_set():
            self.set()


class Http:
    """The API of one cluster, at `host`. `sleep` is passed in, so that tests need not wait."""

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self.host = connection.client, connection.host
        self._sleep = sleep

    @property
    def configuration(self) -> Any:
        """The official client's configuration: where the API is, and how it knows us."""
        return self._client.configuration

    def json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        doing: str,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        read: float | None = None,
    ) -> Any:
        """Ask, and give the answer. All that we ask may be asked twice. Errors: as `translate`; TargetUnreachable.

        An answer that takes longer than `read` seconds (30, unless told) is not waited for.
        """
        for left in reversed(range(_TRIES)):
            try:
                status, headers, answer = self._once(method, path, body, query, content_type, read or _READ)
            except OSError as exc:
                if left <= _TRIES - _CONNECTIONS:
                    raise TargetUnreachable(
                        f"{self.host} does not answer ({_reason(exc)}): is the cluster up?"
                    ) from exc
                self._sleep(_pause(_TRIES - left))
                continue
            if 200 <= status < 300:
                return msgspec.json.decode(answer) if answer else None
            if status not in _AGAIN or not left:
                raise translate(status, answer, doing, self.host)
            self._sleep(max(_pause(_TRIES - left), _wanted(headers.get("retry-after"))))
        raise AssertionError("unreachable")

    @contextmanager
    def lines(
        self, path: str, query: dict[str, Any], *, doing: str, read: float | None, stop: Stop | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Ask for a stream of lines. A connection that is silent for `read` seconds is broken (OSError)."""
        response = self._send("GET", path, None, query, "application/json", read, stream=True)
        try:
            if response.status >= 300:
                raise translate(response.status, response.read(), doing, self.host)
            if stop is not None:
                stop.hold(response)
            yield _split(response)
        finally:
            if stop is not None:
                stop.hold(None)
            response.close()

    def _once(
        self, method: str, path: str, body: Any, query: dict[str, Any] | None, content_type: str, read: float
    ) -> tuple[int, Any, bytes]:
        response = self._send(method, path, body, query or {}, content_type, read)
        return response.status, response.headers, response.data

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: dict[str, Any],
        content_type: str,
        read: float | None,
        *,
        stream: bool = False,
    ) -> Any:
        import urllib3

        headers = {"accept": "application/json, */*", "user-agent": self._client.user_agent, **self.credentials()}
        if body is not None:
            headers["content-type"] = content_type
        try:
            return self._client.rest_client.pool_manager.request(
                method,
                f"{self.host.rstrip('/')}{path}{'?' + urlencode(query) if query else ''}",
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT, read=read),
                retries=False,
                preload_content=not stream,
            )
        except urllib3.exceptions.HTTPError as exc:
            raise OSError(str(exc)) from exc

    def credentials(self) -> dict[str, str]:
        """Give the header that says who we are; an exec plugin or a rotated service account's token is asked for again when it is old."""
        settings = self._client.configuration.auth_settings()
        return {each["key"]: each["value"] for each in settings.values() if each["in"] == "header" and each["value"]}


def _split(response: Any) -> Iterator[bytes]:
    import urllib3

    rest = b""
    try:
        for chunk in response.stream(65536, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    except urllib3.exceptions.HTTPError as exc:
        raise OSError(str(exc)) from exc
    if rest:
        yield rest


def _pause(attempt: int) -> float:
    return float(min(0.1 * 2**attempt, 3.0) * random.uniform(0.75, 1.0))


def _wanted(retry_after: str | None) -> float:
    return min(float(retry_after), 30.0) if retry_after and retry_after.isdecimal() else 0.0


def _reason(exc: BaseException) -> str:
    return str(exc).rpartition(": ")[2] or str(exc)
