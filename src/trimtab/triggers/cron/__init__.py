"""Cron: calls functions by the clock, once a tick, whatever is restarted or killed meanwhile."""

from __future__ import annotations

from trimtab.triggers.cron.abc import Clock, CronQueue, Firing, Outcome, SystemClock, TriggerState
from trimtab.triggers.cron.schedule import Schedule
from trimtab.triggers.cron.scheduler import CronScheduler

__all__ = ["Clock", "CronQueue", "CronScheduler", "Firing", "Outcome", "Schedule", "SystemClock", "TriggerState"]
