"""What a job's runs may do: fail and be tried again, take their time, and be forgotten."""

from __future__ import annotations

from trimtab.spec.base import Base
from trimtab.spec.scalars import Count, Duration


class Job(Base):
    """How runs of a job are repeated, ended and kept. The words are those of Kubernetes' JobSpec."""

    backoff_limit: Count = 0
    """How many times a run that fails is tried again, 10s after the first time and twice as long after each other, 6m
    at most. What ends with exit code 2 (`PermanentError`, parameters that do not fit) is not."""
    active_deadline: Duration = "0s"
    """How long a run may take, all its tries and the waits between them included; it has failed then. 0 = no limit,
    otherwise whole seconds."""
    ttl_after_finished: Duration | None = None
    """How long a run that has ended is kept, with its log; whole seconds, at least 1m. Without it: a day on a cluster,
    and the latest thousand runs on this machine."""
