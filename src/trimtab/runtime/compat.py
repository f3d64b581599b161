"""`import nuclio_sdk` for functions that were written for Nuclio, whether the package is installed or not."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "nuclio_sdk"


class _Finder(MetaPathFinder, Loader):
    """Last on the path, so that the real package wins; loads our types under the SDK's names."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == _NAME else None

    def exec_module(self, module: ModuleType) -> None:
        from trimtab.runtime.context import Context, Logger
        from trimtab.runtime.event import Event, TriggerInfo
        from trimtab.runtime.response import ExceptionWithResponse, Response

        for known in (Context, Event, ExceptionWithResponse, Logger, Response, TriggerInfo):
            setattr(module, known.__name__, known)


def install() -> None:
    """Make the import work from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
