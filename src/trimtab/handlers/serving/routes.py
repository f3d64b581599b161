"""Which model and operation a path means; empty segments (double slashes) do not count."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from trimtab.errors import PermanentError

Place = Literal["server", "live", "ready", "models", "model", "index", "control"]
_ALLOWED = "/v2/models/MODEL[/versions/VERSION][/OPERATION], /v2/health/ready, /v2/repository/index"


class Route(Struct, frozen=True):
    """`operation` is empty where the path names none."""

    place: Place
    model: str = ""
    version: str = ""
    operation: str = ""


@lru_cache(1024)
def route(path: str) -> Route:
    """Read a path. Errors: PermanentError (404)."""
    match [part for part in path.split("/") if part]:
        case [] | ["v2"] | ["v2", "health"]:
            return Route("server")
        case ["v2", "health", "live"]:
            return Route("live")
        case ["v2", "health", "ready"]:
            return Route("ready")
        case ["v2", "models"]:
            return Route("models")
        case ["v2", "repository", "index"]:
            return Route("index")
        case ["v2", "repository", "models", model, ("load" | "unload") as operation]:
            return Route("control", *_key(model), operation)
        case ["v2", "models", model, "versions", version]:
            return Route("model", model, version)
        case ["v2", "models", model, "versions", version, operation]:
            return Route("model", model, version, operation)
        case ["v2", "models", model]:
            return Route("model", *_key(model))
        case ["v2", "models", model, operation]:
            return Route("model", *_key(model), operation)
    raise PermanentError(f"path: found {path!r}, allowed: {_ALLOWED}", status=404)


def _key(text: str) -> tuple[str, str]:
    model, _, version = text.partition(":")
    return model, version
