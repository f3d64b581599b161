"""The artifact store: immutable versions of models, datasets and files, and tags that point to them.

A version is written in three steps: its files, its document, its tags. Whoever is killed in between leaves either nothing
that anybody sees, or a whole version that a tag does not point to yet. Writers share nothing but the tags: of two that
log the same key at once both keep their version, and a tag points to that of the last one.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from trimtab.artifacts import absent
from trimtab.artifacts.artifact import Artifact
from trimtab.artifacts.cache import copied
from trimtab.artifacts.files import File, Files, Missing, open_files
from trimtab.artifacts.types import Document, Metadata, Producer, Spec
from trimtab.artifacts.uri import KINDS, Kind, StoreURI, check_file, check_name, is_name
from trimtab.config import settings
from trimtab.errors import SpecError, StoreError

LATEST = "latest"
Read = TypeVar("Read")
Names = list[str]


class Pointer(Struct):
    """What a tag's file holds."""

    tree: str


def open_store(url: str | None = None) -> ArtifactStore:
    """Open the store at a URL (None: `TRIMTAB_ARTIFACTS`, and without that `file://$TRIMTAB_HOME/artifacts`).

    Errors: SpecError for a URL that nothing here can open.
    """
    here = settings()
    own = url is None and not here.artifacts  # the home is its owner's alone, whoever makes it
    files = open_files(url or here.artifact_store, 0o700 if own else 0o777)
    return ArtifactStore(files, here.home / "cache" / "artifacts")


class ArtifactStore:
    """Versions of artifacts in a place for files. `cache` is where copies of remote files lie.

    Errors of all methods: NotFound (with the names there are), SpecError (an impossible name), StoreFull, StoreError.
    """

    def __init__(self, files: Files, cache: Path) -> None:
        self.files, self.cache = files, cache

    def __repr__(self) -> str:
        return f"ArtifactStore({self.url!r})"

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.files.url

    # Writing

    def put(
        self,
        kind: Kind,
        project: str,
        key: str,
        files: Mapping[str, Path | bytes],
        spec: Spec,
        *,
        tag: str = "",
        iter: int = 0,
        labels: Mapping[str, str] | None = None,
        producer: Producer | None = None,
    ) -> Artifact:
        """Write a new version of `files` (each a path or its bytes); `tag`, if given, and `latest` then point to it."""
        place = StoreURI(kind=kind, project=project, key=key, iter=iter, tag=tag or LATEST)
        if not files:
            raise SpecError("files", {}, "at least one file")
        created = time.time()
        tree = _new_tree(created)
        written = {name: self._put_file(place, tree, name, source) for name, source in files.items()}
        metadata = Metadata(
            project=project,
            key=key,
            tree=tree,
            created=created,
            iter=iter,
            labels=dict(labels or {}),
            producer=producer,
        )
        document = Document(kind=kind, metadata=metadata, spec=spec, files=written)
        self.files.write(_document(place, tree), msgspec.json.encode(document))
        artifact = Artifact(self, document, place.tag)
        for name in dict.fromkeys((LATEST, place.tag)):
            self.tag(artifact, name)
        return artifact

    def _put_file(self, place: StoreURI, tree: str, name: str, source: Path | bytes) -> File:
        target = _file(place, tree, check_file(name))
        if isinstance(source, bytes):
            return self.files.write(target, source)
        with source.open("rb") as stream:
            return self.files.put(target, stream)

    def tag(self, artifact: Artifact, tag: str) -> Artifact:
        """Have a tag point to a version, wherever it pointed before; give the version under that tag."""
        pointer = msgspec.json.encode(Pointer(artifact.version))
        self.files.write(_tag(_place(artifact.version_uri), check_name("tag", tag)), pointer)
        return artifact.under(tag)

    def untag(self, uri: StoreURI | str) -> None:
        """Remove a tag; its version stays."""
        self.files.delete(_tag(_place(uri)))

    # Reading

    def get(self, uri: StoreURI | str) -> Artifact:
        """Find the version that a URI names."""
        place = _place(uri)
        tree = place.tree or self._pointed(place)
        try:
            document = self._read(_document(place, tree), Document)
        except Missing as exc:
            raise absent.version(self, place, tree) from exc
        self._check(document, place, tree)
        return Artifact(self, document, place.tag)

    def _check(self, document: Document, place: StoreURI, tree: str) -> None:
        """Refuse a document that belongs elsewhere: its names become paths on this machine."""
        metadata = document.metadata
        described = (document.kind, metadata.project, metadata.key, metadata.tree)
        if described != (place.kind, place.project, place.key, tree):
            raise StoreError(f"{self.url}/{_document(place, tree)} is damaged: it describes {'/'.join(described)}")
        for name in document.files:
            check_file(name)

    def _pointed(self, place: StoreURI) -> str:
        try:
            return self._read(_tag(place), Pointer).tree
        except Missing as exc:
            raise absent.tag(self, place) from exc

    def list(self, kind: Kind, project: str, key: str | None = None, *, tag: str | None = None) -> Iterator[Artifact]:
        """Give the versions of a project's artifacts (or of one key), by key and newest first.

        With `tag`: only those that it points to. A version that has several tags is given under `latest`, or else the
        first one; one without any under none.
        """
        for each in [key] if key is not None else self.keys(kind, project):
            place = StoreURI(kind=kind, project=project, key=each)
            tags = self.tags(place)
            trees = self.versions(place) if tag is None else [tree for tree, names in tags.items() if tag in names]
            for tree in sorted(trees, reverse=True):
                found = self.get(StoreURI(kind=kind, project=project, key=each, tag="", tree=tree))
                yield found.under(tag or next(iter(tags.get(tree, [""]))))

    def keys(self, kind: Kind, project: str) -> Names:
        """Give the keys that a project has of a kind."""
        return _names(self.files.names(f"{kind}/{check_name('project', project)}"))

    def versions(self, uri: StoreURI | str) -> Names:
        """Give the names of all versions of a key, oldest first."""
        return _names(self.files.names(f"{_folder(_place(uri))}/versions"), ".json")

    def tags(self, uri: StoreURI | str) -> dict[str, Names]:
        """Give the tags of a key by the version they point to, `latest` first."""
        place, found = _place(uri), dict[str, Names]()
        folder = f"{_folder(place)}/tags"
        for iteration in filter(str.isdecimal, self.files.names(folder)):
            names = _names(self.files.names(f"{folder}/{iteration}"), ".json")
            for name in sorted(names, key=lambda name: (name != LATEST, name)):
                with contextlib.suppress(Missing):  # removed since it was listed
                    tree = self._read(f"{folder}/{iteration}/{name}.json", Pointer).tree
                    found.setdefault(tree, []).append(name)
        return found

    def _read(self, name: str, type: type[Read]) -> Read:
        text = self.files.read(name)
        try:
            return msgspec.json.decode(text, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise StoreError(
                f"{self.url}/{name} is damaged, or was written by a newer Trimtab ({exc}); "
                f"log the artifact again, or bring the file back"
            ) from exc

    def place(self, document: Document, name: str) -> Path:
        """Give a file of a version on this machine: the file itself, or a copy. It is not checked here."""
        metadata = document.metadata
        uri = StoreURI(kind=document.kind, project=metadata.project, key=metadata.key, tag="", tree=metadata.tree)
        source = _file(uri, metadata.tree, name)
        path = self.files.path(source)
        if path is not None:
            return path
        return copied(self.files, source, document.files[name], self.cache / metadata.tree, name, str(uri))

    # Projects

    def projects(self) -> Names:
        """Give the names of all projects: those that were made, and those that something was logged to."""
        made = _names(self.files.names("projects"), ".json")
        return sorted({*made, *(name for kind in KINDS for name in _names(self.files.names(kind)))})

    def add_project(self, name: str) -> None:
        """Have a project, also while nothing is in it."""
        self.files.write(f"projects/{check_name('project', name)}.json", msgspec.json.encode({"name": name}))


def _new_tree(created: float) -> str:
    """Name a version: by its time, so that names sort, and by enough chance that no two are alike."""
    return f"{datetime.fromtimestamp(created, UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


def _place(uri: StoreURI | str) -> StoreURI:
    return StoreURI.parse(uri) if isinstance(uri, str) else uri


def _folder(place: StoreURI) -> str:
    return f"{place.kind}/{place.project}/{place.key}"


def _document(place: StoreURI, tree: str) -> str:
    return f"{_folder(place)}/versions/{tree}.json"


def _tag(place: StoreURI, tag: str = "") -> str:
    return f"{_folder(place)}/tags/{place.iter}/{tag or place.tag}.json"


def _file(place: StoreURI, tree: str, name: str) -> str:
    """Files lie apart from documents, so that a writer that was killed leaves no key without a version."""
    return f"files/{_folder(place)}/{tree}/{name}"


def _names(found: Iterable[str], suffix: str = "") -> list[str]:
    """Pick what may be ours of a folder's names: file managers and people leave other files there."""
    return [name.removesuffix(suffix) for name in found if name.endswith(suffix) and is_name(name)]
