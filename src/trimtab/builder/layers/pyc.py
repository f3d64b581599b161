"""Compiles a layer's modules ahead, so that a cold start does not: a replica cannot write into its image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from trimtab.builder.abc import Content
from trimtab.builder.layers.interpreter import Interpreter
from trimtab.builder.layers.tar import Entry, Link, Script
from trimtab.errors import BuildError

WORKER = Path(__file__).with_name("pyc_worker.py")
Job = tuple[str, str, str, bool]
"""What the worker takes: source, name in the image, .pyc to write, whether the source is compared at import."""

_BATCH = 32
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Of the environment: what a Python may need to start, and nothing that changes what it compiles."""
_TESTS = frozenset({"tests", "test"})
"""Folders whose modules no function imports: the half of all modules in scientific libraries."""
_LEAST = 64
"""Modules from which on a second process pays."""


def compiled(
    entries: Mapping[str, Entry], interpreter: Interpreter | None, scratch: Path, *, checked: bool
) -> dict[str, Entry]:
    """Give `entries` with the .pyc files of their modules; without an interpreter, as they are.

    `scratch` is an empty folder that lives as long as the result. With `checked` the source is compared at import
    (PEP 552), for code that somebody may mount over; libraries are trusted, and load faster. Errors: BuildError.
    """
    modules = {name: content for name, content in sorted(entries.items()) if _is_module(name)}
    if interpreter is None or not modules:
        return dict(entries)
    jobs: dict[str, Job] = {}
    for number, (name, content) in enumerate(modules.items()):
        if isinstance(content, Link | Script):
            continue
        target = str(scratch / f"{number}.pyc")
        jobs[_cached_name(name, interpreter.tag)] = (_on_disk(content, scratch, number), f"/{name}", target, checked)
    _run(interpreter, list(jobs.values()))
    made = {name: Path(target) for name, (_, _, target, _) in jobs.items() if Path(target).exists()}
    return {**entries, **made}


def identity(interpreter: Interpreter | None) -> str:
    """Name what decides the .pyc files beside their sources: a part of a layer's key."""
    return (
        f"pyc {interpreter.version} {interpreter.tag} without tests, batches of {_BATCH}" if interpreter else "no pyc"
    )


def missing_note(python: str) -> str:
    """Say that an image holds no compiled modules, and what to do."""
    return (
        f"There is no CPython {python} on this machine, so the image holds sources only and each cold start compiles"
        f" them; `uv python install {python}` gives one, and a build then adds the .pyc files."
    )


def _is_module(name: str) -> bool:
    return name.endswith(".py") and _TESTS.isdisjoint(PurePosixPath(name).parts)


def _cached_name(name: str, tag: str) -> str:
    path = PurePosixPath(name)
    return (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").as_posix()


def _on_disk(content: Content, scratch: Path, number: int) -> str:
    if isinstance(content, Path):
        return str(content.absolute())
    path = scratch / f"{number}.py"
    path.write_bytes(content)
    return str(path)


def _run(interpreter: Interpreter, jobs: list[Job]) -> None:
    batches = [jobs[start : start + _BATCH] for start in range(0, len(jobs), _BATCH)]
    count = min(os.cpu_count() or 1, 8) if len(jobs) >= _LEAST else 1
    with ThreadPoolExecutor(count, thread_name_prefix="trimtab-compile") as pool:
        list(pool.map(lambda share: _compile(interpreter, share), [batches[n::count] for n in range(count)]))


def _compile(interpreter: Interpreter, batches: list[list[Job]]) -> None:
    lines = b"\n".join(map(msgspec.json.encode, batches))
    with _start(interpreter) as worker:
        try:
            _, errors = worker.communicate(lines)
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {worker.returncode}"
        raise BuildError(f"compiling for Python {interpreter.version} with {interpreter.path} failed: {reason}")


def _start(interpreter: Interpreter) -> subprocess.Popen[bytes]:
    options = ("-S", "-s", "-P", "-B", "-W", "ignore")
    return subprocess.Popen(
        [str(interpreter.path), *options, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PYTHONHASHSEED": "0", **{name: os.environ[name] for name in _KEPT if name in os.environ}},
    )
