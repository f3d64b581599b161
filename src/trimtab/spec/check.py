"""Refuses what cannot be: values out of range, fields in conflict, names that no target takes.

`check` looks at one function alone. What depends on a target (is the volume there, is the flag on) is the target's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from trimtab.errors import SpecError
from trimtab.spec.amounts import check_job, check_limits, check_resources, check_retry, check_scale, check_timeouts
from trimtab.spec.hint import NOTHING
from trimtab.spec.load import from_dict
from trimtab.spec.loop import check_retrain
from trimtab.spec.plain import join, plain
from trimtab.spec.quantity import duration, seconds
from trimtab.spec.scalars import LABEL
from trimtab.spec.schedule import check_schedule, check_zone
from trimtab.spec.serving import check_serving
from trimtab.spec.stream import masked, references
from trimtab.spec.stream import parse as parse_stream
from trimtab.spec.triggers import CronTrigger, EventTrigger, StreamTrigger, Trigger
from trimtab.spec.types import EnvVar, Function, FunctionSpec, Metadata, Scale, Sink, Timeouts, TrafficTarget, Volume

_RESERVED = ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
_FORBIDDEN_MOUNTS = ("/", "/dev", "/dev/log")
_HANDLER = re.compile(r"[\w./-]+(:[A-Za-z_][\w.]*)?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?\Z", re.ASCII)
_EXTENSION = re.compile(r"[a-z0-9]+\Z")
_CONTEXT = ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time", "data")
_AUTOSCALING = "autoscaling.knative.dev/"
_ANNOTATION_FIELDS = {
    "min-scale": "min",
    "max-scale": "max",
    "initial-scale": "initial",
    "activation-scale": "activation",
    "metric": "metric",
    "target": "target",
    "target-utilization-percentage": "utilization",
    "window": "window",
    "panic-window-percentage": "panicWindow",
    "panic-threshold-percentage": "panicThreshold",
    "scale-down-delay": "delay",
    "scale-to-zero-pod-retention-period": "retention",
}


def check(function: Function) -> Function:
    """Give a copy with quantities and durations in canonical text. Errors: SpecError at the first impossible field."""
    function = from_dict({"apiVersion": "trimtab.dev/v1", "kind": "Function", **plain(function, defaults=False)})
    spec = function.spec
    _metadata(function.metadata)
    _code(spec)
    _kind(spec)
    _env(spec.env, spec.sink)
    check_resources(spec.resources)
    check_scale(spec.scale)
    check_timeouts(spec.timeouts)
    check_job(spec.job)
    check_limits(spec.limits, spec.scale)
    _volumes(spec.volumes)
    names = {variable.name for variable in spec.env}
    _triggers(spec.triggers, names)
    for index, trigger in enumerate(spec.triggers):
        if spec.kind == "job" and isinstance(trigger, StreamTrigger) and trigger.batch > 1:
            allowed = "1 while spec.kind is job: each message starts a run"
            raise SpecError(f"spec.triggers[{index}].batch", trigger.batch, allowed)
    _sink(spec.sink, names)
    check_serving(spec)
    check_traffic(spec.traffic)
    check_retrain(spec)
    return function


def check_traffic(targets: list[TrafficTarget]) -> None:
    """Refuse a split whose percents do not sum to 100 or whose tags repeat. None at all is all to the latest."""
    total = sum(target.percent for target in targets)
    if targets and total != 100:
        raise SpecError("spec.traffic", total, "percents that sum to 100")
    _unique((target.tag for target in targets), "spec.traffic", "tag", "traffic target")


def _metadata(metadata: Metadata) -> None:
    if not metadata.name:
        raise SpecError("metadata.name", NOTHING, "a name such as 'my-function'")
    for key, value in metadata.labels.items():
        place = join("metadata.labels", key)
        if not _LABEL_KEY.match(key):
            raise SpecError(place, key, "a Kubernetes label's key: [prefix/]name of letters, digits, '-', '_' and '.'")
        if not _LABEL_VALUE.match(value):
            raise SpecError(
                place, value, "at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
            )
    for key, value in metadata.annotations.items():
        place = join("metadata.annotations", key)
        if key.startswith(_AUTOSCALING):
            field = _ANNOTATION_FIELDS.get(key.removeprefix(_AUTOSCALING))
            raise SpecError(
                place, value, "no autoscaling annotation", hint=f"Set spec.scale{f'.{field}' if field else ''}"
            )
        if not _LABEL_KEY.match(key):
            raise SpecError(place, key, "an annotation's key: [prefix/]name of letters, digits, '-', '_' and '.'")


def _code(spec: FunctionSpec) -> None:
    given = [name for name in ("path", "code", "git") if getattr(spec.source, name) is not None]
    if len(given) > 1:
        raise SpecError("spec.source", " and ".join(given), "one of path, code and git")
    if not given and spec.build.image is None and spec.kind != "serving":
        raise SpecError("spec.source", NOTHING, "one of path, code and git (or spec.build.image)")
    for name in given:
        if not getattr(spec.source, name).strip():
            raise SpecError(f"spec.source.{name}", getattr(spec.source, name), f"a {name}, not empty text")
    if spec.handler and not _HANDLER.match(spec.handler):
        raise SpecError("spec.handler", spec.handler, "'module:name' or 'module', such as 'main:handler'")
    for index, requirement in enumerate(spec.build.requirements):
        if not requirement.strip() or "\n" in requirement:
            raise SpecError(f"spec.build.requirements[{index}]", requirement, "one requirement such as 'pandas>=2.2'")


def _kind(spec: FunctionSpec) -> None:
    if spec.kind != "job":
        if spec.parameters and spec.kind == "http":
            raise SpecError("spec.parameters", spec.parameters, "nothing for kind 'http': only jobs have parameters")
        for name, value in plain(spec.job, defaults=False).items():
            raise SpecError(f"spec.job.{name}", value, f"nothing for kind {spec.kind!r}: only jobs have runs")
        return
    if spec.timeouts.request != Timeouts().request:
        allowed = "nothing for kind 'job': spec.job.activeDeadline says how long a run may take"
        raise SpecError("spec.timeouts.request", spec.timeouts.request, allowed)
    changed = plain(spec.scale, defaults=False)
    if spec.scale != Scale():
        name = next(iter(changed))
        raise SpecError(f"spec.scale.{name}", changed[name], "nothing for kind 'job': a job runs once and ends")
    if spec.traffic:
        raise SpecError(
            "spec.traffic", plain(spec.traffic, defaults=False), "nothing for kind 'job': a job serves no requests"
        )


def _env(variables: list[EnvVar], sink: Sink | None) -> None:
    for index, variable in enumerate(variables):
        path = f"spec.env[{index}]"
        if variable.name in _RESERVED:
            raise SpecError(
                f"{path}.name", variable.name, f"any name but {', '.join(_RESERVED)}: the runtime sets these"
            )
        if sink is not None and variable.name in {"K_SINK", "K_CE_OVERRIDES"}:
            raise SpecError(
                f"{path}.name", variable.name, "any other name while spec.sink is set: it becomes this variable"
            )
        if variable.value is not None and variable.value_from is not None:
            raise SpecError(path, "value and valueFrom", "one of value and valueFrom")
        source = variable.value_from
        if source is not None and (source.secret_key_ref is None) == (source.config_map_key_ref is None):
            found = NOTHING if source.secret_key_ref is None else "secretKeyRef and configMapKeyRef"
            raise SpecError(f"{path}.valueFrom", found, "exactly one of secretKeyRef and configMapKeyRef")
        if source is None and variable.value is None:
            variable.value = ""
    _unique((variable.name for variable in variables), "spec.env", "name", "variable")


def _volumes(volumes: list[Volume]) -> None:
    for index, volume in enumerate(volumes):
        path = f"spec.volumes[{index}]"
        parts = volume.mount_path.split("/")
        clean = "/" + "/".join(part for part in parts if part not in {"", "."})
        if not volume.mount_path.startswith("/") or ".." in parts or ":" in clean or clean in _FORBIDDEN_MOUNTS:
            raise SpecError(f"{path}.mountPath", volume.mount_path, "an absolute path other than /, /dev and /dev/log")
        volume.mount_path = clean
        given = list(plain(volume.source, defaults=False))
        if len(given) != 1:
            allowed = "exactly one of persistentVolumeClaim, secret, configMap, emptyDir and hostPath"
            raise SpecError(f"{path}.source", " and ".join(given) or NOTHING, allowed)
        if volume.sub_path is not None and (volume.sub_path.startswith("/") or ".." in volume.sub_path.split("/")):
            raise SpecError(f"{path}.subPath", volume.sub_path, "a relative path without '..'")
    _unique((volume.name for volume in volumes), "spec.volumes", "name", "volume")
    _unique((volume.mount_path for volume in volumes), "spec.volumes", "mountPath", "volume")


def _triggers(triggers: list[Trigger], names: Collection[str]) -> None:
    for index, trigger in enumerate(triggers):
        path = f"spec.triggers[{index}]"
        check_retry(trigger.retry, f"{path}.retry")
        if trigger.retry.dead_letter is not None and not (
            isinstance(trigger, StreamTrigger) and "://" not in trigger.retry.dead_letter
        ):
            _url(trigger.retry.dead_letter, f"{path}.retry.deadLetter")
        if isinstance(trigger, CronTrigger):
            _cron(trigger, path)
        elif isinstance(trigger, EventTrigger):
            _event(trigger, path)
        else:
            _stream(trigger, path, names)
    _unique((trigger.name for trigger in triggers), "spec.triggers", "name", "trigger")


def _cron(trigger: CronTrigger, path: str) -> None:
    trigger.schedule = " ".join(trigger.schedule.split())
    check_schedule(trigger.schedule, f"{path}.schedule")
    check_zone(trigger.timezone, f"{path}.timezone")
    media = trigger.content_type.partition(";")[0].strip().lower()
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", media):
        raise SpecError(f"{path}.contentType", trigger.content_type, "a media type such as 'application/json'")
    if not media.endswith(("/json", "+json")) and not isinstance(trigger.data, str | None):
        raise SpecError(f"{path}.data", trigger.data, f"text while contentType is {trigger.content_type!r}")


def _event(trigger: EventTrigger, path: str) -> None:
    if not trigger.path.startswith("/"):
        raise SpecError(f"{path}.path", trigger.path, "a path that starts with '/'")
    trigger.deduplicate = duration(trigger.deduplicate, f"{path}.deduplicate")


def _stream(trigger: StreamTrigger, path: str, names: Collection[str]) -> None:
    _stream_url(trigger.url, f"{path}.url", names)
    if not trigger.path.startswith("/"):
        raise SpecError(f"{path}.path", trigger.path, "a path that starts with '/'")
    if not re.fullmatch(r"latest|earliest|[0-9][0-9A-Za-z:.+-]*", trigger.start):
        allowed = "latest, earliest, a time such as '2026-01-01T00:00:00Z', or an offset"
        raise SpecError(f"{path}.start", trigger.start, allowed)
    trigger.wait = duration(trigger.wait, f"{path}.wait")
    trigger.lease = duration(trigger.lease, f"{path}.lease")
    if seconds(trigger.lease, f"{path}.lease") < 1:
        raise SpecError(f"{path}.lease", trigger.lease, "at least 1s")
    if trigger.consumers.min > trigger.consumers.max:
        raise SpecError(
            f"{path}.consumers.min", trigger.consumers.min, f"at most max, which is {trigger.consumers.max}"
        )


def _stream_url(text: str, path: str, names: Collection[str]) -> None:
    url = parse_stream(text, path)
    if url.secret:
        hint = "Write $(NAME) in its place, and let NAME be a variable in spec.env, from a secret"
        raise SpecError(path, masked(text), "a URL without a password in it", hint=hint)
    for name in references(text):
        if name not in names:
            raise SpecError(
                path, f"$({name})", f"a variable of spec.env: {', '.join(sorted(names)) or 'there is none'}"
            )


def _sink(sink: Sink | None, names: Collection[str]) -> None:
    if sink is None:
        return
    given = [name for name in ("broker", "stream", "uri") if getattr(sink, name) is not None]
    if len(given) != 1:
        raise SpecError("spec.sink", " and ".join(given) or NOTHING, "exactly one of broker, stream and uri")
    if sink.stream is not None:
        _stream_url(sink.stream, "spec.sink.stream", names)
    if sink.uri is not None:
        _url(sink.uri, "spec.sink.uri")
    if sink.broker is not None and not re.search(LABEL, sink.broker):
        raise SpecError("spec.sink.broker", sink.broker, "a broker's name: lower-case letters, digits and '-'")
    for name, value in sink.extensions.items():
        if not _EXTENSION.match(name) or name in _CONTEXT:
            allowed = "lower-case letters and digits, and no attribute that CloudEvents has already"
            raise SpecError(join("spec.sink.extensions", name), value, allowed)


def _url(text: str, path: str) -> None:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or re.search(r"\s", text):
        raise SpecError(path, text, "an http or https URL such as 'http://events.example.com/in'")


def _unique(values: Iterable[str | None], path: str, field: str, noun: str) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise SpecError(f"{path}[{index}].{field}", value, f"a {field} that no other {noun} has")
        if value is not None:
            seen.add(value)
