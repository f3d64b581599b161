"""The control socket, the caller's side: one JSON object a line, from the command line to the daemon and back.

A connection carries one call: `{"call": name, "arguments": {...}}`. The answer is any number of `{"progress": ...}`
lines and then one `{"result": ...}` or `{"error": {...}}`. Errors keep their class and their facts across the socket.
The socket lies in a folder of mode 0700 and has mode 0600; its path may be longer than the 107 bytes of unix(7).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trimtab import errors
from trimtab.errors import SpecError, TargetError, TargetUnreachable, TrimtabError

FACTS = ("path", "found", "allowed", "hint", "traceback", "status")


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a name for `path` that fits into a socket address, however deep the folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def call(path: Path, name: str, arguments: dict[str, Any], on_progress: Callable[[Any], None] | None = None) -> Any:
    """Call the daemon and wait for its result. Errors: TargetUnreachable, or whatever the call raised there."""
    answers = stream(path, name, arguments)
    while True:
        try:
            progress = next(answers)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(progress)


def stream(path: Path, name: str, arguments: dict[str, Any]) -> Generator[Any, None, Any]:
    """Call the daemon and yield its progress as it comes; the generator's return value is the result.

    Closing the generator hangs up, which cancels the call. Errors: as `call`.
    """
    with contextlib.closing(connect(path)) as sock:
        for answer in _answers(sock, {"call": name, "arguments": arguments}):
            if "progress" in answer:
                yield answer["progress"]
            elif "error" in answer:
                raise _error(answer["error"])
            else:
                return answer["result"]
    raise TargetUnreachable("the daemon ended before it answered; `trimtab up` starts it again")


def _answers(sock: socket.socket, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(ConnectionError), sock.makefile("rb") as lines:
        sock.sendall(msgspec.json.encode(request) + b"\n")
        for line in lines:
            yield msgspec.json.decode(line)


def connect(path: Path) -> socket.socket:
    """Connect to the daemon. Errors: TargetUnreachable."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as name:
            sock.connect(name)
    except PermissionError as exc:
        sock.close()
        raise TargetUnreachable(f"{path} belongs to another user; set TRIMTAB_HOME to a folder of your own") from exc
    except OSError as exc:
        sock.close()
        raise TargetUnreachable(f"no daemon runs for {path.parent.parent}; `trimtab up` starts one") from exc
    return sock


def _error(facts: dict[str, Any]) -> TrimtabError:
    kind = getattr(errors, facts["type"], TargetError)
    if kind is SpecError:
        return SpecError(facts["path"], facts["found"], facts["allowed"], hint=facts["hint"])
    error: TrimtabError = kind.__new__(kind)
    Exception.__init__(error, facts["message"])
    for name in FACTS:
        if name in facts:
            setattr(error, name, facts[name])
    return error
