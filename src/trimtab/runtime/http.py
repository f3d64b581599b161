"""One HTTP request, where no event loop runs: blocking, with the standard library alone."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

from trimtab.errors import TargetUnreachable

Header = tuple[bytes, bytes]


@contextmanager
def request(
    method: str,
    url: str,
    headers: Iterable[Header],
    body: bytes | None,
    *,
    timeout: float | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send, and give the answer with its body still to be read; redirects are not followed. `tls`: whom https trusts.

    Errors: TargetUnreachable for whatever comes between (refused, timed out, broken off), also while it is read.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TargetUnreachable(f"{url!r} is not an http or https URL")
    at = (parts.hostname, parts.port)
    try:
        with closing(
            http.client.HTTPSConnection(*at, timeout=timeout, context=tls)
            if secure
            else http.client.HTTPConnection(*at, timeout=timeout)
        ) as connection:
            _send(connection, method, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers, body)
            yield connection.getresponse()
    except TimeoutError as error:
        raise TargetUnreachable(f"{url} did not answer within {timeout:g} s") from error
    except http.client.HTTPException as error:
        raise TargetUnreachable(f"{url} broke off: {error!r}") from error
    except OSError as error:
        raise TargetUnreachable(f"{url} does not answer: {error.strerror or error}") from error


def join(url: str, path: str) -> str:
    """Put a path behind a function's URL."""
    return f"{url.rstrip('/')}/{path.lstrip('/')}"


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Iterable[Header], body: bytes | None
) -> None:
    given = list(headers)
    named = any(name.lower() == b"host" for name, _ in given)
    connection.putrequest(method, path, skip_host=named, skip_accept_encoding=True)
    if body is not None or method in {"POST", "PUT", "PATCH"}:
        given.append((b"content-length", str(len(body or b"")).encode()))
    for name, value in given:
        connection.putheader(name.decode("latin-1"), value)
    connection.endheaders(body)
