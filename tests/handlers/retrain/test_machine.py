"""The loop's state machine: what it asks of the world, and that nothing twice, late or lost changes the outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.handlers.retrain.machine import TOLD, TRIES, step
from trimtab.handlers.retrain.messages import (
    Approved,
    Compared,
    Done,
    Judged,
    Message,
    Observed,
    Registered,
    Rejected,
    RunEnded,
)
from trimtab.handlers.retrain.rollout import since
from trimtab.handlers.retrain.state import Action, Figures, Loop, Severity, Traffic
from trimtab.spec.retrain import Comparison, Guard, Retrain, Rollout

HOUR = 3600.0
WON = Figures(metric="accuracy", champion=0.8, challenger=0.9, gain=0.1, low=0.05, high=0.15, rows=400)
LOST = Figures(metric="accuracy", champion=0.8, challenger=0.81, gain=0.01, low=-0.02, high=0.04, rows=400)


def rule(**changes: Any) -> Retrain:
    return Retrain(function="train", **changes)


def begun(of: Retrain | None = None) -> Loop:
    made = rule() if of is None else of
    return step(Loop(endpoint="iris/clf", champion="v1"), Registered("v1", "iris", made), 0.0)


def window(number: int, severity: Severity, *features: str) -> Judged:
    return Judged(number * HOUR, (number + 1) * HOUR, severity, list(features))


def run(loop: Loop, messages: Iterable[Message], now: float = 0.0) -> Loop:
    for message in messages:
        if isinstance(message, Judged):
            now = max(now, message.end)
        loop = step(loop, message, now)
    return loop


def asked(loop: Loop, kind: str) -> list[Action]:
    return [action for action in loop.todo if action.kind == kind]


def route(loop: Loop) -> dict[str, Any]:
    """The route that is asked for, but for its number."""
    (action,) = asked(loop, "route")
    return {name: value for name, value in action.data.items() if name != "number"}


def said(loop: Loop, what: str) -> list[Action]:
    return [action for action in asked(loop, "announce") if action.data["what"] == what]


def drifting(of: Retrain | None = None) -> Loop:
    """A loop whose training has been asked for."""
    return run(begun(of), [window(0, "none"), window(1, "detected", "petal"), window(2, "detected", "petal")])


def trained(of: Retrain | None = None, model: str = "v2") -> Loop:
    loop = drifting(of)
    assert loop.attempt is not None
    return step(loop, RunEnded(loop.attempt.training, "run1", True, model), 4 * HOUR)


def rolling(of: Retrain | None = None) -> Loop:
    loop = trained(of)
    assert loop.attempt is not None
    return step(loop, Compared(loop.attempt.id, WON), 4 * HOUR)


class TestIncidents:
    def test_the_first_drifted_window_opens_an_incident_and_says_so(self) -> None:
        loop = run(begun(), [window(0, "none"), window(1, "detected", "petal")])
        assert loop.incident is not None
        assert (loop.incident.opened, loop.incident.features) == (HOUR, ["petal"])
        assert [each.data["state"] for each in said(loop, "incident")] == ["open"]

    def test_a_training_waits_until_the_drift_is_confirmed(self) -> None:
        loop = run(begun(), [window(1, "detected")])
        assert loop.attempt is None
        loop = run(loop, [window(2, "none"), window(3, "detected")])
        assert [each.data["function"] for each in asked(loop, "train")] == ["train"]

    def test_one_drifted_window_is_enough_when_the_rule_says_so(self) -> None:
        assert asked(run(begun(rule(confirm=1)), [window(1, "detected")]), "train")

    def test_a_possible_drift_counts_only_when_the_rule_says_so(self) -> None:
        windows = [window(1, "possible"), window(2, "possible")]
        assert run(begun(), windows).incident is None
        assert asked(run(begun(rule(on="possible")), windows), "train")

    def test_clean_windows_close_an_incident_and_say_so(self) -> None:
        loop = run(drifting(), [window(3, "none"), window(4, "none")])
        assert loop.incident is not None
        loop = run(loop, [window(5, "none")])
        assert loop.incident is None
        assert [each.data["state"] for each in said(loop, "incident")] == ["open", "closed"]

    def test_a_drifted_window_in_between_starts_the_count_of_clean_ones_anew(self) -> None:
        loop = run(drifting(), [window(3, "none"), window(4, "none"), window(5, "detected"), window(6, "none")])
        assert loop.incident is not None
        assert loop.incident.clean == 1

    def test_a_window_without_a_verdict_is_neither_drifted_nor_clean(self) -> None:
        loop = run(drifting(), [window(n, "unknown") for n in range(3, 9)])
        assert loop.incident is not None
        assert loop.incident.clean == 0

    def test_an_incident_leads_to_one_training(self) -> None:
        loop = trained()
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, LOST), 5 * HOUR)
        loop = run(loop, [window(n, "detected") for n in range(5, 30)])
        assert (loop.attempt, asked(loop, "train")) == (None, [])

    def test_the_next_incident_waits_for_the_cooldown(self) -> None:
        loop = trained(rule(cooldown="20h"))
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, LOST), 5 * HOUR)
        clean = [window(n, "none") for n in range(5, 9)]
        loop = run(loop, [*clean, window(9, "detected"), window(10, "detected")])
        assert loop.attempt is None
        loop = step(loop, Observed(), 22 * HOUR)
        assert loop.attempt is None
        assert step(loop, Observed(), 23.5 * HOUR).attempt is not None

    def test_once_per_cooldown_trains_again_within_an_incident(self) -> None:
        loop = trained(rule(once_per="cooldown"))
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, LOST), 5 * HOUR)
        loop = run(loop, [window(n, "detected") for n in range(5, 10)])
        assert loop.attempt is not None
        assert loop.incident is not None
        assert loop.incident.attempts == 2

    def test_a_window_that_another_model_answered_says_nothing(self) -> None:
        former = [Judged(n * HOUR, (n + 1) * HOUR, "detected", ["petal"], "v0") for n in range(3)]
        assert run(begun(), former) == begun()
        ours = [Judged(n * HOUR, (n + 1) * HOUR, "detected", ["petal"], "v1") for n in range(3)]
        assert run(begun(), ours).attempt is not None

    def test_an_endpoint_that_nobody_registered_has_no_loop(self) -> None:
        assert run(Loop(endpoint="e", champion=""), [window(1, "detected")]) == Loop(endpoint="e", champion="")

    def test_without_a_rule_verdicts_are_kept_and_nothing_is_started(self) -> None:
        loop = step(Loop(endpoint="e", champion="v1"), Registered("v1", "iris", None), 0.0)
        loop = run(loop, [window(n, "detected") for n in range(3)])
        assert (len(loop.verdicts), loop.todo) == (3, [])


class TestTrainings:
    def test_a_training_is_told_what_it_is_for(self) -> None:
        (action,) = asked(drifting(rule(mode="stateful", data="window", parameters={"depth": 3})), "train")
        assert action.data["champion"] == "v1"
        assert (action.data["mode"], action.data["data"], action.data["parameters"]) == (
            "stateful",
            "window",
            {"depth": 3},
        )
        assert (action.data["since"], action.data["until"], action.data["features"]) == (2 * HOUR, 3 * HOUR, ["petal"])

    def test_a_training_that_wants_approval_starts_after_it(self) -> None:
        loop = drifting(rule(approval=True))
        assert loop.attempt is not None
        assert asked(loop, "train") == []
        assert [each.data["waits"] for each in said(loop, "approval")] == ["training"]
        assert asked(step(loop, Approved(loop.attempt.id), 5 * HOUR), "train")

    def test_a_training_that_is_rejected_is_recorded(self) -> None:
        loop = drifting(rule(approval=True))
        assert loop.attempt is not None
        loop = step(loop, Rejected(loop.attempt.id, "ada"), 5 * HOUR)
        assert loop.attempt is None
        assert loop.decisions[0].outcome == "rejected"
        assert loop.decisions[0].reason == "rejected by ada while it was in stage 'approval'"

    def test_a_failed_training_is_a_decision_with_its_reason(self) -> None:
        loop = drifting()
        assert loop.attempt is not None
        loop = step(loop, RunEnded(loop.attempt.training, "run1", False, error="KeyError: 'petal'"), 4 * HOUR)
        assert [(each.outcome, each.reason) for each in loop.decisions] == [
            ("failed", "the training failed: KeyError: 'petal'")
        ]

    def test_a_training_that_logs_no_model_has_failed(self) -> None:
        assert trained(model="").decisions[0].reason == "the training logged no model (context.log_model)"

    def test_a_lost_training_is_asked_for_again_a_few_times(self) -> None:
        loop = drifting()
        for _ in range(TRIES - 1):
            assert loop.attempt is not None
            before = loop.attempt.training
            loop = step(loop, RunEnded(before, "run", False, error="the daemon ended", lost=True), 4 * HOUR)
            assert loop.attempt is not None
            assert loop.attempt.training != before
        assert loop.attempt is not None
        loop = step(loop, RunEnded(loop.attempt.training, "run", False, error="the daemon ended", lost=True), 4 * HOUR)
        assert loop.decisions[0].outcome == "failed"

    def test_a_run_that_nobody_waits_for_changes_nothing(self) -> None:
        loop = drifting()
        assert step(loop, RunEnded("another", "run9", True, "v9"), 4 * HOUR) == loop

    def test_a_training_that_never_ends_fails_after_its_time(self) -> None:
        loop = step(drifting(rule(timeout="2h")), Observed(), 6 * HOUR)
        assert loop.decisions[0].reason == "the training did not end within 2h"


class TestComparisons:
    def test_a_challenger_that_does_not_win_is_refused_with_the_figures(self) -> None:
        loop = trained()
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, LOST), 5 * HOUR)
        assert loop.champion == "v1"
        assert loop.decisions[0].outcome == "refused"
        assert loop.decisions[0].figures == LOST
        assert loop.decisions[0].reason == (
            "accuracy 0.81 against 0.8 on 400 rows, gain +0.01 (95% interval -0.02 to +0.04): "
            "the interval does not lie above 0"
        )
        assert asked(loop, "route") == []

    def test_a_gain_below_the_least_is_refused(self) -> None:
        loop = trained(rule(comparison=Comparison(min_gain=0.2)))
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, WON), 5 * HOUR)
        assert loop.decisions[0].reason.endswith("the gain is below minGain (0.2)")

    def test_too_few_labels_are_waited_for_and_then_given_up(self) -> None:
        loop = trained(rule(comparison=Comparison(patience="10h")))
        assert loop.attempt is not None
        too_few = Compared(loop.attempt.id, None, 40)
        loop = step(loop, Done([each.id for each in loop.todo]), 4 * HOUR)
        loop = step(loop, too_few, 5 * HOUR)
        loop = step(loop, Observed(), 5 * HOUR)
        assert len(asked(loop, "compare")) == 1
        loop = step(loop, too_few, 15 * HOUR)
        assert loop.decisions[0].reason == "only 40 held-out rows with labels came in 10h; 100 are needed"


class TestRollouts:
    def test_a_canary_goes_step_by_step_and_takes_over(self) -> None:
        loop = rolling()
        assert route(loop) == {"revision": "", "champion": "v1", "shares": {"v2": 10}, "shadow": None}
        well = {"v1": Traffic(requests=900, latency=1000), "v2": Traffic(requests=100, latency=1100)}
        early = step(loop, Observed(well), 4 * HOUR + 10)
        assert asked(early, "route")[0].data["shares"] == {"v2": 10}
        loop = step(loop, Observed(well), 4 * HOUR + 300)
        assert [each.data["shares"] for each in asked(loop, "route")] == [{"v2": 50}]
        loop = step(loop, Observed(well), 4 * HOUR + 600)
        assert (loop.champion, loop.attempt, loop.incident, loop.verdicts) == ("v2", None, None, [])
        assert route(loop) == {"revision": "", "champion": "v2", "shares": {}, "shadow": None}
        assert loop.decisions[0].outcome == "promoted"

    def test_a_canary_waits_for_requests_and_then_is_taken_back(self) -> None:
        few = Observed({"v2": Traffic(requests=3)})
        loop = step(rolling(), few, 20 * HOUR)
        assert loop.attempt is not None
        assert loop.attempt.step == 0
        loop = step(loop, few, 29 * HOUR)
        assert loop.decisions[0].reason == "it answered 3 requests in 24h of stage 'canary'; 50 are needed"

    def test_the_guard_takes_back_a_challenger_that_fails(self) -> None:
        loop = step(rolling(), Observed({"v2": Traffic(requests=60, errors=6)}), 4 * HOUR + 1)
        assert loop.decisions[0].outcome == "rolled back"
        assert loop.decisions[0].reason == "6 of its 60 requests failed (10.0%; allowed 1.0%)"
        assert route(loop) == {"revision": "", "champion": "v1", "shares": {}, "shadow": None}

    def test_the_guard_takes_back_a_challenger_that_is_slow(self) -> None:
        traffic = {"v1": Traffic(requests=60, latency=1000), "v2": Traffic(requests=60, latency=9000)}
        loop = step(rolling(), Observed(traffic), 4 * HOUR + 1)
        assert "9 times the champion's" in loop.decisions[0].reason

    def test_what_fails_for_both_is_not_the_challengers_fault(self) -> None:
        traffic = {"v1": Traffic(requests=60, errors=6), "v2": Traffic(requests=60, errors=6)}
        assert step(rolling(), Observed(traffic), 4 * HOUR + 1).attempt is not None

    def test_a_shadow_gets_copies_and_then_takes_over(self) -> None:
        loop = rolling(rule(rollout=Rollout(mode="shadow", guard=Guard(min_requests=10))))
        assert route(loop) == {"revision": "", "champion": "v1", "shares": {}, "shadow": "v2"}
        loop = step(loop, Observed({"v2": Traffic(requests=10, agreement=0.875)}), 5 * HOUR)
        assert loop.champion == "v2"
        assert loop.decisions[0].reason.endswith("agreed with the champion on 87.5%")

    def test_a_rollout_that_wants_approval_waits_for_it(self) -> None:
        loop = rolling(rule(rollout=Rollout(mode="approve")))
        assert loop.attempt is not None
        assert step(loop, Observed({"v2": Traffic(requests=999)}), 99 * HOUR).champion == "v1"
        loop = step(loop, Approved(loop.attempt.id, "ada"), 100 * HOUR)
        assert (loop.champion, loop.decisions[0].reason) == ("v2", "approved by ada")

    def test_a_rollout_can_be_rejected_under_way(self) -> None:
        loop = rolling()
        assert loop.attempt is not None
        loop = step(loop, Rejected(loop.attempt.id), 5 * HOUR)
        assert loop.champion == "v1"
        assert asked(loop, "route")[0].data["shares"] == {}

    def test_a_model_deployed_by_hand_ends_the_attempt_and_is_left_alone(self) -> None:
        loop = step(rolling(), Registered("v9", "iris", rule(), "iris-00002"), 5 * HOUR)
        assert (loop.champion, loop.attempt, loop.decisions[0].outcome) == ("v9", None, "rejected")
        assert [each for each in asked(loop, "route") if each.data["champion"] != "v1"] == []

    def test_an_older_replica_of_the_same_revision_does_not_bring_a_former_champion_back(self) -> None:
        loop = rolling()
        assert loop.attempt is not None
        loop = step(loop, Approved(loop.attempt.id), 5 * HOUR)
        assert step(loop, Registered("v1", "iris", rule()), 6 * HOUR).champion == "v2"

    def test_a_model_that_was_changed_by_hand_in_service_becomes_the_champion_once(self) -> None:
        loop = step(rolling(), Registered("v9", "iris", rule(), stamp=7), 5 * HOUR)
        assert (loop.champion, loop.attempt, loop.decisions[0].outcome) == ("v9", None, "rejected")
        assert step(loop, Registered("v1", "iris", rule()), 6 * HOUR).champion == "v9"
        assert step(loop, Registered("v5", "iris", rule(), stamp=6), 6 * HOUR).champion == "v9"
        anew = step(loop, Registered("v1", "iris", rule(), "iris-00002", 8.0), 6 * HOUR)
        assert (anew.champion, anew.stamp) == ("v1", 0)

    def test_the_champion_loaded_anew_by_hand_gets_its_canary_back(self) -> None:
        loop = step(rolling(), Done([each.id for each in rolling().todo]), 5 * HOUR)
        again = step(loop, Registered("v1", "iris", rule(), stamp=7), 5 * HOUR)
        assert (again.champion, again.attempt) == (loop.champion, loop.attempt)
        (route,) = asked(again, "route")
        assert list(route.data["shares"]) == ["v2"]

    def test_one_that_was_put_into_service_by_hand_is_promoted(self) -> None:
        loop = step(rolling(), Registered("v2", "iris", rule(), "iris-00002", 1.0), 5 * HOUR)
        assert (loop.champion, loop.attempt, loop.decisions[0].outcome) == ("v2", None, "promoted")

    def test_what_a_former_revision_said_comes_late_and_changes_nothing(self) -> None:
        loop = step(begun(), Registered("v2", "iris", rule(), "iris-00002", 9.0), HOUR)
        late = step(loop, Registered("v1", "iris", rule(), "iris-00001", 5.0), HOUR)
        assert (late.champion, late.revision) == ("v2", "iris-00002")
        back = step(loop, Registered("v1", "iris", rule(), "iris-00001", 20.0), HOUR)
        assert (back.champion, back.revision) == ("v1", "iris-00001")

    def test_after_a_rollback_the_loop_goes_where_the_traffic_is(self) -> None:
        loop = step(begun(), Registered("v2", "iris", rule(), "iris-00002", 9 * HOUR), 9 * HOUR)
        old = [Judged(n * HOUR, (n + 1) * HOUR, "none", [], "v1", revision="iris-00001") for n in range(8, 13)]
        assert run(loop, old[:1] * 2).champion == "v2"  # it is from before
        assert run(loop, old[1:2] * 3).champion == "v2"  # one window may be a remainder
        back = run(loop, old[1:3])
        assert (back.champion, back.revision, back.rule) == ("v1", "iris-00001", loop.rule)
        assert run(back, [Judged(13 * HOUR, 14 * HOUR, "detected", ["petal"], "v1")]).incident is not None

    def test_while_both_revisions_answer_the_champion_stays(self) -> None:
        loop = step(begun(), Registered("v2", "iris", rule(), "iris-00002", 9 * HOUR), 9 * HOUR)
        for n in range(9, 15):
            answered = [("v1", "iris-00001"), ("v2", "iris-00002")]
            for model, revision in answered if n % 2 else reversed(answered):
                loop = step(loop, Judged(n * HOUR, (n + 1) * HOUR, "none", [], model, revision=revision), n * HOUR)
        assert loop.champion == "v2"

    def test_a_comparison_that_never_comes_fails(self) -> None:
        loop = step(trained(), Observed(), 40 * HOUR)
        assert loop.attempt is not None
        loop = step(loop, Observed(), 53 * HOUR)
        assert (loop.attempt, loop.decisions[0].outcome) == (None, "failed")
        assert "could not be compared within twice 24h" in loop.decisions[0].reason

    def test_each_step_counts_from_its_beginning(self) -> None:
        total = {"v2": Traffic(requests=5000, latency=1000.0)}
        loop = step(rolling(), Observed(total, total), 4 * HOUR + 300)
        assert loop.attempt is not None
        assert (loop.attempt.step, loop.attempt.before) == (1, total)
        now = Traffic(requests=5100, errors=50, latency=1020.0)
        seen = since(now, loop.attempt.before["v2"])
        assert (seen.requests, seen.errors, round(seen.latency)) == (100, 50, 2020)
        loop = step(loop, Observed({"v2": seen}, {"v2": now}), 4 * HOUR + 310)
        assert loop.decisions[0].reason.startswith("50 of its 100 requests failed")

    def test_fewer_steps_than_before_are_no_reason_to_stop(self) -> None:
        loop = step(rolling(), Observed({"v2": Traffic(requests=900)}), 4 * HOUR + 300)
        fewer = rule(rollout=Rollout(steps=[20]))
        loop = step(loop, Registered("v1", "iris", fewer, "iris-00002"), 5 * HOUR)
        assert route(loop)["shares"] == {"v2": 20}

    def test_without_a_rule_the_rollout_ends(self) -> None:
        loop = step(rolling(), Registered("v1", "iris", None, "iris-00002"), 5 * HOUR)
        assert (loop.attempt, loop.decisions[0].outcome) == (None, "rejected")
        assert route(loop)["shares"] == {}

    def test_routes_are_numbered(self) -> None:
        loop = rolling()
        first = asked(loop, "route")[0].data["number"]
        assert loop.attempt is not None
        loop = step(loop, Rejected(loop.attempt.id), 5 * HOUR)
        assert asked(loop, "route")[0].data["number"] > first


def test_windows_that_were_full_are_told_apart() -> None:
    loop = run(begun(), [Judged(0.0, HOUR, "none", [], "", 1)])
    loop = run(loop, [Judged(0.0, HOUR, "detected", ["petal"], "", number) for number in (2, 3, 3)])
    assert len(loop.verdicts) == 3
    assert loop.attempt is not None


def test_announcements_for_a_sink_that_is_away_are_bounded() -> None:
    loop = begun(rule(close_after=1, once_per="incident", cooldown="9000h"))
    for number in range(300):
        loop = run(loop, [window(number, "none" if number % 2 else "detected")])
    assert len(asked(loop, "announce")) <= TOLD


class TestTags:
    """The tag that was deployed names what serves, whoever logs a model under the same key meanwhile."""

    V1, V2 = "store://models/shop/clf#0:latest@a", "store://models/shop/clf#0:latest@b"

    def trained(self) -> Loop:
        loop = step(Loop(endpoint="iris/clf", champion=""), Registered(self.V1, "iris", rule()), 0.0)
        loop = run(loop, [window(1, "detected"), window(2, "detected")])
        assert loop.attempt is not None
        return step(loop, RunEnded(loop.attempt.training, "run1", True, self.V2), 4 * HOUR)

    def test_a_training_that_moved_the_tag_does_not_change_what_is_deployed_next(self) -> None:
        assert [each.data for each in asked(self.trained(), "tag")] == [{"model": self.V1, "tag": "latest"}]

    def test_a_training_that_fails_after_logging_leaves_the_tag_with_the_champion(self) -> None:
        loop = step(Loop(endpoint="iris/clf", champion=""), Registered(self.V1, "iris", rule()), 0.0)
        loop = run(loop, [window(1, "detected"), window(2, "detected")])
        assert loop.attempt is not None
        failed = step(loop, RunEnded(loop.attempt.training, "run1", False, self.V2, "ValueError"), 4 * HOUR)
        assert [each.data for each in asked(failed, "tag")] == [{"model": self.V1, "tag": "latest"}]
        rejected = run(step(loop, Rejected(loop.attempt.id), 4 * HOUR), [])
        rejected = step(rejected, Done([each.id for each in rejected.todo]), 4 * HOUR)
        late = step(rejected, RunEnded(loop.attempt.training, "run1", True, self.V2), 5 * HOUR)
        assert [each.data for each in asked(late, "tag")] == [{"model": self.V1, "tag": "latest"}]

    def test_a_promotion_moves_the_tag(self) -> None:
        loop = self.trained()
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, WON), 4 * HOUR)
        assert loop.attempt is not None
        loop = step(loop, Approved(loop.attempt.id), 5 * HOUR)
        assert asked(loop, "tag")[-1].data == {"model": self.V2, "tag": "latest"}

    def test_the_same_version_under_another_tag_is_the_same_champion(self) -> None:
        loop = self.trained()
        again = step(loop, Registered("store://models/shop/clf#0:production@a", "iris", rule()), 5 * HOUR)
        assert again.attempt == loop.attempt

    def test_a_new_revision_during_a_canary_gets_the_canary_too(self) -> None:
        loop = self.trained()
        assert loop.attempt is not None
        loop = step(loop, Compared(loop.attempt.id, WON), 4 * HOUR)
        loop = step(loop, Registered(self.V1, "iris", rule(), "iris-00002"), 5 * HOUR)
        assert route(loop) == {
            "revision": "iris-00002",
            "champion": self.V1,
            "shares": {self.V2: 10},
            "shadow": None,
        }


def test_decisions_are_bounded() -> None:
    loop = begun(rule(keep=2, cooldown=0, close_after=1, confirm=1))
    for number in range(5):
        loop = run(loop, [window(2 * number, "detected")])
        assert loop.attempt is not None
        loop = step(loop, Rejected(loop.attempt.id), 0.0)
        loop = run(loop, [window(2 * number + 1, "none")])
    assert len(loop.decisions) == 2


def test_a_loop_survives_being_written_and_read() -> None:
    loop = rolling()
    assert msgspec.json.decode(msgspec.json.encode(loop), type=Loop) == loop


class World:
    """Does what a loop asks, as often as it is asked, and answers; counts what became real under each id."""

    def __init__(self, answers: Figures) -> None:
        self.answers = answers
        self.trainings: set[str] = set()
        self.routes: list[dict[str, Any]] = []

    def do(self, action: Action) -> list[Message]:
        if action.kind == "train":
            self.trainings.add(action.id)
            return [RunEnded(action.id, f"run-{action.id}", True, f"model-{action.id}")]
        if action.kind == "compare":
            return [Compared(action.data["attempt"], self.answers)]
        if action.kind == "route":
            self.routes.append(action.data)
        return []


@settings(max_examples=200, deadline=None)
@given(
    order=st.permutations([1, 2, 3, 3, 4, 4, 5]),
    repeat=st.lists(st.integers(0, 3), min_size=80, max_size=80),
    won=st.booleans(),
)
def test_redelivery_and_death_at_any_hand_over_give_one_candidate_and_one_rollout(
    order: list[int], repeat: list[int], won: bool
) -> None:
    loop, world, tricks = begun(), World(WON if won else LOST), iter(repeat)
    now, messages = 10 * HOUR, list[Message](window(n, "detected") for n in order)
    for _ in range(60):
        now += 400.0
        model = loop.attempt.challenger if loop.attempt else ""
        messages.append(Observed({model: Traffic(requests=500, latency=1.0)}))
        for message in messages:
            for _ in range(1 + (next(tricks, 0) > 1)):  # told twice now and then
                loop = step(loop, message, now)
        messages = []
        for action in list(loop.todo):
            trick = next(tricks, 0)
            for _ in range(1 + (trick == 2)):  # done twice
                messages += world.do(action)
            if trick != 3:  # killed between doing and writing that it is done
                loop = step(loop, Done([action.id]), now)
    assert len(world.trainings) == 1
    assert [each.outcome for each in loop.decisions] == ["promoted" if won else "refused"]
    promotions = {route["champion"] for route in world.routes} - {"v1"}
    assert len(promotions) == won
    assert (loop.champion != "v1") is won


@pytest.mark.parametrize("message", [Approved("x"), Rejected("x"), Compared("x", WON), Done(["x"])])
def test_a_message_about_what_is_not_there_changes_nothing(message: Message) -> None:
    loop = drifting()
    assert step(loop, message, 4 * HOUR) == loop
