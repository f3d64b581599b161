"""Tells whoever watches models what is served here, and what is to happen when it drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from trimtab.events import Envelope, make
from trimtab.runtime.context import Context
from trimtab.spec import Retrain

if TYPE_CHECKING:
    from trimtab.handlers.serving.entry import Entry
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
    stamp: int = 0
    """Of a change by hand since the deployment, as in the models document; 0 without one."""
    retrain: Retrain | None = None


def register(context: Context, repository: Repository, rule: Retrain | None) -> None:
    """Announce the models under their keys. Every replica does so when it starts, each time by the same event."""
    for entry in repository.entries.values():
        announce(context, repository, entry, rule)


def announce(context: Context, repository: Repository, entry: Entry, rule: Retrain | None) -> None:
    """Announce one model, unless it is a challenger."""
    if context.emitter is not None and not repository.is_challenger(entry.key):
        context.emitter.emit(event(context, entry, rule))


def event(context: Context, entry: Entry, rule: Retrain | None) -> Envelope:
    """Make the event of one model."""
    endpoint, stamp = f"{context.function}/{entry.key}", entry.change.stamp
    registration = Registration(
        endpoint=endpoint,
        model=entry.uri,
        function=context.function,
        revision=context.revision,
        stamp=stamp,
        retrain=rule,
    )
    changed = f"/{stamp}" if stamp else ""
    return make(
        ENDPOINT,
        f"/functions/{context.function}",
        registration,
        id=f"{context.revision or context.function}/{entry.key}@{entry.uri}{changed}",
        subject=endpoint,
        endpoint=endpoint,
    )
