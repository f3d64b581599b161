"""A run of a job: in a process of the target, or here in this one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from trimtab.config import settings
from trimtab.deploy.abc import RunInfo
from trimtab.errors import HandlerError, NotFound, RunFailed, SpecError, TrimtabError
from trimtab.project.code import loaded
from trimtab.spec import Function

if TYPE_CHECKING:
    from trimtab.artifacts import DataItem
    from trimtab.runtime.run_context import RunContext

Result = TypeVar("Result")


class RunMetadata(Struct, frozen=True):
    """Which run it is."""

    uid: str
    name: str


class RunStatus(Struct, frozen=True):
    """How it stands. `state` is pending, running, succeeded, failed or cancelled; times are seconds since the epoch."""

    state: str
    results: dict[str, Any]
    error: str | None = None
    start_time: float | None = None
    end_time: float | None = None
    exit_code: int | None = None


class Run:
    """What `fn.run` gives, with MLRun's names. It is a picture of one moment: `refresh` takes a new one."""

    def __init__(self, info: RunInfo, look: Callable[[], RunInfo] | None = None) -> None:
        self.info = info
        self._look = look

    @property
    def metadata(self) -> RunMetadata:
        """The run's id and the function's name."""
        return RunMetadata(self.info.id, self.info.function)

    @property
    def status(self) -> RunStatus:
        """State, results, error and times."""
        info = self.info
        return RunStatus(info.state, info.results, info.error, info.started, info.finished, info.exit_code)

    @property
    def results(self) -> dict[str, Any]:
        """What the run logged and returned (under `return`)."""
        return self.info.results

    @property
    def outputs(self) -> dict[str, Any]:
        """The results, the URIs of what was logged, and the folder of the run's files under `artifact_path`."""
        return {**self.info.results, **self.info.artifacts, "artifact_path": self.info.artifact_path}

    def artifact(self, key: str) -> DataItem:
        """Give what the run logged under a key. Errors: NotFound, naming what it logged."""
        from trimtab.artifacts import get_dataitem

        if key not in self.info.artifacts:
            logged = ", ".join(sorted(self.info.artifacts)) or "(nothing)"
            raise NotFound(f"run {self.uid()} logged no artifact {key!r}; it logged {logged}")
        return get_dataitem(self.info.artifacts[key])

    def output(self, key: str) -> Any:
        """Give one output; None where there is none."""
        return self.outputs.get(key)

    def uid(self) -> str:
        """Give the run's id."""
        return self.info.id

    def state(self) -> str:
        """Give the state as it is now."""
        return self.refresh().info.state

    def refresh(self) -> Run:
        """Look again, if the run had not ended."""
        if self._look is not None and self.info.finished is None:
            self.info = self._look()
        return self

    def wait_for_completion(self, *, timeout: float = 3600.0, interval: float = 0.2) -> str:
        """Block until the run has ended; give its state. Errors: TrimtabError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.refresh().info.finished is None:
            if time.monotonic() > deadline:
                raise TrimtabError(f"run {self.uid()} is still {self.info.state} after {timeout:g} s")
            time.sleep(interval)
        return self.info.state

    def check(self) -> Run:
        """Give the run itself. Errors: RunFailed unless it succeeded or goes on."""
        if self.info.state in {"failed", "cancelled"}:
            reason = f": {self.info.error}" if self.info.error and self.info.state == "failed" else ""
            raise RunFailed(f"run {self.uid()} of {self.info.function!r} {self.info.state}{reason}", self)
        return self

    def __repr__(self) -> str:
        return f"Run(uid={self.info.id!r}, function={self.info.function!r}, state={self.info.state!r}, results={self.info.results!r})"


def run_here(
    function: Function, parameters: Mapping[str, Any], inputs: Mapping[str, str], artifact_path: str | None
) -> Run:
    """Run a job in this process, where a debugger reaches it; the target does not get to know of it.

    Errors: SpecError (parameters that do not fit), HandlerError, RunFailed caused by the handler's exception.
    """
    from trimtab.artifacts.dataitem import located
    from trimtab.runtime.job import call
    from trimtab.runtime.load import frames
    from trimtab.runtime.run_context import RunContext

    name, uid = function.metadata.name, uuid.uuid4().hex[:12]
    folder = artifact_path or str(settings().run_files(name, uid))
    info = RunInfo(id=uid, function=name, state="running", created=time.time(), artifact_path=folder)
    info.started, info.parameters = info.created, {**function.spec.parameters, **parameters}
    with loaded(function, job=True) as found:
        places = {key: located(value) for key, value in inputs.items()}
        context = RunContext(
            {
                "run": uid,
                "function": name,
                "project": function.metadata.project,
                "parameters": info.parameters,
                "inputs": places,
                "event": None,
                "artifact_path": folder,
            }
        )
        try:
            without_loop(lambda: call(found.call, context))
        except (SpecError, HandlerError):
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and not error.code:
                _end(info, context, None)
                return Run(info)
            _end(info, context, f"{type(error).__name__}: {error}")
            if '", cell ' in (trace := frames(error)):
                error.add_note(f"In the notebook:\n{trace}")
            raise RunFailed(f"run {uid} of {name!r} failed: {info.error}", Run(info)) from error
    _end(info, context, None)
    return Run(info)


def _end(info: RunInfo, context: RunContext, error: str | None) -> None:
    info.results, info.artifacts = dict(context.results), dict(context.artifacts)
    info.error, info.finished = error, time.time()
    info.state, info.exit_code = ("failed", 1) if error else ("succeeded", 0)


def without_loop(function: Callable[[], Result]) -> Result:
    """Call where no event loop runs: in a notebook one does, and an `async def` handler needs its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
