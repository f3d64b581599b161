"""What a function is: the value objects of `apiVersion: trimtab.dev/v1`, `kind: Function`.

This is the module to read first. Field names are Kubernetes' and Knative's, written in camelCase in YAML and JSON
(`minScale` is `scale.min`, `containerConcurrency` is `scale.concurrency`) and in snake_case in Python. The types hold
shape, ranges and defaults; `trimtab.spec.load` reads documents into them and `trimtab.spec.check` refuses what cannot
be. The JSON Schema and `docs/spec.md` are made from this module, its docstrings included.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from trimtab.spec.base import Base
from trimtab.spec.job import Job
from trimtab.spec.retrain import Comparison, Guard, Retrain, Rollout  # noqa: F401  the document's types are all found here
from trimtab.spec.scalars import ByteSize, Count, Duration, Label, Percent, Positive, Quantity, VariableName
from trimtab.spec.triggers import Consumers, CronTrigger, EventTrigger, Retry, StreamTrigger, Trigger  # noqa: F401

API_VERSION: Literal["trimtab.dev/v1"] = "trimtab.dev/v1"


class Metadata(Base):
    """Who the function is."""

    name: Label = ""
    """A DNS-1035 label (RFC 1035 2.3.1): Kubernetes makes host names of it. Required."""
    namespace: Label = "default"
    """The Kubernetes namespace."""
    project: Label = "default"
    """The project that the function belongs to."""
    labels: dict[str, str] = {}
    """Kubernetes labels, set on every object that is made for the function."""
    annotations: dict[str, str] = {}
    """Kubernetes annotations. Scaling has fields of its own in `spec.scale`."""


class Source(Base):
    """Where the code is: exactly one of `path`, `code` and `git`, unless `build.image` holds the code already.

    A relative path is relative to the file that holds the document (or to the working directory, from Python). A
    document without any source stands for the folder that it is in.
    """

    path: str | None = None
    """A file, a folder or a notebook."""
    code: str | None = None
    """The text of one Python module itself; the handler's module names it."""
    git: str | None = None
    """A git reference: `git+https://host/repository@ref#folder`, or `https://host/repository#ref:folder`."""


class Build(Base):
    """What the code needs around it."""

    image: str | None = None
    """An image that replicas run from instead of one that is built."""
    base_image: str | None = None
    """The image that the built one sits on."""
    requirements: list[str] = []
    """Python requirements (PEP 508), such as `pandas>=2.2`; what the source itself declares is added."""
    commands: list[str] = []
    """Shell commands that are run while the image is built, after the requirements are installed."""
    python: Annotated[str, Meta(pattern=r"^3\.\d+(\.\d+)?$", extra={"allowed": "a version such as '3.12'"})] | None = (
        None
    )
    """The Python version, such as `3.12`; without it, the one that runs Trimtab."""
    platforms: list[
        Annotated[
            str,
            Meta(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", extra={"allowed": "a platform such as 'linux/amd64'"}),
        ]
    ] = []
    """Platforms that the image is built for, such as `linux/amd64`."""
    preload: list[str] | None = None
    """Modules that a warm parent imports before it forks replicas. Without it: those that the handler's file imports at
    its top and that are installed distributions; for a model server numpy and scikit-learn too."""


class KeyRef(Base):
    """One key of a Secret or ConfigMap."""

    name: str
    """The object's name."""
    key: str
    """The key in it."""
    optional: bool = False
    """Whether the object or the key may be missing; the variable is then not set."""


class EnvSource(Base):
    """Where a variable's value comes from: exactly one of the two."""

    secret_key_ref: KeyRef | None = None
    """A Secret's key."""
    config_map_key_ref: KeyRef | None = None
    """A ConfigMap's key."""


class EnvVar(Base):
    """One environment variable: `value` or `valueFrom`, as in Kubernetes."""

    name: VariableName
    """The variable's name; PORT, K_SERVICE, K_CONFIGURATION and K_REVISION are the runtime's own."""
    value: str | None = None
    """Its text; with neither `value` nor `valueFrom` the variable is empty."""
    value_from: EnvSource | None = None
    """Where the text comes from."""


class Resources(Base):
    """Requests and limits by resource name: `cpu`, `memory`, `ephemeral-storage`, `nvidia.com/gpu` ..."""

    requests: dict[str, Quantity] = {}
    """What a replica is sure to get. Kubernetes schedules by it."""
    limits: dict[str, Quantity] = {}
    """What a replica never exceeds."""


class Scale(Base):
    """How many replicas, and when. Meanings, ranges and defaults are those of Knative's `autoscaling.knative.dev/*`."""

    min: Count = 0
    """Replicas that always run; 0 = down to none when nothing calls."""
    max: Count = 0
    """Replicas at most. 0 = no limit on Knative; the local target stops at its own `max_replicas` setting."""
    initial: Count = 1
    """Replicas that a new revision starts with."""
    activation: Positive = 1
    """Replicas that it wakes with from zero: 1, or more, from `min` to `max`."""
    metric: Literal["concurrency", "rps"] = "concurrency"
    """What is measured: requests in flight, or requests per second."""
    target: Annotated[float, Meta(ge=0.01)] | None = None
    """The soft limit of one replica in that metric. Without it: 100 for concurrency, 200 for rps. Never above
    `concurrency`."""
    utilization: Percent = 70
    """Percent of the target that is aimed at, 1-100."""
    concurrency: Annotated[int, Meta(ge=0, le=1000)] = 0
    """The hard limit of one replica (containerConcurrency): so many requests at a time. 0 = unlimited."""
    window: Duration = "1m"
    """Time over which the metric is averaged, 6s to 1h."""
    panic_window: Percent = 10
    """Percent of `window` in which a sudden rise is looked for, 1-100."""
    panic_threshold: Annotated[float, Meta(ge=110, le=1000)] = 200
    """Percent of the ready replicas' capacity at which a rise is a panic, 110-1000."""
    delay: Duration = "0s"
    """scale-down-delay: how long the load stays low before replicas are taken away, at most 1h, whole seconds."""
    retention: Duration = "0s"
    """scale-to-zero-pod-retention-period: how long the last replica is kept, at most 1h, whole seconds."""
    workers: Positive = 1
    """Processes inside one replica, forked after the handler is loaded; they share its listening socket."""


class Timeouts(Base):
    """How long things may take."""

    request: Duration = "5m"
    """timeoutSeconds: from the request's last byte to the answer's first. 504 after that; 0 = no limit. A job has
    `job.activeDeadline` instead."""
    start: Duration = "1m"
    """From fork (or container start) to readiness."""
    drain: Duration = "30s"
    """Grace period after SIGTERM for requests in flight."""


class Limits(Base):
    """What one replica accepts."""

    body: ByteSize = "32Mi"
    """Bytes of a request's body; 413 above it."""
    queue: Count | None = None
    """How many requests may wait for a slot when `scale.concurrency` is set; 503 above it. Without it: ten for each
    slot, as Knative's queue-proxy has."""


class VolumeSource(Base):
    """Exactly one kind of volume."""

    persistent_volume_claim: str | None = None
    """A PersistentVolumeClaim's name."""
    secret: str | None = None
    """A Secret's name."""
    config_map: str | None = None
    """A ConfigMap's name."""
    empty_dir: bool = False
    """A folder that lives as long as the replica."""
    host_path: str | None = None
    """A folder of the machine."""


class Volume(Base):
    """A volume and where it is mounted."""

    name: Label
    """The volume's name."""
    mount_path: str
    """Where the function finds it: an absolute path, but not `/`, `/dev` or `/dev/log`, which Knative forbids."""
    source: VolumeSource = field(default_factory=VolumeSource)
    """What is mounted."""
    sub_path: str | None = None
    """A folder inside the volume, in place of its root."""
    read_only: bool = False
    """Whether the function may only read."""


class Scheduling(Base):
    """Where replicas may run; the local target keeps these fields and says that it does not use them."""

    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    affinity: dict[str, Any] = {}
    """Kubernetes' affinity, as it stands there."""
    tolerations: list[dict[str, Any]] = []
    """Kubernetes' tolerations, as they stand there."""
    priority_class: str | None = None
    """A PriorityClass's name."""
    service_account: str | None = None
    """The ServiceAccount that the replicas run as."""
    image_pull_secrets: list[str] = []
    """Names of Secrets that hold a registry's credentials."""


class Sink(Base):
    """Where `context.emit` and monitoring records go (K_SINK): exactly one of `broker`, `stream` and `uri`."""

    broker: str | None = None
    """A broker's name."""
    stream: str | None = None
    """A stream's URL, as in a stream trigger. The machine's daemon puts the events there."""
    uri: str | None = None
    """An http or https URL."""
    extensions: dict[str, str] = {}
    """ceOverrides.extensions: set on every event (K_CE_OVERRIDES)."""


class MicroBatch(Base):
    """How requests that are there at the same time share one call of a model."""

    size: Annotated[int, Meta(ge=1, le=10_000)] = 64
    """Rows of one call at most; 1 = each request has a call of its own."""
    wait: Duration = "0s"
    """How long the first request waits for others, at most 1s. Without a wait those share a call that came while the one
    before was under way."""


class Model(Base):
    """One model of a model server."""

    key: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][\w.-]{0,62}(:[\w.-]{1,63})?$",
            extra={"allowed": "a name such as 'churn', or 'churn:v2' for one of its versions"},
        ),
    ]
    """The name in the URL, with `:VERSION` behind it where several versions are served. Required."""
    path: str | None = None
    """Where the model is: a `store://models/...` URI, a file or folder, or an https URL. A class may do without."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", extra={"allowed": "64 hexadecimal digits"})] | None = None
    """What the file's SHA-256 must be; it is refused otherwise. A `store://` URI knows it by itself."""
    class_name: str = ""
    """A subclass of `trimtab.ModelServer`: a name in the handler's module, or `module.Name`. Without it: the handler's
    own, if it names a class, or else the built-in one, which serves whatever has `predict`."""
    params: dict[str, Any] = {}
    """What the class gets as parameters (`get_param`)."""
    batch: MicroBatch | None = None
    """Micro-batching. Without it: the defaults for the built-in class, none for another."""


class Tracking(Base):
    """What is recorded of a model server's traffic. The records go to `spec.sink`."""

    sample: Annotated[float, Meta(ge=0.000001, le=1)] = 1.0
    """The share of requests that is recorded, drawn at random."""
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Rows of one event at most."""
    age: Duration = "1s"
    """How long a row waits for others, at most 1h; then the event goes out as it is."""


class TrafficTarget(Base):
    """A share of the traffic. Percents of a function sum to 100."""

    revision: str | None = None
    """A revision's name. Without it: the latest ready one."""
    percent: Annotated[int, Meta(ge=0, le=100)] = 0
    """The share; 0 gives a tag an address without any traffic."""
    tag: Label | None = None
    """A name under which this revision has an address of its own."""


class FunctionSpec(Base):
    """Everything about a function but its name."""

    kind: Literal["http", "serving", "job"] = "http"
    """A service called over HTTP, a model server, or a job that runs to its end. `nuclio` and `remote` mean `http`."""
    description: str = ""
    """One line for people."""
    handler: str = ""
    """`module:name`, or `module` alone for the name `handler` (or the only function there is). Of a model server: the
    module that its classes are in, if any; a class named here is that of all models that name none."""
    source: Source = field(default_factory=Source)
    """Where the code is."""
    build: Build = field(default_factory=Build)
    """What the code needs around it."""
    env: list[EnvVar] = []
    """Environment variables."""
    resources: Resources = field(default_factory=Resources)
    """What a replica gets of the machine."""
    scale: Scale = field(default_factory=Scale)
    """How many replicas, and when. A job has none."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    """How long things may take."""
    limits: Limits = field(default_factory=Limits)
    """What one replica accepts."""
    volumes: list[Volume] = []
    """What is mounted into a replica."""
    scheduling: Scheduling = field(default_factory=Scheduling)
    """Where replicas may run."""
    triggers: list[Trigger] = []
    """What calls the function, besides HTTP requests."""
    sink: Sink | None = None
    """Where its events go."""
    visibility: Literal["public", "cluster-local"] = "public"
    """Who reaches it on Knative: everybody who reaches the cluster's ingress, or the cluster's own pods. The local target
    listens on this machine alone."""
    rollout_duration: Duration = "0s"
    """On Knative: time over which traffic moves from the old revision to the new one, whole seconds. The local target
    moves it at once."""
    traffic: list[TrafficTarget] = []
    """How traffic is split over revisions. Without it: all to the latest ready one."""
    parameters: dict[str, Any] = {}
    """Default parameters of a job."""
    job: Job = field(default_factory=Job)
    """How a job's runs are repeated, ended and kept. Only for kind `job`."""
    models: list[Model] = []
    """What a model server serves."""
    tracking: Tracking | None = None
    """What a model server records of its traffic. Without it: nothing."""
    retrain: Retrain | None = None
    """What a drift of its models starts. Only for kind `serving`."""


class Function(Base):
    """The document."""

    api_version: Literal["trimtab.dev/v1"] = API_VERSION
    """The version of this format."""
    kind: Literal["Function"] = "Function"
    """What the document is."""
    metadata: Metadata = field(default_factory=Metadata)
    """Who the function is."""
    spec: FunctionSpec = field(default_factory=FunctionSpec)
    """Everything else."""
