"""Files wherever fsspec reaches: S3, Google Cloud Storage, memory. Object stores show an object whole or not at all."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from trimtab.artifacts.files.abc import File, Files, Missing, copy
from trimtab.errors import SpecError, StoreError

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


class RemoteFiles(Files):
    """A prefix of an fsspec file system; its settings (endpoint, credentials) are its own: environment, config files."""

    def __init__(self, url: str) -> None:
        self.url = url if url.endswith("://") else url.rstrip("/")
        self._fs, self._root = _opened(self.url)

    def put(self, name: str, source: BinaryIO) -> File:
        """See Files. A stream that breaks off leaves an object that no version names."""
        with self._writing(name), self._fs.open(self._path(name), "wb") as target:
            return copy(source, target)

    def write(self, name: str, data: bytes) -> File:
        """See Files: one request, so that nobody sees half of it."""
        with self._writing(name):
            self._fs.pipe_file(self._path(name), data)
        return copy(io.BytesIO(data))

    def open(self, name: str) -> BinaryIO:
        """See Files."""
        with self._errors(name):
            return cast("BinaryIO", self._fs.open(self._path(name), "rb"))

    def names(self, folder: str) -> list[str]:
        """See Files."""
        try:
            with self._errors(folder):
                found = self._fs.ls(self._path(folder), detail=False)
        except Missing:
            return []
        own = self._path(folder).strip("/")
        return sorted(path.rpartition("/")[2] for path in (str(each).strip("/") for each in found) if path != own)

    def delete(self, folder: str) -> None:
        """See Files."""
        with contextlib.suppress(Missing), self._errors(folder):
            self._fs.rm(self._path(folder), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            with self._errors(name):
                yield
        except Missing as exc:
            raise StoreError(f"{self.url}/{name} cannot be written: {exc.__cause__}; is there such a bucket?") from exc

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise Missing(f"{self.url}/{name}") from exc
        except Exception as exc:  # each file system has errors of its own
            raise StoreError(f"{self.url}/{name} cannot be used: {type(exc).__name__}: {exc}") from exc


def _opened(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    try:
        import fsspec
    except ImportError as exc:
        raise SpecError("store URL", url, _installed("ml"), hint="fsspec is not installed") from exc
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as exc:
        raise SpecError("store URL", url, _installed(_EXTRAS.get(scheme, "")), hint=str(exc)) from exc
    except ValueError as exc:
        raise SpecError("store URL", url, "file://, s3://, gs://, or what fsspec knows", hint=str(exc)) from exc
    return fs, str(root).rstrip("/")


def _installed(extra: str) -> str:
    what = f"pip install 'trimtab[{extra}]'" if extra else "the package that fsspec names"
    return f"file://, or any URL of fsspec once its package is installed: {what}"
