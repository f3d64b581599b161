"""The HTTP client against real servers, most of which misbehave."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from trimtab.errors import SendError
from trimtab.runtime.client import Client, Reply

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else uvloop.run


class Exchange:
    """One connection as the server sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number, self.reader, self.writer = number, reader, writer

    async def request(self) -> bytes:
        """Read one whole request; empty when the client is gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            return head + await self.reader.readexactly(int(length[1]) if length else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    def answer(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        self.writer.transport.abort()


class Server:
    """Runs a script per connection; counts connections and keeps the requests that the scripts read."""

    def __init__(self, script: Callable[[Exchange], Awaitable[None]], tls: ssl.SSLContext | None = None) -> None:
        self.script, self.tls = script, tls
        self.server: asyncio.Server
        self.connections = 0
        self.open = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self.script(Exchange(self.connections, reader, writer))
        finally:
            self.open -= 1
            writer.close()
            self.tasks.discard(task)

    @property
    def url(self) -> str:
        port = self.server.sockets[0].getsockname()[1]
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"


@asynccontextmanager
async def serving(
    script: Callable[[Exchange], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(script, tls)
    server.server = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server
    finally:
        server.server.close()
        for task in list(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[Client]:
    made = Client(**settings)
    try:
        yield made
    finally:
        await made.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def always(*answers: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A script that gives these answers in turn, the last one for ever."""

    async def script(exchange: Exchange) -> None:
        for answer in answers:
            if not await exchange.request():
                return
            exchange.answer(answer)
        while await exchange.request():
            exchange.answer(answers[-1])

    return script


def once(answer: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A script that gives one answer and closes the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.request()
        exchange.answer(answer)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Some:  thing \r\n\r\nok"


async def post(http: Client, url: str, body: bytes = b"{}", timeout: float = 10.0) -> Reply:
    return await http.request("POST", url, [(b"content-type", b"application/json")], body, timeout=timeout)


def test_a_request_and_its_answer(run: Run) -> None:
    seen: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        while request := await exchange.request():
            seen.append(request)
            exchange.answer(OK)

    async def main() -> None:
        async with serving(script) as server, client() as http:
            reply = await post(http, server.url + "/a/b c?d=ø", b'{"a":1}')
            assert reply == Reply(200, [(b"content-length", b"2"), (b"x-some", b"thing")], b"ok")
            assert reply.header(b"x-some") == b"thing"
            assert reply.header(b"x-none") is None
            await http.request("GET", server.url, [(b"host", b"other")], timeout=10)
            host = server.url.removeprefix("http://").encode()
            assert seen == [
                b"POST /a/b%20c?d=%C3%B8 HTTP/1.1\r\ncontent-type: application/json\r\nhost: "
                + host
                + b'\r\ncontent-length: 7\r\n\r\n{"a":1}',
                b"GET / HTTP/1.1\r\nhost: other\r\n\r\n",
            ]

    run(main())


@pytest.mark.parametrize(
    ("answer", "status", "body", "kept"),
    [
        (OK, 200, b"ok", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: r\r\n\r\n",
            200,
            b"abc",
            True,
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, 200, b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, b"", True),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\nx", 500, b"x", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 301, b"", True),
    ],
)
def test_answers_and_whether_the_connection_is_kept(
    run: Run, answer: bytes, status: int, body: bytes, kept: bool
) -> None:
    async def main() -> None:
        async with serving(always(answer)) as server, client() as http:
            for _ in range(3):
                reply = await post(http, server.url)
                assert (reply.status, reply.body) == (status, body)
            assert server.connections == (1 if kept else 3)

    run(main())


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
def test_a_body_may_end_with_the_connection(run: Run, head: bytes) -> None:
    async def main() -> None:
        async with serving(once(head + b"to the end")) as server, client() as http:
            assert (await post(http, server.url)).body == b"to the end"

    run(main())


def test_an_answer_may_come_byte_by_byte(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        while await exchange.request():
            for byte in OK:
                exchange.answer(bytes([byte]))
                await exchange.writer.drain()
                await asyncio.sleep(0)

    async def main() -> None:
        async with serving(script) as server, client() as http:
            for _ in range(2):
                assert (await post(http, server.url)).body == b"ok"
            assert server.connections == 1

    run(main())


def test_head_has_no_body_whatever_the_length_says(run: Run) -> None:
    async def main() -> None:
        async with serving(always(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")) as server, client() as http:
            for _ in range(3):
                assert (await http.request("HEAD", server.url, [], timeout=10)).body == b""
            assert server.connections == 1

    run(main())


def test_a_large_body_goes_out_whole(run: Run) -> None:
    body = b"x" * 3_000_000

    async def script(exchange: Exchange) -> None:
        while request := await exchange.request():
            length = str(len(request.partition(b"\r\n\r\n")[2])).encode()
            exchange.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(length), length))

    async def main() -> None:
        # StreamReader.readexactly has no limit, only readuntil has one.
        async with serving(script) as server, client() as http:
            assert (await post(http, server.url, body)).body == b"3000000"

    run(main())


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"", "broken", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "broken", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "broken", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broken", "in the middle"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n", "protocol", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol", "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "protocol", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "protocol", "headers are longer"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 10_000, "broken", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000, "protocol", "longer than 100000"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 200_000, "protocol", "longer than 100000"),
    ],
)
def test_a_broken_answer_is_told_apart(run: Run, answer: bytes, kind: str, text: str) -> None:
    async def main() -> None:
        async with serving(once(answer)) as server, client(response_limit=100_000) as http:
            with pytest.raises(SendError, match=text) as caught:
                await post(http, server.url)
            assert caught.value.kind == kind
            assert server.connections == 1

    run(main())


def test_rubbish_after_an_answer_spoils_only_the_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(always(OK + b"\x00\x01rubbish")) as server, client() as http:
            for _ in range(2):
                assert (await post(http, server.url)).body == b"ok"
            assert server.connections == 2

    run(main())


def test_an_idle_connection_on_which_the_server_speaks_is_not_used_again(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        while await exchange.request():
            exchange.answer(OK)
            if exchange.number == 1:
                await exchange.writer.drain()
                exchange.answer(OK)

    async def main() -> None:
        async with serving(script) as server, client() as http:
            await post(http, server.url)
            await until(lambda: server.open == 0)
            assert (await post(http, server.url)).body == b"ok"
            assert server.connections == 2

    run(main())


def test_a_stale_connection_is_replaced_once(run: Run) -> None:
    """The server drops the idle connection at the moment the next request arrives on it."""
    got: list[int] = []

    async def script(exchange: Exchange) -> None:
        answered = False
        while await exchange.request():
            got.append(exchange.number)
            if answered:
                return exchange.reset()
            exchange.answer(OK)
            answered = True
        return None

    async def main() -> None:
        async with serving(script) as server, client() as http:
            assert (await post(http, server.url)).status == 200
            assert (await post(http, server.url)).status == 200
            assert got == [1, 1, 2]

    run(main())


def test_a_request_on_a_new_connection_is_not_sent_twice(run: Run) -> None:
    got: list[int] = []

    async def script(exchange: Exchange) -> None:
        await exchange.request()
        got.append(exchange.number)

    async def main() -> None:
        async with serving(script) as server, client() as http:
            with pytest.raises(SendError) as caught:
                await post(http, server.url)
            assert caught.value.kind == "broken"
            assert got == [1]

    run(main())


def test_half_an_answer_on_a_used_connection_is_not_sent_again(run: Run) -> None:
    got: list[int] = []

    async def script(exchange: Exchange) -> None:
        for answer in (OK, b"HTTP/1.1 2"):
            await exchange.request()
            got.append(exchange.number)
            exchange.answer(answer)

    async def main() -> None:
        async with serving(script) as server, client() as http:
            await post(http, server.url)
            with pytest.raises(SendError) as caught:
                await post(http, server.url)
            assert caught.value.kind == "broken"
            assert got == [1, 1]

    run(main())


def test_nobody_listens(run: Run) -> None:
    async def main() -> None:
        async with serving(always(OK)) as server:
            url = server.url
        async with client() as http:
            with pytest.raises(SendError, match=r"no connection to 127\.0\.0\.1") as caught:
                await post(http, url)
            assert caught.value.kind == "connect"
            with pytest.raises(SendError, match=r"no connection to no-such-host\.invalid") as caught:
                await post(http, "http://no-such-host.invalid/")
            assert caught.value.kind == "connect"

    run(main())


def test_a_server_that_never_answers(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        while await exchange.request():
            pass

    async def main() -> None:
        async with serving(script) as server, client() as http:
            with pytest.raises(SendError, match="no whole answer in time") as caught:
                await post(http, server.url, timeout=0.05)
            assert caught.value.kind == "timeout"
            await until(lambda: server.open == 0)

    run(main())


def test_a_server_that_takes_the_connection_but_no_tls(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.reader.read()

    async def main() -> None:
        async with serving(script) as server, client(connect_timeout=0.05) as http:
            with pytest.raises(SendError, match="in time") as caught:
                await post(http, server.url.replace("http:", "https:"))
            assert caught.value.kind == "connect"

    run(main())


def test_cancelling_closes_the_connection_and_frees_its_place(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        while await exchange.request():
            if exchange.number > 1:
                exchange.answer(OK)

    async def main() -> None:
        async with serving(script) as server, client(connections=1) as http:
            task = asyncio.create_task(post(http, server.url))
            await until(lambda: server.connections == 1)
            waiting = asyncio.create_task(post(http, server.url))
            given_up = asyncio.create_task(post(http, server.url))
            await asyncio.sleep(0)
            given_up.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert (await waiting).status == 200
            await until(lambda: server.open == 1)

    run(main())


def test_connections_per_origin_are_bounded_and_shared(run: Run) -> None:
    most = 0

    async def main() -> None:
        async def script(exchange: Exchange) -> None:
            nonlocal most
            while await exchange.request():
                most = max(most, server.open)
                await asyncio.sleep(0)
                exchange.answer(OK)

        async with serving(script) as server, client(connections=3) as http:
            replies = await asyncio.gather(*(post(http, server.url) for _ in range(50)))
            assert [reply.status for reply in replies] == [200] * 50
            assert most == server.connections == 3

    run(main())


def test_waiting_for_a_connection_ends_in_time(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.request()
        await exchange.reader.read()

    async def main() -> None:
        async with serving(script) as server, client(connections=1) as http:
            first = asyncio.create_task(post(http, server.url))
            await until(lambda: server.connections == 1)
            with pytest.raises(SendError, match="no free connection in time") as caught:
                await post(http, server.url, timeout=0.02)
            assert caught.value.kind == "timeout"
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main())


def test_idle_connections_are_closed_after_a_while(run: Run) -> None:
    async def main() -> None:
        async with serving(always(OK)) as server, client(idle=0.05) as http:
            await post(http, server.url)
            await until(lambda: server.open == 0)
            assert (await post(http, server.url)).status == 200
            assert server.connections == 2

    run(main())


def test_closing_the_client_ends_what_is_under_way(run: Run) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.request()
        await exchange.reader.read()

    async def main() -> None:
        async with serving(script) as server:
            http = Client(connections=1)
            tasks = [asyncio.create_task(post(http, server.url)) for _ in range(2)]
            await until(lambda: server.connections == 1)
            await http.aclose()
            for task in tasks:
                with pytest.raises(SendError, match="closed"):
                    await task
            with pytest.raises(SendError, match="closed"):
                await post(http, server.url)
            await until(lambda: server.open == 0)

    run(main())


@pytest.mark.parametrize(
    "headers", [[(b"x", b"a\r\nhost: evil")], [(b"x", b"a\nb")], [(b"x\r", b"a")], [(b"x", b"\0")]]
)
def test_a_header_cannot_smuggle_a_line(run: Run, headers: list[tuple[bytes, bytes]]) -> None:
    async def main() -> None:
        async with client() as http:
            with pytest.raises(SendError, match="line break or a null byte"):
                await http.request("POST", "http://127.0.0.1:1/", headers, timeout=1)

    run(main())


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http:///x", "/x", "http://x:99999/", "http://u:secret@x/", "http://[::1/", ""]
)
def test_a_url_that_cannot_be_used(run: Run, url: str) -> None:
    async def main() -> None:
        async with client() as http:
            with pytest.raises(SendError) as caught:
                await post(http, url)
            assert caught.value.kind == "protocol"
            assert "secret" not in str(caught.value)

    run(main())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_https_trusts_the_extra_certificate_and_nobody_unknown(run: Run, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def main() -> None:
        async with serving(always(OK), tls) as server:
            async with client(ca_certs=certificate.read_text()) as http:
                for _ in range(2):
                    assert (await post(http, server.url)).body == b"ok"
                assert server.connections == 1
            async with client() as http:
                with pytest.raises(SendError, match="certificate verify failed") as caught:
                    await post(http, server.url)
                assert caught.value.kind == "connect"

    run(main())
