"""Nuclio's triggers on brokers as stream triggers: what is taken over, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.spec import EnvSource, EnvVar, Function, KeyRef, StreamTrigger, check
from trimtab.spec.nuclio import read
from trimtab.spec.stream import parse

PASSWORD = "hunter2"
MADE = "a queue that is missing is made as a quorum queue, which is durable; one that is there is taken as it is"
KEPT = "the JetStream stream 'orders' keeps what is published to 'orders.>', and is made where it is missing"


def converted(**triggers: Any) -> tuple[Function, list[str]]:
    spec = {"handler": "m:h", "build": {"path": "."}, "triggers": triggers}
    function, leftovers = read({"metadata": {"name": "f"}, "spec": spec})
    check(function)
    assert PASSWORD not in str(leftovers) + str(function)
    return function, leftovers


def test_kafka_has_a_trigger_for_each_topic_and_its_password_from_a_secret() -> None:
    function, leftovers = converted(
        orders={
            "kind": "kafka-cluster",
            "numWorkers": 4,
            "batch": {"mode": "enable", "batchSize": 50},
            "explicitAckMode": "enable",
            "attributes": {
                "brokers": ["a:9092", "b"],
                "topics": ["new", "Changed.Ones"],
                "consumerGroup": "g",
                "initialOffset": "Earliest",
                "sessionTimeout": "10s",
                "workerAllocationMode": "static",
                "fetchMax": 5,
                "tls": {"enable": True, "insecureSkipVerify": True},
                "sasl": {"enable": True, "user": "u", "password": PASSWORD, "mechanism": "SCRAM-SHA-512"},
            },
        }
    )
    login = "u:$(ORDERS_PASSWORD)@a:9092,b"
    shared: dict[str, Any] = {
        "concurrency": 4, "order": "partition", "start": "earliest", "lease": "10s", "batch": 50, "wait": "1s",
    }  # fmt: skip
    assert function.spec.triggers == [
        StreamTrigger(name="orders-new", url=f"kafka+tls://{login}?stream=new&group=g&sasl=scram-sha-512", **shared),
        StreamTrigger(
            name="orders-changed-ones",
            url=f"kafka+tls://{login}?stream=Changed.Ones&group=g&sasl=scram-sha-512",
            **shared,
        ),
    ]
    secret = KeyRef(name="orders", key="password")
    assert function.spec.env == [EnvVar(name="ORDERS_PASSWORD", value_from=EnvSource(secret_key_ref=secret))]
    assert (function.spec.scale.workers, function.spec.scale.concurrency) == (5, 5)
    assert leftovers == [
        "spec.triggers.orders.attributes.fetchMax: 5",
        "spec.triggers.orders.attributes.tls.insecureSkipVerify: True",
        "spec.triggers.orders.explicitAckMode: 'enable'",
        "spec.triggers.orders: its password is not taken over: put it into the secret 'orders' under the key 'password'",
    ]


def test_rabbitmq_is_bound_by_one_key() -> None:
    function, leftovers = converted(
        mail={
            "kind": "rabbit-mq",
            "url": f"amqp://guest:{PASSWORD}@rabbit:5672/shop",
            "attributes": {
                "queueName": "letters",
                "exchangeName": "post",
                "topics": ["a.*", "b"],
                "prefetchCount": 7,
                "reconnectDuration": "1m",
            },
        }
    )
    (trigger,) = function.spec.triggers
    assert isinstance(trigger, StreamTrigger)
    url = "amqp://guest:$(MAIL_PASSWORD)@rabbit:5672/shop?stream=letters&exchange=post&key=a.%2A"
    assert trigger == StreamTrigger(name="mail", url=url, concurrency=1)
    assert parse(trigger.url).options == {"exchange": "post", "key": "a.*"}
    assert leftovers == [
        "spec.triggers.mail.attributes.reconnectDuration: '1m'",
        "spec.triggers.mail.attributes.topics: ['b']",
        f"spec.triggers.mail: {MADE}",
        "spec.triggers.mail: its password is not taken over: put it into the secret 'mail' under the key 'password'",
        "spec.triggers.mail: its prefetch is as many messages as the function has free slots for",
        "spec.triggers.mail: the exchange 'post' must be there; a queue that is made is bound to it",
    ]


def test_mqtt_has_a_trigger_for_each_subscription() -> None:
    function, leftovers = converted(
        sensors={
            "kind": "mqtt",
            "url": "ssl://mqtt:8883",
            "username": "u",
            "password": PASSWORD,
            "attributes": {"subscriptions": [{"topic": "house/#", "qos": 1}, {"topic": "car/+", "qos": 0}]},
        }
    )
    assert [(each.name, each.url) for each in function.spec.triggers if isinstance(each, StreamTrigger)] == [
        ("sensors-house", "mqtts://u:$(SENSORS_PASSWORD)@mqtt:8883?stream=house/%23"),
        ("sensors-car", "mqtts://u:$(SENSORS_PASSWORD)@mqtt:8883?stream=car/%2B"),
    ]
    assert "spec.triggers.sensors: 'car/+' is subscribed to at QoS 1 (found: 0), so that nothing is lost" in leftovers
    assert "spec.triggers.sensors: MQTT 5 is spoken, which the broker has to know" in leftovers


def test_nats_gets_a_stream_that_keeps_its_subject() -> None:
    attributes = {"topic": "orders.>", "queueName": "{{.Namespace}}-{{.Name}}"}
    function, leftovers = converted(news={"kind": "nats", "url": "nats://nats:4222", "attributes": attributes})
    (trigger,) = function.spec.triggers
    assert isinstance(trigger, StreamTrigger)
    assert trigger.url == "nats://nats:4222?stream=orders&subject=orders.%3E"
    assert leftovers == [
        "spec.triggers.news.attributes.queueName: '{{.Namespace}}-{{.Name}}'",
        f"spec.triggers.news: {KEPT}",
    ]


@pytest.mark.parametrize("kind", ["v3ioStream", "kinesis", "eventhub", "pubsub"])
def test_a_stream_that_there_is_nothing_for_is_refused_by_name_with_what_to_use(kind: str) -> None:
    function, leftovers = converted(s={"kind": kind, "password": PASSWORD, "url": f"https://u:{PASSWORD}@h/c"})
    assert function.spec.triggers == []
    assert leftovers[:3] == [
        f"spec.triggers.s.kind: {kind!r}",
        "spec.triggers.s.password: '***'",
        "spec.triggers.s.url: 'https://***@h/c'",
    ]
    assert leftovers[3].startswith(f"spec.triggers.s: there is no {kind} here: ")


@pytest.mark.parametrize("kind", ["kafka-cluster", "rabbit-mq", "mqtt", "nats"])
def test_a_trigger_without_a_broker_is_left_and_said(kind: str) -> None:
    attributes = {"topics": ["a"], "topic": "a", "subscriptions": [{"topic": "a"}]}
    function, leftovers = converted(s={"kind": kind, "attributes": attributes})
    assert function.spec.triggers == []
    assert "spec.triggers.s: it names no broker, or nothing to take from it" in leftovers
    assert f"spec.triggers.s.kind: {kind!r}" in leftovers
