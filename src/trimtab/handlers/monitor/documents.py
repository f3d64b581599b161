"""One endpoint's documents while a change is being worked out: read when they are needed, written by one commit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from trimtab.handlers.monitor.outputs import label_column
from trimtab.handlers.monitor.performance import Performance
from trimtab.handlers.monitor.stores.abc import Change, Store
from trimtab.handlers.monitor.types import Endpoint, LabelCounts, Window
from trimtab.sketches.reference import NumericReference, Reference
from trimtab.sketches.sketch import Sketch

T = TypeVar("T")

ENDPOINT = "endpoint"


class Moved(Exception):
    """A document is gone: another replica has changed the endpoint meanwhile. Begin again."""


class Documents:
    """What stands in the store at one version, and what is to stand there next."""

    def __init__(self, store: Store, name: str, sample: int) -> None:
        self._store, self._name, self._sample = store, name, sample
        self.version, found = store.read(name, [ENDPOINT])
        data = found.get(ENDPOINT)
        self.endpoint = msgspec.json.decode(data, type=Endpoint) if data else Endpoint(name=name, labels=LabelCounts())
        self.exists = data is not None
        self._cache: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._deleted: set[str] = set()

    def window(self, number: int) -> Window:
        """Give a window."""
        return self._get(_window(number), lambda data: msgspec.json.decode(data, type=Window))

    def sketch(self, window: Window) -> Sketch:
        """Give a window's sketch; a new one where there is none."""
        reference = self.reference(window.reference)
        return self._get(
            _sketch(window.number),
            lambda data: Sketch.from_bytes(data, reference),
            lambda: Sketch.empty(reference, sample=self._sample),
        )

    def labels(self, window: Window) -> Sketch:
        """Give the sketch of the labels that a window's rows got; a new one where there is none."""
        reference = labeled(self.reference(window.reference))
        return self._get(
            _labels(window.number),
            lambda data: Sketch.from_bytes(data, reference),
            lambda: Sketch.empty(reference, sample=0),
        )

    def performance(self, window: Window) -> Performance:
        """Give what is known of how right a window's predictions were."""
        return self._get(
            _performance(window.number),
            lambda data: msgspec.msgpack.decode(data, type=Performance),
            lambda: Performance(task=_task(self.reference(window.reference)), confusion={}),
        )

    def reference(self, digest: str) -> Reference:
        """Give a reference by its digest."""
        return self._get(_reference(digest), lambda data: Reference.from_json(zlib.decompress(data)))

    def has(self, number: int) -> bool:
        """Say whether a window is still there."""
        return number in self.endpoint.open or number in self.endpoint.kept

    def put_window(self, window: Window) -> None:
        """Write a window."""
        self._put(_window(window.number), window)

    def put_sketch(self, window: Window, sketch: Sketch) -> None:
        """Write a window's sketch."""
        self._put(_sketch(window.number), sketch)

    def put_labels(self, window: Window, labels: Sketch, performance: Performance) -> None:
        """Write what labels told of a window."""
        self._put(_labels(window.number), labels)
        self._put(_performance(window.number), performance)

    def put_reference(self, reference: Reference) -> None:
        """Write a reference."""
        self._put(_reference(reference.digest), reference)

    def forget(self, number: int) -> None:
        """Remove a window and all that belongs to it."""
        for key in (_window(number), _sketch(number), _labels(number), _performance(number)):
            self._delete(key)

    def forget_reference(self, digest: str) -> None:
        """Remove a reference."""
        self._delete(_reference(digest))

    def change(self) -> Change:
        """Give the change from what was read to what was put."""
        put = {key: _bytes(self._cache[key]) for key in sorted(self._changed)}
        put[ENDPOINT] = msgspec.json.encode(self.endpoint)
        return Change(put=put, delete=sorted(self._deleted), rows={})

    def commit(self, change: Change) -> bool:
        """Write it, unless somebody was faster. Errors: StoreError."""
        return self._store.commit(self._name, self.version, change)

    def _get(self, key: str, read: Callable[[bytes], T], make: Callable[[], T] | None = None) -> T:
        if key not in self._cache:
            _, found = self._store.read(self._name, [key])
            if key in found:
                self._cache[key] = read(found[key])
            elif make is None:
                raise Moved(key)
            else:
                self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def _put(self, key: str, value: Any) -> None:
        self._cache[key] = value
        self._changed.add(key)
        self._deleted.discard(key)

    def _delete(self, key: str) -> None:
        self._changed.discard(key)  # what was read of it may still be asked for until the commit
        self._deleted.add(key)


def labeled(reference: Reference) -> Reference:
    """Give the reference of an endpoint's labels: one column."""
    return Reference(columns=[label_column(reference)], rows=reference.rows)


def _task(reference: Reference) -> Any:
    prediction = next((column for column in reference.columns if column.role == "prediction"), None)
    return "regression" if isinstance(prediction, NumericReference) else "classification"


def _bytes(value: Any) -> bytes:
    if isinstance(value, Sketch):
        return value.to_bytes()
    if isinstance(value, Reference):
        return zlib.compress(value.to_json())
    # MessagePack where sums may be infinite, which JSON does not know.
    return msgspec.msgpack.encode(value) if isinstance(value, Performance) else msgspec.json.encode(value)


def _window(number: int) -> str:
    return f"window/{number:010d}"


def _sketch(number: int) -> str:
    return f"sketch/{number:010d}"


def _labels(number: int) -> str:
    return f"labels/{number:010d}"


def _performance(number: int) -> str:
    return f"performance/{number:010d}"


def _reference(digest: str) -> str:
    return f"reference/{digest}"
