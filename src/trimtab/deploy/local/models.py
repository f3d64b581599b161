"""Models of a function that is deployed: a tag such as `latest` is followed once, so that a revision never changes."""

from __future__ import annotations

import msgspec

from trimtab.spec import Function, Model


def pinned(function: Function) -> Function:
    """Write each store:// URI with the version it means now. Errors: NotFound, StoreError, SpecError."""
    models = [pin(model) for model in function.spec.models]
    return msgspec.structs.replace(function, spec=msgspec.structs.replace(function.spec, models=models))


def pin(model: Model) -> Model:
    """Do the same for one model."""
    if model.path is None or not model.path.startswith("store://"):
        return model
    from trimtab.artifacts import open_store

    return msgspec.structs.replace(model, path=open_store().get(model.path).version_uri)
