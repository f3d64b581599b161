"""The functions that watch models: a monitor, a drift check on a timer, and the loop that retrains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.errors import NotFound, SpecError
from trimtab.project.function import FunctionHandle
from trimtab.project.mounts import mount_pvc
from trimtab.spec import (
    Build,
    CronTrigger,
    EnvVar,
    EventTrigger,
    Function,
    FunctionSpec,
    Metadata,
    Scale,
    Sink,
    Source,
    Trigger,
    check,
)
from trimtab.spec.hint import NOTHING
from trimtab.spec.quantity import Amount, duration, seconds

if TYPE_CHECKING:
    from trimtab.deploy.abc import Target

MONITOR, DRIFT, RETRAIN = "trimtab-monitor", "trimtab-drift", "trimtab-retrain"
"""One of each for all models of a target: they tell endpoints apart, not projects."""
_MODULES = {
    MONITOR: "trimtab.handlers.monitor.function",
    DRIFT: "trimtab.handlers.drift.function",
    RETRAIN: "trimtab.handlers.retrain.function",
}
_HEARD = {
    MONITOR: ("dev.trimtab.inference", "dev.trimtab.label"),
    RETRAIN: ("dev.trimtab.endpoint", "dev.trimtab.drift", "dev.trimtab.run"),
}
_BROKER = "default"
_CHECKS = 6
"""Looks of the drift check for each window at least: one that was closed is judged within a sixth of its time."""
_EVEN = [n * unit for unit, largest in ((1, 60), (60, 60), (3600, 24)) for n in range(1, largest) if largest % n == 0]
"""Seconds between looks that fields of a schedule can say, so that a cluster can keep them."""
_LOG = "/var/lib/trimtab/log"
_REQUIRED = "trimtab[ml,redis,s3]"
"""What an image must hold for them."""


def functions(
    base_period: Amount = "1h",
    *,
    rows: int | None = None,
    run_time: Amount = "2160h",
    effect: float | None = None,
    min_rows: int | None = None,
    flush: Amount | None = None,
    lateness: Amount | None = None,
    look: Amount = "30s",
    log_volume: str | None = None,
    images: bool = False,
) -> list[FunctionHandle]:
    """Describe the three. The parameters are those of `Project.enable_model_monitoring`, and `images`, whether the target
    runs functions from images. Errors: SpecError."""
    if images and not log_volume:
        hint = "the log of rows is a folder that the three share, and a pod's own is lost with the pod"
        raise SpecError("log_volume", NOTHING, "a PersistentVolumeClaim that several pods can mount", hint=hint)
    period = seconds(base_period, "base_period")
    monitor = {
        "WINDOW_SECONDS": f"{period:g}",
        "WINDOW_ROWS": rows,
        "FLUSH_SECONDS": None if flush is None else f"{seconds(flush, 'flush'):g}",
        "LATENESS": None if lateness is None else f"{seconds(lateness, 'lateness'):g}",
        "LOG": _LOG if log_volume else None,
    }
    drift = {
        "WINDOW": f"{period:g}",
        "RUN_TIME": f"{seconds(run_time, 'run_time'):g}",
        "EFFECT": effect,
        "MIN_ROWS": min_rows,
    }
    watching = _variables("TRIMTAB_MONITOR_", monitor)
    every = max([each for each in _EVEN if each <= period / _CHECKS], default=1)
    found = [
        _function(MONITOR, watching, min=1),
        _function(DRIFT, [*watching, *_variables("TRIMTAB_DRIFT_", drift)], every=every),
        _function(RETRAIN, watching, every=seconds(look, "look")),
    ]
    for each in found:
        if images:
            each.with_requirements([_REQUIRED])
        if log_volume:
            each.apply(mount_pvc(log_volume, "monitor", _LOG))
    return found


def remove(target: Target | str | None) -> None:
    """Delete those of the three that are deployed. Errors: NotFound, when none is."""
    from trimtab.project.target import find

    place = find(target)
    known = {each.name for each in place.functions()}
    found = [name for name in (RETRAIN, DRIFT, MONITOR) if name in known]
    if not found:
        raise NotFound("no function watches models here: `project.enable_model_monitoring()` deploys them")
    for name in found:
        place.delete(name)


def log_labels(project: str, endpoint: str, ids: list[str], labels: list[Any], target: Target | str | None) -> None:
    """Post labels to the target's broker. Errors: SpecError, TargetUnreachable."""
    from trimtab.handlers.records import Label, label_event
    from trimtab.project.target import find
    from trimtab.runtime.post import post

    if len(ids) != len(labels):
        raise SpecError("labels", f"{len(labels)} labels", f"one for each of the {len(ids)} ids")
    place = find(target)
    plain = [value.item() if hasattr(value, "item") else value for value in labels]
    label = Label(endpoint=endpoint, ids=[str(identity) for identity in ids], labels=plain)
    post(place.broker(), label_event(label, f"/projects/{project}"))


def _variables(prefix: str, values: dict[str, Any]) -> list[EnvVar]:
    return [EnvVar(name=f"{prefix}{name}", value=f"{value}") for name, value in values.items() if value is not None]


def _function(name: str, env: list[EnvVar], *, every: float = 0.0, min: int = 0) -> FunctionHandle:
    module = _MODULES[name]
    triggers: list[Trigger] = []
    if types := _HEARD.get(name):
        filters = [{"any": [{"exact": {"type": each}} for each in types]}]
        triggers.append(EventTrigger(name="events", broker=_BROKER, filters=filters))
    if every:
        triggers.append(CronTrigger(name="tick", schedule=f"@every {duration(every)}", overlap="skip"))
    spec = FunctionSpec(
        description=f"Watches models: {module}",
        handler="handler:handler",
        source=Source(code=f"from {module} import handler\n"),
        build=Build(preload=[module]),
        env=env,
        scale=Scale(min=min, max=1),
        triggers=triggers,
        sink=Sink(broker=_BROKER),
    )
    return FunctionHandle(check(Function(metadata=Metadata(name=name), spec=spec)))
