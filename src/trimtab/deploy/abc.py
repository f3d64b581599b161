"""The port that every target implements, and what it answers with.

The command line and the Python front know only these types, so that the same words and the same `-o json` come from
every target. Times are seconds since the epoch (UTC), durations milliseconds where the name ends in `_ms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from msgspec import Struct

from trimtab.errors import SpecError
from trimtab.spec import Function, Model, Scale, TrafficTarget
from trimtab.triggers.abc import Firing

__all__ = [
    "DeadLetter",
    "Deployment",
    "Firing",
    "FunctionInfo",
    "ModelChange",
    "Progress",
    "RevisionInfo",
    "RunInfo",
    "Stage",
    "Target",
    "TriggerInfo",
]


class Stage(Struct, kw_only=True):
    """One finished step of a deployment."""

    name: str
    ms: float
    detail: str = ""


Progress = Callable[[Stage], None]


class Deployment(Struct, kw_only=True):
    """What `deploy` did. `changed` is False when the same spec and code were already the latest revision.

    `warnings` are sentences about fields that this target keeps but does not use.
    """

    name: str
    revision: str
    url: str
    changed: bool = True
    stages: list[Stage] = []
    warnings: list[str] = []


class RevisionInfo(Struct, kw_only=True):
    """One immutable revision. `percent` is its share of the traffic now; `urls` holds its tags' own addresses.

    `starting`: it is not known yet whether it will be ready; `retired`: it was, and nothing is sent to it.
    """

    name: str
    created: float
    state: Literal["starting", "ready", "failed", "retired"]
    percent: int = 0
    urls: dict[str, str] = {}
    replicas: int = 0


class ModelChange(Struct, kw_only=True):
    """A change of one model of a function that runs: what it was before, and the number of the change, which grows."""

    before: Model | None = None
    stamp: int


class TriggerInfo(Struct, kw_only=True):
    """A trigger as it stands. `config` is the spec's; `pending` counts events accepted and not yet delivered, and
    for a stream also what the broker still has (its lag). `broken`: a stream's broker is away, and `outcome` says why."""

    function: str
    name: str
    kind: Literal["cron", "event", "stream"]
    config: dict[str, Any]
    state: Literal["active", "paused", "broken"] = "active"
    next: float | None = None
    last: float | None = None
    outcome: str | None = None
    delivered: int = 0
    failed: int = 0
    pending: int = 0
    dead: int = 0


class FunctionInfo(Struct, kw_only=True):
    """A function as it stands on its target. `replicas` counts those that run now, over all revisions."""

    name: str
    kind: str
    url: str
    target: str
    revision: str
    revisions: list[RevisionInfo] = []
    replicas: int = 0
    scale: Scale
    triggers: list[TriggerInfo] = []
    last_error: str | None = None


class RunInfo(Struct, kw_only=True):
    """One run of a job. `results` is what it logged and returned; `exit_code` is None while it runs."""

    id: str
    function: str
    state: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    created: float
    started: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    parameters: dict[str, Any] = {}
    results: dict[str, Any] = {}
    error: str | None = None
    artifact_path: str | None = None
    artifacts: dict[str, str] = {}
    """What the run logged: keys, and the `store://` URIs of the versions."""
    cause: str | None = None
    """Id of the event that started it; None when somebody did."""
    lost: bool = False
    """It did not fail by itself: what ran it went away."""
    tries: int = 1
    """How often it was begun: more than once when it failed and `spec.job.backoffLimit` has it tried again."""
    kept: float | None = None
    """Seconds after its end at which it is forgotten; None where no time is set."""


class DeadLetter(Struct, kw_only=True):
    """An event that could not be delivered, why, and every try: `history` rows are (time, status or 0, detail)."""

    id: int
    function: str
    trigger: str
    event: dict[str, Any]
    """The event in CloudEvents' JSON format."""
    reason: str
    died: float
    history: list[tuple[float, int, str]] = []


class Target(ABC):
    """Where functions run. Every method raises TargetUnreachable when the target does not answer, and NotFound for a
    name that is not there; none of them prints."""

    name: str
    images: ClassVar[bool] = False
    """Whether a function runs from an image, which holds what it requires and nothing else."""

    @abstractmethod
    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        """Make `function` what runs under its name; block until it is ready.

        An unchanged function is a no-op unless `force`. Errors: SpecError, DeployFailed (the old revision serves on).
        """

    @abstractmethod
    def get(self, name: str) -> FunctionInfo:
        """Describe one function."""

    @abstractmethod
    def functions(self) -> list[FunctionInfo]:
        """Describe all functions, by name."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a function, its revisions and its triggers. Requests in flight are finished first."""

    @abstractmethod
    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        """Split the traffic: percents sum to 100. Errors: SpecError, NotFound (revision)."""

    @abstractmethod
    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        """Send all traffic to `revision` (None: the ready one before the one that serves most)."""

    @abstractmethod
    def change_model(self, name: str, key: str, model: Model | None) -> ModelChange:
        """Have a model server that runs serve `model` under `key`, or (None) no model of that key.

        Every replica of the revisions that take traffic follows, and those that start later do. Returns before they have.
        Errors: Conflict for a function that is no model server.
        """

    def reach(self, url: str, ingress: str = "") -> tuple[str, dict[str, str]]:
        """Give the URL by which a function's URL is called from here, and headers to add.

        `ingress` is the address that leads to all functions of the target, where it has one.
        """
        if ingress:
            raise SpecError("ingress", ingress, "nothing: functions of this target are called by their own addresses")
        return url, {}

    @abstractmethod
    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        """Yield log lines, oldest first, without their newline; `follow` goes on across revisions until closed."""

    @abstractmethod
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
        """Run a job once. `inputs` are paths, URLs, and `store://` URIs, by name. With `wait`, log lines go to `on_log` as they come; Ctrl-C cancels the run."""

    @abstractmethod
    def runs(self, function: str | None = None) -> list[RunInfo]:
        """The history of runs, newest first."""

    @abstractmethod
    def broker(self, name: str = "default") -> str:
        """Give the URL at which a broker takes events."""

    @abstractmethod
    def cancel(self, run: str) -> RunInfo:
        """Stop a run: SIGTERM, then SIGKILL after the grace period."""
