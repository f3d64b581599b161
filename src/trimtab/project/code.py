"""A function's code on this machine, in this process: for mock servers and local runs, which read it where it lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trimtab.errors import SpecError
from trimtab.project.view import has_source
from trimtab.spec import FunctionSpec

if TYPE_CHECKING:
    from trimtab.runtime.load import Loaded

_NOTEBOOK = "Notebooks come later: `jupyter nbconvert --to script` makes a .py file of one"


def check_file(filename: object) -> Path:
    """Accept a Python file or a folder that exists. Errors: SpecError saying what is accepted."""
    allowed = "the path of a .py file or of a folder"
    if not isinstance(filename, str | os.PathLike) or not str(filename):
        raise SpecError("filename", filename or None, allowed)
    text = str(filename)
    if "://" in text:
        raise SpecError("filename", text, allowed, hint="Clone or download it first")
    path = Path(text)
    if path.suffix == ".ipynb":
        raise SpecError("filename", text, allowed, hint=_NOTEBOOK)
    if not path.exists():
        raise SpecError("filename", text, allowed, hint=f"There is no such file in {Path.cwd()}")
    if path.is_file() and path.suffix != ".py":
        raise SpecError("filename", text, allowed)
    return path


def qualified(handler: str, filename: Path | None) -> str:
    """Name the module of a handler that is a name alone, as MLRun's users write it, in the file it must be in."""
    if not handler or ":" in handler or filename is None or filename.is_dir() or handler == filename.stem:
        return handler
    return f"{filename.stem}:{handler}"


@contextmanager
def loaded(spec: FunctionSpec, *, job: bool = False) -> Iterator[Loaded]:
    """Load the handler afresh, with the function's plain variables in the environment, which leave it at the end.

    Errors: SpecError (no code here), HandlerError.
    """
    from trimtab.runtime.load import load

    with located(spec) as (handler, folder):
        yield load(handler, folder, job=job)


@contextmanager
def located(spec: FunctionSpec) -> Iterator[tuple[str, Path]]:
    """Give the handler and the folder it is in, to be loaded afresh, with the environment as `loaded` has it.

    Errors: SpecError (no code here).
    """
    with _environment(spec), TemporaryDirectory(prefix="trimtab-") as scratch:
        handler, folder = _located(spec, Path(scratch))
        sys.modules.pop(handler.partition(":")[0], None)  # what an earlier load left: the file may have changed
        yield handler, folder


def _located(spec: FunctionSpec, scratch: Path) -> tuple[str, Path]:
    module, _, name = spec.handler.partition(":")
    if spec.source.code is not None:
        module = module or "handler"
        (scratch / f"{module}.py").write_text(spec.source.code, "utf-8")
        return f"{module}:{name}" if name else module, scratch
    if not has_source(spec) and spec.kind == "serving":
        return "", scratch
    if not has_source(spec) or spec.source.path is None:
        raise SpecError("spec.source", spec.source.git, "a path or code, to run in this process")
    path = check_file(spec.source.path)
    if path.is_dir():
        from trimtab.deploy.local.source import module_of, read

        module = module_of(spec, read(spec.source, spec.handler))
        return f"{module}:{name}" if name else module, path
    return f"{path.stem}:{name}" if name else path.stem, path.parent


@contextmanager
def _environment(spec: FunctionSpec) -> Iterator[None]:
    wanted = {variable.name: variable.value or "" for variable in spec.env if variable.value_from is None}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
