"""Models of a function that runs: added and taken away without a new deployment."""

from __future__ import annotations

import time
from typing import Any

from trimtab.deploy.abc import Target
from trimtab.errors import DeployFailed
from trimtab.project import call
from trimtab.spec import Model

_WITHIN = 120.0
_PAUSE = 0.05


def change(target: Target, function: str, key: str, model: Model | None) -> None:
    """Change one model of a deployed function, and wait until the replica that answers serves it so.

    Errors: DeployFailed with the reason; then the function serves what it served before.
    """
    done = target.change_model(function, key, model)
    reason = _settled(target.get(function).url, key, done.stamp if model is not None else None)
    if reason is None:
        return
    target.change_model(function, key, done.before)
    raise DeployFailed(f"{reason}; {function!r} serves what it served before")


def _settled(url: str, key: str, stamp: int | None) -> str | None:
    """Poll the index: None once the change of that number is there (None: once the model is gone), or why it cannot be."""
    deadline = time.monotonic() + _WITHIN
    while True:
        index = call.send(url, call.request("/v2/repository/index", None, None, None), _WITHIN).check(url).value
        found = _found(index, key)
        if found is None or stamp is None:
            if found is None and stamp is None:
                return None
        elif found["stamp"] >= stamp:
            return None if found["state"] == "READY" else str(found["reason"])
        if time.monotonic() > deadline:
            return f"model {key!r} was not ready within {_WITHIN:g} s"
        time.sleep(_PAUSE)


def _found(index: Any, key: str) -> Any:
    name, _, version = key.partition(":")
    fitting = [one for one in index if (one["name"], one["version"]) == (name, version)]
    return next((one for one in fitting if one["state"] == "UNAVAILABLE"), fitting[0] if fitting else None)
