"""Events that start runs: what a function is to the broker, a job is through this sink.

A POST of a CloudEvent to `/-/jobs/<name>` starts one run of the deployed job and answers 202, as Knative's JobSink does
(knative/eventing cmd/jobsink). The run's id is made from the event's source and id, so an event that is delivered twice
starts one run. The run finds the event in JSON at `K_EVENT_PATH`.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import EventError, NotFound, TrimtabError
from trimtab.events import to_json
from trimtab.runtime import binding

if TYPE_CHECKING:
    from trimtab.deploy.local.daemon import Daemon

logger = logging.getLogger("trimtab.jobsink")

PREFIX = "/-/jobs/"
_LARGEST = 8 * 2**20


class JobSink:
    """An ASGI application over the daemon's runs."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        status, answer = await self._answer(scope, receive)
        body = msgspec.json.encode(answer) if answer is not None else b""
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Any) -> tuple[int, dict[str, str] | None]:
        if scope["method"] != "POST":
            return 405, {"error": "a job is started by a POST of a CloudEvent"}
        body = await _body(receive)
        if body is None:
            return 413, {"error": f"an event for a job has at most {_LARGEST} bytes"}
        try:
            envelope = binding.read(scope["headers"], body)
            await self._start(scope["path"].removeprefix(PREFIX).rstrip("/"), to_json(envelope))
        except EventError as exc:
            return 400, {"error": str(exc)}
        except NotFound as exc:
            return 404, {"error": str(exc)}
        except TrimtabError as exc:
            logger.error("%s: %s", scope["path"], exc)
            return 503, {"error": "the run could not be started; the daemon's log says why"}
        return 202, None

    async def _start(self, name: str, event: dict[str, Any]) -> None:
        service = self.daemon.service(name)
        if not service.is_job:
            raise NotFound(f"{name!r} is not a job: send events to {service.url}")
        identity = hashlib.sha256(f"{name}\0{event['source']}\0{event['id']}".encode()).hexdigest()[:16]
        await self.daemon.runs.start(service.document(), {}, {}, None, identity=identity, event=event)


async def _body(receive: Any) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LARGEST:
            return None
        if not message.get("more_body"):
            return bytes(body)
