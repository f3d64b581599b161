"""Whom a registry knows: what `docker login`, `podman login` and credential helpers have kept."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import RegistryError

_HUB_KEY = "https://index.docker.io/v1/"
_SECONDS = 30
"""A helper that asks a person for a password gets no longer than this."""


class Credential(Struct, frozen=True):
    """A user and a password, or (with `token`) an identity token of OAuth2; `where` names what holds it."""

    user: str = ""
    password: str = msgspec.field(default="")
    token: str = ""
    where: str = ""

    def __repr__(self) -> str:
        return f"Credential(user={self.user!r}, where={self.where!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where logins are kept, in the order in which they are asked."""
    home = Path(environ.get("HOME") or "~").expanduser()
    docker = Path(environ["DOCKER_CONFIG"]) if environ.get("DOCKER_CONFIG") else home / ".docker"
    found = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
    found.append(docker / "config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(environ["XDG_RUNTIME_DIR"], "containers", "auth.json"))
    return [*found, home / ".config" / "containers" / "auth.json"]


def find(host: str, repository: str, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """Give what is kept for a registry, the closest to the repository first. Errors: RegistryError (broken file, helper)."""
    for path in files(environ):
        config = _read(path)
        for key in _keys(host, repository):
            found = _inline(config, key, path) or _helped(config, key, path)
            if found is not None:
                return found
    return None


def _keys(host: str, repository: str) -> Iterator[str]:
    """Name what a login may be kept under: podman knows logins of a namespace, Docker those of URLs."""
    parts = repository.split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:length]))
    yield host
    yield from (f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}")
    if host == "docker.io":
        yield _HUB_KEY
        yield "index.docker.io"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        raise RegistryError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return msgspec.json.decode(text or b"{}", type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise RegistryError(f"{path} is not the JSON that `docker login` writes: {exc}") from exc


def _inline(config: dict[str, Any], key: str, path: Path) -> Credential | None:
    entry = (config.get("auths") or {}).get(key)
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Credential(token=str(entry["identitytoken"]), where=str(path))
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except ValueError as exc:
            raise RegistryError(f"{path}: the login of {key!r} is not base64: log in again") from exc
        return Credential(user=user, password=password.rstrip("\0"), where=str(path))
    if entry.get("username"):
        return Credential(user=entry["username"], password=entry.get("password", ""), where=str(path))
    return None


def _helped(config: dict[str, Any], key: str, path: Path) -> Credential | None:
    helper = (config.get("credHelpers") or {}).get(key)
    if helper is None and key in (config.get("auths") or {}):
        helper = config.get("credsStore")
    if not helper:
        return None
    program = f"docker-credential-{helper}"
    if shutil.which(program) is None:
        raise RegistryError(f"{path} keeps the login of {key!r} with {program}, which is not on PATH")
    run = subprocess.run(
        [program, "get"], input=key, capture_output=True, text=True, check=False, timeout=_SECONDS, encoding="utf-8"
    )
    if run.returncode:
        said = (run.stdout or run.stderr).strip()
        if "not found" in said:
            return None
        raise RegistryError(f"{program} gave no login for {key!r}: {said or f'exit code {run.returncode}'}")
    answer = msgspec.json.decode(run.stdout, type=dict[str, str])
    if answer.get("Username") == "<token>":
        return Credential(token=answer.get("Secret", ""), where=program)
    return Credential(user=answer.get("Username", ""), password=answer.get("Secret", ""), where=program)
