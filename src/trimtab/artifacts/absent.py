"""What is said when a URI names nothing: the first part of it that is not there, and what there is in its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trimtab.artifacts.uri import StoreURI
from trimtab.errors import NotFound

if TYPE_CHECKING:
    from trimtab.artifacts.store import ArtifactStore

_SHOWN = 10
"""Names that a message lists."""


def tag(store: ArtifactStore, place: StoreURI) -> NotFound:
    """Say why a tag leads nowhere."""
    trees = store.versions(place)
    if not trees:
        return key(store, place)
    tags = sorted({name for names in store.tags(place).values() for name in names})
    return NotFound(
        f"{place}: {place.key!r} has no tag {place.tag!r}"
        f"{f' in iteration {place.iter}' if place.iter else ''}; its tags: {_listed(tags)}; its versions: {_listed(trees[::-1])}"
    )


def version(store: ArtifactStore, place: StoreURI, tree: str) -> NotFound:
    """Say that a version is not there."""
    trees = store.versions(place)
    if not trees:
        return key(store, place)
    return NotFound(f"{place}: {place.key!r} has no version {tree!r}; its versions: {_listed(trees[::-1])}")


def key(store: ArtifactStore, place: StoreURI) -> NotFound:
    """Say that a project has nothing of that name, or that there is no such project."""
    projects = store.projects()
    if place.project not in projects:
        return project(store, place.project, f"{place}: ")
    keys = [
        each for each in store.keys(place.kind, place.project) if each != place.key
    ]  # a full disk may leave its folder
    return NotFound(
        f"{place}: project {place.project!r} has no {place.kind.removesuffix('s')} {place.key!r}; "
        f"its {place.kind}: {_listed(keys)}"
    )


def project(store: ArtifactStore, name: str, prefix: str = "") -> NotFound:
    """Say that there is no such project."""
    return NotFound(f"{prefix}there is no project {name!r} in {store.url}; its projects: {_listed(store.projects())}")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more or "(none)"
