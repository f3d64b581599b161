"""Find a function's handler and say what kind it is.

Supported: `handler(context, event)` (Nuclio), `handler(event)`, ASGI applications (a function of scope, receive and send,
a Starlette or FastAPI object), Knative's Python functions (`new()` that gives an object with `handle(scope, receive,
send)` and perhaps `start`, `stop`, `alive`, `ready`), and a class whose instances are called with (context, event) or
(event). Each may be `def` or `async def`, and may yield to stream. functions-framework's `f(request)` is not
supported: its request is Flask's.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from msgspec import Struct

from trimtab.errors import HandlerError, ImportFailed, ModuleMissing, NameMissing
from trimtab.runtime import compat
from trimtab.runtime.invoke import code_of

_USUAL = ("handler", "main", "handle", "new", "app")
"""Names that are looked for, in this order, when the spec names a module alone."""


class Loaded(Struct, kw_only=True):
    """A handler, ready to be called.

    `flavour` event: `call(context, event)` or `call(event)`, as `arity` says. asgi: `call(scope, receive, send)`; knative:
    the same, with the event in the scope and CloudEvents to send. `instance` has the life-cycle methods, if any.
    """

    flavour: Literal["event", "asgi", "knative"]
    call: Callable[..., Any]
    arity: int = 2
    init: Callable[..., Any] | None = None
    instance: Any = None
    name: str = ""


def load(handler: str, directory: Path, *, job: bool = False) -> Loaded:
    """Load `module:name`, `module` or `path/to/file.py[:name]` from `directory`. A `job` may take any parameters.

    Errors: ModuleMissing, ImportFailed (with the user's frames), NameMissing (naming what is there).
    """
    compat.install()
    location, _, name = handler.partition(":")
    if location.endswith(".py"):
        path = (directory / location).absolute()
        directory, location = path.parent, path.stem
    if not location:
        raise ModuleMissing("no handler is named: give module:name, or a file")
    module = _module(location, directory)
    found = _named(module, name) if name else _usual(module)
    if job and callable(found[1]):
        return Loaded(flavour="event", call=found[1], name=found[0])
    return _classify(found[1], found[0], module)


def _module(name: str, directory: Path) -> ModuleType:
    folder = str(directory.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    if not _exists(name):
        files = sorted(path.stem for path in directory.glob("*.py"))
        raise ModuleMissing(f"no module {name!r} in {folder}; there is {', '.join(files) or 'no .py file'}")
    loaded = sys.modules.get(name)
    if loaded is not None and not str(getattr(loaded, "__file__", "")).startswith(folder):
        # A file named like a library that is loaded already: the file is what was asked for.
        del sys.modules[name]
    try:
        return importlib.import_module(name)
    except HandlerError:
        raise
    except BaseException as exc:
        raise ImportFailed(f"{name!r} failed while it was imported: {_oneline(exc)}", frames(exc)) from exc


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name in sys.modules


def _oneline(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".strip().rstrip(":")


def frames(exc: BaseException) -> str:
    """Format a traceback from the user's first frame on: without ours, and without the import machinery's."""
    linecache.checkcache()
    kept = exc.__traceback__
    while kept is not None and _is_ours(kept.tb_frame.f_code.co_filename):
        kept = kept.tb_next
    return "".join(traceback.format_exception(type(exc), exc, kept))


def _is_ours(filename: str) -> bool:
    return "importlib" in filename or str(Path(__file__).parent) in filename


def _named(module: ModuleType, name: str) -> tuple[str, Any]:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise NameMissing(
                f"{module.__name__!r} has no {name!r}; found: {', '.join(_callables(module)) or 'nothing'}"
            )
        found = getattr(found, part)
    return name, found


def _usual(module: ModuleType) -> tuple[str, Any]:
    names = _callables(module)
    for name in _USUAL:
        if hasattr(module, name):
            return name, getattr(module, name)
    public = [name for name in names if name != "init_context"]
    if len(public) == 1:
        return public[0], getattr(module, public[0])
    raise NameMissing(
        f"{module.__name__!r} has no {', '.join(map(repr, _USUAL))}; name one of: {', '.join(public) or '(it defines none)'}"
    )


def _callables(module: ModuleType) -> list[str]:
    """List the public callables that the module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _classify(found: Any, name: str, module: ModuleType) -> Loaded:
    init = getattr(module, "init_context", None)
    if not callable(found):
        raise NameMissing(f"{module.__name__}:{name} is a {type(found).__name__}, which cannot be called")
    if name.rpartition(".")[2] == "new" and not _positional(found):
        return _knative(_make(found, module, name), name)
    instance = None
    if inspect.isclass(found):
        instance = _make(found, module, name)
        if hasattr(instance, "handle") and len(_positional(instance.handle)) == 3:
            return _knative(instance, name)
        found = instance if callable(instance) else getattr(instance, "handle", None)
        if found is None:
            raise NameMissing(f"{module.__name__}:{name} has neither __call__ nor handle")
    parameters = _positional(found)
    if parameters[:3] == ["scope", "receive", "send"] or (
        len(parameters) == 3 and inspect.iscoroutinefunction(code_of(found))
    ):
        return Loaded(flavour="asgi", call=found, init=init, instance=instance, name=name)
    if len(parameters) not in (1, 2):
        wanted = "(context, event), (event) or (scope, receive, send)"
        raise NameMissing(f"{module.__name__}:{name} takes ({', '.join(parameters)}); a handler takes {wanted}")
    return Loaded(flavour="event", call=found, arity=len(parameters), init=init, instance=instance, name=name)


def _make(factory: Callable[[], Any], module: ModuleType, name: str) -> Any:
    try:
        return factory()
    except BaseException as exc:
        raise ImportFailed(f"{module.__name__}:{name}() failed: {_oneline(exc)}", frames(exc)) from exc


def _knative(instance: Any, name: str) -> Loaded:
    if not callable(getattr(instance, "handle", None)):
        raise NameMissing(f"{name}() gave a {type(instance).__name__} without a method handle(scope, receive, send)")
    return Loaded(flavour="knative", call=instance.handle, instance=instance, name=name)


def _positional(found: Any) -> list[str]:
    """List the parameters that must be given by position."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return ["context", "event"]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]
