"""What the monitor shows over HTTP: each path, its parameters, and the JSON it gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab.errors import NotFound, PermanentError
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.types import Window
from trimtab.runtime.response import Response
from trimtab.sketches.summary import summary

PATHS = {
    "/endpoints": "all endpoints",
    "/windows?endpoint=E[&since=N]": "an endpoint's windows; with since, those closed after the Nth closing",
    "/window?endpoint=E&number=N": "one window, what its columns hold, and how right the model was",
    "/sketch?endpoint=E&number=N": "a window's sketch, as Sketch.from_bytes reads it",
    "/reference?endpoint=E[&number=N]": "the reference of a window, or of the endpoint's present model",
}


class Views:
    """Over one monitor."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def show(self, path: str, fields: Mapping[str, str]) -> Any:
        """Answer a path. Errors: NotFound, PermanentError (a parameter is missing or no number), StoreError."""
        found = getattr(self, f"_{path.strip('/') or 'index'}", None)
        if found is None or path.strip("/") not in {"", *(shown.partition("?")[0].strip("/") for shown in PATHS)}:
            raise NotFound(f"there is nothing at {path!r}; there is {', '.join(PATHS)}")
        return found(fields)

    def _index(self, fields: Mapping[str, str]) -> Any:
        return {"process": os.getpid(), "paths": PATHS, **self._endpoints(fields)}

    def _endpoints(self, fields: Mapping[str, str]) -> Any:
        return {"endpoints": [msgspec.to_builtins(seen) for seen in self._monitor.endpoints()]}

    def _windows(self, fields: Mapping[str, str]) -> Any:
        name = _text(fields, "endpoint")
        if "since" in fields:
            found = self._monitor.closed_windows(name, _number(fields, "since"))
        else:
            found = self._monitor.windows(name)
        return {"windows": [_plain(window) for window in found]}

    def _window(self, fields: Mapping[str, str]) -> Any:
        window = self._asked(fields)
        performance = self._monitor.performance(window)
        return {
            **_plain(window),
            "columns": [msgspec.to_builtins(column) for column in summary(self._monitor.sketch(window))],
            "performance": {
                "task": performance.task,
                "joined": performance.joined,
                "metrics": performance.metrics(),
                "confusion": performance.confusion,
            },
        }

    def _sketch(self, fields: Mapping[str, str]) -> Any:
        data = self._monitor.sketch(self._asked(fields)).to_bytes()
        return Response(body=data, content_type="application/octet-stream")

    def _reference(self, fields: Mapping[str, str]) -> Any:
        of = self._asked(fields) if "number" in fields else _text(fields, "endpoint")
        return Response(body=self._monitor.reference(of).to_json(), content_type="application/json")

    def _asked(self, fields: Mapping[str, str]) -> Window:
        return self._monitor.window(_text(fields, "endpoint"), _number(fields, "number"))


def _plain(window: Window) -> dict[str, Any]:
    mean = window.latency_us / window.rows if window.rows else None
    return {**msgspec.to_builtins(window), "mean_latency_us": mean}


def _text(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise PermanentError(f"parameter {name!r} is missing: .../?{name}=...")
    return fields[name]


def _number(fields: Mapping[str, str], name: str) -> int:
    text = _text(fields, name)
    if not text.isdecimal():
        raise PermanentError(f"parameter {name!r}: found {text!r}, allowed: a whole number")
    return int(text)
