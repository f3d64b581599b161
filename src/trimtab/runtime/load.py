"""Find a function's handler and say what kind it is.

Supported: `handler(context, event)` (Nuclio), `handler(event)`, `handler(context, events: list)` for batches, ASGI applications (a function of scope, receive and send,
a Starlette or FastAPI object), Knative's Python functions (`handle(scope, receive, send)`, or `new()` that gives an object
with such a method and perhaps `start`, `stop`, `alive`, `ready`), and a class whose instances are called with (context, event) or
(event). Each may be `def` or `async def`, and may yield to stream.

Not supported: functions-framework's `f(request)`, whose request is Flask's, and of Nuclio what belongs to its cluster:
`context.platform` (`call_function`, `explicit_ack`).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from msgspec import Struct

from trimtab.errors import HandlerError, ImportFailed, ModuleMissing, NameMissing
from trimtab.runtime import compat
from trimtab.runtime.cells import with_cells
from trimtab.runtime.invoke import code_of

_USUAL = ("handler", "main", "handle", "new", "app")
"""Names that are looked for, in this order, when the spec names a module alone."""
_CONTEXT = ("context", "ctx", "_context", "_ctx", "_")
_OURS = f"{Path(__file__).parent.parent}{os.sep}"
_MACHINERY = str(Path(importlib.__file__).parent)


class Loaded(Struct, kw_only=True):
    """A handler, ready to be called.

    `flavour` event: `call(context, event)` or `call(event)`, as `arity` says. asgi: `call(scope, receive, send)`; knative:
    the same, with the event in the scope and CloudEvents to send. `instance` has the life-cycle methods, if any.
    """

    flavour: Literal["event", "asgi", "knative"]
    call: Callable[..., Any]
    arity: int = 2
    batch: bool = False
    """It takes a list of events, and gives a list of what became of each."""
    init: Callable[..., Any] | None = None
    instance: Any = None
    name: str = ""
    raw: bool = False
    """The handler reads bodies itself: it gets the bytes, whatever their content type."""


def load(handler: str, directory: Path, *, job: bool = False) -> Loaded:
    """Load `module:name`, `module` or `path/to/file.py[:name]` from `directory`. A `job` may take any parameters.

    Errors: ModuleMissing, ImportFailed (with the user's frames), NameMissing (naming what is there).
    """
    compat.install()
    location, _, name = handler.partition(":")
    if not location:
        raise ModuleMissing("no handler is named: give module:name, or a file")
    module = load_module(location, directory)
    found = _named(module, name) if name else _usual(module)
    if job and callable(found[1]):
        return Loaded(flavour="event", call=found[1], name=found[0])
    return _classify(found[1], found[0], module)


def load_module(location: str, directory: Path) -> ModuleType:
    """Import a module, or a file, that `directory` holds. Errors: as `load`."""
    folder = directory.absolute()
    name, file = location, _file(location, folder)
    if location.endswith(".py"):
        file = folder / location
        name, folder = file.stem, file.parent
        if not file.is_file():
            raise _missing(f"no file {location!r}", folder)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]
    importlib.invalidate_caches()
    try:
        if file is not None and (not name.isidentifier() or _is_taken(name, file)):
            return _from_file(name, file)
        return importlib.import_module(name)
    except HandlerError:
        raise
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise _missing(f"no module {name!r}", folder) from None
        raise _broken(name, exc) from exc
    except BaseException as exc:
        raise _broken(name, exc) from exc


def _file(name: str, folder: Path) -> Path | None:
    """Find the file of a module that stands in the folder itself; None for one in a package, or in no file there."""
    found = (folder / f"{name}.py", folder / name / "__init__.py")
    return next((file for file in found if name.isidentifier() and file.is_file()), None)


def _missing(what: str, folder: Path) -> ModuleMissing:
    files = sorted(path.stem for path in folder.glob("*.py"))
    return ModuleMissing(f"{what} in {folder}; there is {', '.join(files) or 'no .py file'}")


def _broken(name: str, exc: BaseException) -> ImportFailed:
    return ImportFailed(f"{name!r} failed while it was imported: {_oneline(exc)}", frames(exc))


def _is_taken(name: str, file: Path) -> bool:
    """Tell whether a module of this name is loaded from elsewhere: of a library, or of another folder."""
    if name in sys.builtin_module_names:
        return True
    loaded = sys.modules.get(name)
    return loaded is not None and Path(getattr(loaded, "__file__", None) or "").resolve() != file.resolve()


def _from_file(name: str, file: Path) -> ModuleType:
    """Load a file whose name is another module's, or none that can be imported, without taking the other's place."""
    name = f"function_{name}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _oneline(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".strip().rstrip(":")


def frames(exc: BaseException) -> str:
    """Format a traceback from the user's first frame on: without ours, and without the import machinery's."""
    linecache.checkcache()
    kept = exc.__traceback__
    while kept is not None and _is_ours(kept.tb_frame.f_code.co_filename):
        kept = kept.tb_next
    if kept is None and not isinstance(exc, SyntaxError):  # which says itself where it is
        kept = exc.__traceback__
    return with_cells("".join(traceback.format_exception(type(exc), exc, kept)))


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", _MACHINERY, _OURS))


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
        flavour: Literal["asgi", "knative"] = "knative" if getattr(found, "__name__", "") == "handle" else "asgi"
        return Loaded(flavour=flavour, call=found, init=init, instance=instance, name=name)
    if len(parameters) not in (1, 2):
        wanted = "(context, event), (event) or (scope, receive, send)"
        raise NameMissing(f"{module.__name__}:{name} takes ({', '.join(parameters)}); a handler takes {wanted}")
    return Loaded(
        flavour="event",
        call=found,
        arity=len(parameters),
        batch=_takes_list(found, parameters[-1]),
        init=init,
        instance=instance,
        name=name,
        raw=getattr(instance, "raw_body", False) is True,
    )


def _takes_list(found: Any, parameter: str) -> bool:
    """Tell a handler of batches: its event's parameter is called `events`, or is annotated as a list."""
    try:
        annotation = inspect.signature(found).parameters[parameter].annotation
    except (TypeError, ValueError, KeyError):
        return False
    text = annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))
    return parameter == "events" or bool(re.match(r"(typing\.)?(list|List|Sequence)\b", text))


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
    """List the parameters that are to be given by position: those without a default, and an event that has one."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return ["context", "event"]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds]
    needed = [p.name for p in parameters if p.kind in kinds and p.default is p.empty]
    if len(needed) < 2 and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ["context", "event"]  # a decorator that passes on whatever comes
    if len(needed) < 2 and names[:1] and names[0] in _CONTEXT:
        return names[:2]
    return needed
