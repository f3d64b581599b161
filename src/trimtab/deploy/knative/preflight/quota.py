"""Whether a namespace's quotas leave room for a function's first replicas."""

from __future__ import annotations

from typing import Any

from trimtab.deploy.knative.client.kinds import SERVICE, kind_of
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.spec.quantity import parse


def exceeded(quotas: list[Manifest], manifests: list[Manifest]) -> list[tuple[str, str, str]]:
    """Give (found, needed, what to do) for each resource of a quota that the replicas at the start do not fit into.

    queue-proxy asks for a little beside them; a quota that is short by no more than that is told by the diagnosis, and so is one
    for some pods only (by priority, or by quality of service).
    """
    wanted = _wanted(manifests)
    rows = []
    for quota in quotas:
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for name, most in hard.items():
            need = wanted.get(name, wanted.get(f"requests.{name}", 0.0))
            free = float(parse(most) - parse(used.get(name, "0")))
            if need and need > free:
                found = f"{quota['metadata']['name']}: {name} used {used.get(name, '0')} of {most}"
                rows.append(
                    (
                        found,
                        f"{need:g} of {name} free",
                        "ask for less (spec.resources, spec.scale), free some, or raise the quota",
                    )
                )
    return rows


def _wanted(manifests: list[Manifest]) -> dict[str, float]:
    found: dict[str, float] = {}
    for manifest in manifests:
        if kind_of(manifest) != SERVICE:
            continue
        template = manifest["spec"]["template"]
        notes = template["metadata"]["annotations"]
        count = max(int(notes.get(f"autoscaling.knative.dev/{name}", "0")) for name in ("initial-scale", "min-scale"))
        found["pods"] = found.get("pods", 0.0) + count
        resources: dict[str, Any] = template["spec"]["containers"][0].get("resources") or {}
        for kind in ("requests", "limits"):
            for name, text in (resources.get(kind) or {}).items():
                found[f"{kind}.{name}"] = found.get(f"{kind}.{name}", 0.0) + count * float(parse(text))
    return found
