"""A function of a session or a notebook as the text of a module, which unpickles it: every target can take that."""

from __future__ import annotations

import base64
import inspect
import io
import pickle
import platform
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import Distribution, distribution, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
from msgspec import Struct

from trimtab.errors import SpecError
from trimtab.runtime.pickled import IMPORT

LARGEST = 16 * 2**20
"""Bytes of a pickle: more is data, which belongs into a file or a model store, not into code."""
_MODULE = "handler"


class Pickled(Struct, frozen=True):
    """The module `text`, and the `handler` in it."""

    text: str
    handler: str


class Reference(Struct, frozen=True):
    """What a pickle needs of the place where it is loaded."""

    distributions: dict[str, str]
    local: frozenset[str]
    """Modules of files that no distribution brings: they have to travel with the function."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Notes the modules of all that it meets, and what it met last: the culprit, when it fails."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.modules: set[str] = set()
        self.last: Any = None

    def persistent_id(self, obj: Any) -> None:
        self.last = obj
        if isinstance(obj, ModuleType):
            self.modules.add(obj.__name__)
        else:
            named = obj if isinstance(obj, type) or callable(obj) else type(obj)
            module = getattr(named, "__module__", None)
            if isinstance(module, str):
                self.modules.add(module)


def pack(function: Callable[..., Any]) -> Pickled:
    """Pickle a function, a class or any other callable with all it uses that is defined in this session.

    Installed libraries are named by version instead. Errors: SpecError naming what cannot be pickled, or is too large.
    """
    if not callable(function):
        raise SpecError("handler", function, "a function, or the name of one in a file")
    name = getattr(function, "__name__", "") or type(function).__name__
    name = name if name.isidentifier() else "handler"
    data, found = _pickled(function, name)
    if len(data) > LARGEST:
        raise SpecError(
            "handler",
            name,
            f"a function with at most {LARGEST // 2**20} MiB around it; this one carries {len(data) / 2**20:.0f} MiB",
            hint=f"{_largest(function)}Load it inside the function, or in init_context, from a file",
        )
    return Pickled(_text(function, name, data, found), f"{_MODULE}:{name}")


def _pickled(function: Callable[..., Any], name: str) -> tuple[bytes, Reference]:
    """Pickle, again with each local module that turns up by value, until all of them are."""
    own = sys.modules.get(getattr(function, "__module__", None) or "")
    local = {own.__name__} if own is not None and _is_local(own.__name__) else set()
    while True:
        with _by_value(local):
            data, modules = _dump(function, name)
        found = _reference(modules)
        if found.local <= local:
            return data, found
        local |= found.local


@contextmanager
def _by_value(modules: set[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for name in modules:
            cloudpickle.register_pickle_by_value(sys.modules[name])
            stack.callback(cloudpickle.unregister_pickle_by_value, sys.modules[name])
        yield


def _dump(function: Callable[..., Any], name: str) -> tuple[bytes, set[str]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(function)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError) as error:
        raise SpecError(
            "handler",
            name,
            "a function whose surroundings can be pickled",
            hint=f"{_culprit(function, pickler.last)} cannot be ({error}): make it inside the function, or in init_context",
        ) from error
    return file.getvalue(), pickler.modules


def _surroundings(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function uses from outside of itself: globals, closure, defaults, or an object's attributes."""
    plain = inspect.unwrap(function)
    plain = getattr(plain, "__func__", plain)
    try:
        found = inspect.getclosurevars(plain)
    except (TypeError, ValueError):
        return dict(getattr(function, "__dict__", {}))
    defaults = {f"{name}=": value for name, value in (getattr(plain, "__kwdefaults__", None) or {}).items()}
    return {**found.globals, **found.nonlocals, **defaults}


def _culprit(function: Callable[..., Any], last: Any) -> str:
    for name, value in _surroundings(function).items():
        if isinstance(value, ModuleType):
            continue
        try:
            cloudpickle.dumps(value)
        except Exception:
            return f"{name!r}, which it uses, is of type {_kind(value)} and"
    return f"something of type {_kind(last)} that it uses"


def _largest(function: Callable[..., Any]) -> str:
    sizes = {}
    for name, value in _surroundings(function).items():
        if not isinstance(value, ModuleType):
            sizes[name] = len(cloudpickle.dumps(value))
    if not sizes:
        return ""
    name = max(sizes, key=lambda each: sizes[each])
    return f"Most of it is {name!r} ({sizes[name] / 2**20:.0f} MiB). "


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _reference(modules: set[str]) -> Reference:
    """Part the modules that a pickle names into distributions, with their versions, and local ones."""
    named = {each for module in modules for each in _distributions(module)}
    local = frozenset(module for module in modules if _is_local(module))
    return Reference({"cloudpickle": version("cloudpickle"), **{each: version(each) for each in sorted(named)}}, local)


def _is_local(module: str) -> bool:
    top = module.partition(".")[0]
    loaded = sys.modules.get(module)
    if top in sys.stdlib_module_names or top in {"__main__", "__mp_main__", "trimtab", "cloudpickle"} or loaded is None:
        return False
    return bool(getattr(loaded, "__file__", None)) and not _distributions(module)


def _distributions(module: str) -> list[str]:
    """Name the distributions of an index that a module comes from; those linked from a working copy do not count."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "trimtab":
        return []
    names = [name for name in dict.fromkeys(_known().get(top, [])) if not _linked(distribution(name))]
    return names if len(names) < 2 else [name for name in names if _brings(distribution(name), module)]


@lru_cache(maxsize=1)
def _known() -> dict[str, list[str]]:
    return {top: list(names) for top, names in packages_distributions().items()}


def _linked(found: Distribution) -> bool:
    return '"editable": true' in (found.read_text("direct_url.json") or "")


def _brings(found: Distribution, module: str) -> bool:
    path = Path(*module.split("."))
    wanted = {str(path.with_suffix(".py")), str(path / "__init__.py")}
    return any(str(file) in wanted for file in found.files or [])


def _text(function: Callable[..., Any], name: str, data: bytes, found: Reference) -> str:
    python = platform.python_version()
    minor = ".".join(python.split(".")[:2])
    pins = ", ".join(f'"{each}=={number}"' for each, number in found.distributions.items())
    lines = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 100))
    return (
        f'"""The function {name!r}, pickled by cloudpickle {found.distributions["cloudpickle"]} under Python {python}."""\n\n'
        f'# /// script\n# requires-python = "=={minor}.*"\n# dependencies = [{pins}]\n# ///\n\n'
        f"{IMPORT}\n\n"
        f'{name} = unpickle(\n    """\n{lines}\n""",\n    name={name!r},\n    python={python!r},\n'
        f"    versions={found.distributions!r},\n)\n{_shown(function)}"
    )


def _shown(function: Callable[..., Any]) -> str:
    """The source, for those who read the description; what runs is the pickle."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return ""
    return "\n# As it was written:\n" + "".join(f"# {line}".rstrip() + "\n" for line in source.split("\n"))
