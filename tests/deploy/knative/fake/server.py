"""A Kubernetes API over real HTTP, as far as a deployer sees it, with faults on demand.

Server-side apply with conflicts, merge patches, selectors, watches with bookmarks and 410 Gone, dry runs, logs that are
followed, access reviews, tokens. No library had the ownership of fields (kmock 0.8 merges an apply like any patch).
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.deploy.knative.fake.store import Key, Object, Refusal, Store

GROUPS = [
    "serving.knative.dev/v1",
    "eventing.knative.dev/v1",
    "sources.knative.dev/v1",
    "sinks.knative.dev/v1alpha1",
    "batch/v1",
    "apps/v1",
    "rbac.authorization.k8s.io/v1",
    "authorization.k8s.io/v1",
]
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<api>[^/]+/[^/]+))(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)


@dataclass
class Fault:
    """Answers so many requests of a kind with a status, late, or not at all (status 0: the connection is cut)."""

    method: str
    path: str
    status: int = 0
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: Object = field(default_factory=dict)
    delay: float = 0.0


class FakeCluster:
    """The server, its objects, and what tests set: faults, permissions, refusals, logs, and what controllers do."""

    def __init__(self) -> None:
        self.store = Store()
        self.groups = list(GROUPS)
        self.kubernetes = "v1.32.1"
        self.token = ""
        self.forbidden: set[tuple[str, str]] = set()
        """(verb, resource) that may not be done."""
        self.faults: list[Fault] = []
        self.refuse: list[Callable[[Object], Refusal | None]] = []
        self.controllers: list[Callable[[FakeCluster, str, Object], None]] = []
        self.logs: dict[str, list[tuple[str, str]]] = {}
        self.previous: dict[str, list[tuple[str, str]]] = {}
        self.metrics: dict[str, list[str]] = {}
        """Pods' pages, one for each time they are asked for; the last one stays."""
        self.open_logs: set[str] = set()
        """Pods whose container runs: following their log goes on."""
        self.requests: list[tuple[str, str]] = []
        self.writes: list[tuple[str, str]] = []
        """Requests that changed something."""
        self.containers_asked: list[tuple[str, str]] = []
        """Pods and containers whose logs were asked for."""
        self.listening: dict[tuple[str, int], int] = {}
        """What listens in pods: pod and port, and where it is on this machine."""
        self.watches = 0
        """Watches that were opened: whoever opened one has seen what there was before."""
        self.told: dict[int, int] = {}
        """Up to which version each open watch has told."""
        self.url = ""

    # What tests do

    def add(self, api: str, plural: str, name: str, namespace: str = "default", **more: Any) -> Object:
        item = {"metadata": {"name": name, **more.pop("metadata", {})}, **more}
        return self.store.put(Key(api, plural, namespace, name), item)

    def object(self, api: str, plural: str, name: str, namespace: str = "default") -> Object:
        return self.store.get(Key(api, plural, namespace, name))

    def names(self, api: str, plural: str, namespace: str = "default") -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.store.all(api, plural, namespace))

    # HTTP

    async def answer(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        self.requests.append((method, path))
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("*", method) and re.search(fault.path, path):
                fault.times -= 1
                await asyncio.sleep(fault.delay)
                if fault.status:
                    return JSONResponse(fault.body, fault.status, fault.headers)
                if not fault.delay:
                    raise ConnectionAbortedError
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"message": "Unauthorized"}, 401)
        try:
            return await self._route(request, path, method)
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status)

    async def _route(self, request: Request, path: str, method: str) -> Response:
        if path == "/version":
            return JSONResponse({"gitVersion": self.kubernetes})
        if path == "/apis":
            versions = [{"name": api.partition("/")[0], "versions": [{"groupVersion": api}]} for api in self.groups]
            return JSONResponse({"groups": versions})
        if path.endswith("/selfsubjectaccessreviews"):
            asked = (await request.json())["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            return JSONResponse({"status": {"allowed": (asked["verb"], resource) not in self.forbidden}}, 201)
        if path.endswith(":8080/proxy/metrics"):
            pod = path.rpartition("/pods/")[2].partition(":")[0]
            return PlainTextResponse(self.metrics[pod].pop(0) if len(self.metrics[pod]) > 1 else self.metrics[pod][0])
        match = _PATH.fullmatch(path)
        if match is None:
            raise Refusal(404, "NotFound", f"the server could not find {path}")
        api = match["core"] or match["api"]
        if api != "v1" and api not in self.groups:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        plural, name = match["plural"], match["name"] or ""
        namespace = match["namespace"] or ""
        self._permit(method, request, api, plural, name)
        key = Key(api, plural, namespace, name)
        if match["sub"] == "log":
            return self._log(request, key)
        body = json.loads(await request.body() or b"{}")
        if method == "GET":
            return self._read(request, key)
        return self._write(request, key, body, method)

    def _permit(self, method: str, request: Request, api: str, plural: str, name: str) -> None:
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(method, "get" if name else "list")
        verb = "watch" if request.query_params.get("watch") else verb
        if (verb, plural) in self.forbidden:
            group = api.rpartition("/")[0]
            said = f'{plural} is forbidden: User "ada" cannot {verb} resource "{plural}" in API group "{group}" in the namespace "default"'
            raise Refusal(403, "Forbidden", said)

    def _read(self, request: Request, key: Key) -> Response:
        if key.name:
            return JSONResponse(self.store.get(key))
        query = request.query_params
        if query.get("watch"):
            return StreamingResponse(self._watch(request, key), media_type="application/json")
        with self.store.lock:
            items = [item for item in self.store.all(key.api, key.plural, key.namespace) if _selected(item, query)]
            return JSONResponse({"items": items, "metadata": {"resourceVersion": str(self.store.version)}})

    async def _watch(self, request: Request, key: Key) -> AsyncIterator[bytes]:
        version = int(request.query_params.get("resourceVersion") or 0)
        self.watches += 1
        try:
            async for line in self._changes(request, key, version):
                yield line
        finally:
            self.told.pop(id(request), None)

    async def _changes(self, request: Request, key: Key, version: int) -> AsyncIterator[bytes]:
        while not await request.is_disconnected():
            if version < self.store.oldest:
                gone = {"kind": "Status", "code": 410, "message": "too old resource version", "metadata": {}}
                yield json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"
                return
            for number, change, where, item in self.store.changes(version):
                version = max(version, number)
                if (where.api, where.plural, where.namespace) == key[:3] and _selected(item, request.query_params):
                    yield json.dumps({"type": change, "object": item}).encode() + b"\n"
            self.told[id(request)] = version
            await asyncio.sleep(0.01)

    def _log(self, request: Request, key: Key) -> Response:
        found, query = self.store.get(key), request.query_params
        self.containers_asked.append((key.name, query.get("container", "")))
        names = [each["name"] for each in (found.get("spec") or {}).get("containers", [])]
        if names and query.get("container") not in names:
            raise Refusal(400, "BadRequest", f"container {query.get('container')} is not valid for pod {key.name}")
        lines = (self.previous if query.get("previous") else self.logs).get(key.name)
        if lines is None:
            raise Refusal(400, "BadRequest", f'container in pod "{key.name}" is waiting to start')
        if query.get("follow"):
            return StreamingResponse(self._following(request, key.name), media_type="text/plain")
        shown = lines[-int(query["tailLines"]) :] if query.get("tailLines") else lines
        return PlainTextResponse("".join(_line(at, text, query.get("timestamps")) for at, text in shown))

    async def _following(self, request: Request, pod: str) -> AsyncIterator[bytes]:
        since, sent = request.query_params.get("sinceTime", "").rstrip("Z"), 0
        while not await request.is_disconnected():
            running = pod in self.open_logs
            lines = list(self.logs.get(pod, []))
            for at, text in lines[sent:]:
                if at >= since:
                    yield _line(at, text, "true").encode()
            sent = len(lines)
            if not running:
                return
            await asyncio.sleep(0.01)

    async def forward(self, socket: WebSocket) -> None:
        """Serve `pods/portforward`, as the API does: data and errors are channels of one websocket."""
        pod, port = socket.url.path.split("/")[-2], int(socket.query_params["ports"])
        denied = ("create", "pods/portforward") in self.forbidden or ("get", "pods/portforward") in self.forbidden
        if denied or (self.token and socket.headers.get("authorization") != f"Bearer {self.token}"):
            await socket.close()  # before it is accepted: 403
            return
        await socket.accept(subprotocol="v4.channel.k8s.io")
        for channel in (b"\0", b"\1"):
            await socket.send_bytes(channel + port.to_bytes(2, "little"))
        if (pod, port) not in self.listening:
            await socket.send_bytes(b"\1" + f"nothing listens on port {port} of {pod}".encode())
            await socket.close()
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listening[pod, port])

        async def answers() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        task = asyncio.create_task(answers())
        try:
            while True:
                writer.write((await socket.receive_bytes())[1:])
                await writer.drain()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            task.cancel()
            writer.close()

    def _write(self, request: Request, key: Key, body: Object, method: str) -> Response:
        query = request.query_params
        dry, manager = query.get("dryRun") == "All", query.get("fieldManager", "unknown")
        if method == "DELETE":
            found = self.store.delete(key, (body.get("preconditions") or {}).get("uid", ""))
            self._after("DELETED" if "deletionTimestamp" not in found["metadata"] else "WRITTEN", key, found)
            return JSONResponse({"status": "Success"})
        for rule in self.refuse:
            if refusal := rule(body):
                raise refusal
        if method == "POST":
            key = key._replace(name=body["metadata"]["name"])
            item = self.store.create(key, body, manager, dry_run=dry)
        elif request.headers["content-type"] == "application/apply-patch+yaml":
            item = self.store.apply(key, body, manager, force=query.get("force") == "true", dry_run=dry)
        else:
            item = self.store.merge(key, body, manager)
        if not dry:
            self._after("WRITTEN", key, item)
        return JSONResponse(item, 201 if method == "POST" else 200)

    def _after(self, change: str, key: Key, item: Object) -> None:
        self.writes.append((change, f"{key.plural}/{key.name}"))
        for controller in self.controllers:
            controller(self, change, item)


def _line(at: str, text: str, stamped: str | None) -> str:
    return f"{at}Z {text}\n" if stamped else f"{text}\n"


def _selected(item: Object, query: Any) -> bool:
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = term.partition("=")
        if labels.get(name) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        if name == "metadata.name" and item["metadata"]["name"] != value:
            return False
    return True


class Running:
    """Serves a fake cluster from a thread; with a certificate and its key, by https."""

    def __init__(self, cluster: FakeCluster, certificate: str | None = None, key: str | None = None) -> None:
        app = Starlette(
            routes=[
                Route("/{path:path}", cluster.answer, methods=["GET", "POST", "PATCH", "DELETE", "PUT"]),
                WebSocketRoute("/{path:path}", cluster.forward),
            ]
        )
        config = uvicorn.Config(
            app,
            port=0,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ws="wsproto",
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self.server = uvicorn.Server(config)
        self.cluster = cluster
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> FakeCluster:
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.cluster.url = f"{'https' if self.server.config.is_ssl else 'http'}://127.0.0.1:{port}"
        return self.cluster

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
