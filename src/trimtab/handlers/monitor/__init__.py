"""The monitor function: it watches what models are asked and answer, window by window.

`handler` is the function, `Monitor` the same for Python, `describe` says which kind of change the evidence supports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.handlers.monitor.function import handler
    from trimtab.handlers.monitor.monitor import Monitor
    from trimtab.handlers.monitor.performance import Performance, compare
    from trimtab.handlers.monitor.settings import Settings
    from trimtab.handlers.monitor.shift import Description, Evidence, describe
    from trimtab.handlers.monitor.types import Endpoint, Window

__all__ = [
    "Description",
    "Endpoint",
    "Evidence",
    "Monitor",
    "Performance",
    "Settings",
    "Window",
    "compare",
    "describe",
    "handler",
]

_HOMES = {
    "Description": "shift",
    "Endpoint": "types",
    "Evidence": "shift",
    "Monitor": "monitor",
    "Performance": "performance",
    "Settings": "settings",
    "Window": "types",
    "compare": "performance",
    "describe": "shift",
    "handler": "function",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trimtab.handlers.monitor' has no attribute {name!r}")
    return getattr(import_module(f"trimtab.handlers.monitor.{_HOMES[name]}"), name)
