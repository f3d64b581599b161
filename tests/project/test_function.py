from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trimtab
from trimtab.errors import Conflict, InvocationFailed, NotFound, SpecError, TargetUnreachable
from trimtab.project.function import FunctionHandle
from trimtab.spec import (
    CronTrigger,
    EnvSource,
    EnvVar,
    EventTrigger,
    KeyRef,
    LeftoverWarning,
    Resources,
    Scale,
    Volume,
    VolumeSource,
    check,
    loads,
)


@pytest.fixture
def fn(hello: Path) -> FunctionHandle:
    return trimtab.code_to_function("hello", filename=str(hello))


# Making one


def test_a_file_becomes_a_real_time_function(hello: Path) -> None:
    fn = trimtab.code_to_function(
        "hello",
        "iris",
        filename=hello,
        handler="handler",
        image="python:3.12",
        description="Says hello",
        requirements=["pandas>=2"],
        labels={"team": "a"},
    )
    spec = fn.function.spec
    assert (fn.metadata.name, fn.metadata.project, fn.metadata.labels) == ("hello", "iris", {"team": "a"})
    assert (fn.kind, spec.handler, spec.source.path) == ("http", "hello:handler", str(hello))
    assert (spec.build.base_image, spec.build.requirements, spec.description) == (
        "python:3.12",
        ["pandas>=2"],
        "Says hello",
    )


@pytest.mark.parametrize(
    ("kind", "ours"), [("nuclio", "http"), ("remote", "http"), ("http", "http"), ("serving", "serving"), ("job", "job")]
)
def test_kinds_have_mlruns_names(hello: Path, kind: str, ours: str) -> None:
    assert trimtab.code_to_function("f", filename=hello, kind=kind).kind == ours


def test_an_unknown_kind_is_refused(hello: Path) -> None:
    message = r"^kind: found 'dask', allowed: 'nuclio', 'remote', 'http', 'serving', 'job'$"
    with pytest.raises(SpecError, match=message):
        trimtab.code_to_function("f", filename=hello, kind="dask")


@pytest.mark.parametrize(
    ("handler", "expected"),
    [("", ""), ("hello", "hello"), ("handle", "hello:handle"), ("other:handle", "other:handle")],
)
def test_a_handlers_name_is_looked_for_in_its_file(hello: Path, handler: str, expected: str) -> None:
    assert trimtab.code_to_function("f", filename=hello, handler=handler).function.spec.handler == expected


def test_the_name_is_the_files_unless_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "My_Model.py"
    path.touch()
    assert trimtab.code_to_function(filename=path).metadata.name == "my-model"


TAKEN = "the path of a .py file, of a notebook or of a folder, or git+https://HOST/REPOSITORY@REF#FOLDER"


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        ("", f"filename: found nothing, allowed: {TAKEN}"),
        (print, f"filename: found {print!r}, allowed: {TAKEN}"),
        (
            "git://host/x.git",
            f"filename: found 'git://host/x.git', allowed: {TAKEN}. Clone or download it first",
        ),
    ],
)
def test_sources_that_are_not_taken_are_refused(filename: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        trimtab.code_to_function("f", filename=filename)
    assert str(caught.value) == message


def test_a_file_that_is_missing_or_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"There is no such file in "):
        trimtab.code_to_function("f", filename=tmp_path / "nothing.py")
    (tmp_path / "x.txt").touch()
    with pytest.raises(
        SpecError, match=r"x\.txt', allowed: the path of a \.py file, of a notebook or of a folder, or git\+https"
    ):
        trimtab.code_to_function("f", filename=tmp_path / "x.txt")


def test_a_new_function_is_filled_in_by_hand(hello: Path) -> None:
    fn = trimtab.new_function("f", kind="job", image="registry/f:1", handler="main:train")
    assert (fn.kind, fn.spec.image, fn.function.spec.build.image) == ("job", "registry/f:1", "registry/f:1")
    check(fn.function)
    other = trimtab.new_function("f", command=str(hello), handler="handler")
    assert (other.spec.handler, other.spec.source.path) == ("hello:handler", str(hello))


def test_a_document_is_imported(tmp_path: Path, fn: FunctionHandle) -> None:
    path = tmp_path / "function.yaml"
    fn.export(path)
    assert trimtab.import_function(path).function == check(fn.function)
    path.write_text("apiVersion: nuclio.io/v1\nmetadata: {name: f}\nspec: {handler: hello:handler, disable: true}\n")
    with pytest.warns(LeftoverWarning, match=r"not carried over: spec\.disable: True"):
        imported = trimtab.import_function(path)
    assert imported.function.spec.source.path == str(tmp_path)
    with pytest.raises(SpecError, match=r"^path: found 'hub://x', allowed: the path of a function\.yaml or \.json"):
        trimtab.import_function("hub://x")


# Changing one


def test_mlruns_names_write_through_to_the_spec(fn: FunctionHandle) -> None:
    fn.spec.min_replicas = 1
    fn.spec.max_replicas = 4
    assert fn.function.spec.scale == Scale(min=1, max=4)
    assert (fn.spec.min_replicas, fn.spec.scale.max, fn.spec.replicas) == (1, 4, None)
    fn.spec.replicas = 3
    assert (fn.spec.min_replicas, fn.spec.max_replicas, fn.spec.replicas) == (3, 3, 3)
    fn.spec.node_selector = {"gpu": "yes"}
    fn.spec.priority_class_name = "high"
    fn.spec.image = "python:3.12"
    fn.spec.description = "x"
    fn.spec.scale.window = "6s"
    spec = fn.function.spec
    assert (spec.scheduling.node_selector, spec.scheduling.priority_class) == ({"gpu": "yes"}, "high")
    assert (spec.build.base_image, spec.description, spec.scale.window) == ("python:3.12", "x", "6s")


def test_a_name_that_the_spec_does_not_have_is_refused(fn: FunctionHandle) -> None:
    with pytest.raises(
        AttributeError, match=r"^a function's spec has no 'min_replica'\. Did you mean 'min_replicas'\?$"
    ):
        fn.spec.min_replica = 1
    with pytest.raises(AttributeError, match=r"^a function's spec has no 'xyzzy'$"):
        fn.spec.xyzzy  # noqa: B018
    assert "max_replicas" in dir(fn.spec)


def test_requests_and_limits(fn: FunctionHandle) -> None:
    assert fn.with_requests(mem="1G", cpu=1).with_limits(mem="2G", cpu=2, gpus=1) is fn
    expected = Resources(requests={"memory": "1G", "cpu": 1}, limits={"memory": "2G", "cpu": 2, "nvidia.com/gpu": 1})
    assert fn.function.spec.resources == expected
    fn.with_requests(cpu=2, patch=True).with_limits(gpus=2, gpu_type="amd.com/gpu")
    assert fn.function.spec.resources == Resources(requests={"memory": "1G", "cpu": 2}, limits={"amd.com/gpu": 2})


def test_priority_and_nodes(fn: FunctionHandle) -> None:
    fn.with_priority_class(name="high").with_node_selection(
        node_selector={"gpu": "yes"}, affinity={"nodeAffinity": {}}, tolerations=[{"key": "gpu"}]
    )
    scheduling = fn.function.spec.scheduling
    assert (scheduling.priority_class, scheduling.node_selector) == ("high", {"gpu": "yes"})
    assert (scheduling.affinity, scheduling.tolerations) == ({"nodeAffinity": {}}, [{"key": "gpu"}])
    fn.with_node_selection(node_selector={})
    assert (scheduling.node_selector, scheduling.tolerations) == ({}, [{"key": "gpu"}])


def test_workers_of_the_http_server(fn: FunctionHandle) -> None:
    fn.with_http(workers=4, gateway_timeout=60)
    assert fn.function.spec.scale == Scale(workers=4, concurrency=4)
    assert fn.function.spec.timeouts.request == 60


def test_requirements_and_commands(fn: FunctionHandle, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# why\nscipy\n\npandas\n")
    fn.with_requirements(["pandas"]).with_requirements(str(file)).with_commands(["apt-get update"])
    assert fn.function.spec.build.requirements == ["pandas", "scipy"]
    fn.with_requirements(["x"], overwrite=True, requirements_file=file)
    assert fn.function.spec.build.requirements == ["x", "scipy", "pandas"]
    assert fn.function.spec.build.commands == ["apt-get update"]
    with pytest.raises(SpecError, match=r"^requirements: found 'nothing\.txt', allowed: a list, or the path of a requ"):
        fn.with_requirements("nothing.txt")


def test_environment_variables(fn: FunctionHandle) -> None:
    fn.set_env("A", 1).set_envs({"B": "x", "A": "2"}).set_env_from_secret("TOKEN", "tokens", "api")
    fn.apply(trimtab.set_env_variables({"C": "3"}, D="4")).set_env_from_secret("B", "tokens")
    secret = EnvSource(secret_key_ref=KeyRef(name="tokens", key="api"))
    own = EnvSource(secret_key_ref=KeyRef(name="tokens", key="B"))
    assert fn.function.spec.env == [
        EnvVar(name="A", value="2"),
        EnvVar(name="TOKEN", value_from=secret),
        EnvVar(name="C", value="3"),
        EnvVar(name="D", value="4"),
        EnvVar(name="B", value_from=own),
    ]
    with pytest.raises(SpecError, match=r"^set_env_variables: C: found '4', allowed: each name once$"):
        trimtab.set_env_variables({"C": "3"}, C="4")


def test_mounts(fn: FunctionHandle) -> None:
    fn.apply(trimtab.mount_pvc("claim", "data", "/data"))
    fn.apply(trimtab.mount_secret("tokens", "/tokens")).apply(trimtab.mount_configmap("settings", "/settings"))
    fn.apply(trimtab.mount_hostpath("/srv", "/srv", "host")).apply(trimtab.mount_pvc("other", "data", "/data"))
    assert check(fn.function).spec.volumes == [
        Volume(name="secret", mount_path="/tokens", source=VolumeSource(secret="tokens"), read_only=True),
        Volume(name="configmap", mount_path="/settings", source=VolumeSource(config_map="settings"), read_only=True),
        Volume(name="host", mount_path="/srv", source=VolumeSource(host_path="/srv")),
        Volume(name="data", mount_path="/data", source=VolumeSource(persistent_volume_claim="other")),
    ]
    other = trimtab.new_function("f").apply(trimtab.mount_pvc("claim"))
    assert other.function.spec.volumes[0].mount_path == "/mnt/pipeline"


class NuclioCron:
    """As nuclio-jupyter's CronTrigger is."""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "cron", "attributes": {"interval": "10s"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (CronTrigger(name="x", schedule="@hourly"), CronTrigger(name="tick", schedule="@hourly")),
        (EventTrigger(name="x", broker="b"), EventTrigger(name="tick", broker="b")),
        ({"kind": "cron", "schedule": "@daily", "catchUp": "all"}, CronTrigger(name="tick", schedule="@daily", catch_up="all")),
        ({"kind": "cron", "interval": "5s"}, CronTrigger(name="tick", schedule="@every 5s")),
        ({"kind": "cron", "attributes": {"schedule": "0 3 * * *"}}, CronTrigger(name="tick", schedule="0 3 * * *")),
        (NuclioCron(), CronTrigger(name="tick", schedule="@every 10s")),
        (SimpleNamespace(schedule="", interval="1h"), CronTrigger(name="tick", schedule="@every 1h")),
        (SimpleNamespace(schedule="@weekly"), CronTrigger(name="tick", schedule="@weekly")),
        ({"kind": "event", "filters": [{"exact": {"type": "a"}}]}, EventTrigger(name="tick", filters=[{"exact": {"type": "a"}}])),
    ],
)  # fmt: skip
def test_triggers_of_every_make(fn: FunctionHandle, given: Any, expected: Any) -> None:
    fn.add_trigger("tick", {"kind": "cron", "schedule": "@yearly"})
    assert fn.add_trigger("tick", given).function.spec.triggers == [expected]
    check(fn.function)


def test_nuclios_http_trigger_sets_workers_and_body(fn: FunctionHandle) -> None:
    fn.add_trigger("web", {"kind": "http", "maxWorkers": 4, "attributes": {"maxRequestBodySize": 1024}})
    assert fn.function.spec.triggers == []
    assert (fn.spec.scale.workers, fn.spec.scale.concurrency, fn.spec.limits.body) == (4, 4, 1024)
    fn.add_trigger("web", {"kind": "http", "numWorkers": 2})
    assert (fn.spec.scale.workers, fn.spec.limits.body) == (2, 1024)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "@hourly",
            "trigger: found '@hourly', allowed: a CronTrigger, an EventTrigger, a StreamTrigger, a mapping such as ",
        ),
        ({"kind": "cron"}, "trigger tick.schedule: found nothing, allowed: text"),
        (
            {"kind": "cron", "schedul": "@daily"},
            "trigger tick.schedul: found '@daily', allowed: no field of this name; ",
        ),
        (
            {"kind": "kafka", "topics": ["a"]},
            "trigger tick: found {'kind': 'kafka', 'topics': ['a']}, allowed: a CronTrigger",
        ),
        ({}, "trigger: found {}, allowed: a CronTrigger, an EventTrigger"),
    ],
)
def test_what_is_no_trigger_is_refused(fn: FunctionHandle, given: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        fn.add_trigger("tick", given)
    assert str(caught.value).startswith(message)
    assert fn.function.spec.triggers == []


def test_export_gives_a_document_that_can_be_deployed(fn: FunctionHandle, tmp_path: Path) -> None:
    fn.with_requests(mem="1024Mi")
    text = fn.export()
    assert loads(text) == check(fn.function)
    assert fn.export(tmp_path / "f.json") == (tmp_path / "f.json").read_text()
    assert (tmp_path / "f.json").read_text().startswith("{")
    assert loads(fn.to_yaml()) == loads(fn.to_json()) == fn.function
    assert fn.to_dict()["metadata"] == {"name": "hello"}
    fn.spec.max_replicas = -1
    with pytest.raises(SpecError, match=r"^spec\.scale\.max: found -1, "):
        fn.export()


# Deploying and calling


def test_deploy_gives_a_url_that_ends_in_a_slash_and_shows_its_stages(
    fn: FunctionHandle, target: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fn.deploy(target)
    assert url == f"{target.url}/hello/"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "  package             1 ms",
        "  start              20 ms  1 replica",
        "  warning: no volumes here",
        f"hello is deployed: revision hello-00001 at {target.url}/hello",
    ]
    fn.deploy(target)
    assert "hello is unchanged: revision hello-00001" in capsys.readouterr().err
    fn.deploy(target, watch=False, force=True)
    assert capsys.readouterr().err == ""


def test_deploy_checks_before_anything_happens(fn: FunctionHandle, target: Any) -> None:
    fn.spec.min_replicas, fn.spec.max_replicas = 3, 2
    with pytest.raises(SpecError, match=r"^spec\.scale\.max: found 2, allowed: at least spec\.scale\.min \(3\)"):
        fn.deploy(target)
    assert target.deployed == {}


def test_an_unknown_target_is_refused(fn: FunctionHandle) -> None:
    with pytest.raises(SpecError, match=r"^target: found 'mars', allowed: one of local, knative\. "):
        fn.deploy("mars")


@pytest.mark.parametrize(
    ("body", "method", "sent"),
    [
        (None, "GET", ("", None)),
        ({"x": [1]}, "POST", ('{"x":[1]}', "application/json")),
        ([1, 2], "POST", ("[1,2]", "application/json")),
        (0, "POST", ("0", "application/json")),
        ('{"x": 1}', "POST", ('{"x": 1}', "application/json")),
        ("{x", "POST", ("{x", "text/plain; charset=utf-8")),
        ("hi", "POST", ("hi", "text/plain; charset=utf-8")),
        (b"\x00\xff", "POST", ("\x00\xff", None)),
        (np.array([[1.5, 2.0]]), "POST", ("[[1.5,2.0]]", "application/json")),
        ({"n": np.int64(3)}, "POST", ('{"n":3}', "application/json")),
    ],
)
def test_a_body_is_sent_as_what_it_is(fn: FunctionHandle, target: Any, body: Any, method: str, sent: Any) -> None:
    fn.deploy(target, watch=False)
    said = fn.invoke("/a/b?c=d", body)
    assert (said["method"], said["path"]) == (method, "/hello/a/b?c=d")
    assert (said["body"], said["headers"].get("content-type")) == sent


def test_method_headers_and_paths_are_the_callers(fn: FunctionHandle, target: Any) -> None:
    fn.deploy(target, watch=False)
    said = fn.invoke("x", body="a,b", method="put", headers={"Content-Type": "text/csv", "X-Id": "1"})
    assert (said["method"], said["path"], said["headers"]["content-type"]) == ("PUT", "/hello/x", "text/csv")
    assert said["headers"]["x-id"] == "1"
    assert fn.invoke()["path"] == "/hello/"


def test_an_answer_is_read_by_its_content_type(fn: FunctionHandle, target: Any) -> None:
    fn.deploy(target, watch=False)
    assert fn.invoke("/text") == b"plain"
    assert fn.invoke("/empty") == b""


def test_an_error_status_is_raised_with_its_body(fn: FunctionHandle, target: Any) -> None:
    fn.deploy(target, watch=False)
    with pytest.raises(InvocationFailed) as caught:
        fn.invoke("/status/500", {"x": 1})
    assert str(caught.value) == 'hello answered 500: {"error": "internal error", "id": "7"}'
    assert (caught.value.status, caught.value.body) == (500, b'{"error": "internal error", "id": "7"}')


def test_what_cannot_be_sent_is_refused(fn: FunctionHandle, target: Any) -> None:
    fn.deploy(target, watch=False)
    with pytest.raises(
        SpecError,
        match=r"^body: found <object .*>, allowed: bytes, text, or what JSON can say\. object is none of these$",
    ):
        fn.invoke("/", object())


def test_a_function_that_was_deployed_elsewhere_is_found_by_its_name(fn: FunctionHandle, target: Any) -> None:
    fn.deploy(target, watch=False)
    other = trimtab.new_function("hello")
    other._target = target
    assert other.invoke("/x")["path"] == "/hello/x"
    other.delete()
    with pytest.raises(NotFound):
        other.invoke("/x")
    with pytest.raises(NotFound):
        other.delete()


def test_a_function_that_does_not_answer_is_named(fn: FunctionHandle, target: Any) -> None:
    target.url = "http://127.0.0.1:1"
    fn.deploy(target, watch=False)
    with pytest.raises(TargetUnreachable, match=r"^http://127\.0\.0\.1:1/hello/ does not answer: Connection refused$"):
        fn.invoke()


def test_a_job_has_no_url(hello: Path, target: Any) -> None:
    job = trimtab.code_to_function("hello", filename=hello, kind="job")
    assert job.deploy(target, watch=False) == ""
    with pytest.raises(Conflict, match=r"^'hello' is of kind 'job' and has no URL: `run` runs it$"):
        job.invoke()


def test_a_handle_says_what_it_is(fn: FunctionHandle) -> None:
    assert repr(fn) == "FunctionHandle(name='hello', kind='http', handler='')"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Scale(" in repr(fn.spec)
