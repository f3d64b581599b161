"""100,000 malformed requests and events against the real application: only 4xx, no crash, no growth of memory.

Every case is malformed by construction, so a 2xx is as wrong as a 5xx. All come from one seed; a failing case is shown as
it was sent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import load

SEED = 20261123
IN_PROCESS, WARM_UP, OVER_SOCKETS, RAW = 76_000, 4_000, 12_000, 8_000
assert IN_PROCESS + WARM_UP + OVER_SOCKETS + RAW == 100_000

LIMIT = 100_000
"""Of a body, here."""

Header = tuple[bytes, bytes]
Request = tuple[list[Header], bytes]

HANDLER = '''
async def handler(context, event):
    """Look at everything there is."""
    names = ("body", "data", "headers", "fields", "content_type", "trigger", "id", "method", "path", "size", "timestamp",
             "url", "type", "version", "attributes", "cloudevent", "trace")
    seen = [getattr(event, name) for name in names]
    dict(event.headers)
    event.get_header("accept")
    repr(event)
    return "taken"
'''


class Malformed:
    """Makes requests each of which is wrong in at least one way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds: list[Callable[[], Request]] = [
            self.attribute_missing,
            self.attribute_wrong,
            self.attribute_undecodable,
            self.attribute_name,
            self.attribute_twice,
            self.attribute_content_type,
            self.event_body,
            self.structured,
            self.structured_broken,
            self.structured_format,
            self.batch,
            self.batch_with_one_bad_item,
            self.request_body,
            self.too_large,
        ]

    def request(self) -> Request:
        headers, body = self.random.choice(self.kinds)()
        self.random.shuffle(headers)
        return headers, body

    # Pieces

    def text(self, most: int = 12) -> str:
        return "".join(self.random.choices("abcxyz019-._~ :/?#øé😀\u00a0", k=self.random.randint(0, most)))

    def noise(self, most: int = 40) -> bytes:
        return self.random.randbytes(self.random.randint(1, most))

    def value(self, depth: int = 3) -> Any:
        kind = self.random.randrange(8 if depth else 6)
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        if kind == 7:
            return {self.text(): self.value(depth - 1) for _ in range(self.random.randint(0, 3))}
        return [None, True, self.random.randint(-(2**63), 2**63), self.random.random(), self.text(), ""][kind]

    def members(self) -> dict[str, Any]:
        members = {
            "specversion": "1.0",
            "id": f"i{self.random.random()}",
            "source": "/fuzz",
            "type": "com.example.fuzz",
        }
        if self.random.random() < 0.5:
            members["time"] = "2020-01-01T00:00:00Z"
        if self.random.random() < 0.3:
            members["subject"] = "sübject"
        if self.random.random() < 0.3:
            members[f"ext{self.random.randrange(100)}"] = self.text()
        return members

    def headers(self, content_type: bytes | None = b"application/json") -> list[Header]:
        found = [
            (f"ce-{name}".encode(), value.encode()) for name, value in self.members().items() if value.isprintable()
        ]
        if content_type is not None:
            found.append((b"content-type", content_type))
        if self.random.random() < 0.3:
            found.append((b"accept", self.random.choice([b"*/*;q=x", b"application/msgpack", self.safe_noise()])))
        if self.random.random() < 0.2:
            found.append((b"prefer", b"reply"))
        if self.random.random() < 0.2:
            found.append((b"traceparent", self.random.choice([b"00-0-0-0", self.safe_noise()])))
        return found

    def safe_noise(self) -> bytes:
        """Bytes that a header may hold on the wire."""
        return bytes(byte for byte in self.noise() if byte >= 32 and byte != 127).strip()

    def body(self) -> bytes:
        return json.dumps(self.value()).encode()

    # Events in binary mode

    def attribute_missing(self) -> Request:
        gone = self.random.choice([b"ce-specversion", b"ce-id", b"ce-source", b"ce-type"])
        headers = [header for header in self.headers() if header[0] != gone]
        return headers + ([(gone, b"")] if self.random.random() < 0.5 else []), self.body()

    WRONG: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
        (b"ce-specversion", (b"0.3", b"1", b"1.00", b"2.0", b"one", b"%31.1", b"-1.0")),
        (b"ce-source", (b"a%20b", b"http://[%20]", b"<x>", b"a|b", b"{x}", b"a%25zz", b"%5C", b"^", b"%60")),
        (b"ce-time", (b"noon", b"1", b"2020-13-01T00:00:00Z", b"2020-01-01T25:00:00Z", b"2020-01-01", b"2020-02-30T00:00:00Z",
                      b"0000-01-01T00:00:00Z", b"2020-01-01T00:00:00", b"9999-12-31T23:59:60Z", b"2020-01-01T00:00:00+99:00")),
        (b"ce-subject", (b"",)),
        (b"ce-dataschema", (b"", b"relative", b"/x", b"1http:x", b"x:%20")),
    )  # fmt: skip

    def attribute_wrong(self) -> Request:
        name, wrong = self.random.choice(self.WRONG)
        headers = [header for header in self.headers() if header[0] != name]
        return [*headers, (name, self.random.choice(wrong))], self.body()

    def attribute_undecodable(self) -> Request:
        bad = self.random.choice(
            [b"%C0%A0", b"%FF", b"%ED%A0%80", b"%F5%80%80%80", b"\xff\xfe", b"\xc3(", b"%00", b"%0D%0Ax: y", b"%1F", b"%7F",
             b"%C2%85", b"%EF%BF%BE", b"%EF%B7%90", b"%F4%8F%BF%BF", b'"\\\xff"', b"\x80"]
        )  # fmt: skip
        name = self.random.choice([b"ce-id", b"ce-type", b"ce-source", b"ce-subject", b"ce-ext", b"ce-x"])
        headers = [header for header in self.headers() if header[0] != name]
        value = self.text().strip().encode().replace(b"%", b"") + bad
        return [*headers, (name, value)], self.body()

    def attribute_name(self) -> Request:
        name = self.random.choice(
            [b"ce-", b"ce-a-b", b"ce-a_b", b"ce-a.b", b"ce-data", b"ce-data_base64", b"ce-x~", b"ce-x*"]
        )
        return [*self.headers(), (name, self.text().strip().encode() or b"x")], self.body()

    def attribute_twice(self) -> Request:
        headers = self.headers()
        marked = [header for header in headers if header[0][:3] == b"ce-" or header[0] == b"content-type"]
        return [*headers, self.random.choice(marked)], self.body()

    def attribute_content_type(self) -> Request:
        wrong = self.random.choice(
            [b"json", b"/", b"a/", b"/json", b"a b/c", b"text/plain\xff", b"a/b; \xc3\xb8", b"a/b,c/d"]
        )
        if self.random.random() < 0.3:
            return [*self.headers(b"text/html"), (b"ce-datacontenttype", b"application/json")], b"x"
        return self.headers(wrong), self.body()

    def event_body(self) -> Request:
        content_type, body = self.mistyped()
        return self.headers(content_type), body

    # Structured and batched

    def wrong_members(self) -> dict[str, Any]:
        members = self.members()
        choice = self.random.randrange(8)
        if choice == 0:
            del members[self.random.choice(["specversion", "id", "source", "type"])]
        elif choice == 1:
            name = self.random.choice(["specversion", "id", "source", "type", "time", "subject", "datacontenttype"])
            members[name] = self.random.choice([1, 1.5, True, [], {}, [[]], "", "\x00", "\ufffe", " \x1f"])
        elif choice == 2:
            members["ext"] = self.random.choice(
                [0.5, 2**31, -(2**31) - 1, 10**30, [], {}, ["a"], "\x00", "\x7f", 1e300]
            )
        elif choice == 3:
            members[self.random.choice(["Ext", "e-x", "e_x", "", "ø", " ", "x" * 50 + "!", "\x00"])] = self.text()
        elif choice == 4:
            members["data_base64"] = self.random.choice(["!", "AP8", "AP8=\n", "ø", "=", "A===", 5, True, [], {}])
        elif choice == 5:
            members |= {"data": self.value(), "data_base64": "AP8="}
        elif choice == 6:
            members |= {"datacontenttype": "text/plain", "data": self.random.choice([1, True, [], {}, 0.5, {"a": []}])}
        else:
            members["time"] = self.random.choice(["noon", "", "2020-01-01T00:00:00", "2020-02-31T00:00:00Z", 0])
        return members

    def structured(self) -> Request:
        return self.of_type(b"application/cloudevents+json"), json.dumps(self.wrong_members()).encode()

    def of_type(self, content_type: bytes) -> list[Header]:
        extra = self.headers(None) if self.random.random() < 0.2 else []
        suffix = self.random.choice([b"", b"; charset=utf-8", b";charset=UTF-8; x=y"])
        return [*extra, (b"content-type", content_type + suffix)]

    def structured_broken(self) -> Request:
        headers = self.of_type(b"application/cloudevents+json")
        return headers, self.broken_json(json.dumps({**self.members(), "data": self.value()}).encode())

    def structured_format(self) -> Request:
        kind = self.random.choice([b"", b"+xml", b"+avro", b"+protobuf", b"+jsonx", b"json", b"/json"])
        return self.of_type(b"application/cloudevents" + kind), json.dumps(self.members()).encode()

    def batch(self) -> Request:
        headers = self.of_type(b"application/cloudevents-batch+json")
        good = json.dumps([self.members() for _ in range(3)]).encode()
        wrong = [
            b"",
            b"{}",
            b"1",
            b"[1]",
            b"[[]]",
            b"[null]",
            b'["x"]',
            b"[{}]",
            b"null",
            json.dumps(self.members()).encode(),
        ]
        return headers, self.broken_json(good) if self.random.random() < 0.5 else self.random.choice(wrong)

    def batch_with_one_bad_item(self) -> Request:
        items = [self.members() for _ in range(self.random.randint(0, 5))]
        items.insert(self.random.randint(0, len(items)), self.wrong_members())
        return self.of_type(b"application/cloudevents-batch+json"), json.dumps(items).encode()

    # Bodies

    def request_body(self) -> Request:
        content_type, body = self.mistyped()
        return [(b"content-type", content_type), (b"accept", self.safe_noise())], body

    def too_large(self) -> Request:
        headers = self.headers() if self.random.random() < 0.5 else []
        return headers, b" " * (LIMIT + self.random.randint(1, 1000))

    def broken_json(self, good: bytes) -> bytes:
        """Give bytes that are no JSON document in UTF-8."""
        kind = self.random.randrange(12)
        if kind == 0:
            return good[: self.random.randrange(1, len(good))] if good[:1] in b'[{"' else good + b"]"
        if kind == 1:
            return good + self.random.choice([b"]", b"}", b",", b"x", b"\x00", b" 1"])
        if kind == 2:
            return self.random.choice(
                [b"[NaN]", b"[Infinity]", b"-Infinity", b"[1,]", b"{,}", b"{'a':1}", b"01", b"+1", b"1.", b".5"]
            )
        if kind == 3:
            return b"[" * self.random.randint(2_000, 20_000)
        if kind == 4:
            depth = self.random.randint(5_000, 20_000)
            return b'{"a":' * depth + b"1" + b"}" * depth
        if kind == 5:
            return b'["' + self.random.choice([b"\xff", b"\xc0\xa0", b"\xed\xa0\x80", b"\x00", b"\n", b"\x1f"]) + b'"]'
        if kind == 6:
            return self.random.choice(
                [b'["\\ud800"]', b'["\\udc00\\ud800"]', b'["\\x41"]', b'["\\u12"]', b'["\\"]', b'"']
            )
        if kind == 7:
            return b"\xef\xbb\xbf" + good
        if kind == 8:
            return good.decode().encode(self.random.choice(["utf-16", "utf-32"]))
        if kind == 9:
            return b"\xff" + self.noise()
        if kind == 10:
            position = self.random.randrange(len(good))
            return good[:position] + self.random.choice([b"\x00", b"\xff", b"\x01"]) + good[position:]
        return self.random.choice(
            [b"tru", b"nul", b"undefined", b"<a/>", b"a=b", b"--x\r\n", b"\x93NUMPY", b"\x80\x04K\x01."]
        )

    def broken_msgpack(self) -> bytes:
        good = msgspec.msgpack.encode({"a": self.value(), "b": [1, 2, 3]})
        kind = self.random.randrange(9)
        if kind == 0:
            return good[: self.random.randrange(1, len(good))]
        if kind == 1:
            return good + b"\x01"
        if kind == 8:
            return msgspec.msgpack.encode(self.bad_old_array())
        if kind == 2:
            return b"\xc1" + self.noise()
        if kind == 3:
            return b"\x91" * self.random.randint(2_000, 20_000) + b"\x01"
        if kind == 4:
            return b"\xa2\xff\xfe"
        if kind == 5:
            return self.random.choice(
                [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\x01", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
            )
        if kind == 6:
            return msgspec.msgpack.encode(self.bad_array())
        return b"\xd6\xff" + b"\xff\xff\xff"

    def bad_array(self) -> msgspec.msgpack.Ext:
        """Give an array (see runtime/arrays.py) whose description does not fit its content."""
        dtype = self.random.choice(["|O", "<f8", "<i4", "<f3", "x", "", 5, None, [["a", "|O"]], "<U99999999"])
        shape = self.random.choice([[2**40, 2**40], [-1], ["a"], None, 3.5, [10**6], [1, 2, 3, 4, 5]])
        header = msgspec.msgpack.encode([dtype, shape, self.random.choice(["C", "F", "Z", None])])
        length = self.random.choice([len(header), 0, 2**32 - 1, len(header) + 1])
        offset = self.random.choice([16 + len(header), 0, 2**32 - 1])
        return msgspec.msgpack.Ext(
            78, offset.to_bytes(4, "little") + length.to_bytes(4, "little") + bytes(8) + header + self.noise()
        )

    def bad_old_array(self) -> dict[bytes, Any]:
        """Give an array as msgpack-numpy writes them, with one field that is wrong."""
        good = {b"nd": True, b"type": b"<f8", b"kind": b"", b"shape": [2], b"data": bytes(16)}
        fields: list[tuple[bytes, list[Any]]] = (
            [(b"shape", [[-1], 5, "ab", None, [3], [2, "x"], [1.0], {}, [[1]]]),
             (b"type", [b"|O", "O", 5, None, [], [["a"]], [["a", "|O"]], [[b"a", b"<f8"], b"x"], b"<f3", "\u00f8"]),
             (b"data", [b"", bytes(3)])]
        )  # fmt: skip
        name, wrong = self.random.choice(fields)
        return {**good, name: self.random.choice(wrong)}

    def mistyped(self) -> tuple[bytes, bytes]:
        """Give a content type and a body that is not of it."""
        kind = self.random.randrange(4)
        if kind <= 1:
            name = self.random.choice([b"application/json", b"text/json", b"application/vnd.x+json; charset=utf-8"])
            return name, self.broken_json(json.dumps(self.value()).encode())
        if kind == 2:
            return self.random.choice([b"application/msgpack", b"application/x-msgpack"]), self.broken_msgpack()
        name, body = self.random.choice(
            [(b"text/plain", b"\xff\xfe"), (b"text/html; charset=ascii", "ø".encode()), (b"text/plain; charset=nonsense", b"x"),
             (b"text/csv; charset=utf-16", b"\x00"), (b"text/plain; charset=rot13", b"x"), (b"text/x;charset=utf-8", b"\xc0\xa0"),
             (b'text/x; charset="hex"', b"zz"), (b"application/json; charset=nonsense", b"{}"), (b"text/x; charset=zlib", b"x")]
        )  # fmt: skip
        return name, body


# Against the application itself


class Calls:
    """An ASGI server of the smallest kind."""

    def __init__(self, app: Any, seed: int) -> None:
        self.app = app
        self.random = random.Random(seed)

    async def __call__(self, headers: list[Header], body: bytes) -> tuple[int, bytes]:
        scope = {
            "type": "http",
            "method": self.random.choice(["POST", "PUT", "GET", "X"]),
            "path": self.random.choice(["/", "/a/b", "//", "/ø", "/%00\x00", "/healthz/"]),
            "query_string": self.random.choice([b"", b"a=b", b"%zz&&&=;", b"\xff=\xff", b"a=" + b"x" * 1000]),
            "headers": headers,
            "scheme": "http",
        }
        cut = self.random.randrange(len(body) + 1) if self.random.random() < 0.2 else len(body)
        messages = [
            {"type": "http.request", "body": body[:cut], "more_body": cut < len(body)},
            {"type": "http.request", "body": body[cut:], "more_body": False},
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@contextmanager
def replica(folder: Path) -> Iterator[App]:
    (folder / "fuzzed_handler.py").write_text(HANDLER)
    yield App(load("fuzzed_handler:handler", folder), ReplicaConfig(body_limit=LIMIT))
    sys.modules.pop("fuzzed_handler", None)


def check(status: int, answer: bytes, headers: list[Header], body: bytes) -> None:
    if not 400 <= status < 500 or not msgspec.json.decode(answer).get("error"):
        pytest.fail(f"answered {status} {answer[:500]!r} to {headers!r} {body[:2000]!r}")


STRANGE: list[Request] = [
    ([(b"ce-time", b"2016-12-31t23:59:60z")], b"{}"),
    ([(b"ce-time", b"0001-01-01T00:00:00+23:59")], b"{}"),
    ([(b"ce-ext", b"%F0%9F%98%80"), (b"ce-source", "/ø".encode())], b"{}"),
    ([(b"content-type", b"application/json")], b"1" * 5000),
    ([(b"content-type", b"application/json")], b"1e999"),
    ([(b"content-type", b"application/json")], b'{"a":1,"a":2}'),
    ([(b"content-type", b"application/json")], b"[" * 500 + b"]" * 500),
    ([(b"content-type", b"text/plain; charset=punycode")], b"x-"),
    ([(b"content-type", b"text/plain; charset=a\x00b")], b"x"),
    ([(b"content-type", b"text/plain; charset=unicode_escape")], b"\\ud800"),
    ([(b"content-type", b"application/x-www-form-urlencoded")], b"a=%ff&&=&%"),
    ([(b"content-type", b"multipart/form-data")], b"--"),
    ([(b"content-type", b"application/msgpack")], msgspec.msgpack.encode({1: 2, None: [], (1, 2): 3})),
    ([(b"content-type", b"application/msgpack")], b"\x81\x80\x01"),
    ([(b"content-type", b"application/msgpack")], b"\xd7\xff" + bytes(8)),
    ([(b"content-type", b"application/msgpack")], b"\xd4\x05\x00"),
    ([(b"x-request-id", b"\xff"), (b"host", b"\xff\xfe"), (b"cookie", b"=")], b""),
]


@pytest.mark.parametrize("number", range(len(STRANGE)))
def test_strange_requests_are_no_reason_to_fail(tmp_path: Path, number: int) -> None:
    """What the standards allow, or nearly: taken or refused, but not an error of ours."""
    headers, body = STRANGE[number]

    async def main() -> None:
        with replica(tmp_path) as app:
            await app.startup()
            if any(name.startswith(b"ce-") for name, _ in headers):
                own = {name for name, _ in headers}
                required = {b"ce-specversion": b"1.0", b"ce-id": b"1", b"ce-source": b"/s", b"ce-type": b"t"}
                headers.extend((name, value) for name, value in required.items() if name not in own)
            status, answer = await Calls(app, SEED)(headers, body)
            assert status < 500, answer
            await app.shutdown()

    uvloop.run(main())


@pytest.mark.slow
def test_malformed_requests_get_4xx_and_leave_no_memory_behind(tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()

    async def run(app: App, made: Malformed, calls: Calls, count: int) -> None:
        for _ in range(count):
            headers, body = made.request()
            status, answer = await calls(headers, body)
            statuses[status] += 1
            check(status, answer, headers, body)

    async def main() -> None:
        with replica(tmp_path) as app:
            await app.startup()
            app.ready = True
            made, calls = Malformed(SEED), Calls(app, SEED)
            await run(app, made, calls, WARM_UP)
            gc.collect()
            objects = len(gc.get_objects())
            tracemalloc.start()
            await run(app, made, calls, IN_PROCESS // 4)
            gc.collect()
            early = tracemalloc.get_traced_memory()[0]
            await run(app, made, calls, IN_PROCESS - IN_PROCESS // 4)
            gc.collect()
            late = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert len(gc.get_objects()) - objects < 2_000
            assert late - early < 500_000
            assert app.limiter.in_flight == 0
            await app.shutdown()

    uvloop.run(main())
    assert statuses.total() == IN_PROCESS + WARM_UP
    assert set(statuses) == {400, 413}


# Over sockets, to a replica in a process of its own

SERVER = """
import asyncio, logging, socket, sys
from pathlib import Path
import uvloop
from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import load
from trimtab.runtime.server import Server

async def main():
    app = App(load("fuzzed_handler:handler", Path(sys.argv[1])), ReplicaConfig(body_limit=int(sys.argv[2])))
    await app.startup()
    app.ready = True
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setblocking(False)
    server = Server(app, [sock])
    asyncio.get_running_loop().add_reader(0, server.stop)
    print(sock.getsockname()[1], flush=True)
    await server.serve()
    await app.shutdown()

logging.basicConfig(level=logging.WARNING)
uvloop.run(main())
"""


class Process:
    """The replica: told to stop by the end of its input."""

    def __init__(self, folder: Path) -> None:
        (folder / "fuzzed_handler.py").write_text(HANDLER)
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder, str(LIMIT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    @property
    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def stop(self) -> str:
        """End it; gives its log."""
        self.process.communicate(timeout=30)
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        return text


def message(headers: list[Header], body: bytes) -> bytes:
    lines = [b"POST / HTTP/1.1", b"host: fuzz", b"content-length: %d" % len(body)]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer; status 0 where the server closed the connection without."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None
    )
    body = await (reader.read() if length is None else reader.readexactly(length))
    return int(head.split(b" ")[1]), body


async def several(count: int, job: Callable[[int], Any], at_a_time: int = 16) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await job(number)

    await asyncio.gather(*(worker() for _ in range(at_a_time)))


def raw_requests(seed: int) -> Iterator[tuple[bytes, bool]]:
    """Give bytes that are no HTTP request, and whether they are complete enough to deserve an answer."""
    made = random.Random(seed)
    good = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    head = b"POST / HTTP/1.1\r\nhost: x\r\n"
    while True:
        kind = made.randrange(12)
        noise = made.randbytes(made.randint(1, 60))
        if kind == 0:
            yield b"\x00" + noise + b"\r\n\r\n", True
        elif kind == 1:
            yield good[: made.randrange(1, len(good))], False
        elif kind == 2:
            line = made.choice([b"P\x00ST / HTTP/1.1", b"POST / HTTP/9.9", b"POST / HTTQ/1.1", b"POST  HTTP/1.1", b"/ POST HTTP/1.1", b"post / HTTP/1.1",
                                b"POST / HTTP/1.", b"GET \xff HTTP/1.1", b"PRI * HTTP/2.0", b"POST /\x00 HTTP/1.1", b"POST"])  # fmt: skip
            yield line + b"\r\nhost: x\r\n\r\n", True
        elif kind == 3:
            length = made.choice([b"-1", b"x", b"1e3", b"99999999999999999999999", b"0x10", b"", b"1 2", b"+1"])
            yield head + b"content-length: " + length + b"\r\n\r\n{}", True
        elif kind == 4:
            yield head + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", True
        elif kind == 5:
            yield head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", True
        elif kind == 6:
            chunk = made.choice(
                [b"zz\r\n", b"-1\r\n", b"fffffffffffffffffff\r\n", b"2\r\n{}xx", b"\r\n", b"2;\x00\r\n{}\r\n"]
            )
            yield head + b"transfer-encoding: chunked\r\n\r\n" + chunk, True
        elif kind == 7:
            yield (
                head
                + made.choice(
                    [b"no colon\r\n", b"a b: c\r\n", b": x\r\n", b"x\x00: y\r\n", b"x: \x00\r\n", b"x(: y\r\n"]
                )
                + b"\r\n",
                True,
            )
        elif kind == 8:
            yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise, True
        elif kind == 9:
            position = made.randrange(len(good) - 20)
            yield good[:position] + b"\x00" + good[position:], True
        elif kind == 10:
            yield b"\r\n" * made.randint(0, 5) + b"\x7f" + noise, True
        else:
            yield head + b"transfer-encoding: " + made.choice([b"gzip", b"chunked, gzip", b"x"]) + b"\r\n\r\nxx", True


def test_malformed_requests_over_sockets_crash_nothing_and_leave_no_memory_behind(tmp_path: Path) -> None:
    server = Process(tmp_path)
    statuses: Counter[int] = Counter()
    made, raw = Malformed(SEED + 1), raw_requests(SEED + 1)

    async def framed(_: int) -> None:
        """Several malformed events one after the other on one connection, which survives them."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(10):
            headers, body = made.request()
            writer.write(message(headers, body))
            status, answer = await answer_of(reader)
            statuses[status] += 1
            check(status, answer, headers, body)
            if status == 413:
                break
        writer.close()

    async def unframed(_: int) -> None:
        """Bytes that are no HTTP, each on a connection of its own."""
        data, complete = next(raw)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        status = int(answer.split(b" ")[1]) if answer else 0
        statuses[status] += 1
        if answer or complete:
            assert 400 <= status < 500 or (status == 0 and not complete), (status, answer, data)
        writer.close()

    async def main() -> None:
        await several(200, framed)
        await several(1_000, unframed)
        before = server.memory
        while sum(statuses.values()) < OVER_SOCKETS + RAW - 7_000:
            await several(50, framed)
        await several(7_000, unframed)
        assert server.memory - before < 8 * 1024 * 1024
        # It still works.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(message([(b"content-type", b"application/json")], b"{}"))
        assert (await answer_of(reader)) == (200, b"taken")
        writer.close()

    uvloop.run(main())
    log = server.stop()
    assert server.process.returncode == 0, log
    assert "Traceback" not in log, log
    assert sum(statuses.values()) >= OVER_SOCKETS + RAW
    assert set(statuses) == {0, 400, 413}
