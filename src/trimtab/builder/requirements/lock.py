"""Resolves what is declared for one Python and one platform, down to the hash of each wheel.

Only wheels are taken, so that nothing of a package is executed here: what is built for another machine could not be.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from trimtab.builder.abc import Declared, Lock, Package
from trimtab.builder.requirements import uv
from trimtab.builder.requirements.listing import normalised, redacted
from trimtab.builder.requirements.platforms import uv_platform
from trimtab.errors import BuildError, SpecError

_UNBUILT = re.compile(r"(?:Because |because |and )(?:all versions of )?([\w.-]+)\S* (?:has|have) no usable wheels")
_WANTED = re.compile(r"Wheels are required for `([\w.-]+)`")
_WHEEL = re.compile(r"(?P<name>[\w.]+)-(?P<version>[\w.!+]+)(?:-\d\w*)?-[\w.]+-[\w.]+-[\w.]+\.whl")
_FORMAT = 1
"""Of what is kept in the cache."""


def resolve(
    declared: Declared, python: str, platform: str, *, cache: Path | None = None, upgrade: bool = False
) -> Lock:
    """Lock `declared` for Python `python` ("3.12") on `platform` ("linux/arm64").

    The same input gives the same lock for as long as `cache`, a folder, has it, unless `upgrade` is set. Errors:
    BuildError naming the package that does not exist, does not fit or has no wheel; SpecError; TargetError without uv.
    """
    if not [line for line in declared.lines if not line.startswith("--")]:
        return Lock(text="", digest=_digest(""))
    lines, links = _with_links(declared)
    kept = None if cache is None else cache / f"{_key(declared, lines, links, python, platform)}.json"
    if kept is not None and not upgrade and (known := _read(kept)) is not None:
        return msgspec.structs.replace(known, links=links)
    packages = _compile(declared, lines, links, python, platform)
    lock = _lock(_allowed(packages, declared), links)
    if kept is not None:
        _write(kept, lock)
    return lock


def _with_links(declared: Declared) -> tuple[list[str], tuple[Path, ...]]:
    """Turn wheels that lie with the source into name and version, so that no path gets into the lock."""
    lines, links = [], []
    for line in declared.lines:
        if line.endswith(".whl") and "://" not in line:
            path = (declared.folder or Path()) / line
            match = _WHEEL.fullmatch(path.name)
            if match is None or not path.is_file():
                raise SpecError("spec.build.requirements", line, "the path of a wheel that is there")
            lines.append(f"{match['name']}=={match['version']}")
            links.append(path.parent)
        else:
            lines.append(_checked(line))
    return lines, tuple(dict.fromkeys(links))


def _checked(line: str) -> str:
    if redacted(line) != line and "${" not in line:
        hint = "Put credentials into ~/.netrc, or into the variable UV_INDEX_URL"
        raise SpecError("spec.build.requirements", redacted(line), "a requirement without credentials", hint=hint)
    if re.search(r"(?:@|^)\s*(?:git|hg|svn|bzr)\+", line) or line.startswith((".", "/")):
        raise BuildError(_no_wheel(re.split(r"[\s@\[]", line)[0] or line, "it is named by its source"))
    return line


def _compile(
    declared: Declared, lines: list[str], links: tuple[Path, ...], python: str, platform: str
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        folder = Path(scratch)
        (folder / "requirements.in").write_text("\n".join([*lines, ""]), "utf-8")
        (folder / "constraints.txt").write_text("\n".join([*declared.constraints, ""]), "utf-8")
        try:
            uv.run(
                *("pip", "compile", "requirements.in", "--constraints", "constraints.txt", "--quiet"),
                *("--output-file", "pylock.toml", "--format", "pylock.toml", "--no-build", "--no-python-downloads"),
                *("--python", sys.executable, "--python-version", python, "--python-platform", uv_platform(platform)),
                *(word for link in links for word in ("--find-links", str(link))),
                cwd=folder,
                failing=f"the requirements cannot be met for Python {python} on {platform}",
            )
        except BuildError as error:
            raise _explained(error, python, platform) from error
        found: list[dict[str, Any]] = tomllib.loads((folder / "pylock.toml").read_text("utf-8")).get("packages", [])
    return found


def _explained(error: BuildError, python: str, platform: str) -> BuildError:
    text = str(error)
    match = _WANTED.search(text) or _UNBUILT.search(text.replace("\n  ", " "))
    if match is None:
        return error
    return BuildError(f"{_no_wheel(match[1], f'there is none for Python {python} on {platform}')}\n  {text}")


def _no_wheel(name: str, why: str) -> str:
    return (
        f"{name} has no wheel: {why}, and nothing is built from source. Take a version that has one, or make it "
        f"(`pip wheel {name} --no-deps -w wheels`) and require the file: ./wheels/{name}-VERSION-py3-none-any.whl"
    )


def _allowed(packages: list[dict[str, Any]], declared: Declared) -> list[Package]:
    """Read uv's packages; of one that the declaration has with hashes, a wheel that is not among them is refused."""
    held = _held(declared.lock.decode()) if declared.lock else {}
    found = []
    for package in sorted(packages, key=lambda each: str(each["name"])):
        name, version = package["name"], package.get("version", "")
        wheels = package.get("wheels", []) or [package.get("archive", {})]
        hashes = [wheel["hashes"]["sha256"] for wheel in wheels if "sha256" in wheel.get("hashes", {})]
        if not hashes:
            raise BuildError(_no_wheel(name, "the index offers none with a SHA-256"))
        if (known := held.get(normalised(name))) is not None:
            hashes = [digest for digest in hashes if digest in known]
            if not hashes:
                raise BuildError(f"{name} {version}: none of its wheels has a hash that {declared.where} holds")
        where = "" if package.get("wheels") else f" @ {package['archive']['url']}"
        found.append(
            Package(name=f"{name}{where}", version=version, hashes=tuple(sorted(f"sha256:{each}" for each in hashes)))
        )
    return found


def _held(text: str) -> dict[str, set[str]]:
    """The hashes that a requirements file holds, by the name of the distribution."""
    entries = [line for line in text.replace("\\\n", " ").split("\n") if "--hash" in line]
    names = [normalised(re.split(r"[^\w.-]", entry.strip(), maxsplit=1)[0]) for entry in entries]
    found = [set(re.findall(r"sha256:([0-9a-f]{64})", entry)) for entry in entries]
    return dict(zip(names, found, strict=True))


def _lock(packages: list[Package], links: tuple[Path, ...]) -> Lock:
    lines = []
    for package in packages:
        first = package.name if " @ " in package.name else f"{package.name}=={package.version}"
        lines.append(" \\\n    ".join([first, *(f"--hash={each}" for each in package.hashes)]))
    text = "".join(f"{line}\n" for line in lines)
    bare = [msgspec.structs.replace(each, name=each.name.partition(" @ ")[0]) for each in packages]
    return Lock(text=text, packages=tuple(bare), digest=_digest(text), links=links)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _key(declared: Declared, lines: list[str], links: tuple[Path, ...], python: str, platform: str) -> str:
    wheels = [sorted((path.name, path.stat().st_size) for path in link.glob("*.whl")) for link in links]
    what = [_FORMAT, lines, declared.constraints, declared.lock, wheels, python, uv_platform(platform)]
    where = {name: value for name, value in uv.environ().items() if name.startswith("UV_") and "INDEX" in name}
    return hashlib.sha256(msgspec.json.encode([what, sorted(where.items())])).hexdigest()[:32]


def _read(path: Path) -> Lock | None:
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except (OSError, msgspec.MsgspecError):
        return None
    return lock if lock.digest == _digest(lock.text) else None


def _write(path: Path, lock: Lock) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as temporary:
        temporary.write(msgspec.json.encode(msgspec.structs.replace(lock, links=())))
    Path(temporary.name).replace(path)
