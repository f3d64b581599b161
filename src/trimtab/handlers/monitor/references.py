"""Find what a model was trained on, by the name its records carry."""

from __future__ import annotations

import logging
from pathlib import Path

from trimtab.errors import DataError, NotFound, SpecError
from trimtab.sketches.reference import Reference

logger = logging.getLogger("trimtab.monitor")

BESIDE = ".reference.json"
"""What a model's file has behind its name where the reference stands beside it: `model.pkl.reference.json`."""


def lookup(model: str) -> tuple[Reference | None, str]:
    """Give the reference of a `store://` model, or of a file that has one beside it; None, and the reason, without.

    Errors: StoreError, where the store does not answer: that may be otherwise in a minute.
    """
    try:
        found, reason = _stored(model) if model.startswith("store://") else _beside(model)
    except (NotFound, DataError, SpecError) as exc:
        found, reason = None, str(exc)
    if found is None:
        logger.warning("the training data of %r is not known: %s; its windows have no bins", model, reason)
    return found, reason


def _stored(model: str) -> tuple[Reference | None, str]:
    from trimtab.artifacts import open_store

    artifact = open_store().get(model)
    if artifact.model.reference is None:
        return None, f"{model} was logged without a training set; log it with training_set="
    return Reference.from_json(artifact.read(artifact.model.reference)), ""


def _beside(model: str) -> tuple[Reference | None, str]:
    path = Path(f"{model}{BESIDE}")
    if not path.is_file():
        return None, f"there is no file {str(path)!r}; log the model, or write Reference.fit(...).to_json() there"
    return Reference.from_json(path.read_bytes()), ""
