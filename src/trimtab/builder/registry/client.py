"""One repository of a registry: manifests, and blobs that are there, mounted, sent or fetched.

A thin layer over `oras`, which speaks the protocol. Ours is what it lacks: deadlines and retries that wait sensibly,
mounts, manifests whose bytes stay as they are, and errors that say what to do.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from oras.provider import Registry
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from trimtab.builder.cache import CHUNK, digest_of_bytes
from trimtab.builder.registry import credentials, tls
from trimtab.builder.registry.auth import Auth
from trimtab.builder.registry.reference import Reference
from trimtab.errors import RegistryError

ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
CHUNKED = 16 * CHUNK
"""Bytes from which on a blob is sent in chunks of this size: bounds the memory, and what a broken connection costs."""
_DEADLINES = (10.0, 120.0)
"""Seconds to connect, and to wait for the next byte: storage behind a registry may take long to settle a large blob."""
_PAUSES = (0.5, 1.0, 2.0)
"""Seconds before a blob's upload is begun again."""
_UNCHUNKED = (404, 405, 411, 416, 501)
"""What registries that take no chunks answer to one."""


class Client(Registry):  # type: ignore[misc]  # oras is not typed
    """A client of the repository that `reference` names; `insecure` allows HTTP where it is not on this machine."""

    def __init__(self, reference: Reference, *, insecure: bool = False) -> None:
        plain = insecure or (reference.loopback and not tls.configured(reference.host))
        super().__init__(hostname=reference.api, insecure=plain)
        self.reference = reference
        self.container = self.get_container(f"{reference.api}/{reference.repository}")
        find = partial(credentials.find, reference.host, reference.repository)
        self.auth = Auth(reference.host, self.session, self.prefix, find)
        self.session.auth = _as_it_is
        self.session.trust_env = not reference.loopback  # a proxy knows nothing of this machine's own ports
        self.session.mount("http://", _Adapter(max_retries=_retries()))
        if self.prefix == "https":
            self.session.mount("https://", _Adapter(tls.context(reference.host), max_retries=_retries()))
        self._sent: Callable[[int], None] = lambda _: None

    def do_request(self, url: str, method: str = "GET", **options: Any) -> requests.Response:
        """Send one request, authenticated when the registry asks. Errors: RegistryError when nothing answers."""
        if method == "PATCH" and options.get("data"):
            self._sent(len(options["data"]))
        with self._answering():
            # oras' own method without its decorator, which tries anything again, a wrong password too, for two minutes.
            answer: requests.Response = Registry.do_request.__wrapped__(self, url, method, **options)
        return answer

    def manifest(self, version: str = "") -> tuple[bytes, str, str]:
        """Give a manifest's bytes, media type and digest. Errors: RegistryError; its status is 404 if there is none."""
        answer = self._checked(
            self.do_request(
                self._url("manifests", version or self.reference.version), headers={"Accept": ", ".join(ACCEPTED)}
            ),
            f"there is no {self.reference}",
        )
        digest = digest_of_bytes(answer.content)
        if version.startswith("sha256:") and digest != version:
            raise RegistryError(f"the registry {self.reference.host} sent {digest} in place of {version}")
        return answer.content, answer.headers.get("Content-Type", "").partition(";")[0], digest

    def digest(self, version: str) -> str | None:
        """Give the digest that `version` names now; None if there is no such manifest."""
        answer = self.do_request(self._url("manifests", version), "HEAD", headers={"Accept": ", ".join(ACCEPTED)})
        if answer.status_code == 404:
            return None
        self._checked(answer, "")
        found: str | None = answer.headers.get("Docker-Content-Digest")
        return found or self.manifest(version)[2]

    def put_manifest(self, content: bytes, media_type: str, version: str) -> requests.Response:
        """Make `version`, a tag or the digest, name a manifest. Errors: RegistryError."""
        answer = self.do_request(
            self._url("manifests", version), "PUT", data=content, headers={"Content-Type": media_type}
        )
        return self._checked(answer, f"{self.reference.host} does not take the manifest")

    def has(self, digest: str) -> bool:
        """Tell whether the repository has a blob. Errors: RegistryError."""
        answer = self.do_request(self._url("blobs", digest), "HEAD")
        if answer.status_code == 404:
            return False
        self._checked(answer, "")
        return True

    def mount(self, digest: str, repository: str) -> bool:
        """Have the registry take a blob over from another of its repositories; False if it would rather be sent it."""
        query = urlencode({"mount": digest, "from": repository})
        answer = self.do_request(f"{self._url('blobs', 'uploads/')}?{query}", "POST", headers={"Content-Length": "0"})
        if answer.status_code == 202:
            self.do_request(self._get_location(answer, self.container), "DELETE")  # the upload that it began instead
        return bool(answer.status_code == 201)

    def send(self, content: Path | bytes, digest: str, size: int, sent: Callable[[int], None] = lambda _: None) -> None:
        """Send a blob; `sent` gets the bytes of each part. It is there whole at the end, or not at all.

        Errors: RegistryError, after it was begun anew a few times.
        """
        layer = {"digest": digest, "size": size}
        for pause in (*_PAUSES, None):
            try:
                return self._send(content, layer, sent)
            except RegistryError as exc:
                if pause is None or 400 <= exc.status < 500:
                    raise RegistryError(f"{exc}; {_left(digest, size)}", exc.status) from exc
                time.sleep(pause)
        return None

    def fetch(self, digest: str) -> Iterator[bytes]:
        """Yield a blob's bytes, not compared with its digest. Errors: RegistryError."""
        with self._answering():
            answer = self._checked(self.get_blob(self.container, digest, stream=True), f"there is no blob {digest}")
            with answer:
                yield from answer.iter_content(CHUNK)

    def _send(self, content: Path | bytes, layer: dict[str, Any], sent: Callable[[int], None]) -> None:
        if isinstance(content, Path) and layer["size"] > CHUNKED:
            self._sent = sent
            try:
                return self._finished(self.chunked_upload(str(content), self.container, layer, chunk_size=CHUNKED))
            except RegistryError as exc:
                if exc.status not in _UNCHUNKED:
                    raise
            finally:
                self._sent = lambda _: None
        self._finished(self.put_upload(content, self.container, layer))
        sent(layer["size"])
        return None

    def put_upload(self, blob: Path | bytes, container: Any, layer: dict[str, Any]) -> requests.Response:
        """Send a blob in one piece, a file as a stream: oras would read it into memory first."""
        begun = self._checked(self.do_request(self._url("blobs", "uploads/"), "POST"), "no upload can be begun")
        place = self._get_location(begun, container)
        headers = {"Content-Length": str(layer["size"]), "Content-Type": "application/octet-stream"}
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': layer['digest']})}"
        if isinstance(blob, bytes):
            return self.do_request(url, "PUT", data=blob, headers=headers)
        with blob.open("rb") as file:
            return self.do_request(url, "PUT", data=file, headers=headers)

    def _finished(self, answer: requests.Response) -> None:
        self._checked(answer, f"{self.reference.host} does not take the blob")

    def _check_200_response(self, response: requests.Response) -> None:
        """Be asked by oras about each chunk."""
        self._checked(response, f"{self.reference.host} does not take a chunk")

    def _url(self, kind: str, name: str) -> str:
        return f"{self.prefix}://{self.reference.api}/v2/{self.reference.repository}/{kind}/{name}"

    def _checked(self, answer: requests.Response, failing: str) -> requests.Response:
        if answer.status_code < 300:
            return answer
        said = _said(answer)
        if answer.status_code == 401:
            raise self.auth.refused(answer)
        where = f"{answer.request.method} of {self.reference.host} answered {answer.status_code}"
        raise RegistryError(f"{failing or where} ({said or where})", answer.status_code)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.SSLError as exc:
            hint = (
                "a registry that speaks plain HTTP is used with --insecure; an authority of one's own goes into "
                f"/etc/docker/certs.d/{self.reference.host}/ca.crt, or a file that SSL_CERT_FILE names"
            )
            raise RegistryError(f"no TLS with {self.reference.host}: {_reason(exc)}; {hint}") from exc
        except (requests.exceptions.RequestException, OSError) as exc:
            raise RegistryError(f"the registry {self.reference.host} does not answer: {_reason(exc)}") from exc


class _Adapter(HTTPAdapter):
    """requests waits for ever unless told otherwise, and oras tells it nothing. `trusted` are the settings for TLS."""

    def __init__(self, trusted: ssl.SSLContext | None = None, **options: Any) -> None:
        self._trusted = trusted
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._trusted, **options)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._trusted, **options)

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or _DEADLINES
        return super().send(request, *args, **options)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request alone: without a word on it, requests would put a login of ~/.netrc in the place of ours."""
    return request


def _retries() -> Retry:
    """Try again what cannot do harm twice; a blob's upload is begun anew as a whole (`Client.send`)."""
    return Retry(
        total=3,
        backoff_factor=0.3,
        backoff_jitter=0.1,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods={"GET", "HEAD"},
        raise_on_status=False,
        retry_after_max=30,
    )


def _reason(exc: Exception) -> str:
    inner = exc.args[0] if exc.args else exc
    reason = getattr(inner, "reason", inner)
    text = str(reason)
    return text.rpartition(": ")[2] if text.startswith(("<", "HTTP")) else text


def _said(answer: requests.Response) -> str:
    try:
        errors = answer.json().get("errors", [])
        return "; ".join(str(error.get("message") or error.get("code")) for error in errors)
    except (ValueError, AttributeError):
        return ""


def _left(digest: str, size: int) -> str:
    return f"while {digest} ({size} bytes) was sent: nothing refers to what arrived of it, and a new build sends only what is missing"
