"""The objects of a fake cluster, with what matters of Kubernetes' API: versions, ownership of fields, history."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from typing import Any, NamedTuple

Object = dict[str, Any]
Path = tuple[str, ...]


class Key(NamedTuple):
    """Where an object is: group and version, plural, namespace (empty for the cluster's), name."""

    api: str
    plural: str
    namespace: str
    name: str


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str, causes: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "details": {"causes": causes or []},
            "code": status,
        }


class Store:
    """All objects. Every change has a number, and is kept in a history that can be cut off (410 Gone)."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[Key, Object] = {}
        self.owners: dict[Key, dict[Path, set[tuple[str, str]]]] = {}
        self.history: list[tuple[int, str, Key, Object]] = []
        self.version = 1
        self.oldest = 0

    def get(self, key: Key) -> Object:
        with self.lock:
            if key not in self.objects:
                raise Refusal(404, "NotFound", f'{key.plural} "{key.name}" not found')
            return copy.deepcopy(self.objects[key])

    def all(self, api: str, plural: str, namespace: str) -> list[Object]:
        with self.lock:
            found = [
                o
                for k, o in self.objects.items()
                if (k.api, k.plural) == (api, plural) and namespace in ("", k.namespace)
            ]
            return copy.deepcopy(found)

    def put(self, key: Key, item: Object) -> Object:
        """Write an object as a controller would: nobody's ownership is looked at."""
        with self.lock:
            return self._write(key, copy.deepcopy(item))

    def create(self, key: Key, item: Object, manager: str, *, dry_run: bool = False) -> Object:
        with self.lock:
            if key in self.objects:
                raise Refusal(409, "AlreadyExists", f'{key.plural} "{key.name}" already exists')
            if dry_run:
                return item
            self.owners[key] = {path: {(manager, "Update")} for path in leaves(item)}
            return self._write(key, copy.deepcopy(item))

    def apply(self, key: Key, item: Object, manager: str, *, force: bool, dry_run: bool = False) -> Object:
        with self.lock:
            us = (manager, "Apply")
            before = self.objects.get(key)
            owners = copy.deepcopy(self.owners.get(key, {}))
            after = (
                copy.deepcopy(before)
                if before
                else {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": {}}
            )
            wanted = leaves(item)
            conflicts = []
            for path, value in wanted.items():
                others = owners.get(path, set()) - {us}
                if others and value_at(after, path) != value:
                    conflicts += [(path, other) for other in sorted(others)]
            if conflicts and not force:
                raise _conflict(conflicts)
            for path in [path for path, who in owners.items() if us in who and path not in wanted]:
                owners[path].discard(us)  # what others own besides stays
                if not owners[path]:
                    drop(after, path)
                    del owners[path]
            for path, value in wanted.items():
                others = {other for path_, other in conflicts if path_ == path}
                owners[path] = (owners.get(path, set()) - others) | {us}
                place(after, path, value)
            if dry_run:
                return after
            self.owners[key] = owners
            return self._write(key, after)

    def merge(self, key: Key, patch: Object, manager: str) -> Object:
        with self.lock:
            after = self.get(key)
            for path, value in leaves(patch).items():
                if value_at(after, path) != value:
                    self.owners.setdefault(key, {})[path] = {(manager, "Update")}
                drop(after, path) if value is None else place(after, path, value)
            written = self._write(key, after)
            if "deletionTimestamp" in written["metadata"] and not written["metadata"].get("finalizers"):
                self.delete(key)
            return written

    def delete(self, key: Key, uid: str = "") -> Object:
        with self.lock:
            found = self.get(key)
            if uid and found["metadata"]["uid"] != uid:
                raise Refusal(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
            if found["metadata"].get("finalizers"):
                found["metadata"].setdefault("deletionTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
                return self._write(key, found)
            del self.objects[key]
            self.owners.pop(key, None)
            self._note("DELETED", key, found)
            return found

    def changes(self, version: int) -> list[tuple[int, str, Key, Object]]:
        with self.lock:
            return [each for each in self.history if each[0] > version]

    def forget(self) -> None:
        """Drop the history, so that watches from before are 410 Gone."""
        with self.lock:
            self.history.clear()
            self.version += 1
            self.oldest = self.version

    def _write(self, key: Key, item: Object) -> Object:
        before = self.objects.get(key)
        metadata = item.setdefault("metadata", {})
        metadata["name"], metadata["namespace"] = key.name, key.namespace
        if before is None:
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            metadata.setdefault("generation", 1)
        elif before.get("spec") != item.get("spec"):
            metadata["generation"] = before["metadata"].get("generation", 1) + 1
        metadata["managedFields"] = [
            {"manager": manager, "operation": operation, "fieldsV1": self._owned(key, (manager, operation))}
            for manager, operation in sorted({who for each in self.owners.get(key, {}).values() for who in each})
        ]
        if before == item:
            return copy.deepcopy(item)
        self.objects[key] = item
        self._note("ADDED" if before is None else "MODIFIED", key, item)
        return copy.deepcopy(item)

    def _owned(self, key: Key, who: tuple[str, str]) -> Object:
        """Write what a manager owns as the API does (FieldsV1)."""
        found: Object = {}
        for path in (path for path, owners in self.owners.get(key, {}).items() if who in owners):
            place = found
            for name in path:
                place = place.setdefault(f"f:{name}", {})
        return found

    def _note(self, change: str, key: Key, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, change, key, copy.deepcopy(item)))


def leaves(item: Object) -> dict[Path, Any]:
    """Give the fields that an applier owns; lists are whole, as in objects without a merge key."""
    found: dict[Path, Any] = {}

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, (*path, name))
        else:
            found[path] = value

    for top, value in item.items():
        if top == "metadata":
            for name in ("labels", "annotations", "ownerReferences", "finalizers"):
                if name in value:
                    walk(value[name], ("metadata", name))
        elif top not in ("apiVersion", "kind", "status"):
            walk(value, (top,))
    return found


def value_at(item: Any, path: Path) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def place(item: Object, path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = item.get(name)
        if not isinstance(inner, dict):
            inner = item[name] = {}
        item = inner
    item[path[-1]] = copy.deepcopy(value)


def drop(item: Object, path: Path) -> None:
    """Take a field away, and what is empty then."""
    *above, last = path
    inner = value_at(item, tuple(above))
    if isinstance(inner, dict):
        inner.pop(last, None)
        if not inner and len(above) > 1:
            drop(item, tuple(above))


def _conflict(conflicts: list[tuple[Path, tuple[str, str]]]) -> Refusal:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}"' + ("" if operation == "Apply" else " using v1"),
            "field": "." + ".".join(path),
        }
        for path, (manager, operation) in conflicts
    ]
    names = ", ".join(cause["field"] for cause in causes)
    return Refusal(409, "Conflict", f"Apply failed with {len(causes)} conflicts: {names}", causes)
