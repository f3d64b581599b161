"""When a cron trigger is due: cron expressions in a time zone, and fixed periods.

Where clocks are changed, the rules are cronsim's. An expression of 5 fields whose minute and hour do not start with
`*` follows Debian's cron: a tick in the hour that is skipped in spring comes when that hour would have begun again
(once, however many ticks fall into it), and a tick in the hour that is repeated in autumn comes the first time only.
Every other expression simply comes whenever the clock on the wall shows a time that matches it: not in the skipped
hour, and in both of the repeated ones. Fixed periods and UTC know no such hours.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from trimtab.errors import SpecError
from trimtab.spec.quantity import seconds
from trimtab.spec.schedule import NICKNAMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION = timedelta(seconds=1)
"""No two ticks are nearer to each other."""

_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+")
_ALLOWED = "5 or 6 fields (seconds first), '@every 10s', or one of " + ", ".join(NICKNAMES)


class Schedule(ABC):
    """An unending series of moments."""

    @staticmethod
    def parse(text: str, timezone: str = "UTC", *, anchor: datetime = EPOCH, path: str = "schedule") -> Schedule:
        """Read a schedule; `CRON_TZ=` or `TZ=` before it is the same as `timezone`.

        A fixed period is counted from `anchor`; nothing else uses it. Errors: SpecError at `path`, or at `timezone`.
        """
        zone = _zone(timezone, "timezone")
        rest = text.strip()
        if prefix := _ZONE.match(rest):
            if timezone not in ("UTC", prefix[1]):
                raise SpecError(path, text, f"the one time zone that `timezone` says, {timezone!r}")
            zone, rest = _zone(prefix[1], path), rest[prefix.end() :]
        if rest.startswith("@every"):
            return Every(_period(rest, path), anchor)
        return Cron(_expression(rest, path), zone)

    @abstractmethod
    def next(self, after: datetime) -> datetime:
        """The first tick later than `after`, in UTC."""

    def last(self, after: datetime, until: datetime) -> datetime | None:
        """The last tick later than `after` and not later than `until`, None if there is none.

        By halving, as there may be millions of ticks between the two.
        """
        low, high = self.next(after), until
        if low > until:
            return None
        while high - low >= RESOLUTION:
            middle = low + (high - low) / 2
            tick = self.next(middle)
            low, high = (tick, high) if tick <= until else (low, middle)
        return low


class Cron(Schedule):
    """Ticks by a cron expression."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self._expression, self._zone = expression, zone

    def next(self, after: datetime) -> datetime:
        """See Schedule."""
        # Started in an hour that is repeated, cronsim may give the tick of its first pass, which is over.
        return next(
            tick
            for tick in (found.astimezone(UTC) for found in CronSim(self._expression, after.astimezone(self._zone)))
            if tick > after
        )


class Every(Schedule):
    """Ticks a whole number of periods from the anchor: after it, or before it when the clock was set back."""

    def __init__(self, period: timedelta, anchor: datetime) -> None:
        self._period, self._anchor = period, anchor

    def next(self, after: datetime) -> datetime:
        """See Schedule."""
        return self._anchor + ((after - self._anchor) // self._period + 1) * self._period


def _zone(name: str, path: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as exc:  # no such zone; the name of a folder; a path out of the folder
        raise SpecError(path, name, "a time zone such as 'UTC' or 'Europe/Oslo'") from exc


def _period(text: str, path: str) -> timedelta:
    words = text.split()
    if len(words) != 2 or words[0] != "@every":
        raise SpecError(path, text, "'@every' and one duration, such as '@every 1m30s'")
    period = timedelta(seconds=seconds(words[1], path))
    if not RESOLUTION <= period <= timedelta(days=3660):
        raise SpecError(path, text, "a period from 1s to ten years")
    return period


def _expression(text: str, path: str) -> str:
    expression = NICKNAMES.get(text.lower(), text)
    if text.startswith("@") and expression is text:
        raise SpecError(path, text, _ALLOWED)
    try:
        next(CronSim(expression, EPOCH))
    except (CronSimError, ValueError) as exc:  # int() refuses a number of thousands of digits itself
        raise SpecError(path, text, _ALLOWED, hint=f"{exc}") from exc
    except StopIteration as exc:
        raise SpecError(path, text, "a schedule that comes up at least once in fifty years") from exc
    return expression
