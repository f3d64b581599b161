"""What the target does with objects: get, list, apply, change, delete, watch; each in our words and with our errors."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from trimtab.deploy.knative.client.connect import Connection
from trimtab.deploy.knative.client.failures import FieldConflict, Gone
from trimtab.deploy.knative.client.http import APPLY, MERGE, Http, Stop
from trimtab.deploy.knative.client.kinds import ACCESS_REVIEW, Kind, kind_of
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER
from trimtab.errors import Conflict, NotFound, TargetError, TargetUnreachable

_WATCH = 300
"""Seconds after which a watch is asked for anew, so that one which died in silence is noticed."""

_FIRST = 2.5
"""Seconds for the answer to the first question, which costs an API nothing."""

_BINDERS = {"webhook", "controller", "eventing-webhook", "eventing-controller"}
"""What Knative Eventing's SinkBinding calls itself: the names of its programs."""
_BOUND = (".spec.template.spec.containers", ".spec.template.spec.volumes")
"""What it changes. The lists have no keys in Knative's schema, so that one variable more makes them its own."""


class Api:
    """One cluster's API, with one namespace that objects are meant to be in."""

    def __init__(
        self, connection: Connection, namespace: str = "", sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.http = Http(connection, sleep)
        self.host, self.context = connection.host, connection.context
        self.namespace = namespace or connection.namespace
        self._sleep = sleep

    def within(self, namespace: str) -> Api:
        """Give the same API with another namespace to be in."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    def get(self, kind: Kind, name: str, namespace: str = "") -> Manifest:
        """Give one object. Errors: NotFound."""
        path = kind.path(namespace or self.namespace, name)
        found: Manifest = self._json("GET", path, doing=f"get {kind.name} {name}")
        return {"apiVersion": kind.api, "kind": kind.name, **found}

    def find(self, kind: Kind, name: str, namespace: str = "") -> Manifest | None:
        """Give one object, None where it is not there."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def all(
        self, kind: Kind, labels: dict[str, str] | None = None, fields: str = "", namespace: str = ""
    ) -> list[Manifest]:
        """Give the objects with these labels; none where the cluster does not know the kind."""
        try:
            return self._listed(kind, labels, fields, namespace)[0]
        except NotFound:
            return []

    def _listed(
        self, kind: Kind, labels: dict[str, str] | None, fields: str = "", namespace: str = ""
    ) -> tuple[list[Manifest], str]:
        query = _selectors(labels, fields)
        found: list[Manifest] = []
        while True:
            answer = self._json(
                "GET",
                kind.path(namespace or self.namespace),
                doing=f"list {kind.plural}",
                query={**query, "limit": 500},
            )
            found += [{"apiVersion": kind.api, "kind": kind.name, **item} for item in answer.get("items") or []]
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                return found, metadata.get("resourceVersion", "")
            query["continue"] = metadata["continue"]

    def apply(self, manifest: Manifest, *, force: bool = False, dry_run: bool = False) -> Manifest:
        """Apply an object server-side as our manager. Errors: FieldConflict, Refused, Forbidden.

        Fields that we ourselves set by other means (a change of the traffic) are taken over without being asked, and so
        are containers into which a SinkBinding put its variables: it puts them there again.
        """
        try:
            return self._apply(manifest, force=force, dry_run=dry_run)
        except FieldConflict as exc:
            if not all(_is_ours(field, manager) for field, manager in exc.fields):
                raise
        return self._apply(manifest, force=True, dry_run=dry_run)

    def _apply(self, manifest: Manifest, *, force: bool, dry_run: bool) -> Manifest:
        metadata, kind = manifest["metadata"], kind_of(manifest)
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        path = kind.path(metadata["namespace"], metadata["name"])
        doing = f"apply {kind.name} {metadata['name']}"
        for _ in range(5):
            try:
                return self._json("PATCH", path, manifest, doing=doing, query=query, content_type=APPLY)
            except FieldConflict:
                raise
            except Conflict:  # somebody wrote between the server's reading and its writing
                self._sleep(0.05)
        return self._json("PATCH", path, manifest, doing=doing, query=query, content_type=APPLY)

    def change(self, kind: Kind, name: str, patch: dict[str, Any]) -> Manifest:
        """Change some fields of an object that is there (JSON merge patch). Errors: NotFound, Refused."""
        path, query = kind.path(self.namespace, name), {"fieldManager": FIELD_MANAGER}
        doing = f"change {kind.name} {name}"
        return self._json("PATCH", path, patch, doing=doing, query=query, content_type=MERGE)

    def create(self, manifest: Manifest) -> Manifest:
        """Create an object under a name that only we use; one that is there already is ours, from a try before."""
        metadata, kind = manifest["metadata"], kind_of(manifest)
        path, query = kind.path(metadata["namespace"]), {"fieldManager": FIELD_MANAGER}
        try:
            return self._json("POST", path, manifest, doing=f"create {kind.name} {metadata['name']}", query=query)
        except Conflict:
            return self.get(kind, metadata["name"])

    def delete(self, kind: Kind, name: str, *, uid: str = "") -> bool:
        """Delete an object and what belongs to it; False when it was not there. With `uid`: only that very object."""
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._json("DELETE", kind.path(self.namespace, name), body, doing=f"delete {kind.name} {name}")
        except NotFound:
            return False
        return True

    def may(self, verb: str, kind: Kind, sub: str = "", namespace: str = "") -> bool:
        """Ask whether we may do that (SelfSubjectAccessReview); it does nothing."""
        attributes = {
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            **({"subresource": sub} if sub else {}),
            **({"namespace": namespace or self.namespace} if kind.namespaced else {}),
        }
        review = {
            "apiVersion": ACCESS_REVIEW.api,
            "kind": ACCESS_REVIEW.name,
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._json("POST", ACCESS_REVIEW.path(), review, doing="ask for our permissions")
        return bool((answer.get("status") or {}).get("allowed"))

    def version(self) -> str:
        """Give Kubernetes' version, such as 'v1.32.1'. An API that hangs is told of within ten seconds."""
        found = self._json("GET", "/version", doing="get the cluster's version", read=_FIRST)
        return str(found.get("gitVersion", ""))

    def groups(self) -> set[str]:
        """Give the API groups and versions that the cluster has, such as 'serving.knative.dev/v1'."""
        answer = self._json("GET", "/apis", doing="list the cluster's APIs")
        return {each["groupVersion"] for group in answer.get("groups") or [] for each in group.get("versions") or []}

    def watch(
        self, kind: Kind, labels: dict[str, str] | None = None, fields: str = "", stop: Stop | None = None
    ) -> Iterator[tuple[str, Manifest]]:
        """Yield (ADDED, MODIFIED or DELETED, object) until `stop`, what is there first.

        It goes on through broken connections and versions that are no longer kept (410): after a list anew it yields what
        is there as MODIFIED and what is not any more as DELETED. An API that goes away later is waited for, however
        long: what is watched goes on meanwhile. Errors: those of the first list.
        """
        known: dict[str, Manifest] = {}
        stop, reached = stop or Stop(), False
        while not stop.asked.is_set():
            try:
                objects, version = self._listed(kind, labels, fields)
            except TargetUnreachable:
                if not reached:
                    raise
                self._sleep(1.0)
                continue
            reached = True
            now = {item["metadata"]["name"]: item for item in objects}
            for name in known.keys() - now.keys():
                yield "DELETED", known.pop(name)
            for name, item in now.items():
                yield "MODIFIED" if name in known else "ADDED", item
            known = now
            yield from self._follow(kind, _selectors(labels, fields), version, known, stop)

    def _follow(
        self, kind: Kind, query: dict[str, Any], version: str, known: dict[str, Manifest], stop: Stop
    ) -> Iterator[tuple[str, Manifest]]:
        """Yield changes until the version is gone."""
        while not stop.asked.is_set():
            asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
            asked["timeoutSeconds"] = _WATCH
            try:
                path = kind.path(self.namespace)
                with self.http.lines(path, asked, doing=f"watch {kind.plural}", read=_WATCH + 10, stop=stop) as lines:
                    for line in lines:
                        change = msgspec.json.decode(line)
                        item = change["object"]
                        if change["type"] == "ERROR":
                            return
                        version = item["metadata"]["resourceVersion"]
                        if change["type"] == "BOOKMARK":
                            continue
                        name = item["metadata"]["name"]
                        known.pop(name, None) if change["type"] == "DELETED" else known.update({name: item})
                        yield change["type"], {"apiVersion": kind.api, "kind": kind.name, **item}
            except Gone:
                return
            except (OSError, msgspec.DecodeError):
                self._sleep(0.2)
            except TargetError:
                self._sleep(1.0)
                return

    def _json(self, method: str, path: str, body: Any = None, **more: Any) -> Manifest:
        found: Manifest = self.http.json(method, path, body, **more)
        return found


def _is_ours(field: str, manager: str) -> bool:
    return manager == FIELD_MANAGER or (manager in _BINDERS and field.startswith(_BOUND))


def _selectors(labels: dict[str, str] | None, fields: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if labels:
        found["labelSelector"] = ",".join(f"{name}={value}" for name, value in labels.items())
    if fields:
        found["fieldSelector"] = fields
    return found
