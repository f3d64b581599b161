"""The limit: an ASGI application that parses JSON, writes it again, and does nothing else."""

from __future__ import annotations

import json
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo JSON with the standard library."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    out = json.dumps(json.loads(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(out))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": out})
