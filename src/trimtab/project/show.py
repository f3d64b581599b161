"""What the Python front shows while something goes on: lines on stderr, so that output stays the program's own."""

from __future__ import annotations

import sys

import msgspec

from trimtab.builder.abc import Step
from trimtab.deploy.abc import Deployment, Stage


def stage(stage: Stage) -> None:
    """Show a finished step of a deployment."""
    _write(f"  {stage.name:<12} {stage.ms:8.0f} ms  {stage.detail}".rstrip())


def step(step: Step) -> None:
    """Show a finished step of a build."""
    if step.ms is not None:
        _write(f"  {step.name:<18} {step.platform:<12} {step.total:>12} B {step.ms:8.0f} ms  {step.detail}".rstrip())


def deployment(deployment: Deployment) -> None:
    """Show what a deployment came to."""
    for warning in deployment.warnings:
        _write(f"  warning: {warning}")
    state = "is deployed" if deployment.changed else "is unchanged"
    _write(
        f"{deployment.name} {state}: revision {deployment.revision}"
        + (f" at {deployment.url}" if deployment.url else "")
    )


def line(text: str) -> None:
    """Show a line of a log: its level and message where it is one of our JSON records."""
    try:
        record = msgspec.json.decode(text)
    except msgspec.DecodeError:
        record = None
    if not isinstance(record, dict) or "message" not in record:
        _write(text)
        return
    trace = f"\n{record['traceback'].rstrip()}" if record.get("traceback") else ""
    _write(f"{str(record.get('level', 'info')).upper():<7} {record['message']}{trace}")


def _write(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
