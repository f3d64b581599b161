"""What a loop hears of. Each may come twice, late, or out of order."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from trimtab.handlers.retrain.state import Figures, Severity, Traffic
from trimtab.spec.retrain import Retrain


class Registered(Struct, tag=True, frozen=True):
    """A model server began to serve this model under the endpoint, with this rule."""

    champion: str
    function: str
    rule: Retrain | None
    revision: str = ""
    time: float = 0.0
    """When it said so."""
    stamp: int = 0
    """Of a change of this model by hand, since the revision was deployed; newer ones have larger stamps."""


class Judged(Struct, tag=True, frozen=True):
    """A window was closed and judged, by the training data of the model that answered it: `model`."""

    start: float
    end: float
    severity: Severity
    features: list[str] = []
    model: str = ""
    number: int = 0
    revision: str = ""
    """Of the function that answered."""


class RunEnded(Struct, tag=True, frozen=True):
    """The run that the event `training` started has ended. `model` is what it logged; empty where it logged none. `lost`:
    it did not fail by itself, the machine under it went away."""

    training: str
    run: str
    succeeded: bool
    model: str = ""
    error: str = ""
    lost: bool = False
    data: dict[str, Any] = {}


class Compared(Struct, tag=True, frozen=True):
    """Champion and challenger met. Without `figures` there were too few rows: `rows`."""

    attempt: str
    figures: Figures | None
    rows: int = 0


class Approved(Struct, tag=True, frozen=True):
    """Somebody said yes to what waits for it, or ended a rollout in the challenger's favour."""

    attempt: str
    by: str = ""


class Rejected(Struct, tag=True, frozen=True):
    """Somebody said no."""

    attempt: str
    by: str = ""


class Observed(Struct, tag=True, frozen=True):
    """Time went on. `traffic` is what each model answered since the stage's step began, `total` since the rollout did."""

    traffic: dict[str, Traffic] = {}
    total: dict[str, Traffic] = {}


class Done(Struct, tag=True, frozen=True):
    """These actions were carried out."""

    actions: list[str]


Message = Registered | Judged | RunEnded | Compared | Approved | Rejected | Observed | Done
