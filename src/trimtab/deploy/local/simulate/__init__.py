"""What a load would do to a function: a discrete-event simulation with the autoscaler that the daemon runs."""

from trimtab.deploy.local.simulate.engine import simulate
from trimtab.deploy.local.simulate.report import Change, Point, Report, Waits
from trimtab.deploy.local.simulate.trace import Arrival, Service, Trace

__all__ = ["Arrival", "Change", "Point", "Report", "Service", "Trace", "Waits", "simulate"]
