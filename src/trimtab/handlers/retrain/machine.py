"""The loop itself: what an endpoint's document becomes when something is heard of. Pure: no disk, no network, no clock."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from trimtab.artifacts.uri import StoreURI, is_store_uri
from trimtab.handlers.retrain import incidents, rollout
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
from trimtab.handlers.retrain.state import Action, Attempt, Elsewhere, Loop, Outcome, Traffic, identity
from trimtab.spec.quantity import seconds
from trimtab.spec.retrain import Retrain

__all__ = ["step"]

TOLD = 100
"""Announcements that wait for a sink that is away; beyond that the oldest are given up."""
TRIES = 10
"""Trainings of one attempt that may be lost with their machine, which is no fault of theirs."""


def step(loop: Loop, message: Message, now: float) -> Loop:
    """Give the document after `message`, heard at `now`. A message that changes nothing gives an equal document."""
    loop = copy.deepcopy(loop)
    match message:
        case Registered():
            _registered(loop, message, now)
        case Judged():
            _judged(loop, message, now)
        case RunEnded():
            _run_ended(loop, message, now)
        case Compared():
            _compared(loop, message, now)
        case Approved():
            _approved(loop, message, now)
        case Rejected():
            _rejected(loop, message, now)
        case Observed():
            _observed(loop, message, now)
        case Done():
            loop.todo = [action for action in loop.todo if action.id not in message.actions]
    if not isinstance(message, Done) and incidents.is_due(loop, now):
        _begin(loop, now)
    return loop


def _registered(loop: Loop, message: Registered, now: float) -> None:
    redeployed = message.revision != loop.revision
    if redeployed and message.time < loop.registered:
        return  # what a former revision said, and what came late
    by_hand = redeployed or message.stamp > loop.stamp
    loop.stamp = message.stamp if redeployed else max(loop.stamp, message.stamp)
    loop.registered = max(loop.registered, message.time)
    loop.function, loop.rule, loop.revision = message.function, message.rule, message.revision
    attempt = loop.attempt
    if message.rule is None and attempt is not None and redeployed:
        _decide(loop, attempt, "rejected", "the rule was taken away (spec.retrain)", now)
        attempt = None
    if loop.champion and not by_hand:
        return  # within a revision the loop decides who is champion; this is an older replica's word
    if same_version(message.champion, loop.champion):
        if by_hand and attempt is not None and message.rule is not None and attempt.stage in ("canary", "shadow"):
            _route(loop, attempt, message.rule)
        return
    if attempt is not None and same_version(message.champion, attempt.challenger):
        if attempt.stage in ("canary", "shadow", "approve"):
            _decide(loop, attempt, "promoted", "it was put into service by hand", now, route=False)
        return
    if attempt is not None:
        why = f"{message.champion} was put into service by hand meanwhile"
        _decide(loop, attempt, "rejected", why, now, route=False)
    loop.champion, loop.verdicts, loop.incident = message.champion, [], None


def _judged(loop: Loop, message: Judged, now: float) -> None:
    if not loop.champion:
        return
    if message.model and not same_version(message.model, loop.champion):
        # a challenger's, or a former champion's: its training data is not what the traffic is to look like
        _answered_elsewhere(loop, message, now)
        return
    before = loop.incident
    if not incidents.judge(loop, message):
        return
    if before is None and loop.incident is not None:
        _announce(loop, "incident", loop.incident.id, state="open", features=loop.incident.features)
    elif before is not None and loop.incident is None:
        _announce(loop, "incident", before.id, state="closed", features=before.features)


def _answered_elsewhere(loop: Loop, message: Judged, now: float) -> None:
    """Follow the traffic: after a rollback an older revision answers, whose replicas run already and tell of nothing."""
    if message.revision in ("", loop.revision) or message.start < loop.registered:
        return
    before, ours = loop.elsewhere, loop.verdicts[-1].end if loop.verdicts else 0.0
    loop.elsewhere = Elsewhere(message.revision, message.end)
    if before is None or before.revision != message.revision or message.start < before.end or ours >= before.end:
        return
    loop.elsewhere = None
    _registered(loop, Registered(message.model, loop.function, loop.rule, message.revision, message.end), now)


def _begin(loop: Loop, now: float) -> None:
    incident, rule = loop.incident, loop.rule
    assert incident is not None
    assert rule is not None
    incident.attempts += 1
    loop.attempt = Attempt(
        id=identity("attempt", loop.endpoint, incident.id, incident.attempts),
        incident=incident.id,
        stage="approval" if rule.approval else "training",
        since=now,
        started=now,
        fresh=incident.since,
        champion=loop.champion,
    )
    loop.last_started = now
    if rule.approval:
        _announce(loop, "approval", loop.attempt.id, waits="training", features=incident.features)
    else:
        _train(loop, loop.attempt, rule)


def _train(loop: Loop, attempt: Attempt, rule: Retrain) -> None:
    attempt.tries += 1
    data: dict[str, Any] = {
        "attempt": attempt.id,
        "function": rule.function,
        "champion": attempt.champion,
        "mode": rule.mode,
        "data": rule.data,
        "holdout": rule.comparison.holdout,
        "parameters": rule.parameters,
    }
    if loop.incident is not None:
        data |= {"since": loop.incident.since, "until": loop.incident.last, "features": loop.incident.features}
    loop.todo.append(Action(id=attempt.training, kind="train", data=data))


def _run_ended(loop: Loop, message: RunEnded, now: float) -> None:
    attempt = loop.attempt
    if attempt is None or attempt.stage != "training" or attempt.training != message.training:
        _late(loop, message)
        return
    attempt.run, attempt.data = message.run, message.data
    if message.lost and loop.rule is not None and attempt.tries < TRIES:
        _train(loop, attempt, loop.rule)
    elif not message.succeeded:
        _decide(loop, attempt, "failed", f"the training failed: {message.error or 'no reason was given'}", now)
    elif not message.model:
        _decide(loop, attempt, "failed", "the training logged no model (context.log_model)", now)
    else:
        attempt.challenger, attempt.stage, attempt.since = message.model, "comparing", now
        _tag(loop, attempt, loop.champion, "kept")  # the training's own log moved it to the challenger
        _compare(loop, attempt)


def _late(loop: Loop, message: RunEnded) -> None:
    """Take the tag back from the model of a training that had been given up before it ended."""
    given_up = [each for each in loop.decisions if each.training and each.training == message.training and not each.run]
    name = StoreURI.parse(loop.champion).tag if is_store_uri(loop.champion) else ""
    if given_up and message.model and name:
        found = Action(
            id=identity("tag", message.training, "late"), kind="tag", data={"model": loop.champion, "tag": name}
        )
        if found not in loop.todo:
            loop.todo.append(found)


def _tag(loop: Loop, attempt: Attempt, model: str, moment: str) -> None:
    """Have the tag that was deployed point to a version, so that whoever deploys next deploys that one."""
    name = StoreURI.parse(attempt.champion).tag if is_store_uri(attempt.champion) else ""
    if name:
        loop.todo.append(Action(id=identity("tag", attempt.id, moment), kind="tag", data={"model": model, "tag": name}))


def _compare(loop: Loop, attempt: Attempt) -> None:
    data: dict[str, Any] = {
        "attempt": attempt.id,
        "champion": attempt.champion,
        "challenger": attempt.challenger,
        "since": attempt.fresh,
    }
    action = Action(id=identity("compare", attempt.id), kind="compare", data=data)
    if action not in loop.todo:
        loop.todo.append(action)


def _compared(loop: Loop, message: Compared, now: float) -> None:
    attempt, rule = loop.attempt, loop.rule
    if attempt is None or rule is None or attempt.id != message.attempt or attempt.stage != "comparing":
        return
    if message.figures is None:
        if now - attempt.since > seconds(rule.comparison.patience):
            why = f"only {message.rows} held-out rows with labels came in {rule.comparison.patience}"
            _decide(loop, attempt, "refused", f"{why}; {rule.comparison.min_rows} are needed", now)
        return
    attempt.figures = message.figures
    _announce(loop, "comparison", attempt.id, figures=message.figures)
    reason = rollout.loses(message.figures, rule.comparison)
    if reason:
        _decide(loop, attempt, "refused", reason, now)
        return
    attempt.stage, attempt.since, attempt.step, attempt.rolled = rule.rollout.mode, now, 0, now
    if attempt.stage == "approve":
        _announce(loop, "approval", attempt.id, waits="rollout", figures=message.figures)
    else:
        _route(loop, attempt, rule)


def _route(loop: Loop, attempt: Attempt, rule: Retrain) -> None:
    """Have the model server send requests as the stage wants it."""
    steps = rule.rollout.steps or [50]  # the rule may have been changed since the rollout began
    percent = steps[min(attempt.step, len(steps) - 1)] if attempt.stage == "canary" else 0
    shadow = attempt.challenger if attempt.stage == "shadow" else None
    _set_route(loop, attempt, f"{attempt.stage} {attempt.step} {loop.revision}", {attempt.challenger: percent}, shadow)
    _announce(loop, "rollout", attempt.id, f"{attempt.stage} {attempt.step}", stage=attempt.stage, percent=percent)


def _set_route(loop: Loop, attempt: Attempt, name: str, shares: dict[str, int], shadow: str | None) -> None:
    loop.todo = [action for action in loop.todo if action.kind != "route"]  # the newest alone counts
    loop.routes += 1
    data = {
        "number": loop.routes,
        "revision": loop.revision,
        "champion": loop.champion,
        "shares": {uri: n for uri, n in shares.items() if n},
        "shadow": shadow,
    }
    loop.todo.append(Action(id=identity("route", attempt.id, name), kind="route", data=data))


def _observed(loop: Loop, message: Observed, now: float) -> None:
    attempt, rule = loop.attempt, loop.rule
    if attempt is None or rule is None:
        return
    if attempt.stage == "training" and now - attempt.since > seconds(rule.timeout):
        _decide(loop, attempt, "failed", f"the training did not end within {rule.timeout}", now)
    elif attempt.stage == "comparing" and now - attempt.since > 2 * seconds(rule.comparison.patience):
        why = f"it could not be compared within twice {rule.comparison.patience}: the log of trimtab-retrain says why"
        _decide(loop, attempt, "failed", why, now)
    elif attempt.stage == "comparing":
        _compare(loop, attempt)
    elif attempt.stage in ("canary", "shadow"):
        _watch(loop, attempt, rule, message, now)


def _watch(loop: Loop, attempt: Attempt, rule: Retrain, message: Observed, now: float) -> None:
    traffic = message.traffic
    ours = traffic.get(attempt.challenger, Traffic())
    reason = rollout.trips(ours, traffic.get(attempt.champion, Traffic()), rule.rollout.guard)
    if reason:
        _decide(loop, attempt, "rolled back", reason, now, traffic=traffic)
        return
    waited = now - attempt.since
    if waited > seconds(rule.rollout.patience):
        why = f"it answered {ours.requests} requests in {rule.rollout.patience} of stage {attempt.stage!r}"
        _decide(
            loop, attempt, "rolled back", f"{why}; {rule.rollout.guard.min_requests} are needed", now, traffic=traffic
        )
        return
    if waited < seconds(rule.rollout.interval) or ours.requests < rule.rollout.guard.min_requests:
        return
    if attempt.stage == "canary" and attempt.step + 1 < len(rule.rollout.steps):
        attempt.step, attempt.since, attempt.before = attempt.step + 1, now, message.total
        _route(loop, attempt, rule)
        return
    _decide(loop, attempt, "promoted", rollout.passed(ours, attempt), now, traffic=traffic)


def _approved(loop: Loop, message: Approved, now: float) -> None:
    attempt, rule = loop.attempt, loop.rule
    if attempt is None or rule is None or attempt.id != message.attempt:
        return
    by = f" by {message.by}" if message.by else ""
    if attempt.stage == "approval":
        attempt.stage, attempt.since = "training", now
        _train(loop, attempt, rule)
    elif attempt.stage in ("approve", "canary", "shadow"):
        _decide(loop, attempt, "promoted", f"approved{by}", now)


def _rejected(loop: Loop, message: Rejected, now: float) -> None:
    attempt = loop.attempt
    if attempt is not None and attempt.id == message.attempt:
        by = f" by {message.by}" if message.by else ""
        _decide(loop, attempt, "rejected", f"rejected{by} while it was in stage {attempt.stage!r}", now)


def _decide(
    loop: Loop,
    attempt: Attempt,
    outcome: Outcome,
    reason: str,
    now: float,
    *,
    traffic: dict[str, Traffic] | None = None,
    route: bool = True,
) -> None:
    """End the attempt: write the decision down, and have the model server serve what it now should."""
    decision = rollout.decision(attempt, outcome, reason, now, traffic or {})
    keep = loop.rule.keep if loop.rule is not None else Retrain(function="").keep
    loop.decisions = [*loop.decisions, decision][-max(1, keep) :]
    routed = attempt.stage in ("canary", "shadow") or outcome == "promoted"
    pending = [action for action in loop.todo if action.kind in ("train", "compare")]
    loop.todo = [action for action in loop.todo if action not in pending]
    loop.attempt = None
    if attempt.stage == "training" and route:
        _tag(loop, attempt, loop.champion, "kept")  # it may have logged a model before it failed
    if outcome == "promoted":
        loop.champion = attempt.challenger
        _tag(loop, attempt, attempt.challenger, "promoted")
        loop.verdicts, loop.incident = [], None  # they were measured against the former champion's reference
    if routed and route:
        _set_route(loop, attempt, f"end {outcome}", {}, None)
    _announce(loop, "decision", attempt.id, decision=decision)


def same_version(one: str, other: str) -> bool:
    """Tell whether two URIs mean the same version, under whatever tags; for paths: the same path."""
    if not (is_store_uri(one) and is_store_uri(other)):
        return one == other
    first, second = StoreURI.parse(one), StoreURI.parse(other)
    return (first.kind, first.project, first.key, first.tree) == (second.kind, second.project, second.key, second.tree)


def _announce(loop: Loop, what: str, about: str, moment: str = "", **data: Any) -> None:
    """Tell the world by an event `dev.trimtab.<what>`."""
    name = identity("announce", what, about, moment or data.get("state") or data.get("waits") or "")
    found = {"what": what, "about": about, **msgspec.to_builtins(data)}
    told = [action for action in loop.todo if action.kind == "announce"]
    if len(told) >= TOLD:
        loop.todo.remove(told[0])
    loop.todo.append(Action(id=name, kind="announce", data=found))
