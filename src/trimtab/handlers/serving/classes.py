"""From a class's name, as a spec writes it, to the class."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from trimtab.errors import NameMissing
from trimtab.handlers.serving.model import ModelServer
from trimtab.runtime.load import load_module
from trimtab.spec.serving import is_built_in


class Classes:
    """Finds classes in the handler's module, which is imported when the first is asked for, and in others by full name."""

    def __init__(self, handler: str, directory: Path) -> None:
        self._location, _, self._default = handler.partition(":")
        self._directory = directory

    def find(self, name: str) -> type[ModelServer]:
        """Give the class of a model. Errors: ModuleMissing, ImportFailed, NameMissing (with the classes there are)."""
        if is_built_in(name):
            if self._default and not name:
                return self._named(self._own(), self._default)
            from trimtab.handlers.serving.builtin import BuiltIn

            return BuiltIn
        module, _, last = name.replace(":", ".").rpartition(".")
        if not module:
            if not self._location:
                raise NameMissing(f"class {name!r}: the function has no code to find it in; write 'module.{name}'")
            return self._named(self._own(), name)
        if module in (self._location, Path(self._location).stem):
            return self._named(self._own(), last)
        return self._named(load_module(module, self._directory), last)

    def _own(self) -> ModuleType:
        return load_module(self._location, self._directory)

    @staticmethod
    def _named(module: ModuleType, name: str) -> type[ModelServer]:
        found: Any = getattr(module, name, None)
        if isinstance(found, type) and (issubclass(found, ModelServer) or callable(getattr(found, "predict", None))):
            return found
        there = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, ModelServer) and value is not ModelServer
        ]
        what = f"is a {type(found).__name__}" if found is not None else "is not there"
        raise NameMissing(
            f"class {name!r} in {module.__name__!r} {what}; subclasses of ModelServer there: {', '.join(there) or 'none'}"
        )
