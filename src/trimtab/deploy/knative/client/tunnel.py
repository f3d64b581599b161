"""A port of a pod as a connection of ours, through the API (`pods/portforward`), over the official client's websocket.

Not by its `portforward`, which keeps the websocket open when the pod's end is closed first.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.failures import Forbidden
from trimtab.deploy.knative.client.kinds import POD
from trimtab.errors import TargetError, TargetUnreachable

_DATA, _ERROR = b"\0", b"\1"
"""Channels of the one port: the first byte of every message."""


class Tunnel:
    """One connection. Reading and writing may happen in two threads."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._named: set[bytes] = set()
        """Channels whose first message came, which says the port and nothing else."""

    def recv(self) -> bytes:
        """Give what came; empty at the end, also where nothing listens on the port."""
        while message := self._received():
            channel, data = message[:1], message[1:]
            if channel not in self._named:
                self._named.add(channel)
            elif channel == _ERROR:
                return b""
            elif data:
                return data
        return b""

    def sendall(self, data: bytes) -> None:
        """Send. Errors: OSError."""
        from websocket import WebSocketException

        try:
            self._websocket.send_binary(_DATA + data)
        except WebSocketException as exc:
            raise OSError(str(exc)) from exc

    def end(self) -> None:
        """End it both ways; who reads sees the end."""
        with contextlib.suppress(OSError, AttributeError):  # there is no socket any more
            self._websocket.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it, when nobody reads any more."""
        self._websocket.shutdown()

    def _received(self) -> bytes:
        from websocket import WebSocketException

        try:
            found = self._websocket.recv()
        except (WebSocketException, OSError):
            return b""
        return found if isinstance(found, bytes) else found.encode()


def connect(api: Api, namespace: str, pod: str, port: int) -> Tunnel:
    """Open a connection to a pod's port. Errors: Forbidden, TargetUnreachable."""
    from kubernetes.stream.ws_client import create_websocket
    from websocket import WebSocketException

    url = f"{api.http.host.rstrip('/').replace('http', 'ws', 1)}{POD.path(namespace, pod, 'portforward')}?ports={port}"
    headers = {**api.http.credentials(), "sec-websocket-protocol": "v4.channel.k8s.io"}
    try:
        return Tunnel(create_websocket(api.http.configuration, url, headers))
    except (WebSocketException, OSError) as exc:
        raise _translated(str(exc), namespace, pod) from exc


def _translated(reason: str, namespace: str, pod: str) -> TargetError:
    doing = f"port-forward to pod {pod} in namespace {namespace}"
    if re.match(r"Handshake status 40[13]\b", reason):
        return Forbidden(
            f"{doing}: no permission to get and create pods/portforward there", "create", "pods/portforward"
        )
    return TargetUnreachable(f"{doing}: {reason.strip().partition(' -+-+- ')[0] or 'it was refused'}")
