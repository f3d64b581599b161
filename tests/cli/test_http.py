from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from trimtab.errors import TargetUnreachable
from trimtab.runtime.http import join, request


def test_method_path_headers_and_body_arrive(server: Any) -> None:
    headers = [(b"ce-id", b"1"), (b"x", b"caf\xc3\xa9"), (b"content-type", b"text/plain")]
    with request("POST", f"{server.url}a/b?c=d", headers, b"data") as response:
        assert (response.status, response.read()) == (200, b'{"ok":true}')
    ((method, path, sent, body),) = server.requests
    assert (method, path, body) == ("POST", "/a/b?c=d", b"data")
    assert (sent["ce-id"], sent["content-type"]) == ("1", "text/plain")


def test_a_get_has_no_body_and_a_post_without_one_says_so(server: Any) -> None:
    for method in ("GET", "POST"):
        with request(method, server.url, [], None) as response:
            response.read()
    (_, _, get, _), (_, _, post, _) = server.requests
    assert "content-length" not in get
    assert post["content-length"] == "0"


@pytest.mark.parametrize("url", ["ftp://x/", "hello", "http:///x"])
def test_only_web_addresses_are_called(url: str) -> None:
    with pytest.raises(TargetUnreachable, match="is not an http or https URL"), request("GET", url, [], None):
        pass


def test_nobody_listening_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    with pytest.raises(TargetUnreachable, match="does not answer: Connection refused"), request("GET", url, [], None):
        pass


def test_a_server_that_is_silent_or_breaks_off_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        quiet = pytest.raises(TargetUnreachable, match=r"did not answer within 0\.05 s")
        with quiet, request("GET", url, [], None, timeout=0.05):
            pass
        silent.accept()[0].close()

        def break_off() -> None:
            peer, _ = silent.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

        thread = threading.Thread(target=break_off)
        thread.start()
        broken = pytest.raises(TargetUnreachable, match="broke off: IncompleteRead")
        with broken, request("GET", url, [], None) as response:
            response.read()
        thread.join()


def test_a_path_is_put_behind_a_url() -> None:
    assert join("http://x/", "/a?b=c") == "http://x/a?b=c"
    assert join("http://x/f", "") == "http://x/f/"
