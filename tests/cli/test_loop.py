"""What people see of the loop and say to it; the function that keeps it is a web server here that keeps what it is told."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from tests.cli.conftest import MemoryTarget, Recorder

from trimtab.handlers.retrain.state import Attempt, Decision, Figures, Incident, Loop
from trimtab.project.monitoring import RETRAIN
from trimtab.spec import check, from_dict

OLD, NEW = "store://models/shop/churn@aaaa", "store://models/shop/churn@bbbb"


@pytest.fixture(name="keeper")
def _keeper(target: MemoryTarget, server: Recorder) -> Recorder:
    """The deployed function that keeps the loops."""
    spec = {"source": {"code": "def handler(context, event): pass"}}
    document = {"apiVersion": "trimtab.dev/v1", "kind": "Function", "metadata": {"name": RETRAIN}, "spec": spec}
    target.deploy(check(from_dict(document)))
    target.deployed[RETRAIN].url = server.url
    return server


def loop(**changes: Any) -> Loop:
    return msgspec.structs.replace(Loop(endpoint="shop/churn", champion=OLD), **changes)


def attempt(stage: Any) -> Attempt:
    now = time.time()
    return Attempt(id="t1", incident="i1", stage=stage, since=now - 120, started=now, fresh=now, champion=OLD)


def says(keeper: Recorder, answer: Any, status: int = 200) -> None:
    keeper.answer = (status, {"content-type": "application/json"}, msgspec.json.encode(answer))


def test_history_shows_each_attempt_with_its_figures_and_why(cli: Callable[..., Result], keeper: Recorder) -> None:
    figures = Figures(metric="accuracy", champion=0.7, challenger=0.91, gain=0.21, low=0.15, high=0.27, rows=400)
    decision = Decision(
        attempt="t1", incident="i1", time=time.time() - 60, outcome="promoted", reason="it is better by +0.21",
        champion=OLD, challenger=NEW, figures=figures,
    )  # fmt: skip
    failed = Decision(
        attempt="t2", incident="i1", time=time.time(), outcome="failed", reason="the training died", champion=OLD
    )
    now = time.time()
    incident = Incident(id="i1", opened=now - 300, settled=now - 240, last=now, features=["age", "income"])
    says(keeper, {"loops": [loop(champion=NEW, decisions=[decision, failed], incident=incident)]})
    found = cli("models", "history")
    assert found.exit_code == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[1].split()[:2] == ["shop/churn", "bbbb"]
    assert "since 5m ago: age, income" in lines[1]
    assert "0.7" in lines[4]
    assert "+0.21 (+0.15 to +0.27)" in lines[4]
    assert lines[4].split()[-1] == "400"
    assert lines[-2:] == ["bbbb: promoted: it is better by +0.21", "t2: failed: the training died"]
    assert keeper.requests[0][:2] == ("GET", "/")


def test_history_of_one_endpoint_as_json(cli: Callable[..., Result], keeper: Recorder) -> None:
    says(keeper, loop())
    found = cli("models", "history", "shop/churn", "-o", "json")
    assert json.loads(found.stdout)[0]["champion"] == OLD
    assert keeper.requests[0][1] == "/shop/churn"


def test_an_empty_history_says_what_makes_one(cli: Callable[..., Result], keeper: Recorder) -> None:
    says(keeper, {"loops": []})
    assert "A model server with tracking registers its models" in cli("models", "history").stderr


@pytest.mark.parametrize(
    ("verb", "stage", "said"),
    [
        ("approve", "training", "a training runs (since 2m ago)"),
        ("promote", "canary", "a challenger answers a share of the requests (since 2m ago)"),
    ],
)
def test_people_are_named_to_the_loop(
    cli: Callable[..., Result], keeper: Recorder, verb: str, stage: str, said: str
) -> None:
    says(keeper, loop(attempt=attempt(stage)))
    found = cli(verb, "shop/churn")
    assert (found.exit_code, found.stdout) == (0, f"{said}\n")
    method, path, _, body = keeper.requests[0]
    assert (method, path, json.loads(body)) == ("POST", f"/shop/churn/{verb}", {"by": getpass.getuser()})


def test_a_rejection_leaves_the_champion(cli: Callable[..., Result], keeper: Recorder) -> None:
    says(keeper, loop())
    assert cli("reject", "shop/churn").stdout == f"shop/churn: the champion is {OLD}\n"


def test_what_the_loop_refuses_is_said(cli: Callable[..., Result], keeper: Recorder) -> None:
    says(keeper, {"error": "shop/churn: no training waits for approval"}, status=409)
    found = cli("approve", "shop/churn")
    assert found.exit_code != 0
    assert "shop/churn: no training waits for approval" in found.stderr


def test_without_monitoring_it_says_what_deploys_it(cli: Callable[..., Result], tmp_path: Path) -> None:
    found = cli("models", "history")
    assert found.exit_code != 0
    assert "'trimtab-retrain' is not deployed: `project.enable_model_monitoring()` deploys what watches" in found.stderr
