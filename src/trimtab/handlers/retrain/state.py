"""What the loop of one endpoint remembers: the central types. Read this first.

A loop is one document. It changes only through `machine.step`, which is a pure function; what has to be done in the
world is written into the document first (`Loop.todo`), done, and then taken out. Whoever is killed in between does it
again under the same id, so each thing done must be harmless to repeat. Times are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from msgspec import Struct

from trimtab.spec.retrain import Retrain

Severity = Literal["unknown", "none", "possible", "detected"]
"""A window's state. `unknown`: it had too few rows for a verdict."""


class Verdict(Struct, frozen=True):
    """One closed window, judged."""

    start: float
    end: float
    severity: Severity
    features: list[str] = []
    """Those that drifted."""
    number: int = 0
    """Of the window: one that was full is followed by another of the same times."""


class Elsewhere(Struct, frozen=True):
    """Another revision than the one that is known answered a window, which ended at `end`."""

    revision: str
    end: float


class Incident(Struct, kw_only=True):
    """A time of drift: from the first drifted window on, until enough clean ones."""

    id: str
    opened: float
    """Start of the first drifted window."""
    settled: float
    """End of the first drifted window. That one holds rows of both worlds, from before the change and after it."""
    last: float
    """End of the last drifted window."""
    clean: int = 0
    """Clean windows since then."""
    attempts: int = 0
    """Trainings that it led to."""
    features: list[str] = []
    """All that drifted in it."""

    @property
    def since(self) -> float:
        """Where the new world begins, as far as is known."""
        return self.settled if self.last > self.settled else self.opened


class Figures(Struct, kw_only=True, frozen=True):
    """Champion and challenger on the same rows. `low` and `high` bound the challenger's gain, which is `gain`, positive
    where it is better; `rows` were compared."""

    metric: str
    champion: float
    challenger: float
    gain: float
    low: float
    high: float
    rows: int
    data: str = ""
    """Digest of the rows that were compared."""


class Traffic(Struct, kw_only=True, frozen=True):
    """What one model answered since a moment: requests, failed ones among them, and the mean latency in microseconds."""

    requests: int = 0
    errors: int = 0
    latency: float = 0.0
    agreement: float | None = None
    """A shadow's: the share of rows that it answered as the champion did."""


Stage = Literal["approval", "training", "comparing", "canary", "shadow", "approve"]


class Attempt(Struct, kw_only=True):
    """One training and what becomes of its model. `stage` says what it waits for: a yes to the training, the training,
    the comparison, the canary, the shadow, or a yes to the rollout."""

    id: str
    incident: str
    stage: Stage
    since: float
    """When the stage began."""
    started: float
    fresh: float
    """Rows since then are of the world that the challenger is for."""
    champion: str
    tries: int = 0
    """Trainings that were asked for: more than one when a machine died under one."""
    challenger: str = ""
    run: str = ""
    step: int = 0
    """Of a canary: which of the rule's steps."""
    rolled: float = 0.0
    """When the rollout began."""
    before: dict[str, Traffic] = {}
    """What had been answered since then when the stage's step began, by model."""
    figures: Figures | None = None
    data: dict[str, Any] = {}
    """What the training was given: rows, their digest, the time they are from."""

    @property
    def training(self) -> str:
        """Id of the event that asked for the training under way."""
        return identity("train", self.id, self.tries)


Outcome = Literal["promoted", "refused", "failed", "rolled back", "rejected"]


class Decision(Struct, kw_only=True, frozen=True):
    """How an attempt ended, and why. `reason` is a sentence with the figures."""

    attempt: str
    incident: str
    time: float
    outcome: Outcome
    reason: str
    champion: str
    challenger: str = ""
    run: str = ""
    figures: Figures | None = None
    traffic: dict[str, Traffic] = {}
    """By model: what the guard saw."""
    data: dict[str, Any] = {}
    training: str = ""
    """The training that was under way; its end may still be heard of."""


Kind = Literal["train", "compare", "tag", "route", "announce"]
"""Ask for a training; compare; have the deployed tag point to a version; say which model answers what; tell the world."""


class Action(Struct, kw_only=True, frozen=True):
    """One thing to be done in the world, harmless to repeat under its `id`."""

    id: str
    kind: Kind
    data: dict[str, Any] = {}


class Loop(Struct, kw_only=True):
    """The document of one endpoint."""

    endpoint: str
    champion: str
    """The exact version in service."""
    function: str = ""
    revision: str = ""
    """Of the model server: its models are changed by documents of each revision."""
    registered: float = 0.0
    """When the model server said so."""
    stamp: int = 0
    """Of the last change by hand within the revision."""
    routes: int = 0
    """Routes that were asked for. They are numbered, so that somebody slow does not bring an old one back."""
    rule: Retrain | None = None
    elsewhere: Elsewhere | None = None
    verdicts: list[Verdict] = []
    """The last few, by end."""
    incident: Incident | None = None
    attempt: Attempt | None = None
    last_started: float | None = None
    decisions: list[Decision] = []
    """Oldest first; bounded by the rule."""
    todo: list[Action] = []


def identity(*parts: object) -> str:
    """Name a thing by what it comes from, so that the same cause twice is the same thing."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
