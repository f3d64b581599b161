"""The functions that watch models, the rule of retraining, and labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from tests.project.conftest import EchoTarget

import trimtab
from trimtab.errors import NotFound, SpecError
from trimtab.project import monitoring
from trimtab.project.function import FunctionHandle
from trimtab.spec import CronTrigger, EventTrigger


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trimtab.Project:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return trimtab.get_or_create_project("shop", context=str(tmp_path / "shop"))


@pytest.fixture(name="heard")
def _heard(target: EchoTarget) -> Iterator[list[dict[str, Any]]]:
    """The events that were posted to the target's broker."""
    events: list[dict[str, Any]] = []

    class Broker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))) | {"headers": self.headers})
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Broker) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        target.broker = lambda name="default": f"http://127.0.0.1:{server.server_port}/{name}"  # type: ignore[method-assign]
        yield events
        server.shutdown()
        thread.join()


def env(function: FunctionHandle) -> dict[str, str]:
    return {each.name: each.value or "" for each in function.function.spec.env}


class TestWatching:
    def test_three_functions_share_windows_and_hear_what_concerns_them(self) -> None:
        monitor, drift, retrain = monitoring.functions("30m", rows=500, effect=0.1, look="10s")
        assert [each.metadata.name for each in (monitor, drift, retrain)] == [
            "trimtab-monitor", "trimtab-drift", "trimtab-retrain",
        ]  # fmt: skip
        for each in (monitor, drift, retrain):
            assert env(each)["TRIMTAB_MONITOR_WINDOW_SECONDS"] == "1800"
            assert env(each)["TRIMTAB_MONITOR_WINDOW_ROWS"] == "500"
        assert env(drift)["TRIMTAB_DRIFT_EFFECT"] == "0.1"
        assert "TRIMTAB_DRIFT_MIN_ROWS" not in env(drift)
        (event,) = monitor.function.spec.triggers
        (timer,) = drift.function.spec.triggers
        assert isinstance(event, EventTrigger)
        assert event.filters == [
            {"any": [{"exact": {"type": "dev.trimtab.inference"}}, {"exact": {"type": "dev.trimtab.label"}}]}
        ]
        assert isinstance(timer, CronTrigger)
        assert timer.schedule == "@every 5m"
        assert {type(each) for each in retrain.function.spec.triggers} == {EventTrigger, CronTrigger}
        assert monitor.function.spec.scale.min == 1

    @pytest.mark.parametrize(("period", "schedule"), [("1s", "1s"), ("100s", "15s"), ("1h", "10m"), ("40h", "6h")])
    def test_the_drift_check_looks_at_even_times(self, period: str, schedule: str) -> None:
        (timer,) = monitoring.functions(period)[1].function.spec.triggers
        assert isinstance(timer, CronTrigger)
        assert timer.schedule == f"@every {schedule}"

    def test_an_image_gets_what_they_need(self, project: trimtab.Project, target: EchoTarget) -> None:
        project.enable_model_monitoring(target=target)
        assert [each.spec.build.requirements for each in target.deployed.values()] == [[], [], []]
        found = monitoring.functions(images=True, log_volume="rows")
        for each in found:
            (volume,) = each.function.spec.volumes
            assert volume.source.persistent_volume_claim == "rows"
            assert env(each)["TRIMTAB_MONITOR_LOG"] == volume.mount_path
        assert [each.function.spec.build.requirements for each in found] == [["trimtab[ml,redis,s3]"]] * 3

    def test_a_cluster_needs_a_volume_for_the_log(self) -> None:
        with pytest.raises(SpecError, match="log_volume: found nothing, allowed: a PersistentVolumeClaim that several"):
            monitoring.functions(images=True)

    @pytest.mark.parametrize("given", [{"base_period": "soon"}, {"base_period": "1h", "look": "x"}])
    def test_a_time_that_is_none_is_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(SpecError):
            monitoring.functions(**given)

    def test_they_are_deployed_and_removed(self, project: trimtab.Project, target: EchoTarget) -> None:
        urls = project.enable_model_monitoring("1m", target=target)
        assert sorted(urls) == sorted(target.deployed) == ["trimtab-drift", "trimtab-monitor", "trimtab-retrain"]
        project.disable_model_monitoring(target=target)
        assert target.deployed == {}
        with pytest.raises(NotFound):
            project.disable_model_monitoring(target=target)

    def test_what_is_left_of_them_is_removed_too(self, project: trimtab.Project, target: EchoTarget) -> None:
        project.enable_model_monitoring(target=target)
        target.delete("trimtab-retrain")
        project.disable_model_monitoring(target=target)
        assert target.deployed == {}


class TestRule:
    def test_the_job_that_is_given_gets_the_trigger_once(self, hello: Path) -> None:
        serving = trimtab.new_function("churn", kind="serving")
        job = trimtab.code_to_function("train", kind="job", filename=str(hello))
        for confirm in (1, 3):
            serving.set_retraining(job, confirm=confirm, once_per="cooldown", comparison={"metric": "f1"})
        rule = serving.function.spec.retrain
        assert rule is not None
        assert (rule.function, rule.confirm, rule.once_per, rule.comparison.metric) == ("train", 3, "cooldown", "f1")
        (trigger,) = job.function.spec.triggers
        assert isinstance(trigger, EventTrigger)
        assert trigger.filters == [{"exact": {"type": "dev.trimtab.retrain", "function": "train"}}]

    def test_a_name_is_enough(self) -> None:
        serving = trimtab.new_function("churn", kind="serving").set_retraining("train")
        assert serving.function.spec.retrain is not None

    def test_a_word_that_is_none_is_named(self) -> None:
        serving = trimtab.new_function("churn", kind="serving")
        with pytest.raises(SpecError, match=r"retrain\.cooldwn: found '1h', allowed: no field"):
            serving.set_retraining("train", cooldwn="1h")

    def test_only_models_are_retrained(self, hello: Path) -> None:
        with pytest.raises(SpecError, match="'serving', for a function whose models are retrained"):
            trimtab.code_to_function("hello", filename=str(hello)).set_retraining("train")


class TestLabels:
    def test_they_are_posted_to_the_broker(
        self, project: trimtab.Project, target: EchoTarget, heard: list[dict[str, Any]]
    ) -> None:
        project.log_labels("churn/forest", ["r1-0", "r1-1"], np.array([1, 0]), target=target)
        (event,) = heard
        assert event["headers"]["ce-type"] == "dev.trimtab.label"
        assert event["headers"]["ce-source"].startswith("/projects/shop")
        assert (event["endpoint"], event["ids"], event["labels"]) == ("churn/forest", ["r1-0", "r1-1"], [1, 0])

    def test_there_is_one_for_each_row(self, project: trimtab.Project, target: EchoTarget) -> None:
        with pytest.raises(SpecError, match="labels: found '1 labels', allowed: one for each of the 2 ids"):
            project.log_labels("churn/forest", ["a", "b"], [1], target=target)
