"""The files of a folder: links that stay inside, no generated files, nothing that the ignore files leave out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trimtab.builder.abc import Content
from trimtab.builder.source.ignore import OURS, Ignore
from trimtab.errors import SpecError

LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".ipynb_checkpoints", ".tox", ".trimtab", ".DS_Store"}
)
_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Folder:
    """One walk over a folder; `files` by name and `notes` are what it found."""

    def __init__(self, root: Path, *, git: bool = True) -> None:
        self.root = root
        self.files: dict[str, Content] = {}
        self.notes: list[str] = []
        self.ignore = Ignore(root, git=git)
        self._inside = root.resolve()
        self._walk(root, "", (self._inside,))

    def _walk(self, folder: Path, prefix: str, within: tuple[Path, ...]) -> None:
        """Take a folder's content; `within` are the real folders that the walk is in."""
        try:
            self.ignore.enter(folder, prefix)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise self._refused(prefix or ".", f"which cannot be read ({error.strerror})", "readable files") from error
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.name in LEFT_OUT or entry.name.endswith(".pyc"):
                continue
            linked = entry.is_symlink()
            if self.ignore.ignored(f"{name}/" if self._is_folder(entry) and not linked else name):
                continue
            self._take(Path(folder, entry.name), name, within, linked=linked)

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        return entry.is_dir(follow_symlinks=False)

    def _take(self, path: Path, name: str, within: tuple[Path, ...], *, linked: bool) -> None:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self._refused(name, "whose name is not UTF-8", f"names in UTF-8, or a line in {OURS}") from error
        target = self._followed(path, name) if linked else path
        if target is None:
            return
        mode = target.stat().st_mode
        if stat.S_ISDIR(mode):
            real = target.resolve()
            if linked and real in within:
                raise self._refused(name, f"a link to {real}, which it lies in: it has no end", "links that end")
            self._walk(path, f"{name}/", (*within, real))
        elif stat.S_ISREG(mode):
            if not os.access(target, os.R_OK):
                raise self._refused(name, "which cannot be read", "readable files")
            self.files[name] = target
        else:
            kind = _KINDS.get(stat.S_IFMT(mode), "no file")
            raise self._refused(name, f"which is {kind}", f"files, folders and links, or a line in {OURS}")

    def _followed(self, path: Path, name: str) -> Path | None:
        """Give what a link leads to; None where that is missing. Errors: SpecError where it is outside, or the link itself."""
        to = path.readlink()
        try:
            target = path.resolve(strict=True)
        except FileNotFoundError:
            self.notes.append(f"{name} is left out: it is a link to {to}, which is missing")
            return None
        except (OSError, RuntimeError) as error:
            raise self._refused(name, f"a link to {to}, which leads back to itself", "links that end") from error
        if not target.is_relative_to(self._inside):
            raise self._refused(
                name, f"a link to {to}, outside the folder", f"links inside it: copy the file, or list it in {OURS}"
            )
        return target

    def _refused(self, name: str, found: str, allowed: str) -> SpecError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        return SpecError("spec.source.path", f"{self.root}: {shown}, {found}", allowed)
