"""How KEDA is told to scale consumers by their lag."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.errors import SpecError
from trimtab.spec.stream import parse
from trimtab.triggers.streams.keda import authentication, credentials, obstacle, scaled_object
from trimtab.triggers.streams.plan import Plan


def plan(url: str) -> Plan:
    return Plan(id="f/t", url=replace(parse(url), group="g"))


def scaled(url: str) -> dict[str, Any]:
    return scaled_object(plan(url), "consumer", least=0, most=5, lag=50)


@pytest.mark.parametrize(
    ("url", "kind", "fields"),
    [
        ("redis://host?stream=o", "redis-streams", {"stream": "o", "consumerGroup": "g", "lagCount": "50"}),
        ("rediss://host/2?stream=o", "redis-streams", {"databaseIndex": "2", "enableTLS": "true"}),
        ("nats://host?stream=o", "nats-jetstream", {"stream": "o", "consumer": "g", "lagThreshold": "50"}),
        ("kafka://one,two?stream=o", "kafka", {"topic": "o", "bootstrapServers": "one:9092,two:9092"}),
        ("kafka+tls://u:$(P)@one?stream=o&sasl=scram-sha-512", "kafka", {"sasl": "scram_sha512", "tls": "enable"}),
        ("amqp://host?stream=o", "rabbitmq", {"queueName": "o", "mode": "QueueLength", "value": "50"}),
    ],
)
def test_keda_scales_by_the_lag_of_each_kind_of_broker(url: str, kind: str, fields: dict[str, str]) -> None:
    made = scaled(url)
    assert made["scaleTargetRef"] == {"name": "consumer"}
    assert (made["minReplicaCount"], made["maxReplicaCount"]) == (0, 5)
    assert made["triggers"][0]["type"] == kind
    assert fields.items() <= made["triggers"][0]["metadata"].items()


def test_messages_that_are_lent_keep_a_consumer_of_redis_which_does_not_count_them_as_lag() -> None:
    waiting, lent = scaled("redis://host?stream=o")["triggers"]
    assert waiting["metadata"]["activationLagCount"] == "0"
    assert lent["metadata"]["pendingEntriesCount"] == "50"
    assert "lagCount" not in lent["metadata"]


@pytest.mark.parametrize(
    ("url", "variables", "parameters"),
    [
        ("redis://:$(PASSWORD)@host?stream=o", {"KEDA_PASSWORD": "$(PASSWORD)"}, ["password"]),
        (
            "kafka://ada:$(PASSWORD)@host?stream=o",
            {"KEDA_USERNAME": "ada", "KEDA_PASSWORD": "$(PASSWORD)"},
            ["username", "password"],
        ),
        (
            "amqps://ada:$(PASSWORD)@host/shop?stream=o",
            {"KEDA_HOST": "amqps://ada:$(PASSWORD)@host:5671/shop"},
            ["host"],
        ),
        ("amqp://host?stream=o", {"KEDA_HOST": "amqp://host:5672/"}, ["host"]),
        ("nats://$(TOKEN)@host?stream=o", {}, []),
        ("redis://host?stream=o", {}, []),
    ],
)
def test_who_logs_in_is_a_variable_of_the_container(url: str, variables: dict[str, str], parameters: list[str]) -> None:
    assert credentials(plan(url)) == variables
    named = authentication(plan(url), "consume").get("env", [])
    assert [(each["parameter"], each["containerName"]) for each in named] == [(each, "consume") for each in parameters]
    assert [each["name"] for each in named] == list(variables)
    assert scaled(url)["triggers"][0].get("authenticationRef") == ({"name": "consumer"} if variables else None)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mqtt://host?stream=o", "an MQTT broker tells no lag"),
        ("redis://$(HOST)?stream=o", r"KEDA does not put in \$\(HOST\)"),
        ("rediss://host?stream=o&tls_ca=/ca", "KEDA cannot read the file of tls_ca"),
        ("local:o", "a stream of a broker that the cluster reaches"),
    ],
)
def test_what_keda_cannot_scale_says_why(url: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        scaled(url)
    assert url == "local:o" or obstacle(plan(url))
