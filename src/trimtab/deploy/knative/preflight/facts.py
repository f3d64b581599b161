"""What is known of a cluster before anything changes: plain values, so that checking them is pure."""

from __future__ import annotations

from msgspec import Struct

from trimtab.deploy.knative.manifests.abc import Manifest


class Permission(Struct, frozen=True):
    """One thing that must be allowed, and whether it is. `group` is empty for the core's resources."""

    verb: str
    resource: str
    group: str
    allowed: bool = True
    needed: bool = True
    """Whether a function cannot be deployed without it."""


class Facts(Struct, kw_only=True):
    """One cluster and namespace, seen by one user, with one function in mind. None: it could not be found out."""

    host: str
    namespace: str
    error: str = ""
    """Why the API cannot be used; everything else is unknown then."""
    expired: bool = False
    kubernetes: str = ""
    """Its version, such as v1.32.1."""
    groups: set[str] = set()
    """API groups and versions."""
    knative: str | None = None
    """Knative Serving's version."""
    features: dict[str, str] | None = None
    """The data of the ConfigMap config-features."""
    namespace_there: bool | None = None
    permissions: list[Permission] = []
    quotas: list[Manifest] = []
    brokers: dict[str, str] | None = None
    """Brokers in the namespace, and their addresses; empty for those that have none yet."""
    taken: list[str] = []
    """Objects of ours by name that are somebody else's, each with whose."""
    refused: list[tuple[str, str]] = []
    """Objects that a dry run refused, and why."""
    doubted: list[tuple[str, str]] = []
    """Objects whose bare pod a policy refused in the dry run, and why: the pod that is made in the end has labels."""
    conflicts: list[str] = []
    """Fields that others own, from the dry run."""


class Check(Struct, frozen=True, kw_only=True):
    """One row of the table. `fix` is a command or a patch, or what to change."""

    name: str
    found: str
    needed: str
    fix: str = ""
    ok: bool = True
