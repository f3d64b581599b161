"""From a model's place (a store:// URI, a path, an https URL) to a file on this machine that may be used."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from trimtab.errors import ImportFailed, SpecError
from trimtab.spec.serving import check_path

_TIMEOUT = 60.0
_PIECE = 1 << 20
_SUFFIXES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".onnx")


class Fetched(Struct):
    """A model's file, and those that lie beside it by name; the artifact, if the place was a store:// URI."""

    path: Path
    extra: dict[str, str] = {}
    artifact: Any = None


def fetch(place: str, suffix: str = "", sha256: str | None = None) -> Fetched:
    """Find a model's file. Errors: ImportFailed, saying what is missing or does not match."""
    if not place:
        raise ImportFailed("the model has no path: give add_model a model_path")
    if place.startswith("store://"):
        found = _from_store(place, suffix)
    elif place.startswith(("https://", "http://")):
        found = Fetched(_download(place))
    elif "://" in place and not place.startswith("file://"):
        raise ImportFailed(f"{place}: found the scheme {urlsplit(place).scheme!r}, allowed: store, https, or a path")
    else:
        found = _from_path(Path(place.removeprefix("file://")), suffix)
    if sha256 is not None and (seen := digest(found.path)) != sha256:
        raise ImportFailed(f"{place}: its SHA-256 is {seen}, expected {sha256}; it is not loaded")
    return found


def digest(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_path(path: Path, suffix: str) -> Fetched:
    if path.is_file():
        return Fetched(path)
    if not path.is_dir():
        raise ImportFailed(f"there is no model at {str(path)!r}: no such file or folder")
    files = {file.name: str(file) for file in sorted(path.iterdir()) if file.is_file()}
    main = choose(list(files), suffix, str(path))
    return Fetched(Path(files.pop(main)), files)


def choose(names: list[str], suffix: str, place: str) -> str:
    """Choose the model's file among several. Errors: ImportFailed."""
    endings = (suffix,) if suffix else _SUFFIXES
    fitting = [name for name in names if name.endswith(endings)]
    if len(fitting) != 1:
        found = ", ".join(fitting or names) or "nothing"
        raise ImportFailed(f"{place}: found {found}, allowed: exactly one file that ends in {' or '.join(endings)}")
    return fitting[0]


def _from_store(place: str, suffix: str) -> Fetched:
    from trimtab.artifacts import open_store

    artifact = open_store().get(place)
    main = artifact.model.file
    if suffix and not main.endswith(suffix):
        main = choose(list(artifact.files), suffix, place)
    extra = {name: str(artifact.local(name)) for name in artifact.files if name != main}
    return Fetched(artifact.local(main), extra, artifact)


def _download(url: str) -> Path:
    """Copy a file from the web, into the machine's folder for temporary files; the same URL is asked again each time."""
    try:
        check_path(url, "model_path")
    except SpecError as exc:
        raise ImportFailed(str(exc)) from exc
    folder = Path(tempfile.mkdtemp(prefix="trimtab-model-"))
    target = folder / (Path(urlsplit(url).path).name or "model")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, target.open("wb") as file:  # noqa: S310 - the scheme was checked
            shutil.copyfileobj(response, file, _PIECE)
    except (OSError, ValueError) as exc:
        shutil.rmtree(folder, ignore_errors=True)
        why = f"HTTP {exc.code}" if isinstance(exc, urllib.error.HTTPError) else str(exc)
        raise ImportFailed(f"{url} cannot be fetched: {why}") from exc
    return target
