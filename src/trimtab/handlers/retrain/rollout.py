"""Whether a challenger won, and whether its rollout goes on: pure judgements, each with its reason in words."""

from __future__ import annotations

from trimtab.handlers.retrain.state import Attempt, Decision, Figures, Outcome, Traffic
from trimtab.spec.retrain import Comparison, Guard


def loses(figures: Figures, comparison: Comparison) -> str:
    """Say why the challenger lost; empty when it won."""
    seen = (
        f"{figures.metric} {figures.challenger:.4g} against {figures.champion:.4g} on {figures.rows} rows, gain "
        f"{figures.gain:+.4g} ({comparison.confidence:.0%} interval {figures.low:+.4g} to {figures.high:+.4g})"
    )
    if figures.gain < comparison.min_gain:
        return f"{seen}: the gain is below minGain ({comparison.min_gain:g})"
    if figures.low <= 0:
        return f"{seen}: the interval does not lie above 0"
    return ""


def trips(challenger: Traffic, champion: Traffic, guard: Guard) -> str:
    """Say which of the guard's bounds the challenger broke; empty when none, or when too little was seen."""
    if challenger.requests < guard.min_requests:
        return ""
    failed = challenger.errors / challenger.requests
    allowed = guard.error_rate + (champion.errors / champion.requests if champion.requests else 0.0)
    if failed > allowed:
        return f"{challenger.errors} of its {challenger.requests} requests failed ({failed:.1%}; allowed {allowed:.1%})"
    if champion.requests >= guard.min_requests and champion.latency > 0:
        ratio = challenger.latency / champion.latency
        if ratio > guard.latency:
            return (
                f"its mean latency of {challenger.latency / 1000:.3g} ms is {ratio:.2g} times the champion's "
                f"({champion.latency / 1000:.3g} ms; allowed {guard.latency:g} times)"
            )
    return ""


def since(now: Traffic, before: Traffic | None) -> Traffic:
    """Give what was answered since a moment at which `before` had been."""
    if before is None or not before.requests:
        return now
    requests = max(0, now.requests - before.requests)
    spent = now.latency * now.requests - before.latency * before.requests
    return Traffic(
        requests=requests,
        errors=max(0, now.errors - before.errors),
        latency=max(0.0, spent / requests) if requests else 0.0,
        agreement=now.agreement,
    )


def passed(challenger: Traffic, attempt: Attempt) -> str:
    """Say how a rollout went that nothing took back."""
    agreed = f", and agreed with the champion on {challenger.agreement:.1%}" if challenger.agreement is not None else ""
    return f"{challenger.requests} requests in the last stage ({attempt.stage}), {challenger.errors} failed{agreed}"


def decision(attempt: Attempt, outcome: Outcome, reason: str, now: float, traffic: dict[str, Traffic]) -> Decision:
    """Write down how an attempt ended."""
    return Decision(
        attempt=attempt.id,
        incident=attempt.incident,
        time=now,
        outcome=outcome,
        reason=reason,
        champion=attempt.champion,
        challenger=attempt.challenger,
        run=attempt.run,
        figures=attempt.figures,
        traffic=traffic,
        data=attempt.data,
        training=attempt.training if attempt.stage == "training" else "",
    )
