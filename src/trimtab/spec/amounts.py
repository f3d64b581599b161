"""Checks of whatever is measured: scale, times, sizes and resources. Each writes its amounts back in canonical text."""

from __future__ import annotations

from trimtab.errors import SpecError
from trimtab.spec.hint import did_you_mean
from trimtab.spec.job import Job
from trimtab.spec.plain import join
from trimtab.spec.quantity import Amount, canonical, duration, parse, seconds, size
from trimtab.spec.triggers import Retry
from trimtab.spec.types import Limits, Resources, Scale, Timeouts

_HOUR = 3600.0
_YEAR = 365 * 24 * _HOUR
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_RESOURCE_ALLOWED = "cpu, memory, ephemeral-storage, or an extended resource such as nvidia.com/gpu"


def check_scale(scale: Scale) -> None:
    """Refuse bounds that contradict each other and times out of Knative's ranges."""
    path = "spec.scale"
    if 0 < scale.max < scale.min:
        raise SpecError(f"{path}.max", scale.max, f"at least {path}.min ({scale.min}), or 0 for no limit")
    if 0 < scale.max < scale.initial:
        raise SpecError(f"{path}.initial", scale.initial, f"at most {path}.max ({scale.max})")
    if scale.activation > 1 and scale.activation < scale.min:
        raise SpecError(f"{path}.activation", scale.activation, f"1, or at least {path}.min ({scale.min})")
    if 0 < scale.max < scale.activation:
        raise SpecError(f"{path}.activation", scale.activation, f"at most {path}.max ({scale.max})")
    if 0 < scale.concurrency < scale.workers:
        allowed = f"at most {path}.concurrency ({scale.concurrency}): each process works on one request or more"
        raise SpecError(f"{path}.workers", scale.workers, allowed)
    scale.window = _between(scale.window, f"{path}.window", 6, _HOUR)
    scale.delay = _between(scale.delay, f"{path}.delay", 0, _HOUR)
    scale.retention = _between(scale.retention, f"{path}.retention", 0, _HOUR)


def check_timeouts(timeouts: Timeouts) -> None:
    """Refuse a replica that has no time to start."""
    timeouts.request = duration(timeouts.request, "spec.timeouts.request")
    timeouts.start = _positive(timeouts.start, "spec.timeouts.start")
    timeouts.drain = duration(timeouts.drain, "spec.timeouts.drain")


def check_limits(limits: Limits, scale: Scale) -> None:
    """Refuse a body of no bytes, and a queue where nothing ever waits."""
    size(limits.body, "spec.limits.body")
    limits.body = canonical(limits.body, "spec.limits.body")
    if limits.queue is not None and scale.concurrency == 0:
        allowed = "nothing while spec.scale.concurrency is 0 (unlimited): no request waits then"
        raise SpecError("spec.limits.queue", limits.queue, allowed)


def check_job(job: Job) -> None:
    """Refuse parts of seconds, which Kubernetes does not know, and runs that are forgotten before they can be read."""
    path = "spec.job"
    job.active_deadline = _between(job.active_deadline, f"{path}.activeDeadline", 0, _YEAR)
    if job.ttl_after_finished is not None:
        job.ttl_after_finished = _between(job.ttl_after_finished, f"{path}.ttlAfterFinished", 60, _YEAR)


def check_retry(retry: Retry, path: str) -> None:
    """Refuse waits that contradict each other."""
    retry.delay = duration(retry.delay, f"{path}.delay")
    retry.max_delay = duration(retry.max_delay, f"{path}.maxDelay")
    if seconds(retry.max_delay) < seconds(retry.delay):
        raise SpecError(f"{path}.maxDelay", retry.max_delay, f"at least {path}.delay ({retry.delay})")
    if retry.timeout is not None:
        retry.timeout = _positive(retry.timeout, f"{path}.timeout")


def check_resources(resources: Resources) -> None:
    """Refuse unknown resources, negative amounts, and requests above their limits."""
    path = "spec.resources"
    resources.requests = _amounts(resources.requests, f"{path}.requests")
    resources.limits = _amounts(resources.limits, f"{path}.limits")
    for name, requested in resources.requests.items():
        limit = resources.limits.get(name)
        if "/" in name and (limit is None or parse(limit) != parse(requested)):
            place = join(f"{path}.limits", name)
            allowed = f"what {place} is ({'nothing' if limit is None else limit}): Kubernetes shares out whole devices"
            raise SpecError(join(f"{path}.requests", name), requested, allowed)
        if limit is not None and parse(requested) > parse(limit):
            allowed = f"at most {join(f'{path}.limits', name)} ({limit})"
            raise SpecError(join(f"{path}.requests", name), requested, allowed)


def _amounts(amounts: dict[str, Amount], path: str) -> dict[str, Amount]:
    for name, amount in amounts.items():
        place = join(path, name)
        if name not in _RESOURCES and "/" not in name and not name.startswith("hugepages-"):
            raise SpecError(place, amount, _RESOURCE_ALLOWED, hint=did_you_mean(name, _RESOURCES))
        number = parse(amount, place)
        if number < 0:
            raise SpecError(place, amount, "an amount of at least 0")
        if "/" in name and number != int(number):
            raise SpecError(place, amount, "a whole number of devices")
    return {name: canonical(amount, join(path, name)) for name, amount in amounts.items()}


def _between(value: Amount, path: str, low: float, high: float) -> str:
    found = seconds(value, path)
    if not low <= found <= high or found != int(found):
        raise SpecError(path, value, f"whole seconds from {duration(low)} to {duration(high)}")
    return duration(value)


def _positive(value: Amount, path: str) -> str:
    if seconds(value, path) <= 0:
        raise SpecError(path, value, "a duration above 0")
    return duration(value, path)
