"""One version of an artifact, as a store gives it: what is known of it, and its files, checked before they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trimtab.artifacts.files import File
from trimtab.artifacts.files.abc import copy
from trimtab.artifacts.types import DatasetSpec, Document, Metadata, ModelSpec, Spec
from trimtab.artifacts.uri import Kind, StoreURI
from trimtab.errors import NotFound, StoreError

if TYPE_CHECKING:
    from trimtab.artifacts.store import ArtifactStore


class Artifact:
    """One immutable version. `tag` is the name under which it was found or logged; empty for a bare version."""

    def __init__(self, store: ArtifactStore, document: Document, tag: str) -> None:
        self._store, self._document, self.tag = store, document, tag

    def __repr__(self) -> str:
        return f"Artifact({self.version_uri!r})"

    @property
    def kind(self) -> Kind:
        """`models`, `datasets` or `artifacts`."""
        return self._document.kind

    @property
    def metadata(self) -> Metadata:
        """Project, key, version, time, labels, producer."""
        return self._document.metadata

    @property
    def spec(self) -> Spec:
        """What it is: a ModelSpec, a DatasetSpec or a FileSpec."""
        return self._document.spec

    @property
    def model(self) -> ModelSpec:
        """The spec of a model. Errors: StoreError, for what is none."""
        if not isinstance(self.spec, ModelSpec):
            raise StoreError(f"{self.uri} is no model; models are below store://models/")
        return self.spec

    @property
    def dataset(self) -> DatasetSpec:
        """The spec of a dataset. Errors: StoreError, for what is none."""
        if not isinstance(self.spec, DatasetSpec):
            raise StoreError(f"{self.uri} is no dataset; datasets are below store://datasets/")
        return self.spec

    @property
    def files(self) -> dict[str, File]:
        """Its files by name, with hash and size."""
        return self._document.files

    @property
    def project(self) -> str:
        """The project it belongs to."""
        return self.metadata.project

    @property
    def key(self) -> str:
        """Its name in the project."""
        return self.metadata.key

    @property
    def iter(self) -> int:
        """The iteration of the run that made it; 0 elsewhere."""
        return self.metadata.iter

    @property
    def version(self) -> str:
        """The version's own name, which no other version ever has."""
        return self.metadata.tree

    tree = version

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def uri(self) -> str:
        """`store://KIND/PROJECT/KEY#ITER:TAG`, which follows the tag; of a bare version: its `version_uri`."""
        return str(self._uri(self.tag, None)) if self.tag else self.version_uri

    @property
    def version_uri(self) -> str:
        """`store://KIND/PROJECT/KEY#ITER:TAG@VERSION`, which always means this version."""
        return str(self._uri(self.tag, self.version))

    def _uri(self, tag: str, tree: str | None) -> StoreURI:
        return StoreURI(kind=self.kind, project=self.project, key=self.key, iter=self.iter, tag=tag, tree=tree)

    def under(self, tag: str) -> Artifact:
        """Give the same version as found under another tag."""
        return Artifact(self._store, self._document, tag)

    # Its files

    def local(self, file: str | None = None) -> Path:
        """Give a file (None: the main one, or the folder where there is none) on this machine, after it was checked.

        Files of a remote store are copied once. Errors: NotFound (it has no such file), StoreError (a file is missing,
        or is not what was logged).
        """
        name = self.spec.file if file is None else file
        if not name:
            return self.folder()
        with self.open(name):
            return self._store.place(self._document, name)

    def folder(self) -> Path:
        """Give the folder of all its files on this machine, each checked. Errors: StoreError."""
        paths = {name: self.local(name) for name in self.files}
        name, path = next(iter(paths.items()))
        return path.parents[name.count("/")]

    @contextlib.contextmanager
    def open(self, file: str | None = None) -> Iterator[BinaryIO]:
        """Open a file that was checked through the same descriptor, so that nothing comes between check and use.

        Errors: as `local`.
        """
        name = self.spec.file if file is None else file
        if name not in self.files:
            raise NotFound(f"{self.version_uri} has no file {name!r}; it has {', '.join(sorted(self.files))}")
        path = self._store.place(self._document, name)
        try:
            stream = path.open("rb")
        except OSError as exc:
            raise StoreError(
                f"{self.version_uri}: its file {name!r} cannot be read from {path}: {exc.strerror}"
            ) from exc
        with stream:
            check(self.version_uri, name, self.files[name], copy(stream), str(path))
            stream.seek(0)
            yield stream

    def read(self, file: str | None = None) -> bytes:
        """Read a file whole, checked. Errors: as `local`."""
        with self.open(file) as stream:
            return stream.read()


def check(uri: str, name: str, logged: File, found: File, where: str) -> None:
    """Compare a file with what was logged. Errors: StoreError."""
    if found == logged:
        return
    raise StoreError(
        f"{uri}: its file {name!r} is not what was logged: sha256 {found.sha256[:16]}... ({found.size} bytes) at {where}, "
        f"logged: {logged.sha256[:16]}... ({logged.size} bytes). It was not used; bring the file back, or log it again"
    )
