from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.errors import Conflict, ImportFailed, InvocationFailed
from trimtab.project.function import FunctionHandle

CODE = """\
import os

def init_context(context):
    context.user_data.started = os.environ.get("MODE", "slow")

async def handler(context, event):
    if event.path == "/fail":
        raise ValueError("secret")
    if event.path == "/permanent":
        from trimtab import PermanentError
        raise PermanentError("never", status=422)
    if event.path == "/emit":
        return context.emit(type="com.example.made", data={"a": 1})
    if event.path == "/text":
        return "plain"
    said = {"method": event.method, "path": event.path, "fields": event.fields, "body": event.body}
    return {**said, "started": context.user_data.started, "x": event.get_header("x-id")}
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], FunctionHandle]]:
    threads = set(threading.enumerate())

    def make(code: str = CODE) -> FunctionHandle:
        (tmp_path / "mocked.py").write_text(code)
        return trimtab.code_to_function("mocked", filename=tmp_path / "mocked.py")

    yield make
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")} <= threads


def test_a_test_goes_through_the_real_application(make: Any) -> None:
    with make().set_env("MODE", "fast").to_mock_server() as server:
        assert server.test("/a?b=c", body={"x": 1}, headers={"X-Id": "7"}) == {
            "method": "POST",
            "path": "/a",
            "fields": {"b": "c"},
            "body": {"x": 1},
            "started": "fast",
            "x": "7",
        }
        assert server.test()["method"] == "GET"
        assert server.test("/a", "1,2", "PUT", content_type="text/csv")["body"] == "1,2"
        assert server.test("/text") == b"plain"
    assert "MODE" not in os.environ


def test_errors_are_raised_unless_silent(make: Any) -> None:
    with make().to_mock_server() as server:
        with pytest.raises(InvocationFailed, match=r'^mocked answered 422: \{"error":"never"\}$'):
            server.test("/permanent")
        failed = server.test("/fail", silent=True, get_body=False)
        assert failed.status_code == 500
        assert failed.value["error"] == "internal error"
        assert b"secret" not in failed.body
        assert server.test("/permanent", silent=True) == {"error": "never"}
        malformed = server.test("/", b"{", content_type="application/json", silent=True, get_body=False)
        assert malformed.status_code == 400


def test_emitted_events_are_kept_for_the_test(make: Any) -> None:
    fn = make()
    with fn.to_mock_server() as server:
        assert server.test("/emit", silent=True, get_body=False).status_code == 500
        assert server.events == []
    fn.spec.sink = trimtab.spec.Sink(broker="default")
    with fn.to_mock_server() as server:
        server.test("/emit")
        (event,) = server.events
        assert (event.type, event.data) == ("com.example.made", b'{"a":1}')


def test_the_spec_limits_hold(make: Any) -> None:
    fn = make()
    fn.spec.limits.body = 10
    with fn.to_mock_server() as server:
        assert server.test("/", "x" * 11, silent=True, get_body=False).status_code == 413


def test_a_function_that_cannot_start_leaves_nothing_behind(make: Any) -> None:
    with pytest.raises(ImportFailed, match="ZeroDivisionError"):
        make("1 / 0\n").to_mock_server()
    with pytest.raises(ImportFailed, match=r"^init_context failed: KeyError: 'x'$"):
        make("def init_context(context):\n    {}['x']\n\ndef handler(event):\n    pass\n").to_mock_server()


def test_a_plain_handler_and_an_asgi_application_are_served_alike(make: Any) -> None:
    with make("def handler(event):\n    return {'got': event.body}\n").to_mock_server() as server:
        assert server.test("/", [1]) == {"got": [1]}
    code = (
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'x', b'y')]})\n"
        "    await send({'type': 'http.response.body', 'body': scope['path'].encode(), 'more_body': True})\n"
        "    await send({'type': 'http.response.body', 'body': b'!'})\n"
    )
    with make(code).to_mock_server() as server:
        reply = server.test("/p", get_body=False)
        assert (reply.body, reply.headers["x"]) == (b"/p!", "y")


def test_closing_twice_is_well_and_a_forgotten_server_closes_itself(make: Any) -> None:
    server = make().to_mock_server()
    server.close()
    server.close()
    forgotten = make().to_mock_server()
    assert forgotten.test("/text") == b"plain"
    del forgotten


def test_a_job_has_no_server(make: Any) -> None:
    fn = make()
    fn.spec.kind = "job"
    with pytest.raises(Conflict, match=r"^'mocked' is a job: `run\(local=True\)` runs it in this process$"):
        fn.to_mock_server()
