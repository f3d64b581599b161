from __future__ import annotations

from typing import Any

import pytest

from trimtab.errors import SpecError
from trimtab.spec import (
    CronTrigger,
    Function,
    FunctionSpec,
    Metadata,
    Resources,
    Retry,
    Scale,
    Source,
    TrafficTarget,
    check,
    from_dict,
)
from trimtab.spec.check import check_traffic

CRON = {"kind": "cron", "name": "c", "schedule": "@hourly"}
EVENT = {"kind": "event", "name": "e"}
STREAM = {"kind": "stream", "name": "s", "url": "local:orders"}
VOLUME = {"name": "v", "mountPath": "/v", "source": {"emptyDir": True}}
SCHEDULES = "5 or 6 cron fields (seconds first), '@every 10s', '@hourly', '@daily', '@weekly', '@monthly' or '@yearly'"


def document(spec: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "f", **(metadata or {})}, "spec": {"source": {"path": "f.py"}, **spec}}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"scale": {"min": 3, "max": 2}}, "spec.scale.max: found 2, allowed: at least spec.scale.min (3), or 0 for no limit"),
    ({"scale": {"initial": 3, "max": 2}}, "spec.scale.initial: found 3, allowed: at most spec.scale.max (2)"),
    ({"scale": {"activation": 2, "min": 3}}, "spec.scale.activation: found 2, allowed: 1, or at least spec.scale.min (3)"),
    ({"scale": {"activation": 3, "max": 2}}, "spec.scale.activation: found 3, allowed: at most spec.scale.max (2)"),
    ({"scale": {"window": "5s"}}, "spec.scale.window: found '5s', allowed: whole seconds from 6s to 1h"),
    ({"scale": {"window": "61m"}}, "spec.scale.window: found '61m', allowed: whole seconds from 6s to 1h"),
    ({"scale": {"window": 6.5}}, "spec.scale.window: found 6.5, allowed: whole seconds from 6s to 1h"),
    ({"scale": {"delay": "2h"}}, "spec.scale.delay: found '2h', allowed: whole seconds from 0s to 1h"),
    ({"scale": {"delay": "1500ms"}}, "spec.scale.delay: found '1500ms', allowed: whole seconds from 0s to 1h"),
    ({"scale": {"retention": 3601}}, "spec.scale.retention: found 3601, allowed: whole seconds from 0s to 1h"),
    ({"scale": {"workers": 4, "concurrency": 2}},
     "spec.scale.workers: found 4, allowed: at most spec.scale.concurrency (2): each process works on one request or more"),
    ({"limits": {"queue": 5}},
     "spec.limits.queue: found 5, allowed: nothing while spec.scale.concurrency is 0 (unlimited): no request waits then"),
    ({"limits": {"body": "0"}}, "spec.limits.body: found '0', allowed: a number of bytes such as '32Mi', '1G' or 4096"),
    ({"timeouts": {"start": 0}}, "spec.timeouts.start: found 0, allowed: a duration above 0"),
    ({"job": {"backoffLimit": 2}}, "spec.job.backoffLimit: found 2, allowed: nothing for kind 'http': only jobs have runs"),
    ({"kind": "job", "timeouts": {"request": "1h"}},
     "spec.timeouts.request: found '1h', allowed: nothing for kind 'job': spec.job.activeDeadline says how long a run may take"),
    ({"kind": "job", "job": {"activeDeadline": "1500ms"}},
     "spec.job.activeDeadline: found '1500ms', allowed: whole seconds from 0s to 8760h"),
    ({"kind": "job", "job": {"ttlAfterFinished": "5s"}},
     "spec.job.ttlAfterFinished: found '5s', allowed: whole seconds from 1m to 8760h"),
    ({"resources": {"requests": {"mem": "1G"}}},
     ("spec.resources.requests.mem: found '1G', allowed: cpu, memory, ephemeral-storage, or an extended resource such as "
     "nvidia.com/gpu. Did you mean 'memory'?")),
    ({"resources": {"requests": {"memory": "2G"}, "limits": {"memory": "1Gi"}}},
     "spec.resources.requests.memory: found '2G', allowed: at most spec.resources.limits.memory (1Gi)"),
    ({"resources": {"limits": {"cpu": -1}}}, "spec.resources.limits.cpu: found -1, allowed: an amount of at least 0"),
    ({"resources": {"limits": {"nvidia.com/gpu": 0.5}}},
     'spec.resources.limits["nvidia.com/gpu"]: found 0.5, allowed: a whole number of devices'),
    ({"resources": {"requests": {"nvidia.com/gpu": 1}}},
     ('spec.resources.requests["nvidia.com/gpu"]: found \'1\', allowed: what spec.resources.limits["nvidia.com/gpu"] is '
     "(nothing): Kubernetes shares out whole devices")),
    ({"resources": {"limits": {"cpu": "1e30"}}},
     ("spec.resources.limits.cpu: found '1e30', allowed: a Kubernetes quantity such as '500m', '1G', '2Gi', 1 or 0.5, of at "
     "most 2**63-1")),
    ({"source": {"path": "a", "git": "b"}}, "spec.source: found 'path and git', allowed: one of path, code and git"),
    ({"source": {}}, "spec.source: found nothing, allowed: one of path, code and git (or spec.build.image)"),
    ({"source": {"path": " "}}, "spec.source.path: found ' ', allowed: a path, not empty text"),
    ({"handler": "a b"}, "spec.handler: found 'a b', allowed: 'module:name' or 'module', such as 'main:handler'"),
    ({"build": {"requirements": ["pandas", " "]}},
     "spec.build.requirements[1]: found ' ', allowed: one requirement such as 'pandas>=2.2'"),
    ({"env": [{"name": "PORT", "value": "1"}]},
     ("spec.env[0].name: found 'PORT', allowed: any name but PORT, K_SERVICE, K_CONFIGURATION, K_REVISION: the runtime sets "
     "these")),
    ({"env": [{"name": "K_SINK", "value": "x"}], "sink": {"broker": "default"}},
     "spec.env[0].name: found 'K_SINK', allowed: any other name while spec.sink is set: it becomes this variable"),
    ({"env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]},
     "spec.env[2].name: found 'A', allowed: a name that no other variable has"),
    ({"env": [{"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
     "spec.env[0]: found 'value and valueFrom', allowed: one of value and valueFrom"),
    ({"env": [{"name": "A", "valueFrom": {}}]},
     "spec.env[0].valueFrom: found nothing, allowed: exactly one of secretKeyRef and configMapKeyRef"),
    ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s",
       "key": "k"}}}]},
     ("spec.env[0].valueFrom: found 'secretKeyRef and configMapKeyRef', allowed: exactly one of secretKeyRef and "
     "configMapKeyRef")),
    *(({"volumes": [{**VOLUME, "mountPath": path}]},
       f"spec.volumes[0].mountPath: found {path!r}, allowed: an absolute path other than /, /dev and /dev/log")
      for path in ("/", "//", "/dev", "/dev/", "/dev/log", "data", "/a/../b", "/a:b")),
    ({"volumes": [{"name": "v", "mountPath": "/v"}]},
     ("spec.volumes[0].source: found nothing, allowed: exactly one of persistentVolumeClaim, secret, configMap, emptyDir and "
     "hostPath")),
    ({"volumes": [{**VOLUME, "source": {"secret": "s", "hostPath": "/x"}}]},
     ("spec.volumes[0].source: found 'secret and hostPath', allowed: exactly one of persistentVolumeClaim, secret, configMap, "
     "emptyDir and hostPath")),
    ({"volumes": [{**VOLUME, "subPath": "../x"}]}, "spec.volumes[0].subPath: found '../x', allowed: a relative path without '..'"),
    ({"volumes": [VOLUME, {**VOLUME, "mountPath": "/w"}]},
     "spec.volumes[1].name: found 'v', allowed: a name that no other volume has"),
    ({"volumes": [VOLUME, {**VOLUME, "name": "w", "mountPath": "/v/"}]},
     "spec.volumes[1].mountPath: found '/v', allowed: a mountPath that no other volume has"),
    ({"triggers": [CRON, {**EVENT, "name": "c"}]},
     "spec.triggers[1].name: found 'c', allowed: a name that no other trigger has"),
    *(({"triggers": [{**CRON, "schedule": text}]},
       f"spec.triggers[0].schedule: found {text!r}, allowed: {SCHEDULES}{hint}")
      for text, hint in [("* * * *", ". Wrong number of fields"), ("61 * * * *", ". Bad minute"), ("@every", ""),
                         ("@every soon", ""), ("@hourli", ". Did you mean '@hourly'?"),
                         ("CRON_TZ=UTC * * * * *", ". Name the zone in the trigger's `timezone`"),
                         ("0 0 31 2 *", ". Bad day-of-month")]),
    ({"triggers": [{**CRON, "schedule": "@every 10ms"}]},
     "spec.triggers[0].schedule: found '@every 10ms', allowed: '@every' and a duration of at least 1s, such as '@every 10s'"),
    ({"triggers": [{**CRON, "timezone": "Europe/Berln"}]},
     ("spec.triggers[0].timezone: found 'Europe/Berln', allowed: an IANA time zone such as 'Europe/Berlin' or 'UTC'. Did you "
     "mean 'Europe/Berlin'?")),
    ({"triggers": [{**CRON, "timezone": "../etc/passwd"}]},
     "spec.triggers[0].timezone: found '../etc/passwd', allowed: an IANA time zone such as 'Europe/Berlin' or 'UTC'"),
    ({"triggers": [{**CRON, "timezone": ""}]},
     "spec.triggers[0].timezone: found '', allowed: an IANA time zone such as 'Europe/Berlin' or 'UTC'"),
    ({"triggers": [{**CRON, "contentType": "json"}]},
     "spec.triggers[0].contentType: found 'json', allowed: a media type such as 'application/json'"),
    ({"triggers": [{**CRON, "contentType": "text/plain", "data": {"a": 1}}]},
     "spec.triggers[0].data: found {'a': 1}, allowed: text while contentType is 'text/plain'"),
    ({"triggers": [{**EVENT, "path": "in"}]}, "spec.triggers[0].path: found 'in', allowed: a path that starts with '/'"),
    ({"triggers": [{**EVENT, "retry": {"delay": "1m", "maxDelay": "1s"}}]},
     "spec.triggers[0].retry.maxDelay: found '1s', allowed: at least spec.triggers[0].retry.delay (1m)"),
    ({"triggers": [{**EVENT, "retry": {"timeout": 0}}]},
     "spec.triggers[0].retry.timeout: found 0, allowed: a duration above 0"),
    ({"triggers": [{**EVENT, "retry": {"deadLetter": "dlq"}}]},
     "spec.triggers[0].retry.deadLetter: found 'dlq', allowed: an http or https URL such as 'http://events.example.com/in'"),
    ({"triggers": [STREAM | {"url": "redis://:hunter2@host?stream=o"}]},
     ("spec.triggers[0].url: found 'redis://***@host?stream=o', allowed: a URL without a password in it. Write $(NAME) in its "
     "place, and let NAME be a variable in spec.env, from a secret")),
    ({"triggers": [STREAM | {"url": "redis://:$(P)@host?stream=o"}]},
     "spec.triggers[0].url: found '$(P)', allowed: a variable of spec.env: there is none"),
    ({"triggers": [STREAM | {"url": "redis://host"}]},
     ("spec.triggers[0].url: found 'redis://host', allowed: a URL that names the stream: redis://HOST?stream=NAME")),
    ({"triggers": [STREAM | {"start": "yesterday"}]},
     ("spec.triggers[0].start: found 'yesterday', allowed: latest, earliest, a time such as '2026-01-01T00:00:00Z', or an "
     "offset")),
    ({"triggers": [STREAM | {"lease": "10ms"}]}, "spec.triggers[0].lease: found '10ms', allowed: at least 1s"),
    ({"triggers": [STREAM | {"path": "x"}]}, "spec.triggers[0].path: found 'x', allowed: a path that starts with '/'"),
    ({"triggers": [STREAM | {"consumers": {"min": 3, "max": 2}}]},
     "spec.triggers[0].consumers.min: found 3, allowed: at most max, which is 2"),
    ({"kind": "job", "triggers": [STREAM | {"batch": 10}]},
     "spec.triggers[0].batch: found 10, allowed: 1 while spec.kind is job: each message starts a run"),
    ({"sink": {"stream": "redis://:hunter2@host?stream=o"}},
     ("spec.sink.stream: found 'redis://***@host?stream=o', allowed: a URL without a password in it. Write $(NAME) in its "
     "place, and let NAME be a variable in spec.env, from a secret")),
    ({"sink": {}}, "spec.sink: found nothing, allowed: exactly one of broker, stream and uri"),
    ({"sink": {"broker": "b", "uri": "http://x"}}, "spec.sink: found 'broker and uri', allowed: exactly one of broker, stream and uri"),
    *(({"sink": {"uri": uri}},
       f"spec.sink.uri: found {uri!r}, allowed: an http or https URL such as 'http://events.example.com/in'")
      for uri in ("ftp://x", "http://", "http://x:99999", "http://[::1", "http://x/a b")),
    ({"sink": {"broker": "My Broker"}},
     "spec.sink.broker: found 'My Broker', allowed: a broker's name: lower-case letters, digits and '-'"),
    ({"sink": {"broker": "b", "extensions": {"source": "x"}}},
     ("spec.sink.extensions.source: found 'x', allowed: lower-case letters and digits, and no attribute that CloudEvents has "
     "already")),
    ({"traffic": [{"percent": 60}, {"revision": "f-00001", "percent": 30}]},
     "spec.traffic: found 90, allowed: percents that sum to 100"),
    ({"traffic": [{"percent": 100, "tag": "a"}, {"revision": "f-00001", "tag": "a"}]},
     "spec.traffic[1].tag: found 'a', allowed: a tag that no other traffic target has"),
    ({"kind": "job", "traffic": [{"percent": 100}]},
     "spec.traffic: found [{'percent': 100}], allowed: nothing for kind 'job': a job serves no requests"),
    ({"kind": "job", "scale": {"max": 3}},
     "spec.scale.max: found 3, allowed: nothing for kind 'job': a job runs once and ends"),
    ({"parameters": {"a": 1}},
     "spec.parameters: found {'a': 1}, allowed: nothing for kind 'http': only jobs have parameters"),
]  # fmt: skip

METADATA: list[tuple[dict[str, Any], str]] = [
    ({"labels": {"a b": "x"}},
     ('metadata.labels["a b"]: found \'a b\', allowed: a Kubernetes label\'s key: [prefix/]name of letters, digits, \'-\', \'_\' '
     "and '.'")),
    ({"labels": {"app": "-x"}},
     "metadata.labels.app: found '-x', allowed: at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"),
    ({"annotations": {"autoscaling.knative.dev/min-scale": "1"}},
     ('metadata.annotations["autoscaling.knative.dev/min-scale"]: found \'1\', allowed: no autoscaling annotation. Set '
     "spec.scale.min")),
    ({"annotations": {"autoscaling.knative.dev/class": "hpa"}},
     'metadata.annotations["autoscaling.knative.dev/class"]: found \'hpa\', allowed: no autoscaling annotation. Set spec.scale'),
    ({"annotations": {"-": "x"}},
     "metadata.annotations[\"-\"]: found '-', allowed: an annotation's key: [prefix/]name of letters, digits, '-', '_' and '.'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "metadata", "message"),
    [(spec, {}, message) for spec, message in REFUSED] + [({}, metadata, message) for metadata, message in METADATA],
)
def test_what_cannot_be_is_refused(spec: dict[str, Any], metadata: dict[str, Any], message: str) -> None:
    function = from_dict(document(spec, metadata))
    with pytest.raises(SpecError) as caught:
        check(function)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["a" * 64, "My-Fn", "1a", "-a", "a-", "a.b", "a_b", "a\n", "ä"])
def test_a_name_is_a_dns_1035_label(name: str) -> None:
    with pytest.raises(SpecError, match=r"^metadata\.name: found .*, allowed: a DNS-1035 label: "):
        check(Function(metadata=Metadata(name=name), spec=FunctionSpec(source=Source(path="x"))))


@pytest.mark.parametrize("name", ["a", "a" * 63, "my-fn-2"])
def test_good_names_pass(name: str) -> None:
    assert check(from_dict(document({}, {"name": name}))).metadata.name == name


def test_values_set_from_python_are_checked_like_a_documents() -> None:
    function = Function(metadata=Metadata(name="f"), spec=FunctionSpec(source=Source(path="x"), scale=Scale(min="2")))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"^spec\.scale\.min: found '2', allowed: a whole number of at least 0$"):
        check(function)
    function.spec.scale = {"min": 2}  # type: ignore[assignment]
    assert check(function).spec.scale == Scale(min=2)
    function.spec.kind = "nuclio"  # type: ignore[assignment]
    assert check(function).spec.kind == "http"


def test_amounts_become_canonical_and_the_given_function_stays_as_it_is() -> None:
    function = Function(
        metadata=Metadata(name="f"),
        spec=FunctionSpec(
            source=Source(path="x"),
            resources=Resources(requests={"cpu": 0.5, "memory": "1024Mi"}, limits={"cpu": 2}),
            scale=Scale(window=90, delay="60s"),
            triggers=[CronTrigger(name="c", schedule=" 0  3 * * * ", retry=Retry(delay=0.5))],
        ),
    )
    spec = check(function).spec
    assert spec.resources == Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "2"})
    assert (spec.scale.window, spec.scale.delay, spec.timeouts.request) == ("1m30s", "1m", "5m")
    assert isinstance(spec.triggers[0], CronTrigger)
    assert (spec.triggers[0].schedule, spec.triggers[0].retry.delay) == ("0 3 * * *", "500ms")
    assert function.spec.scale.window == 90
    assert check(check(function)) == check(function)


def test_a_schedule_that_never_comes_is_refused() -> None:
    never = from_dict(document({"triggers": [{**CRON, "schedule": "0 0 */40 * MON#5"}]}))
    with pytest.raises(
        SpecError, match=r"^spec\.triggers\[0\]\.schedule: found .*, allowed: a schedule that comes some day$"
    ):
        check(never)


@pytest.mark.parametrize(
    "schedule",
    [
        "*/5 * * * *",
        "*/10 * * * * *",
        "0 9 * * MON-FRI",
        "0 0 29 2 *",
        "@every 1m30s",
        "@hourly",
        "@yearly",
        "0 0 L * *",
    ],
)
def test_good_schedules_pass(schedule: str) -> None:
    check(from_dict(document({"triggers": [{**CRON, "schedule": schedule}]})))


@pytest.mark.parametrize(
    "spec",
    [
        {"scale": {"min": 2, "max": 2, "initial": 2, "activation": 2, "window": 6, "delay": "1h", "retention": 3600}},
        {"scale": {"min": 5}},
        {"scale": {"concurrency": 4, "workers": 4}, "limits": {"queue": 0}},
        {"resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": 1}}},
        {"env": [{"name": "A"}, {"name": "K_SINK", "value": "http://x"}]},
        {"kind": "job", "parameters": {"a": 1}, "triggers": [CRON, EVENT]},
        {"triggers": [{**CRON, "contentType": "text/plain; charset=utf-8", "data": "hi"}]},
        {"triggers": [{**CRON, "contentType": "application/cloudevents+json", "data": {"a": 1}}]},
        {"sink": {"uri": "https://user@host:8443/in?x=1", "extensions": {"team": "a"}}},
        {"traffic": [{"percent": 100}, {"revision": "f-00001", "tag": "old"}]},
        {"source": {}, "build": {"image": "registry/f@sha256:0"}},
    ],
)
def test_what_can_be_passes(spec: dict[str, Any]) -> None:
    check(from_dict(document(spec)))


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^metadata\.name: found nothing, allowed: a name such as 'my-function'$"):
        check(from_dict({"spec": {"source": {"path": "f.py"}}}))


def test_a_variable_without_a_value_is_empty() -> None:
    assert check(from_dict(document({"env": [{"name": "A"}]}))).spec.env[0].value == ""


def test_a_split_is_checked_on_its_own_too() -> None:
    check_traffic([])
    check_traffic([TrafficTarget(percent=100)])
    with pytest.raises(SpecError, match=r"^spec\.traffic: found 101, allowed: percents that sum to 100$"):
        check_traffic([TrafficTarget(percent=100), TrafficTarget(revision="f-00001", percent=1)])
