"""Why a revision does not become ready: one sentence with what to do, from what the cluster says about it.

Pure: everything is passed in. Conditions alone say it late (an image that cannot be pulled by digest after ten minutes) or
not at all ("RevisionMissing"), so the pods' own states and the events are read first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.manifests.container import MAIN
from trimtab.deploy.knative.manifests.names import FUNCTION
from trimtab.deploy.knative.situation import Diagnosis, Situation, condition, container_of, crashed, main_status

_TAIL = 12
"""Lines of a log that a sentence shows: a short traceback."""
_EMPTY = ("Error: ErrImagePull", "Error: ImagePullBackOff")
"""What a node says besides, and which says nothing."""
_LONGEST = 160
"""Characters of what a container runtime said, about: its outer reasons repeat the image's name."""
_PATIENCE = 8.0
"""Seconds after which what may still pass is spoken of."""
_SETTLED = 5.0
"""Seconds in which a route has looked at what has just become ready."""
_NODE = 60.0
"""Seconds for an autoscaler to say that it adds a node; where there is none nobody says anything."""
_UNPLACED = "Unschedulable"
_GATED = ("SchedulingGated", "SchedulerError")
"""Why else a pod has no node: something holds it until it may go (a queue of jobs), or the scheduler tries again."""
_PLATFORM = re.compile(
    r"exec format error|no match(?:ing manifest)? for platform|does not match the (?:specified|host) platform"
)
_DENIED = re.compile(r"unauthorized|denied|forbidden|authentication required|\b40[13]\b", re.IGNORECASE)
_MISSING = re.compile(r"not found|manifest unknown|name unknown|\b404\b|does not exist", re.IGNORECASE)
_BUSY = re.compile(r"timed out|deadline exceeded|is reserved for|connection refused|unavailable", re.IGNORECASE)
"""What a node says when it or the API has too much to do: it tries again."""
_ROOT = re.compile(r"runAsNonRoot and image (?:will run as root|has non-numeric user)")
_ADMISSION = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request: (?P<why>.*)', re.DOTALL)


def diagnose(situation: Situation) -> Diagnosis | None:
    """Give the first thing that is known to be wrong; None while nothing is."""
    for rule in _RULES:
        if found := rule(situation):
            return found
    return None


# Rules, in the order in which they are asked


def _name_taken(situation: Situation) -> Diagnosis | None:
    for item in (situation.service, situation.revision):
        for each in ((item or {}).get("status") or {}).get("conditions") or []:
            if each.get("reason") in {"NotOwned", "RevisionNotOwned"}:
                said = each.get("message", "")
                text = f"{situation.name}: the name belongs to something else ({said}); rename the function, or delete the other"
                return Diagnosis(reason="name-taken", text=text)
    return None


def _image(situation: Situation) -> Diagnosis | None:
    for pod in situation.pods:
        waiting = (main_status(pod).get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}:
            said = [waiting.get("message", ""), *situation.said(pod["metadata"]["name"], "Failed")]
            return _pull(situation, "\n".join(said))
    missing = condition(situation.revision, "ContainerHealthy")
    if missing.get("reason") == "ContainerMissing":
        return _pull(situation, missing.get("message", ""))
    return None


def _pull(situation: Situation, said: str) -> Diagnosis | None:
    image = situation.image
    if _PLATFORM.search(said):
        return _wrong_platform(situation, image)
    if _DENIED.search(said):
        text = f"{situation.name}: the registry denies the cluster {image}{_credentials(situation)}"
        return Diagnosis(reason="image-denied", text=text)
    if _MISSING.search(said):
        do = "was it pushed to a registry that the cluster reaches under the same name?"
        return Diagnosis(reason="image-not-found", text=f"{situation.name}: {image} is not in its registry; {do}")
    if not _last_part(said) and situation.waited < _PATIENCE:
        return None  # its event is on its way
    return _unpulled(situation, image, said)


def _credentials(situation: Situation) -> str:
    """Say with which credentials the image was asked for, and what to do about them."""
    for pod in situation.pods:
        for message in situation.said(pod["metadata"]["name"], "FailedToRetrieveImagePullSecret"):
            lost = message.partition("(")[2].partition(")")[0] or "that is named"
            return f": its pull secret {lost} is not there; create it in this namespace (kubectl create secret docker-registry {lost} ...)"
    names = ", ".join(each["name"] for each in situation.spec.get("imagePullSecrets") or [])
    if names:
        return f" with the pull secret {names}; correct its credentials, which must be good for this registry and image"
    return "; name a pull secret (spec.scheduling.imagePullSecrets) or give the service account one"


def _unpulled(situation: Situation, image: str, said: str) -> Diagnosis:
    why = _last_part(said) or "no reason is given yet"
    text = f"{situation.name}: the cluster cannot pull {image} ({why}); check that its nodes reach the registry"
    return Diagnosis(reason="registry-unreachable", text=text)


def _wrong_platform(situation: Situation, image: str) -> Diagnosis:
    do = "build it for the nodes' platform (spec.build.platforms: [linux/amd64, linux/arm64]) and deploy again"
    return Diagnosis(
        reason="image-platform", text=f"{situation.name}: {image} is for another platform than the node; {do}"
    )


def _config(situation: Situation) -> Diagnosis | None:
    for pod in situation.pods:
        waiting = (main_status(pod).get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
            said = waiting.get("message", waiting["reason"])
            if _PLATFORM.search(said):
                return _wrong_platform(situation, situation.image)
            if _ROOT.search(said):
                text = f"{situation.name}: {situation.image} runs as root, which no container here may; give it a numeric user (USER 65532 in its Dockerfile)"
                return Diagnosis(reason="image-root", text=text)
            if _BUSY.search(said):
                text = (
                    f"{situation.name}: the node cannot make the container yet: {said}; look at the node if it stays so"
                )
                return Diagnosis(reason="node-busy", text=text, final=situation.since(pod) >= situation.patience)
            text = f"{situation.name}: the container cannot be made: {said}; create what is missing, or correct spec.env and spec.volumes"
            return Diagnosis(reason="config-missing", text=text)
        for message in situation.said(pod["metadata"]["name"], "FailedMount"):
            if "not found" in message:
                text = f"{situation.name}: a volume cannot be mounted: {_last_part(message)}; create it, or correct spec.volumes"
                return Diagnosis(reason="config-missing", text=text)
    return None


def _crash(situation: Situation) -> Diagnosis | None:
    for pod in situation.pods:
        ended = crashed(pod)
        if not ended:
            continue
        final = main_status(pod).get("restartCount", 0) > 0 or _waits_to_restart(pod)
        said = (ended.get("message") or situation.logs.get(pod["metadata"]["name"]) or "").strip()
        return _ending(situation, ended, said, final=final)
    healthy = condition(situation.revision, "ContainerHealthy")
    code = re.fullmatch(r"ExitCode(\d+)", healthy.get("reason", ""))
    if code and healthy.get("status") == "False":
        said = healthy.get("message", "").partition("Container failed with: ")[2] or healthy.get("message", "")
        return _ending(situation, {"exitCode": int(code[1])}, said.strip(), final=True)
    return None


def _ending(situation: Situation, ended: dict[str, Any], said: str, *, final: bool) -> Diagnosis:
    code, who = ended.get("exitCode"), situation.name
    if ended.get("reason") == "OOMKilled":
        limit = _limit(situation)
        text = f"{who}: out of memory at start (limit {limit}); raise spec.resources.limits.memory, or load less"
        return Diagnosis(reason="out-of-memory", text=text, final=final)
    if _PLATFORM.search(said):
        return _wrong_platform(situation, situation.image)
    lines = _last_lines(said)
    if code == 0:
        text = f"{who}: the container ends by itself (exit code 0) instead of serving; its command must go on listening on $PORT"
        return Diagnosis(reason="exits", text=text + (f". Its last lines:{lines}" if lines else ""), final=final)
    text = f"{who}: the container crashes at start (exit code {code}); correct the code and deploy again"
    shown = f". Its last lines:{lines}" if lines else f"; `trimtab logs {_function(situation)}` may say why"
    return Diagnosis(reason="crash", text=text + shown, final=final)


def _quota_or_webhook(situation: Situation) -> Diagnosis | None:
    resources = condition(situation.revision, "ResourcesAvailable")
    held = [resources.get("message", "")] if resources.get("reason") == "FailedCreate" else []
    events = [(each.get("reason"), each.get("message", "")) for each in situation.events]
    # Of what Knative calls an InternalError most passes: it tries again when an object changed under its hands.
    for message in [*held, *(said for reason, said in events if reason in {"FailedCreate", "InternalError"})]:
        if "exceeded quota" in message:
            shown = message[message.index("exceeded quota") :]
            do = "ask for less (spec.resources, spec.scale), free some, or have the quota raised"
            return Diagnosis(
                reason="quota", text=f"{situation.name}: the namespace's quota does not allow the pod: {shown}; {do}"
            )
        if match := _ADMISSION.search(message):
            text = f"{situation.name}: webhook {match['name']} refuses the pod: {match['why'].strip()}; change what it names"
            return Diagnosis(reason="webhook", text=text)
    refused = held or [said for reason, said in events if reason == "FailedCreate" and "is forbidden" in said]
    if refused and refused[0]:
        text = f"{situation.name}: the cluster refuses the pod: {refused[0]}; change what it names"
        # A service account may be on its way, as in a namespace that was just made.
        return Diagnosis(reason="webhook", text=text, final=bool(held) or "not found" not in refused[0])
    return None


def _unschedulable(situation: Situation) -> Diagnosis | None:
    """A pod that no node takes may yet be taken: an autoscaler looks every ten seconds, and says what it comes to."""
    why, item = _unplaced(situation)
    if item is None:
        return _gated(situation)
    pod, lasted = item["metadata"]["name"], situation.since(item)
    grows = any(situation.said(pod, reason) for reason in ("TriggeredScaleUp", "Nominated"))
    full = next(iter(situation.said(pod, "NotTriggerScaleUp")), "").partition(": ")[2]
    text = f"{situation.name}: no node takes the pod: {why.rstrip('.')}; "
    if grows:
        return Diagnosis(reason="unschedulable", text=f"{text}the cluster is adding a node", final=False, growing=True)
    if full:
        text = f"{text}{_advice(why)}. The cluster's autoscaler adds none: {full}"
        return Diagnosis(reason="unschedulable", text=text, final=lasted >= _PATIENCE)
    if "persistentvolumeclaim" in why and "not found" in why:  # no node that is added brings it
        return Diagnosis(reason="unschedulable", text=text + _advice(why), final=lasted >= _PATIENCE)
    if lasted < _NODE:
        return Diagnosis(reason="unschedulable", text=text + _advice(why), final=False)
    waited = f"after {lasted:.0f} s nothing says that a node is being added"
    return Diagnosis(reason="unschedulable", text=f"{text}{_advice(why)}. Not waiting longer: {waited}")


def _gated(situation: Situation) -> Diagnosis | None:
    for pod in situation.pods:
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False" and scheduled.get("reason") in _GATED:
            said = scheduled.get("message") or "no reason is given"
            text = f"{situation.name}: the pod is not placed yet ({scheduled['reason']}: {said}); what holds it lets it go, or `kubectl describe pod {pod['metadata']['name']}` says more"
            return Diagnosis(reason="unschedulable", text=text, final=False)
    return None


def _unplaced(situation: Situation) -> tuple[str, Manifest | None]:
    """Give why a pod has no node, and the pod; the revision and its word where no pod is seen yet."""
    for pod in situation.pods:
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False" and scheduled.get("reason") == _UNPLACED:
            return scheduled.get("message") or "no node fits", pod
    resources = condition(situation.revision, "ResourcesAvailable")
    placed = any(condition(pod, "PodScheduled").get("status") == "True" for pod in situation.pods)
    if resources.get("reason") == _UNPLACED and not placed:
        return resources.get("message") or "no node fits", situation.revision
    return "", None


def _advice(why: str) -> str:
    if "Insufficient" in why:
        return "request less (spec.resources.requests), or add nodes"
    if "node affinity" in why or "node selector" in why:
        return "correct spec.scheduling.nodeSelector and affinity: no node has these labels"
    if "taint" in why:
        return "tolerate the taint (spec.scheduling.tolerations), or free a node"
    if "persistentvolumeclaim" in why:
        return "create the claim that spec.volumes names"
    return "correct spec.scheduling and spec.resources, or add nodes"


def _beside(situation: Situation) -> Diagnosis | None:
    """What stands in the pod beside the function (queue-proxy, a mesh's proxy) and does not start: not the function's fault."""
    for pod in situation.pods:
        for status in _others(pod):
            state = status.get("state") or {}
            held = state.get("waiting") or (state.get("terminated") if not status.get("started") else None) or {}
            if held.get("reason") in {None, "ContainerCreating", "PodInitializing", "Completed"}:
                continue
            said = [*situation.said(pod["metadata"]["name"], "Failed"), held.get("message", "")]
            code = f"exit code {held['exitCode']}" if "exitCode" in held else ""
            why = ": ".join(filter(None, (held["reason"], _last_part("\n".join(said)) or held.get("message") or code)))
            text = f"{situation.name}: {status.get('name')}, which the cluster puts beside the function, does not start ({why}); it is for whoever runs the cluster: `kubectl describe pod {pod['metadata']['name']}`"
            return Diagnosis(reason="not-ready", text=text, final=False)
    return None


def _others(pod: Manifest) -> list[dict[str, Any]]:
    """Give the states of a pod's containers that are not ours."""
    status, own = pod.get("status") or {}, container_of(pod)
    found = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return [each for each in found if each.get("name") != own]


def _not_ready(situation: Situation) -> Diagnosis | None:
    for pod in situation.pods:
        status = main_status(pod)
        if "running" not in (status.get("state") or {}) or condition(pod, "Ready").get("status") == "True":
            continue
        if any("waiting" in (each.get("state") or {}) for each in _others(pod)):
            continue  # what is pulled beside it takes its time, too
        lasted = situation.since(pod)
        if lasted < _PATIENCE:
            return None
        probes = situation.said(pod["metadata"]["name"], "Unhealthy")
        said = f": {probes[-1]}" if probes else ""
        lines = _last_lines(situation.logs.get(pod["metadata"]["name"], ""))
        text = f"{situation.name}: it runs, but is not ready after {lasted:.0f} s{said}; {_cause(pod)}? spec.timeouts.start says how long it may take"
        final = lasted >= situation.patience
        return Diagnosis(reason="not-ready", text=text + (f". Its last lines:{lines}" if lines else ""), final=final)
    return None


def _cause(pod: Manifest) -> str:
    if container_of(pod) == MAIN:
        return "is init_context (or load) still at work"
    return "does the cluster reach the stream's broker, and does that let the consumer in"


def _ingress(situation: Situation) -> Diagnosis | None:
    routes = condition(situation.service, "RoutesReady")
    waits = routes.get("reason") in {"IngressNotConfigured", "Uninitialized", "TrafficNotMigrated"}
    if (
        condition(situation.revision, "Ready").get("status") == "True"
        and waits
        and situation.since(situation.revision) >= _PATIENCE
    ):
        text = f"{situation.name} is ready, but the ingress is not ({routes['reason']}: {routes.get('message', '')}); look at the pods of the ingress (kubectl get pods -n kourier-system, or your ingress' namespace) and at its load balancer"
        return Diagnosis(reason="ingress", text=text, final=False)
    return None


def _traffic(situation: Situation) -> Diagnosis | None:
    """The revision is ready, and the split names one that is not there or failed. Before, the same words say nothing."""
    routes = condition(situation.service, "RoutesReady")
    ready = (condition(situation.revision, "Ready"), condition(situation.service, "ConfigurationsReady"))
    if (
        routes.get("status") == "False"
        and routes.get("reason") in {"RevisionMissing", "RevisionFailed"}
        and all(each.get("status") == "True" for each in ready)
        and situation.since(situation.service) >= _SETTLED
    ):
        text = f"{situation.name} is ready, but the traffic cannot be split as spec.traffic says: {routes.get('message', '')}; name revisions that are ready (`trimtab get {_function(situation)}`)"
        return Diagnosis(reason="failed", text=text)
    return None


def _failed(situation: Situation) -> Diagnosis | None:
    """Whatever else a condition calls final, in the most specific words there are."""
    if condition(situation.revision, "ResourcesAvailable").get("reason") in (_UNPLACED, *_GATED):
        return None  # it passes when a node is there, and stands on for a while then
    for item, kinds in (
        (situation.revision, ("ContainerHealthy", "ResourcesAvailable", "Ready")),
        (situation.service, ("ConfigurationsReady", "RoutesReady", "Ready")),
    ):
        for kind in kinds:
            found = condition(item, kind)
            if found.get("status") == "False" and found.get("reason") not in {"RevisionMissing", "RevisionFailed"}:
                text = f"{situation.name}: {found.get('reason', 'failed')}: {found.get('message', '')}; `kubectl describe revision {situation.name}` has more"
                return Diagnosis(reason="failed", text=text)
    wrapped = condition(situation.service, "ConfigurationsReady")
    if wrapped.get("status") == "False":
        said = wrapped.get("message", wrapped.get("reason", "failed"))
        text = f"{situation.name}: {said}; `kubectl describe revision {situation.name}` has more"
        final = (
            situation.since(situation.service) >= _PATIENCE or "creation failed" in said
        )  # else the revision's own word is on its way
        return Diagnosis(reason="failed", text=text, final=final)
    return None


_RULES: tuple[Callable[[Situation], Diagnosis | None], ...] = (
    _name_taken,
    _image,
    _config,
    _crash,
    _quota_or_webhook,
    _unschedulable,
    _beside,
    _not_ready,
    _ingress,
    _traffic,
    _failed,
)


def _limit(situation: Situation) -> str:
    limits = (situation.spec["containers"][0].get("resources") or {}).get("limits") or {}
    return str(limits.get("memory", "of the node or the namespace"))


def _waits_to_restart(pod: Manifest) -> bool:
    return ((main_status(pod).get("state") or {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff"


def _function(situation: Situation) -> str:
    metadata = situation.service["metadata"]
    return str((metadata.get("labels") or {}).get(FUNCTION) or metadata["name"])


def _last_part(said: str) -> str:
    """Give the innermost of the reasons that the container runtime strings together."""
    lines = (each.strip() for each in reversed(said.splitlines()))
    line = next((each for each in lines if each and "Back-off" not in each and each not in _EMPTY), "")
    *outer, innermost = line.split(": ")
    while outer and len(innermost) + len(outer[-1]) < _LONGEST:
        innermost = f"{outer.pop()}: {innermost}"
    return innermost


def _last_lines(said: str) -> str:
    """Give the last lines of a log below a sentence; of the runtime's own records the message and the traceback."""
    lines = [part for line in said.strip().splitlines() for part in _readable(line)]
    return "".join(f"\n  {line}" for line in lines[-_TAIL:])


def _readable(line: str) -> list[str]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return [line]
    if not isinstance(record, dict) or "message" not in record:
        return [line]
    return [*str(record.get("traceback") or "").splitlines(), *str(record["message"]).splitlines()]
