"""The object by which KEDA scales a consumer's Deployment by its lag (https://keda.sh/docs/latest/scalers/).

Pure: what the cluster has is the target's to find out. Brokers that tell their lag are asked by KEDA itself, so it scales
from zero too. MQTT tells none: there the consumer's own `/lag` is read, of a Service, which needs one consumer at least.
"""

from __future__ import annotations

from typing import Any

from trimtab.errors import SpecError
from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams.plan import Plan


def scaled_object(
    plan: Plan, name: str, *, namespace: str, least: int, most: int, lag: int, port: int = 9090
) -> dict[str, Any]:
    """Give the ScaledObject of Deployment `name`: from `least` to `most` consumers, one for each `lag` messages that wait.

    Credentials are the Deployment's own variables, by KEDA's `...FromEnv`. Errors: SpecError for an embedded stream.
    """
    kind, fields = _trigger(plan.url, str(lag), f"http://{name}.{namespace}:{port}/lag")
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": max(least, 1) if plan.url.kind == "mqtt" else least,
            "maxReplicaCount": most,
            "triggers": [{"type": kind, "metadata": fields}],
        },
    }


def _trigger(url: StreamUrl, count: str, own: str) -> tuple[str, dict[str, str]]:
    """Name the scaler for a kind of broker, and what it is told; `own` is the consumer's own word on its lag."""
    host = url.hosts[0] if url.hosts else ""
    group = {"stream": url.stream, "consumerGroup": url.group}
    if url.kind == "redis":
        database = {"databaseIndex": url.path or "0", "enableTLS": str(url.tls).lower()}
        return "redis-streams", {"address": host, **group, "lagCount": count, **database}
    if url.kind == "nats":
        monitor = {"natsServerMonitoringEndpoint": f"{host.rpartition(':')[0]}:8222", "account": "$G"}
        return "nats-jetstream", {**monitor, "stream": url.stream, "consumer": url.group, "lagThreshold": count}
    if url.kind == "kafka":
        servers = {"bootstrapServers": ",".join(url.hosts), "tls": "enable" if url.tls else "disable"}
        return "kafka", {**servers, "topic": url.stream, "consumerGroup": url.group, "lagThreshold": count}
    if url.kind == "rabbitmq":
        queue = {"queueName": url.stream, "mode": "QueueLength", "value": count}
        return "rabbitmq", {"hostFromEnv": "RABBITMQ_URL", **queue}
    if url.kind == "mqtt":
        return "metrics-api", {"url": own, "valueLocation": "waiting", "targetValue": count}
    raise SpecError("url", str(url), "a stream of a broker that the cluster reaches")
