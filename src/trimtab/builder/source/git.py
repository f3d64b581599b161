"""A git reference as a source: one commit is fetched, without history, and kept under its name."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from trimtab.builder.abc import Code
from trimtab.builder.requirements.listing import redacted
from trimtab.config import settings
from trimtab.errors import BuildError, SpecError
from trimtab.spec import Build, Source

FORMS = "git+https://HOST/REPOSITORY@REF#FOLDER, or https://HOST/REPOSITORY#REF:FOLDER (ssh:// and file:// as well)"
_SCHEMES = ("https", "http", "ssh", "file")
_SCP = re.compile(r"[A-Za-z_][\w.-]*@[A-Za-z0-9][\w.-]*:(?!/)[^\s]+")
_REF = re.compile(r"(?![-./])(?!.*(?:\.\.|//|@\{))[\w./@+=-]+(?<![./])")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_USUAL = re.compile(r"fatal: Could not read from remote|Please make sure you have|and the repository exists")
"""What git says behind every reason."""
_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
_WITHIN = 600.0
"""Seconds for one fetch."""
_KEPT, _GRACE = 10, 3600.0
"""Checkouts that are kept, and seconds in which one that was asked for is surely kept."""


class Reference(Struct, frozen=True):
    """What to fetch: `ref` '' is the default branch, `folder` '' the repository's root."""

    url: str
    ref: str = ""
    folder: str = ""


class Checkout(Struct, frozen=True):
    """The files of one commit, and its time in seconds since the epoch."""

    path: Path
    commit: str
    time: int


def looks_like(text: str) -> bool:
    """Whether a text names a repository rather than a file."""
    return text.startswith("git+") or bool(_SCP.fullmatch(text)) or re.match(r"(?:https?|ssh)://", text) is not None


def parse(text: str) -> Reference:
    """Read a reference in pip's form or the spec's. Errors: SpecError; credentials are refused, and not repeated."""
    found = _pips(text.removeprefix("git+")) if text.startswith("git+") else _specs(text)
    _check_url(found.url)
    if found.ref and not _REF.fullmatch(found.ref):
        raise SpecError("spec.source.git", found.ref, "the name of a branch or tag, or a commit")
    parts = found.folder.split("/")
    if found.folder.startswith(("/", "-")) or ".." in parts or "\\" in found.folder:
        raise SpecError("spec.source.git", found.folder, "a folder or file inside the repository")
    return replace(found, folder="/".join(part for part in parts if part not in {"", "."}))


def _pips(text: str) -> Reference:
    address, _, folder = text.partition("#")
    scheme, mark, rest = address.rpartition("://")
    host, cut, path = rest.partition("/" if scheme else ":")
    before, at, ref = path.rpartition("@")
    url = f"{scheme}{mark}{host}{cut}{before if at else path}"
    return Reference(url, ref if at else "", folder.removeprefix("subdirectory="))


def _specs(text: str) -> Reference:
    url, _, rest = text.partition("#")
    ref, _, folder = rest.partition(":")
    return Reference(url, ref, folder)


def _check_url(url: str) -> None:
    if url.startswith("-") or any(ord(char) < 33 for char in url):
        raise SpecError("spec.source.git", url, FORMS)
    if _SCP.fullmatch(url):
        return
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or (parts.scheme in {"http", "https"} and parts.username is not None)
    except ValueError as error:
        raise SpecError("spec.source.git", redacted(url), FORMS) from error
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.scheme == "file"):
        raise SpecError("spec.source.git", redacted(url), FORMS)
    if secret:
        raise SpecError(
            "spec.source.git",
            redacted(url),
            "an address without credentials",
            hint="They would be kept with the function: leave them to git (a credential helper, ~/.netrc, or an SSH key)",
        )


def read(text: str, build: Build, handler: str, *, name: str = "") -> Code:
    """Fetch a reference and read the folder or file it names. Ignored files count where git has them all the same.

    Errors: SpecError (no such ref, folder or file), BuildError (git's reason), as read_source.
    """
    from trimtab.builder.source.read import read_folder, read_source

    wanted = parse(text)
    checkout = fetch(wanted, settings().home / "cache" / "git")
    place = checkout.path / wanted.folder
    if not place.resolve().is_relative_to(checkout.path.resolve()) or not place.exists():
        there = ", ".join(sorted(path.name for path in checkout.path.iterdir())) or "nothing"
        raise SpecError("spec.source.git", wanted.folder, f"a folder or file of the repository; at its root: {there}")
    if place.is_dir():
        code = read_folder(place, handler, git=False)
    else:
        code = read_source(Source(path=str(place)), build, handler, name=name)
    return replace(code, origin=wanted.url, revision=checkout.commit, created=checkout.time)


def fetch(wanted: Reference, cache: Path) -> Checkout:
    """Give the files of a commit, fetching it unless `cache` has the very commit. Errors: SpecError, BuildError."""
    cache.mkdir(parents=True, exist_ok=True)
    known = hashlib.sha256(wanted.url.encode()).hexdigest()[:16]
    if _COMMIT.fullmatch(wanted.ref) and (found := _kept(cache / f"{known}-{wanted.ref}")) is not None:
        return found
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix=".fetching-"))
    try:
        commit = _checked_out(scratch / "tree", wanted)
        place = cache / f"{known}-{commit}"
        seconds = int(_git(scratch / "tree", "show", "--no-patch", "--format=%ct", commit))
        shutil.rmtree(scratch / "tree" / ".git")
        (scratch / "time").write_text(str(seconds), "utf-8")
        if _kept(place) is None:
            shutil.rmtree(place, ignore_errors=True)  # half a checkout, of a removal that was cut short
            with contextlib.suppress(OSError):  # another fetches the same and was faster
                scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _sweep(cache)
    found = _kept(place)
    if found is None:
        raise BuildError(f"{wanted.url} was fetched and cannot be kept at {place}")
    return found


def _checked_out(folder: Path, wanted: Reference) -> str:
    folder.mkdir()
    _git(folder, "init", "--quiet", "--template=")
    _fetch(folder, wanted)
    commit = _git(folder, "rev-parse", "FETCH_HEAD^{commit}").strip()
    _git(folder, "-c", "core.autocrlf=false", "checkout", "--quiet", "--force", "--detach", commit)
    return commit


def _kept(place: Path) -> Checkout | None:
    try:
        seconds = int((place / "time").read_text())
    except (OSError, ValueError):
        return None
    os.utime(place)
    return Checkout(place / "tree", place.name.rpartition("-")[2], seconds)


def _sweep(cache: Path) -> None:
    """Forget the checkouts that were not asked for longest. Others fetch and forget in the same folder meanwhile."""
    for place, asked in _newest_first(cache)[_KEPT:]:
        if time.time() - asked > _GRACE:
            (place / "time").unlink(missing_ok=True)  # first: without it the rest does not count
            shutil.rmtree(place, ignore_errors=True)


def _newest_first(cache: Path) -> list[tuple[Path, float]]:
    found = []
    for place in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if place.is_dir():
                found.append((place, place.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry[1])


def _fetch(folder: Path, wanted: Reference) -> None:
    ref = wanted.ref or "HEAD"
    arguments = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", wanted.url, ref)
    try:
        _git(folder, *arguments)
    except BuildError as error:
        text = str(error)
        missing = re.search(
            r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref", text, re.IGNORECASE
        )
        if not missing:
            raise
        raise SpecError("spec.source.git", ref, _known(folder, wanted), hint=_about(ref)) from error


def _known(folder: Path, wanted: Reference) -> str:
    lines = _git(folder, "ls-remote", "--heads", "--tags", "--refs", "--", wanted.url).splitlines()
    names = [line.partition("\t")[2].split("/", 2)[2] for line in lines]
    near = difflib.get_close_matches(wanted.ref, names, n=5, cutoff=0.3) or names[:10]
    return f"a branch, tag or commit of {wanted.url}; it has {', '.join(near) or 'none'}"


def _about(ref: str) -> str:
    return "Give a commit by all of its 40 characters" if _SHORT.fullmatch(ref) else ""


def _git(folder: Path, *arguments: str) -> str:
    """Run git; it asks nobody for a password. Errors: BuildError with git's reason, without credentials."""
    environ = {name: value for name, value in os.environ.items() if name not in _OWN}
    environ |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES), "LC_ALL": "C"}
    environ.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WITHIN,
            check=False,
        )
    except FileNotFoundError as error:
        raise BuildError(
            "a source in git needs git: install it, or clone the repository and name its folder"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"git {arguments[0]} has not ended after {_WITHIN:g} s") from error
    if done.returncode:
        lines = redacted(done.stderr).splitlines()
        told = [line.removeprefix("fatal: ") for line in lines if line.strip() and not _USUAL.match(line)]
        denied = any(
            re.search(r"could not read (?:Username|Password)|Authentication failed|Permission denied", line)
            for line in told
        )
        advice = ". Set up a credential helper, ~/.netrc or an SSH key for git" if denied else ""
        raise BuildError(f"git {arguments[0]} failed: {' / '.join(told[-3:]) or done.returncode}{advice}")
    return done.stdout
