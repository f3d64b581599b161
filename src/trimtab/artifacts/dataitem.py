"""What a job reads: a file here, a file behind a URL, or an artifact, all used alike. Names are MLRun's."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from trimtab.artifacts import datasets
from trimtab.artifacts.artifact import Artifact
from trimtab.artifacts.files import Missing, open_files
from trimtab.artifacts.files.abc import copy
from trimtab.artifacts.store import ArtifactStore, open_store
from trimtab.artifacts.types import DatasetSpec
from trimtab.artifacts.uri import is_store_uri
from trimtab.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd


def get_dataitem(url: str | os.PathLike[str], *, key: str = "", store: ArtifactStore | None = None) -> DataItem:
    """Give the data at a path, a URL (`s3://`, `https://`, whatever fsspec reads) or a `store://` URI.

    A `store://` URI is looked up at once, and means that version from then on. Errors: NotFound, SpecError.
    """
    text = os.fspath(url)
    artifact = (store or open_store()).get(text) if is_store_uri(text) else None
    return DataItem(key or Path(text).name, artifact.version_uri if artifact else text, artifact)


def is_url(value: str) -> bool:
    """Tell a URL from a path of this machine."""
    return "://" in value


def located(place: str) -> str:
    """Make a path independent of the working directory; URLs and `store://` URIs are so already."""
    return place if is_url(place) else str(Path(place).absolute())


class DataItem(os.PathLike[str]):
    """Data that is fetched when it is first asked for. It goes wherever a path does, and has the methods of `Path`."""

    def __init__(self, key: str, url: str, artifact: Artifact | None = None) -> None:
        self.key, self.url, self.artifact = key, url, artifact
        self._path: Path | None = None

    def __repr__(self) -> str:
        return f"DataItem({self.url!r})"

    def __str__(self) -> str:
        return self.url if is_url(self.url) else os.fspath(self)

    def __fspath__(self) -> str:
        return self.local()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Path, name):
            raise AttributeError(f"a DataItem has no {name!r}; it has get, local, as_df, open, download, and a Path's")
        return getattr(Path(self.local()), name)

    def __truediv__(self, name: str) -> Path:
        return Path(self.local()) / name

    @property
    def suffix(self) -> str:
        """The end of the file's name, such as `.csv`."""
        return Path(self.artifact.spec.file if self.artifact else self.url).suffix

    def local(self) -> str:
        """Give the path of the file on this machine, copied there if need be; an artifact's was checked.

        Errors: NotFound, StoreError.
        """
        if self._path is None:
            self._path = self._fetch()
        return str(self._path)

    def get(self, encoding: str | None = None) -> Any:
        """Give the content: bytes, or text where an encoding is given. Errors: NotFound, StoreError."""
        content = Path(self.local()).read_bytes()
        return content.decode(encoding) if encoding else content

    def as_df(self, columns: Sequence[str] | None = None, format: str = "") -> pd.DataFrame:
        """Read a table; its format is that of the dataset, or what the suffix says. Errors: SpecError, NotFound."""
        spec = self.artifact.spec if self.artifact else None
        known = spec.format if isinstance(spec, DatasetSpec) else datasets.format_of(f"x{self.suffix}")
        with self.open() as stream:
            return datasets.read(stream, format or known, columns)

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the file, as `Path.open` does, but for bytes unless told. Errors: NotFound, StoreError."""
        return Path(self.local()).open(mode, **options)

    def download(self, target_path: str | os.PathLike[str]) -> None:
        """Copy the file to a path."""
        shutil.copyfile(self.local(), target_path)

    def _fetch(self) -> Path:
        if self.artifact is not None:
            return self.artifact.local()
        if not is_url(self.url):
            return Path(self.url)
        folder, _, name = self.url.rpartition("/")
        files = open_files(f"{folder}/" if folder.endswith("/") else folder)
        here = files.path(name)
        if here is not None:
            return here
        scratch = tempfile.mkdtemp(prefix="trimtab-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        path = Path(scratch) / name
        try:
            with files.open(name) as stream, path.open("wb") as target:
                copy(stream, target)
        except Missing as exc:
            raise NotFound(f"input {self.key!r}: there is nothing at {self.url}") from exc
        return path
