"""The broker: a durable CloudEvents log, and the delivery of its events to functions."""

from __future__ import annotations

from trimtab.triggers.broker.broker import Broker
from trimtab.triggers.broker.queue import Queue

__all__ = ["Broker", "Queue"]
