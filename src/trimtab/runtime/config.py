"""What one replica is told: limits, names, where its code is and where its events go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from trimtab.errors import SpecError

MIB = 1024 * 1024
MODEL_SERVER = "trimtab.handlers.serving.server:Server"
"""A name and no import: the layer of handlers is above this one."""


class ReplicaConfig(Struct, kw_only=True, frozen=True):
    """Settings of one replica; durations are seconds, sizes bytes."""

    function: str = "function"
    """`K_SERVICE`."""
    revision: str = ""
    """`K_REVISION`."""
    configuration: str = ""
    """`K_CONFIGURATION`."""
    handler: str = ""
    """`TRIMTAB_HANDLER`: what `runtime.load.load` takes."""
    directory: str = "."
    """`TRIMTAB_DIRECTORY`: where the handler's module is looked for first."""
    kind: Literal["http", "serving", "job"] = "http"
    """`TRIMTAB_KIND`."""
    concurrency: int = 0
    """`TRIMTAB_CONCURRENCY`: requests inside the handler at a time, over all workers. 0 = no limit."""
    queue: int | None = None
    """`TRIMTAB_QUEUE`: requests that may wait for a slot. None: ten per slot, as in Knative's queue-proxy."""
    request_timeout: float = 300.0
    """`TRIMTAB_REQUEST_TIMEOUT`: from a request's last byte to its answer's first. 0 = no limit. Knative's default."""
    start_timeout: float = 60.0
    """`TRIMTAB_START_TIMEOUT`: from the process's start to its readiness."""
    body_limit: int = 32 * MIB
    """`TRIMTAB_BODY_LIMIT`: of one request; room for a batch of images, far below a small machine's memory."""
    drain: float = 30.0
    """`TRIMTAB_DRAIN`: grace period after SIGTERM; Kubernetes' default."""
    workers: int = 1
    """`TRIMTAB_WORKERS`: processes that share the listening socket."""
    sink: str | None = None
    """`K_SINK`: URL that `context.emit` posts to."""
    overrides: dict[str, str] = {}
    """`K_CE_OVERRIDES`, its `extensions`: set on every emitted event."""
    spool: str | None = None
    """`TRIMTAB_SPOOL`: folder for events that wait while the sink is away. None = memory only."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`TRIMTAB_LOG_LEVEL`."""
    models: str = ""
    """`TRIMTAB_MODELS`: JSON, as `spec.models`. For kind serving, like the four that follow."""
    tracking: str = ""
    """`TRIMTAB_TRACKING`: JSON, as `spec.tracking`."""
    retrain: str = ""
    """`TRIMTAB_RETRAIN`: JSON, as `spec.retrain`."""
    state: str = ""
    """`TRIMTAB_STATE`: URL of the small documents that functions share, `sqlite:///path` or `redis://host/number`; models
    added and removed since the start are in one. Empty = in a temporary file."""
    model_control: Literal["on", "off"] = "off"
    """`TRIMTAB_MODEL_CONTROL`: whether requests may load and unload models; off, because callers may be anybody."""

    @property
    def entry(self) -> str:
        """What is loaded: the handler, or the model server, to which `handler` names the user's classes."""
        return MODEL_SERVER if self.kind == "serving" else self.handler


_VARIABLES = {
    "function": "K_SERVICE",
    "revision": "K_REVISION",
    "configuration": "K_CONFIGURATION",
    "sink": "K_SINK",
}
_RANGES: dict[str, tuple[float, float]] = {
    "concurrency": (0, 1000),
    "queue": (0, 1_000_000),
    "request_timeout": (0, 86_400),
    "start_timeout": (0, 86_400),
    "body_limit": (0, 1 << 40),
    "drain": (0, 86_400),
    "workers": (1, 256),
}


def share(config: ReplicaConfig, worker: int) -> ReplicaConfig:
    """Give one worker's part of the replica's slots, which add up to `concurrency`, and of its queue."""
    each, rest = divmod(config.concurrency, config.workers)
    queue = None if config.queue is None else -(-config.queue // config.workers)
    return msgspec.structs.replace(config, concurrency=each + (worker < rest), queue=queue)


def from_environ(environ: Mapping[str, str] = os.environ) -> ReplicaConfig:
    """Read a replica's settings from its environment. Errors: SpecError naming the variable."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(ReplicaConfig):
        if field.name == "overrides":
            continue
        name = _VARIABLES.get(field.name, f"TRIMTAB_{field.name.upper()}")
        text = environ.get(name, "").strip()
        if text:
            values[field.name] = _value(name, text, field.name, field.type)
    config = ReplicaConfig(**values, overrides=_overrides(environ.get("K_CE_OVERRIDES", "").strip()))
    if 0 < config.concurrency < config.workers:
        allowed = f"1 to {config.concurrency} (TRIMTAB_CONCURRENCY): a worker without a slot has nothing to do"
        raise SpecError("environment variable TRIMTAB_WORKERS", config.workers, allowed)
    return config


def _value(variable: str, text: str, name: str, type: Any) -> Any:
    bounds = _RANGES.get(name)
    try:
        value = msgspec.convert(text, type, strict=False) if bounds is None else _number(text, type)
    except (msgspec.ValidationError, ValueError):
        raise SpecError(f"environment variable {variable}", text, _allowed(type, bounds)) from None
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        raise SpecError(f"environment variable {variable}", text, _allowed(type, bounds))
    return value


def _number(text: str, type: Any) -> float:
    return float(text) if type is float else int(text)


def _allowed(type: Any, bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return ", ".join(repr(choice) for choice in type.__args__)
    unit = "a number of seconds" if type is float else "a whole number"
    return f"{unit} from {bounds[0]:g} to {bounds[1]:.0f}"


class _Overrides(Struct):
    extensions: dict[str, str] = {}


def _overrides(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=_Overrides).extensions
    except msgspec.MsgspecError as exc:
        allowed = 'JSON such as {"extensions": {"name": "value"}}'
        raise SpecError("environment variable K_CE_OVERRIDES", text, allowed, hint=str(exc)) from None
