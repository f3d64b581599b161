"""What a function becomes on a cluster: golden files, and the published schemas of Knative and Kubernetes.

`TRIMTAB_UPDATE_GOLDEN=1` writes the golden files anew; review the difference like code.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.knative.specs import SPECS, function

from trimtab.deploy.knative.manifests import Rendered, Rendering, render
from trimtab.deploy.knative.manifests.cron import fields, wants_cron_job
from trimtab.deploy.knative.manifests.delivery import iso
from trimtab.deploy.knative.manifests.job import job
from trimtab.deploy.knative.manifests.names import child
from trimtab.deploy.knative.podlog import in_utc
from trimtab.errors import SpecError
from trimtab.project import monitoring
from trimtab.spec import CronTrigger, Function, FunctionSpec, Job, Metadata, Retry, StreamTrigger, loads
from trimtab.spec.document import to_yaml

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry.example.com/shop/hello@sha256:" + "ab" * 32


def rendered(name: str, **more: Any) -> Rendered:
    return render(Rendering(function=function(name), image=IMAGE, namespace="shop", commit="c0ffee", **more))


def models() -> dict[tuple[str, str], Any]:
    """The published schemas, as typed models made from the CRDs and from Kubernetes' own OpenAPI description."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the models, about their own fields
        from cloudcoil.models.keda import v1alpha1 as keda
        from cloudcoil.models.knative_eventing.eventing import v1 as eventing
        from cloudcoil.models.knative_eventing.sinks import v1alpha1 as sinks
        from cloudcoil.models.knative_eventing.sources import v1 as sources
        from cloudcoil.models.knative_serving.serving import v1 as serving
        from cloudcoil.models.kubernetes.apps import v1 as apps
        from cloudcoil.models.kubernetes.batch import v1 as batch
        from cloudcoil.models.kubernetes.core import v1 as core
        from cloudcoil.models.kubernetes.rbac import v1 as rbac
    return {
        ("serving.knative.dev/v1", "Service"): serving.Service,
        ("eventing.knative.dev/v1", "Trigger"): eventing.Trigger,
        ("sources.knative.dev/v1", "PingSource"): sources.PingSource,
        ("sources.knative.dev/v1", "SinkBinding"): sources.SinkBinding,
        ("sinks.knative.dev/v1alpha1", "JobSink"): sinks.JobSink,
        ("sources.knative.dev/v1", "ContainerSource"): sources.ContainerSource,
        ("apps/v1", "Deployment"): apps.Deployment,
        ("batch/v1", "CronJob"): batch.CronJob,
        ("batch/v1", "Job"): batch.Job,
        ("keda.sh/v1alpha1", "ScaledObject"): keda.ScaledObject,
        ("keda.sh/v1alpha1", "TriggerAuthentication"): keda.TriggerAuthentication,
        ("v1", "ServiceAccount"): core.ServiceAccount,
        ("rbac.authorization.k8s.io/v1", "Role"): rbac.Role,
        ("rbac.authorization.k8s.io/v1", "RoleBinding"): rbac.RoleBinding,
    }


def check_schema(known: dict[tuple[str, str], Any], manifest: Any) -> None:
    """Read an object strictly and write it again: what the schema does not know would be missing then."""
    manifest = copy.deepcopy(manifest)
    if manifest["kind"] == "Trigger":  # the CRD does not name it, and keeps fields that it does not name
        manifest["spec"]["delivery"].pop("timeout", None)
    model = known[manifest["apiVersion"], manifest["kind"]].model_validate_json(json.dumps(manifest), strict=True)
    assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest


CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in SPECS}
CASES["streamed-with-keda"] = ("streamed", {"keda": True})
CASES["job-without-jobsink"] = ("job", {"job_sink": False})
"""Golden files: the function, and what its cluster has."""


@pytest.mark.parametrize("case", CASES)
def test_a_function_is_rendered_as_reviewed(case: str) -> None:
    name, more = CASES[case]
    found = rendered(name, **more)
    text = "".join(f"# {note}\n" for note in found.notes) + "---\n".join(map(to_yaml, found.objects))
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("TRIMTAB_UPDATE_GOLDEN") == "1":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_every_object_fits_the_published_schema_and_has_no_field_that_is_not_in_it(case: str) -> None:
    known, (name, more) = models(), CASES[case]
    for manifest in rendered(name, **more).objects:
        check_schema(known, manifest)


def test_what_watches_models_fits_the_published_schema() -> None:
    known = models()
    for each in monitoring.functions("1h", images=True, log_volume="rows"):
        whole = render(
            Rendering(function=each.function, image=IMAGE, namespace="shop", environ={"TRIMTAB_STATE": "redis://r/0"})
        )
        assert {item["kind"] for item in whole.objects} >= {"Service", "SinkBinding"}
        for item in whole.objects:
            check_schema(known, item)


def test_a_run_fits_the_published_schema() -> None:
    rendering = Rendering(function=function("job"), image=IMAGE, namespace="shop")
    manifest = job(rendering, "abc123", {"depth": 5}, {"rows": "store://datasets/shop/rows"})
    check_schema(models(), manifest)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["TRIMTAB_PARAMETERS"] == '{"depth":5}'
    assert values["TRIMTAB_RUN"] == "abc123"


def test_what_is_in_parameters_is_no_variable_of_kubernetes() -> None:
    """It puts in others for `$(NAME)`, and makes one `$` of two."""
    rendering = Rendering(function=function("job"), image=IMAGE, namespace="shop")
    (container,) = job(rendering, "abc123", {"text": "$(HOME) $$1 $2"})["spec"]["template"]["spec"]["containers"]
    (value,) = [each["value"] for each in container["env"] if each["name"] == "TRIMTAB_PARAMETERS"]
    assert "$(" not in value.replace("$$", "")
    assert json.loads(value.replace("$$", "$"))["text"] == "$(HOME) $$1 $2"


@pytest.mark.parametrize(("start", "deadline"), [("60s", None), ("8m", None), ("481s", "601s"), ("20m", "1320s")])
def test_a_start_that_takes_longer_than_knative_waits_is_waited_for(start: str, deadline: str | None) -> None:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        f"spec: {{handler: a, timeouts: {{start: {start}}}}}"
    )
    (service,) = render(Rendering(function=wanted, image=IMAGE, namespace="shop")).objects
    annotations = service["spec"]["template"]["metadata"]["annotations"]
    assert annotations.get("serving.knative.dev/progress-deadline") == deadline


@pytest.mark.parametrize("case", CASES)
def test_every_container_meets_the_restricted_pod_security_standard(case: str) -> None:
    name, more = CASES[case]
    for container in containers(rendered(name, **more).objects):
        rights = container["securityContext"]
        assert rights["runAsNonRoot"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "@sha256:" in container["image"]


def containers(found: Any) -> list[dict[str, Any]]:
    if isinstance(found, dict):
        here = found["containers"] if isinstance(found.get("containers"), list) else []
        return [*here, *(each for value in found.values() for each in containers(value))]
    return [each for item in found for each in containers(item)] if isinstance(found, list) else []


def test_the_same_function_gives_the_same_objects_wherever_its_code_lies() -> None:
    one, two = function("plain"), function("plain")
    two.spec.source.path = "/somewhere/else/hello.py"
    assert [render(Rendering(function=each, image=IMAGE, namespace="shop")) for each in (one, two)] == [
        render(Rendering(function=one, image=IMAGE, namespace="shop"))
    ] * 2


@pytest.mark.parametrize("text", ["kind: http", "kind: job"])
def test_whatever_runs_the_functions_image_has_its_pull_secrets(text: str) -> None:
    triggers = [
        "{kind: cron, name: c, schedule: '@daily', overlap: skip}",
        "{kind: event, name: e}",
        *(["{kind: stream, name: s, url: 'nats://n?stream=S'}"] if text == "kind: http" else []),
    ]
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        f"spec: {{handler: a, {text}, scheduling: {{imagePullSecrets: [registry]}}, triggers: [{', '.join(triggers)}]}}"
    )
    rendering = Rendering(function=wanted, image=IMAGE, namespace="shop", job_sink=False)
    pods = pod_specs([*render(rendering).objects, job(rendering, "1", {})])
    assert len(pods) == 4 if text == "kind: http" else 3
    assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for pod in pods)


def pod_specs(found: Any) -> list[dict[str, Any]]:
    if isinstance(found, dict):
        here = [found] if isinstance(found.get("containers"), list) else []
        return [*here, *(each for value in found.values() for each in pod_specs(value))]
    return [each for item in found for each in pod_specs(item)] if isinstance(found, list) else []


def test_where_there_is_no_jobsink_a_service_that_may_only_create_jobs_starts_them() -> None:
    objects = {manifest["kind"]: manifest for manifest in rendered("job", job_sink=False).objects}
    assert "JobSink" not in objects
    assert objects["Role"]["rules"] == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
    assert objects["RoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "train-starter", "namespace": "shop"}
    ]
    assert objects["Service"]["spec"]["template"]["spec"]["serviceAccountName"] == "train-starter"
    assert objects["Service"]["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert objects["Trigger"]["spec"]["subscriber"]["ref"]["name"] == "train-starter"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("@hourly", "0 * * * *"),
        ("@every 10s", "*/10 * * * * *"),
        ("@every 1s", "* * * * * *"),
        ("@every 15m", "*/15 * * * *"),
        ("@every 60s", "* * * * *"),
        ("@every 6h", "0 */6 * * *"),
        ("5 4 * * 1-5", "5 4 * * 1-5"),
    ],
)
def test_a_schedule_is_written_in_fields(schedule: str, expected: str) -> None:
    assert fields(schedule, "schedule") == expected


@pytest.mark.parametrize("schedule", ["@every 7m", "@every 90s", "@every 36h", "@every 1.5s"])
def test_an_interval_that_no_fields_can_say_is_refused(schedule: str) -> None:
    with pytest.raises(SpecError, match=r"schedule: found '@every .*', allowed: an interval that divides the minute"):
        fields(schedule, "schedule")


def test_retries_of_a_tick_are_what_a_pingsource_cannot_do() -> None:
    assert not wants_cron_job(CronTrigger(name="c", schedule="@hourly", catch_up="none", overlap="allow"))
    tried = CronTrigger(name="c", schedule="@hourly", catch_up="none", overlap="allow", retry=Retry(attempts=2))
    assert wants_cron_job(tried)


def test_all_of_a_streams_retries_reach_its_consumer() -> None:
    retry = Retry(attempts=3, backoff="linear", delay="2s", max_delay="1m")
    stream = StreamTrigger(name="s", url="redis://redis/orders", retry=retry)
    made = Function(metadata=Metadata(name="hello"), spec=FunctionSpec(handler="hello", triggers=[stream]))
    found = render(Rendering(function=made, image=IMAGE, namespace="shop")).objects
    consumer = next(item for item in found if item["kind"] in ("ContainerSource", "Deployment"))
    main = consumer["spec"]["template"]["spec"]["containers"][0]
    given = " ".join([*main.get("command", []), *main.get("args", [])])
    assert "--attempts 3 --backoff linear --delay 2s --max-delay 1m" in given


def test_a_job_that_is_not_tried_again_is_a_plain_one() -> None:
    wanted = function("job")
    wanted.spec.job = Job(active_deadline="0s")
    spec = job(Rendering(function=wanted, image=IMAGE, namespace="shop"), "abc123", {})["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 24 * 3600)
    assert not {"activeDeadlineSeconds", "completionMode", "podFailurePolicy"} & spec.keys()
    (container,) = spec["template"]["spec"]["containers"]
    assert "TRIMTAB_FAILURES" not in {each["name"] for each in container["env"]}


def test_the_name_of_a_run_leaves_room_for_its_pods_host_name() -> None:
    """Kubernetes refuses an indexed Job whose name, with the index behind it, is no DNS label."""
    wanted = function("tried")
    wanted.metadata.name = "n" * 63
    rendering = Rendering(function=wanted, image=IMAGE, namespace="shop")
    assert len(job(rendering, "0123456789ab", {})["metadata"]["name"]) == 61
    objects = {manifest["kind"]: manifest for manifest in render(rendering).objects}
    assert len(objects["CronJob"]["metadata"]["name"]) == 50  # ... and a dash and ten digits
    assert "JobSink" not in objects  # it gives names of its own
    assert objects["Trigger"]["spec"]["subscriber"]["ref"]["kind"] == "Service"


def test_a_job_that_is_to_start_by_the_second_is_refused() -> None:
    found = function("job")
    found.spec.triggers[0].schedule = "@every 10s"  # type: ignore[union-attr]
    with pytest.raises(SpecError, match=r"spec\.triggers\[0\]\.schedule: found '@every 10s', allowed: whole minutes"):
        render(Rendering(function=found, image=IMAGE, namespace="shop"))


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("200ms", "PT0.2S"),
        ("1s", "PT1S"),
        ("5m", "PT5M"),
        ("90s", "PT1M30S"),
        ("3630s", "PT1H30S"),
        ("2h", "PT2H"),
        ("50ms", "PT0.1S"),
        ("250ms", "PT0.3S"),
        ("0.3s", "PT0.3S"),
        ("0s", "PT0S"),
    ],
)
def test_durations_are_written_as_iso_8601_has_them(duration: str, expected: str) -> None:
    assert iso(duration) == expected


def test_a_name_that_is_too_long_is_cut_and_stays_its_own() -> None:
    one, two = child("f" * 40, "t" * 40), child("f" * 40, "t" * 39 + "u")
    assert len(one) == 63
    assert one != two
    assert child("a", "b") == "a-b"


def test_a_sink_that_only_this_machine_can_fill_is_refused() -> None:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        "spec: {handler: a, sink: {stream: 'redis://redis:6379/0?stream=out'}}"
    )
    with pytest.raises(SpecError, match=r"spec.sink.stream: found 'redis://.*', allowed: a broker or a uri: no daemon"):
        render(Rendering(function=wanted, image=IMAGE, namespace="shop"))


def test_a_variable_is_set_once_and_the_last_one_counts() -> None:
    given = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: f}\nspec:\n  source: {code: 'def handler(c, e): pass'}\n"
        "  env:\n  - {name: TRIMTAB_STATE, value: mine}\n  - {name: OTHER, value: x}\n"
    )
    environ = {"TRIMTAB_STATE": "redis://r/0"}
    whole = render(Rendering(function=given, image=IMAGE, namespace="shop", environ=environ))
    service = next(item for item in whole.objects if item["kind"] == "Service")
    variables = service["spec"]["template"]["spec"]["containers"][0]["env"]
    names = [each["name"] for each in variables]
    assert len(names) == len(set(names))
    assert {"name": "TRIMTAB_STATE", "value": "redis://r/0"} in variables


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2026-11-26T01:00:00.123456789Z", "2026-11-26T01:00:00.123456789Z"),
        ("2026-11-26T01:00:00.123456789+02:00", "2026-11-25T23:00:00.123456789Z"),
        ("2026-11-26T01:00:00.123456789-05:30", "2026-11-26T06:30:00.123456789Z"),
        ("no time", "no time"),
    ],
)
def test_times_of_nodes_in_other_zones_are_written_in_utc(time: str, utc: str) -> None:
    assert in_utc(time) == utc
