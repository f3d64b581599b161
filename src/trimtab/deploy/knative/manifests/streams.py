"""A function called by a stream's messages: our own consumer, `trimtab consume`, in the function's image.

One process is a ContainerSource, several are a Deployment, because a ContainerSource has one. Where the cluster has KEDA, it
scales the Deployment by the stream's lag. Either is told the function's address: a ContainerSource's first pod may start
before it is bound to its sink.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import BOUND, container, pod
from trimtab.deploy.knative.manifests.events import reference
from trimtab.deploy.knative.manifests.names import TRIGGER, child, labels, made
from trimtab.errors import SpecError
from trimtab.spec import StreamTrigger
from trimtab.spec.quantity import seconds
from trimtab.spec.stream import references
from trimtab.triggers.streams import keda
from trimtab.triggers.streams.plan import Plan, plan

KEDA = "keda.sh/v1alpha1"
TEMPLATE = "TRIMTAB_TEMPLATE"
"""The first variable of a consumer: the digest of all that its pods are made of.

A ContainerSource's controller takes a pod that has more than is asked for as it is, so that without this an option, a variable
or a volume that is taken away would stay (equality.Semantic.DeepDerivative, knative.dev/eventing/pkg/reconciler/containersource).
"""
_CONTAINER = "consume"
_PORT = 9090
"""Where the consumer serves /metrics, /lag, /healthz and /readyz."""


def stream(rendering: Rendering, trigger: StreamTrigger, path: str) -> list[Manifest]:
    """Give what consumes. Errors: SpecError for a stream that only this machine has, and for a job."""
    if trigger.url.startswith("local:"):
        allowed = "a stream that the cluster reaches (redis, nats, kafka, amqp, mqtt): local: is this machine's own"
        raise SpecError(f"{path}.url", trigger.url, allowed)
    if rendering.function.spec.kind == "job":
        raise SpecError(path, "stream", "a cron or event trigger: a job is started, not called")
    if _is_scaled(rendering, trigger):
        return _scaled(rendering, trigger)
    if trigger.consumers.max > 1:
        return [_deployment(rendering, trigger, {"replicas": trigger.consumers.max})]
    spec = {"template": _template(rendering, trigger), "sink": {"ref": reference(rendering)}}
    name = child(rendering.name, trigger.name)
    return [made(rendering, "sources.knative.dev/v1", "ContainerSource", name, spec, trigger=trigger.name)]


def notes(rendering: Rendering, trigger: StreamTrigger) -> list[str]:
    """Say what is otherwise on a cluster."""
    most, least = trigger.consumers.max, trigger.consumers.min
    if most == least or _is_scaled(rendering, trigger):
        return []
    said = "process consumes" if most == 1 else "processes consume"
    why = keda.obstacle(_plan(rendering, trigger)) if rendering.keda else "the cluster has no KEDA"
    return [f"trigger {trigger.name!r}: {most} {said} all the time, not scaled by lag: {why}"]


def _is_scaled(rendering: Rendering, trigger: StreamTrigger) -> bool:
    varies = trigger.consumers.min < trigger.consumers.max
    return rendering.keda and varies and not keda.obstacle(_plan(rendering, trigger))


def _plan(rendering: Rendering, trigger: StreamTrigger) -> Plan:
    """Give the consumer's orders as far as they are known here: variables stay names."""
    itself = {name: f"$({name})" for name in references(trigger.url)}
    return plan(f"{rendering.name}/{trigger.name}", trigger, itself, 0.0, "trimtab")


def _scaled(rendering: Rendering, trigger: StreamTrigger) -> list[Manifest]:
    """Give a Deployment whose number of replicas is KEDA's, and KEDA's own objects."""
    orders, consumers, name = _plan(rendering, trigger), trigger.consumers, child(rendering.name, trigger.name)
    found = [_deployment(rendering, trigger, {}, environ=keda.credentials(orders))]
    if login := keda.authentication(orders, _CONTAINER):
        found.append(made(rendering, KEDA, "TriggerAuthentication", name, login, trigger=trigger.name))
    spec = keda.scaled_object(orders, name, least=consumers.min, most=consumers.max, lag=consumers.lag)
    return [*found, made(rendering, KEDA, "ScaledObject", name, spec, trigger=trigger.name)]


def _deployment(
    rendering: Rendering, trigger: StreamTrigger, replicas: dict[str, int], environ: dict[str, str] | None = None
) -> Manifest:
    template = _template(rendering, trigger, environ=environ)
    selector = {key: template["metadata"]["labels"][key] for key in ("trimtab.dev/function", TRIGGER)}
    spec = {**replicas, "selector": {"matchLabels": selector}, "template": template}
    return made(rendering, "apps/v1", "Deployment", child(rendering.name, trigger.name), spec, trigger=trigger.name)


def _template(rendering: Rendering, trigger: StreamTrigger, *, environ: dict[str, str] | None = None) -> dict[str, Any]:
    whole, beside = container(rendering), pod(rendering)
    files = _files(trigger)
    mounts = [
        each for each in whole.get("volumeMounts", []) if any(file.is_relative_to(each["mountPath"]) for file in files)
    ]
    own = [e for e in whole["env"] if not e["name"].startswith("TRIMTAB_") and e["name"] not in BOUND]
    consumer = {
        "name": _CONTAINER,
        "image": whole["image"],
        "command": ["python3", "-m", "trimtab", "consume"],
        "args": _arguments(rendering, trigger),
        "env": [*own, *({"name": name, "value": value} for name, value in (environ or {}).items())],
        "ports": [{"name": "metrics", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": _PORT}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        "securityContext": whole["securityContext"],
    }
    volumes = [each for each in beside.pop("volumes", []) if each["name"] in {mount["name"] for mount in mounts}]
    if mounts:
        consumer["volumeMounts"], beside["volumes"] = mounts, volumes
    digest = hashlib.sha256(msgspec.json.encode([consumer, beside], order="deterministic")).hexdigest()[:16]
    consumer["env"].insert(0, {"name": TEMPLATE, "value": digest})
    return {
        "metadata": {"labels": labels(rendering, trigger.name)},
        "spec": {"containers": [consumer], **beside},
    }


def _files(trigger: StreamTrigger) -> list[PurePosixPath]:
    """Give the files that the stream's URLs name: certificates. Other volumes are the function's alone."""
    urls = [trigger.url, trigger.retry.dead_letter or ""]
    return [
        PurePosixPath(file) for url in urls for name, file in parse_qsl(urlsplit(url).query) if name.startswith("tls_")
    ]


def _arguments(rendering: Rendering, trigger: StreamTrigger) -> list[str]:
    """Write the command line. `$$(NAME)` stays `$(NAME)`: Kubernetes would put the secret where everybody sees it."""
    spec, retry, plain = rendering.function.spec, trigger.retry, StreamTrigger(name="x", url="")
    given: list[tuple[str, Any, Any]] = [
        ("--batch", trigger.batch, plain.batch),
        ("--wait", trigger.wait, plain.wait),
        ("--concurrency", trigger.concurrency or spec.scale.concurrency, 0),
        ("--order", trigger.order, plain.order),
        ("--start", trigger.start, plain.start),
        ("--lease", trigger.lease, plain.lease),
        ("--path", trigger.path, plain.path),
        ("--attempts", retry.attempts, plain.retry.attempts),
        ("--backoff", retry.backoff, plain.retry.backoff),
        ("--delay", retry.delay, plain.retry.delay),
        ("--max-delay", retry.max_delay, plain.retry.max_delay),
        ("--dead-letter", retry.dead_letter, None),
    ]
    timeout = f"{seconds(retry.timeout if retry.timeout is not None else spec.timeouts.request):g}s"
    words = [trigger.url.replace("$(", "$$("), "--name", f"{rendering.name}/{trigger.name}", "--timeout", timeout]
    words += ["--port", str(_PORT), "--to", f"http://{rendering.name}.{rendering.namespace}.svc.cluster.local"]
    return [*words, *(word for flag, value, usual in given if value != usual for word in (flag, str(value)))]
