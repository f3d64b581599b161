"""A function as a process: `receiver.py FILE PORT`. It writes down the id of each event before it answers.

It answers an event of type `ask` with an event `reply-<id>`, one of type `ask.bad` with 400, and one in twenty with 503.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
import uvloop

from trimtab.events import Envelope
from trimtab.runtime.binding import read, write_binary

Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        body = (await receive())["body"]
        event = read(scope["headers"], body)
        if random.random() < 0.05:
            return await answer(send, 503)
        os.write(self.file, f"{event.id}\n".encode())
        if event.type == "ask.bad":
            return await answer(send, 400)
        if event.type == "reply":
            return await answer(send, 202)
        attributes = {"specversion": "1.0", "id": f"reply-{event.id}", "source": "/receiver", "type": "reply"}
        headers, data = write_binary(Envelope(attributes, body))
        await answer(send, 200, headers, data)
        return None


async def answer(send: Send, status: int, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b"") -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or ()), length]})
    await send({"type": "http.response.body", "body": body})


async def main(path: str, port: str) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(512)
    config = uvicorn.Config(App(path), lifespan="off", ws="none", log_level="error", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
