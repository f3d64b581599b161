"""When drift is an incident, and when an incident asks for a training. Pure."""

from __future__ import annotations

from trimtab.handlers.retrain.messages import Judged
from trimtab.handlers.retrain.state import Incident, Loop, Verdict, identity
from trimtab.spec.quantity import seconds
from trimtab.spec.retrain import Retrain

REMEMBERED = 64
"""Windows that are known again when their event comes twice; a broker redelivers within minutes, windows last longer."""


def judge(loop: Loop, message: Judged) -> bool:
    """Write a verdict down and open, prolong or close the incident. False when the window is known, or too old."""
    known = loop.verdicts
    if (message.start, message.end, message.number) in {(each.start, each.end, each.number) for each in known}:
        return False
    if len(known) == REMEMBERED and message.end < known[0].end:
        return False
    verdict = Verdict(message.start, message.end, message.severity, message.features, message.number)
    loop.verdicts = sorted([*known, verdict], key=lambda each: (each.end, each.number))[-REMEMBERED:]
    if loop.rule is None:
        return True
    if is_drifted(loop.rule, verdict):
        _drifted(loop, verdict)
    elif verdict.severity == "none" and loop.incident is not None and verdict.start >= loop.incident.last:
        _clean(loop, loop.incident, loop.rule)
    return True


def is_drifted(rule: Retrain, verdict: Verdict) -> bool:
    """Whether a window counts as drifted under the rule."""
    return verdict.severity == "detected" or (rule.on == "possible" and verdict.severity == "possible")


def is_due(loop: Loop, now: float) -> bool:
    """Whether a training is to be started: an incident that is confirmed, has had none, and has waited its cooldown."""
    rule, incident = loop.rule, loop.incident
    if rule is None or incident is None or loop.attempt is not None:
        return False
    if rule.once_per == "incident" and incident.attempts:
        return False
    if loop.last_started is not None and now < loop.last_started + seconds(rule.cooldown):
        return False
    recent = [each for each in loop.verdicts if each.severity != "unknown"][-(rule.confirm + 1) :]
    drifted = [each for each in recent if is_drifted(rule, each) and each.start >= incident.opened]
    return len(drifted) >= rule.confirm


def _drifted(loop: Loop, verdict: Verdict) -> None:
    incident = loop.incident
    if incident is None:
        incident = loop.incident = Incident(
            id=identity("incident", loop.endpoint, verdict.start),
            opened=verdict.start,
            settled=verdict.end,
            last=verdict.end,
        )
    if verdict.start < incident.opened:
        incident.opened, incident.settled = verdict.start, verdict.end
    if verdict.end >= incident.last:
        incident.last, incident.clean = verdict.end, 0
    incident.features = sorted({*incident.features, *verdict.features})


def _clean(loop: Loop, incident: Incident, rule: Retrain) -> None:
    incident.clean += 1
    if incident.clean >= rule.close_after:
        loop.incident = None
