from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec import (
    Build,
    CronTrigger,
    EnvSource,
    EnvVar,
    EventTrigger,
    Function,
    FunctionSpec,
    KeyRef,
    Metadata,
    Resources,
    Retry,
    Scale,
    Sink,
    Source,
    TrafficTarget,
    Volume,
    VolumeSource,
    dump,
    from_dict,
    load,
    loads,
    to_dict,
)

FULL = """\
apiVersion: trimtab.dev/v1
kind: Function
metadata:
  name: iris
  labels: {app.kubernetes.io/name: iris}
spec:
  kind: nuclio
  handler: main:predict
  source: {path: main.py}
  env:
    - name: GREETING
      value: "yes"
    - name: TOKEN
      valueFrom: {secretKeyRef: {name: tokens, key: api}}
  resources:
    requests: {cpu: 500m, memory: 1G}
    limits: {nvidia.com/gpu: 1}
  scale: {min: 1, max: 4, target: 10, window: 1m30s, panicWindow: 12.5}
  volumes:
    - {name: data, mountPath: /data, source: {persistentVolumeClaim: claim}}
  triggers:
    - {kind: cron, name: nightly, schedule: 0 3 * * *, timezone: Europe/Berlin, data: {full: true}}
    - kind: event
      name: made
      filters: [{exact: {type: com.example.made}}]
      retry: {attempts: 3, backoff: linear, maxDelay: 30}
  sink: {broker: default}
"""

PYTHON = Function(
    metadata=Metadata(name="iris", labels={"app.kubernetes.io/name": "iris"}),
    spec=FunctionSpec(
        kind="http",
        handler="main:predict",
        source=Source(path="main.py"),
        env=[
            EnvVar(name="GREETING", value="yes"),
            EnvVar(name="TOKEN", value_from=EnvSource(secret_key_ref=KeyRef(name="tokens", key="api"))),
        ],
        resources=Resources(requests={"cpu": "500m", "memory": "1G"}, limits={"nvidia.com/gpu": 1}),
        scale=Scale(min=1, max=4, target=10, window="1m30s", panic_window=12.5),
        volumes=[Volume(name="data", mount_path="/data", source=VolumeSource(persistent_volume_claim="claim"))],
        triggers=[
            CronTrigger(name="nightly", schedule="0 3 * * *", timezone="Europe/Berlin", data={"full": True}),
            EventTrigger(
                name="made",
                filters=[{"exact": {"type": "com.example.made"}}],
                retry=Retry(attempts=3, backoff="linear", max_delay=30),
            ),
        ],
        sink=Sink(broker="default"),
    ),
)


def test_yaml_json_and_python_give_the_same_object() -> None:
    assert loads(FULL) == PYTHON
    assert loads(dump(PYTHON, "yaml")) == PYTHON
    assert loads(dump(PYTHON, "json")) == PYTHON
    assert from_dict(to_dict(PYTHON)) == PYTHON


def test_a_dump_opens_with_version_and_kind_and_leaves_defaults_out() -> None:
    function = Function(metadata=Metadata(name="f"), spec=FunctionSpec(handler="m", scale=Scale(max=2)))
    assert dump(function) == (
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata:\n  name: f\nspec:\n  handler: m\n  scale:\n    max: 2\n"
    )
    assert json.loads(dump(function, "json")) == to_dict(function)


def test_an_embedded_module_is_dumped_as_readable_lines() -> None:
    function = Function(
        metadata=Metadata(name="f"), spec=FunctionSpec(source=Source(code="def handler(e):\n    return 1\n"))
    )
    assert "    code: |\n      def handler(e):\n          return 1\n" in dump(function)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^format: found 'toml', allowed: 'yaml' or 'json'$"):
        dump(PYTHON, "toml")  # type: ignore[arg-type]


words = st.text(max_size=12)
labels = st.from_regex(r"\A[a-z]([-a-z0-9]{0,8}[a-z0-9])?\Z")
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
durations = st.sampled_from(["1s", "1m30s", "500ms", 5, 1.5])
crons = st.builds(
    CronTrigger, name=labels, schedule=words, data=data, timezone=words, retry=st.builds(Retry, delay=durations)
)
events = st.builds(EventTrigger, name=labels, filters=st.lists(st.dictionaries(words, data, max_size=2), max_size=2))
functions = st.builds(
    Function,
    metadata=st.builds(Metadata, name=labels, labels=st.dictionaries(words, words, max_size=3)),
    spec=st.builds(
        FunctionSpec,
        kind=st.sampled_from(["http", "serving", "job"]),
        description=words,
        handler=words,
        source=st.builds(Source, code=st.none() | st.text(max_size=40)),
        build=st.builds(
            Build, requirements=st.lists(words, max_size=3), preload=st.none() | st.lists(words, max_size=2)
        ),
        env=st.lists(st.builds(EnvVar, name=labels, value=st.none() | words), max_size=3),
        scale=st.builds(Scale, min=st.integers(0, 3), window=durations, target=st.none() | st.floats(0.01, 100)),
        triggers=st.lists(crons | events, max_size=2),
        traffic=st.lists(st.builds(TrafficTarget, percent=st.integers(0, 100), tag=st.none() | labels), max_size=2),
        parameters=st.dictionaries(words, data, max_size=3),
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(functions)
def test_any_function_survives_yaml_json_and_plain_data(function: Function) -> None:
    assert loads(dump(function, "yaml")) == function
    assert loads(dump(function, "json")) == function
    assert from_dict(to_dict(function)) == function


REFUSED: list[tuple[Any, str]] = [
    (
        {"spec": {"scale": {"mn": 1}}},
        ("spec.scale.mn: found 1, allowed: no field of this name; spec.scale has activation, concurrency, delay, initial, "
        "max, metric, min, panicThreshold, panicWindow, retention, target, utilization, window, workers. "
        "Did you mean 'min'?"),
    ),
    (
        {"spec": {"scale": {"panic_window": 1}}},
        ("spec.scale.panic_window: found 1, allowed: no field of this name; spec.scale has activation, concurrency, delay, "
        "initial, max, metric, min, panicThreshold, panicWindow, retention, target, utilization, window, workers. "
        "Did you mean 'panicWindow'?"),
    ),
    (
        {"spce": {}},
        ("spce: found {}, allowed: no field of this name; the document has apiVersion, kind, metadata, spec. "
        "Did you mean 'spec'?"),
    ),
    ({"spec": {"scale": {"min": "x"}}}, "spec.scale.min: found 'x', allowed: a whole number of at least 0"),
    ({"spec": {"scale": {"min": True}}}, "spec.scale.min: found True, allowed: a whole number of at least 0"),
    ({"spec": {"scale": {"min": -1}}}, "spec.scale.min: found -1, allowed: a whole number of at least 0"),
    ({"spec": {"scale": {"min": 1.5}}}, "spec.scale.min: found 1.5, allowed: a whole number of at least 0"),
    ({"spec": {"scale": {"concurrency": 1001}}}, "spec.scale.concurrency: found 1001, allowed: a whole number from 0 to 1000"),
    ({"spec": {"scale": {"target": 0.001}}}, "spec.scale.target: found 0.001, allowed: a number of at least 0.01"),
    ({"spec": {"scale": {"utilization": 0}}}, "spec.scale.utilization: found 0, allowed: a number from 1 to 100"),
    ({"spec": {"scale": {"panicWindow": 101}}}, "spec.scale.panicWindow: found 101, allowed: a number from 1 to 100"),
    ({"spec": {"scale": {"panicThreshold": 100}}}, "spec.scale.panicThreshold: found 100, allowed: a number from 110 to 1000"),
    ({"spec": {"scale": {"workers": 0}}}, "spec.scale.workers: found 0, allowed: a whole number of at least 1"),
    (
        {"spec": {"scale": {"window": "soon"}}},
        "spec.scale.window: found 'soon', allowed: a duration such as '6s', '1m30s' or '500ms', or a number of seconds",
    ),
    (
        {"spec": {"scale": {"window": [1]}}},
        "spec.scale.window: found [1], allowed: a duration such as '6s', '1m30s' or '500ms', or a number of seconds",
    ),
    (
        {"spec": {"scale": {"metric": "cpu"}}},
        "spec.scale.metric: found 'cpu', allowed: 'concurrency' or 'rps'",
    ),
    ({"spec": {"kind": "htpp"}}, "spec.kind: found 'htpp', allowed: 'http' or 'job' or 'serving'. Did you mean 'http'?"),
    (
        {"spec": {"resources": {"limits": {"memory": "1 G"}}}},
        "spec.resources.limits.memory: found '1 G', allowed: a Kubernetes quantity such as '500m', '1G', '2Gi', 1 or 0.5",
    ),
    (
        {"spec": {"resources": {"limits": {"nvidia.com/gpu": [1]}}}},
        ('spec.resources.limits["nvidia.com/gpu"]: found [1], allowed: a Kubernetes quantity such as \'500m\', \'1G\', '
        "'2Gi', 1 or 0.5"),
    ),
    (
        {"spec": {"triggers": [{"name": "x", "schedule": "@hourly"}]}},
        "spec.triggers[0].kind: found nothing, allowed: 'cron' or 'event' or 'stream'",
    ),
    (
        {"spec": {"triggers": [{"kind": "kafka", "name": "x"}]}},
        "spec.triggers[0].kind: found 'kafka', allowed: 'cron' or 'event' or 'stream'",
    ),
    ({"spec": {"triggers": [{"kind": "cron", "name": "x"}]}}, "spec.triggers[0].schedule: found nothing, allowed: text"),
    (
        {"spec": {"triggers": [{"kind": "cron", "name": "x", "schedul": "@hourly"}]}},
        ("spec.triggers[0].schedul: found '@hourly', allowed: no field of this name; spec.triggers[0] has catchUp, contentType, "
        "data, disabled, name, overlap, retry, schedule, timezone. Did you mean 'schedule'?"),
    ),
    ({"spec": {"env": {"A": "b"}}}, "spec.env: found {'A': 'b'}, allowed: a list"),
    ({"spec": {"env": [{"value": "b"}]}}, ("spec.env[0].name: found nothing, allowed: a variable's name: letters, digits, "
     "'_', '-' and '.', no digit first")),
    ({"spec": {"env": [{"name": "A", "value": 1}]}}, "spec.env[0].value: found 1, allowed: text. Put it in quotes: '1'"),
    ({"spec": {"env": [{"name": "A", "value": True}]}}, "spec.env[0].value: found True, allowed: text. Put it in quotes: 'true'"),
    ({"spec": {"env": [{"name": "1A"}]}}, ("spec.env[0].name: found '1A', allowed: a variable's name: letters, digits, '_', "
     "'-' and '.', no digit first")),
    ({"spec": {"volumes": [{"name": "v", "mountPath": "/v", "readOnly": "yes"}]}},
     "spec.volumes[0].readOnly: found 'yes', allowed: true or false. Write true"),
    ({"spec": {"sink": 5}}, "spec.sink: found 5, allowed: a mapping with broker, extensions, stream, uri"),
    ({"spec": {"sink": {"broker": 5}}}, "spec.sink.broker: found 5, allowed: text. Put it in quotes: '5'"),
    ({"apiVersion": "v1"}, "apiVersion: found 'v1', allowed: 'trimtab.dev/v1'"),
    ({"kind": "Service"}, "kind: found 'Service', allowed: 'Function'"),
    (
        {"metadata": {"name": "My_Fn"}},
        ("metadata.name: found 'My_Fn', allowed: a DNS-1035 label: lower-case letters, digits and '-', starting with a letter, "
        "ending with a letter or digit, at most 63 characters. Try 'my-fn'"),
    ),
    ({"spec": {"build": {"python": "2.7"}}}, "spec.build.python: found '2.7', allowed: a version such as '3.12'"),
    ({"spec": {"build": {"python": 3.12}}}, ("spec.build.python: found 3.12, allowed: a version such as '3.12'. "
     "Put it in quotes: '3.12'")),
    ({"spec": {"build": {"platforms": ["linux"]}}},
     "spec.build.platforms[0]: found 'linux', allowed: a platform such as 'linux/amd64'"),
    ([], "document: found [], allowed: a mapping with apiVersion, kind, metadata and spec"),
    ("handler", "document: found 'handler', allowed: a mapping with apiVersion, kind, metadata and spec"),
    ({"spec": {"parameters": {1: 2}}}, "spec.parameters: found 1, allowed: text as a key"),
    ({"spec": {"parameters": {"a": {1, 2}}}}, ("spec.parameters.a: found {1, 2}, allowed: what JSON can say: text, numbers, "
     "true, false, null, lists, and mappings with text keys")),
    ({"spec": {"parameters": {"a": float("nan")}}}, ("spec.parameters.a: found nan, allowed: what JSON can say: text, numbers, "
     "true, false, null, lists, and mappings with text keys")),
    ({"spec": {"parameters": {"a": 2**64}}}, ("spec.parameters.a: found 18446744073709551616, allowed: what JSON can say: "
     "text, numbers, true, false, null, lists, and mappings with text keys")),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_path_value_and_what_is_allowed(document: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_dict(document)
    assert str(caught.value) == message


@pytest.mark.parametrize("document", [{"spec": None}, {"spec": {"triggers": ["@hourly"]}}])
def test_a_scalar_in_place_of_a_mapping_names_the_fields(document: Any) -> None:
    with pytest.raises(
        SpecError, match=r"^spec(\.triggers\[0\])?: found (nothing|'@hourly'), allowed: a mapping with "
    ):
        from_dict(document)


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "spec"]), data))
def test_any_plain_data_is_a_function_or_a_spec_error(document: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(from_dict(document, leftovers=[]), Function)


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(SpecError) as caught:
        from_dict({"spec": {"scale": {"min": "x" * 5000}}})
    assert len(str(caught.value)) < 300
    assert caught.value.found == "x" * 5000


def test_relative_sources_are_taken_from_the_documents_folder(tmp_path: Path) -> None:
    path = tmp_path / "function.yaml"
    path.write_text(FULL)
    assert load(path).spec.source.path == str(tmp_path / "main.py")
    path.write_text("metadata: {name: f}\nspec: {handler: main}\n")
    assert load(str(path)).spec.source.path == str(tmp_path)
    path.write_text("metadata: {name: f}\nspec: {source: {path: /abs/x.py}}\n")
    assert load(path).spec.source.path == "/abs/x.py"
    path.write_text("metadata: {name: f}\nspec: {build: {image: registry/f}}\n")
    assert load(path).spec.source == Source()


def test_a_file_that_is_missing_or_no_text_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"missing.yaml: found 'No such file or directory', allowed: a file that can be read$"
    ):
        load(tmp_path / "missing.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"metadata:\n  name: f\xfcnf\n")
    with pytest.raises(SpecError, match=r"latin.yaml, line 2: found b'\\xfc', allowed: text in UTF-8$"):
        load(path)
