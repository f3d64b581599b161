"""A port of this machine that leads to a pod of the cluster: what `kubectl port-forward` does, in this process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Hashable

from trimtab.deploy.knative.client.tunnel import Tunnel
from trimtab.errors import TrimtabError

_IDLE = 300.0
"""Seconds without a new connection after which it ends by itself."""
_CHUNK = 65536


class Forward:
    """Listens on the loopback interface until closed, or idle; each connection gets one of its own, by `connect`."""

    def __init__(self, connect: Callable[[], Tunnel], idle: float = _IDLE) -> None:
        """Begin. Errors: those of `connect`, which is tried once, so that what is not allowed is told here."""
        connect().close()
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(idle)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="port-forward", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)

    def _accept(self) -> None:
        with self._listener:
            while True:
                try:
                    near, _ = self._listener.accept()
                except OSError:  # closed, or idle (TimeoutError)
                    return
                threading.Thread(target=self._serve, args=(near,), name="port-forwarded", daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        near.setblocking(True)
        with near:
            try:
                far = self._connect()
            except TrimtabError:
                return  # the pod is gone: the caller sees a connection that ends
            back = threading.Thread(target=_answers, args=(far, near), name="port-forwarded-back", daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := near.recv(_CHUNK):
                    far.sendall(data)
            far.end()
            back.join()
            far.close()


_forwards: dict[Hashable, Forward] = {}
_lock = threading.Lock()


def shared(key: Hashable, connect: Callable[[], Tunnel]) -> Forward:
    """Give this process' port for `key`; a new one where there is none that is open. Errors: those of `connect`."""
    with _lock:
        found = _forwards.get(key)
        if found is None or not found.is_open:
            found = _forwards[key] = Forward(connect)
        return found


def _answers(far: Tunnel, near: socket.socket) -> None:
    """Hand on what comes back; its end is the connection's."""
    with contextlib.suppress(OSError):
        while data := far.recv():
            near.sendall(data)
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)
