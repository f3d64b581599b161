"""Every command against a target in memory: what it prints, what it asks for, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import trimtab
from trimtab.cli.exits import Exit
from trimtab.deploy.abc import DeadLetter, RunInfo
from trimtab.spec import CronTrigger, EventTrigger, FunctionSpec, Scale, TrafficTarget, loads

Cli = Callable[..., Result]
Read = Callable[[Result], Any]


# deploy


def test_deploy_prints_the_url_and_starts_a_daemon(cli: Cli, target: Any, hello: Path) -> None:
    result = cli("deploy", "hello.py")
    assert result.stdout == "hello-00001 is ready after 42 ms: http://127.0.0.1:8/hello/\n"
    assert (result.stderr, result.exit_code, target.started) == ("", 0, [True])


def test_deploy_of_the_same_says_that_nothing_changed(cli: Cli, hello: Path) -> None:
    cli("deploy", "hello.py")
    result = cli("deploy", "hello.py")
    assert result.stdout == "hello is unchanged: hello-00001 serves http://127.0.0.1:8/hello/\n"
    forced = cli("deploy", "hello.py", "--force")
    assert forced.stdout.startswith("hello-00002 is ready")
    assert forced.stderr == "warning: volumes are not used\n"


def test_deploy_in_json(cli: Cli, document: Read, hello: Path) -> None:
    answer = document(cli("deploy", "hello.py", "-o", "json"))
    assert {name: answer[name] for name in ("name", "revision", "changed")} == {
        "name": "hello",
        "revision": "hello-00001",
        "changed": True,
    }
    assert answer["url"].endswith("/")
    assert [(stage["name"], stage["ms"]) for stage in answer["stages"]] == [("source", 2.0), ("replica", 40.0)]


def test_a_model_server_without_code_needs_no_source(cli: Cli, target: Any, tmp_path: Path) -> None:
    result = cli("deploy", "--model", f"rf:v1={tmp_path / 'm.pkl'}", "--model", "b=store://models/p/b", "--track")
    assert result.exit_code == 0, result.stderr
    spec = target.documents["rf"].spec
    assert (spec.kind, spec.source.path, spec.tracking is not None) == ("serving", None, True)
    assert [(each.key, each.path) for each in spec.models] == [
        ("rf:v1", str(tmp_path / "m.pkl")),
        ("b", "store://models/p/b"),
    ]
    for arguments in (("deploy",), ("deploy", "--kind", "http", "--model", "a=b"), ("serve",)):
        refused = cli(*arguments)
        assert refused.exit_code == Exit.USAGE
        assert "--model KEY=PATH" in refused.stderr


def test_every_flag_of_deploy_arrives_in_the_spec(cli: Cli, target: Any, hello: Path) -> None:
    flags = [
        "--name",
        "greet",
        "--kind",
        "serving",
        "--handler",
        "greet",
        "--requirements",
        "numpy",
        "--env",
        "A=b=c",
        "--timeout",
        "5s",
        "--sink",
        "default",
        "--min",
        "1",
        "--max",
        "4",
        "--initial",
        "2",
        "--activation",
        "2",
        "--concurrency",
        "3",
        "--metric",
        "rps",
        "--scale-target",
        "5.5",
        "--utilization",
        "80",
        "--window",
        "6s",
        "--panic-window",
        "20",
        "--panic-threshold",
        "300",
        "--delay",
        "1s",
        "--retention",
        "2s",
        "--workers",
        "2",
        "--timezone",
        "UTC",
    ]
    result = cli("deploy", "hello.py", *flags, "--cron", "@every 10s", "--on", "type=com.x", "--filter", "a = 'b'")
    assert result.exit_code == 0, result.stderr
    spec: FunctionSpec = target.documents["greet"].spec
    scale = {name: getattr(spec.scale, name) for name in spec.scale.__struct_fields__}
    assert scale == {
        "min": 1,
        "max": 4,
        "initial": 2,
        "activation": 2,
        "concurrency": 3,
        "metric": "rps",
        "target": 5.5,
        "utilization": 80,
        "window": "6s",
        "panic_window": 20,
        "panic_threshold": 300,
        "delay": "1s",
        "retention": "2s",
        "workers": 2,
    }
    assert (spec.kind, spec.handler, spec.timeouts.request) == ("serving", "hello:greet", "5s")
    assert (spec.env[0].name, spec.env[0].value, spec.build.requirements) == ("A", "b=c", ["numpy"])
    assert spec.sink is not None
    assert spec.sink.broker == "default"
    assert spec.triggers == [
        CronTrigger(name="cron", schedule="@every 10s"),
        EventTrigger(name="on-com-x", filters=[{"exact": {"type": "com.x"}}]),
        EventTrigger(name="filter", filters=[{"cesql": "a = 'b'"}]),
    ]


def test_a_version_that_does_not_start_shows_its_traceback_and_what_serves(cli: Cli, hello: Path) -> None:
    cli("deploy", "hello.py")
    hello.write_text("raise ValueError('no')\n")
    result = cli("deploy", "hello.py", "--env", "A=b")
    assert result.exit_code == Exit.DEPLOY
    assert result.stdout == ""
    assert result.stderr == (
        "Traceback: raise ValueError('no')\n"
        "error: hello-00002 does not start: ValueError: no\n"
        "Serving: hello-00001 (100%).\n"
    )
    first = cli("deploy", "hello.py", "--name", "other")
    assert first.stderr.endswith("There is no earlier revision of other.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.py"], "there is no 'gone.py' here"),
        (["hello.py", "--env", "A"], "'A' is not KEY=VALUE"),
        (["hello.py", "--min", "-1"], "-1 is not in the range x>=0"),
        (["hello.py", "--on", "com.x"], "say ATTRIBUTE=VALUE"),
        (["hello.py", "--target", "moon"], "'moon' is not one of local, knative"),
    ],
)
def test_a_wrong_command_line_ends_with_2(cli: Cli, hello: Path, arguments: list[str], message: str) -> None:
    result = cli("deploy", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


# ls, get, delete


def test_ls_lists_and_get_describes(cli: Cli, document: Read, hello: Path, target: Any) -> None:
    assert cli("ls").stderr == "No functions. `trimtab deploy FILE.py` makes one.\n"
    cli("deploy", "hello.py", "--cron", "@hourly", "--min", "1")
    assert cli("ls").stdout.splitlines() == [
        "NAME   KIND  URL                        REPLICAS  REVISION     TRIGGERS",
        "hello  http  http://127.0.0.1:8/hello/  1         hello-00001  cron",
    ]
    described = document(cli("get", "hello", "-o", "json"))
    assert described.keys() >= {"name", "kind", "url", "revisions", "replicas", "scale", "triggers", "last_error"}
    assert described["revisions"][0]["percent"] == 100
    assert described["last_error"] is None
    assert (described["scale"]["min"], described["scale"]["window"]) == (1, Scale().window), "defaults are written out"
    assert document(cli("ls", "-o", "json")) == [described]
    shown = cli("get", "hello").stdout
    assert "hello-00001  ready  100%" in shown
    assert "hello/cron" in shown
    assert not any(target.started[2:]), "looking starts no daemon"


@pytest.mark.parametrize("command", ["get", "logs", "traffic", "rollback", "invoke", "run"])
def test_an_unknown_function_is_answered_with_those_there_are(cli: Cli, hello: Path, command: str) -> None:
    nothing = cli(command, "hallo")
    assert (nothing.exit_code, nothing.stderr) == (3, "error: no function 'hallo': none is deployed\n")
    cli("deploy", "hello.py")
    cli("deploy", "hello.py", "--name", "shop")
    result = cli(command, "hallo")
    assert result.exit_code == 3
    assert result.stderr == "error: no function 'hallo'. Did you mean 'hello'? Deployed: hello, shop\n"


def test_delete_asks_only_where_there_is_somebody_to_ask(cli: Cli, target: Any, hello: Path) -> None:
    cli("deploy", "hello.py")
    asked = cli("delete", "hello")
    assert (asked.exit_code, list(target.deployed)) == (2, ["hello"])
    assert "say --yes to delete" in asked.stderr
    result = cli("delete", "hello", "gone", "--yes")
    assert (result.exit_code, result.stdout, list(target.deployed)) == (3, "hello is deleted\n", [])


# traffic, rollback


def test_traffic_is_split_and_rolled_back(cli: Cli, target: Any, document: Read, hello: Path) -> None:
    cli("deploy", "hello.py")
    cli("deploy", "hello.py", "--force")
    shown = document(cli("traffic", "hello", "hello-00001=90", "latest=10", "--tag", "canary=latest", "-o", "json"))
    assert [revision["percent"] for revision in shown["revisions"]] == [90, 10]
    assert "canary" in shown["revisions"][1]["urls"]
    assert target.calls[-1][2] == [
        TrafficTarget(revision="hello-00001", percent=90),
        TrafficTarget(percent=10, tag="canary"),
    ]
    before = len(target.calls)
    assert "90%" in cli("traffic", "hello").stdout
    assert len(target.calls) == before, "without shares nothing is changed"
    assert "canary" not in cli("traffic", "hello", "--untag", "canary").stdout
    assert document(cli("rollback", "hello", "-o", "json"))["revisions"][0]["percent"] == 100
    missing = cli("rollback", "hello", "--to", "hello-00009")
    assert (missing.exit_code, missing.stderr) == (3, "error: 'hello' has no revision 'hello-00009'\n")


def test_there_may_be_nothing_to_roll_back_to(cli: Cli, hello: Path) -> None:
    cli("deploy", "hello.py")
    assert cli("rollback", "hello").exit_code == Exit.CONFLICT


# logs


def test_logs_are_rendered_unless_they_are_wanted_raw(cli: Cli, target: Any, hello: Path) -> None:
    cli("deploy", "hello.py")
    record = '{"time":0,"level":"info","message":"hi","n":1}'
    target.lines["hello"] = ["plain", record]
    assert cli("logs", "hello").stdout.endswith("INFO    hi n=1\n")
    assert cli("logs", "hello").stdout.startswith("plain\n")
    for raw in (["--raw"], ["-o", "json"]):
        assert cli("logs", "hello", "--tail", "1", *raw).stdout == f"{record}\n"


# run, runs


def test_run_streams_the_log_and_prints_results(cli: Cli, target: Any, hello: Path) -> None:
    target.next_run = RunInfo(
        id="abc", function="hello", state="succeeded", created=0, started=1.0, finished=3.5, results={"accuracy": 0.9}
    )
    target.log_of_run = ["training", '{"time":0,"level":"info","message":"done"}']
    result = cli("run", "hello.py:train", "-p", "depth=3", "-p", "q=a=b", "--input", "data=x.csv", "--timeout", "5m")
    assert (result.exit_code, result.stdout) == (0, "accuracy  0.9\n")
    assert result.stderr.startswith("training\n")
    assert result.stderr.endswith("INFO    done\nrun abc succeeded after 2.5s\n")
    _, function, parameters, inputs, artifacts, wait = target.calls[0]
    spec = function.spec
    assert (spec.kind, spec.handler, spec.job.active_deadline) == ("job", "hello:train", "5m")
    assert (parameters, inputs, artifacts, wait) == ({"depth": "3", "q": "a=b"}, {"data": "x.csv"}, None, True)


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 130), ("running", 0)])
def test_a_runs_end_is_the_exit_code(cli: Cli, target: Any, hello: Path, state: Any, code: int) -> None:
    target.next_run = RunInfo(id="abc", function="hello", state=state, created=0, error="ValueError: no")
    result = cli("run", "hello.py", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (code, state)
    told = cli("run", "hello.py").stderr
    assert told == {"failed": "run abc failed: ValueError: no\n", "succeeded": told, "running": told}.get(
        state, "run abc cancelled\n"
    )


def test_a_deployed_job_is_run_by_its_name(cli: Cli, target: Any, hello: Path) -> None:
    cli("deploy", "hello.py", "--kind", "job", "--name", "nightly")
    assert cli("run", "nightly", "--detach").stdout == "abc123\n"
    _, function, _, _, _, wait = target.calls[0]
    assert (function.metadata.name, function.spec.source.path, wait) == ("nightly", None, False)
    assert "a deployed job has its own" in cli("run", "nightly", "--env", "A=b").stderr
    cli("deploy", "hello.py")
    refused = cli("run", "hello")
    assert (refused.exit_code, "only jobs are run" in refused.stderr) == (Exit.CONFLICT, True)


def test_runs_are_listed_shown_and_cancelled(cli: Cli, target: Any, document: Read) -> None:
    assert "No runs." in cli("runs").stderr
    for identity, function in (("abc1", "train"), ("abd2", "train"), ("xyz3", "other")):
        target.history.append(
            RunInfo(id=identity, function=function, state="running", created=0, parameters={"p": "1"}, error="a\nb")
        )
    assert [run["id"] for run in document(cli("runs", "--function", "train", "-o", "json"))] == ["abc1", "abd2"]
    assert len(cli("runs").stdout.splitlines()) == 4
    assert "parameter p  1" in cli("runs", "x").stdout
    assert document(cli("runs", "abc", "--cancel", "-o", "json"))["state"] == "cancelled"
    assert cli("runs", "--cancel").exit_code == 2
    assert cli("runs", "q").exit_code == 3
    ambiguous = cli("runs", "ab")
    assert (ambiguous.exit_code, ambiguous.stderr) == (7, "error: 'ab' is the beginning of 2 runs: abc1, abd2\n")


# events, triggers, dead letters


def test_events_are_printed_by_the_line(cli: Cli, target: Any) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "com.x", "time": "2026-01-31T08:00:00Z"}
    target.accepted = [
        {**event, "region": "eu", "datacontenttype": "application/json", "data": {"x": 1}},
        {**event, "id": "2", "data_base64": "AA=="},
    ]
    assert cli("events").stdout == (
        '2026-01-31T08:00:00Z com.x /s 1 region=eu {"x":1}\n2026-01-31T08:00:00Z com.x /s 2 (binary)\n'
    )
    lines = cli("events", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == target.accepted


def test_publish_posts_to_the_broker(cli: Cli, target: Any, server: Any) -> None:
    target.broker_url, server.answer = f"{server.url}default", (202, {}, b"")
    result = cli("publish", "com.x", "-d", '{"x":1}', "--source", "/me", "--id", "7", "--ext", "k=v", "--broker", "b")
    assert (result.exit_code, result.stdout) == (0, "7\n")
    ((method, path, headers, body),) = server.requests
    assert (method, path, body) == ("POST", "/b", b'{"x":1}')
    attributes = {name: headers[f"ce-{name}"] for name in ("type", "source", "id", "k")}
    assert attributes == {"type": "com.x", "source": "/me", "id": "7", "k": "v"}
    server.answer = (404, {}, b'{"error": "no broker b"}')
    refused = cli("publish", "com.x")
    assert (refused.exit_code, refused.stderr) == (
        3,
        "error: the broker refused the event: 404 Not Found no broker b\n",
    )


def test_triggers_are_listed_fired_paused_and_resumed(cli: Cli, target: Any, document: Read, hello: Path) -> None:
    assert "No triggers." in cli("trigger", "ls").stderr
    cli("deploy", "hello.py", "--cron", "@hourly", "--on", "type=com.x")
    assert [t["name"] for t in document(cli("trigger", "ls", "hello", "-o", "json"))] == ["cron", "on-com-x"]
    assert "hello/on-com-x" in cli("trigger", "ls").stdout
    assert cli("trigger", "fire", "hello/cron").stdout == "hello/cron/manual\n"
    assert cli("trigger", "pause", "hello/cron").stdout == "hello/cron is paused\n"
    assert target.triggers("hello")[0].state == "paused"
    assert cli("trigger", "resume", "hello/cron").stdout == "hello/cron is active\n"
    assert "delivered" in cli("trigger", "history", "hello/cron").stdout
    assert document(cli("trigger", "history", "hello/cron", "-o", "json"))[0]["attempts"] == 1
    unknown = cli("trigger", "fire", "hello/corn")
    assert (unknown.exit_code, unknown.stderr) == (
        3,
        "error: no trigger 'hello/corn'. Did you mean 'hello/cron'? There are: hello/cron, hello/on-com-x\n",
    )
    assert cli("trigger", "fire", "hello").exit_code == 2


def test_dead_letters_are_shown_redriven_and_dropped(cli: Cli, target: Any, document: Read) -> None:
    assert cli("dead", "ls").stderr == "No dead letters.\n"
    target.letters = [
        DeadLetter(
            id=number,
            function=function,
            trigger="on-x",
            event={"id": str(number), "type": "com.x"},
            reason="500 from the function",
            died=0.0,
            history=[(0.0, 500, "no"), (1.0, 0, "refused")],
        )
        for number, function in ((1, "a"), (2, "a"), (3, "b"))
    ]
    assert len(cli("dead", "ls").stdout.splitlines()) == 4
    assert len(document(cli("dead", "ls", "--function", "a", "-o", "json"))) == 2
    shown = cli("dead", "show", "2").stdout
    assert "1970-01-01T00:00:01.000+00:00  -       refused" in shown
    assert document(cli("dead", "show", "2", "-o", "json"))["event"]["id"] == "2"
    assert cli("dead", "show", "9").exit_code == 3
    assert cli("dead", "redrive", "1").stdout == "1 event delivered again\n"
    assert cli("dead", "drop", "--all", "--function", "a").stdout == "1 event dropped\n"
    assert cli("dead", "drop", "--all").stdout == "1 event dropped\n"
    assert cli("dead", "drop", "--all").stdout == "0 events dropped\n"
    assert cli("dead", "drop", "1").exit_code == 3
    for wrong in ([], ["1", "--all"], ["1", "--function", "a"]):
        assert cli("dead", "redrive", *wrong).exit_code == 2


# export, schema, simulate, version, daemon


def test_what_is_exported_is_read_back(cli: Cli, hello: Path) -> None:
    text = cli("export", "hello.py", "--min", "1", "--cron", "@hourly").stdout
    function = loads(text)
    assert (function.metadata.name, function.spec.scale.min, function.spec.source.path) == ("hello", 1, "hello.py")
    again = cli("export", "hello.py", "--min", "1", "--cron", "@hourly", "-o", "json").stdout
    assert loads(again) == function


def test_what_is_exported_from_elsewhere_keeps_its_whole_path(cli: Cli, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "x.py"
    path.touch()
    assert f"path: {path}" in cli("export", str(path)).stdout


def test_an_impossible_function_is_refused(cli: Cli, hello: Path) -> None:
    result = cli("export", "hello.py", "--min", "4", "--max", "2")
    assert result.exit_code == Exit.SPEC
    assert "spec.scale.max: found 2" in result.stderr


def test_what_nuclio_documents_lose_is_listed(cli: Cli, document: Read, tmp_path: Path) -> None:
    (tmp_path / "function.yaml").write_text(
        "apiVersion: nuclio.io/v1\nkind: NuclioFunction\nmetadata: {name: old}\n"
        "spec: {handler: 'main:handle', runtime: 'python:3.11', loggerSinks: [{level: debug}]}\n"
    )
    exported = cli("export", "function.yaml")
    assert (exported.exit_code, loads(exported.stdout).metadata.name) == (0, "old")
    assert "warning: not carried over: " in exported.stderr
    report = cli("export", "function.yaml", "--nuclio-report")
    assert (report.stderr, "loggerSinks" in report.stdout) == ("", True)
    assert document(cli("export", "function.yaml", "--nuclio-report", "-o", "json")) == report.stdout.splitlines()


def test_the_schema_is_json(cli: Cli, document: Read) -> None:
    assert "$defs" in document(cli("schema"))


def test_simulate_draws_or_counts(cli: Cli, document: Read, tmp_path: Path) -> None:
    arguments = ["simulate", "--load", "0s:5rps,10s", "--max", "2", "--concurrency", "1", "--window", "6s"]
    assert "replicas" in cli(*arguments).stdout
    report = document(cli(*arguments, "-o", "json"))
    assert 1 <= report["peak_replicas"] <= 2
    (tmp_path / "trace.csv").write_text("timestamp,duration\n0,0.1\n1,0.1\n")
    assert document(cli("simulate", "trace.csv", "--cold-start", "2s", "-o", "json"))["requests"] == 2
    assert cli("simulate").exit_code == 2
    assert cli("simulate", "trace.csv", "--load", "0s:1rps").exit_code == 2
    assert cli("simulate", "--load", "0s:1rps", "--min", "3", "--max", "2").exit_code == Exit.SPEC


def test_version_in_both_forms(cli: Cli, document: Read) -> None:
    assert cli("version").stdout.startswith("trimtab ")
    assert document(cli("version", "-o", "json")).keys() == {"trimtab", "python"}


def test_the_daemon_is_started_described_and_stopped(cli: Cli, target: Any, document: Read, hello: Path) -> None:
    assert cli("up").stdout.startswith("The daemon is started.\npid")
    assert document(cli("up", "-o", "json"))["started"] is True
    assert document(cli("status", "-o", "json"))["pid"] == 1
    assert cli("status").stdout.startswith("pid        1\n")
    assert cli("down").stdout == "No daemon was running.\n"
    cli("deploy", "hello.py")
    assert cli("down").stdout == "The daemon is stopped.\n"


# models


def test_models_are_listed_and_shown(cli: Cli, document: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRIMTAB_ARTIFACTS", raising=False)
    assert "No models in file:///" in cli("models").stderr
    project = trimtab.get_or_create_project("flowers")
    first = project.log_model("iris", {"a": 1}, metrics={"accuracy": 0.912345})
    second = project.log_model(
        "iris", {"a": 2}, tag="v2", metrics={"accuracy": 0.95, "rows": 7}, parameters={"depth": 3}
    )
    heading, row = cli("models").stdout.splitlines()
    assert heading.split() == ["MODEL", "VERSION", "TAGS", "METRICS", "CREATED"]
    assert row.split()[:5] == ["flowers/iris", second.version, "latest,v2", "accuracy=0.95", "rows=7"]
    assert f"flowers/iris  {first.version}  -          accuracy=0.9123" in cli("models", "--all").stdout
    listed = document(cli("models", "--project", "flowers", "--all", "-o", "json"))
    assert [(each["uri"], each["tags"]) for each in listed] == [
        (second.version_uri.replace(":v2", ":latest"), ["latest", "v2"]),
        (f"store://models/flowers/iris#0@{first.version}", []),
    ]
    shown = cli("models", "get", "flowers/iris").stdout
    assert f"uri              store://models/flowers/iris#0:latest@{second.version}" in shown
    assert "metric accuracy  0.95" in shown
    assert "parameter depth  3" in shown
    one = document(cli("models", "get", first.version_uri, "-o", "json"))
    assert (one["metadata"]["tree"], one["spec"]["metrics"]) == (first.version, {"accuracy": 0.912345})
    missing = cli("models", "get", "flowers/irs")
    assert (missing.exit_code, missing.stderr) == (
        3,
        "error: store://models/flowers/irs#0:latest: project 'flowers' has no model 'irs'; its models: iris\n",
    )
    assert "there is no project 'x' in" in cli("models", "--project", "x").stderr


def test_a_runs_artifacts_are_shown(cli: Cli, target: Any, hello: Path) -> None:
    target.next_run.artifacts = {"model": "store://models/p/m#0:latest@1"}
    assert "model  store://models/p/m#0:latest@1" in cli("run", str(hello)).stdout
    target.history = [target.next_run]
    assert "artifact model  store://models/p/m#0:latest@1" in cli("runs", target.next_run.id).stdout
