"""The Knative target: the port's methods over one namespace of one cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from trimtab.deploy.abc import Deployment, FunctionInfo, ModelChange, Progress, RunInfo, Target
from trimtab.deploy.knative import callers, logs, place, record
from trimtab.deploy.knative import diff as differences
from trimtab.deploy.knative.answers import commit_in, deployed, deployed_job, image_in, revision_before, sentence
from trimtab.deploy.knative.canary import Canary, Counters, Decision, Figures, Guard, last
from trimtab.deploy.knative.client import tunnel
from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.connect import connect
from trimtab.deploy.knative.client.failures import Forbidden
from trimtab.deploy.knative.client.kinds import (
    BROKER,
    CONFIG_MAP,
    REVISION,
    SERVICE,
    kind_of,
)
from trimtab.deploy.knative.commit import commit_of
from trimtab.deploy.knative.consumers import consumers_of, wait_for
from trimtab.deploy.knative.describe import OF_REVISION
from trimtab.deploy.knative.evidence import Evidence
from trimtab.deploy.knative.forward import shared
from trimtab.deploy.knative.image import image_of, no_files
from trimtab.deploy.knative.ingress import Gate, behind, gate, inside, load_balancer, through
from trimtab.deploy.knative.look import described
from trimtab.deploy.knative.manifests.abc import Rendered, Rendering
from trimtab.deploy.knative.manifests.names import FIELD_MANAGER, FUNCTION, MANAGED_BY
from trimtab.deploy.knative.preflight.checks import check
from trimtab.deploy.knative.preflight.facts import Check, Facts
from trimtab.deploy.knative.preflight.gather import gather, reach
from trimtab.deploy.knative.prometheus import scrape
from trimtab.deploy.knative.routing import split
from trimtab.deploy.knative.runs import Runs
from trimtab.deploy.knative.surroundings import address_of, placed
from trimtab.deploy.knative.wait import Waiter
from trimtab.deploy.named import ClusterSettings
from trimtab.deploy.stages import Stages
from trimtab.errors import Conflict, NotFound, PreflightFailed, SpecError
from trimtab.spec import Function, Model, TrafficTarget
from trimtab.spec import check as check_spec
from trimtab.spec.quantity import seconds

_PULL = 300.0
"""Seconds that a deployment waits for an image of some GB on a slow line; what cannot succeed ends sooner."""


class Options(Struct, kw_only=True):
    """How a deployment goes about it; only clusters ask."""

    wait: bool = True
    """Whether `deploy` returns when the function serves, or when its objects are there."""
    timeout: float | None = None
    """Seconds that it waits at most. None: five minutes for the image, and what the description says of start and rollout."""
    force_conflicts: bool = False
    """Whether fields that other managers own are taken over."""
    hold: bool = False
    """Whether the traffic stays where it is; the new revision has an address of its own, by the tag `canary`."""
    say: Callable[[str], None] | None = None
    """Gets what is wrong while it may still pass."""


class KnativeTarget(Target):
    """One namespace of a cluster. The connection is opened when it is first needed."""

    images = True

    def __init__(
        self, settings: ClusterSettings, options: Options | None = None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.settings, self.name = settings, settings.name
        self.options = options or Options()
        self._sleep = sleep
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        """The cluster's API. Errors: TargetError without the extra, TargetUnreachable without a configuration."""
        if self._api is None:
            connection = connect(self.settings.context, self.settings.kubeconfig)
            self._api = Api(connection, self.settings.namespace, self._sleep)
        return self._api

    # Deploying

    def deploy(self, function: Function, *, force: bool = False, progress: Progress | None = None) -> Deployment:
        """See Target. Errors, besides: PreflightFailed, and FieldConflict for fields that others own.

        Nothing is changed before all checks have passed. Interrupted at any moment, the same call goes on where it was.
        """
        how = self.options
        stages = Stages(progress)
        if self.settings.registry and not function.spec.build.image:  # a push is a change, too
            self._checked(self._rendering(function, self._not_built(function)), dry_run=False)
        image = image_of(function, self.settings, stages)
        rendering = self._rendering(function, image.reference, image.commit)
        api, name = self._within(function), rendering.name
        forced = str(time.time_ns()) if force else ""
        facts, wanted = self._checked(rendering, forced=forced)
        wanted = replace(wanted, notes=[*image.notes, *wanted.notes])
        stages.finish("preflight", f"{facts.kubernetes}, Knative {facts.knative or 'of unknown version'}")
        kind, at = (CONFIG_MAP, record.name_of(name)) if function.spec.kind == "job" else (SERVICE, name)
        before = place.there(api, kind, at)
        live = place.applied(api, wanted.objects, force=how.force_conflicts, sleep=self._sleep)
        stale = place.stale(place.owned(api, name, function.metadata.project), wanted.objects)
        place.prune(api, stale)
        stages.finish("apply", f"{len(wanted.objects)} objects" + (f", {len(stale)} pruned" if stale else ""))
        service = live.get("Service")
        if service is not None and place.unbind(api, stale, self._sleep):
            service = api.get(SERVICE, service["metadata"]["name"])
        if service is not None and how.wait:
            start, rollout = seconds(function.spec.timeouts.start), seconds(function.spec.rollout_duration)
            timeout = _PULL + start + rollout if how.timeout is None else how.timeout
            evidence = Evidence(api, patience=start, timeout=timeout, say=how.say)
            service = Waiter(api, stages, evidence).wait(service)
            if consumers := consumers_of(wanted.objects):
                evidence = Evidence(api, patience=start, timeout=timeout, say=how.say, recent=True)
                wait_for(api, stages, consumers, evidence)
        if how.wait and (called := callers.callers_of(wanted.objects)):
            late = callers.wait_for(api, stages, called, how.say, self._sleep)
            wanted = replace(wanted, notes=[*wanted.notes, *late])
        if service is None or function.spec.kind == "job":
            return deployed_job(name, live["ConfigMap"], before, stages, wanted)
        return deployed(name, service, before, stages, wanted)

    def preflight(self, function: Function | None = None, *, image: str = "") -> list[Check]:
        """Check the cluster, for a function where one is given; nothing is changed, and nothing is built."""
        if function is None:
            return check(gather(self.api, reach(self.api), []), [])
        # The check needs some image: one that is not built yet cannot be resolved, and by digest it need not be.
        rendering = self._rendering(function, image or function.spec.build.image or self._not_built(function))
        return self._checks(rendering)[0]

    def diff(self, function: Function, *, image: str = "") -> list[differences.Difference]:
        """Compare what is on the cluster with what `deploy` would apply. `image`: without it, what runs now counts."""
        api = self._within(function)
        live = place.owned(api, function.metadata.name)
        image = image or function.spec.build.image or image_in(live) or self._not_built(function)
        service = next((item for item in live if kind_of(item) == SERVICE), None)
        commit = commit_in(live) if function.spec.source.git else ""  # a branch is not asked where it is now
        rendering = placed(api, self._rendering(function, image, commit), api.groups())
        wanted = place.desired(rendering, service).objects
        return differences.compare(wanted, live, place.stale(live, wanted))

    def _within(self, function: Function) -> Api:
        own, here = function.metadata.namespace, self.api.namespace
        if not self.settings.namespace and own not in (Function().metadata.namespace, here):
            hint = "TRIMTAB_NAMESPACE, or `namespace` in targets.yaml, gives the target another one"
            raise SpecError(
                "metadata.namespace", own, f"{here!r}, the namespace of the target {self.name!r}", hint=hint
            )
        return self.api

    def _rendering(self, function: Function, image: str, commit: str = "") -> Rendering:
        if not function.spec.build.image:
            no_files(function)
        return Rendering(
            function=function,
            image=image,
            namespace=self._within(function).namespace,
            commit=commit or commit_of(function),
            environ=self.settings.environ,
        )

    def _not_built(self, function: Function) -> str:
        """Name an image that is still to be built: where it will be, so that rules about registries hold for it."""
        return f"{self.settings.registry or 'registry.invalid'}/{function.metadata.name}@sha256:{'0' * 64}"

    def _checked(self, rendering: Rendering, *, forced: str = "", dry_run: bool = True) -> tuple[Facts, Rendered]:
        rows, facts, wanted = self._checks(rendering, forced=forced, dry_run=dry_run)
        failed = [row for row in rows if not row.ok]
        if failed:
            raise PreflightFailed(sentence(failed, self.settings.name), failed)
        return facts, wanted

    def _checks(
        self, rendering: Rendering, *, forced: str = "", dry_run: bool = True
    ) -> tuple[list[Check], Facts, Rendered]:
        api, live = self._within(rendering.function), None
        facts = reach(api)
        rendering = placed(api, rendering, facts.groups)
        if rendering.function.spec.kind != "job" and SERVICE.api in facts.groups:
            with contextlib.suppress(Forbidden):  # the table says it, with the role that is needed
                live = place.there(api, SERVICE, rendering.name)
        wanted = place.desired(rendering, live, forced=forced, hold=self.options.hold)
        force = self.options.force_conflicts
        same = place.is_unchanged(wanted.objects, live)
        facts = gather(api, facts, wanted.objects, force_conflicts=force, dry_run=dry_run, unchanged=same)
        tried_again = rendering.function.spec.job.backoff_limit > 0
        return check(facts, wanted.objects, tried_again=tried_again), facts, wanted

    # Describing

    def get(self, name: str) -> FunctionInfo:
        """See Target."""
        found = [info for info in described(self.api, self.name, name) if info.name == name]
        if not found:
            raise NotFound(f"no function {name!r}")
        return found[0]

    def functions(self) -> list[FunctionInfo]:
        """See Target."""
        return described(self.api, self.name)

    # Changing

    def delete(self, name: str) -> None:
        """See Target. The runs of a job go too."""
        place.remove(self.api, name)

    def traffic(self, name: str, targets: list[TrafficTarget]) -> FunctionInfo:
        """See Target."""
        info = self.get(name)
        if not info.revisions:
            raise Conflict(f"{name!r} is of kind {info.kind}: it has no revisions to split traffic between")
        for failed in (each.name for each in info.revisions if each.state == "failed"):
            if any(target.revision == failed and target.percent for target in targets):
                raise Conflict(f"revision {failed!r} never became ready; deploy a corrected one")
        split(self.api, name, targets, {revision.name for revision in info.revisions}, self._sleep)
        return self.get(name)

    def rollback(self, name: str, revision: str | None = None) -> FunctionInfo:
        """See Target."""
        info = self.get(name)
        if not info.revisions:
            raise Conflict(f"{name!r} is of kind {info.kind}: it has no revisions to go back to")
        if revision is None:
            revision = revision_before(info)
        tags = [TrafficTarget(revision=r.name, percent=0, tag=tag) for r in info.revisions for tag in r.urls]
        return self.traffic(name, [TrafficTarget(revision=revision, percent=100), *tags])

    def canary(
        self, name: str, steps: list[int], every: float, guard: Guard, say: Callable[[Figures], None] = lambda _: None
    ) -> Decision:
        """Send the newest ready revision the traffic step by step, and none of it when the guard trips.

        The rest goes to the revision that has most of it. Errors: Conflict when the newest has all of it already.
        """
        info = self.get(name)
        others = [each for each in info.revisions if each.name != info.revision]
        rest = max(others, key=lambda each: each.percent, default=None)
        if rest is None or not rest.percent:
            raise Conflict(
                f"{name!r}: {info.revision} has all the traffic; `trimtab deploy --hold` leaves it where it is"
            )
        old = rest.name
        tags = [
            TrafficTarget(revision=each.name, percent=0, tag=tag)
            for each in info.revisions
            for tag in each.urls
            if tag != place.CANARY
        ]

        def step(percent: int) -> None:
            shares = [(old, 100 - percent), (info.revision, percent)]
            self.traffic(name, [*(TrafficTarget(revision=to, percent=share) for to, share in shares if share), *tags])

        def counters() -> Counters:
            return scrape(self.settings.prometheus, self.api.namespace, info.revision)

        asked = counters if self.settings.prometheus else None
        start = seconds(self.deployed(name).spec.timeouts.start)
        canary = Canary(
            self.api, name, info.revision, guard, step, patience=start, counters=asked, say=say, sleep=self._sleep
        )
        return canary.run(steps, every)

    def last_canary(self, name: str) -> Decision:
        """Give what became of the newest canary, with the figures of each step. Errors: NotFound, also where there was none."""
        service = self.api.find(SERVICE, name)
        if service is None:
            raise NotFound(f"no function {name!r}")
        if (found := last(service)) is None:
            raise NotFound(f"{name!r} has had no canary: `trimtab canary {name}` makes one")
        return found

    def reach(self, url: str, ingress: str = "") -> tuple[str, dict[str, str]]:
        """See Target. Without `ingress`: the configured one. Else, if the name does not resolve, the cluster's load balancer,
        or a pod of its ingress through the API, as long as this process lives; for a name of the cluster's own, a pod
        behind it. Errors: Conflict where there is no URL, Forbidden."""
        if not url:
            raise Conflict(
                "it has no address: `trimtab run` starts a job, events do where it has a trigger for them, "
                "and what is not ready yet has none so far"
            )
        own = inside(url)
        if own is not None:
            return through(url, ingress, lambda: self._forwarded(behind(self.api, own)))
        ingress = ingress or self.settings.ingress
        return through(url, ingress, lambda: load_balancer(self.api) or self._forwarded(gate(self.api)))

    def _forwarded(self, found: Gate | None) -> str:
        """Give a port of this machine that leads to a pod; empty where there is none."""
        api = self.api
        if found is None:
            return ""
        key = (api.host, api.context, found)
        return shared(key, lambda: tunnel.connect(api, found.namespace, found.pod, found.port)).address

    # Logs and runs

    def logs(
        self, name: str, *, follow: bool = False, tail: int | None = None, revision: str | None = None
    ) -> Iterator[str]:
        """See Target. Lines of all pods, merged by their time; with `revision` of its own, without it also of what calls it."""
        info = self.get(name)
        labels = {MANAGED_BY: FIELD_MANAGER, FUNCTION: name}
        if revision is not None:
            if revision not in {known.name for known in info.revisions}:
                raise SpecError("revision", revision, f"one of {', '.join(known.name for known in info.revisions)}")
            labels = {OF_REVISION: revision}
        return iter(logs.Following(self.api, labels, tail)) if follow else logs.read(self.api, labels, tail)

    def run(
        self,
        function: Function,
        parameters: dict[str, Any],
        *,
        inputs: dict[str, str] | None = None,
        artifact_path: str | None = None,
        wait: bool = True,
        on_log: Callable[[str], None] | None = None,
    ) -> RunInfo:
        """See Target. A function without source and image is the deployed one of its name."""
        source = function.spec.source
        image = function.spec.build.image
        if not (image or source.path or source.code or source.git):
            function, image = self._deployed(function.metadata.name)
        image = image or image_of(function, self.settings, Stages(None)).reference
        api = self._within(function)
        runs, rendering = Runs(api), placed(api, self._rendering(function, image), api.groups())
        info = runs.start(rendering, parameters, inputs or {}, artifact_path)
        if not wait:
            return info
        try:
            return runs.wait(info.id, on_log)
        except (KeyboardInterrupt, SystemExit):
            runs.cancel(info.id)
            raise

    def _deployed(self, name: str) -> tuple[Function, str]:
        found = self.api.find(CONFIG_MAP, record.name_of(name))
        if found is None:
            raise NotFound(f"no function {name!r}")
        known = record.read(found)
        return known.function, known.image

    def runs(self, function: str | None = None) -> list[RunInfo]:
        """See Target. The cluster keeps a finished run for a day, or as long as `spec.job.ttlAfterFinished` says."""
        return Runs(self.api).list(function)

    def cancel(self, run: str) -> RunInfo:
        """See Target."""
        return Runs(self.api).cancel(run)

    def change_model(self, name: str, key: str, model: Model | None) -> ModelChange:
        """See Target. On a cluster it is a new revision, which Knative starts beside the old one."""
        function = self.deployed(name)
        spec = function.spec
        if spec.kind != "serving":
            raise Conflict(f"{name!r} is no model server: deploy it with kind 'serving'")
        before = next((each for each in spec.models if each.key == key), None)
        changed = [*(each for each in spec.models if each.key != key), *([model] if model is not None else [])]
        at_once = KnativeTarget(self.settings, replace(self.options, wait=False), sleep=self._sleep)
        at_once.deploy(check_spec(replace(function, spec=replace(spec, models=changed))))
        return ModelChange(before=before, stamp=time.time_ns())

    def broker(self, name: str = "default") -> str:
        """Give the URL at which a broker takes events; usually only the cluster's own pods reach it. Errors: NotFound."""
        found = self.api.get(BROKER, name)
        if not (address := address_of(found)):
            raise Conflict(f"broker {name!r} has no address yet: `kubectl get broker {name}` says why")
        return address

    def deployed(self, name: str) -> Function:
        """Give a deployed function's description with its image, as `promote` takes it to another target."""
        function, image = self._deployed(name)
        if "@sha256:" not in image:
            image = self._running(name) or image
        return replace(function, spec=replace(function.spec, build=replace(function.spec.build, image=image)))

    def _running(self, name: str) -> str:
        """Give the image that the newest ready revision runs, by the digest that Knative found behind its tag; empty for none."""
        status = (self.api.find(SERVICE, name) or {}).get("status") or {}
        revision = self.api.find(REVISION, ready) if (ready := status.get("latestReadyRevisionName")) else None
        found = ((revision or {}).get("status") or {}).get("containerStatuses") or [{}]
        return str(found[0].get("imageDigest") or "")
