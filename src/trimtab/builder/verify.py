"""`--verify`: the handler in a clean process, called once with a sample, before anything is built or deployed.

What a notebook has in memory, and its saved cells do not make, is missing there: that is how it is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.builder.abc import Code
from trimtab.errors import HandlerError, ImportFailed, NotVerified, SpecError

_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
_LONGEST = 500


class Sample(Struct, frozen=True, kw_only=True):
    """What the handler is called with: a POST of `body` as JSON, or a job's `parameters`."""

    body: Any = {}
    path: str = "/"
    parameters: dict[str, Any] = {}


class Verified(Struct, kw_only=True):
    """What came of it: the answer's status (0 for a job), its beginning, and the milliseconds of the call."""

    status: int = 0
    answer: str = ""
    ms: float = 0.0


class _Report(Struct, kw_only=True):
    verified: Verified | None = None
    error: str = ""
    traceback: str = ""


def verify(
    code: Code,
    *,
    kind: str = "http",
    sample: Sample | None = None,
    env: dict[str, str] | None = None,
    python: Path | None = None,
    timeout: float = 120.0,
) -> Verified:
    """Import the handler in a clean process of `python` (None: ours), and call it with `sample`.

    The process has `env` and little else of our environment. Errors: NotVerified, with the handler's traceback, and with
    the names that only the notebook's memory had.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        folder, result = Path(scratch) / "code", Path(scratch) / "result.json"
        _write(code, folder)
        order = {"handler": code.handler, "directory": str(folder), "kind": kind, "result": str(result)}
        order["sample"] = msgspec.to_builtins(sample or Sample())
        kept = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("COVERAGE_")}
        environ = {**kept, **(env or {})}
        ended, said = _run(python or Path(sys.executable), folder, environ, json.dumps(order), timeout)
        if ended is None:
            raise NotVerified(f"{code.handler} has not answered the sample within {timeout:g} s")
        if not result.is_file():
            ending = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise NotVerified(f"{code.handler}: its process ended with code {ended}: {ending[0]}")
        report = msgspec.json.decode(result.read_bytes(), type=_Report)
    return _judged(code, report)


def _run(python: Path, folder: Path, environ: dict[str, str], order: str, timeout: float) -> tuple[int | None, str]:
    """Run the clean process; give its exit code (None: it took too long) and what it wrote to stderr. Whatever it started
    ends with it."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(python), "-c", "from trimtab.builder.verify import main; main()"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,  # no pipe: what the handler started would hold it open
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(order, timeout)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        errors.seek(0)
        return process.returncode, errors.read().decode("utf-8", "replace")


def _judged(code: Code, report: _Report) -> Verified:
    if report.verified is not None and not code.undefined:
        return report.verified
    said = [report.error] if report.error else []
    hidden = "".join(f"\n  {each}" for each in code.undefined)
    if hidden:
        said.append(f"only the notebook's memory has what it uses:{hidden}")
    raise NotVerified(f"{code.handler} fails in a clean process: {'; '.join(said)}", report.traceback)


def _write(code: Code, folder: Path) -> None:
    folder.mkdir()
    for name, content in code.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())


# In the clean process


def main() -> None:
    """Do what the order on standard input says, and write down what came of it."""
    order = json.load(sys.stdin)
    report = _tried(order, msgspec.convert(order["sample"], Sample))
    Path(order["result"]).write_bytes(msgspec.json.encode(report))


def _tried(order: dict[str, Any], sample: Sample) -> _Report:
    from trimtab.runtime.load import frames, load

    started = time.monotonic()
    try:
        loaded = load(order["handler"], Path(order["directory"]), job=order["kind"] == "job")
        verified = _job(loaded, sample) if order["kind"] == "job" else asyncio.run(_ask(loaded, sample))
    except ImportFailed as error:
        return _Report(error=str(error), traceback=error.traceback)
    except (HandlerError, SpecError, NotVerified) as error:
        return _Report(error=str(error), traceback=getattr(error, "traceback", ""))
    except BaseException as error:
        return _Report(error=f"{type(error).__name__}: {error}", traceback=frames(error))
    verified.ms = round((time.monotonic() - started) * 1000, 1)
    return _Report(verified=verified)


def _job(loaded: Any, sample: Sample) -> Verified:
    from trimtab.runtime.job import call
    from trimtab.runtime.run_context import RunContext

    with tempfile.TemporaryDirectory(prefix="trimtab-") as artifacts:
        os.environ["TRIMTAB_ARTIFACTS"] = f"{artifacts}/store"  # what it logs is tried, and not kept
        message: dict[str, Any] = {
            "run": "verify",
            "function": "verify",
            "project": "verify",
            "inputs": {},
            "event": None,
        }
        context = RunContext({**message, "parameters": sample.parameters, "artifact_path": artifacts})
        call(loaded.call, context)
    return Verified(answer=repr(context.results)[:_LONGEST])


class _Told(logging.Handler):
    """Keeps the traceback that the runtime logs beside a 500."""

    traceback = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.traceback = getattr(record, "fields", {}).get("traceback", "") or self.traceback


class _Nowhere:
    """Takes what the handler emits, and sends it nowhere."""

    def start(self) -> None: ...

    def emit(self, envelope: Any) -> None: ...

    def close(self, deadline: float = 0.0) -> None: ...


async def _ask(loaded: Any, sample: Sample) -> Verified:
    from trimtab.runtime.app import App
    from trimtab.runtime.config import ReplicaConfig

    told = _Told()
    logging.getLogger("trimtab").addHandler(told)
    app = App(loaded, ReplicaConfig(function="verify"), emitter=_Nowhere())
    await app.startup()
    app.ready = True
    try:
        status, answer = await _exchange(app, sample)
    finally:
        await app.shutdown()
    if status >= 400:
        ending = told.traceback.strip().splitlines()[-1:] or [answer]
        advice = "" if "NameError" in ending[0] else " (is it the sample that it cannot take?)"
        raise NotVerified(f"the sample is answered by {status}: {ending[0]}{advice}", told.traceback)
    return Verified(status=status, answer=answer)


async def _exchange(app: Any, sample: Sample) -> tuple[int, str]:
    body = json.dumps(sample.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "root_path": "",
        "state": {},
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        "path": sample.path,
        "raw_path": sample.path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    messages = asyncio.Queue[dict[str, Any]]()
    messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
    status, answer = 500, b""

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, answer
        status = message.get("status", status)
        answer += message.get("body", b"")

    await app(scope, messages.get, send)
    return status, answer[:_LONGEST].decode("utf-8", "replace")
