"""What calls a function, besides HTTP requests: the clock, a broker's events, a stream's messages; and how often it is tried."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from trimtab.spec.base import Base
from trimtab.spec.scalars import Count, Duration, Label, Positive


class Retry(Base):
    """Delivery of one trigger's events; the words are those of Knative's DeliverySpec.

    Attempt n waits `delay` * n (linear) or `delay` * 2**n (exponential), with up to a quarter of jitter and never
    more than `maxDelay`; a Retry-After of the function wins when it is longer.
    """

    attempts: Count = 10
    """Retries after the first try. 0 = one try."""
    backoff: Literal["linear", "exponential"] = "exponential"
    """How waiting grows with the attempts."""
    delay: Duration = "200ms"
    """The unit of waiting."""
    max_delay: Duration = "5m"
    """The longest wait."""
    timeout: Duration | None = None
    """Of one try. Without it: the function's request timeout."""
    dead_letter: str | None = None
    """Where events go that cannot be delivered: a URL. Without it: our own dead letters (`trimtab dead`)."""


class CronTrigger(Base, tag="cron", tag_field="kind"):
    """Calls the function by the clock."""

    name: Label
    """The trigger's name, which no other trigger of the function has."""
    schedule: str
    """5 or 6 fields (seconds first), or `@every 10s`, `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`."""
    timezone: str = "UTC"
    """The IANA time zone that the fields are read in."""
    data: Any = None
    """The event's data: JSON, or text where `contentType` is not JSON."""
    content_type: str = "application/json"
    """The media type of `data`."""
    catch_up: Literal["none", "last", "all"] = "last"
    """Which ticks that were missed while nothing ran are made up for."""
    overlap: Literal["allow", "skip", "queue"] = "allow"
    """What happens to a tick while an earlier one is still being worked on."""
    retry: Retry = field(default_factory=Retry)
    """How a failed call is repeated."""
    disabled: bool = False
    """Keep the trigger, and do not fire it."""


class EventTrigger(Base, tag="event", tag_field="kind"):
    """Calls the function with the events of a broker that pass all `filters` (Knative's Trigger)."""

    name: Label
    """The trigger's name, which no other trigger of the function has."""
    broker: Label = "default"
    """The broker's name."""
    filters: list[dict[str, Any]] = []
    """Dialects exact, prefix, suffix, all, any, not, cesql, as in Knative's `spec.filters`."""
    path: str = "/"
    """The path of the function that events are sent to."""
    retry: Retry = field(default_factory=Retry)
    """How a failed call is repeated."""
    deduplicate: Duration = "0s"
    """Suppress an event whose (source, id) was delivered within this time. 0 = deliver every one."""
    disabled: bool = False
    """Keep the trigger, and deliver nothing to it."""


class Consumers(Base):
    """How many processes take a stream's messages on a cluster. This machine runs one for each trigger."""

    min: Count = 0
    """At least so many."""
    max: Positive = 1
    """At most so many. With more than one there is no order across them, except on Kafka (by partition)."""
    lag: Positive = 100
    """Messages waiting for each of them before another is started."""


class StreamTrigger(Base, tag="stream", tag_field="kind"):
    """Calls the function with the messages of a stream: Redis, NATS JetStream, Kafka, RabbitMQ, MQTT 5, or our own."""

    name: Label
    """The trigger's name, which no other trigger of the function has."""
    url: str
    """The stream, such as `redis://host/0?stream=orders&group=g`. A password is `$(NAME)`, and NAME one of `spec.env`.
    Without a group, it is the function's name and the trigger's."""
    path: str = "/"
    """The path of the function that messages are sent to."""
    batch: Annotated[int, Meta(ge=1, le=10000)] = 1
    """Messages in one call at most."""
    wait: Duration = "0s"
    """How long the first message of a batch waits for others. 0 = a batch is what is there."""
    concurrency: Count = 0
    """Calls at a time at most. 0 = as many as the function has free slots."""
    order: Literal["key", "partition", "none"] = "key"
    """Which messages wait for one another: those of one key (those without a key do not), of one partition, or none."""
    start: str = "latest"
    """Where a new group begins: `latest`, `earliest`, a time (RFC 3339) or an offset."""
    lease: Duration = "30s"
    """How long the messages of a consumer that is gone stay its own, where the broker does not see that it is gone."""
    retry: Retry = field(default_factory=Retry)
    """How a failed call is repeated. `deadLetter` may also be a stream of the same broker, by its name, or an embedded one
    (`local:NAME`)."""
    consumers: Consumers = field(default_factory=Consumers)
    """How many processes take the messages, on a cluster."""
    disabled: bool = False
    """Keep the trigger, and take nothing for it."""


Trigger = CronTrigger | EventTrigger | StreamTrigger
