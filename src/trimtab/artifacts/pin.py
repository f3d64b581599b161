"""From a tag to the version it points to now: a revision is immutable, and so must be the models it serves."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from trimtab.artifacts.store import ArtifactStore
from trimtab.artifacts.uri import StoreURI, is_store_uri
from trimtab.spec import Model


def pinned(models: Sequence[Model], store: ArtifactStore) -> list[Model]:
    """Give the models with their `store://` URIs naming a version; the tag stays in them, as what was meant.

    Errors: NotFound, naming what there is.
    """
    return [replace(model, path=_pin(model.path, store)) for model in models]


def _pin(path: str | None, store: ArtifactStore) -> str | None:
    if path is None or not is_store_uri(path) or StoreURI.parse(path).tree is not None:
        return path
    return store.get(path).version_uri
