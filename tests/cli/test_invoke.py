from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Cli = Callable[..., Result]


def test_a_name_is_called_at_its_url(cli: Cli, target: Any, server: Any, hello: Path) -> None:
    cli("deploy", "hello.py")
    target.deployed["hello"].url = server.url
    result = cli("invoke", "hello", "-d", '{"x":1}', "--path", "/p?q=1", "-H", "X-A: b: c")
    assert (result.exit_code, result.stdout, result.stderr) == (0, '{"ok":true}', "")
    ((method, path, headers, body),) = server.requests
    assert (method, path, body) == ("POST", "/p?q=1", b'{"x":1}')
    assert (headers["content-type"], headers["x-a"]) == ("application/json", "b: c")


def test_without_data_it_is_a_get_unless_told(cli: Cli, server: Any) -> None:
    cli("invoke", server.url)
    cli("invoke", server.url, "--method", "put")
    assert [request[0] for request in server.requests] == ["GET", "PUT"]


@pytest.mark.parametrize(
    ("data", "stdin", "body", "content_type"),
    [
        ("[1, 2]", None, b"[1, 2]", "application/json"),
        ("hello", None, b"hello", "text/plain; charset=utf-8"),
        ("-", "from stdin", b"from stdin", "text/plain; charset=utf-8"),
        ("@-", b"\xff\x00", b"\xff\x00", "application/octet-stream"),
        ("@rows.csv", None, b"a,b\n", "text/csv"),
        ("@blob", None, b"\xff\xfe", "application/octet-stream"),
        ("", None, b"", "text/plain; charset=utf-8"),
    ],
)
def test_data_is_what_it_looks_like(
    cli: Cli, server: Any, tmp_path: Path, data: str, stdin: Any, body: bytes, content_type: str
) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n")
    (tmp_path / "blob").write_bytes(b"\xff\xfe")
    cli("invoke", server.url, "-d", data, stdin=stdin)
    ((_, _, headers, sent),) = server.requests
    assert (sent, headers["content-type"]) == (body, content_type)


def test_broken_json_is_sent_as_text_and_said(cli: Cli, server: Any) -> None:
    result = cli("invoke", server.url, "-d", '{"name": ')
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: -d looks like JSON and is not (Input data was truncated)")
    assert cli("invoke", server.url, "-d", "{not json", "--content-type", "text/x").stderr == ""
    ((_, _, headers, sent), _) = server.requests
    assert (sent, headers["content-type"]) == (b'{"name": ', "text/plain; charset=utf-8")


def test_a_content_type_that_is_given_wins(cli: Cli, server: Any) -> None:
    cli("invoke", server.url, "-d", "1", "--content-type", "text/x")
    cli("invoke", server.url, "-d", "1", "-H", "Content-Type: text/y")
    assert [headers["content-type"] for _, _, headers, _ in server.requests] == ["text/x", "text/y"]


def test_an_event_goes_out_in_binary_mode(cli: Cli, server: Any) -> None:
    arguments = ["--event", "com.x", "--source", "/me", "--id", "1", "--subject", "s", "--ext", "k=v"]
    cli("invoke", server.url, "-d", '{"x":1}', *arguments)
    cli("invoke", server.url, *arguments, "--structured")
    (_, _, binary, body), (_, _, structured, document) = server.requests
    attributes = {name: value for name, value in binary.items() if name.startswith("ce-") and name != "ce-time"}
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-type": "com.x",
        "ce-source": "/me",
        "ce-id": "1",
        "ce-subject": "s",
        "ce-k": "v",
    }
    assert (body, binary["content-type"]) == (b'{"x":1}', "application/json")
    assert structured["content-type"] == "application/cloudevents+json"
    assert b'"type":"com.x"' in document


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ext", "k=v"], "add --event TYPE"),
        (["--event", "com.x", "--ext", "id=1"], "--ext id: that is no extension: say --id"),
        (["--event", "com.x", "--ext", "type=1"], "--ext type: that is no extension"),
        (["--event", "com.x", "--ext", "Not-Good=1"], "Not-Good"),
        (["-H", "nocolon"], "'nocolon' is not 'NAME: VALUE'"),
        (["-d", "@gone.json"], "'gone.json': No such file or directory"),
    ],
)
def test_a_message_that_cannot_be_made_ends_with_2(cli: Cli, server: Any, arguments: list[str], message: str) -> None:
    result = cli("invoke", server.url, *arguments)
    assert (result.exit_code, server.requests) == (2, [])
    assert message in result.stderr


def test_an_error_status_ends_with_22_and_points_at_the_log(cli: Cli, target: Any, server: Any, hello: Path) -> None:
    cli("deploy", "hello.py")
    target.deployed["hello"].url = server.url
    server.answer = (500, {}, b'{"error":"internal error","id":"abc"}')
    result = cli("invoke", "hello")
    assert (result.exit_code, result.stdout) == (22, '{"error":"internal error","id":"abc"}')
    assert result.stderr == (
        "error: hello answered 500 Internal Server Error; `trimtab logs hello` has the reason under id abc\n"
    )
    server.answer = (404, {}, b"gone")
    plain = cli("invoke", server.url)
    assert (plain.exit_code, plain.stderr) == (22, f"error: {server.url} answered 404 Not Found\n")


def test_status_and_headers_are_shown_on_demand(cli: Cli, server: Any) -> None:
    server.answer = (202, {"x-a": "b"}, b"body")
    lines = cli("invoke", server.url, "-i").stdout.splitlines()
    assert lines[0] == "HTTP/1.1 202 Accepted"
    assert "x-a: b" in lines
    assert lines[-2:] == ["", "body"]


def test_nobody_there_ends_with_4(cli: Cli) -> None:
    result = cli("invoke", "http://127.0.0.1:9/")
    assert (result.exit_code, result.stderr.startswith("error: http://127.0.0.1:9/ does not answer")) == (4, True)
