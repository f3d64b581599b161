"""Tells whoever watches models what is served here, and what is to happen when it drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from trimtab.events import Envelope, make
from trimtab.runtime.context import Context
from trimtab.spec import Retrain

if TYPE_CHECKING:
    from trimtab.handlers.serving.repository import Repository

ENDPOINT = "dev.trimtab.endpoint"


class Registration(Struct, kw_only=True):
    """The data of an event `dev.trimtab.endpoint`: one model under one key of one revision."""

    endpoint: str
    """`FUNCTION/KEY`, as in the records of inference."""
    model: str
    """The version in service, or the path it was loaded from."""
    function: str
    revision: str = ""
    retrain: Retrain | None = None


def register(context: Context, repository: Repository, rule: Retrain | None) -> None:
    """Announce the models under their keys. Every replica does so when it starts, each time by the same event."""
    if context.emitter is None:
        return
    for entry in repository.entries.values():
        if not repository.is_challenger(entry.key):
            context.emitter.emit(event(context, entry.key, entry.uri, rule))


def event(context: Context, key: str, model: str, rule: Retrain | None) -> Envelope:
    """Make the event of one model."""
    endpoint = f"{context.function}/{key}"
    registration = Registration(
        endpoint=endpoint, model=model, function=context.function, revision=context.revision, retrain=rule
    )
    return make(
        ENDPOINT,
        f"/functions/{context.function}",
        registration,
        id=f"{context.revision or context.function}/{key}@{model}",
        subject=endpoint,
        endpoint=endpoint,
    )
