"""Trimtab: autoscaling serverless functions in Python.

Names are imported when they are first used, so that `import trimtab` costs next to nothing in a replica.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent

    from trimtab.artifacts.dataitem import DataItem, get_dataitem
    from trimtab.artifacts.models import load_model
    from trimtab.errors import PermanentError, SpecError, TemporaryError, TrimtabError
    from trimtab.handlers.serving.model import ModelServer, V2ModelServer
    from trimtab.project.function import FunctionHandle
    from trimtab.project.make import code_to_function, import_function, new_function
    from trimtab.project.mounts import mount_configmap, mount_hostpath, mount_pvc, mount_secret, set_env_variables
    from trimtab.project.project import Project, get_or_create_project, load_project
    from trimtab.runtime.context import Context
    from trimtab.runtime.event import Event
    from trimtab.runtime.response import Response
    from trimtab.runtime.returns import handler
    from trimtab.runtime.run_context import MLClientCtx
    from trimtab.spec import CronTrigger, EventTrigger, Function, StreamTrigger

__all__ = [
    "CloudEvent",
    "Context",
    "CronTrigger",
    "DataItem",
    "Event",
    "EventTrigger",
    "Function",
    "FunctionHandle",
    "MLClientCtx",
    "ModelServer",
    "PermanentError",
    "Project",
    "Response",
    "SpecError",
    "StreamTrigger",
    "TemporaryError",
    "TrimtabError",
    "V2ModelServer",
    "__version__",
    "code_to_function",
    "get_dataitem",
    "get_or_create_project",
    "handler",
    "import_function",
    "load_model",
    "load_project",
    "mount_configmap",
    "mount_hostpath",
    "mount_pvc",
    "mount_secret",
    "new_function",
    "set_env_variables",
]

_HOMES = {
    "cloudevents.core.v1.event": ("CloudEvent",),
    "trimtab.artifacts.dataitem": ("DataItem", "get_dataitem"),
    "trimtab.artifacts.models": ("load_model",),
    "trimtab.errors": ("PermanentError", "SpecError", "TemporaryError", "TrimtabError"),
    "trimtab.handlers.serving.model": ("ModelServer", "V2ModelServer"),
    "trimtab.project.function": ("FunctionHandle",),
    "trimtab.project.make": ("code_to_function", "import_function", "new_function"),
    "trimtab.project.mounts": (
        "mount_configmap",
        "mount_hostpath",
        "mount_pvc",
        "mount_secret",
        "set_env_variables",
    ),
    "trimtab.project.project": ("Project", "get_or_create_project", "load_project"),
    "trimtab.runtime.context": ("Context",),
    "trimtab.runtime.event": ("Event",),
    "trimtab.runtime.response": ("Response",),
    "trimtab.runtime.returns": ("handler",),
    "trimtab.runtime.run_context": ("MLClientCtx",),
    "trimtab.spec": ("CronTrigger", "EventTrigger", "Function", "StreamTrigger"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
