"""One model that is loaded: its object, its queue and its figures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from trimtab.errors import HandlerError, ImportFailed, TrimtabError
from trimtab.handlers.serving.batcher import Batcher, Cost, timed
from trimtab.handlers.serving.classes import Classes
from trimtab.handlers.serving.document import Change
from trimtab.handlers.serving.model import ModelServer
from trimtab.runtime.context import Context
from trimtab.runtime.load import frames
from trimtab.runtime.threads import Threads
from trimtab.spec import MicroBatch
from trimtab.spec.quantity import seconds

_WARM = 3
"""Predictions before the first request: the first one imports what is imported late."""


class Entry:
    """A loaded model under its key. Belongs to a process once `open` was called."""

    def __init__(self, change: Change, server: ModelServer) -> None:
        assert change.model is not None
        self.change, self.model, self.server = change, change.model, server
        self.key = self.model.key
        self.name, _, self.version = self.key.partition(":")
        self.table_form = ""
        """How the last request was written: decoders are tried in that order."""
        self.batcher: Batcher[Any] | None = None
        self.requests = self.failures = self.rows = 0
        self.seconds = 0.0
        self.costs: list[Cost] = []

    @property
    def uri(self) -> str:
        """Where the model came from: its version's own URI, if it was logged."""
        artifact = self.server.artifact
        return str(artifact.version_uri) if artifact is not None else self.model.path or self.key

    @property
    def built_in(self) -> bool:
        """Whether tables can be given to it directly."""
        return hasattr(self.server, "predict_table")

    def warm(self) -> None:
        """Have the built-in class make its first predictions. Zeros may be nothing to a model: a request will tell."""
        if self.built_in:
            server: Any = self.server
            with contextlib.suppress(Exception):
                self.costs = [timed(server.warm, 1)[1] for _ in range(_WARM)]

    def open(self, threads: Threads) -> None:
        """Make what belongs to this process."""
        self.batcher = None
        declared = self.model.batch
        if self.built_in:
            self.batcher = _batcher(declared or MicroBatch(), self._tables, threads, inline=True, costs=self.costs)
        elif declared is not None and declared.size > 1:
            self.batcher = _batcher(declared, self._requests, threads, inline=False)

    def _tables(self, items: Sequence[tuple[Any, bool]]) -> Sequence[dict[str, Any]]:
        """Predict for several tables in one call: (table, whether probabilities are wanted) each."""
        from trimtab.handlers.serving import tables

        wanted = any(probabilities for _, probabilities in items)
        predict: Any = self.server.predict_table  # type: ignore[attr-defined]
        if len(items) == 1:
            return [predict(items[0][0], probabilities=wanted)]
        outputs = predict(tables.joined([table for table, _ in items]), probabilities=wanted)
        return tables.split(outputs, [len(table) for table, _ in items])

    def _requests(self, items: Sequence[dict[str, Any]]) -> Sequence[Any]:
        """Predict for several requests of a user's class in one call; only those that differ in nothing but inputs."""
        from trimtab.handlers.serving import tables

        if len(items) == 1:
            return [self.server.predict(items[0])]
        rests = [{name: value for name, value in item.items() if name not in ("id", "ids", "inputs")} for item in items]
        if any(rest != rests[0] for rest in rests) or not all(isinstance(item["inputs"], list) for item in items):
            raise TypeError("these requests cannot share a call")
        together = {**items[0], "inputs": [row for item in items for row in item["inputs"]]}
        return tables.split_any(self.server.predict(together), [len(item["inputs"]) for item in items])


def _batcher(
    declared: MicroBatch, call: Any, threads: Threads, *, inline: bool, costs: Sequence[Cost] = ()
) -> Batcher[Any]:
    wait = seconds(declared.wait)
    return Batcher(call, threads, size=declared.size, wait=wait, inline=inline, costs=costs)


def load(change: Change, classes: Classes, context: Context) -> Entry:
    """Make a model's object and load it. Errors: HandlerError, which says which model, with the user's traceback."""
    model = change.model
    assert model is not None
    try:
        cls = classes.find(model.class_name)
        params = {**model.params, **({"sha256": model.sha256} if model.sha256 else {})}
        server = cls(context, model.key, model.path, **params)
        server.load()
    except ImportFailed as exc:
        raise ImportFailed(f"model {model.key!r} cannot be loaded: {exc}", exc.traceback) from exc
    except (HandlerError, TrimtabError) as exc:
        raise ImportFailed(f"model {model.key!r} cannot be loaded: {exc}") from exc
    except BaseException as exc:
        raise ImportFailed(
            f"model {model.key!r} cannot be loaded: {type(exc).__name__}: {exc}".rstrip(": "), frames(exc)
        ) from exc
    return Entry(change, server)
