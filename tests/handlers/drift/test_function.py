"""The drift check on a timer: each closed window once, whoever is killed, and its reports over HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.artifacts import open_store
from trimtab.errors import DataError, PermanentError, SpecError, TrimtabError
from trimtab.events import Envelope
from trimtab.handlers.documents import open_documents
from trimtab.handlers.drift.function import Checker, Handler, rule
from trimtab.handlers.drift.progress import KEPT, Reports
from trimtab.handlers.drift.report import DriftReport
from trimtab.handlers.drift.rule import Rule
from trimtab.handlers.monitor.monitor import Monitor
from trimtab.handlers.monitor.settings import from_environ
from trimtab.handlers.records import Inference, Label, label_event, to_event
from trimtab.runtime.event import PING, Event
from trimtab.sketches import Reference

ENDPOINT = "shop/churn"
RULE = Rule(window=60.0, run_time=6000.0)


class Killed(BaseException):
    """What SIGKILL is to the code: it ends here."""


class Scene:
    """A monitor with a clock of its own, a model's training data, and a sink that keeps what it gets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_000_000.0 * 60
        self.draw = np.random.default_rng(3)
        rows = {"age": self.draw.normal(size=2000), "spend": self.draw.normal(size=2000)}
        self.reference = Reference.fit(rows, labels=self.draw.integers(0, 2, 2000))
        self.posted: list[Envelope] = []
        self.monitor = self.opened()
        self.number = 0

    def opened(self) -> Monitor:
        settings = from_environ({"TRIMTAB_HOME": str(self.folder), "TRIMTAB_MONITOR_WINDOW_SECONDS": "60"})
        return Monitor.open(settings, lookup=lambda _: (self.reference, ""), clock=lambda: self.now)

    def window(self, rows: int = 300, *, shift: float = 0.0, labels: bool = False) -> None:
        """Let a minute of traffic go by, and its window be closed."""
        self.number += 1
        ids = [f"{self.number}-{row}" for row in range(rows)]
        predictions = self.draw.integers(0, 2, rows).tolist()
        record = Inference(
            endpoint=ENDPOINT,
            model="m",
            function="shop",
            revision="shop-00002",
            columns=["age", "spend"],
            inputs=[(self.draw.normal(size=rows) + shift).tolist(), self.draw.normal(size=rows).tolist()],
            predictions=predictions,
            ids=ids,
            requests=ids,
            latency_us=[100] * rows,
            times=[self.now] * rows,
        )
        self.monitor.accept(to_event(record))
        if labels:
            self.monitor.accept(label_event(Label(endpoint=ENDPOINT, ids=ids, labels=predictions), "/lab"))
        self.monitor.tick(flush=True)
        self.now += 60.0
        self.now += self.monitor.settings.lateness + 1.0
        self.monitor.tick(flush=True)
        self.now -= self.monitor.settings.lateness + 1.0

    def checker(self, post: Any = None, rule: Rule = RULE) -> Checker:
        documents = open_documents(f"sqlite://{self.folder}/state.db")
        store = open_store(f"file://{self.folder}/artifacts")
        return Checker(self.monitor, store, Reports(documents), rule, post or self.posted.append)

    def reports(self) -> list[DriftReport]:
        return [DriftReport.from_json(event.data or b"") for event in self.posted]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.monitor.close()


def test_each_closed_window_is_judged_once_and_told_as_an_event(scene: Scene) -> None:
    checker = scene.checker()
    scene.window()
    checker.tick()
    scene.window(shift=1.5)
    checker.tick()
    checker.tick()
    quiet, drifted = scene.reports()
    assert (quiet.severity, quiet.number, quiet.endpoint, quiet.model) == ("none", 1, ENDPOINT, "m")
    assert quiet.revision == "shop-00002"
    assert (drifted.severity, drifted.drifted, drifted.horizon) == ("detected", True, "short")
    assert [feature.name for feature in drifted.features if feature.state == "detected"] == ["age"]
    event = scene.posted[1]
    assert (event.type, event.id, event.attributes["subject"]) == ("dev.trimtab.drift", f"{ENDPOINT}/2", ENDPOINT)
    assert (event.attributes["drifted"], event.attributes["severity"], event.attributes["model"]) == (
        "true",
        "detected",
        "m",
    )


def test_the_long_horizon_finds_what_is_too_small_for_one_window(scene: Scene) -> None:
    checker = scene.checker(rule=Rule(window=60.0, run_time=600_000.0, effect=0.02))
    for _ in range(12):
        scene.window(shift=0.2)
    checker.tick()
    assert scene.reports()[0].severity != "detected"
    assert (scene.reports()[-1].severity, scene.reports()[-1].horizon) == ("detected", "long")


def test_a_window_with_too_few_rows_gets_no_verdict(scene: Scene) -> None:
    scene.window(rows=5)
    scene.checker().tick()
    (report,) = scene.reports()
    assert (report.severity, report.drifted) == ("unknown", None)
    assert "not enough data" in report.message


def test_a_report_says_which_change_the_evidence_supports(scene: Scene) -> None:
    scene.window(shift=1.5, labels=True)
    scene.checker().tick()
    (report,) = scene.reports()
    assert (report.performance["accuracy"], report.performance["labels"]) == (1.0, 300)
    assert report.change["supported"] == ["covariate drift"]


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(5))
def test_a_check_that_is_killed_anywhere_reports_each_window_once(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)

    def post(event: Envelope) -> None:
        if chance.random() < 0.3:
            raise Killed
        scene.posted.append(event)
        if chance.random() < 0.3:
            raise Killed

    for _ in range(6):
        scene.window()
        try:
            scene.checker(post).look(ENDPOINT)
        except Killed:
            continue
    scene.checker().look(ENDPOINT)
    numbers = [int(event.id.rpartition("/")[2]) for event in scene.posted]
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6]
    told = {event.id: event.data for event in scene.posted}
    assert all(event.data == told[event.id] for event in scene.posted), "told twice, it is the same report"


def test_while_the_sink_is_away_reports_wait_and_go_out_in_order(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: Envelope) -> None:
        raise TrimtabError("nobody is there")

    for _ in range(3):
        scene.window()
        scene.checker(away).tick()
    assert scene.posted == []
    assert "is looked at again: nobody is there" in caplog.text
    scene.checker().tick()
    assert [report.number for report in scene.reports()] == [1, 2, 3]


def test_reports_are_bounded(scene: Scene) -> None:
    reports = Reports(open_documents(f"sqlite://{scene.folder}/state.db"))
    for number in range(1, KEPT + 11):
        reports.add("e", number, number, DriftReport(method="default", severity="none", number=number))
        reports.posted("e", number)
    assert reports.progress("e").kept == list(range(11, KEPT + 11))
    assert reports.report("e", 11).number == 11
    with pytest.raises(TrimtabError, match=rf"there is no report of window 1 of 'e'; there are 11 to {KEPT + 10}"):
        reports.report("e", 1)


class TestFunction:
    @pytest.fixture
    def handler(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Handler:
        made = Handler()
        made._checker = scene.checker()
        return made

    def test_a_tick_checks_and_a_get_shows(self, handler: Handler, scene: Scene) -> None:
        scene.window(shift=1.5)
        tick = Event.of({"method": "POST", "path": "/"}, b"", None, Envelope({"type": PING}))
        assert handler(None, tick) is None
        (shown,) = handler(None, Event(path="/", fields={"endpoint": ENDPOINT}))
        assert msgspec.convert(shown, DriftReport).severity == "detected"
        (summary,) = handler(None, Event(path="/"))["endpoints"]
        assert (summary["endpoint"], summary["severity"], summary["drifted"]) == (ENDPOINT, "detected", ["age"])

    def test_what_it_does_not_take_is_said(self, handler: Handler) -> None:
        with pytest.raises(PermanentError, match="the check runs by a cron trigger; reports are read by GET"):
            handler(None, Event(method="POST"))
        with pytest.raises(PermanentError, match=r"type: found 'com\.x', allowed: 'dev\.knative\.sources\.ping'"):
            handler(None, Event.of({"method": "POST"}, b"", None, Envelope({"type": "com.x"})))
        with pytest.raises(PermanentError, match="last: found 'many', allowed: a whole number from 1"):
            handler(None, Event(fields={"endpoint": ENDPOINT, "last": "many"}))


def test_the_rule_is_read_from_the_environment() -> None:
    assert rule({}) == Rule()
    assert rule({"TRIMTAB_DRIFT_WINDOW": "60", "TRIMTAB_DRIFT_LONG": "12"}) == Rule(window=60.0, long=12)
    with pytest.raises(SpecError, match="environment variable TRIMTAB_DRIFT_LONG: found 'many', allowed: a number"):
        rule({"TRIMTAB_DRIFT_LONG": "many"})
    with pytest.raises(SpecError, match=r"rule\.window: found 9000000000"):
        rule({"TRIMTAB_DRIFT_WINDOW": "9000000000"})


def test_a_damaged_report_is_named() -> None:
    with pytest.raises(DataError, match="this is no drift report"):
        DriftReport.from_json(b"{}")
