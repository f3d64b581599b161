"""Asks a cluster for the facts; nothing that is asked changes anything."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.failures import Expired, FieldConflict, Refused
from trimtab.deploy.knative.client.kinds import (
    BROKER,
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    QUOTA,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    kind_of,
)
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER, FUNCTION, MANAGED_BY, PROJECT
from trimtab.deploy.knative.preflight import needs
from trimtab.deploy.knative.preflight.facts import Facts, Permission
from trimtab.deploy.knative.surroundings import address_of
from trimtab.errors import NotFound, TargetError, TargetUnreachable

_SYSTEM = "knative-serving"
_AT_ONCE = 8
_POLICY = re.compile(r"admission webhook .* denied the request|ValidatingAdmissionPolicy", re.DOTALL)


def reach(api: Api) -> Facts:
    """Give the first facts: whether the API is there, takes us, and what it knows. Errors become facts too."""
    facts = Facts(host=api.host, namespace=api.namespace)
    try:
        facts.kubernetes, facts.groups = api.version(), api.groups()
    except NotFound:
        facts.error = f"{api.host} answers, and is no Kubernetes API"
    except TargetError as exc:
        facts.error, facts.expired = str(exc), isinstance(exc, Expired)
    return facts


def gather(
    api: Api,
    facts: Facts,
    manifests: list[Manifest],
    *,
    force_conflicts: bool = False,
    dry_run: bool = True,
    unchanged: bool = False,
) -> Facts:
    """Add the facts for these objects to the first ones. Without `dry_run` the objects themselves are sent to nobody.

    `unchanged`: the Service makes no new revision, so that no quota has to have room for one.
    """
    if facts.error:
        return facts
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = needs.permissions(manifests, facts.groups)
        permissions = pool.map(lambda each: _permission(api, *each), asked)
        features, knative = pool.submit(_features, api), pool.submit(_version, api)
        namespace, quotas = pool.submit(_namespace, api), pool.submit(_quotas, api, unchanged)
        brokers = pool.submit(_brokers, api, facts.groups)
        taken = pool.map(lambda manifest: _taken(api, manifest), manifests)
        facts.permissions = [each for each in permissions if each is not None]
        facts.features, facts.knative = features.result(), knative.result()
        facts.namespace_there, facts.quotas, facts.brokers = namespace.result(), quotas.result(), brokers.result()
        facts.taken = [each for each in taken if each]
    if (
        dry_run
        and facts.namespace_there is not False
        and not facts.taken
        and all(each.allowed or not each.needed for each in facts.permissions)
    ):
        for manifest in map(_alone(manifests), manifests):
            _dry_run(api, manifest, facts, force=force_conflicts)
        if unchanged:
            facts.refused = [(what, why) for what, why in facts.refused if "exceeded quota" not in why]
    return facts


def _alone(manifests: list[Manifest]) -> Callable[[Manifest], Manifest]:
    """Give what makes an object fit for a dry run, for which the others are not there.

    Knative tries out a Service's pod, and a pod's service account must be there.
    """
    made = {item["metadata"]["name"] for item in manifests if kind_of(item) == SERVICE_ACCOUNT}

    def fit(item: Manifest) -> Manifest:
        if kind_of(item) != SERVICE or item["spec"]["template"]["spec"].get("serviceAccountName") not in made:
            return item
        found = copy.deepcopy(item)
        del found["spec"]["template"]["spec"]["serviceAccountName"]
        return found

    return fit


def _permission(api: Api, verb: str, kind: Kind, sub: str) -> Permission | None:
    resource = f"{kind.plural}/{sub}" if sub else kind.plural
    try:
        needed = (verb, kind, sub) not in needs.HELPFUL
        return Permission(verb, resource, kind.group, api.may(verb, kind, sub), needed)
    except TargetUnreachable:
        raise
    except TargetError:
        return None  # a cluster that does not answer this question will say no when it must


def _features(api: Api) -> dict[str, str] | None:
    try:
        return dict(api.get(CONFIG_MAP, "config-features", _SYSTEM).get("data") or {})
    except NotFound:
        return {}
    except TargetError:
        return None


def _version(api: Api) -> str | None:
    try:
        labels = api.get(DEPLOYMENT, "controller", _SYSTEM)["metadata"].get("labels") or {}
    except TargetError:
        return None
    return labels.get("app.kubernetes.io/version") or labels.get("serving.knative.dev/release")


def _namespace(api: Api) -> bool | None:
    try:
        api.get(NAMESPACE, api.namespace)
    except NotFound:
        return False
    except TargetError:
        return None
    return True


def _quotas(api: Api, unchanged: bool) -> list[Manifest]:
    try:
        return [] if unchanged else api.all(QUOTA)
    except TargetError:
        return []


def _brokers(api: Api, groups: set[str]) -> dict[str, str] | None:
    if BROKER.api not in groups:
        return None
    try:
        return {item["metadata"]["name"]: address_of(item) for item in api.all(BROKER)}
    except TargetError:
        return None


def _taken(api: Api, manifest: Manifest) -> str:
    """Say whose an object of that name is, if it is not this function's of this project."""
    kind, name = kind_of(manifest), manifest["metadata"]["name"]
    try:
        found = api.find(kind, name)
    except TargetError:
        return ""
    if found is None:
        return ""
    labels, wanted = found["metadata"].get("labels") or {}, manifest["metadata"]["labels"]
    if all(labels.get(key) == wanted[key] for key in (MANAGED_BY, FUNCTION, PROJECT)):
        return ""
    owner = labels.get(MANAGED_BY)
    if owner == FIELD_MANAGER:
        whose = f"function {labels.get(FUNCTION)!r} of project {labels.get(PROJECT)!r}"
    else:
        managers = sorted({str(each.get("manager")) for each in found["metadata"].get("managedFields") or []})
        whose = f"managed by {owner or ', '.join(managers) or 'somebody else'}"
    return f"{kind.name} {name} is there already, {whose}"


def _dry_run(api: Api, manifest: Manifest, facts: Facts, *, force: bool) -> None:
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        api.apply(manifest, force=force, dry_run=True)
    except FieldConflict as exc:
        facts.conflicts += [f"{what}: {field} is owned by {manager!r}" for field, manager in exc.fields]
    except Refused as exc:
        if "does not support dry run" in str(exc):  # a webhook that has effects: only the real thing asks it
            return
        why = str(exc).partition("was refused: ")[2] or str(exc)
        (facts.doubted if _of_bare_pod(why) else facts.refused).append((what, why))
    except NotFound:
        pass  # its kind is not there, which another row says


def _of_bare_pod(why: str) -> bool:
    """Tell the word of a policy on the pod that Knative tries out, which has no labels, annotations and no queue-proxy yet."""
    return "dry run failed with" in why and bool(_POLICY.search(why))
