"""A function called by a stream's messages: our own consumer, `trimtab consume`, in the function's image.

One process is a ContainerSource, which gives it the function's address (K_SINK). Several are a Deployment, because a
ContainerSource has one.
"""

from __future__ import annotations

from typing import Any

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.container import BOUND, container, pod
from trimtab.deploy.knative.manifests.events import reference
from trimtab.deploy.knative.manifests.names import TRIGGER, child, labels, made
from trimtab.errors import SpecError
from trimtab.spec import StreamTrigger
from trimtab.spec.quantity import seconds

_PORT = 9090
"""Where the consumer serves /metrics, /lag, /healthz and /readyz."""


def stream(rendering: Rendering, trigger: StreamTrigger, path: str) -> Manifest:
    """Give the object that consumes. Errors: SpecError for a stream that only this machine has, and for a job."""
    if trigger.url.startswith("local:"):
        allowed = "a stream that the cluster reaches (redis, nats, kafka, amqp, mqtt): local: is this machine's own"
        raise SpecError(f"{path}.url", trigger.url, allowed)
    if rendering.function.spec.kind == "job":
        raise SpecError(path, "stream", "a cron or event trigger: a job is started, not called")
    name, marks = child(rendering.name, trigger.name), labels(rendering, trigger.name)
    several = trigger.consumers.max > 1
    consumer = _container(rendering, trigger, address=_address(rendering) if several else "")
    template = {
        "metadata": {"labels": marks},
        "spec": {"containers": [consumer], **{k: v for k, v in pod(rendering).items() if k != "volumes"}},
    }
    if not several:
        template["metadata"] = {"labels": marks}
        spec: dict[str, Any] = {"template": template, "sink": {"ref": reference(rendering)}}
        return made(rendering, "sources.knative.dev/v1", "ContainerSource", name, spec, trigger=trigger.name)
    selector = {key: marks[key] for key in ("trimtab.dev/function", TRIGGER)}
    spec = {"replicas": trigger.consumers.max, "selector": {"matchLabels": selector}, "template": template}
    return made(rendering, "apps/v1", "Deployment", name, spec, trigger=trigger.name)


def notes(trigger: StreamTrigger) -> list[str]:
    """Say what is otherwise on a cluster."""
    most = trigger.consumers.max
    if most == 1 and trigger.consumers.min == 1:
        return []
    said = "process consumes" if most == 1 else "processes consume"
    return [f"trigger {trigger.name!r}: {most} {said} all the time; nothing scales them by lag, and not to zero"]


def _container(rendering: Rendering, trigger: StreamTrigger, *, address: str) -> dict[str, Any]:
    whole = container(rendering)
    return {
        "name": "consume",
        "image": whole["image"],
        "command": ["python3", "-m", "trimtab", "consume"],
        "args": _arguments(rendering, trigger, address),
        "env": [e for e in whole["env"] if not e["name"].startswith("TRIMTAB_") and e["name"] not in BOUND],
        "ports": [{"name": "metrics", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": _PORT}},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        "securityContext": whole["securityContext"],
    }


def _arguments(rendering: Rendering, trigger: StreamTrigger, address: str) -> list[str]:
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
        ("--dead-letter", retry.dead_letter, None),
    ]
    timeout = f"{seconds(retry.timeout if retry.timeout is not None else spec.timeouts.request):g}s"
    words = [trigger.url.replace("$(", "$$("), "--name", f"{rendering.name}/{trigger.name}", "--timeout", timeout]
    words += ["--port", str(_PORT), *(["--to", address] if address else [])]
    return [*words, *(word for flag, value, usual in given if value != usual for word in (flag, str(value)))]


def _address(rendering: Rendering) -> str:
    return f"http://{rendering.name}.{rendering.namespace}.svc.cluster.local"
