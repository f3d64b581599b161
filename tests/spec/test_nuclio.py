from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import SpecError
from trimtab.spec import (
    Build,
    CronTrigger,
    EnvSource,
    EnvVar,
    Function,
    FunctionSpec,
    KeyRef,
    LeftoverWarning,
    Limits,
    Metadata,
    Resources,
    Scale,
    Scheduling,
    Source,
    StreamTrigger,
    Timeouts,
    Volume,
    VolumeSource,
    check,
    loads,
)
from trimtab.spec.nuclio import read, recognises

CODE = "def handler(context, event):\n    return event.body\n"
FULL = (Path(__file__).parent / "documents" / "nuclio.yaml").read_text()


def test_a_nuclio_function_is_carried_over() -> None:
    leftovers: list[str] = []
    function = loads(FULL, leftovers=leftovers)
    assert function == Function(
        metadata=Metadata(name="images", namespace="nuclio", project="vision", labels={"team": "a"}),
        spec=FunctionSpec(
            description="Counts",
            handler="main:handler",
            source=Source(code=CODE),
            build=Build(
                base_image="python:3.11-slim",
                requirements=["msgpack", "pandas>=2"],
                commands=["apt-get update && apt-get install -y libgomp1", "pip install -U x"],
                python="3.11",
            ),
            env=[
                EnvVar(name="MODE", value="fast"),
                EnvVar(name="SIZE", value="5"),
                EnvVar(name="TOKEN", value_from=EnvSource(secret_key_ref=KeyRef(name="tokens", key="api"))),
            ],
            resources=Resources(
                requests={"cpu": "250m", "memory": "128M"}, limits={"cpu": 1, "memory": "1G", "nvidia.com/gpu": 1}
            ),
            scale=Scale(min=0, max=8, workers=5, concurrency=5),
            timeouts=Timeouts(request="45s", start=90),
            limits=Limits(body=1048576),
            volumes=[
                Volume(
                    name="data",
                    mount_path="/data",
                    source=VolumeSource(persistent_volume_claim="claim"),
                    read_only=True,
                )
            ],
            scheduling=Scheduling(
                node_selector={"gpu": "yes"},
                tolerations=[{"key": "gpu", "operator": "Exists"}],
                affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"podSelector": {}}]}},
                priority_class="high",
                service_account="runner",
                image_pull_secrets=["registry-key"],
            ),
            triggers=[
                CronTrigger(name="every-ten", schedule="@every 10s", data={"full": True}),
                CronTrigger(
                    name="nightly",
                    schedule="0 0 3 * * *",
                    data="hello",
                    content_type="text/plain",
                    overlap="skip",
                    disabled=True,
                ),
                StreamTrigger(name="stream", url="kafka://b:9092?stream=a", concurrency=1, order="partition"),
            ],
        ),
    )
    check(function)


def test_what_cannot_be_carried_over_is_listed() -> None:
    leftovers: list[str] = []
    loads(FULL, leftovers=leftovers)
    assert leftovers == [
        "spec.build.noCache: True",
        "spec.env[3].name: 'NODE'",
        "spec.env[3].valueFrom.fieldRef.fieldPath: 'spec.nodeName'",
        "spec.image: 'registry/images:1'",
        "spec.targetCPU: 60 (replicas are scaled by concurrency or requests per second)",
        "spec.triggers.every_ten.attributes.event.headers.x-a: 'b'",
        "spec.triggers.web.attributes.ingresses[\"0\"].host: 'images.example.com'",
        "spec.triggers.web.attributes.ingresses[\"0\"].paths: ['/']",
        "spec.triggers.web.workerAvailabilityTimeoutMilliseconds: 5000",
        "spec.volumes[1].volume.flexVolume.driver: 'v3io/fuse'",
        "spec.volumes[1].volume.name: 'drive'",
        "spec.volumes[1].volumeMount.mountPath: '/v3io'",
        "spec.volumes[1].volumeMount.name: 'drive'",
    ]


def test_leftovers_are_warned_of_when_nobody_collects_them() -> None:
    with pytest.warns(LeftoverWarning, match=r"^not carried over: spec\.dataBindings\.db\.class: 'v3io'$"):
        loads("apiVersion: nuclio.io/v1\nspec: {dataBindings: {db: {class: v3io}}}\n")


@pytest.mark.parametrize(
    ("document", "known"),
    [
        ({"apiVersion": "nuclio.io/v1beta1"}, True),
        ({"kind": "NuclioFunction"}, True),
        ({"spec": {"runtime": "python", "handler": "a:b"}}, True),
        ({"spec": {"triggers": {"web": {"kind": "http"}}}}, True),
        ({"spec": {"minReplicas": 1}}, True),
        ({"spec": {"handler": "a:b"}}, False),
        ({"apiVersion": "trimtab.dev/v1", "spec": {"runtime": "python"}}, False),
        ({"spec": None}, False),
    ],
)
def test_nuclios_documents_are_recognised(document: dict[str, Any], known: bool) -> None:
    assert recognises(document) is known


def test_a_function_without_an_http_trigger_keeps_nuclios_one_worker() -> None:
    function, leftovers = read({"metadata": {"name": "f"}, "spec": {"handler": "f:handler", "runtime": "python"}})
    assert function.spec.scale == Scale(workers=1, concurrency=1)
    assert leftovers == []


def test_the_old_name_of_workers_is_known_and_replicas_fix_both_bounds() -> None:
    function, _ = read(
        {"spec": {"replicas": 3, "minReplicas": 1, "triggers": {"web": {"kind": "http", "maxWorkers": 2}}}}
    )
    assert function.spec.scale == Scale(min=3, max=3, workers=2, concurrency=2)


def test_an_old_python_is_replaced_and_listed() -> None:
    function, leftovers = read({"spec": {"runtime": "python:3.9"}})
    assert function.spec.build.python is None
    assert leftovers == ["spec.runtime: 'python:3.9' (Python 3.11 is the oldest here; the default is taken)"]


@pytest.mark.parametrize("body", ["{}", "[]", "0", "false"])
def test_an_empty_json_body_stays_what_it_is(body: str) -> None:
    trigger = {"kind": "cron", "attributes": {"interval": "1m", "event": {"body": body}}}
    function, _ = read({"spec": {"triggers": {"c": trigger}}})
    assert isinstance(function.spec.triggers[0], CronTrigger)
    assert function.spec.triggers[0].data == {"{}": {}, "[]": [], "0": 0, "false": False}[body]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"spec": {"runtime": "golang"}},
            "spec.runtime: found 'golang', allowed: 'python', or a version of it such as 'python:3.11'",
        ),
        (
            {"apiVersion": "nuclio.io/v2"},
            "apiVersion: found 'nuclio.io/v2', allowed: 'nuclio.io/v1' or 'trimtab.dev/v1'",
        ),
        (
            {"apiVersion": "nuclio.io/v1", "kind": "Project"},
            "kind: found 'Project', allowed: 'NuclioFunction' or 'Function'",
        ),
        (
            {"spec": {"runtime": "python", "build": {"functionSourceCode": "***"}}},
            "spec.build.functionSourceCode: found '***', allowed: a Python module in base64",
        ),
        ({"spec": {"runtime": "python", "env": {}}}, "spec.env: found {}, allowed: a list"),
        ({"spec": {"minReplicas": "2"}}, "spec.minReplicas: found '2', allowed: a whole number"),
        (
            {"spec": {"runtime": "python", "eventTimeout": "soon"}},
            "spec.timeouts.request: found 'soon', allowed: a duration such as '6s', '1m30s' or '500ms', or a number of seconds",
        ),
    ],
)
def test_what_is_wrong_in_a_nuclio_document_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(document)
    assert str(caught.value) == message
