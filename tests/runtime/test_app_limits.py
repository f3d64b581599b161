"""Errors, limits and the end: what a replica answers when things go wrong, or when there is too much of them."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from typing import Any

import pytest

from trimtab.runtime.app import App
from trimtab.runtime.config import ReplicaConfig
from trimtab.runtime.load import Loaded

HANDLERS = """
import asyncio, threading, time
from trimtab.errors import EventError, PermanentError, TemporaryError
from nuclio_sdk import ExceptionWithResponse

go = threading.Event()
inside, most, order = 0, 0, []
lock = threading.Lock()

def fail(what):
    match what:
        case "permanent":
            raise PermanentError("no such customer", status=422)
        case "permanent plain":
            raise PermanentError
        case "temporary":
            raise TemporaryError("busy", delay=7.4)
        case "temporary plain":
            raise TemporaryError
        case "nuclio":
            raise ExceptionWithResponse(418, "teapot", "text/plain")
        case "error":
            raise ValueError("secret")
        case "event error":
            raise EventError("secret", "id")
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "cancelled":
            raise asyncio.CancelledError("secret")
        case "unprintable":
            class Odd(Exception):
                def __str__(self):
                    raise RuntimeError("odd")
            raise Odd
        case "stop":
            raise StopIteration(1)

async def asynchronous(context, event):
    fail(event.get_header("x-do"))

def blocking(context, event):
    fail(event.get_header("x-do"))

async def asgi(scope, receive, send):
    fail(dict(scope["headers"])[b"x-do"].decode())

async def sleeping(event):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        order.append("cancelled")
        raise

def blocked(event):
    go.wait(20)
    order.append(event.path)
    if event.path == "/raise":
        raise ValueError("after all")
    return event.path

async def asgi_sleeping(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(30)

async def asgi_slow_stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(6):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})

async def counted(event):
    global inside, most
    inside += 1
    most = max(most, inside)
    await asyncio.sleep(0.01)
    inside -= 1

def counted_blocking(event):
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.01)
    with lock:
        inside -= 1

async def read_all(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    order.append(message["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % len(body)})

async def quick(event):
    return "ok"

class Probed:
    def alive(self):
        return True
    def ready(self):
        return True
    def stop(self):
        order.append("stop")
    def __call__(self, event):
        return blocked(event)
"""
KINDS = ["asynchronous", "blocking", "asgi"]


def do(running: Any, what: str) -> Any:
    return running.ask(headers={"x-do": what})


# Errors


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_may_say_that_it_is_no_use_to_try_again(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind)
    reply = do(running, "permanent")
    assert (reply.status, reply.json) == (422, {"error": "no such customer"})
    assert do(running, "permanent plain").status == 400


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_may_say_when_to_try_again(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind)
    reply = do(running, "temporary")
    assert (reply.status, reply.json, reply["retry-after"]) == (503, {"error": "busy"}, "8")
    assert "retry-after" not in do(running, "temporary plain")


@pytest.mark.parametrize("kind", KINDS)
def test_nuclios_exception_with_a_response(serve: Any, kind: str) -> None:
    reply = do(serve(HANDLERS, kind), "nuclio")
    assert (reply.status, reply.body, reply["content-type"]) == (418, b"teapot", "text/plain")


@pytest.mark.parametrize("what", ["error", "event error", "exit", "interrupt", "cancelled", "unprintable", "stop"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_other_exception_is_a_500_whose_id_finds_the_traceback_in_the_log(
    serve: Any, kind: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve(HANDLERS, kind)
    connection = running.connect()
    reply = running.ask_on(connection, headers={"x-do": what})
    assert (reply.status, reply.json.keys(), reply.json["error"]) == (500, {"error", "id"}, "internal error")
    assert b"secret" not in reply.body
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    fields = record.__dict__["fields"]
    assert fields["id"] == reply.json["id"]
    assert record.getMessage().startswith("handler raised ")
    if not (what == "stop" and kind != "asgi"):  # Python turns a StopIteration of a coroutine into another error
        assert "in fail" in fields["traceback"]
    assert "uvicorn" not in fields["traceback"]
    assert running.ask_on(connection, headers={"x-do": "permanent"}).status == 422, "the replica goes on"
    connection.close()


# Limits


@pytest.mark.parametrize("kind", ["counted", "counted_blocking"])
def test_exactly_n_requests_are_inside_at_a_time(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind, concurrency=3, queue=1000)
    replies = [running.later() for _ in range(30)]
    assert {later.reply().status for later in replies} == {200}
    assert running.globals["most"] == 3


def test_without_a_limit_blocking_handlers_run_beside_each_other(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "blocked")
    replies = [running.later(path=f"/{number}") for number in range(20)]
    until(lambda: running.app.limiter.in_flight == 20)
    running.globals["go"].set()
    assert {later.reply().body for later in replies} == {b"/%d" % number for number in range(20)}


@pytest.mark.parametrize("kind", ["blocked", "asgi_sleeping"])
def test_a_full_queue_is_503_with_retry_after(serve: Any, until: Any, kind: str) -> None:
    running = serve(HANDLERS, kind, concurrency=1, queue=1, request_timeout=2.0 if kind == "asgi_sleeping" else 0)
    replies = [running.later(path="/1")]
    until(lambda: running.app.limiter.in_flight == 1)
    replies.append(running.later(path="/2"))
    until(lambda: running.app.limiter.waiting == 1)
    refused = running.ask()
    assert (refused.status, refused["retry-after"]) == (503, "1")
    assert refused.json == {"error": "every slot is taken and the queue is full"}
    running.globals["go"].set()
    assert {later.reply().status for later in replies} == ({200} if kind == "blocked" else {504})
    assert running.metrics()['trimtab_requests_total{code="503"}'] == 1


def test_who_waits_is_served_in_turn(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "blocked", concurrency=1)
    replies = []
    for number in range(4):
        replies.append(running.later(path=f"/{number}"))
        until(lambda: running.app.limiter.in_flight + running.app.limiter.waiting == len(replies))
    running.globals["go"].set()
    for later in replies:
        later.reply()
    assert running.globals["order"] == ["/0", "/1", "/2", "/3"]


def test_who_waits_too_long_is_late_and_who_hangs_up_is_not_served(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "blocked", concurrency=1, request_timeout=1.0)
    running.globals["go"].clear()
    first = running.later(path="/first")
    until(lambda: running.app.limiter.in_flight == 1)
    waiting = running.later(path="/waiting")
    until(lambda: running.app.limiter.waiting == 1)
    gone = running.raw(b"POST /gone HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    until(lambda: running.app.limiter.waiting == 2)
    gone.close()
    until(lambda: running.app.limiter.waiting == 1)
    assert (first.reply().status, waiting.reply().status) == (504, 504)
    assert running.app.limiter.waiting == 0
    running.globals["go"].set()
    until(lambda: running.app.limiter.in_flight == 0)
    assert running.globals["order"] == ["/first"]
    assert running.metrics()['trimtab_requests_total{code="499"}'] == 1


@pytest.mark.parametrize("kind", ["sleeping", "blocked", "asgi_sleeping"])
def test_a_request_that_takes_too_long_is_504(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind, request_timeout=0.2)
    reply = running.ask()
    assert (reply.status, reply.json) == (504, {"error": "no answer within 0.2 s"})
    running.globals["go"].set()
    if kind == "sleeping":
        assert running.globals["order"] == ["cancelled"]


def test_a_thread_that_is_too_late_holds_its_slot_until_it_ends_and_its_error_is_logged(
    serve: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve(HANDLERS, "blocked", concurrency=1, queue=0, request_timeout=0.2)
    assert running.ask(path="/raise").status == 504
    assert running.app.limiter.in_flight == 1
    assert running.ask().status == 503
    running.globals["go"].set()
    until(lambda: running.app.limiter.in_flight == 0)
    assert "a call that was given up raised ValueError('after all')" in caplog.text
    assert running.ask(path="/again").body == b"/again"


def test_many_late_threads_leak_no_slot(serve: Any, until: Any) -> None:
    """The thread may end at any moment between the timeout and the answer."""
    source = """
        import time
        def handler(event):
            time.sleep(0.0625 + float(event.path[1:]))
        """
    running = serve(source, concurrency=8, queue=1000, request_timeout=0.05)
    replies = [running.later(path=f"/{number / 2000}") for number in range(40)]
    assert {later.reply().status for later in replies} <= {200, 504}
    until(lambda: running.app.limiter.in_flight == 0)


def test_a_stream_of_an_application_outlives_the_timeout_once_it_has_begun(serve: Any) -> None:
    assert serve(HANDLERS, "asgi_slow_stream", request_timeout=0.1).ask().body == b"xxxxxx"


def test_an_async_handler_is_cancelled_when_its_caller_goes(
    serve: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve(HANDLERS, "sleeping")
    running.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").close()
    until(lambda: running.metrics().get('trimtab_requests_total{code="499"}') == 1)
    assert running.globals["order"] == ["cancelled"]
    assert caplog.text == ""


def test_a_caller_who_goes_before_its_body_has_come_is_not_served(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "quick")
    sock = running.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
    sock.close()
    until(lambda: running.metrics().get('trimtab_requests_total{code="499"}') == 1)


@pytest.mark.parametrize("kind", ["quick", "read_all"])
def test_a_body_over_the_limit_is_413_whether_it_is_announced_or_not(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind, body_limit=1000)
    assert running.ask(b"x" * 1000).status == 200
    announced = running.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\nx")
    head = announced.recv(1000)
    assert b" 413 " in head
    assert b"connection: close" in head
    announced.close()
    chunked = running.raw(
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n%s\r\n" % (b"x" * 1000) * 2
    )
    assert b" 413 " in chunked.recv(1000)
    chunked.close()
    assert running.metrics()['trimtab_requests_total{code="413"}'] == 2


def test_a_large_body_within_the_limit_arrives(serve: Any) -> None:
    body = json.dumps(["x" * 100] * 50_000).encode()
    reply = serve("async def handler(event):\n    return len(event.body)\n").ask(body, "application/json")
    assert reply.json == 50_000


# The end, and what the runtime itself answers


@pytest.mark.parametrize("kind", ["quick", "read_all", "asgi_slow_stream"])
def test_connections_are_closed_when_they_are_to_be_drawn_anew(serve: Any, kind: str) -> None:
    running = serve(HANDLERS, kind)
    assert "connection" not in running.ask()
    running.app.close_next = 1
    assert [running.ask().headers.count(("connection", "close")) for _ in range(2)] == [1, 0]
    running.app.close_connections = True
    assert [running.ask().headers.count(("connection", "close")) for _ in range(2)] == [1, 1]
    running.app.close_connections = False
    running.app.draining = True
    assert running.ask()["connection"] == "close"


def test_a_draining_replica_is_not_ready_but_alive_and_finishes_its_requests(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "blocked")
    later = running.later(path="/last")
    until(lambda: running.app.limiter.in_flight == 1)
    running.app.draining = True
    assert running.ask(method="GET", path="/readyz").json == {"ready": False, "reason": "draining"}
    assert running.ask(method="GET", path="/healthz").status == 200
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    running.globals["go"].set()
    assert later.reply().body == b"/last"
    stopping.join()


def test_probes_are_answered_while_every_thread_is_busy(serve: Any, until: Any) -> None:
    running = serve(HANDLERS, "Probed", concurrency=1)
    later = running.later()
    until(lambda: running.app.limiter.in_flight == 1)
    assert running.ask(method="GET", path="/healthz").json == {"alive": True, "reason": ""}
    assert running.ask(method="GET", path="/readyz").json == {"ready": True, "reason": ""}
    running.globals["go"].set()
    later.reply()
    running.stop()
    assert running.globals["order"][-1] == "stop"


def test_a_function_that_was_not_started_is_not_ready(serve: Any) -> None:
    running = serve(HANDLERS, "quick")
    running.app.ready = False
    assert running.ask(method="GET", path="/readyz").json == {"ready": False, "reason": "starting"}


def test_the_metrics_add_up(serve: Any) -> None:
    running = serve(HANDLERS, "asynchronous")
    for what, count in (("permanent", 3), ("error", 2), ("nothing", 5)):
        for _ in range(count):
            do(running, what)
    running.app.metrics.started({"import": 0.25, "init": 0.5})
    found = running.metrics()
    codes = {name: value for name, value in found.items() if name.startswith("trimtab_requests_total")}
    assert codes == {
        'trimtab_requests_total{code="200"}': 5,
        'trimtab_requests_total{code="422"}': 3,
        'trimtab_requests_total{code="500"}': 2,
    }
    buckets = [value for name, value in found.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert found['trimtab_request_duration_seconds_bucket{le="+Inf"}'] == 10
    assert found["trimtab_request_duration_seconds_count{}"] == 10
    assert 0 < found["trimtab_request_duration_seconds_sum{}"] < 10
    assert (found["trimtab_in_flight_requests{}"], found["trimtab_waiting_requests{}"]) == (0, 0)
    assert found['trimtab_cold_start_seconds{phase="init"}'] == 0.5
    assert found['trimtab_emitted_events_total{state="sent"}'] == 0
    assert found['trimtab_held_events{place="disk"}'] == 0


def test_every_kind_of_line_on_the_metrics_page_has_its_type(serve: Any) -> None:
    text = serve(HANDLERS, "quick").ask(method="GET", path="/metrics")
    assert text["content-type"].startswith("text/plain; version=0.0.4")
    types = dict(line.split()[2:] for line in text.body.decode().splitlines() if line.startswith("# TYPE"))
    for line in text.body.decode().splitlines():
        if not line.startswith("#"):
            name = line.partition("{")[0]
            family = name if name in types else name.rpartition("_")[0]
            assert types[family] in {"counter", "gauge", "histogram"}, line


# Weight


def test_the_application_is_light() -> None:
    heavy = ["starlette", "numpy", "pandas", "cloudevents", "email", "http.client", "trimtab.runtime.emit", "uvicorn"]
    code = f"import sys, trimtab.runtime.app; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_it_answers_a_servers_questions_about_its_lifespan() -> None:
    async def scene() -> list[str]:
        told = iter(["lifespan.startup", "lifespan.shutdown"])
        sent: list[str] = []

        async def receive() -> dict[str, str]:
            return {"type": next(told)}

        async def send(message: dict[str, str]) -> None:
            sent.append(message["type"])

        await App(Loaded(flavour="event", call=print), ReplicaConfig())({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(scene()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_questions_that_fail_are_answered_with_no_and_logged(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    source = """
        class Sick:
            def alive(self):
                raise SystemExit(1)
            async def ready(self):
                return 1 / 0
            def stop(self):
                raise ValueError("never mind")
            def __call__(self, event):
                return 1
        """
    running = serve(source, "Sick")
    alive, ready = (running.ask(method="GET", path=path) for path in ("/healthz", "/readyz"))
    assert (alive.status, alive.json) == (503, {"alive": False, "reason": "alive() failed"})
    assert (ready.status, ready.json) == (503, {"ready": False, "reason": "ready() failed"})
    running.stop()
    assert [record.getMessage() for record in caplog.records] == ["alive() failed", "ready() failed", "stop() failed"]
