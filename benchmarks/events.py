"""What reading and writing a CloudEvent costs, ours beside the `cloudevents` library, and as a share of one request.

The rule of the house is to use the library unless it costs more than a tenth of a request, so the figure that decides is
the share. Both sides do the same work: the library parses and writes the data as JSON, so that is added to ours, which by
itself hands bytes on (what the broker needs). A request is measured in the same run: the CPU time of the bare ASGI
application on uvicorn with uvloop and httptools.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from cloudevents.core.bindings import http as library

from benchmarks.load import echo
from benchmarks.rounds import Effort, alternate
from benchmarks.row import Row
from benchmarks.server import bare, cpu, serving
from trimtab.events import Envelope, from_cloudevent, to_cloudevent
from trimtab.runtime.binding import Header, is_event, read, write_binary, write_structured

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
_WORK = ("read binary", "write binary", "read structured", "write structured")


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    calls = _calls()
    found = alternate(
        {name: partial(_microseconds, call, int(effort.seconds * 3000)) for name, call in calls.items()}, effort.rounds
    )
    request = _request(effort)

    def share(name: str) -> list[float]:
        return [value / request * 100 for value in found[name]]

    return [
        *(
            Row(
                what=f"CloudEvent, {work}",
                unit="us",
                ours=found[f"{work}, ours"],
                beside="`cloudevents` library",
                theirs=found[f"{work}, library"],
            )
            for work in _WORK
        ),
        Row(
            what="CloudEvent, read binary, of a bare request",
            unit="%",
            ours=share("read binary, ours"),
            beside="`cloudevents` library",
            theirs=share("read binary, library"),
        ),
        Row(what="CloudEvent, telling whether a request is one", unit="us", ours=found["is it an event"]),
        Row(what="CloudEvent, to the library's type", unit="us", ours=found["to the library's type"]),
        Row(what="CloudEvent, from the library's type", unit="us", ours=found["from the library's type"]),
    ]


def _request(effort: Effort) -> float:
    """Give the CPU microseconds that the bare application's process spends on one request."""
    with serving(bare()) as server:
        echo(server.port, 0.2)
        before = cpu(server.pid)
        rate = echo(server.port, effort.seconds)
        return (cpu(server.pid) - before) / (rate.answered or 1) * 1e6


def _microseconds(call: Callable[[], object], number: int) -> float:
    return timeit.timeit(call, number=number) / number * 1e6


def _calls() -> dict[str, Callable[[], object]]:
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
        "is it an event": lambda: is_event(HEADERS),
        "read binary, ours": lambda: decode(read(HEADERS, BODY).data),
        "read binary, library": lambda: library_read(HEADERS, BODY),
        "write binary, ours": lambda: write_binary(Envelope(event.attributes, encode(value))),
        "write binary, library": lambda: library.to_binary_event(theirs),
        "read structured, ours": lambda: decode(read(*structured).data),
        "read structured, library": lambda: library_read(*structured),
        "write structured, ours": lambda: write_structured(Envelope(event.attributes, encode(value))),
        "write structured, library": lambda: library.to_structured_event(theirs),
        "to the library's type": lambda: to_cloudevent(event),
        "from the library's type": lambda: from_cloudevent(theirs),
    }
