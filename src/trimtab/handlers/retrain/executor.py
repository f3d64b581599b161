"""Does in the world what a loop asks for: artifacts, rows, the model server's document, and events to the sink."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from trimtab.artifacts import Artifact, ArtifactStore
from trimtab.errors import NotFound, SpecError, TrimtabError
from trimtab.events import make
from trimtab.handlers.documents import Documents
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.retrain.contest import agreement, contest
from trimtab.handlers.retrain.machine import same_version
from trimtab.handlers.retrain.messages import Compared, Message, RunEnded
from trimtab.handlers.retrain.rows import Rows, label_column
from trimtab.handlers.retrain.state import Action, Attempt, Loop, Traffic
from trimtab.handlers.retrain.training import Training
from trimtab.handlers.serving import document as models
from trimtab.runtime.post import post

logger = logging.getLogger("trimtab.retrain")

_SOURCE = "/loops/"


class Executor:
    """The world as a loop sees it. Errors of `do`: TrimtabError; the action is done again later."""

    def __init__(self, artifacts: ArtifactStore, monitor: Monitor, documents: Documents, sink: str) -> None:
        self._artifacts, self._monitor, self._documents, self._sink = artifacts, monitor, documents, sink

    def do(self, loop: Loop, action: Action) -> Sequence[Message]:
        """See World."""
        if action.kind == "train":
            return self._train(loop, action)
        if action.kind == "compare":
            return self._compare(loop, action)
        if action.kind == "tag":
            self._artifacts.tag(self._artifacts.get(action.data["model"]), action.data["tag"])
        elif action.kind == "route":
            self._route(loop, action)
        else:
            self._announce(loop, action)
        return []

    def traffic(self, loop: Loop, attempt: Attempt) -> dict[str, Traffic]:
        """What champion and challenger answered since the rollout began, by model."""
        since = attempt.rolled
        names = {attempt.champion: loop.endpoint}
        if attempt.challenger:
            names[attempt.challenger] = self._challenger(loop.endpoint, self._artifacts.get(attempt.challenger))
        found = {model: self._seen(endpoint, since) for model, endpoint in names.items()}
        if attempt.stage == "shadow" and attempt.challenger:
            rows = self._rows(loop.endpoint, attempt.champion)
            agreed = agreement(rows, loop.endpoint, names[attempt.challenger], since)
            found[attempt.challenger] = msgspec.structs.replace(found[attempt.challenger], agreement=agreed)
        return found

    # Actions

    def _train(self, loop: Loop, action: Action) -> Sequence[Message]:
        data = action.data
        assert loop.rule is not None
        try:
            rows = self._rows(loop.endpoint, data["champion"])
            training = Training(self._artifacts, rows, data, loop.rule.comparison.min_rows)
            dataset = training.dataset(action.id)
        except (SpecError, NotFound) as exc:  # it will not get better by waiting
            return [RunEnded(action.id, "", False, error=str(exc))]
        self._post(
            "dev.trimtab.retrain",
            loop.endpoint,
            action.id,
            {**data["parameters"], **training.parameters(dataset), "inputs": {"dataset": dataset.version_uri}},
            function=data["function"],
        )
        return []

    def _compare(self, loop: Loop, action: Action) -> Sequence[Message]:
        assert loop.rule is not None
        data = action.data
        rows = self._rows(loop.endpoint, data["champion"])
        figures, count = contest(
            self._artifacts, rows, data["champion"], data["challenger"], data["since"], loop.rule.comparison
        )
        return [Compared(data["attempt"], figures, count)]

    def _rows(self, endpoint: str, model: str) -> Rows:
        """Give the rows of an endpoint and of the versions that were served beside it."""
        names = [seen.endpoint.name for seen in self._monitor.endpoints()]
        endpoints = [name for name in names if name == endpoint or name.startswith(f"{endpoint}:")]
        spec = self._artifacts.get(model).model
        schema = spec.schema if spec.schema is not None else self._monitor.reference(endpoint).schema
        return Rows(self._monitor.log, endpoints, schema, label_column(spec))

    def _route(self, loop: Loop, action: Action) -> None:
        """Write what the model server serves into its document: the champion under the key, challengers as versions."""
        key, data = _key(loop.endpoint), action.data
        uris = [*data["shares"], *([data["shadow"]] if data["shadow"] else [])]
        keys = {uri: f"{key}:{self._artifacts.get(uri).version}" for uri in uris}
        route = models.Route(
            path=data["champion"],
            challengers={keys[uri]: uri for uri in uris},
            shares={keys[uri]: percent for uri, percent in data["shares"].items()},
            shadow=keys.get(data["shadow"]),
            number=data.get("number", 0),
        )
        name = models.name(loop.function, data["revision"])
        known = [data["champion"], *uris, loop.champion, *(each.champion for each in loop.decisions[-1:])]

        def routed(changes: models.Changes) -> models.Changes:
            hand = changes.models.get(key)
            if hand is None or (
                hand.model is not None and any(same_version(hand.model.path or "", uri) for uri in known)
            ):
                return changes.with_route(key, route)
            logger.warning("%s was changed by hand since it was deployed: the loop leaves it as it is", loop.endpoint)
            return changes

        models.change(self._documents, name, routed)

    def _announce(self, loop: Loop, action: Action) -> None:
        data = dict(action.data)
        what = data.pop("what")
        self._post(f"dev.trimtab.{what}", loop.endpoint, action.id, {"endpoint": loop.endpoint, **data})

    def _post(self, type: str, endpoint: str, identity: str, data: Any, **extensions: Any) -> None:
        if not self._sink:
            raise TrimtabError("this function has no sink: set spec.sink, or K_SINK")
        source = _SOURCE + quote(endpoint, safe="/")
        event = make(type, source, data, id=identity, subject=endpoint, endpoint=endpoint, **extensions)
        post(self._sink, event)

    # What was seen

    def _seen(self, endpoint: str, since: float) -> Traffic:
        try:
            windows = [each for each in self._monitor.windows(endpoint) if each.arrived >= since]
        except NotFound:
            return Traffic()
        rows = sum(window.rows for window in windows)
        errors = sum(window.errors for window in windows)
        latency = sum(window.latency_us for window in windows) / rows if rows else 0.0
        requests = sum(window.requests for window in windows)
        return Traffic(requests=requests + errors, errors=errors, latency=latency)

    @staticmethod
    def _challenger(endpoint: str, artifact: Artifact) -> str:
        return f"{endpoint}:{artifact.version}"


def _key(endpoint: str) -> str:
    """The model's key: an endpoint is `FUNCTION/KEY`."""
    return endpoint.partition("/")[2]
