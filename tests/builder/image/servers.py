"""Real registries, and proxies before them that want tokens or break connections."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

USER, PASSWORD = "ada", "s3cret:word"
HTPASSWD = "ada:$2b$05$FkmebJDUXd8dNs.Zz8hkVueT4GY9h26QK2nv/xHYWsLoei4pOlaum"


def needs(*programs: str) -> None:
    """Skip unless these programs are there (`scripts/test-servers` installs them)."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: scripts/test-servers")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Registry:
    """One docker-registry process on this machine."""

    def __init__(self, folder: Path, *, login: bool = False, tls: dict[str, object] | None = None) -> None:
        self.folder, self.port, self.login, self.tls = folder, free_port(), login, tls
        self.host = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host, **({"tls": self.tls} if self.tls else {})},
        }
        if self.login:
            (self.folder / "htpasswd").write_text(HTPASSWD + "\n")
            config["auth"] = {"htpasswd": {"realm": "a registry", "path": str(self.folder / "htpasswd")}}
        path = self.folder / "config.yml"
        path.write_text(json.dumps(config))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(path)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def tags(self, repository: str) -> list[str]:
        status, body = self.get(f"/v2/{repository}/tags/list")
        return sorted(json.loads(body)["tags"] or []) if status == 200 else []

    def manifest(self, repository: str, version: str) -> dict[str, Any]:
        accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        status, body = self.get(f"/v2/{repository}/manifests/{version}", Accept=accept)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def blob(self, repository: str, digest: str) -> bytes:
        status, body = self.get(f"/v2/{repository}/blobs/{digest}")
        assert status == 200, body
        return body


@contextmanager
def registry(folder: Path, *, login: bool = False, tls: dict[str, object] | None = None) -> Iterator[Registry]:
    needs("docker-registry")
    server = Registry(folder, login=login, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Front(ThreadingHTTPServer):
    """A proxy before a registry. `wants_token`: every request needs a Bearer token whose scopes name the repository."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.behind = behind
        self.host = f"127.0.0.1:{self.server_port}"
        self.wants_token = False
        self.tokens: dict[str, list[str]] = {}
        self.logins: list[str] = []
        self.refused_chunks = False
        self.break_after: int | None = None
        self.failures = 0
        self.requests: list[tuple[str, str]] = []


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def do(self) -> None:
        front, path = self.server, urlsplit(self.path)
        front.requests.append((self.command, self.path))
        if path.path == "/token":
            return self.token(parse_qs(path.query))
        length = int(self.headers.get("Content-Length") or 0)
        if front.break_after is not None and self.command in ("PATCH", "PUT") and length > front.break_after:
            self.rfile.read(front.break_after)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        body = self.rfile.read(length)
        if front.failures and self.command in ("GET", "HEAD"):
            front.failures -= 1
            return self.answer(503, {"Content-Length": "0", "Retry-After": "0"}, b"")
        if front.refused_chunks and self.command == "PATCH":
            return self.answer(405, {"Content-Length": "0"}, b"")
        if front.wants_token and not self.allowed(path.path, path.query):
            return None
        return self.forward(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do

    def allowed(self, path: str, query: str) -> bool:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        match = re.match(r"/v2/(.+?)/(?:blobs|manifests|tags)/", path)
        repository = match[1] if match else ""
        actions = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        wanted = [f"repository:{repository}:{actions}"]
        wanted += [f"repository:{name}:pull" for name in parse_qs(query).get("from", [])]
        have = self.server.tokens.get(token, []) if kind == "Bearer" else []
        if all(scope in have for scope in wanted):
            return True
        challenge = f'Bearer realm="http://{self.server.host}/token",service="front",scope="{" ".join(wanted)}"'
        self.answer(401, {"WWW-Authenticate": challenge, "Content-Length": "0"}, b"")
        return False

    def token(self, query: dict[str, list[str]]) -> None:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        login = base64.b64decode(given).decode() if kind == "Basic" else ""
        self.server.logins.append(login)
        if login != f"{USER}:{PASSWORD}":
            return self.answer(401, {"Content-Length": "0"}, b"")
        token = f"token{len(self.server.tokens)}"
        self.server.tokens[token] = query.get("scope", [])
        body = json.dumps({"token": token}).encode()
        return self.answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)

    def forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.server.behind, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "authorization")}
        connection.request(self.command, self.path, body or None, {**headers, "Host": self.server.host})
        answer = connection.getresponse()
        content = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
        self.answer(answer.status, kept, content)
        connection.close()

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def front(behind: Registry) -> Iterator[Front]:
    with Front(behind.host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
