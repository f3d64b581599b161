"""Finds or makes the environment for a set of requirements."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from trimtab._version import __version__
from trimtab.deploy.local.environments.lock import locked
from trimtab.deploy.local.environments.own import PACKAGE, complete
from trimtab.deploy.local.environments.uv import run
from trimtab.errors import DeployFailed

LOCK_FILE = "requirements.lock"
USED_FILE = "used"


class Environment(Struct, frozen=True):
    """An interpreter that has what was required. `key` names its content; it is empty for the daemon's own."""

    python: Path
    key: str


async def ensure(
    requirements: list[str],
    python: str | None,
    root: Path,
    *,
    directory: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Environment:
    """Give the environment for `requirements` (as in a requirements file) on Python `python` ("3.12"; None: ours).

    Without requirements, on our own Python, that is the interpreter that runs now. Otherwise it is `root`/key, made at
    first use: Trimtab linked from where it runs now, what it needs, the requirements, compiled; the versions that were
    chosen stand in its `requirements.lock`. It appears whole or not at all, whoever is killed, and is made once
    however many ask. Relative paths in `requirements` are relative to `directory`. `progress` gets sentences.

    Errors: DeployFailed with uv's reasons; TargetError when there is no uv.
    """
    if not requirements and (python is None or _is_ours(python)):
        return Environment(Path(sys.executable), "")
    directory = directory or root
    wanted, needs = complete(sorted(requirements))
    key = await asyncio.to_thread(_key, wanted, needs, python, directory)
    root.mkdir(parents=True, exist_ok=True)
    place, lock = root / key, root / f"{key}.lock"
    async with locked(lock):
        if not _usable(place):
            progress(f"making an environment for {', '.join(requirements) or f'Python {python}'}")
            try:
                await _make(place, wanted, needs, python, directory)
            except BaseException:
                lock.unlink()
                raise
        (place / USED_FILE).touch()
    return Environment(place / "bin" / "python", key)


async def _make(place: Path, wanted: list[str], needs: list[str], python: str | None, directory: Path) -> None:
    building = place.with_name(f"{place.name}.building")
    for leftover in (building, place):
        await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
    interpreter = str(building / "bin" / "python")
    try:
        await run(
            *("venv", "--quiet", "--no-project", "--relocatable", "--python", python or sys.executable, str(building)),
            cwd=directory,
            failing=f"there is no Python {python or sys.executable} on this machine and none could be fetched",
        )
        await _install(interpreter, wanted, needs, directory)
        _link(building)
        chosen = await run("pip", "freeze", "--python", interpreter, cwd=directory, failing="uv pip freeze failed")
        (building / LOCK_FILE).write_text(chosen)
        building.rename(place)
    finally:
        await asyncio.to_thread(shutil.rmtree, building, ignore_errors=True)


async def _install(interpreter: str, wanted: list[str], needs: list[str], directory: Path) -> None:
    try:
        await run(
            *("pip", "install", "--quiet", "--compile-bytecode", "--python", interpreter, "--requirements", "-"),
            cwd=directory,
            stdin="\n".join([*wanted, *needs]),
            failing="the requirements cannot be installed",
        )
    except DeployFailed as exc:
        text = str(exc)
        ours = [need for need in needs if need in text]
        if not ours:
            raise
        raise DeployFailed(f"{text}\n  (it is trimtab itself that requires {', '.join(ours)})") from exc


def _link(building: Path) -> None:
    packages = next((building / "lib").glob("python3*/site-packages"))
    (packages / "trimtab").symlink_to(PACKAGE, target_is_directory=True)


def _usable(place: Path) -> bool:
    # The interpreter and the package are links: what they lead to may have been removed since.
    packages = next((place / "lib").glob("python3*/site-packages/trimtab/__init__.py"), None)
    return packages is not None and (place / "bin" / "python").exists() and (place / LOCK_FILE).exists()


def _is_ours(python: str) -> bool:
    parts = [int(part) for part in python.split(".")]
    return parts == list(sys.version_info[: len(parts)])


def _key(wanted: list[str], needs: list[str], python: str | None, directory: Path) -> str:
    what = [
        wanted,
        needs,
        list(_files(wanted, directory)),
        python or [*sys.version_info[:3], sys.base_prefix],
        sysconfig.get_platform(),
        [__version__, str(PACKAGE)],
    ]
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:32]


def _files(requirements: list[str], directory: Path) -> Iterator[tuple[str, str]]:
    """The files and folders that requirements name, with a digest of each: they may change under the same name."""
    for requirement in requirements:
        for word in requirement.split():
            path = directory / (unquote(urlsplit(word).path) if word.startswith("file:") else word)
            if "/" in word or word.startswith(".") or path.is_file():
                yield word, _digest(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
