"""A warm parent: it has imported the runtime and a function's heavy modules, and forks replicas when told.

The daemon talks to it over a channel (`runtime.channel`). `fork` carries the descriptors of the child: its own channel,
its log, and what its role needs. `forked` and `exited` go back. When the daemon is gone the zygote ends; its children
see the end of their own channels and drain.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any

from trimtab.runtime import channel

_WARM = ("asyncio", "uvloop", "httptools", "uvicorn.protocols.http.httptools_impl", "trimtab.runtime.replica")


def main(descriptor: int) -> None:
    """Run a zygote on the channel `descriptor` until the daemon goes away."""
    sock = socket.socket(fileno=descriptor)
    # One thread per replica is what an idle pool of a numeric library costs after fork; the pool is made at first use.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = channel.receive(sock)
    if hello is None:
        return
    problems = _preload([*_WARM, *hello[0]["preload"]])
    gc.collect()
    gc.freeze()
    channel.send(sock, {"state": "warm", "pid": os.getpid(), "problems": problems})
    _Zygote(sock).run()


def _preload(modules: list[str]) -> dict[str, str]:
    """Import what can be imported; the handler's own import reports what cannot."""
    problems = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as exc:
            problems[name] = f"{type(exc).__name__}: {exc}"
    return problems


class _Zygote:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        os.set_blocking(self.reader, False)
        self.jobs: set[int] = set()

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self.sock, selectors.EVENT_READ)
        selector.register(self.reader, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is self.sock:
                    received = channel.receive(self.sock)
                    if received is None:
                        return
                    self.fork(*received, selector)
                else:
                    self.reap()

    def fork(self, message: dict[str, Any], descriptors: list[int], selector: selectors.BaseSelector) -> None:
        try:
            pid = os.fork()
        except OSError as exc:
            channel.send(self.sock, {"state": "refused", "id": message["id"], "error": str(exc.strerror)})
        else:
            if pid == 0:
                selector.close()
                self.become(message, descriptors)
            if message.get("mode") == "job":
                self.jobs.add(pid)
            channel.send(self.sock, {"state": "forked", "id": message["id"], "pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)

    def become(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Turn this process, just forked, into what the message says. Never returns."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.close(self.reader)
            os.close(self.writer)
            self.sock.close()
            code = _role(message, descriptors)
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 4096)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self.jobs:
                self.jobs.discard(ended.si_pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(ended.si_pid, signal.SIGKILL)  # what it started ends with it, as in a container
            pid, status = os.waitpid(ended.si_pid, 0)
            channel.send(self.sock, {"state": "exited", "pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _role(message: dict[str, Any], descriptors: list[int]) -> int:
    from trimtab.runtime import replica

    os.setsid()
    control, log, *rest = descriptors
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what a handler prints is seen at once
    os.environ.clear()
    os.environ.update(message["environ"])
    os.chdir(message["directory"])
    time.tzset()
    _reseed()
    return replica.begin(message, socket.socket(fileno=control), rest)


def _reseed() -> None:
    """Give the child random numbers of its own: all children of a zygote start from the same state."""
    import random

    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


if __name__ == "__main__":
    main(int(sys.argv[1]))
