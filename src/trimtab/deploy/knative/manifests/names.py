"""Names, labels and annotations: how an object says whose it is."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from trimtab._version import __version__
from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.spec.plain import plain

FIELD_MANAGER = "trimtab"
"""Who owns the fields that we apply (server-side apply)."""
FUNCTION = "trimtab.dev/function"
PROJECT = "trimtab.dev/project"
TRIGGER = "trimtab.dev/trigger"
MANAGED_BY = "app.kubernetes.io/managed-by"
SPEC_HASH = "trimtab.dev/spec-hash"
COMMIT = "trimtab.dev/git-commit"
VERSION = "trimtab.dev/version"
JOB_SINK = "sinks.knative.dev/v1alpha1"
_LONGEST = 63


def labels(rendering: Rendering, trigger: str = "") -> dict[str, str]:
    """Give the labels of every object of a function; by these it is found again, and pruned."""
    metadata = rendering.function.metadata
    ours = {MANAGED_BY: FIELD_MANAGER, FUNCTION: metadata.name, PROJECT: metadata.project}
    return {**metadata.labels, **ours, **({TRIGGER: trigger} if trigger else {})}


def provenance(rendering: Rendering) -> dict[str, str]:
    """Give the annotations of every object: what it was made from."""
    ours = {SPEC_HASH: spec_hash(rendering), VERSION: __version__}
    return {
        **rendering.function.metadata.annotations,
        **ours,
        **({COMMIT: rendering.commit} if rendering.commit else {}),
    }


def spec_hash(rendering: Rendering) -> str:
    """Name the description and the image by a digest, without where the code lies on the machine that deploys."""
    document = plain(rendering.function, defaults=False)
    document.get("spec", {}).pop("source", None)
    text = msgspec.json.encode([document, rendering.image], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


def child(*parts: str, limit: int = _LONGEST) -> str:
    """Name an object of a function; a name that is too long ends in a digest of the whole."""
    name = "-".join(parts)
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-')}-{digest}"


def made(rendering: Rendering, api: str, kind: str, name: str, spec: dict[str, Any], *, trigger: str = "") -> Manifest:
    """Make an object that has a `spec`, with our labels and annotations."""
    return labelled(rendering, api, kind, name, {"spec": spec}, trigger=trigger)


def labelled(
    rendering: Rendering, api: str, kind: str, name: str, body: dict[str, Any], *, trigger: str = ""
) -> Manifest:
    """Make an object of any kind with our labels and annotations."""
    metadata = {
        "name": name,
        "namespace": rendering.namespace,
        "labels": labels(rendering, trigger),
        "annotations": provenance(rendering),
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}
