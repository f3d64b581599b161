"""Waits until what calls a function is ready: a broker takes an event before that, and gives it to nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import JOB_SINK, PING_SOURCE, TRIGGER, kind_of
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.deploy.knative.situation import condition
from trimtab.deploy.stages import Stages

_LOOK = 0.5
_LOOKS = 60
"""Half a minute of them: a function that serves has not failed because something that calls it is late."""
_SPOKEN = 6
"""Looks after which what is late is spoken of."""


def callers_of(objects: list[Manifest]) -> list[Manifest]:
    """Find them among what is applied."""
    return [item for item in objects if kind_of(item) in (TRIGGER, PING_SOURCE, JOB_SINK)]


def wait_for(
    api: Api,
    stages: Stages,
    callers: list[Manifest],
    say: Callable[[str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Block until all of them are ready, or for half a minute; give a sentence for each that is not by then."""
    late = [(item, "") for item in callers]
    for look in range(_LOOKS):
        late = [(item, why) for item, _ in late if (why := _obstacle(api, item)) is not None]
        if not late:
            stages.finish("triggers", f"{len(callers)} ready")
            return []
        if look == _SPOKEN and say is not None:
            say(f"waiting: {_sentence(*late[0])}")
        sleep(_LOOK)
    return [f"{_sentence(item, why)}; what happens before it is ready calls nobody" for item, why in late]


def _obstacle(api: Api, item: Manifest) -> str | None:
    """Say what keeps an object from being ready; None when it is."""
    found = api.find(kind_of(item), item["metadata"]["name"])
    ready, metadata = condition(found, "Ready"), (found or {}).get("metadata") or {}
    seen = ((found or {}).get("status") or {}).get("observedGeneration", 0)
    if seen < metadata.get("generation", 0) or not ready:
        return "nothing is said of it yet"
    if ready.get("status") == "True":
        return None
    return ": ".join(filter(None, (ready.get("reason"), ready.get("message")))) or "no reason is given"


def _sentence(item: Manifest, why: str) -> str:
    return f"{item['kind']} {item['metadata']['name']} is not ready ({why})"
