"""The checks: facts in, a table out. What could not be found out does not fail: the cluster itself will say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from trimtab.deploy.knative.client.kinds import JOB_SINK, ROLE, SERVICE, Kind
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.preflight import needs
from trimtab.deploy.knative.preflight.facts import Check, Facts, Permission
from trimtab.deploy.knative.preflight.quota import exceeded

OLDEST = (1, 15)
"""Knative Serving: the oldest whose API and behaviour the manifests are written for."""
OLDEST_KUBERNETES, OLDEST_OF_TRIES = (1, 28), (1, 29)
"""The second one counts for each pod of a Job how many before it failed: for jobs that are tried again."""
_INSTALL = "install Knative Serving: https://knative.dev/docs/install/"
_EVENTING = "install Knative Eventing: https://knative.dev/docs/install/"


def check(facts: Facts, manifests: list[Manifest], *, tried_again: bool = False) -> list[Check]:
    """Give the table for these objects, and whether they are a job that is tried again; a row that is not `ok` names what to do."""
    reach = _reach(facts)
    if not reach.ok:
        return [reach]
    oldest = OLDEST_OF_TRIES if tried_again else OLDEST_KUBERNETES
    rows = [reach, _kubernetes(facts, oldest), *_apis(facts, needs.kinds(manifests)), _namespace(facts)]
    rows += _features(facts, manifests)
    rows += _permissions(facts.permissions, facts.namespace)
    rows += _brokers(facts, manifests)
    rows += [
        Check(name="quota", found=found, needed=needed, fix=fix, ok=False)
        for found, needed, fix in exceeded(facts.quotas, manifests)
    ]
    rows += [
        Check(
            name="name",
            found=found,
            needed="a name that is free, or ours",
            fix="rename the function, or delete the other",
            ok=False,
        )
        for found in facts.taken
    ]
    rows += [
        Check(
            name="owner",
            found=found,
            needed="fields that only we set",
            fix="--force-conflicts takes them over",
            ok=False,
        )
        for found in facts.conflicts
    ]
    rows += [
        Check(
            name="dry run",
            found=f"{what}: {why}",
            needed="objects that the cluster accepts",
            fix="change what is named",
            ok=False,
        )
        for what, why in facts.refused
    ]
    rows += [
        Check(
            name="policy",
            found=f"{what}: {why}",
            needed="a pod that the cluster's policies allow",
            fix="nothing, if it asks for labels, annotations or queue-proxy, which the dry run's pod does not have yet",
        )
        for what, why in facts.doubted
    ]
    if (
        not (facts.taken or facts.conflicts or facts.refused or facts.doubted)
        and all(row.ok for row in rows)
        and manifests
    ):
        rows.append(
            Check(name="dry run", found=f"{len(manifests)} objects accepted", needed="objects that the cluster accepts")
        )
    return rows


def version(text: str) -> tuple[int, int] | None:
    """Read major and minor of a version such as 'v1.32.1-eks-1'."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _reach(facts: Facts) -> Check:
    if not facts.error:
        return Check(name="api", found=facts.host, needed="an API server that answers")
    if facts.expired:
        fix = "log in to the cluster again (its CLI, or a new kubeconfig), then try `kubectl get namespaces`"
        return Check(
            name="credentials", found=facts.error, needed="credentials that the API accepts", fix=fix, ok=False
        )
    fix = "start the cluster, the VPN or the tunnel, or choose another context (kubectl config get-contexts)"
    return Check(name="api", found=facts.error, needed="an API server that answers", fix=fix, ok=False)


def _kubernetes(facts: Facts, oldest: tuple[int, int]) -> Check:
    found = version(facts.kubernetes)
    ok = found is None or found >= oldest
    needed = f"{oldest[0]}.{oldest[1]} or newer{', for spec.job.backoffLimit' if oldest == OLDEST_OF_TRIES else ''}"
    return Check(
        name="kubernetes",
        found=facts.kubernetes or "unknown",
        needed=needed,
        fix="" if ok else "upgrade the cluster",
        ok=ok,
    )


def _apis(facts: Facts, wanted: Iterable[Kind]) -> list[Check]:
    rows = []
    apis = {kind.api for kind in wanted}
    if SERVICE.api in apis or not apis:
        rows.append(_knative(facts))
    if ROLE.api in apis:
        here = "there, and not for jobs that are tried again" if JOB_SINK.api in facts.groups else "not there"
        found = f"{here}; a Service of ours, which may create jobs, starts them"
        rows.append(Check(name="jobsink", found=found, needed=f"{JOB_SINK.api}, or that Service"))
    missing = sorted(api for api in apis if "knative" in api and api not in facts.groups)
    rows += [
        Check(name="eventing", found="not there", needed=api, fix=_EVENTING, ok=False)
        for api in missing
        if api not in (SERVICE.api, JOB_SINK.api)
    ]
    return rows


def _knative(facts: Facts) -> Check:
    needed = f"{SERVICE.api}, {OLDEST[0]}.{OLDEST[1]} or newer"
    if SERVICE.api not in facts.groups:
        return Check(name="knative", found="not there", needed=needed, fix=_INSTALL, ok=False)
    if facts.knative is None:
        return Check(name="knative", found="there, of unknown version", needed=needed)
    found = version(facts.knative)
    ok = found is None or found >= OLDEST
    fix = "" if ok else "upgrade Knative Serving: https://knative.dev/docs/install/upgrade/"
    return Check(name="knative", found=facts.knative, needed=needed, fix=fix, ok=ok)


def _namespace(facts: Facts) -> Check:
    there = facts.namespace_there
    found = {True: "there", False: "not there", None: "unknown"}[there]
    fix = "" if there is not False else f"kubectl create namespace {facts.namespace}"
    return Check(
        name="namespace",
        found=f"{facts.namespace}: {found}",
        needed="a namespace that is there",
        fix=fix,
        ok=there is not False,
    )


def _features(facts: Facts, manifests: list[Manifest]) -> list[Check]:
    if facts.features is None:
        return []
    rows = []
    for flag in needs.flags(manifests):
        default = "enabled" if flag.name in needs.DEFAULT_ON else "disabled"
        value = facts.features.get(flag.name, default).lower()
        ok = value in flag.values
        patch = json.dumps({"data": {flag.name: "enabled"}}, separators=(",", ":"))
        fix = "" if ok else f"kubectl patch configmap config-features -n knative-serving --type merge -p '{patch}'"
        needed = f"{' or '.join(flag.values)}, for {flag.field}"
        rows.append(Check(name="feature", found=f"{flag.name}: {value}", needed=needed, fix=fix, ok=ok))
    return rows


def _permissions(found: list[Permission], namespace: str) -> list[Check]:
    missing = [each for each in found if not each.allowed]
    if not missing:
        return (
            [Check(name="permissions", found=f"{len(found)} of {len(found)} granted", needed="all of them")]
            if found
            else []
        )
    return [
        Check(
            name="permission",
            found=f"no {', '.join(verbs)} on {resource}{'.' + group if group else ''}",
            needed=f"{', '.join(verbs)} in namespace {namespace}{'' if needed else ', to tell the reason of a failure in full'}",
            fix=f"kubectl create role trimtab-{resource.replace('/', '-')} -n {namespace} --verb={','.join(verbs)}"
            f" --resource={resource.partition('/')[0]}{'.' + group if group else ''}{'/' + resource.partition('/')[2] if '/' in resource else ''}"
            " (and a rolebinding for you)",
            ok=not needed,
        )
        for (resource, group, needed), verbs in _by_resource(missing).items()
    ]


def _by_resource(missing: list[Permission]) -> dict[tuple[str, str, bool], list[str]]:
    found: dict[tuple[str, str, bool], list[str]] = {}
    for each in missing:
        found.setdefault((each.resource, each.group, each.needed), []).append(each.verb)
    return found


def _brokers(facts: Facts, manifests: list[Manifest]) -> list[Check]:
    if facts.brokers is None:
        return []
    sources, sinks = needs.sources(manifests), needs.sinks(manifests)
    return [_broker(facts.brokers.get(name), name, facts.namespace, name in sinks) for name in sorted(sources | sinks)]


def _broker(address: str | None, name: str, namespace: str, is_sink: bool) -> Check:
    """Only a sink's address is needed at once: what a trigger takes from may come to be."""
    if address is None:
        found, fix = "not there", f"kn broker create {name} -n {namespace}"
    elif is_sink and not address:
        found, fix = "there, without an address", f"kubectl describe broker {name} -n {namespace} (says why)"
    else:
        found, fix = "there", ""
    needed = "the broker that a trigger or the sink names"
    return Check(name="broker", found=f"{name}: {found}", needed=needed, fix=fix, ok=not fix)
