"""The command line on a cluster: the same words and the same JSON as on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.deploy.knative.conftest import IMAGE
from tests.deploy.knative.fake.knative import Knative
from tests.deploy.knative.fake.server import FakeCluster
from tests.deploy.knative.fake.store import Key
from tests.deploy.knative.test_canary import page
from tests.deploy.knative.test_diagnosis import SITUATIONS, replay

from trimtab.cli.app import app
from trimtab.deploy.knative.ingress import through
from trimtab.errors import Conflict

Trimtab = Callable[..., Result]


@pytest.fixture
def trimtab(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trimtab:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    text = f"apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {{name: hello}}\nspec: {{handler: hello, build: {{image: '{IMAGE}'}}}}\n"
    (tmp_path / "function.yaml").write_text(text)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return run


def test_deploy_prints_the_url(trimtab: Trimtab) -> None:
    result = trimtab("deploy", "function.yaml", "--target", "knative", "-o", "json")
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert (done["url"], done["revision"], done["changed"]) == (
        "http://hello.default.example.com/",
        "hello-00001",
        True,
    )
    again = trimtab("deploy", "function.yaml", "--target", "knative")
    assert again.stdout == "hello is unchanged: hello-00001 serves http://hello.default.example.com/\n"


def test_the_other_commands_work_as_on_this_machine(trimtab: Trimtab) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    trimtab("deploy", "function.yaml", "--target", "knative", "--max", "4")
    here = ("--target", "knative")
    assert [f["name"] for f in json.loads(trimtab("ls", *here, "-o", "json").stdout)] == ["hello"]
    found = json.loads(trimtab("get", "hello", *here, "-o", "json").stdout)
    assert (found["scale"]["max"], [r["percent"] for r in found["revisions"]]) == (4, [0, 100])
    split = trimtab("traffic", "hello", "hello-00001=90", "latest=10", *here, "-o", "json")
    assert [r["percent"] for r in json.loads(split.stdout)["revisions"]] == [90, 10]
    back = trimtab("rollback", "hello", "--to", "hello-00001", *here, "-o", "json")
    assert [r["percent"] for r in json.loads(back.stdout)["revisions"]] == [100, 0]
    logs = trimtab("logs", "hello", *here, "--raw").stdout
    assert logs.splitlines() == ["hello from hello-00001", "hello from hello-00002"]
    assert trimtab("delete", "hello", "--yes", *here).stdout == "hello is deleted\n"
    gone = trimtab("get", "hello", *here)
    assert (gone.exit_code, gone.stderr) == (3, "error: no function 'hello': none is deployed\n")


def test_preflight_prints_a_table_and_fails_when_a_check_does(trimtab: Trimtab, cluster: FakeCluster) -> None:
    result = trimtab("preflight", "function.yaml")
    assert result.exit_code == 0, result.output
    assert "CHECK" in result.stdout
    cluster.groups.remove("serving.knative.dev/v1")
    result = trimtab("preflight", "-o", "json")
    assert result.exit_code == 1
    (row,) = [row for row in json.loads(result.stdout) if not row["ok"]]
    assert (row["name"], row["found"]) == ("knative", "not there")


def test_a_preflight_that_fails_ends_a_deployment_with_what_to_do(trimtab: Trimtab, cluster: FakeCluster) -> None:
    cluster.groups.remove("serving.knative.dev/v1")
    result = trimtab("deploy", "function.yaml", "--target", "knative")
    assert result.exit_code == 6
    assert "the target 'knative' is not ready for this; nothing was changed:\n  knative: not there" in result.stderr
    assert cluster.writes == []


def test_a_revision_that_crashes_ends_with_the_sentence_and_what_serves(trimtab: Trimtab, knative: Knative) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    knative.outcome = replay(SITUATIONS["crash at start"])
    result = trimtab("deploy", "function.yaml", "--target", "knative", "--max", "2")
    assert result.exit_code == 6
    assert "ModuleNotFoundError: No module named 'panda'" in result.stderr
    assert "Serving: hello-00001 (100%)." in result.stderr


def test_diff_shows_fields(trimtab: Trimtab) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    same = trimtab("diff", "function.yaml")
    assert (same.exit_code, same.stderr) == (0, "No differences.\n")
    result = trimtab("diff", "function.yaml", "--max", "7", "-o", "json")
    assert result.exit_code == 1
    rows = {row["field"]: row["desired"] for row in json.loads(result.stdout)}
    assert rows['spec.template.metadata.annotations["autoscaling.knative.dev/max-scale"]'] == "7"


def test_the_same_image_goes_from_one_target_to_the_next(
    trimtab: Trimtab, cluster: FakeCluster, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "targets.yaml").write_text("targets: {production: {context: other}}")
    cluster.add("v1", "namespaces", "shop", "")
    trimtab("deploy", "function.yaml", "--target", "knative")
    result = trimtab("promote", "hello", "--from", "knative", "--target", "production", "--max", "7")
    assert result.exit_code == 0, result.output
    there = cluster.object("serving.knative.dev/v1", "services", "hello", "shop")
    assert there["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert there["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] == "7"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hello"], "--from NAME and --target NAME say from which cluster it goes to which. A challenger is named"),
        (["hello", "--from", "local", "--target", "knative"], "this machine runs code, not images"),
        (
            ["hello/iris", "--target", "knative"],
            "'hello/iris' is a challenger's endpoint, which takes no options but -o",
        ),
        (["hello/iris", "--max", "3"], "'hello/iris' is a challenger's endpoint, which takes no options but -o"),
        (["hello", "--from", "nope", "--target", "knative"], "'nope' is not one of local, knative"),
    ],
)
def test_what_cannot_be_promoted_is_refused(trimtab: Trimtab, words: list[str], said: str) -> None:
    result = trimtab("promote", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_no_wait_says_that_nothing_was_waited_for(trimtab: Trimtab, knative: Knative) -> None:
    knative.outcome = lambda *_: None
    result = trimtab("deploy", "function.yaml", "--target", "knative", "--no-wait")
    assert result.exit_code == 0
    assert result.stdout.startswith("hello is applied after ")
    assert result.stdout.endswith("; `trimtab get hello` shows whether it serves\n")


@pytest.mark.parametrize("command", ["ls", "get hello", "preflight", "deploy function.yaml", "diff function.yaml"])
def test_no_secret_is_printed_whatever_fails(
    trimtab: Trimtab, cluster: FakeCluster, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_DEBUG", "1")
    cluster.token = "another"
    words = command.split()
    result = trimtab(*words, "--target", "knative")
    assert result.exit_code != 0
    assert "401" in result.output
    assert "s3cret" not in result.output


def test_options_for_clusters_are_refused_here(trimtab: Trimtab) -> None:
    result = trimtab("deploy", "function.yaml", "--no-wait")
    assert result.exit_code == 2
    assert (
        "--no-wait, --wait-timeout, --force-conflicts and --hold are for clusters: add --target NAME" in result.stderr
    )


def test_a_target_that_is_not_there(trimtab: Trimtab) -> None:
    result = trimtab("ls", "--target", "nope")
    assert result.exit_code == 2
    assert "'nope' is not one of local, knative; $TRIMTAB_HOME/targets.yaml names more" in result.stderr


def test_export_says_what_the_cluster_has(trimtab: Trimtab, tmp_path: Path) -> None:
    stream = "{kind: stream, name: s, url: 'redis://redis?stream=o', consumers: {max: 3}}"
    head = "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
    (tmp_path / "streamed.yaml").write_text(
        f"{head}spec: {{handler: a, build: {{image: '{IMAGE}'}}, triggers: [{stream}]}}"
    )
    here = ("--target", "knative")
    assert "kind: ScaledObject" not in trimtab("export", "streamed.yaml", *here).stdout
    assert "kind: ScaledObject" in trimtab("export", "streamed.yaml", *here, "--keda").stdout
    job = "kind: job, triggers: [{kind: event, name: e}]"
    (tmp_path / "job.yaml").write_text(f"{head}spec: {{handler: a, build: {{image: '{IMAGE}'}}, {job}}}")
    assert "kind: JobSink" in trimtab("export", "job.yaml", *here).stdout
    assert "kind: RoleBinding" in trimtab("export", "job.yaml", *here, "--no-jobsink").stdout
    assert "--image, --keda and --no-jobsink go with --target" in trimtab("export", "job.yaml", "--keda").stderr


def test_export_goes_to_the_targets_namespace(trimtab: Trimtab, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "targets.yaml").write_text("targets: {shop: {namespace: shop}}")
    assert "namespace: shop" in trimtab("export", "function.yaml", "--target", "shop").stdout


class Ingress(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"host": self.headers.get_all("host"), "path": self.path}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_domain_that_does_not_resolve_is_reached_through_the_ingress(trimtab: Trimtab) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ingress)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        result = trimtab("invoke", "hello", "--target", "knative", "--ingress", address, "--path", "/x?a=1")
    finally:
        server.shutdown()
        server.server_close()
    assert json.loads(result.stdout) == {"host": ["hello.default.example.com"], "path": "/x?a=1"}


def test_the_load_balancer_is_found_by_itself(trimtab: Trimtab, cluster: FakeCluster) -> None:
    from trimtab.deploy.knative.client.api import Api
    from trimtab.deploy.knative.client.connect import connect
    from trimtab.deploy.knative.ingress import load_balancer

    assert load_balancer(Api(connect())) == ""
    status = {"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}
    cluster.add("v1", "services", "kourier", "kourier-system", status=status)
    assert load_balancer(Api(connect())) == "10.1.2.3"


def test_how_a_url_is_reached() -> None:
    url = "http://hello.default.nowhere.invalid/"
    assert through("http://localhost/", "", str) == ("http://localhost/", {})
    assert through(url, "10.0.0.1:80", str) == ("http://10.0.0.1:80/", {"host": "hello.default.nowhere.invalid"})
    assert through(url, "", lambda: "10.0.0.2") == ("http://10.0.0.2/", {"host": "hello.default.nowhere.invalid"})
    with pytest.raises(
        Conflict, match="does not resolve here, and neither a load balancer nor a pod of an ingress was found"
    ):
        through(url, "", str)
    with pytest.raises(Conflict, match="an ingress by its address is for http"):
        through("https://hello.default.nowhere.invalid/", "10.0.0.1", str)


def test_a_canary_is_held_back_and_then_promoted(trimtab: Trimtab, cluster: FakeCluster) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    none = trimtab("canary", "hello", "--last")
    assert (none.exit_code, none.stderr) == (
        3,
        "error: 'hello' has had no canary: `trimtab canary hello` makes one\n",
    )
    held = trimtab("deploy", "function.yaml", "--target", "knative", "--max", "2", "--hold")
    assert held.exit_code == 0, held.output
    cluster.metrics["hello-00002-deployment-1"] = [page(0), page(100)]
    done = trimtab("canary", "hello", "--steps", "10,100", "--every", "1ms", "-o", "json")
    assert json.loads(done.stdout)["state"] == "promoted"
    assert done.stderr == "  10%: 100 requests, 0.00% errors, p99 up to 0.025 s\n"
    assert "hello-00002 has all the traffic" in trimtab("canary", "hello").stderr
    kept = trimtab("canary", "hello", "--last")
    assert kept.stdout == "  10%: 100 requests, 0.00% errors, p99 up to 0.025 s\nhello-00002 is promoted\n", kept.output
    assert trimtab("canary", "hello", "--last", "-o", "json").stdout == done.stdout


def test_a_canary_that_was_rolled_back_is_shown_without_an_error(trimtab: Trimtab, cluster: FakeCluster) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    trimtab("deploy", "function.yaml", "--target", "knative", "--max", "2", "--hold")
    cluster.metrics["hello-00002-deployment-1"] = [page(0), page(90, 10)]
    done = trimtab("canary", "hello", "--every", "1ms")
    why = "hello-00002 is rolled back: 10.00% of 100 answers were 5xx; at most 1.00% may be\n"
    assert (done.exit_code, done.stdout) == (1, why)
    kept = trimtab("canary", "hello", "--last")
    assert (kept.exit_code, kept.stdout.splitlines()[-1]) == (0, why.strip())


def test_a_record_of_another_version_does_not_hide_the_other_functions(
    trimtab: Trimtab, cluster: FakeCluster, tmp_path: Path
) -> None:
    job = (tmp_path / "function.yaml").read_text().replace("hello", "train").replace("spec: {", "spec: {kind: job, ")
    (tmp_path / "job.yaml").write_text(job)
    here = ("--target", "knative")
    for each in ("function.yaml", "job.yaml"):
        assert trimtab("deploy", each, *here).exit_code == 0
    for name, change in (("hello", ("{", '{"newField": 1, ')), ("train", ('"spec":{', '"spec":{"later":1,'))):
        key = Key("v1", "configmaps", "default", f"{name}-trimtab")
        item = cluster.store.get(key)
        item["data"]["function.json"] = item["data"]["function.json"].replace(*change, 1)
        cluster.store.put(key, item)
    found = {each["name"]: each for each in json.loads(trimtab("ls", *here, "-o", "json").stdout)}
    assert {name: each["kind"] for name, each in found.items()} == {"hello": "http", "train": "job"}
    assert found["hello"]["url"] == "http://hello.default.example.com/"
    where = "ConfigMap {}-trimtab, data.function.json, {}: found 1, allowed: no field of this name"
    assert f"its record cannot be read: {where.format('hello', 'newField')}" in found["hello"]["last_error"]
    run = trimtab("run", "train", *here)
    assert (run.exit_code, where.format("train", "spec.later") in run.stderr) == (5, True), run.output
    assert "Another version of Trimtab wrote it: use that one, or deploy again" in run.stderr
    assert 'data["function.json"].newField' in trimtab("diff", "function.yaml", *here).stdout
    assert trimtab("delete", "hello", "train", "--yes", *here).exit_code == 0
    assert json.loads(trimtab("ls", *here, "-o", "json").stdout) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"image": "x"}, "data.function.json: found nothing"),
        ({"image": "x", "function.json": "}"}, "data.function.json: found '}'"),
        ({"function.json": "{}"}, "data.image: found nothing"),
        (None, "data.image: found nothing"),
    ],
)
def test_a_record_that_somebody_broke_is_told(
    trimtab: Trimtab, cluster: FakeCluster, data: dict[str, str] | None, said: str
) -> None:
    trimtab("deploy", "function.yaml", "--target", "knative")
    key = Key("v1", "configmaps", "default", "hello-trimtab")
    item = cluster.store.get(key)
    item["data"] = data
    cluster.store.put(key, item)
    found = json.loads(trimtab("get", "hello", "--target", "knative", "-o", "json").stdout)
    assert said in found["last_error"]
    assert found["kind"] == "http"
    assert trimtab("diff", "function.yaml", "--target", "knative").exit_code == 1


def test_steps_that_cannot_be_are_refused(trimtab: Trimtab) -> None:
    result = trimtab("canary", "hello", "--steps", "50,10")
    assert result.exit_code == 2
    assert "'50,10' is not a list of percents that grow, such as 10,50,100" in result.stderr
