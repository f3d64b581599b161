"""What a function is: the value objects of `apiVersion: trimtab.dev/v1`, `kind: Function`.

This is the module to read first. Field names are Kubernetes' and Knative's, written in camelCase in YAML and JSON
(`minScale` is `scale.min`, `containerConcurrency` is `scale.concurrency`) and in snake_case in Python. The types hold
shape and defaults; `trimtab.spec.load` reads documents into them and `trimtab.spec.check` refuses what cannot be.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

API_VERSION = "trimtab.dev/v1"


class Base(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """Common settings: unknown keys are refused, defaults are not written out, names are camelCase outside Python."""


class Metadata(Base):
    """Who the function is. `name` is a DNS-1035 label (RFC 1035 2.3.1): Kubernetes makes host names of it."""

    name: str = ""
    namespace: str = "default"
    project: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Source(Base):
    """Where the code is: at most one of `path` (file, folder or notebook), `code` (the text itself) and `git`.

    A relative path is relative to the file that holds the document (or to the working directory, from Python).
    """

    path: str | None = None
    code: str | None = None
    git: str | None = None


class Build(Base):
    """What the code needs around it. `preload` lists modules a warm parent imports before it forks replicas;
    None means: those the handler's file imports at its top that are installed distributions."""

    image: str | None = None
    base_image: str | None = None
    requirements: list[str] = []
    commands: list[str] = []
    python: str | None = None
    platforms: list[str] = []
    preload: list[str] | None = None


class KeyRef(Base):
    """One key of a Secret or ConfigMap."""

    name: str
    key: str
    optional: bool = False


class EnvSource(Base):
    """Where a variable's value comes from: exactly one of the two."""

    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


class EnvVar(Base):
    """One environment variable: `value` or `valueFrom`, as in Kubernetes."""

    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class Resources(Base):
    """Requests and limits by resource name; values are Kubernetes quantities ("500m", "1G", "2Gi", 1, 0.5)."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Scale(Base):
    """How many replicas, and when. Meanings, ranges and defaults are those of Knative's `autoscaling.knative.dev/*`.

    `concurrency` is the hard limit of one replica (containerConcurrency; 0 = unlimited); `target` the soft one
    (None: 100 for concurrency, 200 for rps, never above `concurrency`). Durations are "6s", "1m30s", "500ms" or seconds.
    """

    min: int = 0
    max: int = 0
    """0 = no limit on Knative; the local target stops at its own `max_replicas` setting."""
    initial: int = 1
    activation: int = 1
    metric: Literal["concurrency", "rps"] = "concurrency"
    target: float | None = None
    utilization: float = 70
    """Percent of the target that is aimed at, 1-100."""
    concurrency: int = 0
    window: str | int | float = "60s"
    panic_window: float = 10
    """Percent of `window`, 1-100."""
    panic_threshold: float = 200
    """Percent of the ready replicas' capacity, 110-1000."""
    delay: str | int | float = "0s"
    """scale-down-delay, at most 1h."""
    retention: str | int | float = "0s"
    """scale-to-zero-pod-retention-period, at most 1h."""
    workers: int = 1
    """Processes inside one replica, forked after the handler is loaded; they share its listening socket."""


class Timeouts(Base):
    """Seconds, or durations as in `Scale`."""

    request: str | int | float = "300s"
    """timeoutSeconds: from the request's last byte to the answer's first. 504 after that."""
    start: str | int | float = "60s"
    """From fork (or container start) to readiness."""
    drain: str | int | float = "30s"
    """Grace period after SIGTERM for requests in flight."""


class Limits(Base):
    """What one replica accepts. `body` is a quantity of bytes (413 above it); `queue` how many requests may wait for a
    slot when `scale.concurrency` is set (None: ten per slot, as Knative's queue-proxy), 503 above it."""

    body: str | int = "32Mi"
    queue: int | None = None


class VolumeSource(Base):
    """Exactly one kind of volume."""

    persistent_volume_claim: str | None = None
    secret: str | None = None
    config_map: str | None = None
    empty_dir: bool = False
    host_path: str | None = None


class Volume(Base):
    """A volume and where it is mounted."""

    name: str
    mount_path: str
    source: VolumeSource = field(default_factory=VolumeSource)
    sub_path: str | None = None
    read_only: bool = False


class Scheduling(Base):
    """Where replicas may run; the local target keeps these fields and says that it does not use them."""

    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] = {}
    tolerations: list[dict[str, Any]] = []
    priority_class: str | None = None
    service_account: str | None = None
    image_pull_secrets: list[str] = []


class Retry(Base):
    """Delivery of one trigger's events; the words are those of Knative's DeliverySpec.

    Attempt n waits `delay` * n (linear) or `delay` * 2**n (exponential), with up to a quarter of jitter and never
    more than `maxDelay`; a Retry-After of the function wins when it is longer.
    """

    attempts: int = 10
    """Retries after the first try. 0 = one try."""
    backoff: Literal["linear", "exponential"] = "exponential"
    delay: str | int | float = "200ms"
    max_delay: str | int | float = "5m"
    timeout: str | int | float | None = None
    """Of one try; None = the function's request timeout."""
    dead_letter: str | None = None
    """Where events go that cannot be delivered: a URL, or None for the broker's own dead letters."""


class CronTrigger(Base, tag="cron", tag_field="kind"):
    """Calls the function by the clock. `schedule` has 5 or 6 fields (seconds first), or is `@every 10s`, `@hourly` ..."""

    name: str
    schedule: str
    timezone: str = "UTC"
    data: Any = None
    content_type: str = "application/json"
    catch_up: Literal["none", "last", "all"] = "last"
    """Which ticks that were missed while nothing ran are made up for."""
    overlap: Literal["allow", "skip", "queue"] = "allow"
    """What happens to a tick while an earlier one is still being worked on."""
    retry: Retry = field(default_factory=lambda: Retry(attempts=5))
    disabled: bool = False


class EventTrigger(Base, tag="event", tag_field="kind"):
    """Calls the function with the events of a broker that pass `filters` (Knative's Trigger; all must pass)."""

    name: str
    broker: str = "default"
    filters: list[dict[str, Any]] = []
    """Dialects exact, prefix, suffix, all, any, not, cesql, as in Knative's `spec.filters`."""
    path: str = "/"
    retry: Retry = field(default_factory=Retry)
    deduplicate: str | int | float = "0s"
    """Suppress an event whose (source, id) was delivered within this time. 0 = deliver every one."""
    disabled: bool = False


Trigger = CronTrigger | EventTrigger


class Sink(Base):
    """Where `context.emit` and monitoring records go: exactly one of a broker's name and a URL (K_SINK)."""

    broker: str | None = None
    uri: str | None = None
    extensions: dict[str, str] = {}
    """ceOverrides.extensions: set on every event (K_CE_OVERRIDES)."""


class TrafficTarget(Base):
    """A share of the traffic. `revision` None means the latest ready one. Percents of a function sum to 100."""

    revision: str | None = None
    percent: int = 0
    tag: str | None = None


class FunctionSpec(Base):
    """Everything about a function but its name."""

    kind: Literal["http", "serving", "job"] = "http"
    description: str = ""
    handler: str = ""
    """`module:name`, or `module` alone for the name `handler` (or the only function there is)."""
    source: Source = field(default_factory=Source)
    build: Build = field(default_factory=Build)
    env: list[EnvVar] = []
    resources: Resources = field(default_factory=Resources)
    scale: Scale = field(default_factory=Scale)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    volumes: list[Volume] = []
    scheduling: Scheduling = field(default_factory=Scheduling)
    triggers: list[Trigger] = []
    sink: Sink | None = None
    traffic: list[TrafficTarget] = []
    parameters: dict[str, Any] = {}
    """Default parameters of a job."""


class Function(Base):
    """The document."""

    api_version: Literal["trimtab.dev/v1"] | UnsetType = UNSET
    kind: Literal["Function"] | UnsetType = UNSET
    metadata: Metadata = field(default_factory=Metadata)
    spec: FunctionSpec = field(default_factory=FunctionSpec)
