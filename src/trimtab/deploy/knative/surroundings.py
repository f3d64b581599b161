"""What manifests depend on of the cluster that they are for: which kinds it has, and where a function's sink is."""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import BROKER, JOB_SINK, SCALED_OBJECT
from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.errors import TargetError
from trimtab.spec import EventTrigger


def placed(api: Api, rendering: Rendering, groups: set[str]) -> Rendering:
    """Give the rendering for a cluster with these API groups. What may not be asked stays unknown: preflight says it."""
    return replace(
        rendering,
        job_sink=JOB_SINK.api in groups,
        keda=SCALED_OBJECT.api in groups,
        sink=_address(api, rendering) if groups else "",
        keepers=_keepers(api, rendering) if BROKER.api in groups else frozenset(),
    )


def _address(api: Api, rendering: Rendering) -> str:
    """Give where the function's broker takes events; empty where it has none yet."""
    sink = rendering.function.spec.sink
    if sink is None or sink.broker is None:
        return ""
    try:
        return address_of(api.find(BROKER, sink.broker))
    except TargetError:
        return ""


def _keepers(api: Api, rendering: Rendering) -> frozenset[str]:
    """Name those of the function's brokers that keep what cannot be delivered."""
    names = {each.broker for each in rendering.function.spec.triggers if isinstance(each, EventTrigger)}
    found = set()
    for name in names:
        with contextlib.suppress(TargetError):
            delivery = ((api.find(BROKER, name) or {}).get("spec") or {}).get("delivery") or {}
            found |= {name} if delivery.get("deadLetterSink") else set()
    return frozenset(found)


def address_of(broker: Manifest | None) -> str:
    """Give a broker's address, as SinkBinding resolves it."""
    address = ((broker or {}).get("status") or {}).get("address") or {}
    return str(address.get("url") or "")
