"""The local target as the command line and the Python front see it: calls to the daemon over its control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trimtab.config import Settings
from trimtab.deploy.abc import DeadLetter, Deployment, Firing, FunctionInfo, Progress, RunInfo, Target, TriggerInfo
from trimtab.spec import Function, TrafficTarget


class LocalTarget(Target):
    """This machine. `start` says whether a missing daemon is started (`trimtab deploy` does, `trimtab ls` does not)."""

    name = "local"

    def __init__(self, settings: Settings, *, start: bool = True) -> None:
        self.settings = settings

    def up(self) -> dict[str, Any]:
        """Start the daemon if none runs; return `status()` plus `started: bool`."""
        raise NotImplementedError

    def down(self, *, timeout: float = 60.0) -> bool:
        """Drain all replicas and end the daemon; False when none ran."""
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """Keys: pid, version, home, since, broker (URL), functions, replicas. Errors: TargetUnreachable."""
        raise NotImplementedError

    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        """See Target."""
        raise NotImplementedError

    def get(self, name: str) -> FunctionInfo:
        """See Target."""
        raise NotImplementedError

    def functions(self) -> list[FunctionInfo]:
        """See Target."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """See Target."""
        raise NotImplementedError

    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        """See Target."""
        raise NotImplementedError

    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        """See Target."""
        raise NotImplementedError

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        """See Target."""
        raise NotImplementedError

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
        """See Target."""
        raise NotImplementedError

    def runs(self, function: str | None = None) -> list[RunInfo]:
        """See Target."""
        raise NotImplementedError

    def cancel(self, run: str) -> RunInfo:
        """See Target."""
        raise NotImplementedError

    def triggers(self, function: str | None = None) -> list[TriggerInfo]:
        """All triggers, or those of one function."""
        raise NotImplementedError

    def firings(self, function: str, trigger: str, *, limit: int = 20) -> list[Firing]:
        """The history of one cron trigger, newest first."""
        raise NotImplementedError

    def fire(self, function: str, trigger: str) -> str:
        """Fire a cron trigger now, as if a tick were due; return the event's id."""
        raise NotImplementedError

    def pause(self, function: str, trigger: str, *, paused: bool = True) -> TriggerInfo:
        """Pause or resume one trigger; events go on being collected while an event trigger is paused."""
        raise NotImplementedError

    def events(
        self, *, broker: str = "default", follow: bool = False, tail: int | None = 20
    ) -> Iterator[dict[str, Any]]:
        """Yield the broker's events in CloudEvents' JSON format, oldest first."""
        raise NotImplementedError

    def dead(self, function: str | None = None) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        raise NotImplementedError

    def redrive(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        """Deliver dead letters again, from the first try on; return how many."""
        raise NotImplementedError

    def drop(self, ids: list[int] | None = None, *, function: str | None = None) -> int:
        """Forget dead letters; return how many."""
        raise NotImplementedError
