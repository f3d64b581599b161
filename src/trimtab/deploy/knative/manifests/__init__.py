"""From a function's description to the objects of a cluster. Pure: nothing here asks a cluster anything."""

from __future__ import annotations

from trimtab.deploy.knative.manifests import cron, events, job, service, starter, streams
from trimtab.deploy.knative.manifests.abc import Manifest, Rendered, Rendering
from trimtab.spec import CronTrigger, EventTrigger

__all__ = ["Manifest", "Rendered", "Rendering", "render"]


def render(rendering: Rendering) -> Rendered:
    """Give all objects of a function, in the order in which they are applied, and what is different on a cluster.

    Errors: SpecError for what no cluster can do.
    """
    spec = rendering.function.spec
    is_job = spec.kind == "job"
    notes = [] if is_job else service.notes(spec)
    if "@sha256:" not in rendering.image:
        notes.append(f"{rendering.image} is not named by its digest: what runs changes whenever the tag is moved")
    objects: list[Manifest] = []
    if spec.sink is not None:
        objects.append(events.sink_binding(rendering, spec.sink, "spec.sink"))
    if not is_job:
        objects.append(service.service(rendering))
    elif any(isinstance(trigger, EventTrigger) for trigger in spec.triggers):
        objects += starter.starter(rendering) if rendering.starter else [job.job_sink(rendering)]
    for number, trigger in enumerate(spec.triggers):
        if isinstance(trigger, CronTrigger):
            notes += cron.notes(trigger, job=is_job)
            if not trigger.disabled or is_job:
                objects.append(cron.cron(rendering, trigger, f"spec.triggers[{number}]"))
            continue
        if not isinstance(trigger, EventTrigger):
            if not trigger.disabled:
                notes += streams.notes(rendering, trigger)
                objects += streams.stream(rendering, trigger, f"spec.triggers[{number}]")
            continue
        notes += events.notes(rendering, trigger)
        if not trigger.disabled:
            objects.append(events.trigger(rendering, trigger, f"spec.triggers[{number}]"))
    return Rendered(objects=objects, notes=notes)
