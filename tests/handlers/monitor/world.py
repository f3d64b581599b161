"""A monitor in virtual time, and the events of a model that sorts rows by `x`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trimtab.events import Envelope
from trimtab.handlers.monitor.log import Log
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.stores import Limits, Store
from trimtab.handlers.records import Inference, Label, label_event, to_event
from trimtab.sketches import Reference

NOON = 1_795_608_000.0
"""2026-11-25 12:00:00 UTC."""
NAME = "sort/rf"
_RNG = np.random.default_rng(3)
REFERENCE = Reference.fit(
    {"x": _RNG.normal(size=2000), "color": _RNG.choice(["red", "green"], 2000).tolist()},
    labels=_RNG.choice([0, 1], 2000),
    sample=50,
)


class World:
    """One clock and one log for all monitors that are made here; stores of one state."""

    def __init__(self, open_store: Any, folder: Path) -> None:
        self.now = NOON + 60
        self.folder = folder
        self._open = open_store
        self._events = 0

    def monitor(self, store: Store | None = None, **settings: Any) -> Monitor:
        made = Settings(store="", log=str(self.folder), **settings)
        opened = store or self._open(made.limits)
        return Monitor(opened, Log(self.folder), made, lookup=lambda model: (REFERENCE, ""), clock=lambda: self.now)

    def event(self, rows: int = 3, *, at: float | None = None, id: str | None = None, **fields: Any) -> Envelope:
        self._events += 1
        number = self._events
        x = fields.pop("x", None) or [0.1 * place for place in range(rows)]
        record = Inference(
            **{
                "endpoint": NAME,
                "model": "store://models/p/rf#0:latest@1",
                "model_version": "1",
                "function": "sort",
                "columns": ["x", "color"],
                "inputs": [x, ["red"] * len(x)],
                "predictions": [int(isinstance(value, float) and value > 0) for value in x],
                "ids": [f"{number}-{place}" for place in range(len(x))],
                "requests": [f"r{number}"] * len(x),
                "latency_us": [1000 + place for place in range(len(x))],
                "times": [self.now if at is None else at] * len(x),
                **fields,
            }
        )
        event = to_event(record)
        return Envelope({**event.attributes, "id": id or f"event-{number}"}, event.data)

    def label(self, ids: list[str], labels: list[Any], *, id: str | None = None, endpoint: str = NAME) -> Envelope:
        self._events += 1
        event = label_event(Label(endpoint=endpoint, ids=ids, labels=labels), "/labels")
        return Envelope({**event.attributes, "id": id or f"label-{self._events}"}, event.data)


__all__ = ["NAME", "NOON", "REFERENCE", "Limits", "World"]
