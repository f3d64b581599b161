"""Which files of a folder are left out: .gitignore as git reads it, nested ones too, and .trimtabignore, which has the last word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct
from pathspec import GitIgnoreSpec

from trimtab.errors import SpecError

_INSIDE = re.compile(r"/\*\*(/?\s*)$")
OURS, GITS = ".trimtabignore", ".gitignore"


class Rule(Struct, frozen=True):
    """The line that decided about a file."""

    pattern: str
    where: str
    """The ignore file, relative to the source's folder."""
    ignored: bool


class _File(Struct, frozen=True):
    """One ignore file: `base` is its folder as names begin with it ('' or ending in '/')."""

    base: str
    where: str
    patterns: list[tuple[str, Any]]

    def rule(self, name: str) -> Rule | None:
        """Give the last rule that matches `name` itself: what is in a folder that is left out is never asked about."""
        for line, pattern in reversed(self.patterns):
            if any(_is_whole(match, name) for match in pattern.regex.finditer(name)):
                return Rule(line, self.where, pattern.include)
        return None


def _is_whole(match: re.Match[str], name: str) -> bool:
    """Whether it is `name` that matches, and not a folder above it, whose slash pathspec marks."""
    return match.groupdict().get("ps_d") is None or match.end("ps_d") == len(name)


class Ignore:
    """The ignore files met so far; `enter` each folder before its content is asked about."""

    def __init__(self, root: Path, *, git: bool = True) -> None:
        self._names = (OURS, GITS) if git else (OURS,)
        self._files: dict[str, list[_File]] = {name: [] for name in self._names}
        self._prefix = ""
        if git:
            self._climb(root.resolve())

    def _climb(self, root: Path) -> None:
        """Take the rules of the repository around the folder, unless they leave out the folder itself: it was named."""
        top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
        inside = root.relative_to(top)
        self._prefix = "" if top == root else f"{inside.as_posix()}/"
        for part in reversed(inside.parents):
            self._read(top / part, GITS, "" if part == Path() else f"{part.as_posix()}/")
        for part in reversed([inside, *inside.parents][:-1]):
            if _ignores(self._rule(f"{part.as_posix()}/")):
                self._files[GITS].clear()

    def enter(self, folder: Path, name: str) -> None:
        """Read the ignore files of a folder that the source calls `name` ('' or ending in '/')."""
        for kind in self._names:
            self._read(folder, kind, f"{self._prefix}{name}")

    def _read(self, folder: Path, kind: str, base: str) -> None:
        path = folder / kind
        if path.is_symlink() or not path.is_file():
            return  # git follows no links here either
        try:
            text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        except OSError as error:
            raise SpecError(str(path), error.strerror or "an error", "an ignore file that can be read") from error
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        self._files[kind].append(_File(base, f"{base}{kind}", [*_patterns(lines)]))

    def rule(self, name: str) -> Rule | None:
        """Give the rule that decides about `name` (a folder's ends in '/'); None where none does."""
        return self._rule(f"{self._prefix}{name}")

    def _rule(self, name: str) -> Rule | None:
        for kind in self._names:
            for file in reversed(self._files[kind]):
                if not name.startswith(file.base) or name == file.base:
                    continue
                if (found := file.rule(name[len(file.base) :])) is not None:
                    return found
        return None

    def ignored(self, name: str) -> bool:
        """Whether `name` is left out."""
        return _ignores(self.rule(name))


def _patterns(lines: list[str]) -> Iterator[tuple[str, Any]]:
    """Have pathspec read the lines. `NAME/**` is given to it as `NAME/**/*`: to git both are what is in NAME, to pathspec
    the first is NAME as well."""
    for line in lines:
        for pattern in GitIgnoreSpec.from_lines([_INSIDE.sub(r"/**/*\1", line)]).patterns:
            if pattern.include is not None:
                yield line.strip(), pattern


def _ignores(rule: Rule | None) -> bool:
    return rule is not None and rule.ignored
