"""A load: requests as they were recorded, or steps of a rate; and how long a request takes."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from trimtab.errors import SpecError
from trimtab.spec.quantity import seconds

_MOST_REQUESTS = 20_000_000
_LONGEST = 7 * 86_400.0
"""Seconds: every one of them is simulated, measured and kept."""
_DEFAULT_LENGTH = 60.0
_STEP = re.compile(r"\s*(?P<start>[^:\s,]+)\s*(?::\s*(?P<rate>\d+(?:\.\d+)?)\s*(?:rps)?\s*)?$")
_STEPS_ALLOWED = "rate steps such as '0s:10rps,60s:200rps,120s' (the last, without a rate, is the end)"
_TIME_ALLOWED = "seconds, or an ISO 8601 time such as '2026-01-31T08:00:00Z'"
_LINE_ALLOWED = 'CSV lines \'timestamp[,duration]\' or JSON lines {"timestamp": ..., "duration": ...}'


class Arrival(Struct, frozen=True, array_like=True):
    """One request: when it comes, and how long it keeps a slot (None: as the simulation's service time says)."""

    time: float
    duration: float | None = None


class Step(Struct, frozen=True):
    """From `start` on, requests come at random (a Poisson process) `rate` times a second on average."""

    start: float
    rate: float


class Trace(Struct, frozen=True, kw_only=True):
    """Requests from 0 s to `end`: those of `recorded`, or those that `steps` make of a seed."""

    end: float
    recorded: tuple[Arrival, ...] = ()
    steps: tuple[Step, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file in any form that `parse` takes. Errors: SpecError, also when it cannot be read."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as exc:
            raise SpecError("trace", str(path), "a text file that can be read", hint=str(exc)) from exc
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read rate steps (one line), CSV or JSON lines. Recorded times are shifted so that the first request is at 0.

        Errors: SpecError naming the line or step.
        """
        content = text.strip()
        if not content:
            raise SpecError("trace", text, f"{_STEPS_ALLOWED}, or {_LINE_ALLOWED}")
        if content.startswith("{"):
            return cls._of(_json_lines(content))
        if "\n" not in content and ":" in content and "T" not in content:
            return cls._of_steps(content)
        return cls._of(_csv_lines(content))

    def arrivals(self, seed: int = 0) -> Iterator[Arrival]:
        """Yield the requests in order of time. The same seed gives the same requests."""
        yield from self.recorded
        random = Random(f"arrivals {seed}")
        for step, end in _spans(self.steps, self.end):
            now = step.start
            while step.rate and (now := now + random.expovariate(step.rate)) < end:
                yield Arrival(now)

    @classmethod
    def _of(cls, arrivals: list[Arrival]) -> Self:
        if not arrivals:
            raise SpecError("trace", "no request", _LINE_ALLOWED)
        arrivals.sort(key=lambda arrival: arrival.time)
        first = arrivals[0].time
        shifted = tuple(Arrival(arrival.time - first, arrival.duration) for arrival in arrivals)
        return cls(end=_not_too_long(shifted[-1].time), recorded=shifted)

    @classmethod
    def _of_steps(cls, text: str) -> Self:
        steps: list[Step] = []
        end: float | None = None
        for number, part in enumerate(text.split(","), 1):
            where = f"trace step {number}"
            match = _STEP.match(part)
            if not match or end is not None:
                raise SpecError(where, part.strip(), _STEPS_ALLOWED)
            start = seconds(match["start"], where)
            if steps and start <= steps[-1].start:
                raise SpecError(where, part.strip(), f"a time after {steps[-1].start:g} s")
            if match["rate"] is None:
                end = start
            else:
                steps.append(Step(start, float(match["rate"])))
        if not steps:
            raise SpecError("trace", text, _STEPS_ALLOWED)
        end = end or steps[-1].start + (steps[-1].start - steps[-2].start if len(steps) > 1 else _DEFAULT_LENGTH)
        return cls(end=_not_too_long(end), steps=_not_too_many(steps, end))


class Service(Struct, frozen=True, kw_only=True):
    """How long a request keeps a slot when the trace does not say: always `mean`, or exponentially distributed."""

    kind: Literal["constant", "exponential"] = "constant"
    mean: float = 0.1

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Read '100ms', 0.1 or 'exponential:100ms'. Errors: SpecError."""
        kind, colon, mean = str(text).strip().rpartition(":")
        if colon and kind not in ("constant", "exponential"):
            raise SpecError("service", text, "a duration such as '100ms', or 'exponential:100ms'")
        value = seconds(mean, "service")
        if value <= 0:
            raise SpecError("service", text, "a duration above zero")
        return cls(kind="exponential" if kind == "exponential" else "constant", mean=value)

    def times(self, seed: int = 0) -> Iterator[float]:
        """Yield service times without end. The same seed gives the same times."""
        random = Random(f"service {seed}")
        while True:
            yield self.mean if self.kind == "constant" else random.expovariate(1 / self.mean)


def _spans(steps: Sequence[Step], end: float) -> Iterator[tuple[Step, float]]:
    return zip(steps, [*(step.start for step in steps[1:]), end][: len(steps)], strict=True)


def _not_too_many(steps: list[Step], end: float) -> tuple[Step, ...]:
    total = sum(step.rate * (until - step.start) for step, until in _spans(steps, end))
    if total > _MOST_REQUESTS:
        raise SpecError("trace", f"{total:.0f} requests", f"at most {_MOST_REQUESTS} requests")
    return tuple(steps)


def _not_too_long(end: float) -> float:
    if end > _LONGEST:
        raise SpecError("trace", f"{end:.0f} s from the first request to the end", f"at most {_LONGEST:.0f} s (a week)")
    return end


def _json_lines(text: str) -> list[Arrival]:
    arrivals = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"trace line {number}"
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as exc:
            raise SpecError(where, line, _LINE_ALLOWED, hint=str(exc)) from exc
        arrivals.append(_arrival(row.get("timestamp"), row.get("duration"), where))
    return arrivals


def _csv_lines(text: str) -> list[Arrival]:
    arrivals = []
    columns = ["timestamp", "duration"]
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if number == 1 and "timestamp" in cells:
            columns = cells
            continue
        named = dict(zip(columns, cells, strict=False))
        arrivals.append(_arrival(named.get("timestamp"), named.get("duration") or None, f"trace line {number}"))
    return arrivals


def _arrival(timestamp: Any, duration: Any, where: str) -> Arrival:
    return Arrival(_time(timestamp, where), None if duration is None else _duration(duration, where))


def _time(value: Any, where: str) -> float:
    where = f"{where}: timestamp"
    number = _number(value)
    if number is not None:
        return number
    if isinstance(value, str):
        return _iso(value, where)
    raise SpecError(where, value, _TIME_ALLOWED)


def _duration(value: Any, where: str) -> float:
    where = f"{where}: duration"
    number = _number(value)
    if number is not None and number >= 0:
        return number
    if isinstance(value, str):
        return seconds(value, where)
    raise SpecError(where, value, "a duration such as '250ms', or a number of seconds")


def _number(value: Any) -> float | None:
    """Read a finite number, also as a text such as '1.7e-05'."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _iso(value: str, where: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise SpecError(where, value, _TIME_ALLOWED) from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
