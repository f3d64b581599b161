"""The runner: what was heard is kept, what is asked for is done, whoever is killed in between."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import StoreError, TrimtabError
from trimtab.handlers.documents import Documents, open_documents
from trimtab.handlers.retrain.messages import Compared, Judged, Message, Observed, Registered, RunEnded
from trimtab.handlers.retrain.runner import Runner
from trimtab.handlers.retrain.state import Action, Figures, Loop, Traffic
from trimtab.spec.retrain import Retrain, Rollout

WON = Figures(metric="accuracy", champion=0.8, challenger=0.9, gain=0.1, low=0.05, high=0.15, rows=400)
RULE = Retrain(function="train", confirm=1, rollout=Rollout(steps=[50], interval=0))


class Killed(BaseException):
    """What SIGKILL is to the code: it ends here."""


class World:
    """Does things at once, and may be killed before or after each of them."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.chance = chance
        self.done: list[Action] = []
        self.away = False

    def do(self, loop: Loop, action: Action) -> Sequence[Message]:
        if self.away:
            raise TrimtabError("the broker does not answer")
        self._die()
        self.done.append(action)
        self._die()
        if action.kind == "train":
            return [RunEnded(action.id, "run", True, "v2")]
        return [Compared(action.data["attempt"], WON)] if action.kind == "compare" else []

    def _die(self) -> None:
        if self.chance is not None and self.chance.random() < 0.3:
            raise Killed

    def ids(self, kind: str) -> set[str]:
        return {action.id for action in self.done if action.kind == kind}


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    opened = open_documents(f"sqlite://{tmp_path}/loop.db")
    yield opened
    opened.close()


def drift(runner: Runner) -> None:
    runner.hear("iris/clf", Registered("v1", "iris", RULE))
    runner.hear("iris/clf", Judged(0.0, 1.0, "detected", ["petal"]))


def test_a_drift_trains_compares_and_begins_a_rollout(documents: Documents) -> None:
    world = World()
    runner = Runner(documents, world, lambda: 100.0)
    drift(runner)
    loop = runner.loop("iris/clf")
    assert loop.todo == []
    assert loop.attempt is not None
    assert loop.attempt.stage == "canary"
    assert [action.kind for action in world.done if action.kind != "announce"] == ["train", "compare", "route"]


def test_what_cannot_be_done_now_is_done_later(documents: Documents, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.away = True
    runner = Runner(documents, world, lambda: 100.0)
    drift(runner)
    assert {action.kind for action in runner.loop("iris/clf").todo} == {"train", "announce"}
    assert "is tried again later: the broker does not answer" in caplog.text
    world.away = False
    assert runner.work("iris/clf").todo == []


def test_endpoints_are_known_by_their_names_whatever_these_are(documents: Documents) -> None:
    runner = Runner(documents, World())
    for name in ("iris/clf", "äpfel/sorte:v1 %"):
        runner.hear(name, Registered("v1", "iris", None))
    assert runner.endpoints() == ["iris/clf", "äpfel/sorte:v1 %"]


def test_a_document_of_a_newer_version_is_not_overwritten(documents: Documents) -> None:
    documents.put("loop/e", b'{"endpoint": 1}', 0)
    runner = Runner(documents, World())
    with pytest.raises(StoreError, match="the loop of 'e' cannot be read"):
        runner.hear("e", Observed())
    assert documents.get("loop/e").version == 1


def test_hearing_the_same_again_writes_nothing(documents: Documents) -> None:
    runner = Runner(documents, World(), lambda: 100.0)
    drift(runner)
    before = documents.get("loop/iris%2Fclf").version
    drift(runner)
    assert documents.get("loop/iris%2Fclf").version == before


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_hand_overs_there_is_one_training_and_one_rollout(tmp_path: Path, seed: int) -> None:
    chance, url = random.Random(seed), f"sqlite://{tmp_path}/loop.db"
    world, now = World(chance), 100.0
    events: list[Any] = [
        Registered("v1", "iris", RULE),
        *(Judged(float(n), n + 1.0, "detected", ["petal"]) for n in range(3)),
    ]
    unheard = list(events)
    for _ in range(300):
        now += 10.0
        documents = open_documents(url)
        runner = Runner(documents, world, lambda: now)  # noqa: B023  read at once
        try:
            for event in list(unheard):  # a broker tells again what was not acknowledged
                runner.hear("iris/clf", event)
                unheard.remove(event)
            runner.hear("iris/clf", Observed({"v2": Traffic(requests=100, latency=1.0)}))
            runner.work("iris/clf")
        except Killed:
            continue
        finally:
            documents.close()
    loop = Runner(open_documents(url), World()).loop("iris/clf")
    assert len(world.ids("train")) == 1
    assert [decision.outcome for decision in loop.decisions] == ["promoted"]
    assert (loop.champion, loop.todo, loop.attempt) == ("v2", [], None)
    assert [action.data["champion"] for action in world.done if action.kind == "route"][-1] == "v2"
