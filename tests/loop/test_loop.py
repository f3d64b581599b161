"""The loop, with a real daemon, real jobs and real data: serve, watch, find drift, train, compare, roll out."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
from tests.deploy.local.conftest import until
from tests.loop.conftest import Clinic

from trimtab.artifacts import open_store

SHIFT = {"mean radius": 2.0, "worst radius": 2.5, "worst area": 2.0}


def verdicts(clinic: Clinic, since: float = 0.0, model: str = "") -> list[str]:
    found = [each for each in clinic.reports() if (each.start or 0.0) >= since]
    return [each.severity for each in found if model in ("", each.model)]


def succeeded(clinic: Clinic) -> list[Any]:
    return [run for run in clinic.local.target.runs("train") if run.state == "succeeded"]


@pytest.mark.timeout(300)
def test_a_shift_is_found_named_and_answered_by_a_better_model_and_a_trifle_is_not(clinic: Clinic) -> None:
    clinic.deploy()
    clinic.visit_until(lambda: verdicts(clinic).count("none") >= 4)
    assert set(verdicts(clinic)) <= {"none", "unknown"}
    assert clinic.loop().incident is None

    clinic.shift = SHIFT
    clinic.visit_until(lambda: "detected" in verdicts(clinic))
    first = next(each for each in clinic.reports() if each.severity == "detected")
    named = {feature.name for feature in first.features if feature.state == "detected"}
    assert named <= {*SHIFT}
    assert named

    clinic.visit_until(lambda: clinic.loop().decisions, within=150)
    (decision,) = clinic.loop().decisions
    assert decision.outcome == "promoted", decision.reason
    assert decision.figures is not None
    assert decision.figures.challenger > decision.figures.champion
    assert clinic.loop().champion == decision.challenger
    until(lambda: not clinic.loop().todo, 60)  # the tag follows the decision
    store = open_store()
    assert store.get(clinic.first.uri).version_uri == decision.challenger
    (run,) = succeeded(clinic)
    assert run.artifacts["tumour"] == decision.challenger
    assert store.get(decision.challenger).metadata.producer.uid == run.id  # type: ignore[union-attr]

    clinic.shift = {**SHIFT, "mean smoothness": 0.05}
    settled = time.time()
    champion = decision.challenger
    clinic.visit_until(lambda: verdicts(clinic, settled, champion).count("none") >= 4)
    assert set(verdicts(clinic, settled, champion)) <= {"none", "unknown"}
    assert len(clinic.local.target.runs("train")) == 1
    assert clinic.failed == 0
    events = [event["type"] for event in clinic.local.target.events(tail=None)]
    for kind in (
        "endpoint",
        "inference",
        "label",
        "drift",
        "incident",
        "retrain",
        "run",
        "comparison",
        "rollout",
        "decision",
    ):
        assert f"dev.trimtab.{kind}" in events


@pytest.mark.chaos
@pytest.mark.timeout(420)
def test_killed_at_random_hand_overs_there_is_one_candidate_and_one_rollout(clinic: Clinic) -> None:
    clinic.deploy(cooldown="10m", keep=10)
    clinic.visit_until(lambda: verdicts(clinic).count("none") >= 2)
    clinic.shift = SHIFT
    over = threading.Event()

    def kill() -> None:
        chance = random.Random(11)
        while not over.wait(chance.uniform(1.5, 8.0)):
            clinic.local.kill()
            clinic.local.target.up()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        clinic.visit_until(lambda: clinic.loop().decisions, within=330)
    finally:
        over.set()
        killer.join()
    until(lambda: not clinic.loop().todo, 60)
    loop = clinic.loop()
    assert [decision.outcome for decision in loop.decisions] == ["promoted"], loop.decisions
    assert loop.champion == loop.decisions[0].challenger
    runs = [run for run in succeeded(clinic) if run.artifacts["tumour"] == loop.champion]
    assert len(runs) == 1
    assert len(succeeded(clinic)) == 1
    posted = [event for event in clinic.local.target.events(tail=None) if event["type"] == "dev.trimtab.drift"]
    windows = {(event["source"], event["id"]) for event in posted}
    print(f"{len(posted)} drift events for {len(windows)} windows, {clinic.failed} of {clinic.sent} requests failed")
