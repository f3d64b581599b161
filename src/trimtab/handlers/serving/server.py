"""The model server: the handler of `kind: serving`, which answers both protocols for all its models."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab._version import __version__
from trimtab.errors import HandlerError, ImportFailed, PermanentError, SpecError, StoreError
from trimtab.handlers.serving import custom, direct, oip, rows
from trimtab.handlers.serving.classes import Classes
from trimtab.handlers.serving.entry import Entry
from trimtab.handlers.serving.register import announce, register
from trimtab.handlers.serving.repository import Repository
from trimtab.handlers.serving.routes import Route, route
from trimtab.handlers.serving.shadows import Shadows
from trimtab.handlers.serving.tracker import Tracker
from trimtab.runtime.context import Context
from trimtab.runtime.event import Event
from trimtab.runtime.threads import MOST, Threads
from trimtab.spec import Model, Retrain, Tracking

_INFER = frozenset({"infer", "predict", "infer_dict", "predict_dict"})
_REQUEST = "trimtab.request"
"""Where a scope holds the id that a request and its copy share."""
_EXTENSIONS = ["binary_tensor_data", "model_repository"]


class Server:
    """One function's models. `load` runs once in a replica, `after_fork` in each of its processes."""

    raw_body = True

    def load(self, context: Context) -> None:
        """Load all models. Errors: SpecError, HandlerError with the traceback of the model that failed."""
        config = context.config
        self.context, self.config = context, config
        self.threads: Threads | None = None
        self.tracker: Tracker | None = None
        models = _read("TRIMTAB_MODELS", config.models, list[Model]) or []
        self.tracking: Tracking | None = _read("TRIMTAB_TRACKING", config.tracking, Tracking)
        self.rule: Retrain | None = _read("TRIMTAB_RETRAIN", config.retrain, Retrain)
        if self.tracking is not None and config.sink is None and context.emitter is None:
            raise ImportFailed("tracking needs a sink: set spec.sink (a broker or a uri), or K_SINK")
        classes = Classes(config.handler, Path(config.directory))
        self.repository = Repository(models, config.state, classes, context)
        asyncio.run(self.repository.begin())

    async def after_fork(self) -> None:
        """Begin to serve in this process."""
        self._prefix, self._numbers = os.urandom(8).hex(), itertools.count(1)
        """Of requests' ids: a new random one for each takes longer than a small model."""
        self.threads = Threads(asyncio.get_running_loop(), self.config.concurrency or MOST)
        self.shadows = Shadows()
        await self.repository.enter(self.threads)
        if self.tracking is not None:
            self.tracker = Tracker(self.context, self.tracking)
            if self.context.worker_id == 0:
                register(self.context, self.repository, self.rule)
                self.repository.changed = lambda entry: announce(self.context, self.repository, entry, self.rule)

    async def stop(self) -> None:
        """Stop following the document, and hand over what was tracked."""
        await self.shadows.stop()
        await self.repository.leave()
        if self.tracker is not None:
            await self.tracker.stop()
        if self.threads is not None:
            self.threads.close()

    async def __call__(self, event: Event) -> Any:
        """Answer a request."""
        found = route(event.scope["path"])
        if found.place == "model":
            if found.operation in _INFER or (not found.operation and event.scope["method"] == "POST"):
                if event.scope["method"] != "POST":
                    raise PermanentError(f"method: found {event.method!r}, allowed: 'POST'", status=405)
                entry = self.repository.find(found.model, found.version)
                if entry is None:
                    entry = await self.repository.need(found.model, found.version)
                if entry.key in self.repository.routes:
                    return await self._routed(entry, event, found.operation or "infer")
                return await self._infer(entry, event, found.operation or "infer")
            return await self._about_model(found, event)
        if found.place in ("server", "models") and event.scope["method"] == "POST":
            return await self._by_body(event)
        return await self._about_server(found, event)

    # Predictions

    async def _routed(self, entry: Entry, event: Event, operation: str) -> Any:
        """Answer by whichever version's turn it is; a copy goes to the shadow, under the same id."""
        scope: Any = event.scope
        scope[_REQUEST] = self.identity(event)
        answer = await self._infer(self.repository.drawn(entry), event, operation)
        shadow = self.repository.shadow(entry)
        if shadow is not None:
            self.shadows.copy(lambda: self._infer(shadow, event, operation))
        return answer

    async def _infer(self, entry: Entry, event: Event, operation: str) -> Any:
        entry.requests += 1
        try:
            if entry.built_in:
                return await direct.answer(self, entry, event, operation)
            return await custom.answer(self, entry, event, operation)
        except PermanentError as exc:
            if exc.status >= 500:
                self.failed(entry)
            raise
        except Exception:
            self.failed(entry)
            raise

    def failed(self, entry: Entry) -> None:
        """Count a request that a model failed to answer."""
        entry.failures += 1
        if self.tracker is not None and self.tracker.wanted():
            self.tracker.failed(entry)

    def identity(self, event: Event) -> str:
        """Name a request that names itself nowhere: by its event, its X-Request-Id, or anew."""
        if event.envelope is not None:
            return event.id
        if _REQUEST in event.scope:
            return str(event.scope[_REQUEST])
        return _given(event) or f"{self._prefix}-{next(self._numbers):x}"

    async def _by_body(self, event: Event) -> Any:
        """Answer a request whose body says the model and the operation; without a model: the first."""
        body = rows.check_body(direct.body_of(event))
        name = str(body.get("model") or next(iter(self.repository.entries), ""))
        model, _, version = name.partition(":")
        entry = await self.repository.need(model, str(body.get("version") or version))
        operation = str(body.get("operation") or "infer")
        if operation in _INFER and entry.key in self.repository.routes:
            return await self._routed(entry, event, operation)
        if operation in _INFER:
            return await self._infer(entry, event, operation)
        return await custom.operation(self, entry, event, operation)

    # Everything else

    async def _about_model(self, found: Route, event: Event) -> Any:
        entry = await self.repository.need(found.model, found.version)
        match found.operation:
            case "":
                return oip.describe(entry, self.repository.versions(entry.name))
            case "ready":
                return {"name": entry.name, "ready": True}
            case "metrics":
                return {
                    **entry.server.metrics,
                    "requests": entry.requests,
                    "failures": entry.failures,
                    "rows": entry.rows,
                }
        return await custom.operation(self, entry, event, found.operation)

    async def _about_server(self, found: Route, event: Event) -> Any:
        match found.place:
            case "server":
                return {"name": self.context.function, "version": __version__, "extensions": _EXTENSIONS}
            case "live":
                return {"live": True}
            case "ready":
                missing = [key for key in self.repository.troubles if not self.repository.is_challenger(key)]
                return (503 if missing else 200), {"ready": not missing, **({"missing": missing} if missing else {})}
            case "models":
                return {"models": list(self.repository.entries)}
            case "index":
                return self._index()
        return await self._control(found, event)

    def _index(self) -> list[dict[str, Any]]:
        served = [
            {
                "name": e.name,
                "version": e.version,
                "state": "READY",
                "reason": "",
                "path": e.uri,
                "stamp": e.change.stamp,
            }
            for e in self.repository.entries.values()
        ]
        for key, trouble in self.repository.troubles.items():
            name, _, version = key.partition(":")
            served.append(
                {"name": name, "version": version, "state": "UNAVAILABLE", "reason": trouble.reason, "path": "",
                 "stamp": trouble.change.stamp}
            )  # fmt: skip
        return served

    async def _control(self, found: Route, event: Event) -> Any:
        if self.config.model_control != "on":
            raise PermanentError(
                "models are not loaded or unloaded by requests here, for callers may be anybody: set TRIMTAB_MODEL_CONTROL "
                "to 'on', or change the models document",
                status=403,
            )
        if event.scope["method"] != "POST":
            raise PermanentError(f"method: found {event.method!r}, allowed: 'POST'", status=405)
        key = f"{found.model}:{found.version}" if found.version else found.model
        model = None
        if found.operation == "load":
            model = self.repository.known(key)
            if model is None:
                raise PermanentError(f"no model {key!r} was deployed or added: add it first", status=404)
        elif key not in self.repository.entries and key not in self.repository.troubles:
            raise PermanentError(
                f"no model {key!r}; there is {', '.join(self.repository.entries) or 'none'}", status=404
            )
        try:
            await self.repository.change(key, model)
        except (HandlerError, StoreError) as exc:
            raise PermanentError(str(exc), status=500) from exc
        return {}

    def own_metrics(self, labels: str) -> Sequence[str]:
        """Write the models' figures for /metrics."""
        entries = self.repository.entries.values()
        lines = ["# TYPE trimtab_model_requests_total counter", "# TYPE trimtab_model_failures_total counter",
                 "# TYPE trimtab_model_rows_total counter", "# TYPE trimtab_model_calls_total counter"]  # fmt: skip
        for entry in entries:
            own = f'{labels},model="{entry.key}"'
            lines.append(f"trimtab_model_requests_total{{{own}}} {entry.requests}")
            lines.append(f"trimtab_model_failures_total{{{own}}} {entry.failures}")
            lines.append(f"trimtab_model_rows_total{{{own}}} {entry.rows}")
            if entry.batcher is not None:
                lines.append(f"trimtab_model_calls_total{{{own}}} {entry.batcher.calls}")
        if self.tracker is not None:
            lines.append("# TYPE trimtab_tracked_rows_total counter")
            lines.append(f'trimtab_tracked_rows_total{{{labels},state="recorded"}} {self.tracker.recorded}')
            lines.append(f'trimtab_tracked_rows_total{{{labels},state="dropped"}} {self.tracker.dropped}')
        return lines


def _given(event: Event) -> str:
    for name, value in event.scope["headers"]:
        if name == b"x-request-id":
            return str(value.decode("latin-1"))
    return ""


def _read(variable: str, text: str, kind: Any) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as exc:
        raise ImportFailed(
            str(SpecError(f"environment variable {variable}", text, f"JSON as in the spec ({exc})"))
        ) from exc
