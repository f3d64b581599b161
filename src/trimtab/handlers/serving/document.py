"""The models document: what became of a revision's models since it was deployed, and which of them answers what.

One small document that every worker of every replica watches, so that a change reaches all of them, and those that start
later. A revision's spec never changes; the document is laid over it, and a new deployment begins without one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import StoreError
from trimtab.handlers.documents import Documents
from trimtab.spec import Model


class Change(Struct, omit_defaults=True):
    """What became of one key: its model now, or None where it was taken away."""

    model: Model | None = None
    stamp: int = 0
    """Nanoseconds since the epoch, more with every change; the same model with a newer stamp is to be loaded anew."""


class Route(Struct, omit_defaults=True, frozen=True):
    """Which versions of one key's model are served, and who answers the requests that name no version."""

    path: str
    """The version under the key itself."""
    challengers: dict[str, str] = {}
    """Others: their keys (`KEY:VERSION`), and where they are."""
    shares: dict[str, int] = {}
    """Percent of the requests by the challenger that answers instead; the rest stays."""
    shadow: str | None = None
    """A challenger that answers copies of them, for nobody."""
    number: int = 0
    """Routes of one key come in this order."""

    def draw(self, chance: Callable[[], float] = random.random) -> str | None:
        """Give the key that answers the next request; None: the one that was asked."""
        place = chance() * 100.0
        for key, percent in self.shares.items():
            place -= percent
            if place < 0:
                return key
        return None


class Changes(Struct, omit_defaults=True):
    """The document."""

    models: dict[str, Change] = {}
    routes: dict[str, Route] = {}

    def over(self, models: Sequence[Model]) -> dict[str, Change]:
        """Lay the changes over a spec's models: what is to be served, by key, in order."""
        wanted = {model.key: Change(model) for model in models}
        wanted.update(self.models)
        found = {key: change for key, change in wanted.items() if change.model is not None}
        for key, route in self.routes.items():
            if key in found:
                found.update(_routed(key, found[key], route))
        return found

    def with_change(self, key: str, model: Model | None) -> Changes:
        """Give the changes with one more; a route of the key ends with it."""
        last = max((change.stamp for change in self.models.values()), default=0)
        stamp = max(last + 1, time.time_ns())
        routes = {name: route for name, route in self.routes.items() if name != key}
        return Changes({**self.models, key: Change(model, stamp)}, routes)

    def with_route(self, key: str, route: Route) -> Changes:
        """Give the changes with another route for a key, unless a newer one is there."""
        if key in self.routes and self.routes[key].number > route.number:
            return self
        return Changes(self.models, {**self.routes, key: route})


def _routed(key: str, change: Change, route: Route) -> dict[str, Change]:
    """Give a key's versions; each is loaded as the deployed model is."""
    places = {key: route.path, **route.challengers}
    assert change.model is not None
    return {name: _at(change, name, place) for name, place in places.items()}


def _at(change: Change, key: str, path: str) -> Change:
    model = change.model
    assert model is not None
    if (model.key, model.path) == (key, path):
        return change
    return Change(replace(model, key=key, path=path, sha256=None), change.stamp)


def name(function: str, revision: str) -> str:
    """Name the document of one revision."""
    return f"models/{function}/{revision}"


def read(documents: Documents, name: str) -> tuple[Changes, int]:
    """Read the document and its version; none is one without changes. Errors: StoreError."""
    found = documents.get(name)
    return _decode(name, found.text), found.version


def change(documents: Documents, name: str, make: Callable[[Changes], Changes]) -> Changes:
    """Replace the document by what `make` makes of it, while nobody else does. Errors: StoreError, StoreFull."""
    return _decode(name, documents.change(name, lambda text: msgspec.json.encode(make(_decode(name, text)))))


def _decode(name: str, text: bytes) -> Changes:
    if not text:
        return Changes()
    try:
        return msgspec.json.decode(text, type=Changes)
    except msgspec.MsgspecError as exc:
        raise StoreError(f"document {name!r} cannot be read ({exc}); remove it to serve what was deployed") from exc
