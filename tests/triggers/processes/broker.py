"""A broker as a process: `broker.py FILE PORT RECEIVER_PORT`. Both ports are kept by the test (SO_REUSEPORT)."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop

from trimtab.runtime.client import Client
from trimtab.spec import Retry
from trimtab.triggers.abc import Subscription
from trimtab.triggers.broker import Broker, Queue

RETRY = Retry(attempts=10, delay="20ms", max_delay="1s", timeout="5s")


class Receiver:
    """Slots: one receiver, 40 requests at a time."""

    def __init__(self, port: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.broker: Broker

    def url(self, function: str) -> str | None:
        return self.address

    def free(self, function: str) -> int:
        return 40 - self.broker.in_flight(function)


async def main(path: str, port: str, receiver_port: str) -> None:
    receiver = Receiver(receiver_port)
    broker = Broker(Queue(Path(path)), Client(), receiver)
    receiver.broker = broker
    await broker.start()
    await broker.subscribe(
        [
            Subscription(id="receiver/ask", broker="default", filters=[{"prefix": {"type": "ask"}}], retry=RETRY),
            Subscription(id="receiver/reply", broker="default", filters=[{"exact": {"type": "reply"}}], retry=RETRY),
        ]
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(512)
    config = uvicorn.Config(broker.app, lifespan="off", ws="none", log_level="error", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listener])
    await broker.close()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
