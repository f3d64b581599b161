"""Kubernetes' times as seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(text: str | None) -> float | None:
    """Read a time such as 2026-01-02T03:04:05Z; None for none."""
    return datetime.fromisoformat(text).timestamp() if text else None


def text_of(seconds: float) -> str:
    """Write seconds since the epoch as Kubernetes does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
