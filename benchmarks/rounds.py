"""Rounds that alternate between the sides, there and back, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from msgspec import Struct


class Effort(Struct, frozen=True):
    """How much to spend: seconds of load a round, rounds a side, repetitions of what is timed once a time."""

    seconds: float
    rounds: int
    count: int


FULL = Effort(seconds=1.5, rounds=11, count=20)
QUICK = Effort(seconds=0.3, rounds=1, count=2)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int, *, warm: int = 1) -> dict[str, list[float]]:
    """Measure every side once a round, after `warm` rounds that do not count."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-warm, rounds):
        for name, measure in list(sides.items())[:: -1 if number % 2 else 1]:
            value = measure()
            if number >= 0:
                found[name].append(value)
        last = ", ".join(f"{name} {values[-1]:.1f}" for name, values in found.items() if values)
        say(f"round {number + 1} of {rounds}: {last}" if number >= 0 else "warmed up")
    return found


def often(effort: Effort) -> Effort:
    """Spend the same in many short rounds: on a machine that others use, pairs close in time are worth more."""
    return Effort(seconds=effort.seconds / 5, rounds=effort.rounds * 5, count=effort.count)


def milliseconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def say(text: str) -> None:
    """Show progress."""
    print(f"   {text}", file=sys.stderr, flush=True)
