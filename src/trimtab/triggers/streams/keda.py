"""The objects by which KEDA scales a consumer's Deployment by its lag (https://keda.sh/docs/latest/scalers/).

Pure: what the cluster has is the target's to find out. KEDA asks the broker itself, so it scales from zero, too. Credentials
are variables of the Deployment's container, which a TriggerAuthentication names; no secret stands in an object.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from trimtab.errors import SpecError
from trimtab.spec.stream import StreamUrl, references
from trimtab.triggers.streams.plan import Plan

_SASL = {"PLAIN": "plaintext", "SCRAM-SHA-256": "scram_sha256", "SCRAM-SHA-512": "scram_sha512"}
"""Kafka's mechanisms in KEDA's words."""


def obstacle(plan: Plan) -> str:
    """Say what keeps KEDA from knowing this stream's lag; empty where nothing does."""
    url = plan.url
    if url.kind == "mqtt":
        return "an MQTT broker tells no lag"
    if names := references(" ".join((*url.hosts, url.path, url.stream, url.group))):
        return f"KEDA does not put in $({names[0]})"
    files = sorted(name for name in url.options if name.startswith("tls_"))
    if files and url.kind != "nats":  # there its monitor is asked, without TLS
        return f"KEDA cannot read the file of {files[0]}"
    return ""


def credentials(plan: Plan) -> dict[str, str]:
    """Give the variables that the consumer's container needs for KEDA, by name; `$(NAME)` is another one's."""
    return {f"KEDA_{parameter.upper()}": text for parameter, text in _secrets(plan.url).items()}


def authentication(plan: Plan, container: str) -> dict[str, Any]:
    """Give the `spec` of the TriggerAuthentication: which variable of the container is which parameter. Empty for none."""
    named = [
        {"parameter": parameter, "name": f"KEDA_{parameter.upper()}", "containerName": container}
        for parameter in _secrets(plan.url)
    ]
    return {"env": named} if named else {}


def scaled_object(plan: Plan, name: str, *, least: int, most: int, lag: int) -> dict[str, Any]:
    """Give the `spec` of the ScaledObject of Deployment `name`: from `least` to `most`, one for each `lag` messages.

    The TriggerAuthentication, where there is one, has the Deployment's name. Errors: SpecError where there is an `obstacle`.
    """
    if plan.url.kind == "local" or (why := obstacle(plan)):
        allowed = "a stream of a broker that the cluster reaches" if plan.url.kind == "local" else why
        raise SpecError("url", str(plan.url), allowed)
    reference = {"authenticationRef": {"name": name}} if _secrets(plan.url) else {}
    return {
        "scaleTargetRef": {"name": name},
        "minReplicaCount": least,
        "maxReplicaCount": most,
        "triggers": [{"type": kind, "metadata": told, **reference} for kind, told in _triggers(plan.url, str(lag))],
    }


def _secrets(url: StreamUrl) -> dict[str, str]:
    """Give who logs in, by KEDA's parameters."""
    if url.kind == "rabbitmq":
        login = f"{quote(url.user, safe='$()')}:{url.password}@" if url.user else ""
        return {"host": f"{url.scheme}://{login}{url.hosts[0]}/{quote(url.path, safe='')}"}
    if url.kind in ("redis", "kafka"):
        return {name: text for name, text in (("username", url.user), ("password", url.password)) if text}
    return {}


def _triggers(url: StreamUrl, count: str) -> list[tuple[str, dict[str, str]]]:
    """Name the scalers for a kind of broker, and what each is told; the one that wants most wins."""
    host = url.hosts[0]
    if url.kind == "redis":
        stream = {"address": host, "stream": url.stream, "consumerGroup": url.group}
        where = {**stream, "databaseIndex": url.path or "0", "enableTLS": str(url.tls).lower()}
        # What is lent and not acknowledged is no lag, and needs a consumer as much.
        counts: tuple[dict[str, str], ...] = (
            {"lagCount": count, "activationLagCount": "0"},
            {"pendingEntriesCount": count},
        )
        return [("redis-streams", {**where, **each}) for each in counts]
    if url.kind == "nats":
        monitor = {"natsServerMonitoringEndpoint": f"{host.rpartition(':')[0]}:8222", "account": "$G"}
        return [("nats-jetstream", {**monitor, "stream": url.stream, "consumer": url.group, "lagThreshold": count})]
    if url.kind == "kafka":
        servers = {"bootstrapServers": ",".join(url.hosts), "tls": "enable" if url.tls else "disable"}
        mechanism = url.options.get("sasl", "plain").upper()
        login = {"sasl": _SASL.get(mechanism, mechanism.lower())} if url.user else {}
        group = {"topic": url.stream, "consumerGroup": url.group, "lagThreshold": count}
        return [("kafka", {**servers, **login, **group})]
    return [("rabbitmq", {"queueName": url.stream, "mode": "QueueLength", "value": count})]
