"""What the target answers, put together from what the cluster said. Nothing here asks it anything."""

from __future__ import annotations

from trimtab.deploy.abc import Deployment, FunctionInfo
from trimtab.deploy.knative import record
from trimtab.deploy.knative.client.kinds import CONFIG_MAP, kind_of
from trimtab.deploy.knative.describe import Objects, with_slash
from trimtab.deploy.knative.manifests.abc import Manifest, Rendered
from trimtab.deploy.knative.manifests.names import COMMIT, FUNCTION, SPEC_HASH
from trimtab.deploy.knative.preflight.facts import Check
from trimtab.deploy.stages import Stages
from trimtab.errors import Conflict


def sentence(failed: list[Check], target: str) -> str:
    """Say what keeps a function from being deployed."""
    rows = "".join(
        f"\n  {row.name}: {row.found}; needed: {row.needed}" + (f"\n    {row.fix}" if row.fix else "") for row in failed
    )
    return f"the target {target!r} is not ready for this; nothing was changed:{rows}"


def deployed(name: str, service: Manifest, before: Manifest | None, stages: Stages, wanted: Rendered) -> Deployment:
    """Say what a deployment came to."""
    status = service.get("status") or {}
    old = ((before or {}).get("metadata") or {}).get("generation")
    return Deployment(
        name=name,
        revision=status.get("latestReadyRevisionName", "") or status.get("latestCreatedRevisionName", ""),
        url=with_slash(status.get("url", "")),
        changed=old != service["metadata"].get("generation"),
        stages=stages.done,
        warnings=wanted.notes,
    )


def deployed_job(name: str, kept: Manifest, before: Manifest | None, stages: Stages, wanted: Rendered) -> Deployment:
    """A job has no revisions; its description's hash says which one it is."""
    digest = kept["metadata"]["annotations"][SPEC_HASH]
    known = ((before or {}).get("metadata") or {}).get("annotations") or {}
    changed = known.get(SPEC_HASH) != digest
    return Deployment(
        name=name, revision=record.revision_of(kept), url="", changed=changed, stages=stages.done, warnings=wanted.notes
    )


def revision_before(info: FunctionInfo) -> str:
    """Give the ready revision before the one that serves most. Errors: Conflict where there is none."""
    serving = max(info.revisions, key=lambda each: each.percent, default=None)
    names = [each.name for each in info.revisions]
    ready = [each.name for each in info.revisions if each.state in ("ready", "retired")]
    place_of = names.index(serving.name) if serving else 0
    earlier = [name for name in ready if names.index(name) < place_of]
    if not earlier:
        raise Conflict(
            f"{info.name!r} has no ready revision before {serving.name if serving else '?'!r} to roll back to"
        )
    return earlier[-1]


def objects_of(found: dict[str, Objects], item: Manifest) -> Objects:
    """Give a function's collection, a new one for its first object."""
    name = item["metadata"]["labels"][FUNCTION]
    return found.setdefault(name, Objects(name=name))


def image_in(live: list[Manifest]) -> str:
    """Give the image of the record among these objects; empty where there is none."""
    for item in live:
        if kind_of(item) == CONFIG_MAP:
            return record.image_of(item)
    return ""


def commit_in(live: list[Manifest]) -> str:
    """Give the git commit that the record among these objects names; empty where there is none."""
    notes = ((item["metadata"].get("annotations") or {}) for item in live if kind_of(item) == CONFIG_MAP)
    return next((str(each[COMMIT]) for each in notes if COMMIT in each), "")
