"""From an answer of the API that is no success to one of our errors: which field, which verb, which quota."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trimtab.errors import Conflict, NotFound, TargetError, TargetUnreachable

_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]+)"')
_FORBIDDEN = re.compile(r'cannot (?P<verb>\w+) resource "(?P<what>[^"]+)" in API group "(?P<group>[^"]*)"')
_NOBODY = "system:anonymous"
_ADMITTED = re.compile(r'is forbidden: (?!User ")(?P<why>.+)', re.DOTALL)
"""An admission policy, Pod Security or a limit range says no, and not a role that is missing."""
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request: (?P<why>.*)', re.DOTALL)


class FieldConflict(Conflict):
    """Others own fields that we set: `fields` are (path, manager)."""

    def __init__(self, message: str, fields: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.fields = fields


class Forbidden(TargetError):
    """We may not do that: `verb` on `resource`."""

    def __init__(self, message: str, verb: str = "", resource: str = "") -> None:
        super().__init__(message)
        self.verb, self.resource = verb, resource


class Expired(TargetUnreachable):
    """The credentials are not accepted (any more)."""


class Refused(TargetError):
    """The cluster does not want the object: its schema, a webhook, or a quota says no."""


class Gone(TargetError):
    """The version that a watch would go on from is no longer kept: list again."""


def translate(status: int, body: bytes, doing: str, host: str) -> TargetError:
    """Give the error for an answer. `doing` says what was asked, such as 'apply Service hello'."""
    document = _document(body)
    said = str(document.get("message") or body[:300].decode("utf-8", "replace")).strip()
    if status == 401:
        return Expired(f"{host} does not accept the credentials (401): log in again, or renew the kubeconfig's token")
    if status == 403 and _NOBODY in said:
        return Expired(
            f"{host} had no credentials from us (it says {_NOBODY}): log in again; where the kubeconfig has an exec plugin, "
            "run its command by hand, and see why it gives none"
        )
    if status == 403:
        return _forbidden(said, doing)
    if status == 404:
        return NotFound(f"{doing}: not found ({said})")
    if status == 409:
        return _conflict(document, said, doing)
    if status == 410:
        return Gone(said)
    if status in (400, 422):
        return Refused(f"{doing} was refused: {_why(said)}")
    return TargetUnreachable(f"{doing}: {host} answered {status}: {said}")


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _forbidden(said: str, doing: str) -> TargetError:
    if "exceeded quota" in said:
        return Refused(
            f"{doing} was refused: {said[said.index('exceeded quota') :]}; free some, or ask for a larger quota"
        )
    if match := _FORBIDDEN.search(said):
        resource = ".".join(filter(None, (match["what"], match["group"])))
        message = (
            f"{doing}: no permission to {match['verb']} {resource}; `trimtab preflight` shows the role that is needed"
        )
        return Forbidden(message, match["verb"], resource)
    if _WEBHOOK.search(said):
        return Refused(f"{doing} was refused: {_why(said)}")
    if match := _ADMITTED.search(said):
        return Refused(f"{doing} was refused: {match['why'].strip()}")
    return Forbidden(f"{doing}: not allowed: {said}")


def _conflict(document: dict[str, Any], said: str, doing: str) -> TargetError:
    causes = (document.get("details") or {}).get("causes") or []
    fields = [
        (str(cause.get("field", "")), match["manager"] if (match := _MANAGER.search(cause.get("message", ""))) else "?")
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
    if not fields:
        return Conflict(f"{doing}: {said}")
    rows = "".join(f"\n  {field} is owned by {manager!r}" for field, manager in fields)
    message = f"{doing}: other managers own fields that we set:{rows}\n--force-conflicts takes them over"
    return FieldConflict(message, fields)


def _why(said: str) -> str:
    """Take the API's wrapping off what a webhook says, and name the webhook."""
    if match := _WEBHOOK.search(said):
        return f"webhook {match['name']}: {match['why'].strip()}"
    return said
