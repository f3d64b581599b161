"""The control socket, the daemon's side: answers the calls of `control.call`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from trimtab.deploy.local.control import FACTS, short
from trimtab.errors import TargetError, TrimtabError

logger = logging.getLogger("trimtab.control")

LARGEST_LINE = 64 * 2**20
Progress = Callable[[Any], None]
Call = Callable[[dict[str, Any], Progress], Awaitable[Any]]


def describe(exc: BaseException) -> dict[str, Any]:
    """Write an error as the facts that `call` makes the same error of."""
    if isinstance(exc, (OSError, sqlite3.OperationalError)):
        return {"type": "TargetError", "message": f"the daemon cannot use its files: {exc}. Nothing was changed"}
    if not isinstance(exc, TrimtabError):
        return {"type": "TargetError", "message": f"the daemon met an unexpected {type(exc).__name__}: {exc}"}
    facts = {name: getattr(exc, name) for name in FACTS if hasattr(exc, name)}
    if "found" in facts:
        facts["found"] = msgspec.to_builtins(facts["found"], enc_hook=repr)
    return {"type": type(exc).__name__, "message": str(exc), **facts}


@contextlib.asynccontextmanager
async def listen(path: Path, calls: dict[str, Call]) -> AsyncIterator[None]:
    """Answer calls on `path` while the block runs."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(path) as name:
        sock.bind(name)
    path.chmod(0o600)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await _answer(reader, writer, calls)
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=sock, limit=LARGEST_LINE)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: dict[str, Call]) -> None:
    def write(message: dict[str, Any]) -> None:
        writer.write(msgspec.json.encode(message, enc_hook=repr) + b"\n")

    line = await reader.readline()
    if not line:
        return
    task: asyncio.Task[Any] | None = None
    try:
        request = msgspec.json.decode(line)
        handler = calls.get(request["call"], _unknown)
        task = asyncio.ensure_future(_run(handler, request["arguments"], lambda value: write({"progress": value})))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()  # the caller hung up
            return
        gone.cancel()
        write({"result": task.result()})
    except (TrimtabError, msgspec.DecodeError, KeyError, OSError, sqlite3.OperationalError) as exc:
        logger.warning("a call failed: %s", exc)
        write({"error": describe(exc)})
    except Exception as exc:
        logger.exception("a call failed")
        write({"error": describe(exc)})
    await writer.drain()


async def _run(handler: Call, arguments: dict[str, Any], progress: Progress) -> Any:
    return await handler(arguments, progress)


async def _unknown(_arguments: dict[str, Any], _progress: Progress) -> None:
    raise TargetError("the daemon does not know this call: it is of another version; `trimtab down` ends it")
