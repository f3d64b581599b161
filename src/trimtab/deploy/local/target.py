"""The local target as the command line and the Python front see it: calls to the daemon over its control socket."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trimtab.config import Settings
from trimtab.deploy.abc import (
    DeadLetter,
    Deployment,
    Firing,
    FunctionInfo,
    ModelChange,
    Progress,
    RunInfo,
    Stage,
    Target,
    TriggerInfo,
)
from trimtab.deploy.local import control, logs
from trimtab.errors import SpecError, TargetError, TargetUnreachable
from trimtab.spec import Function, Model, StreamTrigger, TrafficTarget
from trimtab.spec.serving import is_path

_UP_WITHIN = 20.0
"""Seconds for a daemon to answer after it was started, on a slow day."""


class LocalTarget(Target):
    """This machine. `start` says whether a missing daemon is started (`trimtab deploy` does, `trimtab ls` does not)."""

    name = "local"

    def __init__(self, settings: Settings, *, start: bool = True) -> None:
        self.settings = settings
        self._start = start

    def _call(self, call: str, on_progress: Callable[[Any], None] | None = None, /, **arguments: Any) -> Any:
        path = self.settings.control_socket
        try:
            return control.call(path, call, arguments, on_progress)
        except TargetUnreachable:
            if not self._start or self._answers():
                raise
        self.up()
        return control.call(path, call, arguments, on_progress)

    # The daemon

    def up(self) -> dict[str, Any]:
        """Start the daemon if none runs; return `status()` plus `started: bool`. Errors: TargetUnreachable."""
        with contextlib.suppress(TargetUnreachable):
            return {**self.status(), "started": False}
        for folder in (self.settings.home, self.settings.logs, self.settings.run):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as exc:
                raise TargetUnreachable(f"{folder} cannot be made: {exc.strerror}; set TRIMTAB_HOME") from exc
        log = self.settings.logs / "daemon.log"
        begin = log.stat().st_size if log.exists() else 0
        pid = _spawn(log, {**os.environ, "TRIMTAB_HOME": str(self.settings.home)})
        deadline = time.monotonic() + _UP_WITHIN
        while not self._answers():
            # Of two that start at once one ends, because the other holds the lock: then the other one answers soon.
            if _ended(pid) not in (None, 4) or time.monotonic() > deadline:
                with log.open("rb") as written:
                    written.seek(begin)
                    words = written.read().decode("utf-8", "replace").strip().splitlines()[-5:]
                raise TargetUnreachable(
                    f"the daemon did not start; {log} ends with: {' / '.join(words) or '(nothing)'}"
                )
            time.sleep(0.01)
        return {**self.status(), "started": True}

    def down(self, *, timeout: float = 60.0) -> bool:
        """Drain all replicas and end the daemon; False when none ran. Errors: TargetError after `timeout` seconds."""
        if not self._answers():
            return False
        pid = self.status()["pid"]
        control.call(self.settings.control_socket, "down", {})
        deadline = time.monotonic() + timeout
        while Path(f"/proc/{pid}").exists() and not _zombie(pid):
            if time.monotonic() > deadline:
                raise TargetError(f"the daemon {pid} still drains after {timeout:g} s; `kill {pid}` hurries it")
            time.sleep(0.01)
        return True

    def status(self) -> dict[str, Any]:
        """Give pid, version, home, since, broker (URL), functions, replicas. Errors: TargetUnreachable."""
        result: dict[str, Any] = control.call(self.settings.control_socket, "status", {})
        return result

    def _answers(self) -> bool:
        try:
            control.connect(self.settings.control_socket).close()
        except (TargetUnreachable, FileNotFoundError):
            return False
        return True

    # Functions

    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        """See Target."""

        def report(stage: Any) -> None:
            if progress is not None:
                progress(msgspec.convert(stage, Stage))

        sent = msgspec.to_builtins(_absolute(function))
        return msgspec.convert(self._call("deploy", report, function=sent, force=force), Deployment)

    def get(self, name: str) -> FunctionInfo:
        """See Target."""
        return msgspec.convert(self._call("get", name=name), FunctionInfo)

    def functions(self) -> list[FunctionInfo]:
        """See Target."""
        return msgspec.convert(self._call("list"), list[FunctionInfo])

    def delete(self, name: str) -> None:
        """See Target."""
        self._call("delete", name=name)

    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        """See Target."""
        return msgspec.convert(self._call("traffic", name=name, targets=msgspec.to_builtins(targets)), FunctionInfo)

    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        """See Target."""
        return msgspec.convert(self._call("rollback", name=name, revision=revision), FunctionInfo)

    def change_model(self, name: str, key: str, model: Model | None) -> ModelChange:
        """See Target."""
        if model is not None and model.path is not None and is_path(model.path):
            model = msgspec.structs.replace(model, path=str(Path(model.path).absolute()))
        found = self._call("change_model", name=name, key=key, model=msgspec.to_builtins(model))
        return msgspec.convert(found, ModelChange)

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        """See Target."""
        info = self.get(name)
        if revision is not None and revision not in {known.name for known in info.revisions}:
            names = ", ".join(known.name for known in info.revisions)
            raise SpecError("revision", revision, f"one of {names}")
        return logs.read(self.settings.logs / name, follow=follow, tail=tail, revision=revision)

    # Runs

    def run(
        self,
        function: Function,
        parameters: dict[str, Any],
        *,
        inputs: dict[str, str] | None = None,
        artifact_path: str | None = None,
        wait: bool = True,
        on_log: Callable[[str], None] | None = None,
    ) -> RunInfo:
        """See Target. A caller that goes away while it waits cancels the run."""
        from trimtab.artifacts.dataitem import located

        def report(line: Any) -> None:
            if isinstance(line, str) and on_log is not None:
                on_log(line)

        result = self._call(
            "run",
            report,
            function=msgspec.to_builtins(_absolute(function)),
            parameters=parameters,
            inputs={name: located(path) for name, path in (inputs or {}).items()},
            artifact_path=None if artifact_path is None else str(Path(artifact_path).absolute()),
            wait=wait,
        )
        return msgspec.convert(result, RunInfo)

    def runs(self, function: str | None = None) -> list[RunInfo]:
        """See Target."""
        return msgspec.convert(self._call("runs", function=function), list[RunInfo])

    def cancel(self, run: str) -> RunInfo:
        """See Target."""
        return msgspec.convert(self._call("cancel", run=run), RunInfo)

    # Triggers and events

    def broker(self, name: str = "default") -> str:
        """See Target."""
        return f"{self.status()['broker'].rpartition('/')[0]}/{name}"

    def triggers(self, function: str | None = None) -> list[TriggerInfo]:
        """All triggers, or those of one function."""
        return msgspec.convert(self._call("triggers", function=function), list[TriggerInfo])

    def firings(self, function: str, trigger: str, *, limit: int = 20) -> list[Firing]:
        """Give the history of one cron trigger, newest first."""
        found = self._call("firings", function=function, trigger=trigger, limit=limit)
        return msgspec.convert(found, list[Firing])

    def fire(self, function: str, trigger: str) -> str:
        """Fire a cron trigger now, as if a tick were due; return the event's id."""
        return str(self._call("fire", function=function, trigger=trigger))

    def pause(self, function: str, trigger: str, *, paused: bool = True) -> TriggerInfo:
        """Pause or resume one trigger; events go on being collected while an event trigger is paused."""
        return msgspec.convert(self._call("pause", function=function, trigger=trigger, paused=paused), TriggerInfo)

    def add_trigger(self, function: str, trigger: StreamTrigger) -> Deployment:
        """Add a stream trigger, in place of the one of that name, as a new revision. Errors: SpecError."""
        sent = msgspec.to_builtins(trigger)
        return msgspec.convert(self._call("add_trigger", function=function, trigger=sent), Deployment)

    def remove_trigger(self, function: str, trigger: str) -> Deployment:
        """Take a trigger away, as a new revision."""
        return msgspec.convert(self._call("remove_trigger", function=function, trigger=trigger), Deployment)

    def replay(self, function: str, trigger: str, start: str) -> None:
        """Go on from elsewhere in a stream. Errors: Conflict, Unsupported, StreamError."""
        self._call("replay", function=function, trigger=trigger, start=start)

    def events(
        self, *, broker: str = "default", follow: bool = False, tail: int | None = 20, type: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the broker's events, or those of one type, in CloudEvents' JSON format, oldest first."""
        arguments = {"broker": broker, "tail": tail, "follow": follow, "type": type}
        return control.stream(self.settings.control_socket, "events", arguments)

    def dead(self, function: str | None = None) -> list[DeadLetter]:
        """Give the dead letters, oldest first."""
        return msgspec.convert(self._call("dead", function=function), list[DeadLetter])

    def redrive(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        """Deliver dead letters again, from the first try on; return how many."""
        return int(self._call("redrive", ids=ids, function=function))

    def drop(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        """Forget dead letters; return how many."""
        return int(self._call("drop", ids=ids, function=function))


def _absolute(function: Function) -> Function:
    """Make the paths of source and models independent of the caller's working directory."""
    spec = function.spec
    if spec.source.path is not None:
        located = msgspec.structs.replace(spec.source, path=str(Path(spec.source.path).absolute()))
        spec = msgspec.structs.replace(spec, source=located)
    models = [
        msgspec.structs.replace(model, path=str(Path(model.path).absolute()))
        if model.path is not None and is_path(model.path)
        else model
        for model in spec.models
    ]
    return msgspec.structs.replace(function, spec=msgspec.structs.replace(spec, models=models))


def _spawn(log: Path, environ: dict[str, str]) -> int:
    """Start a daemon in a session of its own; it outlives us, so it is nobody's `Popen`."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    command = [sys.executable, "-m", "trimtab.deploy.local.daemon"]
    return os.posix_spawn(sys.executable, command, environ, file_actions=actions, setsid=True)


def _ended(pid: int) -> int | None:
    """Give the exit code of a child that has ended, None while it runs or where it is no longer ours to ask."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if done else None


def _zombie(pid: int) -> bool:
    """Tell whether a process has ended and only waits for its parent, which may be us."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
