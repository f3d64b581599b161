"""Collections of a cluster kept up to date in this process, each by a watch in a thread, and one bell for all changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.http import Stop
from trimtab.deploy.knative.client.kinds import Kind
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.errors import TargetError


class Mirror:
    """What a watch has told of one kind and label. `changed` is called after each change."""

    def __init__(
        self, api: Api, kind: Kind, changed: Callable[[], None], labels: dict[str, str] | None = None, fields: str = ""
    ) -> None:
        self._api, self._kind, self._labels, self._fields = api, kind, labels, fields
        self._changed, self._stop = changed, Stop()
        self._lock = threading.Lock()
        self._items: dict[str, Manifest] = {}
        self._error: TargetError | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{kind.plural}", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def items(self) -> list[Manifest]:
        """Give the objects as they are now. Errors: what ended the watch."""
        with self._lock:
            if self._error is not None:
                raise self._error
            return list(self._items.values())

    def _run(self) -> None:
        try:
            for change, item in self._api.watch(self._kind, self._labels, self._fields, self._stop):
                with self._lock:
                    if change == "DELETED":
                        self._items.pop(item["metadata"]["name"], None)
                    else:
                        self._items[item["metadata"]["name"]] = item
                self._changed()
        except TargetError as exc:
            with self._lock:
                self._error = exc
            self._changed()
