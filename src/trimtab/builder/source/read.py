"""The one way in which a source is read, for every target and for the builder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from trimtab.builder.abc import Code, Content
from trimtab.builder.requirements.declared import declared
from trimtab.builder.source import file
from trimtab.builder.source import handler as handlers
from trimtab.builder.source.folder import Folder
from trimtab.builder.source.ignore import OURS
from trimtab.errors import SpecError
from trimtab.runtime.pickled import IMPORT
from trimtab.spec import Build, Source


def read_source(source: Source, build: Build, handler: str, *, name: str = "", needed: bool = True) -> Code:
    """Read where `source` says into files, the handler's full name and what the code says of itself.

    `name` is the function's: it selects a notebook's named sections. `build.python` is the Python it is read for. Unless a
    handler is `needed`, a folder of several modules may leave open which of them it is in.
    Errors: SpecError naming what cannot be read, and where; BuildError where git or uv fail.
    """
    if source.git is not None:
        from trimtab.builder.source import git

        return git.read(source.git, build, handler, name=name)
    if source.code is not None:
        return _text(source.code, handler)
    if source.path is None:
        raise SpecError("spec.source", {}, "a path (file or folder), code or git")
    path = Path(source.path)
    if path.is_dir():
        return read_folder(path, handler, needed=needed)
    if not path.is_file():
        raise SpecError("spec.source.path", source.path, "a file or folder that exists")
    if path.suffix == ".ipynb":
        from trimtab.builder.source import notebook

        return notebook.read(path, build, handler, name=name)
    if path.suffix != ".py":
        raise SpecError("spec.source.path", source.path, "a .py file, an .ipynb notebook or a folder")
    files, notes = file.read(path)
    return _code(files, handler, str(path), notes, path.parent)


def read_folder(path: Path, handler: str, *, git: bool = True, needed: bool = True) -> Code:
    """Read a folder; `git` says whether .gitignore counts. Errors: SpecError."""
    found = Folder(path, git=git)
    _refuse_ignored(found, handler)
    return _code(found.files, handler, str(path), found.notes, path, needed=needed)


def _text(text: str, name: str) -> Code:
    module = name.partition(":")[0] or "handler"
    code = _code({f"{module.replace('.', '/')}.py": text.encode()}, name, "", [], None)
    if f"\n{IMPORT}\n" in text:
        code.requirements = msgspec.structs.replace(code.requirements, pinned=True)
    return code


def _code(
    files: Mapping[str, Content],
    name: str,
    origin: str,
    notes: list[str],
    folder: Path | None,
    *,
    needed: bool = True,
) -> Code:
    files = dict(sorted(files.items()))
    name = handlers.find(name, files, needed=needed)
    said = list(notes)
    requirements = declared(files, handlers.module_file(name, files), folder, said)
    return Code(files=files, handler=name, origin=origin, requirements=requirements, notes=said)


def _refuse_ignored(found: Folder, name: str) -> None:
    """Say so where an ignore file leaves out the very file that the handler is in."""
    module = re.sub(r"\.py$", "", name.partition(":")[0])
    here = {f"{module.replace('.', '/')}.py": None, f"{module}.py": None} if module else _modules(found.root)
    if any(path in found.files for path in here) or (not module and any(path.endswith(".py") for path in found.files)):
        return
    for path in here:
        parents = [f"{folder.as_posix()}/" for folder in reversed(PurePosixPath(path).parents) if folder.name]
        for part in [*parents, path]:
            rule = found.ignore.rule(part)
            if rule is not None and rule.ignored and (found.root / path).is_file():
                raise SpecError(
                    "spec.handler",
                    name or path,
                    "a module that is not ignored",
                    hint=f"{part} is left out by {rule.pattern!r} in {rule.where}: write '!{part}' into {OURS} to take it",
                )


def _modules(root: Path) -> dict[str, None]:
    return {path.name: None for path in sorted(root.glob("*.py"))}
