"""What a handler returns, and what comes over the wire: for plain requests, of every kind of handler."""

from __future__ import annotations

import http.client
import json
import os
from typing import Any

import msgpack
import numpy as np
import pytest

from trimtab.errors import ImportFailed
from trimtab.runtime.codec import decode, to_msgpack

RETURNS = """
import numpy as np, pandas as pd
from http import HTTPStatus

def answers(context):
    return {
        "str": "text", "bytes": b"\\x00\\xff", "dict": {"a": 1}, "list": [1, 2], "none": None, "number": 1.5, "bool": True,
        "tuple": (201, {"made": True}), "enum": (HTTPStatus.CREATED, "made"), "nothing": (204, "dropped"),
        "pair": ["not", "a status"], "array": np.arange(3), "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        "scalar": np.float32(0.5), "headers": {},
        "response": context.Response(body={"a": 1}, status_code=202, headers={"X-Own": "1", "Set-Cookie": ["a=1", "b=2"]}),
        "typed": context.Response(body="<p>", content_type="text/html"),
        "framed": context.Response(body="abc", headers={"Content-Length": "1", "Transfer-Encoding": "chunked"}),
        "injected": context.Response(body="x", headers={"X-Own": "a\\r\\nset-cookie: b"}),
        "badname": context.Response(body="x", headers={"X Own": "a"}),
        "badstatus": (999, "x"), "early": (100, "x"), "object": object(), "deep": {"a": [object()]}, "surrogate": "\\ud800",
    }

async def handler(context, event):
    value = answers(context)[event.path[1:]]
    return event.headers if event.path == "/headers" else value
"""


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("str", 200, "text/plain; charset=utf-8", b"text"),
        ("bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("dict", 200, "application/json", b'{"a":1}'),
        ("list", 200, "application/json", b"[1,2]"),
        ("pair", 200, "application/json", b'["not","a status"]'),
        ("none", 200, None, b""),
        ("number", 200, "application/json", b"1.5"),
        ("bool", 200, "application/json", b"true"),
        ("tuple", 201, "application/json", b'{"made":true}'),
        ("enum", 201, "text/plain; charset=utf-8", b"made"),
        ("array", 200, "application/json", b"[0,1,2]"),
        ("frame", 200, "application/json", b'[{"a":1,"b":"x"},{"a":2,"b":null}]'),
        ("scalar", 200, "application/json", b"0.5"),
        ("response", 202, "application/json", b'{"a":1}'),
        ("typed", 200, "text/html", b"<p>"),
        ("framed", 200, "text/plain; charset=utf-8", b"abc"),
        ("nothing", 204, "text/plain; charset=utf-8", b""),
    ],
)
def test_each_form_of_answer(serve: Any, path: str, status: int, content_type: str | None, body: bytes) -> None:
    reply = serve(RETURNS).ask(path=f"/{path}")
    assert (reply.status, dict(reply.headers).get("content-type"), reply.body) == (status, content_type, body)


def test_a_responses_headers_are_sent_and_lists_are_sent_one_by_one(serve: Any) -> None:
    headers = serve(RETURNS).ask(path="/response").headers
    assert ("x-own", "1") in headers
    assert [value for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]


def test_an_events_headers_can_be_the_answer(serve: Any) -> None:
    assert serve(RETURNS).ask(path="/headers", headers={"X-Own": "1"}).json["x-own"] == "1"


@pytest.mark.parametrize(
    "path", ["injected", "badname", "badstatus", "early", "object", "deep", "surrogate", "missing"]
)
def test_what_cannot_be_sent_is_the_handlers_error_and_no_secret_is_told(
    serve: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    reply = serve(RETURNS).ask(path=f"/{path}")
    assert reply.status == 500
    assert reply.json.keys() == {"error", "id"}
    assert reply.json["error"] == "internal error"
    assert "set-cookie" not in reply
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.__dict__["fields"]["id"] == reply.json["id"]
    assert "Error" in record.__dict__["fields"]["traceback"]


# Content types

ECHO = "async def handler(context, event):\n    return event.body\n"
SEEN = "async def handler(event):\n    return [type(event.body).__name__, event.body if event.body != b'' else None]\n"


@pytest.mark.parametrize(
    ("content_type", "body", "seen"),
    [
        ("application/json", b'{"a": [1, null]}', ["dict", {"a": [1, None]}]),
        ("application/vnd.api+json; charset=utf-8", b"[1]", ["list", [1]]),
        ("application/json; charset=latin-1", '"é"'.encode("latin-1"), ["str", "é"]),
        ("application/msgpack", msgpack.packb({"a": b"x"}), ["dict", {"a": "eA=="}]),
        ("application/x-msgpack", msgpack.packb(5), ["int", 5]),
        ("text/plain", "é".encode(), ["Text", "é"]),
        ("text/csv; charset=latin-1", b"\xe9", ["Text", "é"]),
        ("application/octet-stream", b"abc", ["bytes", "YWJj"]),
        (None, b"abc", ["bytes", "YWJj"]),
        ("application/json", b"", ["bytes", None]),
        ("application/x-www-form-urlencoded", b"a=1", ["bytes", "YT0x"]),
    ],
)
def test_a_body_is_what_its_content_type_says(serve: Any, content_type: str | None, body: bytes, seen: Any) -> None:
    assert serve(SEEN).ask(body, content_type, headers={"accept": "application/json"}).json == seen


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b'"\xff"'),
        ("application/json", b"[" * 5000),
        ("application/json; charset=klingon", b"{}"),
        ("application/msgpack", b"\xc1"),
        ("application/msgpack", b"\x91" * 5000),
        ("application/msgpack", b"\x81\x80\x01"),
        ("text/plain", b"\xff"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_400_and_never_bytes(serve: Any, content_type: str, body: bytes) -> None:
    reply = serve(ECHO).ask(body, content_type)
    assert reply.status == 400
    assert "the body is not what its content type" in reply.json["error"]


def test_msgpack_is_answered_with_msgpack_and_accept_decides(serve: Any) -> None:
    echo = serve(ECHO)
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    body = to_msgpack({"x": array})
    reply = echo.ask(body, "application/msgpack")
    assert reply["content-type"] == "application/msgpack"
    np.testing.assert_array_equal(decode(reply.body, "application/msgpack")["x"], array)
    as_json = echo.ask(body, "application/msgpack", headers={"accept": "application/json"})
    assert as_json.json == {"x": [[0, 1, 2], [3, 4, 5]]}
    packed = echo.ask(b'{"a": 1}', "application/json", headers={"accept": "application/msgpack"})
    assert msgpack.unpackb(packed.body) == {"a": 1}
    assert echo.ask(b'{"a": 1}', "application/json", headers={"accept": "text/html, */*;q=0.1"}).json == {"a": 1}


def test_a_body_of_many_pieces_is_put_together(serve: Any) -> None:
    echo = serve(ECHO)
    connection = echo.connect()
    connection.request(
        "POST", "/", iter([b"[1", b",2", b"]"]), {"content-type": "application/json"}, encode_chunked=True
    )
    assert connection.getresponse().read() == b"[1,2]"
    connection.close()


# Flavours

FLAVOURS = {
    "nuclio": "async def handler(context, event):\n    return event.body",
    "blocking": "def handler(context, event):\n    return event.body",
    "event": "async def handler(event):\n    return event.body",
    "blocking event": "def handler(event):\n    return event.body",
    "class": "class handler:\n    async def __call__(self, context, event):\n        return event.body",
    "class with handle": "class handler:\n    def handle(self, event):\n        return event.body",
    "object": "class A:\n    async def __call__(self, event):\n        return event.body\nhandler = A()",
    "partial": "import functools\nasync def f(x, context, event):\n    return event.body\nhandler = functools.partial(f, 1)",
    "lambda over async": "async def f(event):\n    return event.body\nhandler = lambda event: f(event)",
    "decorated without wraps": (
        "def d(f):\n    def inner(*a, **k):\n        return f(*a, **k)\n    return inner\n"
        "@d\ndef handler(context, event):\n    return event.body"
    ),
    "decorated to block": (
        "import asyncio, functools\ndef d(f):\n    @functools.wraps(f)\n    def inner(*a):\n        return asyncio.run(f(*a))\n"
        "    return inner\n@d\nasync def handler(context, event):\n    return event.body"
    ),
    "event with default": "def handler(context, event=None):\n    return event.body",
    "generator": "def handler(event):\n    yield '{\"a\":'\n    yield b'1}'",
    "async generator": "async def handler(context, event):\n    yield '{\"a\":'\n    yield b'1}'",
    "asgi": """
        async def handler(scope, receive, send):
            message = await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": message["body"]})
        """,
    "starlette": """
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route
        async def echo(request):
            return JSONResponse(await request.json())
        handler = Starlette(routes=[Route("/", echo, methods=["POST"])])
        """,
    "knative": """
        class Function:
            async def handle(self, scope, receive, send):
                message = await receive()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": message["body"]})
        def new():
            return Function()
        """,
}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_kind_of_handler_answers(serve: Any, flavour: str) -> None:
    running = serve(FLAVOURS[flavour])
    for _ in range(2):
        reply = running.ask(b'{"a":1}', "application/json")
        assert (reply.status, json.loads(reply.body)) == (200, {"a": 1})
    assert running.metrics()['trimtab_requests_total{code="200"}'] == 2


def test_a_class_is_made_once_and_loaded_first(serve: Any) -> None:
    running = serve("""
        class Model:
            made = []
            def __init__(self):
                self.made.append("init")
            async def load(self):
                self.made.append("load")
            def __call__(self, context, event):
                return self.made + context.user_data.seen
        def init_context(context):
            context.user_data.seen = ["init_context"]
        """, "Model")  # fmt: skip
    assert running.ask().json == running.ask().json == ["init", "load", "init_context"]


KNATIVE = """
    import os
    from cloudevents.core.v1.event import CloudEvent
    calls = []
    class Function:
        well = True
        async def handle(self, scope, receive, send):
            event = scope.get("event")
            if scope["path"] == "/silent":
                raise ValueError("secret")
            if event is None:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"no event"})
                return
            body = (await receive())["body"]
            made = CloudEvent({"type": "seen", "source": "/f", "id": "2"}, {"got": event.get_data(), "body": body.decode()})
            if scope["path"] == "/structured":
                await send.structured(made, 201)
            elif scope["path"] == "/binary":
                await send.binary(made)
            elif scope["path"] == "/http":
                await send.http({"type": "http.response.start", "status": 204, "headers": []})
                await send.http({"type": "http.response.body"})
            else:
                await send(made)
        def start(self, environment):
            calls.append(("start", environment["PATH"] == os.environ["PATH"]))
        def stop(self):
            calls.append("stop")
        def alive(self):
            return self.well, "sick"
        async def ready(self):
            return self.well
    def new():
        return Function()
    """


def test_a_knative_function_has_its_life_and_its_events(serve: Any) -> None:
    running = serve(KNATIVE)
    assert running.globals["calls"] == [("start", True)]
    assert running.ask(b"x").body == b"no event"
    reply = running.event('{"a": 1}')
    assert (reply.status, reply.event["type"], reply.json) == (200, "seen", {"got": {"a": 1}, "body": '{"a": 1}'})
    assert (running.ask(method="GET", path="/healthz").status, running.ask(method="GET", path="/readyz").status) == (
        200,
        200,
    )
    running.app.loaded.instance.well = False
    assert running.ask(method="GET", path="/health/liveness").json == {"alive": False, "reason": "sick"}
    assert running.ask(method="GET", path="/health/readiness").status == 503
    running.stop()
    assert running.globals["calls"][-1] == "stop"


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [
        ("/structured", 201, "application/cloudevents+json"),
        ("/binary", 200, "application/json"),
        ("/http", 204, None),
    ],
)
def test_a_knative_function_may_say_how_its_event_is_sent(
    serve: Any, path: str, status: int, content_type: str | None
) -> None:
    headers = {f"ce-{k}": v for k, v in {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}.items()}
    reply = serve(KNATIVE).ask("{}", "application/json", path=path, headers=headers)
    assert (reply.status, dict(reply.headers).get("content-type")) == (status, content_type)


def test_a_knative_function_gets_no_malformed_event_and_leaks_no_error(serve: Any) -> None:
    running = serve(KNATIVE, body_limit=1000)
    assert running.event(type="").json["attribute"] == "type"
    assert running.event("{").status == 400
    assert running.event(b"1" * 2000).status == 413
    assert b"secret" not in running.ask(path="/silent").body


LIFESPAN = """
    import contextlib
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    seen = []
    @contextlib.asynccontextmanager
    async def lifespan(app):
        seen.append("opened")
        if {fail}:
            raise ValueError("no model")
        yield {{"model": "m1"}}
        seen.append("closed")
    async def home(request):
        return PlainTextResponse(request.state.model)
    app = Starlette(routes=[Route("/", home)], lifespan=lifespan)
    """


def test_an_applications_lifespan_is_entered_and_left(serve: Any) -> None:
    running = serve(LIFESPAN.format(fail=False))
    assert running.ask(method="GET").body == b"m1"
    assert running.globals["seen"] == ["opened"]
    running.stop()
    assert running.globals["seen"] == ["opened", "closed"]


def test_an_application_that_cannot_start_says_why(serve: Any) -> None:
    with pytest.raises(ImportFailed, match="failed to start: ValueError: no model") as caught:
        serve(LIFESPAN.format(fail=True))
    assert "in lifespan" in caught.value.traceback


def test_an_instance_may_load_by_the_context_read_bodies_itself_and_have_figures(serve: Any) -> None:
    running = serve(
        """
        class Own:
            raw_body = True

            def load(self, context):
                self.seen = [context.config.function]

            async def after_fork(self):
                self.seen.append("after_fork")

            def own_metrics(self, labels):
                return [f"own_total{{{labels}}} 3"]

            def __call__(self, event):
                return {"seen": self.seen, "body": repr(event.body)}
        """,
        "Own",
    )
    reply = running.ask(b"{no json", "application/json")
    assert reply.json == {"seen": ["shop", "after_fork"], "body": "b'{no json'"}
    assert running.metrics()["own_total{}"] == 3


@pytest.mark.parametrize("name", ["init_context", "load", "start", "nothing"])
def test_a_start_that_fails_is_told_with_the_functions_own_frames(serve: Any, name: str) -> None:
    source = f"""
        class A:
            def {name}(self, *given):
                raise SystemExit("no model")
            def __call__(self, event):
                return 1
        def init_context(context):
            if {name == "init_context"}:
                raise KeyError("no model")
        """
    if name == "nothing":
        assert serve(source, "A").ask().json == 1
        return
    with pytest.raises(ImportFailed, match=f"{name} failed: .*no model") as caught:
        serve(source, "A")
    assert "function.py" in caught.value.traceback
    assert os.sep + "runtime" + os.sep not in caught.value.traceback


# Streams

STREAMS = """
import asyncio, threading
closed, go = [], threading.Event()

def plain(event):
    try:
        for number in range(3):
            yield {"number": number}
    finally:
        closed.append("plain")

async def asynchronous(context, event):
    try:
        yield "a"
        yield b"b"
        yield context.Response(body="c")
    finally:
        closed.append("asynchronous")

def failing(event):
    yield "part"
    raise ValueError("secret")

async def leaving(event):
    yield "part"
    raise SystemExit(3)

def failing_first(event):
    if event.path != "/never":
        raise ValueError("secret")
    yield 1

async def typed(context, event):
    def lines():
        yield "a,b"
    return context.Response(body=lines(), content_type="text/csv", status_code=201)

def endless(event):
    try:
        while True:
            yield "x" * 65536
    finally:
        closed.append("endless")

async def endless_async(event):
    try:
        while True:
            yield "x"
            await asyncio.sleep(0.01)
    finally:
        closed.append("endless_async")

def stuck(event):
    try:
        yield "x"
        go.wait(20)
        yield "y"
    finally:
        closed.append("stuck")

async def empty(event):
    return
    yield

async def slow(event):
    for number in range(8):
        yield str(number)
        await asyncio.sleep(0.05)
"""


def test_pieces_are_sent_as_they_come_and_the_stream_is_closed(serve: Any) -> None:
    running = serve(STREAMS, "plain")
    reply = running.ask()
    assert reply.body == b'{"number":0}\n{"number":1}\n{"number":2}\n'
    assert reply["transfer-encoding"] == "chunked"
    assert running.globals["closed"] == ["plain"]


@pytest.mark.parametrize(
    ("name", "status", "body"), [("asynchronous", 200, b"abc"), ("typed", 201, b"a,b"), ("empty", 200, b"")]
)
def test_streams_of_other_kinds(serve: Any, name: str, status: int, body: bytes) -> None:
    reply = serve(STREAMS, name).ask()
    assert (reply.status, reply.body) == (status, body)


@pytest.mark.parametrize("name", ["failing", "leaving"])
def test_a_stream_that_fails_is_cut_and_counted_as_failed(
    serve: Any, name: str, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve(STREAMS, name)
    with pytest.raises(http.client.IncompleteRead) as caught:
        running.ask()
    assert b"secret" not in caught.value.partial
    until(lambda: running.metrics().get('trimtab_requests_total{code="500"}') == 1)
    assert "handler raised" in caplog.text


def test_a_stream_that_fails_before_its_first_piece_is_a_500(serve: Any) -> None:
    reply = serve(STREAMS, "failing_first").ask()
    assert (reply.status, reply.json["error"]) == (500, "internal error")


def test_the_request_timeout_ends_with_the_first_piece(serve: Any) -> None:
    assert serve(STREAMS, "slow", request_timeout=0.1).ask().body == b"01234567"


@pytest.mark.parametrize("name", ["endless", "endless_async"])
def test_a_stream_ends_when_its_caller_goes(serve: Any, until: Any, name: str) -> None:
    running = serve(STREAMS, name)
    sock = running.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    assert sock.recv(100)
    sock.close()
    until(lambda: running.globals["closed"] == [name])
    until(lambda: running.metrics().get('trimtab_requests_total{code="499"}') == 1)
    assert running.app.limiter.in_flight == 0


def test_a_blocked_stream_holds_its_slot_until_its_step_ends(serve: Any, until: Any) -> None:
    running = serve(STREAMS, "stuck", concurrency=1, queue=0)
    sock = running.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    assert sock.recv(100)
    sock.close()
    until(lambda: running.metrics().get('trimtab_requests_total{code="499"}') == 1)
    assert running.app.limiter.in_flight == 1
    assert running.globals["closed"] == []
    running.globals["go"].set()
    until(lambda: running.globals["closed"] == ["stuck"])
    until(lambda: running.app.limiter.in_flight == 0)


def test_a_head_request_gets_headers_alone(serve: Any) -> None:
    reply = serve(RETURNS).ask(method="HEAD", path="/dict")
    assert (reply.status, reply["content-length"], reply.body) == (200, "7", b"")


def test_two_requests_in_one_packet_are_answered_in_order(serve: Any) -> None:
    running = serve("async def handler(event):\n    return event.path\n")
    with running.raw(
        b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    ) as sock:
        received = b""
        while chunk := sock.recv(1000):
            received += chunk
    assert received.index(b"\r\n\r\n/1") < received.index(b"\r\n\r\n/2")


def test_an_application_that_does_not_listen_to_its_lifespan_is_left_in_peace(serve: Any) -> None:
    running = serve("""
        import asyncio
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await asyncio.sleep(30)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
        """)  # fmt: skip
    assert running.ask().body == b"ok"
