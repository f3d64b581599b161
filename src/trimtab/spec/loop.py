"""Checks of the retraining rule; each writes its durations back in canonical text."""

from __future__ import annotations

from trimtab.errors import SpecError
from trimtab.spec.plain import plain
from trimtab.spec.quantity import Amount, duration, seconds
from trimtab.spec.retrain import Comparison, Retrain, Rollout
from trimtab.spec.types import FunctionSpec


def check_retrain(spec: FunctionSpec) -> None:
    """Refuse a rule without models to watch, and settings that contradict each other."""
    if spec.retrain is None:
        return
    if spec.kind != "serving":
        allowed = f"nothing for kind {spec.kind!r}: only models (kind 'serving') are watched for drift"
        raise SpecError("spec.retrain", plain(spec.retrain, defaults=False), allowed)
    _rule(spec.retrain)
    _comparison(spec.retrain.comparison)
    _rollout(spec.retrain.rollout)


def _rule(rule: Retrain) -> None:
    rule.cooldown = duration(rule.cooldown, "spec.retrain.cooldown")
    rule.timeout = _positive(rule.timeout, "spec.retrain.timeout")
    if rule.once_per == "cooldown" and not seconds(rule.cooldown):
        allowed = "a duration above 0 while oncePer is 'cooldown': every drifted window would start a training"
        raise SpecError("spec.retrain.cooldown", rule.cooldown, allowed)
    if rule.mode == "stateful" and rule.data == "all":
        raise SpecError("spec.retrain.data", rule.data, "window or log while mode is 'stateful': it gets new rows only")


def _comparison(comparison: Comparison) -> None:
    comparison.patience = _positive(comparison.patience, "spec.retrain.comparison.patience")


def _rollout(rollout: Rollout) -> None:
    path = "spec.retrain.rollout"
    rollout.interval = duration(rollout.interval, f"{path}.interval")
    rollout.patience = _positive(rollout.patience, f"{path}.patience")
    if rollout.mode == "canary" and not rollout.steps:
        raise SpecError(f"{path}.steps", [], "at least one percentage")
    for index, (before, after) in enumerate(zip(rollout.steps, rollout.steps[1:], strict=False), 1):
        if after <= before:
            raise SpecError(f"{path}.steps[{index}]", after, f"more than the step before it ({before})")


def _positive(value: Amount, path: str) -> str:
    if seconds(value, path) <= 0:
        raise SpecError(path, value, "a duration above 0")
    return duration(value, path)
