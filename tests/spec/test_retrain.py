"""What the rule of retraining may say, and what is refused, by its place."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.errors import SpecError
from trimtab.spec import Function, check, from_dict


def function(retrain: dict[str, Any], kind: str = "serving") -> Function:
    spec = {"kind": kind, "source": {"code": "def handler(context, event): pass"}, "retrain": retrain}
    return check(
        from_dict({"apiVersion": "trimtab.dev/v1", "kind": "Function", "metadata": {"name": "m"}, "spec": spec})
    )


def test_only_the_job_has_to_be_named() -> None:
    rule = function({"function": "train"}).spec.retrain
    assert rule is not None
    assert (rule.on, rule.confirm, rule.once_per, rule.mode, rule.data) == (
        "detected", 2, "incident", "stateless", "log",
    )  # fmt: skip
    assert (rule.comparison.metric, rule.comparison.holdout) == ("accuracy", 0.3)
    assert (rule.rollout.mode, rule.rollout.steps) == ("canary", [10, 50])


def test_numbers_of_seconds_become_durations() -> None:
    given = {"function": "train", "cooldown": 90, "comparison": {"patience": 60}, "rollout": {"interval": 0.5}}
    rule = function(given).spec.retrain
    assert rule is not None
    assert (rule.cooldown, rule.comparison.patience, rule.rollout.interval) == ("1m30s", "1m", "500ms")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "spec.retrain.function: found nothing"),
        ({"on": "often"}, "spec.retrain.on: found 'often', allowed: 'detected' or 'possible'"),
        ({"confirm": 0}, "spec.retrain.confirm: found 0, allowed: "),
        ({"cooldown": "soon"}, "spec.retrain.cooldown: found 'soon', allowed: "),
        ({"timeout": 0}, "spec.retrain.timeout: found 0, allowed: a duration above 0"),
        ({"oncePer": "cooldown", "cooldown": 0}, ("spec.retrain.cooldown: found '0s', allowed: a duration above 0 while "
                                                  "oncePer is 'cooldown'")),
        ({"mode": "stateful", "data": "all"}, "spec.retrain.data: found 'all', allowed: window or log while mode is"),
        ({"comparison": {"metric": "auc"}}, "spec.retrain.comparison.metric: found 'auc', allowed: 'accuracy' or "),
        ({"comparison": {"holdout": 1}}, ("spec.retrain.comparison.holdout: found 1, allowed: a number between 0 and 1")),
        ({"comparison": {"patience": "0s"}}, "spec.retrain.comparison.patience: found '0s', allowed: a duration above 0"),
        ({"rollout": {"steps": []}}, "spec.retrain.rollout.steps: found [], allowed: at least one percentage"),
        ({"rollout": {"steps": [10, 100]}}, "spec.retrain.rollout.steps[1]: found 100, allowed: a percentage from 1 to 99"),
        ({"rollout": {"steps": [50, 10]}}, "spec.retrain.rollout.steps[1]: found 10, allowed: more than the step before"),
        ({"rollout": {"mode": "blue"}}, "spec.retrain.rollout.mode: found 'blue', allowed: 'approve' or 'canary' or 'shadow'"),
        ({"rollout": {"guard": {"latency": 0.5}}}, "spec.retrain.rollout.guard.latency: found 0.5, allowed: "),
        ({"confirmations": 3}, "spec.retrain.confirmations: found 3, allowed: no field of this name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        function({"function": "train", **rule} if rule else {})
    assert str(caught.value).startswith(message)


def test_only_models_are_watched() -> None:
    with pytest.raises(SpecError, match="allowed: nothing for kind 'http': only models"):
        function({"function": "train"}, kind="http")


def test_a_shadow_needs_no_steps() -> None:
    rule = function({"function": "train", "rollout": {"mode": "shadow", "steps": []}}).spec.retrain
    assert rule is not None
    assert rule.rollout.steps == []
