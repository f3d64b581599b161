"""What reading and writing a CloudEvent costs, ours beside the `cloudevents` library, and as a share of one request.

`python benchmarks/events.py [-o json]`. The rule of the house is to use the library unless it costs more than a
tenth of a request, so the figure that decides is the share. Both sides do the same work: the library parses and writes the
data as JSON, so that is added to ours, which by itself hands bytes on (what the broker needs). A request is measured in the same run: a bare ASGI application
that parses JSON with the standard library, on uvicorn with uvloop and httptools, 32 connections, and its own CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
import socket
import subprocess
import sys
import timeit
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec
import uvicorn
import uvloop
from cloudevents.core.bindings import http as library

from trimtab.events import Envelope, from_cloudevent, to_cloudevent
from trimtab.runtime.binding import Header, is_event, read, write_binary, write_structured
from trimtab.runtime.client import Client

BODY = b'{"station":"blindern","values":[1,2,3],"unit":"celsius"}'
HEADERS: list[Header] = [
    (b"host", b"localhost:8080"),
    (b"user-agent", b"bench"),
    (b"content-type", b"application/json"),
    (b"ce-specversion", b"1.0"),
    (b"ce-type", b"com.example.made"),
    (b"ce-source", b"/stations/blindern"),
    (b"ce-id", b"A234-1234-1234"),
    (b"ce-time", b"2018-04-05T17:31:00Z"),
    (b"ce-drifted", b"true"),
]
SHARE = 0.1
CONNECTIONS = 32


spent: list[float] = []
"""CPU seconds of the serving process when the load began (its start-up and the warm-up do not count)."""


def cpu_seconds() -> float:
    """Give what this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Echo JSON."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = json.dumps(json.loads(body)).encode()
    if scope["method"] == "GET":
        spent.append(cpu_seconds())
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def serve(descriptor: int) -> None:
    """Serve the bare application; when asked to stop, print the CPU seconds between the two GETs."""
    server = uvicorn.Server(uvicorn.Config(bare, lifespan="off", ws="none", log_level="error", access_log=False))
    asyncio.get_running_loop().add_reader(0, setattr, server, "should_exit", True)
    await server.serve(sockets=[socket.socket(fileno=descriptor)])
    print(spent[1] - spent[0])


def request_microseconds(count: int = 32_000) -> float:
    """Give the CPU time that the bare application's process spends on one request."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        child = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        async def load() -> None:
            client = Client(connections=CONNECTIONS)

            async def several(number: int) -> None:
                for _ in range(number):
                    reply = await client.request("POST", url, HEADERS, BODY, timeout=30)
                    assert reply.status == 200

            for number in (50, count // CONNECTIONS):
                await asyncio.gather(*(several(number) for _ in range(CONNECTIONS)))
                await client.request("GET", url, [], b"{}", timeout=30)
            await client.aclose()

        uvloop.run(load())
        out, _ = child.communicate()
    return float(out) / count * 1e6


def microseconds(call: Callable[[], object], number: int = 10_000) -> float:
    """Give the best of five rounds."""
    return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e6


def measure() -> dict[str, float]:
    """Run everything, one after the other."""
    event = read(HEADERS, BODY)
    theirs = to_cloudevent(event)
    structured = write_structured(event)
    decode: Callable[[Any], Any] = msgspec.json.Decoder().decode
    encode = msgspec.json.Encoder().encode
    value = decode(BODY)

    def library_read(headers: list[Header], body: bytes) -> object:
        # Its message takes headers as a dict of str, which somebody has to make of ASGI's.
        names = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return library.from_http_event(library.HTTPMessage(names, body))

    return {
        "bare request": request_microseconds(),
        "is it an event, ours": microseconds(lambda: is_event(HEADERS)),
        "read binary, bytes": microseconds(lambda: read(HEADERS, BODY)),
        "read binary, ours": microseconds(lambda: decode(read(HEADERS, BODY).data)),
        "read binary, library": microseconds(lambda: library_read(HEADERS, BODY)),
        "write binary, ours": microseconds(lambda: write_binary(Envelope(event.attributes, encode(value)))),
        "write binary, library": microseconds(lambda: library.to_binary_event(theirs)),
        "read structured, ours": microseconds(lambda: decode(read(*structured).data)),
        "read structured, library": microseconds(lambda: library_read(*structured)),
        "write structured, ours": microseconds(lambda: write_structured(Envelope(event.attributes, encode(value)))),
        "write structured, library": microseconds(lambda: library.to_structured_event(theirs)),
        "to the library's type": microseconds(lambda: to_cloudevent(event)),
        "from the library's type": microseconds(lambda: from_cloudevent(theirs)),
    }


def table(found: dict[str, float]) -> str:
    """Lay the figures out."""
    request = found["bare request"]
    lines = [f"a bare JSON request costs {request:.1f} us of CPU; the mark is {SHARE:.0%} of that"]
    lines.append("us                    |  ours | library | ratio | share of a request: ours | library")
    for what in ("read binary", "write binary", "read structured", "write structured"):
        ours, theirs = found[f"{what}, ours"], found[f"{what}, library"]
        lines.append(
            f"{what:21} | {ours:5.1f} | {theirs:7.1f} | {theirs / ours:5.1f} | {ours / request:23.0%} | {theirs / request:7.0%}"
        )
    lines.append(f"read binary, data left as bytes: {found['read binary, bytes']:.1f} us")
    lines.append(f"to tell whether a request is an event: {found['is it an event, ours']:.1f} us")
    there, back = found["to the library's type"], found["from the library's type"]
    lines.append(f"to and from the library's type, where a handler asks for it: {there:.1f} and {back:.1f} us")
    return "\n".join(lines)


def main() -> None:
    """Take the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        return uvloop.run(serve(arguments.serve))
    found = measure()
    if arguments.output == "json":
        versions = {name: version(name) for name in ("cloudevents", "uvicorn", "uvloop")}
        print(json.dumps({"python": platform.python_version(), "versions": versions, "microseconds": found}))
    else:
        print(table(found))
    return None


if __name__ == "__main__":
    main()
