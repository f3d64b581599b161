"""How a function's URL is reached where its domain does not resolve: the ingress' address, with the Host header.

A name of the cluster's own (`NAME.NAMESPACE.svc...`: a function of visibility cluster-local, a JobSink, a broker) leads to the
pods behind that Service; the ingress for the world does not know it.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import CORE_SERVICE, POD
from trimtab.deploy.knative.describe import is_ready
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.errors import Conflict, TargetError

_KNOWN = (
    ("kourier-system", "kourier"),
    ("knative-serving", "kourier"),
    ("istio-system", "istio-ingressgateway"),
    ("contour-external", "envoy"),
)
"""Namespace and name of the Service of each ingress that Knative installs."""


_INSIDE = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?")
_ALIASES = 3
"""Names that are followed to a Service which has pods."""


class Inside(Struct, frozen=True):
    """A Service by the name that it has in its cluster, and a port of it."""

    name: str
    namespace: str
    port: int = 80


def inside(url: str) -> Inside | None:
    """Tell which Service a URL means; None for one of the world."""
    parts = urlsplit(url)
    found = _INSIDE.fullmatch(parts.hostname or "")
    return Inside(found["name"], found["namespace"], parts.port or 80) if found else None


def through(url: str, ingress: str, discover: Callable[[], str]) -> tuple[str, dict[str, str]]:
    """Give the URL to call, and the headers to add. `discover` is asked when there is no `ingress` and no name.

    Errors: Conflict for https (its certificate is the name's), and for a name that nothing resolves.
    """
    parts = urlsplit(url)
    if not ingress and (not parts.hostname or _resolves(parts.hostname)):
        return url, {}
    address = ingress or discover()
    if not address:
        raise Conflict(f"{parts.hostname} does not resolve here, and {_missing(url)}")
    if parts.scheme != "http":
        raise Conflict(f"{url}: an ingress by its address is for http; let {parts.hostname} resolve to {address}")
    return parts._replace(netloc=address).geturl(), {"host": parts.netloc}


def _missing(url: str) -> str:
    found = inside(url)
    if found is not None:
        return (
            f"no pod behind the Service {found.name} in namespace {found.namespace} was found that is ready: "
            f"`kubectl describe service {found.name} -n {found.namespace}`"
        )
    return (
        "neither a load balancer nor a pod of an ingress was found: give --ingress ADDR, such as that of "
        "`kubectl port-forward -n kourier-system service/kourier 8080:80` (localhost:8080)"
    )


def load_balancer(api: Api) -> str:
    """Give the address of the cluster's ingress; empty where none is known."""
    for namespace, name in _KNOWN:
        try:
            found = api.find(CORE_SERVICE, name, namespace)
        except TargetError:
            continue
        for each in (((found or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
            if address := each.get("ip") or each.get("hostname"):
                return f"[{address}]" if ":" in address else str(address)
    return ""


class Gate(Struct, frozen=True):
    """A pod, and the port on which it takes http."""

    namespace: str
    pod: str
    port: int


def gate(api: Api) -> Gate | None:
    """Find a pod of the cluster's ingress that is ready; None where there is none that we may see."""
    for namespace, name in _KNOWN:
        with contextlib.suppress(TargetError):
            if found := behind(api, Inside(name, namespace)):
                return found
    return None


def behind(api: Api, service: Inside) -> Gate | None:
    """Find a pod behind a Service that is ready; None where there is none. Errors: Forbidden.

    A Service may be a name for another: those of Knative's routes are, for the ingress that only the cluster reaches.
    """
    for _ in range(_ALIASES):
        spec = (api.find(CORE_SERVICE, service.name, service.namespace) or {}).get("spec") or {}
        other = inside(f"http://{spec.get('externalName', '')}:{service.port}")
        if other is None:
            break
        service = other
    pods = api.all(POD, spec["selector"], namespace=service.namespace) if spec.get("selector") else []
    for pod in filter(is_ready, pods):
        if port := _port(spec, service.port, pod):
            return Gate(service.namespace, pod["metadata"]["name"], port)
    return None


def _port(spec: dict[str, Any], asked: int, pod: Manifest) -> int:
    """Give the pod's port behind a port of its Service, which may be named; 0 where there is none."""
    wanted = next((each.get("targetPort", asked) for each in spec.get("ports") or [] if each.get("port") == asked), 0)
    if isinstance(wanted, int):
        return wanted
    ports = (port for each in pod["spec"]["containers"] for port in each.get("ports") or [])
    return next((int(port["containerPort"]) for port in ports if port.get("name") == wanted), 0)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
