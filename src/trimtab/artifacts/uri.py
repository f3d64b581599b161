"""How an artifact is named: `store://models/PROJECT/KEY#ITER:TAG@VERSION`, as MLRun's users write it."""

from __future__ import annotations

import re
from typing import Literal, get_args

from msgspec import Struct

from trimtab.errors import SpecError

PREFIX = "store://"
Kind = Literal["models", "datasets", "artifacts"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_FORM = "store://models|datasets|artifacts/PROJECT/KEY, and then #ITER, :TAG and @VERSION as far as they are needed"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NAME_RULE = "letters, digits, '_', '.' and '-', not beginning with '.' or '-', at most 128"
_PATH = re.compile(r"(?P<key>[^#:@]*)(?:#(?P<iter>[0-9]{1,9}))?(?:#?:(?P<tag>[^#:@]*))?(?:@(?P<tree>[^#:@]*))?")


def check_name(what: str, name: object) -> str:
    """Accept a project, key, tag or version: it becomes part of a path. Errors: SpecError."""
    if not isinstance(name, str) or not is_name(name):
        raise SpecError(what, name, _NAME_RULE)
    return name


def is_name(name: str) -> bool:
    """Tell whether a text can be a project, key, tag or version."""
    return _NAME.fullmatch(name) is not None


def check_file(name: str) -> str:
    """Accept the name of a file in a version: a relative path that stays in it. Errors: SpecError."""
    if any(part in ("", ".", "..") or not part.isprintable() for part in name.split("/")):
        raise SpecError("file", name, "a relative path of printable characters, parted by '/', without '..'")
    return name


class StoreURI(Struct, frozen=True, kw_only=True):
    """One artifact. `tree` is the version; where it is given it decides, and `tag` says only how it came to be named.

    `iter` is the iteration of a run that logs the same key several times (hyper-parameters); 0 elsewhere.
    """

    kind: Kind
    project: str
    key: str
    iter: int = 0
    tag: str = "latest"
    tree: str | None = None

    def __post_init__(self) -> None:
        check_name("project", self.project)
        check_name("key", self.key)
        if self.tag or self.tree is None:
            check_name("tag", self.tag)
        if self.tree is not None:
            check_name("version", self.tree)

    @classmethod
    def parse(cls, text: str) -> StoreURI:
        """Read a URI; without a tag and a version it means `latest`. Errors: SpecError."""
        kind, _, rest = text.removeprefix(PREFIX).partition("/")
        project, _, path = rest.partition("/")
        found = _PATH.fullmatch(path)
        if not is_store_uri(text) or found is None or not found["key"]:
            raise SpecError("store URI", text, _FORM)
        if kind not in KINDS:
            raise SpecError("store URI", text, _FORM, hint=f"There is no kind {kind!r}")
        tag, tree = found["tag"], found["tree"]
        if tag is None:
            tag = "latest" if tree is None else ""
        return cls(kind=kind, project=project, key=found["key"], iter=int(found["iter"] or 0), tag=tag, tree=tree)

    def __str__(self) -> str:
        """Write it so that `parse` reads it; the iteration is always there, as in MLRun's."""
        tag = f":{self.tag}" if self.tag else ""
        tree = f"@{self.tree}" if self.tree else ""
        return f"{PREFIX}{self.kind}/{self.project}/{self.key}#{self.iter}{tag}{tree}"


def is_store_uri(value: object) -> bool:
    """Tell whether a value names an artifact of a store."""
    return isinstance(value, str) and value.startswith(PREFIX)
