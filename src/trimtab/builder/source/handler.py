"""Which module a source's handler is in."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.builder.abc import Content
from trimtab.errors import SpecError

_USUAL = ("handler", "main")


def find(handler: str, files: Mapping[str, Content], *, needed: bool = True) -> str:
    """Complete `handler` to `module:name` or `module`: what it says, or the only module there is.

    Errors: SpecError where that is open and a handler is `needed`.
    """
    module, colon, name = handler.partition(":")
    return f"{module or _only(handler, files, needed)}{colon}{name}"


def _only(handler: str, files: Mapping[str, Content], needed: bool) -> str:
    modules = [name.removesuffix(".py") for name in files if name.endswith(".py") and "/" not in name]
    for name in _USUAL:
        if name in modules:
            return name
    if len(modules) == 1:
        return modules[0]
    if not needed:
        return ""
    raise SpecError("spec.handler", handler, f"module:name, with module one of {', '.join(modules) or '(none)'}")


def module_file(handler: str, files: Mapping[str, Content]) -> str | None:
    """Give the name of the file that holds the handler's module, if it is among `files`."""
    module = handler.partition(":")[0]
    path = module.removesuffix(".py").replace(".", "/") if not module.endswith(".py") else module.removesuffix(".py")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py", f"{module}.py") if name in files), None)
