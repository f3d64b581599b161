"""The rule of a model server's loop: when a drift starts a training, what its model is compared by, how it is rolled out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from trimtab.spec.base import Base
from trimtab.spec.scalars import Count, Duration, Label, Positive

Share = Annotated[
    float, Meta(gt=0, lt=1, extra={"type": "number between 0 and 1", "allowed": "a number between 0 and 1"})
]


class Comparison(Base):
    """How champion and challenger are compared: on the same rows, fresh, labelled, and kept out of the training."""

    metric: Literal["accuracy", "balanced_accuracy", "f1", "rmse", "mae", "r2"] = "accuracy"
    """What is measured. `f1` is the mean over the classes; of `rmse` and `mae` less is better."""
    min_gain: Annotated[float, Meta(ge=0)] = 0.0
    """How much better the challenger must be, in the metric's unit."""
    confidence: Share = 0.95
    """Level of the bootstrap interval on the difference. The whole interval must lie above 0."""
    holdout: Share = 0.3
    """Share of the labelled rows that no training sees. A row belongs to it or not by its id alone."""
    min_rows: Positive = 100
    """Held-out labelled rows below which there is no verdict yet."""
    patience: Duration = "24h"
    """How long to wait for that many; then the challenger is refused."""


class Guard(Base):
    """What a challenger must not do while it is rolled out; it is taken back when it does."""

    error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Failed requests of it at most, above the champion's share of failed requests."""
    latency: Annotated[float, Meta(ge=1)] = 2.0
    """Its mean latency at most, as a multiple of the champion's."""
    min_requests: Positive = 50
    """Requests that it must have answered before either is believed."""


class Rollout(Base):
    """How a challenger that has won comes into service."""

    mode: Literal["canary", "shadow", "approve"] = "canary"
    """`canary`: answers a growing share of the requests. `shadow`: answers copies of them, which nobody gets. `approve`:
    waits for `trimtab promote`."""
    steps: list[
        Annotated[int, Meta(ge=1, le=99, extra={"type": "integer 1-99", "allowed": "a percentage from 1 to 99"})]
    ] = field(default_factory=lambda: [10, 50])
    """Percent of the requests at each step of a canary, rising; all of them come after the last."""
    interval: Duration = "5m"
    """How long a step, or the shadow, lasts at least."""
    patience: Duration = "24h"
    """How long a step, or the shadow, waits for the guard's requests; then the challenger is taken back."""
    guard: Guard = field(default_factory=Guard)
    """What takes it back."""


class Retrain(Base):
    """When drift starts a training, and what becomes of the model that it makes."""

    function: Label
    """The job that trains. It is started by an event `dev.trimtab.retrain`, and logs one model."""
    on: Literal["possible", "detected"] = "detected"
    """The state of a window from which on it counts as drifted."""
    confirm: Positive = 2
    """Drifted windows among the last `confirm + 1` before a training starts. 1 = at once."""
    close_after: Positive = 3
    """Clean windows in a row that close an incident."""
    cooldown: Duration = "6h"
    """Time between the starts of two trainings."""
    once_per: Literal["incident", "cooldown"] = "incident"
    """One training for each incident, or one for each cooldown while the incident lasts."""
    approval: bool = False
    """Whether `trimtab approve` must say so before a training starts."""
    mode: Literal["stateless", "stateful"] = "stateless"
    """`stateful`: the job gets the champion to go on from, and only the rows since the incident opened."""
    data: Literal["window", "log", "all"] = "log"
    """Rows for the training. `window`: those of the incident's windows, without the first one, which holds rows from before
    the change too. `log`: all that were recorded. `all`: those and the champion's own training set. Only rows with labels,
    none of the held-out ones."""
    parameters: dict[str, Any] = {}
    """More parameters for the job."""
    timeout: Duration = "24h"
    """How long a training may take before it counts as failed."""
    keep: Count = 100
    """Decisions that are remembered."""
    comparison: Comparison = field(default_factory=Comparison)
    """How champion and challenger are compared."""
    rollout: Rollout = field(default_factory=Rollout)
    """How a challenger that has won comes into service."""
