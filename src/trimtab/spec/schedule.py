"""Which cron schedules and time zones there are."""

from __future__ import annotations

from datetime import UTC, datetime

from trimtab.errors import SpecError
from trimtab.spec.hint import did_you_mean
from trimtab.spec.quantity import seconds

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ALLOWED = "5 or 6 cron fields (seconds first), '@every 10s', '@hourly', '@daily', '@weekly', '@monthly' or '@yearly'"
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def check_schedule(text: str, path: str) -> None:
    """Refuse a schedule that is malformed or that never comes. Errors: SpecError."""
    if text.startswith("@every"):
        _check_interval(text, path)
    elif text.startswith("@"):
        if text not in NICKNAMES:
            raise SpecError(path, text, _ALLOWED, hint=did_you_mean(text, NICKNAMES))
    elif "TZ=" in text:
        raise SpecError(path, text, _ALLOWED, hint="Name the zone in the trigger's `timezone`")
    else:
        _check_fields(text, path)


def _check_interval(text: str, path: str) -> None:
    word, _, interval = text.partition(" ")
    try:
        enough = seconds(interval.strip(), path) >= 1
    except SpecError as error:
        raise SpecError(path, text, _ALLOWED) from error
    if word != "@every" or not enough:
        raise SpecError(path, text, "'@every' and a duration of at least 1s, such as '@every 10s'")


def _check_fields(text: str, path: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(text, _SOME_DAY))
    except CronSimError as error:
        raise SpecError(path, text, _ALLOWED, hint=f"{error}") from error
    except StopIteration as error:
        raise SpecError(path, text, "a schedule that comes some day") from error


def check_zone(name: str, path: str) -> None:
    """Refuse what is no IANA time zone. Errors: SpecError."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        hint = did_you_mean(name, available_timezones())
        raise SpecError(path, name, "an IANA time zone such as 'Europe/Berlin' or 'UTC'", hint=hint) from error
